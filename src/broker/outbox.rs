//! Publications on their way to the broker.
//!
//! ```text
//!   asked ─► queue ─► in flight: a run for each channel ─► answered
//!              ▲  └─ too old: refused        │        └─ connection lost, or too late: nobody knows
//!              └──────── begun anew ─────────┘
//! ```
//!
//! What is gathered while something is in flight leaves together, what is of one channel as one *run*: one script, which makes
//! all of it or nothing, and one push. A run whose channel's epoch is not known, or is no more, is made by the script that finds
//! or begins the stream.
//!
//! Invariants: each publication is answered once; of one channel they are made in the order asked; what was refused is not
//! made later.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{
    fault::text_of,
    frame,
    link::{Around, Terms, is_forgotten},
    stream::Stream,
    wire::{Awaited, Wire},
};
use crate::{
    limits::{BROKER_BATCH_BYTES, BROKER_BATCH_MAX, BROKER_EPOCHS_MAX, BROKER_RENEW_MS, BROKER_WAIT_MS},
    model::{BrokerNews, ChannelName, Position, Publication, PublishError},
    wire::resp::Value,
};

/// Publications on their way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Item>,
    /// In flight, in the order sent.
    flight: VecDeque<Run>,
    /// Streams as they were when last heard of.
    streams: FxHashMap<ChannelName, Known>,
}

/// Publications of one channel that are made together.
#[derive(Debug)]
struct Run {
    channel: ChannelName,
    items: Vec<Item>,
    /// The stream's time was renewed with it.
    has_expiry: bool,
    /// The stream is found or begun with it.
    is_sought: bool,
    bodies: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Item {
    number: u64,
    publication: Box<Publication>,
    asked_ms: u64,
    /// Whoever asked has been told that nobody knows.
    is_answered: bool,
}

/// What is known of a stream.
#[derive(Clone, Copy, Debug)]
struct Known {
    epoch: u64,
    /// When its time was last renewed.
    renewed_ms: u64,
}

/// Why a publication was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint(pub(super) Box<str>);

impl Outbox {
    /// Takes a publication.
    pub(super) fn push(&mut self, now_ms: u64, number: u64, publication: Box<Publication>) {
        let item = Item { number, publication, asked_ms: now_ms, is_answered: false };
        self.queue.push_back(item);
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.flight.is_empty()
    }

    /// Whoever asked is gone: what has not left does not leave, and nobody waits for the rest.
    pub(super) fn abandon(&mut self) {
        self.queue.clear();
        self.flight_mut().for_each(|item| item.is_answered = true);
    }

    /// A script has told the epoch of a channel, and renewed its stream's time.
    pub(super) fn note_epoch(&mut self, now_ms: u64, channel: &ChannelName, epoch: u64) {
        if self.streams.len() >= BROKER_EPOCHS_MAX && !self.streams.contains_key(channel) {
            self.streams.clear();
        }
        self.streams.insert(channel.clone(), Known { epoch, renewed_ms: now_ms });
    }

    /// Sends what waits, unless something is in flight.
    pub(super) fn send(&mut self, wire: &mut Wire, around: &Around<'_>) {
        if !self.flight.is_empty() || self.queue.is_empty() {
            return;
        }
        let mut of = FxHashMap::default();
        let (mut bytes, mut count) = (0, 0);
        while bytes < BROKER_BATCH_BYTES
            && count < BROKER_BATCH_MAX
            && let Some(item) = self.queue.pop_front()
        {
            let body = frame::encode(around.terms.node, item.number, &item.publication);
            (bytes, count) = (bytes + body.len(), count + 1);
            let channel = &item.publication.channel;
            let at = match of.get(channel) {
                Some(at) => *at,
                None => {
                    of.insert(channel.clone(), self.flight.len());
                    self.flight.push_back(Run::new(channel.clone()));
                    self.flight.len() - 1
                }
            };
            let run = &mut self.flight[at];
            run.bodies.push(body);
            run.items.push(item);
        }
        for run in &mut self.flight {
            let known = self.streams.get_mut(&run.channel);
            match known.filter(|known| known.epoch >= around.floor) {
                None => {
                    run.is_sought = true;
                    run.find(wire, around);
                }
                Some(known) => {
                    run.has_expiry = known.is_due(around.now_ms);
                    run.go_on(wire, around, known.epoch);
                }
            }
            run.bodies = Vec::new();
        }
    }

    /// What became of the first run in flight.
    pub(super) fn handle_run(
        &mut self,
        now_ms: u64,
        value: Value<'_>,
        news: &mut Vec<BrokerNews>,
    ) -> Option<Complaint> {
        let run = self.flight.pop_front()?;
        let last = value.list().and_then(|mut items| items.next());
        match outcome(last.unwrap_or(value)) {
            Outcome::Made(last) => {
                if value.list().is_some() {
                    self.note_epoch(now_ms, &run.channel, last.epoch);
                }
                let before = last.offset.saturating_sub(run.items.len() as u64);
                for (item, offset) in run.items.iter().zip(before + 1..) {
                    item.answer(Ok(Position { offset, ..last }), news);
                }
                None
            }
            Outcome::Stale if run.is_sought => {
                run.items.iter().for_each(|item| item.answer(Err(PublishError::BrokerUnavailable), news));
                Some(Complaint("a stream could not be begun anew".into()))
            }
            Outcome::Stale => {
                self.streams.remove(&run.channel);
                self.try_again(run);
                None
            }
            Outcome::Forgotten => {
                self.renew_later(&run);
                self.try_again(run);
                None
            }
            Outcome::Refused(error) => {
                self.renew_later(&run);
                for item in &run.items {
                    item.answer(Err(PublishError::BrokerUnavailable), news);
                }
                Some(Complaint(error))
            }
        }
    }

    /// The server has said that it makes nothing at all: what it was asked first waits for another.
    pub(super) fn take_back(&mut self) {
        if let Some(run) = self.flight.pop_front() {
            self.renew_later(&run);
            self.try_again(run);
        }
    }

    /// What was not made goes before what waits. Whoever was told that nobody knows may have asked again.
    fn try_again(&mut self, run: Run) {
        for item in run.items.into_iter().rev().filter(|item| !item.is_answered) {
            self.queue.push_front(item);
        }
    }

    /// Refuses what has waited too long; of what is in flight that long, nobody knows.
    pub(super) fn pass_time(&mut self, now_ms: u64, news: &mut Vec<BrokerNews>) {
        let is_old = |item: &Item| item.asked_ms + BROKER_WAIT_MS <= now_ms;
        while self.queue.front().is_some_and(is_old)
            && let Some(item) = self.queue.pop_front()
        {
            item.answer(Err(PublishError::BrokerUnavailable), news);
        }
        for item in self.flight_mut().filter(|item| is_old(item)) {
            item.give_up(news);
        }
    }

    /// The connection is lost, with the answers.
    pub(super) fn lose(&mut self, news: &mut Vec<BrokerNews>) {
        for mut run in std::mem::take(&mut self.flight) {
            self.renew_later(&run);
            run.items.iter_mut().for_each(|item| item.give_up(news));
        }
    }

    /// Nobody knows whether a stream's time was renewed with a run: it is with the next.
    fn renew_later(&mut self, run: &Run) {
        if run.has_expiry
            && let Some(known) = self.streams.get_mut(&run.channel)
        {
            known.renewed_ms = 0;
        }
    }

    fn flight_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        self.flight.iter_mut().flat_map(|run| &mut run.items)
    }
}

impl Run {
    fn new(channel: ChannelName) -> Self {
        Self { channel, items: Vec::new(), has_expiry: false, is_sought: false, bodies: Vec::new() }
    }

    /// Has it made where its stream is known to be.
    fn go_on(&self, wire: &mut Wire, around: &Around<'_>, epoch: u64) {
        let Terms { names, .. } = around.terms;
        let (kept_max, kept_ms) = around.terms.kept(&self.channel);
        let (stream, topic) = (names.stream(&self.channel), names.topic(&self.channel));
        let (id, kept_max) = (format!("{epoch}-*"), kept_max.to_string());
        let expiry = if self.has_expiry { kept_ms.to_string() } else { String::new() };
        let (exactly, head) =
            (if kept_max == "0" { "=" } else { "~" }, frame::push_head(epoch, &self.bodies));
        let [verb, code] = around.scripts.run.words();
        let words = [verb, code, "1", &stream, &id, exactly, &kept_max, &expiry, &topic, &head];
        let words = words.into_iter().map(str::as_bytes).chain(self.bodies.iter().map(Vec::as_slice));
        wire.ask(around.now_ms, &words.collect::<Vec<_>>(), Awaited::Run);
    }

    /// Has it made where its stream is found or begun.
    fn find(&self, wire: &mut Wire, around: &Around<'_>) {
        Stream::of(around.terms, &self.channel).ask(wire, around, (0, 0), &self.bodies, Awaited::Run);
    }
}

impl Known {
    /// Whether the stream's time is to be renewed; it is then.
    fn is_due(&mut self, now_ms: u64) -> bool {
        let is_due = now_ms >= self.renewed_ms + BROKER_RENEW_MS || self.renewed_ms == 0;
        if is_due {
            self.renewed_ms = now_ms;
        }
        is_due
    }
}

impl Item {
    fn answer(&self, result: Result<Position, PublishError>, news: &mut Vec<BrokerNews>) {
        if !self.is_answered {
            news.push(BrokerNews::Published { number: self.number, result });
        }
    }

    fn give_up(&mut self, news: &mut Vec<BrokerNews>) {
        self.answer(Err(PublishError::BrokerUnknown), news);
        self.is_answered = true;
    }
}

/// What became of a publication.
enum Outcome {
    Made(Position),
    /// Its stream is gone, or has begun anew.
    Stale,
    /// The broker has forgotten the script.
    Forgotten,
    Refused(Box<str>),
}

fn outcome(value: Value<'_>) -> Outcome {
    match value {
        Value::Text(id) => match frame::read_id(id) {
            Some(position) => Outcome::Made(position),
            None => Outcome::Refused("an id that is none".into()),
        },
        Value::Null => Outcome::Stale,
        // What Redis says where the last offset there can be has been given; so it does of what is really too large, which the
        // script that begins streams is told as well.
        Value::Error(error)
            if error.starts_with(b"ERR The ID specified in XADD")
                || error.starts_with(b"ERR Elements are too large") =>
        {
            Outcome::Stale
        }
        Value::Error(error) if is_forgotten(error) => Outcome::Forgotten,
        Value::Error(error) => Outcome::Refused(text_of(error)),
        Value::Number(_) | Value::List(_) | Value::Push(_) => Outcome::Refused("an id that is none".into()),
    }
}
