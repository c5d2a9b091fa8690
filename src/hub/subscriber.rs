//! The hub as the shard of subscribers: it seats them, asks owners on their behalf, and follows foreign channels.

use super::{
    Hub, Output, SubscribeError,
    channel::{ChannelIndex, Role},
    joins::Join,
    membership::Member,
    seat::{Place, Seat},
    stream::Welcome,
};
use crate::{
    mesh::{JoinId, Message},
    model::{ChannelName, ConnectionId, Now, Position, PublishError, ShardId, SharedPublication, Transport},
};

impl Hub {
    /// Subscribes a connection. [`Output::Joined`] or [`Output::JoinRefused`] follows, at once or when the
    /// channel's owner has answered, unless the connection leaves before.
    ///
    /// Without `since` it gets what is published from now on. With it, also what was missed, as far as it is held.
    pub fn subscribe(
        &mut self,
        now: Now,
        connection: ConnectionId,
        transport: Transport,
        channel: ChannelName,
        since: Option<Position>,
        token: Option<u32>,
    ) -> Result<(), SubscribeError> {
        self.now_ms = now.monotonic_ms;
        let known = self.channels.find(&channel);
        if known.is_some_and(|index| self.memberships.contains(connection, index)) {
            return Err(SubscribeError::Already);
        }
        if self.memberships.count(connection.index) >= self.settings.subscriptions_per_connection_max {
            return Err(SubscribeError::TooMany);
        }
        let owner = self.owner_of(&channel);
        if owner == self.settings.shard {
            let (index, welcome) = self.welcome(&channel, since)?;
            self.join_at_once(Join { connection, transport, token, channel: index }, welcome);
            return Ok(());
        }
        if self.joins.are_too_many() {
            return Err(SubscribeError::Busy);
        }
        let index =
            known.unwrap_or_else(|| self.channels.insert(channel, Role::Follower { owner, position: None }));
        let join = Join { connection, transport, token, channel: index };
        match self.channels[index].role {
            Role::Follower { position: Some(position), .. } if since.is_none() => {
                self.join_at_once(join, Welcome { position, missed: Vec::new(), recovered: true });
            }
            _ => self.join_through(owner, join, since),
        }
        Ok(())
    }

    /// Ends a subscription or the wait for one; tells whether there was any.
    pub fn unsubscribe(&mut self, connection: ConnectionId, channel: &ChannelName) -> bool {
        let Some(index) = self.channels.find(channel) else { return false };
        let Some(seat) = self.memberships.remove(connection, index) else { return false };
        if let Place::Joining { join } = seat.place() {
            // Whoever asked to subscribe still waits for a word about it.
            let Join { connection, transport, token, .. } = *self.joins.waiting(join);
            let (channel, error) = (channel.clone(), SubscribeError::Withdrawn);
            self.outputs.push_back(Output::JoinRefused { connection, transport, token, channel, error });
        }
        self.vacate(Member { channel: index, seat });
        true
    }

    /// Ends everything a connection is subscribed to or waits for. Must be called before its index is used again.
    pub fn leave_all(&mut self, connection: ConnectionId) {
        for member in self.memberships.take_all(connection) {
            self.vacate(member);
        }
    }

    pub(super) fn handle_joined(
        &mut self,
        id: JoinId,
        result: Result<Position, PublishError>,
        missed: Vec<SharedPublication>,
        recovered: bool,
    ) {
        // Nobody waits any more. The answer must not make this shard a follower either: the leave that undoes the
        // join may be on its way, and what is delivered until it arrives has no audience.
        let Some(join) = self.joins.finish(id) else { return };
        let index = join.channel;
        self.channels[index].joins_pending -= 1;
        match result {
            Ok(heard) => {
                if let Role::Follower { position, .. } = &mut self.channels[index].role {
                    *position = Some(heard);
                }
                let welcome = Welcome { position: heard, missed, recovered };
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

    pub(super) fn handle_deliver(&mut self, publication: SharedPublication) {
        let Some(index) = self.channels.find(&publication.channel) else { return };
        // Without a position, what comes was still meant for subscribers that have left; those who wait now are
        // told a later position.
        let channel = &mut self.channels[index];
        let Role::Follower { position: Some(position), .. } = &mut channel.role else { return };
        *position = publication.position;
        if !channel.audience.is_empty() {
            self.gather(index, publication);
        }
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

    fn join_through(&mut self, owner: ShardId, join: Join, since: Option<Position>) {
        let index = join.channel;
        let id = self.joins.begin(join);
        let seat = Seat::new(Place::Joining { join: id });
        self.memberships.insert(join.connection, Member { channel: index, seat });
        let channel = &mut self.channels[index];
        channel.joins_pending += 1;
        let channel = channel.name.clone();
        self.send(owner, Message::Join { channel, since, join: id });
    }

    /// Admits a subscriber to the channel's audience and welcomes it.
    fn seat(&mut self, join: Join, welcome: Welcome) -> Seat {
        let Join { connection, transport, token, channel: index } = join;
        let Welcome { position, missed, recovered } = welcome;
        let channel = &mut self.channels[index];
        let seat = channel.audience.admit(connection.index, transport, position);
        let channel = channel.name.clone();
        self.outputs.push_back(Output::Joined {
            connection,
            transport,
            token,
            channel,
            position,
            missed,
            recovered,
        });
        seat
    }

    /// Clears the seat of a membership that is gone.
    fn vacate(&mut self, Member { channel: index, seat }: Member) {
        match seat.place() {
            Place::Joining { join } => {
                self.joins.cancel(join);
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

    /// Gives a channel up when nobody here subscribes to it or waits to.
    fn leave_if_last(&mut self, index: ChannelIndex) {
        let now_ms = self.now_ms;
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
        self.release(index);
    }
}
