//! Channels that outlive the process: what an owner has written, and how it goes on with what was found.
//!
//! The hub writes nothing itself. What becomes of a durable stream comes out as [`Record`]s, in the order in which it was
//! done, which the shard hands to whoever writes. How long that takes is not waited for: a stream of this kind is known by
//! what it said, and whoever finds less on disk than that goes on under another epoch. What is waited for is `synced.rs`'s.

use std::collections::VecDeque;

use super::{
    Hub,
    channel::{ChannelIndex, Role},
    history, presences,
    state::{Held, NEVER, Next},
    stream::Stream,
};
use crate::{
    auth::Pattern,
    model::{
        Change, ChangeKind, ChannelName, Durability, Now, Position, Publication, Record, Restored,
        SharedPublication, StateKey,
    },
};

/// Which channels outlive the process, and how.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    /// What namespaces say of themselves: the first that a channel is of counts, and what that leaves out is as below.
    pub namespaces: Vec<(Pattern, Option<Durability>)>,
    /// Which others: the first that fits counts.
    pub rules: Vec<(Pattern, Durability)>,
    /// Whether the disk keeps history that memory lets go of.
    pub is_archived: bool,
}

impl Keeping {
    /// How long what a channel keeps outlives the process.
    pub fn durability_of(&self, channel: &ChannelName) -> Durability {
        let name = channel.as_str();
        let own = self.namespaces.iter().find(|(pattern, _)| pattern.is_about(name));
        let rule = || self.rules.iter().find(|(pattern, _)| pattern.fits(name));
        let said = own.and_then(|(_, durability)| *durability);
        said.or_else(|| rule().map(|(_, durability)| *durability)).unwrap_or(Durability::Memory)
    }
}

/// What is to be written, and whether there is room for more.
#[derive(Debug, Default)]
pub(super) struct Durable {
    keeping: Keeping,
    records: VecDeque<Record>,
    is_full: bool,
    /// The disk refuses: whoever would wait for it is told so.
    is_failing: bool,
}

impl Hub {
    /// From now on these channels outlive the process; so many records have come out of the hub before this one.
    pub fn keep_on_disk(&mut self, keeping: Keeping, recorded: u64) {
        (self.archive.is_kept, self.durable.keeping) = (keeping.is_archived, keeping);
        self.held.count_from(recorded);
    }

    /// The next thing to be written, in the order in which it was done.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.durable.records.pop_front()
    }

    /// Whether there is room for more to be written. While there is not, what would have to be is refused.
    pub fn set_storage_room(&mut self, has_room: bool, is_failing: bool) {
        (self.durable.is_full, self.durable.is_failing) = (!has_room, is_failing);
    }

    /// Goes on with a channel as it was found on disk, unless it is none of those that outlive the process any more; whether it
    /// does. It is there also where there are more than may be: only others are refused then.
    pub fn restore(&mut self, now: Now, restored: Restored) -> bool {
        self.now = now;
        let Restored { channel, position, history, state, members, is_whole } = restored;
        let durability = self.durability_of(&channel);
        if durability == Durability::Memory {
            return false;
        }
        let epoch = if is_whole { position.epoch } else { self.new_epoch() };
        let position = Position { epoch, ..position };
        let mut stream = Stream::new(epoch, now.monotonic_ms);
        (stream.position, stream.durability) = (position, durability);
        stream.rule = self.ledgers.rule_of(&channel);
        self.tell_cluster_of_room(&channel, true);
        let index = self.channels.insert(channel.clone(), Role::Owner(stream));
        if !is_whole {
            self.record(index, Record::Renew { channel, position });
        }
        let again = |one: SharedPublication| renewed(one, epoch);
        for publication in history.into_iter().map(again) {
            self.keep(index, publication);
        }
        for (publication, counted) in state {
            self.restore_key(now, index, again(publication), counted);
        }
        // Under another epoch nobody takes them for present.
        for member in members.into_iter().filter(|_| is_whole) {
            self.stamp_at(now, index, presences::leave_of(member));
        }
        self.release(index);
        true
    }

    /// The process ends in order: what is ahead of what was told is told, and who is present leaves.
    pub fn end_streams(&mut self, now: Now) {
        self.tell_all_counters(now);
        self.let_all_leave(now);
    }

    pub(super) fn restore_key(
        &mut self,
        now: Now,
        index: ChannelIndex,
        publication: SharedPublication,
        counted: Option<i64>,
    ) {
        let Some(Change { key, kind, expires_unix_ms }) = publication.payload.change.as_deref() else {
            return;
        };
        let told = match kind {
            ChangeKind::Add => publication.counter().unwrap_or_default(),
            _ => 0,
        };
        let value = counted.unwrap_or(told);
        let expires_ms = expires_unix_ms
            .map_or(NEVER, |at| now.monotonic_ms.saturating_add(at.saturating_sub(now.unix_ms)));
        let next = Next { hash: self.channels.hash_key(key), value, expires_ms };
        let mut held = Held::new(next, publication, now.monotonic_ms);
        if value != told {
            held.tells_ms = now.monotonic_ms;
        }
        self.hold(index, held);
    }

    /// How long what a channel keeps outlives the process.
    pub(super) fn durability_of(&self, channel: &ChannelName) -> Durability {
        self.durable.keeping.durability_of(channel)
    }

    /// Whether something that has to be written is refused now.
    pub(super) fn has_no_storage_room(&self, channel: &ChannelName) -> bool {
        let Durable { is_full, is_failing, .. } = self.durable;
        (is_full || is_failing)
            && match self.durability_of(channel) {
                Durability::Memory => false,
                Durability::Written => is_full,
                Durability::Synced => true,
            }
    }

    /// Has a publication of a channel written that is kept on disk.
    pub(super) fn record_publication(&mut self, index: ChannelIndex, publication: &SharedPublication) {
        let is_kept = self.publications_max(index) > 0
            && history::bytes_of(publication) <= self.settings.history_bytes_max;
        let is_synced = self.stream_mut(index).durability == Durability::Synced;
        self.record(index, Record::Publication { publication: publication.clone(), is_kept, is_synced });
    }

    /// Has something written, if the channel is of those.
    pub(super) fn record(&mut self, index: ChannelIndex, record: Record) {
        if self.channels[index].stream().is_some_and(|stream| stream.durability != Durability::Memory) {
            self.durable.records.push_back(record);
            self.held.note_record();
        }
    }
}

impl Durable {
    /// Lets the last record say how far a counter has counted, if it said that before.
    pub(super) fn count_on(&mut self, name: &ChannelName, counter: &StateKey, counted: i64) -> bool {
        match self.records.back_mut() {
            Some(Record::Count { channel, key, value }) if channel == name && key == counter => {
                *value = counted;
                true
            }
            Some(_) | None => false,
        }
    }
}

/// A publication as it stands under an epoch.
fn renewed(publication: SharedPublication, epoch: u64) -> SharedPublication {
    if publication.position.epoch == epoch {
        return publication;
    }
    let Publication { channel, position, unix_ms, payload } = &*publication;
    let position = Position { epoch, ..*position };
    Publication { channel: channel.clone(), position, unix_ms: *unix_ms, payload: payload.clone() }.into()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        hub::{HubSettings, Output},
        limits::Limits,
        mesh::{HistoryPage, StatePage, StateQuery},
        model::{ConnectionId, Payload, PublishError, ShardId, StateKey, StateRequest, Ticket},
    };

    const TICKET: Ticket = Ticket { connection: ConnectionId { index: 1, generation: 1 }, token: 1 };

    pub(in crate::hub) fn at(ms: u64) -> Now {
        Now { monotonic_ms: ms, unix_ms: 1_000_000 + ms }
    }

    pub(in crate::hub) fn news() -> ChannelName {
        ChannelName::new("news", 255).expect("a name")
    }

    fn hub(epoch_seed: u64) -> Hub {
        let limits = Limits { history_publications_max: 5, ..Limits::default() };
        let mut hub = Hub::new(HubSettings::of_shard(&limits, ShardId(0), 1, 100, epoch_seed, 2));
        let pattern = Pattern::without_subject("news").expect("a pattern");
        let rules = vec![(pattern, Durability::Written)];
        hub.keep_on_disk(Keeping { rules, ..Keeping::default() }, 0);
        hub
    }

    #[test]
    fn how_long_a_channel_lasts_is_its_namespaces_to_say_and_else_that_of_the_lists() {
        let namespace = |text: &str, durability| (Pattern::new(text).expect("a pattern"), durability);
        let list = |text: &str, durability| (Pattern::without_subject(text).expect("a pattern"), durability);
        let keeping = Keeping {
            namespaces: vec![
                namespace("user:{sub}", Some(Durability::Synced)),
                namespace("news:*", None),
                namespace("**", Some(Durability::Memory)),
            ],
            rules: vec![list("**", Durability::Written)],
            is_archived: false,
        };
        let of = |name: &str| keeping.durability_of(&ChannelName::new(name, 255).expect("a name"));
        assert_eq!(of("user:42"), Durability::Synced);
        assert_eq!(of("news:a"), Durability::Written);
        assert_eq!(of("other"), Durability::Memory);
        assert_eq!(Keeping::default().durability_of(&news()), Durability::Memory);
    }

    /// What stands on disk of one channel.
    #[derive(Default)]
    struct Disk {
        position: Option<Position>,
        history: BTreeMap<u64, SharedPublication>,
        state: BTreeMap<StateKey, SharedPublication>,
    }

    impl Disk {
        fn write_all(&mut self, hub: &mut Hub) {
            while let Some(record) = hub.poll_record() {
                match record {
                    Record::Publication { publication, is_kept, .. } => self.publish(publication, is_kept),
                    Record::Count { .. } => panic!("nobody waits for the disk"),
                    Record::Trim { offset, .. } => drop(self.history.remove(&offset).expect("it was there")),
                    Record::Renew { position, .. } => self.position = Some(position),
                    Record::Forget { .. } => *self = Self::default(),
                }
            }
        }

        fn publish(&mut self, publication: SharedPublication, is_kept: bool) {
            self.position = Some(publication.position);
            match publication.payload.change.as_deref() {
                Some(Change { key, kind: ChangeKind::Set | ChangeKind::Add, .. }) => {
                    self.state.insert(key.clone(), publication.clone());
                }
                Some(Change { key, .. }) => drop(self.state.remove(key)),
                None => {}
            }
            if is_kept {
                self.history.insert(publication.position.offset, publication);
            }
        }

        fn found(&self, is_whole: bool) -> Restored {
            Restored {
                channel: news(),
                position: self.position.expect("something was written"),
                history: self.history.values().cloned().collect(),
                state: self.state.values().map(|one| (one.clone(), None)).collect(),
                members: Vec::new(),
                is_whole,
            }
        }
    }

    /// What a hub shows of a channel's history and keys.
    pub(in crate::hub) fn read(hub: &mut Hub, since: Option<Position>, now: Now) -> (HistoryPage, StatePage) {
        hub.handle_tick(now);
        hub.read_history(now, TICKET, &news(), since, 100);
        hub.read_state(now, TICKET, &news(), StateQuery::Page { after: None, limit: 100 });
        let (mut history, mut state) = (None, None);
        while let Some(output) = hub.poll_output() {
            match output {
                Output::History { page, .. } => history = Some(page),
                Output::State { page, .. } => state = Some(page),
                _ => {}
            }
        }
        (history.expect("a page"), state.expect("a page"))
    }

    #[test]
    fn what_has_been_written_makes_the_same_stream_again_whatever_became_of_it() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut hub, mut disk, mut now_ms) = (hub(seed), Disk::default(), 0);
            for _ in 0..rng.u32(1..60) {
                now_ms += rng.u64(0..40);
                let key = StateKey::new(&rng.u8(0..4).to_string()).expect("a key");
                let text = Payload::new(rng.u32(..).to_string().as_bytes(), None);
                let ttl_ms = rng.bool().then(|| rng.u64(1..100_000));
                let request = match rng.u8(0..6) {
                    0 | 1 => Some(StateRequest::set(key, text.clone()).for_ms(ttl_ms)),
                    2 | 3 => Some(StateRequest::add(key, rng.i64(-9..9))),
                    4 => Some(StateRequest::remove(key)),
                    _ => None,
                };
                match request {
                    Some(request) => _ = hub.change_state(at(now_ms), news(), Box::new(request), None),
                    None => _ = hub.publish(at(now_ms), news(), text, None),
                }
                hub.handle_tick(at(now_ms));
                disk.write_all(&mut hub);
            }
            hub.end_streams(at(now_ms));
            disk.write_all(&mut hub);
            let Some(position) = disk.position else { continue };
            let before = read(&mut hub, None, at(now_ms));
            disk.write_all(&mut hub);

            let mut again = self::hub(seed + 1000);
            assert!(again.restore(at(now_ms), disk.found(true)));
            let after = read(&mut again, None, at(now_ms));
            assert_eq!(after.0.publications, before.0.publications, "seed {seed}");
            assert_eq!((&after.1.keys, after.1.position), (&before.1.keys, Some(position)), "seed {seed}");

            let mut anew = self::hub(seed + 2000);
            assert!(anew.restore(at(now_ms), disk.found(false)));
            disk.write_all(&mut anew);
            let (history, state) = read(&mut anew, None, at(now_ms));
            let now = history.position.expect("it is there");
            assert_eq!((now.offset, disk.position), (position.offset, Some(now)));
            assert_ne!(now.epoch, position.epoch);
            let of = |page: &[SharedPublication]| {
                page.iter().map(|one| (one.position.offset, one.payload.clone())).collect::<Vec<_>>()
            };
            assert_eq!(
                (of(&history.publications), of(&state.keys)),
                (of(&before.0.publications), of(&before.1.keys))
            );
        }
    }

    #[test]
    fn what_could_not_be_written_is_refused_and_what_need_not_be_goes_on() {
        let mut hub = hub(1);
        hub.set_storage_room(false, false);
        let publish = |hub: &mut Hub, name: &str| {
            let name = ChannelName::new(name, 255).expect("a name");
            hub.publish(at(0), name, Payload::new(*b"x", None), Some(TICKET));
            match hub.poll_output() {
                Some(Output::Published { result, .. }) => result.map(|position| position.offset),
                other => panic!("no answer but {other:?}"),
            }
        };
        assert_eq!(publish(&mut hub, "news"), Err(PublishError::StorageBusy));
        assert_eq!(publish(&mut hub, "other"), Ok(1));
        let remove = StateRequest::remove(StateKey::new("k").expect("a key"));
        hub.change_state(at(0), news(), Box::new(remove), Some(TICKET));
        let refused = Err(PublishError::StorageBusy.into());
        assert!(matches!(hub.poll_output(), Some(Output::Changed { result, .. }) if result == refused));
        hub.set_storage_room(true, false);
        assert_eq!(publish(&mut hub, "news"), Ok(1));
        assert!(hub.poll_record().is_some() && hub.poll_record().is_none());
    }
}
