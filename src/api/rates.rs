//! How often each publishing key, each user without one, and each address without either may publish, on all shards together;
//! and to the channels of a namespace with a rate of its own.
//!
//! A shard looks a key's bucket up when the operator's keys change, any other when it is first drawn from there, and from then
//! on takes from it without a lock: a bucket is one number, the time at which it will be full again.
//!
//! ```text
//!   now ├──── what has been taken ────┤ full again           one publication: 1 s / rate; never beyond now + 1 s
//! ```

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Refusal;
use crate::{auth::PublishKey, limits::PUBLISHERS_RATED_MAX};

/// The buckets of all keys there have been and of others who published lately, the same for all clones.
#[derive(Clone, Debug, Default)]
pub struct Rates(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    keys: Mutex<Vec<(PublishKey, Arc<Bucket>)>>,
    others: Mutex<Buckets>,
    hasher: RandomState,
}

/// Buckets by a hash of who draws from them, and where.
pub(super) type Buckets = HashMap<u64, Arc<Bucket>>;

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Publisher<'a> {
    /// Somebody with a key, whose bucket is here.
    Key(usize),
    /// Somebody with a token, by the user.
    User(&'a str),
    /// Somebody without either.
    Address(IpAddr),
    /// Somebody of whom not even that is known.
    Nobody,
}

/// What one key may still publish: when it may publish a second's worth again, in nanoseconds. One that has not been used
/// is full.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

const SECOND_NS: u64 = 1_000_000_000;
const MILLISECOND_NS: u64 = 1_000_000;

impl Rates {
    /// The bucket of a key, whatever its channels.
    pub(super) fn of(&self, key: &PublishKey) -> Arc<Bucket> {
        // A shard that panicked here has left a list that is whole.
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bucket)) = keys.iter().find(|(known, _)| known.is_same(key)) {
            return Arc::clone(bucket);
        }
        let bucket = Arc::<Bucket>::default();
        keys.push((key.clone(), Arc::clone(&bucket)));
        bucket
    }

    /// The name of a publisher's bucket, everywhere or in a namespace.
    pub(super) fn name(&self, namespace: Option<usize>, publisher: Publisher<'_>) -> u64 {
        self.0.hasher.hash_one((namespace, publisher))
    }

    /// The bucket of this name.
    pub(super) fn named(&self, name: u64, now_ms: u64) -> Arc<Bucket> {
        let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = others.get(&name) {
            return Arc::clone(bucket);
        }
        make_room(&mut others, now_ms);
        Arc::clone(others.entry(name).or_default())
    }
}

/// Makes room for one more: those go whose buckets are full, which is what a new one is, and if none is, all.
pub(super) fn make_room(buckets: &mut Buckets, now_ms: u64) {
    if buckets.len() >= PUBLISHERS_RATED_MAX {
        buckets.retain(|_, bucket| !bucket.is_full(now_ms));
    }
    if buckets.len() >= PUBLISHERS_RATED_MAX {
        buckets.clear();
    }
}

impl Bucket {
    fn is_full(&self, now_ms: u64) -> bool {
        let now = now_ms * MILLISECOND_NS;
        since(self.0.load(Ordering::Relaxed), now) <= now
    }

    /// Takes one publication, or tells how long until there is one.
    pub(super) fn take(&self, per_second: u64, now_ms: u64) -> Result<(), Refusal> {
        let (now, one) = (now_ms * MILLISECOND_NS, (SECOND_NS / per_second).max(1));
        let after = |full: u64| since(full, now).max(now) + one;
        let take = |full| Some(after(full)).filter(|full| *full <= now + SECOND_NS);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(full) => Err(Refusal::RateLimited((after(full) - now - SECOND_NS).div_ceil(MILLISECOND_NS))),
        }
    }
}

/// When a bucket is full, as far as this clock knows: one that has been set back since owes nothing. Shards read the clock at
/// their own times, so a little ahead is no proof.
fn since(full: u64, now: u64) -> u64 {
    if full > now + 2 * SECOND_NS { now } else { full }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_from_publishing() {
        let bucket = Bucket::default();
        let taken = |now_ms| (0..100).filter(|_| bucket.take(10, now_ms).is_ok()).count();
        assert_eq!((taken(3_600_000), taken(3_600_000)), (10, 0));
        assert!(bucket.is_full(1_000), "as if it had not been used");
        assert_eq!((taken(1_000), taken(1_000)), (10, 0));
        assert_eq!(taken(500), 0, "half a second is what shards may differ by");
    }

    #[test]
    fn shards_that_take_at_once_are_given_exactly_as_much_as_there_is() {
        let rates = Rates::default();
        let key = PublishKey::parse("secret").expect("a key");
        let taken: usize = std::thread::scope(|scope| {
            let take = |bucket: Arc<Bucket>| (0..1000).filter(|_| bucket.take(1500, 77_000).is_ok()).count();
            let shards = [(); 4].map(|()| rates.clone().of(&key));
            let shards = shards.map(|bucket| scope.spawn(move || take(bucket)));
            shards.into_iter().map(|shard| shard.join().expect("it only takes")).sum()
        });
        assert_eq!(taken, 1500);
        let address = |last| Publisher::Address([127, 0, 0, last].into());
        let names = [Publisher::Key(1), Publisher::User("1"), address(1), address(2), Publisher::Nobody];
        for name in names.map(|publisher| rates.name(None, publisher)) {
            assert!(rates.named(name, 77_000).take(1, 77_000).is_ok(), "each has its own");
            assert!(rates.clone().named(name, 77_000).take(1, 77_000).is_err(), "on all shards");
        }
        let elsewhere = rates.name(Some(0), names[1]);
        assert!(rates.named(elsewhere, 77_000).take(1, 77_000).is_ok(), "and another in each namespace");
    }
}
