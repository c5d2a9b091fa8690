//! What the connections of a shard are behind with: which of them is told what next. When that is, and how much of it, is
//! [`super::catch_up`]'s.
//!
//! Invariant: no more than one piece is asked for of what a connection has missed, and of what it wants to be shown no more than
//! one thing, whatever it has subscribed to; whoever is put off stands there once.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::waiters::Waiters;
use crate::{
    app::StateQuery,
    model::{ChannelName, Position, StateKey, Ticket},
};

/// What the connections of a shard catch up with.
#[derive(Default)]
pub(super) struct CatchUps {
    lines: FxHashMap<u32, Line>,
    /// Those that had room for a piece in a turn that had written enough.
    put_off: Waiters,
}

/// What one connection catches up with.
#[derive(Default)]
struct Line {
    /// One channel after the other.
    channels: VecDeque<CatchUp>,
    /// Its place among those that are put off.
    place: Option<u64>,
    /// A piece is expected in this turn.
    is_expected: bool,
}

/// What a connection is still to be told.
enum CatchUp {
    /// A channel that it has not caught up with.
    Channel {
        channel: ChannelName,
        /// Up to where it has been told; `None` while its owner is asked.
        told: Option<Position>,
    },
    /// Something it wants to be shown, and the channel; no question any more once the owner has been asked.
    Read { ticket: Ticket, channel: ChannelName, reading: Option<Reading> },
}

/// What is to be asked for one connection.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing: it has caught up with everything.
    Nothing,
    /// Nothing yet: it waits for its turn, or for what has been asked.
    Wait,
    /// A piece of a channel, behind a position.
    Piece { channel: ChannelName, after: Position },
    /// What it wants to be shown.
    Read { ticket: Ticket, reading: Reading },
}

/// What somebody wants to be shown.
#[derive(Debug, PartialEq)]
pub(super) enum Reading {
    State { channel: ChannelName, query: StateQuery },
    Presence { channel: ChannelName, after: Option<StateKey>, limit: u32 },
    History { channel: ChannelName, since: Option<Position>, limit: u32 },
}

impl Reading {
    fn channel(&self) -> &ChannelName {
        match self {
            Self::State { channel, .. } | Self::Presence { channel, .. } | Self::History { channel, .. } => {
                channel
            }
        }
    }
}

impl Line {
    /// Goes on to the first that waits for none of some owners; whether it had not been.
    fn pass_by(&mut self, is_theirs: &dyn Fn(&ChannelName) -> bool) -> bool {
        for passed in 0..self.channels.len() {
            match &self.channels[0] {
                CatchUp::Read { channel, reading: None, .. } if is_theirs(channel) => {
                    self.channels.pop_front();
                }
                CatchUp::Channel { channel, told: None } if is_theirs(channel) => {
                    self.channels.rotate_left(1);
                }
                CatchUp::Read { .. } | CatchUp::Channel { .. } => return passed > 0,
            }
        }
        true
    }

    /// Up to where it has been told of a channel that it catches up with; `None` within while that channel's owner is asked.
    fn told(&mut self, channel: &ChannelName) -> Option<&mut Option<Position>> {
        self.channels.iter_mut().find_map(|one| match one {
            CatchUp::Channel { channel: of, told } if of == channel => Some(told),
            CatchUp::Channel { .. } | CatchUp::Read { .. } => None,
        })
    }
}

impl CatchUp {
    /// Whether nothing has been asked yet of what comes next.
    fn wants_something(&self) -> bool {
        match self {
            Self::Channel { told, .. } => told.is_some(),
            Self::Read { reading, .. } => reading.is_some(),
        }
    }
}

impl CatchUps {
    /// Whether a connection has not been told all that it missed.
    #[cfg(test)]
    pub(super) fn has(&self, index: u32) -> bool {
        self.lines.get(&index).is_some_and(|line| !line.channels.is_empty())
    }

    /// Whether somebody waits only for the next turn.
    pub(super) fn has_more(&self) -> bool {
        !self.put_off.is_empty()
    }

    /// Whether a connection that catches up waits for nothing else.
    pub(super) fn is_only_behind(&self, index: u32) -> bool {
        let is_channel = |one: &CatchUp| matches!(one, CatchUp::Channel { .. });
        self.lines.get(&index).is_none_or(|line| line.channels.iter().all(is_channel))
    }

    /// Up to where a connection has been told of a channel that it catches up with; `None` while its owner is asked.
    pub(super) fn told(&self, index: u32, channel: &ChannelName) -> Option<Position> {
        self.lines.get(&index)?.channels.iter().find_map(|one| match one {
            CatchUp::Channel { channel: of, told } if of == channel => *told,
            CatchUp::Channel { .. } | CatchUp::Read { .. } => None,
        })
    }

    /// A connection has a further channel to catch up with, whose owner is asked; the first piece is expected in this turn, or is
    /// none.
    pub(super) fn begin(&mut self, index: u32, channel: ChannelName, is_expected: bool) {
        let line = self.lines.entry(index).or_default();
        line.channels.push_back(CatchUp::Channel { channel, told: None });
        line.is_expected |= is_expected;
    }

    /// A connection wants to be shown something, behind all that it has wanted before.
    pub(super) fn want(&mut self, ticket: Ticket, reading: Reading) {
        let channel = reading.channel().clone();
        let line = self.lines.entry(ticket.connection.index).or_default();
        line.channels.push_back(CatchUp::Read { ticket, channel, reading: Some(reading) });
    }

    /// What is to be asked for next for a connection that has room for it. In a turn that has written enough (`is_enough`) it is
    /// put off.
    pub(super) fn go_on(&mut self, index: u32, is_enough: bool) -> Next {
        let Some(line) = self.lines.get_mut(&index) else { return Next::Nothing };
        let Some(front) = line.channels.front_mut() else { return Next::Nothing };
        if is_enough {
            if front.wants_something() {
                self.put_off.enter(&mut line.place, index);
            }
            return Next::Wait;
        }
        match front {
            CatchUp::Channel { channel, told } => {
                let Some(after) = told.take() else { return Next::Wait };
                line.is_expected = true;
                Next::Piece { channel: channel.clone(), after }
            }
            CatchUp::Read { ticket, reading, .. } => match reading.take() {
                Some(reading) => Next::Read { ticket: *ticket, reading },
                None => Next::Wait,
            },
        }
    }

    /// The next of those that were put off.
    pub(super) fn next_put_off(&mut self) -> Option<u32> {
        let index = self.put_off.next()?;
        if let Some(line) = self.lines.get_mut(&index) {
            line.place = None;
        }
        Some(index)
    }

    /// A connection has been told a piece of a channel: up to where, unless that was the last. Whether it was expected.
    pub(super) fn note_piece(&mut self, index: u32, channel: &ChannelName, told: Option<Position>) -> bool {
        let Some(line) = self.lines.get_mut(&index) else { return false };
        let was_expected = std::mem::take(&mut line.is_expected);
        match told {
            None => self.remove(index, channel),
            Some(position) => {
                if let Some(told) = line.told(channel) {
                    *told = Some(position);
                }
            }
        }
        was_expected
    }

    /// A connection has been shown something; whether it had waited for that.
    pub(super) fn note_read(&mut self, ticket: Ticket) -> bool {
        let is_it =
            |one: &CatchUp| matches!(one, CatchUp::Read { ticket: of, reading: None, .. } if *of == ticket);
        let line = self.lines.get_mut(&ticket.connection.index);
        let Some(line) = line.filter(|line| line.channels.front().is_some_and(is_it)) else { return false };
        line.channels.pop_front();
        true
    }

    /// Forgets a connection.
    pub(super) fn forget(&mut self, index: u32) {
        if let Some(line) = self.lines.remove(&index) {
            self.put_off.leave(line.place);
        }
    }

    /// Forgets a channel.
    pub(super) fn remove(&mut self, index: u32, channel: &ChannelName) {
        let is_it = |one: &CatchUp| matches!(one, CatchUp::Channel { channel: of, .. } if of == channel);
        if let Some(line) = self.lines.get_mut(&index) {
            line.channels.retain(|one| !is_it(one));
        }
    }

    /// Forgets what has been asked of some owners, who may not answer; the connections that go on without. Channels that they
    /// catch up with stay, behind the others: their pieces may come yet.
    pub(super) fn forget_asked(&mut self, is_theirs: &dyn Fn(&ChannelName) -> bool) -> Vec<u32> {
        let asked =
            self.lines.iter_mut().filter_map(|(index, line)| line.pass_by(is_theirs).then_some(*index));
        asked.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ConnectionId;

    #[test]
    fn a_connection_is_told_one_piece_after_the_other_and_one_channel_after_the_other() {
        let (mut catch_ups, at) = (CatchUps::default(), |offset| Position { epoch: 1, offset });
        let piece = |channel: &str, offset| Next::Piece { channel: name(channel), after: at(offset) };
        catch_ups.begin(1, name("a"), true);
        catch_ups.begin(1, name("b"), false);
        assert_eq!(catch_ups.go_on(1, false), Next::Wait, "the owner is asked");
        assert!(catch_ups.note_piece(1, &name("a"), Some(at(10))));
        assert!(!catch_ups.note_piece(1, &name("b"), Some(at(7))), "this was none");
        assert_eq!([catch_ups.go_on(1, false), catch_ups.go_on(1, false)], [piece("a", 10), Next::Wait]);
        assert_eq!((catch_ups.told(1, &name("a")), catch_ups.told(1, &name("b"))), (None, Some(at(7))));
        assert!(catch_ups.note_piece(1, &name("a"), None), "that was the last");
        assert_eq!([catch_ups.go_on(1, false), catch_ups.go_on(1, false)], [piece("b", 7), Next::Wait]);
        assert!(catch_ups.note_piece(1, &name("b"), None) && !catch_ups.note_piece(1, &name("b"), None));
        assert_eq!([catch_ups.go_on(1, false), catch_ups.go_on(2, false)], [Next::Nothing, Next::Nothing]);
    }

    #[test]
    fn what_a_connection_wants_to_be_shown_is_asked_once_and_behind_what_it_wanted_before() {
        let mut catch_ups = CatchUps::default();
        let [first, second] = [1, 2].map(ticket);
        catch_ups.want(first, history("a"));
        catch_ups.want(second, history("b"));
        assert!(!catch_ups.note_read(first), "it has not been asked");
        let next = Next::Read { ticket: first, reading: history("a") };
        assert_eq!([catch_ups.go_on(1, false), catch_ups.go_on(1, false)], [next, Next::Wait]);
        assert!(!catch_ups.note_read(second) && catch_ups.note_read(first) && !catch_ups.note_read(first));
        let next = Next::Read { ticket: second, reading: history("b") };
        assert_eq!(catch_ups.go_on(1, false), next);
    }

    #[test]
    fn in_a_turn_that_has_written_enough_those_are_put_off_that_want_something_once_each() {
        let mut catch_ups = CatchUps::default();
        for index in [7, 8, 9] {
            catch_ups.begin(index, name("a"), false);
        }
        // The third waits for its channel's owner.
        for index in [7, 8, 7] {
            catch_ups.note_piece(index, &name("a"), Some(Position { epoch: 1, offset: 1 }));
        }
        for index in [9, 8, 7, 8] {
            assert_eq!(catch_ups.go_on(index, true), Next::Wait);
        }
        assert_eq!(catch_ups.next_put_off(), Some(8));
        assert_eq!(catch_ups.go_on(8, true), Next::Wait, "this turn has written enough again");
        assert_eq!([7, 8].map(Some), [(); 2].map(|()| catch_ups.next_put_off()));
        assert!(catch_ups.next_put_off().is_none() && !catch_ups.has_more());
        assert!(matches!(catch_ups.go_on(8, false), Next::Piece { .. }));
    }

    #[test]
    fn whoever_catches_up_no_more_waits_for_no_turn_however_often_it_comes_back() {
        let mut catch_ups = CatchUps::default();
        for _ in 0..3 {
            for index in [7, 8, 7] {
                catch_ups.want(
                    Ticket { connection: ConnectionId { index, generation: 1 }, token: 1 },
                    history("a"),
                );
                catch_ups.go_on(index, true);
            }
            assert_eq!(catch_ups.put_off.len(), 2);
            catch_ups.forget(7);
            assert!(catch_ups.has_more(), "the other stands there still");
            catch_ups.forget(8);
            assert!(!catch_ups.has_more());
        }
    }

    fn name(name: &str) -> ChannelName {
        ChannelName::new(name, 255).expect("a name")
    }

    fn channel(channel: &str, told: Option<u64>) -> CatchUp {
        CatchUp::Channel { channel: name(channel), told: told.map(|offset| Position { epoch: 1, offset }) }
    }

    fn history(channel: &str) -> Reading {
        Reading::History { channel: name(channel), since: None, limit: 1 }
    }

    fn ticket(token: u32) -> Ticket {
        Ticket { connection: ConnectionId { index: 1, generation: 1 }, token }
    }

    fn read(channel: &str, is_asked: bool) -> CatchUp {
        let reading = (!is_asked).then(|| history(channel));
        CatchUp::Read { ticket: ticket(1), channel: name(channel), reading }
    }

    #[test]
    fn owners_that_do_not_answer_hold_up_nothing_asked_of_the_others() {
        let is_theirs = |channel: &ChannelName| channel.as_str().starts_with("silent");
        let cases = [
            (vec![channel("silent", None), read("a", false)], "a silent", true),
            (
                vec![read("silent", true), channel("silent-2", None), channel("a", Some(1))],
                "a silent-2",
                true,
            ),
            (vec![channel("a", None), channel("silent", None)], "a silent", false),
            (vec![channel("silent", Some(1)), read("a", false)], "silent a", false),
            (vec![read("a", true), read("silent", true)], "a silent", false),
        ];
        for (channels, left, goes_on) in cases {
            let mut catch_ups = CatchUps::default();
            catch_ups.lines.insert(1, Line { channels: channels.into(), ..Line::default() });
            let going_on = catch_ups.forget_asked(&is_theirs);
            assert_eq!(going_on, if goes_on { vec![1] } else { vec![] }, "{left}");
            let names = catch_ups.lines[&1].channels.iter().map(|one| match one {
                CatchUp::Channel { channel, .. } | CatchUp::Read { channel, .. } => {
                    channel.as_str().to_owned()
                }
            });
            assert_eq!(names.collect::<Vec<_>>().join(" "), left);
        }
    }
}
