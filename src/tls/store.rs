//! Which certificate a client is shown: by the name it asks for, and by what it can verify.
//!
//! ```text
//!   "chat.example.org" ─► exact ─► "*.example.org" ─► every certificate, in the order in which they were given
//!                          └── in each: ECDSA and Ed25519 before RSA, which costs five times as much
//! ```

use std::{fmt, sync::Arc};

use rustc_hash::FxHashMap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::certificate::Certificate;

/// The certificates of a server. Not changed; replaced as a whole.
pub(super) struct Store {
    /// The cheapest to sign with first, and otherwise as they were given.
    keys: Vec<Arc<CertifiedKey>>,
    /// By name, where each begins with `*.` or has no wildcard.
    by_name: FxHashMap<String, Vec<usize>>,
}

impl Store {
    pub(super) fn new(certificates: Vec<Certificate>) -> Self {
        let mut certificates = certificates;
        certificates.sort_by_key(|certificate| certificate.is_rsa);
        let mut by_name = FxHashMap::<String, Vec<usize>>::default();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_default().push(index);
            }
        }
        Self { keys: certificates.into_iter().map(|certificate| certificate.key).collect(), by_name }
    }

    /// The first certificate for a name that `can_be_used`; of any name, if there is none for this one.
    fn find(
        &self,
        name: Option<&str>,
        can_be_used: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let usable = |index: &&usize| can_be_used(&self.keys[**index]);
        let of = |name: &str| self.by_name.get(name)?.iter().find(usable);
        let named = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            of(&name).or_else(|| {
                // A wildcard stands for one label (RFC 6125 §6.4.3).
                let (_, parent) = name.split_once('.')?;
                of(&format!("*.{parent}"))
            })
        });
        let found = named.map(|index| &self.keys[*index]);
        found.or_else(|| self.keys.iter().find(|key| can_be_used(key))).map(Arc::clone)
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), |key| key.key.choose_scheme(hello.signature_schemes()).is_some())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use rustls::{SignatureAlgorithm, sign::SigningKey};

    use super::*;

    #[derive(Debug)]
    struct Key(SignatureAlgorithm);

    impl SigningKey for Key {
        fn choose_scheme(&self, _: &[rustls::SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
            None
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            self.0
        }
    }

    /// A certificate that is known by the number in its first byte.
    fn certificate(number: u8, names: &[&str], is_rsa: bool) -> Certificate {
        let algorithm = if is_rsa { SignatureAlgorithm::RSA } else { SignatureAlgorithm::ECDSA };
        let key = CertifiedKey::new(vec![vec![number].into()], Arc::new(Key(algorithm)));
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Certificate { key: Arc::new(key), names, is_rsa, validity: None }
    }

    #[test]
    fn the_name_decides_then_the_price_then_the_order() {
        let store = Store::new(vec![
            certificate(1, &["a.org"], true),
            certificate(2, &["a.org", "*.a.org"], false),
            certificate(3, &["b.a.org"], true),
            certificate(4, &["c.org"], false),
        ]);
        let found = |name: Option<&str>, rsa_only: bool| {
            let usable = |key: &CertifiedKey| !rsa_only || key.key.algorithm() == SignatureAlgorithm::RSA;
            store.find(name, usable).map(|key| key.cert[0][0])
        };
        for (name, any, rsa) in [
            (Some("a.org"), 2, 1),
            (Some("A.ORG."), 2, 1),
            (Some("x.a.org"), 2, 1),
            (Some("b.a.org"), 3, 3),
            (Some("x.b.a.org"), 2, 1),
            (Some("c.org"), 4, 1),
            (Some("elsewhere"), 2, 1),
            (Some(""), 2, 1),
            (None, 2, 1),
        ] {
            assert_eq!((found(name, false), found(name, true)), (Some(any), Some(rsa)), "{name:?}");
        }
        assert!(store.find(None, |_| false).is_none());
    }
}
