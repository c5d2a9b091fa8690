//! The broker that joins several nodes: Redis or Valkey. It gives each publication its position and keeps the history; a
//! node's own copy of a channel is what it was told of it.
//!
//! ```text
//!   hub ─ BrokerAsk ─► Broker ─► the broker's thread ─ Link ── commands ─────────► Redis
//!    ▲                                                    ▲                          │
//!    └── BrokerNews, then the doorbell ◄──────────────────┴── replies and pushes ◄───┘
//! ```
//!
//! All of it runs on one thread for the whole process, beside that of the operator's backend and for the same reasons
//! ([`crate::backend`]): names are resolved, TLS is spoken and bytes are written there, not in a shard's turn. Each shard has
//! a connection of its own, so what it asks keeps its order.
//!
//! | file | holds |
//! |---|---|
//! | `address` | where the broker is |
//! | `link`, `fault` | what a shard says and hears, sans-io; why it cannot |
//! | `outbox`, `followed` | its publications; the channels it follows |
//! | `wire` | the connection, as bytes |
//! | `cluster` | a place in a Socket.IO cluster, which is something else than a broker and speaks with Redis alike |
//! | `roll` | which nodes there are and where, and who is told that one is lost |
//! | `passing` | requests of clients whose sessions another node has |
//! | `frame`, `script`, `stream` | what stands in the broker, what it runs, and how that is asked |
//! | `thread` | the thread |
//! | `conversation` | the same without it |
//! | `tended` | a connection that is made anew, and waiting before the next try |
//!
//! Invariants: every queue has a bound; nothing is acknowledged that the broker has not; what may be lost is told.

mod address;
pub mod cluster;
mod conversation;
mod fault;
mod followed;
mod frame;
mod link;
mod outbox;
mod passing;
mod roll;
mod script;
mod stream;
mod tended;
#[cfg(test)]
mod tests;
mod thread;
mod wire;

pub use address::{Address, AddressError};
pub use conversation::{Conversation, Useless};
pub use passing::{NoAnswer, NodeAnswer, Pass, PassedBack, PassedOn, Tunnel};
pub use thread::{Broker, Settings, start};
