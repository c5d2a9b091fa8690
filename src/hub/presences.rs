//! The hub and who is present: what connections of this shard have entered, and, as the owner, who is in its channels.
//!
//! ```text
//!   connection's shard: Entries (entries.rs) ── Enter, Depart ─► owner: Members (members.rs) ─► enter, update, leave: publications
//! ```
//!
//! A connection that ends departs from all it has entered; a shard that fails takes its connections with it, and an owner
//! that begins anew is told again who is there. So whatever happens, an owner's members are those with a connection that is
//! there, and those whose grace is not over.
//!
//! In a channel with many members, each event would go to all of them. There, followers are told a digest now and then
//! instead: how many are there, have come, and have gone.

use std::collections::BTreeSet;

use super::{
    Hub, Output, Waiting,
    channel::ChannelIndex,
    entries::Entries,
    members::{Members, Told},
    reads::Read,
    state::{NEVER, State, json_payload},
    stream::Mirror,
};
use crate::{
    limits::{PRESENCE_DIGEST_INTERVAL_MS, PRESENCE_DUE_PER_TURN},
    mesh::{Entry, LeftEntry, LeftMembers, Message},
    model::{
        Change, ChangeKind, ChannelName, ConnectionId, Notice, Now, Payload, Position, PresencePage,
        PublishError, ShardId, StateError, StateKey, Ticket,
    },
};

/// What the connections of this shard have entered, and when something is to be done about the members of its channels.
#[derive(Debug, Default)]
pub(super) struct Presence {
    entries: Entries,
    pub(super) members: u32,
    /// When members leave that have no connection any more.
    leaves: BTreeSet<(u64, ChannelIndex, StateKey)>,
    /// When followers are told how many there are.
    digests: BTreeSet<(u64, ChannelIndex)>,
    /// Another process is to go on: whoever may come back comes back to that.
    holds_leaves: bool,
}

/// Who is in a channel, and what followers have not been told of that.
#[derive(Debug, Default)]
pub(super) struct Present {
    pub(super) members: Members,
    joined: u32,
    left: u32,
    /// A digest is to come.
    is_digesting: bool,
}

/// What somebody wants done to a member: in which channel, and which.
#[derive(Clone, Copy)]
struct Of<'a> {
    index: ChannelIndex,
    id: &'a StateKey,
}

impl Hub {
    /// Lets a connection of this shard enter a channel for a member, or say something else of it; [`Output::Entered`]
    /// follows. What is still to be handed out here is returned.
    pub fn enter(
        &mut self,
        now: Now,
        ticket: Ticket,
        channel: &ChannelName,
        id: StateKey,
        info: Box<str>,
    ) -> Option<Waiting> {
        self.now = now;
        let count_max = self.settings.subscriptions_per_connection_max as usize;
        let Some(entry) = self.presence.entries.ask(ticket.connection, channel, id, info, count_max) else {
            let (channel, result) = (channel.clone(), Err(StateError::EnteredTooMany));
            self.outputs.push_back(Output::Entered { ticket, channel, result });
            return None;
        };
        let owner = self.owner_of(channel);
        if owner != self.settings.shard {
            let (channel, entry) = (channel.clone(), Box::new(entry));
            self.send(owner, Message::Enter { channel, entry, ticket: Some(ticket) });
            return None;
        }
        let number = entry.number;
        let result = self.admit(now, owner, channel, entry, false);
        let entered = Message::Entered { ticket, channel: channel.clone(), number, result };
        self.answer_of(channel, owner, entered, result.is_err());
        self.waiting_for(channel)
    }

    /// Lets a connection of this shard leave a channel that it has entered; tells whether it had.
    pub fn depart(&mut self, now: Now, connection: ConnectionId, channel: &ChannelName) -> bool {
        self.now = now;
        let Some(ids) = self.presence.entries.take(connection, channel) else { return false };
        self.send_departure(channel.clone(), connection, ids, true);
        true
    }

    /// The channels that a connection of this shard has entered, or asks to enter.
    pub fn entered(&self, connection: ConnectionId) -> impl Iterator<Item = &ChannelName> {
        self.presence.entries.channels(connection)
    }

    /// Asks who is there, here or at the channel's owner; [`Output::Presence`] follows.
    pub fn read_presence(
        &mut self,
        now: Now,
        ticket: Ticket,
        channel: &ChannelName,
        after: Option<StateKey>,
        limit: u32,
    ) {
        self.now = now;
        let owner = self.owner_of(channel);
        if owner == self.settings.shard {
            self.read(owner, Read::Presence { channel: channel.clone(), after, limit, ticket });
        } else {
            let asked = Message::ReadPresence { channel: channel.clone(), after, limit, ticket };
            self.read_elsewhere(owner, ticket, asked);
        }
    }

    /// When a member leaves or a digest is told next.
    pub fn next_presence_ms(&self) -> Option<u64> {
        let leave = self.presence.next_leave().map(|(at, ..)| *at);
        leave.into_iter().chain(self.presence.digests.first().map(|(at, _)| *at)).min()
    }

    pub(super) fn presence_page(
        &self,
        channel: &ChannelName,
        after: Option<&StateKey>,
        limit: u32,
    ) -> PresencePage {
        let stream = self.stream_of(channel).filter(|stream| stream.mirror == Mirror::None);
        stream.map(|stream| stream.presence_page(after, limit)).unwrap_or_default()
    }

    /// An owner has let a connection of this shard enter, or refused it. Then it is there as it was before.
    pub(super) fn handle_entered(
        &mut self,
        ticket: Ticket,
        channel: &ChannelName,
        number: u32,
        result: Result<Position, StateError>,
    ) {
        self.presence.entries.answer(ticket.connection, channel, number, result.is_ok());
        self.outputs.push_back(Output::Entered { ticket, channel: channel.clone(), result });
    }

    pub(super) fn handle_enter(
        &mut self,
        now: Now,
        from: ShardId,
        channel: ChannelName,
        entry: Entry,
        ticket: Option<Ticket>,
    ) {
        let number = entry.number;
        let result = self.admit(now, from, &channel, entry, ticket.is_none());
        if let Some(ticket) = ticket {
            let entered = Message::Entered { ticket, channel: channel.clone(), number, result };
            self.answer_of(&channel, from, entered, result.is_err());
        }
    }

    /// A connection of a shard enters a channel of this owner. Whoever it was there for before leaves with that. One that the
    /// owner had let in before it began anew is not one too many.
    fn admit(
        &mut self,
        now: Now,
        from: ShardId,
        channel: &ChannelName,
        entry: Entry,
        is_again: bool,
    ) -> Result<Position, StateError> {
        if self.brokered.is_some() {
            return Err(StateError::OverNodes);
        }
        let Entry { id, info, connection, before, .. } = entry;
        let seat = (from, connection);
        let index = self.channels.find(channel);
        let stream = index.and_then(|index| self.channels[index].stream());
        let present = stream.and_then(|stream| Some(&stream.state.as_deref()?.present));
        let members = present.map(|present| &present.members);
        let (count, cost) = members.map_or((0, 0), |members| members.without(&id, &before, seat));
        let there = members.and_then(|members| members.get(&id));
        let members_max =
            self.retention_of(channel, index).members_max.unwrap_or(self.settings.presence_members_max);
        if !is_again && there.is_none() && count >= members_max as usize {
            return Err(StateError::MembersFull);
        }
        let all_cost = members.map_or(0, Members::cost);
        let bytes = self.times.bytes - all_cost + cost + Members::cost_of(&id, &info);
        if !is_again && bytes > self.settings.state_bytes_max {
            return Err(StateError::Full);
        }
        let leaves_ms = there.map_or(NEVER, |member| member.leaves_ms);
        if !is_again && self.has_no_storage_room(channel) {
            return Err(PublishError::StorageBusy.into());
        }
        let index = self.own(channel)?;
        if leaves_ms != NEVER {
            self.presence.leaves.remove(&(leaves_ms, index, id.clone()));
        }
        for other in &before {
            self.change_members(now, Of { index, id: other }, |members| members.depart(other, seat, 0));
        }
        self.change_members(now, Of { index, id: &id }, |members| members.enter(&id, info, seat));
        Ok(self.stream_mut(index).position)
    }

    /// A connection of a shard, which may have entered for these, is there no more.
    pub(super) fn handle_depart(
        &mut self,
        now: Now,
        seat: (ShardId, ConnectionId),
        channel: &ChannelName,
        ids: &[StateKey],
        at_once: bool,
    ) {
        let grace_ms = now.monotonic_ms + self.settings.presence_grace_ms;
        for id in ids {
            let Some(index) = self.channels.find(channel).filter(|index| self.has_members(*index)) else {
                return;
            };
            // Who is nobody cannot come back.
            let leaves_ms = if at_once || !id.is_user() { 0 } else { grace_ms };
            self.change_members(now, Of { index, id }, |members| members.depart(id, seat, leaves_ms));
        }
    }

    /// From now on nobody leaves whose connection has gone and who may come back: it does so to another process.
    pub fn hold_members(&mut self) {
        self.presence.holds_leaves = true;
    }

    /// Tells who may come back to another process, and when that is not told here any more: the users. Others leave.
    pub fn leave_members(&mut self, now: Now) -> Vec<LeftMembers> {
        self.now = now;
        while let Some((_, index)) = self.presence.digests.pop_first() {
            self.tell_digest(now, index);
        }
        let mut left = Vec::new();
        for index in self.with_members() {
            self.expel(now, index, |id| !id.is_user());
            let Some(state) = self.stream_mut(index).state.as_deref_mut() else { continue };
            let members = std::mem::take(&mut state.present.members);
            self.presence.members -= members.len() as u32;
            self.times.bytes -= members.cost();
            let (channel, members) = (self.channels[index].name.clone(), members.into_users());
            if !members.is_empty() {
                left.push(LeftMembers { channel, members });
            }
            self.release_state(index);
        }
        left
    }

    /// Where a connection is present, and for whom; `None` while it asks to be, or where a guest is: it would be another one in
    /// another process.
    pub fn entered_for_good(&self, connection: ConnectionId) -> Option<Vec<LeftEntry>> {
        self.presence.entries.settled(connection)
    }

    /// Whether a connection is present nowhere for a guest.
    pub fn is_nobody_as_guest(&self, connection: ConnectionId) -> bool {
        self.presence.entries.is_nobody_as_guest(connection)
    }

    /// Lets a connection be present that has been in another process: its member has not left.
    pub fn enter_again(&mut self, now: Now, connection: ConnectionId, left: LeftEntry) {
        self.now = now;
        let (channel, entry) = self.presence.entries.restore(connection, left);
        let owner = self.owner_of(&channel);
        if owner == self.settings.shard {
            // As those of a shard whose owner has begun anew, it is let in whatever the limits are.
            self.admit(now, owner, &channel, entry, true).ok();
        } else {
            self.send(owner, Message::Enter { channel, entry: Box::new(entry), ticket: None });
        }
    }

    /// Users that were present when another process left this channel have their grace to come back.
    pub fn succeed_members(&mut self, now: Now, left: LeftMembers) {
        self.now = now;
        let LeftMembers { channel, members: users } = left;
        let index = self.channels.find(&channel).filter(|index| self.channels[*index].stream().is_some());
        let (Some(index), None) = (index, &self.brokered) else { return };
        let leaves_ms = now.monotonic_ms + self.settings.presence_grace_ms;
        for (id, info) in users {
            let of = Of { index, id: &id };
            self.change_members(now, of, |members| members.await_return(&id, info, leaves_ms));
        }
    }

    /// The channels in which somebody is.
    fn with_members(&self) -> Vec<ChannelIndex> {
        let end = if self.presence.members > 0 { self.channels.end() } else { 0 };
        (0..end).filter(|index| self.has_members(*index)).collect()
    }

    /// Everybody leaves the channels of this owner.
    pub(super) fn let_all_leave(&mut self, now: Now) {
        for index in self.with_members() {
            self.expel(now, index, |_| true);
        }
    }

    /// Some of a channel's members leave, with all their connections.
    fn expel(&mut self, now: Now, index: ChannelIndex, who: impl Fn(&StateKey) -> bool) {
        let ids = self.stream_mut(index).state.as_deref().map(|state| state.present.members.ids());
        for id in ids.unwrap_or_default().into_iter().filter(who) {
            self.change_members(now, Of { index, id: &id }, |members| members.expel(&id));
        }
    }

    /// A connection of this shard has ended. Its user may come back.
    pub(super) fn depart_all(&mut self, connection: ConnectionId) {
        for (channel, ids) in self.presence.entries.take_all(connection) {
            self.send_departure(channel, connection, ids, false);
        }
    }

    /// A shard has lost everything: the connections that were members here, and who was present in its channels.
    pub(super) fn lose_presence(&mut self, now: Now, lost: ShardId) {
        self.now = now;
        let leaves_ms = now.monotonic_ms + self.settings.presence_grace_ms;
        for index in self.with_members() {
            let Some(state) = self.stream_mut(index).state.as_deref_mut() else { continue };
            for id in state.present.members.lose(lost, leaves_ms) {
                match id.is_user() {
                    true => _ = self.presence.leaves.insert((leaves_ms, index, id)),
                    false => {
                        self.change_members(now, Of { index, id: &id }, |members| members.pass(&id, NEVER))
                    }
                }
            }
        }
        let Self { presence, channels, settings, .. } = self;
        let is_its = |channel: &ChannelName| channels.hash(channel).owner(settings.shards) == lost;
        for (channel, entry) in presence.entries.lose(is_its) {
            self.send(lost, Message::Enter { channel, entry: Box::new(entry), ticket: None });
        }
    }

    /// Lets members go whose time is over, and tells how many there are where there are many, so many at most; tells how
    /// many that were.
    pub(super) fn pass_presence_time(&mut self, now: Now) -> usize {
        self.now = now;
        for done in 0..PRESENCE_DUE_PER_TURN {
            let due = |at: u64| at <= now.monotonic_ms;
            if self.presence.next_leave().is_some_and(|(at, ..)| due(*at)) {
                let Some((_, index, id)) = self.presence.leaves.pop_first() else { return done };
                let of = Of { index, id: &id };
                self.change_members(now, of, |members| members.pass(&id, now.monotonic_ms));
            } else if self.presence.digests.first().is_some_and(|(at, _)| due(*at)) {
                let Some((_, index)) = self.presence.digests.pop_first() else { return done };
                self.tell_digest(now, index);
            } else {
                return done;
            }
        }
        PRESENCE_DUE_PER_TURN
    }

    /// Does something to the members of a channel, and what follows from it.
    fn change_members(&mut self, now: Now, of: Of<'_>, change: impl FnOnce(&mut Members) -> Told) {
        let Of { index, id } = of;
        let state = self.stream_mut(index).state.get_or_insert_default();
        let members = &mut state.present.members;
        let before = (members.len() as u32, members.cost());
        let told = change(members);
        let after = (members.len() as u32, members.cost());
        let info = members.get(id).map(|member| member.info.clone()).unwrap_or_default();
        self.presence.members = self.presence.members - before.0 + after.0;
        self.times.bytes = self.times.bytes - before.1 + after.1;
        let (name, member) = (&self.channels[index].name, || id.clone());
        let notice = match told {
            Told::Enter => Some(Notice::MemberAdded(name.clone(), member(), info.clone())),
            Told::Leave => Some(Notice::MemberRemoved(name.clone(), member())),
            Told::Nothing | Told::Update | Told::Going(_) => None,
        };
        notice.into_iter().for_each(|notice| self.tell_notice(notice));
        let is_many = before.0.max(after.0) > self.settings.presence_events_members_max;
        let kind = match told {
            Told::Nothing => None,
            Told::Going(at_ms) => {
                self.presence.leaves.insert((at_ms, index, id.clone()));
                None
            }
            Told::Enter => Some(ChangeKind::Enter),
            Told::Update => Some(ChangeKind::Update),
            Told::Leave => Some(ChangeKind::Leave),
        };
        match kind {
            None => {}
            Some(kind) if is_many => self.digest(now, index, kind),
            Some(kind) => {
                let info = if kind == ChangeKind::Leave { Box::default() } else { info };
                self.stamp_at(now, index, payload(id.clone(), kind, &info));
            }
        }
        self.release_state(index);
    }

    /// Counts a member that has come or gone, for the next digest.
    fn digest(&mut self, now: Now, index: ChannelIndex, kind: ChangeKind) {
        let Some(state) = self.stream_mut(index).state.as_deref_mut() else { return };
        let present = &mut state.present;
        present.joined += u32::from(kind == ChangeKind::Enter);
        present.left += u32::from(kind == ChangeKind::Leave);
        if !std::mem::replace(&mut present.is_digesting, true) {
            self.presence.digests.insert((now.monotonic_ms + PRESENCE_DIGEST_INTERVAL_MS, index));
        }
    }

    fn tell_digest(&mut self, now: Now, index: ChannelIndex) {
        let Some(state) = self.stream_mut(index).state.as_deref_mut() else { return };
        let present = &mut state.present;
        let (joined, left) = (std::mem::take(&mut present.joined), std::mem::take(&mut present.left));
        present.is_digesting = false;
        let (users, all) = (present.members.users(), present.members.len() as u32);
        let said = format!(
            "{{\"users\":{users},\"guests\":{},\"connections\":{},\"joined\":{joined},\"left\":{left}}}",
            all - users,
            present.members.connections()
        );
        self.stamp_at(now, index, payload(StateKey::of_nobody(), ChangeKind::Digest, &said));
        self.release_state(index);
    }

    /// Tells an owner that a connection of this shard is there no more.
    fn send_departure(
        &mut self,
        channel: ChannelName,
        connection: ConnectionId,
        ids: Box<[StateKey]>,
        at_once: bool,
    ) {
        let owner = self.owner_of(&channel);
        if owner != self.settings.shard {
            return self.send(owner, Message::Depart { channel, connection, ids, at_once });
        }
        self.handle_depart(self.now, (owner, connection), &channel, &ids, at_once);
    }

    fn has_members(&self, index: ChannelIndex) -> bool {
        let stream = self.channels.get(index).and_then(|channel| channel.stream());
        let state = stream.and_then(|stream| stream.state.as_deref());
        state.is_some_and(|state: &State| !state.present.members.is_empty())
    }

    /// Lets go of a state that is none any more, and of its channel in time.
    pub(super) fn release_state(&mut self, index: ChannelIndex) {
        self.stream_mut(index).state.take_if(|state| state.is_empty());
        self.release(index);
    }
}

impl Presence {
    /// The next member that leaves, and when.
    fn next_leave(&self) -> Option<&(u64, ChannelIndex, StateKey)> {
        self.leaves.first().filter(|_| !self.holds_leaves)
    }
}

impl Present {
    /// Whether there is nobody, and followers have been told so.
    pub(super) fn is_over(&self) -> bool {
        self.members.is_empty() && !self.is_digesting
    }
}

/// What tells that a member has left.
pub(super) fn leave_of(id: StateKey) -> Payload {
    payload(id, ChangeKind::Leave, "")
}

fn payload(key: StateKey, kind: ChangeKind, said: &str) -> Payload {
    json_payload(Change { key, kind, expires_unix_ms: None }, said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hub::HubSettings, limits::Limits};

    const GRACE_MS: u64 = 100;

    fn at(ms: u64) -> Now {
        Now { monotonic_ms: ms, unix_ms: 1_000_000 + ms }
    }

    fn hub(change: impl FnOnce(&mut HubSettings)) -> Hub {
        let mut settings = HubSettings::of_shard(&Limits::default(), ShardId(0), 1, 100, 1, 2);
        settings.presence_grace_ms = GRACE_MS;
        change(&mut settings);
        Hub::new(settings)
    }

    fn room() -> ChannelName {
        ChannelName::new("room", 255).expect("a name")
    }

    fn connection(index: u32) -> ConnectionId {
        ConnectionId { index, generation: 1 }
    }

    fn enter(hub: &mut Hub, ms: u64, number: u32) -> Result<Position, StateError> {
        let ticket = Ticket { connection: connection(number), token: 1 };
        hub.enter(at(ms), ticket, &room(), StateKey::of_user(&format!("{number:03}")), "".into());
        match hub.poll_output() {
            Some(Output::Entered { result, .. }) => result,
            other => panic!("no answer but {other:?}"),
        }
    }

    /// What followers have been told, each by its word; a digest by what it says.
    fn told(hub: &mut Hub) -> Vec<String> {
        let ticket = Ticket { connection: connection(99), token: 1 };
        hub.read_history(at(0), ticket, &room(), None, 1000);
        let Some(Output::History { page, .. }) = hub.poll_output() else { panic!("no history") };
        let line = |payload: &Payload| match payload.change.as_ref().expect("a change").kind {
            ChangeKind::Digest => payload.text().expect("JSON").to_owned(),
            kind => kind.word().to_owned(),
        };
        page.publications.iter().map(|one| line(&one.payload)).collect()
    }

    #[test]
    fn beyond_so_many_members_followers_are_told_how_many_and_below_them_who_again() {
        let mut hub = hub(|settings| settings.presence_events_members_max = 2);
        for number in 0..4 {
            enter(&mut hub, 0, number).expect("there is room");
        }
        assert_eq!(told(&mut hub), ["enter", "enter"]);
        hub.depart(at(10), connection(3), &room());
        hub.handle_tick(at(PRESENCE_DIGEST_INTERVAL_MS - 1));
        assert_eq!(told(&mut hub).len(), 2);
        hub.handle_tick(at(PRESENCE_DIGEST_INTERVAL_MS));
        let digest = "{\"users\":3,\"guests\":0,\"connections\":3,\"joined\":2,\"left\":1}";
        assert_eq!(told(&mut hub), ["enter", "enter", digest]);
        hub.depart(at(6_000), connection(2), &room());
        hub.depart(at(6_000), connection(1), &room());
        hub.depart(at(6_000), connection(0), &room());
        assert_eq!(told(&mut hub)[3..], ["leave", "leave"]);
        hub.handle_tick(at(20_000));
        let digest = "{\"users\":0,\"guests\":0,\"connections\":0,\"joined\":0,\"left\":1}";
        assert_eq!(told(&mut hub)[5..], [digest]);
        assert!(hub.next_presence_ms().is_none() && hub.stream_mut(0).state.is_none());
        assert_eq!((hub.presence.members, hub.times.bytes), (0, 0));
    }

    #[test]
    fn limits_refuse_members_and_channels_and_whoever_is_there_may_say_something_else() {
        let mut hub = hub(|settings| {
            settings.presence_members_max = 1;
            settings.subscriptions_per_connection_max = 1;
        });
        enter(&mut hub, 0, 1).expect("there is room");
        assert_eq!(enter(&mut hub, 0, 2), Err(StateError::MembersFull));
        enter(&mut hub, 0, 1).expect("it is there");
        let other = ChannelName::new("other", 255).expect("a name");
        let ticket = Ticket { connection: connection(1), token: 1 };
        hub.enter(at(0), ticket, &other, StateKey::of_user("001"), "".into());
        let full = Err(StateError::EnteredTooMany);
        assert!(matches!(hub.poll_output(), Some(Output::Entered { result, .. }) if result == full));
        hub.settings.state_bytes_max = 0;
        hub.settings.presence_members_max = 10;
        assert_eq!(enter(&mut hub, 0, 3), Err(StateError::Full));
        hub.leave_all(connection(2));
        hub.leave_all(connection(3));
        assert_eq!(told(&mut hub), ["enter"], "who was refused leaves nothing");
    }

    #[test]
    fn a_guest_that_has_become_a_user_is_one_member_and_leaves_nobody_behind() {
        let mut hub = hub(|settings| settings.presence_members_max = 1);
        let ticket = Ticket { connection: connection(1), token: 1 };
        for id in [StateKey::of_guest(ShardId(0), connection(1)), StateKey::of_user("001")] {
            hub.enter(at(0), ticket, &room(), id, "".into());
            assert!(matches!(hub.poll_output(), Some(Output::Entered { result: Ok(_), .. })));
        }
        assert_eq!(told(&mut hub), ["enter", "leave", "enter"]);
        hub.depart(at(0), connection(1), &room());
        assert_eq!(told(&mut hub)[3..], ["leave"]);
        assert_eq!((hub.presence.members, hub.times.bytes), (0, 0));
    }

    #[test]
    fn who_says_too_much_is_there_as_before_and_leaves_as_any_other() {
        let mut hub = hub(|_| {});
        enter(&mut hub, 0, 1).expect("there is room");
        hub.settings.state_bytes_max = hub.times.bytes;
        enter(&mut hub, 0, 1).expect("it costs nothing more");
        let ticket = Ticket { connection: connection(1), token: 1 };
        hub.enter(at(0), ticket, &room(), StateKey::of_user("001"), "12345".into());
        let full = Err(StateError::Full);
        assert!(matches!(hub.poll_output(), Some(Output::Entered { result, .. }) if result == full));
        hub.depart(at(0), connection(1), &room());
        assert_eq!(told(&mut hub), ["enter", "leave"]);
        assert_eq!((hub.presence.members, hub.times.bytes), (0, 0));
    }

    #[test]
    fn a_user_whose_connection_ends_leaves_when_the_grace_is_over_and_not_before() {
        let mut hub = hub(|_| {});
        enter(&mut hub, 0, 1).expect("there is room");
        hub.handle_tick(at(10));
        hub.leave_all(connection(1));
        assert_eq!(hub.next_presence_ms(), Some(10 + GRACE_MS));
        hub.handle_tick(at(9 + GRACE_MS));
        assert_eq!(told(&mut hub), ["enter"]);
        hub.handle_tick(at(10 + GRACE_MS));
        assert_eq!(told(&mut hub), ["enter", "leave"]);
        assert!(hub.presence.entries.is_empty() && hub.next_presence_ms().is_none());
    }

    #[test]
    fn an_owner_that_begins_anew_is_told_again_who_is_there() {
        let mut hub = hub(|settings| settings.shards = 2);
        let names = (0..).map(|n| ChannelName::new(&format!("channel-{n}"), 255).expect("a name"));
        let there = names.clone().find(|name| hub.owner_of(name) == ShardId(1)).expect("some");
        let ticket = Ticket { connection: connection(1), token: 1 };
        hub.enter(at(0), ticket, &there, StateKey::of_user("anna"), "1".into());
        let number = match hub.poll_output() {
            Some(Output::Send { message: Message::Enter { ticket: Some(_), entry, .. }, .. }) => entry.number,
            other => panic!("it is not asked but {other:?}"),
        };
        let position = Position { epoch: 1, offset: 1 };
        let answer = Message::Entered { ticket, channel: there.clone(), number, result: Ok(position) };
        hub.handle_message(at(0), ShardId(1), answer);
        assert!(matches!(hub.poll_output(), Some(Output::Entered { .. })));
        hub.lose(at(0), ShardId(1));
        match hub.poll_output() {
            Some(Output::Send { message: Message::Enter { channel, entry, ticket: None }, .. }) => {
                assert_eq!((channel, entry.connection, &*entry.info), (there.clone(), connection(1), "1"));
            }
            other => panic!("it is not told but {other:?}"),
        }
        // Which it lets in though it has no room for others.
        let mut owner = self::hub(|settings| (settings.shards, settings.shard) = (2, ShardId(1)));
        owner.settings.state_bytes_max = 0;
        let entry = Entry {
            id: StateKey::of_user("anna"),
            info: "1".into(),
            connection: connection(1),
            number: 1,
            before: Default::default(),
        };
        let again =
            |ticket| Message::Enter { channel: there.clone(), entry: Box::new(entry.clone()), ticket };
        owner.handle_message(at(0), ShardId(0), again(Some(ticket)));
        assert_eq!(owner.presence.members, 0);
        owner.handle_message(at(0), ShardId(0), again(None));
        assert_eq!(owner.presence.members, 1);
        hub.depart(at(0), connection(1), &there);
        assert!(matches!(
            hub.poll_output(),
            Some(Output::Send { message: Message::Depart { at_once: true, .. }, .. })
        ));
        hub.lose(at(0), ShardId(1));
        assert!(hub.poll_output().is_none(), "nobody is there any more");
    }
}
