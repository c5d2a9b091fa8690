//! The end of sessions and of sockets: what becomes of them here, and what is left to do for those who hold the connections.
//!
//! ```text
//!   end_engine ─► each socket: away, or gone ─► Engines::end ─► Parting ─► connections closed, a poll answered, a shard told
//! ```

use smallvec::SmallVec;

use super::{
    Engines, Session, State,
    requests::{lone_packet, with_fields},
};
use crate::{
    app::socketio::{NamespaceId, Order},
    hub::Hub,
    model::{CloseReason, SessionId, SocketId},
    session::{Due, Lost, NONE, Outlet},
    shard::{lines::Lines, outbox::Class},
    wire::{engineio::Packet, http1::Response},
};

/// How long a session that has ended keeps its last words for the next poll.
const LAST_WORDS_MS: u64 = 5_000;

/// What is left to do for a session that has ended.
#[derive(Default)]
#[must_use]
pub(super) struct Parting {
    /// Connections that carry it no more, and why they close.
    pub(super) closes: SmallVec<[(u32, CloseReason); 2]>,
    /// The session, where it is kept no longer.
    pub(super) gone: Option<Gone>,
    /// A poll that waits, and its answer.
    pub(super) answer: Option<(u32, Response)>,
}

/// A session that is kept no longer.
#[must_use]
pub(super) struct Gone {
    pub(super) session: u32,
    /// The id by which another shard has opened it, which is to be told.
    pub(super) home: Option<SessionId>,
    /// Whether it had a part of a packet, which is not to be waited for any more.
    pub(super) is_partial: bool,
}

/// A socket that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaver {
    pub(super) id: SocketId,
    pub(super) namespace: NamespaceId,
    /// Whether it has been in its namespace.
    pub(super) was_in: bool,
    /// Whether its client may come back to it.
    pub(super) is_kept: bool,
}

impl Leaver {
    /// Whether a client that was in is not any more, and does not come back.
    pub(super) fn is_gone(&self) -> bool {
        self.was_in && !self.is_kept
    }
}

impl Engines {
    pub(super) fn is_ending(&self, session: u32) -> bool {
        self.sessions.get(session).is_none_or(|session| session.engine.is_ending())
    }

    /// A connection of a session has ended; why the session does, if it was by that one that its client was here.
    pub(super) fn lose_connection(
        &mut self,
        index: u32,
        session: u32,
        reason: CloseReason,
    ) -> Option<CloseReason> {
        let record = self.sessions.get_mut(session)?;
        if record.engine.handle_lost(index) != Lost::Session {
            return None;
        }
        Some(match (reason, record.engine.is_polling()) {
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
        })
    }

    /// The deadline of a session: its client is pinged or given longer, or the session ends for this reason, which is
    /// [`CloseReason::Normal`] where it has ended before.
    pub(super) fn handle_deadline(&mut self, lines: &mut Lines, session: u32) -> Option<CloseReason> {
        let timeout_ms = self.io.settings().ping_timeout_ms;
        let is_awaited = self.sessions.get(session).is_some_and(|record| record.engine.awaits_pong());
        if self.shows_life(lines, session) && is_awaited {
            self.wheel.set(session, self.now.monotonic_ms + u64::from(timeout_ms));
            return None;
        }
        let mark = self.log.mark();
        match self.sessions.get_mut(session)?.engine.handle_deadline(timeout_ms, mark) {
            Due::Again(ms) => {
                self.wheel.set(session, self.now.monotonic_ms + u64::from(ms));
                self.send_engine(lines, session, Class::Control, Packet::Ping(""));
                None
            }
            Due::End(reason) => Some(reason),
        }
    }

    /// Ends a session whose sockets have left. A client that polls and has no poll under way is told by its next one.
    pub(super) fn end(&mut self, session: u32, reason: CloseReason, is_draining: bool) -> Parting {
        let mut parting = Parting::default();
        let Some(record) = self.sessions.get_mut(session) else { return parting };
        record.engine.end_with_queue();
        record.count_no_more();
        record.count_users_no_more();
        let (outlet, probe) = (record.engine.outlet(), record.engine.probe());
        record.engine.take_parked();
        parting.closes.extend(probe.map(|probe| (probe, CloseReason::Normal)));
        match outlet {
            Outlet::WebSocket(connection) => {
                parting.closes.extend((connection != NONE).then_some((connection, reason)));
                parting.gone = Some(self.forget(session));
            }
            Outlet::Parked(parked) => {
                self.say_close(session, reason);
                let (response, gone) = self.last_answer(session, is_draining);
                parting.answer = Some((parked, response));
                parting.gone = gone;
            }
            // The client has gone, or breaks the protocol: its next request finds no session.
            Outlet::Queue if !may_linger(reason) => parting.gone = Some(self.forget(session)),
            Outlet::Queue => {
                self.say_close(session, reason);
                self.await_last_poll(session);
            }
        }
        parting
    }

    /// A poll that waits while its own client closes is released by a noop, any other learns of the close: behind what is
    /// queued, by an answer of its own.
    fn say_close(&mut self, session: u32, reason: CloseReason) {
        let Some(record) = self.sessions.get_mut(session) else { return };
        match reason {
            CloseReason::ClientGone => record.engine.queue.add(Packet::Noop, &self.queued_bytes),
            _ => record.engine.owe_close(),
        }
    }

    /// What a poll that waits is answered when its session has ended: what is queued, or that it has. The session goes with
    /// the latter before its client hears of it, who may have sent the next request already.
    fn last_answer(&mut self, session: u32, is_draining: bool) -> (Response, Option<Gone>) {
        let has_queue = self.sessions.get(session).is_some_and(|one| !one.engine.queue.is_empty());
        let response = match has_queue {
            true => self.answer_of_queue(session),
            false => {
                let fields = self.sessions.get(session).map_or("", Session::fields);
                with_fields(lone_packet(Packet::Close), fields)
            }
        };
        if has_queue && self.may_poll_again(session, is_draining) {
            self.await_last_poll(session);
            return (response, None);
        }
        (response, Some(self.forget(session)))
    }

    /// Whether a session that has ended has something to say to a poll behind the one that is answered now. A shard that is
    /// being emptied closes the connection behind the answer and takes no other: the next poll finds no session elsewhere.
    pub(super) fn may_poll_again(&self, session: u32, is_draining: bool) -> bool {
        self.sessions.get(session).is_some_and(|one| one.engine.has_words()) && !is_draining
    }

    /// Keeps a session that has ended for one more poll, [`LAST_WORDS_MS`] at most.
    pub(super) fn await_last_poll(&mut self, session: u32) {
        self.wheel.set(session, self.now.monotonic_ms + LAST_WORDS_MS);
    }

    /// Keeps a session no longer.
    pub(super) fn forget(&mut self, session: u32) -> Gone {
        let home = self.sessions.get(session).and_then(Session::home);
        if let Some(home) = home {
            self.foreign.remove(&(home.shard(), home.index()));
        }
        self.wheel.clear(session);
        self.io.session_ended(self.engine_id(session));
        let extra = self.sessions.remove(session).and_then(|session| session.extra);
        Gone { session, home, is_partial: extra.is_some_and(|extra| extra.is_partial) }
    }

    /// What becomes of a socket that ends for this reason.
    pub(super) fn leaver(&self, index: u32, reason: CloseReason) -> Option<Leaver> {
        let socket = self.sockets.get(index)?;
        let was_in = socket.state.is_in();
        let is_kept = was_in && self.log.is_on() && reason.may_come_back();
        Some(Leaver { id: self.id_of(index), namespace: socket.namespace, was_in, is_kept })
    }

    /// A socket's client leaves its namespace, is put out, or is lost and may come back.
    pub(super) fn end_socket(&mut self, hub: &mut Hub, leaver: &Leaver, reason: CloseReason) {
        let Leaver { id, namespace, was_in, is_kept } = *leaver;
        let Some(session) = self.sockets.get(id.index).map(|socket| socket.session) else { return };
        self.returning.forget(session, id);
        self.unlink(id.index);
        match is_kept {
            true => self.send_away(id),
            false => {
                self.held.remove(&id.index);
                self.joins.forget(id.index);
                hub.leave_all(id.subscriber());
                self.sockets.remove(id.index);
            }
        }
        match was_in {
            true => self.io.disconnected(id, namespace, reason, is_kept),
            false => self.io.forgotten(id, namespace),
        }
    }

    /// A socket's client is away from now on, and may come back.
    fn send_away(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.index) else { return };
        (socket.state, socket.session, socket.connection) = (State::Away, NONE, NONE);
        socket.absences = socket.absences.wrapping_add(1);
        let absence = socket.absences;
        self.await_return(id, absence);
        // What was put off it hears when it comes back, as far as any client does: who is away misses the rest.
        for order in self.held.remove(&id.index).unwrap_or_default().orders {
            if let Order::Emit { arguments, ack: None, .. } = order {
                self.log.keep_direct(self.now, id, &arguments);
            }
        }
    }

    /// Forgets a client that has not come back in time.
    pub(super) fn forget_away(&mut self, hub: &mut Hub, id: SocketId) {
        hub.leave_all(id.subscriber());
        self.joins.forget(id.index);
        if let Some(socket) = self.sockets.remove(id.index) {
            self.io.forgotten(id, socket.namespace);
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
