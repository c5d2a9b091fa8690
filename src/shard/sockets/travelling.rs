//! Sessions of Engine.IO that go on in another process, with their WebSockets or between two polls: what a shard leaves of one, and
//! how that of the same number in the next process goes on with it.
//!
//! ```text
//!   old: at rest, told up to 41 ─► sockets, rooms, ping │ new: same ids ─► the application ─► in their rooms ─► go ─► 42, 43
//! ```
//!
//! Whoever polls is answered when its shard comes to rest: its next poll waits in its connection, which goes on as well, or where
//! connections wait to be accepted.
//!
//! A socket is told what was published to its rooms behind its shard's back, in that shard's last moment, before anything else.
//!
//! Not here: clients whose connection has gone, and that come back ([`super::succession`]).
//!
//! Invariant: a session goes on with all its sockets or not at all.

use rustc_hash::FxHashMap;

use super::{Engines, Extra, Session, Shard, Shown, Socket, State};
use crate::{
    app::{
        Resumed,
        socketio::{Handshake, SavedSocket},
    },
    hub::Hub,
    limits::CARRIED_BEAT_MS_MIN,
    mesh::{LeftApplication, LeftRequest, LeftSeat, LeftSession, LeftSocket},
    model::{self, ChannelName, SocketId},
    session::{Engine, NONE, Outlet, Session as Speaks},
    shard::{asks::Asks, connection::Flags, gate::Gate, lines::Lines},
    wire::websocket::{Opcode, encode_frame_masked},
};

/// Sessions that have come from another process.
#[derive(Default)]
pub(in crate::shard) struct Arrivals {
    /// With the slots of the WebSockets that carry them.
    pub(in crate::shard) on_websockets: Vec<(u32, Box<LeftSession>)>,
    /// Of clients that poll.
    pub(in crate::shard) polling: Vec<LeftSession>,
    /// Those whose WebSockets do not go on here.
    pub(in crate::shard) astray: Vec<LeftSession>,
}

impl Arrivals {
    /// One has come whose WebSocket is in this slot, and whether that can go on.
    pub(in crate::shard) fn add(&mut self, index: u32, session: Box<LeftSession>, may_go_on: bool) {
        match may_go_on {
            true => self.on_websockets.push((index, session)),
            false => self.astray.push(*session),
        }
    }
}

/// What has become of them.
#[derive(Default)]
pub(in crate::shard) struct Seated {
    /// The places of those that go on.
    pub(in crate::shard) sessions: Vec<u32>,
    /// The slots of WebSockets whose sessions do not.
    pub(in crate::shard) refused: Vec<u32>,
}

/// Sockets and sessions of another process, on their way to where they were.
#[derive(Default)]
pub(super) struct Seating {
    /// By their places, with their generations.
    pub(super) sockets: Vec<(u32, u32, Socket)>,
    pub(super) sessions: Vec<(u32, u32, Session)>,
    pub(super) rooms: Vec<InRooms>,
}

/// The rooms of a socket.
pub(super) struct InRooms {
    pub(super) id: SocketId,
    /// Which absence of its client this is; `None` of one that stays.
    pub(super) absence: Option<u16>,
    pub(super) namespace: Box<str>,
    pub(super) channels: Vec<ChannelName>,
}

impl Engines {
    /// Whether all that a client has posted has been heard.
    fn is_between_polls(&self, session: u32) -> bool {
        let Some(record) = self.sessions.get(session) else { return false };
        let is_assembling = record.extra.as_deref().is_some_and(|extra| !extra.assembly.is_idle());
        let has_posts = self.posts.has(self.engine_id(session));
        record.engine.outlet() == Outlet::Queue && !is_assembling && !has_posts
    }

    /// What has arrived of a packet whose attachments have not all arrived, as a client's frames.
    pub(in crate::shard) fn packet_begun(&self, session: u32) -> Vec<u8> {
        let (mut frames, record) = (Vec::new(), self.sessions.get(session));
        let begun = record.and_then(|record| record.extra.as_ref()?.assembly.begun());
        if let Some((text, attachments)) = begun {
            let mut write =
                |opcode, payload: &[u8]| encode_frame_masked(&mut frames, opcode, true, payload, [0; 4]);
            write(Opcode::Text, format!("4{text}").as_bytes());
            attachments.iter().for_each(|one| write(Opcode::Binary, one));
        }
        frames
    }

    /// A session that another process has left, on the WebSocket in this slot if it does not poll.
    fn resumed_session(&self, left: &LeftSession, websocket: Option<u32>) -> Session {
        let mut session = Session::new(Engine::resumed(left.secret, websocket, left.asked_at));
        session.socket = left.sockets.first().map_or(NONE, |seat| seat.socket.id.index);
        if left.is_base64 {
            session.engine.ask_for_base64();
        }
        if left.has_entered {
            session.engine.admit();
        }
        if let Some(queue) = left.queue.as_deref().filter(|queue| !queue.is_empty()) {
            session.engine.queue.add_payload(queue, &self.queued_bytes);
        }
        let extra = session.extra();
        extra.fields = left.cors.clone();
        extra.token = left.token.clone().map(Shown::from);
        if let Some(LeftRequest { target, fields, address, passage, is_whole }) = left.opened_by.clone() {
            let kept = if is_whole { &mut extra.handshake } else { &mut extra.told };
            *kept = Some(Box::new(Handshake { target, fields, address, passage }));
        }
        session.give_back_extra();
        session
    }

    /// Sessions that have been answered more than has been sent, and by which connections.
    pub(in crate::shard) fn answers_under_way(&self, lines: &Lines) -> FxHashMap<u32, u32> {
        let sessions = (0..self.session_places()).filter_map(|session| {
            let id = self.sessions.get(session)?.extra.as_deref()?.long_answer?;
            let is_there = id.index < lines.slab.len() && lines.slab.id(id.index) == id;
            (is_there && !lines.is_silent(id.index)).then_some((session, id.index))
        });
        sessions.collect()
    }

    /// Counts a session that stands in its place among the clients of its users, and sets until when it has to enter a namespace.
    pub(super) fn note_seated(&mut self, gate: &Gate, session: u32) {
        let sockets: Vec<_> = self.sockets_of(session).map(|index| self.id_of(index)).collect();
        sockets.into_iter().for_each(|socket| self.count_client_again(gate, session, socket));
        if self.sessions.is_unadmitted(self.engine_id(session)) {
            self.await_entry(session);
        }
    }

    /// Whether a socket may go on: its client has not been shut out, and all that is published to its rooms is known here.
    fn may_go_on(&self, gate: &Gate, seat: &LeftSeat, heard: &FxHashMap<ChannelName, bool>) -> bool {
        let LeftSocket { channels, kept, .. } = &seat.socket;
        channels.iter().all(|channel| heard.get(channel) == Some(&true))
            && !kept.token.as_ref().is_some_and(|token| gate.is_shut_out(token, self.now))
    }

    /// What is left of a socket of a session that goes on.
    fn left_seat(&self, hub: &Hub, asks: &Asks, session: u32, index: u32) -> Option<LeftSeat> {
        let socket = self.sockets.get(index).filter(|socket| socket.state == State::Connected)?;
        let id = self.id_of(index);
        let is_under_way = self.joins.has(index)
            || self.held.contains_key(&index)
            || asks.held_of(id.into()) > 0
            // It would be another guest there.
            || !hub.is_nobody_as_guest(id.subscriber());
        if is_under_way {
            return None;
        }
        let (namespace, now_s) = (socket.namespace, self.now.unix_ms / 1000);
        let mut socket = self.left_as(hub, index, LeftApplication::default())?;
        let SavedSocket { kept, saved, key, may_come_back } =
            self.io.save_socket(id, namespace, &socket.channels, now_s)?;
        socket.kept = kept;
        Some(LeftSeat { socket, saved, key, may_come_back, caught_up: self.returning.caught_up(session, id) })
    }

    fn left_of(&self, hub: &Hub, gate: &Gate, asks: &Asks, session: u32) -> Option<LeftSession> {
        let (id, record) = (self.engine_id(session), self.sessions.get(session)?);
        if self.io.is_waiting(id) || gate.consults.entries.has(id) {
            return None;
        }
        let sockets = self
            .sockets_of(session)
            .map(|index| self.left_seat(hub, asks, session, index))
            .collect::<Option<Vec<_>>>()?;
        sockets.iter().for_each(|seat| self.io.await_no_more(seat.socket.id));
        let due_ms = self.wheel.left_ms(session).unwrap_or(0);
        Some(LeftSession {
            index: id.index,
            generation: id.generation,
            secret: record.engine.secret,
            queue: None,
            asked_at: record.engine.asked_at(),
            due_ms: due_ms.min(u32::MAX.into()) as u32,
            is_base64: record.engine.is_base64(),
            has_entered: record.engine.is_admitted(),
            opened_by: record.extra.as_deref().and_then(Extra::left_request),
            token: record.carried_token(),
            cors: record.fields().into(),
            next_number: self.io.next_number(),
            sockets,
        })
    }

    /// Lets the session that the WebSocket in a slot carries go on here, or one that polls, if all its sockets may; its place.
    pub(super) fn seat_session(
        &mut self,
        gate: &Gate,
        seating: &mut Seating,
        websocket: Option<u32>,
        left: LeftSession,
        heard: &FxHashMap<ChannelName, bool>,
    ) -> Option<u32> {
        self.io.number_from(left.next_number);
        let mut entered = Vec::new();
        for seat in &left.sockets {
            let may_go_on = self.may_go_on(gate, seat, heard);
            let LeftSocket { id, namespace, channels, kept, .. } = &seat.socket;
            let namespace = may_go_on.then(|| self.io.await_again(*id, namespace, kept.clone())).flatten();
            entered.extend(namespace.map(|namespace| (*id, namespace)));
            self.io.carry(*id, websocket.is_some());
            let shown = vec![model::Shown::default(); channels.len()];
            let resumed = Resumed { followed: channels, shown: &shown, entered: &[], saved: &seat.saved };
            let goes_on =
                namespace.is_some_and(|namespace| self.io.restore_socket(*id, namespace, seat.key, &resumed));
            if !goes_on {
                entered.into_iter().for_each(|(id, namespace)| self.io.forgotten(id, namespace));
                return None;
            }
        }
        let session = left.index;
        seating.sessions.push((session, left.generation, self.resumed_session(&left, websocket)));
        let places: Vec<_> = left.sockets.iter().map(|seat| seat.socket.id.index).collect();
        let next = places.iter().copied().skip(1).chain([NONE]);
        for ((seat, (id, namespace)), next) in left.sockets.into_iter().zip(entered).zip(next) {
            let LeftSocket { secret, heard, absences, namespace: name, channels, .. } = seat.socket;
            let connection = websocket.unwrap_or(NONE);
            let socket = Socket::new(namespace, session, connection, secret, next);
            let socket = Socket { heard, absences, state: State::Connected, ..socket };
            seating.sockets.push((id.index, id.generation, socket));
            seating.rooms.push(InRooms { id, absence: None, namespace: name, channels });
            if let Some(mark) = seat.caught_up {
                self.returning.await_proof(session, id, mark);
            }
        }
        let due_ms = u64::from(left.due_ms).max(CARRIED_BEAT_MS_MIN);
        self.wheel.set(session, self.now.monotonic_ms + due_ms);
        Some(session)
    }
}

impl Shard {
    /// Whether the session that a WebSocket carries is of those that go on, once nothing is under way for it.
    pub(in crate::shard) fn session_travels(&self, index: u32) -> bool {
        let record = self.engines.sessions.get(self.lines.slab.look(index).session.tag());
        let is_carried = |record: &Session| record.engine.websocket() == index && !record.engine.is_ending();
        record.is_some_and(is_carried) && self.leaves_sessions()
    }

    /// Whether sessions go on elsewhere where connections do: other nodes know nothing of theirs.
    pub(super) fn leaves_sessions(&self) -> bool {
        let io = &self.engines.io;
        self.carries()
            && io.has_travellers()
            && !io.settings().has_members()
            && self.foundation.broker.is_none()
    }

    /// Whether a session is one of those that go on between two polls.
    pub(in crate::shard) fn polling_travels(&self, session: u32) -> bool {
        let can_go = |record: &Session| {
            record.engine.is_polling()
                && !record.engine.is_ending()
                && record.engine.probe().is_none()
                // Its id names another shard, which knows where it is.
                && record.extra.as_ref().is_none_or(|extra| extra.home.is_none())
        };
        self.leaves_sessions()
            && self.engines.sessions.get(session).is_some_and(can_go)
            && !self.engines.moved.contains_key(&session)
    }

    /// What is left of the session that a WebSocket carries; `None` while something is under way for it.
    pub(in crate::shard) fn left_session(&self, index: u32) -> Option<LeftSession> {
        let session = self.lines.slab.look(index).session.tag();
        self.engines.left_of(&self.hub, &self.gate, &self.asks, session)
    }

    /// Answers the polls of all sessions that go on elsewhere.
    pub(in crate::shard) fn release_polls(&mut self) {
        for session in 0..self.engines.session_places() {
            if self.polling_travels(session)
                && let Some(record) = self.engines.sessions.get_mut(session)
            {
                let parked = record.engine.take_parked();
                self.release_poll(session, parked);
            }
        }
    }

    /// What is left of the sessions that go on without a connection. `has_its_answer`: whether what one was answered has been
    /// sent, or goes on as well.
    pub(in crate::shard) fn left_polling(
        &mut self,
        has_its_answer: impl Fn(u32) -> bool,
    ) -> Vec<LeftSession> {
        let mut left = Vec::new();
        for session in 0..self.engines.session_places() {
            if self.polling_travels(session)
                && has_its_answer(session)
                && self.engines.is_between_polls(session)
                && let Some(mut one) = self.engines.left_of(&self.hub, &self.gate, &self.asks, session)
                && let Some(record) = self.engines.sessions.get_mut(session)
            {
                one.queue = Some(record.engine.queue.take_bytes());
                left.push(one);
            }
        }
        left
    }

    /// A WebSocket carries a session, which is about to stand in its place.
    pub(super) fn carry_session(&mut self, index: u32, session: u32) {
        let record = self.lines.slab.at(index);
        record.flags.set(Flags::ENGINE);
        if let Speaks::WebSocket(websocket) = &mut record.session {
            websocket.tag = session;
        }
        self.wheel.clear(index);
    }

    /// Begins to serve sessions that go on: tells them what was published meanwhile, and the application that they are there.
    pub(in crate::shard) fn begin_sessions(&mut self, sessions: &[u32]) {
        self.fan_out_by_rooms();
        for session in sessions {
            let sockets: Vec<_> = self.engines.sockets_of(*session).collect();
            for index in sockets {
                let id = self.engines.id_of(index);
                if let Some(socket) = self.engines.socket(id) {
                    self.engines.io.connected(id, socket.namespace, true);
                }
            }
            self.run_orders();
        }
    }
}

impl Extra {
    fn left_request(&self) -> Option<LeftRequest> {
        let Handshake { target, fields, address, passage } = self.for_backend()?.clone();
        let is_whole = self.handshake.is_some();
        Some(LeftRequest { target, fields, address, passage, is_whole })
    }
}
