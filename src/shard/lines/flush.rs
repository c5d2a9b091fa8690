//! How much a turn sends, and its end: what has gathered for each connection leaves in one send.
//!
//! Who has much to send cannot take a turn from the others, for each kind of sending has its share:
//!
//! ```text
//!   a send has ended, the next follows ─► a quarter, none while somebody is left over ─┐
//!   large publications ─────────────────► three eighths ─► others in the next turns    ├─► ring
//!   small publications ─────────────────► three eighths ─► others in the next turns    │
//!   said ─► dirty ─► flush ─────────────► what is left of the turn ────────────────────┘
//!              ▲        │ enough sent
//!              └────────┘ left over: first in the next turn's flush
//! ```
//!
//! What is small is sent in every turn, whoever is left over. A client that is left over is not slow: this shard keeps it
//! waiting, not it the shard ([`crate::shard::outbox`]).

use super::Lines;
use crate::{
    limits::{LARGE_BYTES_PER_TURN, SENT_BYTES_PER_TURN, SMALL_BYTES_PER_TURN, SMALL_SEND_BYTES},
    ring::SendBytes,
    shard::connection::Flags,
};

/// What a turn has given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::shard) struct Given {
    /// Bytes to the kernel.
    pub(in crate::shard) bytes: usize,
    /// Frames to subscribers that only came behind others of their connections, and leave with them.
    pub(in crate::shard) joined: usize,
}

/// What a turn has sent, and how much more it may.
pub(super) struct Sending {
    given: Given,
    /// So many may have been before more waits.
    until_bytes: usize,
    /// Whether this turn sends everything, however much it is.
    sends_all: bool,
    /// Bytes that the last turn has left over.
    left_over_bytes: usize,
}

/// The share of what follows sends that have ended.
const FOLLOWING_BYTES: usize = SENT_BYTES_PER_TURN - LARGE_BYTES_PER_TURN - SMALL_BYTES_PER_TURN;

impl Default for Sending {
    fn default() -> Self {
        Self { given: Given::default(), until_bytes: FOLLOWING_BYTES, sends_all: false, left_over_bytes: 0 }
    }
}

impl Lines {
    /// What has been given in this turn.
    pub(in crate::shard) fn given(&self) -> Given {
        self.sending.given
    }

    /// A frame has come behind others of its connection.
    pub(super) fn note_joined(&mut self) {
        self.sending.given.joined += 1;
    }

    /// Whether so much is left over that nothing large is added to it.
    pub(in crate::shard) fn has_much_left_over(&self) -> bool {
        self.sending.left_over_bytes > SENT_BYTES_PER_TURN
    }

    /// What has been published is handed out now, of which a turn sends so much.
    pub(in crate::shard) fn begin_to_hand_out(&mut self) {
        self.send_until(self.sending.given.bytes + LARGE_BYTES_PER_TURN + SMALL_BYTES_PER_TURN);
    }

    /// Sends everything in this turn, however much it is: there is no other.
    pub(in crate::shard) fn send_all(&mut self) {
        self.sending.sends_all = true;
        self.send_until(usize::MAX);
    }

    fn send_until(&mut self, until_bytes: usize) {
        self.sending.until_bytes = until_bytes;
        self.may_send = self.sending.given.bytes < until_bytes;
    }

    /// Gives bytes to the kernel.
    pub(in crate::shard) fn send(&mut self, index: u32, bytes: SendBytes) {
        self.sending.given.bytes += bytes.len();
        self.may_send &= self.sending.given.bytes < self.sending.until_bytes;
        let record = self.slab.at(index);
        record.flags.set(Flags::SENDING);
        record.send = Some(self.ring.send(index, bytes));
    }

    /// Ends the turn: one send for every connection that has something to send and nothing in flight, as far as one turn
    /// may; tells how many bytes it has sent.
    pub(in crate::shard) fn flush(&mut self) -> usize {
        let mut dirty = std::mem::take(&mut self.dirty);
        let all = if self.sending.sends_all { usize::MAX } else { SENT_BYTES_PER_TURN };
        self.send_until(all);
        self.sending.left_over_bytes = 0;
        for index in dirty.drain(..) {
            let record = self.slab.at(index);
            record.flags.clear(Flags::DIRTY);
            if !record.flags.has(Flags::CLOSING) && !record.flags.has(Flags::SENDING) {
                self.send_next(index);
            }
        }
        // Those for whom nothing more could be sent have put themselves on the list again.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        let given = std::mem::take(&mut self.sending.given).bytes;
        self.sending.sends_all = false;
        self.send_until(if self.dirty.is_empty() { FOLLOWING_BYTES } else { 0 });
        given
    }

    /// Puts a connection off to the end of this turn, or to the next, if what waits for it is not small and no more may be
    /// sent; tells whether it has.
    pub(in crate::shard) fn puts_off(&mut self, index: u32) -> bool {
        let queued = self.queued(index);
        if self.may_send || queued <= SMALL_SEND_BYTES {
            return false;
        }
        self.sending.left_over_bytes += queued;
        self.outbox.put_off(self.slab.look(index).queue);
        self.stir(index);
        true
    }

    /// Sends a connection what waits for it next, or ends it if that was all.
    pub(in crate::shard) fn send_next(&mut self, index: u32) {
        let record = self.slab.at(index);
        if record.flags.has(Flags::TLS) {
            return self.send_next_sealed(index);
        }
        if self.puts_off(index) {
            return;
        }
        match self.outbox.take(&mut self.slab.at(index).queue, self.places.of(index)) {
            Some(bytes) => self.send(index, bytes),
            None if self.slab.look(index).flags.has(Flags::FINISHING) => self.shut(index),
            None => {}
        }
    }
}
