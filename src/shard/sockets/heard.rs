//! What arrives for sessions: packets, deadlines, the end of connections; and the end of a session.

use super::{
    Engines, Shard,
    ending::{Gone, Parting},
    requests::{lone_packet, payload, refusal, with_fields},
    sending::ToEnd,
};
use crate::{
    app::Message,
    limits::UNSENT_BYTES_MAX,
    mesh::ShardMessage,
    model::{CloseReason, Work},
    session::{NONE, Probe, Session},
    shard::{connection::Flags, lines::Lines, outbox::Class},
    wire::{
        engineio::{self, HandshakeError, Packet},
        http1::{Body, Response},
    },
};

impl Engines {
    /// The poll that waits, and its answer of what is queued.
    pub(super) fn take_answer(&mut self, lines: &Lines, session: u32) -> Option<(u32, Response)> {
        let record = self.sessions.get_mut(session)?;
        let parked = record.engine.take_parked()?;
        let bytes = record.engine.queue.len();
        self.note_answer(lines, session, parked, bytes);
        let response = self.answer_of_queue(session);
        self.returning.note_room(session);
        Some((parked, response))
    }

    /// Takes what is queued, as the answer to a parked poll. Its request is gone, so the session knows the fields of CORS.
    pub(super) fn answer_of_queue(&mut self, session: u32) -> Response {
        let Some(record) = self.sessions.get_mut(session) else { return payload(Body::Static(b"")) };
        let body = record.engine.queue.take();
        with_fields(payload(body), record.fields())
    }

    /// Notes by what connection a poll is answered, if its client may be pinged again before it has read the answer.
    pub(super) fn note_answer(&mut self, lines: &Lines, session: u32, index: u32, bytes: usize) {
        let connection = (bytes > UNSENT_BYTES_MAX as usize).then(|| lines.slab.id(index));
        let Some(record) = self.sessions.get_mut(session) else { return };
        if connection.is_some() {
            record.extra().long_answer = connection;
        } else if record.extra.as_ref().is_some_and(|extra| extra.long_answer.is_some()) {
            record.extra().long_answer = None;
            record.give_back_extra();
        }
    }

    /// Whether a client that has not answered a ping moves all the same: its bytes arrive, or it takes those that stand
    /// before the ping. Whether it takes any is watched where they are sent.
    pub(super) fn shows_life(&mut self, lines: &mut Lines, session: u32) -> bool {
        let Some(record) = self.sessions.get_mut(session) else { return false };
        let (was_heard, connection) = (record.engine.take_heard(), record.engine.websocket());
        if connection == NONE {
            let answered = record.extra.as_ref().and_then(|extra| extra.long_answer);
            return was_heard
                || answered.is_some_and(|id| lines.slab.get(id).is_some() && lines.waiting(id.index) > 0);
        }
        let is_behind = lines.waiting(connection) > 0 || lines.slab.look(connection).flags.has(Flags::KEPT);
        match &mut lines.slab.at(connection).session {
            Session::WebSocket(websocket) => websocket.take_heard() || is_behind,
            _ => is_behind,
        }
    }

    /// What was queued for polls goes out on the WebSocket, and so does everything from now on.
    pub(super) fn move_to_websocket(
        &mut self,
        lines: &mut Lines,
        session: u32,
        index: u32,
    ) -> Result<(), ToEnd> {
        let Some(record) = self.sessions.get_mut(session) else { return Ok(()) };
        let queue = record.engine.queue.take_bytes();
        record.count_no_more();
        let (mut next, is_base64) = (record.socket, record.engine.is_base64());
        let text = std::str::from_utf8(&queue).expect("payloads are written as text");
        // A raw application may say what divides packets, which no payload can carry.
        let mut reframed = Ok(());
        if !text.is_empty() {
            lines.say(index, Class::Answer, |out| reframed = engineio::reframe_payload(out, text, is_base64));
        }
        if reframed.is_err() {
            return Err(ToEnd { session, reason: CloseReason::TransportError });
        }
        self.returning.note_room(session);
        while let Some(socket) = self.sockets.get_mut(next) {
            socket.connection = index;
            let after = socket.next;
            self.io.carried(self.id_of(next), true);
            next = after;
        }
        Ok(())
    }
}

impl Shard {
    /// A WebSocket of a session has a message.
    pub(in crate::shard) fn hear_engine(&mut self, index: u32, session: u32, message: Message<'_>) {
        let Some(record) = self.engines.sessions.get(session) else { return };
        if record.engine.probe() == Some(index) {
            return self.hear_probe(index, session, message);
        }
        let mut scratch = Vec::new();
        let packet = match message {
            Message::Text(text) => engineio::decode_text(text, &mut scratch),
            Message::Binary(bytes) => Ok(engineio::decode_binary(bytes)),
        };
        let heard = packet.map_err(|error| error.close_reason());
        match heard.and_then(|packet| self.hear_packet(session, packet)) {
            Ok(()) => self.move_with_websocket(index),
            Err(reason) => self.end_engine(session, reason),
        }
    }

    pub(super) fn hear_packet(&mut self, session: u32, packet: Packet<'_>) -> Result<(), CloseReason> {
        match packet {
            Packet::Text(text) => self.hear_message(session, Message::Text(text)),
            Packet::Binary(bytes) => self.hear_message(session, Message::Binary(bytes)),
            Packet::Pong(_) => {
                if let Some(record) = self.engines.sessions.get_mut(session)
                    && let Some(mark) = record.engine.handle_pong()
                {
                    self.engines.note_heard(session, mark);
                    let interval = u64::from(self.engines.io.settings().ping_interval_ms);
                    self.engines.wheel.set(session, self.now.monotonic_ms + interval);
                }
                Ok(())
            }
            Packet::Close => {
                self.end_engine(session, CloseReason::ClientGone);
                Ok(())
            }
            // The server pings, not the client.
            Packet::Ping(_) => Err(CloseReason::TransportError),
            Packet::Open(_) | Packet::Upgrade | Packet::Noop => Ok(()),
        }
    }

    fn hear_message(&mut self, session: u32, message: Message<'_>) -> Result<(), CloseReason> {
        self.report.messages_total += 1;
        self.work.count(Work::Messages, 1);
        if self.engines.io.is_raw() {
            self.engines.io.message(self.engines.engine_id(session), message);
            self.run_orders();
            self.engines.pause_if_behind(&mut self.lines, session);
            return Ok(());
        }
        self.hear_socketio(session, message)
    }

    fn hear_probe(&mut self, index: u32, session: u32, message: Message<'_>) {
        let mut scratch = Vec::new();
        let packet = match message {
            Message::Text(text) => engineio::decode_text(text, &mut scratch).ok(),
            Message::Binary(_) => None,
        };
        // A client goes over when its posts have been answered.
        let has_posts = self.engines.posts.has(self.engines.engine_id(session));
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        let step = match packet {
            Some(Packet::Ping(text)) => record.engine.handle_probe_ping(text),
            Some(Packet::Upgrade) if !has_posts => record.engine.handle_probe_upgrade(),
            _ => record.engine.give_up_probe(),
        };
        match step {
            Probe::Confirm { parked } => {
                let pong = Packet::Pong("probe");
                self.lines.say(index, Class::Control, |out| engineio::encode_frame(out, pong));
                self.release_poll(session, parked);
            }
            Probe::Upgraded { parked } => {
                if let (Some(parked), Some(record)) = (parked, self.engines.sessions.get(session)) {
                    let response = refusal(HandshakeError::BadRequest, None);
                    let response = with_fields(response, record.fields());
                    self.answer_parked(parked, response);
                }
                let moved = self.engines.move_to_websocket(&mut self.lines, session, index);
                self.end_unless(moved);
            }
            Probe::Broken => self.drop_engine_connection(index, CloseReason::ProtocolError),
        }
    }

    /// A session has been opened by a WebSocket: its first packet.
    pub(in crate::shard) fn open_on_websocket(&mut self, session: u32) {
        let open = self.engines.handshake_json(session, false);
        self.engines.send_engine(&mut self.lines, session, Class::Answer, Packet::Open(&open));
    }

    /// Answers the polls that might have come behind the word that a WebSocket takes over, and have not.
    pub(in crate::shard) fn answer_soon(&mut self) {
        while let Some((id, turn)) = self.engines.soon.front().copied()
            && turn <= self.report.turns_total
        {
            self.engines.soon.pop_front();
            let Some(session) = self.engines.find(id) else { continue };
            let parked = self.engines.sessions.get_mut(session).and_then(|one| one.engine.take_soon());
            self.release_poll(session, parked);
        }
    }

    /// Answers a parked poll with a noop.
    pub(super) fn release_poll(&mut self, session: u32, parked: Option<u32>) {
        let (Some(parked), Some(record)) = (parked, self.engines.sessions.get(session)) else { return };
        let response = with_fields(lone_packet(Packet::Noop), record.fields());
        self.answer_parked(parked, response);
    }

    /// Answers a parked poll. The requests behind it are read at once, and may do anything to any session.
    pub(super) fn answer_parked(&mut self, parked: u32, response: Response) {
        self.lines.slab.at(parked).flags.clear(Flags::ENGINE);
        let connection = self.lines.slab.id(parked);
        self.respond(connection, response);
    }

    /// A connection of a session has ended.
    pub(in crate::shard) fn lose_engine_connection(&mut self, index: u32, session: u32, reason: CloseReason) {
        // It belongs to no session of this node.
        if session == NONE && matches!(self.lines.slab.look(index).session, Session::Http(_)) {
            return self.give_up_passed_on(index);
        }
        if let Some(reason) = self.engines.lose_connection(index, session, reason) {
            self.end_engine(session, reason);
        }
    }

    /// Deadlines of sessions.
    pub(in crate::shard) fn pass_engine_time(&mut self) {
        if !self.engines.is_served {
            return;
        }
        let now = self.now.monotonic_ms;
        let mut due = std::mem::take(&mut self.engines.due);
        self.engines.wheel.expire(now, &mut due);
        self.work.count(Work::Deadlines, due.len());
        for session in due.drain(..) {
            self.handle_engine_deadline(session);
        }
        self.engines.due = due;
        while let Some(id) = self.engines.unadmitted.pop_due(now) {
            if self.engines.sessions.is_unadmitted(id) {
                self.end_engine(id.index, CloseReason::ConnectTimeout);
            }
        }
        while let Some((id, connection)) = self.engines.probing.pop_due(now) {
            if self.engines.sessions.is_tried(id, connection) {
                self.give_up_probe(id.index, connection);
            }
        }
        while let Some((id, absence)) = self.engines.away.pop_due(now) {
            if self.engines.sockets.is_away(id, absence) {
                self.forget_away(id);
            }
        }
    }

    /// The WebSocket that a session tries has had enough time.
    fn give_up_probe(&mut self, session: u32, connection: u32) {
        if let Some(record) = self.engines.sessions.get_mut(session) {
            record.engine.give_up_probe();
        }
        self.drop_engine_connection(connection, CloseReason::RequestTimeout);
    }

    fn handle_engine_deadline(&mut self, session: u32) {
        match self.engines.handle_deadline(&mut self.lines, session) {
            None => {}
            Some(CloseReason::Normal) => self.forget_session(session),
            Some(reason) => self.end_engine(session, reason),
        }
    }

    /// Ends a session: its sockets leave, its connections are told and closed. A client that polls and has no poll
    /// under way is told by its next one.
    pub(in crate::shard) fn end_engine(&mut self, session: u32, reason: CloseReason) {
        if self.engines.is_ending(session) {
            return;
        }
        self.end_sockets_of(session, reason);
        if self.engines.io.is_raw() {
            self.engines.io.closed(self.engines.engine_id(session), reason);
        }
        let Parting { closes, gone, answer } = self.engines.end(session, reason, self.drain.is_some());
        for (connection, reason) in closes {
            self.drop_engine_connection(connection, reason);
        }
        if let Some(gone) = gone {
            self.tell_gone(gone);
        }
        if let Some((parked, response)) = answer {
            self.answer_parked(parked, response);
        }
        self.run_orders();
    }

    pub(super) fn answer_poll_of(&mut self, session: u32) {
        if let Some((parked, response)) = self.engines.take_answer(&self.lines, session) {
            self.answer_parked(parked, response);
        }
    }

    /// Closes a connection that is no longer part of a session.
    pub(super) fn drop_engine_connection(&mut self, index: u32, reason: CloseReason) {
        // A client that said it goes is answered as one that closes (RFC 6455 §7.4.1 keeps 1006 off the wire).
        let reason = if reason == CloseReason::ClientGone { CloseReason::Normal } else { reason };
        self.lines.slab.at(index).flags.clear(Flags::ENGINE);
        self.close(index, reason);
    }

    /// Keeps a session no longer.
    pub(super) fn forget_session(&mut self, session: u32) {
        let gone = self.engines.forget(session);
        self.tell_gone(gone);
    }

    /// Tells the shard that opened a session that it has ended, and waits for no packet of it any more.
    fn tell_gone(&mut self, Gone { session, home, is_partial }: Gone) {
        if let Some(home) = home {
            self.send_mesh(home.shard(), ShardMessage::EngineEnded(home));
        }
        if is_partial {
            self.note_partial_packet(session, 0);
        }
    }
}
