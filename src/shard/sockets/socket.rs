//! One client in one namespace: a socket, and how far it is.

use crate::{
    app::socketio::{NamespaceId, Order},
    hub::Hub,
    model::{ChannelName, SocketId, lone_socket},
    shard::table::Table,
};

/// One client in one namespace.
pub(super) struct Socket {
    pub(super) namespace: NamespaceId,
    /// [`NONE`] while its client is away and may come back.
    pub(super) session: u32,
    /// The next socket of the session.
    pub(super) next: u32,
    /// The WebSocket that carries it, or [`NONE`].
    pub(super) connection: u32,
    /// Where the log was when the client last proved what it has heard: everything up to there.
    pub(super) heard: u32,
    /// How often its client has been away.
    pub(super) absences: u16,
    /// Proves that a client that comes back is the one that left.
    pub(super) secret: [u8; 9],
    pub(super) state: State,
}

/// What a socket that catches up is told only then: what is in no log, and what comes behind that.
#[derive(Default)]
pub(super) struct Held {
    /// Events and acknowledgements, at most [`crate::limits::HELD_ORDERS_MAX`], and as many bytes as may wait for a client.
    pub(super) orders: Vec<Order>,
    pub(super) bytes: usize,
}

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for the owner of its namespace's channel.
    Joining,
    /// It is in its namespace.
    Connected,
    /// It is, and is being told what it missed.
    Returning,
    /// Its client is away and may come back.
    Away,
}

const _: () = assert!(size_of::<Socket>() <= 32);

impl State {
    /// Whether its client is in its namespace, and there.
    pub(super) fn is_in(self) -> bool {
        matches!(self, Self::Connected | Self::Returning)
    }
}

impl Socket {
    pub(super) fn new(
        namespace: NamespaceId,
        session: u32,
        connection: u32,
        secret: [u8; 9],
        next: u32,
    ) -> Self {
        Self { namespace, session, next, connection, heard: 0, absences: 0, secret, state: State::Joining }
    }
}

impl Table<Socket> {
    /// Whether this absence of a socket's client still lasts.
    pub(super) fn is_away(&self, id: SocketId, absence: u16) -> bool {
        let is_it = |socket: &Socket| socket.state == State::Away && socket.absences == absence;
        self.find(id.index, id.generation).is_some_and(is_it)
    }
}

/// Whether a socket is in a room, which may be its own.
pub(super) fn is_in(hub: &Hub, socket: SocketId, room: &ChannelName) -> bool {
    hub.is_subscribed(socket.subscriber().index, room) || lone_socket(room) == Some(socket)
}
