//! Which channels of this owner anybody follows, for who wants to be told: at once when the first follower has come, and when
//! the last has been gone for a grace, so that one that comes and goes is not told of each time.
//!
//! ```text
//!   Vacant ─somebody follows─► Occupied ─nobody does─► Vacating ─the grace is over─┬─ nobody does ─► Vacant
//!     told: vacated   ◄──────────────────────────────────────────────────────────┘└─ somebody does ─► Occupied
//! ```
//!
//! Invariant: each [`Notice::Occupied`] of a channel is followed by one [`Notice::Vacated`] of it, and by no other before; a
//! channel that is not vacant is kept.

use std::collections::VecDeque;

use super::{
    Hub, Output,
    channel::{ChannelIndex, Role},
};
use crate::{
    limits::VACATED_PER_TURN,
    model::{Notice, NoticeKind, NoticeKinds},
};

/// What is told, and which channels may be vacant soon.
#[derive(Debug, Default)]
pub(super) struct Occupancy {
    kinds: NoticeKinds,
    grace_ms: u64,
    /// In the order of their times; each channel stands here at most once.
    vacating: VecDeque<(u64, ChannelIndex)>,
}

/// What has been told of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing, or that nobody follows it.
    #[default]
    Vacant,
    /// That somebody does.
    Occupied,
    /// The same, and nobody did a while ago.
    Vacating,
}

impl Occupancy {
    fn is_on(&self) -> bool {
        self.kinds.has(NoticeKind::Occupied) || self.kinds.has(NoticeKind::Vacated)
    }
}

impl Hub {
    /// Tells of these kinds of notices from now on, as [`Output::Notice`]; of a channel that nobody follows any more after so
    /// long.
    pub fn tell_of(&mut self, kinds: NoticeKinds, grace_ms: u64) {
        (self.occupancy.kinds, self.occupancy.grace_ms) = (kinds, grace_ms);
    }

    /// When a channel may be vacant next.
    pub fn next_vacancy_ms(&self) -> Option<u64> {
        self.occupancy.vacating.front().map(|(at_ms, _)| *at_ms)
    }

    /// Somebody has begun to follow a channel, or follows it no more.
    pub(super) fn note_occupancy(&mut self, index: ChannelIndex) {
        if !self.occupancy.is_on() {
            return;
        }
        let is_followed = self.is_followed(index);
        let at_ms = self.now.monotonic_ms + self.occupancy.grace_ms;
        let channel = &mut self.channels[index];
        let Role::Owner(stream) = &mut channel.role else { return };
        match (stream.told, is_followed) {
            (Told::Vacant, true) => {
                stream.told = Told::Occupied;
                let notice = Notice::Occupied(channel.name.clone());
                self.tell_notice(notice);
            }
            (Told::Occupied, false) => {
                stream.told = Told::Vacating;
                self.occupancy.vacating.push_back((at_ms, index));
            }
            (Told::Vacant, false) | (Told::Occupied, true) | (Told::Vacating, _) => {}
        }
    }

    /// Looks at channels that nobody followed a grace ago, so many at most; tells at how many.
    pub(super) fn pass_vacancies(&mut self) -> usize {
        for looked in 0..VACATED_PER_TURN {
            let is_due = self.next_vacancy_ms().is_some_and(|at_ms| at_ms <= self.now.monotonic_ms);
            let Some((_, index)) = is_due.then(|| self.occupancy.vacating.pop_front()).flatten() else {
                return looked;
            };
            let is_followed = self.is_followed(index);
            self.stream_mut(index).told = if is_followed { Told::Occupied } else { Told::Vacant };
            if !is_followed {
                let notice = Notice::Vacated(self.channels[index].name.clone());
                self.tell_notice(notice);
                self.release(index);
            }
        }
        VACATED_PER_TURN
    }

    /// Has something told, if it is wanted.
    pub(super) fn tell_notice(&mut self, notice: Notice) {
        if self.occupancy.kinds.has(notice.kind()) {
            self.outputs.push_back(Output::Notice(notice));
        }
    }

    fn is_followed(&self, index: ChannelIndex) -> bool {
        let channel = &self.channels[index];
        channel.is_subscribed() || channel.stream().is_some_and(|stream| stream.shards().next().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::HubSettings,
        limits::Limits,
        mesh::{JoinAsked, Message},
        model::{ChannelName, ConnectionId, Now, ShardId, Transport},
    };

    const GRACE_MS: u64 = 3_000;

    fn at(monotonic_ms: u64) -> Now {
        Now { monotonic_ms, ..Now::default() }
    }

    /// A hub that owns every channel, though another shard is told of.
    fn hub() -> Hub {
        let mut hub = Hub::new(HubSettings::of_shard(&Limits::default(), ShardId(0), 1, 100, 1, 2));
        hub.tell_of(NoticeKind::ALL.into_iter().collect(), GRACE_MS);
        hub
    }

    fn told(hub: &mut Hub) -> Vec<Notice> {
        let outputs = std::iter::from_fn(|| hub.poll_output());
        outputs.filter_map(|one| if let Output::Notice(notice) = one { Some(notice) } else { None }).collect()
    }

    #[test]
    fn a_channel_is_told_of_when_the_first_comes_and_when_the_last_has_been_gone_for_the_grace() {
        let (mut hub, channel) = (hub(), ChannelName::new("a", 10).expect("a name"));
        let one = ConnectionId { index: 1, generation: 0 };
        let two = ConnectionId { index: 2, generation: 0 };
        let join = |hub: &mut Hub, now, who| {
            hub.subscribe(at(now), who, Transport::Json, channel.clone(), None, None).expect("there is room");
        };
        join(&mut hub, 0, one);
        assert_eq!(told(&mut hub), [Notice::Occupied(channel.clone())]);
        join(&mut hub, 1, two);
        hub.handle_tick(at(10));
        hub.unsubscribe(one, &channel);
        hub.handle_tick(at(9_000));
        assert_eq!(told(&mut hub), [], "there is another");
        hub.unsubscribe(two, &channel);
        assert_eq!(hub.next_vacancy_ms(), Some(9_000 + GRACE_MS));
        hub.handle_tick(at(9_000 + GRACE_MS - 1));
        // It flaps.
        for now in [0, 1, 2].map(|step| 9_000 + GRACE_MS - 1 + step) {
            join(&mut hub, now, one);
            hub.unsubscribe(one, &channel);
        }
        assert_eq!(told(&mut hub), [], "not yet");
        hub.handle_tick(at(9_001 + GRACE_MS));
        assert_eq!(told(&mut hub), [Notice::Vacated(channel.clone())]);
        hub.handle_tick(at(99_000));
        assert_eq!((told(&mut hub), hub.next_vacancy_ms()), (vec![], None));
        join(&mut hub, 99_000, one);
        assert_eq!(told(&mut hub), [Notice::Occupied(channel)]);
    }

    #[test]
    fn followers_on_another_shard_count_and_who_comes_back_within_the_grace_is_not_told_of() {
        let (mut hub, channel) = (hub(), ChannelName::new("a", 10).expect("a name"));
        let other = ShardId(1);
        let join = || Message::Join { channel: channel.clone(), asked: JoinAsked::NOTHING, join: 0 };
        let leave = || Message::Leave { channel: channel.clone() };
        hub.handle_message(at(0), other, join());
        assert_eq!(told(&mut hub), [Notice::Occupied(channel.clone())]);
        hub.handle_message(at(1), other, leave());
        hub.handle_message(at(2), other, join());
        hub.handle_tick(at(1 + GRACE_MS));
        assert_eq!((told(&mut hub), hub.next_vacancy_ms()), (vec![], None));
        hub.handle_message(at(9_000), other, leave());
        hub.handle_tick(at(9_000 + GRACE_MS));
        assert_eq!(told(&mut hub), [Notice::Vacated(channel)]);
    }
}
