//! What shards say of marks: behind what an issuer asked, to learn when that has taken effect.

use crate::model::ShardId;

/// One step of a mark.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// Any → owner: pass this on behind what I have published through you.
    PassOn {
        /// Its sender's number.
        number: u64,
        /// To every shard, or only back to its sender.
        is_for_all: bool,
    },
    /// Owner → subscriber's shard, and any → every shard for what it sends directly: this stands behind what an issuer of
    /// `origin` asked. Answered with `Reached` when all that came before on this link has taken effect.
    Passed {
        /// Who waits.
        origin: ShardId,
        /// Its number for this.
        number: u64,
        /// Whether every shard got this.
        is_for_all: bool,
    },
    /// The answer to a `Passed`.
    Reached {
        /// The shard by which it came.
        way: ShardId,
        /// The number in it.
        number: u64,
    },
}
