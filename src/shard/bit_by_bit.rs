//! Answers that the application writes bit by bit, each part when there is room for it: what another server says, passed on.
//!
//! ```text
//!   awaiting an answer ──head──► bit by bit ──part, part, …──► end ──► the next request
//!                                    │ full: whoever writes is told when half has been read
//! ```
//!
//! Invariant: whoever has said a part is told once whether another may come.

use super::{connection::Flags, outbox::Class, turn::Shard};
use crate::{
    app::socketio::{AnswerPart, Room},
    model::{CloseReason, ConnectionId},
    session::{Exchange, Session},
    wire::http1::{self, BitByBit, Response},
};

impl Shard {
    /// Goes on with the answer to a request that was put off.
    pub(super) fn write_answer_part(&mut self, connection: ConnectionId, part: AnswerPart, room: Room) {
        let index = connection.index;
        let session = self.lines.slab.get(connection).map(|record| &record.session);
        let (exchange, how) = match session {
            Some(Session::Http(http)) => (http.awaiting, http.bit_by_bit),
            _ => (None, None),
        };
        let Some(exchange) = exchange else { return (room.0)(false) };
        match (part, how) {
            (AnswerPart::Head { response, length }, None) => {
                self.begin_bit_by_bit(index, &response, length, exchange);
                if exchange.head_only {
                    self.end_bit_by_bit(index, true);
                    return (room.0)(false);
                }
            }
            (AnswerPart::Body(bytes), Some(how)) => {
                self.lines.say(index, Class::Answer, |out| how.encode_piece(out, &bytes));
            }
            (AnswerPart::End { is_whole }, Some(_)) => {
                self.end_bit_by_bit(index, is_whole);
                return (room.0)(true);
            }
            (AnswerPart::Head { .. }, Some(_)) | (AnswerPart::Body(_) | AnswerPart::End { .. }, None) => {
                return (room.0)(false);
            }
        }
        let flags = self.lines.slab.look(index).flags;
        match flags.has(Flags::PAUSED_FULL) || flags.has(Flags::SLOW) {
            true => self.bodies.await_room(index, room),
            false => (room.0)(true),
        }
    }

    /// Tells whoever waits for room on a connection whether there is any, or nobody to read what would come.
    pub(super) fn tell_room(&mut self, index: u32, is_there: bool) {
        if let Some(room) = self.bodies.take_room(index) {
            (room.0)(is_there);
        }
    }

    fn begin_bit_by_bit(&mut self, index: u32, response: &Response, length: Option<u64>, exchange: Exchange) {
        self.count_response(response.status);
        self.log_answer(index, response);
        let is_kept = exchange.keep_alive && !response.close && !self.ends_with_answer(index);
        let (how, keep_alive) = BitByBit::of(length, is_kept, exchange.version);
        let date = self.clock.date();
        self.lines.say(index, Class::Answer, |out| {
            http1::encode_head_bit_by_bit(out, response, length, date, is_kept, exchange.version);
        });
        let record = self.lines.slab.at(index);
        if let Session::Http(http) = &mut record.session {
            http.awaiting = Some(Exchange { keep_alive, ..exchange });
            http.bit_by_bit = Some(how);
        }
        // One who has gone is seen by what cannot be sent, but of a stream there may be nothing to send for long.
        if response.content_type.starts_with("text/event-stream") && !exchange.head_only {
            record.flags.set(Flags::STREAMED);
            if record.flags.has(Flags::ENDING) {
                self.lose(index);
            }
        }
    }

    /// Ends such an answer; the client is to see whether it is whole.
    pub(super) fn end_bit_by_bit(&mut self, index: u32, is_whole: bool) {
        let record = self.lines.slab.at(index);
        let Session::Http(http) = &mut record.session else { return };
        let (Some(exchange), Some(how)) = (http.awaiting.take(), http.bit_by_bit.take()) else { return };
        http.tag = 0;
        record.flags.clear(Flags::KNOWN);
        record.flags.clear(Flags::STREAMED);
        if is_whole && !exchange.head_only {
            self.lines.say(index, Class::Answer, |out| how.encode_end(out));
        }
        match is_whole && exchange.keep_alive && !self.ends_with_answer(index) {
            true => self.read_on(index, Flags::PAUSED_AWAITING),
            false => {
                self.end_session(index, CloseReason::Normal);
                self.finish(index);
            }
        }
    }
}
