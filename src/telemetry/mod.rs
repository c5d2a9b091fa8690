//! What the server tells about itself: log lines ([`logging`]), metrics ([`metrics`]) and the process's own use of
//! the machine ([`process`]).
//!
//! Nothing here counts anything: shards count for themselves and hand over a [`crate::mesh::ShardReport`].

pub mod logging;
pub mod metrics;
pub mod plain;
pub mod process;
pub mod upgrading;
