//! How channel names become numbers: which shard owns a channel, and where a shard's table finds it.
//!
//! Names come from clients. With a hash anybody can compute, one client could choose names that all meet in one
//! bucket, or on one shard. The key is therefore drawn at every start of the process, and it is the same for all
//! shards, because they must agree about owners. All six words of the hash's state come from it: with a state that
//! is partly known, names can be chosen to collide under every key.

use std::hash::Hasher;

use foldhash::{SharedSeed, quality::FoldHasher};

use crate::model::{ChannelName, ShardId};

/// The process's hash of names.
#[derive(Clone, Debug)]
pub(super) struct NameHasher {
    start: u64,
    words: SharedSeed,
}

/// A name's hash. Its two halves are used for different things: channels that have the owner in common would
/// otherwise fill only a part of their owner's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameHash(u64);

impl NameHasher {
    /// The hash under this key.
    pub(super) fn new(key: u64) -> Self {
        Self { start: key, words: SharedSeed::from_u64(key) }
    }

    /// A name's hash.
    pub(super) fn hash(&self, name: &ChannelName) -> NameHash {
        NameHash(self.hash_text(name.as_str()))
    }

    /// The hash of another name.
    pub(super) fn hash_text(&self, text: &str) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.start, &self.words);
        hasher.write(text.as_bytes());
        hasher.finish()
    }
}

impl NameHash {
    /// The shard that owns the channel.
    pub(super) fn owner(self, shards: u16) -> ShardId {
        ShardId((((self.0 >> 32) * u64::from(shards)) >> 32) as u16)
    }

    /// What a table of channels sorts by.
    pub(super) fn in_table(self) -> u32 {
        self.0 as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(key: u64) -> Vec<NameHash> {
        let hasher = NameHasher::new(key);
        let names = (0..1000).map(|n| ChannelName::new(&format!("user:{n}"), 255).unwrap());
        names.map(|name| hasher.hash(&name)).collect()
    }

    #[test]
    fn one_key_gives_every_shard_the_same_hash_and_another_key_another() {
        assert_eq!(hashes(7), hashes(7));
        let in_common = hashes(7).iter().zip(hashes(8)).filter(|(a, b)| a.in_table() == b.in_table()).count();
        assert_eq!(in_common, 0);
    }

    #[test]
    fn the_owner_says_nothing_about_the_place_in_the_table() {
        for owner in (0..4).map(ShardId) {
            let mut places = [0; 4];
            for hash in hashes(7).into_iter().filter(|hash| hash.owner(4) == owner) {
                places[hash.in_table() as usize % 4] += 1;
            }
            assert!(places.iter().all(|count| (30..100).contains(count)), "{places:?}");
        }
    }
}
