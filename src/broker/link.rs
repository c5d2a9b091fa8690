//! What one shard says to the broker and hears of it: two connections, one for what is asked and one for what is pushed.
//! Sans-io; time is an argument.
//!
//! ```text
//!   commands   HELLO ─► INFO ─► floor ─┐
//!   pushes     HELLO ─► INFO ──────────┴─► up ─► channels are followed, publications leave
//! ```
//!
//! Invariants: both connections lead to the same process; nothing is published under an epoch below the floor; what is said
//! of a channel is said in the order of its stream, or begins with where it is.

use super::{
    address::Address,
    fault::Fault,
    followed::Followed,
    frame::{self, Names, Push},
    outbox::{Complaint, Outbox, text_of},
    script,
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
    /// How many publications of a channel are kept, and for how many milliseconds a stream that nobody uses.
    pub(super) fn kept(&self, channel: &ChannelName) -> (u32, u64) {
        let is_about = |(pattern, _): &&(Pattern, Retention)| pattern.is_about(channel.as_str());
        let retention = self.retentions.iter().find(is_about).map(|(_, retention)| *retention);
        let Retention { publications_max, age_max_ms } = retention.unwrap_or_default();
        let kept_ms = 2 * u64::from(age_max_ms.unwrap_or(self.kept_ms)) + KEPT_LONGER_MS;
        (publications_max.unwrap_or(self.kept_max), kept_ms)
    }
}

/// One of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// For what is asked.
    Commands,
    /// For what is pushed.
    Pushes,
}

/// What one shard says and hears.
#[derive(Debug)]
pub(super) struct Link {
    terms: std::rc::Rc<Terms>,
    /// This shard's part of the node, as it is named in the broker.
    who: String,
    commands: Wire,
    pushes: Wire,
    stage: Stage,
    outbox: Outbox,
    followed: Followed,
    news: Vec<BrokerNews>,
    floor: u64,
    /// When something was last pushed, and when that was last tried.
    heard_ms: u64,
    probed_ms: Option<u64>,
    role_ms: u64,
    complaint: Option<Complaint>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Down,
    /// What each side has found the process to be, and whether the floor is known.
    Greeting {
        processes: [Option<Box<str>>; 2],
        has_floor: bool,
    },
    Up,
}

impl Link {
    pub(super) fn new(terms: std::rc::Rc<Terms>, shard: ShardId) -> Self {
        let who = format!("{:016x}:{shard}", terms.node);
        Self {
            terms,
            who,
            commands: Wire::default(),
            pushes: Wire::default(),
            stage: Stage::Down,
            outbox: Outbox::default(),
            followed: Followed::default(),
            news: Vec::new(),
            floor: 0,
            heard_ms: 0,
            probed_ms: None,
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
            BrokerAsk::Leave { channel } => {
                let topic = self.terms.names.topic(&channel);
                let wire = (self.stage == Stage::Up).then_some(&mut self.pushes);
                self.followed.leave(&channel, &topic, wire);
            }
        }
    }

    /// All that was asked has been taken: lets it leave.
    pub(super) fn flush(&mut self, now_ms: u64) {
        if self.stage == Stage::Up {
            self.outbox.send(&mut self.commands, &self.terms, self.floor, now_ms);
            self.followed.ask(&mut self.pushes, &self.terms, now_ms);
        }
    }

    /// There are connections, on which nothing has been said.
    pub(super) fn handle_connected(&mut self, now_ms: u64) {
        (self.commands, self.pushes) = Default::default();
        self.stage = Stage::Greeting { processes: [None, None], has_floor: false };
        (self.heard_ms, self.probed_ms, self.role_ms) = (now_ms, None, now_ms);
        let Address { user, password, .. } = &self.terms.address;
        let user = if user.is_empty() { "default" } else { user };
        let name = format!("roadstead-{}", self.who);
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if !password.is_empty() {
            hello.extend([b"AUTH", user.as_bytes(), password.as_bytes()]);
        }
        hello.extend([b"SETNAME", name.as_bytes()]);
        let probe = self.terms.names.probe(&self.who);
        for wire in [&mut self.commands, &mut self.pushes] {
            wire.ask(now_ms, &hello, Awaited::Hello);
            wire.ask(now_ms, &[b"INFO", b"server"], Awaited::Info);
        }
        self.pushes.say(&[b"SUBSCRIBE", probe.as_bytes()]);
    }

    /// Bytes have come.
    pub(super) fn handle_bytes(&mut self, now_ms: u64, side: Side, bytes: &[u8]) -> Result<(), Fault> {
        let mut received = self.wire(side).receive(bytes);
        let result = self.go_through(now_ms, side, &mut received);
        self.wire(side).keep(received);
        self.flush(now_ms);
        result
    }

    /// The connections are lost, or of no use.
    pub(super) fn handle_down(&mut self) {
        let was_up = std::mem::replace(&mut self.stage, Stage::Down) == Stage::Up;
        (self.commands, self.pushes) = Default::default();
        self.outbox.lose(&mut self.news);
        self.followed.lose();
        if was_up {
            self.news.push(BrokerNews::Down);
        }
    }

    /// Time has passed.
    pub(super) fn handle_time(&mut self, now_ms: u64) -> Result<(), Fault> {
        self.outbox.pass_time(now_ms, &mut self.news);
        if self.stage == Stage::Down {
            return Ok(());
        }
        let waited_ms = self.commands.waited_ms(now_ms).max(self.pushes.waited_ms(now_ms));
        if waited_ms >= BROKER_SILENCE_MS {
            return Err(Fault::Silent);
        }
        if self.stage == Stage::Up {
            self.probe(now_ms)?;
            self.followed.check(&mut self.pushes, &self.terms, now_ms);
            self.flush(now_ms);
        }
        Ok(())
    }

    /// What is to be written to a connection, if there is anything.
    pub(super) fn poll_output(&mut self, side: Side) -> Option<Vec<u8>> {
        self.wire(side).take_output()
    }

    /// What the shard is to be told.
    pub(super) fn poll_news(&mut self) -> Vec<BrokerNews> {
        std::mem::take(&mut self.news)
    }

    /// How much that is.
    pub(super) fn news_count(&self) -> usize {
        self.news.len()
    }

    /// What has been said against something that was asked, since this was last looked at.
    pub(super) fn take_complaint(&mut self) -> Option<Complaint> {
        self.complaint.take()
    }

    /// Whether it can be asked.
    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// Whether time matters to what is on its way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.outbox.is_empty()
    }

    fn wire(&mut self, side: Side) -> &mut Wire {
        match side {
            Side::Commands => &mut self.commands,
            Side::Pushes => &mut self.pushes,
        }
    }

    fn begin(&mut self) {
        let topics: Vec<_> =
            self.followed.channels().map(|channel| self.terms.names.topic(channel)).collect();
        if self.stage == Stage::Up {
            for topic in topics {
                self.pushes.say(&[b"UNSUBSCRIBE", topic.as_bytes()]);
            }
        }
        self.followed.begin_anew();
        self.outbox.abandon();
        self.news.push(BrokerNews::Begun);
        if self.stage == Stage::Up {
            self.news.push(BrokerNews::Up);
        }
    }

    fn go_through(
        &mut self,
        now_ms: u64,
        side: Side,
        received: &mut super::wire::Received,
    ) -> Result<(), Fault> {
        while let Some(value) = received.next().map_err(Fault::Protocol)? {
            match value {
                Value::Push(items) => self.handle_push(now_ms, items),
                value => {
                    let awaited = self.wire(side).answered(now_ms);
                    let awaited = awaited.ok_or(Fault::Refused("an answer to nothing".into()))?;
                    self.handle_reply(now_ms, side, awaited, value)?;
                }
            }
        }
        Ok(())
    }

    fn handle_reply(
        &mut self,
        now_ms: u64,
        side: Side,
        awaited: Awaited,
        value: Value<'_>,
    ) -> Result<(), Fault> {
        if let Value::Error(error) = value {
            ends_it(error)?;
        }
        match awaited {
            Awaited::Hello => {
                let role = answer(value)?.list().and_then(|items| items.get(b"role"));
                is_master(role.and_then(Value::text))?;
            }
            Awaited::Info => self.handle_info(now_ms, side, answer(value)?)?,
            Awaited::Floor => {
                let floor = answer(value)?.text().and_then(|text| std::str::from_utf8(text).ok());
                let floor = floor.and_then(|floor| floor.parse().ok());
                self.floor = floor.ok_or(Fault::Refused("a floor that is none".into()))?;
                if let Stage::Greeting { has_floor, .. } = &mut self.stage {
                    *has_floor = true;
                }
                self.look_whether_up()?;
            }
            Awaited::Queued(_) => self.outbox.handle_queued(value),
            Awaited::Exec => self.complain(|outbox, news| outbox.handle_exec(value, news)),
            Awaited::Slow => self.complain(|outbox, news| outbox.handle_slow(now_ms, value, news)),
            Awaited::Role => {
                let role = answer(value)?.list().and_then(|mut items| items.next());
                is_master(role.and_then(Value::text))?;
            }
            Awaited::Nothing => {}
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

    fn complain(&mut self, act: impl FnOnce(&mut Outbox, &mut Vec<BrokerNews>) -> Option<Complaint>) {
        if let Some(complaint) = act(&mut self.outbox, &mut self.news) {
            self.complaint = Some(complaint);
        }
    }

    fn handle_info(&mut self, now_ms: u64, side: Side, value: Value<'_>) -> Result<(), Fault> {
        let text = value.text().map(text_of).unwrap_or_default();
        let process = text.lines().find_map(|line| line.strip_prefix("run_id:"));
        let process: Box<str> = process.ok_or(Fault::Refused("no run_id in INFO".into()))?.trim().into();
        let Stage::Greeting { processes, .. } = &mut self.stage else { return Ok(()) };
        if side == Side::Commands {
            let (floor, drawn) = (self.terms.names.floor(), fastrand::u64(0..1024).to_string());
            let words: [&[u8]; 6] = [
                b"EVAL",
                script::FLOOR.as_bytes(),
                b"1",
                floor.as_bytes(),
                process.as_bytes(),
                drawn.as_bytes(),
            ];
            self.commands.ask(now_ms, &words, Awaited::Floor);
        }
        processes[side as usize] = Some(process);
        self.look_whether_up()
    }

    fn look_whether_up(&mut self) -> Result<(), Fault> {
        let Stage::Greeting { processes: [Some(one), Some(other)], has_floor: true } = &self.stage else {
            return Ok(());
        };
        if one != other {
            return Err(Fault::Two);
        }
        self.stage = Stage::Up;
        self.news.push(BrokerNews::Up);
        Ok(())
    }

    fn handle_followed(&mut self, now_ms: u64, channel: ChannelName, number: u64, value: Value<'_>) {
        if !self.followed.answered(&channel, number) {
            return;
        }
        let Some(position) = last_of(value).and_then(frame::read_id) else {
            if let Value::Error(error) = value {
                self.complaint = Some(Complaint(text_of(error)));
            }
            return self.followed.put_off(channel);
        };
        let entries = value.list().and_then(|items| items.last()?.list());
        let kept = entries.map(|entries| self.kept(&channel, position, entries)).unwrap_or_default();
        self.followed.tell(&channel);
        self.outbox.note_epoch(now_ms, &channel, position.epoch);
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
        (self.heard_ms, self.probed_ms) = (now_ms, None);
        if items.next().and_then(Value::text) != Some(b"message") {
            return;
        }
        let topic = items.next().and_then(Value::text).unwrap_or_default();
        let channel = self.terms.names.channel(topic).and_then(|channel| self.followed.told(channel));
        let push = items.next().and_then(Value::text).and_then(frame::read_push);
        let (Some(channel), Some(push)) = (channel.cloned(), push) else { return };
        self.news.push(match push {
            Push::Renewed { epoch } => {
                self.outbox.note_epoch(now_ms, &channel, epoch);
                BrokerNews::Renewed { channel, epoch }
            }
            Push::Publication { epoch, body } => {
                let body = frame::decode(&channel, epoch, body);
                let node = self.terms.node;
                let number = body.as_ref().filter(|body| body.node == node).map(|body| body.number);
                let publication = body.map(|body| Box::new(body.publication));
                BrokerNews::Pushed { channel, epoch, number, publication }
            }
        });
    }

    /// Sees to it that what is pushed comes, and that this is still the server that takes writes.
    fn probe(&mut self, now_ms: u64) -> Result<(), Fault> {
        if now_ms.saturating_sub(self.role_ms) >= BROKER_SILENCE_MS {
            self.role_ms = now_ms;
            self.commands.ask(now_ms, &[b"ROLE"], Awaited::Role);
        }
        match self.probed_ms {
            Some(probed_ms) if now_ms.saturating_sub(probed_ms) >= BROKER_SILENCE_MS => Err(Fault::Mute),
            None if now_ms.saturating_sub(self.heard_ms) >= BROKER_SILENCE_MS => {
                self.probed_ms = Some(now_ms);
                let probe = self.terms.names.probe(&self.who);
                self.commands.ask(now_ms, &[b"PUBLISH", probe.as_bytes(), b"?"], Awaited::Nothing);
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What an answer says, if it is no error.
fn answer(value: Value<'_>) -> Result<Value<'_>, Fault> {
    match value {
        Value::Error(error) => Err(Fault::Refused(text_of(error))),
        value => Ok(value),
    }
}

/// Whether an error is one of the server's as a whole, and not of what was asked.
fn ends_it(error: &[u8]) -> Result<(), Fault> {
    let word = error.split(|byte| *byte == b' ').next().unwrap_or_default();
    match word {
        b"READONLY" => Err(Fault::Role("a replica".into())),
        b"LOADING" | b"MASTERDOWN" | b"NOAUTH" | b"MOVED" | b"ASK" | b"CLUSTERDOWN" | b"WRONGPASS" => {
            Err(Fault::Refused(text_of(error)))
        }
        _ => Ok(()),
    }
}

fn is_master(role: Option<&[u8]>) -> Result<(), Fault> {
    match role {
        Some(b"master") => Ok(()),
        role => Err(Fault::Role(text_of(role.unwrap_or(b"a server without a role")))),
    }
}

/// The last id that a script tells of.
fn last_of(value: Value<'_>) -> Option<&[u8]> {
    value.list()?.next()?.text()
}
