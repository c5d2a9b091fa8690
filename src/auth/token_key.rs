//! The keys that tokens are signed with, each with its algorithm and its issuer.

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};

/// A key.
#[derive(Clone)]
pub struct TokenKey {
    /// Whose tokens it is for; `None` is everybody's.
    issuer: Option<Box<str>>,
    kid: Option<Box<str>>,
    signed: Signed,
    key: DecodingKey,
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// With a secret that both sides know.
    Hs256,
    /// ECDSA over P-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA of at least 2048 bits.
    Rs256,
}

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKeyError {
    /// A secret is shorter than [`SECRET_BYTES_MIN`].
    SecretTooShort,
    /// It is not the public key, in PEM, of this algorithm.
    Pem,
    /// It is not a JSON Web Key Set.
    Set,
    /// The set has no key for signatures that are taken here.
    SetEmpty,
}

/// RFC 7518 §3.2: a key for HS256 has at least as many bits as its hash.
pub const SECRET_BYTES_MIN: usize = 32;

impl TokenKey {
    /// A secret for HS256. Without an issuer it is for every token.
    pub fn secret(issuer: Option<&str>, kid: Option<&str>, secret: &[u8]) -> Result<Self, TokenKeyError> {
        match secret.len() < SECRET_BYTES_MIN {
            true => Err(TokenKeyError::SecretTooShort),
            false => Ok(Self::new(issuer, kid, Signed::Hs256, DecodingKey::from_secret(secret))),
        }
    }

    /// A public key in PEM.
    pub fn pem(
        issuer: Option<&str>,
        kid: Option<&str>,
        signed: Signed,
        pem: &[u8],
    ) -> Result<Self, TokenKeyError> {
        let key = match signed {
            Signed::Hs256 => return Self::secret(issuer, kid, pem.trim_ascii()),
            Signed::Es256 => DecodingKey::from_ec_pem(pem),
            Signed::EdDsa => DecodingKey::from_ed_pem(pem),
            Signed::Rs256 => DecodingKey::from_rsa_pem(pem),
        };
        let key = Self::new(issuer, kid, signed, key.map_err(|_| TokenKeyError::Pem)?);
        if key.is_usable() { Ok(key) } else { Err(TokenKeyError::Pem) }
    }

    /// The keys of a JSON Web Key Set (RFC 7517) that are for signatures taken here. Each has its algorithm from its
    /// own kind, never from a token. Secrets do not belong into a set that others may read.
    pub fn set(issuer: Option<&str>, json: &[u8]) -> Result<Vec<Self>, TokenKeyError> {
        let set: JwkSet = serde_json::from_slice(json).map_err(|_| TokenKeyError::Set)?;
        let keys: Vec<_> = set.keys.iter().filter_map(|jwk| Self::of_set(issuer, jwk)).collect();
        if keys.is_empty() { Err(TokenKeyError::SetEmpty) } else { Ok(keys) }
    }

    fn of_set(issuer: Option<&str>, jwk: &Jwk) -> Option<Self> {
        let signed = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Signed::Rs256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Signed::Es256,
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Signed::EdDsa,
            _ => return None,
        };
        let is_for_signatures =
            jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let is_so = match jwk.common.key_algorithm {
            None => true,
            Some(KeyAlgorithm::RS256) => signed == Signed::Rs256,
            Some(KeyAlgorithm::ES256) => signed == Signed::Es256,
            Some(KeyAlgorithm::EdDSA) => signed == Signed::EdDsa,
            Some(_) => false,
        };
        let key = DecodingKey::from_jwk(jwk).ok().filter(|_| is_for_signatures && is_so)?;
        Some(Self::new(issuer, jwk.common.key_id.as_deref(), signed, key)).filter(Self::is_usable)
    }

    fn new(issuer: Option<&str>, kid: Option<&str>, signed: Signed, key: DecodingKey) -> Self {
        Self { issuer: issuer.map(Into::into), kid: kid.map(Into::into), signed, key }
    }

    /// Whose tokens it is for, if not everybody's.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Whether it is for tokens that say this of themselves. One that names no `kid` may be any key's.
    pub(super) fn is_for(&self, issuer: &str, kid: Option<&str>, signed: Signed) -> bool {
        let is_issuer = self.issuer.as_deref().is_none_or(|own| own == issuer);
        let is_kid = match (&self.kid, kid) {
            (Some(own), Some(kid)) => **own == *kid,
            (None, _) | (_, None) => true,
        };
        is_issuer && is_kid && self.signed == signed
    }

    /// Whether it made this signature.
    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let algorithm = self.signed.algorithm();
        jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }

    /// Whether it can verify anything at all.
    fn is_usable(&self) -> bool {
        jsonwebtoken::crypto::verify("AA", b"", &self.key, self.signed.algorithm()).is_ok()
    }
}

impl Signed {
    /// The way that a token's header or the configuration names.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "ES256" => Self::Es256,
            "EdDSA" => Self::EdDsa,
            "RS256" => Self::Rs256,
            _ => return None,
        })
    }

    /// About how long one look takes, in microseconds: what the budget of a turn is counted in.
    pub(super) fn cost_us(self) -> u32 {
        match self {
            Self::Hs256 => 2,
            Self::Es256 | Self::EdDsa => 100,
            Self::Rs256 => 50,
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
            Self::Rs256 => Algorithm::RS256,
        }
    }
}

/// The key itself is nobody's to see.
impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, kid, signed, key: _ } = self;
        let mut shown = f.debug_struct("TokenKey");
        shown.field("issuer", issuer).field("kid", kid).field("signed", signed).finish_non_exhaustive()
    }
}

impl fmt::Display for TokenKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecretTooShort => {
                "a secret for HS256 has at least 32 bytes (RFC 7518 section 3.2); `openssl rand -base64 48` makes one"
            }
            Self::Pem => "this is not the public key of that algorithm in PEM (-----BEGIN PUBLIC KEY-----)",
            Self::Set => "this is not a JSON Web Key Set, {\"keys\":[…]} (RFC 7517)",
            Self::SetEmpty => "the set has no key for ES256, EdDSA or RS256",
        })
    }
}

impl std::error::Error for TokenKeyError {}
