//! The order in which a shard's kept publications were kept, over all channels that are kept as long, and their bytes.
//!
//! It knows only which channel each belongs to; the publications themselves are in [`super::history`]. A list
//! linked through a slab instead of a queue: a channel at its own maximum drops its oldest publication, which sits
//! anywhere in this order, and it must be taken out at once. (A queue would have to carry such entries as stale and
//! sweep them together, a pause of tens of milliseconds for a ledger of a million.)
//!
//! ```text
//!   oldest                                   newest
//!     │                                        │
//!   [ a ] ⇄ [ b ] ⇄ [ a ] ⇄ [ c ] ⇄ [ b ] ⇄ [ b ]      every entry: channel, when
//! ```

use super::channel::ChannelIndex;

/// An entry's place in the ledger; its publication carries it.
pub(super) type EntryIndex = u32;

/// The ledger of one shard.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
    free: Vec<EntryIndex>,
    oldest: EntryIndex,
    newest: EntryIndex,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    kept_ms: u64,
    channel: ChannelIndex,
    older: EntryIndex,
    newer: EntryIndex,
}

const NONE: EntryIndex = EntryIndex::MAX;

/// Places that are kept when nothing is entered.
const ENTRIES_KEPT: usize = 1024;

/// What the ledger takes for one publication.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

impl Default for Ledger {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), oldest: NONE, newest: NONE, bytes: 0 }
    }
}

impl Ledger {
    /// Enters the newest publication.
    pub(super) fn push(&mut self, channel: ChannelIndex, bytes: u64, now_ms: u64) -> EntryIndex {
        let entry = Entry { kept_ms: now_ms, channel, older: self.newest, newer: NONE };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as EntryIndex - 1
            }
        };
        *self.newer_link(self.newest) = index;
        self.newest = index;
        self.bytes += bytes;
        index
    }

    /// Strikes out a publication that is kept no longer, with the bytes it was entered with.
    pub(super) fn remove(&mut self, index: EntryIndex, bytes: u64) {
        let Entry { older, newer, .. } = self.entries[index as usize];
        *self.newer_link(older) = newer;
        *self.older_link(newer) = older;
        self.free.push(index);
        self.bytes -= bytes;
        if self.len() == 0 && self.entries.len() > ENTRIES_KEPT {
            // A wave of publications is over.
            *self = Self::default();
        }
    }

    /// When the oldest publication was kept, and of which channel it is.
    pub(super) fn oldest(&self) -> Option<(u64, ChannelIndex)> {
        self.entries().next()
    }

    /// The same of all, oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, ChannelIndex)> {
        let first = self.entries.get(self.oldest as usize);
        let entries = std::iter::successors(first, |entry| self.entries.get(entry.newer as usize));
        entries.map(|entry| (entry.kept_ms, entry.channel))
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// What points from `index` to the newer one; the list's own start for none.
    fn newer_link(&mut self, index: EntryIndex) -> &mut EntryIndex {
        match self.entries.get_mut(index as usize) {
            Some(entry) => &mut entry.newer,
            None => &mut self.oldest,
        }
    }

    /// What points from `index` to the older one; the list's own end for none.
    fn older_link(&mut self, index: EntryIndex) -> &mut EntryIndex {
        match self.entries.get_mut(index as usize) {
            Some(entry) => &mut entry.older,
            None => &mut self.newest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(ledger: &mut Ledger) -> Vec<ChannelIndex> {
        std::iter::from_fn(|| {
            let (_, channel) = ledger.oldest()?;
            ledger.remove(ledger.oldest, 10);
            Some(channel)
        })
        .collect()
    }

    #[test]
    fn entries_leave_from_anywhere_and_the_order_stays() {
        let mut ledger = Ledger::default();
        let entries: Vec<_> = (0..6).map(|channel| ledger.push(channel, 10, 0)).collect();
        for struck in [0, 5, 3] {
            ledger.remove(entries[struck], 10);
        }
        ledger.push(6, 10, 0);
        assert_eq!((ledger.len(), ledger.bytes), (4, 40));
        assert_eq!(drain(&mut ledger), [1, 2, 4, 6]);
        assert_eq!((ledger.len(), ledger.bytes), (0, 0));
        ledger.push(7, 10, 0);
        assert_eq!(drain(&mut ledger), [7]);
        assert_eq!(ledger.entries.len(), 6, "struck entries are used again");
    }

    #[test]
    fn the_oldest_is_told_with_its_time_and_all_behind_it() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.oldest(), None);
        ledger.push(1, 10, 500);
        ledger.push(2, 10, 600);
        assert_eq!(ledger.oldest(), Some((500, 1)));
        assert_eq!(ledger.entries().collect::<Vec<_>>(), [(500, 1), (600, 2)]);
    }
}
