//! A world of hubs and clients, and what happens in it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use roadstead::{
    hub::{FanoutLimit, Hub, HubSettings, Output, Since, SubscribeError, Wanted},
    mesh::{ChannelReport, Question, ShardReport, StatePage, StateQuery, Survey, Visible},
    model::{
        ChannelName, ConnectionId, Now, Payload, Position, ShardId, Shown, StateKey, StateRequest, Ticket,
        Transport,
    },
};

use crate::{
    mesh::Mesh,
    oracle::{Changing, Client, Events, Oracle, Replica, Subscription, replica_of},
};

/// What kind of world it is.
#[derive(Clone, Debug)]
pub struct Plan {
    pub shards: u16,
    pub connections: u32,
    pub channels: u32,
    pub channels_max: u32,
    pub subscriptions_max: u32,
    pub history_publications_max: u32,
    pub history_age_max_ms: u64,
    pub history_bytes_max: u64,
    pub state_keys_max: u32,
    pub counter_interval_ms: u64,
    pub delivers_lost_percent: u8,
    pub steps: u32,
}

/// No key goes by itself later than this.
const STATE_TTL_MS_END: u64 = 500;

pub struct World {
    plan: Plan,
    rng: fastrand::Rng,
    now: Now,
    hubs: Vec<Hub>,
    mesh: Mesh,
    oracle: Oracle,
    names: Vec<ChannelName>,
    generations: BTreeMap<(u16, u32), u32>,
    /// Positions clients went away with, to come back with later.
    bookmarks: Vec<(ChannelName, Position)>,
    pages: HashMap<Ticket, (ChannelName, Option<Position>, u32)>,
    /// Clients that have been told a part of what they missed, and up to where.
    reading: VecDeque<(Client, ChannelName, Position)>,
    surveys: Vec<Survey>,
    states: Vec<StatePage>,
    shards_unasked: u32,
    counter: u32,
}

impl Plan {
    /// A small world with tight limits, so that everything happens often.
    pub fn any(rng: &mut fastrand::Rng) -> Self {
        let channels = rng.u32(1..6);
        Self {
            shards: rng.u16(1..5),
            connections: rng.u32(1..8),
            channels,
            channels_max: if rng.bool() { channels } else { rng.u32(1..3) },
            subscriptions_max: rng.u32(1..5),
            history_publications_max: rng.u32(0..6),
            history_age_max_ms: rng.u64(1..2_000),
            history_bytes_max: rng.u64(0..4_000),
            state_keys_max: rng.u32(2..7),
            counter_interval_ms: rng.u64(0..100),
            delivers_lost_percent: 0,
            steps: 400,
        }
    }
}

impl World {
    pub fn new(plan: Plan, mut rng: fastrand::Rng) -> Self {
        let settings = HubSettings {
            shard: ShardId(0),
            shards: plan.shards,
            connections_max: plan.connections,
            subscriptions_per_connection_max: plan.subscriptions_max,
            channels_max: plan.channels_max,
            history_publications_max: plan.history_publications_max,
            history_age_max_ms: plan.history_age_max_ms,
            history_bytes_max: plan.history_bytes_max,
            state_keys_max: plan.state_keys_max,
            state_channels_max: 1_000,
            state_channel_bytes_max: 1_000,
            state_bytes_max: 1_000_000,
            counter_interval_ms: plan.counter_interval_ms,
            presence_members_max: 100,
            presence_events_members_max: 100,
            presence_grace_ms: 1_000,
            epoch_seed: rng.u64(..),
            hash_seed: rng.u64(..),
        };
        let hubs = (0..plan.shards).map(|shard| Hub::new(HubSettings { shard: ShardId(shard), ..settings }));
        let name = |n| ChannelName::new(&format!("channel-{n}"), 255).expect("a valid name");
        Self {
            hubs: hubs.collect(),
            mesh: Mesh::new(plan.shards, plan.delivers_lost_percent),
            names: (0..plan.channels).map(name).collect(),
            plan,
            rng,
            now: Now { monotonic_ms: 1_000, unix_ms: 1_700_000_000_000 },
            oracle: Oracle::default(),
            generations: BTreeMap::new(),
            bookmarks: Vec::new(),
            pages: HashMap::new(),
            reading: VecDeque::new(),
            surveys: Vec::new(),
            states: Vec::new(),
            shards_unasked: 0,
            counter: 0,
        }
    }

    /// Lives to the end, checks that nothing is left owing, and tells what happened.
    pub fn run(mut self) -> Events {
        for _ in 0..self.plan.steps {
            self.step();
        }
        self.settle();
        // Whatever goes by itself is gone then.
        self.now.monotonic_ms += STATE_TTL_MS_END;
        self.now.unix_ms += STATE_TTL_MS_END;
        self.settle();
        let (positions, states) = (self.positions(), self.states());
        self.oracle.settled(&positions, &states);
        self.check_survey();
        self.end();
        self.oracle.events
    }

    fn step(&mut self) {
        self.pass_time();
        let shard = ShardId(self.rng.u16(0..self.plan.shards));
        let turn_is_long = self.rng.u8(0..10) == 0;
        let verbs_max = if turn_is_long { 30 } else { 4 };
        for _ in 0..self.rng.u8(0..verbs_max) {
            self.act(shard);
        }
        if self.rng.u8(0..3) > 0 {
            self.fan_out(shard);
        }
    }

    fn pass_time(&mut self) {
        let jump_ms = match self.rng.u8(0..40) {
            0 => self.plan.history_age_max_ms + self.rng.u64(0..100),
            1..10 => 0,
            _ => self.rng.u64(0..30),
        };
        self.now.monotonic_ms += jump_ms;
        self.now.unix_ms += jump_ms;
    }

    /// One thing happens on a shard.
    fn act(&mut self, shard: ShardId) {
        let channel = self.rng.choice(&self.names).expect("there are channels").clone();
        match self.rng.u8(0..116) {
            0..36 => self.receive(shard),
            36..40 => self.catch_up(),
            40..60 => {
                let bytes_end = if self.rng.u8(0..20) == 0 { 4_000 } else { 200 };
                let bytes = self.rng.usize(8..bytes_end);
                self.publish(shard, channel, bytes);
            }
            60..78 => self.subscribe(shard, channel),
            78..86 => self.unsubscribe(shard, &channel),
            86..90 => self.close(shard),
            90..95 => self.tick(shard),
            95..98 => self.read_history(shard, channel),
            100.. => self.change_state(shard, channel),
            _ => {
                self.shards_unasked += u32::from(self.plan.shards);
                self.ask(shard, Question::Shard);
            }
        }
        self.drain(shard);
    }

    fn receive(&mut self, shard: ShardId) {
        if let Some((from, message)) = self.mesh.receive(&mut self.rng, self.now.monotonic_ms, shard) {
            self.hubs[usize::from(shard.0)].handle_message(self.now, from, message);
        }
    }

    fn tick(&mut self, shard: ShardId) {
        self.hubs[usize::from(shard.0)].handle_tick(self.now);
    }

    fn publish(&mut self, shard: ShardId, channel: ChannelName, bytes: usize) {
        let ticket = self.rng.u8(0..4).gt(&0).then(|| self.ticket(shard));
        let content = u64::from(self.counter);
        self.counter += 1;
        let mut data = content.to_le_bytes().to_vec();
        data.resize(bytes, b'.');
        if let Some(ticket) = ticket {
            self.oracle.ticket_issued(ticket, channel.clone(), content);
        }
        self.hubs[usize::from(shard.0)].publish(self.now, channel, Payload::new(data, None), ticket);
        self.drain(shard);
    }

    /// Somebody sets, removes or counts. Counters are only counted, so that their values can be known.
    fn change_state(&mut self, shard: ShardId, channel: ChannelName) {
        let (mut add, number) = (None, self.rng.u8(0..3));
        let key = |letter: char| StateKey::new(&format!("{letter}{number}")).expect("a valid key");
        let request = match self.rng.u8(0..10) {
            0..5 => {
                let count = self.rng.i64(-5..10);
                add = Some(count);
                StateRequest::add(key('n'), count)
            }
            5..8 => {
                let (data, ttl_ms) = (self.rng.u32(..), self.rng.u64(1..STATE_TTL_MS_END));
                let request = StateRequest::set(key('k'), Payload::new(data.to_string().into_bytes(), None));
                request.for_ms(self.rng.bool().then_some(ttl_ms))
            }
            _ => StateRequest::remove(key('k')),
        };
        let ticket = self.ticket(shard);
        let key = request.key.as_str().to_owned();
        self.oracle.changing.insert(ticket, Changing { channel: channel.clone(), key, add });
        self.hubs[usize::from(shard.0)].change_state(self.now, channel, Box::new(request), Some(ticket));
        self.drain(shard);
    }

    /// What each channel's owner says its state is.
    fn states(&mut self) -> BTreeMap<ChannelName, Replica> {
        let mut states = BTreeMap::new();
        for channel in self.names.clone() {
            let ticket = self.ticket(ShardId(0));
            let query = StateQuery::Page { after: None, limit: u32::MAX };
            self.hubs[0].read_state(self.now, ticket, &channel, query);
            self.drain(ShardId(0));
            self.settle();
            let page = self.states.pop().expect("an owner answers");
            assert!(
                !page.has_more
                    && page.keys.is_sorted_by_key(|one| one.payload.change.as_ref().map(|c| c.key.clone()))
            );
            states.insert(channel, replica_of(&page.keys));
        }
        states
    }

    fn subscribe(&mut self, shard: ShardId, channel: ChannelName) {
        let client = self.client(shard);
        let transport = self.rng.choice(Transport::ALL).expect("there are transports");
        let since = self.since(&channel);
        let token = self.rng.bool().then(|| self.rng.u32(..));
        let held = self.subscriptions_of(client);
        let is_held = held.contains(&channel);
        let hub = &mut self.hubs[usize::from(shard.0)];
        let first = since.map(|position| Since { position, bytes_max: self.rng.u64(0..1_000) });
        let with_state = self.rng.bool();
        let shown = Shown { state: with_state, presence: false };
        let is_later = self.rng.u8(0..4) == 0;
        let wanted = Wanted { since: first, shown, is_later, is_lost: false };
        let result = hub.subscribe(self.now, client.connection, transport, channel.clone(), wanted, token);
        let expected = match (is_held, held.len() as u32 >= self.plan.subscriptions_max) {
            (true, _) => Err(SubscribeError::Already),
            (false, true) => Err(SubscribeError::TooMany),
            (false, false) if result == Err(SubscribeError::ChannelsFull) => result,
            (false, false) => Ok(()),
        };
        assert_eq!(result, expected, "{client:?} and {channel}, holding {held:?}");
        if result.is_ok() {
            self.oracle.subscribed(client, channel, transport, since, token, with_state);
        }
    }

    /// A client has read the part it was told, or has gone meanwhile.
    fn catch_up(&mut self) {
        let Some((client, channel, position)) = self.reading.pop_front() else { return };
        let since = Since { position, bytes_max: self.rng.u64(1..2_000) };
        self.hubs[usize::from(client.shard.0)].catch_up(self.now, client.connection, &channel, since);
        self.drain(client.shard);
    }

    fn forget_reading(&mut self, client: Client, channel: &ChannelName) {
        self.reading.retain(|(other, read, _)| (other, read) != (&client, channel));
    }

    fn unsubscribe(&mut self, shard: ShardId, channel: &ChannelName) {
        let client = self.client(shard);
        self.bookmark(client, channel);
        self.forget_reading(client, channel);
        let had = self.oracle.left(client, channel);
        assert_eq!(self.hubs[usize::from(shard.0)].unsubscribe(client.connection, channel), had);
    }

    fn close(&mut self, shard: ShardId) {
        let client = self.client(shard);
        for channel in self.subscriptions_of(client) {
            self.bookmark(client, &channel);
            self.forget_reading(client, &channel);
        }
        self.oracle.closed(client);
        let hub = &mut self.hubs[usize::from(shard.0)];
        hub.leave_all(client.connection);
        let stale = client.connection;
        *self.generations.entry((shard.0, stale.index)).or_default() += 1;
        assert!(!hub.unsubscribe(stale, &self.names[0]));
    }

    fn read_history(&mut self, shard: ShardId, channel: ChannelName) {
        let (ticket, since, limit) = (self.ticket(shard), self.since(&channel), self.rng.u32(0..5));
        self.hubs[usize::from(shard.0)].read_history(self.now, ticket, &channel, since, limit);
        self.pages.insert(ticket, (channel, since, limit));
    }

    fn ask(&mut self, shard: ShardId, question: Question) {
        let ticket = self.ticket(shard);
        self.hubs[usize::from(shard.0)].ask(self.now, ticket, question);
    }

    /// Does what a shard does with its hub's outputs.
    fn drain(&mut self, shard: ShardId) {
        while let Some(output) = self.hubs[usize::from(shard.0)].poll_output() {
            self.handle_output(shard, output);
        }
    }

    fn handle_output(&mut self, shard: ShardId, output: Output) {
        match output {
            Output::Send { to, message } => {
                let lost = self.mesh.send(&mut self.rng, self.now.monotonic_ms, shard, to, message);
                if let Some(channel) = lost {
                    self.hubs[usize::from(shard.0)].deliver_dropped(to, &channel);
                }
            }
            Output::Published { ticket, result } => {
                assert_eq!(ticket.connection.index, u32::from(shard.0), "answered on another shard");
                self.oracle.published(ticket, result);
            }
            Output::Joined { connection, transport, token, channel, welcome, .. } => {
                let client = Client { shard, connection };
                self.oracle.joined(client, &channel, transport, token, &welcome);
                if !welcome.is_all() {
                    self.reading.push_back((client, channel, welcome.position));
                }
            }
            Output::JoinRefused { connection, token, channel, error, .. } => {
                match error {
                    SubscribeError::ChannelsFull => {
                        self.oracle.refused(Client { shard, connection }, &channel, token);
                    }
                    // The oracle has let it go already, when the client ended it.
                    SubscribeError::Withdrawn => {}
                    other => panic!("{channel} was refused with {other:?}"),
                }
            }
            Output::History { ticket, page } => {
                let (channel, since, limit) = self.pages.remove(&ticket).expect("a page is answered once");
                self.oracle.paged(&channel, since, limit, &page);
            }
            Output::Changed { ticket, result } => {
                assert_eq!(ticket.connection.index, u32::from(shard.0), "answered on another shard");
                self.oracle.changed(ticket, result);
            }
            Output::State { page, .. } => self.states.push(page),
            Output::Entered { .. } | Output::Presence { .. } => panic!("nobody enters here"),
            Output::Unread { .. } => panic!("not so much is read here"),
            Output::Survey { survey, .. } => self.surveys.push(survey),
            Output::ReadDisk(_) => unreachable!("nothing is kept on disk"),
            Output::Notice(_) => panic!("nobody wants to be told"),
            Output::Cluster(_) | Output::Room { .. } => unreachable!("no hub here is in a cluster"),
            Output::AskedShard { .. } | Output::AskedLook { .. } => self.shards_unasked -= 1,
        }
    }

    /// The end of a turn, sometimes with other things happening between its parts.
    fn fan_out(&mut self, shard: ShardId) {
        loop {
            let limit = FanoutLimit { subscribers: self.rng.usize(1..4), ..FanoutLimit::NONE };
            let Some(fanout) = self.hubs[usize::from(shard.0)].poll_fanout(limit) else { return };
            self.oracle.fanned_out(shard, &fanout);
            let channel = fanout.channel.clone();
            let polls = fanout.subscribers[Transport::LongPoll as usize].to_vec();
            for index in polls {
                let client = self.connection(shard, index);
                self.bookmark(client, &channel);
                self.forget_reading(client, &channel);
                assert!(self.oracle.left(client, &channel));
                assert!(self.hubs[usize::from(shard.0)].unsubscribe(client.connection, &channel));
            }
            self.drain(shard);
            if self.rng.u8(0..4) == 0 {
                self.act(shard);
            }
            if self.rng.u8(0..10) == 0 {
                return;
            }
        }
    }

    /// Lets everything under way arrive.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            self.now.monotonic_ms += 10;
            self.now.unix_ms += 10;
            for shard in (0..self.plan.shards).map(ShardId) {
                self.receive(shard);
                self.tick(shard);
                self.hubs[usize::from(shard.0)].continue_lists(3);
                self.drain(shard);
                while let Some(fanout) = self.hubs[usize::from(shard.0)].poll_fanout(FanoutLimit::NONE) {
                    self.oracle.fanned_out(shard, &fanout);
                }
            }
            self.catch_up();
            if self.reading.is_empty() && self.mesh.is_empty() && self.hubs.iter().all(Hub::is_quiet) {
                return;
            }
        }
        panic!("the hubs never stop talking");
    }

    /// Where each channel is, and that the shards' answers add up to what the oracle knows.
    fn check_survey(&mut self) {
        let mut subscribers: BTreeMap<ChannelName, u32> = BTreeMap::new();
        for (_, _, channel) in self.oracle.subscriptions.keys() {
            *subscribers.entry(channel.clone()).or_default() += 1;
        }
        for channel in self.names.clone() {
            let mut counted = 0;
            for report in self.survey(Question::Channel(channel.clone())) {
                counted += report.subscribers.iter().sum::<u32>();
                assert!(report.history_publications <= self.plan.history_publications_max);
            }
            assert_eq!(counted, subscribers.get(&channel).copied().unwrap_or(0), "subscribers of {channel}");
        }
        let held: u32 = self.reports().iter().map(|report| report.subscriptions).sum();
        assert_eq!(held as usize, self.oracle.subscriptions.len());
    }

    /// Everybody leaves, every key is removed, time passes, and nothing remains.
    fn end(&mut self) {
        for (channel, state) in self.states() {
            for key in state.into_keys() {
                let request = StateRequest::remove(StateKey::new(&key).expect("a valid key"));
                self.hubs[0].change_state(self.now, channel.clone(), Box::new(request), None);
                self.drain(ShardId(0));
            }
        }
        for (client, _) in std::mem::take(&mut self.oracle.subscriptions).into_values() {
            self.hubs[usize::from(client.shard.0)].leave_all(client.connection);
            self.drain(client.shard);
        }
        self.settle();
        for _ in 0..2 {
            self.now.monotonic_ms += self.plan.history_age_max_ms;
            for hub in &mut self.hubs {
                hub.handle_tick(self.now);
            }
        }
        for report in self.reports() {
            assert_eq!((report.subscriptions, report.channels), (0, 0));
            assert_eq!((report.history_publications, report.history_bytes), (0, 0));
            assert_eq!((report.state_keys, report.state_bytes), (0, 0));
        }
        let channels =
            self.survey(Question::Channels { prefix: "".into(), limit: u32::MAX, visible: Visible::all() });
        assert_eq!(channels, [], "channels are still known");
        assert!(self.pages.is_empty(), "a page was never answered");
        assert_eq!(self.shards_unasked, 0, "some shards were never asked how they are");
    }

    fn survey(&mut self, question: Question) -> Vec<ChannelReport> {
        self.ask(ShardId(0), question);
        self.drain(ShardId(0));
        self.settle();
        let surveys = std::mem::take(&mut self.surveys);
        assert_eq!(surveys.len(), usize::from(self.plan.shards), "every shard answers");
        let channels = surveys.into_iter().flat_map(|survey| match survey {
            Survey::Channels(channels) => channels,
            Survey::Shard(_) | Survey::Look(_) | Survey::Nodes { .. } => panic!("nobody was asked that"),
        });
        channels.collect()
    }

    fn positions(&mut self) -> BTreeMap<ChannelName, Position> {
        let channels = self.survey(Question::Channels {
            prefix: "channel".into(),
            limit: u32::MAX,
            visible: Visible::all(),
        });
        let owned = channels.into_iter().filter_map(|report| Some((report.channel, report.position?)));
        owned.collect()
    }

    fn reports(&self) -> Vec<ShardReport> {
        let report = |hub: &Hub| {
            let mut report = ShardReport::default();
            hub.report(&mut report);
            assert!(report.channels <= self.plan.channels_max);
            assert!(report.history_bytes <= self.plan.history_bytes_max);
            report
        };
        self.hubs.iter().map(report).collect()
    }

    fn client(&mut self, shard: ShardId) -> Client {
        let index = self.rng.u32(0..self.plan.connections);
        self.connection(shard, index)
    }

    fn connection(&self, shard: ShardId, index: u32) -> Client {
        let generation = self.generations.get(&(shard.0, index)).copied().unwrap_or(0);
        Client { shard, connection: ConnectionId { index, generation } }
    }

    fn subscriptions_of(&self, client: Client) -> Vec<ChannelName> {
        let (shard, index) = (client.shard.0, client.connection.index);
        let keys = self.oracle.subscriptions.keys();
        keys.filter(|key| (key.0, key.1) == (shard, index)).map(|key| key.2.clone()).collect()
    }

    /// Notes how far a client has come with a channel, before it goes.
    fn bookmark(&mut self, client: Client, channel: &ChannelName) {
        let key = (client.shard.0, client.connection.index, channel.clone());
        if let Some((_, Subscription::Live { seen, .. })) = self.oracle.subscriptions.get(&key) {
            self.bookmarks.push((channel.clone(), *seen));
        }
    }

    /// Nothing, a place somebody once was at, or one nobody can have been at.
    fn since(&mut self, channel: &ChannelName) -> Option<Position> {
        let (_, mut position) = match self.rng.u8(0..10) {
            0..4 => return None,
            _ => self.bookmarks.iter().rev().find(|(name, _)| name == channel).cloned()?,
        };
        match self.rng.u8(0..12) {
            0 => position.offset += self.rng.u64(0..5),
            1 => position.offset = self.rng.choice([0, u64::MAX]).unwrap_or_default(),
            2 => position.epoch ^= 1,
            3..6 => position.offset = position.offset.saturating_sub(self.rng.u64(0..5)),
            _ => {}
        }
        Some(position)
    }

    fn ticket(&mut self, shard: ShardId) -> Ticket {
        self.counter += 1;
        let connection = ConnectionId { index: u32::from(shard.0), generation: 0 };
        Ticket { connection, token: self.counter }
    }
}
