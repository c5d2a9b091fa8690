//! What outlives the process: a file, and the one thread that writes it.
//!
//! Shards leave records ([`Keeper`]) and go on; nothing here is waited for in a turn. Which channels are kept, and what a
//! record means to a hub, is the hub's business (`hub/durable.rs`).
//!
//! | file | holds |
//! |---|---|
//! | `store`, `tables` | the file: opening, reading, transactions; what stands in it |
//! | `error` | why it cannot be used |
//! | `codec` | a publication as bytes |
//! | `snapshot`, `away`, `connections` | what goes from one process to the next; clients of Socket.IO, and connections in it |
//! | `maintenance`, `lines` | stores that nobody serves: looked into, checked, made smaller; as lines of JSON |
//! | `reader` | the thread that reads what memory has let go of |
//! | `view` | the file, as it is read while nothing can be written |
//! | `shut_out` | users and tokens that are shut out |
//! | `writer`, `disk`, `pace` | the thread, the queues; what it writes to, which others read; how it lets shards have the core |

mod away;
pub(crate) mod codec;
mod connections;
mod disk;
mod error;
mod lines;
mod maintenance;
mod pace;
mod reader;
mod sessions;
mod shut_out;
pub mod snapshot;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use std::{
    fmt, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

pub use error::StoreError;
pub use maintenance::{Depot, Inventory, Shelf, import};
pub use reader::FoundPage;
pub use writer::{Keeper, Writer};

#[cfg(test)]
pub(crate) use tests::{Folder, await_that};

use crate::{
    auth::Revoked,
    model::{ChannelName, Durability, Restored},
    ring::Doorbell,
};

/// A store that has been opened, before it is written to.
pub struct Opened {
    store: store::Store,
    /// The channels that stand in it.
    pub channels: Vec<Restored>,
    /// Who is shut out.
    pub revoked: Revoked,
    /// Whether it had been closed in order, so that nothing is missing.
    pub was_clean: bool,
}

/// How much history of a channel is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryKept {
    /// Publications in memory.
    pub in_memory: u32,
    /// Publications on disk; 0 for those that memory keeps.
    pub on_disk: u32,
}

/// Why the thread that writes did not start.
#[derive(Debug)]
pub struct WriterError(io::Error);

impl Opened {
    /// Opens the store in a folder, or makes one, and reads all of it. Its channels are kept as long as is said from now on.
    pub fn open(
        folder: &Path,
        history: HistoryKept,
        durability: impl Fn(&ChannelName) -> Durability,
    ) -> Result<Self, StoreError> {
        let (mut store, was_clean) = store::Store::open(folder, history)?;
        let channels = store.read(|_| true, was_clean)?;
        let is_synced = |channel: &ChannelName| durability(channel) == Durability::Synced;
        store.promise(channels.iter().map(|one| (one, is_synced(&one.channel))))?;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let revoked = store.revoked(now_s)?;
        Ok(Self { store, channels, revoked, was_clean })
    }

    /// Starts to write, for shards that hear these bells: on these cores if there are any, which no shard has.
    pub fn start(self, bells: &[Doorbell], cores: &[usize]) -> Result<(Writer, Vec<Keeper>), WriterError> {
        Writer::start(self.store, bells, cores).map_err(WriterError)
    }
}

impl fmt::Display for WriterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the thread that writes did not start: {}", self.0)
    }
}

impl std::error::Error for WriterError {}
