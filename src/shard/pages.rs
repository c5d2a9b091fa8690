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

use super::{connection::Flags, turn::Shard};
use crate::{
    app::Reply,
    limits::{PAGES_WAITING_MAX, SMALL_SEND_BYTES},
    mesh::{HistoryPage, Welcome},
    model::{ChannelName, ConnectionId, SharedPublication, Ticket},
    wire::json,
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

    /// What a long poll has missed that waits for its answer, which is over then.
    pub(super) fn take_poll(&mut self, connection: ConnectionId) -> Option<(ChannelName, Welcome)> {
        if self.polls.is_empty() { None } else { self.polls.remove(&connection) }
    }

    fn take(&mut self) -> Option<Page> {
        let page = self.waiting.pop_front();
        if self.waiting.is_empty() {
            // Many at once are over.
            self.waiting = VecDeque::new();
        }
        page
    }
}

impl Shard {
    /// Answers with a page, now or in one of the next turns. A small one waits for nobody.
    pub(super) fn put_page(&mut self, page: Page) {
        let must_wait = !self.pages.is_empty() || self.lines.outbox.has_made_enough();
        if must_wait
            && self.page_bytes(&page) > SMALL_SEND_BYTES
            && self.pages.waiting.len() < PAGES_WAITING_MAX
        {
            self.pages.waiting.push_back(page);
        } else {
            self.write_page(page);
        }
    }

    /// Writes pages that wait, until this turn has written enough, and one at least.
    pub(super) fn continue_pages(&mut self) {
        while !(self.pages.has_written && self.lines.outbox.has_made_enough())
            && let Some(page) = self.pages.take()
        {
            self.write_page(page);
        }
    }

    fn write_page(&mut self, page: Page) {
        let before = self.lines.outbox.made_bytes();
        match page {
            Page::History { ticket, page } => self.tell_read(ticket, Reply::History(page)),
            Page::Several { connection } => {
                if self.lines.slab.get(connection).is_some() {
                    self.answer_several_that_waits(connection.index);
                }
            }
            Page::Poll { connection } => _ = self.answer_poll_that_waits(connection),
        }
        // Whoever asked for it may be gone.
        self.pages.has_written |= self.lines.outbox.made_bytes() > before;
    }

    /// Bytes of a page, before they are written as JSON.
    fn page_bytes(&self, page: &Page) -> usize {
        let of =
            |publications: &[SharedPublication]| publications.iter().map(|one| one.payload.bytes()).sum();
        match page {
            Page::History { page, .. } => of(&page.publications),
            Page::Poll { connection } => {
                self.pages.polls.get(connection).map_or(0, |(_, welcome)| of(&welcome.missed))
            }
            Page::Several { connection } => self.severals.bytes(connection.index),
        }
    }

    /// Answers a long poll with the page that waits for it; whether there is one.
    pub(super) fn answer_poll_that_waits(&mut self, connection: ConnectionId) -> bool {
        let Some((channel, welcome)) = self.pages.take_poll(connection) else { return false };
        if self.lines.slab.get(connection).is_some() {
            let Welcome { position, missed, recovered, .. } = &welcome;
            let mut body = Vec::new();
            json::encode_poll_answer(&mut body, &channel, *position, *recovered, missed);
            let body = self.lines.outbox.encoded(&body);
            self.answer_poll(connection.index, &body);
        }
        true
    }

    /// A long poll is going to be answered with what it missed. What is published from now on is for the next one.
    pub(super) fn answer_poll_with_page(&mut self, index: u32, channel: ChannelName, welcome: Welcome) {
        let connection = self.lines.slab.id(index);
        self.lines.slab.at(index).flags.clear(Flags::SUBSCRIBED);
        self.hub.leave_all(connection);
        self.wheel.clear(index);
        self.pages.polls.insert(connection, (channel, welcome));
        self.put_page(Page::Poll { connection });
    }
}
