//! Small identifiers that cross layers, and the time a turn sees.

use std::fmt;

/// A shard: one core's executor and all it owns. Numbered from 0 within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The other shards, of so many in all.
    pub fn others(self, count: u16) -> impl Iterator<Item = ShardId> {
        (0..count).map(ShardId).filter(move |shard| *shard != self)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node that a broker joins with others: a number drawn when it starts, which stands in the ids that it gives, so that whoever
/// is shown one knows whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u16);

impl NodeId {
    /// One that no broker joins with others.
    pub const NONE: Self = Self(0);

    /// What stands in a socket's id in place of the name of a node that has none.
    pub(super) const UNNAMED: u16 = 0x4cd7;

    /// Draws one.
    pub fn draw() -> Self {
        let drawn = || Self(fastrand::u16(1..));
        // In a socket's id that stands for none.
        std::iter::repeat_with(drawn).find(|node| node.0 != Self::UNNAMED).unwrap_or_default()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To another shard of this process.
    Shard(ShardId),
    /// To another node, byte for byte.
    Node(NodeId),
}

/// A connection of one shard. The generation tells a reused index from the connection that had it before, so a
/// stale id is recognised and ignored, never misdelivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// The index in the shard's slab, which is also the registered descriptor's index.
    pub index: u32,
    /// Counts the connections that have used this index; wraps after 2³².
    pub generation: u32,
}

impl ConnectionId {
    /// The index of no connection: the application itself asks.
    pub const APPLICATION: u32 = u32::MAX;
    /// Likewise: another node asks.
    pub const NODE: u32 = u32::MAX - 1;
}

/// Names who waits for an answer that another shard may have to give. Carried there and back unchanged: no shard
/// keeps a table of questions under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The connection on whose behalf the question was asked.
    pub connection: ConnectionId,
    /// The asker's own number for the question.
    pub token: u32,
}

/// The time of the current turn. Read once per turn, passed as an argument; nothing below the shard reads a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds of the monotonic clock since the process started.
    pub monotonic_ms: u64,
    /// Milliseconds since the Unix epoch, for people only; may jump.
    pub unix_ms: u64,
}

/// A set of shards, as wide as [`crate::limits::SHARDS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ShardSet([u64; 4]);

impl ShardSet {
    /// Adds a shard; tells whether it was absent.
    pub fn insert(&mut self, shard: ShardId) -> bool {
        let (word, bit) = (usize::from(shard.0 / 64), 1 << (shard.0 % 64));
        let absent = self.0[word] & bit == 0;
        self.0[word] |= bit;
        absent
    }

    /// Removes a shard; tells whether it was present.
    pub fn remove(&mut self, shard: ShardId) -> bool {
        let (word, bit) = (usize::from(shard.0 / 64), 1 << (shard.0 % 64));
        let present = self.0[word] & bit != 0;
        self.0[word] &= !bit;
        present
    }

    /// Whether a shard is in the set.
    pub fn contains(&self, shard: ShardId) -> bool {
        self.0[usize::from(shard.0 / 64)] & (1 << (shard.0 % 64)) != 0
    }

    /// Whether no shard is in the set.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// The shards in the set, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> + use<> {
        let words = self.0;
        (0..4u16).flat_map(move |word| {
            let mut rest = words[usize::from(word)];
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as u16;
                    rest &= rest - 1;
                    ShardId(word * 64 + bit)
                })
            })
        })
    }
}

impl Extend<ShardId> for ShardSet {
    fn extend<I: IntoIterator<Item = ShardId>>(&mut self, shards: I) {
        for shard in shards {
            self.insert(shard);
        }
    }
}

impl FromIterator<ShardId> for ShardSet {
    fn from_iter<I: IntoIterator<Item = ShardId>>(shards: I) -> Self {
        let mut set = Self::default();
        set.extend(shards);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_set_remembers_members_across_words() {
        let mut set = ShardSet::default();
        assert!(set.insert(ShardId(3)) && set.insert(ShardId(255)) && set.insert(ShardId(64)));
        assert!(!set.insert(ShardId(64)));
        assert_eq!(set.iter().collect::<Vec<_>>(), [ShardId(3), ShardId(64), ShardId(255)]);
        assert!(set.remove(ShardId(3)) && !set.remove(ShardId(3)));
        assert!(set.remove(ShardId(64)) && set.remove(ShardId(255)) && set.is_empty());
    }
}
