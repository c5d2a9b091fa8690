//! Where a listener listens: an IP address and port, or a Unix socket. Binding is in `supervisor/sockets.rs`.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};

use crate::backend::look_up;

/// Where a listener listens. Written `IP:PORT`, `NAME:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Endpoint {
    /// TCP; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A stream socket in the file system.
    Unix(PathBuf),
}

/// Why a text is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// It is not written as one.
    Malformed,
    /// It names a host that has no address; why, and what to do.
    UnknownHost(String),
}

/// The longest path a Unix socket can have: `sun_path` is 108 bytes and ends in a zero (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

impl Endpoint {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.strip_prefix("unix:") {
            Some(path) if path.is_empty() || path.len() > UNIX_PATH_BYTES_MAX || path.contains('\0') => {
                Err(EndpointError::Malformed)
            }
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().or_else(|_| named(text)).map(Self::Tcp),
        }
    }
}

/// The address that a host's name has when it is read: the first of version 4, else the first.
fn named(text: &str) -> Result<SocketAddr, EndpointError> {
    let (name, port) = text.rsplit_once(':').ok_or(EndpointError::Malformed)?;
    let port: u16 = port.parse().map_err(|_| EndpointError::Malformed)?;
    // What only looks like an address is a mistake in one, and nothing to ask a name server for.
    let is_name = name.contains(|one: char| one.is_ascii_alphabetic())
        && name.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '-' | '.' | '_'));
    if !is_name {
        return Err(EndpointError::Malformed);
    }
    let addresses = look_up(name, port).map_err(|error| EndpointError::UnknownHost(error.to_string()))?;
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or(EndpointError::Malformed)
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str(
                "an address is IP:PORT such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080, NAME:PORT where the name has \
                 an address on this host, or unix:PATH",
            ),
            Self::UnknownHost(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for EndpointError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_what_it_writes() {
        for text in ["127.0.0.1:8080", "[::1]:0", "unix:/run/roadstead.sock", "unix:relative.sock"] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", ":8080", "8080", "localhost", "127.0.0.1", "127.0.0.1:65536", "::1:80", "unix:"] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn a_name_stands_for_the_address_it_has() {
        assert_eq!("localhost:8080".parse::<Endpoint>(), "127.0.0.1:8080".parse());
    }

    #[test]
    fn a_unix_path_may_be_107_bytes_long_and_not_108() {
        let path = |length: usize| format!("unix:{}", "p".repeat(length)).parse::<Endpoint>();
        assert!(matches!(path(107), Ok(Endpoint::Unix(_))));
        assert_eq!(path(108), Err(EndpointError::Malformed));
    }
}
