//! The places in which a shard's channels stand, and the table of their names, in parts: no part is so large that moving it
//! is felt, so both grow and give memory back a part at a time.
//!
//! ```text
//!   chunks   [ used, used, … ][ used, free, … ][ free … ]     the lowest free place is taken first,
//!                                                 └─ last and empty: given back
//!   names    hash ─► one of many small tables ─► index
//! ```
//!
//! What is new takes the lowest free place, so that those at the end empty when a wave of channels is over.

use std::collections::BTreeSet;

use hashbrown::HashTable;

use super::channel::{Channel, ChannelIndex};

/// Slots in one chunk.
const CHUNK: usize = 256;
/// Chunks that are kept, used or not.
const CHUNKS_KEPT: usize = 4;
/// Chunks given back at once.
const CHUNKS_AT_ONCE: usize = 64;
/// Tables of names. A million channels are four thousand in each.
const TABLES: usize = 256;
/// Names a table keeps room for, used or not.
const NAMES_KEPT: usize = 8;
/// Tables looked at at once for what can be given back.
const TABLES_AT_ONCE: usize = 16;

/// Slots for channels. An index is stable while its channel is there, and used again afterwards.
#[derive(Debug, Default)]
pub(super) struct Slots {
    chunks: Vec<Chunk>,
    /// The chunks with free places.
    open: BTreeSet<u32>,
    /// Every channel's place is below this.
    end: ChannelIndex,
}

#[derive(Debug)]
struct Chunk {
    places: Box<[Option<Channel>]>,
    /// A bit for each place that is free.
    free: [u64; CHUNK / 64],
}

impl Chunk {
    fn new() -> Self {
        Self { places: (0..CHUNK).map(|_| None).collect(), free: [u64::MAX; CHUNK / 64] }
    }

    fn is_full(&self) -> bool {
        self.free == [0; CHUNK / 64]
    }

    fn is_empty(&self) -> bool {
        self.free == [u64::MAX; CHUNK / 64]
    }

    fn insert(&mut self, channel: Channel) -> usize {
        let word = self.free.iter().position(|word| *word != 0).expect("it has a free place");
        let bit = self.free[word].trailing_zeros() as usize;
        self.free[word] &= !(1 << bit);
        self.places[word * 64 + bit] = Some(channel);
        word * 64 + bit
    }

    fn remove(&mut self, place: usize) -> Option<Channel> {
        self.free[place / 64] |= 1 << (place % 64);
        self.places[place].take()
    }
}

impl Slots {
    /// Puts a channel into the lowest free place.
    pub(super) fn insert(&mut self, channel: Channel) -> ChannelIndex {
        let at = match self.open.first() {
            Some(at) => *at,
            None => {
                let at = self.chunks.len() as u32;
                self.chunks.push(Chunk::new());
                self.open.insert(at);
                at
            }
        };
        let chunk = &mut self.chunks[at as usize];
        let place = chunk.insert(channel);
        if chunk.is_full() {
            self.open.remove(&at);
        }
        let index = at * CHUNK as u32 + place as u32;
        self.end = self.end.max(index + 1);
        index
    }

    /// Takes a channel out of its place.
    pub(super) fn remove(&mut self, index: ChannelIndex) -> Option<Channel> {
        let at = index as usize / CHUNK;
        let chunk = self.chunks.get_mut(at)?;
        let channel = chunk.remove(index as usize % CHUNK);
        self.open.insert(at as u32);
        channel
    }

    /// Gives memory back when a wave of channels is over: chunks at the end that are empty, some at once. One with free
    /// places is left, for those who come next. Tells whether there may be more.
    pub(super) fn give_back(&mut self) -> bool {
        for _ in 0..CHUNKS_AT_ONCE {
            let last = self.chunks.len().saturating_sub(1);
            if last < CHUNKS_KEPT || !self.chunks[last].is_empty() || self.open.len() < 2 {
                return false;
            }
            self.chunks.pop();
            self.open.remove(&(last as u32));
            self.end = self.end.min((last * CHUNK) as ChannelIndex);
        }
        true
    }

    /// The channel in a place that may be free.
    pub(super) fn get(&self, index: ChannelIndex) -> Option<&Channel> {
        self.chunks.get(index as usize / CHUNK)?.places[index as usize % CHUNK].as_ref()
    }

    /// The channel in a place that may be free, to change it.
    pub(super) fn get_mut(&mut self, index: ChannelIndex) -> Option<&mut Channel> {
        self.chunks.get_mut(index as usize / CHUNK)?.places[index as usize % CHUNK].as_mut()
    }

    /// Every channel's place is below this.
    pub(super) fn end(&self) -> ChannelIndex {
        self.end
    }

    /// Every channel.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.chunks.iter().flat_map(|chunk| chunk.places.iter().flatten())
    }
}

/// Where channels are, by the hashes of their names.
#[derive(Debug)]
pub(super) struct Names {
    tables: Box<[HashTable<Entry>]>,
    /// Which table is looked at next for what can be given back.
    cursor: usize,
    /// How many tables have not been looked at since a name was forgotten.
    unlooked: usize,
}

/// A channel in a table of names. The name itself is only with the channel; its hash is here as well, so that a table
/// grows without a visit to each channel.
#[derive(Debug)]
struct Entry {
    hash: u32,
    channel: ChannelIndex,
}

impl Entry {
    /// What the table takes for the hash: it picks buckets by the lowest bits and tells entries apart by the highest.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl Names {
    pub(super) fn new() -> Self {
        Self { tables: (0..TABLES).map(|_| HashTable::new()).collect(), cursor: 0, unlooked: 0 }
    }

    /// The table of a hash: neither the lowest bits nor the highest decide, which a table uses itself.
    fn table(hash: u32) -> usize {
        (hash >> 16) as usize % TABLES
    }

    /// Notes where a channel is.
    pub(super) fn insert(&mut self, hash: u32, channel: ChannelIndex) {
        let entry = Entry { hash, channel };
        self.tables[Self::table(hash)]
            .insert_unique(Entry::spread(hash), entry, |entry| Entry::spread(entry.hash));
    }

    /// Forgets where a channel is.
    pub(super) fn remove(&mut self, hash: u32, channel: ChannelIndex) {
        let table = &mut self.tables[Self::table(hash)];
        let entry = table.find_entry(Entry::spread(hash), |entry| entry.channel == channel);
        entry.expect("every known channel is in the table").remove();
        self.unlooked = TABLES;
    }

    /// Where the channel of a name with this hash is.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(ChannelIndex) -> bool) -> Option<ChannelIndex> {
        let is_wanted = |entry: &Entry| entry.hash == hash && is_it(entry.channel);
        self.tables[Self::table(hash)].find(Entry::spread(hash), is_wanted).map(|entry| entry.channel)
    }

    /// Gives memory back of some tables that have become much too large.
    pub(super) fn give_back(&mut self) {
        for _ in 0..TABLES_AT_ONCE.min(self.unlooked) {
            self.unlooked -= 1;
            let table = &mut self.tables[self.cursor];
            let len = table.len().max(NAMES_KEPT);
            if table.num_buckets() > 8 * len {
                table.shrink_to(len * 3 / 2, |entry| Entry::spread(entry.hash));
            }
            self.cursor = (self.cursor + 1) % TABLES;
        }
    }

    #[cfg(test)]
    fn buckets(&self) -> usize {
        self.tables.iter().map(HashTable::num_buckets).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::{audience::Audience, channel::Role},
        model::{ChannelName, ShardId},
    };

    fn channel(number: usize) -> Channel {
        Channel {
            name: ChannelName::new(&format!("c{number}"), 255).expect("a name"),
            role: Role::Follower { owner: ShardId(0), position: None },
            audience: Audience::default(),
            joins_pending: 0,
            is_in_fanout: false,
        }
    }

    #[test]
    fn the_lowest_free_place_is_taken_and_chunks_at_the_end_go_when_they_are_empty() {
        const COUNT: usize = 20 * CHUNK;
        let mut places = Slots::default();
        for number in 0..COUNT {
            assert_eq!(places.insert(channel(number)) as usize, number);
        }
        // A wave is over; some that came with it stay, one of them at the end.
        let stays = |index: usize| index.is_multiple_of(100) || index == COUNT - 1;
        for index in (0..COUNT).rev().filter(|index| !stays(*index)) {
            assert!(places.remove(index as u32).is_some());
        }
        while places.give_back() {}
        assert_eq!(places.end() as usize, COUNT, "somebody is there");
        // Those who come go to the front, and so the end empties as those there leave.
        for expected in [1, 2, 3] {
            assert_eq!(places.insert(channel(COUNT)), expected);
        }
        for index in (6 * CHUNK..COUNT).filter(|index| stays(*index)) {
            places.remove(index as u32);
        }
        while places.give_back() {}
        assert_eq!(places.end() as usize, 6 * CHUNK);
        assert!(places.get(COUNT as u32 - 1).is_none() && places.get(100).is_some());
        for index in 0..6 * CHUNK as u32 {
            places.remove(index);
        }
        while places.give_back() {}
        assert_eq!(places.end() as usize, CHUNKS_KEPT * CHUNK);
        assert_eq!(places.insert(channel(0)), 0);
    }

    #[test]
    fn names_are_found_and_a_table_that_has_become_too_large_is_made_smaller_some_at_a_time() {
        const COUNT: u32 = 100_000;
        let hash = |index: u32| index.wrapping_mul(0x9E37_79B1);
        let mut names = Names::new();
        (0..COUNT).for_each(|index| names.insert(hash(index), index));
        assert_eq!(names.find(hash(77), |index| index == 77), Some(77));
        assert_eq!(names.find(hash(77), |index| index == 78), None);
        (100..COUNT).for_each(|index| names.remove(hash(index), index));
        let full = names.buckets();
        names.give_back();
        let after = names.buckets();
        assert!(after < full && full - after <= full * TABLES_AT_ONCE / TABLES, "{full} {after}");
        (0..TABLES / TABLES_AT_ONCE).for_each(|_| names.give_back());
        assert!(names.buckets() < full / 10, "{full} {}", names.buckets());
        assert!((0..100).all(|index| names.find(hash(index), |found| found == index).is_some()));
    }
}
