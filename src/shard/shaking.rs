//! Who is shaking hands on a shard, and whose turn it is.
//!
//! ```text
//!   first bytes ─► hello ─whole─► waits ─► begun, in rustls ─► answered ─► second flight ─► waits ─► taken out
//!                                  │        └── at most so many ──┴─ owes it for too long while others wait ─► given up
//!                                  └── at most so many, then nobody is accepted
//! ```
//!
//! Those who come share some time of each turn, so that those who are here do not feel them. Second flights and first requests
//! go before hellos: they are cheap, they free memory, and there are only as many of them as hellos have been answered.
//!
//! A hello that waits costs its bytes, a handshake that has begun some ten kilobytes. So only so many have begun at once;
//! the others wait, first in the table, then in the kernel's queue. Nobody is cut for having come with many others: only a
//! client that owes its next message for a good part of the time that a handshake may take, while others wait for its
//! room. Who says nothing at all holds nothing but its connection, and keeps nobody waiting.
//!
//! Invariant: `begun` handshakes of the table have begun, and each of them that waits stands before all that have not.

use std::{collections::VecDeque, time::Instant};

use rustc_hash::FxHashMap;

use super::deadlines::Deadlines;
use crate::{
    limits::{HANDSHAKE_US_PER_TURN, HELLOS_KEPT},
    model::ConnectionId,
    tls::Handshake,
};

/// A client that is asked for its next message may take this part of the time of a handshake while others wait.
const STALL_PART: u64 = 5;

/// Handshakes in progress, by the slot of their connection.
#[derive(Default)]
pub(super) struct ShakingTable {
    table: FxHashMap<u32, Shaking>,
    /// Those who have begun and whose next message waits for its turn, a second flight or another hello, and those who are done
    /// and whose first request does.
    flights: VecDeque<ConnectionId>,
    /// Those whose hello waits.
    waiting: VecDeque<ConnectionId>,
    /// What of this turn has been spent on those who come, and how much may be.
    spent_us: u64,
    us_per_turn: u64,
    begun: usize,
    begun_max: usize,
    timeout_ms: u64,
    /// When those that have begun will have owed their next message for too long; with the time of their last step.
    stalls: Deadlines<(u32, u64)>,
}

/// A connection that is shaking hands.
pub(super) struct Shaking {
    pub(super) handshake: Box<Handshake>,
    pub(super) arrived_ms: u64,
    /// It stands in one of the queues.
    is_waiting: bool,
    /// What is left of its time while it does: the wait is no fault of its client.
    pub(super) left_ms: u64,
    /// When its last step was done.
    stepped_ms: u64,
}

impl Shaking {
    /// Whether it has waited for the step that is done now, and its time has stood still.
    pub(super) fn has_waited(&self) -> bool {
        self.is_waiting
    }

    /// Whether its second flight waits: the answer to its hello lies behind.
    pub(super) fn is_flight_waiting(&self) -> bool {
        self.is_waiting && self.handshake.has_answered()
    }
}

impl ShakingTable {
    /// A table in which so many may have begun, of which each may take so long.
    pub(super) fn new(begun_max: u32, timeout_ms: u32) -> Self {
        let mut table = Self { us_per_turn: HANDSHAKE_US_PER_TURN, ..Self::default() };
        table.limit(begun_max, timeout_ms);
        table
    }

    /// From now on so many may have begun, of which each may take so long.
    pub(super) fn limit(&mut self, begun_max: u32, timeout_ms: u32) {
        (self.begun_max, self.timeout_ms) = (begun_max as usize, timeout_ms.into());
    }

    /// How many may have begun.
    pub(super) fn begun_max(&self) -> u32 {
        self.begun_max as u32
    }

    /// How long each may take, in milliseconds.
    pub(super) fn timeout_ms(&self) -> u64 {
        self.timeout_ms
    }

    /// Enters one of which the first bytes have arrived.
    pub(super) fn enter(&mut self, index: u32, handshake: Box<Handshake>, now_ms: u64) {
        let shaking =
            Shaking { handshake, arrived_ms: now_ms, is_waiting: false, left_ms: 0, stepped_ms: now_ms };
        self.remove(index);
        self.table.insert(index, shaking);
    }

    /// A handshake in progress.
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Shaking> {
        self.table.get_mut(&index)
    }

    /// Takes a handshake out, to do a step.
    pub(super) fn take(&mut self, index: u32) -> Option<Shaking> {
        let shaking = self.table.remove(&index)?;
        self.begun -= usize::from(shaking.handshake.has_begun());
        Some(shaking)
    }

    /// Forgets one, if there is one.
    pub(super) fn remove(&mut self, index: u32) {
        drop(self.take(index));
    }

    /// Puts one back whose step has been done.
    pub(super) fn put_back(&mut self, index: u32, mut shaking: Shaking, now_ms: u64) {
        (shaking.is_waiting, shaking.stepped_ms) = (false, now_ms);
        self.begun += usize::from(shaking.handshake.has_begun());
        self.table.insert(index, shaking);
        let (at_ms, live_max) = (now_ms + self.timeout_ms / STALL_PART, self.begun as u32);
        self.stalls.push(at_ms, (index, now_ms), live_max, |what| is_owing(&self.table, what));
    }

    /// How many are in progress.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.spent_us = 0;
    }

    /// Notes time spent since then on somebody who comes.
    pub(super) fn spend(&mut self, since: Instant) {
        self.spent_us += since.elapsed().as_micros() as u64;
    }

    /// Whether this turn has time for another step.
    pub(super) fn has_time(&self) -> bool {
        self.spent_us < self.us_per_turn
    }

    /// From now on a turn has so much time.
    #[cfg(test)]
    pub(super) fn limit_time(&mut self, us_per_turn: u64) {
        self.us_per_turn = us_per_turn;
    }

    /// Whether a second flight or a first request that comes now needs not wait: there is time, and none waits already.
    pub(super) fn may_go_on(&self) -> bool {
        self.has_time() && self.flights.is_empty()
    }

    /// Lets a message wait for its turn, with what is left of its client's time; nothing if one does already.
    pub(super) fn await_turn(&mut self, id: ConnectionId, left_ms: impl FnOnce() -> u64) {
        let Some(shaking) = self.table.get_mut(&id.index).filter(|shaking| !shaking.is_waiting) else {
            return;
        };
        (shaking.is_waiting, shaking.left_ms) = (true, left_ms());
        match shaking.handshake.has_begun() {
            true => self.flights.push_back(id),
            false => self.waiting.push_back(id),
        }
    }

    /// Lets the first request of one that is done wait for its turn.
    pub(super) fn await_first(&mut self, id: ConnectionId) {
        self.flights.push_back(id);
    }

    /// Whether somebody waits for its turn.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.flights.is_empty()
    }

    /// Whether one of those who wait has its turn: one that has begun, or the first that has not, if it has gone or finds room.
    pub(super) fn has_turn(&self) -> bool {
        if !self.flights.is_empty() {
            return true;
        }
        let Some(first) = self.waiting.front() else { return false };
        self.begun < self.begun_max
            || self.table.get(&first.index).is_none_or(|shaking| shaking.handshake.has_begun())
    }

    /// Who has its turn.
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        let next = match self.has_turn() {
            true => self.flights.pop_front().or_else(|| self.waiting.pop_front()),
            false => None,
        };
        if !self.has_waiting() {
            // A storm of them is over.
            self.flights.shrink_to(HELLOS_KEPT);
            self.waiting.shrink_to(HELLOS_KEPT);
            self.table.shrink_to(HELLOS_KEPT);
        }
        next
    }

    /// Who has owed its next message for too long, while others wait for its room.
    pub(super) fn stalled(&mut self, now_ms: u64) -> Option<u32> {
        while !self.waiting.is_empty() && !self.has_turn() {
            let what = self.stalls.pop_due(now_ms)?;
            if is_owing(&self.table, &what) {
                return Some(what.0);
            }
        }
        None
    }

    /// When somebody may have owed its next message for too long, while others wait for its room.
    pub(super) fn next_stall_ms(&self) -> Option<u64> {
        if self.waiting.is_empty() { None } else { self.stalls.next_ms() }
    }

    /// Whether so many hellos wait that nobody else is to come in.
    pub(super) fn is_overrun(&self) -> bool {
        self.waiting.len() >= (self.begun_max / 2).max(1)
    }
}

/// Whether a handshake whose last step was done then still waits for its client.
fn is_owing(table: &FxHashMap<u32, Shaking>, (index, stepped_ms): &(u32, u64)) -> bool {
    let is_owing = |shaking: &Shaking| {
        !shaking.is_waiting && shaking.stepped_ms == *stepped_ms && shaking.handshake.has_begun()
    };
    table.get(index).is_some_and(is_owing)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::ServerConfig;

    use super::*;
    use crate::tls::{
        Step,
        tests::{hello, terms},
    };

    const TIMEOUT_MS: u32 = 10_000;
    const PATIENCE_MS: u64 = TIMEOUT_MS as u64 / STALL_PART;

    /// A table of so many, and what its handshakes go by.
    fn table(begun_max: u32) -> (ShakingTable, Arc<ServerConfig>) {
        (ShakingTable::new(begun_max, TIMEOUT_MS), terms().own_config())
    }

    fn id(index: u32) -> ConnectionId {
        ConnectionId { index, generation: 0 }
    }

    /// A client says its hello, whole.
    fn greet(table: &mut ShakingTable, config: &Arc<ServerConfig>, index: u32, now_ms: u64) {
        let mut handshake = Handshake::new(config);
        handshake.handle_bytes(&hello()).expect("taken");
        table.enter(index, handshake, now_ms);
        table.await_turn(id(index), || 7);
    }

    /// Answers whoever has its turn; who that is.
    fn answer(table: &mut ShakingTable, now_ms: u64) -> Option<u32> {
        let next = table.next()?;
        let mut shaking = table.take(next.index)?;
        assert_eq!(shaking.left_ms, 7);
        let Step::NeedMore(handshake) = shaking.handshake.advance(&mut Vec::new()) else {
            panic!("more is needed")
        };
        shaking.handshake = handshake;
        table.put_back(next.index, shaking, now_ms);
        Some(next.index)
    }

    #[test]
    fn those_beyond_what_may_have_begun_wait_and_come_in_their_order_as_others_end() {
        let (mut table, config) = table(4);
        (0..100).for_each(|index| greet(&mut table, &config, index, 0));
        assert!(table.is_overrun() && table.begun == 0);
        for index in 0..4 {
            assert_eq!(answer(&mut table, 1), Some(index));
        }
        for index in 4..100 {
            assert!(!table.has_turn() && answer(&mut table, 1).is_none(), "{index} finds no room");
            table.remove(index - 4);
            assert_eq!(answer(&mut table, 1), Some(index));
        }
        assert_eq!((table.len(), table.begun), (4, 4));
        assert!(!table.is_overrun() && table.next_stall_ms().is_none());
    }

    #[test]
    fn only_who_owes_its_next_message_for_too_long_is_given_up_and_only_while_others_wait() {
        let (mut table, config) = table(2);
        (0..2).for_each(|index| greet(&mut table, &config, index, 0));
        assert_eq!([answer(&mut table, 0), answer(&mut table, 500)], [Some(0), Some(1)]);
        let late = 10 * PATIENCE_MS;
        assert_eq!((table.stalled(late), table.next_stall_ms()), (None, None), "nobody waits");
        greet(&mut table, &config, 2, late);
        assert_eq!(table.next_stall_ms(), Some(PATIENCE_MS));
        assert_eq!(table.stalled(PATIENCE_MS - 1), None);
        assert_eq!(table.stalled(PATIENCE_MS), Some(0));
        table.remove(0);
        assert_eq!(table.stalled(late), None, "there is room");
        assert_eq!(answer(&mut table, late), Some(2));
        greet(&mut table, &config, 3, late);
        assert_eq!(table.stalled(late), Some(1));
        table.remove(1);
        assert_eq!((answer(&mut table, late), table.stalled(late)), (Some(3), None));
    }

    #[test]
    fn one_that_has_begun_goes_before_those_that_wait_for_room() {
        let (mut table, config) = table(1);
        (0..2).for_each(|index| greet(&mut table, &config, index, 0));
        assert_eq!(answer(&mut table, 0), Some(0));
        assert!(!table.has_turn());
        // As after a hello that has to be said again.
        table.await_turn(id(0), || 7);
        assert!(table.has_turn() && table.stalled(u64::MAX).is_none(), "it waits for us");
        assert_eq!(table.next(), Some(id(0)));
    }

    #[test]
    fn one_that_has_gone_keeps_nobody_waiting_and_its_slot_may_be_another_s() {
        let (mut table, config) = table(1);
        (0..3).for_each(|index| greet(&mut table, &config, index, 0));
        assert_eq!(answer(&mut table, 0), Some(0));
        table.remove(1);
        assert_eq!(table.next(), Some(id(1)), "whoever asks for it finds nothing");
        assert!(!table.has_turn());
        table.remove(0);
        greet(&mut table, &config, 0, 5);
        assert_eq!([answer(&mut table, 5), answer(&mut table, 5)], [Some(2), None]);
        table.remove(2);
        assert_eq!((answer(&mut table, 5), table.begun, table.len()), (Some(0), 1, 1));
    }
}
