//! Connections that go on with the next process: what is known of each but its socket.

use std::net::SocketAddr;

use super::{Deflates, LeftSession};
use crate::{
    auth::Verified,
    model::{ChannelName, KeepAlive, Position, ShardId, Shown, StateKey, Transport},
};

/// A shard's connections that go on, and how many do not.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftConnections {
    /// The shard.
    pub shard: ShardId,
    /// How many were told to come back.
    pub told: u64,
    /// Those that go on, in the order of their sockets.
    pub all: Vec<LeftConnection>,
    /// Sessions of Engine.IO that go on without one.
    pub polling: Vec<LeftSession>,
}

/// A WebSocket, an event stream, a long poll that waits, or one on which the next request is awaited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeftConnection {
    /// Whether it is an event stream.
    pub is_stream: bool,
    /// Whether it speaks HTTP, and none of its requests waits for an answer.
    pub is_http: bool,
    /// How it is to be answered, if it is a long poll.
    pub poll: Option<LeftPoll>,
    /// Whether it speaks TLS: its keys come beside its socket.
    pub is_sealed: bool,
    /// How its messages may be compressed, if they may.
    pub deflates: Option<Deflates>,
    /// Its client's address; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// The token that it has shown, if it has.
    pub token: Option<LeftToken>,
    /// Whether it is alive.
    pub keep_alive: KeepAlive,
    /// What it follows; if it is a stream of several channels, in the order in which these were named.
    pub subscriptions: Vec<Subscription>,
    /// Where its client is in each of them, as that remembers it, if it is such a stream.
    pub place: Option<Box<str>>,
    /// Where it is present, for a user.
    pub entered: Vec<LeftEntry>,
    /// What the application keeps of it ([`crate::app::Handler::save`]).
    pub saved: Vec<u8>,
    /// What has arrived of a message or a request that has begun, as bytes of its client.
    pub unread: Vec<u8>,
    /// What has arrived of a record of TLS that has begun, as it came.
    pub begun: Vec<u8>,
    /// What it has been told and not been sent, as it is sent: sealed already, if it speaks TLS.
    pub unsent: Vec<u8>,
    /// The session of Engine.IO that it carries, if it does.
    pub session: Option<Box<LeftSession>>,
}

/// What is left of a request that waits for what is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftPoll {
    /// The connection may be used again.
    pub keep_alive: bool,
    /// The answer must have no body.
    pub head_only: bool,
    /// It is to be answered in HTTP/1.0.
    pub is_http10: bool,
    /// Whether it was asked of several channels, whose positions are told together.
    pub is_several: bool,
    /// Header fields of the answer.
    pub fields: Box<str>,
}

/// What one shard of the next process is given of connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LegacyConnections {
    /// Those that go on, in the order of their sockets.
    pub all: Vec<LeftConnection>,
    /// The channels that they follow whose streams were left, and where each is.
    pub followed: Vec<(ChannelName, Position)>,
    /// How many were told to come back.
    pub told: u64,
    /// Sessions of Engine.IO that go on without a connection.
    pub polling: Vec<LeftSession>,
}

/// A channel that a connection follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The channel.
    pub channel: ChannelName,
    /// How publications reach it.
    pub transport: Transport,
    /// Up to where it has been told.
    pub position: Position,
    /// What it is shown beside what is published.
    pub shown: Shown,
}

/// A channel in which a connection is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftEntry {
    /// The channel.
    pub channel: ChannelName,
    /// For which member.
    pub id: StateKey,
    /// What others may know of it, as JSON.
    pub info: Box<str>,
}

/// A token that a connection has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftToken {
    /// What it says, but for its own name and when it was made.
    pub token: Verified,
    /// A hash of its own name, or 0.
    pub id_hash: u32,
}
