//! A connection whose request another shard is to answer, or another node. How it gets there is the shard's business.

use crate::{mesh::Carried, model::Destination};

/// What a connection takes along. What the peer sends from now on waits in its socket.
#[derive(Debug)]
pub struct Leaving {
    /// Where it goes.
    pub to: Destination,
    /// How many shards have handed over the first request of `bytes`, this one included.
    pub hops: u8,
    /// The request and whatever has been received behind it.
    pub bytes: Vec<u8>,
    /// What it is to an Engine.IO session, if it is a WebSocket.
    pub engine: Option<Carried>,
}
