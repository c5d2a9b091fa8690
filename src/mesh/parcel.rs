//! What a link carries: what the hubs of two shards say to each other, and what the shards themselves do.

use std::{net::SocketAddr, os::fd::OwnedFd};

use super::{
    Carried, CountedAddress, Deflates, EngineMove, Lease, Levelled, Levelling, Mark, Message, SocketCommand,
    SocketsAnswer, SocketsRequest,
};
use crate::{
    auth::Revocation,
    model::{Passage, SessionId, SocketId},
    tls::Record,
};

/// One message from shard to shard.
#[derive(Debug)]
pub enum Parcel {
    /// For the hub.
    Hub(Message),
    /// For the shard.
    Shard(ShardMessage),
}

/// One message for a shard itself: of connections, sessions, Socket.IO's sockets, and of what becomes of shards.
#[derive(Debug)]
pub enum ShardMessage {
    /// Any → a socket's shard: do this to one of your Socket.IO sockets.
    Socket {
        /// Which.
        socket: SocketId,
        /// What.
        command: SocketCommand,
    },
    /// Any → any: an Engine.IO session that polls; requests with its id will be handed over.
    EngineMove(Box<EngineMove>),
    /// The answer to an `EngineMove`, in time: the session has ended.
    EngineEnded(SessionId),
    /// Any → every shard: about many Socket.IO sockets.
    Sockets(SocketsRequest),
    /// The answer to a `Sockets` that asks for one.
    SocketsAnswer(SocketsAnswer),
    /// Any → any: lend me room for connections.
    AskRoom {
        /// At most this many.
        wanted: u32,
        /// The asker has none left.
        is_full: bool,
    },
    /// The answer to `AskRoom`.
    GiveRoom {
        /// Room for this many connections has moved to the asker.
        given: u32,
    },
    /// Any → any: this connection is yours now. Never refused: `RLIMIT_NOFILE` bounds how many there can be.
    HandOver(Box<HandOver>),
    /// Any → every shard, while draining: no client of mine is left.
    Drained,
    /// Any → every shard, before the connections of all go on in another process: I read nothing any more, and as far as I know
    /// nothing is under way.
    AtRest {
        /// How often I have said so.
        round: u8,
    },
    /// Any → every shard: I have failed and begin anew. Nothing is left of what I had, and what was on its way to me is not
    /// heard: but for connections and room, which I keep. Answered with `LossHeard`.
    Lost {
        /// How often that has happened.
        restarts: u64,
    },
    /// The answer to `Lost`: what follows is for what the shard is now.
    LossHeard {
        /// The number in the `Lost`.
        restarts: u64,
    },
    /// Of a mark behind what an issuer asked.
    Mark(Mark),
    /// Of the lease under which nothing of an issuer waits at its own shard.
    Lease(Lease),
    /// Of a connection that goes to a shard with less to do.
    Levelling(Levelling),
    /// Any → every shard: shut this out.
    Revoke(Box<Revocation>),
}

impl Parcel {
    /// Whether a shard that has failed and begun anew hears it also when it was sent to what the shard was before: what is about
    /// shards, and what those keep.
    pub(crate) fn outlives_failure(&self) -> bool {
        match self {
            Self::Hub(_) => false,
            Self::Shard(message) => message.outlives_failure(),
        }
    }

    /// Bytes of memory that it keeps while it is on its way, as far as clients decide them.
    pub(super) fn bytes(&self) -> usize {
        let beside = match self {
            Self::Hub(message) => message.bytes(),
            Self::Shard(message) => message.bytes(),
        };
        size_of::<Self>() + beside
    }
}

impl ShardMessage {
    fn outlives_failure(&self) -> bool {
        match self {
            Self::AskRoom { .. } | Self::GiveRoom { .. } | Self::HandOver(_) | Self::Revoke(_) => true,
            Self::Drained | Self::AtRest { .. } | Self::Lost { .. } | Self::LossHeard { .. } => true,
            Self::Socket { .. } | Self::Sockets(_) | Self::SocketsAnswer(_) => false,
            Self::EngineMove(_) | Self::EngineEnded(_) | Self::Mark(_) | Self::Lease(_) => false,
            Self::Levelling(_) => false,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Socket { command, .. } => command.bytes(),
            Self::Sockets(request) => request.bytes(),
            Self::SocketsAnswer(answer) => answer.bytes(),
            Self::EngineMove(engine) => engine.payload.len() + engine.queue.len(),
            Self::HandOver(hand_over) => {
                hand_over.bytes.len() + hand_over.levelled.as_ref().map_or(0, |one| one.saved.len())
            }
            _ => 0,
        }
    }
}

impl From<Message> for Parcel {
    fn from(message: Message) -> Self {
        Self::Hub(message)
    }
}

impl From<ShardMessage> for Parcel {
    fn from(message: ShardMessage) -> Self {
        Self::Shard(message)
    }
}

/// A connection on its way from one shard's table to another's. Dropping it closes the connection.
#[derive(Debug)]
pub struct HandOver {
    /// Its socket.
    pub descriptor: OwnedFd,
    /// The peer; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// How it has come, if that is kept.
    pub passage: Option<Passage>,
    /// Its count among the connections of its address, while those are limited.
    pub counted: Option<CountedAddress>,
    /// It came in through the admin listener. One that did not brings the room it takes.
    pub is_admin: bool,
    /// A proxy has opened it, and has not said for whom.
    pub is_unnamed: bool,
    /// How many shards have handed over the first request of `bytes`.
    pub hops: u8,
    /// What has been received and not answered: a request, whole, and whatever came behind it. To be read before
    /// anything the socket holds.
    pub bytes: Vec<u8>,
    /// What it is to an Engine.IO session, if it is a WebSocket; `bytes` are frames then.
    pub engine: Option<Carried>,
    /// What else is known of it, if it goes while it is served.
    pub levelled: Option<Box<Levelled>>,
    /// How it is, if it is a WebSocket whose messages may be compressed.
    pub deflates: Option<Deflates>,
    /// Its keys, if it speaks TLS. What is sealed from now on goes on from them.
    pub keys: Option<Box<Keys>>,
}

/// What is kept of TLS for a connection that has shaken hands.
#[derive(Debug)]
pub struct Keys {
    /// The keys and counters.
    pub record: Box<Record>,
    /// The beginning of a record whose rest the socket holds.
    pub begun: Vec<u8>,
}
