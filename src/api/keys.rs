//! Publishing keys: who has presented which, and how often it may publish. Keys are compared by their hash, in constant
//! time. Which channels a key is for is decided in `access.rs`.
//!
//! Invariant: a slot belongs to one key for as long as the process lives, for connected clients hold slots. A key that
//! the operator takes away leaves its slot empty, and whoever holds it may publish no more.

use std::{cell::RefCell, sync::Arc};

use super::{
    Refusal, Settings,
    access::Who,
    rates::{Bucket, Buckets, Publisher, Rates, make_room},
};
use crate::{
    app::Request,
    auth::{Grant, PublishKey},
};

/// The publishing keys, and what each has left on all shards together.
#[derive(Debug)]
pub(super) struct Keys {
    table: RefCell<Table>,
    rates: Rates,
}

#[derive(Debug)]
struct Table {
    per_second: u32,
    keys: Vec<Key>,
    /// Buckets of others that were lately used here.
    others: Buckets,
}

#[derive(Debug)]
struct Key {
    /// `None` once the operator has taken it away.
    key: Option<PublishKey>,
    bucket: Arc<Bucket>,
}

/// Which key somebody has presented: 0 is none, others are the key's number plus one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeySlot(pub(super) u32);

impl KeySlot {
    /// No key.
    pub(super) const NONE: Self = Self(0);
}

impl Keys {
    pub(super) fn new(settings: &Settings) -> Self {
        let rates = settings.rates.clone();
        let table = Table { per_second: 0, keys: Vec::new(), others: Buckets::default() };
        let keys = Self { table: RefCell::new(table), rates };
        keys.change(&settings.publish_keys, settings.limits.publications_per_key_per_second_max);
        keys
    }

    /// From now on these keys count, and no others. The operator's words have been checked.
    pub(super) fn change(&self, keys: &[String], per_second: u32) {
        let table = &mut *self.table.borrow_mut();
        table.per_second = per_second;
        let wanted: Vec<_> = keys.iter().filter_map(|text| PublishKey::parse(text).ok()).collect();
        for Key { key, .. } in &mut table.keys {
            // The channels of a key may have changed.
            *key = key.take().and_then(|key| wanted.iter().find(|wanted| wanted.is_same(&key)).cloned());
        }
        for wanted in wanted {
            let is_there = |key: &Key| key.key.as_ref().is_some_and(|key| key.is_same(&wanted));
            if !table.keys.iter().any(is_there) {
                let bucket = self.rates.of(&wanted);
                table.keys.push(Key { key: Some(wanted), bucket });
            }
        }
    }

    /// The key that came with a WebSocket's handshake, in which `bearer` was presented. Browsers cannot send
    /// `Authorization` with one, so a key in the query counts as well.
    pub(super) fn presented_by_websocket(
        &self,
        bearer: Option<&[u8]>,
        request: &Request<'_>,
        is_open: bool,
    ) -> Result<KeySlot, Refusal> {
        let from_query = super::route::query(request.target, "key");
        self.presented(bearer.or(from_query.as_ref().map(|key| key.as_bytes())), is_open)
    }

    /// Whether this is one of them.
    pub(super) fn know(&self, presented: &[u8]) -> bool {
        self.table.borrow().find(presented).is_some()
    }

    /// The digest of a key, as long as the operator leaves it: it names the key in other processes, whatever slot it has there.
    pub(super) fn digest_of(&self, slot: KeySlot) -> Option<[u8; 32]> {
        let table = &*self.table.borrow();
        let key = slot.index().and_then(|index| table.keys.get(index)?.key.as_ref());
        key.map(PublishKey::digest)
    }

    /// The slot here of a key of this digest.
    pub(super) fn slot_of(&self, digest: &[u8; 32]) -> Option<KeySlot> {
        let table = &*self.table.borrow();
        let mut keys = table.keys.iter().zip(1..);
        keys.find(|(key, _)| key.key.as_ref().is_some_and(|key| key.is(digest)))
            .map(|(_, slot)| KeySlot(slot))
    }

    /// Which key this is; none is no key. With no key at all anything will do where publishing is open.
    pub(super) fn presented(&self, presented: Option<&[u8]>, is_open: bool) -> Result<KeySlot, Refusal> {
        let Some(presented) = presented else { return Ok(KeySlot::NONE) };
        let table = &*self.table.borrow();
        match table.find(presented) {
            Some(slot) => Ok(slot),
            None if is_open && table.is_keyless() => Ok(KeySlot::NONE),
            None => Err(Refusal::KeyWrong),
        }
    }

    /// Looks at what a key gives, if there is one and the operator has left it.
    pub(super) fn with_grant<T>(&self, slot: KeySlot, look: impl FnOnce(Option<&Grant>) -> T) -> T {
        let table = &*self.table.borrow();
        let key = slot.index().and_then(|index| table.keys.get(index)?.key.as_ref());
        look(key.map(PublishKey::grant))
    }

    /// Takes one publication of what somebody may do everywhere, and in namespaces that have these numbers and rates; or tells
    /// how long until there is one.
    pub(super) fn take(
        &self,
        who: &Who<'_>,
        own: impl IntoIterator<Item = (usize, u32)>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let Table { per_second, keys, others } = &mut *self.table.borrow_mut();
        let key = who.key.index().and_then(|index| keys.get(index)).map(|key| &*key.bucket);
        let publisher = match (key, who.user.as_deref(), who.address) {
            // The same on all shards, whatever the numbers of keys there.
            (Some(bucket), _, _) => Publisher::Key(std::ptr::from_ref(bucket) as usize),
            (None, Some(user), _) => Publisher::User(user),
            (None, None, Some(address)) => Publisher::Address(address),
            (None, None, None) => Publisher::Nobody,
        };
        let mut draw = |namespace, per_second: u32| {
            let name = self.rates.name(namespace, publisher);
            if !others.contains_key(&name) {
                make_room(others, now_ms);
                others.insert(name, self.rates.named(name, now_ms));
            }
            others[&name].take(per_second.into(), now_ms)
        };
        match (*per_second, key) {
            (0, _) => {}
            (per_second, Some(bucket)) => bucket.take(per_second.into(), now_ms)?,
            (per_second, None) => draw(None, per_second)?,
        }
        own.into_iter().try_for_each(|(namespace, per_second)| draw(Some(namespace), per_second))
    }
}

impl KeySlot {
    fn index(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

impl Table {
    /// Whether there is no key at all.
    fn is_keyless(&self) -> bool {
        self.keys.iter().all(|key| key.key.is_none())
    }

    /// Compares with every key to the end: the time taken tells neither which key nor how much of it was right.
    fn find(&self, presented: &[u8]) -> Option<KeySlot> {
        if self.is_keyless() {
            return None;
        }
        let (digest, mut found) = (PublishKey::digest_of(presented), None);
        for (key, slot) in self.keys.iter().zip(1..) {
            if key.key.as_ref().is_some_and(|key| key.is(&digest)) {
                found = Some(KeySlot(slot));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::Right, limits::Limits};

    fn keys(keys: &[&str], rate: u32) -> Keys {
        Keys::new(&Settings {
            publish_keys: keys.iter().map(|key| key.to_string()).collect(),
            limits: Limits { publications_per_key_per_second_max: rate, ..Limits::default() },
            ..Settings::default()
        })
    }

    #[test]
    fn a_wrong_key_never_passes_for_none_where_there_are_keys() {
        let some = keys(&["one", "two"], 0);
        for is_open in [false, true] {
            assert_eq!(some.presented(None, is_open), Ok(KeySlot::NONE));
            assert_eq!(some.presented(Some(b"two"), is_open), Ok(KeySlot(2)));
            assert_eq!(some.presented(Some(b"tw"), is_open), Err(Refusal::KeyWrong));
            assert_eq!(some.presented(Some(b""), is_open), Err(Refusal::KeyWrong));
        }
        assert_eq!(keys(&[], 0).presented(Some(b"any"), true), Ok(KeySlot::NONE));
        assert_eq!(keys(&[], 0).presented(Some(b""), false), Err(Refusal::KeyWrong));
    }

    #[test]
    fn a_key_that_is_taken_away_gives_nothing_any_more_and_the_others_keep_their_slots() {
        let keys = keys(&["one", "two"], 0);
        let gives = |slot, channel| {
            keys.with_grant(slot, |grant| grant.is_some_and(|grant| grant.allows(Right::Publish, channel)))
        };
        assert!(gives(KeySlot(1), "a") && gives(KeySlot(2), "a") && !gives(KeySlot::NONE, "a"));
        keys.change(&["three".into(), "two news:*".into()], 0);
        assert!(!gives(KeySlot(1), "a"), "its holder is connected still");
        assert!(!gives(KeySlot(2), "a") && gives(KeySlot(2), "news:a"), "it is limited from now on");
        assert_eq!(keys.presented(Some(b"one"), false), Err(Refusal::KeyWrong));
        assert_eq!(keys.presented(Some(b"two"), false), Ok(KeySlot(2)));
        assert_eq!(
            keys.presented(Some(b"three"), false),
            Ok(KeySlot(3)),
            "no holder of a slot gets another key"
        );
        keys.change(&["one".into()], 0);
        assert_eq!(keys.presented(Some(b"one"), false), Ok(KeySlot(4)));
        assert!(!gives(KeySlot(3), "a"));
    }

    #[test]
    fn a_bucket_empties_and_fills_at_its_rate_and_each_key_has_its_own() {
        let keys = keys(&["one", "two"], 4);
        let key = |slot| Who { key: KeySlot(slot), ..Who::default() };
        let take = |who: &Who<'_>, now_ms| keys.take(who, None, now_ms);
        for _ in 0..4 {
            assert_eq!(take(&key(1), 10_000), Ok(()));
        }
        assert_eq!(take(&key(1), 10_000), Err(Refusal::RateLimited(250)));
        assert_eq!(take(&key(1), 10_249), Err(Refusal::RateLimited(1)));
        assert_eq!(take(&key(2), 10_000), Ok(()));
        assert_eq!(take(&key(1), 10_250), Ok(()));
        assert!(take(&key(1), 10_250).is_err());
        for _ in 0..4 {
            assert_eq!(take(&key(1), 99_000), Ok(()), "no more than a second's worth is saved");
        }
        assert!(take(&key(1), 99_000).is_err());
        let user = |user: &'static str| Who { user: Some(user.into()), ..Who::default() };
        let address = |last| Who { address: Some([192, 0, 2, last].into()), ..Who::default() };
        for (one, other) in [(user("42"), user("43")), (address(1), address(2)), (Who::default(), user(""))] {
            (0..4).for_each(|_| assert_eq!(take(&one, 99_000), Ok(())));
            assert!(take(&one, 99_000).is_err());
            assert_eq!(take(&other, 99_000), Ok(()), "each has its own");
        }
        let with = Who { address: Some([192, 0, 2, 1].into()), ..user("44") };
        assert_eq!(take(&with, 99_000), Ok(()), "whoever has shown a token is not its address");
    }

    #[test]
    fn a_namespace_may_have_a_rate_of_its_own_beside_that_of_all() {
        let (open, keys) = (keys(&[], 0), keys(&["one"], 3));
        let key = Who { key: KeySlot(1), ..Who::default() };
        let user = Who { user: Some("42".into()), ..Who::default() };
        for who in [key, user] {
            let take = |namespace| keys.take(&who, Some((namespace, 1)), 10_000);
            assert_eq!(take(7), Ok(()));
            assert_eq!(take(7), Err(Refusal::RateLimited(1_000)));
            assert_eq!(take(8), Ok(()), "another has its own");
            assert_eq!(keys.take(&who, None, 10_000), Err(Refusal::RateLimited(334)), "all have counted");
        }
        assert_eq!(open.take(&user, Some((7, 1)), 10_000), Ok(()));
        assert!(open.take(&user, Some((7, 1)), 10_000).is_err(), "also where there is none for all");
    }
}
