//! Shards that a publication did not reach, because the way to them was full, and that have not been told since.
//!
//! Each shard stands here once for a channel, however much it missed, so it holds no more than there are channels
//! times shards. An index may name another channel by the time it is taken out; telling a shard where a channel is
//! does no harm.

use std::collections::BTreeSet;

use super::channel::ChannelIndex;
use crate::model::ShardId;

/// Who has to be told of which channel.
#[derive(Debug)]
pub(super) struct Behind {
    entries: BTreeSet<(ShardId, ChannelIndex)>,
    /// Where to look next: whoever is put back waits for its turn, so that one full way keeps nobody else waiting.
    next: (ShardId, ChannelIndex),
}

impl Default for Behind {
    fn default() -> Self {
        Self { entries: BTreeSet::new(), next: (ShardId(0), 0) }
    }
}

impl Behind {
    /// Notes that a shard missed something.
    pub(super) fn insert(&mut self, shard: ShardId, channel: ChannelIndex) {
        self.entries.insert((shard, channel));
    }

    /// A shard has lost everything: nothing is to be told to it.
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.entries.retain(|(other, _)| *other != shard);
    }

    /// Takes out the next to be told.
    pub(super) fn pop(&mut self) -> Option<(ShardId, ChannelIndex)> {
        let entry = *self.entries.range(self.next..).next().or(self.entries.first())?;
        self.entries.remove(&entry);
        self.next = (entry.0, entry.1 + 1);
        Some(entry)
    }

    /// Whether everybody has been told.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_put_back_waits_until_all_others_had_their_turn() {
        let mut behind = Behind::default();
        for (shard, channel) in [(0, 5), (0, 6), (1, 5), (0, 5)] {
            behind.insert(ShardId(shard), channel);
        }
        let mut told = Vec::new();
        for _ in 0..4 {
            let entry = behind.pop().unwrap();
            behind.insert(entry.0, entry.1);
            told.push((entry.0.0, entry.1));
        }
        assert_eq!(told, [(0, 5), (0, 6), (1, 5), (0, 5)]);
        while behind.pop().is_some() {}
        assert!(behind.is_empty());
    }
}
