//! A channel as one shard knows it, and the table of all of them.

use std::ops::{Index, IndexMut};

use rustc_hash::FxHashMap;

use super::{audience::Audience, stream::Stream};
use crate::model::{ChannelName, Position, ShardId};

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

/// All channels of a shard.
#[derive(Debug, Default)]
pub(super) struct Channels {
    slots: Vec<Option<Channel>>,
    free: Vec<ChannelIndex>,
    by_name: FxHashMap<ChannelName, ChannelIndex>,
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

    /// The stream, if this shard owns it.
    pub(super) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.role {
            Role::Owner(stream) => Some(stream),
            Role::Follower { .. } => None,
        }
    }
}

impl Channels {
    /// Adds a channel that is not known yet.
    pub(super) fn insert(&mut self, name: ChannelName, role: Role) -> ChannelIndex {
        self.owned += u32::from(matches!(role, Role::Owner(_)));
        let channel = Channel {
            name: name.clone(),
            role,
            audience: Audience::default(),
            joins_pending: 0,
            is_in_fanout: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(channel);
                index
            }
            None => {
                self.slots.push(Some(channel));
                self.slots.len() as ChannelIndex - 1
            }
        };
        let known = self.by_name.insert(name, index);
        debug_assert!(known.is_none());
        index
    }

    /// Forgets an unused channel.
    pub(super) fn remove(&mut self, index: ChannelIndex) {
        let channel = self.slots[index as usize].take().expect("a channel is forgotten once");
        debug_assert!(channel.is_unused());
        self.owned -= u32::from(channel.stream().is_some());
        self.by_name.remove(&channel.name);
        self.free.push(index);
    }

    /// Where the channel of this name is.
    pub(super) fn find(&self, name: &ChannelName) -> Option<ChannelIndex> {
        self.by_name.get(name).copied()
    }

    /// Every channel, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.slots.iter().flatten()
    }

    /// How many channels this shard owns.
    pub(super) fn owned(&self) -> u32 {
        self.owned
    }
}

impl Index<ChannelIndex> for Channels {
    type Output = Channel;

    fn index(&self, index: ChannelIndex) -> &Channel {
        self.slots[index as usize].as_ref().expect("an index is kept only while its channel is known")
    }
}

impl IndexMut<ChannelIndex> for Channels {
    fn index_mut(&mut self, index: ChannelIndex) -> &mut Channel {
        self.slots[index as usize].as_mut().expect("an index is kept only while its channel is known")
    }
}
