//! Who is present, over shards that fail: connections enter, leave, end, come back and are handed over at random, and so shards
//! end and begin anew. Those are shown who are there, each once, and others for the grace and no longer; each enter that
//! followers were told had its one leave, by itself or in a digest; and no user was told to have left that had been there within
//! the grace, unless it said so.

use std::collections::{BTreeMap, BTreeSet};

use roadstead::{
    hub::{Hub, HubSettings, Output},
    limits::Limits,
    model::{
        ChangeKind, ChannelName, ConnectionId, Now, PresencePage, Publication, ShardId, StateError, StateKey,
        Ticket,
    },
};

use crate::mesh::Mesh;

const GRACE_MS: u64 = 200;
/// How often followers are told how many there are, at most.
const DIGEST_MS: u64 = roadstead::limits::PRESENCE_DIGEST_INTERVAL_MS;
const SEEDS: u64 = 300;
const STEPS: u32 = 300;

/// A connection: its shard, and its number there.
type Line = (u16, u32);

struct World {
    rng: fastrand::Rng,
    now: Now,
    settings: HubSettings,
    hubs: Vec<Hub>,
    mesh: Mesh,
    names: Vec<ChannelName>,
    /// What each connection has entered, and for whom.
    entered: BTreeMap<Line, BTreeMap<ChannelName, StateKey>>,
    /// What has been asked, and neither answered nor taken back.
    asked: BTreeMap<u32, (Line, ChannelName, StateKey)>,
    /// Whether followers may be told how many there are in place of who.
    digests: bool,
    /// And have been told of all.
    all_is_told: bool,
    /// When everything that had been said was heard.
    settled_ms: Vec<u64>,
    /// When each member was last seen to have a connection.
    last_there_ms: BTreeMap<(ChannelName, StateKey), u64>,
    /// When each user had one that had been let in, and when one of its connections left by its own word.
    there_ms: BTreeMap<(ChannelName, StateKey), BTreeSet<u64>>,
    left_ms: BTreeMap<(ChannelName, StateKey), BTreeSet<u64>>,
    /// Leaves of users whose grace was over, and of those who said so.
    graces: u32,
    farewells: u32,
    generations: BTreeMap<Line, u32>,
    page: Option<PresencePage>,
    history: Option<Vec<roadstead::model::SharedPublication>>,
    tokens: u32,
    failures: u32,
    refusals: u32,
    told: u32,
    digests_told: u32,
    handed_over: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (shards, digests) = (rng.u16(1..5), rng.bool());
        let limits = Limits {
            history_publications_max: 1_000_000,
            history_age_max_ms: 1_000_000_000,
            presence_grace_ms: GRACE_MS as u32,
            presence_members_max: rng.u32(2..8),
            presence_events_members_max: if digests { rng.u32(1..4) } else { 100 },
            ..Limits::default()
        };
        let settings = HubSettings::of_shard(&limits, ShardId(0), shards, 100, rng.u64(..), rng.u64(..));
        let hub = |shard| Hub::new(HubSettings { shard: ShardId(shard), ..settings });
        let name = |n| ChannelName::new(&format!("channel-{n}"), 255).expect("a valid name");
        Self {
            hubs: (0..shards).map(hub).collect(),
            mesh: Mesh::new(shards, 0),
            names: (0..rng.u32(1..5)).map(name).collect(),
            rng,
            now: Now { monotonic_ms: 1_000, unix_ms: 1_700_000_000_000 },
            settings,
            entered: BTreeMap::new(),
            asked: BTreeMap::new(),
            digests,
            all_is_told: false,
            settled_ms: Vec::new(),
            last_there_ms: BTreeMap::new(),
            there_ms: BTreeMap::new(),
            left_ms: BTreeMap::new(),
            graces: 0,
            farewells: 0,
            generations: BTreeMap::new(),
            page: None,
            history: None,
            tokens: 0,
            failures: 0,
            refusals: 0,
            told: 0,
            digests_told: 0,
            handed_over: 0,
        }
    }

    fn run(&mut self) {
        for step in 0..STEPS {
            let jump_ms = self.rng.u64(0..20);
            self.pass(self.now.monotonic_ms + jump_ms);
            let shard = self.rng.u16(0..self.settings.shards);
            let line = (shard, self.rng.u32(0..4));
            match self.rng.u8(0..40) {
                0..12 => self.enter(line),
                12..18 => self.leave(line),
                18..23 => self.close(line),
                23..25 => self.hand_over(line),
                25..26 if self.settings.shards > 1 => self.fail(shard),
                _ => self.turn(shard),
            }
            if step % 50 == 49 {
                self.settle();
                self.check(false);
            }
        }
        self.settle();
        self.pass(self.now.monotonic_ms + GRACE_MS);
        self.settle();
        self.check(true);
        // And what has not been told one by one is told together.
        self.pass(self.now.monotonic_ms + DIGEST_MS);
        self.settle();
        self.all_is_told = true;
        self.check(true);
    }

    fn pass(&mut self, now_ms: u64) {
        self.now.unix_ms += now_ms - self.now.monotonic_ms;
        self.now.monotonic_ms = now_ms;
        let asked = self.asked.values().map(|(_, channel, id)| (channel.clone(), id.clone()));
        for (channel, id) in asked.chain(self.there()).collect::<Vec<_>>() {
            self.last_there_ms.insert((channel, id), now_ms);
        }
        for key in self.there() {
            self.there_ms.entry(key).or_default().insert(now_ms);
        }
    }

    /// Those who have a connection that has entered.
    fn there(&self) -> BTreeSet<(ChannelName, StateKey)> {
        let all = self.entered.values().flatten();
        all.map(|(channel, id)| (channel.clone(), id.clone())).collect()
    }

    fn connection(&self, line: Line) -> ConnectionId {
        ConnectionId { index: line.1, generation: self.generations.get(&line).copied().unwrap_or(0) }
    }

    fn ticket(&mut self, line: Line) -> Ticket {
        self.tokens += 1;
        Ticket { connection: self.connection(line), token: self.tokens }
    }

    fn enter(&mut self, line: Line) {
        let channel = self.rng.choice(&self.names).expect("some").clone();
        // A connection is of one user, or of nobody, for as long as it lives; or of nobody first.
        let connection = self.connection(line);
        let number = (line.1 + connection.generation) % 4;
        let id = match number {
            user @ 1.. if self.rng.bool() => StateKey::of_user(&format!("user-{user}")),
            _ => StateKey::of_guest(ShardId(line.0), connection),
        };
        self.enter_for(line, channel, id);
    }

    /// Everything a user is in by one connection, it is in by another of some shard: what was there before ends first, or last.
    fn hand_over(&mut self, from: Line) {
        let entered = self.entered.get(&from).cloned().unwrap_or_default();
        let users: Vec<_> = entered.into_iter().filter(|(_, id)| id.is_user()).collect();
        let to = (self.rng.u16(0..self.settings.shards), 4 + self.rng.u32(0..2));
        // One of them belongs to one user.
        self.close(to);
        let ends_first = self.rng.bool();
        if ends_first {
            self.close(from);
        }
        self.handed_over += u32::from(!users.is_empty());
        users.into_iter().for_each(|(channel, id)| self.enter_for(to, channel, id));
        if !ends_first {
            self.close(from);
        }
    }

    fn enter_for(&mut self, line: Line, channel: ChannelName, id: StateKey) {
        let ticket = self.ticket(line);
        let info = if self.rng.bool() { "{\"a\":1}" } else { "" };
        // Whoever it was there for before leaves with that.
        let before = self.entered.get(&line).and_then(|entered| entered.get(&channel)).cloned();
        let asked = self.asked.values().filter(|(of, named, _)| (*of, named) == (line, &channel));
        let others: Vec<_> = before.into_iter().chain(asked.map(|(.., id)| id.clone())).collect();
        others.into_iter().filter(|other| *other != id).for_each(|other| self.note_left(&channel, other));
        self.asked.insert(ticket.token, (line, channel.clone(), id.clone()));
        self.hubs[usize::from(line.0)].enter(self.now, ticket, &channel, id, info.into());
        self.drain(line.0);
    }

    fn leave(&mut self, line: Line) {
        let channel = self.rng.choice(&self.names).expect("some").clone();
        let ids = self.asked.values().filter(|(of, named, _)| (*of, named) == (line, &channel));
        let entered = self.entered.get(&line).and_then(|entered| entered.get(&channel));
        let ids: Vec<_> = ids.map(|(.., id)| id).chain(entered).cloned().collect();
        ids.into_iter().for_each(|id| self.note_left(&channel, id));
        let asked = self.asked.len();
        self.asked.retain(|_, (of, in_channel, _)| (*of, &*in_channel) != (line, &channel));
        let had = self.entered.get_mut(&line).is_some_and(|entered| entered.remove(&channel).is_some());
        let had = had || self.asked.len() < asked;
        let connection = self.connection(line);
        assert_eq!(self.hubs[usize::from(line.0)].depart(self.now, connection, &channel), had);
        self.drain(line.0);
    }

    fn note_left(&mut self, channel: &ChannelName, id: StateKey) {
        self.left_ms.entry((channel.clone(), id)).or_default().insert(self.now.monotonic_ms);
    }

    fn close(&mut self, line: Line) {
        let connection = self.connection(line);
        let hub = &mut self.hubs[usize::from(line.0)];
        hub.note_time(self.now);
        hub.leave_all(connection);
        self.entered.remove(&line);
        self.asked.retain(|_, (of, ..)| *of != line);
        *self.generations.entry(line).or_default() += 1;
        self.drain(line.0);
    }

    /// A shard fails and begins anew: its connections are gone, and what it knew.
    fn fail(&mut self, shard: u16) {
        self.failures += 1;
        self.mesh.lose(ShardId(shard));
        self.settings.epoch_seed = self.rng.u64(..);
        self.hubs[usize::from(shard)] = Hub::new(HubSettings { shard: ShardId(shard), ..self.settings });
        self.entered.retain(|line, _| line.0 != shard);
        let hub = &self.hubs[usize::from(shard)];
        self.asked.retain(|_, (line, channel, _)| line.0 != shard && hub.owner_of(channel) != ShardId(shard));
        for other in (0..self.settings.shards).filter(|other| *other != shard) {
            self.hubs[usize::from(other)].lose(self.now, ShardId(shard));
            self.drain(other);
        }
        for index in 0..6 {
            *self.generations.entry((shard, index)).or_default() += 1;
        }
    }

    fn turn(&mut self, shard: u16) {
        if let Some((from, message)) = self.mesh.receive(&mut self.rng, self.now.monotonic_ms, ShardId(shard))
        {
            self.hubs[usize::from(shard)].handle_message(self.now, from, message);
        }
        self.hubs[usize::from(shard)].handle_tick(self.now);
        self.drain(shard);
    }

    fn drain(&mut self, shard: u16) {
        while let Some(output) = self.hubs[usize::from(shard)].poll_output() {
            match output {
                Output::Send { to, message } => {
                    let lost =
                        self.mesh.send(&mut self.rng, self.now.monotonic_ms, ShardId(shard), to, message);
                    assert_eq!(lost, None);
                }
                Output::Entered { ticket, result, .. } => match (self.asked.remove(&ticket.token), result) {
                    (Some((line, channel, id)), Ok(_)) => {
                        self.entered.entry(line).or_default().insert(channel, id);
                    }
                    (_, Ok(_)) => {}
                    (_, Err(error)) => {
                        assert_eq!(error, StateError::MembersFull);
                        self.refusals += 1;
                    }
                },
                Output::Presence { page, .. } => self.page = Some(*page),
                Output::History { page, .. } => self.history = Some(page.publications),
                other => panic!("{other:?} was not asked for"),
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.pass(self.now.monotonic_ms + 1);
            for shard in 0..self.settings.shards {
                self.turn(shard);
            }
            if self.mesh.is_empty() {
                self.settled_ms.push(self.now.monotonic_ms);
                return;
            }
        }
        panic!("the hubs never stop talking");
    }

    /// Whether what is shown is true: exactly, or but for those whose grace may not be over.
    fn check(&mut self, is_over: bool) {
        for channel in self.names.clone() {
            let asked_ms = self.now.monotonic_ms;
            let page = self.read(&channel);
            let shown: BTreeSet<_> = page.members.iter().map(|member| member.id.clone()).collect();
            assert_eq!(shown.len(), page.members.len(), "each is shown once");
            let all = self.there();
            let there: BTreeSet<_> =
                all.into_iter().filter(|(of, _)| *of == channel).map(|(_, id)| id).collect();
            assert!(there.is_subset(&shown), "{channel}: {there:?} are there and {shown:?} are shown");
            for id in shown.difference(&there) {
                let last_ms = self.last_there_ms[&(channel.clone(), id.clone())];
                let ago_ms = self.now.monotonic_ms - last_ms;
                assert!(!is_over, "{channel}: {id:?} is shown {ago_ms} ms after it was there");
                // The grace begins when the owner hears of it, and so no later than when all was heard.
                let heard_ms = self.settled_ms.iter().find(|at| **at >= last_ms);
                let is_within = heard_ms.is_some_and(|heard_ms| asked_ms <= heard_ms + GRACE_MS);
                assert!(is_within, "{channel}: {id:?} is shown {ago_ms} ms after it was there");
            }
            let lines = self.entered.values().filter_map(|entered| entered.get(&channel));
            assert_eq!(page.connections as usize, lines.count(), "{channel}");
            let users = shown.iter().filter(|id| id.is_user()).count();
            assert_eq!((page.users as usize, page.guests as usize), (users, shown.len() - users));
            let (told, count) = self.replay(&channel);
            if self.digests {
                let is_told = count == shown.len() as i64;
                assert!(
                    is_told || !self.all_is_told,
                    "{channel}: followers were told of {count}, not of {shown:?}"
                );
                continue;
            }
            // Somebody's grace may have ended since the page.
            let is_true = told.is_subset(&shown) && there.is_subset(&told);
            assert!(is_true, "{channel}: followers were told of {told:?}, and {shown:?} are shown");
        }
    }

    fn read(&mut self, channel: &ChannelName) -> PresencePage {
        let ticket = self.ticket((0, 0));
        self.hubs[0].read_presence(self.now, ticket, channel, None, 1000);
        self.drain(0);
        self.settle();
        self.page.take().expect("an owner answers")
    }

    /// Who is there by what a follower has been told since the stream began, each entering and leaving in turn; and how many.
    fn replay(&mut self, channel: &ChannelName) -> (BTreeSet<StateKey>, i64) {
        let ticket = self.ticket((0, 0));
        self.hubs[0].read_history(self.now, ticket, channel, None, 1_000_000);
        self.drain(0);
        self.settle();
        let (mut there, mut count) = (BTreeSet::new(), 0);
        for publication in self.history.take().expect("an owner answers") {
            self.told += 1;
            self.check_leave(&publication);
            match self.digests {
                true => self.digests_told += u32::from(add_up(&mut count, &publication)),
                false => follow(&mut there, &publication),
            }
        }
        (there, count)
    }

    /// A user that has left was not there within the grace, or has said that it leaves.
    fn check_leave(&mut self, publication: &Publication) {
        let change = publication.payload.change.as_deref().expect("nothing else is published");
        if change.kind != ChangeKind::Leave || !change.key.is_user() {
            return;
        }
        let told_ms = publication.unix_ms - (self.now.unix_ms - self.now.monotonic_ms);
        let key = (publication.channel.clone(), change.key.clone());
        let last = |times: &BTreeMap<_, BTreeSet<u64>>| {
            times.get(&key).and_then(|times| times.range(..=told_ms).next_back().copied())
        };
        // The owner may hear of it late.
        if last(&self.left_ms).is_some_and(|left_ms| told_ms - left_ms <= 5 * GRACE_MS) {
            self.farewells += 1;
        } else if let Some(last_ms) = last(&self.there_ms) {
            self.graces += 1;
            let ago_ms = told_ms - last_ms;
            assert!(ago_ms >= GRACE_MS, "{key:?} was told to have left {ago_ms} ms after it was there");
        }
    }
}

/// Counts who is there; whether this was a digest, which must come to the same.
fn add_up(count: &mut i64, publication: &Publication) -> bool {
    match publication.payload.change.as_deref().expect("nothing else is published").kind {
        ChangeKind::Enter => *count += 1,
        ChangeKind::Update => {}
        ChangeKind::Leave => *count -= 1,
        ChangeKind::Digest => {
            let said = publication.payload.text().expect("it is JSON");
            let said: serde_json::Value = serde_json::from_str(said).expect("it is JSON");
            let number = |name: &str| said[name].as_i64().expect("a number");
            *count += number("joined") - number("left");
            assert_eq!(*count, number("users") + number("guests"), "each enter has its one leave: {said}");
            return true;
        }
        other => panic!("{other:?}"),
    }
    false
}

fn follow(there: &mut BTreeSet<StateKey>, publication: &Publication) {
    let change = publication.payload.change.as_deref().expect("nothing else is published");
    let id = change.key.clone();
    match change.kind {
        ChangeKind::Enter => assert!(there.insert(id), "{change:?} twice"),
        ChangeKind::Update => assert!(there.contains(&id), "{change:?} of nobody"),
        ChangeKind::Leave => assert!(there.remove(&id), "{change:?} of nobody"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_are_those_who_are_there_whatever_happens_to_connections_and_shards() {
    let asked = std::env::var("ROADSTEAD_SIM_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = asked.map_or(0..SEEDS, |seed| seed..seed + 1);
    let (mut failures, mut refusals, mut told, mut digests, mut handed_over) = (0, 0, 0, 0, 0);
    let (mut graces, mut farewells) = (0, 0);
    for seed in seeds {
        let replay = crate::Replay(seed);
        let mut world = World::new(seed);
        world.run();
        failures += world.failures;
        refusals += world.refusals;
        told += world.told;
        digests += world.digests_told;
        handed_over += world.handed_over;
        graces += world.graces;
        farewells += world.farewells;
        drop(replay);
    }
    assert!(
        asked.is_some() || (graces > 1_000 && farewells > 1_000),
        "{graces} graces, {farewells} farewells"
    );
    let is_enough = failures > 200 && refusals > 200 && told > 10_000 && digests > 200 && handed_over > 200;
    assert!(
        asked.is_some() || is_enough,
        "{failures} failures, {refusals} refusals, {told} told, {digests} digests, {handed_over} handed over"
    );
}
