//! Channels of which nobody is told anything before it is on disk.
//!
//! A change is made at once, as in any channel, so that what is asked next sees it. What tells of it is held back: the
//! publication, the answer to whoever asked for it, and every other answer about the channel, in the order in which they
//! would have been told.
//!
//! ```text
//!   publish 7 ─► stamped, kept ─► record 7 ─► disk ─► written ≥ 7 ─┐
//!      │                                                           ▼
//!      └─► deliver 7, answer 7 ─► held ───── read, join ─► held ─► told, in this order
//! ```
//!
//! So what anybody has been told of is there after a crash, and the epoch goes on: nobody has seen an offset that is given
//! again. Invariant: a channel stands in `pending` for as long as something about it is held, and is not forgotten meanwhile.
//! What is held is bounded by what may wait to be written and by who asks.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{Hub, Waiting, channel::ChannelIndex};
use crate::{
    limits::HELD_TOLD_PER_TURN,
    mesh::Message,
    model::{ChannelName, Durability, Position, Record, ShardId, SharedPublication, StateKey},
};

/// What is held back.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Records made so far.
    recorded: u64,
    /// How many of them are on disk.
    written: u64,
    /// In the order told; the numbers never fall.
    queue: VecDeque<Telling>,
    pending: FxHashMap<ChannelIndex, Pending>,
    /// How many tellings have ever been held, and told.
    counted: [u64; 2],
}

/// Something to be told once so many records are on disk.
#[derive(Debug)]
struct Telling {
    after: u64,
    channel: ChannelIndex,
    to: ShardId,
    message: Message,
}

/// A channel about which something is held.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The last record that must be on disk.
    after: u64,
    /// Where followers of this shard have been told that it is.
    told: Position,
}

impl Held {
    /// Records are counted on from what the shard before this one had left.
    pub(super) fn count_from(&mut self, recorded: u64) {
        (self.recorded, self.written) = (recorded, 0);
    }

    /// A record has been made.
    pub(super) fn note_record(&mut self) {
        self.recorded += 1;
    }

    /// Whether something about a channel is held.
    pub(super) fn is_pending(&self, index: ChannelIndex) -> bool {
        !self.pending.is_empty() && self.pending.contains_key(&index)
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether something may be told now.
    pub(super) fn has_more(&self) -> bool {
        self.queue.front().is_some_and(|telling| telling.after <= self.written)
    }

    /// A shard has begun anew: it waits for nothing.
    pub(super) fn forget(&mut self, lost: ShardId) {
        let before = self.queue.len();
        self.queue.retain(|telling| telling.to != lost);
        self.counted[1] += (before - self.queue.len()) as u64;
    }

    /// Notes that all that has been recorded must be on disk before anything more is told of a channel.
    fn wait(&mut self, index: ChannelIndex, told: Position) {
        let after = self.recorded;
        self.pending.entry(index).or_insert(Pending { after, told }).after = after;
    }

    fn hold(&mut self, channel: ChannelIndex, to: ShardId, message: Message) {
        let pending = self.pending.get_mut(&channel).expect("it waits for something");
        let last = self.queue.back().map_or(0, |telling| telling.after);
        pending.after = pending.after.max(last);
        self.counted[0] += 1;
        self.queue.push_back(Telling { after: pending.after, channel, to, message });
    }

    fn take(&mut self) -> Option<Telling> {
        let telling = if self.has_more() { self.queue.pop_front() } else { None };
        self.counted[1] += u64::from(telling.is_some());
        telling
    }

    /// Forgets channels of which all has been told.
    fn settle(&mut self) {
        let told =
            self.queue.front().map_or(self.written, |next| self.written.min(next.after.saturating_sub(1)));
        self.pending.retain(|_, pending| pending.after > told);
    }
}

impl Hub {
    /// So many of the records that came out are on disk, counted from the first shard's of this process.
    pub fn set_written(&mut self, written: u64) {
        self.held.written = written;
    }

    /// Tells what has been held back long enough, so much at most; tells how much that was.
    pub fn continue_telling(&mut self) -> usize {
        let mut told = 0;
        while told < HELD_TOLD_PER_TURN
            && let Some(Telling { channel, to, message, .. }) = self.held.take()
        {
            told += 1;
            match message {
                Message::Deliver(publication) if to == self.settings.shard => {
                    self.deliver_here(channel, publication);
                }
                message => self.say(to, message),
            }
        }
        if !self.held.pending.is_empty() {
            self.held.settle();
        }
        told
    }

    /// How much has been held back ever, whatever became of it.
    pub fn held_total(&self) -> u64 {
        self.held.counted[0]
    }

    /// Whether all of the first so many that were held back have been told.
    pub fn has_told(&self, total: u64) -> bool {
        self.held.counted[1] >= total
    }

    /// Says something of a channel to a shard, this one or another, once it may be told.
    pub(super) fn say_of(&mut self, index: Option<ChannelIndex>, to: ShardId, message: Message) {
        match index.filter(|index| self.held.is_pending(*index)) {
            Some(index) => self.held.hold(index, to, message),
            None => self.say(to, message),
        }
    }

    /// As [`Self::say_of`], of a channel by its name.
    pub(super) fn say_of_name(&mut self, channel: &ChannelName, to: ShardId, message: Message) {
        let index = if self.held.pending.is_empty() { None } else { self.channels.find(channel) };
        self.say_of(index, to, message);
    }

    /// Answers whoever wanted something done to a channel. A refusal that says nothing of the channel waits for nothing:
    /// that the disk refuses is told at once.
    pub(super) fn answer_of(
        &mut self,
        channel: &ChannelName,
        to: ShardId,
        message: Message,
        says_nothing: bool,
    ) {
        match says_nothing {
            true => self.say(to, message),
            false => self.say_of_name(channel, to, message),
        }
    }

    /// Lets followers have a publication once it is on disk; it has been recorded.
    pub(super) fn hold_publication(&mut self, index: ChannelIndex, publication: &SharedPublication) {
        let before = Position { offset: publication.position.offset - 1, ..publication.position };
        self.held.wait(index, before);
        let others: Vec<ShardId> = self.stream_mut(index).shards().collect();
        for to in others.into_iter().chain([self.settings.shard]) {
            self.held.hold(index, to, Message::Deliver(publication.clone()));
        }
    }

    /// Has written what a counter has counted since it was last told of, if whoever counts waits for that.
    pub(super) fn record_count(&mut self, index: ChannelIndex, key: StateKey, value: i64) {
        let channel = &self.channels[index];
        let Some(stream) = channel.stream().filter(|stream| stream.durability == Durability::Synced) else {
            return;
        };
        let (name, position) = (channel.name.clone(), stream.position);
        if !self.durable.count_on(&name, &key, value) {
            self.record(index, Record::Count { channel: name, key, value });
        }
        self.held.wait(index, position);
    }

    /// Where those who ask are told that a channel is.
    pub(super) fn told_position(&self, index: ChannelIndex, position: Position) -> Position {
        self.held.pending.get(&index).map_or(position, |pending| pending.told)
    }

    /// Whether a publication is held back.
    pub(super) fn is_held(&self, index: ChannelIndex, position: Position) -> bool {
        let pending = self.held.pending.get(&index);
        pending.is_some_and(|pending| {
            pending.told.epoch == position.epoch && pending.told.offset < position.offset
        })
    }

    /// The last publication of a channel, if it is held back.
    pub(super) fn last_held(&self, index: ChannelIndex) -> Option<Waiting> {
        let position = self.channels[index].stream()?.position;
        self.is_held(index, position).then(|| Waiting::at(index, position))
    }

    fn deliver_here(&mut self, index: ChannelIndex, publication: SharedPublication) {
        if let Some(pending) = self.held.pending.get_mut(&index) {
            pending.told = publication.position;
        }
        if !self.channels[index].audience.is_empty() {
            self.gather(index, publication);
        }
    }

    /// Says something to a shard, this one or another.
    pub(super) fn say(&mut self, to: ShardId, message: Message) {
        match to == self.settings.shard {
            true => self.handle_message(self.now, to, message),
            false => self.send(to, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{
        auth::Pattern,
        hub::{FanoutLimit, HubSettings, Keeping, Output, Since, Wanted},
        limits::Limits,
        mesh::{JoinAsked, StatePage, StateQuery},
        model::{ConnectionId, Now, Payload, Restored, Shown, StateRequest, Ticket, Transport},
    };

    const HERE: ShardId = ShardId(0);
    const THERE: ShardId = ShardId(1);

    /// A hub of two shards, its disk, and what it has told.
    struct Rig {
        hub: Hub,
        names: Vec<ChannelName>,
        now_ms: u64,
        /// What has come out, and how much of it is on disk.
        records: Vec<Record>,
        written: usize,
        /// Where each follower of this shard is.
        seats: BTreeMap<(u32, ChannelName), Position>,
        /// Where the other shard has been told that channels are, if it follows them.
        there: BTreeMap<ChannelName, Position>,
        asked: BTreeSet<u32>,
        answered: BTreeSet<u32>,
    }

    fn ticket(token: u32) -> Ticket {
        Ticket { connection: ConnectionId { index: 99, generation: 1 }, token }
    }

    fn hub(seed: u64) -> Hub {
        let limits = Limits { history_publications_max: 3, ..Limits::default() };
        let mut hub = Hub::new(HubSettings::of_shard(&limits, HERE, 2, 100, seed, 2));
        let rule = |text: &str, durability| (Pattern::without_subject(text).expect("a pattern"), durability);
        let rules = vec![rule("synced:*", Durability::Synced), rule("written:*", Durability::Written)];
        hub.keep_on_disk(Keeping { rules, ..Keeping::default() }, 0);
        hub
    }

    impl Rig {
        fn new(seed: u64) -> Self {
            let hub = hub(seed);
            let own = |kind: &str| {
                let names = (0..).map(|n| ChannelName::new(&format!("{kind}:{n}"), 255).expect("a name"));
                names.into_iter().find(|name| hub.owner_of(name) == HERE).expect("there is one")
            };
            let names = vec![own("synced"), own("written"), own("other")];
            Self {
                hub,
                names,
                now_ms: 1,
                records: Vec::new(),
                written: 0,
                seats: BTreeMap::new(),
                there: BTreeMap::new(),
                asked: BTreeSet::new(),
                answered: BTreeSet::new(),
            }
        }

        fn now(&self) -> Now {
            Now { monotonic_ms: self.now_ms, unix_ms: self.now_ms }
        }

        /// Where a channel is on disk, and what its counter has counted.
        fn on_disk(&self, name: &ChannelName) -> (u64, Option<i64>) {
            let (mut offset, mut value) = (0, None);
            for record in &self.records[..self.written] {
                match record {
                    Record::Publication { publication, .. } if publication.channel == *name => {
                        offset = publication.position.offset;
                        value = publication.counter().or(value);
                    }
                    Record::Count { channel, value: counted, .. } if channel == name => {
                        value = Some(*counted)
                    }
                    _ => {}
                }
            }
            (offset, value)
        }

        /// Whatever is told of a synced channel is on disk.
        fn check(&self, name: &ChannelName, offset: u64) {
            let (on_disk, _) = self.on_disk(name);
            assert!(
                *name != self.names[0] || offset <= on_disk,
                "{offset} is told, and {on_disk} is on disk"
            );
        }

        fn answer(&mut self, token: u32) {
            assert!(self.asked.contains(&token) && self.answered.insert(token), "{token} is answered once");
        }

        /// Takes what the hub says.
        fn drain(&mut self) {
            while let Some(record) = self.hub.poll_record() {
                self.records.push(record);
            }
            while let Some(output) = self.hub.poll_output() {
                match output {
                    Output::Published { ticket, result } => {
                        self.answer(ticket.token);
                        let position = result.expect("there is room");
                        let name = self.names.iter().find(|name| {
                            self.hub
                                .stream_of(name)
                                .is_some_and(|stream| stream.position.epoch == position.epoch)
                        });
                        self.check(&name.expect("it is one of them").clone(), position.offset);
                    }
                    Output::Changed { ticket, result } => {
                        self.answer(ticket.token);
                        let value = result.expect("there is room").version.value().expect("a counter");
                        let (_, on_disk) = self.on_disk(&self.names[0]);
                        let is_synced = ticket.token % 3 == 0;
                        assert!(
                            !is_synced || on_disk.is_some_and(|on_disk| value <= on_disk),
                            "{value} {on_disk:?}"
                        );
                    }
                    Output::History { ticket, page } => {
                        self.answer(ticket.token);
                        let name = self.names[ticket.token as usize % 3].clone();
                        self.check(&name, page.position.map_or(0, |position| position.offset));
                    }
                    Output::State { ticket, page: StatePage { keys, .. } } => {
                        self.answer(ticket.token);
                        let name = self.names[ticket.token as usize % 3].clone();
                        let told = keys.first().and_then(|one| one.counter());
                        let (_, on_disk) = self.on_disk(&name);
                        assert!(name != self.names[0] || told <= on_disk, "{told:?} {on_disk:?}");
                    }
                    Output::Joined { connection, channel, welcome, .. } => {
                        self.check(&channel, welcome.now.offset);
                        self.seats.insert((connection.index, channel), welcome.position);
                    }
                    Output::Send { to: THERE, message: Message::Joined { join, result } } => {
                        let name = self.names[join as usize].clone();
                        let position = result.expect("there is room").position;
                        self.check(&name, position.offset);
                        self.there.insert(name, position);
                    }
                    Output::Send { to: THERE, message: Message::Deliver(publication) } => {
                        let (name, position) = (publication.channel.clone(), publication.position);
                        self.check(&name, position.offset);
                        if let Some(at) = self.there.get_mut(&name) {
                            assert_eq!(
                                at.offset + 1,
                                position.offset,
                                "nothing is missed, and nothing comes twice"
                            );
                            *at = position;
                        }
                    }
                    // It was withdrawn.
                    Output::JoinRefused { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            while let Some(fanout) = self.hub.poll_fanout(FanoutLimit::NONE) {
                assert!(!fanout.gap);
                let name = fanout.channel.clone();
                let offsets: Vec<_> = fanout.publications.iter().map(|one| one.position).collect();
                let subscribers: Vec<u32> =
                    fanout.subscribers.iter().flat_map(|list| list.iter().copied()).collect();
                for position in offsets {
                    self.check(&name, position.offset);
                    for index in &subscribers {
                        let seat = self.seats.get_mut(&(*index, name.clone())).expect("it is seated");
                        assert_eq!(seat.offset + 1, position.offset, "of {name:?} for {index}");
                        *seat = position;
                    }
                }
            }
        }

        fn step(&mut self, rng: &mut fastrand::Rng) {
            let which = rng.usize(0..3);
            let (name, now) = (self.names[which].clone(), self.now());
            // Which channel it is of can be seen in the number.
            let token = self.asked.len() as u32 * 3 + which as u32;
            match rng.u8(0..10) {
                0 | 1 => {
                    self.asked.insert(token);
                    self.hub.publish(now, name, Payload::new(*b"x", None), Some(ticket(token)));
                }
                2 | 3 => {
                    self.asked.insert(token);
                    let request = StateRequest::add(StateKey::new("n").expect("a key"), 1);
                    self.hub.change_state(now, name, Box::new(request), Some(ticket(token)));
                }
                4 => {
                    self.asked.insert(token);
                    self.hub.read_history(now, ticket(token), &name, None, 10);
                }
                5 => {
                    self.asked.insert(token);
                    self.hub.read_state(
                        now,
                        ticket(token),
                        &name,
                        StateQuery::Page { after: None, limit: 9 },
                    );
                }
                6 => {
                    let index = rng.u32(0..5);
                    let who = ConnectionId { index, generation: 1 };
                    if self.hub.is_subscribed(index, &name) {
                        self.hub.unsubscribe(who, &name);
                        self.seats.remove(&(index, name));
                    } else {
                        let shown = Shown { state: rng.bool(), presence: false };
                        let wanted = Wanted { shown, ..Wanted::default() };
                        self.hub.subscribe(now, who, Transport::Json, name, wanted, None).expect("it may");
                    }
                }
                7 if !self.there.contains_key(&name) => {
                    let message =
                        Message::Join { channel: name, asked: JoinAsked::NOTHING, join: which as u32 };
                    self.hub.handle_message(now, THERE, message);
                }
                7 => {
                    self.there.remove(&name);
                    self.hub.handle_message(now, THERE, Message::Leave { channel: name });
                }
                8 => {
                    self.written = rng.usize(self.written..=self.records.len());
                    self.hub.set_written(self.written as u64);
                }
                _ => self.now_ms += rng.u64(0..60),
            }
        }
    }

    #[test]
    fn nothing_is_told_of_a_synced_channel_before_it_is_on_disk_and_then_everything_in_order() {
        for seed in 0..300 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut rig = Rig::new(seed);
            for _ in 0..rng.u32(1..200) {
                rig.drain();
                rig.step(&mut rng);
                rig.drain();
                if rng.bool() {
                    rig.hub.handle_tick(rig.now());
                    rig.drain();
                }
            }
            for _ in 0..20 {
                rig.now_ms += 60;
                rig.written = rig.records.len();
                rig.hub.set_written(rig.written as u64);
                rig.hub.handle_tick(rig.now());
                rig.drain();
            }
            assert_eq!(rig.asked, rig.answered, "seed {seed}: everybody is answered");
            assert!(rig.hub.is_quiet() && rig.hub.held.pending.is_empty(), "seed {seed}");
            for ((index, name), seat) in &rig.seats {
                let stream = rig.hub.stream_of(name).expect("it is followed");
                assert_eq!(*seat, stream.position, "seed {seed}: {index} has all of {name:?}");
            }
        }
    }

    #[test]
    fn who_waits_for_its_publication_waits_for_the_disk() {
        let mut rig = Rig::new(1);
        let (name, now) = (rig.names[0].clone(), rig.now());
        let publish = |hub: &mut Hub| hub.publish(now, name.clone(), Payload::new(*b"x", None), None);
        let first = publish(&mut rig.hub).expect("it is held back");
        assert!(!rig.hub.is_handed_out(&first) && !rig.hub.has_told_all());
        assert!(rig.hub.may_overtake(&rig.names[2]) && !rig.hub.may_overtake(&rig.names[0]));
        let behind = rig.hub.held_total();
        rig.hub.set_written(1);
        rig.hub.handle_tick(now);
        assert!(rig.hub.is_handed_out(&first) && rig.hub.has_told_all() && rig.hub.has_told(behind));
        let second = publish(&mut rig.hub).expect("it is held back");
        assert!(rig.hub.is_handed_out(&first) && !rig.hub.is_handed_out(&second));
    }

    #[test]
    fn a_shard_that_has_begun_anew_is_told_nothing_that_was_for_the_one_before_it() {
        let mut rig = Rig::new(1);
        let (name, now) = (rig.names[0].clone(), rig.now());
        let join = Message::Join { channel: name.clone(), asked: JoinAsked::NOTHING, join: 0 };
        rig.hub.handle_message(now, THERE, join);
        rig.hub.publish(now, name, Payload::new(*b"x", None), None);
        while rig.hub.poll_output().is_some() {}
        let behind = rig.hub.held_total();
        rig.hub.lose(now, THERE);
        rig.hub.set_written(9);
        rig.hub.handle_tick(now);
        assert!(rig.hub.poll_output().is_none() && rig.hub.has_told(behind));
    }

    #[test]
    fn while_the_disk_refuses_whoever_would_wait_for_it_is_refused_and_nobody_else() {
        let mut rig = Rig::new(1);
        let now = rig.now();
        rig.hub.publish(now, rig.names[0].clone(), Payload::new(*b"x", None), None);
        rig.hub.set_storage_room(true, true);
        let results = [0, 1, 2].map(|which| {
            rig.hub.publish(now, rig.names[which].clone(), Payload::new(*b"x", None), Some(ticket(1)));
            match rig.hub.poll_output() {
                Some(Output::Published { result, .. }) => result.is_ok(),
                other => panic!("no answer but {other:?}"),
            }
        });
        assert_eq!(results, [false, true, true]);
    }

    #[test]
    fn what_a_counter_has_counted_is_told_after_a_crash_and_who_was_there_has_left() {
        let mut hub = hub(1);
        let name = ChannelName::new("synced:0", 255).expect("a name");
        let position = Position { epoch: 7, offset: 2 };
        let mut payload = Payload::text_of("4", Some("application/json"));
        let key = StateKey::new("n").expect("a key");
        payload.change = Some(Box::new(crate::model::Change {
            key,
            kind: crate::model::ChangeKind::Add,
            expires_unix_ms: None,
        }));
        let told = crate::model::Publication { channel: name.clone(), position, unix_ms: 1, payload };
        let restored = Restored {
            channel: name.clone(),
            position,
            history: vec![],
            state: vec![(told.into(), Some(9))],
            members: vec![StateKey::of_user("anna")],
            is_whole: true,
        };
        let now = Now { monotonic_ms: 5, unix_ms: 5 };
        assert!(hub.restore(now, restored));
        hub.handle_tick(now);
        let kinds: Vec<_> = std::iter::from_fn(|| hub.poll_record())
            .map(|record| match record {
                Record::Publication { publication, is_synced: true, .. } => {
                    let kind = publication.payload.change.as_ref().expect("a change").kind;
                    (publication.position.epoch, publication.position.offset, kind, publication.counter())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let expected =
            [(7, 3, crate::model::ChangeKind::Leave, None), (7, 4, crate::model::ChangeKind::Add, Some(9))];
        assert_eq!(kinds, expected);
        let since = Since { position, bytes_max: 1000 };
        let who = ConnectionId { index: 1, generation: 1 };
        hub.subscribe(now, who, Transport::Json, name, Some(since), None).expect("it may");
        assert!(hub.poll_output().is_none(), "it waits for the disk");
        hub.set_written(2);
        hub.handle_tick(now);
        let Some(Output::Joined { welcome, .. }) = hub.poll_output() else { panic!("not joined") };
        assert!(welcome.recovered && welcome.missed.len() == 2);
    }
}
