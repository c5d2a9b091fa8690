//! What the kernel says, decoded.

use std::{fmt, io, net::SocketAddr, os::fd::OwnedFd};

use super::{AcceptId, Lease, SendBytes};
use crate::model::ConnectionId;

/// One finished operation.
#[derive(Debug)]
pub enum Completion {
    /// An accept ended; on success the connection sits in the slot reserved for it.
    Accepted {
        /// Which accept.
        accept: AcceptId,
        /// The slot reserved for it.
        index: u32,
        /// The peer's address (`None` for a Unix socket), or why there is no connection.
        result: Result<Option<SocketAddr>, Errno>,
    },
    /// A connect ended.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// Established, or why not.
        result: Result<(), Errno>,
    },
    /// The armed poll of a connection fired.
    Readable {
        /// The connection.
        connection: ConnectionId,
        /// Whether it is still armed.
        armed: bool,
        /// The peer has ended its direction or the connection: what follows the bytes that are there is an end, which
        /// no further event may announce.
        is_ended: bool,
        /// A poll that failed; never a mere hang-up, which the following receive reports.
        failed: Option<Errno>,
    },
    /// A receive ended.
    Received {
        /// The connection.
        connection: ConnectionId,
        /// The bytes; `None` at the end of the stream.
        result: Result<Option<Lease>, Errno>,
        /// The kernel says that more is waiting.
        more: bool,
    },
    /// A send ended, whole or failed.
    Sent {
        /// The connection's index; it cannot have been reused, for a slot is not freed while a send is in flight.
        index: u32,
        /// How many bytes were taken.
        result: Result<u32, Errno>,
        /// The bytes, to be used again.
        bytes: SendBytes,
    },
    /// The sending direction has been ended, or was gone already.
    Shut {
        /// The connection's index; it cannot have been reused, for a slot is not freed while a shutdown is in flight.
        index: u32,
    },
    /// An export ended.
    Exported {
        /// The connection's index; it cannot have been reused, for a slot is not freed while an export is in flight.
        index: u32,
        /// A descriptor of the process for the same socket, or why there is none: `EMFILE` at `RLIMIT_NOFILE`,
        /// `EINVAL` where the kernel cannot ([`super::Abilities::exports`]).
        result: Result<OwnedFd, Errno>,
    },
    /// A close ended: the descriptor slot is free.
    Closed {
        /// The connection's index.
        index: u32,
    },
}

/// An errno(3) from the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// The resource shortages a server must outlive: descriptors, memory, buffers.
    pub fn is_shortage(self) -> bool {
        matches!(self.0, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    }

    /// What an accept says whose listener has been shut down (accept(2)).
    pub fn is_not_listening(self) -> bool {
        self.0 == libc::EINVAL
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}
