//! The proof that a shard lives: how many turns it has done. The shard writes it, the supervisor reads it.

use std::sync::atomic::{AtomicU64, Ordering};

/// One shard's proof, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// The shard has done so many turns. A shard that sleeps does one every second.
    pub(crate) fn beat(&self, turns: u64) {
        self.0.store(turns, Ordering::Relaxed);
    }

    /// What the shard last wrote.
    pub(crate) fn turns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
