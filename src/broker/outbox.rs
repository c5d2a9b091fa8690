//! Publications on their way to the broker.
//!
//! ```text
//!   asked ─► queue ─► in flight: one transaction, or scripts ─► answered
//!              ▲  └─ too old: refused         │        └─ connection lost, or too late: nobody knows
//!              └──────── begun anew ──────────┘
//! ```
//!
//! What is gathered while something is in flight leaves in one transaction. A publication whose channel's epoch is not known,
//! or is no more, is made by a script, which finds or begins the stream.
//!
//! Invariants: each publication is answered once; of one channel they are made in the order asked; what was refused is not
//! made later.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{
    frame,
    link::Terms,
    script,
    wire::{Awaited, Wire},
};
use crate::{
    limits::{
        BROKER_BATCH_BYTES, BROKER_BATCH_MAX, BROKER_EPOCHS_MAX, BROKER_RENEW_MS, BROKER_TAIL_BYTES,
        BROKER_WAIT_MS,
    },
    model::{BrokerNews, ChannelName, Position, Publication, PublishError},
    wire::resp::Value,
};

/// Publications on their way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Item>,
    /// In flight, in the order sent.
    flight: VecDeque<Item>,
    /// What was said against the transaction in flight.
    refusal: Option<Box<str>>,
    /// Streams as they were when last heard of.
    streams: FxHashMap<ChannelName, Known>,
}

#[derive(Debug)]
struct Item {
    number: u64,
    publication: Box<Publication>,
    asked_ms: u64,
    /// Whoever asked has been told that nobody knows.
    is_answered: bool,
    /// The stream's time was renewed with it.
    has_expiry: bool,
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
        let item = Item { number, publication, asked_ms: now_ms, is_answered: false, has_expiry: false };
        self.queue.push_back(item);
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.flight.is_empty()
    }

    /// Whoever asked is gone: what has not left does not leave, and nobody waits for the rest.
    pub(super) fn abandon(&mut self) {
        self.queue.clear();
        self.flight.iter_mut().for_each(|item| item.is_answered = true);
    }

    /// A script has told the epoch of a channel, and renewed its stream's time.
    pub(super) fn note_epoch(&mut self, now_ms: u64, channel: &ChannelName, epoch: u64) {
        if self.streams.len() >= BROKER_EPOCHS_MAX && !self.streams.contains_key(channel) {
            self.streams.clear();
        }
        self.streams.insert(channel.clone(), Known { epoch, renewed_ms: now_ms });
    }

    /// Sends what waits, unless something is in flight.
    pub(super) fn send(&mut self, wire: &mut Wire, terms: &Terms, floor: u64, now_ms: u64) {
        if !self.flight.is_empty() || self.queue.is_empty() {
            return;
        }
        let mut is_fast = None;
        let mut bytes = 0;
        while bytes < BROKER_BATCH_BYTES
            && self.flight.len() < BROKER_BATCH_MAX
            && let Some(item) = self.queue.front()
        {
            let known = self.streams.get_mut(&item.publication.channel);
            let known = known.filter(|known| known.epoch >= floor);
            // A transaction does not wait for scripts that are not in it.
            if *is_fast.get_or_insert(known.is_some()) != known.is_some() {
                break;
            }
            let Some(mut item) = self.queue.pop_front() else { break };
            let body = frame::encode(terms.node, item.number, &item.publication);
            bytes += body.len();
            match known {
                None => ask_slow(wire, terms, now_ms, &item.publication.channel, &body),
                Some(known) => {
                    if self.flight.is_empty() {
                        wire.ask(now_ms, &[b"MULTI"], Awaited::Queued(1));
                    }
                    item.has_expiry = known.is_due(now_ms);
                    ask_fast(wire, terms, now_ms, &item, known.epoch, &body);
                }
            }
            self.flight.push_back(item);
        }
        if is_fast == Some(true) {
            wire.ask(now_ms, &[b"EXEC"], Awaited::Exec);
        }
    }

    /// A command of the transaction has been heard, or refused.
    pub(super) fn handle_queued(&mut self, value: Value<'_>) {
        if let Value::Error(error) = value
            && self.refusal.is_none()
        {
            self.refusal = Some(text_of(error));
        }
    }

    /// What became of the transaction in flight.
    pub(super) fn handle_exec(&mut self, value: Value<'_>, news: &mut Vec<BrokerNews>) -> Option<Complaint> {
        let refusal = self.refusal.take();
        let Some(mut results) = value.list() else {
            let error = match value {
                Value::Error(error) => text_of(error),
                _ => "it has made nothing of a transaction".into(),
            };
            let complaint = refusal.unwrap_or(error);
            for item in std::mem::take(&mut self.flight) {
                self.renew_later(&item);
                item.answer(Err(PublishError::BrokerUnavailable), news);
            }
            return Some(Complaint(complaint));
        };
        let (mut again, mut complaint) = (Vec::new(), None);
        for item in std::mem::take(&mut self.flight) {
            let result = results.next().unwrap_or(Value::Null);
            let passed_on = if item.has_expiry { 2 } else { 1 };
            (0..passed_on).for_each(|_| _ = results.next());
            match outcome(result) {
                Outcome::Made(position) => item.answer(Ok(position), news),
                Outcome::Stale => again.push(item),
                Outcome::Refused(error) => {
                    complaint = Some(Complaint(error));
                    item.answer(Err(PublishError::BrokerUnavailable), news);
                }
            }
        }
        for item in again.into_iter().rev() {
            self.streams.remove(&item.publication.channel);
            // Whoever was told that nobody knows may have asked again.
            if !item.is_answered {
                self.queue.push_front(item);
            }
        }
        complaint
    }

    /// What became of the publication that a script was to make.
    pub(super) fn handle_slow(
        &mut self,
        now_ms: u64,
        value: Value<'_>,
        news: &mut Vec<BrokerNews>,
    ) -> Option<Complaint> {
        let item = self.flight.pop_front()?;
        let last = value.list().and_then(|mut items| items.next());
        match outcome(last.unwrap_or(value)) {
            Outcome::Made(position) => {
                self.note_epoch(now_ms, &item.publication.channel, position.epoch);
                item.answer(Ok(position), news);
                None
            }
            Outcome::Stale => {
                item.answer(Err(PublishError::BrokerUnavailable), news);
                Some(Complaint("a stream could not be begun anew".into()))
            }
            Outcome::Refused(error) => {
                item.answer(Err(PublishError::BrokerUnavailable), news);
                Some(Complaint(error))
            }
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
        for item in self.flight.iter_mut().filter(|item| is_old(item)) {
            item.give_up(news);
        }
    }

    /// The connection is lost, with the answers.
    pub(super) fn lose(&mut self, news: &mut Vec<BrokerNews>) {
        self.refusal = None;
        for mut item in std::mem::take(&mut self.flight) {
            self.renew_later(&item);
            item.give_up(news);
        }
    }

    /// Nobody knows whether a stream's time was renewed with a publication: it is with the next.
    fn renew_later(&mut self, item: &Item) {
        if item.has_expiry
            && let Some(known) = self.streams.get_mut(&item.publication.channel)
        {
            known.renewed_ms = 0;
        }
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
    Refused(Box<str>),
}

fn outcome(value: Value<'_>) -> Outcome {
    match value {
        Value::Text(id) => match frame::read_id(id) {
            Some(position) => Outcome::Made(position),
            None => Outcome::Refused("an id that is none".into()),
        },
        Value::Null => Outcome::Stale,
        Value::Error(error) if error.starts_with(b"ERR The ID specified in XADD") => Outcome::Stale,
        Value::Error(error) => Outcome::Refused(text_of(error)),
        Value::Number(_) | Value::List(_) | Value::Push(_) => Outcome::Refused("an id that is none".into()),
    }
}

fn ask_fast(wire: &mut Wire, terms: &Terms, now_ms: u64, item: &Item, epoch: u64, body: &[u8]) {
    let Terms { names, .. } = terms;
    let channel = &item.publication.channel;
    let (kept_max, kept_ms) = terms.kept(channel);
    let (stream, topic) = (names.stream(channel), names.topic(channel));
    let (kept_max, id) = (kept_max.to_string(), format!("{epoch}-*"));
    let exactly: &[u8] = if kept_max == "0" { b"=" } else { b"~" };
    let (stream, kept_max) = (stream.as_bytes(), kept_max.as_bytes());
    let add: [&[u8]; 9] =
        [b"XADD", stream, b"NOMKSTREAM", b"MAXLEN", exactly, kept_max, id.as_bytes(), b"d", body];
    wire.say(&add);
    let push = [frame::push_head(epoch).as_bytes(), body].concat();
    wire.say(&[b"PUBLISH", topic.as_bytes(), &push]);
    if item.has_expiry {
        wire.say(&[b"PEXPIRE", stream, kept_ms.to_string().as_bytes()]);
    }
    wire.await_more(now_ms, Awaited::Queued(if item.has_expiry { 3 } else { 2 }));
}

fn ask_slow(wire: &mut Wire, terms: &Terms, now_ms: u64, channel: &ChannelName, body: &[u8]) {
    Stream::of(terms, channel).ask(wire, now_ms, 0, 0, Some(body), Awaited::Slow);
}

/// The names of a channel, for its script.
pub(super) struct Stream {
    stream: String,
    topic: String,
    floor: String,
    /// How many publications are kept, and for how many milliseconds.
    kept: (u32, u64),
}

impl Stream {
    pub(super) fn of(terms: &Terms, channel: &ChannelName) -> Self {
        let names = &terms.names;
        let kept = terms.kept(channel);
        Self { stream: names.stream(channel), topic: names.topic(channel), floor: names.floor(), kept }
    }

    /// How many entries it may have, with the one that begins it.
    pub(super) fn entries_max(&self) -> u32 {
        self.kept.0.saturating_add(1)
    }

    /// Where it is pushed.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Has the script run.
    pub(super) fn ask(
        &self,
        wire: &mut Wire,
        now_ms: u64,
        epoch_min: u64,
        wanted: u32,
        body: Option<&[u8]>,
        awaited: Awaited,
    ) {
        let numbers = [epoch_min, fastrand::u64(0..1024)].map(|number| number.to_string());
        let [kept_ms, wanted, wanted_bytes, kept_max] =
            [self.kept.1, wanted.into(), BROKER_TAIL_BYTES, self.kept.0.into()]
                .map(|number: u64| number.to_string());
        let mut words: Vec<&[u8]> = vec![
            b"EVAL",
            script::STREAM.as_bytes(),
            b"2",
            self.stream.as_bytes(),
            self.floor.as_bytes(),
            numbers[0].as_bytes(),
            numbers[1].as_bytes(),
            self.topic.as_bytes(),
            kept_ms.as_bytes(),
            wanted.as_bytes(),
            wanted_bytes.as_bytes(),
            kept_max.as_bytes(),
        ];
        words.extend(body);
        wire.ask(now_ms, &words, awaited);
    }
}

pub(super) fn text_of(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}
