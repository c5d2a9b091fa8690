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
//! A publication goes from the burst when everybody has it, though others have come behind it: however long a channel is
//! published to faster than it can be handed out, only what somebody still waits for is kept, and counted ([`Gathered`]).
//! For that, whoever is behind the lists gets its part, and its seat, before the lists go on.
//!
//! Most audiences wait for their next publication most of the time, so what they need only while there is a burst
//! is kept outside of them, and only then.

mod held;
mod told;

use std::{cell::Cell, cmp::Ordering, iter, ops::Range, rc::Rc};

use smallvec::SmallVec;

use super::{
    lists::Lists,
    portions::{Fanout, FanoutLimit, Gathered, Wait, cost, is_large},
    seat::{Place, Seat},
    seen::{advance, catch_up, is_behind},
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
    /// Where the first stands that is held back, with all behind it. The lists do not pass it.
    held: Option<usize>,
    /// Bytes that the lists were given in the turn in which a publication that is held back ended their portion.
    given: usize,
    latecomers: Vec<Latecomer>,
    /// What some in the lists have already got, and the others are to get next.
    slice: Option<Slice>,
    /// Where the stream was after the burst, if its owner said so. Who ends the burst before that has missed something.
    announced: Option<Position>,
    gathered: Option<Gathered>,
    /// In which turn the lists began to get a portion.
    turn: u64,
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
    /// What comes next may not be handed out now.
    Waits(Wait),
    /// Nothing.
    Done,
}

/// A part of the burst and who gets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Portion {
    range: Range<usize>,
    readers: Readers,
    gap: bool,
    is_large: bool,
    /// The others of the lists get it when other channels have had their turn.
    pub(super) passes_turn: bool,
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
    is_large: bool,
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

    /// Adds a publication to the burst, and its bytes to the sum of all. With nobody here it must not be called.
    pub(super) fn push(&mut self, publication: SharedPublication, is_held: bool, sum: &Rc<Cell<usize>>) {
        debug_assert!(!self.is_empty());
        let pending = self.pending.get_or_insert_default();
        let gathered = pending.gathered.get_or_insert_with(|| Gathered { bytes: 0, sum: Rc::clone(sum) });
        gathered.add(cost(&publication));
        if is_held && pending.held.is_none() {
            pending.held = Some(pending.burst.len());
        }
        pending.burst.push(publication);
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
    pub(super) fn step(&mut self, limit: FanoutLimit, turn: u64) -> Step {
        let Some(pending) = self.pending.as_deref_mut() else { return Step::Done };
        if !limit.is_paced {
            pending.held = None;
        }
        if self.lists.is_empty() {
            pending.next = pending.free();
            pending.slice = None;
        }
        if let Some(slice) = pending.slice.take() {
            return pending.cut(slice, &self.lists, limit);
        }
        if let Some(slot) = pending.next_latecomer(&self.lists, self.seen) {
            return self.step_latecomer(slot, limit);
        }
        pending.let_go();
        let (free, end) = (pending.free(), pending.burst.len());
        if pending.next < free {
            if limit.is_paced && pending.has_enough(turn) {
                return Step::Waits(Wait::Served);
            }
            let is_large = is_large(&pending.burst[pending.next]);
            if !limit.lets_through(is_large) {
                return Step::Waits(Wait::of(is_large));
            }
            let (range, gap) = advance(&mut pending.next, &mut self.seen, &pending.burst[..free]);
            pending.note_given(turn, &range);
            let slice = Slice { range, gap, is_large, next: Cursor::default() };
            return pending.cut(slice, &self.lists, limit);
        }
        if free < end {
            return Step::Waits(Wait::Held);
        }
        if !self.lists.is_empty() && catch_up(&mut self.seen, pending.announced) {
            let slice = Slice { range: end..end, gap: true, is_large: false, next: Cursor::default() };
            return pending.cut(slice, &self.lists, limit);
        }
        self.clear_burst();
        Step::Done
    }

    /// Gives a latecomer its part of the burst, up to where the lists are, or a seat in them.
    fn step_latecomer(&mut self, slot: usize, limit: FanoutLimit) -> Step {
        let Some(pending) = self.pending.as_deref_mut() else { return Step::Done };
        let (end, readers) = (pending.next, Readers::Latecomer(slot));
        // What was lost behind the burst is told when all of that has been handed out.
        let announced = pending.announced.filter(|_| end == pending.burst.len());
        let late = &mut pending.latecomers[slot];
        if late.next < end {
            let is_large = is_large(&pending.burst[late.next]);
            if !limit.lets_through(is_large) {
                return Step::Waits(Wait::of(is_large));
            }
            let (range, gap) = advance(&mut late.next, &mut late.seen, &pending.burst[..end]);
            let passes_turn = false;
            return Step::Portion(Portion { range, readers, gap, is_large, passes_turn });
        }
        if (self.lists.is_empty() || late.seen != self.seen) && catch_up(&mut late.seen, announced) {
            return Step::Portion(Portion { readers, ..Portion::gap(end) });
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
        let publications = &pending.burst[portion.range.clone()];
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
        let Portion { gap, is_large, .. } = portion;
        Fanout { channel, publications, subscribers, gap, since, is_large }
    }

    /// Whether some in the lists are still to get what others have got.
    pub(super) fn is_sliced(&self) -> bool {
        self.pending.as_deref().is_some_and(|pending| pending.slice.is_some())
    }

    /// Bytes of the burst, with those that everybody has got and that have not been forgotten.
    pub(super) fn gathered_bytes(&self) -> usize {
        self.pending
            .as_deref()
            .and_then(|pending| pending.gathered.as_ref())
            .map_or(0, |gathered| gathered.bytes)
    }

    /// Whether the lists have had a portion in a turn, and more waits.
    pub(super) fn has_been_served(&self, turn: u64) -> bool {
        self.pending.as_deref().is_some_and(|pending| pending.turn == turn)
    }

    /// Where the last publication of the burst is, unless everybody has got it.
    pub(super) fn last_waiting(&self) -> Option<Position> {
        let last = self.pending.as_deref()?.burst.last()?.position;
        (!self.has_handed_out(last)).then_some(last)
    }

    /// Whether everybody here has got all up to a position. What it was an epoch ago, everybody has got.
    pub(super) fn has_handed_out(&self, position: Position) -> bool {
        let Some(pending) = self.pending.as_deref() else { return true };
        // No epoch comes back, and offsets rise within one: what is up to the position stands at the beginning, or nowhere.
        let is_up_to = |one: &SharedPublication| {
            one.position.epoch == position.epoch && one.position.offset <= position.offset
        };
        // Whoever is to get one behind it next has got it.
        let has_passed = |next: usize| pending.burst.get(next).is_none_or(|one| !is_up_to(one));
        (self.lists.is_empty() || has_passed(pending.next))
            && pending.slice.as_ref().is_none_or(|slice| has_passed(slice.range.start))
            && pending.latecomers.iter().all(|late| has_passed(late.next))
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
    fn cut(&mut self, slice: Slice, lists: &Lists, limit: FanoutLimit) -> Step {
        let Slice { range, gap, is_large, next: from } = slice;
        if !limit.lets_through(is_large) {
            self.slice = Some(Slice { range, gap, is_large, next: from });
            return Step::Waits(Wait::of(is_large));
        }
        let bytes = self.burst[range.clone()].iter().map(|one| one.payload.bytes()).sum();
        let may = limit.room_for(bytes, is_large);
        let (mut to, mut room) = (from, may);
        for (list, transport) in iter::zip(lists.by_transport(), Transport::ALL).skip(from.transport) {
            let left = list.len() - to.slot;
            let taken = if limit.is_whole(transport, is_large) { left } else { left.min(room) };
            room = room.saturating_sub(taken);
            if taken < left {
                to.slot += taken;
                break;
            }
            to = Cursor { transport: transport as usize + 1, slot: 0 };
        }
        if to.transport < Transport::ALL.len() {
            self.slice = Some(Slice { range: range.clone(), gap, is_large, next: to });
        }
        // One that is small, and for no more than a turn's subscribers, is given to all of them before other channels go on.
        let passes_turn = self.slice.is_some() && (is_large || may >= limit.subscribers);
        let readers = Readers::Listed { from, to };
        Step::Portion(Portion { range, readers, gap, is_large, passes_turn })
    }

    /// The latecomer that comes before the lists go on: one that is behind them, or where they are. With nobody in the lists
    /// it is any that is not ahead of what is held back.
    fn next_latecomer(&self, lists: &Lists, seen: Position) -> Option<usize> {
        if lists.is_empty() {
            return self.latecomers.iter().rposition(|late| late.next <= self.next);
        }
        let (next, end) = (self.next, self.burst.len());
        // What was lost last, the lists are told first.
        let is_at_end = next == end && !is_behind(seen, self.announced);
        self.latecomers.iter().rposition(|late| {
            late.next < next
                || (late.next == next && late.seen == seen)
                || (is_at_end && is_behind(late.seen, self.announced))
        })
    }

    /// Forgets the publications that everybody has got, once they are a good part of the burst.
    fn let_go(&mut self) {
        const PART: usize = 8;
        let latecomers = self.latecomers.iter().map(|late| late.next);
        let count = latecomers.fold(self.next, usize::min);
        // All of them go with the burst.
        if count * PART < self.burst.len() || count == self.burst.len() || count == 0 {
            return;
        }
        let bytes = self.burst.drain(..count).map(|one| cost(&one)).sum();
        if let Some(gathered) = &mut self.gathered {
            gathered.subtract(bytes);
        }
        self.next -= count;
        self.held = self.held.map(|held| held - count);
        self.latecomers.iter_mut().for_each(|late| late.next -= count);
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

impl Portion {
    /// Nothing but the word that something has been lost.
    fn gap(end: usize) -> Self {
        let readers = Readers::Latecomer(0);
        Self { range: end..end, readers, gap: true, is_large: false, passes_turn: false }
    }
}

#[cfg(test)]
mod tests;
