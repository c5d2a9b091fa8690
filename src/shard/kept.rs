//! Requests that were kept while the one before them waited, or because enough of their client had been heard
//! ([`super::intake`]), read on in their turn.
//!
//! An answer makes the requests behind it readable, and reading one may give the answer that another connection waits
//! for. So nobody who answers reads on: the connection is noted here, and the shard's loop takes one after the other.
//! However peers chain their requests, the stack is as deep as for one of them.
//!
//! ```text
//!   answer ─► read_on ─► KEPT, noted ─(the loop, so many a turn)─► read_kept ─► feed_http ─► answer …
//! ```
//!
//! One whose next request waits for its token to be looked at stands in the queue of those instead (`gate.rs`).
//!
//! Invariant: a connection stands here at most once, for as long as it has [`Flags::KEPT`]; while it has, it is not read,
//! so what arrives behind cannot overtake.

use std::collections::VecDeque;

use super::{connection::Flags, turn::Shard};
use crate::{
    limits::KEPT_PER_TURN,
    model::{CloseReason, ConnectionId},
    session::Session,
};

/// The connections of a shard whose requests are to be read on.
#[derive(Default)]
pub(super) struct Kept {
    queue: VecDeque<ConnectionId>,
    /// How many have been taken in this turn.
    taken: usize,
    is_reading: bool,
}

impl Kept {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.taken = 0;
        if self.queue.is_empty() && self.queue.capacity() > KEPT_PER_TURN {
            self.queue.shrink_to(KEPT_PER_TURN);
        }
    }

    /// Whether somebody waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Requests are read from here on. Nothing that reading leads to may read others.
    pub(super) fn begin_reading(&mut self) {
        debug_assert!(!self.is_reading, "whoever answers leaves reading on to the loop");
        self.is_reading = true;
    }

    /// Requests are read up to here.
    pub(super) fn end_reading(&mut self) {
        self.is_reading = false;
    }

    /// How many wait here.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn take(&mut self) -> Option<ConnectionId> {
        if self.taken >= KEPT_PER_TURN {
            return None;
        }
        self.taken += 1;
        self.queue.pop_front()
    }
}

impl Shard {
    /// Ends one reason not to read. What was kept meanwhile comes in its turn, and only then what the socket holds, so
    /// that no more is kept than came with one receive.
    pub(super) fn read_on(&mut self, index: u32, reason: Flags) {
        if reason == Flags::PAUSED_AWAITING {
            self.forget_client(index);
        }
        if reason == Flags::PAUSED_FULL {
            self.tell_room(index, true);
            self.messages.note_room(self.lines.slab.id(index));
        }
        let record = self.lines.slab.at(index);
        record.flags.clear(reason);
        if let Session::Http(http) = &record.session {
            let (is_waiting, has_kept) = (http.awaiting.is_some(), http.decoder.buffered_bytes() > 0);
            let has_more = has_kept || record.flags.has(Flags::ENDED);
            // An answer that was put off may have filled the queue: what was kept waits until the client has read.
            let is_full = self.lines.pause_if_full(index);
            if is_full || !is_waiting {
                self.wheel.set(index, self.now.monotonic_ms + u64::from(self.limits.keep_alive_timeout_ms));
            }
            if has_more && !is_full && !is_waiting {
                return self.note_kept(index);
            }
        }
        self.lines.resume(index);
    }

    /// Lets a connection be read on in its turn.
    pub(super) fn note_kept(&mut self, index: u32) {
        let id = self.lines.slab.id(index);
        let flags = &mut self.lines.slab.at(index).flags;
        if !flags.has(Flags::KEPT) {
            flags.set(Flags::KEPT);
            self.kept.queue.push_back(id);
        }
    }

    /// Reads on what one connection has kept; tells whether there was one, and room for it in this turn.
    pub(super) fn read_kept(&mut self) -> bool {
        if self.intake.is_spent() {
            return false;
        }
        let Some(id) = self.kept.take() else { return false };
        self.read_kept_of(id);
        true
    }

    /// Reads on what a connection has kept.
    pub(super) fn read_kept_of(&mut self, id: ConnectionId) {
        let index = id.index;
        let Some(record) = self.lines.slab.get(id).filter(|record| record.flags.has(Flags::KEPT)) else {
            return;
        };
        record.flags.clear(Flags::KEPT);
        if !record.flags.is_live() {
            return;
        }
        match record.session.lend() {
            Session::Http(http) if http.awaiting.is_none() && !record.flags.is_paused() => {
                self.feed_http(index, http, &[]);
                self.end_if_all_is_answered(index);
            }
            other => record.session = other,
        }
        self.note_partial_input(index);
        self.lines.resume(index);
    }

    /// Ends a connection whose client sends nothing more, once none of its requests waits for an answer.
    fn end_if_all_is_answered(&mut self, index: u32) {
        let record = self.lines.slab.look(index);
        let is_waiting = record.flags.has(Flags::PAUSED_FULL)
            || record.flags.has(Flags::KEPT)
            || !matches!(&record.session, Session::Http(http) if http.awaiting.is_none());
        if record.flags.has(Flags::ENDED) && !is_waiting {
            self.end_session(index, CloseReason::Normal);
            self.finish(index);
        }
    }
}
