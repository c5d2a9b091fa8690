//! Streams and polls of several channels: where their clients are in each.
//!
//! A browser remembers one `id`, so each event of such a stream lists all positions of its client. What is said of a
//! publication is encoded once for all; the list is the client's own. It holds what has been queued for the client, and what
//! is queued leaves in order.
//!
//! ```text
//!   id: 17:4,21:9,-        17:4 told, 21:9 told, the third channel's owner has not answered
//! ```
//!
//! A poll is answered once every channel's owner has said where it stands, so that no position is missing. What is published
//! on one while another is asked is gathered, no more than an answer may have; the rest is for the next poll.
//!
//! Invariant: without such a stream nothing stands here, and nobody else is looked up here.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::{
    connection::Flags,
    delivery::{Broadcast, Delivery},
    encode::before_missed,
    intents::Wish,
    lines::Lines,
    outbox::Class,
    pages::Page,
    shown::Astray,
    turn::Shard,
};
use crate::{
    hub::{Fanout, Since},
    limits::{HISTORY_PAGE_BYTES_MAX, SlowConsumer},
    mesh::{ShardReport, Welcome},
    model::{ChannelName, Position, Positions, SharedPublication, Transport},
    session::Session,
    wire::{
        json::{self, Polled},
        sse,
    },
};

/// Those of a shard that follow several channels at once.
#[derive(Default)]
pub(super) struct Severals {
    by_connection: FxHashMap<u32, Several>,
    /// Polls that a fan-out has something for.
    heard: Vec<u32>,
    /// Memory of a fan-out, used again.
    scratch: Scratch,
}

/// What a fan-out says, encoded, but for the list of positions that comes before each event.
#[derive(Default)]
struct Scratch {
    events: Vec<u8>,
    ends: Vec<usize>,
    bytes: Vec<u8>,
    json: Vec<u8>,
    /// Subscribers that follow one channel.
    others: Vec<u32>,
}

/// One stream or poll.
struct Several {
    parts: Box<[Part]>,
    /// Channels whose owners have not answered.
    unanswered: usize,
    /// What a poll is going to be answered with.
    news: Vec<News>,
    /// Its answer waits to be written.
    is_put_off: bool,
}

/// One of its channels.
struct Part {
    channel: ChannelName,
    /// Up to where its client has been told.
    position: Option<Position>,
    is_answered: bool,
}

/// What a poll has heard of one of its channels.
struct News {
    part: usize,
    recovered: bool,
    publications: Vec<SharedPublication>,
    bytes: u64,
    /// What comes is for the next poll.
    is_full: bool,
}

/// What the delivery of a fan-out touches.
pub(super) struct Around<'a> {
    pub(super) lines: &'a mut Lines,
    pub(super) report: &'a mut ShardReport,
    pub(super) slow_consumer: SlowConsumer,
    pub(super) astray: &'a mut Astray,
}

impl Severals {
    fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }

    fn get(&mut self, index: u32) -> Option<&mut Several> {
        self.by_connection.get_mut(&index)
    }

    /// Whether this connection follows several channels at once.
    pub(super) fn has(&self, index: u32) -> bool {
        self.by_connection.contains_key(&index)
    }

    /// A stream or poll is over.
    pub(super) fn remove(&mut self, index: u32) {
        if !self.by_connection.is_empty() {
            self.by_connection.remove(&index);
            if self.by_connection.is_empty() {
                (self.by_connection, self.scratch) = Default::default();
            }
        }
    }

    /// As much of what it missed as a poll is told: the channels of one share an answer.
    pub(super) fn page(&self, index: u32, position: Position) -> Since {
        match self.by_connection.get(&index) {
            Some(several) => Since { position, bytes_max: several.page_bytes_max() },
            None => Since::page(position),
        }
    }

    /// Polls that the last fan-out had something for.
    pub(super) fn take_heard(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.heard)
    }

    /// Hands a channel's publications to those who follow several; gives back the others, who follow it by itself.
    pub(super) fn hear<'a>(
        &'a mut self,
        fanout: &Fanout<'a>,
        transport: Transport,
        around: &mut Around<'_>,
    ) -> &'a [u32] {
        let subscribers = fanout.subscribers[transport as usize];
        if self.is_empty() || !matches!(transport, Transport::EventStream | Transport::LongPoll) {
            return subscribers;
        }
        self.scratch.others.clear();
        self.scratch.ends.clear();
        for index in subscribers {
            let Some(several) = self.by_connection.get_mut(index) else {
                self.scratch.others.push(*index);
                continue;
            };
            match transport {
                Transport::LongPoll => {
                    several.note(fanout);
                    self.heard.push(*index);
                }
                _ => self.scratch.deliver(several, *index, fanout, around),
            }
        }
        &self.scratch.others
    }
}

impl Scratch {
    /// Sends one stream what a channel has for it.
    fn deliver(&mut self, several: &mut Several, index: u32, fanout: &Fanout<'_>, around: &mut Around<'_>) {
        let Some(at) = several.find(fanout.channel) else { return };
        let publications = fanout.publications;
        if self.ends.len() < publications.len() {
            self.encode(publications);
        }
        self.bytes.clear();
        let is_stateful = around.lines.slab.look(index).flags.has(Flags::STATEFUL);
        if publications.is_empty() || (fanout.gap && is_stateful) {
            several.push_reset(&mut self.bytes, &mut self.json, at, fanout.since);
        }
        let mut start = 0;
        for (publication, end) in publications.iter().zip(&self.ends) {
            several.push_event(&mut self.bytes, at, publication.position, &self.events, start..*end);
            start = *end;
        }
        let count = publications.len() as u32;
        around.report.deliveries_total += u64::from(count);
        let bytes = around.lines.outbox.encoded(&self.bytes);
        let slow_consumer = around.slow_consumer;
        let broadcast = Broadcast { bytes: &bytes, publications: count, slow_consumer };
        if let Delivery::Dropped(count) = around.lines.deliver(index, &broadcast) {
            around.report.dropped_slow_total += u64::from(count);
            around.astray.note_dropped(around.lines, fanout, index);
        }
    }

    /// Encodes what all of them are told.
    fn encode(&mut self, publications: &[SharedPublication]) {
        self.events.clear();
        self.ends.clear();
        for publication in publications {
            sse::encode_one_of_several(&mut self.events, &mut self.json, publication);
            self.ends.push(self.events.len());
        }
    }
}

impl Several {
    fn new(channels: &[(ChannelName, Option<Position>)]) -> Self {
        let part = |(channel, position): &(ChannelName, Option<Position>)| Part {
            channel: channel.clone(),
            position: *position,
            is_answered: false,
        };
        let parts = channels.iter().map(part).collect();
        Self { parts, unanswered: channels.len(), news: Vec::new(), is_put_off: false }
    }

    fn find(&self, channel: &ChannelName) -> Option<usize> {
        self.parts.iter().position(|part| part.channel == *channel)
    }

    fn positions(&self) -> Positions<impl Iterator<Item = Option<Position>> + Clone> {
        Positions(self.parts.iter().map(|part| part.position))
    }

    fn page_bytes_max(&self) -> u64 {
        HISTORY_PAGE_BYTES_MAX / self.parts.len().max(1) as u64
    }

    /// A channel's owner has answered.
    fn note_answer(&mut self, at: usize) {
        let part = &mut self.parts[at];
        self.unanswered -= usize::from(!part.is_answered);
        part.is_answered = true;
    }

    fn push_event(
        &mut self,
        out: &mut Vec<u8>,
        at: usize,
        position: Position,
        events: &[u8],
        event: Range<usize>,
    ) {
        self.parts[at].position = Some(position);
        sse::push_id(out, self.positions());
        out.extend_from_slice(&events[event]);
    }

    fn push_reset(&mut self, out: &mut Vec<u8>, json: &mut Vec<u8>, at: usize, position: Position) {
        self.parts[at].position = Some(position);
        json.clear();
        json::encode_reset(json, &self.parts[at].channel);
        sse::encode_event_of_several(out, "reset", self.positions(), json::as_text(json));
    }

    /// Appends a piece of what a stream missed on one channel, with a word about what of it is lost.
    fn encode_piece(
        &mut self,
        out: &mut Vec<u8>,
        json: &mut Vec<u8>,
        at: usize,
        welcome: &Welcome,
        is_further: bool,
    ) {
        self.note_answer(at);
        if !welcome.recovered {
            // A client that breaks behind this word must not skip what follows.
            self.push_reset(out, json, at, before_missed(welcome));
        }
        let mut event = Vec::new();
        for publication in &welcome.missed {
            event.clear();
            sse::encode_one_of_several(&mut event, json, publication);
            self.push_event(out, at, publication.position, &event, 0..event.len());
        }
        self.parts[at].position = Some(welcome.position);
        let is_silent = welcome.recovered && welcome.missed.is_empty() && !is_further;
        if is_silent && self.unanswered == 0 {
            // Else a client that is cut before the first publication came back without positions.
            sse::encode_positions(out, self.positions());
        }
        if let Some(keys) = &welcome.state {
            json.clear();
            json::encode_state(json, &self.parts[at].channel, Some(welcome.position), keys, false);
            sse::encode_event_of_several(out, "state", self.positions(), json::as_text(json));
        }
    }

    /// A poll hears what is published while it waits.
    fn note(&mut self, fanout: &Fanout<'_>) {
        let Some(at) = self.find(fanout.channel) else { return };
        let bytes_max = self.page_bytes_max();
        let index = self.news_of(at);
        let (news, part) = (&mut self.news[index], &mut self.parts[at]);
        // What is lost is told before what there is, and not in the middle of it.
        news.is_full |= fanout.gap && !news.publications.is_empty();
        if news.is_full {
            return;
        }
        news.recovered &= !fanout.gap;
        if fanout.publications.is_empty() {
            part.position = Some(fanout.since);
        }
        for publication in fanout.publications {
            news.bytes += publication.payload.data.len() as u64;
            news.is_full = news.bytes > bytes_max && !news.publications.is_empty();
            if news.is_full {
                return;
            }
            part.position = Some(publication.position);
            news.publications.push(publication.clone());
        }
    }

    /// The owner of one of a poll's channels says where it is, and what was missed.
    fn note_welcome(&mut self, at: usize, welcome: &Welcome) {
        self.note_answer(at);
        self.parts[at].position = Some(welcome.position);
        if !welcome.missed.is_empty() || !welcome.recovered {
            let index = self.news_of(at);
            let news = &mut self.news[index];
            news.recovered = welcome.recovered;
            news.publications.extend_from_slice(&welcome.missed);
            // The rest comes with the next poll.
            news.is_full = true;
        }
    }

    /// What is told of one channel.
    fn news_of(&mut self, part: usize) -> usize {
        self.news.iter().position(|news| news.part == part).unwrap_or_else(|| {
            let news = News { part, recovered: true, publications: Vec::new(), bytes: 0, is_full: false };
            self.news.push(news);
            self.news.len() - 1
        })
    }

    fn encode_answer(&self, out: &mut Vec<u8>) {
        let polled = self.parts.iter().enumerate().map(|(at, part)| {
            let news = self.news.iter().find(|news| news.part == at);
            Polled {
                channel: &part.channel,
                position: part.position,
                recovered: news.is_none_or(|news| news.recovered),
                publications: news.map_or(&[], |news| &news.publications),
            }
        });
        json::encode_polls_answer(out, self.positions(), polled);
    }
}

impl Shard {
    /// Subscribes a stream or poll to all its channels; one refusal ends it.
    pub(super) fn follow_several(
        &mut self,
        index: u32,
        transport: Transport,
        channels: Vec<(ChannelName, Option<Position>)>,
        with_state: bool,
    ) {
        self.severals.by_connection.insert(index, Several::new(&channels));
        for (channel, since) in channels {
            if !self.severals.has(index) {
                return;
            }
            let wish = Wish::to_follow(transport, since).with_state(with_state);
            self.subscribe(index, wish, channel, None);
        }
    }

    /// Tells a stream of several channels what it missed on one.
    pub(super) fn tell_several(
        &mut self,
        index: u32,
        channel: &ChannelName,
        welcome: &Welcome,
        is_further: bool,
    ) {
        let Some(several) = self.severals.get(index) else { return };
        let Some(at) = several.find(channel) else { return };
        let json = &mut self.fanout.json;
        self.lines.say(index, Class::Recovery, |out| {
            several.encode_piece(out, json, at, welcome, is_further);
        });
    }

    /// A long poll of several channels has its position in one: answers it when it has all and there is something to
    /// say, else lets it wait.
    pub(super) fn park_several(&mut self, index: u32, channel: &ChannelName, welcome: &Welcome) {
        let Some(several) = self.severals.get(index) else { return };
        let Some(at) = several.find(channel) else { return };
        several.note_welcome(at, welcome);
        if several.unanswered > 0 {
            return;
        }
        let is_silent = several.news.is_empty();
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
        if !std::mem::replace(&mut several.is_put_off, true) {
            let connection = self.lines.slab.id(index);
            self.put_page(Page::Several { connection });
        }
    }

    /// Answers a long poll of several channels whose turn has come, unless it was answered meanwhile.
    pub(super) fn answer_several_that_waits(&mut self, index: u32) {
        if self.severals.get(index).is_some_and(|several| several.is_put_off) {
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
