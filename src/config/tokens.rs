//! `[auth]` and `[[token_key]]`: which tokens are good and how they may come. What each key means to an operator stands
//! in `keys.rs`.

use std::{fmt, fs, io, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Config, Secret};
use crate::{
    auth::{RemoteKeys, Signed, TokenKey, TokenKeyError, TokenRules, Verifier},
    backend::{KeySet, Target, TargetError},
    limits::TOKEN_KEY_BYTES_MAX,
    live::Tokens,
};

/// `[auth]`: tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Secrets with which HS256 tokens of any issuer are signed.
    pub hs256_keys: Vec<Secret>,
    /// Whom tokens must be for.
    pub audience: String,
    /// How far clocks may differ.
    pub clock_skew_s: u32,
    /// How long a token may be good from when it was issued, or where it does not say, from when it is shown.
    pub lifetime_max_s: u32,
    /// How long a client has to bring another token when its own has run out.
    pub refresh_s: u32,
    /// Whether a cookie may bring a token.
    pub cookie: bool,
    /// Whether the URL may.
    pub token_in_url: bool,
    /// Time between fetches of keys for tokens that name unknown ones.
    pub jwks_refetch_s: u32,
}

/// `[[token_key]]`: a key of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenKeySection {
    /// What its tokens have as `iss`.
    pub issuer: String,
    /// What its tokens have as `kid`; empty is any.
    pub kid: String,
    /// How its tokens are signed, or that the file is a set of keys.
    pub algorithm: TokenAlgorithm,
    /// Where the key is.
    pub file: String,
    /// Where a set of keys is fetched.
    pub url: String,
    /// What stands before the names of its users.
    pub user_prefix: String,
}

/// What a key's file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenAlgorithm {
    /// A secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// A public key on P-256.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// A public key on Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// A public RSA key.
    #[serde(rename = "RS256")]
    Rs256,
    /// A set of public keys.
    #[serde(rename = "JWKS")]
    Jwks,
}

/// Something about tokens that cannot be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// A secret of `auth.hs256_keys`, counted from 1.
    Secret(usize, TokenKeyError),
    /// A `[[token_key]]` without an issuer, counted from 1.
    NoIssuer(usize),
    /// The file of a `[[token_key]]` cannot be read.
    Unreadable(usize, PathBuf, io::ErrorKind),
    /// The file of a `[[token_key]]` holds no such key.
    Key(usize, PathBuf, TokenKeyError),
    /// Keys that others use as well, and tokens that need not be for this server.
    NoAudience,
    /// A `[[token_key]]` has an address where only a set of keys can be, and no file beside it, counted from 1.
    NoSet(usize),
    /// An address that is none, or from which anybody on the way could pass other keys, counted from 1.
    Url(usize, bool),
    /// What cannot stand before a name, counted from 1.
    UserPrefix(usize),
    /// Users of these two could be taken for each other.
    SharedUsers(String, String),
    /// A namespace lets in whoever has a token, and there are none.
    NoTokens(usize),
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            hs256_keys: Vec::new(),
            audience: String::new(),
            clock_skew_s: 30,
            lifetime_max_s: 86_400,
            refresh_s: 25,
            cookie: false,
            token_in_url: false,
            jwks_refetch_s: 30,
        }
    }
}

impl Config {
    /// Whether somebody has said which tokens are good.
    pub fn takes_tokens(&self) -> bool {
        !self.auth.hs256_keys.is_empty() || !self.token_key.is_empty()
    }

    /// Whether it can be known who somebody is.
    pub fn knows_users(&self) -> bool {
        self.takes_tokens() || !self.hooks.connect.is_empty()
    }

    /// What is said of tokens beside their keys.
    pub fn token_rules(&self) -> TokenRules {
        TokenRules {
            audience: self.auth.audience.clone(),
            clock_skew_s: self.auth.clock_skew_s.into(),
            lifetime_max_s: self.auth.lifetime_max_s.into(),
            user_prefixes: self.user_prefixes(),
        }
    }

    fn user_prefixes(&self) -> Vec<(Box<str>, Box<str>)> {
        let of = |section: &TokenKeySection| ((&*section.issuer).into(), (&*section.user_prefix).into());
        self.token_key.iter().map(of).collect()
    }

    /// Where keys are fetched, of a checked configuration.
    pub fn key_sets(&self) -> Vec<KeySet> {
        let sections = self.token_key.iter().filter(|section| !section.url.is_empty());
        let sets = sections.filter_map(|section| {
            let target = Target::parse(&section.url).ok()?;
            Some(KeySet { issuer: (&*section.issuer).into(), url: (&*section.url).into(), target })
        });
        sets.collect()
    }

    fn remote_keys(&self) -> Vec<RemoteKeys> {
        let of = |KeySet { issuer, url, .. }| RemoteKeys { issuer, url, keys: None };
        self.key_sets().into_iter().map(of).collect()
    }

    /// Reads the keys of a checked configuration from their files.
    pub fn tokens(&self) -> Tokens {
        let keys = read_keys(self).unwrap_or_default();
        let verifier = Verifier::new(keys, self.token_rules()).with_remotes(self.remote_keys());
        let verifier = Arc::new(verifier);
        Tokens {
            verifier,
            refresh_s: self.auth.refresh_s,
            cookie: self.auth.cookie,
            in_url: self.auth.token_in_url,
        }
    }
}

/// Every problem of tokens.
pub(super) fn problems(config: &Config) -> Vec<TokenProblem> {
    let mut problems = read_keys(config).err().unwrap_or_default();
    let is_shared = |section: &TokenKeySection| section.algorithm != TokenAlgorithm::Hs256;
    if config.auth.audience.is_empty() && config.token_key.iter().any(is_shared) {
        problems.push(TokenProblem::NoAudience);
    }
    problems.extend(user_problems(config));
    if !config.knows_users() {
        let wanting = config.namespace.iter().zip(1..).find(|(namespace, _)| namespace.wants_token());
        problems.extend(wanting.map(|(_, number)| TokenProblem::NoTokens(number)));
    }
    problems
}

/// Issuers whose users could have one name.
fn user_problems(config: &Config) -> Vec<TokenProblem> {
    let is_name = |prefix: &str| prefix.len() <= 64 && !prefix.contains([':', '/', '#', '*', '{', '}']);
    let sections = config.token_key.iter().zip(1..);
    let wrong = sections.filter(|(section, _)| !is_name(&section.user_prefix));
    let mut problems: Vec<_> = wrong.map(|(_, number)| TokenProblem::UserPrefix(number)).collect();
    // Whoever has our own secret can make any name; others must not make those that it makes.
    let shares_own = |prefix: &str| !config.auth.hs256_keys.is_empty() && prefix.is_empty();
    for (section, at) in config.token_key.iter().zip(1..) {
        let (issuer, prefix) = (&section.issuer, &section.user_prefix);
        if shares_own(prefix) {
            problems.push(TokenProblem::SharedUsers("auth.hs256_keys".into(), issuer.clone()));
        }
        let shares = |other: &&TokenKeySection| match other.issuer == *issuer {
            true => other.user_prefix != *prefix,
            false => {
                other.user_prefix.starts_with(prefix.as_str())
                    || prefix.starts_with(other.user_prefix.as_str())
            }
        };
        if let Some(other) = config.token_key[at..].iter().find(shares) {
            problems.push(TokenProblem::SharedUsers(issuer.clone(), other.issuer.clone()));
        }
    }
    problems
}

fn read_keys(config: &Config) -> Result<Vec<TokenKey>, Vec<TokenProblem>> {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for (secret, number) in config.auth.hs256_keys.iter().zip(1..) {
        match TokenKey::secret(None, None, secret.expose().as_bytes()) {
            Ok(key) => keys.push(key),
            Err(error) => problems.push(TokenProblem::Secret(number, error)),
        }
    }
    for (section, number) in config.token_key.iter().zip(1..) {
        match section.read(number) {
            Ok(read) => keys.extend(read),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

impl TokenKeySection {
    fn read(&self, number: usize) -> Result<Vec<TokenKey>, TokenProblem> {
        if self.issuer.is_empty() {
            return Err(TokenProblem::NoIssuer(number));
        }
        if !self.url.is_empty() {
            return self.check_url(number).map(|()| Vec::new());
        }
        let path = PathBuf::from(&self.file);
        let bytes =
            read_file(&path).map_err(|error| TokenProblem::Unreadable(number, path.clone(), error.kind()))?;
        let (issuer, kid) = (Some(&*self.issuer), Some(&*self.kid).filter(|kid| !kid.is_empty()));
        let one = |signed| TokenKey::pem(issuer, kid, signed, &bytes).map(|key| vec![key]);
        let read = match self.algorithm {
            TokenAlgorithm::Hs256 => one(Signed::Hs256),
            TokenAlgorithm::Es256 => one(Signed::Es256),
            TokenAlgorithm::EdDsa => one(Signed::EdDsa),
            TokenAlgorithm::Rs256 => one(Signed::Rs256),
            TokenAlgorithm::Jwks => TokenKey::set(issuer, &bytes),
        };
        read.map_err(|error| TokenProblem::Key(number, path, error))
    }

    fn check_url(&self, number: usize) -> Result<(), TokenProblem> {
        if self.algorithm != TokenAlgorithm::Jwks || !self.file.is_empty() || !self.kid.is_empty() {
            return Err(TokenProblem::NoSet(number));
        }
        match Target::parse(&self.url) {
            Ok(target) if target.is_safe() => Ok(()),
            Ok(_) => Err(TokenProblem::Url(number, true)),
            Err(_) => Err(TokenProblem::Url(number, false)),
        }
    }
}

fn read_file(path: &PathBuf) -> io::Result<Vec<u8>> {
    match fs::metadata(path)?.len() > TOKEN_KEY_BYTES_MAX {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => fs::read(path),
    }
}

impl fmt::Display for TokenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(number, error) => write!(f, "auth.hs256_keys: key {number}: {error}"),
            Self::NoIssuer(number) => write!(
                f,
                "[[token_key]] number {number} has no issuer; say what its tokens have as iss, or put a secret of your \
                 own into auth.hs256_keys"
            ),
            Self::Unreadable(number, path, error) => {
                write!(f, "[[token_key]] number {number}: {} cannot be read: {error}", path.display())
            }
            Self::Key(number, path, error) => {
                write!(f, "[[token_key]] number {number}: {}: {error}", path.display())
            }
            Self::UserPrefix(number) => write!(
                f,
                "[[token_key]] number {number}: user_prefix has at most 64 bytes and none of : / # * {{ }}, such as \
                 \"google-\""
            ),
            Self::SharedUsers(one, other) if one == other => {
                write!(f, "[[token_key]]: the keys of {one} have different user_prefix; write one")
            }
            Self::SharedUsers(one, other) => write!(
                f,
                "users of {one} and of {other} could be taken for each other, for both may have the same sub; give each \
                 [[token_key]] a user_prefix, such as \"google-\", of which none begins with another"
            ),
            Self::NoSet(number) => write!(
                f,
                "[[token_key]] number {number}: at a url is a set of keys: write algorithm = \"JWKS\", and neither file \
                 nor kid"
            ),
            Self::Url(number, false) => write!(f, "[[token_key]] number {number}: url: {TargetError}"),
            Self::Url(number, true) => write!(
                f,
                "[[token_key]] number {number}: without TLS anybody on the way to url could make keys; write https://, or \
                 an address of this machine"
            ),
            Self::NoAudience => f.write_str(
                "auth.audience is empty, and an issuer with a public key makes tokens for others, too; say what its \
                 tokens for this server have as aud (--set auth.audience=roadstead)",
            ),
            Self::NoTokens(number) => write!(
                f,
                "[[namespace]] number {number} lets in whoever has a token, and no token is good here; set a secret \
                 with auth.hs256_keys (ROADSTEAD_AUTH__HS256_KEYS), or a [[token_key]]"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_issuers_can_have_one_user() {
        let problems = |own: bool, sections: &[(&str, &str)]| {
            let mut config = Config::default();
            config.auth.hs256_keys = own.then(|| Secret::new("x".repeat(32))).into_iter().collect();
            let section = |(issuer, prefix): &(&str, &str)| TokenKeySection {
                issuer: (*issuer).into(),
                user_prefix: (*prefix).into(),
                ..TokenKeySection::default()
            };
            config.token_key = sections.iter().map(section).collect();
            user_problems(&config).iter().map(TokenProblem::to_string).collect::<Vec<_>>()
        };
        for (own, sections) in [
            (true, &[][..]),
            (true, &[("a", "a-")]),
            (false, &[("a", "")]),
            (false, &[("a", ""), ("a", "")]),
            (true, &[("a", "a-"), ("b", "b-"), ("a", "a-")]),
        ] {
            assert_eq!(problems(own, sections), [""; 0], "{sections:?}");
        }
        for (own, sections) in [
            (true, &[("a", "")][..]),
            (false, &[("a", ""), ("b", "")]),
            (false, &[("a", ""), ("b", "b-")]),
            (false, &[("a", "a-1"), ("b", "a-")]),
            (false, &[("a", "a-"), ("a", "")]),
            (false, &[("a", "a:")]),
        ] {
            assert_eq!(problems(own, sections).len(), 1, "{sections:?}");
        }
    }
}
