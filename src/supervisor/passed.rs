//! Listening sockets that whoever has started the process passes to it, as systemd does (sd_listen_fds(3)): they are there before
//! the process, and stay behind it, so that nobody is refused while it starts again.
//!
//! A socket is found by its address. So what the configuration says of an address (whom it serves, whether it speaks TLS,
//! whether it is open to the world) holds for it, whatever its name (`FileDescriptorName=`).

use std::io;

use listenfd::ListenFd;
use socket2::Socket;

use super::sockets::{SocketError, SocketStep};
use crate::{config::Endpoint, shard::Role};

/// Those that nobody has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Passed {
    sockets: Vec<(Endpoint, Socket)>,
}

impl Passed {
    /// Those that the environment names, which names them no more then.
    pub(super) fn from_environment() -> Self {
        let mut passed = ListenFd::from_env();
        let indices = 0..passed.len();
        let sockets = indices.filter_map(|index| {
            let tcp = passed.take_tcp_listener(index).ok().flatten().map(Socket::from);
            tcp.or_else(|| passed.take_unix_listener(index).ok().flatten().map(Socket::from))
        });
        Self { sockets: sockets.filter_map(|socket| Some((endpoint_of(&socket)?, socket))).collect() }
    }

    /// The socket that listens at an address.
    pub(super) fn take(&mut self, endpoint: &Endpoint) -> Option<Socket> {
        let place = self.sockets.iter().position(|(bound, _)| bound == endpoint)?;
        Some(self.sockets.remove(place).1)
    }

    /// A socket that nobody has asked for would take connections, and nobody would answer them.
    pub(super) fn check_all_are_taken(&self) -> Result<(), SocketError> {
        match self.sockets.first() {
            None => Ok(()),
            Some((endpoint, _)) => Err(SocketError {
                endpoint: endpoint.clone(),
                role: Role::Public,
                step: SocketStep::Passed,
                error: io::Error::from(io::ErrorKind::NotFound),
            }),
        }
    }
}

fn endpoint_of(socket: &Socket) -> Option<Endpoint> {
    let address = socket.local_addr().ok()?;
    let unix = || address.as_pathname().map(|path| Endpoint::Unix(path.to_owned()));
    address.as_socket().map(Endpoint::Tcp).or_else(unix)
}
