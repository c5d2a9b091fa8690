//! How often each publishing key, and each user without one, may publish, on all shards together.
//!
//! A shard looks a key's bucket up when the operator's keys change, a user's when it first publishes there, and from then
//! on takes from it without a lock: a bucket is one number, the time at which it will be full again.
//!
//! ```text
//!   now ├──── what has been taken ────┤ full again           one publication: 1 s / rate; never beyond now + 1 s
//! ```

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Refusal;
use crate::{auth::PublishKey, limits::USERS_RATED_MAX};

/// The buckets of all keys there have been and of users who published lately, the same for all clones.
#[derive(Clone, Debug, Default)]
pub struct Rates(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The bucket of those who publish without a key.
    keyless: Arc<Bucket>,
    keys: Mutex<Vec<(PublishKey, Arc<Bucket>)>>,
    users: Mutex<Users>,
}

/// Buckets by user.
pub(super) type Users = HashMap<Box<str>, Arc<Bucket>>;

/// What one key may still publish: when it may publish a second's worth again, in nanoseconds. One that has not been used
/// is full.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

const SECOND_NS: u64 = 1_000_000_000;
const MILLISECOND_NS: u64 = 1_000_000;

impl Rates {
    /// The bucket of those without a key.
    pub(super) fn keyless(&self) -> Arc<Bucket> {
        Arc::clone(&self.0.keyless)
    }

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

    /// The bucket of a user.
    pub(super) fn of_user(&self, user: &str, now_ms: u64) -> Arc<Bucket> {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = users.get(user) {
            return Arc::clone(bucket);
        }
        make_room(&mut users, now_ms);
        Arc::clone(users.entry(user.into()).or_default())
    }
}

/// Makes room for one more user: those go whose buckets are full, which is what a new one is, and if none is, all.
pub(super) fn make_room(users: &mut Users, now_ms: u64) {
    if users.len() >= USERS_RATED_MAX {
        users.retain(|_, bucket| !bucket.is_full(now_ms));
    }
    if users.len() >= USERS_RATED_MAX {
        users.clear();
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
        assert!(rates.keyless().take(1, 77_000).is_ok(), "those without a key have their own");
    }
}
