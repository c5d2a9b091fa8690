//! Tokens: JSON Web Tokens (RFC 7519) that say who somebody is and what they may do.
//!
//! ```text
//!   text ─► header, issuer ─► the keys of that issuer, kid and algorithm ─► signature ─► claims ─► Verified
//!             (believed in nothing but which key to try)
//! ```
//!
//! Invariants: the algorithm belongs to the key, and a token that names another is not tried with it. Keys come from the
//! configuration alone: what a token says of where to find one (`jku`, `jwk`, `x5u`) is not read. Every claim has its
//! type, for one of the wrong type must not count as absent. No clock is read: the time is passed in.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{
    Claims, Grant,
    claims::ClaimsFault,
    token_key::{Signed, TokenKey},
};
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_KEYS_TRIED_MAX, USER_BYTES_MAX};

/// What makes a token a good one.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    keys: Vec<TokenKey>,
    remotes: Vec<RemoteKeys>,
    rules: TokenRules,
}

/// Keys of an issuer that are fetched while the server runs.
#[derive(Clone, Debug)]
pub struct RemoteKeys {
    /// Whose.
    pub issuer: Box<str>,
    /// Where they are.
    pub url: Box<str>,
    /// Those that were fetched last; `None` until that has been once.
    pub keys: Option<Arc<[TokenKey]>>,
}

/// What the operator says of tokens beside the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRules {
    /// Whom tokens must be made for; empty is nobody in particular.
    pub audience: String,
    /// How far clocks may differ, in seconds.
    pub clock_skew_s: u64,
    /// How long a token may still be good, in seconds.
    pub lifetime_max_s: u64,
    /// By issuer, what stands before the names of its users, so that no two issuers have one user.
    pub user_prefixes: Vec<(Box<str>, Box<str>)>,
}

impl TokenRules {
    /// How long a token may be taken from now on, in seconds. It may be longer by the difference of clocks, and is taken
    /// for that much longer.
    pub fn longest_s(&self) -> u64 {
        self.lifetime_max_s + 2 * self.clock_skew_s
    }

    /// What a user of an issuer is called here.
    fn name(&self, issuer: Option<&str>, user: Box<str>) -> Result<Box<str>, TokenError> {
        let mut prefixes = self.user_prefixes.iter().filter(|(one, _)| issuer == Some(&**one));
        let prefix = prefixes.next().map_or("", |(_, prefix)| prefix);
        match prefix.len() + user.len() {
            _ if prefix.is_empty() => Ok(user),
            ..=USER_BYTES_MAX => Ok(format!("{prefix}{user}").into()),
            _ => Err(TokenError::Claim(ClaimsFault::User)),
        }
    }
}

/// A good token.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Whose it is (`sub`).
    pub user: Box<str>,
    /// Until when it is good (`exp`), in seconds since the Unix epoch.
    pub expires_s: u64,
    /// When it was made (`iat`), if it says so.
    pub issued_s: Option<u64>,
    /// Its own name (`jti`), if it has one.
    pub id: Option<Box<str>>,
    /// What it gives, and what else it says.
    pub claims: Arc<Claims>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is longer than any token should be.
    TooLong,
    /// It is not three parts of base64url, of which two are JSON objects.
    Malformed,
    /// It is signed in a way that is not taken here, or says that it is not signed.
    Algorithm,
    /// Its header has something that must be understood (`crit`), or another type of token.
    Header,
    /// No key here is its issuer's, has its `kid`, and is for its algorithm.
    KeyUnknown,
    /// It was not signed with a key that is known here, or was changed.
    Signature,
    /// A claim is missing, has the wrong type, or makes no sense.
    Claim(ClaimsFault),
    /// It was made for somebody else, or for nobody where it must be for us.
    Audience,
    /// It is good no more.
    Expired,
    /// It is not good yet.
    NotYet,
    /// It is good for longer than tokens may be.
    Lifetime,
    /// It, or its user, has been shut out.
    Revoked,
    /// It is another user's than the one that is connected.
    OtherUser,
    /// As many connections of its user are there as may be.
    TooMany,
    /// As many tokens wait to be looked at as may.
    Busy,
    /// The keys of its issuer are being fetched.
    KeysPending,
}

/// The first part.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

/// Of the second part, who says it; the rest is read once it is known to be true.
#[derive(Deserialize)]
struct Issuer {
    #[serde(default)]
    iss: String,
}

impl Verifier {
    /// Tokens signed with these keys are good.
    pub fn new(keys: Vec<TokenKey>, rules: TokenRules) -> Self {
        Self { keys, remotes: Vec::new(), rules }
    }

    /// And so are those signed with keys that are fetched.
    pub fn with_remotes(self, remotes: Vec<RemoteKeys>) -> Self {
        Self { remotes, ..self }
    }

    /// Keys that were fetched; tells whether they are somebody's here.
    pub fn put_remote(&mut self, issuer: &str, url: &str, keys: &Arc<[TokenKey]>) -> bool {
        let mut is_known = false;
        for remote in &mut self.remotes {
            if *remote.issuer == *issuer && *remote.url == *url {
                remote.keys = Some(Arc::clone(keys));
                is_known = true;
            }
        }
        is_known
    }

    /// Keys that are fetched.
    pub fn remotes(&self) -> &[RemoteKeys] {
        &self.remotes
    }

    /// The sets of keys of which a token says that it was signed with one: all of its issuer.
    pub fn remotes_of(&self, text: &[u8]) -> impl Iterator<Item = &RemoteKeys> {
        let issuer = if self.remotes.is_empty() { None } else { issuer_of(text) };
        self.remotes.iter().filter(move |remote| issuer.as_deref() == Some(&*remote.issuer))
    }

    /// Whether there are tokens at all.
    pub fn takes_tokens(&self) -> bool {
        !self.keys.is_empty() || !self.remotes.is_empty()
    }

    /// Whether what was presented is to be looked at as a token, and not as a publishing key.
    pub fn is_token(&self, presented: &[u8]) -> bool {
        // A JSON object begins so in base64.
        self.takes_tokens()
            && presented.starts_with(b"eyJ")
            && presented.iter().filter(|byte| **byte == b'.').count() == 2
    }

    /// As [`TokenRules::longest_s`].
    pub fn lifetime_max_s(&self) -> u64 {
        self.rules.longest_s()
    }

    /// Whether a token is good at this time; `cost_us` is told about how long finding out has taken.
    pub fn verify(&self, text: &[u8], now_s: u64, cost_us: &mut u32) -> Result<Verified, TokenError> {
        *cost_us += PARSE_US;
        let (payload, issuer) = self.verify_signature(text, cost_us)?;
        let claims = super::claims::read(&payload).map_err(TokenError::Claim)?;
        let TokenRules { audience, clock_skew_s, lifetime_max_s, .. } = &self.rules;
        match (audience.as_str(), &claims.audience) {
            ("", None) => {}
            (ours, Some(theirs)) if theirs.iter().any(|one| !ours.is_empty() && *one == *ours) => {}
            _ => return Err(TokenError::Audience),
        }
        if claims.expires_s.saturating_add(*clock_skew_s) <= now_s {
            return Err(TokenError::Expired);
        }
        if claims.not_before_s.is_some_and(|at| at > now_s.saturating_add(*clock_skew_s)) {
            return Err(TokenError::NotYet);
        }
        // One that was made for longer would become good when its revocation has been forgotten.
        let since_s = claims.issued_s.map_or(now_s, |at| at.min(now_s));
        if claims.expires_s > since_s.saturating_add(lifetime_max_s + clock_skew_s) {
            return Err(TokenError::Lifetime);
        }
        Ok(Verified {
            user: self.rules.name(issuer, claims.user)?,
            expires_s: claims.expires_s,
            issued_s: claims.issued_s,
            id: claims.id,
            claims: Arc::new(claims.given),
        })
    }

    /// What a token says, once a key has proved it; and whose key that is.
    fn verify_signature(
        &self,
        text: &[u8],
        cost_us: &mut u32,
    ) -> Result<(Vec<u8>, Option<&str>), TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let text = std::str::from_utf8(text).map_err(|_| TokenError::Malformed)?;
        let (message, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        let payload = decode(payload)?;
        let Issuer { iss } = serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)?;
        let is_typed = header.typ.as_deref().is_none_or(|typ| {
            let typ = typ.strip_prefix("application/").unwrap_or(typ);
            typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt")
        });
        if header.crit.is_some() || !is_typed {
            return Err(TokenError::Header);
        }
        let algorithm = Signed::named(&header.alg).ok_or(TokenError::Algorithm)?;
        let fits = |key: &&TokenKey| key.is_for(&iss, header.kid.as_deref(), algorithm);
        let mut tried = 0;
        let fetched = self.remotes.iter().filter_map(|remote| remote.keys.as_deref()).flatten();
        for key in self.keys.iter().chain(fetched).filter(fits).take(TOKEN_KEYS_TRIED_MAX) {
            tried += 1;
            *cost_us += algorithm.cost_us();
            if key.verifies(message.as_bytes(), signature) {
                return Ok((payload, key.issuer()));
            }
        }
        Err(if tried == 0 { TokenError::KeyUnknown } else { TokenError::Signature })
    }
}

/// Whose a token says that it is.
fn issuer_of(text: &[u8]) -> Option<String> {
    let payload = text.split(|byte| *byte == b'.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok().map(|Issuer { iss }| iss)
}

/// About what reading a token takes without its signature.
const PARSE_US: u32 = 3;

impl Verified {
    /// What it gives.
    pub fn grant(&self) -> &Grant {
        &self.claims.grant
    }
}

impl TokenError {
    /// The code a program can match on.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLong | Self::Malformed | Self::Header => "token_malformed",
            Self::Algorithm => "token_algorithm_refused",
            Self::KeyUnknown => "token_key_unknown",
            Self::Signature => "token_signature_wrong",
            Self::Claim(_) => "token_claim_invalid",
            Self::Audience => "token_audience_wrong",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet",
            Self::Lifetime => "token_lifetime_too_long",
            Self::Revoked => "token_revoked",
            Self::OtherUser => "token_of_another_user",
            Self::TooMany => "user_connections_full",
            Self::Busy => "busy",
            Self::KeysPending => "token_keys_pending",
        }
    }

    /// Every code there is, as metrics count them.
    pub const CODES: [&str; 14] = [
        "token_malformed",
        "token_algorithm_refused",
        "token_key_unknown",
        "token_signature_wrong",
        "token_claim_invalid",
        "token_audience_wrong",
        "token_expired",
        "token_not_yet",
        "token_lifetime_too_long",
        "token_revoked",
        "token_of_another_user",
        "user_connections_full",
        "busy",
        "token_keys_pending",
    ];

    /// The place of its code among them.
    pub fn index(self) -> usize {
        Self::CODES.iter().position(|code| *code == self.code()).unwrap_or(0)
    }

    /// Whether the same token may be taken a moment later.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::TooMany | Self::KeysPending)
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::TooMany => 429,
            Self::Busy | Self::KeysPending => 503,
            _ => 401,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => return write!(f, "a token has at most {TOKEN_BYTES_MAX} bytes"),
            Self::Malformed => "this is no token: a JSON Web Token is three parts of base64url (RFC 7519)",
            Self::Header => "the token's header asks for what is not understood here (crit, typ)",
            Self::Algorithm => "tokens are signed by HS256, ES256, EdDSA or RS256 here, and always signed",
            Self::KeyUnknown => {
                "no key of this server fits the token's iss, kid and alg; see [[token_key]] and auth.hs256_keys"
            }
            Self::Signature => "the token's signature is wrong: it was made with another key, or changed",
            Self::Claim(fault) => return fault.fmt(f),
            Self::Audience => "the token is for somebody else: its aud must name this server's auth.audience",
            Self::Expired => "the token has expired (exp); get a new one",
            Self::NotYet => "the token is not good yet (nbf); compare the clocks, or raise auth.clock_skew_s",
            Self::Lifetime => "the token is good for longer than auth.lifetime_max_s; make exp earlier",
            Self::Revoked => "the token, or its user, has been shut out; get a new one",
            Self::OtherUser => "this is the token of another user; connect anew to become somebody else",
            Self::TooMany => "this user has as many connections as it may (limits.connections_per_user_max)",
            Self::KeysPending => "the keys of the token's issuer are being fetched; try again in a second",
            Self::Busy => "too many tokens wait to be looked at; try again in a second",
        })
    }
}

impl std::error::Error for TokenError {}
