//! Channels that are synced, over shards that fail and processes that are killed at any moment: whatever anybody has been told
//! of them is there afterwards, at the same position of the same epoch. The file is a real one, and so is the thread that
//! writes it; how far that has come when all ends is left to chance.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
};

use roadstead::{
    auth::Pattern,
    hub::{FanoutLimit, Hub, HubSettings, Keeping, Output, Since, Wanted},
    limits::Limits,
    mesh::StateQuery,
    model::{
        ChangeKind, ChannelName, ConnectionId, Durability, Now, Payload, Position, Publication, Record,
        ShardId, SharedPublication, Shown, StateKey, StateRequest, Ticket, Transport,
    },
    ring::Doorbell,
    storage::{HistoryKept, Keeper, Opened, Writer},
};

use crate::{Replay, mesh::Mesh};

const SEEDS: u64 = 60;
const STEPS: u32 = 400;
const GRACE_MS: u64 = 200;
const HISTORY: u32 = 1_000_000;

/// What becomes of something somebody has asked.
enum Asked {
    Publish(ChannelName, u32),
    Add(ChannelName),
    Set(ChannelName, u32),
    Enter(u16, ChannelName, StateKey),
    History,
    State,
}

/// What somebody knows of a channel.
#[derive(Default)]
struct Known {
    epoch: Option<u64>,
    /// What stands where.
    places: BTreeMap<u64, Vec<u8>>,
    /// Where each number that was acknowledged stands.
    numbers: BTreeMap<u32, u64>,
    counted: i64,
    adds: i64,
    /// The newest that was set and acknowledged, and where.
    set: Option<(u64, u32)>,
}

struct World {
    rng: fastrand::Rng,
    now: Now,
    settings: HubSettings,
    hubs: Vec<Hub>,
    mesh: Mesh,
    names: Vec<ChannelName>,
    folders: Vec<PathBuf>,
    disk: Option<(Writer, Vec<Keeper>)>,
    /// What has come out of each hub, and is not left to be written yet.
    unleft: Vec<VecDeque<Record>>,
    asked: BTreeMap<u32, Asked>,
    known: BTreeMap<ChannelName, Known>,
    /// Up to where a follower on each shard has been told.
    followers: BTreeMap<(u16, ChannelName), Option<Position>>,
    present: BTreeSet<(u16, ChannelName, StateKey)>,
    /// A shard's connections are others when it begins anew.
    generations: Vec<u32>,
    last: Option<(Vec<SharedPublication>, Vec<SharedPublication>)>,
    tokens: u32,
    events: Events,
}

/// So that a test can see that it tested something.
#[derive(Debug, Default)]
struct Events {
    kills: u32,
    failures: u32,
    published: u32,
    counted: u32,
    deliveries: u32,
    recoveries: u32,
    gaps: u32,
    /// Records that were lost.
    lost: usize,
}

fn keeping() -> Keeping {
    let all = Pattern::without_subject("**").expect("a pattern");
    Keeping { rules: vec![(all, Durability::Synced)], ..Keeping::default() }
}

/// In memory, where there is such a place: what is tested is what happens when it ends, not how long it takes.
fn folder(seed: u64, number: usize) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    base.join(format!("roadstead-simulated-{}-{seed}-{number}", std::process::id()))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let shards = rng.u16(1..4);
        let limits = Limits {
            history_publications_max: HISTORY,
            history_age_max_ms: 1_000_000_000,
            presence_grace_ms: GRACE_MS as u32,
            ..Limits::default()
        };
        let settings = HubSettings::of_shard(&limits, ShardId(0), shards, 100, rng.u64(..), rng.u64(..));
        let name = |n| ChannelName::new(&format!("channel-{n}"), 255).expect("a valid name");
        let mut world = Self {
            hubs: Vec::new(),
            mesh: Mesh::new(shards, 0),
            names: (0..rng.u32(1..4)).map(name).collect(),
            now: Now { monotonic_ms: 1_000, unix_ms: 1_700_000_000_000 },
            folders: vec![folder(seed, 0)],
            disk: None,
            unleft: Vec::new(),
            asked: BTreeMap::new(),
            known: BTreeMap::new(),
            followers: BTreeMap::new(),
            present: BTreeSet::new(),
            generations: vec![0; shards.into()],
            last: None,
            tokens: 0,
            events: Events::default(),
            settings,
            rng,
        };
        world.open();
        world
    }

    fn shards(&self) -> impl Iterator<Item = u16> + use<> {
        0..self.settings.shards
    }

    /// A process begins with what is on disk.
    fn open(&mut self) {
        let folder = self.folders.last().expect("there is one");
        let kept = HistoryKept { in_memory: HISTORY, on_disk: 0 };
        let opened = Opened::open(folder, kept, |_| Durability::Synced).expect("it is a good file");
        assert!(self.folders.len() == 1 || !opened.was_clean);
        let found = opened.channels.clone();
        let bells: Vec<_> = self.shards().map(|_| Doorbell::new().expect("one more")).collect();
        let (writer, keepers) = opened.start(&bells, &[]).expect("a thread starts");
        self.settings.epoch_seed = self.rng.u64(..);
        self.mesh = Mesh::new(self.settings.shards, 0);
        self.hubs = self
            .shards()
            .map(|shard| Hub::new(HubSettings { shard: ShardId(shard), ..self.settings }))
            .collect();
        self.unleft = self.shards().map(|_| VecDeque::new()).collect();
        for hub in &mut self.hubs {
            hub.keep_on_disk(keeping(), 0);
        }
        for restored in found {
            let owner = self.hubs[0].owner_of(&restored.channel);
            assert!(self.hubs[usize::from(owner.0)].restore(self.now, restored));
        }
        self.disk = Some((writer, keepers));
    }

    /// The process is killed: some of what was left to be written has been, and all else is gone.
    fn kill(&mut self) {
        self.events.kills += 1;
        for shard in self.shards() {
            self.take_records(shard);
            let some = self.rng.usize(0..=self.unleft[usize::from(shard)].len());
            self.leave(shard, some);
            self.events.lost += self.unleft[usize::from(shard)].len();
        }
        let number = self.folders.len();
        let (old, new) =
            (self.folders[number - 1].clone(), self.folders[0].with_extension(number.to_string()));
        fs::create_dir_all(&new).expect("there is room");
        fs::copy(old.join("channels.redb"), new.join("channels.redb")).expect("it is there");
        self.end();
        self.folders.push(new);
        self.asked.clear();
        self.present.clear();
        self.forget_followers(None);
        self.generations.iter_mut().for_each(|generation| *generation += 1);
        self.open();
    }

    fn end(&mut self) {
        let (writer, keepers) = self.disk.take().expect("it is open");
        drop(keepers);
        writer.end(true).expect("there is room");
    }

    /// A shard fails, with what it had not left to be written, and begins anew.
    fn fail(&mut self, shard: u16) {
        self.events.failures += 1;
        self.mesh.lose(ShardId(shard));
        self.events.lost += self.unleft[usize::from(shard)].len();
        self.unleft[usize::from(shard)].clear();
        self.generations[usize::from(shard)] += 1;
        self.present.retain(|(of, ..)| *of != shard);
        self.asked.retain(|_, asked| !matches!(asked, Asked::Enter(of, ..) if *of == shard));
        self.forget_followers(Some(shard));
        self.settings.epoch_seed = self.rng.u64(..);
        let mut hub = Hub::new(HubSettings { shard: ShardId(shard), ..self.settings });
        let keeper = &self.disk.as_ref().expect("it is open").1[usize::from(shard)];
        let owners = hub.owners();
        let found = keeper.read_again(move |channel| owners.of(channel) == ShardId(shard));
        hub.keep_on_disk(keeping(), keeper.left());
        for restored in found {
            assert!(hub.restore(self.now, restored));
        }
        self.hubs[usize::from(shard)] = hub;
        for other in self.shards().filter(|other| *other != shard) {
            self.hubs[usize::from(other)].lose(self.now, ShardId(shard));
            self.drain(other);
        }
    }

    /// Followers are gone; each remembers up to where it was told.
    fn forget_followers(&mut self, of: Option<u16>) {
        for ((shard, channel), told) in std::mem::take(&mut self.followers) {
            if of.is_some_and(|of| of != shard) {
                self.followers.insert((shard, channel), told);
            } else if let Some(told) = told.filter(|told| told.offset > 0) {
                // What it was told must be there still, for whoever comes back.
                let known = self.known.entry(channel).or_default();
                assert_eq!(*known.epoch.get_or_insert(told.epoch), told.epoch, "the epoch is for ever");
            }
        }
    }

    fn take_records(&mut self, shard: u16) {
        while let Some(record) = self.hubs[usize::from(shard)].poll_record() {
            self.unleft[usize::from(shard)].push_back(record);
        }
    }

    /// Leaves so many records to be written, and waits until they are.
    fn leave(&mut self, shard: u16, records: usize) {
        let keeper = &self.disk.as_ref().expect("it is open").1[usize::from(shard)];
        if records > 0 {
            keeper.leave(self.unleft[usize::from(shard)].drain(..records).collect());
        }
        while keeper.written() < keeper.left() {
            std::thread::yield_now();
        }
    }

    fn run(mut self) -> Events {
        for _ in 0..STEPS {
            let jump_ms = self.rng.u64(0..20);
            self.pass(jump_ms);
            let shard = self.rng.u16(0..self.settings.shards);
            match self.rng.u16(0..400) {
                0..3 => self.kill(),
                3..8 => self.fail(shard),
                8..160 => self.act(shard),
                _ => self.turn(shard),
            }
        }
        self.settle();
        self.pass(GRACE_MS);
        self.settle();
        for channel in self.names.clone() {
            self.check(&channel);
        }
        self.end();
        self.folders.iter().for_each(|folder| fs::remove_dir_all(folder).expect("it is there"));
        self.events
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.unix_ms += ms;
    }

    fn connection(&self, shard: u16) -> ConnectionId {
        ConnectionId { index: 1, generation: self.generations[usize::from(shard)] }
    }

    fn ticket(&mut self, shard: u16, asked: Asked) -> Ticket {
        self.tokens += 1;
        self.asked.insert(self.tokens, asked);
        Ticket { connection: self.connection(shard), token: self.tokens }
    }

    fn act(&mut self, shard: u16) {
        let channel = self.rng.choice(&self.names).expect("some").clone();
        let (now, number) = (self.now, self.tokens);
        let key = |name: &str| StateKey::new(name).expect("a key");
        match self.rng.u8(0..11) {
            0..3 => {
                let ticket = self.ticket(shard, Asked::Publish(channel.clone(), number));
                let payload = Payload::new(number.to_string().into_bytes(), None);
                self.hubs[usize::from(shard)].publish(now, channel, payload, Some(ticket));
            }
            3..6 => {
                self.known.entry(channel.clone()).or_default().adds += 1;
                let ticket = self.ticket(shard, Asked::Add(channel.clone()));
                let request = Box::new(StateRequest::add(key("n"), 1));
                self.hubs[usize::from(shard)].change_state(now, channel, request, Some(ticket));
            }
            6 => {
                let ticket = self.ticket(shard, Asked::Set(channel.clone(), number));
                let payload = Payload::new(number.to_string().into_bytes(), None);
                let request = Box::new(StateRequest::set(key("k"), payload));
                self.hubs[usize::from(shard)].change_state(now, channel, request, Some(ticket));
            }
            7 => {
                let id = StateKey::of_user(&format!("user-{}", self.rng.u8(0..3)));
                let is_there = self.present.iter().any(|(of, other, _)| (*of, other) == (shard, &channel));
                let is_asked = self.asked.values().any(
                    |asked| matches!(asked, Asked::Enter(of, other, _) if (*of, other) == (shard, &channel)),
                );
                if !is_there && !is_asked {
                    let ticket = self.ticket(shard, Asked::Enter(shard, channel.clone(), id.clone()));
                    self.hubs[usize::from(shard)].enter(now, ticket, &channel, id, "".into());
                }
            }
            8 => {
                let connection = self.connection(shard);
                self.hubs[usize::from(shard)].depart(now, connection, &channel);
                self.asked.retain(|_, asked| !matches!(asked, Asked::Enter(of, other, _) if (*of, &*other) == (shard, &channel)));
                self.present.retain(|(of, other, _)| (*of, other) != (shard, &channel));
            }
            _ => self.follow(shard, channel),
        }
        self.drain(shard);
    }

    /// Somebody follows a channel, or begins again where it was told of last.
    fn follow(&mut self, shard: u16, channel: ChannelName) {
        let connection = self.connection(shard);
        let place = (shard, channel.clone());
        if self.followers.contains_key(&place) {
            self.hubs[usize::from(shard)].unsubscribe(connection, &channel);
            self.followers.remove(&place);
            return;
        }
        // Somebody has been told of this, here or anywhere, by this process or one before it.
        let known = self.known.get(&channel);
        let since = known.and_then(|known| {
            let offset = self.rng.choice(known.places.keys())?;
            Some(Since { position: Position { epoch: known.epoch?, offset: *offset }, bytes_max: 1_000_000 })
        });
        let wanted = Wanted { since, shown: Shown { state: true, presence: true }, ..Wanted::default() };
        let begun = self.hubs[usize::from(shard)].subscribe(
            self.now,
            connection,
            Transport::Json,
            channel,
            wanted,
            None,
        );
        begun.expect("there is room");
        self.followers.insert(place, None);
    }

    fn turn(&mut self, shard: u16) {
        let at = usize::from(shard);
        if let Some((from, message)) = self.mesh.receive(&mut self.rng, self.now.monotonic_ms, ShardId(shard))
        {
            self.hubs[at].handle_message(self.now, from, message);
        }
        self.hubs[at].handle_tick(self.now);
        self.drain(shard);
        self.take_records(shard);
        if self.rng.bool() {
            let some = self.unleft[at].len();
            self.leave(shard, some);
        }
        if self.rng.bool() {
            let written = self.disk.as_ref().expect("it is open").1[at].written();
            self.hubs[at].set_written(written);
            self.hubs[at].continue_telling();
            self.drain(shard);
        }
        while let Some(fanout) = self.hubs[at].poll_fanout(FanoutLimit::NONE) {
            let (channel, told) = (fanout.channel.clone(), fanout.publications.to_vec());
            if fanout.subscribers.iter().all(|list| list.is_empty()) {
                continue;
            }
            let follower = self.followers.get_mut(&(shard, channel.clone())).expect("somebody follows");
            if fanout.gap {
                // The owner has failed and begun anew, where it was.
                let before = follower.replace(fanout.since);
                assert!(
                    before.is_none_or(|before| before.offset == 0 || before.epoch == fanout.since.epoch),
                    "the epoch is for ever"
                );
                self.events.gaps += 1;
            }
            for one in &told {
                let before = follower.replace(one.position).expect("it has joined");
                assert_eq!((before.epoch, before.offset + 1), (one.position.epoch, one.position.offset));
            }
            self.events.deliveries += told.len() as u32;
            told.iter().for_each(|one| self.note(&channel, one));
        }
    }

    /// Somebody is told of a publication: it stands there from now on, whatever happens.
    fn note(&mut self, channel: &ChannelName, one: &Publication) {
        let known = self.known.entry(channel.clone()).or_default();
        assert_eq!(
            *known.epoch.get_or_insert(one.position.epoch),
            one.position.epoch,
            "the epoch is for ever"
        );
        let change = one.payload.change.as_ref();
        let what =
            change.map_or(String::new(), |change| format!("{:?} {} ", change.kind, change.key.as_str()));
        let what = [what.as_bytes(), &one.payload.data].concat();
        let before = known.places.entry(one.position.offset).or_insert_with(|| what.clone());
        assert_eq!(*before, what, "{channel} has two things at {}", one.position);
    }

    fn drain(&mut self, shard: u16) {
        while let Some(output) = self.hubs[usize::from(shard)].poll_output() {
            match output {
                Output::Send { to, message } => {
                    let lost =
                        self.mesh.send(&mut self.rng, self.now.monotonic_ms, ShardId(shard), to, message);
                    assert_eq!(lost, None);
                }
                Output::Joined { channel, welcome, .. } => {
                    let Some(follower) = self.followers.get_mut(&(shard, channel.clone())) else { continue };
                    assert!(
                        welcome.is_all() && welcome.recovered,
                        "{channel}: what somebody was told of is there"
                    );
                    *follower = Some(welcome.position);
                    self.events.recoveries += u32::from(!welcome.missed.is_empty());
                    welcome.missed.iter().for_each(|one| self.note(&channel, one));
                }
                Output::JoinRefused { channel, .. } => _ = self.followers.remove(&(shard, channel)),
                Output::Published { ticket, result } => {
                    if let (Some(Asked::Publish(channel, number)), Ok(position)) =
                        (self.asked.remove(&ticket.token), result)
                    {
                        let known = self.known.entry(channel).or_default();
                        assert_eq!(*known.epoch.get_or_insert(position.epoch), position.epoch);
                        known.numbers.insert(number, position.offset);
                        self.events.published += 1;
                    }
                }
                Output::Changed { ticket, result } => match (self.asked.remove(&ticket.token), result) {
                    (Some(Asked::Add(channel)), Ok(changed)) => {
                        let known = self.known.entry(channel).or_default();
                        known.counted = known.counted.max(changed.version.value().expect("a counter"));
                        self.events.counted += 1;
                    }
                    (Some(Asked::Set(channel, number)), Ok(changed)) => {
                        let known = self.known.entry(channel).or_default();
                        known.set = known.set.max(Some((changed.position.offset, number)));
                    }
                    _ => {}
                },
                Output::Entered { ticket, result, .. } => {
                    if let (Some(Asked::Enter(of, channel, id)), Ok(_)) =
                        (self.asked.remove(&ticket.token), result)
                    {
                        self.present.insert((of, channel, id));
                    }
                }
                Output::History { ticket, page } => {
                    assert!(matches!(self.asked.remove(&ticket.token), Some(Asked::History)));
                    self.last.get_or_insert_default().0 = page.publications;
                }
                Output::State { ticket, page } => {
                    assert!(matches!(self.asked.remove(&ticket.token), Some(Asked::State)));
                    self.last.get_or_insert_default().1 = page.keys.to_vec();
                }
                other => panic!("{other:?} was not asked for"),
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.pass(5);
            for shard in self.shards() {
                self.turn(shard);
            }
            let is_left = self.unleft.iter().all(VecDeque::is_empty);
            if self.mesh.is_empty()
                && is_left
                && self.hubs.iter().all(|hub| hub.is_quiet() && hub.has_told(hub.held_total()))
            {
                return;
            }
        }
        panic!("the hubs never stop talking");
    }

    /// Whether all that anybody was told of a channel is there, and nothing that nobody did.
    fn check(&mut self, channel: &ChannelName) {
        let (history, state) = (self.ticket(0, Asked::History), self.ticket(0, Asked::State));
        self.hubs[0].read_history(self.now, history, channel, None, HISTORY);
        self.hubs[0].read_state(self.now, state, channel, StateQuery::Page { after: None, limit: 100 });
        self.drain(0);
        self.settle();
        let (history, state) = self.last.take().expect("an owner answers");
        history.iter().for_each(|one| self.note(channel, one));
        let offsets: Vec<u64> = history.iter().map(|one| one.position.offset).collect();
        assert_eq!(
            offsets,
            (1..=offsets.len() as u64).collect::<Vec<_>>(),
            "{channel} is there without a hole"
        );
        let Some(known) = self.known.get(channel) else { return assert!(history.is_empty()) };
        assert!(known.places.len() == history.len(), "{channel}: all that anybody was told of is there");
        for (number, offset) in &known.numbers {
            assert_eq!(known.places[offset], number.to_string().as_bytes(), "{channel} at {offset}");
        }
        let held = |key: &str| {
            state
                .iter()
                .find(|one| one.payload.change.as_ref().is_some_and(|change| change.key.as_str() == key))
        };
        let counted = held("n").and_then(|one| one.counter()).unwrap_or_default();
        assert!(
            (known.counted..=known.adds).contains(&counted),
            "{counted} of {} to {}",
            known.counted,
            known.adds
        );
        if let Some((offset, number)) = known.set {
            let set = held("k").expect("it was set");
            let is_it = set.position.offset > offset || *set.payload.data == *number.to_string().as_bytes();
            assert!(is_it && set.position.offset >= offset, "{channel}: {number} was set at {offset}");
        }
        let mut shown = BTreeSet::new();
        for change in history.iter().filter_map(|one| one.payload.change.as_ref()) {
            match change.kind {
                ChangeKind::Enter => assert!(shown.insert(change.key.clone()), "{change:?} twice"),
                ChangeKind::Leave => assert!(shown.remove(&change.key), "{change:?} of nobody"),
                _ => {}
            }
        }
        let there = self.present.iter().filter(|(_, of, _)| of == channel).map(|(.., id)| id.clone());
        assert_eq!(shown, there.collect(), "{channel}: who is there");
    }
}

#[test]
fn whatever_anybody_was_told_of_a_synced_channel_is_there_after_shards_fail_and_processes_are_killed() {
    let asked = std::env::var("ROADSTEAD_SIM_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let mut all = Events::default();
    for seed in asked.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let replay = Replay(seed);
        let Events { kills, failures, published, counted, deliveries, recoveries, gaps, lost } =
            World::new(seed).run();
        drop(replay);
        all.kills += kills;
        all.failures += failures;
        all.published += published;
        all.counted += counted;
        all.deliveries += deliveries;
        all.recoveries += recoveries;
        all.gaps += gaps;
        all.lost += lost;
    }
    if asked.is_none() {
        let Events { kills, failures, published, counted, deliveries, recoveries, gaps, lost } = all;
        for count in [kills, failures, recoveries, lost as u32] {
            assert!(count > 50, "{all:?}");
        }
        assert!(gaps > 10, "{all:?}");
        for count in [published, counted, deliveries] {
            assert!(count > 500, "{all:?}");
        }
    }
}
