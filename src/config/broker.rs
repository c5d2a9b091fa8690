//! `[broker]`: what joins several nodes. What each key means to an operator stands in `keys.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Config, Secret};
use crate::{
    backend::Target,
    broker::{Address, AddressError, Settings},
    limits::BROKER_ADDRESSES_MAX,
};

/// `[broker]`: what joins several nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerSection {
    /// Where it is; several over which channels are spread, with spaces between; empty for none.
    pub url: Secret,
    /// What the names of our keys begin with.
    pub prefix: String,
    /// Certificates of authorities, in PEM; empty for those of the system.
    pub ca_file: String,
    /// A certificate of ours, in PEM, with those behind it; empty for none.
    pub cert_file: String,
    /// Its key.
    pub key_file: String,
    /// It, and other nodes, may be reached without TLS beyond this machine.
    pub plain: bool,
    /// Where other nodes reach this one; empty where they cannot.
    pub advertised_url: String,
}

/// A setting of `[broker]` that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerProblem {
    /// An address that is none.
    Url(AddressError),
    /// What is said there can be read on the way.
    Plain,
    /// An address that stands there already.
    Twice,
    /// More addresses than there may be.
    TooMany,
    /// A prefix that is none.
    Prefix,
    /// A certificate without its key, or the other way round.
    Identity,
    /// Where this node is reached is no address, or has a path.
    Advertised,
    /// What is said to it can be read on the way.
    AdvertisedPlain,
    /// What is kept cannot be kept by both.
    Storage,
}

impl Default for BrokerSection {
    fn default() -> Self {
        Self {
            url: Secret::new(""),
            prefix: "rs".into(),
            ca_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            plain: false,
            advertised_url: String::new(),
        }
    }
}

impl BrokerSection {
    /// The files of the certificate that is shown, and of its key, if one is.
    pub(super) fn identity(&self) -> Option<[String; 2]> {
        (!self.cert_file.is_empty()).then(|| [self.cert_file.clone(), self.key_file.clone()])
    }
}

impl Config {
    /// What a checked configuration says of the broker, if there is to be one.
    pub fn broker(&self) -> Option<Settings> {
        let BrokerSection { url, prefix, ca_file, .. } = &self.broker;
        let addresses: Vec<_> =
            url.expose().split_whitespace().map(Address::parse).collect::<Result<_, _>>().ok()?;
        (!addresses.is_empty()).then(|| Settings {
            node: format!("{:032x}", fastrand::u128(..)).into(),
            advertised_url: self.broker.advertised_url.as_str().into(),
            addresses,
            prefix: prefix.clone(),
            ca_file: ca_file.clone(),
            identity: self.broker.identity(),
            history_publications_max: self.limits.history_publications_max,
            history_age_max_ms: self.limits.history_age_max_ms,
            retentions: self.retentions(),
        })
    }

    pub(super) fn broker_problems(&self) -> Vec<BrokerProblem> {
        let BrokerSection { url, prefix, plain, cert_file, key_file, advertised_url, .. } = &self.broker;
        let addresses = || url.expose().split_whitespace().map(Address::parse);
        if addresses().next().is_none() {
            return Vec::new();
        }
        let mut problems = Vec::new();
        if let Some(error) = addresses().find_map(Result::err) {
            problems.push(BrokerProblem::Url(error));
        }
        if !plain && addresses().flatten().any(|address| !address.is_safe()) {
            problems.push(BrokerProblem::Plain);
        }
        let mut seen = Vec::new();
        for address in addresses().flatten() {
            if seen.contains(&address) && !problems.contains(&BrokerProblem::Twice) {
                problems.push(BrokerProblem::Twice);
            }
            seen.push(address);
        }
        if seen.len() > BROKER_ADDRESSES_MAX {
            problems.push(BrokerProblem::TooMany);
        }
        let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(is_byte) {
            problems.push(BrokerProblem::Prefix);
        }
        if cert_file.is_empty() != key_file.is_empty() {
            problems.push(BrokerProblem::Identity);
        }
        match Target::parse(advertised_url) {
            _ if advertised_url.is_empty() => {}
            Ok(target) if !target.is_origin() => problems.push(BrokerProblem::Advertised),
            Ok(target) if !plain && !target.is_safe() => problems.push(BrokerProblem::AdvertisedPlain),
            Ok(_) => {}
            Err(_) => problems.push(BrokerProblem::Advertised),
        }
        if !(self.storage.written.is_empty() && self.storage.synced.is_empty()) {
            problems.push(BrokerProblem::Storage);
        }
        problems
    }
}

const PREFIX_BYTES_MAX: usize = 64;

impl fmt::Display for BrokerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(f, "broker.url: {error}"),
            Self::Plain => f.write_str(
                "broker.url leaves this machine without TLS, so that whoever is on the way reads every publication; use \
                 rediss://, or say broker.plain = true where the network is yours alone",
            ),
            Self::Twice => f.write_str("broker.url names one address twice; channels are spread over several, so leave one out"),
            Self::TooMany => write!(f, "broker.url names more than {BROKER_ADDRESSES_MAX} addresses"),
            Self::Prefix => f.write_str(
                "broker.prefix is made of 1 to 64 letters, digits, dots, hyphens and underscores, such as \"rs\"",
            ),
            Self::Identity => f.write_str(
                "broker.cert_file and broker.key_file belong together: the certificate that is shown, and its key",
            ),
            Self::Advertised => f.write_str(
                "broker.advertised_url is where other nodes reach this one, without a path: http://HOST:PORT, https://HOST, or \
                 unix:/SOCKET",
            ),
            Self::AdvertisedPlain => f.write_str(
                "broker.advertised_url is reached without TLS from beyond this machine, so that whoever is on the way reads what \
                 clients that poll say; use https://, or say broker.plain = true where the network is yours alone",
            ),
            Self::Storage => f.write_str(
                "storage.written or storage.synced names channels that are kept on disk, and broker.url has the broker \
                 keep them; leave one of the two empty",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(url: &str, change: fn(&mut Config)) -> Vec<BrokerProblem> {
        let mut config = Config::default();
        config.broker.url = Secret::new(url);
        change(&mut config);
        config.broker_problems()
    }

    #[test]
    fn a_broker_is_reached_safely_under_a_prefix_and_keeps_alone_what_is_kept() {
        for url in ["", "redis://localhost", "unix:/run/r.sock", "rediss://:s3cret@r.example"] {
            assert_eq!(problems(url, |_| ()), []);
        }
        assert_eq!(problems("redis://r.example", |_| ()), [BrokerProblem::Plain]);
        assert_eq!(problems("redis://r.example", |config| config.broker.plain = true), []);
        assert_eq!(problems("r.example", |_| ()), [BrokerProblem::Url(AddressError)]);
        assert_eq!(problems("redis://localhost  redis://localhost:1 ", |_| ()), []);
        let both = [BrokerProblem::Url(AddressError), BrokerProblem::Plain];
        assert_eq!(problems("redis://r.example x", |_| ()), both);
        assert_eq!(problems("unix:/a unix:/b unix:/a unix:/b", |_| ()), [BrokerProblem::Twice]);
        let many = |count: usize| (0..count).map(|n| format!("unix:/{n} ")).collect::<String>();
        assert_eq!(problems(&many(BROKER_ADDRESSES_MAX), |_| ()), []);
        assert_eq!(problems(&many(BROKER_ADDRESSES_MAX + 1), |_| ()), [BrokerProblem::TooMany]);
        for prefix in ["", "a b", "a:b", "{a}"] {
            let mut config = Config::default();
            (config.broker.url, config.broker.prefix) = (Secret::new("redis://localhost"), prefix.into());
            assert_eq!(config.broker_problems(), [BrokerProblem::Prefix], "{prefix}");
        }
        let certificate = |config: &mut Config| config.broker.cert_file = "a.pem".into();
        assert_eq!(problems("rediss://r.example", certificate), [BrokerProblem::Identity]);
        let key = |config: &mut Config| config.broker.key_file = "a.pem".into();
        assert_eq!(problems("rediss://r.example", key), [BrokerProblem::Identity]);
        for (advertised, plain, expected) in [
            ("http://127.0.0.1:8080", false, vec![]),
            ("https://a.example", false, vec![]),
            ("unix:/run/roadstead.sock", false, vec![]),
            ("http://10.0.0.1:8080", true, vec![]),
            ("http://10.0.0.1:8080", false, vec![BrokerProblem::AdvertisedPlain]),
            ("http://127.0.0.1:8080/a", false, vec![BrokerProblem::Advertised]),
            ("10.0.0.1:8080", true, vec![BrokerProblem::Advertised]),
        ] {
            let mut config = Config::default();
            config.broker.url = Secret::new("redis://localhost");
            (config.broker.advertised_url, config.broker.plain) = (advertised.into(), plain);
            assert_eq!(config.broker_problems(), expected, "{advertised}");
        }
        let written = |config: &mut Config| config.storage.written = vec!["a".into()];
        assert_eq!(problems("redis://localhost", written), [BrokerProblem::Storage]);
        assert_eq!(problems("", written), []);
    }

    #[test]
    fn a_password_in_the_address_is_not_shown() {
        let mut config = Config::default();
        config.broker.url = Secret::new("redis://:s3cret@localhost");
        assert!(!config.effective_json().contains("s3cret") && !format!("{config:?}").contains("s3cret"));
        assert!(!format!("{:?}", config.broker()).contains("s3cret"));
    }
}
