//! What shards say to each other about Socket.IO sockets. Events to rooms are publications and not here.

use std::{net::SocketAddr, time::Instant};

use super::CountedAddress;
use crate::{
    auth::Verified,
    model::{Arguments, ChannelName, Passage, SessionId, SocketId},
};

/// Something for one socket, said to the shard that holds it.
#[derive(Clone, Debug)]
pub enum SocketCommand {
    /// Send it an event.
    Emit {
        /// The event.
        arguments: Arguments,
        /// Not at all rather than late.
        is_volatile: bool,
    },
    /// Acknowledge its event of this id.
    Acknowledge {
        /// The event's.
        id: u64,
        /// With what.
        arguments: Box<Arguments>,
    },
    /// Keep this JSON as what others are told of it.
    Keep(Box<str>),
    /// Tell it that it is put out, and end its client's connection.
    PutOut,
    /// Put it into rooms.
    Join(Vec<ChannelName>),
    /// Take it out of rooms.
    Leave(Vec<ChannelName>),
    /// End it, and with `ends_session` the client's connection as well.
    Disconnect {
        /// Whether the other namespaces of the client end, too.
        ends_session: bool,
    },
}

impl SocketCommand {
    /// Bytes of memory it keeps, as far as clients decide them.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Emit { arguments, .. } => arguments.bytes(),
            Self::Acknowledge { arguments, .. } => arguments.bytes(),
            Self::Join(rooms) | Self::Leave(rooms) => rooms.iter().map(|room| room.as_str().len()).sum(),
            Self::Keep(json) => json.len(),
            Self::Disconnect { .. } | Self::PutOut => 0,
        }
    }
}

impl SocketsRequest {
    /// Bytes of memory it keeps, as far as clients decide them.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Command { command, .. } => command.bytes(),
            Self::Fetch { .. } => 0,
            Self::Ask { asking, .. } => asking.arguments.bytes(),
            Self::ServerEvent { arguments, .. } => arguments.bytes(),
        }
    }
}

impl SocketsAnswer {
    /// Bytes of memory it keeps, as far as clients and the application decide them.
    pub(super) fn bytes(&self) -> usize {
        let acks = self.acks.iter().filter_map(|ack| ack.said.as_ref()).map(Arguments::bytes).sum::<usize>();
        acks + self.sockets.iter().map(|socket| socket.data.len()).sum::<usize>()
    }
}

/// Which sockets a question or command is about, on every shard. A room named like a socket's id is that socket
/// ([`crate::model::lone_socket`]).
#[derive(Clone, Debug)]
pub struct Selection {
    /// The channel of their namespace.
    pub namespace: ChannelName,
    /// Sockets in any of these rooms; empty selects the whole namespace.
    pub rooms: Vec<ChannelName>,
    /// But for sockets in any of these.
    pub except: Vec<ChannelName>,
    /// But for this socket.
    pub except_socket: Option<SocketId>,
}

/// Something for all shards.
#[derive(Clone, Debug)]
pub enum SocketsRequest {
    /// Do this to each of these sockets.
    Command {
        /// Which.
        selection: Selection,
        /// What.
        command: SocketCommand,
    },
    /// Tell which these are: answered with [`SocketsAnswer`].
    Fetch {
        /// Which.
        selection: Selection,
        /// Handed back in the answer.
        token: u64,
        /// At most this many of one shard.
        limit: u32,
        /// What of them.
        told: Told,
    },
    /// Send these an event and gather their acknowledgements: answered with [`SocketsAnswer`].
    Ask {
        /// Which.
        selection: Selection,
        /// Handed back in the answer.
        token: u64,
        /// What they are sent.
        asking: Box<Asking>,
    },
    /// An event for the application itself on every other shard: answered with [`SocketsAnswer`] if a token is given.
    ServerEvent {
        /// The namespace.
        namespace: Box<str>,
        /// The event.
        arguments: Arguments,
        /// Who wants to hear the answers.
        token: Option<u64>,
    },
}

/// An event that sockets are to acknowledge.
#[derive(Clone, Debug)]
pub struct Asking {
    /// The event.
    pub arguments: Arguments,
    /// Not at all rather than late.
    pub is_volatile: bool,
    /// How long they have.
    pub until: Instant,
}

/// What is told of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// How many they are; no limit holds for that.
    Count,
    /// Their ids.
    Ids,
    /// Their ids, rooms and data.
    Summaries,
}

/// One shard's answer to a [`SocketsRequest`].
#[derive(Clone, Debug)]
pub struct SocketsAnswer {
    /// The request's.
    pub token: u64,
    /// How many sockets it has, or tells of.
    pub count: u32,
    /// The sockets it has.
    pub sockets: Vec<SocketSummary>,
    /// What the application answered to a server event.
    pub arguments: Option<Arguments>,
    /// What sockets acknowledged.
    pub acks: Vec<GatheredAck>,
}

/// What one socket acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatheredAck {
    /// Which.
    pub socket: SocketId,
    /// With what, unless it has not in time.
    pub said: Option<Arguments>,
}

/// One socket, as other shards see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSummary {
    /// Its id.
    pub id: SocketId,
    /// The channels of its rooms, without that of its namespace.
    pub rooms: Vec<ChannelName>,
    /// Whether a WebSocket carries it; else it polls.
    pub is_on_websocket: bool,
    /// What the application calls the socket's data, as JSON; `null` when it said nothing.
    pub data: Box<str>,
}

/// What a WebSocket that goes to another shard is to its session.
#[derive(Debug)]
pub enum Carried {
    /// It carries the session, which goes along.
    Session(Box<EngineMove>),
    /// It is tried by a session that polls and has gone before.
    Probe {
        /// The session's id.
        sid: SessionId,
        /// Whether the client has been told that it works.
        is_confirmed: bool,
    },
}

/// The token of a session that goes to another shard.
#[derive(Clone, Debug, PartialEq)]
pub enum CarriedToken {
    /// As it came: nobody has looked at it.
    Text(Box<[u8]>),
    /// It was good when it was looked at. Nothing of it is shared with the shard it comes from.
    Good(Box<Verified>),
}

/// An Engine.IO session that goes to another shard: there its client was before, and there is kept what it missed.
#[derive(Debug)]
pub struct EngineMove {
    /// The id it was given by the shard it comes from.
    pub sid: SessionId,
    /// The Socket.IO packet that made it go, to be heard first.
    pub packet: Box<str>,
    /// Engine.IO packets that came behind it.
    pub payload: Vec<u8>,
    /// Engine.IO packets that wait for the client's next poll.
    pub queue: Vec<u8>,
    /// The target of the request that opened it.
    pub target: Box<str>,
    /// The header fields of that request, one per line.
    pub fields: Box<str>,
    /// The client's address; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// How it has come.
    pub passage: Passage,
    /// The header fields of CORS that answers to it carry.
    pub cors: Box<str>,
    /// The token that came with the request which opened it.
    pub token: Option<CarriedToken>,
    /// Its count among the sessions of its address that poll, while those are limited.
    pub counted: Option<CountedAddress>,
}
