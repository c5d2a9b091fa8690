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
    terms::{Saying, Terms},
};
use crate::{
    broker::{
        fault::{Fault, ends_it, greeted, text_of, unasked},
        outbox::Complaint,
        tended::Speaker,
        wire::{Awaited, Received, Wire},
    },
    limits::{CLUSTER_ANSWER_BYTES_MAX, CLUSTER_NEWS_BYTES, CLUSTER_OUTPUT_BYTES_MAX},
    model::{ShardId, SocketId},
    wire::{
        redis_adapter::{
            AdapterError, Answer, Asked, Bus, Emitted, Request, decode_answer, decode_event, decode_request,
            event_of,
            sharded::{self, Said},
        },
        resp::{Items, Value},
    },
};

/// This process as a member.
#[derive(Debug)]
pub(super) struct Member {
    terms: Terms,
    counts: Arc<Counts>,
    wire: Wire,
    stage: Stage,
    /// The namespaces in use, and the shards on which they are.
    namespaces: FxHashMap<Box<str>, BTreeSet<ShardId>>,
    /// Rooms that somebody here has to do with, where each has a channel: namespace, room, and the shard that says so.
    rooms: BTreeSet<(Box<str>, Box<str>, ShardId)>,
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
            rooms: BTreeSet::new(),
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
            ClusterAsk::Room { namespace, room, is_there } => {
                self.note_room(shard, namespace, room, is_there)
            }
            ClusterAsk::Published(publication) => {
                if let Some(event) = event_of(&publication) {
                    self.tell_event(now_ms, &event);
                }
            }
            ClusterAsk::Emitted(event) => self.tell_event(now_ms, &event),
            ClusterAsk::Request { namespace, request } => {
                let said = self.terms.request(&namespace, None, *request);
                self.tell(now_ms, said);
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
                let said = self.terms.answer(&namespace, &id, &answer);
                self.tell(now_ms, said);
            }
        }
    }

    /// Asks all other members; while there is no connection, nobody.
    fn ask(&mut self, now_ms: u64, asker: Asker, request: Request) {
        let Self { terms, questions, wire, .. } = self;
        let (shard, token) = (asker.shard, asker.token);
        let is_up = self.stage == Stage::Up;
        match is_up.then(|| questions.ask(now_ms, terms, wire, asker, request)) {
            Some(Ok(said)) => self.tell(now_ms, Ok(said)),
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
        let said = self.terms.event(event);
        self.tell(now_ms, said);
    }

    fn tell(&mut self, now_ms: u64, said: Result<Saying, AdapterError>) {
        match said {
            Ok(Saying { verb, channel, bytes })
                if self.stage == Stage::Up && self.unwritten + bytes.len() <= CLUSTER_OUTPUT_BYTES_MAX =>
            {
                self.wire.ask(now_ms, &[verb.as_bytes(), channel.as_bytes(), &bytes], Awaited::Nothing);
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
        let rooms: Vec<_> = self.rooms.iter().filter(|(.., of)| *of == shard).cloned().collect();
        for (namespace, room, _) in rooms {
            self.note_room(shard, namespace, room, false);
        }
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
        let Terms { names, members, uid, .. } = &self.terms;
        let channels = match members {
            Members::Anybody => vec![("P", names.pattern(namespace)), ("", names.requests(namespace))],
            Members::Nodes => vec![("", names.events(namespace, &[])), ("", names.requests(namespace))],
            Members::Sharded => {
                let of = self.rooms.iter().filter(|(of, ..)| **of == *namespace);
                let mut rooms: Vec<_> = of.map(|(_, room, _)| room.clone()).collect();
                rooms.push(uid.clone());
                let rooms = rooms.into_iter().map(|room| ("S", names.events(namespace, &[room])));
                std::iter::once(("S", names.events(namespace, &[]))).chain(rooms).collect()
            }
        };
        let verb = if is_begun { "SUBSCRIBE" } else { "UNSUBSCRIBE" };
        for (kind, channel) in channels {
            let verb = format!("{kind}{verb}");
            self.wire.say(&[verb.as_bytes(), channel.as_bytes()]);
        }
    }

    /// Somebody here has to do with a room, or nobody has any more.
    fn note_room(&mut self, shard: ShardId, namespace: Box<str>, room: Box<str>, is_there: bool) {
        let is_heard = self.stage == Stage::Up && self.namespaces.contains_key(&namespace);
        let channel = is_heard.then(|| self.terms.names.events(&namespace, std::slice::from_ref(&room)));
        let key = (namespace, room, shard);
        let has_changed = if is_there { self.rooms.insert(key) } else { self.rooms.remove(&key) };
        if has_changed && let Some(channel) = channel {
            let verb = if is_there { "SSUBSCRIBE" } else { "SUNSUBSCRIBE" };
            self.wire.say(&[verb.as_bytes(), channel.as_bytes()]);
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
            Some(b"message" | b"smessage") => (next(), next()),
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
            Some(Bus::Events { namespace }) if in_use(&namespace) && self.terms.is_sharded(namespace) => {
                sharded::decode_message(said, namespace, bytes_max.max(CLUSTER_ANSWER_BYTES_MAX))
                    .and_then(|(uid, message)| self.handle_message(namespace, &uid, message, said.len()))
            }
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
                let heard = decode_answer(said, CLUSTER_ANSWER_BYTES_MAX);
                heard.map(|(id, answer)| self.handle_answer(&id, answer, said.len()))
            }
            Some(Bus::Events { .. } | Bus::Requests { .. }) | None => return,
        };
        if let Err(error) = heard {
            self.counts.ignored.fetch_add(1, Ordering::Relaxed);
            debug!(channel = %text_of(channel), error = error.label(), "ignored from the cluster: {error}");
        }
    }

    /// What has been said over sharded pub/sub.
    fn handle_message(
        &mut self,
        namespace: &str,
        uid: &str,
        message: Said,
        bytes: usize,
    ) -> Result<(), AdapterError> {
        match message {
            Said::Answered(id, answer) => self.handle_answer(&id, answer, bytes),
            // Only an answer may be that large.
            _ if bytes > self.terms.bytes_max => return Err(AdapterError::TooLarge),
            Said::Emitted(event) => self.handle_event(uid, event),
            Said::Asked(asked) => return self.handle_asked(namespace, asked),
            Said::Nothing => {}
        }
        Ok(())
    }

    fn handle_answer(&mut self, id: &str, answer: Answer, bytes: usize) {
        self.questions.handle_answer(id, answer, bytes);
        self.tell_answered(0);
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

    fn handle_asked(&mut self, namespace: &str, mut asked: Asked) -> Result<(), AdapterError> {
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
        asked.id = self.terms.id_of(namespace, &asked);
        self.hear(bytes, ClusterNews::Asked { namespace: namespace.into(), asked: Box::new(asked) });
        Ok(())
    }

    /// Tells who has asked of what is answered, or late by now.
    fn tell_answered(&mut self, now_ms: u64) {
        let Self { terms, questions, wire, news, .. } = self;
        questions.finish(now_ms, terms, wire, |shard, answered| news.push((shard, answered)));
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

    fn handle_down(&mut self, _fault: &Fault) {
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
