//! Connections that have shaken hands: records in, records out. How they are sealed is [`crate::tls`]'s.
//!
//! ```text
//!   received ─► (what was begun +) whole records, opened in place ─► one feed of their joined plaintext
//!                └─ the beginning of the next one is kept, counted and timed as other partial input is
//!   queued, as plaintext ─► gathered ─► sealed ─► ring, just before it is sent
//! ```
//!
//! What waits is plaintext: frames stay shared, and what is dropped from a queue leaves no gap among the records. What is
//! sealed is a copy for each, made as late as it is sent, and no more than [`GATHER_BYTES_MAX`] at once: the rest of a large
//! frame, and what a turn does not send, waits, shared, for the next turns.
//!
//! [`GATHER_BYTES_MAX`]: crate::limits::GATHER_BYTES_MAX

use super::{
    connection::Flags,
    lines::{Lines, mark_dirty},
    partial::Holder,
    turn::Shard,
};
use crate::{
    model::CloseReason,
    ring::SendBytes,
    tls::{End, Record, Way},
};

impl Shard {
    /// Takes bytes of a connection that speaks TLS.
    pub(super) fn receive_sealed(&mut self, index: u32, bytes: &mut [u8]) {
        match self.lines.secrets.record(index) {
            None => self.shake_hands(index, bytes),
            Some(record) if !record.has_been_heard() => self.hear_first(index, bytes),
            Some(_) => self.receive_records(index, bytes),
        }
    }

    /// Takes bytes of a connection that has shaken hands.
    pub(super) fn receive_records(&mut self, index: u32, bytes: &mut [u8]) {
        match self.lines.secrets.take_begun(index) {
            None => {
                let consumed = self.open_records(index, bytes);
                if consumed < bytes.len() {
                    self.keep_begun(index, bytes[consumed..].to_vec());
                }
            }
            Some(mut begun) => {
                begun.extend_from_slice(bytes);
                let consumed = self.open_records(index, &mut begun);
                if consumed > 0 {
                    self.partial.end(Holder::Record(index));
                    begun.drain(..consumed);
                    begun.shrink_to(crate::limits::RECEIVE_BUFFER_BYTES as usize);
                }
                self.keep_begun(index, begun);
            }
        }
    }

    /// Opens the whole records of `input` and feeds what they hold; tells how much of it they were.
    fn open_records(&mut self, index: u32, input: &mut [u8]) -> usize {
        let Some((record, key)) = self.lines.secrets.record_and_key(index, Way::Receive) else {
            return input.len();
        };
        // Nothing behind a last word is read.
        if record.has_ended() {
            return input.len();
        }
        let received = record.receive_with(input, key);
        if record.owes_update() {
            self.lines.stir(index);
        }
        let plain = received.plain(input);
        if !plain.is_empty() {
            self.feed(index, plain);
            self.note_partial_input(index);
        }
        match received.ended {
            None => return received.consumed,
            Some(_) if !self.lines.slab.look(index).flags.is_live() => {}
            Some(End::Closed) => self.handle_end(index),
            Some(End::PeerFailed) => self.lose(index),
            Some(End::Broken(_)) => {
                self.end_session(index, CloseReason::ProtocolError);
                self.lines.discard_waiting(index);
                self.finish(index);
            }
        }
        input.len()
    }

    /// Keeps, counts and times the beginning of a record.
    pub(super) fn keep_begun(&mut self, index: u32, begun: Vec<u8>) {
        if !begun.is_empty() {
            let now_ms = self.now.monotonic_ms;
            if self.partial.note(Holder::Record(index), begun.capacity(), now_ms) {
                self.partial.look_in_time(now_ms);
            }
        }
        self.lines.secrets.keep_begun(index, begun);
    }

    /// The peer sends nothing more, and nothing is left to be said to it but TLS's own last word, if it said its.
    pub(super) fn go_with_peer(&mut self, index: u32) {
        if self.lines.owes_farewell(index) {
            self.end_session(index, CloseReason::ClientGone);
            self.finish(index);
        } else {
            self.lose(index);
        }
    }

    /// The rest of a record does not arrive.
    pub(super) fn give_up_record(&mut self, index: u32, reason: CloseReason) {
        if self.lines.slab.look(index).flags.is_live() {
            self.end_session(index, reason);
            self.lose(index);
        }
    }

    /// Ends connections whose keys are used up and cannot be changed; their clients come again.
    pub(super) fn end_exhausted(&mut self) {
        while let Some(id) = self.lines.secrets.next_exhausted() {
            let is_open = self.lines.slab.get(id).is_some_and(|record| !record.flags.has(Flags::FINISHING));
            if is_open {
                self.close(id.index, CloseReason::GoingAway);
            }
        }
    }
}

impl Lines {
    /// Lets the end of the turn look at a connection.
    pub(super) fn stir(&mut self, index: u32) {
        mark_dirty(self.slab.at(index), index, &mut self.dirty);
    }

    /// Seals bytes and sends them at once. Nothing is in flight, nothing waits, and they are few enough.
    pub(super) fn send_sealed(&mut self, index: u32, bytes: SendBytes) {
        let Some((record, key)) = self.secrets.record_and_key(index, Way::Send) else { return };
        let sealed = self.outbox.seal(bytes, record, key);
        self.send_record(index, sealed);
    }

    /// As [`Self::send_next`], of a connection that speaks TLS.
    pub(super) fn send_next_sealed(&mut self, index: u32) {
        if self.puts_off(index) {
            return;
        }
        let unsent = self.secrets.take_unsent(index);
        let flags = self.slab.look(index).flags;
        let Some(record) = self.secrets.record(index) else {
            match unsent {
                Some(bytes) => {
                    let bytes = self.outbox.own(bytes);
                    self.send_record(index, bytes);
                }
                None if flags.has(Flags::FINISHING) && !self.secrets.is_shaking(index) => self.shut(index),
                None => {}
            }
            return;
        };
        let owes_update = record.owes_update();
        let queue = &mut self.slab.at(index).queue;
        let sealed = if unsent.is_none() && !owes_update && self.outbox.waiting(*queue) == 0 {
            // As after most sends. No key is made ready for nothing.
            self.outbox.abandon(queue);
            None
        } else {
            let Some(speaker) = self.secrets.record_and_key(index, Way::Send) else { return };
            self.outbox.take_sealed(queue, speaker, unsent, self.places.of(index))
        };
        match sealed {
            Some(bytes) => self.send_record(index, bytes),
            None if flags.has(Flags::FINISHING) => self.shut(index),
            None => {}
        }
    }

    /// Whether the peer has said its last word, and has not been answered.
    fn owes_farewell(&mut self, index: u32) -> bool {
        let flags = self.slab.look(index).flags;
        let owes = |record: &mut Record| record.has_ended() && !record.has_said_farewell();
        flags.has(Flags::TLS) && !flags.has(Flags::FINISHING) && self.secrets.record(index).is_some_and(owes)
    }

    /// Says the last word of TLS, unless it has been said; tells whether something is to be sent before the writing side
    /// can be shut down.
    pub(super) fn say_farewell(&mut self, index: u32) -> bool {
        if self.secrets.has_unsent(index) {
            self.stir(index);
            return true;
        }
        let Some(record) = self.secrets.record(index).filter(|record| !record.has_said_farewell()) else {
            return false;
        };
        let mut farewell = Vec::new();
        record.seal_farewell(&mut farewell);
        if farewell.is_empty() {
            return false;
        }
        let bytes = self.outbox.own(farewell);
        self.send_record(index, bytes);
        true
    }

    fn send_record(&mut self, index: u32, bytes: SendBytes) {
        if self.secrets.record(index).is_some_and(|record| record.is_nearly_exhausted()) {
            let id = self.slab.id(index);
            self.secrets.note_exhausted(id);
        }
        self.send(index, bytes);
        // A copy for each is not what was queued for all.
        self.keep_to_budget();
    }
}
