//! Publishing keys: who has presented which, and how often it may publish. Keys are compared by their hash, in constant
//! time. Which channels a key is for is decided in `access.rs`.
//!
//! Invariant: a slot belongs to one key for as long as the process lives, for connected clients hold slots. A key that
//! the operator takes away leaves its slot empty, and whoever holds it may publish no more.

use std::{cell::RefCell, sync::Arc};

use super::{
    Refusal, Settings,
    rates::{Bucket, Rates, Users, make_room},
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
    per_second: u64,
    /// The bucket of those who publish without a key.
    keyless: Arc<Bucket>,
    keys: Vec<Key>,
    /// The buckets of users of tokens that were lately used here.
    users: Users,
}

#[derive(Debug)]
struct Key {
    /// `None` once the operator has taken it away.
    key: Option<PublishKey>,
    bucket: Arc<Bucket>,
}

/// Which bucket a publisher draws from: 0 is shared by all who publish without a key, others are the key's number
/// plus one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeySlot(pub(super) u32);

impl KeySlot {
    /// No key.
    pub(super) const NONE: Self = Self(0);
}

impl Keys {
    pub(super) fn new(settings: &Settings) -> Self {
        let rates = settings.rates.clone();
        let (keyless, users) = (rates.keyless(), Users::default());
        let table = Table { per_second: 0, keyless, keys: Vec::new(), users };
        let keys = Self { table: RefCell::new(table), rates };
        keys.change(&settings.publish_keys, settings.limits.publications_per_key_per_second_max);
        keys
    }

    /// From now on these keys count, and no others. The operator's words have been checked.
    pub(super) fn change(&self, keys: &[String], per_second: u32) {
        let table = &mut *self.table.borrow_mut();
        table.per_second = per_second.into();
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

    /// Takes one token of a key, of a user without one, or of all who are nobody; or tells how long until there is one.
    pub(super) fn take(&self, slot: KeySlot, user: Option<&str>, now_ms: u64) -> Result<(), Refusal> {
        let Table { per_second, keyless, keys, users } = &mut *self.table.borrow_mut();
        if *per_second == 0 {
            return Ok(());
        }
        let key = slot.index().and_then(|index| keys.get(index));
        let bucket = match (key, user) {
            (Some(key), _) => &*key.bucket,
            (None, None) => &**keyless,
            (None, Some(user)) => {
                if !users.contains_key(user) {
                    make_room(users, now_ms);
                    users.insert(user.into(), self.rates.of_user(user, now_ms));
                }
                &*users[user]
            }
        };
        bucket.take(*per_second, now_ms)
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
        for _ in 0..4 {
            assert_eq!(keys.take(KeySlot(1), None, 10_000), Ok(()));
        }
        assert_eq!(keys.take(KeySlot(1), None, 10_000), Err(Refusal::RateLimited(250)));
        assert_eq!(keys.take(KeySlot(1), None, 10_249), Err(Refusal::RateLimited(1)));
        assert_eq!(keys.take(KeySlot(2), None, 10_000), Ok(()));
        assert_eq!(keys.take(KeySlot(1), None, 10_250), Ok(()));
        assert!(keys.take(KeySlot(1), None, 10_250).is_err());
        for _ in 0..4 {
            assert_eq!(keys.take(KeySlot(1), None, 99_000), Ok(()), "no more than a second's worth is saved");
        }
        assert!(keys.take(KeySlot(1), None, 99_000).is_err());
        (0..4).for_each(|_| assert_eq!(keys.take(KeySlot::NONE, Some("42"), 99_000), Ok(())));
        assert!(keys.take(KeySlot::NONE, Some("42"), 99_000).is_err());
        assert_eq!(keys.take(KeySlot::NONE, Some("43"), 99_000), Ok(()), "each user has its own");
        assert_eq!(keys.take(KeySlot::NONE, None, 99_000), Ok(()));
    }
}
