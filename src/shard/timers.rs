//! What happens when a connection's deadline passes, or its client is found slow.

use super::{answer::LINGER_MS, connection::Flags, outbox::Class, turn::Shard};
use crate::{
    model::CloseReason,
    ring::SendBytes,
    session::{Due, Kind, Session},
    wire::{http1::Response, sse},
};

impl Shard {
    pub(super) fn handle_deadline(&mut self, index: u32) {
        if !self.lines.slab.look(index).flags.is_live() {
            return;
        }
        if self.is_late_for_proxy_header(index) || self.is_late_for_handshake(index) {
            return;
        }
        if self.is_uploading(index) && !self.lines.slab.look(index).flags.is_paused() {
            return self.lose(index);
        }
        let is_behind = self.lines.waiting(index) > 0;
        let is_ending = matches!(self.lines.slab.look(index).session, Session::Lingering | Session::Lent(..));
        let takes_last_words = is_ending && self.lines.takes_last_words(index);
        let record = self.lines.slab.at(index);
        let is_paused = record.flags.has(Flags::PAUSED_FULL) || record.flags.has(Flags::KEPT);
        let due = match &mut record.session {
            // Whether it reads at all is watched where bytes are sent.
            Session::Http(_) if is_paused => Due::Again(self.limits.keep_alive_timeout_ms),
            // It would have left, had it read its answers.
            Session::Leaving(_) => Due::End(CloseReason::SlowConsumer),
            Session::Http(http) => http.handle_deadline(&self.limits),
            // It is not read, so that no pong of it could be heard.
            Session::WebSocket(_) if is_paused => Due::Again(self.limits.ping_interval_ms),
            Session::WebSocket(websocket) => {
                let mut ping = Vec::new();
                let due = websocket.handle_deadline(&self.limits, is_behind, &mut ping);
                if !ping.is_empty() {
                    self.lines.say(index, Class::Control, |out| out.append(&mut ping));
                }
                due
            }
            Session::EventStream => {
                // A client that does not read needs no proof that somebody writes.
                if self.lines.is_silent(index) {
                    self.lines.push(index, Class::Control, SendBytes::Static(sse::KEEP_ALIVE));
                }
                Due::Again(self.limits.event_stream_keep_alive_ms)
            }
            Session::LongPoll(_) => return self.answer_poll_empty(index),
            Session::Lingering | Session::Lent(..) if takes_last_words => Due::Again(LINGER_MS as u32),
            Session::Lingering | Session::Lent(..) => return self.lose(index),
        };
        match due {
            Due::Again(ms) => self.wheel.set(index, self.now.monotonic_ms + u64::from(ms)),
            Due::End(reason) => self.end_for_time(index, reason),
        }
    }

    fn end_for_time(&mut self, index: u32, reason: CloseReason) {
        match reason {
            CloseReason::RequestTimeout => {
                let response = Response::refused(408, reason.label(), reason.sentence());
                self.refuse(index, response, reason);
            }
            CloseReason::IdleTimeout => {
                self.end_session(index, reason);
                self.finish(index);
            }
            CloseReason::SlowConsumer => {
                self.end_session(index, reason);
                self.lose(index);
            }
            _ => self.close(index, reason),
        }
    }
}

impl Shard {
    /// Ends the sessions of those that were found slow.
    pub(super) fn end_slow(&mut self) {
        while let Some(id) = self.lines.next_slow() {
            if self.lines.slab.get(id).is_some() {
                self.end_one_slow(id.index);
            }
        }
    }

    fn end_one_slow(&mut self, index: u32) {
        let record = self.lines.slab.look(index);
        let has_words = matches!(
            record.session,
            Session::WebSocket(_) | Session::EventStream | Session::Lent(Kind::WebSocket, _)
        );
        if has_words && !record.flags.has(Flags::CLOSING) {
            return self.close(index, CloseReason::SlowConsumer);
        }
        self.end_session(index, CloseReason::SlowConsumer);
        self.lose(index);
    }
}
