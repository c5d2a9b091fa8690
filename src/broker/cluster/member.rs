//! What a member says and hears, on one connection. Sans-io; time is an argument.
//!
//! ```text
//!   HELLO ─► up: it subscribes for every namespace in use, and publishes
//! ```
//!
//! Invariants: what is published is whole, or not published; while there is no connection nothing is kept to be published later.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use rustc_hash::FxHashMap;
use tracing::debug;

use super::{
    ClusterAsk, ClusterNews, Counts, Members,
    questions::{Asker, Questions},
};
use crate::{
    broker::{
        address::Address,
        fault::{Fault, ends_it, greeted, text_of, unasked},
        outbox::Complaint,
        tended::Speaker,
        wire::{Awaited, Received, Wire},
    },
    limits::{CLUSTER_NEWS_BYTES, CLUSTER_OUTPUT_BYTES_MAX},
    model::{ShardId, SocketId},
    wire::{
        redis_adapter::{
            AdapterError, Asked, Bus, Emitted, Names, Request, decode_event, decode_request, encode_answer,
            encode_event, encode_request, event_of,
        },
        resp::{Items, Value},
    },
};

/// What holds as long as the process does.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) address: Address,
    pub(super) names: Names,
    /// This member.
    pub(super) uid: Box<str>,
    /// Who the others are.
    pub(super) members: Members,
    /// What the uids of nodes begin with that a broker joins with this one.
    pub(super) siblings: Option<Box<str>>,
    /// What stands in the place of a namespace where these ask each other.
    pub(super) nodes: Option<Box<str>>,
    pub(super) bytes_max: usize,
}

/// This process as a member.
#[derive(Debug)]
pub(super) struct Member {
    terms: Terms,
    counts: Arc<Counts>,
    wire: Wire,
    stage: Stage,
    /// The namespaces in use, and the shards on which they are.
    namespaces: FxHashMap<Box<str>, BTreeSet<ShardId>>,
    news: Vec<(ShardId, ClusterNews)>,
    /// Bytes of that.
    news_bytes: usize,
    /// Bytes that have been said and not written.
    unwritten: usize,
    /// What has been asked of other members, by its id.
    questions: Questions,
    complaint: Option<Complaint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Down,
    Greeting,
    Up,
}

impl Member {
    pub(super) fn new(terms: Terms, counts: Arc<Counts>) -> Self {
        Self {
            terms,
            counts,
            wire: Wire::default(),
            stage: Stage::Down,
            namespaces: FxHashMap::default(),
            news: Vec::new(),
            news_bytes: 0,
            unwritten: 0,
            questions: Questions::default(),
            complaint: None,
        }
    }

    /// A shard tells or asks something.
    pub(super) fn handle_ask(&mut self, now_ms: u64, shard: ShardId, ask: ClusterAsk) {
        self.counts.waiting_bytes.fetch_sub(ask.bytes(), Ordering::Relaxed);
        match ask {
            ClusterAsk::Begin => self.begin(shard),
            ClusterAsk::Enter { namespace } => self.enter(shard, namespace),
            ClusterAsk::Leave { namespace } => self.leave(shard, &namespace),
            ClusterAsk::Published(publication) => {
                if let Some(event) = event_of(&publication) {
                    self.tell_event(now_ms, &event);
                }
            }
            ClusterAsk::Emitted(event) => self.tell_event(now_ms, &event),
            ClusterAsk::Request { namespace, request } => {
                let uid = Some(self.terms.uid.clone());
                let asked = Asked { uid, id: None, request: *request };
                let mut bytes = Vec::new();
                let written = encode_request(&mut bytes, &asked);
                self.tell(now_ms, &self.terms.names.requests(&namespace), written.map(|()| &*bytes));
            }
            ClusterAsk::Question { namespace, request, token, wait_ms } => {
                let until_ms = now_ms + wait_ms;
                self.ask(now_ms, Asker { shard, token, namespace, until_ms }, *request);
            }
            ClusterAsk::Survey { survey, token, wait_ms } => {
                // Who is joined with nobody asks nobody.
                let namespace = self.terms.nodes.clone().unwrap_or_default();
                let asker = Asker { shard, token, namespace, until_ms: now_ms + wait_ms };
                self.ask(now_ms, asker, Request::Survey(survey));
            }
            ClusterAsk::Answer { namespace, id, answer } => {
                let mut bytes = Vec::new();
                encode_answer(&mut bytes, &id, &answer);
                self.tell(now_ms, &self.terms.names.answers(&namespace), Ok(&bytes));
            }
        }
    }

    /// Asks all other members; while there is no connection, nobody.
    fn ask(&mut self, now_ms: u64, asker: Asker, request: Request) {
        let Self { terms, questions, wire, .. } = self;
        let (shard, token) = (asker.shard, asker.token);
        let is_up = self.stage == Stage::Up;
        let said = is_up.then(|| questions.ask(now_ms, &terms.names, &terms.uid, wire, asker, request));
        match said {
            Some(Ok((channel, bytes))) => self.tell(now_ms, &channel, Ok(&bytes)),
            Some(Err(_)) | None => {
                self.news.push((shard, ClusterNews::Answered { token, answers: Vec::new(), missing: 1 }));
            }
        }
    }

    /// What shards are to be told.
    pub(super) fn poll_news(&mut self) -> Vec<(ShardId, ClusterNews)> {
        self.news_bytes = 0;
        std::mem::take(&mut self.news)
    }

    fn tell_event(&mut self, now_ms: u64, event: &Emitted) {
        let mut bytes = Vec::new();
        let written = encode_event(&mut bytes, &self.terms.uid, event);
        let rooms = match self.terms.members {
            Members::Anybody => &*event.rooms,
            // They hear all of it on one channel.
            Members::Nodes => &[],
        };
        let channel = self.terms.names.events(&event.namespace, rooms);
        self.tell(now_ms, &channel, written.map(|()| &*bytes));
    }

    fn tell(&mut self, now_ms: u64, channel: &str, said: Result<&[u8], AdapterError>) {
        match said {
            Ok(bytes)
                if self.stage == Stage::Up && self.unwritten + bytes.len() <= CLUSTER_OUTPUT_BYTES_MAX =>
            {
                self.wire.ask(now_ms, &[b"PUBLISH", channel.as_bytes(), bytes], Awaited::Nothing);
                self.unwritten += bytes.len() + channel.len();
                self.counts.told.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) | Err(_) => {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn begin(&mut self, shard: ShardId) {
        let names: Vec<_> = self.namespaces.keys().cloned().collect();
        names.iter().for_each(|namespace| self.leave(shard, namespace));
    }

    fn enter(&mut self, shard: ShardId, namespace: Box<str>) {
        let shards = self.namespaces.entry(namespace.clone()).or_default();
        let is_new = shards.is_empty();
        shards.insert(shard);
        if is_new && self.stage == Stage::Up {
            self.subscribe(&namespace, true);
        }
    }

    fn leave(&mut self, shard: ShardId, namespace: &str) {
        let Some(shards) = self.namespaces.get_mut(namespace) else { return };
        shards.remove(&shard);
        if shards.is_empty() {
            self.namespaces.remove(namespace);
            if self.stage == Stage::Up {
                self.subscribe(namespace, false);
            }
        }
    }

    /// Begins or ends to hear what is said of a namespace.
    fn subscribe(&mut self, namespace: &str, is_begun: bool) {
        let Terms { names, members, .. } = &self.terms;
        let [by_pattern, by_name] =
            if is_begun { ["PSUBSCRIBE", "SUBSCRIBE"] } else { ["PUNSUBSCRIBE", "UNSUBSCRIBE"] };
        let (word, events) = match members {
            Members::Anybody => (by_pattern, names.pattern(namespace)),
            Members::Nodes => (by_name, names.events(namespace, &[])),
        };
        for (word, channel) in [(word, events), (by_name, names.requests(namespace))] {
            self.wire.say(&[word.as_bytes(), channel.as_bytes()]);
        }
    }

    /// Where only this member hears.
    fn own_channel(&self) -> String {
        self.terms.names.answers_to("/", &self.terms.uid)
    }

    fn go_through(&mut self, now_ms: u64, received: &mut Received) -> Result<(), Fault> {
        while let Some(value) = received.next().map_err(Fault::Protocol)? {
            match value {
                Value::Push(items) => self.handle_push(now_ms, items),
                value => {
                    let awaited = self.wire.answered(now_ms).ok_or_else(|| unasked(value))?;
                    self.handle_reply(&awaited, value)?;
                }
            }
        }
        Ok(())
    }

    fn handle_reply(&mut self, awaited: &Awaited, value: Value<'_>) -> Result<(), Fault> {
        if let Value::Error(error) = value {
            ends_it(error)?;
            self.complaint = Some(Complaint(text_of(error)));
        }
        if let Awaited::Members(id) = awaited {
            // Where that is refused nobody knows who is missing.
            if let Some(Value::Number(count)) = value.list().and_then(|mut items| items.nth(1)) {
                self.questions.counted(id, count);
                self.tell_answered(0);
            }
        }
        if matches!(awaited, Awaited::Hello) {
            greeted(value)?;
            self.stage = Stage::Up;
            self.counts.is_up.store(1, Ordering::Relaxed);
            let own = self.own_channel();
            self.wire.say(&[b"SUBSCRIBE", own.as_bytes()]);
            if let Some(nodes) = &self.terms.nodes {
                self.wire.say(&[b"SUBSCRIBE", self.terms.names.requests(nodes).as_bytes()]);
            }
            let names: Vec<_> = self.namespaces.keys().cloned().collect();
            names.iter().for_each(|namespace| self.subscribe(namespace, true));
        }
        Ok(())
    }

    fn handle_push(&mut self, now_ms: u64, mut items: Items<'_>) {
        self.wire.note_pushed(now_ms);
        let mut next = || items.next().and_then(Value::text);
        let (channel, said) = match next() {
            Some(b"message") => (next(), next()),
            Some(b"pmessage") => {
                next();
                (next(), next())
            }
            Some(_) | None => return,
        };
        let (Some(channel), Some(said)) = (channel, said) else { return };
        let bytes_max = self.terms.bytes_max;
        let in_use = |namespace: &&str| self.namespaces.contains_key(*namespace);
        let is_of_nodes = |namespace: &&str| self.terms.nodes.as_deref() == Some(*namespace);
        let heard = match self.terms.names.read(channel) {
            Some(Bus::Events { namespace }) if in_use(&namespace) => {
                decode_event(said, namespace, bytes_max).map(|(uid, event)| self.handle_event(&uid, event))
            }
            Some(Bus::Requests { namespace }) if is_of_nodes(&namespace) => {
                decode_request(said, namespace, bytes_max)
                    .and_then(|asked| self.handle_surveyed(namespace, asked))
            }
            Some(Bus::Requests { namespace }) if in_use(&namespace) => {
                decode_request(said, namespace, bytes_max)
                    .and_then(|asked| self.handle_asked(namespace, asked))
            }
            Some(Bus::Answers { .. }) => {
                let heard = self.questions.handle_answer(said);
                self.tell_answered(0);
                heard
            }
            Some(Bus::Events { .. } | Bus::Requests { .. }) | None => return,
        };
        if let Err(error) = heard {
            self.counts.ignored.fetch_add(1, Ordering::Relaxed);
            debug!(channel = %text_of(channel), error = error.label(), "ignored from the cluster: {error}");
        }
    }

    fn handle_event(&mut self, uid: &str, mut event: Emitted) {
        if *uid == *self.terms.uid {
            return;
        }
        if self.terms.siblings.as_deref().is_some_and(|siblings| uid.starts_with(siblings)) {
            event.rooms.retain(|room| SocketId::parse(room).is_some());
            if event.rooms.is_empty() {
                return;
            }
        }
        self.hear(event.arguments.bytes(), ClusterNews::Emitted(Box::new(event)));
    }

    /// A node asks what is known of channels.
    fn handle_surveyed(
        &mut self,
        namespace: &str,
        Asked { uid, id, request }: Asked,
    ) -> Result<(), AdapterError> {
        let (Request::Survey(survey), Some(id)) = (request, id) else { return Err(AdapterError::Shape) };
        if uid.as_deref() != Some(&*self.terms.uid) {
            self.hear(0, ClusterNews::Surveys { namespace: namespace.into(), id, survey });
        }
        Ok(())
    }

    fn handle_asked(&mut self, namespace: &str, asked: Asked) -> Result<(), AdapterError> {
        if asked.uid.as_deref() == Some(&*self.terms.uid) {
            return Ok(());
        }
        let bytes = match &asked.request {
            Request::ServerEvent { arguments } => arguments.bytes(),
            Request::Acknowledge { emitted, .. } => emitted.arguments.bytes(),
            // They do so elsewhere.
            Request::Survey(_) => return Err(AdapterError::Shape),
            _ => 0,
        };
        self.hear(bytes, ClusterNews::Asked { namespace: namespace.into(), asked: Box::new(asked) });
        Ok(())
    }

    /// Tells who has asked of what is answered, or late by now.
    fn tell_answered(&mut self, now_ms: u64) {
        let Self { terms, questions, wire, news, .. } = self;
        questions.finish(now_ms, &terms.names, wire, |shard, answered| news.push((shard, answered)));
    }

    fn hear(&mut self, bytes: usize, news: ClusterNews) {
        self.counts.heard.fetch_add(1, Ordering::Relaxed);
        self.news_bytes += bytes;
        self.news.push((ShardId(0), news));
    }
}

impl Speaker for Member {
    fn handle_connected(&mut self, now_ms: u64) {
        self.wire = Wire::connected(now_ms);
        self.stage = Stage::Greeting;
        self.unwritten = 0;
        // Redis takes no spaces in a name, and a uid has none.
        let name = format!("roadstead-cluster-{}", self.terms.uid);
        self.wire.ask(now_ms, &self.terms.address.hello(&name), Awaited::Hello);
    }

    fn handle_bytes(&mut self, now_ms: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut received = self.wire.receive(bytes);
        let result = self.go_through(now_ms, &mut received);
        self.wire.keep(received);
        result
    }

    fn handle_down(&mut self) {
        self.stage = Stage::Down;
        self.tell_answered(u64::MAX);
        self.wire = Wire::default();
        self.counts.is_up.store(0, Ordering::Relaxed);
    }

    fn handle_time(&mut self, now_ms: u64) -> Result<(), Fault> {
        if self.stage == Stage::Down {
            return Ok(());
        }
        self.tell_answered(now_ms);
        self.wire.check_answers(now_ms)?;
        if self.stage == Stage::Up {
            let own = self.own_channel();
            self.wire.check_pushes(now_ms, || own)?;
        }
        Ok(())
    }

    fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.unwritten = 0;
        self.wire.take_output()
    }

    fn news_count(&self) -> usize {
        // What is large counts as several.
        self.news.len() + self.news_bytes / CLUSTER_NEWS_BYTES
    }

    fn take_complaint(&mut self) -> Option<Complaint> {
        self.complaint.take()
    }

    fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    fn is_waiting(&self) -> bool {
        !self.questions.is_empty()
    }
}
