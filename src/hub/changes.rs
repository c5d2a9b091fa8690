//! The hub as the owner of channels' state: it makes changes, and does what their time has come for.
//!
//! A change is stamped like any publication, so that whoever follows the channel gets it, or sees a gap. Adds to a counter
//! are counted and answered at once, and told of at most once in an interval:
//!
//! ```text
//!   add 1   add 2     add 3   add 4                          add 5
//!     │       └─────────┴───────┴── counted, answered          │
//!   told                                  told, all of them    told, for the interval is over
//!     └────────── the interval ────────────┘
//! ```
//!
//! What is told of a counter is its value, so that a snapshot and what follows it agree whichever adds were told.
//! Invariant: each key with a time to go, and each counter that is ahead of what was told, stands in [`Times`] once.

use std::collections::BTreeSet;

use super::{
    Hub, Waiting,
    channel::ChannelIndex,
    reads::Read,
    state::{Held, NEVER, Next, State, content_bytes, cost, counter_payload},
    stream::Mirror,
};
use crate::{
    limits::STATE_DUE_PER_TURN,
    mesh::{Message, StatePage, StateQuery},
    model::{
        COUNTER_MAX, Change, ChangeKind, Changed, ChannelName, Now, Payload, PublishError, ShardId,
        StateAction, StateError, StateKey, StateRequest, Ticket, Version,
    },
};

/// The state of all channels of an owner, and when something is to be done about it.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub(super) keys: u32,
    /// How many channels have some.
    pub(super) channels: u32,
    /// What all of them cost.
    pub(super) bytes: u64,
    /// When keys go.
    expiries: BTreeSet<Due>,
    /// When counters that are ahead are told of.
    tellings: BTreeSet<Due>,
}

/// A time, a channel, and the hash of one of its keys.
type Due = (u64, ChannelIndex, u64);

/// What is to become of a counter, or of what counts on as one.
#[derive(Clone, Copy)]
struct Count {
    hash: u64,
    add: i64,
    ttl_ms: Option<u64>,
}

impl Hub {
    /// Changes a channel's state, here or at its owner. With a ticket, [`super::Output::Changed`] follows. What is still to be
    /// handed out here is returned.
    pub fn change_state(
        &mut self,
        now: Now,
        channel: ChannelName,
        request: Box<StateRequest>,
        ticket: Option<Ticket>,
    ) -> Option<Waiting> {
        self.now = now;
        let owner = self.owner_of(&channel);
        if owner != self.settings.shard {
            self.send(owner, Message::Change { channel, request, ticket });
            return None;
        }
        let result = self.apply(now, &channel, *request);
        self.answer_change(&channel, owner, ticket, result);
        self.waiting_for(&channel)
    }

    /// Reads a channel's state, here or at its owner; [`super::Output::State`] follows.
    pub fn read_state(&mut self, now: Now, ticket: Ticket, channel: &ChannelName, query: StateQuery) {
        self.now = now;
        let owner = self.owner_of(channel);
        if owner == self.settings.shard {
            self.read(owner, Read::State { channel: channel.clone(), query, ticket });
        } else {
            let asked = Message::ReadState { channel: channel.clone(), query, ticket };
            self.read_elsewhere(owner, ticket, asked);
        }
    }

    /// When a key goes or a counter is to be told of next.
    pub fn next_state_ms(&self) -> Option<u64> {
        let firsts = [self.times.expiries.first(), self.times.tellings.first()];
        firsts.into_iter().flatten().map(|(at, ..)| *at).min()
    }

    pub(super) fn handle_change(
        &mut self,
        now: Now,
        from: ShardId,
        channel: &ChannelName,
        request: StateRequest,
        ticket: Option<Ticket>,
    ) {
        let result = self.apply(now, channel, request);
        self.answer_change(channel, from, ticket, result);
    }

    fn answer_change(
        &mut self,
        channel: &ChannelName,
        to: ShardId,
        ticket: Option<Ticket>,
        result: Result<Changed, StateError>,
    ) {
        let Some(ticket) = ticket else { return };
        let says_nothing = matches!(result, Err(StateError::Publish(_)));
        self.answer_of(channel, to, Message::Changed { ticket, result }, says_nothing);
    }

    pub(super) fn state_page(&mut self, channel: &ChannelName, query: &StateQuery) -> StatePage {
        let hash = match query {
            StateQuery::Key(key) => self.channels.hash_key(key),
            StateQuery::Page { .. } => 0,
        };
        let index = self.channels.find(channel);
        let stream = index.and_then(|index| self.channels[index].stream_mut());
        let stream = stream.filter(|stream| stream.mirror == Mirror::None);
        let Some(stream) = stream else { return StatePage::default() };
        let (keys, has_more) = match (stream.state.as_deref_mut(), query) {
            (None, _) => Default::default(),
            (Some(state), StateQuery::Page { after, limit }) => state.page(after.as_ref(), *limit as usize),
            (Some(state), StateQuery::Key(key)) => {
                (state.find(hash, key).map(Held::shown).into_iter().collect(), false)
            }
        };
        StatePage { position: Some(stream.position), keys, has_more }
    }

    /// Lets keys go whose time is over, and tells of counters, so many at most; tells how many there were.
    pub(super) fn pass_state_time(&mut self, now: Now) -> usize {
        for done in 0..STATE_DUE_PER_TURN {
            if let Some(due) = self.times.take_telling(now.monotonic_ms) {
                self.tell_counter(now, due);
            } else if let Some(due) = self.times.take_expiry(now.monotonic_ms) {
                self.let_expire(now, due);
            } else {
                return done;
            }
        }
        STATE_DUE_PER_TURN
    }

    /// Whether no counter is ahead of what was told.
    pub(super) fn has_told_counters(&self) -> bool {
        self.times.tellings.is_empty()
    }

    fn apply(&mut self, now: Now, name: &ChannelName, request: StateRequest) -> Result<Changed, StateError> {
        let StateRequest { key, action, condition, ttl_ms } = request;
        if self.brokered.is_some() {
            return Err(StateError::OverNodes);
        }
        let hash = self.channels.hash_key(&key);
        let index = self.channels.find(name);
        let held = index.and_then(|index| self.state_of(index)?.find(hash, &key));
        if !condition.holds(held.map(Held::version)) {
            return Err(StateError::ConditionFailed);
        }
        if self.has_no_storage_room(name) {
            return Err(PublishError::StorageBusy.into());
        }
        let is_held = held.is_some();
        match action {
            StateAction::Set(payload) => {
                self.check_room(name, index, hash, &key, content_bytes(&key, Some(&payload)))?;
                let index = self.own_for_publication(name)?;
                Ok(self.set(now, index, key, hash, payload, ttl_ms))
            }
            StateAction::Add(add) => self.add(now, name, index, key, Count { hash, add, ttl_ms }),
            StateAction::Remove => match index.filter(|_| is_held) {
                Some(index) => Ok(self.let_go(now, index, key, hash, ChangeKind::Remove)),
                None => Err(StateError::Unknown),
            },
        }
    }

    /// Whether a key may hold so many bytes, name and value.
    fn check_room(
        &self,
        name: &ChannelName,
        index: Option<ChannelIndex>,
        hash: u64,
        key: &StateKey,
        bytes: u64,
    ) -> Result<(), StateError> {
        let state = index.and_then(|index| self.state_of(index));
        let held = state.and_then(|state| state.find(hash, key));
        let (bytes_before, cost_before) = held.map_or((0, 0), |held| (held.bytes(), held.cost()));
        let (keys, all_bytes) = state.map_or((0, 0), |state| (state.len(), state.bytes()));
        let own = self.retention_of(name, index);
        let keys_max = own.state_keys_max.unwrap_or(self.settings.state_keys_max);
        let bytes_max = own.state_bytes_max.unwrap_or(self.settings.state_channel_bytes_max);
        if keys == 0 && self.times.channels >= self.settings.state_channels_max {
            Err(StateError::ChannelsFull)
        } else if held.is_none() && keys >= keys_max as usize {
            Err(StateError::KeysFull)
        } else if all_bytes - bytes_before + bytes > u64::from(bytes_max) {
            Err(StateError::ChannelFull)
        } else if self.times.bytes - cost_before + cost(bytes) > self.settings.state_bytes_max {
            Err(StateError::Full)
        } else {
            Ok(())
        }
    }

    fn set(
        &mut self,
        now: Now,
        index: ChannelIndex,
        key: StateKey,
        hash: u64,
        mut payload: Payload,
        ttl_ms: Option<u64>,
    ) -> Changed {
        let expires_unix_ms = ttl_ms.map(|ttl_ms| now.unix_ms.saturating_add(ttl_ms));
        payload.change = Some(Box::new(Change { key, kind: ChangeKind::Set, expires_unix_ms }));
        let expires_ms = ttl_ms.map_or(NEVER, |ttl_ms| now.monotonic_ms.saturating_add(ttl_ms));
        self.tell_change(now, index, payload, Next { hash, value: 0, expires_ms })
    }

    /// Counts, and tells of it unless that has just been done.
    fn add(
        &mut self,
        now: Now,
        name: &ChannelName,
        index: Option<ChannelIndex>,
        key: StateKey,
        count: Count,
    ) -> Result<Changed, StateError> {
        let Count { hash, add, ttl_ms } = count;
        let interval_ms = self.settings.counter_interval_ms;
        let Self { channels, times, .. } = self;
        let stream = index.and_then(|index| channels[index].stream_mut());
        let state = stream.and_then(|stream| stream.state.as_deref_mut());
        let held = index.zip(state.and_then(|state| state.find_mut(hash, &key)));
        let before =
            held.as_ref().map_or(Some(0), |(_, held)| held.counted()).ok_or(StateError::NotCounter)?;
        let value = before.checked_add(add).filter(|value| (-COUNTER_MAX..=COUNTER_MAX).contains(value));
        let value = value.ok_or(StateError::Overflow)?;
        let (mut expires_ms, mut expires_unix_ms) = (NEVER, None);
        if let Some((index, held)) = held {
            let due_ms = held.told_ms.saturating_add(interval_ms);
            if held.is_counter() && ttl_ms.is_none() && (held.is_ahead() || now.monotonic_ms < due_ms) {
                held.value = value;
                if !held.is_ahead() {
                    held.tells_ms = due_ms;
                    times.tellings.insert((due_ms, index, hash));
                }
                let changed = held.changed(false);
                self.record_count(index, key, value);
                return Ok(changed);
            }
            expires_ms = held.expires_ms;
            expires_unix_ms = held.expires_unix_ms();
        }
        if let Some(ttl_ms) = ttl_ms {
            expires_ms = now.monotonic_ms.saturating_add(ttl_ms);
            expires_unix_ms = Some(now.unix_ms.saturating_add(ttl_ms));
        }
        self.check_room(name, index, hash, &key, content_bytes(&key, None))?;
        let index = self.own_for_publication(name)?;
        let payload = counter_payload(key, value, expires_unix_ms);
        Ok(self.tell_change(now, index, payload, Next { hash, value, expires_ms }))
    }

    /// Tells of a counter that is ahead of what was told.
    fn tell_counter(&mut self, now: Now, (_, index, hash): Due) {
        let state = self.state_of(index);
        let Some(held) = state.and_then(|state| state.find_due(hash, Held::is_ahead)) else { return };
        let payload = counter_payload(held.key().clone(), held.value, held.expires_unix_ms());
        let next = Next { hash, value: held.value, expires_ms: held.expires_ms };
        self.tell_change(now, index, payload, next);
    }

    /// Tells of all counters that are ahead of what was told.
    pub(super) fn tell_all_counters(&mut self, now: Now) {
        while let Some(due) = self.times.take_telling(NEVER) {
            self.tell_counter(now, due);
        }
    }

    fn let_expire(&mut self, now: Now, (at_ms, index, hash): Due) {
        let state = self.state_of(index);
        let Some(held) = state.and_then(|state| state.find_due(hash, |held| held.expires_ms == at_ms)) else {
            return;
        };
        self.let_go(now, index, held.key().clone(), hash, ChangeKind::Expire);
    }

    /// Publishes a change, and holds it in place of what its key held.
    fn tell_change(&mut self, now: Now, index: ChannelIndex, payload: Payload, next: Next) -> Changed {
        let publication = self.stamp_at(now, index, payload);
        let key = publication.payload.change.as_ref().map(|change| change.key.clone());
        let key = key.expect("what is told here is a change");
        let was_there = self.forget(index, next.hash, &key);
        let held = Held::new(next, publication, now.monotonic_ms);
        let changed = held.changed(!was_there);
        self.hold(index, held);
        changed
    }

    /// Puts a key that is not there into every table.
    pub(super) fn hold(&mut self, index: ChannelIndex, held: Held) {
        if held.expires_ms != NEVER {
            self.times.expiries.insert((held.expires_ms, index, held.hash));
        }
        if held.is_ahead() {
            self.times.tellings.insert((held.tells_ms, index, held.hash));
        }
        self.times.keys += 1;
        self.times.bytes += held.cost();
        let state = self.stream_mut(index).state.get_or_insert_default();
        state.insert(held);
        let is_first = state.len() == 1;
        self.times.channels += u32::from(is_first);
    }

    /// Publishes that a key is gone, and lets go of it.
    fn let_go(
        &mut self,
        now: Now,
        index: ChannelIndex,
        key: StateKey,
        hash: u64,
        kind: ChangeKind,
    ) -> Changed {
        let mut payload = Payload::new(*b"", None);
        payload.change = Some(Box::new(Change { key: key.clone(), kind, expires_unix_ms: None }));
        let publication = self.stamp_at(now, index, payload);
        self.forget(index, hash, &key);
        self.release_state(index);
        let position = publication.position;
        Changed { position, version: Version::Set(position), is_new: false }
    }

    /// Takes a key out of every table; tells whether it was there.
    fn forget(&mut self, index: ChannelIndex, hash: u64, key: &StateKey) -> bool {
        let state = self.stream_mut(index).state.as_deref_mut();
        let removed = state.and_then(|state| state.remove(hash, key).map(|held| (held, state.len())));
        let Some((held, left)) = removed else { return false };
        let times = &mut self.times;
        times.channels -= u32::from(left == 0);
        times.keys -= 1;
        times.bytes -= held.cost();
        if held.expires_ms != NEVER {
            times.expiries.remove(&(held.expires_ms, index, hash));
        }
        if held.is_ahead() {
            times.tellings.remove(&(held.tells_ms, index, hash));
        }
        true
    }

    fn state_of(&self, index: ChannelIndex) -> Option<&State> {
        self.channels[index].stream()?.state.as_deref()
    }
}

impl Times {
    fn take_telling(&mut self, now_ms: u64) -> Option<Due> {
        take_due(&mut self.tellings, now_ms)
    }

    fn take_expiry(&mut self, now_ms: u64) -> Option<Due> {
        take_due(&mut self.expiries, now_ms)
    }
}

fn take_due(times: &mut BTreeSet<Due>, now_ms: u64) -> Option<Due> {
    let is_due = times.first().is_some_and(|(at_ms, ..)| *at_ms <= now_ms);
    if is_due { times.pop_first() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::{HubSettings, Output, Wanted},
        limits::Limits,
        mesh::{JoinAsked, StateWanted},
        model::{Condition, ConnectionId, Position, PublishError, Shown, Transport},
    };

    const HERE: ShardId = ShardId(0);
    const TICKET: Ticket = Ticket { connection: ConnectionId { index: 9, generation: 1 }, token: 7 };
    const INTERVAL_MS: u64 = 50;

    fn at(ms: u64) -> Now {
        Now { monotonic_ms: ms, unix_ms: 1_000_000 + ms }
    }

    fn hub_with(change: impl FnOnce(&mut HubSettings)) -> Hub {
        let mut settings = HubSettings::of_shard(&Limits::default(), HERE, 1, 100, 1, 2);
        change(&mut settings);
        Hub::new(settings)
    }

    fn news() -> ChannelName {
        ChannelName::new("news", 255).expect("a name")
    }

    fn key(text: &str) -> StateKey {
        StateKey::new(text).expect("a key")
    }

    fn text(text: &str) -> Payload {
        Payload::new(text.as_bytes(), None)
    }

    fn change(hub: &mut Hub, ms: u64, request: StateRequest) -> Result<Changed, StateError> {
        hub.change_state(at(ms), news(), Box::new(request), Some(TICKET));
        match hub.poll_output() {
            Some(Output::Changed { ticket: TICKET, result }) => result,
            other => panic!("no result but {other:?}"),
        }
    }

    fn set(hub: &mut Hub, ms: u64, name: &str, value: &str) -> Result<Changed, StateError> {
        change(hub, ms, StateRequest::set(key(name), text(value)))
    }

    fn add(hub: &mut Hub, ms: u64, name: &str, count: i64) -> Result<i64, StateError> {
        let changed = change(hub, ms, StateRequest::add(key(name), count))?;
        Ok(changed.version.value().expect("a counter has a value"))
    }

    /// Keys and what they hold, as a snapshot shows them.
    fn state(hub: &mut Hub) -> Vec<(String, String)> {
        page(hub, None, 100).0
    }

    fn page(hub: &mut Hub, after: Option<&str>, limit: u32) -> (Vec<(String, String)>, bool) {
        let query = StateQuery::Page { after: after.map(key), limit };
        hub.read_state(at(0), TICKET, &news(), query);
        let Some(Output::State { ticket: TICKET, page }) = hub.poll_output() else { panic!("no state") };
        (page.keys.iter().map(|one| shown(one)).collect(), page.has_more)
    }

    fn shown(publication: &crate::model::Publication) -> (String, String) {
        let change = publication.payload.change.as_deref().expect("a change");
        let data = String::from_utf8(publication.payload.data.to_vec()).expect("text");
        (change.key.as_str().into(), data)
    }

    /// What has been published, as history shows it.
    fn told(hub: &mut Hub) -> Vec<(ChangeKind, String, String)> {
        hub.read_history(at(0), TICKET, &news(), None, 1000);
        let Some(Output::History { page, .. }) = hub.poll_output() else { panic!("no history") };
        let kind = |one: &crate::model::Publication| one.payload.change.as_ref().expect("a change").kind;
        let told = page.publications.iter().map(|one| (kind(one), shown(one).0, shown(one).1));
        told.collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn a_change_is_a_publication_and_the_last_of_each_key_is_its_state() {
        let mut hub = hub_with(|_| {});
        for (name, value) in [("b", "1"), ("a", "2"), ("b", "3")] {
            set(&mut hub, 0, name, value).expect("there is room");
        }
        change(&mut hub, 0, StateRequest::remove(key("a"))).expect("it is there");
        assert_eq!(state(&mut hub), pairs(&[("b", "3")]));
        let kinds: Vec<_> = told(&mut hub).into_iter().map(|(kind, key, _)| (kind, key)).collect();
        let expected = [
            (ChangeKind::Set, "b"),
            (ChangeKind::Set, "a"),
            (ChangeKind::Set, "b"),
            (ChangeKind::Remove, "a"),
        ];
        assert_eq!(kinds, expected.map(|(kind, key)| (kind, key.to_owned())));
        assert_eq!(change(&mut hub, 0, StateRequest::remove(key("a"))), Err(StateError::Unknown));
    }

    #[test]
    fn conditions_are_of_the_content_and_a_change_that_fails_changes_nothing() {
        let mut hub = hub_with(|_| {});
        let request = |value: &str, condition| StateRequest::set(key("a"), text(value)).only_if(condition);
        let failed = Err(StateError::ConditionFailed);
        assert_eq!(change(&mut hub, 0, request("0", Condition::Present)), failed);
        assert_eq!(hub.channels.owned(), 0, "no channel was made");
        let first = change(&mut hub, 0, request("1", Condition::Absent)).expect("it was not there");
        assert_eq!(change(&mut hub, 0, request("2", Condition::Absent)), failed);
        let second = change(&mut hub, 0, request("3", Condition::At(first.version))).expect("it was so");
        assert_eq!(change(&mut hub, 0, request("4", Condition::At(first.version))), failed);
        let removal = StateRequest::remove(key("a"));
        assert_eq!(change(&mut hub, 0, removal.clone().only_if(Condition::At(first.version))), failed);
        assert_eq!(state(&mut hub), pairs(&[("a", "3")]));
        change(&mut hub, 0, removal.only_if(Condition::At(second.version))).expect("it was so");
        assert_eq!(told(&mut hub).len(), 3);
    }

    #[test]
    fn a_counter_answers_each_add_and_tells_once_in_an_interval() {
        let mut hub = hub_with(|_| {});
        for (ms, value) in [(0, 1), (10, 2), (49, 3)] {
            assert_eq!(add(&mut hub, ms, "sold", 1), Ok(value));
        }
        assert_eq!((told(&mut hub).len(), hub.next_state_ms()), (1, Some(INTERVAL_MS)));
        assert_eq!(state(&mut hub), pairs(&[("sold", "3")]), "a snapshot is ahead of what was told");
        hub.handle_tick(at(49));
        assert_eq!(told(&mut hub).len(), 1);
        hub.handle_tick(at(50));
        let values: Vec<_> = told(&mut hub).into_iter().map(|(_, _, value)| value).collect();
        assert_eq!((values, hub.next_state_ms()), (vec!["1".to_owned(), "3".to_owned()], None));
        assert_eq!(add(&mut hub, 99, "sold", -5), Ok(-2));
        assert_eq!(hub.next_state_ms(), Some(100));
        hub.handle_tick(at(100));
        assert_eq!(add(&mut hub, 150, "sold", 0), Ok(-2));
        assert_eq!(told(&mut hub).len(), 4, "the interval was over");
    }

    #[test]
    fn the_version_of_a_counter_says_its_value_so_that_no_add_is_overwritten() {
        let mut hub = hub_with(|_| {});
        let one = change(&mut hub, 0, StateRequest::add(key("n"), 1)).expect("room");
        let two = change(&mut hub, 1, StateRequest::add(key("n"), 1)).expect("room");
        assert_eq!(one.position, two.position, "it has not been told");
        let request =
            |one: Changed| StateRequest::set(key("n"), text("0")).only_if(Condition::At(one.version));
        assert_eq!(change(&mut hub, 2, request(one)), Err(StateError::ConditionFailed));
        change(&mut hub, 2, request(two)).expect("it is so");
        hub.handle_tick(at(60));
        assert_eq!(state(&mut hub), pairs(&[("n", "0")]), "what was to be told of it is over");
        assert_eq!(told(&mut hub).len(), 2);
    }

    #[test]
    fn a_counter_that_is_only_told_of_is_still_what_it_was() {
        let mut hub = hub_with(|_| {});
        add(&mut hub, 0, "n", 1).expect("room");
        let two = change(&mut hub, 1, StateRequest::add(key("n"), 1)).expect("room");
        hub.handle_tick(at(INTERVAL_MS));
        assert_eq!(told(&mut hub).len(), 2, "it has been told since");
        let request = StateRequest::set(key("n"), text("0")).only_if(Condition::At(two.version));
        assert!(!change(&mut hub, 60, request).expect("nobody has counted since").is_new);
    }

    #[test]
    fn whole_numbers_count_on_and_what_is_none_or_too_far_is_refused() {
        let mut hub = hub_with(|_| {});
        set(&mut hub, 0, "n", "41").expect("room");
        assert_eq!(add(&mut hub, 0, "n", 1), Ok(42));
        set(&mut hub, 0, "text", "many").expect("room");
        assert_eq!(add(&mut hub, 0, "text", 1), Err(StateError::NotCounter));
        assert_eq!(add(&mut hub, 0, "far", COUNTER_MAX), Ok(COUNTER_MAX));
        for further in [1, i64::MAX, i64::MIN] {
            assert_eq!(add(&mut hub, 0, "far", further), Err(StateError::Overflow), "{further}");
        }
        assert_eq!(add(&mut hub, 0, "new", i64::MAX), Err(StateError::Overflow));
        assert_eq!(state(&mut hub).len(), 3);
    }

    #[test]
    fn a_key_goes_when_its_time_is_over_and_whoever_sets_it_anew_says_when() {
        let mut hub = hub_with(|_| {});
        let for_ms = |name: &str, ttl_ms| StateRequest::set(key(name), text("x")).for_ms(Some(ttl_ms));
        change(&mut hub, 0, for_ms("a", 100)).expect("room");
        change(&mut hub, 0, for_ms("b", 100)).expect("room");
        set(&mut hub, 50, "b", "stays").expect("room");
        change(&mut hub, 50, StateRequest::add(key("c"), 1).for_ms(Some(40))).expect("room");
        change(&mut hub, 60, StateRequest::add(key("c"), 1)).expect("room");
        assert_eq!(hub.next_state_ms(), Some(90));
        hub.handle_tick(at(90));
        assert_eq!(hub.next_state_ms(), Some(100), "what was to be told of the counter is gone with it");
        hub.handle_tick(at(99));
        assert_eq!(state(&mut hub), pairs(&[("a", "x"), ("b", "stays")]));
        hub.handle_tick(at(100));
        assert_eq!(state(&mut hub), pairs(&[("b", "stays")]));
        let gone: Vec<_> =
            told(&mut hub).into_iter().filter(|(kind, ..)| *kind == ChangeKind::Expire).collect();
        assert_eq!(gone.iter().map(|(_, key, _)| key.as_str()).collect::<Vec<_>>(), ["c", "a"]);
        assert!(hub.times.expiries.is_empty() && hub.times.tellings.is_empty());
    }

    #[test]
    fn limits_refuse_and_let_nothing_go() {
        let overhead = cost(0);
        let mut hub = hub_with(|settings| {
            settings.state_keys_max = 2;
            settings.state_channel_bytes_max = 22;
            settings.state_bytes_max = 22 + 2 * overhead;
        });
        set(&mut hub, 0, "a", "1").expect("room");
        assert_eq!(add(&mut hub, 0, "b", 1), Ok(1));
        assert_eq!(set(&mut hub, 0, "c", ""), Err(StateError::KeysFull));
        assert_eq!(add(&mut hub, 0, "c", 1), Err(StateError::KeysFull));
        set(&mut hub, 0, "a", "1234").expect("just enough");
        assert_eq!(set(&mut hub, 0, "a", "12345"), Err(StateError::ChannelFull));
        assert_eq!(state(&mut hub), pairs(&[("a", "1234"), ("b", "1")]));
        hub.settings.state_channel_bytes_max = 1000;
        assert_eq!(set(&mut hub, 0, "a", "12345"), Err(StateError::Full));
        assert_eq!((hub.times.keys, hub.times.bytes), (2, 22 + 2 * overhead));
        for name in ["a", "b"] {
            change(&mut hub, 0, StateRequest::remove(key(name))).expect("it is there");
        }
        assert_eq!((hub.times.keys, hub.times.bytes), (0, 0));
        hub.handle_tick(at(INTERVAL_MS));
        assert!(hub.next_state_ms().is_none());
    }

    #[test]
    fn channels_with_state_are_counted_and_one_more_is_refused() {
        let mut hub = hub_with(|settings| settings.state_channels_max = 1);
        set(&mut hub, 0, "a", "1").expect("room");
        set(&mut hub, 0, "b", "1").expect("it has state already");
        let other = || ChannelName::new("other", 255).expect("a name");
        let change_other = |hub: &mut Hub| {
            let request = Box::new(StateRequest::add(key("n"), 1));
            hub.change_state(at(0), other(), request, Some(TICKET));
            match hub.poll_output() {
                Some(Output::Changed { result, .. }) => result.map(|_| ()),
                output => panic!("no result but {output:?}"),
            }
        };
        assert_eq!(change_other(&mut hub), Err(StateError::ChannelsFull));
        for name in ["a", "b"] {
            set(&mut hub, 0, name, "2").expect("it is there");
            change(&mut hub, 0, StateRequest::remove(key(name))).expect("it is there");
        }
        assert_eq!(change_other(&mut hub), Ok(()));
        assert_eq!(hub.times.channels, 1);
    }

    #[test]
    fn who_comes_is_shown_what_the_one_before_was_until_something_changes() {
        let mut hub = hub_with(|_| {});
        set(&mut hub, 0, "a", "1").expect("room");
        let shown = |hub: &mut Hub, index| {
            let shown = Shown { state: true, presence: false };
            let wanted = Wanted { shown, ..Wanted::default() };
            let who = ConnectionId { index, generation: 1 };
            hub.subscribe(at(0), who, Transport::Json, news(), wanted, None).expect("it may");
            match hub.poll_output() {
                Some(Output::Joined { welcome, .. }) => welcome.state.expect("the state"),
                other => panic!("not joined but {other:?}"),
            }
        };
        let first = shown(&mut hub, 1);
        assert!(crate::model::SharedPublications::ptr_eq(&first, &shown(&mut hub, 2)));
        add(&mut hub, 0, "n", 1).expect("room");
        let counted = shown(&mut hub, 3);
        add(&mut hub, 1, "n", 1).expect("it is there");
        let ahead = shown(&mut hub, 4);
        assert_eq!((first.len(), counted.len(), ahead[1].counter()), (1, 2, Some(2)));
    }

    #[test]
    fn a_channel_with_state_stays_and_one_whose_last_key_goes_is_forgotten_as_any_other() {
        let mut hub = hub_with(|settings| {
            settings.channels_max = 1;
            settings.history_publications_max = 0;
            settings.history_age_max_ms = 1000;
        });
        set(&mut hub, 0, "a", "1").expect("room");
        hub.handle_tick(at(10_000));
        let other = ChannelName::new("other", 255).expect("a name");
        let request = Box::new(StateRequest::set(key("a"), text("1")));
        hub.change_state(at(10_000), other, request, Some(TICKET));
        let full = Err(StateError::Publish(PublishError::ChannelsFull));
        assert!(matches!(hub.poll_output(), Some(Output::Changed { result, .. }) if result == full));
        change(&mut hub, 10_000, StateRequest::remove(key("a"))).expect("it is there");
        hub.handle_tick(at(20_000));
        hub.handle_tick(at(30_000));
        assert_eq!(hub.channels.owned(), 0);
    }

    #[test]
    fn pages_go_through_the_keys_in_their_order() {
        let mut hub = hub_with(|_| {});
        for name in ["c", "a", "d", "b"] {
            set(&mut hub, 0, name, name).expect("room");
        }
        assert_eq!(page(&mut hub, None, 2), (pairs(&[("a", "a"), ("b", "b")]), true));
        assert_eq!(page(&mut hub, Some("b"), 2), (pairs(&[("c", "c"), ("d", "d")]), false));
        assert_eq!(page(&mut hub, Some("bb"), 1), (pairs(&[("c", "c")]), true));
        assert_eq!(page(&mut hub, Some("d"), 1), (vec![], false));
    }

    #[test]
    fn a_subscriber_is_told_the_state_when_it_has_no_position_or_has_lost_some() {
        let mut hub = hub_with(|settings| settings.history_publications_max = 2);
        for value in ["1", "2", "3", "4"] {
            set(&mut hub, 0, "a", value).expect("room");
        }
        let epoch = hub.stream_mut(0).position.epoch;
        let mut state_of = |index, since: Option<u64>, state| {
            let since =
                since.map(|offset| crate::hub::Since { position: Position { epoch, offset }, bytes_max: 1 });
            let who = ConnectionId { index, generation: 1 };
            let first = Shown { state, presence: false };
            let wanted = Wanted { since, shown: first, ..Wanted::default() };
            hub.subscribe(at(0), who, Transport::Json, news(), wanted, None).expect("it may");
            loop {
                match hub.poll_output() {
                    Some(Output::Joined { welcome, .. }) if welcome.rest > 0 => {
                        assert_eq!(welcome.state, None, "it comes last");
                        let since = crate::hub::Since { position: welcome.position, bytes_max: 1 };
                        hub.catch_up(at(0), who, &news(), since);
                    }
                    Some(Output::Joined { welcome, .. }) => {
                        assert_eq!(welcome.position.offset, 4);
                        return welcome
                            .state
                            .map(|keys| keys.iter().map(|one| shown(one).1).collect::<Vec<_>>());
                    }
                    other => panic!("not joined but {other:?}"),
                }
            }
        };
        let all = Some(vec!["4".to_owned()]);
        assert_eq!(state_of(1, None, true), all);
        assert_eq!(state_of(2, None, false), None);
        assert_eq!(state_of(3, Some(2), true), None, "it has everything");
        assert_eq!(state_of(4, Some(0), true), all, "some is lost");
        assert_eq!(state_of(5, Some(0), false), None);
        let asked = JoinAsked { state: StateWanted::Yes, bytes_max: 1, ..JoinAsked::NOTHING };
        let empty = ChannelName::new("empty", 255).expect("a name");
        let (_, welcome) = hub.welcome(&empty, asked).expect("room");
        assert_eq!(welcome.state.as_deref(), Some(&[][..]), "a state without keys is one");
    }
}
