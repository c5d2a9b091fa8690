//! Pages, written as turns have room for them ([`super::pages`]).

use super::{connection::Flags, pages::Page, turn::Shard};
use crate::{
    app::Reply,
    limits::SMALL_SEND_BYTES,
    mesh::Welcome,
    model::{ChannelName, ConnectionId, SharedPublication},
    wire::json,
};

impl Shard {
    /// Answers with a page, now or in one of the next turns. A small one waits for nobody.
    pub(super) fn put_page(&mut self, page: Page) {
        let must_wait = !self.pages.is_empty() || self.lines.outbox.has_made_enough();
        if must_wait && self.page_bytes(&page) > SMALL_SEND_BYTES && self.pages.has_room() {
            self.pages.put_off(page);
        } else {
            self.write_page(page);
        }
    }

    /// Writes pages that wait, until this turn has written enough, and one at least.
    pub(super) fn continue_pages(&mut self) {
        while !(self.pages.has_written() && self.lines.outbox.has_made_enough())
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
        if self.lines.outbox.made_bytes() > before {
            self.pages.note_written();
        }
    }

    /// Bytes of a page, before they are written as JSON.
    fn page_bytes(&self, page: &Page) -> usize {
        let of =
            |publications: &[SharedPublication]| publications.iter().map(|one| one.payload.bytes()).sum();
        match page {
            Page::History { page, .. } => of(&page.publications),
            Page::Poll { connection } => {
                self.pages.poll(*connection).map_or(0, |(_, welcome)| of(&welcome.missed))
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
        self.pages.put_poll(connection, channel, welcome);
        self.put_page(Page::Poll { connection });
    }
}
