//! Sockets of any shard, as [`Namespace::fetch_sockets`] gives them.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Namespace, Order, Rooms,
    arguments::{PayloadError, decode_value},
    broadcast::outgoing,
    rooms,
};
use crate::{
    mesh::{SocketCommand, SocketSummary},
    model::{SocketId, namespace_of},
};

/// A socket as it was when it was asked for; it may be gone by now.
#[derive(Clone, Debug)]
pub struct RemoteSocket {
    namespace: Namespace,
    summary: SocketSummary,
}

impl RemoteSocket {
    pub(super) fn new(namespace: Namespace, summary: SocketSummary) -> Self {
        Self { namespace, summary }
    }

    /// Its id.
    pub fn id(&self) -> SocketId {
        self.summary.id
    }

    /// The rooms it was put into.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.summary.rooms.iter().filter_map(|room| namespace_of(room).1)
    }

    /// What carried its client: `"polling"` or `"websocket"`.
    pub fn transport(&self) -> &'static str {
        if self.summary.is_on_websocket { "websocket" } else { "polling" }
    }

    /// Its public data ([`super::Socket::set_public_data`]), as JSON; `null` if there is none.
    pub fn data_json(&self) -> &str {
        &self.summary.data
    }

    /// Its public data, as whatever it shall be.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        decode_value(&self.summary.data)
    }

    /// Sends it an event.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) {
        if let Some(outgoing) = outgoing(event, data) {
            self.command(SocketCommand::Emit { arguments: outgoing.arguments, is_volatile: false });
        }
    }

    /// Puts it into rooms.
    pub fn join(&self, rooms: impl Rooms) {
        self.command(SocketCommand::Join(rooms::channels(&rooms, self.namespace.name())));
    }

    /// Takes it out of rooms.
    pub fn leave(&self, rooms: impl Rooms) {
        self.command(SocketCommand::Leave(rooms::channels(&rooms, self.namespace.name())));
    }

    /// Takes it out of its namespace, and with `close` ends its client's connection.
    pub fn disconnect(&self, close: bool) {
        self.command(SocketCommand::Disconnect { ends_session: close });
    }

    fn command(&self, command: SocketCommand) {
        self.namespace.core().order(Order::Command { socket: self.summary.id, command });
    }
}
