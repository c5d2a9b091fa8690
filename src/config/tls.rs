//! `[tls]`: which listeners speak TLS, with which certificates. What each key means to an operator stands in `keys.rs`;
//! reading the files is `tls/`'s.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Config, Endpoint, Problem};
use crate::tls::{CertificateFiles, MinVersion, TermsSettings};

/// `[tls]`: which listeners speak TLS, with which certificates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Files of certificates, in PEM. Without one nothing speaks TLS.
    pub certificates: Vec<String>,
    /// Files of their keys, in the same order; none where each certificate's file holds its key.
    pub keys: Vec<String>,
    /// The addresses of `[server]` that speak TLS; none for all of `server.listen`.
    pub addresses: Vec<Endpoint>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// A file of ticket keys; empty for keys that this process draws and replaces itself.
    pub ticket_keys: String,
    /// Time a handshake may take.
    pub handshake_timeout_ms: u32,
    /// Handshakes of one shard that may have begun at once.
    pub handshakes_max: u32,
    /// How often the files are looked at for changes.
    pub watch_ms: u32,
    /// Addresses without TLS that send everybody to those with it.
    pub redirect: Vec<Endpoint>,
    /// Where an ACME client puts its answers; empty for nowhere.
    pub acme_challenge_folder: String,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// Every client since about 2008.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// Every client since about 2018.
    #[serde(rename = "1.3")]
    Tls13,
}

/// A setting of `[tls]`, or two together, that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsProblem {
    /// There are this many keys, and this many certificates.
    Keys(usize, usize),
    /// Something is set that means nothing without a certificate.
    NoCertificate(&'static str),
    /// This address is none of those that are listened on.
    NotListenedOn(Endpoint),
    /// Nobody could be sent anywhere: no public address speaks TLS over TCP.
    NothingToRedirectTo,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            keys: Vec::new(),
            addresses: Vec::new(),
            min_version: TlsVersion::Tls12,
            ticket_keys: String::new(),
            handshake_timeout_ms: 10_000,
            handshakes_max: 2048,
            watch_ms: 10_000,
            redirect: Vec::new(),
            acme_challenge_folder: String::new(),
        }
    }
}

impl Tls {
    /// Whether anything speaks TLS.
    pub fn is_enabled(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// What is to be read and checked.
    pub fn terms(&self) -> TermsSettings {
        let key_of = |index: usize, chain: &String| self.keys.get(index).unwrap_or(chain).into();
        let files = |(index, chain): (usize, &String)| CertificateFiles {
            chain: chain.into(),
            key: key_of(index, chain),
        };
        TermsSettings {
            certificates: self.certificates.iter().enumerate().map(files).collect(),
            min_version: match self.min_version {
                TlsVersion::Tls12 => MinVersion::Tls12,
                TlsVersion::Tls13 => MinVersion::Tls13,
            },
            ticket_keys: (!self.ticket_keys.is_empty()).then(|| PathBuf::from(&self.ticket_keys)),
        }
    }
}

impl Config {
    /// Whether an address of `server.listen` speaks TLS.
    pub fn speaks_tls(&self, endpoint: &Endpoint) -> bool {
        self.tls.is_enabled() && (self.tls.addresses.is_empty() || self.tls.addresses.contains(endpoint))
    }

    /// Whether `server.admin` does.
    pub fn admin_speaks_tls(&self) -> bool {
        let is_named = |admin| self.tls.addresses.contains(admin);
        self.tls.is_enabled() && self.server.admin.as_ref().is_some_and(is_named)
    }
}

/// What cannot work of `[tls]`.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let tls = &config.tls;
    let mut problems = Vec::new();
    if !tls.keys.is_empty() && tls.keys.len() != tls.certificates.len() {
        problems.push(TlsProblem::Keys(tls.keys.len(), tls.certificates.len()));
    }
    let needs = [("tls.addresses", !tls.addresses.is_empty()), ("tls.redirect", !tls.redirect.is_empty())];
    let in_vain = needs.into_iter().filter(|(_, is_set)| *is_set && !tls.is_enabled());
    problems.extend(in_vain.map(|(key, _)| TlsProblem::NoCertificate(key)));
    let is_listened_on = |endpoint: &&Endpoint| {
        config.server.listen.contains(endpoint) || config.server.admin.as_ref() == Some(endpoint)
    };
    let strangers = tls.addresses.iter().filter(|endpoint| !is_listened_on(endpoint));
    problems.extend(strangers.cloned().map(TlsProblem::NotListenedOn));
    let leads_somewhere =
        |endpoint: &Endpoint| matches!(endpoint, Endpoint::Tcp(_)) && config.speaks_tls(endpoint);
    if !tls.redirect.is_empty() && tls.is_enabled() && !config.server.listen.iter().any(leads_somewhere) {
        problems.push(TlsProblem::NothingToRedirectTo);
    }
    problems.into_iter().map(Problem::Tls).collect()
}

impl std::fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys(keys, certificates) => write!(
                f,
                "tls.keys names {keys} files and tls.certificates {certificates}; give a key for each certificate, in the same \
                 order (--tls-cert, --tls-key), or none where each certificate's file holds its key"
            ),
            Self::NoCertificate(key) => write!(
                f,
                "{key} is set, and there is no certificate; give one in tls.certificates (--tls-cert), or leave {key} out"
            ),
            Self::NotListenedOn(endpoint) => write!(
                f,
                "{endpoint} stands in tls.addresses, and nobody listens there; name it in server.listen (--listen) or \
                 server.admin (--admin) as well"
            ),
            Self::NothingToRedirectTo => f.write_str(
                "tls.redirect has nowhere to send clients: no address of server.listen speaks TLS over TCP",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        config.server.listen =
            ["127.0.0.1:80", "127.0.0.1:443"].map(|text| text.parse().expect("one")).into();
        config.tls.certificates = vec!["a.pem".into(), "b.pem".into()];
        change(&mut config);
        config
    }

    fn endpoint(text: &str) -> Endpoint {
        text.parse().expect("an address")
    }

    #[test]
    fn all_public_listeners_speak_tls_or_those_that_are_named() {
        let speaking = |config: &Config| {
            let [first, second] = ["127.0.0.1:80", "127.0.0.1:443"].map(endpoint);
            [config.speaks_tls(&first), config.speaks_tls(&second), config.admin_speaks_tls()]
        };
        assert_eq!(speaking(&config(|_| ())), [true, true, false]);
        assert_eq!(speaking(&config(|config| config.tls.certificates.clear())), [false; 3]);
        let named = ["127.0.0.1:443", "127.0.0.1:8081"].map(endpoint);
        assert_eq!(speaking(&config(|config| config.tls.addresses = named.into())), [false, true, true]);
    }

    #[test]
    fn keys_are_found_by_the_order_or_in_the_certificates_file() {
        let keys = |config: Config| config.tls.terms().certificates.into_iter().map(|files| files.key);
        assert!(keys(config(|_| ())).eq(["a.pem", "b.pem"].map(PathBuf::from)));
        let named = config(|config| config.tls.keys = vec!["a.key".into(), "b.key".into()]);
        assert!(keys(named).eq(["a.key", "b.key"].map(PathBuf::from)));
    }

    #[test]
    fn what_cannot_work_is_told_with_its_cure() {
        let told = |change: fn(&mut Config)| config(change).check().expect_err("it cannot work").to_string();
        assert!(
            told(|config| config.tls.keys = vec!["a".into()])
                .contains("names 1 files and tls.certificates 2")
        );
        let bare = told(|config| {
            config.tls.certificates.clear();
            config.tls.redirect = vec![endpoint("127.0.0.1:81")];
        });
        assert!(bare.contains("tls.redirect is set, and there is no certificate"), "{bare}");
        let stranger = told(|config| config.tls.addresses = vec![endpoint("127.0.0.1:444")]);
        assert!(
            stranger.contains("127.0.0.1:444 stands in tls.addresses, and nobody listens there"),
            "{stranger}"
        );
        let nowhere = told(|config| {
            config.tls.addresses = vec![endpoint("127.0.0.1:8081")];
            config.tls.redirect = vec![endpoint("127.0.0.1:81")];
        });
        assert!(nowhere.contains("nowhere to send clients"), "{nowhere}");
        let twice = told(|config| config.tls.redirect = vec![endpoint("127.0.0.1:80")]);
        assert!(twice.contains("127.0.0.1:80 is listened on twice"), "{twice}");
    }
}
