//! What a token says, read with types: a claim that is there and is not what it should be refuses the token.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::{Grant, Pattern, PatternError, Right};
use crate::limits::{TOKEN_PATTERNS_MAX, USER_BYTES_MAX};

/// What a token gives, and what else it says of its holder; the same for all whose tokens say the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Claims {
    /// The channels for each right (`allow`).
    pub grant: Grant,
    /// JSON that others may see (`info`).
    pub info: Option<Box<str>>,
    /// JSON for the application alone (`meta`).
    pub meta: Option<Box<str>>,
}

/// What is wrong with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimsFault {
    /// One is missing, stands twice, or has another type than it must.
    Type,
    /// `sub` is empty or too long.
    User,
    /// `allow` has more patterns than may be.
    Patterns,
    /// `allow` has a pattern that is none.
    Pattern(PatternError),
}

/// All of it.
pub(super) struct Said {
    pub(super) user: Box<str>,
    pub(super) expires_s: u64,
    pub(super) not_before_s: Option<u64>,
    pub(super) issued_s: Option<u64>,
    pub(super) id: Option<Box<str>>,
    /// Whom it was made for, if it says so.
    pub(super) audience: Option<Vec<String>>,
    pub(super) given: Claims,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    sub: Cow<'a, str>,
    exp: Seconds,
    #[serde(default)]
    nbf: Given<Seconds>,
    #[serde(default)]
    iat: Given<Seconds>,
    #[serde(default)]
    jti: Given<String>,
    #[serde(default)]
    aud: Given<Audience>,
    #[serde(default)]
    allow: Allow,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

/// What may be left out, but not be `null`.
struct Given<T>(Option<T>);

/// Seconds since the Unix epoch; JSON may write them with a fraction (RFC 7519 §2, NumericDate).
struct Seconds(u64);

/// One, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Patterns by right. What else is there gives nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Allow {
    subscribe: Vec<String>,
    publish: Vec<String>,
    presence: Vec<String>,
    history: Vec<String>,
    state: Vec<String>,
    set_state: Vec<String>,
    enter: Vec<String>,
}

/// Reads what a token says.
pub(super) fn read(payload: &[u8]) -> Result<Said, ClaimsFault> {
    let payload: Payload<'_> = serde_json::from_slice(payload).map_err(|_| ClaimsFault::Type)?;
    if payload.sub.is_empty() || payload.sub.len() > USER_BYTES_MAX {
        return Err(ClaimsFault::User);
    }
    Ok(Said {
        user: payload.sub.into(),
        expires_s: payload.exp.0,
        not_before_s: payload.nbf.0.map(|at| at.0),
        issued_s: payload.iat.0.map(|at| at.0),
        id: payload.jti.0.map(Into::into),
        audience: payload.aud.0.map(|audience| match audience {
            Audience::One(one) => vec![one],
            Audience::Several(several) => several,
        }),
        given: Claims {
            grant: payload.allow.compile()?,
            info: payload.info.map(|json| json.get().into()),
            meta: payload.meta.map(|json| json.get().into()),
        },
    })
}

impl Allow {
    pub(super) fn compile(self) -> Result<Grant, ClaimsFault> {
        let lists = [
            (Right::Subscribe, self.subscribe),
            (Right::Publish, self.publish),
            (Right::Presence, self.presence),
            (Right::History, self.history),
            (Right::State, self.state),
            (Right::SetState, self.set_state),
            (Right::Enter, self.enter),
        ];
        if lists.iter().map(|(_, list)| list.len()).sum::<usize>() > TOKEN_PATTERNS_MAX {
            return Err(ClaimsFault::Patterns);
        }
        let mut grant = Grant::default();
        for (right, list) in lists {
            let patterns = list.iter().map(|text| Pattern::without_subject(text)).collect::<Result<_, _>>();
            grant = grant.with(right, patterns.map_err(ClaimsFault::Pattern)?);
        }
        Ok(grant)
    }
}

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since 1970")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                Ok(Seconds(seconds))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                // Up to there every whole number is one of these.
                let is_sound = (0.0..=9_007_199_254_740_992.0).contains(&seconds);
                if is_sound { Ok(Seconds(seconds as u64)) } else { Err(E::custom("no time")) }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl fmt::Display for ClaimsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => f.write_str(
                "a claim of the token is missing or has the wrong type: sub is a string, exp a number of seconds, \
                 allow an object of lists of patterns",
            ),
            Self::User => write!(f, "the token's sub, its user, has 1 to {USER_BYTES_MAX} bytes"),
            Self::Patterns => write!(f, "the token's allow has more than {TOKEN_PATTERNS_MAX} patterns"),
            Self::Pattern(error) => write!(f, "a pattern in the token's allow is none: {error}"),
        }
    }
}
