//! What WebSockets have sent and nobody has heard: what there is more of than a turn hears ([`super::intake`]), and what comes
//! compressed, which has a cost of its own.
//!
//! A message that comes compressed can be a thousand times as long as what has arrived, and costs as much as if it had arrived
//! so; or it comes to nothing and costs as much all the same. What is spent is counted by the inflater. A turn spends no more
//! than [`INFLATED_BYTES_PER_TURN`], and no more than [`INFLATED_BYTES_PER_LINE`] for one connection. What is left waits for the
//! next turns, a message that has begun among it:
//!
//! ```text
//!   received ─► messages ─┬─(it, or the turn, has had enough)───────► held, KEPT ─► the next turn, the longest wait first
//!                         └─(its answers fill its queue)──► full, KEPT ─┘ (there is room)
//! ```
//!
//! What waits is counted with what has begun and not ended ([`super::partial`]): when all together takes too much memory, who
//! holds the most for the longest goes.
//!
//! Invariant: a connection stands among the held or the full at most once, and is not read while it does, so that nothing
//! overtakes. Nor does its end: that is seen when all before it has been heard.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{connection::Flags, partial::Holder, turn::Shard, websockets::frames_of};
use crate::{
    limits::{INFLATED_BYTES_PER_LINE, INFLATED_BYTES_PER_TURN, Limits},
    model::{CloseReason, ConnectionId},
    session::{Session, Unfinished},
    wire::websocket::{Inflater, Settings},
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
    fn forget(&mut self, index: u32) {
        if !self.full.is_empty() {
            self.full.remove(&index);
        }
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
    fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.unfinished.as_ref().map_or(0, |one| one.held_bytes())
    }
}

impl Shard {
    /// Whether the next message has to wait for another turn, or until its client has read what it was answered.
    pub(super) fn must_wait_to_inflate(&mut self, index: u32) -> bool {
        self.messages.may_spend(index) == 0 || self.lines.pause_if_full(index)
    }

    /// Keeps what a client has sent until it can be heard. It is not read meanwhile.
    pub(super) fn hold_back(&mut self, index: u32, held: Held) {
        debug_assert!(!self.lines.slab.look(index).flags.has(Flags::KEPT), "it was not read");
        self.lines.pause(index, Flags::KEPT);
        self.partial.note(Holder::Held(index), held.held_bytes(), self.now.monotonic_ms);
        match self.lines.slab.look(index).flags.has(Flags::PAUSED_FULL) {
            true => drop(self.messages.full.insert(index, held)),
            false => self.messages.held.push_back((self.lines.slab.id(index), held)),
        }
    }

    /// Goes on with those whose messages wait, one after the other.
    pub(super) fn continue_messages(&mut self) {
        for _ in 0..self.messages.held.len() {
            if self.messages.spent >= INFLATED_BYTES_PER_TURN || self.intake.is_spent() {
                return;
            }
            let Some((id, held)) = self.messages.held.pop_front() else { return };
            self.continue_with(id, held);
        }
    }

    fn continue_with(&mut self, id: ConnectionId, held: Held) {
        let index = id.index;
        let Some(record) = self.lines.slab.get(id) else { return };
        self.partial.end(Holder::Held(index));
        if !record.flags.has(Flags::KEPT) {
            return;
        }
        record.flags.clear(Flags::KEPT);
        let Held { unfinished, mut bytes, at } = held;
        match record.session.lend() {
            Session::WebSocket(websocket) => {
                let unread = self.read_messages(index, websocket, unfinished, &mut bytes[at..]);
                if let Some(unread) = unread {
                    let at = at + unread.at;
                    self.hold_back(index, Held { unfinished: unread.unfinished, bytes, at });
                }
            }
            other => record.session = other,
        }
        self.note_partial_input(index);
        let flags = self.lines.slab.look(index).flags;
        if flags.has(Flags::ENDED) && flags.is_live() && !flags.has(Flags::KEPT) {
            return self.handle_end(index);
        }
        self.lines.resume(index);
    }

    /// What a connection that goes to another shard has sent and nobody has heard, as it came.
    pub(super) fn take_held(&mut self, index: u32) -> Vec<u8> {
        let id = self.lines.slab.id(index);
        self.messages.note_room(id);
        let place = self.messages.held.iter().position(|(held, _)| *held == id);
        let Some((_, held)) = place.and_then(|place| self.messages.held.remove(place)) else {
            return Vec::new();
        };
        self.lines.slab.at(index).flags.clear(Flags::KEPT);
        self.partial.end(Holder::Held(index));
        let mut bytes = held.unfinished.map_or_else(Vec::new, |unfinished| unfinished.into_frame());
        bytes.extend_from_slice(&held.bytes[held.at..]);
        bytes
    }

    /// A connection is gone, and what it has sent.
    pub(super) fn forget_held(&mut self, index: u32) {
        self.messages.forget(index);
        self.partial.end(Holder::Held(index));
    }

    /// What waits to be inflated takes too much memory: one of those who have sent it goes.
    pub(super) fn give_up_held(&mut self, index: u32) {
        self.messages.forget(index);
        if self.lines.slab.look(index).flags.is_live() {
            self.close(index, CloseReason::Overloaded);
        }
    }
}
