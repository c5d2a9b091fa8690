//! The addresses connected to, each kept once and for good: the kernel reads one when the operation is submitted, which
//! may be later than when it is pushed. A client connects to few addresses, many times.

use std::net::SocketAddr;

use socket2::SockAddr;

/// Every address this ring has been told to connect to.
pub(super) struct Targets {
    known: Vec<(SocketAddr, Box<SockAddr>)>,
}

impl Targets {
    pub(super) fn new() -> Self {
        Self { known: Vec::new() }
    }

    /// The address in the kernel's form, at a place that does not move while the ring lives.
    pub(super) fn place(&mut self, target: SocketAddr) -> &SockAddr {
        let index = self.known.iter().position(|(known, _)| *known == target).unwrap_or_else(|| {
            self.known.push((target, Box::new(target.into())));
            self.known.len() - 1
        });
        &self.known[index].1
    }
}
