//! Engine.IO sessions that go on with the next process, each with its WebSocket, or none while its client polls: what is known of
//! the client, of its sockets, and of what they have been told.

use std::net::SocketAddr;

use super::{CarriedToken, LeftSocket};
use crate::model::Passage;

/// A client of Engine.IO whose WebSocket goes on, for which nothing waits to be sent, or one that polls.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftSession {
    /// Its place among the sessions of its shard, which stands in its id.
    pub index: u32,
    /// How often that place had been used.
    pub generation: u32,
    /// The part of its id that cannot be guessed.
    pub secret: [u8; 9],
    /// Packets that wait for its next poll; `None` of one on a WebSocket.
    pub queue: Option<Vec<u8>>,
    /// It has been sent a ping, and has not answered: where the log was then.
    pub asked_at: Option<u32>,
    /// In so many milliseconds something is due.
    pub due_ms: u32,
    /// It wants bytes as base64.
    pub is_base64: bool,
    /// It has entered a namespace.
    pub has_entered: bool,
    /// The request that opened it, as far as that is kept.
    pub opened_by: Option<LeftRequest>,
    /// The token that came with that request.
    pub token: Option<CarriedToken>,
    /// The header fields of CORS that answers to it carry.
    pub cors: Box<str>,
    /// The number of the next event for which an acknowledgement is asked, as high as on the shard that leaves it.
    pub next_number: u64,
    /// Its sockets, in the order in which it knows them.
    pub sockets: Vec<LeftSeat>,
}

/// The request that opened a session.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftRequest {
    /// Its target.
    pub target: Box<str>,
    /// Its header fields, one per line.
    pub fields: Box<str>,
    /// The client's address; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// How it has come.
    pub passage: Passage,
    /// Whether this is all of it, or what the operator's backend is told of it.
    pub is_whole: bool,
}

/// A socket of a client that goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftSeat {
    /// What is known of it. It has been told all that its shard has sent.
    pub socket: LeftSocket,
    /// What the application keeps of it ([`crate::app::socketio::Io::on_upgrade`]).
    pub saved: Vec<u8>,
    /// The digest of the operator's key that it holds, where rules are in force ([`crate::app::socketio::Handlers::use_rules`]).
    pub key: Option<[u8; 32]>,
    /// Whether its client may come back to it without all this.
    pub may_come_back: bool,
    /// It had come back, and a pong to a ping that was sent before the log was there proves nothing.
    pub caught_up: Option<u32>,
}
