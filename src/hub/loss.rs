//! Another shard has failed and begun anew: what it was asked will not be answered, and of what it owned nothing is left.
//!
//! Those who follow its channels here stay. It is asked to deliver to them again, and they are told where the channel is
//! now, in an epoch of its own: so they know that something is lost.
//!
//! ```text
//!   lose ─► waited for it: refused              seated here: Rejoining ─► asked again ─► announced: a gap
//! ```
//!
//! It looks at every channel in one turn, for what is said to the shard from now on must not meet what was before: a
//! million channels are some tens of milliseconds, once in a failure.

use super::{
    Hub, Output, SubscribeError,
    channel::{ChannelIndex, Role},
    joins::{Join, OnBehalf},
    membership::Member,
    name_hash::NameHasher,
};
use crate::{
    mesh::{JoinAsked, Welcome},
    model::{ChannelName, Now, PublishError, ShardId},
};

/// Tells which shard owns a channel, without the hub.
#[derive(Clone, Debug)]
pub struct Owners {
    names: NameHasher,
    shards: u16,
}

impl Owners {
    /// Of so many shards, where names are hashed with this key.
    pub fn new(hash_seed: u64, shards: u16) -> Self {
        Self { names: NameHasher::new(hash_seed), shards }
    }

    /// The owner of a channel.
    pub fn of(&self, channel: &ChannelName) -> ShardId {
        self.names.hash(channel).owner(self.shards)
    }
}

impl Hub {
    /// Which shard owns which channel.
    pub fn owners(&self) -> Owners {
        Owners::new(self.settings.hash_seed, self.settings.shards)
    }

    /// A shard has lost everything: its subscriptions, its channels, and what it was asked. Nothing that was said to it
    /// before may be under way in [`Self::poll_output`], and nothing that it said before may come after.
    pub fn lose(&mut self, now: Now, lost: ShardId) {
        self.now = now;
        self.behind.forget(lost);
        self.held.forget(lost);
        self.listings.withdraw_all(lost);
        self.lose_receipts(lost);
        self.refuse_joins(lost);
        let channels = &self.channels;
        let is_its = |index: ChannelIndex| is_follower_of(&channels[index].role, lost);
        for index in self.joins.forget_answers(lost, is_its) {
            self.channels[index].joins_pending -= 1;
        }
        for index in 0..self.channels.end() {
            self.lose_channel(index, lost);
        }
        self.lose_presence(now, lost);
    }

    /// What an owner that began anew says of a channel which is followed here.
    pub(super) fn handle_joined_again(&mut self, index: ChannelIndex, result: Result<Welcome, PublishError>) {
        let channel = &mut self.channels[index];
        channel.joins_pending -= 1;
        match result {
            Ok(Welcome { position: now, .. }) => {
                if let Role::Follower { position, .. } = &mut channel.role {
                    *position = Some(now);
                }
                if !channel.audience.is_empty() {
                    channel.audience.announce(now);
                    self.queue_fanout(index);
                }
                self.leave_if_last(index);
            }
            // It has no room for the channel now; a tick asks again.
            Err(_) => self.unjoined.push(channel.name.clone()),
        }
    }

    /// Asks again for channels of which an owner that began anew had no room.
    pub(super) fn join_again_later(&mut self) {
        for name in std::mem::take(&mut self.unjoined) {
            if let Some(index) = self.channels.find(&name)
                && let Role::Follower { owner, position: None } = self.channels[index].role
            {
                self.join_again(index, owner);
            }
        }
    }

    /// Refuses those who wait for an answer of the shard.
    fn refuse_joins(&mut self, lost: ShardId) {
        let is_its = |join: &&Join| is_follower_of(&self.channels[join.channel].role, lost);
        let refused: Vec<Join> = self.joins.all_asked().filter(is_its).copied().collect();
        for Join { connection, transport, token, channel: index, .. } in refused {
            let (channel, error) = (self.channels[index].name.clone(), SubscribeError::Busy);
            let Some(seat) = self.memberships.remove(connection, index) else { continue };
            self.outputs.push_back(Output::JoinRefused { connection, transport, token, channel, error });
            self.vacate(Member { channel: index, seat });
        }
    }

    fn lose_channel(&mut self, index: ChannelIndex, lost: ShardId) {
        let now_ms = self.now.monotonic_ms;
        match self.channels.get_mut(index).map(|channel| &mut channel.role) {
            Some(Role::Owner(stream)) => {
                if stream.remove_shard(lost) {
                    stream.used_ms = now_ms;
                    self.note_occupancy(index);
                    self.release(index);
                }
            }
            Some(Role::Follower { owner, position }) if *owner == lost => {
                *position = None;
                self.join_again(index, lost);
                if !self.channels[index].is_subscribed() {
                    self.release(index);
                }
            }
            Some(Role::Follower { .. }) | None => {}
        }
    }

    /// Asks the owner to deliver to those who are seated here.
    fn join_again(&mut self, index: ChannelIndex, owner: ShardId) {
        if self.channels[index].audience.is_empty() {
            return;
        }
        let join = self.joins.begin_own(index, OnBehalf::Seated);
        self.channels[index].joins_pending += 1;
        self.ask_owner(owner, index, JoinAsked::NOTHING, join);
    }
}

fn is_follower_of(role: &Role, shard: ShardId) -> bool {
    matches!(role, Role::Follower { owner, .. } if *owner == shard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::{FanoutLimit, HubSettings, Since},
        limits::Limits,
        mesh::Message,
        model::{ConnectionId, Payload, Position, Publication, SharedPublication, Transport},
    };

    const HERE: ShardId = ShardId(0);
    const THERE: ShardId = ShardId(1);
    const NOW: Now = Now { monotonic_ms: 7, unix_ms: 0 };

    fn connection(index: u32) -> ConnectionId {
        ConnectionId { index, generation: 1 }
    }

    fn at(epoch: u64, offset: u64) -> Position {
        Position { epoch, offset }
    }

    struct Rig {
        hub: Hub,
        channel: ChannelName,
    }

    impl Rig {
        /// A hub, and a channel that this shard owns.
        fn new(owner: ShardId) -> Self {
            let hub = Hub::new(HubSettings::of_shard(&Limits::default(), HERE, 2, 100, 1, 2));
            let owners = hub.owners();
            let names = (0..).map(|n| ChannelName::new(&format!("channel-{n}"), 255).expect("a name"));
            let channel = names.into_iter().find(|name| owners.of(name) == owner).expect("there is one");
            Self { hub, channel }
        }

        fn subscribe(&mut self, index: u32, since: Option<Since>) {
            let (who, channel) = (connection(index), self.channel.clone());
            self.hub.subscribe(NOW, who, Transport::Json, channel, since, Some(index)).expect("it may");
        }

        /// What it says next to the other shard, which must be a join: its number.
        fn join(&mut self) -> u32 {
            match self.hub.poll_output() {
                Some(Output::Send {
                    to: THERE,
                    message: Message::Join { asked: JoinAsked::NOTHING, join, .. },
                }) => join,
                other => panic!("no join but {other:?}"),
            }
        }

        fn joined(&mut self, join: u32, position: Position) {
            let result = Ok(Welcome::to(position));
            self.hub.handle_message(NOW, THERE, Message::Joined { join, result });
        }

        /// Seats a subscriber.
        fn seat(&mut self, index: u32, position: Position) {
            self.subscribe(index, None);
            let join = self.join();
            self.joined(join, position);
            assert!(matches!(self.hub.poll_output(), Some(Output::Joined { .. })));
        }

        fn publication(&self, position: Position) -> SharedPublication {
            let payload = Payload::new(*b"hello", None);
            Publication { channel: self.channel.clone(), position, unix_ms: 0, payload }.into()
        }

        /// What is handed out next: the offsets, whether something is lost before them, and where that is.
        fn handed_out(&mut self) -> Option<(Vec<u64>, bool, Position)> {
            let fanout = self.hub.poll_fanout(FanoutLimit::NONE)?;
            let offsets = fanout.publications.iter().map(|one| one.position.offset).collect();
            Some((offsets, fanout.gap, fanout.since))
        }

        /// Everybody leaves; nothing may be left.
        fn leave(mut self, indices: &[u32]) {
            indices.iter().for_each(|index| self.hub.leave_all(connection(*index)));
            while self.hub.poll_output().is_some() || self.handed_out().is_some() {}
            assert_eq!((self.hub.channels.iter().count(), self.hub.joins.outstanding()), (0, 0));
        }
    }

    #[test]
    fn who_is_seated_stays_and_is_told_the_epoch_that_the_owner_has_now() {
        let mut rig = Rig::new(THERE);
        rig.seat(1, at(5, 40));
        let before = rig.publication(at(5, 41));
        rig.hub.handle_message(NOW, THERE, Message::Deliver(before));
        rig.hub.lose(NOW, THERE);
        let join = rig.join();
        assert!(rig.hub.poll_output().is_none());
        let unasked = rig.publication(at(9, 2));
        rig.hub.handle_message(NOW, THERE, Message::Deliver(unasked));
        assert_eq!(rig.handed_out(), Some((vec![41], false, at(5, 40))), "what had come is not lost");
        assert_eq!(rig.handed_out(), None);
        rig.joined(join, at(9, 3));
        let after = rig.publication(at(9, 4));
        rig.seat_without_asking(2, at(9, 3));
        rig.hub.handle_message(NOW, THERE, Message::Deliver(after));
        assert_eq!(rig.handed_out(), Some((vec![4], true, at(9, 3))));
        assert_eq!(rig.handed_out(), Some((vec![4], false, at(9, 3))), "who came since has lost nothing");
        rig.leave(&[1, 2]);
    }

    impl Rig {
        /// Seats a subscriber where the position is known.
        fn seat_without_asking(&mut self, index: u32, position: Position) {
            self.subscribe(index, None);
            match self.hub.poll_output() {
                Some(Output::Joined { welcome, .. }) => assert_eq!(welcome.position, position),
                other => panic!("not seated but {other:?}"),
            }
        }
    }

    #[test]
    fn an_owner_that_fails_again_before_it_has_answered_is_asked_again_and_a_full_one_later() {
        let mut rig = Rig::new(THERE);
        rig.seat(1, at(5, 40));
        rig.hub.lose(NOW, THERE);
        rig.join();
        rig.hub.lose(NOW, THERE);
        let join = rig.join();
        assert!(rig.hub.poll_output().is_none() && rig.hub.joins.outstanding() == 1);
        let result = Err(PublishError::ChannelsFull);
        rig.hub.handle_message(NOW, THERE, Message::Joined { join, result });
        assert!(rig.hub.poll_output().is_none());
        rig.hub.handle_tick(NOW);
        let join = rig.join();
        rig.joined(join, at(9, 0));
        assert_eq!(rig.handed_out(), Some((vec![], true, at(9, 0))));
        rig.leave(&[1]);
    }

    #[test]
    fn who_waits_is_refused_and_who_had_given_up_is_forgotten() {
        let mut rig = Rig::new(THERE);
        rig.subscribe(1, None);
        rig.subscribe(2, None);
        rig.join();
        rig.join();
        rig.hub.leave_all(connection(2));
        rig.hub.lose(NOW, THERE);
        match rig.hub.poll_output() {
            Some(Output::JoinRefused { connection: who, error: SubscribeError::Busy, .. }) => {
                assert_eq!(who, connection(1));
            }
            other => panic!("not refused but {other:?}"),
        }
        rig.leave(&[]);
    }

    #[test]
    fn who_catches_up_goes_on_with_the_new_owner_and_who_leaves_meanwhile_leaves_nothing() {
        let mut rig = Rig::new(THERE);
        rig.subscribe(1, Some(Since::part(at(5, 1))));
        let join = match rig.hub.poll_output() {
            Some(Output::Send { message: Message::Join { join, .. }, .. }) => join,
            other => panic!("no join but {other:?}"),
        };
        let part = Welcome { rest: 3, ..Welcome::to(at(5, 9)) };
        rig.hub.handle_message(NOW, THERE, Message::Joined { join, result: Ok(part) });
        assert!(matches!(rig.hub.poll_output(), Some(Output::Joined { .. })));
        rig.hub.lose(NOW, THERE);
        assert!(rig.hub.poll_output().is_none(), "it asks when it has read");
        rig.hub.catch_up(NOW, connection(1), &rig.channel.clone(), Since::part(at(5, 9)));
        assert!(matches!(rig.hub.poll_output(), Some(Output::Send { message: Message::Join { .. }, .. })));
        rig.joined(join, at(8, 1));
        rig.hub.lose(NOW, THERE);
        let join = loop {
            match rig.hub.poll_output() {
                Some(Output::Send { message: Message::Join { join, .. }, .. }) => break join,
                Some(_) => {}
                None => panic!("it is not asked again"),
            }
        };
        rig.hub.leave_all(connection(1));
        rig.joined(join, at(9, 0));
        rig.leave(&[]);
    }

    #[test]
    fn an_owner_forgets_the_shard_that_has_lost_everything() {
        let mut rig = Rig::new(HERE);
        let (channel, join) = (rig.channel.clone(), 3);
        let asked = Message::Join { channel: channel.clone(), asked: JoinAsked::NOTHING, join };
        rig.hub.handle_message(NOW, THERE, asked);
        assert!(matches!(rig.hub.poll_output(), Some(Output::Send { .. })));
        rig.hub.deliver_dropped(THERE, &channel);
        rig.hub.lose(NOW, THERE);
        rig.hub.handle_tick(NOW);
        rig.hub.publish(NOW, channel, Payload::new(*b"hello", None), None);
        assert!(rig.hub.poll_output().is_none(), "nobody is told");
    }
}
