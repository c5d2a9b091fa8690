//! The authority of a URI (RFC 3986 §3.2): a host and perhaps a port. `Host` fields and web origins hold one, and a rule
//! that looks at them must not read them more kindly than a browser does.
//!
//! User information is refused: no browser sends it in either place, and `localhost:80@evil.example` is a name at
//! `evil.example` only for who reads it to its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host and a port. Names are as sent; compare them without regard to case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Who.
    pub host: Host<'a>,
    /// Where, unless it is the scheme's own port.
    pub port: Option<u16>,
}

/// Who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A registered name, without the dot that may end it.
    Name(&'a str),
    /// An address; one of IPv4 in the guise of IPv6 is one of IPv4.
    Address(IpAddr),
}

impl<'a> Authority<'a> {
    /// Reads `host` or `host:port`. A port that is empty is none (RFC 3986 §3.2.3).
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                let address = address.parse::<Ipv6Addr>().ok()?;
                (Host::Address(IpAddr::V6(address).to_canonical()), rest)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (Host::parse(&text[..end])?, &text[end..])
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }

    /// The port, where `scheme` has one of its own; any other scheme's is its own secret.
    pub fn port_of(&self, scheme: &str) -> Option<u16> {
        self.port.or(match scheme {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        })
    }
}

impl<'a> Host<'a> {
    /// A name or an address of IPv4.
    fn parse(text: &'a str) -> Option<Self> {
        // RFC 3986 §3.2.2: unreserved, percent-encoded and sub-delims.
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() || !name.bytes().all(is_name_byte) {
            return None;
        }
        Some(name.parse::<Ipv4Addr>().map_or(Self::Name(name), |address| Self::Address(address.into())))
    }

    /// Whether this is the machine it is resolved on, whatever its resolver says (RFC 6761 §6.3).
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => is_below(name, "localhost") || name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether both are the same.
    pub fn is(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(name), Host::Name(other)) => name.eq_ignore_ascii_case(other),
            (Self::Address(address), Host::Address(other)) => address == other,
            (Self::Name(_), Host::Address(_)) | (Self::Address(_), Host::Name(_)) => false,
        }
    }

    /// Whether this is what a pattern stands for: itself, or with `*.` before it every name below it.
    pub fn matches(&self, pattern: &Host<'_>) -> bool {
        match (self, pattern) {
            (Self::Name(name), Host::Name(pattern)) => match pattern.strip_prefix("*.") {
                Some(domain) => is_below(name, domain),
                None => name.eq_ignore_ascii_case(pattern),
            },
            _ => self.is(pattern),
        }
    }

    /// Whether a client could ever send it: no star within it, no address that browsers write otherwise.
    pub fn is_sendable_pattern(&self) -> bool {
        let Self::Name(pattern) = self else { return true };
        let name = pattern.strip_prefix("*.").unwrap_or(pattern);
        // The URL Standard takes a name whose last label is a number for an address.
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        let last = name.rsplit('.').next().unwrap_or_default();
        !name.contains(['*', '%']) && !name.split('.').any(str::is_empty) && !is_number(last)
    }
}

/// Whether a name is below a domain.
fn is_below(name: &str, domain: &str) -> bool {
    let Some(at) = name.len().checked_sub(domain.len() + 1) else { return false };
    let (label, end) = name.as_bytes().split_at(at);
    !label.is_empty() && end[0] == b'.' && end[1..].eq_ignore_ascii_case(domain.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port_and_nothing_else() {
        let host = |text| Authority::parse(text).map(|authority| authority.host);
        let port = |text| Authority::parse(text).map(|authority| authority.port);
        assert_eq!(host("a.example"), Some(Host::Name("a.example")));
        assert_eq!(host("a.example.:80"), Some(Host::Name("a.example")), "a name may be said to its end");
        assert_eq!(host("127.0.0.1:1"), Some(Host::Address([127, 0, 0, 1].into())));
        assert_eq!(host("[::ffff:127.0.0.1]"), Some(Host::Address([127, 0, 0, 1].into())));
        assert_eq!(
            (port("a:65535"), port("a:"), port("[::1]:8")),
            (Some(Some(65535)), Some(None), Some(Some(8)))
        );
        for text in [
            "",
            ":80",
            ".",
            "a:65536",
            "a:x",
            "a:+1",
            "a:1:2",
            "a b",
            "a/b",
            "a?",
            "a#",
            "a@b",
            "localhost:80@evil",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]x:1",
            "[1.2.3.4]",
            "[::1%25lo]",
            "ä.example",
            "a\\b",
            "[a]",
        ] {
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_machine_is_told_by_its_name_and_its_addresses() {
        let is_loopback = |text| Authority::parse(text).is_some_and(|authority| authority.host.is_loopback());
        for text in [
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "app.localhost",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(text), "{text}");
        }
        for text in [
            "localhost.evil.example",
            "notlocalhost",
            ".localhost",
            "127.0.0.1.evil.example",
            "127.1",
            "0.0.0.0",
        ] {
            assert!(!is_loopback(text), "{text}");
        }
    }

    #[test]
    fn a_star_stands_for_every_name_below_and_not_for_the_domain_itself() {
        let matches = |text, pattern| {
            let (text, pattern) =
                (Authority::parse(text).expect("one"), Authority::parse(pattern).expect("one"));
            text.host.matches(&pattern.host)
        };
        assert!(matches("A.b.example.org", "*.EXAMPLE.org") && matches("example.org", "Example.ORG"));
        for text in ["example.org", "evilexample.org", ".example.org", "a.example.org.evil"] {
            assert!(!Authority::parse(text).is_some_and(|_| matches(text, "*.example.org")), "{text}");
        }
        for (pattern, may) in [
            ("a.example", true),
            ("*.a.example", true),
            ("1.2.3.4", true),
            ("1.2.3", false),
            ("a.*", false),
            ("*", false),
            ("a..b", false),
        ] {
            let host = Authority::parse(pattern).expect("one").host;
            assert_eq!(host.is_sendable_pattern(), may, "{pattern}");
        }
    }
}
