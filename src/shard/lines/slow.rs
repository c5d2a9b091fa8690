//! Clients that do not read: found, and ended.
//!
//! A client is slow when more waits for it than may ([`crate::shard::outbox`] says what may), when it has taken nothing of what
//! is being sent to it for `limits.send_timeout_ms`, whatever that is, or when it is one of those for whom most waits
//! while the shard's share of `limits.send_bytes_max` is spent. Whoever writes finds it so at once, and writes nothing
//! more to it; its session is ended in the same turn, by the loop.
//!
//! ```text
//!   full ────────┐
//!   stalled ─────┴─► SLOW, told nothing more ─► end_slow: last words, LINGER ─► gone
//!   share spent ───► CLOSING, its bytes freed ─► end_slow: its session ends
//! ```

use super::Lines;
use crate::{
    limits::{Limits, SEND_TIMEOUT_PARTS, SENDS_WATCHED_PER_TURN},
    model::ConnectionId,
    ring::SendBytes,
    shard::{
        connection::{Flags, NO_QUEUE},
        frames::weight,
    },
};

/// What is known of a shard's slow clients.
pub(super) struct Slow {
    /// Those found, whose sessions are to be ended.
    found: Vec<ConnectionId>,
    /// The shard's share of the memory for what waits.
    bytes_max: u64,
    /// Bytes being sent on connections that are being closed: they are nearly free.
    leaving_bytes: u64,
    /// How long a part of `limits.send_timeout_ms` is.
    part_ms: u64,
    next_part_ms: u64,
    /// Where to look next for sends that stall, while a look is under way.
    cursor: Option<usize>,
    stalled: Vec<u32>,
}

impl Slow {
    pub(super) fn new(limits: &Limits, shards: u16) -> Self {
        let mut slow = Self {
            found: Vec::new(),
            bytes_max: 0,
            leaving_bytes: 0,
            part_ms: 0,
            next_part_ms: 0,
            cursor: None,
            stalled: Vec::new(),
        };
        slow.change_limits(limits, shards);
        slow
    }

    fn change_limits(&mut self, limits: &Limits, shards: u16) {
        self.bytes_max = (limits.send_bytes_max / u64::from(shards.max(1))).max(1);
        self.part_ms = u64::from(limits.send_timeout_ms).div_ceil(SEND_TIMEOUT_PARTS.into());
    }

    /// Whether a look for sends that stall is under way.
    pub(super) fn is_looking(&self) -> bool {
        self.cursor.is_some()
    }

    /// A connection is being closed while these bytes are being sent.
    pub(super) fn note_leaving(&mut self, bytes: &SendBytes) {
        self.leaving_bytes += bytes.owned_len() as u64;
    }

    /// The send of a connection that is being closed has ended.
    pub(super) fn forget_leaving(&mut self, bytes: &SendBytes) {
        self.leaving_bytes -= bytes.owned_len() as u64;
    }
}

impl Lines {
    /// From now on these limits are in force.
    pub(in crate::shard) fn change_limits(&mut self, limits: &Limits, shards: u16) {
        self.outbox.change_bytes_max(limits.send_queue_bytes_max as usize);
        self.slow.change_limits(limits, shards);
    }

    /// Tells a client nothing more, and has its session ended.
    pub(in crate::shard) fn find_slow(&mut self, index: u32) {
        let id = self.slab.id(index);
        let record = self.slab.at(index);
        if !record.flags.has(Flags::SLOW) {
            record.flags.set(Flags::SLOW);
            self.outbox.discard(&mut record.queue);
            self.slow.found.push(id);
        }
    }

    /// Ends those for whom most waits, if the shard's share is spent: so many that a sixteenth of it is free again.
    pub(in crate::shard) fn keep_to_budget(&mut self) {
        let held = self.held_bytes();
        if held > self.slow.bytes_max {
            let goal = self.slow.bytes_max - self.slow.bytes_max / 16;
            self.free_bytes(held - goal);
        }
    }

    /// The shard's share of the memory for what waits.
    pub(in crate::shard) fn held_bytes_max(&self) -> u64 {
        self.slow.bytes_max
    }

    /// The next of those that were found slow, whose session is to be ended.
    pub(in crate::shard) fn next_slow(&mut self) -> Option<ConnectionId> {
        self.slow.found.pop()
    }

    /// Memory of what waits or is being sent, and of no connection that is being closed.
    pub(in crate::shard) fn held_bytes(&self) -> u64 {
        self.outbox.total_bytes().saturating_sub(self.slow.leaving_bytes)
    }

    #[cold]
    fn free_bytes(&mut self, wanted: u64) {
        let mut worst: Vec<_> = (0..self.slab.len())
            .map(|index| (self.weight(index), index))
            .filter(|(weight, _)| *weight > 0)
            .collect();
        worst.sort_unstable_by(|a, b| b.cmp(a));
        let mut freed = 0;
        for (weight, index) in worst {
            if freed >= wanted {
                return;
            }
            freed += weight as u64;
            let id = self.slab.id(index);
            self.slab.at(index).flags.set(Flags::SLOW);
            self.slow.found.push(id);
            self.abort(index);
        }
    }

    /// The memory that ending a connection frees.
    fn weight(&self, index: u32) -> usize {
        let record = self.slab.look(index);
        if !record.flags.has(Flags::OPEN) || record.flags.has(Flags::CLOSING) {
            return 0;
        }
        let in_flight = record.send.and_then(|send| self.ring.bytes_of(send, index)).map_or(0, weight);
        in_flight + if record.queue == NO_QUEUE { 0 } else { self.outbox.weight(record.queue) }
    }

    /// Looks for clients that take nothing, some in each turn.
    pub(in crate::shard) fn watch_sends(&mut self, now_ms: u64) {
        if self.slow.cursor.is_none() && now_ms >= self.slow.next_part_ms && !self.ring.sends_nothing() {
            self.slow.next_part_ms = now_ms + self.slow.part_ms;
            self.slow.cursor = Some(0);
            self.ring.begin_round();
        }
        let Some(from) = self.slow.cursor else { return };
        let mut stalled = std::mem::take(&mut self.slow.stalled);
        self.slow.cursor = self.ring.stalled(from, SENDS_WATCHED_PER_TURN, SEND_TIMEOUT_PARTS, &mut stalled);
        for index in stalled.drain(..) {
            let flags = self.slab.look(index).flags;
            // Whoever has been told its last words has a deadline of its own.
            if flags.is_live() && !flags.has(Flags::FINISHING) {
                self.find_slow(index);
            }
        }
        self.slow.stalled = stalled;
    }

    /// When to look next for clients that take nothing; `None` while nothing is being sent.
    pub(in crate::shard) fn next_watch_ms(&self) -> Option<u64> {
        (!self.ring.sends_nothing()).then_some(self.slow.next_part_ms)
    }
}
