//! Whose wishes are carried out in the order in which they were said.

use super::{ConnectionId, SocketId};

/// Who asks something of a shard: what one of them asks, in some order, takes effect in that order at everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Issuer {
    /// Nobody in particular: what other shards made happen, and timers and tasks that were begun for nobody.
    #[default]
    Shard,
    /// A connection, or a Socket.IO socket as it subscribes ([`SocketId::subscriber`]); with the functions of the
    /// application that are called for it and the timers and tasks that these begin.
    Client(ConnectionId),
}

/// Whose decision it was that something is published: that decides behind whose publications to the same channel it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A function of the application, whoever it was called for. Such functions share what the application remembers, so what
    /// they publish to one channel on one shard keeps the order in which they did.
    Application,
    /// A client or a backend, whose publication is passed on as it came. It stands behind its own alone.
    Client,
}

impl From<ConnectionId> for Issuer {
    fn from(connection: ConnectionId) -> Self {
        Self::Client(connection)
    }
}

impl From<SocketId> for Issuer {
    fn from(socket: SocketId) -> Self {
        Self::Client(socket.subscriber())
    }
}
