//! Passwords of people: each is known by itself, by SHA-256 like a publishing key, or by bcrypt's hash of it.
//!
//! To compare with bcrypt's takes a tenth of a second, on purpose: whoever has a shard to keep going does it elsewhere.

use std::fmt;

use bcrypt::HashParts;

use super::{PublishKey, PublishKeyError};
use crate::limits::BCRYPT_COST_MAX;

/// One password, as it stands in a configuration.
#[derive(Clone, Debug)]
pub enum Password {
    /// Itself, or its SHA-256.
    Key(PublishKey),
    /// Its hash by bcrypt.
    Bcrypt(BcryptHash),
}

/// What bcrypt has made of a password: `$2b$10$`, 22 characters of salt and 31 of the hash.
#[derive(Clone)]
pub struct BcryptHash(Box<str>);

/// Why a text is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordError {
    /// It is no key.
    Key(PublishKeyError),
    /// It begins as bcrypt's hashes do, and is none.
    Bcrypt,
    /// To compare with it would take too long: its cost.
    Cost(u32),
}

impl Password {
    /// Reads a password, or a hash of one.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        // No other password begins so: no key has a dollar sign.
        if !text.starts_with("$2") {
            return PublishKey::parse(text).map(Self::Key).map_err(PasswordError::Key);
        }
        let parts: HashParts = text.parse().map_err(|_| PasswordError::Bcrypt)?;
        match parts.get_cost() {
            4..=BCRYPT_COST_MAX => Ok(Self::Bcrypt(BcryptHash(text.into()))),
            cost => Err(PasswordError::Cost(cost)),
        }
    }
}

impl BcryptHash {
    /// Whether this is the password, of which bcrypt looks at 72 bytes. Takes as long as its cost says.
    pub fn is_of(&self, password: &str) -> bool {
        bcrypt::verify(password, &self.0).unwrap_or(false)
    }
}

/// A hash is no secret, but nobody's to see either.
impl fmt::Debug for BcryptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BcryptHash")
    }
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Bcrypt => f.write_str(
                "what begins with $2 is a hash by bcrypt, of 60 characters; `htpasswd -nBC 10 admin` writes one behind admin:",
            ),
            Self::Cost(cost) => write!(
                f,
                "to compare with a hash of bcrypt of cost {cost} takes too long; make one of cost 10, or of another from 4 \
                 to {BCRYPT_COST_MAX}"
            ),
        }
    }
}

impl std::error::Error for PasswordError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `anchor-chain-7`, by crypt(3) of libxcrypt, under the names that npm's, Apache's and old programs give it.
    const HASHES: [&str; 3] = [
        "$2b$04$abcdefghijklmnopqrstuuL8tEuEm5k13j1TRnf3yXLB05wO2Zisa",
        "$2y$04$abcdefghijklmnopqrstuuL8tEuEm5k13j1TRnf3yXLB05wO2Zisa",
        "$2a$04$abcdefghijklmnopqrstuuL8tEuEm5k13j1TRnf3yXLB05wO2Zisa",
    ];

    #[test]
    fn a_password_is_known_by_the_hash_that_other_programs_make_of_it() {
        for text in HASHES {
            let Ok(Password::Bcrypt(hash)) = Password::parse(text) else { panic!("{text}") };
            assert!(hash.is_of("anchor-chain-7"), "{text}");
            for other in ["anchor-chain-8", "", text] {
                assert!(!hash.is_of(other), "{text} {other}");
            }
        }
    }

    #[test]
    fn what_is_no_hash_or_takes_too_long_is_told_without_showing_it() {
        let of_cost = |cost: &str| HASHES[0].replacen("$04$", &format!("${cost}$"), 1);
        for (text, error) in [
            ("$2b$10$short".to_owned(), PasswordError::Bcrypt),
            (HASHES[0].replace("$2b", "$2q"), PasswordError::Bcrypt),
            (of_cost("15"), PasswordError::Cost(15)),
            (of_cost("31"), PasswordError::Cost(31)),
            (of_cost("xx"), PasswordError::Bcrypt),
            ("$5$rounds=1000$a".to_owned(), PasswordError::Key(PublishKeyError::Unsendable)),
        ] {
            let found = Password::parse(&text).err();
            assert_eq!(found, Some(error), "{text}");
            assert!(!error.to_string().contains("short"));
        }
        assert!(matches!(Password::parse(&of_cost("14")), Ok(Password::Bcrypt(_))));
        assert!(matches!(Password::parse("anchor-chain-7"), Ok(Password::Key(_))));
    }
}
