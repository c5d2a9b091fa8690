//! Who may publish, and how often: keys compared in constant time, and a bucket of tokens for each.

use std::cell::Cell;

use subtle::ConstantTimeEq;

use super::{Refusal, Settings};
use crate::app::Request;

/// The publishing keys and what each has left. A shard has its own buckets, so a key may publish the configured rate
/// on every shard.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<String>,
    open: bool,
    per_second: u64,
    /// One per [`KeySlot`].
    buckets: Box<[Cell<Bucket>]>,
}

/// Which bucket a publisher draws from: 0 is shared by all who publish without a key, others are the key's number
/// plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeySlot(pub(super) u32);

/// Tokens of a thousandth each, so that a slow rate is not rounded away between two calls.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    millitokens: u64,
    filled_ms: u64,
}

impl Keys {
    pub(super) fn new(settings: &Settings) -> Self {
        let per_second = u64::from(settings.limits.publications_per_key_per_second_max);
        let full = Bucket { millitokens: per_second * 1000, filled_ms: 0 };
        Self {
            keys: settings.publish_keys.clone(),
            open: settings.publish_open,
            per_second,
            buckets: vec![Cell::new(full); settings.publish_keys.len() + 1].into(),
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

    /// Takes one token of a slot, or tells how long until there is one.
    pub(super) fn take(&self, slot: KeySlot, now_ms: u64) -> Result<(), Refusal> {
        if self.per_second == 0 {
            return Ok(());
        }
        let mut bucket = self.buckets[slot.0 as usize].get();
        // A rate per second is the same number of thousandths per millisecond.
        let gained = now_ms.saturating_sub(bucket.filled_ms).saturating_mul(self.per_second);
        bucket.millitokens = bucket.millitokens.saturating_add(gained).min(self.per_second * 1000);
        bucket.filled_ms = now_ms;
        let taken = match bucket.millitokens.checked_sub(1000) {
            Some(rest) => {
                bucket.millitokens = rest;
                Ok(())
            }
            None => Err(Refusal::RateLimited((1000 - bucket.millitokens).div_ceil(self.per_second))),
        };
        self.buckets[slot.0 as usize].set(bucket);
        taken
    }

    /// Whether who presents this may publish.
    pub(super) fn check_presented(&self, presented: Option<&[u8]>) -> Result<KeySlot, Refusal> {
        match presented {
            Some(presented) => match self.find(presented) {
                Some(slot) => Ok(slot),
                None if self.open && self.keys.is_empty() => Ok(KeySlot(0)),
                None => Err(Refusal::KeyWrong),
            },
            None if self.open => Ok(KeySlot(0)),
            None => Err(Refusal::KeyMissing),
        }
    }

    /// Compares with every key to the end: the time taken tells neither which key nor how much of it was right.
    fn find(&self, presented: &[u8]) -> Option<KeySlot> {
        let mut found = None;
        for (key, slot) in self.keys.iter().zip(1..) {
            if bool::from(key.as_bytes().ct_eq(presented)) {
                found = Some(KeySlot(slot));
            }
        }
        found
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
