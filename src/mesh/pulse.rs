//! The proof that a shard lives: how many turns it has done, and whether its thread is in the application; and how much it has
//! to do. The shard writes it, the supervisor reads it, and says there what part of new connections is to come to the shard.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use crate::{model::ShardId, ring::Attendance};

/// One shard's proof, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Pulse {
    turns: AtomicU64,
    busy_us: AtomicU64,
    accepted: AtomicU64,
    clients: AtomicU32,
    share_permille: AtomicU32,
    moves: AtomicU64,
    attendance: Arc<Attendance>,
}

/// Connections that are to go to another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moves {
    /// The other shard.
    pub to: ShardId,
    /// How many within the next second.
    pub count: u32,
}

/// How much a shard has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Open connections that are not operators'.
    pub clients: u32,
    /// How many connections it has accepted.
    pub accepted: u64,
    /// How long it has been busy, in microseconds.
    pub busy_us: u64,
}

const _: () = assert!(size_of::<Pulse>() <= 64, "a shard writes it in every turn");

impl Pulse {
    /// The shard has done so many turns. A shard that sleeps does one every second.
    pub(crate) fn beat(&self, turns: u64) {
        self.turns.store(turns, Ordering::Relaxed);
    }

    /// What the shard last wrote.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The shard has so much to do.
    pub(crate) fn show(&self, load: Load) {
        let Load { clients, accepted, busy_us } = load;
        self.clients.store(clients, Ordering::Relaxed);
        self.accepted.store(accepted, Ordering::Relaxed);
        self.busy_us.store(busy_us, Ordering::Relaxed);
    }

    /// What the shard last showed.
    pub(crate) fn load(&self) -> Load {
        Load {
            clients: self.clients.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            busy_us: self.busy_us.load(Ordering::Relaxed),
        }
    }

    /// So many in a thousand new connections are to come to the shard; 0 is what the kernel gives it.
    pub(crate) fn steer(&self, share_permille: u32) {
        self.share_permille.store(share_permille, Ordering::Relaxed);
    }

    /// What was last said of that.
    pub(crate) fn share_permille(&self) -> u32 {
        self.share_permille.load(Ordering::Relaxed)
    }

    /// So many connections of the shard are to go to another one; what was said before counts no more.
    pub(crate) fn order(&self, moves: Option<Moves>) {
        // An order differs from the one before, whatever that said.
        let number = (self.moves.load(Ordering::Relaxed) >> 48).wrapping_add(1) << 48;
        let said = moves.map_or(0, |Moves { to, count }| u64::from(to.0) << 32 | u64::from(count));
        self.moves.store(number | said, Ordering::Relaxed);
    }

    /// What was last said of that, and its number. `None` if none is to go.
    pub(crate) fn moves(&self) -> (u16, Option<Moves>) {
        let said = self.moves.load(Ordering::Relaxed);
        let moves = Moves { to: ShardId((said >> 32) as u16), count: said as u32 };
        ((said >> 48) as u16, (moves.count > 0).then_some(moves))
    }

    /// Whether the shard's thread is in the application, and what can be done about that.
    pub(crate) fn attendance(&self) -> &Arc<Attendance> {
        &self.attendance
    }
}
