//! Reading on what clients have sent that has waited: requests behind one that has been answered ([`super::kept`]), messages
//! that a turn has not heard ([`super::messages`]), and what sockets hold of clients that were not read.

use super::{connection::Flags, turn::Shard};
use crate::{
    limits::HEARD_PER_TURN,
    model::{CloseReason, ConnectionId},
    session::Session,
};

impl Shard {
    /// Goes on with what was received in other turns and has not been heard.
    pub(super) fn hear_waiting(&mut self) {
        let (kept, held) = (self.kept.len(), self.messages.waiting());
        if kept > 0 {
            self.intake.begin_waiting(kept, HEARD_PER_TURN / 4);
            // Those that come to wait meanwhile are behind them.
            for _ in 0..kept {
                if !self.read_kept() {
                    break;
                }
            }
        }
        if held > 0 {
            self.intake.begin_waiting(held, HEARD_PER_TURN / 2);
            self.continue_messages();
        }
        self.intake.end_waiting();
    }

    /// Ends one reason not to read. What was kept meanwhile comes in its turn, and only then what the socket holds, so
    /// that no more is kept than came with one receive.
    pub(super) fn read_on(&mut self, index: u32, reason: Flags) {
        if reason == Flags::PAUSED_AWAITING {
            self.forget_client(index);
            // What comes now is read elsewhere.
            if self.carrying.has_begun() && !self.lines.slab.look(index).flags.has(Flags::ADMIN) {
                return;
            }
        }
        if reason == Flags::PAUSED_FULL {
            self.tell_room(index, true);
            self.messages.note_room(self.lines.slab.id(index));
        }
        let record = self.lines.slab.at(index);
        record.flags.clear(reason);
        if let Session::Http(http) = &record.session {
            let (is_waiting, has_kept) = (http.awaiting.is_some(), http.decoder.buffered_bytes() > 0);
            let has_more = has_kept || record.flags.has(Flags::ENDED);
            // An answer that was put off may have filled the queue: what was kept waits until the client has read.
            let is_full = self.lines.pause_if_full(index);
            if is_full || !is_waiting {
                self.wheel.set(index, self.now.monotonic_ms + u64::from(self.limits.keep_alive_timeout_ms));
            }
            if has_more && !is_full && !is_waiting {
                return self.note_kept(index);
            }
        }
        self.lines.resume(index);
    }

    /// Lets a connection be read on in its turn.
    pub(super) fn note_kept(&mut self, index: u32) {
        let id = self.lines.slab.id(index);
        let flags = &mut self.lines.slab.at(index).flags;
        if !flags.has(Flags::KEPT) {
            flags.set(Flags::KEPT);
            self.kept.enter(id);
        }
    }

    /// Reads on what one connection has kept; tells whether there was one, and room for it in this turn.
    pub(super) fn read_kept(&mut self) -> bool {
        if self.intake.is_spent() {
            return false;
        }
        let Some(id) = self.kept.take() else { return false };
        self.read_kept_of(id);
        true
    }

    /// Reads on what a connection has kept.
    pub(super) fn read_kept_of(&mut self, id: ConnectionId) {
        let index = id.index;
        let Some(record) = self.lines.slab.get(id).filter(|record| record.flags.has(Flags::KEPT)) else {
            return;
        };
        record.flags.clear(Flags::KEPT);
        if !record.flags.is_live() {
            return;
        }
        match record.session.lend() {
            Session::Http(http) if http.awaiting.is_none() && !record.flags.is_paused() => {
                self.feed_http(index, http, &[]);
                self.end_if_all_is_answered(index);
            }
            other => record.session = other,
        }
        self.note_partial_input(index);
        self.lines.resume(index);
    }

    /// Ends a connection whose client sends nothing more, once none of its requests waits for an answer.
    fn end_if_all_is_answered(&mut self, index: u32) {
        let record = self.lines.slab.look(index);
        let is_waiting = record.flags.has(Flags::PAUSED_FULL)
            || record.flags.has(Flags::KEPT)
            || !matches!(&record.session, Session::Http(http) if http.awaiting.is_none());
        if record.flags.has(Flags::ENDED) && !is_waiting {
            self.end_session(index, CloseReason::Normal);
            self.finish(index);
        }
    }
}
