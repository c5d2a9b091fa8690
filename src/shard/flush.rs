//! The end of a turn: what has gathered for each connection leaves in one send, as much as one turn may send.
//!
//! ```text
//!   said, handed out ─► dirty ─► flush ─► ring
//!                         ▲        │ enough sent
//!                         └────────┘ first in the next turn, unless it is small; nothing is handed out before it
//! ```

use super::{connection::Flags, lines::Lines};
use crate::{
    limits::{SENT_BYTES_PER_TURN, SMALL_SEND_BYTES},
    ring::SendBytes,
};

impl Lines {
    /// Whether more may be sent in this turn.
    pub(super) fn may_send(&self) -> bool {
        self.may_send
    }

    /// Sends everything in this turn, however much it is: whoever makes it waits for that.
    pub(super) fn send_all(&mut self) {
        self.sends_all = true;
        self.may_send = true;
    }

    /// Gives bytes to the kernel.
    pub(super) fn send(&mut self, index: u32, bytes: SendBytes) {
        self.given_bytes += bytes.len();
        self.may_send &= self.given_bytes < SENT_BYTES_PER_TURN || self.sends_all;
        let record = self.slab.at(index);
        record.flags.set(Flags::SENDING);
        record.send = Some(self.ring.send(index, bytes));
    }

    /// Ends the turn: one send for every connection that has something to send and nothing in flight, as far as one turn
    /// may; tells how many bytes it has sent.
    pub(super) fn flush(&mut self) -> usize {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.may_send = self.given_bytes < SENT_BYTES_PER_TURN || self.sends_all;
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
        self.may_send = self.dirty.is_empty();
        self.sends_all = false;
        std::mem::take(&mut self.given_bytes)
    }

    /// Whether what waits for a connection is left for the next turn. What is small is not: its client waits for no other's
    /// megabytes.
    pub(super) fn must_wait(&self, index: u32) -> bool {
        !self.may_send && self.queued(index) > SMALL_SEND_BYTES
    }

    /// Sends a connection what waits for it next, or ends it if that was all.
    pub(super) fn send_next(&mut self, index: u32) {
        let record = self.slab.at(index);
        if record.flags.has(Flags::TLS) {
            return self.send_next_sealed(index);
        }
        if self.must_wait(index) {
            return self.stir(index);
        }
        match self.outbox.take(&mut self.slab.at(index).queue, self.places.of(index)) {
            Some(bytes) => self.send(index, bytes),
            None if self.slab.look(index).flags.has(Flags::FINISHING) => self.shut(index),
            None => {}
        }
    }
}
