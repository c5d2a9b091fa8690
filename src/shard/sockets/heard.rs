//! What arrives for sessions: packets, deadlines, the end of connections; and the end of a session.

use super::{
    Shard,
    requests::{lone_packet, payload, refusal, with_fields},
};
use crate::{
    app::Message,
    limits::UNSENT_BYTES_MAX,
    model::{CloseReason, Work},
    session::{Due, Lost, NONE, Outlet, Probe, Session},
    shard::{connection::Flags, outbox::Class},
    wire::{
        engineio::{self, HandshakeError, Packet},
        http1::{Body, Response},
    },
};

/// How long a session that has ended keeps its last words for the next poll.
const LAST_WORDS_MS: u64 = 5_000;

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
            self.pause_if_behind(session);
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
                self.move_to_websocket(session, index);
            }
            Probe::Broken => self.drop_engine_connection(index, CloseReason::ProtocolError),
        }
    }

    /// A session has been opened by a WebSocket: its first packet.
    pub(in crate::shard) fn open_on_websocket(&mut self, session: u32) {
        let open = self.handshake_json(session, false);
        self.send_engine(session, Class::Answer, Packet::Open(&open));
    }

    /// What was queued for polls goes out on the WebSocket, and so does everything from now on.
    fn move_to_websocket(&mut self, session: u32, index: u32) {
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        let queue = record.engine.queue.take_bytes();
        record.count_no_more();
        let (mut next, is_base64) = (record.socket, record.engine.is_base64());
        let text = std::str::from_utf8(&queue).expect("payloads are written as text");
        // A raw application may say what divides packets, which no payload can carry.
        let mut reframed = Ok(());
        if !text.is_empty() {
            self.lines
                .say(index, Class::Answer, |out| reframed = engineio::reframe_payload(out, text, is_base64));
        }
        if reframed.is_err() {
            return self.end_engine(session, CloseReason::TransportError);
        }
        self.engines.returning.note_room(session);
        while let Some(socket) = self.engines.sockets.get_mut(next) {
            socket.connection = index;
            let after = socket.next;
            self.engines.io.carried(self.engines.id_of(next), true);
            next = after;
        }
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
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        if record.engine.handle_lost(index) == Lost::Session {
            let reason = match (reason, record.engine.is_polling()) {
                // So the reference server calls it, and keeps no last words: nobody waits for them.
                (CloseReason::Normal | CloseReason::ClientGone, true) => CloseReason::TransportError,
                (CloseReason::Normal, false) => CloseReason::ClientGone,
                // What frames cannot be is a matter of the WebSocket, whose client is told so; the application hears of the
                // transport.
                (
                    CloseReason::ProtocolError
                    | CloseReason::InvalidUtf8
                    | CloseReason::InvalidData
                    | CloseReason::MessageTooBig,
                    false,
                ) => CloseReason::TransportError,
                (other, _) => other,
            };
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

    /// Whether a client that has not answered a ping moves all the same: its bytes arrive, or it takes those that stand
    /// before the ping. Whether it takes any is watched where they are sent.
    fn shows_life(&mut self, session: u32) -> bool {
        let Some(record) = self.engines.sessions.get_mut(session) else { return false };
        let (was_heard, connection) = (record.engine.take_heard(), record.engine.websocket());
        if connection == NONE {
            let answered = record.extra.as_ref().and_then(|extra| extra.long_answer);
            return was_heard
                || answered
                    .is_some_and(|id| self.lines.slab.get(id).is_some() && self.lines.waiting(id.index) > 0);
        }
        let is_behind =
            self.lines.waiting(connection) > 0 || self.lines.slab.look(connection).flags.has(Flags::KEPT);
        match &mut self.lines.slab.at(connection).session {
            Session::WebSocket(websocket) => websocket.take_heard() || is_behind,
            _ => is_behind,
        }
    }

    fn handle_engine_deadline(&mut self, session: u32) {
        let is_awaited = self.engines.sessions.get(session).is_some_and(|record| record.engine.awaits_pong());
        if self.shows_life(session) && is_awaited {
            let timeout = u64::from(self.engines.io.settings().ping_timeout_ms);
            return self.engines.wheel.set(session, self.now.monotonic_ms + timeout);
        }
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        let mark = self.engines.log.mark();
        match record.engine.handle_deadline(self.engines.io.settings().ping_timeout_ms, mark) {
            Due::Again(ms) => {
                self.engines.wheel.set(session, self.now.monotonic_ms + u64::from(ms));
                self.send_engine(session, Class::Control, Packet::Ping(""));
            }
            Due::End(CloseReason::Normal) => self.forget_session(session),
            Due::End(reason) => self.end_engine(session, reason),
        }
    }

    pub(super) fn is_ending(&self, session: u32) -> bool {
        self.engines.sessions.get(session).is_none_or(|session| session.engine.is_ending())
    }

    /// Ends a session: its sockets leave, its connections are told and closed. A client that polls and has no poll
    /// under way is told by its next one.
    pub(in crate::shard) fn end_engine(&mut self, session: u32, reason: CloseReason) {
        if self.is_ending(session) {
            return;
        }
        self.end_sockets_of(session, reason);
        if self.engines.io.is_raw() {
            self.engines.io.closed(self.engines.engine_id(session), reason);
        }
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        record.engine.end_with_queue();
        record.count_no_more();
        record.count_users_no_more();
        let (outlet, probe) = (record.engine.outlet(), record.engine.probe());
        record.engine.take_parked();
        if let Some(probe) = probe {
            self.drop_engine_connection(probe, CloseReason::Normal);
        }
        match outlet {
            Outlet::WebSocket(connection) => {
                if connection != NONE {
                    self.drop_engine_connection(connection, reason);
                }
                self.forget_session(session);
            }
            Outlet::Parked(parked) => {
                self.say_close(session, reason);
                let response = self.last_answer(session);
                self.answer_parked(parked, response);
            }
            // The client has gone, or breaks the protocol: its next request finds no session.
            Outlet::Queue if !may_linger(reason) => self.forget_session(session),
            Outlet::Queue => {
                self.say_close(session, reason);
                self.await_last_poll(session);
            }
        }
        self.run_orders();
    }

    /// A poll that waits while its own client closes is released by a noop, any other learns of the close: behind what is
    /// queued, by an answer of its own.
    fn say_close(&mut self, session: u32, reason: CloseReason) {
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        match reason {
            CloseReason::ClientGone => record.engine.queue.add(Packet::Noop, &self.engines.queued_bytes),
            _ => record.engine.owe_close(),
        }
    }

    /// What a poll that waits is answered when its session has ended: what is queued, or that it has. The session goes with
    /// the latter before its client hears of it, who may have sent the next request already.
    fn last_answer(&mut self, session: u32) -> Response {
        let has_queue = self.engines.sessions.get(session).is_some_and(|one| !one.engine.queue.is_empty());
        let response = match has_queue {
            true => self.answer_of_queue(session),
            false => {
                let fields = self.engines.sessions.get(session).map_or("", |one| one.fields());
                with_fields(lone_packet(Packet::Close), fields)
            }
        };
        match has_queue && self.may_poll_again(session) {
            true => self.await_last_poll(session),
            false => self.forget_session(session),
        }
        response
    }

    /// Whether a session that has ended has something to say to a poll behind the one that is answered now. A shard that is
    /// being emptied closes the connection behind the answer and takes no other: the next poll finds no session elsewhere.
    pub(super) fn may_poll_again(&self, session: u32) -> bool {
        let has_words = self.engines.sessions.get(session).is_some_and(|one| one.engine.has_words());
        has_words && self.drain.is_none()
    }

    /// Keeps a session that has ended for one more poll, [`LAST_WORDS_MS`] at most.
    pub(super) fn await_last_poll(&mut self, session: u32) {
        self.engines.wheel.set(session, self.now.monotonic_ms + LAST_WORDS_MS);
    }

    pub(super) fn answer_poll_of(&mut self, session: u32) {
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        if let Some(parked) = record.engine.take_parked() {
            let bytes = record.engine.queue.len();
            self.note_answer(session, parked, bytes);
            let response = self.answer_of_queue(session);
            self.engines.returning.note_room(session);
            self.answer_parked(parked, response);
        }
    }

    /// Takes what is queued, as the answer to a parked poll. Its request is gone, so the session knows the fields of CORS.
    fn answer_of_queue(&mut self, session: u32) -> Response {
        let Some(record) = self.engines.sessions.get_mut(session) else { return payload(Body::Static(b"")) };
        let body = record.engine.queue.take();
        with_fields(payload(body), record.fields())
    }

    /// Notes by what connection a poll is answered, if its client may be pinged again before it has read the answer.
    pub(super) fn note_answer(&mut self, session: u32, index: u32, bytes: usize) {
        let connection = (bytes > UNSENT_BYTES_MAX as usize).then(|| self.lines.slab.id(index));
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        if connection.is_some() {
            record.extra().long_answer = connection;
        } else if record.extra.as_ref().is_some_and(|extra| extra.long_answer.is_some()) {
            record.extra().long_answer = None;
            record.give_back_extra();
        }
    }

    /// Closes a connection that is no longer part of a session.
    pub(super) fn drop_engine_connection(&mut self, index: u32, reason: CloseReason) {
        // A client that said it goes is answered as one that closes (RFC 6455 §7.4.1 keeps 1006 off the wire).
        let reason = if reason == CloseReason::ClientGone { CloseReason::Normal } else { reason };
        self.lines.slab.at(index).flags.clear(Flags::ENGINE);
        self.close(index, reason);
    }

    pub(super) fn forget_session(&mut self, session: u32) {
        self.tell_home(session);
        self.engines.wheel.clear(session);
        self.engines.io.session_ended(self.engines.engine_id(session));
        let removed = self.engines.sessions.remove(session);
        if removed.and_then(|session| session.extra).is_some_and(|extra| extra.is_partial) {
            self.note_partial_packet(session, 0);
        }
    }
}

/// Whether a client that polls, and has no poll under way, is told by its next one; any other finds no session.
fn may_linger(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::ClientGone
            | CloseReason::ServerLeft
            | CloseReason::ServerClosed
            | CloseReason::GoingAway
    )
}
