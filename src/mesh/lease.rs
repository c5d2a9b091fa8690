//! What shards say of the lease under which one of them sends what its issuers ask without waiting.

/// One step of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Any → shard 0: give it to me when it is free.
    Ask,
    /// Shard 0 → the next: it is yours until it is recalled.
    Grant,
    /// Shard 0 → the holder: another shard asks for it.
    Recall,
    /// The answer to a `Recall`: all that I sent under it has taken effect.
    Return,
}
