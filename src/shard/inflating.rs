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

use super::{connection::Flags, messages::Held, partial::Holder, turn::Shard};
use crate::{
    model::{CloseReason, ConnectionId},
    session::Session,
};

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
        let awaits_room = self.lines.slab.look(index).flags.has(Flags::PAUSED_FULL);
        self.messages.hold(self.lines.slab.id(index), held, awaits_room);
    }

    /// Goes on with those whose messages wait, one after the other.
    pub(super) fn continue_messages(&mut self) {
        for _ in 0..self.messages.waiting() {
            if self.messages.is_spent() || self.intake.is_spent() {
                return;
            }
            let Some((id, held)) = self.messages.next_held() else { return };
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
        let Some(held) = self.messages.take(self.lines.slab.id(index)) else { return Vec::new() };
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
