//! A request that waits for a publication, and what its answer needs.

use super::{Exchange, Http};
use crate::model::Position;

/// A parked long poll. The HTTP connection it came on lives inside and comes out again when it is answered.
#[derive(Debug)]
pub struct LongPoll {
    /// The connection's HTTP state, with bytes that came after the request.
    pub http: Http,
    /// The request.
    pub exchange: Exchange,
    /// Header fields for the answer, each `name: value\r\n`.
    pub fields: Box<str>,
    /// Where the subscription begins, once its channel's owner has said so: of several channels, the last of their owners.
    pub position: Option<Position>,
    /// How long to wait, from [`Self::position`] being known on, in milliseconds.
    pub timeout_ms: u32,
}
