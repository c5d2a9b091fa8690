//! What is logged of clients.

use serde::{Deserialize, Serialize};

/// The `target` of lines about clients, by which a subscriber of `tracing` tells them from all others.
pub const ACCESS_TARGET: &str = "roadstead::access";

/// Of which clients there are lines in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLines {
    /// Of none.
    #[default]
    Off,
    /// Of those that were refused something: requests answered with 400 and more, and sessions that ended for what the
    /// client did.
    Refusals,
    /// Of all requests and sessions.
    All,
}

/// How a shard logs its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// Which.
    pub lines: AccessLines,
    /// At most so many lines a second.
    pub per_second: u32,
}
