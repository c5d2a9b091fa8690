//! The embedding API: give one [`Handler`] value per shard, and serve.
//!
//! A handler is told what happens and answers with values; what it wants done it says through its [`Context`], and
//! the shard does it when the call returns. Nothing blocks, nothing is shared between shards.

mod context;
mod handler;

pub use context::{Context, Intent, Intents, Moment};
pub use handler::{Answer, Handler, Message, Peer, Reply, Verdict};

pub use crate::{
    model::{ChannelName, CloseReason, ConnectionId, Now, Payload, Position, ShardId, Transport},
    wire::http1::{Body, Method, Request, Response},
};
