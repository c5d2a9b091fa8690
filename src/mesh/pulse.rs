//! The proof that a shard lives: how many turns it has done, and whether its thread is in the application. The shard writes
//! it, the supervisor reads it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::ring::Attendance;

/// One shard's proof, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Pulse {
    turns: AtomicU64,
    attendance: Arc<Attendance>,
}

impl Pulse {
    /// The shard has done so many turns. A shard that sleeps does one every second.
    pub(crate) fn beat(&self, turns: u64) {
        self.turns.store(turns, Ordering::Relaxed);
    }

    /// What the shard last wrote.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Whether the shard's thread is in the application, and what can be done about that.
    pub(crate) fn attendance(&self) -> &Arc<Attendance> {
        &self.attendance
    }
}
