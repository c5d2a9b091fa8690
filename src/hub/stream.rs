//! An owned channel's stream: its epoch and last offset, its history, and the shards it is delivered to.
//!
//! Offsets are consecutive from 1 for as long as the stream lives; a stream that is forgotten takes its epoch with
//! it.

use super::history::{Continuation, History};
use crate::{
    mesh::HistoryPage,
    model::{Position, ShardId, ShardSet, SharedPublication},
};

/// What only a channel's owner knows.
#[derive(Debug)]
pub(super) struct Stream {
    /// Where the stream is now.
    pub(super) position: Position,
    /// What is kept of it.
    pub(super) history: History,
    /// The other shards that have subscribers; `None` instead of the empty set.
    shards: Option<Box<ShardSet>>,
    /// When it was last published to, joined or left.
    pub(super) used_ms: u64,
    /// Whether the queue of unused channels holds this one.
    pub(super) is_in_unused: bool,
}

/// What a subscriber that joins is told.
#[derive(Debug)]
pub(super) struct Welcome {
    pub(super) position: Position,
    pub(super) missed: Vec<SharedPublication>,
    pub(super) recovered: bool,
}

impl Stream {
    /// A new stream.
    pub(super) fn new(epoch: u64, now_ms: u64) -> Self {
        Self {
            position: Position { epoch, offset: 0 },
            history: History::default(),
            shards: None,
            used_ms: now_ms,
            is_in_unused: false,
        }
    }

    /// Delivers to this shard, too, from now on.
    pub(super) fn add_shard(&mut self, shard: ShardId) {
        self.shards.get_or_insert_default().insert(shard);
    }

    /// Delivers to this shard no longer.
    pub(super) fn remove_shard(&mut self, shard: ShardId) {
        if let Some(shards) = &mut self.shards {
            shards.remove(shard);
            self.shards.take_if(|shards| shards.is_empty());
        }
    }

    /// The other shards it is delivered to.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.shards.iter().flat_map(|shards| shards.iter())
    }

    /// Whether no other shard subscribes and nothing is kept.
    pub(super) fn is_unused(&self) -> bool {
        self.shards.is_none() && self.history.is_empty()
    }

    /// What a subscriber that has seen everything up to `since` gets; one without a position has missed nothing.
    pub(super) fn welcome(&self, since: Option<Position>) -> Welcome {
        let position = self.position;
        let Some(since) = since else { return Welcome { position, missed: Vec::new(), recovered: true } };
        let continuation = self.history.continue_from(since, position);
        let missed = self.history.after(continuation).cloned().collect();
        Welcome { position, missed, recovered: continuation.recovered }
    }

    /// The first `limit` publications after `since`, or of all that is kept.
    pub(super) fn page(&self, since: Option<Position>, limit: u32) -> HistoryPage {
        let continuation =
            since.map_or(Continuation::START, |since| self.history.continue_from(since, self.position));
        let publications = self.history.after(continuation).take(limit as usize).cloned().collect();
        HistoryPage { position: Some(self.position), publications, recovered: continuation.recovered }
    }
}
