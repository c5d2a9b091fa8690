//! Connections on their way between shards while they are served: how far each is. What is done with them is
//! [`super::levelling`]'s.

use std::{os::fd::OwnedFd, time::Duration};

use rustc_hash::FxHashMap;

use crate::{
    mesh::{Moves, Subscription},
    model::{ConnectionId, Position, ShardId},
};

/// Connections on their way from this shard, and to it.
#[derive(Default)]
pub(super) struct Levelling {
    /// The last order that was looked at.
    pub(super) order: u16,
    /// What of it is left to do.
    pub(super) moves: Option<Moves>,
    /// How many may still be looked at for that.
    pub(super) looks: u32,
    pub(super) cursor: u32,
    pub(super) numbers: u32,
    /// At most [`crate::limits::LEVELLED_AT_ONCE`].
    pub(super) giving: Vec<Giving>,
    pub(super) taking: Taking,
    /// Time that it has taken.
    pub(super) spent: Duration,
}

/// A connection that is to go.
pub(super) struct Giving {
    pub(super) connection: ConnectionId,
    pub(super) to: ShardId,
    pub(super) number: u32,
    pub(super) since_ms: u64,
    pub(super) step: Step,
}

pub(super) enum Step {
    /// The other shard has been asked to expect it.
    Asked,
    /// It may go when it has been told up to here.
    Awaited(Box<[Position]>),
    /// It is read no more, and a descriptor is being made.
    Exporting(Box<[Position]>),
    /// It goes when nothing is to be sent to it.
    Exported(Box<[Position]>, OwnedFd),
}

impl Step {
    /// Whether the connection is not read for it.
    pub(super) fn is_paused(&self) -> bool {
        matches!(self, Self::Exporting(_) | Self::Exported(..))
    }
}

impl Levelling {
    pub(super) fn is_idle(&self) -> bool {
        self.moves.is_none() && self.giving.is_empty() && self.taking.is_idle()
    }

    /// Whether no connection has come whose channels are not followed yet.
    pub(super) fn is_quiet(&self) -> bool {
        self.taking.is_quiet()
    }

    /// Whether a connection has come and does not follow all its channels yet.
    pub(super) fn awaits(&self, connection: ConnectionId) -> bool {
        self.taking.awaits(connection)
    }

    pub(super) fn is_giving(&self, connection: ConnectionId) -> bool {
        self.giving.iter().any(|one| one.connection == connection)
    }

    /// The connection that another shard knows by this number.
    pub(super) fn given(&mut self, to: ShardId, number: u32) -> Option<usize> {
        self.giving.iter().position(|one| (one.to, one.number) == (to, number))
    }
}

/// Who is expected, and who has come.
#[derive(Default)]
pub(super) struct Taking {
    /// By the number under which the hub knows them.
    pub(super) expected: FxHashMap<u64, Expected>,
    pub(super) arrived: Vec<Newcomer>,
}

/// A connection that is expected. There are no more than all other shards may have on their way.
pub(super) struct Expected {
    pub(super) from: ShardId,
    pub(super) number: u32,
    /// Its slot.
    pub(super) place: u32,
    /// Whether the other shard knows that it may come.
    pub(super) is_answered: bool,
    /// Whether that has been told that it may not after all.
    pub(super) is_refused: bool,
}

/// A connection that has come.
pub(super) struct Newcomer {
    pub(super) connection: ConnectionId,
    /// Under which it was expected.
    pub(super) number: u64,
    pub(super) since_ms: u64,
    /// What it does not follow yet.
    pub(super) subscriptions: Vec<Subscription>,
}

impl Taking {
    pub(super) fn is_idle(&self) -> bool {
        self.expected.is_empty() && self.arrived.is_empty()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.arrived.is_empty()
    }

    pub(super) fn awaits(&self, connection: ConnectionId) -> bool {
        self.arrived.iter().any(|one| one.connection == connection)
    }
}
