//! An owned channel's stream: its epoch and last offset, its history, and the shards it is delivered to.
//!
//! Offsets are consecutive from 1 for as long as the stream lives; a stream that is forgotten takes its epoch with
//! it.

use super::{
    history::{Continuation, History, Part},
    ledgers::RuleNumber,
    occupancy::Told,
    state::State,
};
use crate::{
    limits::{HISTORY_PAGE_BYTES_MAX, PRESENCE_SHOWN_MAX},
    mesh::{HistoryPage, JoinAsked, StateWanted, Welcome},
    model::{Durability, Position, PresencePage, ShardId, ShardSet, StateKey},
};

/// What only a channel's owner knows.
#[derive(Debug)]
pub(super) struct Stream {
    /// Where the stream is now.
    pub(super) position: Position,
    /// What is kept of it.
    pub(super) history: History,
    /// Its keys and members; `None` instead of neither.
    pub(super) state: Option<Box<State>>,
    /// The other shards that have subscribers; `None` instead of the empty set.
    shards: Option<Box<ShardSet>>,
    /// When it was last published to, joined or left.
    pub(super) used_ms: u64,
    /// Whether the queue of unused channels holds this one.
    pub(super) is_in_unused: bool,
    /// How long it outlives the process.
    pub(super) durability: Durability,
    /// Which rule says how long it is kept.
    pub(super) rule: RuleNumber,
    /// What has been told of who follows it.
    pub(super) told: Told,
    /// What it is to the broker's.
    pub(super) mirror: Mirror,
}

/// What an owner's stream is to the one that a broker keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mirror {
    /// There is no broker.
    None,
    /// Nothing is known of it.
    Unknown,
    /// The broker has been asked what it keeps. Whoever is seated has been told up to the position.
    Asked,
    /// It is the same.
    Whole,
}

impl Stream {
    /// A new stream.
    pub(super) fn new(epoch: u64, now_ms: u64) -> Self {
        Self {
            position: Position { epoch, offset: 0 },
            history: History::default(),
            state: None,
            shards: None,
            used_ms: now_ms,
            is_in_unused: false,
            durability: Durability::Memory,
            rule: 0,
            told: Told::Vacant,
            mirror: Mirror::None,
        }
    }

    /// Delivers to this shard, too, from now on.
    pub(super) fn add_shard(&mut self, shard: ShardId) {
        self.shards.get_or_insert_default().insert(shard);
    }

    /// Delivers to this shard no longer; tells whether it did.
    pub(super) fn remove_shard(&mut self, shard: ShardId) -> bool {
        let Some(shards) = &mut self.shards else { return false };
        let was_there = shards.remove(shard);
        self.shards.take_if(|shards| shards.is_empty());
        was_there
    }

    /// The other shards it is delivered to.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.shards.iter().flat_map(|shards| shards.iter())
    }

    /// Whether no other shard subscribes and nothing is kept, held, or to be told.
    pub(super) fn is_unused(&self) -> bool {
        // What a broker keeps is not lost with its copy.
        let keeps_nothing = self.history.is_empty() || self.mirror != Mirror::None;
        self.told == Told::Vacant && self.shards.is_none() && keeps_nothing && self.state.is_none()
    }

    /// What a subscriber that has seen everything up to `since` gets first, at most so many bytes; one without a position
    /// has missed nothing. The state, if it is wanted, comes last.
    pub(super) fn welcome(&mut self, asked: JoinAsked) -> Welcome {
        let mut welcome = self.continuation(asked.since, asked.bytes_max);
        let is_wanted = match asked.state {
            StateWanted::No => false,
            StateWanted::IfLost => !welcome.recovered,
            StateWanted::Yes => true,
        };
        if welcome.rest > 0 || !(is_wanted || asked.presence) {
            return welcome;
        }
        welcome.is_withheld = asked.bytes_max == 0;
        if is_wanted && !welcome.is_withheld {
            welcome.state = Some(self.state.as_deref_mut().map(State::snapshot).unwrap_or_default());
        }
        if asked.presence && !welcome.is_withheld {
            welcome.presence = Some(Box::new(self.presence_page(None, PRESENCE_SHOWN_MAX)));
        }
        welcome
    }

    /// Whether something has been missed, where the broker's stream is there. Of one that was empty and is nothing has,
    /// whatever epoch it is going to begin under.
    pub(super) fn has_missed(&self, position: Position) -> bool {
        self.position != position && (self.position.offset, position.offset) != (0, 0)
    }

    /// What a subscriber gets that is to be told later what it missed.
    pub(super) fn welcome_later(&self, since: Position) -> Welcome {
        let rest = u32::try_from(self.position.offset - since.offset).unwrap_or(u32::MAX);
        Welcome { position: since, rest, ..Welcome::to(self.position) }
    }

    fn continuation(&self, since: Option<Position>, bytes_max: u64) -> Welcome {
        let now = self.position;
        let Some(since) = since else { return Welcome::to(now) };
        let continuation = self.history.continue_from(since, now);
        let Part { publications, rest, next } = self.history.part(continuation, usize::MAX, bytes_max);
        let before = |next: Position| Position { offset: next.offset - 1, ..next };
        Welcome {
            position: next.map_or(now, before),
            now,
            missed: publications,
            rest,
            recovered: continuation.recovered,
            state: None,
            presence: None,
            is_withheld: false,
        }
    }

    /// So many of those who are there, behind one of them.
    pub(super) fn presence_page(&self, after: Option<&StateKey>, limit: u32) -> PresencePage {
        let position = Some(self.position);
        match self.state.as_deref() {
            Some(state) => PresencePage { position, ..state.present.members.page(after, limit as usize) },
            None => PresencePage { position, ..PresencePage::default() },
        }
    }

    /// The first `limit` publications after `since`, or of all that is kept, and no more than a page may have.
    pub(super) fn page(&self, since: Option<Position>, limit: u32) -> HistoryPage {
        let continuation =
            since.map_or(Continuation::START, |since| self.history.continue_from(since, self.position));
        let Part { publications, rest, .. } =
            self.history.part(continuation, limit as usize, HISTORY_PAGE_BYTES_MAX);
        let (position, recovered) = (Some(self.position), continuation.recovered);
        HistoryPage { position, publications, recovered, has_more: rest > 0 }
    }
}
