//! `[proxy]`: whose word is taken about who asks. What each key means to an operator stands in `keys.rs`.

use serde::{Deserialize, Serialize};

use super::{Config, Problem};
use crate::{
    app::Proxies,
    wire::{http1::ForwardedFields, proxy::ProxyProtocol},
};

/// `[proxy]`: proxies in front of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// Addresses and networks, and `unix:`.
    pub trusted: Vec<String>,
    /// Whether their connections begin with a header of the PROXY protocol.
    pub protocol: ProxyProtocol,
    /// Which header fields of their requests are believed.
    pub headers: ForwardedFields,
}

/// A setting of `[proxy]` that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyProblem {
    /// This is no address.
    NoAddress(String),
    /// The PROXY protocol is spoken by nobody.
    Nobody,
}

impl Config {
    /// The proxies whose word is taken.
    pub fn proxies(&self) -> Proxies {
        Proxies::new(&self.proxy.trusted, self.proxy.protocol, self.proxy.headers)
    }
}

/// What cannot work of `[proxy]`.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let proxy = &config.proxy;
    let strangers = proxy.trusted.iter().filter(|text| !Proxies::is_proxy(text));
    let mut problems: Vec<_> = strangers.cloned().map(ProxyProblem::NoAddress).collect();
    if proxy.trusted.is_empty() && proxy.protocol != ProxyProtocol::None {
        problems.push(ProxyProblem::Nobody);
    }
    problems.into_iter().map(Problem::Proxy).collect()
}

impl std::fmt::Display for ProxyProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAddress(text) => write!(
                f,
                "proxy.trusted: {text:?} is no address; write one such as \"10.0.0.7\", a network such as \"10.0.0.0/8\", or \
                 \"unix:\" for whoever connects over a Unix socket"
            ),
            Self::Nobody => f.write_str(
                "proxy.protocol is set, and nobody may speak it; name the proxies that do in proxy.trusted, such as \
                 --set proxy.trusted=10.0.0.0/8",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_told_and_a_protocol_that_nobody_may_speak() {
        let told = |change: fn(&mut Proxy)| {
            let mut config = Config::default();
            change(&mut config.proxy);
            problems(&config).iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(told(|proxy| proxy.trusted = vec!["10.0.0.0/8".into(), "unix:".into()]), "");
        assert!(told(|proxy| proxy.trusted = vec!["10.0.0".into()]).contains("\"10.0.0\" is no address"));
        assert!(told(|proxy| proxy.protocol = ProxyProtocol::V2).contains("nobody may speak it"));
    }
}
