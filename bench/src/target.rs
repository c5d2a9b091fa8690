//! What to measure: a URL, the address behind it, and the refusal to load somebody else's machine.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

/// How a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// No handshake: bytes as they are.
    Tcp,
    /// A WebSocket (RFC 6455).
    WebSocket,
    /// HTTP/1.1.
    Http,
}

/// A parsed URL: `scheme://host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How to speak.
    pub scheme: Scheme,
    /// Whether within TLS.
    pub is_tls: bool,
    /// `host:port` as written, for the `Host` header.
    pub authority: String,
    /// Host and port, to be resolved.
    pub host: String,
    port: u16,
    /// Path and query, at least `/`.
    pub path: String,
}

/// Which connections have which path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// All have the same.
    Same,
    /// Each has its own: `{n}`.
    Each,
    /// Those whose numbers leave the same remainder have the same: `{n%K}`.
    Modulo(u64),
}

/// Why a text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// The scheme is missing or not one of ours.
    Scheme,
    /// There is no host.
    Host,
    /// The port is not a number of 1 to 65535, or is missing and the scheme has none of its own.
    Port,
    /// A space or control character would break the request line.
    Character,
}

/// Why a target cannot be used.
#[derive(Debug)]
pub enum ResolveError {
    /// The name has no address.
    Unknown(String, io::Error),
    /// The address is neither loopback nor private, and nobody said the target is theirs.
    Foreign(IpAddr),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(TargetError::Character);
        }
        // A fragment is for whoever shows the answer; it is never sent (RFC 9110 §4.2.4, RFC 6455 §3).
        let text = text.split_once('#').map_or(text, |(sent, _)| sent);
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::Scheme)?;
        let (scheme, is_tls, default_port) = match scheme {
            "tcp" => (Scheme::Tcp, false, None),
            "tls" => (Scheme::Tcp, true, None),
            "ws" => (Scheme::WebSocket, false, Some(80)),
            "wss" => (Scheme::WebSocket, true, Some(443)),
            "http" => (Scheme::Http, false, Some(80)),
            "https" => (Scheme::Http, true, Some(443)),
            _ => return Err(TargetError::Scheme),
        };
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |end| rest.split_at(end));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // An IPv6 address is written in brackets (RFC 3986 §3.2.2); its colons are not the port's.
        let (host, port) = match authority.rfind(':').filter(|colon| !authority[*colon..].contains(']')) {
            Some(colon) => {
                (&authority[..colon], authority[colon + 1..].parse().ok().filter(|port| *port > 0))
            }
            None => (authority, default_port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(TargetError::Host);
        }
        Ok(Self {
            scheme,
            is_tls,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port: port.ok_or(TargetError::Port)?,
            path,
        })
    }
}

impl Target {
    /// The target of the `number`th connection: `{n}` in the path becomes the number, `{n%K}` its remainder.
    pub fn numbered(&self, number: u64) -> Self {
        let Some((before, numbering, after)) = self.template() else { return self.clone() };
        let number = match numbering {
            Numbering::Same => return self.clone(),
            Numbering::Each => number,
            Numbering::Modulo(modulus) => number % modulus,
        };
        Self { path: format!("{before}{number}{after}"), ..self.clone() }
    }

    /// Which connections have which path.
    pub fn numbering(&self) -> Numbering {
        self.template().map_or(Numbering::Same, |(_, numbering, _)| numbering)
    }

    /// What stands before and after the number, if there is a place for one.
    fn template(&self) -> Option<(&str, Numbering, &str)> {
        let (before, rest) = self.path.split_once("{n")?;
        let (modulus, after) = rest.split_once('}')?;
        let numbering = match modulus.strip_prefix('%') {
            Some(modulus) => Numbering::Modulo(modulus.parse::<u64>().ok()?.max(1)),
            None if modulus.is_empty() => Numbering::Each,
            None => return None,
        };
        Some((before, numbering, after))
    }

    /// The address to connect to. Refuses one that is neither loopback nor private unless `owned`.
    pub fn resolve(&self, owned: bool) -> Result<SocketAddr, ResolveError> {
        let found = (self.host.as_str(), self.port).to_socket_addrs().and_then(|mut addresses| {
            addresses.next().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
        });
        let address = found.map_err(|error| ResolveError::Unknown(self.host.clone(), error))?;
        if owned || is_near(address.ip()) { Ok(address) } else { Err(ResolveError::Foreign(address.ip())) }
    }
}

/// Loopback, private (RFC 1918), link-local, or IPv6's unique local addresses (RFC 4193).
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_near(IpAddr::V4(v4)),
            None => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        },
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.scheme, self.is_tls) {
            (Scheme::Tcp, false) => "tcp",
            (Scheme::Tcp, true) => "tls",
            (Scheme::WebSocket, false) => "ws",
            (Scheme::WebSocket, true) => "wss",
            (Scheme::Http, false) => "http",
            (Scheme::Http, true) => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "a URL starts with ws://, wss://, http://, https://, tcp:// or tls://",
            Self::Host => "the URL names no host",
            Self::Port => "the URL needs a port of 1 to 65535",
            Self::Character => "a URL holds no spaces or control characters",
        })
    }
}

impl std::error::Error for TargetError {}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(host, error) => write!(f, "cannot find the address of {host}: {error}"),
            Self::Foreign(address) => write!(
                f,
                "{address} is neither loopback nor private; a load test against somebody else's server is an \
                 attack. If it is yours, say --i-own-this-target"
            ),
        }
    }
}

impl std::error::Error for ResolveError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_or_refused_for_its_fault() {
        let parse = |text: &str| text.parse::<Target>();
        let target = parse("ws://127.0.0.1:8080/channels/x?since=1:2").unwrap();
        assert_eq!((target.scheme, target.port), (Scheme::WebSocket, 8080));
        assert_eq!(target.path, "/channels/x?since=1:2");
        assert_eq!(target.authority, "127.0.0.1:8080");
        assert_eq!(parse("http://localhost").unwrap().port, 80);
        assert_eq!(parse("http://h/page?q=1#top").unwrap().path, "/page?q=1");
        assert_eq!(parse("http://h#top").unwrap().to_string(), "http://h/");
        assert_eq!(parse("http://h?q=/x").unwrap().path, "/?q=/x");
        assert_eq!(parse("tcp://[::1]:7/").unwrap().host, "::1");
        assert_eq!(parse("http://[::1]/x").unwrap().port, 80);
        assert_eq!(parse("tcp://[::1]/"), Err(TargetError::Port));
        let bare = parse("tls://h:7").unwrap();
        assert_eq!(
            (bare.scheme, bare.is_tls, bare.to_string()),
            (Scheme::Tcp, true, "tls://h:7/".to_owned())
        );
        assert_eq!(parse("tcp://127.0.0.1"), Err(TargetError::Port));
        assert_eq!(parse("ws://127.0.0.1:0/"), Err(TargetError::Port));
        assert_eq!(parse("ws://127.0.0.1:65536/"), Err(TargetError::Port));
        assert_eq!(
            parse("wss://h/x").map(|target| (target.is_tls, target.port, target.to_string())),
            Ok((true, 443, "wss://h/x".to_owned()))
        );
        assert_eq!(parse("https://h:8443").unwrap().to_string(), "https://h:8443/");
        assert_eq!(parse("ftp://127.0.0.1/"), Err(TargetError::Scheme));
        assert_eq!(parse("127.0.0.1:80"), Err(TargetError::Scheme));
        assert_eq!(parse("ws:///x"), Err(TargetError::Host));
        assert_eq!(parse("ws://a/x y"), Err(TargetError::Character));
    }

    #[test]
    fn a_numbered_path_is_every_connections_own() {
        let path = |url: &str, number| url.parse::<Target>().unwrap().numbered(number).path;
        assert_eq!(path("ws://h/ws/{n}?x", 17), "/ws/17?x");
        assert_eq!(path("ws://h/rooms/{n%5}", 17), "/rooms/2");
        assert_eq!(path("ws://h/rooms/{n%0}", 17), "/rooms/0");
        assert_eq!(path("ws://h/{name}", 17), "/{name}");
        let numbering = |url: &str| url.parse::<Target>().unwrap().numbering();
        assert_eq!(numbering("ws://h/{n}"), Numbering::Each);
        assert_eq!(numbering("ws://h/{n%7}"), Numbering::Modulo(7));
        assert_eq!(numbering("ws://h/{n%x}"), Numbering::Same);
    }

    #[test]
    fn only_loopback_and_private_addresses_are_near() {
        let near = |text: &str| is_near(text.parse().unwrap());
        assert!(near("127.9.9.9") && near("10.0.0.1") && near("172.16.0.1") && near("192.168.1.1"));
        assert!(near("::1") && near("fd00::1") && near("fe80::1") && near("::ffff:127.0.0.1"));
        assert!(!near("8.8.8.8") && !near("172.32.0.1") && !near("2001:db8::1") && !near("::ffff:8.8.8.8"));
    }

    #[test]
    fn a_foreign_target_needs_its_owners_word() {
        let target: Target = "tcp://192.0.2.1:9".parse().unwrap();
        assert!(matches!(target.resolve(false), Err(ResolveError::Foreign(_))));
        assert!(target.resolve(true).is_ok());
    }
}
