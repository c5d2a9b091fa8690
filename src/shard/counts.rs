//! How many there are of something, by key.
//!
//! Invariant: a key that stands here has at least one.

use std::{collections::hash_map::Entry, hash::Hash};

use rustc_hash::FxHashMap;

/// Numbers by key; for keys that no peer chooses.
pub(super) struct Counts<K>(FxHashMap<K, u32>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<K: Eq + Hash> Counts<K> {
    /// One more.
    pub(super) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// One less, if there is one.
    pub(super) fn remove(&mut self, key: K) {
        if let Entry::Occupied(mut count) = self.0.entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// How many there are.
    pub(super) fn get(&self, key: &K) -> u32 {
        self.0.get(key).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_gone_as_often_as_it_came_is_forgotten() {
        let mut counts = Counts::default();
        ["a", "b", "a"].into_iter().for_each(|key| counts.add(key));
        assert_eq!([counts.get(&"a"), counts.get(&"b"), counts.get(&"c")], [2, 1, 0]);
        ["a", "b", "b", "c"].into_iter().for_each(|key| counts.remove(key));
        assert_eq!([counts.get(&"a"), counts.get(&"b")], [1, 0]);
        assert_eq!(counts.0.len(), 1);
    }
}
