//! The subscribers one channel has on this shard, and the publications gathered for them during a turn.
//!
//! Subscribers stand in lists, and all of them read the burst from the same place. Who
//! joins while a burst is waiting must get only the part above its own position: it is kept apart as a *latecomer*,
//! with a cursor of its own, until it has caught up with the lists.
//!
//! ```text
//!   burst      [ 5 ][ 6 ][ 7 ][ 8 ]
//!   lists        ▲ cursor: seen 4
//!   latecomer              ▲ cursor: seen 6, joined when 5 and 6 were waiting
//! ```
//!
//! A cursor remembers the last position its readers have seen, so a publication lost on the way shows as a gap to
//! exactly those who missed it. What the lists get, they may get in slices: who has it and who is still to get it stay
//! apart when somebody leaves meanwhile, and who comes is a latecomer. Invariants: the burst is empty when nobody is
//! here, and after [`Audience::step`] answered `Done`; nobody is ever given a publication at or below what its cursor has
//! seen.
//!
//! Most audiences wait for their next publication most of the time, so what they need only while there is a burst
//! is kept outside of them, and only then.

use std::{cmp::Ordering, iter, ops::Range};

use smallvec::SmallVec;

use super::{
    lists::Lists,
    seat::{Place, Seat},
};
use crate::model::{ChannelName, Position, SharedPublication, Transport};

/// A channel's subscribers on this shard.
#[derive(Debug)]
pub(super) struct Audience {
    lists: Lists,
    /// The last position that everybody in the lists has seen.
    seen: Position,
    /// `None` while there is neither a burst nor a latecomer.
    pending: Option<Box<Pending>>,
}

#[derive(Debug, Default)]
struct Pending {
    /// A turn mostly brings a channel one publication or very few.
    burst: SmallVec<[SharedPublication; 2]>,
    /// Where the lists are in the burst.
    next: usize,
    latecomers: Vec<Latecomer>,
    /// What some in the lists have already got, and the others are to get next.
    slice: Option<Slice>,
    /// Where the stream was after the burst, if its owner said so. Who ends the burst before that has missed something.
    announced: Option<Position>,
}

/// Publications to hand to some of a channel's subscribers on this shard.
#[derive(Debug)]
pub struct Fanout<'a> {
    /// The channel.
    pub channel: &'a ChannelName,
    /// The publications, with consecutive offsets; none when all there is to hand out is the gap.
    pub publications: &'a [SharedPublication],
    /// The indices of the connections that get all of them, by [`Transport`] number.
    pub subscribers: [&'a [u32]; Transport::ALL.len()],
    /// A publication before these was lost on the way to this shard.
    pub gap: bool,
    /// The position before the first of these, or the one after the gap when there are none.
    pub since: Position,
}

/// How many subscribers one [`Fanout`] may have.
#[derive(Clone, Copy, Debug)]
pub struct FanoutLimit {
    /// At most this many, and at least one; the rest follow with the next.
    pub subscribers: usize,
    /// But all of this transport at once, once its turn has come.
    pub whole: Option<Transport>,
}

/// What the fan-out of a channel has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Hand this out.
    Portion(Portion),
    /// A latecomer has caught up and sits in the lists now.
    Seated {
        /// The subscriber.
        connection: u32,
        /// Its new seat.
        seat: Seat,
        /// The latecomer that took the seat it left, if any.
        moved: Option<Moved>,
    },
    /// Nothing.
    Done,
}

/// A part of the burst and who gets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Portion {
    range: Range<usize>,
    readers: Readers,
    gap: bool,
}

/// Who gets a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    /// Those in the lists between two cursors.
    Listed { from: Cursor, to: Cursor },
    /// One latecomer.
    Latecomer(usize),
}

/// A part of the burst that the lists are being given.
#[derive(Debug)]
struct Slice {
    range: Range<usize>,
    gap: bool,
    /// Who is next.
    next: Cursor,
}

/// A place in the lists: all of the transports before are before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    transport: usize,
    slot: usize,
}

/// A subscriber that sits elsewhere since another one left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) connection: u32,
    pub(super) seat: Seat,
}

#[derive(Debug)]
struct Latecomer {
    connection: u32,
    transport: Transport,
    /// Where it is in the burst.
    next: usize,
    /// The last position it has seen.
    seen: Position,
}

impl Default for Audience {
    fn default() -> Self {
        Self { lists: Lists::default(), seen: Position { epoch: 0, offset: 0 }, pending: None }
    }
}

impl Audience {
    /// Seats a subscriber that has seen everything up to `position`.
    pub(super) fn admit(&mut self, connection: u32, transport: Transport, position: Position) -> Seat {
        let burst = self.pending.as_deref().map_or(&[][..], |pending| &pending.burst);
        if burst.is_empty() && !self.is_sliced() {
            if self.lists.is_empty() {
                self.seen = position;
            }
            if self.seen == position {
                return self.list(connection, transport);
            }
        }
        let is_seen = |publication: &SharedPublication| {
            publication.position.epoch == position.epoch && publication.position.offset <= position.offset
        };
        let next = burst.iter().rposition(is_seen).map_or(0, |last| last + 1);
        let latecomers = &mut self.pending.get_or_insert_default().latecomers;
        let slot = latecomers.len() as u32;
        latecomers.push(Latecomer { connection, transport, next, seen: position });
        Seat::new(Place::Late { slot })
    }

    /// Adds a publication to the burst. With nobody here it must not be called.
    pub(super) fn push(&mut self, publication: SharedPublication) {
        debug_assert!(!self.is_empty());
        self.pending.get_or_insert_default().burst.push(publication);
    }

    /// Notes that the stream has come to this position. With nobody here it must not be called.
    pub(super) fn announce(&mut self, position: Position) {
        debug_assert!(!self.is_empty());
        self.pending.get_or_insert_default().announced = Some(position);
    }

    /// Takes a subscriber out and tells who sits elsewhere since.
    pub(super) fn remove(&mut self, place: Place) -> SmallVec<[Moved; 2]> {
        let moved = match place {
            Place::Listed { transport, slot } => self.unlist(transport, slot),
            Place::Late { slot } => {
                let pending = self.pending.as_deref_mut().expect("a latecomer is pending");
                pending.latecomers.swap_remove(slot as usize);
                pending.latecomer_at(slot).into_iter().collect()
            }
            Place::Joining { .. } => unreachable!("a subscriber that still joins has no seat here"),
        };
        if self.is_empty() {
            self.pending = None;
        }
        moved
    }

    /// Does the next thing the fan-out has to do. `Portion`s stay valid until the next call of any verb.
    pub(super) fn step(&mut self, limit: FanoutLimit) -> Step {
        let Some(pending) = self.pending.as_deref_mut() else { return Step::Done };
        let end = pending.burst.len();
        if self.lists.is_empty() {
            pending.next = end;
            pending.slice = None;
        }
        if let Some(slice) = pending.slice.take() {
            return Step::Portion(pending.cut(slice, &self.lists, limit));
        }
        if pending.next < end {
            let (range, gap) = advance(&mut pending.next, &mut self.seen, &pending.burst);
            let slice = Slice { range, gap, next: Cursor::default() };
            return Step::Portion(pending.cut(slice, &self.lists, limit));
        }
        let announced = pending.announced;
        if !self.lists.is_empty() && catch_up(&mut self.seen, announced) {
            let slice = Slice { range: end..end, gap: true, next: Cursor::default() };
            return Step::Portion(pending.cut(slice, &self.lists, limit));
        }
        let is_ready =
            |late: &Latecomer| late.next < end || is_behind(late.seen, announced) || late.seen == self.seen;
        let ready = match self.lists.is_empty() {
            true => pending.latecomers.len().checked_sub(1),
            false => pending.latecomers.iter().rposition(is_ready),
        };
        let Some(slot) = ready else {
            self.clear_burst();
            return Step::Done;
        };
        let late = &mut pending.latecomers[slot];
        if late.next < end {
            let (range, gap) = advance(&mut late.next, &mut late.seen, &pending.burst);
            return Step::Portion(Portion { range, readers: Readers::Latecomer(slot), gap });
        }
        if catch_up(&mut late.seen, announced) {
            return Step::Portion(Portion { range: end..end, readers: Readers::Latecomer(slot), gap: true });
        }
        let late = pending.latecomers.swap_remove(slot);
        let moved = pending.latecomer_at(slot as u32);
        if self.lists.is_empty() {
            self.seen = late.seen;
        }
        Step::Seated { connection: late.connection, seat: self.list(late.connection, late.transport), moved }
    }

    /// What a portion hands out.
    pub(super) fn fanout<'a>(&'a self, channel: &'a ChannelName, portion: Portion) -> Fanout<'a> {
        let pending = self.pending.as_deref().expect("a portion is pending");
        let publications = &pending.burst[portion.range];
        let mut seen = self.seen;
        let mut subscribers = [&[][..]; Transport::ALL.len()];
        match portion.readers {
            Readers::Listed { from, to } => {
                for (transport, list) in self.lists.by_transport().into_iter().enumerate() {
                    subscribers[transport] = &list[from.within(transport, list)..to.within(transport, list)];
                }
            }
            Readers::Latecomer(slot) => {
                let late = &pending.latecomers[slot];
                seen = late.seen;
                subscribers[late.transport as usize] = std::slice::from_ref(&late.connection);
            }
        }
        let since = Position { offset: seen.offset - publications.len() as u64, ..seen };
        Fanout { channel, publications, subscribers, gap: portion.gap, since }
    }

    /// Whether some in the lists are still to get what others have got.
    pub(super) fn is_sliced(&self) -> bool {
        self.pending.as_deref().is_some_and(|pending| pending.slice.is_some())
    }

    /// Where the last publication of the burst is, unless everybody has got it.
    pub(super) fn last_waiting(&self) -> Option<Position> {
        let last = self.pending.as_deref()?.burst.last()?.position;
        (!self.has_handed_out(last)).then_some(last)
    }

    /// Whether everybody here has got all up to a position. What it was an epoch ago, everybody has got.
    pub(super) fn has_handed_out(&self, position: Position) -> bool {
        let Some(pending) = self.pending.as_deref() else { return true };
        let is_up_to = |one: &&SharedPublication| {
            one.position.epoch == position.epoch && one.position.offset <= position.offset
        };
        let end = pending.burst.iter().take_while(is_up_to).count();
        let have_lists = pending.next >= end || self.lists.is_empty();
        have_lists
            && pending.slice.as_ref().is_none_or(|slice| slice.range.start >= end)
            && pending.latecomers.iter().all(|late| late.next >= end)
    }

    /// How many subscribers there are.
    pub(super) fn len(&self) -> usize {
        self.lists.by_transport().iter().map(|list| list.len()).sum::<usize>() + self.latecomers().len()
    }

    /// Whether nobody is here.
    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.latecomers().is_empty()
    }

    /// Everybody that takes publications as this transport.
    pub(super) fn everybody(&self, transport: Transport) -> impl Iterator<Item = u32> {
        let late = self.latecomers().iter().filter(move |late| late.transport == transport);
        self.lists.by_transport()[transport as usize].iter().copied().chain(late.map(|late| late.connection))
    }

    /// How many subscribers there are, by [`Transport`] number.
    pub(super) fn counts(&self) -> [u32; Transport::ALL.len()] {
        let mut counts = self.lists.by_transport().map(|list| list.len() as u32);
        for late in self.latecomers() {
            counts[late.transport as usize] += 1;
        }
        counts
    }

    fn latecomers(&self) -> &[Latecomer] {
        self.pending.as_deref().map_or(&[], |pending| &pending.latecomers)
    }

    fn list(&mut self, connection: u32, transport: Transport) -> Seat {
        Seat::new(Place::Listed { transport, slot: self.lists.push(connection, transport) })
    }

    /// Takes a subscriber out of the lists, so that those who have got a slice stay before those who have not.
    fn unlist(&mut self, transport: Transport, slot: u32) -> SmallVec<[Moved; 2]> {
        let next = self
            .pending
            .as_deref_mut()
            .and_then(|pending| pending.slice.as_mut())
            .map(|slice| &mut slice.next);
        let mut served = 0;
        if let Some(next) = next.filter(|next| next.transport == transport as usize) {
            served = next.slot as u32;
            if slot < served {
                next.slot -= 1;
            }
        }
        let seated =
            |(connection, slot)| Moved { connection, seat: Seat::new(Place::Listed { transport, slot }) };
        self.lists.remove(transport, slot, served).into_iter().map(seated).collect()
    }

    /// Ends the burst. Latecomers that are ahead of the lists stay.
    fn clear_burst(&mut self) {
        let latecomers = self.pending.take().map(|pending| pending.latecomers);
        if let Some(mut latecomers) = latecomers.filter(|latecomers| !latecomers.is_empty()) {
            latecomers.iter_mut().for_each(|late| late.next = 0);
            self.pending = Some(Box::new(Pending { latecomers, ..Pending::default() }));
        }
    }
}

impl Pending {
    /// Gives the next of the lists a slice, and keeps it if it is not for the last.
    fn cut(&mut self, slice: Slice, lists: &Lists, limit: FanoutLimit) -> Portion {
        let Slice { range, gap, next: from } = slice;
        let (mut to, mut room) = (from, limit.subscribers.max(1));
        for (list, transport) in iter::zip(lists.by_transport(), Transport::ALL).skip(from.transport) {
            let left = list.len() - to.slot;
            let taken = if limit.whole == Some(transport) { left } else { left.min(room) };
            room = room.saturating_sub(taken);
            if taken < left {
                to.slot += taken;
                break;
            }
            to = Cursor { transport: transport as usize + 1, slot: 0 };
        }
        if to.transport < Transport::ALL.len() {
            self.slice = Some(Slice { range: range.clone(), gap, next: to });
        }
        Portion { range, readers: Readers::Listed { from, to }, gap }
    }

    /// The latecomer that sits in a slot since another one left it.
    fn latecomer_at(&self, slot: u32) -> Option<Moved> {
        let late = self.latecomers.get(slot as usize)?;
        Some(Moved { connection: late.connection, seat: Seat::new(Place::Late { slot }) })
    }
}

impl Cursor {
    /// How many of a transport's list are before it.
    fn within(self, transport: usize, list: &[u32]) -> usize {
        match transport.cmp(&self.transport) {
            Ordering::Less => list.len(),
            Ordering::Equal => self.slot,
            Ordering::Greater => 0,
        }
    }
}

impl FanoutLimit {
    /// No limit.
    pub const NONE: Self = Self { subscribers: usize::MAX, whole: None };
}

/// Takes the publications from a cursor up to the next gap, and tells whether one lies before them.
fn advance(next: &mut usize, seen: &mut Position, burst: &[SharedPublication]) -> (Range<usize>, bool) {
    let start = *next;
    let gap = !follows(*seen, burst[start].position);
    *seen = burst[start].position;
    *next += 1;
    while let Some(publication) = burst.get(*next).filter(|publication| follows(*seen, publication.position))
    {
        *seen = publication.position;
        *next += 1;
    }
    (start..*next, gap)
}

/// Moves a cursor over what was lost at the end of the burst; tells whether anything was.
fn catch_up(seen: &mut Position, announced: Option<Position>) -> bool {
    let Some(position) = announced.filter(|_| is_behind(*seen, announced)) else { return false };
    *seen = position;
    true
}

fn is_behind(seen: Position, announced: Option<Position>) -> bool {
    announced.is_some_and(|announced| announced.epoch != seen.epoch || announced.offset > seen.offset)
}

fn follows(seen: Position, next: Position) -> bool {
    next.epoch == seen.epoch && next.offset == seen.offset + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Payload, Publication};

    const EPOCH: u64 = 7;

    fn at(offset: u64) -> Position {
        Position { epoch: EPOCH, offset }
    }

    fn name() -> ChannelName {
        ChannelName::new("news", 255).unwrap()
    }

    fn push(audience: &mut Audience, offsets: impl IntoIterator<Item = u64>) {
        for offset in offsets {
            let payload = Payload::new(*b"hello", None);
            let publication = Publication { channel: name(), position: at(offset), unix_ms: 0, payload };
            audience.push(publication.into());
        }
    }

    /// Runs the fan-out to its end: who got which offsets, and `!` before a gap.
    fn drain(audience: &mut Audience) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            match audience.step(FanoutLimit::NONE) {
                Step::Portion(portion) => {
                    let channel = name();
                    let fanout = audience.fanout(&channel, portion);
                    let offsets: Vec<_> = fanout.publications.iter().map(|p| p.position.offset).collect();
                    assert!(offsets.first().is_none_or(|first| fanout.since.offset + 1 == *first));
                    let mark = if fanout.gap { "!" } else { "" };
                    seen.push(format!("{:?} {mark}{offsets:?}", fanout.subscribers.concat()));
                }
                Step::Seated { .. } => {}
                Step::Done => return seen,
            }
        }
    }

    #[test]
    fn subscribers_of_every_transport_get_the_whole_burst_at_once() {
        let mut audience = Audience::default();
        for (index, transport) in Transport::ALL.into_iter().enumerate() {
            audience.admit(index as u32, transport, at(4));
        }
        push(&mut audience, 5..=6);
        assert_eq!(drain(&mut audience), ["[0, 1, 2, 3, 4] [5, 6]"]);
        assert_eq!(drain(&mut audience), [""; 0]);
        assert_eq!(audience.counts(), [1; Transport::ALL.len()]);
    }

    #[test]
    fn a_latecomer_gets_only_what_is_above_its_position_and_is_then_one_of_the_list() {
        let mut audience = Audience::default();
        audience.admit(1, Transport::Json, at(4));
        push(&mut audience, 5..=6);
        audience.admit(2, Transport::Json, at(6));
        push(&mut audience, 7..=8);
        audience.admit(3, Transport::Json, at(8));
        audience.admit(4, Transport::Json, at(5));
        assert_eq!(audience.counts(), [0, 4, 0, 0, 0]);
        assert_eq!(drain(&mut audience), ["[1] [5, 6, 7, 8]", "[4] [6, 7, 8]", "[2] [7, 8]"]);
        push(&mut audience, [9]);
        assert_eq!(drain(&mut audience), ["[1, 4, 3, 2] [9]"]);
    }

    #[test]
    fn a_gap_splits_the_burst_and_shows_once() {
        let mut audience = Audience::default();
        audience.admit(1, Transport::Json, at(4));
        push(&mut audience, [5, 7, 8]);
        assert_eq!(drain(&mut audience), ["[1] [5]", "[1] ![7, 8]"]);
        push(&mut audience, [9]);
        assert_eq!(drain(&mut audience), ["[1] [9]"]);
    }

    #[test]
    fn a_gap_before_a_subscriber_joined_is_not_its_gap() {
        let mut audience = Audience::default();
        audience.admit(1, Transport::Json, at(4));
        audience.admit(2, Transport::Json, at(6));
        assert_eq!(drain(&mut audience), [""; 0]);
        push(&mut audience, [7]);
        assert_eq!(drain(&mut audience), ["[1] ![7]", "[2] [7]"]);
        push(&mut audience, [8]);
        assert_eq!(drain(&mut audience), ["[1, 2] [8]"]);
    }

    #[test]
    fn what_was_lost_last_shows_as_a_gap_with_nothing_after_it() {
        let mut audience = Audience::default();
        audience.admit(1, Transport::Json, at(4));
        push(&mut audience, [5]);
        audience.admit(2, Transport::Json, at(6));
        audience.admit(3, Transport::Json, at(7));
        audience.announce(at(7));
        assert_eq!(drain(&mut audience), ["[1] [5]", "[1] ![]", "[2] ![]"]);
        push(&mut audience, [8]);
        assert_eq!(drain(&mut audience), ["[1, 3, 2] [8]"]);
        audience.announce(at(8));
        assert_eq!(drain(&mut audience), [""; 0]);
    }

    #[test]
    fn the_last_of_the_list_takes_a_removed_seat() {
        let mut audience = Audience::default();
        let seats = [1, 2, 3].map(|connection| audience.admit(connection, Transport::EventStream, at(0)));
        assert_eq!(audience.remove(seats[0].place())[..], [Moved { connection: 3, seat: seats[0] }]);
        assert!(audience.remove(seats[1].place()).is_empty());
        assert!(audience.remove(seats[0].place()).is_empty());
        assert!(audience.is_empty());
    }

    #[test]
    fn the_last_latecomer_takes_a_removed_seat() {
        let mut audience = Audience::default();
        audience.admit(0, Transport::Json, at(0));
        push(&mut audience, [1]);
        let seats = [1, 2, 3].map(|connection| audience.admit(connection, Transport::EventStream, at(1)));
        push(&mut audience, [2]);
        assert_eq!(audience.remove(seats[0].place())[..], [Moved { connection: 3, seat: seats[0] }]);
        assert_eq!(drain(&mut audience), ["[0] [1, 2]", "[2] [2]", "[3] [2]"]);
    }

    #[test]
    fn latecomers_get_their_part_when_the_lists_have_emptied() {
        let mut audience = Audience::default();
        let seat = audience.admit(1, Transport::Json, at(4));
        push(&mut audience, [5]);
        audience.admit(2, Transport::Json, at(5));
        push(&mut audience, [6]);
        audience.remove(seat.place());
        assert_eq!(drain(&mut audience), ["[2] [6]"]);
        push(&mut audience, [7]);
        assert_eq!(drain(&mut audience), ["[2] [7]"]);
    }

    #[test]
    fn a_burst_nobody_waits_for_is_dropped() {
        let mut audience = Audience::default();
        let seat = audience.admit(1, Transport::Json, at(4));
        push(&mut audience, [5]);
        audience.remove(seat.place());
        audience.admit(2, Transport::Json, at(5));
        assert_eq!(drain(&mut audience), [""; 0]);
        push(&mut audience, [6]);
        assert_eq!(drain(&mut audience), ["[2] [6]"]);
    }

    #[test]
    fn publications_and_subscribers_may_come_between_portions() {
        let mut audience = Audience::default();
        audience.admit(1, Transport::Json, at(4));
        push(&mut audience, [5]);
        let Step::Portion(first) = audience.step(FanoutLimit::NONE) else {
            panic!("there is something to hand out")
        };
        let readers = Readers::Listed {
            from: Cursor::default(),
            to: Cursor { transport: Transport::ALL.len(), slot: 0 },
        };
        assert_eq!((first.range, first.readers), (0..1, readers));
        audience.admit(2, Transport::Json, at(5));
        push(&mut audience, [6]);
        assert_eq!(drain(&mut audience), ["[1] [6]", "[2] [6]"]);
    }

    #[test]
    fn a_list_is_given_its_slices_one_after_the_other() {
        let mut audience = Audience::default();
        let whole = FanoutLimit { subscribers: 2, whole: Some(Transport::SocketIo) };
        for (connection, transport) in
            [(1, Transport::Json), (2, Transport::Json), (3, Transport::Json), (4, Transport::EventStream)]
        {
            audience.admit(connection, transport, at(4));
        }
        for connection in 5..10 {
            audience.admit(connection, Transport::SocketIo, at(4));
        }
        push(&mut audience, [5, 7]);
        let mut slices = Vec::new();
        while let Step::Portion(portion) = audience.step(whole) {
            let name = name();
            let fanout = audience.fanout(&name, portion);
            slices.push((
                fanout.subscribers.concat(),
                fanout.publications.len(),
                fanout.gap,
                fanout.since.offset,
            ));
        }
        let all: Vec<u32> = (5..10).collect();
        let expected = [(5, false, 4), (7, true, 6)].into_iter().flat_map(|(_, gap, since)| {
            [vec![1, 2], [vec![3, 4], all.clone()].concat()].map(|list| (list, 1, gap, since))
        });
        assert_eq!(slices, expected.collect::<Vec<_>>());
    }

    #[test]
    fn whoever_comes_and_goes_between_slices_nobody_misses_or_repeats_anything() {
        for seed in 0..500 {
            let mut chance = fastrand::Rng::with_seed(seed);
            let mut crowd = Crowd::default();
            (0..chance.u32(1..12)).for_each(|_| crowd.admit(&mut chance));
            for _ in 0..chance.u32(1..40) {
                match chance.u8(..12) {
                    0..2 => crowd.admit(&mut chance),
                    2..4 => crowd.remove(&mut chance),
                    4..6 => crowd.publish(),
                    6 => crowd.lose(),
                    _ => {
                        crowd.step(FanoutLimit { subscribers: chance.usize(1..4), whole: None });
                    }
                }
            }
            while crowd.step(FanoutLimit { subscribers: 3, whole: None }) {}
            for member in &crowd.members {
                assert_eq!(member.seen, crowd.published, "seed {seed}, {member:?}");
            }
        }
    }

    #[derive(Debug)]
    struct Person {
        connection: u32,
        seat: Seat,
        /// What it has been given or told that it missed.
        seen: u64,
    }

    /// An audience, and what everybody in it has seen.
    #[derive(Default)]
    struct Crowd {
        audience: Audience,
        members: Vec<Person>,
        published: u64,
        lost: Vec<u64>,
        admitted: u32,
    }

    impl Crowd {
        fn admit(&mut self, chance: &mut fastrand::Rng) {
            let transport = Transport::ALL[chance.usize(..Transport::ALL.len())];
            let (connection, seen) = (self.admitted, self.published);
            let seat = self.audience.admit(connection, transport, at(seen));
            self.admitted += 1;
            self.members.push(Person { connection, seat, seen });
        }

        fn remove(&mut self, chance: &mut fastrand::Rng) {
            if self.members.is_empty() {
                return;
            }
            let gone = self.members.swap_remove(chance.usize(..self.members.len()));
            for moved in self.audience.remove(gone.seat.place()) {
                self.member(moved.connection).seat = moved.seat;
            }
        }

        fn publish(&mut self) {
            self.published += 1;
            if !self.audience.is_empty() {
                push(&mut self.audience, [self.published]);
            }
        }

        /// A publication is lost on the way, which may be told before the next comes.
        fn lose(&mut self) {
            self.published += 1;
            self.lost.push(self.published);
            if !self.audience.is_empty() {
                self.audience.announce(at(self.published));
            }
        }

        fn step(&mut self, limit: FanoutLimit) -> bool {
            match self.audience.step(limit) {
                Step::Portion(portion) => {
                    let name = name();
                    let fanout = self.audience.fanout(&name, portion);
                    let (since, gap) = (fanout.since.offset, fanout.gap);
                    let offsets: Vec<_> = fanout.publications.iter().map(|one| one.position.offset).collect();
                    assert_eq!(offsets, (since + 1..).take(offsets.len()).collect::<Vec<_>>());
                    for connection in fanout.subscribers.concat() {
                        let member = self.members.iter_mut().find(|member| member.connection == connection);
                        let member = member.expect("only members get anything");
                        assert_eq!(gap, since > member.seen, "{member:?} {since} {offsets:?}");
                        assert!(
                            (member.seen + 1..=since).all(|offset| self.lost.contains(&offset)),
                            "{member:?}"
                        );
                        member.seen = since + offsets.len() as u64;
                    }
                }
                Step::Seated { connection, seat, moved } => {
                    self.member(connection).seat = seat;
                    if let Some(moved) = moved {
                        self.member(moved.connection).seat = moved.seat;
                    }
                }
                Step::Done => return false,
            }
            true
        }

        fn member(&mut self, connection: u32) -> &mut Person {
            let member = self.members.iter_mut().find(|member| member.connection == connection);
            member.expect("only members have seats")
        }
    }
}
