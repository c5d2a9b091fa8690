//! Pages of what is kept: answers of a megabyte for forty bytes asked, written a few in a turn.
//!
//! Whatever is written for clients is counted ([`super::outbox`]), and once a turn has written
//! [`crate::limits::MADE_BYTES_PER_TURN`], what takes many bytes waits for the next turns, in the order in which it came.
//! What is small is said at once, so that nobody who asks for little waits for those who ask for much:
//!
//! ```text
//!   page of history, answer of a poll ──► enough written? ──► here ───────────────────► written ─┐
//!   catching up (catch_up.rs) ──────────► enough written? ──► its owner is asked later ─────────┤
//!   Socket.IO's recovery (returning.rs) ► enough written? ──► its log is read later ────────────┤
//!                                                                                               ▼
//!   turn's end: enough sent (lines.rs)? ──► stays queued ──► the next turns ──► ring ◄──────────┘
//! ```
//!
//! A page that waits shares its publications with history. Its number is bounded: a connection waits for one, and beyond
//! [`PAGES_WAITING_MAX`], which only an application can ask for, a page is written at once.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::{
    limits::PAGES_WAITING_MAX,
    mesh::{HistoryPage, Welcome},
    model::{ChannelName, ConnectionId, Ticket},
};

/// The pages of a shard that are still to be written.
#[derive(Default)]
pub(super) struct Pages {
    waiting: VecDeque<Page>,
    /// What those long polls missed that wait for their answers. A page is its poll's: it goes when that ends, and no later
    /// poll of the connection is answered with it.
    polls: FxHashMap<ConnectionId, (ChannelName, Welcome)>,
    /// Whether this turn has written one.
    has_written: bool,
}

/// What a client gets that asked for what is kept.
pub(super) enum Page {
    /// Of history.
    History { ticket: Ticket, page: HistoryPage },
    /// The answer of a long poll that has missed something.
    Poll { connection: ConnectionId },
    /// The answer of a long poll of several channels.
    Several { connection: ConnectionId },
}

impl Pages {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.has_written = false;
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a long poll waits for its answer.
    pub(super) fn has_poll(&self, connection: ConnectionId) -> bool {
        self.polls.contains_key(&connection)
    }

    /// What a long poll has missed that waits for its answer, which is over then.
    pub(super) fn take_poll(&mut self, connection: ConnectionId) -> Option<(ChannelName, Welcome)> {
        if self.polls.is_empty() { None } else { self.polls.remove(&connection) }
    }

    /// What a long poll has missed that waits for its answer.
    pub(super) fn poll(&self, connection: ConnectionId) -> Option<&(ChannelName, Welcome)> {
        self.polls.get(&connection)
    }

    /// A long poll is going to be answered with what it has missed.
    pub(super) fn put_poll(&mut self, connection: ConnectionId, channel: ChannelName, missed: Welcome) {
        self.polls.insert(connection, (channel, missed));
    }

    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < PAGES_WAITING_MAX
    }

    /// Lets a page wait for the next turns.
    pub(super) fn put_off(&mut self, page: Page) {
        self.waiting.push_back(page);
    }

    /// This turn has written a page.
    pub(super) fn note_written(&mut self) {
        self.has_written = true;
    }

    /// Whether this turn has written one.
    pub(super) fn has_written(&self) -> bool {
        self.has_written
    }

    /// The page that has waited longest.
    pub(super) fn take(&mut self) -> Option<Page> {
        let page = self.waiting.pop_front();
        if self.waiting.is_empty() {
            // Many at once are over.
            self.waiting = VecDeque::new();
        }
        page
    }
}
