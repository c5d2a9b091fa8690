//! What the messages of WebSockets are read with, and what their clients have sent that has to wait to be heard. How that goes
//! on is [`super::inflating`]'s.
//!
//! Invariant: a connection stands among the held or the full at most once.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::{
    limits::{INFLATED_BYTES_PER_LINE, INFLATED_BYTES_PER_TURN, Limits},
    model::ConnectionId,
    session::Unfinished,
    wire::websocket::{Inflater, Role, Settings},
};

/// What the messages of a shard's clients are read with.
pub(super) struct Messages {
    pub(super) settings: Settings,
    /// For conformance suites.
    pub(super) diagnostic: Settings,
    pub(super) inflater: Inflater,
    /// Bytes spent in this turn, and by whom.
    spent: usize,
    shares: FxHashMap<u32, usize>,
    held: VecDeque<(ConnectionId, Held)>,
    /// What those have sent whose clients have to read first.
    full: FxHashMap<u32, Held>,
}

/// What a client has sent and nobody has heard.
pub(super) struct Held {
    /// A message whose inflating has begun.
    pub(super) unfinished: Option<Box<Unfinished>>,
    /// What came behind it, from `at` on.
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
}

/// What has to wait of some bytes.
pub(super) struct Unread {
    /// A message whose inflating has begun.
    pub(super) unfinished: Option<Box<Unfinished>>,
    /// The bytes from here on.
    pub(super) at: usize,
}

impl Messages {
    pub(super) fn new(limits: &Limits, diagnostic_bytes_max: u64) -> Self {
        Self {
            settings: frames_of(limits.message_bytes_max.into(), limits.message_fragments_max),
            diagnostic: frames_of(diagnostic_bytes_max, 0),
            inflater: Inflater::default(),
            spent: 0,
            shares: FxHashMap::default(),
            held: VecDeque::new(),
            full: FxHashMap::default(),
        }
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.spent = 0;
        self.shares.clear();
    }

    /// Bytes spent in this turn.
    pub(super) fn spent(&self) -> usize {
        self.spent
    }

    /// How many wait for the next turn.
    pub(super) fn waiting(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is kept of anybody.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.full.is_empty()
    }

    /// How much may still be spent for a connection in this turn.
    pub(super) fn may_spend(&self, index: u32) -> usize {
        let share = self.shares.get(&index).copied().unwrap_or(0);
        let of_turn = INFLATED_BYTES_PER_TURN.saturating_sub(self.spent);
        INFLATED_BYTES_PER_LINE.saturating_sub(share).min(of_turn)
    }

    /// So much has been spent for a connection.
    pub(super) fn note_spent(&mut self, index: u32, bytes: usize) {
        if bytes > 0 {
            self.spent += bytes;
            *self.shares.entry(index).or_default() += bytes;
        }
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, index: u32) {
        if !self.full.is_empty() {
            self.full.remove(&index);
        }
    }

    /// Whether as much has been spent in this turn as may be.
    pub(super) fn is_spent(&self) -> bool {
        self.spent >= INFLATED_BYTES_PER_TURN
    }

    /// What a connection has sent waits for the next turn, or until its client has read.
    pub(super) fn hold(&mut self, connection: ConnectionId, held: Held, awaits_room: bool) {
        match awaits_room {
            true => drop(self.full.insert(connection.index, held)),
            false => self.held.push_back((connection, held)),
        }
    }

    /// Whoever has waited longest for the next turn.
    pub(super) fn next_held(&mut self) -> Option<(ConnectionId, Held)> {
        self.held.pop_front()
    }

    /// What a connection has sent that waits, for whatever.
    pub(super) fn take(&mut self, connection: ConnectionId) -> Option<Held> {
        self.note_room(connection);
        let place = self.held.iter().position(|(held, _)| *held == connection)?;
        self.held.remove(place).map(|(_, held)| held)
    }

    /// The queue of a connection has room again.
    pub(super) fn note_room(&mut self, id: ConnectionId) {
        if !self.full.is_empty()
            && let Some(held) = self.full.remove(&id.index)
        {
            self.held.push_back((id, held));
        }
    }
}

impl Held {
    /// Memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.unfinished.as_ref().map_or(0, |one| one.held_bytes())
    }
}

/// What frames may be. Who may send them compressed is told by each connection's record.
pub(super) fn frames_of(message_bytes_max: u64, fragments_max: u32) -> Settings {
    Settings { role: Role::Server, message_bytes_max, fragments_max, compression: false }
}
