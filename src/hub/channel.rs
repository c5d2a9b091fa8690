//! A channel as one shard knows it, and the table of all of them.

use std::ops::{Index, IndexMut};

use super::{
    audience::Audience,
    name_hash::{NameHash, NameHasher},
    slots::{Names, Slots},
    stream::Stream,
};
use crate::model::{ChannelName, Position, ShardId, StateKey};

/// A channel's place in the table. Stable while the channel is known; used again afterwards.
pub(super) type ChannelIndex = u32;

/// A channel this shard owns, or has or awaits subscribers of.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    pub(super) role: Role,
    /// The subscribers on this shard.
    pub(super) audience: Audience,
    /// Subscribers on this shard that wait for the owner. They keep the channel subscribed as seated ones do.
    pub(super) joins_pending: u32,
    /// Whether the channel stands in the fan-out queue, where its index must stay valid.
    pub(super) is_in_fanout: bool,
}

/// What this shard is to the channel.
#[derive(Debug)]
pub(super) enum Role {
    /// It stamps and keeps its publications.
    Owner(Stream),
    /// It hears of them from the owner.
    Follower {
        /// The owner.
        owner: ShardId,
        /// The last position heard of; `None` while the owner has not yet answered a join.
        position: Option<Position>,
    },
}

// Users with a channel each make as many channels as connections, so a channel's record is on the budget of one.
const _: () = assert!(size_of::<Option<Channel>>() <= 120);

/// All channels of a shard.
#[derive(Debug)]
pub(super) struct Channels {
    places: Slots,
    hasher: NameHasher,
    names: Names,
    owned: u32,
}

impl Channel {
    /// Whether this shard has or awaits subscribers.
    pub(super) fn is_subscribed(&self) -> bool {
        self.joins_pending > 0 || !self.audience.is_empty()
    }

    /// Whether nothing but the channel's position would be lost with it.
    pub(super) fn is_unused(&self) -> bool {
        !self.is_subscribed() && !self.is_in_fanout && self.stream().is_none_or(Stream::is_unused)
    }

    /// The stream, if this shard owns it.
    pub(super) fn stream(&self) -> Option<&Stream> {
        match &self.role {
            Role::Owner(stream) => Some(stream),
            Role::Follower { .. } => None,
        }
    }

    /// Where it is, as far as this shard knows.
    pub(super) fn position(&self) -> Option<Position> {
        match &self.role {
            Role::Owner(stream) => Some(stream.position),
            Role::Follower { position, .. } => *position,
        }
    }

    /// The stream, if this shard owns it.
    pub(super) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.role {
            Role::Owner(stream) => Some(stream),
            Role::Follower { .. } => None,
        }
    }
}

impl Channels {
    /// An empty table that finds names by a hash of this key.
    pub(super) fn new(hash_seed: u64) -> Self {
        Self { places: Slots::default(), hasher: NameHasher::new(hash_seed), names: Names::new(), owned: 0 }
    }

    /// Adds a channel that is not known yet.
    pub(super) fn insert(&mut self, name: ChannelName, role: Role) -> ChannelIndex {
        debug_assert!(self.find(&name).is_none());
        self.owned += u32::from(matches!(role, Role::Owner(_)));
        let hash = self.hash(&name).in_table();
        let channel =
            Channel { name, role, audience: Audience::default(), joins_pending: 0, is_in_fanout: false };
        let index = self.places.insert(channel);
        self.names.insert(hash, index);
        index
    }

    /// Forgets an unused channel.
    pub(super) fn remove(&mut self, index: ChannelIndex) {
        let channel = self.places.remove(index).expect("a channel is forgotten once");
        debug_assert!(channel.is_unused());
        self.owned -= u32::from(channel.stream().is_some());
        let hash = self.hash(&channel.name).in_table();
        self.names.remove(hash, index);
    }

    /// Gives memory back when a wave of channels is over, a little at once; tells whether there may be more.
    pub(super) fn give_back(&mut self) -> bool {
        self.names.give_back();
        self.places.give_back()
    }

    /// Where the channel of this name is.
    pub(super) fn find(&self, name: &ChannelName) -> Option<ChannelIndex> {
        self.names.find(self.hash(name).in_table(), |index| self[index].name == *name)
    }

    /// The hash of a name, known or not.
    pub(super) fn hash(&self, name: &ChannelName) -> NameHash {
        self.hasher.hash(name)
    }

    /// The hash of a key of any channel's state.
    pub(super) fn hash_key(&self, key: &StateKey) -> u64 {
        self.hasher.hash_text(key.as_str())
    }

    /// The channel at an index that may be out of date.
    pub(super) fn get(&self, index: ChannelIndex) -> Option<&Channel> {
        self.places.get(index)
    }

    /// The channel at an index that may be out of date, to change it.
    pub(super) fn get_mut(&mut self, index: ChannelIndex) -> Option<&mut Channel> {
        self.places.get_mut(index)
    }

    /// Every channel.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.places.iter()
    }

    /// Every channel's index is below this.
    pub(super) fn end(&self) -> ChannelIndex {
        self.places.end()
    }

    /// How many channels this shard owns.
    pub(super) fn owned(&self) -> u32 {
        self.owned
    }
}

impl Index<ChannelIndex> for Channels {
    type Output = Channel;

    fn index(&self, index: ChannelIndex) -> &Channel {
        self.places.get(index).expect("an index is kept only while its channel is known")
    }
}

impl IndexMut<ChannelIndex> for Channels {
    fn index_mut(&mut self, index: ChannelIndex) -> &mut Channel {
        self.places.get_mut(index).expect("an index is kept only while its channel is known")
    }
}
