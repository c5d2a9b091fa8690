//! Connections that go from a shard with much to do to one with less, while they are served.
//!
//! ```text
//!   giver: Expect ─────────► taker: follows the channels, and keeps what they bring
//!          ◄────────── Expected, from these positions on
//!          … told up to there, between two messages, with nothing to send …
//!          HandOver, told up to these ─► told what is kept beyond them, and read on
//! ```
//!
//! Until the [`super::HandOver`] nothing has changed for the connection: whatever comes between, it stays where it is.

use super::{LeftToken, Subscription};
use crate::model::{ChannelName, KeepAlive, Position, ShardId};

/// What two shards say to each other about one connection, by the giver's number for it.
#[derive(Debug)]
pub enum Levelling {
    /// Giver → taker: a connection is about to come that follows these channels.
    Expect {
        /// The giver's number.
        number: u32,
        /// The channels.
        channels: Box<[ChannelName]>,
    },
    /// Taker → giver: it may, once it has been told of each channel up to here.
    Expected {
        /// The giver's number.
        number: u32,
        /// The positions, in the order of the channels.
        begins: Box<[Position]>,
    },
    /// Taker → giver: it may not, or no more. If it has set out, it is taken.
    Refused {
        /// The giver's number.
        number: u32,
    },
    /// Giver → taker: it does not come.
    Withdrawn {
        /// The giver's number.
        number: u32,
    },
}

/// What a connection brings that goes to another shard while it is served.
#[derive(Debug)]
pub struct Levelled {
    /// The shard that it comes from.
    pub from: ShardId,
    /// That shard's number for it.
    pub number: u32,
    /// Whether it is an event stream; else it is a WebSocket.
    pub is_stream: bool,
    /// Whether it is alive.
    pub keep_alive: KeepAlive,
    /// What it follows, and up to where it has been told.
    pub subscriptions: Vec<Subscription>,
    /// The token that it has shown, if it has.
    pub token: Option<LeftToken>,
    /// What the application keeps of it ([`crate::app::Handler::save`]).
    pub saved: Vec<u8>,
}
