//! Requests that were kept while the one before them waited, or because enough of their client had been heard
//! ([`super::intake`]), and are read on in their turn, by [`super::reading`].
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
//! Invariant: a connection stands here at most once, for as long as it has [`super::connection::Flags::KEPT`]; while it has, it is not read,
//! so what arrives behind cannot overtake.

use std::collections::VecDeque;

use crate::{limits::KEPT_PER_TURN, model::ConnectionId};

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

    /// One more waits here, which does not yet.
    pub(super) fn enter(&mut self, connection: ConnectionId) {
        self.queue.push_back(connection);
    }

    /// The next, unless enough have been taken in this turn.
    pub(super) fn take(&mut self) -> Option<ConnectionId> {
        if self.taken >= KEPT_PER_TURN {
            return None;
        }
        self.taken += 1;
        self.queue.pop_front()
    }
}
