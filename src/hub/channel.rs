//! A channel as one shard knows it, and the table of all of them.

use std::ops::{Index, IndexMut};

use hashbrown::HashTable;

use super::{
    audience::Audience,
    name_hash::{NameHash, NameHasher},
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
    slots: Vec<Option<Channel>>,
    free: Vec<ChannelIndex>,
    names: NameHasher,
    by_name: HashTable<Entry>,
    owned: u32,
    /// When it is looked next for whether some of the table can be given back.
    looks_ms: u64,
}

/// Places for channels that are kept, used or not.
const SLOTS_KEPT: usize = 1024;
/// Time between looks at what can be given back.
const LOOK_MS: u64 = 1000;

/// A channel in the table of names. The name itself is only with the channel; its hash is here as well, so that the
/// table grows without a visit to each channel, which at a million of them would be a pause to be felt.
#[derive(Debug)]
struct Entry {
    hash: u32,
    channel: ChannelIndex,
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

impl Entry {
    /// What the table takes for the hash: it picks buckets by the lowest bits and tells entries apart by the highest.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl Channels {
    /// An empty table that finds names by a hash of this key.
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            names: NameHasher::new(hash_seed),
            by_name: HashTable::new(),
            owned: 0,
            looks_ms: 0,
        }
    }

    /// Adds a channel that is not known yet.
    pub(super) fn insert(&mut self, name: ChannelName, role: Role) -> ChannelIndex {
        debug_assert!(self.find(&name).is_none());
        self.owned += u32::from(matches!(role, Role::Owner(_)));
        let hash = self.hash(&name).in_table();
        let channel =
            Channel { name, role, audience: Audience::default(), joins_pending: 0, is_in_fanout: false };
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
        let entry = Entry { hash, channel: index };
        self.by_name.insert_unique(Entry::spread(hash), entry, |entry| Entry::spread(entry.hash));
        index
    }

    /// Forgets an unused channel.
    pub(super) fn remove(&mut self, index: ChannelIndex) {
        let channel = self.slots[index as usize].take().expect("a channel is forgotten once");
        debug_assert!(channel.is_unused());
        self.owned -= u32::from(channel.stream().is_some());
        let hash = self.hash(&channel.name).in_table();
        let entry = self.by_name.find_entry(Entry::spread(hash), |entry| entry.channel == index);
        entry.expect("every known channel is in the table").remove();
        self.free.push(index);
    }

    /// Gives memory back when a wave of channels is over: the latter half of the table, when nothing is there. It looks for
    /// that once in a while: a look at a table of a million takes a millisecond.
    pub(super) fn give_back(&mut self, now_ms: u64) {
        let len = self.slots.len();
        if len < 2 * SLOTS_KEPT || self.free.len() < len / 2 || now_ms < self.looks_ms {
            return;
        }
        self.looks_ms = now_ms + LOOK_MS;
        let end = self.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if end > len / 2 {
            return;
        }
        self.slots.truncate(end);
        self.slots.shrink_to(SLOTS_KEPT);
        self.free.retain(|index| (*index as usize) < end);
        self.free.shrink_to(SLOTS_KEPT);
        self.by_name.shrink_to(SLOTS_KEPT, |entry| Entry::spread(entry.hash));
    }

    /// Where the channel of this name is.
    pub(super) fn find(&self, name: &ChannelName) -> Option<ChannelIndex> {
        let hash = self.hash(name).in_table();
        let is_wanted = |entry: &Entry| entry.hash == hash && self[entry.channel].name == *name;
        self.by_name.find(Entry::spread(hash), is_wanted).map(|entry| entry.channel)
    }

    /// The hash of a name, known or not.
    pub(super) fn hash(&self, name: &ChannelName) -> NameHash {
        self.names.hash(name)
    }

    /// The hash of a key of any channel's state.
    pub(super) fn hash_key(&self, key: &StateKey) -> u64 {
        self.names.hash_text(key.as_str())
    }

    /// The channel at an index that may be out of date.
    pub(super) fn get(&self, index: ChannelIndex) -> Option<&Channel> {
        self.slots.get(index as usize)?.as_ref()
    }

    /// The channel at an index that may be out of date, to change it.
    pub(super) fn get_mut(&mut self, index: ChannelIndex) -> Option<&mut Channel> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Every channel.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.slots.iter().flatten()
    }

    /// Every channel's index is below this.
    pub(super) fn end(&self) -> ChannelIndex {
        self.slots.len() as ChannelIndex
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
