//! How a client has come, besides its address.

use std::net::IpAddr;

use serde::Serialize;

/// How a client has come, besides its address: what its request says, where it has come directly, and what proxies that are
/// trusted say of it, where they have passed it on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Passage {
    /// Whether it spoke TLS: with this server, or with a proxy.
    pub is_secure: bool,
    /// The host that it asked, as it wrote it; `None` where that is not known, or is no text of at most 255 bytes.
    pub host: Option<Box<str>>,
    /// The proxies that have passed it on, in order, as far as they are known and trusted. The last one, whose connection it
    /// is, is not among them; of a client that has come directly there are none.
    pub hops: Box<[IpAddr]>,
}

/// The scheme of an address at which a client speaks TLS, or does not.
pub fn scheme(is_secure: bool) -> &'static str {
    if is_secure { "https" } else { "http" }
}

impl Passage {
    /// `https` or `http`, also of a WebSocket.
    pub fn scheme(&self) -> &'static str {
        scheme(self.is_secure)
    }
}
