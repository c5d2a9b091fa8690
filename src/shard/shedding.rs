//! Input that has begun and not ended, entered as it comes, and given up when it comes too slowly or takes too much memory
//! ([`super::partial`]).

use super::{connection::Flags, partial::Holder, turn::Shard};
use crate::{model::CloseReason, session::Session, wire::http1::Response};

impl Shard {
    /// Notes what a connection keeps of something that has not wholly arrived, after it has been given bytes.
    #[inline]
    pub(super) fn note_partial_input(&mut self, index: u32) {
        let record = self.lines.slab.look(index);
        match record.session.held_bytes() {
            0 => self.end_partial_input(index),
            bytes => self.keep_partial_input(index, bytes),
        }
    }

    fn keep_partial_input(&mut self, index: u32, bytes: usize) {
        let record = self.lines.slab.at(index);
        record.flags.set(Flags::PARTIAL);
        let is_message = matches!(record.session, Session::WebSocket(_));
        let now_ms = self.now.monotonic_ms;
        // A request has deadlines of its own, by which it is answered.
        if self.partial.note(Holder::Line(index), bytes, now_ms) && is_message {
            self.partial.look_in_time(now_ms);
        }
    }

    /// What a connection kept is whole, or given up.
    #[inline]
    pub(super) fn end_partial_input(&mut self, index: u32) {
        let flags = &mut self.lines.slab.at(index).flags;
        if flags.has(Flags::PARTIAL) {
            flags.clear(Flags::PARTIAL);
            self.partial.end(Holder::Line(index));
        }
    }

    /// Notes what an Engine.IO session keeps of a packet.
    pub(super) fn note_partial_packet(&mut self, session: u32, bytes: usize) {
        let holder = Holder::Engine(session);
        if bytes == 0 {
            return self.partial.end(holder);
        }
        let now_ms = self.now.monotonic_ms;
        if self.partial.note(holder, bytes, now_ms)
            && let Some(ms) = self.packet_timeout_ms()
        {
            self.partial.end_in_time(now_ms + ms);
        }
    }

    /// How long a packet with attachments may take: it comes in several messages or requests, so its rate cannot be
    /// looked at in between. No time, where no rate is asked for.
    fn packet_timeout_ms(&self) -> Option<u64> {
        let bytes_max = u64::from(self.engines.io.settings().max_http_buffer_size);
        let most_ms = (bytes_max * 1000).checked_div(self.limits.message_bytes_per_second_min.into())?;
        Some(u64::from(self.limits.message_timeout_ms) + most_ms)
    }

    /// Ends messages and packets that arrive too slowly; tells whether there was anything to look at.
    pub(super) fn look_at_partial_input(&mut self) -> bool {
        let now_ms = self.now.monotonic_ms;
        let mut looked = false;
        while let Some(what) = self.partial.pop_due(now_ms) {
            looked = true;
            let (Holder::Line(index) | Holder::Record(index)) = what.0 else { continue };
            let record = self.lines.slab.look(index);
            let arrived = match (&record.session, what.0) {
                (_, Holder::Record(_)) => self.lines.secrets.begun_len(index),
                (Session::WebSocket(websocket), _) => websocket.arrived_bytes(),
                _ => continue,
            };
            let is_read = !record.flags.is_paused();
            let rate = self.limits.message_bytes_per_second_min;
            if self.partial.has_progressed(what.0, arrived, rate) || !is_read {
                self.partial.look_again(what, now_ms);
            } else if matches!(what.0, Holder::Record(_)) {
                self.give_up_record(index, CloseReason::MessageTimeout);
            } else {
                self.close(index, CloseReason::MessageTimeout);
            }
        }
        while let Some(holder) = self.partial.pop_late(now_ms) {
            looked = true;
            if let Holder::Engine(session) = holder {
                self.end_engine(session, CloseReason::MessageTimeout);
            }
        }
        looked
    }

    /// Gives up what has begun and not ended, until all together take no more than they may.
    pub(super) fn shed_partial_input(&mut self) {
        while let Some(holder) = self.partial.excess(self.now.monotonic_ms) {
            self.report.partial_input_dropped_total += 1;
            match holder {
                Holder::Line(index) => self.give_up_partial_input(index),
                Holder::Record(index) => self.give_up_record(index, CloseReason::Overloaded),
                Holder::Engine(session) => self.end_engine(session, CloseReason::Overloaded),
                Holder::Held(index) => self.give_up_held(index),
            }
            // Whatever became of it, it is not counted on.
            self.partial.end(holder);
        }
    }

    fn give_up_partial_input(&mut self, index: u32) {
        match &self.lines.slab.look(index).session {
            Session::Http(_) => {
                let text =
                    "this server holds as much unfinished input as it may (limits.partial_input_bytes_max)";
                let response = Response::refused(503, "input_full", text).with_field("Retry-After", "5");
                self.refuse(index, response, CloseReason::Overloaded);
            }
            Session::WebSocket(_) | Session::LongPoll(_) => self.close(index, CloseReason::Overloaded),
            Session::Leaving(_) | Session::EventStream | Session::Lingering | Session::Lent(..) => {
                self.lose(index);
            }
        }
    }
}
