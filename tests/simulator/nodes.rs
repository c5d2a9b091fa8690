//! Several nodes that a fake Redis joins, and clients that go from one to another.
//!
//! What nobody may ever see, whatever the Redis does: two messages at one position, a message at two, one that was refused, and
//! `recovered: true` with something missing. In the end everybody who is still there is where the stream is.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::AddAssign,
};

use roadstead::{
    broker::{Conversation, Settings},
    config::{Config, Secret},
    hub::{Fanout, FanoutLimit, Hub, HubSettings, Output, Since, SubscribeError, Wanted},
    mesh::Welcome,
    model::{
        ChannelName, ConnectionId, Now, Payload, Position, PublishError, ShardId, Shown, Ticket, Transport,
    },
};

use crate::{
    line::Line,
    mesh::Mesh,
    redis::{Data, Server},
};

/// What may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Connections are cut.
    Cut,
    /// All are, and for a while nobody can make one.
    Refuse,
    /// The server does nothing for some seconds.
    Stop,
    /// A connection passes nothing on that is pushed.
    Mute,
    /// The server is a replica for a while, and takes no writes.
    Demote,
    /// It has no memory left for a while.
    Full,
    FlushAll,
    /// It forgets a stream.
    Evict,
    /// Another server takes over with what was copied to it some time ago. Some nodes speak with the old one for a while.
    Failover,
    /// A node ends without a word, and begins anew.
    Kill,
}

impl Trouble {
    pub const ALL: [Self; 10] = [
        Self::Cut,
        Self::Refuse,
        Self::Stop,
        Self::Mute,
        Self::Demote,
        Self::Full,
        Self::FlushAll,
        Self::Evict,
        Self::Failover,
        Self::Kill,
    ];
}

/// One process.
struct Node {
    hubs: Vec<Hub>,
    lines: Vec<Line>,
    mesh: Mesh,
    /// Counts its lives.
    life: u32,
}

/// A client's place: node, shard, index.
type Seat = (usize, u16, u32);

#[derive(Debug)]
enum Subscription {
    Waiting { since: Option<Position> },
    Live { seen: Position },
}

/// How often what a test relies on has happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    pub published: u64,
    pub refused: u64,
    pub unknown: u64,
    pub deliveries: u64,
    pub gaps: u64,
    pub recovered: u64,
    pub recovered_with_some: u64,
    pub not_recovered: u64,
    pub reads_refused: u64,
    pub troubles: u64,
    pub refused_dials: u64,
}

impl AddAssign for Happened {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.deliveries += other.deliveries;
        self.gaps += other.gaps;
        self.recovered += other.recovered;
        self.recovered_with_some += other.recovered_with_some;
        self.not_recovered += other.not_recovered;
        self.reads_refused += other.reads_refused;
        self.troubles += other.troubles;
        self.refused_dials += other.refused_dials;
    }
}

pub struct World {
    rng: fastrand::Rng,
    now: Now,
    troubles: Vec<Trouble>,
    settings: Settings,
    nodes: Vec<Node>,
    shards: u16,
    servers: Vec<Server>,
    /// What has been copied to whoever may take over.
    copied: Data,
    /// When what is wrong with the server is over.
    heals_ms: u64,
    /// When it can be reached again.
    refuses_until_ms: u64,
    channels: Vec<ChannelName>,
    subscriptions: BTreeMap<(Seat, ChannelName), Subscription>,
    generations: BTreeMap<Seat, u32>,
    /// Where clients were when they went.
    bookmarks: Vec<(ChannelName, Position)>,
    tickets: HashMap<(usize, u32, Ticket), (ChannelName, u64)>,
    contents: HashMap<(ChannelName, Position), u64>,
    places: HashMap<u64, Position>,
    refused: HashSet<u64>,
    counter: u32,
    pub happened: Happened,
}

const INDICES: u32 = 3;
const STEPS: u32 = 300;
/// By then everything has been looked at that is looked at from time to time.
const SETTLED_MS: u64 = 90_000;

impl World {
    pub fn new(seed: u64, troubles: &[Trouble]) -> Self {
        // Nodes draw numbers that go into epochs.
        fastrand::seed(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut config = Config::default();
        config.broker.url = Secret::new("redis://localhost");
        config.limits.history_publications_max = rng.u32(3..20);
        let (nodes, shards) = (rng.usize(2..4), rng.u16(1..5));
        let name = |n| ChannelName::new(&format!("channel-{n}"), 255).expect("a valid name");
        let mut world = Self {
            now: Now { monotonic_ms: 1_000, unix_ms: 1_700_000_000_000 },
            troubles: troubles.to_vec(),
            settings: config.broker().expect("there is a broker"),
            nodes: Vec::new(),
            shards,
            servers: vec![Server::new(&mut rng, Data::default())],
            copied: Data::default(),
            heals_ms: 0,
            refuses_until_ms: 0,
            channels: (0..rng.u32(1..4)).map(name).collect(),
            subscriptions: BTreeMap::new(),
            generations: BTreeMap::new(),
            bookmarks: Vec::new(),
            tickets: HashMap::new(),
            contents: HashMap::new(),
            places: HashMap::new(),
            refused: HashSet::new(),
            counter: 0,
            happened: Happened::default(),
            rng,
        };
        for node in 0..nodes {
            let node = world.begin(node as u32);
            world.nodes.push(node);
        }
        world
    }

    /// Lives to the end.
    pub fn run(mut self) -> Happened {
        for _ in 0..STEPS {
            self.step();
        }
        self.settle();
        self.happened
    }

    fn begin(&mut self, life: u32) -> Node {
        let settings = HubSettings {
            shard: ShardId(0),
            shards: self.shards,
            connections_max: INDICES,
            subscriptions_per_connection_max: 10,
            channels_max: 100,
            history_publications_max: self.settings.history_publications_max,
            history_age_max_ms: 3_600_000,
            history_bytes_max: 1_000_000,
            state_keys_max: 1,
            state_channels_max: 1,
            state_channel_bytes_max: 1,
            state_bytes_max: 1,
            counter_interval_ms: 0,
            presence_members_max: 1,
            presence_events_members_max: 1,
            presence_grace_ms: 1_000,
            epoch_seed: self.rng.u64(..),
            hash_seed: self.rng.u64(..),
        };
        let mut hubs: Vec<_> = (0..self.shards)
            .map(|shard| Hub::new(HubSettings { shard: ShardId(shard), ..settings }))
            .collect();
        hubs.iter_mut().for_each(|hub| hub.follow_brokers(1, 0));
        let number = self.rng.u64(..);
        let line = |shard| Line::new(Conversation::new(&self.settings, number, ShardId(shard)));
        let lines = (0..self.shards).map(line).collect();
        Node { hubs, lines, mesh: Mesh::new(self.shards, 0), life }
    }

    fn step(&mut self) {
        let ms = match self.rng.u8(0..30) {
            // Longer than a publication waits.
            0 if !self.troubles.is_empty() => self.rng.u64(500..4_000),
            1..6 => 0,
            _ => self.rng.u64(1..40),
        };
        self.pass(ms);
        let (node, shard) = (self.rng.usize(0..self.nodes.len()), self.rng.u16(0..self.shards));
        let channel = self.rng.choice(&self.channels).expect("there are channels").clone();
        let seat = (node, shard, self.rng.u32(0..INDICES));
        match self.rng.u8(0..40) {
            0..16 => self.publish(node, shard, channel),
            16..26 => self.subscribe(seat, channel),
            26..32 => self.leave(seat, &channel),
            32 => self.copied = self.server().data(),
            33 => self.trouble(),
            _ => {}
        }
        self.turn();
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.unix_ms += ms;
        if self.heals_ms != 0 && self.heals_ms <= self.now.monotonic_ms {
            self.heal();
        }
    }

    fn server(&mut self) -> &mut Server {
        self.servers.last_mut().expect("there is always one")
    }

    fn heal(&mut self) {
        self.heals_ms = 0;
        let current = self.servers.len() - 1;
        for (at, server) in self.servers.iter_mut().enumerate() {
            (server.is_full, server.is_replica) = (false, at != current);
        }
    }

    fn trouble(&mut self) {
        let Some(trouble) = self.rng.choice(self.troubles.clone()) else { return };
        self.happened.troubles += 1;
        let (now_ms, lasts_ms) = (self.now.monotonic_ms, self.rng.u64(50..4_000));
        let (node, shard) = (self.rng.usize(0..self.nodes.len()), self.rng.usize(0..self.shards.into()));
        match trouble {
            Trouble::Cut => self.cut(node, shard),
            Trouble::Refuse => {
                self.refuses_until_ms = now_ms + 3 * lasts_ms;
                for node in 0..self.nodes.len() {
                    (0..usize::from(self.shards)).for_each(|shard| self.cut(node, shard));
                }
            }
            Trouble::Stop => self.server().stopped_until_ms = now_ms + lasts_ms,
            Trouble::Mute => self.nodes[node].lines[shard].is_mute = true,
            Trouble::Demote => {
                self.server().is_replica = true;
                self.heals_ms = now_ms + lasts_ms;
            }
            Trouble::Full => {
                self.server().is_full = true;
                self.heals_ms = now_ms + lasts_ms;
            }
            Trouble::FlushAll => {
                // No two epochs are begun in one millisecond of two lives of a key.
                self.pass(2);
                self.server().flush_all();
            }
            Trouble::Evict => {
                let rng = &mut self.rng;
                self.servers.last_mut().expect("there is always one").evict(rng);
            }
            Trouble::Failover => self.fail_over(now_ms + lasts_ms),
            Trouble::Kill => self.kill(node),
        }
    }

    /// Some lines lead on to the old server, which takes writes until it has heard of it.
    fn fail_over(&mut self, heals_ms: u64) {
        self.pass(2);
        self.heal();
        let new = Server::new(&mut self.rng, self.copied.clone());
        self.servers.push(new);
        self.heals_ms = heals_ms;
        for node in 0..self.nodes.len() {
            for shard in 0..usize::from(self.shards) {
                if self.rng.bool() {
                    self.cut(node, shard);
                }
            }
        }
    }

    fn cut(&mut self, node: usize, shard: usize) {
        let at = self.line_number(node, shard);
        self.servers.iter_mut().for_each(|server| server.forget(at));
        self.nodes[node].lines[shard].cut(self.now.monotonic_ms, &mut self.rng);
    }

    /// Its clients go elsewhere with their positions, and nobody hears what became of what it was asked.
    fn kill(&mut self, node: usize) {
        for (seat, channel) in self.subscriptions.keys().cloned().collect::<Vec<_>>() {
            if seat.0 == node {
                self.bookmark(seat, &channel);
                self.subscriptions.remove(&(seat, channel));
                *self.generations.entry(seat).or_default() += 1;
            }
        }
        for shard in 0..usize::from(self.shards) {
            self.cut(node, shard);
        }
        let life = self.nodes[node].life + 100;
        self.tickets.retain(|(of, _, _), _| *of != node);
        self.nodes[node] = self.begin(life);
    }

    fn line_number(&self, node: usize, shard: usize) -> usize {
        node * usize::from(self.shards) + shard
    }

    fn publish(&mut self, node: usize, shard: u16, channel: ChannelName) {
        let content = u64::from(self.counter);
        let ticket = self.ticket(shard);
        let key = (node, self.nodes[node].life, ticket);
        self.tickets.insert(key, (channel.clone(), content));
        let payload = Payload::new(content.to_le_bytes().to_vec(), None);
        self.nodes[node].hubs[usize::from(shard)].publish(self.now, channel, payload, Some(ticket));
    }

    fn subscribe(&mut self, seat: Seat, channel: ChannelName) {
        if self.subscriptions.contains_key(&(seat, channel.clone())) {
            return;
        }
        let mut known = self.bookmarks.iter().filter(|(name, _)| *name == channel);
        let since = match self.rng.u8(0..4) {
            0 => None,
            1 => known.next_back().map(|(_, position)| *position),
            _ => {
                let known: Vec<_> = known.collect();
                self.rng.choice(known).map(|(_, position)| *position)
            }
        };
        let connection = self.connection(seat);
        let first = since.map(|position| Since { position, bytes_max: u64::MAX });
        let shown = Shown { state: false, presence: false };
        let wanted = Wanted { since: first, shown, is_later: false, is_lost: false };
        let hub = &mut self.nodes[seat.0].hubs[usize::from(seat.1)];
        let result = hub.subscribe(self.now, connection, Transport::Json, channel.clone(), wanted, Some(7));
        if result.is_ok() {
            self.subscriptions.insert((seat, channel), Subscription::Waiting { since });
        }
    }

    fn leave(&mut self, seat: Seat, channel: &ChannelName) {
        self.bookmark(seat, channel);
        if self.subscriptions.remove(&(seat, channel.clone())).is_some() {
            let connection = self.connection(seat);
            self.nodes[seat.0].hubs[usize::from(seat.1)].unsubscribe(connection, channel);
        }
    }

    fn bookmark(&mut self, seat: Seat, channel: &ChannelName) {
        if let Some(Subscription::Live { seen }) = self.subscriptions.get(&(seat, channel.clone())) {
            self.bookmarks.push((channel.clone(), *seen));
        }
    }

    fn connection(&self, seat: Seat) -> ConnectionId {
        let generation = self.generations.get(&seat).copied().unwrap_or(0);
        ConnectionId { index: seat.2, generation }
    }

    fn ticket(&mut self, shard: u16) -> Ticket {
        self.counter += 1;
        let connection = ConnectionId { index: u32::from(shard), generation: 0 };
        Ticket { connection, token: self.counter }
    }

    /// Everything that is due happens, on every node and server.
    fn turn(&mut self) {
        for node in 0..self.nodes.len() {
            for shard in 0..usize::from(self.shards) {
                self.turn_of_hub(node, shard);
                self.turn_of_line(node, shard);
            }
        }
    }

    fn turn_of_hub(&mut self, node: usize, shard: usize) {
        let (now, me) = (self.now, ShardId(shard as u16));
        while let Some((from, message)) = self.nodes[node].mesh.receive(&mut self.rng, now.monotonic_ms, me) {
            self.nodes[node].hubs[shard].handle_message(now, from, message);
            self.drain(node, shard);
        }
        self.nodes[node].hubs[shard].handle_tick(now);
        self.drain(node, shard);
        let mut hub = self.nodes[node].hubs.swap_remove(shard);
        while let Some(fanout) = hub.poll_fanout(FanoutLimit::NONE) {
            self.fanned_out((node, me.0), &fanout);
        }
        let hubs = &mut self.nodes[node].hubs;
        hubs.push(hub);
        let last = hubs.len() - 1;
        hubs.swap(shard, last);
        self.drain(node, shard);
    }

    fn turn_of_line(&mut self, node: usize, shard: usize) {
        let (now, at) = (self.now, self.line_number(node, shard));
        let now_ms = now.monotonic_ms;
        // Now and then a name leads to the old server still; to one that somebody has spoken with, for no two epochs are begun in one
        // millisecond of two servers.
        let current = self.servers.len() - 1;
        let is_known = self.heals_ms == 0 || current == 0 || !self.servers[current - 1].has_floor();
        let is_known = is_known || self.rng.bool();
        let reached = if is_known { current } else { current - 1 };
        let reached = (self.refuses_until_ms <= now_ms).then_some(reached);
        let Node { hubs, lines, .. } = &mut self.nodes[node];
        if let Some(asks) = hubs[shard].take_broker_asks() {
            lines[shard].talk.handle_asks(now_ms, asks);
        }
        let is_refused = lines[shard].speak(now_ms, &mut self.rng, reached);
        self.happened.refused_dials += u64::from(is_refused);
        let from = lines[shard].server();
        let told = lines[shard].arrive(now_ms, now.unix_ms, at, &mut self.servers);
        for (to, bytes) in told {
            let (node, shard) = (to / usize::from(self.shards), to % usize::from(self.shards));
            let from = from.expect("it leads there");
            self.nodes[node].lines[shard].tell(now_ms, &mut self.rng, from, bytes);
        }
        let is_of_use = self.nodes[node].lines[shard].hear(now_ms, &mut self.rng);
        if !is_of_use {
            self.cut(node, shard);
        }
        for news in self.nodes[node].lines[shard].news() {
            self.nodes[node].hubs[shard].handle_broker(now, 0, news);
            self.drain(node, shard);
        }
    }

    fn drain(&mut self, node: usize, shard: usize) {
        while let Some(output) = self.nodes[node].hubs[shard].poll_output() {
            self.handle_output(node, ShardId(shard as u16), output);
        }
    }

    fn handle_output(&mut self, node: usize, shard: ShardId, output: Output) {
        match output {
            Output::Send { to, message } => {
                let now_ms = self.now.monotonic_ms;
                let lost = self.nodes[node].mesh.send(&mut self.rng, now_ms, shard, to, message);
                assert!(lost.is_none());
            }
            Output::Published { ticket, result } => {
                let key = (node, self.nodes[node].life, ticket);
                let (channel, content) = self.tickets.remove(&key).expect("a ticket is answered once");
                self.published(&channel, content, result);
            }
            Output::Joined { connection, channel, welcome, .. } => {
                self.joined((node, shard.0, connection.index), &channel, &welcome);
            }
            Output::JoinRefused { connection, channel, error, .. } => {
                if error != SubscribeError::Withdrawn {
                    assert_eq!(error, SubscribeError::BrokerUnavailable);
                    let seat = (node, shard.0, connection.index);
                    self.subscriptions.remove(&(seat, channel)).expect("it has asked");
                    self.happened.reads_refused += 1;
                }
            }
            other => panic!("nobody wants that here: {other:?}"),
        }
    }

    fn published(&mut self, channel: &ChannelName, content: u64, result: Result<Position, PublishError>) {
        match result {
            Ok(position) => {
                self.happened.published += 1;
                self.note(channel, position, content);
            }
            Err(PublishError::BrokerUnknown) => self.happened.unknown += 1,
            Err(error) => {
                assert_eq!(error, PublishError::BrokerUnavailable);
                self.happened.refused += 1;
                assert!(!self.places.contains_key(&content), "{content} was refused, and somebody has it");
                self.refused.insert(content);
            }
        }
    }

    fn joined(&mut self, seat: Seat, channel: &ChannelName, welcome: &Welcome) {
        let entry = self.subscriptions.get_mut(&(seat, channel.clone()));
        let Some(subscription) = entry else { panic!("{seat:?} joined {channel} without asking") };
        let Subscription::Waiting { since } = *subscription else {
            panic!("{seat:?} joined {channel} twice")
        };
        assert!(welcome.is_all(), "it takes all at once");
        let Welcome { position, missed, recovered, .. } = welcome;
        *subscription = Subscription::Live { seen: *position };
        for publication in missed {
            assert_eq!(publication.position.epoch, position.epoch);
            let content = content_of(&publication.payload);
            self.note(channel, publication.position, content);
        }
        match (since, recovered) {
            (None, _) => assert!(*recovered && missed.is_empty(), "who has seen nothing has missed nothing"),
            (Some(_), false) => self.happened.not_recovered += 1,
            (Some(since), true) => {
                let offsets: Vec<_> = missed.iter().map(|one| one.position.offset).collect();
                assert_eq!(since.epoch, position.epoch, "{channel}: recovered over a loss");
                let all: Vec<_> = (since.offset + 1..=position.offset).collect();
                assert_eq!(offsets, all, "{channel}: recovered since {since} at {position}");
                assert!(since.offset <= position.offset);
                self.happened.recovered += 1;
                self.happened.recovered_with_some += u64::from(!missed.is_empty());
            }
        }
    }

    fn fanned_out(&mut self, (node, shard): (usize, u16), fanout: &Fanout<'_>) {
        let since = fanout.since;
        for (offset, publication) in (since.offset + 1..).zip(fanout.publications) {
            assert_eq!(publication.position, Position { offset, ..since });
            let content = content_of(&publication.payload);
            self.note(fanout.channel, publication.position, content);
        }
        let last = fanout.publications.last().map_or(since, |publication| publication.position);
        for index in fanout.subscribers[Transport::Json as usize] {
            let entry = self.subscriptions.get_mut(&((node, shard, *index), fanout.channel.clone()));
            let Some(Subscription::Live { seen }) = entry else {
                panic!("{index} of {node}/{shard} is told of {} without being subscribed", fanout.channel)
            };
            match fanout.gap {
                true => assert!(
                    since.epoch != seen.epoch || since.offset > seen.offset,
                    "at {seen} there is no gap up to {since}"
                ),
                false => assert_eq!(since, *seen, "{}: what lies between is not told", fanout.channel),
            }
            *seen = last;
            self.happened.gaps += u64::from(fanout.gap);
            self.happened.deliveries += fanout.publications.len() as u64;
        }
    }

    /// A message is at one position, and a position holds one message, on all nodes and for ever.
    fn note(&mut self, channel: &ChannelName, position: Position, content: u64) {
        let known = *self.contents.entry((channel.clone(), position)).or_insert(content);
        assert_eq!(known, content, "{channel} holds two messages at {position}");
        let place = *self.places.entry(content).or_insert(position);
        assert_eq!(place, position, "message {content} of {channel} has two positions");
        assert!(!self.refused.contains(&content), "message {content} of {channel} was refused");
    }

    /// Nothing fails any more, and time passes: all is answered, and everybody is where the stream is.
    fn settle(&mut self) {
        self.troubles.clear();
        self.heal();
        let until_ms = self.now.monotonic_ms + SETTLED_MS;
        while self.now.monotonic_ms < until_ms {
            self.pass(40);
            self.turn();
        }
        assert!(self.tickets.is_empty(), "{} publications are not answered", self.tickets.len());
        let mut ends: BTreeMap<&ChannelName, Position> = BTreeMap::new();
        for ((seat, channel), subscription) in &self.subscriptions {
            let Subscription::Live { seen } = subscription else {
                panic!("{seat:?} still waits for {channel}")
            };
            let end = *ends.entry(channel).or_insert(*seen);
            assert_eq!(*seen, end, "{seat:?}: all are at the same position of {channel}");
            let server = self.servers.last().expect("there is always one");
            if let Some((epoch, offset)) = server.last(&format!("rs:s:{channel}")) {
                assert_eq!(*seen, Position { epoch, offset }, "{seat:?} is behind on {channel}");
            }
        }
    }
}

fn content_of(payload: &Payload) -> u64 {
    u64::from_le_bytes(payload.data[..8].try_into().expect("eight bytes"))
}
