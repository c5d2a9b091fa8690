//! Publishing keys: the simple form of a right to publish, for whoever holds a secret.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use super::{Grant, Pattern, PatternError, Right};

/// A key, as it is kept: by its hash, for nobody has to know it to recognise it.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishKey {
    digest: [u8; 32],
    grant: Grant,
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishKeyError {
    /// No client could send it.
    Unsendable,
    /// `sha256:` is not followed by 64 hexadecimal digits.
    Digest,
    /// What follows the key is no pattern.
    Pattern(PatternError),
}

/// What stands before a key's hash. No key can begin so: a colon cannot be sent.
const HASHED: &str = "sha256:";

impl PublishKey {
    /// Reads a key, or its hash, and the patterns behind it; without one it is for every channel.
    pub fn parse(text: &str) -> Result<Self, PublishKeyError> {
        let mut words = text.split_ascii_whitespace();
        let key = words.next().unwrap_or_default();
        let digest = match key.strip_prefix(HASHED) {
            Some(digits) => read_digest(digits).ok_or(PublishKeyError::Digest)?,
            None if is_bearer_token(key) => digest_of(key.as_bytes()),
            None => return Err(PublishKeyError::Unsendable),
        };
        let patterns: Vec<_> = words.map(Pattern::without_subject).collect::<Result<_, _>>()?;
        let patterns = if patterns.is_empty() { vec![Pattern::every()] } else { patterns };
        // Who may publish everything that a channel says may say what its state is; and must read what it changes.
        let rights = [Right::Publish, Right::State, Right::SetState];
        let grant =
            rights.into_iter().fold(Grant::default(), |grant, right| grant.with(right, patterns.clone()));
        Ok(Self { digest, grant })
    }

    /// What a client presents, to be compared with many keys.
    pub fn digest_of(presented: &[u8]) -> [u8; 32] {
        digest_of(presented)
    }

    /// Whether a client presents this key. Takes as long for every other.
    pub fn is(&self, digest: &[u8; 32]) -> bool {
        self.digest.ct_eq(digest).into()
    }

    /// What it is known by.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether it is the same key, whatever the channels.
    pub fn is_same(&self, other: &Self) -> bool {
        self.is(&other.digest)
    }

    /// The channels it is for.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }
}

fn digest_of(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn read_digest(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// RFC 6750 §2.1: `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_bearer_token(key: &str) -> bool {
    let body = key.trim_end_matches('=');
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(is_token_byte)
}

/// What is kept of a key is no secret, but nobody's to see either.
impl fmt::Debug for PublishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishKey").field("grant", &self.grant).finish_non_exhaustive()
    }
}

impl From<PatternError> for PublishKeyError {
    fn from(error: PatternError) -> Self {
        Self::Pattern(error)
    }
}

impl fmt::Display for PublishKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsendable => f.write_str(
                "no client can send it; a key is letters, digits and -._~+/ and may end in = (RFC 6750); \
                 `openssl rand -hex 32` makes one",
            ),
            Self::Digest => f.write_str(
                "sha256: is followed by 64 hexadecimal digits; `printf %s KEY | sha256sum` writes them",
            ),
            Self::Pattern(error) => {
                write!(f, "behind a key stand the patterns of its channels, \"KEY news:** chat:*\": {error}")
            }
        }
    }
}

impl std::error::Error for PublishKeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_itself_or_by_its_hash() {
        // `printf %s secret | sha256sum`
        let hashed = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let digest = PublishKey::digest_of(b"secret");
        for text in ["secret", hashed, &hashed.to_uppercase().replace("SHA256", "sha256")] {
            let key = PublishKey::parse(text).expect("a key");
            assert!(key.is(&digest) && !key.is(&PublishKey::digest_of(b"Secret")), "{text}");
            assert!(key.grant().allows_every(Right::Publish) && !key.grant().allows(Right::History, "a"));
            assert!(!key.is(&PublishKey::digest_of(hashed.as_bytes())), "a hash opens nothing");
        }
    }

    #[test]
    fn a_key_may_be_limited_to_patterns() {
        let key = PublishKey::parse("secret news:** chat:*").expect("a key");
        let may = |channel| key.grant().allows(Right::Publish, channel);
        assert!(may("news:a:b") && may("chat:a") && !may("chat:a:b") && !may("other"));
        assert!(!key.grant().allows_every(Right::Publish));
    }

    #[test]
    fn what_cannot_be_a_key_is_told_without_showing_it() {
        for text in ["a", "abc-._~+/9==", "0123456789abcdef"] {
            assert!(PublishKey::parse(text).is_ok(), "{text:?}");
        }
        for (text, error) in [
            ("", PublishKeyError::Unsendable),
            ("=", PublishKeyError::Unsendable),
            ("a,b", PublishKeyError::Unsendable),
            ("a=b", PublishKeyError::Unsendable),
            ("ä", PublishKeyError::Unsendable),
            ("sha256:12", PublishKeyError::Digest),
            ("s3cret news*", PublishKeyError::Pattern(PatternError::PartOfSegment)),
            ("s3cret user:{sub}", PublishKeyError::Pattern(PatternError::Subject)),
        ] {
            assert_eq!(PublishKey::parse(text), Err(error), "{text:?}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }
}
