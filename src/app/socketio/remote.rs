//! Sockets of any shard, and of other members of a Socket.IO cluster, as [`Namespace::fetch_sockets`] gives them.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Namespace, Order, Rooms,
    arguments::{PayloadError, decode_value},
    broadcast::{names_of, outgoing},
    rooms,
};
use crate::{
    broker::cluster::ClusterAsk,
    mesh::{SocketCommand, SocketSummary},
    model::{ChannelName, SocketId, namespace_of},
    wire::redis_adapter::{Emitted, Fetched, Request, Selected},
};

/// A socket as it was when it was asked for; it may be gone by now.
#[derive(Clone, Debug)]
pub struct RemoteSocket {
    namespace: Namespace,
    id: Box<str>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// On a shard of this process.
    Here(SocketSummary),
    /// On another member of the cluster.
    Member(Fetched),
}

impl RemoteSocket {
    pub(super) fn new(namespace: Namespace, summary: SocketSummary) -> Self {
        Self { namespace, id: summary.id.to_string().into(), place: Place::Here(summary) }
    }

    pub(super) fn of_member(namespace: Namespace, socket: Fetched) -> Self {
        Self { namespace, id: socket.id.clone(), place: Place::Member(socket) }
    }

    /// Its id, which may stand wherever a room selects sockets, on every member of a cluster.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its id as that of a socket of this process, if it is one.
    pub fn socket_id(&self) -> Option<SocketId> {
        match &self.place {
            Place::Here(summary) => Some(summary.id),
            Place::Member(_) => None,
        }
    }

    /// The rooms it was put into.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        let (here, elsewhere) = match &self.place {
            Place::Here(summary) => (Some(&summary.rooms), None),
            Place::Member(socket) => (None, Some(&socket.rooms)),
        };
        let here = here.into_iter().flatten().filter_map(|room| namespace_of(room).1);
        // A member says of each that it is in the room of its id.
        let elsewhere =
            elsewhere.into_iter().flatten().map(|room| &**room).filter(move |room| *room != &*self.id);
        here.chain(elsewhere)
    }

    /// What carried its client: `"polling"` or `"websocket"`; other members of a cluster do not say.
    pub fn transport(&self) -> Option<&'static str> {
        match &self.place {
            Place::Here(summary) if summary.is_on_websocket => Some("websocket"),
            Place::Here(_) => Some("polling"),
            Place::Member(_) => None,
        }
    }

    /// Its public data ([`super::Socket::set_public_data`]), as JSON; `null` if there is none. Of a server in JavaScript it is
    /// the socket's `data`.
    pub fn data_json(&self) -> &str {
        match &self.place {
            Place::Here(summary) => &summary.data,
            Place::Member(socket) => &socket.data,
        }
    }

    /// Its public data, as whatever it shall be.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        decode_value(self.data_json())
    }

    /// Sends it an event.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) {
        let Some(outgoing) = outgoing(event, data) else { return };
        let (arguments, is_volatile) = (outgoing.arguments, false);
        match &self.place {
            Place::Here(summary) => self.command(summary.id, SocketCommand::Emit { arguments, is_volatile }),
            Place::Member(_) => {
                let Selected { rooms, except } = self.selected();
                let namespace = self.namespace.name().into();
                let emitted = Emitted { namespace, rooms, except, is_volatile, arguments };
                self.namespace.core().tell_cluster(|| ClusterAsk::Emitted(Box::new(emitted)));
            }
        }
    }

    /// Puts it into rooms.
    pub fn join(&self, rooms: impl Rooms) {
        match &self.place {
            Place::Here(summary) => self.command(summary.id, SocketCommand::Join(self.channels(&rooms))),
            Place::Member(_) => {
                self.ask_member(Request::Join { selected: self.selected(), rooms: names_of(&rooms) })
            }
        }
    }

    /// Takes it out of rooms.
    pub fn leave(&self, rooms: impl Rooms) {
        match &self.place {
            Place::Here(summary) => self.command(summary.id, SocketCommand::Leave(self.channels(&rooms))),
            Place::Member(_) => {
                self.ask_member(Request::Leave { selected: self.selected(), rooms: names_of(&rooms) })
            }
        }
    }

    /// Takes it out of its namespace, and with `close` ends its client's connection.
    pub fn disconnect(&self, close: bool) {
        match &self.place {
            Place::Here(summary) => {
                self.command(summary.id, SocketCommand::Disconnect { ends_session: close });
            }
            Place::Member(_) => self.ask_member(Request::Disconnect { selected: self.selected(), close }),
        }
    }

    fn channels(&self, rooms: &impl Rooms) -> Vec<ChannelName> {
        rooms::channels(rooms, self.namespace.name())
    }

    fn command(&self, socket: SocketId, command: SocketCommand) {
        self.namespace.core().order(Order::Command { socket, command });
    }

    fn selected(&self) -> Selected {
        Selected { rooms: vec![self.id.clone()], except: Vec::new() }
    }

    fn ask_member(&self, request: Request) {
        self.namespace.core().ask_cluster(self.namespace.name(), || request);
    }
}
