//! The hub as the shard of subscribers: it seats them, asks owners on their behalf, and follows foreign channels.

use super::{
    Hub, Output, SubscribeError, Waiting,
    channel::{ChannelIndex, Role},
    joins::{Join, OnBehalf},
    membership::Member,
    reads::Read,
    seat::{Place, Seat},
};
use crate::{
    limits::{HISTORY_PAGE_BYTES_MAX, RECOVERY_PIECE_BYTES},
    mesh::{JoinAsked, JoinId, Message, StateWanted, Welcome},
    model::{
        ChannelName, ConnectionId, Now, Position, PublishError, ShardId, ShardSet, SharedPublication, Shown,
        Transport,
    },
};

/// What a subscriber has seen, and how much of what it missed it takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Everything up to here.
    pub position: Position,
    /// So many bytes, with bookkeeping, or one publication that is larger; 0 for nothing yet.
    pub bytes_max: u64,
}

impl Since {
    /// This position, for a subscriber that takes one part after another.
    pub fn part(position: Position) -> Self {
        Self { position, bytes_max: RECOVERY_PIECE_BYTES }
    }

    /// This position, for a poll that takes one part and goes.
    pub fn page(position: Position) -> Self {
        Self { position, bytes_max: HISTORY_PAGE_BYTES_MAX }
    }

    fn asked(since: Option<Self>, state: StateWanted, presence: bool) -> JoinAsked {
        let bytes_max = since.map_or(0, |since| since.bytes_max);
        JoinAsked { since: since.map(|since| since.position), bytes_max, state, presence }
    }
}

/// What a subscriber wants first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What it missed since then.
    pub since: Option<Since>,
    /// What it is shown behind that.
    pub shown: Shown,
    /// But not yet: it has much to read. [`Hub::catch_up`] brings it.
    pub is_later: bool,
    /// Something is lost to it already, so that it needs the state whatever it has seen.
    pub is_lost: bool,
}

impl From<Option<Since>> for Wanted {
    fn from(since: Option<Since>) -> Self {
        Self { since, ..Self::default() }
    }
}

impl Wanted {
    /// Whether it has been told already that it is subscribed: one that is to be shown something again.
    fn is_told(self, transport: Transport) -> bool {
        self.is_lost && transport == Transport::Json
    }

    fn asked(self) -> JoinAsked {
        let state = match (self.shown.state, self.since) {
            (false, _) => StateWanted::No,
            (true, Some(_)) if !self.is_lost => StateWanted::IfLost,
            (true, _) => StateWanted::Yes,
        };
        let asked = Since::asked(self.since, state, self.shown.presence);
        match self.since {
            None if asked.is_shown() && !self.is_later => {
                JoinAsked { bytes_max: RECOVERY_PIECE_BYTES, ..asked }
            }
            Some(_) if self.is_later => JoinAsked { bytes_max: 0, ..asked },
            _ => asked,
        }
    }
}

impl Hub {
    /// Subscribes a connection. [`Output::Joined`] or [`Output::JoinRefused`] follows, at once or when the
    /// channel's owner has answered, unless the connection leaves before.
    ///
    /// Without `since` it gets what is published from now on. With it, also what was missed, as far as it is held and
    /// part by part: what is published comes to it once it has caught up. The state, if wanted, comes before that.
    pub fn subscribe(
        &mut self,
        now: Now,
        connection: ConnectionId,
        transport: Transport,
        channel: ChannelName,
        wanted: impl Into<Wanted>,
        token: Option<u32>,
    ) -> Result<(), SubscribeError> {
        self.now = now;
        let wanted = wanted.into();
        let (asked, is_told) = (wanted.asked(), wanted.is_told(transport));
        let known = self.channels.find(&channel);
        if known.is_some_and(|index| self.memberships.contains(connection, index)) {
            return Err(SubscribeError::Already);
        }
        if self.memberships.count(connection.index) >= self.settings.subscriptions_per_connection_max {
            return Err(SubscribeError::TooMany);
        }
        let owner = self.owner_of(&channel);
        let JoinAsked { state, presence, .. } = asked;
        let is_behind = asked.since.is_some();
        let join =
            |channel| Join { connection, transport, token, channel, is_told, state, presence, is_behind };
        let is_elsewhere = self.brokered.is_some() || self.is_on_disk(&channel, asked.since);
        if owner == self.settings.shard && !asked.is_shown() && !is_elsewhere {
            let (index, welcome) = self.welcome(&channel, asked)?;
            match welcome.is_all() {
                _ if self.held.is_pending(index) => {
                    let join = self.await_owner(join(index));
                    self.say_of(Some(index), owner, Message::Joined { join, result: Ok(welcome) });
                }
                true => self.join_at_once(join(index), welcome),
                false => {
                    let id = self.await_owner(join(index));
                    self.tell_part(id, welcome);
                }
            }
            return Ok(());
        }
        if self.joins.are_too_many() {
            return Err(SubscribeError::Busy);
        }
        if owner == self.settings.shard {
            let index = self.own(&channel)?;
            let join = self.await_owner(join(index));
            self.read(owner, Read::Join { channel, asked, join });
            return Ok(());
        }
        let index =
            known.unwrap_or_else(|| self.channels.insert(channel, Role::Follower { owner, position: None }));
        let join = join(index);
        match self.channels[index].role {
            Role::Follower { position: Some(position), .. } if asked == JoinAsked::NOTHING => {
                self.join_at_once(join, Welcome::to(position));
            }
            _ => {
                let id = self.await_owner(join);
                self.ask_owner(owner, index, asked, id);
            }
        }
        Ok(())
    }

    /// Subscribes one that has been told that it is, in another process, and may have missed something since.
    pub(super) fn catch_up_again(
        &mut self,
        connection: ConnectionId,
        transport: Transport,
        channel: &ChannelName,
        (since, shown): (Since, Shown),
    ) {
        let state = if shown.state { StateWanted::IfLost } else { StateWanted::No };
        let (owner, me) = (self.owner_of(channel), self.settings.shard);
        let index = match (self.channels.find(channel), owner == me) {
            (Some(index), _) => index,
            (None, false) => self.channels.insert(channel.clone(), Role::Follower { owner, position: None }),
            (None, true) => match self.own(channel) {
                Ok(index) => index,
                Err(error) => {
                    let (channel, error, token) = (channel.clone(), error.into(), None);
                    let refused = Output::JoinRefused { connection, transport, token, channel, error };
                    return self.outputs.push_back(refused);
                }
            },
        };
        let id = self.await_owner(Join {
            connection,
            transport,
            token: None,
            channel: index,
            is_told: true,
            state,
            presence: shown.presence,
            is_behind: true,
        });
        let asked = Since::asked(Some(since), state, shown.presence);
        match owner == me {
            true => self.read(owner, Read::Join { channel: channel.clone(), asked, join: id }),
            false => self.ask_owner(owner, index, asked, id),
        }
    }

    /// Goes on with a subscriber that has read a part of what it missed, up to this position. [`Output::Joined`] or
    /// [`Output::JoinRefused`] follows, unless it does not wait for more.
    pub fn catch_up(&mut self, now: Now, connection: ConnectionId, channel: &ChannelName, since: Since) {
        self.now = now;
        let Some(index) = self.channels.find(channel) else { return };
        let Some(Place::Joining { join: id }) = self.memberships.seat(connection, index).map(Seat::place)
        else {
            return;
        };
        let Some(Join { state, presence, .. }) = self.joins.resume(id) else { return };
        let asked = Since::asked(Some(since), state, presence);
        let owner = self.owner_of(channel);
        if owner != self.settings.shard {
            return self.ask_owner(owner, index, asked, id);
        }
        self.read(owner, Read::Join { channel: channel.clone(), asked, join: id });
    }

    /// What a subscriber of `/ws` is shown of a channel beside what is published; nothing while it waits for that.
    pub fn shown(&self, connection: ConnectionId, channel: &ChannelName) -> Shown {
        let index = self.channels.find(channel);
        let seat = index.and_then(|index| self.memberships.seat(connection, index));
        seat.map(Seat::shown).unwrap_or_default()
    }

    /// Ends a subscription or the wait for one; tells whether there was any.
    pub fn unsubscribe(&mut self, connection: ConnectionId, channel: &ChannelName) -> bool {
        let Some(index) = self.channels.find(channel) else { return false };
        let Some(seat) = self.memberships.remove(connection, index) else { return false };
        if let Place::Joining { join } = seat.place() {
            let Join { connection, transport, token, is_told, .. } = *self.joins.waiting(join);
            if !is_told {
                // Whoever asked to subscribe still waits for a word about it.
                let (channel, error) = (channel.clone(), SubscribeError::Withdrawn);
                self.outputs.push_back(Output::JoinRefused { connection, transport, token, channel, error });
            }
        }
        self.vacate(Member { channel: index, seat });
        true
    }

    /// Refuses every subscription that waits for a channel of these shards; their answers, should they come, are thrown
    /// away. One that has been told that it is subscribed, and catches up, goes on when the shard does.
    pub fn give_up_joins(&mut self, owners: &ShardSet) {
        let is_theirs = |join: &&Join| match self.channels[join.channel].role {
            Role::Follower { owner, .. } => owners.contains(owner),
            Role::Owner(_) => false,
        };
        let given_up: Vec<Join> = self.joins.all_untold().filter(is_theirs).copied().collect();
        for Join { connection, transport, token, channel: index, .. } in given_up {
            let (channel, error) = (self.channels[index].name.clone(), SubscribeError::Busy);
            let Some(seat) = self.memberships.remove(connection, index) else { continue };
            self.outputs.push_back(Output::JoinRefused { connection, transport, token, channel, error });
            self.vacate(Member { channel: index, seat });
        }
    }

    /// Tells what time it is, for what is done without saying: a user's grace begins when its connection has ended, and not
    /// when the hub had something to do last.
    pub fn note_time(&mut self, now: Now) {
        self.now = now;
    }

    /// Ends everything a connection is subscribed to or waits for, and its part in who is present. Must be called before
    /// its index is used again.
    pub fn leave_all(&mut self, connection: ConnectionId) {
        self.depart_all(connection);
        for member in self.memberships.take_all(connection) {
            self.vacate(member);
        }
    }

    pub(super) fn handle_joined(&mut self, id: JoinId, result: Result<Welcome, PublishError>) {
        match self.joins.finish_own(id) {
            Some((index, OnBehalf::Seated)) => return self.handle_joined_again(index, result),
            Some((index, OnBehalf::Newcomers)) => return self.handle_newcomers_joined(index, result),
            None => {}
        }
        let result = match result {
            Ok(welcome) if !welcome.is_all() => return self.tell_part(id, welcome),
            result => result,
        };
        // Nobody waits any more. The answer must not make this shard a follower either: the leave that undoes the
        // join may be on its way, and what is delivered until it arrives has no audience.
        let Some(join) = self.joins.finish(id) else { return self.leave_again() };
        let index = join.channel;
        self.channels[index].joins_pending -= 1;
        match result {
            Ok(welcome) => {
                if let Role::Follower { position, .. } = &mut self.channels[index].role {
                    *position = Some(welcome.position);
                }
                let seat = self.seat(join, welcome);
                self.memberships.reseat(join.connection.index, Member { channel: index, seat });
            }
            Err(error) => {
                self.memberships.remove(join.connection, index);
                let Join { connection, transport, token, .. } = join;
                let (channel, error) = (self.channels[index].name.clone(), error.into());
                self.outputs.push_back(Output::JoinRefused { connection, transport, token, channel, error });
                self.leave_if_last(index);
            }
        }
    }

    pub(super) fn handle_deliver(&mut self, from: ShardId, publication: SharedPublication) {
        let receipt = publication.payload.receipt();
        let waiting = self.take_delivery(publication);
        if let Some((origin, number)) = receipt {
            self.receipts.note((origin, from), number, waiting);
        }
    }

    /// Gathers what has been delivered, if anybody here is to get it.
    fn take_delivery(&mut self, publication: SharedPublication) -> Option<Waiting> {
        let index = self.channels.find(&publication.channel)?;
        // Without a position, what comes was still meant for subscribers that have left; those who wait now are
        // told a later position.
        let channel = &mut self.channels[index];
        let Role::Follower { position: Some(position), .. } = &mut channel.role else { return None };
        *position = publication.position;
        let waiting = Waiting::at(index, *position);
        self.newcomers.keep(index, &publication);
        if channel.audience.is_empty() {
            return None;
        }
        self.gather(index, publication);
        Some(waiting)
    }

    pub(super) fn handle_announce(&mut self, name: &ChannelName, announced: Position) {
        let Some(index) = self.channels.find(name) else { return };
        let channel = &mut self.channels[index];
        let Role::Follower { position: Some(position), .. } = &mut channel.role else { return };
        *position = announced;
        if !channel.audience.is_empty() {
            channel.audience.announce(announced);
            self.queue_fanout(index);
        }
    }

    fn join_at_once(&mut self, join: Join, welcome: Welcome) {
        let seat = self.seat(join, welcome);
        self.memberships.insert(join.connection, Member { channel: join.channel, seat });
    }

    /// Keeps a subscriber waiting for what the channel's owner says.
    fn await_owner(&mut self, join: Join) -> JoinId {
        let id = self.joins.begin(join);
        let seat = Seat::new(Place::Joining { join: id });
        self.memberships.insert(join.connection, Member { channel: join.channel, seat });
        self.channels[join.channel].joins_pending += 1;
        id
    }

    pub(super) fn ask_owner(&mut self, owner: ShardId, index: ChannelIndex, asked: JoinAsked, join: JoinId) {
        let channel = self.channels[index].name.clone();
        self.send(owner, Message::Join { channel, asked, join });
    }

    /// Tells a subscriber a part of what it missed; it is not in the audience before it has all of it.
    fn tell_part(&mut self, id: JoinId, welcome: Welcome) {
        if !welcome.recovered {
            self.joins.lose(id);
        }
        let Some(join) = self.joins.rest(id) else { return self.leave_again() };
        self.tell(join, welcome);
    }

    /// Admits a subscriber to the channel's audience and welcomes it.
    fn seat(&mut self, join: Join, welcome: Welcome) -> Seat {
        let audience = &mut self.channels[join.channel].audience;
        let seat = audience.admit(join.connection.index, join.transport, welcome.position);
        let seat = if join.transport == Transport::Json { seat.showing(join.shown()) } else { seat };
        self.note_occupancy(join.channel);
        self.tell(join, welcome);
        seat
    }

    fn tell(&mut self, join: Join, welcome: Welcome) {
        let Join { connection, transport, token, channel, is_told, .. } = join;
        let channel = self.channels[channel].name.clone();
        self.outputs.push_back(Output::Joined {
            connection,
            transport,
            token,
            channel,
            welcome,
            is_further: is_told,
        });
    }

    /// Clears the seat of a membership that is gone.
    pub(super) fn vacate(&mut self, Member { channel: index, seat }: Member) {
        match seat.place() {
            Place::Joining { join } => {
                let owner = match self.channels[index].role {
                    Role::Follower { owner, .. } => owner,
                    Role::Owner(_) => self.settings.shard,
                };
                let is_own = owner == self.settings.shard;
                let name = (!is_own).then(|| self.channels[index].name.clone());
                self.joins.cancel(join, owner, name);
                self.channels[index].joins_pending -= 1;
            }
            place @ (Place::Listed { .. } | Place::Late { .. }) => {
                for moved in self.channels[index].audience.remove(place) {
                    self.memberships.reseat(moved.connection, Member { channel: index, seat: moved.seat });
                }
            }
        }
        self.leave_if_last(index);
    }

    /// An owner has taken its time over what nobody here waits for any more: what this shard said meanwhile of leaving the
    /// channel came too early.
    fn leave_again(&mut self) {
        let Some(channel) = self.joins.take_late() else { return };
        let is_left = self.channels.find(&channel).is_none_or(|index| !self.channels[index].is_subscribed());
        if is_left {
            let owner = self.owner_of(&channel);
            self.send(owner, Message::Leave { channel });
        }
    }

    /// Gives a channel up when nobody here subscribes to it or waits to.
    pub(super) fn leave_if_last(&mut self, index: ChannelIndex) {
        let now_ms = self.now.monotonic_ms;
        let channel = &mut self.channels[index];
        if channel.is_subscribed() {
            return;
        }
        match &mut channel.role {
            Role::Owner(stream) => stream.used_ms = now_ms,
            Role::Follower { owner, position } => {
                *position = None;
                let (owner, channel) = (*owner, channel.name.clone());
                self.send(owner, Message::Leave { channel });
            }
        }
        self.note_occupancy(index);
        self.release(index);
    }
}
