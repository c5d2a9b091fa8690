//! Connections that speak HTTP and go on in another process, between two requests or in the middle of one: what has arrived of the
//! next is read there, as it came.
//!
//! ```text
//!   a request ─► answered, the connection may be used again ─► the next waits in its socket ══► read, answered
//!                             polls of Engine.IO: answered last ─────────┘
//! ```
//!
//! So a backend's answers, and a client's polls, do not meet the end of a connection. Whoever still waits for an answer is cut when
//! the shard has waited long enough for that.

use super::{connection::Flags, turn::Shard};
use crate::session::{Http, Session};

impl Shard {
    /// Whether a connection that speaks HTTP goes on elsewhere once none of its requests waits for an answer.
    pub(super) fn requests_travel(&self, index: u32) -> bool {
        let flags = self.lines.slab.look(index).flags;
        self.line_travels(index)
            && !flags.has(Flags::REDIRECTED)
            && !flags.has(Flags::UNNAMED)
            && !self.proxied.awaits_header(index)
    }

    /// Whether no request of a connection waits for an answer: what has arrived of the next may be read elsewhere.
    pub(super) fn is_between_requests(&self, index: u32, http: &Http) -> bool {
        http.awaiting.is_none() && http.bit_by_bit.is_none() && !self.is_uploading(index)
    }

    /// Whether a connection is a poll of a session that goes on elsewhere, and is answered when its shard comes to rest.
    pub(super) fn waits_for_rest(&self, index: u32) -> bool {
        let record = self.lines.slab.look(index);
        let is_poll = record.flags.has(Flags::ENGINE) && matches!(record.session, Session::Http(_));
        is_poll && self.polling_travels(record.session.tag())
    }

    /// Whether a connection is shaking hands for TLS: nobody could go on with that, so it is waited for, for a moment.
    pub(super) fn is_shaking_hands(&self, index: u32) -> bool {
        self.lines.slab.look(index).flags.has(Flags::TLS) && self.lines.secrets.is_shaking(index)
    }

    /// Whether a connection ends with the answer to its request, because the shard is being emptied.
    pub(super) fn ends_with_answer(&self, index: u32) -> bool {
        self.drain.is_some() && !self.requests_travel(index)
    }

    /// Has a connection that was to go to another shard wait for the next process, where it asks again.
    pub(super) fn stay_to_rest(&mut self, index: u32) {
        let record = self.lines.slab.at(index);
        let may_stay = record.flags.is_live() && !record.flags.has(Flags::EXPORTING);
        if may_stay
            && let Session::Leaving(leaving) = &mut record.session
            && leaving.engine.is_none()
        {
            let bytes = std::mem::take(&mut leaving.bytes);
            record.flags.clear(Flags::LEAVING);
            self.wait_with(index, Http::default(), &bytes);
        }
    }

    /// Has a connection that has come from another shard wait for the next process, with its request.
    pub(super) fn take_to_rest(&mut self, index: u32, bytes: &[u8]) {
        drop(self.lines.slab.at(index).session.lend());
        self.lines.pause(index, Flags::PAUSED_AWAITING);
        self.wait_with(index, Http::default(), bytes);
    }
}
