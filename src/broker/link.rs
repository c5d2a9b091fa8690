//! What one shard says to the broker and hears of it, on one connection: what is asked, and what is pushed. Sans-io; time is an
//! argument.
//!
//! ```text
//!   HELLO ─► INFO ─► floor ─► up ─► channels are followed, publications leave
//! ```
//!
//! One connection and not two, for then the server writes what it answers and what it pushes together.
//!
//! Invariants: nothing is published under an epoch below the floor; what is said of a channel is said in the order of its
//! stream, or begins with where it is.

use super::{
    address::Address,
    fault::{Fault, answer, ends_it, greeted, has_all_keys, is_master, text_of, unasked},
    followed::Followed,
    frame::{self, Names, Push},
    outbox::{Complaint, Outbox},
    script::{self, Scripts},
    tended::Speaker,
    thread::Settings,
    wire::{Awaited, Wire},
};
use crate::{
    auth::Pattern,
    limits::{BROKER_CHECK_MS, BROKER_RENEW_MS, BROKER_SILENCE_MS},
    model::{
        BrokerAsk, BrokerNews, ChannelName, Position, Publication, Retention, ShardId, SharedPublication,
    },
    wire::resp::{Items, Value},
};

/// What holds for every shard of a node.
#[derive(Debug)]
pub(super) struct Terms {
    /// Where the broker is, and who asks.
    pub(super) address: Address,
    /// How what is ours is named there.
    pub(super) names: Names,
    /// This node; drawn when it starts.
    pub(super) node: u64,
    /// Publications kept of a channel.
    pub(super) kept_max: u32,
    /// How long each is.
    pub(super) kept_ms: u32,
    /// What holds of some channels instead; the first that is about one.
    pub(super) retentions: Vec<(Pattern, Retention)>,
}

/// Streams are kept this much longer than their publications, so that a quiet channel that is looked at keeps its place.
const KEPT_LONGER_MS: u64 = 600_000;
const _: () = assert!(BROKER_RENEW_MS + BROKER_CHECK_MS < KEPT_LONGER_MS);

impl Terms {
    pub(super) fn of(settings: &Settings, address: &Address, node: u64) -> Self {
        Self {
            address: address.clone(),
            names: Names::new(&settings.prefix),
            node,
            kept_max: settings.history_publications_max,
            kept_ms: settings.history_age_max_ms,
            retentions: settings.retentions.clone(),
        }
    }

    /// How many publications of a channel are kept, and for how many milliseconds a stream that nobody uses.
    pub(super) fn kept(&self, channel: &ChannelName) -> (u32, u64) {
        let is_about = |(pattern, _): &&(Pattern, Retention)| pattern.is_about(channel.as_str());
        let retention = self.retentions.iter().find(is_about).map(|(_, retention)| *retention);
        let Retention { publications_max, age_max_ms, .. } = retention.unwrap_or_default();
        let kept_ms = 2 * u64::from(age_max_ms.unwrap_or(self.kept_ms)) + KEPT_LONGER_MS;
        (publications_max.unwrap_or(self.kept_max), kept_ms)
    }
}

/// What holds for whatever is said now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) terms: &'a Terms,
    pub(super) scripts: &'a Scripts,
    /// Which process the server is.
    pub(super) process: &'a str,
    pub(super) floor: u64,
    pub(super) now_ms: u64,
}

/// What one shard says and hears.
#[derive(Debug)]
pub(super) struct Link {
    terms: std::rc::Rc<Terms>,
    /// This shard's part of the node, as it is named in the broker.
    who: String,
    wire: Wire,
    scripts: Scripts,
    stage: Stage,
    outbox: Outbox,
    followed: Followed,
    news: Vec<BrokerNews>,
    /// Which process the server is, and its floor.
    process: Box<str>,
    floor: u64,
    /// When it was last asked what it is.
    role_ms: u64,
    complaint: Option<Complaint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Down,
    Greeting,
    Up,
}

impl Link {
    pub(super) fn new(terms: std::rc::Rc<Terms>, shard: ShardId) -> Self {
        let who = format!("{:016x}:{shard}", terms.node);
        Self {
            terms,
            who,
            wire: Wire::default(),
            scripts: Scripts::default(),
            stage: Stage::Down,
            outbox: Outbox::default(),
            followed: Followed::default(),
            news: Vec::new(),
            process: Box::default(),
            floor: 0,
            role_ms: 0,
            complaint: None,
        }
    }

    /// The shard asks something.
    pub(super) fn handle_ask(&mut self, now_ms: u64, ask: BrokerAsk) {
        match ask {
            BrokerAsk::Begin => self.begin(),
            BrokerAsk::Publish { number, publication } => self.outbox.push(now_ms, number, publication),
            BrokerAsk::Follow { channel, epoch_min } => self.followed.follow(channel, epoch_min),
            BrokerAsk::Hurry { channel } => self.followed.hurry(channel),
            BrokerAsk::Leave { channel } => {
                let topic = self.terms.names.topic(&channel);
                let wire = (self.stage == Stage::Up).then_some(&mut self.wire);
                self.followed.leave(&channel, &topic, wire);
            }
        }
    }

    /// All that was asked has been taken: lets it leave.
    pub(super) fn flush(&mut self, now_ms: u64) {
        if self.stage == Stage::Up {
            let Self { terms, scripts, process, floor, wire, outbox, followed, .. } = self;
            let around = &Around { terms, scripts, process, floor: *floor, now_ms };
            outbox.send(wire, around);
            followed.ask(wire, around);
        }
    }

    /// What the shard is to be told.
    pub(super) fn poll_news(&mut self) -> Vec<BrokerNews> {
        std::mem::take(&mut self.news)
    }

    fn begin(&mut self) {
        let topics: Vec<_> =
            self.followed.channels().map(|channel| self.terms.names.topic(channel)).collect();
        if self.stage == Stage::Up {
            for topic in topics {
                self.wire.say(&[b"UNSUBSCRIBE", topic.as_bytes()]);
            }
        }
        self.followed.begin_anew();
        self.outbox.abandon();
        self.news.push(BrokerNews::Begun);
        if self.stage == Stage::Up {
            self.news.push(BrokerNews::Up);
        }
    }

    fn go_through(&mut self, now_ms: u64, received: &mut super::wire::Received) -> Result<(), Fault> {
        while let Some(value) = received.next().map_err(Fault::Protocol)? {
            match value {
                Value::Push(items) => self.handle_push(now_ms, items),
                value => {
                    let awaited = self.wire.answered(now_ms).ok_or_else(|| unasked(value))?;
                    self.handle_reply(now_ms, awaited, value)?;
                }
            }
        }
        Ok(())
    }

    fn handle_reply(&mut self, now_ms: u64, awaited: Awaited, value: Value<'_>) -> Result<(), Fault> {
        if let Value::Error(error) = value {
            if let Err(fault) = ends_it(error) {
                if matches!(awaited, Awaited::Run) {
                    self.outbox.take_back();
                }
                return Err(fault);
            }
            if is_forgotten(error) {
                self.scripts.forget();
            }
        }
        match awaited {
            Awaited::Hello => {
                greeted(value)?;
                has_all_keys(value)?;
            }
            Awaited::Info => self.handle_info(now_ms, answer(value)?)?,
            Awaited::Floor => {
                let floor = answer(value)?.text().and_then(|text| std::str::from_utf8(text).ok());
                let floor = floor.and_then(|floor| floor.parse().ok());
                self.floor = floor.ok_or(Fault::Refused("a floor that is none".into()))?;
                self.stage = Stage::Up;
                self.news.push(BrokerNews::Up);
            }
            Awaited::Run => {
                if let Some(complaint) = self.outbox.handle_run(now_ms, value, &mut self.news) {
                    self.complaint = Some(complaint);
                }
            }
            Awaited::Role => {
                let role = answer(value)?.list().and_then(|mut items| items.next());
                is_master(role.and_then(Value::text))?;
            }
            Awaited::Nothing | Awaited::Members(_) => {}
            Awaited::Follow(channel, number) => self.handle_followed(now_ms, channel, number, value),
            Awaited::Check(channel, number) => {
                let position = last_of(value).and_then(frame::read_id);
                if let Some(position) = position.filter(|_| self.followed.is_checked(&channel, number)) {
                    self.news.push(BrokerNews::Checked { channel, position });
                }
            }
        }
        Ok(())
    }

    fn handle_info(&mut self, now_ms: u64, value: Value<'_>) -> Result<(), Fault> {
        let text = value.text().map(text_of).unwrap_or_default();
        let process = text.lines().find_map(|line| line.strip_prefix("run_id:"));
        self.process = process.ok_or(Fault::Refused("no run_id in INFO".into()))?.trim().into();
        let (marks, drawn) = (self.terms.names.marks(), fastrand::u64(0..1024).to_string());
        let words = ["EVAL", script::FLOOR, "1", &marks, &self.process, &drawn].map(str::as_bytes);
        self.wire.ask(now_ms, &words, Awaited::Floor);
        Ok(())
    }

    fn handle_followed(&mut self, now_ms: u64, channel: ChannelName, number: u64, value: Value<'_>) {
        if !self.followed.answered(&channel, number) {
            return;
        }
        let Some(position) = last_of(value).and_then(frame::read_id) else {
            if let Value::Error(error) = value
                && !is_forgotten(error)
            {
                self.complaint = Some(Complaint(text_of(error)));
            }
            return self.followed.put_off(channel);
        };
        let entries = value.list().and_then(|items| items.last()?.list());
        let kept = entries.map(|entries| self.kept(&channel, position, entries)).unwrap_or_default();
        self.followed.tell(&channel);
        // One that is empty may not have begun.
        if position.offset > 0 {
            self.outbox.note_epoch(now_ms, &channel, position.epoch);
        }
        self.news.push(BrokerNews::Following { channel, position, kept });
    }

    /// The latest publications of a stream, oldest first: up to the first that is missing, too old, or cannot be read.
    fn kept(&self, channel: &ChannelName, last: Position, entries: Items<'_>) -> Vec<SharedPublication> {
        let mut kept = Vec::new();
        for entry in entries {
            let Some(mut entry) = entry.list() else { break };
            let id = entry.next().and_then(Value::text).and_then(frame::read_id);
            let mut fields = entry.next().and_then(Value::list).into_iter().flatten();
            let (Some(position), Some(_), Some(Value::Text(body))) = (id, fields.next(), fields.next())
            else {
                break;
            };
            let expected = last.offset - kept.len() as u64;
            if position != (Position { offset: expected, ..last }) || expected == 0 {
                break;
            }
            let Some(body) = frame::decode(channel, position.epoch, body) else { break };
            kept.push(SharedPublication::new(Publication { position, ..body.publication }));
        }
        kept.reverse();
        kept
    }

    fn handle_push(&mut self, now_ms: u64, mut items: Items<'_>) {
        self.wire.note_pushed(now_ms);
        if items.next().and_then(Value::text) != Some(b"message") {
            return;
        }
        let topic = items.next().and_then(Value::text).unwrap_or_default();
        let channel = self.terms.names.channel(topic).and_then(|channel| self.followed.told(channel));
        let push = items.next().and_then(Value::text).and_then(frame::read_push);
        let (Some(channel), Some(push)) = (channel.cloned(), push) else { return };
        match push {
            Push::Renewed { epoch } => {
                self.outbox.note_epoch(now_ms, &channel, epoch);
                self.news.push(BrokerNews::Renewed { channel, epoch });
            }
            Push::Publications { epoch, lengths, bodies } => {
                for body in frame::bodies_of(lengths, bodies) {
                    let body = frame::decode(&channel, epoch, body);
                    let node = self.terms.node;
                    let number = body.as_ref().filter(|body| body.node == node).map(|body| body.number);
                    let publication = body.map(|body| Box::new(body.publication));
                    let channel = channel.clone();
                    self.news.push(BrokerNews::Pushed { channel, epoch, number, publication });
                }
            }
        }
    }

    /// Sees to it that this is still the server that takes writes.
    fn check_role(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.role_ms) >= BROKER_SILENCE_MS {
            self.role_ms = now_ms;
            self.wire.ask(now_ms, &[b"ROLE"], Awaited::Role);
        }
    }
}

impl Speaker for Link {
    fn handle_connected(&mut self, now_ms: u64) {
        self.wire = Wire::connected(now_ms);
        self.scripts.forget();
        self.stage = Stage::Greeting;
        self.role_ms = now_ms;
        let name = format!("roadstead-{}", self.who);
        let probe = self.terms.names.probe(&self.who);
        self.wire.ask(now_ms, &self.terms.address.hello(&name), Awaited::Hello);
        self.wire.ask(now_ms, &[b"INFO", b"server"], Awaited::Info);
        self.wire.say(&[b"SUBSCRIBE", probe.as_bytes()]);
    }

    fn handle_bytes(&mut self, now_ms: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut received = self.wire.receive(bytes);
        let result = self.go_through(now_ms, &mut received);
        self.wire.keep(received);
        // Over one that is of no use nothing leaves any more.
        result.inspect(|()| self.flush(now_ms))
    }

    fn handle_down(&mut self, fault: &Fault) {
        let was_up = std::mem::replace(&mut self.stage, Stage::Down) == Stage::Up;
        self.wire = Wire::default();
        self.outbox.lose(&mut self.news);
        self.followed.lose();
        if was_up {
            self.news.push(BrokerNews::Down(fault.loss()));
        }
    }

    fn handle_time(&mut self, now_ms: u64) -> Result<(), Fault> {
        self.outbox.pass_time(now_ms, &mut self.news);
        if self.stage == Stage::Down {
            return Ok(());
        }
        self.wire.check_answers(now_ms)?;
        if self.stage == Stage::Up {
            self.check_role(now_ms);
            let Self { terms, scripts, process, floor, wire, followed, who, .. } = self;
            wire.check_pushes(now_ms, || terms.names.probe(who))?;
            followed.check(wire, &Around { terms, scripts, process, floor: *floor, now_ms });
            self.flush(now_ms);
        }
        Ok(())
    }

    fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.wire.take_output()
    }

    fn news_count(&self) -> usize {
        self.news.len()
    }

    fn take_complaint(&mut self) -> Option<Complaint> {
        self.complaint.take()
    }

    fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    fn is_waiting(&self) -> bool {
        !self.outbox.is_empty()
    }
}

/// Whether the server does not keep a script that was named by its hash.
pub(super) fn is_forgotten(error: &[u8]) -> bool {
    error.starts_with(b"NOSCRIPT")
}

/// The last id that a script tells of.
fn last_of(value: Value<'_>) -> Option<&[u8]> {
    value.list()?.next()?.text()
}
