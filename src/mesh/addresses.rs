//! How many connections each address, and each user of a token, has on all shards together, for the limit that holds for the whole process.
//!
//! The one table that shards share, and no part of the way of a message: a shard looks at it when a connection comes or
//! goes, and only while the limit is set. Asking an owner instead would put a round trip before each answer.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Parts of the table, each with a lock of its own.
const STRIPES: usize = 64;

/// The table.
#[derive(Debug)]
pub struct Counts<K> {
    /// Hashed under random keys: peers choose their addresses and names.
    stripes: [Mutex<HashMap<K, u32>>; STRIPES],
    hasher: RandomState,
}

/// By the peer's address.
pub type AddressCounts = Counts<IpAddr>;

/// By the user of the token that was shown, whose name is not kept: 128 bits of it, hashed under keys of this process, stand for
/// it, so that a million users are as good as never taken for one another (1 in 10²⁶).
#[derive(Debug, Default)]
pub struct UserCounts {
    counts: Counts<UserKey>,
    other: RandomState,
}

/// In words that need no room between them in a table.
type UserKey = [u32; 4];

const _: () = assert!(size_of::<(UserKey, u32)>() == 20);

/// A connection that is counted while it goes from shard to shard. When it gets lost on the way, its count goes.
#[derive(Debug)]
pub struct CountedAddress {
    counts: Arc<AddressCounts>,
    address: Option<IpAddr>,
}

/// A client of a user, counted for as long as this lives.
#[derive(Debug)]
pub struct CountedUser {
    counts: Arc<UserCounts>,
    user: Box<str>,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self { stripes: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl<K: Hash + Eq> Counts<K> {
    /// Counts a connection, unless it would be more than `max`.
    pub(crate) fn enter(&self, key: K, max: u32) -> bool {
        let mut stripe = self.stripe(&key);
        let count = stripe.entry(key).or_default();
        let enters = *count < max;
        *count += u32::from(enters);
        enters
    }

    /// Forgets so many connections.
    pub(crate) fn leave(&self, key: K, connections: u32) {
        let mut stripe = self.stripe(&key);
        let Some(count) = stripe.get_mut(&key) else { return };
        *count = count.saturating_sub(connections);
        if *count == 0 {
            stripe.remove(&key);
        }
    }

    /// Counts connections that are there already, whatever the limit.
    pub(crate) fn add(&self, key: K, connections: u32) {
        *self.stripe(&key).entry(key).or_default() += connections;
    }

    fn stripe(&self, key: &K) -> MutexGuard<'_, HashMap<K, u32>> {
        let stripe = self.hasher.hash_one(key) as usize % STRIPES;
        // Each change of a count is whole, so a shard that panicked has left nothing half done.
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserCounts {
    /// Counts a connection, unless it would be more than `max`.
    pub(crate) fn enter(&self, user: &str, max: u32) -> bool {
        self.counts.enter(self.key(user), max)
    }

    /// Forgets so many connections.
    pub(crate) fn leave(&self, user: &str, connections: u32) {
        self.counts.leave(self.key(user), connections);
    }

    /// Counts connections that are there already, whatever the limit.
    pub(crate) fn add(&self, user: &str, connections: u32) {
        self.counts.add(self.key(user), connections);
    }

    fn key(&self, user: &str) -> UserKey {
        let (one, other) = (self.counts.hasher.hash_one(user), self.other.hash_one(user));
        [one as u32, (one >> 32) as u32, other as u32, (other >> 32) as u32]
    }
}

impl CountedAddress {
    /// A connection of this address, which is counted already.
    pub(crate) fn new(counts: &Arc<AddressCounts>, address: IpAddr) -> Self {
        Self { counts: Arc::clone(counts), address: Some(address) }
    }

    /// It has arrived; its count is somebody's again.
    pub(crate) fn arrive(mut self) {
        self.address = None;
    }
}

impl Drop for CountedAddress {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.counts.leave(address, 1);
        }
    }
}

impl CountedUser {
    /// A client of this user, which is counted already.
    pub(crate) fn new(counts: &Arc<UserCounts>, user: Box<str>) -> Self {
        Self { counts: Arc::clone(counts), user }
    }

    /// Whose it is.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }
}

impl Drop for CountedUser {
    fn drop(&mut self) {
        self.counts.leave(&self.user, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_that_count_at_once_let_in_exactly_as_many_as_may() {
        let counts = AddressCounts::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        let let_in: usize = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| counts.enter(address, 1500)).count()))
                .collect();
            shards.into_iter().map(|shard| shard.join().expect("it only counts")).sum()
        });
        assert_eq!(let_in, 1500);
        assert!(counts.enter(IpAddr::from([127, 0, 0, 2]), 1), "another address has its own count");
        counts.leave(address, 1);
        assert!(counts.enter(address, 1500) && !counts.enter(address, 1500));
    }

    #[test]
    fn users_are_told_apart_by_their_whole_names() {
        let counts = UserCounts::default();
        let name = |number: u32| format!("a.user.whose.name.is.as.long.as.that.of.others@{number}");
        assert!((0..10_000).all(|number| counts.enter(&name(number), 1)));
        assert!((0..10_000).all(|number| !counts.enter(&name(number), 1)));
        counts.add(&name(7), 1);
        counts.leave(&name(7), 1);
        assert!(!counts.enter(&name(7), 1), "one of two is there");
        counts.leave(&name(7), 1);
        assert!(counts.enter(&name(7), 1));
    }

    #[test]
    fn a_connection_that_is_lost_between_shards_is_counted_no_more() {
        let counts = Arc::new(AddressCounts::default());
        let address = IpAddr::from([127, 0, 0, 1]);
        assert!(counts.enter(address, 1));
        CountedAddress::new(&counts, address).arrive();
        assert!(!counts.enter(address, 1));
        drop(CountedAddress::new(&counts, address));
        assert!(counts.enter(address, 1));
    }
}
