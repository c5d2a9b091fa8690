//! Calls to the operator's backend: what it decides (hooks), what it is told (notices), and the keys of issuers of tokens.
//! Off the data path: shards leave questions here and are told answers.
//!
//! ```text
//!   shard 0 ─ Desk ─┐                                      ┌─ kept connections ─ HTTP/1.1, TLS ─► the backend
//!   shard 1 ─ Desk ─┴─ jobs, bounded ─► so many tasks ─────┤
//!      ▲                                   │               └─ resolver, on a thread of its own
//!      └────── answers, then the doorbell ─┘
//! ```
//!
//! All of it runs on one thread for the whole process, on an executor of `async-executor`. Not on the shards: a backend
//! that is slow, or a handshake with it, would take from their turns. And not on an executor of glommio, which may park
//! with tasks in its queue when it is kept from its core (see `shard/sleep.rs`), as one beside busy shards is.
//!
//! | file | holds |
//! |---|---|
//! | `target.rs` | the address of a backend |
//! | `client.rs`, `stream.rs`, `resolver.rs` | one call: connections that are kept, TLS, names |
//! | `breaker.rs` | when a backend that fails is asked no more |
//! | `signature.rs` | how it knows that it is us who ask |
//! | `desk.rs` | a shard's end |
//! | `hooks.rs` | questions and answers |
//! | `jwks.rs` | keys of issuers |
//! | `notices.rs` | what it is told of that has happened |
//! | `thread.rs` | the thread |
//!
//! Invariants: every wait has an end, every answer a size, every queue a bound; no redirect is followed; whoever has left
//! a question is told an answer.

mod breaker;
mod client;
mod desk;
mod hooks;
mod jwks;
mod notices;
mod resolver;
mod signature;
mod stream;
mod target;
mod thread;

pub(crate) use client::{CallError, Client};
pub use desk::{Answer, Desk, FetchedKeys};
pub use jwks::KeySet;
pub use notices::{NoticeCounts, NoticeSettings, Notices};
pub(crate) use resolver::look_up;
pub(crate) use stream::{Connector, Identity, Stream, client_builder, roots};
pub(crate) use target::Origin;

pub use signature::{SigningKey, SigningKeyError};
pub use stream::{RootsError, StartError};
pub use target::{Target, TargetError};
pub use thread::{HookTargets, Settings, Started, start};
