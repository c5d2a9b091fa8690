//! Who may publish, and how often: keys compared in constant time, and a bucket of tokens for each.
//!
//! Invariant: a slot belongs to one key for as long as the process lives, for connected clients hold slots. A key that
//! the operator takes away leaves its slot empty, and whoever holds it may publish no more.

use std::cell::RefCell;

use subtle::ConstantTimeEq;

use super::{Refusal, Settings};
use crate::app::Request;

/// The publishing keys and what each has left. A shard has its own buckets, so a key may publish the configured rate
/// on every shard.
#[derive(Debug)]
pub(super) struct Keys(RefCell<Table>);

#[derive(Debug, Default)]
struct Table {
    open: bool,
    per_second: u64,
    /// The bucket of those who publish without a key.
    keyless: Bucket,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    /// `None` once the operator has taken it away.
    text: Option<String>,
    bucket: Bucket,
}

/// Which bucket a publisher draws from: 0 is shared by all who publish without a key, others are the key's number
/// plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeySlot(pub(super) u32);

/// Tokens of a thousandth each, so that a slow rate is not rounded away between two calls.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    millitokens: u64,
    filled_ms: u64,
}

impl Keys {
    pub(super) fn new(settings: &Settings) -> Self {
        let keys = Self(RefCell::default());
        let per_second = settings.limits.publications_per_key_per_second_max;
        keys.change(settings.publish_open, &settings.publish_keys, per_second);
        keys
    }

    /// From now on these keys count, and no others.
    pub(super) fn change(&self, open: bool, keys: &[String], per_second: u32) {
        let table = &mut *self.0.borrow_mut();
        (table.open, table.per_second) = (open, per_second.into());
        for key in &mut table.keys {
            key.text = key.text.take().filter(|text| keys.contains(text));
        }
        for text in keys {
            if table.keys.iter().all(|key| key.text.as_ref() != Some(text)) {
                table.keys.push(Key { text: Some(text.clone()), bucket: Bucket::default() });
            }
        }
    }

    /// Whether the sender of `request` may publish over HTTP.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<KeySlot, Refusal> {
        self.check_presented(bearer(request))
    }

    /// Whether a WebSocket's client may publish. Browsers cannot send `Authorization` with a handshake, so a key in
    /// the query counts as well. No key where one is needed makes a reader, a wrong one is refused.
    pub(super) fn check_websocket(&self, request: &Request<'_>) -> Result<Option<KeySlot>, Refusal> {
        let from_query = super::route::query(request.target, "key");
        let presented = bearer(request).or(from_query.as_ref().map(|key| key.as_bytes()));
        match self.check_presented(presented) {
            Ok(slot) => Ok(Some(slot)),
            Err(Refusal::KeyMissing) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Takes one token of a slot, or tells how long until there is one, or that its holder may publish no more.
    pub(super) fn take(&self, slot: KeySlot, now_ms: u64) -> Result<(), Refusal> {
        let table = &mut *self.0.borrow_mut();
        let key = (slot.0 as usize).checked_sub(1).and_then(|index| table.keys.get_mut(index));
        let bucket = match key {
            Some(key) if key.text.is_some() => &mut key.bucket,
            None if table.open && slot == KeySlot(0) => &mut table.keyless,
            Some(_) | None => return Err(Refusal::PublishForbidden),
        };
        match table.per_second {
            0 => Ok(()),
            per_second => bucket.take(per_second, now_ms),
        }
    }

    /// Whether who presents this may publish.
    pub(super) fn check_presented(&self, presented: Option<&[u8]>) -> Result<KeySlot, Refusal> {
        let table = &*self.0.borrow();
        match presented {
            Some(presented) => match table.find(presented) {
                Some(slot) => Ok(slot),
                None if table.open && table.is_keyless() => Ok(KeySlot(0)),
                None => Err(Refusal::KeyWrong),
            },
            None if table.open => Ok(KeySlot(0)),
            None => Err(Refusal::KeyMissing),
        }
    }
}

impl Table {
    /// Whether there is no key at all.
    fn is_keyless(&self) -> bool {
        self.keys.iter().all(|key| key.text.is_none())
    }

    /// Compares with every key to the end: the time taken tells neither which key nor how much of it was right.
    fn find(&self, presented: &[u8]) -> Option<KeySlot> {
        let mut found = None;
        for (key, slot) in self.keys.iter().zip(1..) {
            if key.text.as_ref().is_some_and(|text| bool::from(text.as_bytes().ct_eq(presented))) {
                found = Some(KeySlot(slot));
            }
        }
        found
    }
}

impl Bucket {
    fn take(&mut self, per_second: u64, now_ms: u64) -> Result<(), Refusal> {
        // A rate per second is the same number of thousandths per millisecond. A bucket that has not been used is full.
        let gained = now_ms.saturating_sub(self.filled_ms).saturating_mul(per_second);
        self.millitokens = self.millitokens.saturating_add(gained).min(per_second * 1000);
        self.filled_ms = now_ms;
        match self.millitokens.checked_sub(1000) {
            Some(rest) => {
                self.millitokens = rest;
                Ok(())
            }
            None => Err(Refusal::RateLimited((1000 - self.millitokens).div_ceil(per_second))),
        }
    }
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1; the scheme's case does not matter).
fn bearer<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let value = request.header("authorization")?;
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn keys(open: bool, keys: &[&str], rate: u32) -> Keys {
        Keys::new(&Settings {
            publish_open: open,
            publish_keys: keys.iter().map(|key| key.to_string()).collect(),
            limits: Limits { publications_per_key_per_second_max: rate, ..Limits::default() },
            ..Settings::default()
        })
    }

    #[test]
    fn a_key_is_needed_unless_publishing_is_open_and_a_wrong_one_never_passes_for_none() {
        let closed = keys(false, &["one", "two"], 0);
        assert_eq!(closed.check_presented(None), Err(Refusal::KeyMissing));
        assert_eq!(closed.check_presented(Some(b"two")), Ok(KeySlot(2)));
        assert_eq!(closed.check_presented(Some(b"tw")), Err(Refusal::KeyWrong));
        assert_eq!(closed.check_presented(Some(b"")), Err(Refusal::KeyWrong));
        let open = keys(true, &["one"], 0);
        assert_eq!(open.check_presented(None), Ok(KeySlot(0)));
        assert_eq!(open.check_presented(Some(b"one")), Ok(KeySlot(1)));
        assert_eq!(open.check_presented(Some(b"other")), Err(Refusal::KeyWrong));
        assert_eq!(keys(true, &[], 0).check_presented(Some(b"any")), Ok(KeySlot(0)));
        assert_eq!(keys(false, &[], 0).check_presented(Some(b"")), Err(Refusal::KeyWrong));
    }

    #[test]
    fn a_key_that_is_taken_away_stops_working_and_the_others_keep_their_slots() {
        let keys = keys(false, &["one", "two"], 0);
        keys.change(false, &["three".into(), "two".into()], 0);
        assert_eq!(keys.take(KeySlot(1), 0), Err(Refusal::PublishForbidden), "its holder is connected still");
        assert_eq!(keys.check_presented(Some(b"one")), Err(Refusal::KeyWrong));
        assert_eq!(keys.check_presented(Some(b"two")), Ok(KeySlot(2)));
        assert_eq!(
            keys.check_presented(Some(b"three")),
            Ok(KeySlot(3)),
            "no holder of a slot gets another key"
        );
        assert_eq!(keys.take(KeySlot(2), 0), Ok(()));
        keys.change(true, &[], 0);
        assert_eq!(keys.check_presented(Some(b"any")), Ok(KeySlot(0)));
        assert_eq!(keys.take(KeySlot(0), 0), Ok(()));
        keys.change(false, &["one".into()], 0);
        assert_eq!(keys.take(KeySlot(0), 0), Err(Refusal::PublishForbidden), "publishing is open no more");
        assert_eq!(keys.check_presented(Some(b"one")), Ok(KeySlot(4)));
    }

    #[test]
    fn a_bucket_empties_and_fills_at_its_rate_and_each_key_has_its_own() {
        let keys = keys(false, &["one", "two"], 4);
        for _ in 0..4 {
            assert_eq!(keys.take(KeySlot(1), 10_000), Ok(()));
        }
        assert_eq!(keys.take(KeySlot(1), 10_000), Err(Refusal::RateLimited(250)));
        assert_eq!(keys.take(KeySlot(1), 10_249), Err(Refusal::RateLimited(1)));
        assert_eq!(keys.take(KeySlot(2), 10_000), Ok(()));
        assert_eq!(keys.take(KeySlot(1), 10_250), Ok(()));
        assert!(keys.take(KeySlot(1), 10_250).is_err());
        for _ in 0..4 {
            assert_eq!(keys.take(KeySlot(1), 99_000), Ok(()), "no more than a second's worth is saved");
        }
        assert!(keys.take(KeySlot(1), 99_000).is_err());
    }
}
