//! Proxies in front of the server, whose word is taken about who their clients are.
//!
//! Nobody else's is: an address in a header that anybody can write says nothing.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::wire::{http1::ForwardedFields, proxy::ProxyProtocol};

/// Who they are, and how they say it.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    networks: Vec<IpNet>,
    unix: bool,
    /// Their connections begin with such a header.
    pub protocol: ProxyProtocol,
    /// Their requests have such fields.
    pub fields: ForwardedFields,
}

/// Stands for whoever connects over a Unix socket.
const UNIX: &str = "unix:";

impl Proxies {
    /// Proxies at these addresses or in these networks.
    pub fn new(trusted: &[String], protocol: ProxyProtocol, fields: ForwardedFields) -> Self {
        let networks = trusted.iter().filter_map(|text| network(text)).collect();
        Self { networks, unix: trusted.iter().any(|text| text == UNIX), protocol, fields }
    }

    /// Whether this can be listed: an address, a network, or Unix sockets.
    pub fn is_proxy(text: &str) -> bool {
        text == UNIX || network(text).is_some()
    }

    /// Whether there is none.
    #[inline]
    pub fn are_none(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether who connects from this address is one.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether who connects over a Unix socket is one.
    pub fn trusts_unix(&self) -> bool {
        self.unix
    }
}

fn network(text: &str) -> Option<IpNet> {
    let alone = || text.parse::<IpAddr>().ok().map(|ip| IpNet::from(ip.to_canonical()));
    text.parse().ok().or_else(alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_addresses_and_unix_sockets_are_trusted_and_nobody_else() {
        let listed = ["10.0.0.0/8".into(), "192.0.2.7".into(), "fd00::/8".into()];
        let proxies = Proxies::new(&listed, ProxyProtocol::None, ForwardedFields::None);
        for (address, is_trusted) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(proxies.trusts(address.parse().expect("an address")), is_trusted, "{address}");
        }
        assert!(!proxies.trusts_unix() && !proxies.are_none());
        let unix = Proxies::new(&[UNIX.into()], ProxyProtocol::None, ForwardedFields::None);
        assert!(unix.trusts_unix() && !unix.trusts([127, 0, 0, 1].into()));
        assert!(Proxies::default().are_none());
        let all = Proxies::new(&["0.0.0.0/0".into()], ProxyProtocol::None, ForwardedFields::None);
        assert!(all.trusts([127, 0, 0, 1].into()) && !all.trusts(IpAddr::from([0; 16])));
        for text in ["", "10.0.0.0/33", "localhost", "unix", "unix:/run/x", "10.0.0.1:80", "10.*"] {
            assert!(!Proxies::is_proxy(text), "{text}");
        }
    }
}
