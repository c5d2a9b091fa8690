//! A session that goes to another shard: there the client was before, and there is kept what it missed.
//!
//! A client that comes back opens a new session on whatever shard the kernel gives it, and shows who it was only when it
//! enters its namespace. Not what it missed is fetched then, but the session goes where that is. One on a WebSocket takes
//! the connection along. One that polls leaves a note behind, by which requests with its id find it; a WebSocket that it
//! tries follows it, for a client that has stopped polling for it would wait in vain:
//!
//! ```text
//!   here    session ─CONNECT with a pid of there─► gone, or a note ◄── requests with its id ──┐
//!   there                                          session ─► goes on as the socket it was    └─► handed over there
//! ```

use super::{Engines, Session, Shard, Shown, claim::Claim};
use crate::{
    app::{Message, socketio::Handshake},
    mesh::{self, Carried, EngineMove},
    model::{CloseReason, Destination, SessionId, ShardId},
    session::{self, Engine, Leaving, NONE, Probe},
    shard::connection::Flags,
    wire::{
        engineio::{self, Payload},
        json::Raw,
    },
};

/// A session about to go, once what its client sent with the packet that made it go has been put together.
pub(super) struct Moving {
    session: u32,
    to: ShardId,
    engine: Box<EngineMove>,
}

impl Engines {
    /// A session that went to another shard has ended there: its note goes.
    pub(in crate::shard) fn handle_engine_ended(&mut self, sid: &SessionId) {
        if self.is_named(sid.index(), sid) && self.moved.remove(&sid.index()).is_some() {
            self.sessions.remove(sid.index());
        }
    }

    /// The session of a request with another shard's id, if it has come here; the shard to ask otherwise.
    pub(super) fn find_foreign(&self, sid: &SessionId) -> Option<u32> {
        let session = *self.foreign.get(&(sid.shard(), sid.index()))?;
        self.is_named(session, sid).then_some(session)
    }

    fn keep_moved(&mut self, engine: &mut EngineMove, websocket: Option<u32>) -> u32 {
        let mut session = Session::new(Engine::new(engine.sid.secret(), websocket));
        session.extra().fields = engine.cors.clone();
        session.extra().token = engine.token.take().map(Shown::from);
        if engineio::Query::decode(&engine.target).is_base64 {
            session.engine.ask_for_base64();
        }
        session.extra().handshake = Some(Box::new(Handshake {
            target: engine.target.clone(),
            fields: engine.fields.clone(),
            address: engine.address,
            passage: engine.passage.clone(),
        }));
        let interval = self.io.settings().ping_interval_ms;
        // It has yet to enter, and may be refused.
        self.take_in(session, interval / 2)
    }
}

impl Shard {
    /// Whether a client that enters a namespace as its first was on another shard before: then its session goes there.
    pub(super) fn begin_to_move(&mut self, session: u32, namespace: &str, auth: Option<Raw<'_>>) -> bool {
        if !self.engines.log.is_on() {
            return false;
        }
        let Some((auth, claim)) = auth.and_then(|auth| Some((auth, Claim::read(auth)?))) else {
            return false;
        };
        let to = claim.pid.shard();
        let Some(record) = self.engines.sessions.get(session) else { return false };
        let waits = self.engines.io.is_waiting(self.engines.engine_id(session));
        let is_bound = record.socket != NONE || record.home().is_some() || waits;
        // One that polls could not be found there, were its requests not handed over.
        let can_go = self.lines.ring.abilities().exports;
        if !self.peers.has(to) || is_bound || !can_go || self.drain.is_some() {
            return false;
        }
        let prefix = if namespace == "/" { String::new() } else { format!("{namespace},") };
        let extra = record.extra.as_deref();
        let handshake = extra.and_then(|extra| extra.handshake.as_deref()).cloned().unwrap_or_default();
        let engine = EngineMove {
            sid: SessionId::new(self.id, session, record.engine.secret),
            packet: format!("0{prefix}{}", auth.as_str()).into(),
            payload: Vec::new(),
            queue: Vec::new(),
            target: handshake.target,
            fields: handshake.fields,
            address: handshake.address,
            passage: handshake.passage,
            cors: record.fields().into(),
            token: record.carried_token(),
            counted: None,
        };
        self.engines.moving = Some(Moving { session, to, engine: Box::new(engine) });
        true
    }

    /// Sends off the session of a WebSocket with its connection, if it is to go.
    pub(super) fn move_with_websocket(&mut self, index: u32) {
        let Some(Moving { session, to, engine }) = self.engines.moving.take() else { return };
        self.forget_session(session);
        self.send_websocket(index, to, Carried::Session(engine), Vec::new());
    }

    /// Sends off a session that polls, if it is to go, with the packets that came behind the one that made it go.
    pub(super) fn move_with_payload(
        &mut self,
        mut rest: Payload<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        let Some(Moving { session, to, mut engine }) = self.engines.moving.take() else { return Ok(()) };
        while let Some(packet) = rest.decode_next(scratch) {
            engineio::encode_into_payload(&mut engine.payload, packet.map_err(|error| error.close_reason())?);
        }
        let Some(record) = self.engines.sessions.get_mut(session) else { return Ok(()) };
        engine.queue = record.engine.queue.take_bytes();
        engine.counted = record.extra.as_mut().and_then(|extra| extra.counted.take());
        // Its user is counted where it goes, if it enters there.
        record.count_users_no_more();
        record.engine.end_with_queue();
        let (parked, probe) = (record.engine.take_parked(), record.engine.take_probe());
        self.engines.wheel.clear(session);
        self.engines.moved.insert(session, to);
        let sid = engine.sid;
        self.send_mesh(to, mesh::ShardMessage::EngineMove(engine));
        if let Some((index, is_confirmed)) = probe {
            self.send_probe(index, to, Carried::Probe { sid, is_confirmed });
        }
        self.release_poll(session, parked);
        Ok(())
    }

    /// Sends a WebSocket that is tried after its session, with what has arrived of a frame.
    fn send_probe(&mut self, index: u32, to: ShardId, probe: Carried) {
        let bytes = match &mut self.lines.slab.at(index).session {
            session::Session::WebSocket(websocket) => websocket.take_unread(),
            _ => return self.drop_engine_connection(index, CloseReason::Normal),
        };
        self.end_partial_input(index);
        self.send_websocket(index, to, probe, bytes);
    }

    fn send_websocket(&mut self, index: u32, to: ShardId, carried: Carried, bytes: Vec<u8>) {
        self.lines.slab.at(index).flags.clear(Flags::ENGINE);
        self.hand_over(index, Leaving { to: Destination::Shard(to), hops: 0, bytes, engine: Some(carried) });
    }

    /// A session that polls comes from another shard.
    pub(in crate::shard) fn handle_engine_move(&mut self, mut engine: EngineMove) {
        let session = self.engines.keep_moved(&mut engine, None);
        self.engines.foreign.insert((engine.sid.shard(), engine.sid.index()), session);
        if let Some(record) = self.engines.sessions.get_mut(session) {
            record.extra().home = Some(engine.sid);
            record.extra().counted = engine.counted.take();
            if !engine.queue.is_empty() {
                record.engine.queue.add_payload(&engine.queue, &self.engines.queued_bytes);
            }
        }
        let id = self.engines.engine_id(session);
        let heard = self.hear_socketio(session, Message::Text(&engine.packet)).and_then(|()| {
            match engine.payload.is_empty() || self.engines.find(id).is_none() {
                true => Ok(()),
                false => self.hear_payload(session, None, engine.payload.as_slice(), "").map(drop),
            }
        });
        if let Err(reason) = heard {
            self.end_engine(session, reason);
        }
    }

    /// A WebSocket comes from another shard, with its session or after it.
    pub(in crate::shard) fn adopt_engine(&mut self, index: u32, mut carried: Carried, bytes: &mut [u8]) {
        let session = match &mut carried {
            Carried::Session(engine) => Some(self.engines.keep_moved(engine, Some(index))),
            Carried::Probe { sid, .. } => self.engines.find_foreign(sid),
        };
        let websocket = session::WebSocket::new(session.unwrap_or(NONE), false);
        self.set_session(index, session::Session::WebSocket(websocket));
        self.wheel.clear(index);
        // A probe's session may have ended before it came.
        let Some(session) = session else { return self.close(index, CloseReason::Normal) };
        self.lines.slab.at(index).flags.set(Flags::ENGINE);
        match carried {
            Carried::Session(engine) => {
                if let Err(reason) = self.hear_socketio(session, Message::Text(&engine.packet)) {
                    return self.end_engine(session, reason);
                }
            }
            Carried::Probe { is_confirmed, .. } => self.adopt_probe(index, session, is_confirmed),
        }
        if !bytes.is_empty() {
            self.feed_again(index, bytes);
        }
    }

    /// A session tries this WebSocket, and goes on where the other shard was.
    fn adopt_probe(&mut self, index: u32, session: u32, is_confirmed: bool) {
        let Some(record) = self.engines.sessions.get_mut(session) else { return };
        if !record.engine.handle_upgrade(index) {
            return self.drop_engine_connection(index, CloseReason::Normal);
        }
        if is_confirmed && let Probe::Confirm { parked } = record.engine.handle_probe_ping("probe") {
            self.release_poll(session, parked);
        }
        self.engines.await_upgrade(session, index);
    }

    /// A shard has begun anew: sessions that went there are gone, and requests for those that came from there do not find
    /// them any more.
    pub(in crate::shard) fn lose_engines(&mut self, lost: ShardId) {
        for (gone, _) in self.engines.moved.extract_if(|_, to| *to == lost) {
            self.engines.sessions.remove(gone);
        }
        let came = self.engines.foreign.iter().filter(|((home, _), _)| *home == lost);
        for session in came.map(|(_, session)| *session).collect::<Vec<_>>() {
            self.end_engine(session, CloseReason::ShardFailed);
        }
    }
}

impl Session {
    /// The id it was given by the shard that opened it, if that is another one.
    pub(super) fn home(&self) -> Option<SessionId> {
        self.extra.as_ref()?.home
    }
}
