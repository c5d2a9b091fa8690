//! Publishers that are not read while too much of what has been published waits to be handed out.
//!
//! They alone wait, where they are the cause: everybody else is read, answered and handed what is small meanwhile.
//!
//! ```text
//!   publishes ─► more than the backlog waits ─► held back, not read ─► half of it has left ─► read on
//! ```
//!
//! What publishes without being read is refused in the end ([`FANOUT_GATHERED_BYTES_MAX`]).
//!
//! [`FANOUT_GATHERED_BYTES_MAX`]: crate::limits::FANOUT_GATHERED_BYTES_MAX

use super::turn::Shard;
use crate::{
    limits::FANOUT_BACKLOG_BYTES_MAX,
    model::{ConnectionId, Issuer, SocketId},
};

impl Shard {
    /// Somebody has published what has to wait here: reads no more of it, if too much does.
    pub(super) fn hold_back_if_too_much_waits(&mut self, issuer: Issuer) {
        let Issuer::Client(client) = issuer else { return };
        if self.hub.gathered_bytes() > FANOUT_BACKLOG_BYTES_MAX
            && let Some(connection) = self.connection_of(client)
        {
            self.lines.held_back.insert(connection);
        }
    }

    /// The connection over which a client publishes. A Socket.IO client that polls has one for each request.
    fn connection_of(&self, client: ConnectionId) -> Option<ConnectionId> {
        let Some(socket) = SocketId::index_of(client.index) else { return Some(client) };
        self.sockets.connection_of(socket).map(|connection| self.lines.slab.id(connection))
    }

    /// Reads those on that were held back, once half of what may wait has left.
    pub(super) fn read_publishers_on(&mut self) {
        if self.lines.held_back.is_empty() || self.hub.gathered_bytes() > FANOUT_BACKLOG_BYTES_MAX / 2 {
            return;
        }
        for connection in std::mem::take(&mut self.lines.held_back) {
            if self.lines.slab.get(connection).is_some() {
                self.lines.resume(connection.index);
            }
        }
    }
}
