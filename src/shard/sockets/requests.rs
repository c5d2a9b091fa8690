//! HTTP requests to Engine.IO: the handshake, polls, posts and upgrades.

use super::{
    Engines, Session, Shard, Shown,
    posts::{refused, taken},
};
use crate::{
    app::{
        preflight_fields,
        socketio::{EngineId, Handshake},
    },
    limits::{SESSIONS_LOOKED_AT_MAX, TICK_MS, TURNS_BEFORE_NOOP},
    mesh::CountedAddress,
    model::{CloseReason, NodeId, SessionId, ShardId},
    session::{Engine, Outlet, Poll, upgrade},
    wire::{
        engineio::{self, HandshakeError, Packet, Query, Transport},
        http1::{Body, Method, Request, Response},
    },
};

/// Why a page may not connect.
const PAGE_REFUSED: &str = "this page's origin is not allowed here (cors.allowed_origins)";

/// What a request to Engine.IO leads to.
pub(in crate::shard) enum EngineOutcome {
    /// This answer.
    Respond(Response),
    /// It waits until what it brought has been heard.
    Wait,
    /// It waits for packets.
    Park {
        /// For whose.
        session: u32,
    },
    /// The connection becomes a WebSocket.
    Upgrade {
        /// Of this session.
        session: u32,
        /// The value of `Sec-WebSocket-Accept`.
        accept: [u8; 28],
        /// What it is to the session.
        role: WebSocketRole,
        /// Header fields to add, each `name: value\r\n`.
        fields: String,
    },
    /// That shard has the session.
    Divert(ShardId),
    /// That node has it, and the connection is to become a WebSocket there.
    Tunnel {
        /// The node.
        node: NodeId,
        /// The request, as it is sent.
        request: Vec<u8>,
    },
}

/// What a WebSocket is to the session that its handshake names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum WebSocketRole {
    /// It opened the session and carries it.
    Opener,
    /// It is tried, to take over from polls.
    Probe,
    /// The session has a WebSocket already. Clients take a refused handshake for a failure of the network, so this one
    /// is closed only once it is open.
    Surplus,
}

impl Engines {
    /// A session that was opened and never used, without a connection now and not gone to another shard: an old one.
    fn take_unused(&mut self) -> Option<u32> {
        let (sessions, moved) = (&self.sessions, &self.moved);
        let is_unused = |id: &EngineId| {
            let is_alone = |session: &Session| session.engine.outlet() == Outlet::Queue;
            sessions.is_unadmitted(*id)
                && sessions.get(id.index).is_some_and(is_alone)
                && !moved.contains_key(&id.index)
        };
        self.unadmitted.take_wanted(SESSIONS_LOOKED_AT_MAX, is_unused).map(|id| id.index)
    }

    /// Whether a request is one to Engine.IO.
    pub(in crate::shard) fn is_for_engine(&self, request: &Request<'_>) -> bool {
        let path = &*self.io.settings().path;
        self.is_served && (request.path() == path || request.path() == path.trim_end_matches('/'))
    }

    fn offered(&self, transport: Option<Transport>) -> Option<Transport> {
        let settings = self.io.settings();
        transport.filter(|transport| match transport {
            Transport::Polling => settings.polling,
            Transport::WebSocket => settings.websocket,
        })
    }

    /// The open packet's JSON.
    pub(super) fn handshake_json(&self, session: u32, is_polling: bool) -> String {
        let settings = self.io.settings();
        let secret = self.sessions.get(session).map_or([0; 9], |session| session.engine.secret);
        let upgrades = match is_polling && settings.websocket {
            true => &[Transport::WebSocket][..],
            false => &[],
        };
        let handshake = engineio::Handshake {
            sid: SessionId::new(self.shard, session, secret),
            upgrades,
            ping_interval_ms: settings.ping_interval_ms,
            ping_timeout_ms: settings.ping_timeout_ms,
            payload_bytes_max: settings.max_http_buffer_size,
        };
        let mut json = Vec::new();
        handshake.encode(&mut json);
        String::from_utf8(json).expect("JSON is text")
    }

    fn try_upgrade(
        &mut self,
        index: u32,
        request: &Request<'_>,
        session: u32,
    ) -> Result<EngineOutcome, HandshakeError> {
        let accept = match upgrade::check(request) {
            Ok(accept) => accept,
            Err(response) => return Ok(EngineOutcome::Respond(response)),
        };
        let may_try = self.sessions.get_mut(session).is_some_and(|one| one.engine.handle_upgrade(index));
        if !may_try {
            return Ok(EngineOutcome::Upgrade {
                session,
                accept,
                role: WebSocketRole::Surplus,
                fields: String::new(),
            });
        }
        self.await_upgrade(session, index);
        Ok(EngineOutcome::Upgrade { session, accept, role: WebSocketRole::Probe, fields: String::new() })
    }
}

impl Shard {
    /// Answers a request to Engine.IO.
    pub(in crate::shard) fn answer_engine(&mut self, index: u32, request: &Request<'_>) -> EngineOutcome {
        let Ok(mut fields) = self.engines.origins.check(request) else {
            return EngineOutcome::Respond(refusal(HandshakeError::Forbidden, Some(PAGE_REFUSED)));
        };
        if request.method == Method::Options {
            fields.push_str(&preflight_fields(request, "GET, POST"));
            return EngineOutcome::Respond(Response { fields, ..Response::empty(204) });
        }
        let own_fields = self.engines.io.fields_of(request);
        fields.push_str(&own_fields);
        let query = Query::decode(request.target);
        let outcome = match self.engines.offered(query.transport) {
            None => Err(HandshakeError::UnknownTransport),
            Some(transport) => match query.sid {
                None => self.open_engine(index, request, &query, transport, &fields),
                Some(Err(_)) => Err(HandshakeError::UnknownSid),
                Some(Ok(sid)) => self.answer_session(index, request, sid, transport, &fields),
            },
        };
        match outcome {
            Ok(EngineOutcome::Respond(response)) => EngineOutcome::Respond(with_fields(response, &fields)),
            Ok(EngineOutcome::Park { session }) if !own_fields.is_empty() => {
                if let Some(record) = self.engines.sessions.get_mut(session) {
                    record.extra().fields = fields.into();
                }
                EngineOutcome::Park { session }
            }
            Ok(EngineOutcome::Upgrade { session, accept, role, mut fields }) => {
                fields.push_str(&own_fields);
                EngineOutcome::Upgrade { session, accept, role, fields }
            }
            Ok(other) => other,
            Err(error) => EngineOutcome::Respond(with_fields(refusal(error, None), &fields)),
        }
    }

    /// A request without a session opens one.
    fn open_engine(
        &mut self,
        index: u32,
        request: &Request<'_>,
        query: &Query,
        transport: Transport,
        fields: &str,
    ) -> Result<EngineOutcome, HandshakeError> {
        if request.method != Method::Get {
            return Err(HandshakeError::BadHandshakeMethod);
        }
        let is_upgrade = upgrade::is_upgrade(request);
        if (transport == Transport::WebSocket) != is_upgrade {
            return Err(HandshakeError::BadRequest);
        }
        if !query.is_version_4 {
            return Err(HandshakeError::UnsupportedProtocolVersion);
        }
        let accept = match is_upgrade.then(|| upgrade::check(request)).transpose() {
            Ok(accept) => accept,
            Err(response) => return Ok(EngineOutcome::Respond(response)),
        };
        if (self.drain.is_some() && !self.carries()) || !self.has_place_for_session() {
            let text = "this server holds as many sessions as it may";
            let response = Response::refused(503, "sessions_full", text).with_field("Retry-After", "5");
            return Ok(EngineOutcome::Respond(response));
        }
        let Some(counted) = self.count_session(index, is_upgrade) else {
            self.report.refused_address_total += 1;
            let text = "too many sessions from this address poll (limits.connections_per_address_max)";
            return Ok(EngineOutcome::Respond(Response::refused(429, "address_full", text)));
        };
        let mut secret = [0; 9];
        getrandom::fill(&mut secret).map_err(|_| HandshakeError::BadRequest)?;
        let secret = SessionId::secret_of(self.engines.node, secret);
        let sid = SessionId::new(self.id, self.engines.sessions.next_index(), secret);
        let own_fields = match self.engines.io.judge_request(request, &sid) {
            Ok(fields) => fields,
            Err(message) => {
                return Ok(EngineOutcome::Respond(refusal(HandshakeError::Forbidden, Some(&message))));
            }
        };
        let takes_tokens = self.gate.tokens.verifier.takes_tokens();
        let token = if takes_tokens { self.credential(request).map(Into::into) } else { None };
        let session = self.keep_session(index, request, secret, accept.is_some(), fields);
        if let Some(record) = self.engines.sessions.get_mut(session) {
            if query.is_base64 {
                record.engine.ask_for_base64();
            }
            if counted.is_some() {
                record.extra().counted = counted;
            }
            if let Some(token) = token {
                record.extra().token = Some(Shown::Text(token));
            }
        }
        Ok(match accept {
            Some(accept) => {
                EngineOutcome::Upgrade { session, accept, role: WebSocketRole::Opener, fields: own_fields }
            }
            None => {
                let open = self.engines.handshake_json(session, true);
                EngineOutcome::Respond(with_fields(lone_packet(Packet::Open(&open)), &own_fields))
            }
        })
    }

    /// Whether one more session may be kept. When there are as many as may be, one goes that was opened and never used:
    /// whoever opens many without using them pushes out its own.
    fn has_place_for_session(&mut self) -> bool {
        if self.engines.sessions.len() < self.engines.sessions_max {
            return true;
        }
        let Some(unused) = self.engines.take_unused() else { return false };
        match self.engines.is_ending(unused) {
            true => self.forget_session(unused),
            false => self.end_engine(unused, CloseReason::ConnectTimeout),
        }
        true
    }

    /// Counts a session that polls among those of its address, of which there may be as many as connections; one on a
    /// WebSocket is counted as that. `None` is one too many.
    fn count_session(&self, index: u32, is_websocket: bool) -> Option<Option<CountedAddress>> {
        let max = self.limits.connections_per_address_max;
        let id = self.lines.slab.look(index).address;
        match self.addresses.get(id) {
            Some(address) if max > 0 && !is_websocket && !self.addresses.is_proxy(id) => {
                let counts = &self.engines.handshakes;
                counts.enter(address, max).then(|| Some(CountedAddress::new(counts, address)))
            }
            Some(_) | None => Some(None),
        }
    }

    fn keep_session(
        &mut self,
        index: u32,
        request: &Request<'_>,
        secret: [u8; 9],
        is_websocket: bool,
        fields: &str,
    ) -> u32 {
        let mut session = Session::new(Engine::new(secret, is_websocket.then_some(index)));
        // A raw application is told at once and never again; Socket.IO's asks who it is when it enters a namespace.
        if !self.engines.io.is_raw() {
            let address = self.lines.slab.look(index);
            let address = address.peer_address(self.addresses.get(address.address));
            session.extra().handshake = Some(Box::new(handshake_of(request, address)));
        }
        if !fields.is_empty() && !is_websocket {
            session.extra().fields = fields.into();
        }
        let interval = self.engines.io.settings().ping_interval_ms;
        // Never late, which a client would take for silence, and spread, so that a storm of handshakes is not followed
        // by storms of pings.
        let early = (interval / 8 + 2 * TICK_MS as u32).min(interval / 2) + fastrand::u32(0..=interval / 4);
        let session = self.engines.take_in(session, interval - early);
        if self.engines.io.is_raw() {
            self.engines.io.opened(self.engines.engine_id(session));
        }
        session
    }

    /// A request that names a session.
    fn answer_session(
        &mut self,
        index: u32,
        request: &Request<'_>,
        sid: SessionId,
        transport: Transport,
        fields: &str,
    ) -> Result<EngineOutcome, HandshakeError> {
        if self.engines.is_of_another_node(&sid) {
            return self.answer_elsewhere(index, request, &sid, transport);
        }
        let found = match sid.shard() == self.id {
            true => self.engines.is_named(sid.index(), &sid).then(|| sid.index()),
            false => self.engines.find_foreign(&sid),
        };
        let elsewhere = match found {
            None if self.peers.has(sid.shard()) => Some(sid.shard()),
            _ => found.and_then(|session| self.engines.moved.get(&session).copied()),
        };
        if let Some(shard) = elsewhere {
            return Ok(EngineOutcome::Divert(shard));
        }
        let session = found.ok_or(HandshakeError::UnknownSid)?;
        let is_poll = transport == Transport::Polling && request.method == Method::Get;
        // A session that has ended has last words for a poll, and hears nothing any more.
        if !is_poll && self.engines.is_ending(session) {
            return Err(HandshakeError::UnknownSid);
        }
        if request.method == Method::Post
            && let Some(record) = self.engines.sessions.get_mut(session)
        {
            record.engine.note_heard();
        }
        match (transport, upgrade::is_upgrade(request), request.method) {
            (Transport::WebSocket, true, _) => self.engines.try_upgrade(index, request, session),
            (Transport::Polling, false, Method::Get) => self.poll(index, session),
            (Transport::Polling, false, Method::Post) => self.take_post(index, request, session, fields),
            _ => Err(HandshakeError::BadRequest),
        }
    }

    fn poll(&mut self, index: u32, session: u32) -> Result<EngineOutcome, HandshakeError> {
        let Some(record) = self.engines.sessions.get_mut(session) else {
            return Err(HandshakeError::UnknownSid);
        };
        match record.engine.handle_poll(index) {
            Poll::Parked => Ok(EngineOutcome::Park { session }),
            Poll::Answer => {
                let body = record.engine.queue.take();
                match record.engine.is_ending() {
                    true if self.engines.may_poll_again(session, self.drain.is_some()) => {
                        self.engines.await_last_poll(session)
                    }
                    true => self.forget_session(session),
                    false => self.engines.note_answer(&self.lines, session, index, body.as_bytes().len()),
                }
                self.engines.returning.note_room(session);
                Ok(EngineOutcome::Respond(payload(body)))
            }
            Poll::Noop => Ok(EngineOutcome::Respond(lone_packet(Packet::Noop))),
            Poll::Soon => {
                let turn = self.report.turns_total + TURNS_BEFORE_NOOP;
                self.engines.soon.push_back((self.engines.engine_id(session), turn));
                Ok(EngineOutcome::Park { session })
            }
            Poll::WrongTransport => Err(HandshakeError::BadRequest),
            Poll::Close => {
                self.forget_session(session);
                Ok(EngineOutcome::Respond(lone_packet(Packet::Close)))
            }
            Poll::Over => Err(HandshakeError::UnknownSid),
            Poll::Overlap => {
                self.end_engine(session, CloseReason::TransportError);
                Err(HandshakeError::BadRequest)
            }
        }
    }

    fn take_post(
        &mut self,
        index: u32,
        request: &Request<'_>,
        session: u32,
        fields: &str,
    ) -> Result<EngineOutcome, HandshakeError> {
        let settings = self.engines.io.settings();
        if request.body.len() > settings.max_http_buffer_size as usize {
            let text = "the payload is larger than maxPayload in the handshake";
            return Ok(EngineOutcome::Respond(Response::refused(413, "body_too_large", text)));
        }
        if self.engines.sessions.get(session).is_none_or(|one| !one.engine.is_polling()) {
            return Err(HandshakeError::BadRequest);
        }
        // The third version sent binary payloads so.
        if request.header("content-type") == Some(b"application/octet-stream") {
            self.end_engine(session, CloseReason::TransportError);
            return Err(HandshakeError::BadRequest);
        }
        let connection = self.lines.slab.id(index);
        match self.hear_payload(session, Some(connection), request.body, fields) {
            Ok(true) => Ok(EngineOutcome::Wait),
            Ok(false) => Ok(EngineOutcome::Respond(taken())),
            Err(reason) => {
                self.end_engine(session, reason);
                Ok(EngineOutcome::Respond(refused(reason)))
            }
        }
    }
}

/// An answer of one packet.
pub(super) fn lone_packet(packet: Packet<'_>) -> Response {
    let mut body = Vec::new();
    engineio::encode_into_payload(&mut body, packet);
    payload(Body::Owned(body))
}

/// An answer of packets.
pub(super) fn payload(body: Body) -> Response {
    Response { content_type: "text/plain; charset=UTF-8".into(), body, ..Response::empty(200) }
        .with_field("Cache-Control", "no-store")
}

pub(super) fn refusal(error: HandshakeError, message: Option<&str>) -> Response {
    let mut body = Vec::new();
    error.encode(&mut body, message);
    Response::json(error.status(), body)
}

/// Adds header fields to an answer.
pub(super) fn with_fields(mut response: Response, fields: &str) -> Response {
    response.fields.push_str(fields);
    response
}

fn handshake_of(request: &Request<'_>, address: Option<std::net::SocketAddr>) -> Handshake {
    let text =
        |(start, end): (u32, u32)| String::from_utf8_lossy(&request.head[start as usize..end as usize]);
    let mut fields = String::new();
    for field in request.fields {
        fields.push_str(&text(field.name));
        fields.push_str(": ");
        fields.push_str(&text(field.value));
        fields.push('\n');
    }
    let passage = request.passage();
    Handshake { target: request.target.into(), fields: fields.into(), address, passage }
}
