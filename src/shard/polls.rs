//! Long polls of several channels: what they have heard, and their answers.
//!
//! Such a poll is answered once every channel's owner has said where it stands, so that no position is missing. What is
//! published on one while another is asked is gathered, of all channels together no more than an answer may have; the rest
//! is for the next poll, whose positions are before it.

use super::{encode::before_missed, pages::Page, several::Several, turn::Shard};
use crate::{
    hub::Fanout,
    limits::HISTORY_PAGE_BYTES_MAX,
    mesh::Welcome,
    model::{ChannelName, Positions, SharedPublication},
    session::Session,
    wire::json::{self, Polled},
};

/// What a poll is going to be answered with.
#[derive(Default)]
pub(super) struct Gathered {
    news: Vec<News>,
    /// Of all channels.
    bytes: u64,
    /// Its answer waits to be written.
    is_put_off: bool,
}

/// What a poll has heard of one of its channels.
struct News {
    part: usize,
    recovered: bool,
    publications: Vec<SharedPublication>,
    /// What comes is for the next poll.
    is_full: bool,
}

/// What a publication counts for beside its bytes.
const PUBLICATION_BYTES: u64 = 64;

impl Gathered {
    /// Bytes of what it has heard.
    pub(super) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// What is told of one channel.
    fn news_of(&mut self, part: usize) -> &mut News {
        let at = self.news.iter().position(|news| news.part == part).unwrap_or_else(|| {
            self.news.push(News { part, recovered: true, publications: Vec::new(), is_full: false });
            self.news.len() - 1
        });
        &mut self.news[at]
    }

    /// Takes a publication of a channel, if there is room for it: for one there always is.
    fn take(&mut self, part: usize, publication: &SharedPublication) -> bool {
        let bytes = self.bytes + PUBLICATION_BYTES + publication.payload.bytes() as u64;
        let has_room = self.bytes == 0 || bytes <= HISTORY_PAGE_BYTES_MAX;
        if has_room {
            self.bytes = bytes;
            self.news_of(part).publications.push(publication.clone());
        } else {
            self.news_of(part).is_full = true;
        }
        has_room
    }
}

impl Several {
    /// A poll hears what is published while it waits.
    pub(super) fn hear(&mut self, at: usize, fanout: &Fanout<'_>) {
        let news = self.gathered.news_of(at);
        // What is lost is told before what there is, and not in the middle of it.
        news.is_full |= fanout.gap && !news.publications.is_empty();
        if news.is_full {
            return;
        }
        news.recovered &= !fanout.gap;
        if fanout.gap {
            self.parts[at].position = Some(fanout.since);
        }
        self.take(at, fanout.publications);
    }

    /// The owner of one of a poll's channels says where it is, and what was missed.
    fn note_welcome(&mut self, at: usize, welcome: &Welcome) {
        self.note_answer(at);
        if welcome.missed.is_empty() && welcome.recovered {
            self.parts[at].position = Some(welcome.position);
            return;
        }
        self.gathered.news_of(at).recovered = welcome.recovered;
        self.parts[at].position = Some(before_missed(welcome));
        if self.take(at, &welcome.missed) {
            self.parts[at].position = Some(welcome.position);
        }
        // The rest comes with the next poll.
        self.gathered.news_of(at).is_full = true;
    }

    /// Takes publications of a channel, as far as there is room; whether all of them.
    fn take(&mut self, at: usize, publications: &[SharedPublication]) -> bool {
        for publication in publications {
            if !self.gathered.take(at, publication) {
                return false;
            }
            self.parts[at].position = Some(publication.position);
        }
        true
    }

    /// Whether every channel's owner has said where it stands, and there is nothing to say.
    pub(super) fn is_silent(&self) -> bool {
        self.unanswered == 0 && self.gathered.news.is_empty() && !self.gathered.is_put_off
    }

    fn encode_answer(&self, out: &mut Vec<u8>) {
        let polled = self.parts.iter().enumerate().map(|(at, part)| {
            let news = self.gathered.news.iter().find(|news| news.part == at);
            Polled {
                channel: &part.channel,
                position: part.position,
                recovered: news.is_none_or(|news| news.recovered),
                publications: news.map_or(&[], |news| &news.publications),
            }
        });
        let positions = Positions(self.parts.iter().map(|part| part.position));
        json::encode_polls_answer(out, positions, polled);
    }
}

impl Shard {
    /// A long poll of several channels has its position in one: answers it when it has all and there is something to
    /// say, else lets it wait.
    pub(super) fn park_several(&mut self, index: u32, channel: &ChannelName, welcome: &Welcome) {
        let Some(several) = self.severals.get(index) else { return };
        let Some(at) = several.parts.iter().position(|part| part.channel == *channel) else { return };
        several.note_welcome(at, welcome);
        if several.unanswered > 0 {
            return;
        }
        let is_silent = several.gathered.news.is_empty();
        let Session::LongPoll(poll) = &mut self.lines.slab.at(index).session else { return };
        poll.position = Some(welcome.position);
        match is_silent && poll.timeout_ms > 0 {
            true => self.wheel.set(index, self.now.monotonic_ms + u64::from(poll.timeout_ms)),
            false => self.put_several(index),
        }
    }

    /// Answers the polls of several channels that a fan-out had something for.
    pub(super) fn answer_heard(&mut self) {
        for index in self.severals.take_heard() {
            // One that hears of several channels is found once for each.
            if self.severals.get(index).is_some_and(|several| several.unanswered == 0) {
                self.put_several(index);
            }
        }
    }

    /// Answers a long poll of several channels, now or in one of the next turns.
    fn put_several(&mut self, index: u32) {
        let Some(several) = self.severals.get(index) else { return };
        if !std::mem::replace(&mut several.gathered.is_put_off, true) {
            let connection = self.lines.slab.id(index);
            self.put_page(Page::Several { connection });
        }
    }

    /// Answers a long poll of several channels whose turn has come, unless it was answered meanwhile.
    pub(super) fn answer_several_that_waits(&mut self, index: u32) {
        if self.severals.get(index).is_some_and(|several| several.gathered.is_put_off) {
            self.answer_several(index);
        }
    }

    /// Answers a long poll of several channels with what it has heard.
    pub(super) fn answer_several(&mut self, index: u32) {
        let Some(several) = self.severals.get(index) else { return };
        let mut body = Vec::new();
        several.encode_answer(&mut body);
        let body = self.lines.outbox.encoded(&body);
        self.answer_poll(index, &body);
    }
}
