//! What the members of a Socket.IO cluster say to each other through Redis, as npm's `@socket.io/redis-adapter` 8 and
//! `@socket.io/redis-emitter` 5 say it. Sans-io.
//!
//! | channel | payload |
//! |---|---|
//! | `socket.io#/nsp#`, `socket.io#/nsp#room#` | an event: msgpack `[uid, {type:2, data:[name,…], nsp}, {rooms, except, flags}]` |
//! | `socket.io-request#/nsp#` | a [`Request`] to every member, as JSON, or as msgpack where it holds an event |
//! | `socket.io-response#/nsp#` | an [`Answer`], likewise |
//! | `socket.io-request#nodes:prefix#`, `socket.io-response#nodes:prefix#` | a [`Survey`] of channels among the nodes that a broker joins, and what each knows; no namespace is named so |
//!
//! `socket.io` is the *key* of the cluster. A member is counted by its subscription to the channel of requests, and whoever
//! asks waits for as many answers; so a member answers all that can be answered.
//!
//! A member in JavaScript destructures what comes on the first two channels without looking, and ends when it is no array. What
//! is written here is therefore always one, of the three items that are looked at. What is read here is refused whenever
//! anything of it is not as it should be, and has bounds: in bytes, and in depth ([`crate::limits::JSON_DEPTH_MAX`]).
//!
//! Types that msgpack has and JSON has not arrive as clients of a server in JavaScript would see them: bytes as attachments, a
//! `Date` as its ISO 8601 text, `undefined` as nothing in an object and as `null` in a list, what is no number as `null`.
//!
//! Sharded pub/sub has other messages for the same ([`sharded`]). Not here: streams, whose formats are others.

mod answer;
mod event;
mod fuzz;
mod msgpack;
mod names;
mod request;
pub mod sharded;

use std::fmt;

pub use answer::{Answer, Fetched, Surveyed, decode_answer, encode_answer};
pub use event::{Emitted, Selected, decode_event, encode_event, event_of};
pub use fuzz::fuzz;
pub use names::{Bus, Names};
pub use request::{Asked, Request, Survey, decode_request, encode_request};

/// Why what came from a cluster is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterError {
    /// It is no msgpack, or something follows it.
    Msgpack,
    /// It is no JSON.
    Json,
    /// It is longer than it may be.
    TooLarge,
    /// Lists and objects stand too deep in each other.
    TooDeep,
    /// It is not what it should be: something is missing, or of another kind.
    Shape,
    /// It is an event that nobody may send, for Socket.IO uses the name itself.
    Reserved,
    /// It is said to be of another namespace than its channel.
    Namespace,
}

impl AdapterError {
    /// One word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Msgpack => "msgpack",
            Self::Json => "json",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::Shape => "shape",
            Self::Reserved => "reserved",
            Self::Namespace => "namespace",
        }
    }
}

impl fmt::Display for AdapterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Msgpack => "it is no msgpack",
            Self::Json => "it is no JSON",
            Self::TooLarge => "it is too large",
            Self::TooDeep => "it is nested too deeply",
            Self::Shape => "it is not what members of a cluster say",
            Self::Reserved => "its event has a name that Socket.IO uses itself",
            Self::Namespace => "it names another namespace than its channel",
        })
    }
}

impl std::error::Error for AdapterError {}
