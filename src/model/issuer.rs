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
