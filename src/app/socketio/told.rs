//! What the shard tells a Socket.IO application of what clients do, and asks it.
//!
//! Invariant: nothing of the application is borrowed while one of its functions runs, so whatever a function does,
//! also to itself, is done.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use super::{
    Ack, Candidate, ConnectError, EngineId, Gathering, Io, Namespace, Order, RawSession, Socket,
    admission::{Admission, Middleware},
    arguments,
    awaiting::{give_up_all, settle},
    events::RawEvent,
    handlers::DisconnectListener,
    joining,
    matching::{Auth, Rules},
    questions::{self, Said},
    socket::Introduction,
};
use crate::{
    app::{Message, Request, guard::guarded},
    auth::{Consultation, Due, Revocation, Ruled, TokenError, Verified},
    hub::SubscribeError,
    mesh::{Asking, SocketCommand, SocketsAnswer},
    model::{Arguments, ChannelName, CloseReason, Passage, SessionId, ShardId, SocketId, namespace_of},
};

/// A namespace in use on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NamespaceId(pub(crate) u32);

/// A client that wants to enter a namespace.
#[derive(Debug)]
pub(crate) struct Connecting<'a> {
    /// Its session.
    pub(crate) session: EngineId,
    /// The id it will have.
    pub(crate) socket: SocketId,
    /// The namespace's name, without a query.
    pub(crate) namespace: &'a str,
    /// What the client sent to prove itself, a JSON object.
    pub(crate) auth: Option<&'a str>,
    /// The good token among it, if there is one.
    pub(crate) token: Option<Rc<Verified>>,
    /// The request that opened its session, while it is kept.
    pub(crate) handshake: Option<&'a Handshake>,
    /// Where it comes from, as far as that is known.
    pub(crate) address: Option<IpAddr>,
    /// Whether a WebSocket carries it.
    pub(crate) is_websocket: bool,
    /// What the operator's backend has said of it.
    pub(crate) rulings: &'a [Ruled],
    /// What that has to be asked before it may enter, if middleware that refused it says so.
    pub(crate) question: RefCell<Option<Consultation>>,
}

/// What becomes of a client that wants to enter a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It may enter this one.
    To(NamespaceId),
    /// It waits for middleware, and wants to enter again then.
    Waits,
}

#[cfg(test)]
impl Admitted {
    /// Where to, if no middleware takes time.
    pub(crate) fn namespace(self) -> NamespaceId {
        match self {
            Self::To(namespace) => namespace,
            Self::Waits => panic!("it waits"),
        }
    }
}

/// The request that opened a session.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// The target: path and query.
    pub target: Box<str>,
    /// The header fields, one per line.
    pub fields: Box<str>,
    /// The client's address, as far as proxies that are trusted tell it; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// How the client has come: whether it speaks TLS, the host that it asked, and the proxies between.
    pub passage: Passage,
}

/// An event that a client sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The JSON array it came in, checked: the name and the arguments.
    pub(crate) json: &'a str,
    /// The binary values.
    pub(crate) attachments: &'a [Box<[u8]>],
    /// The number under which the client wants an acknowledgement.
    pub(crate) ack: Option<u64>,
    /// Where the client's connection comes from, as far as that is known.
    pub(crate) address: Option<IpAddr>,
    /// What the operator's backend has been asked about it, and has said.
    pub(crate) rulings: &'a [Ruled],
}

/// What a client is told that a function of the application has failed.
pub(super) const FAILED: &str = "the server failed";

impl Io {
    /// Whether clients speak Engine.IO only.
    pub(crate) fn is_raw(&self) -> bool {
        self.core().raw.are_used()
    }

    /// Whether a session may be opened by this request: the header fields to add to the answer, or the reason not.
    /// `sid` is the id the session will have.
    pub(crate) fn judge_request(&self, request: &Request<'_>, sid: &SessionId) -> Result<String, String> {
        self.core().opening.judge(request, &sid.text(), self.settings())
    }

    /// Whether a client may enter a namespace: which one it is, or why not. One that may is later
    /// [`Self::connected`] or [`Self::forgotten`]; one that may not, or waits, is neither. Who recovers is not asked again.
    pub(crate) fn admit(&self, connecting: &Connecting<'_>) -> Result<Admitted, ConnectError> {
        let (core, id) = (self.core(), connecting.socket);
        let (session, name, auth) = (connecting.session, connecting.namespace, connecting.auth);
        let Ok(waited) = core.admissions.take(session, name, auth) else { return Ok(Admitted::Waits) };
        if let Some(refusal) = waited.as_ref().and_then(Admission::refusal) {
            return Err(refusal.clone());
        }
        let _speaking = core.orders.speak_for(id);
        let namespace = match core.namespace_named(connecting.namespace) {
            Some(namespace) => namespace,
            None => Rules::make(core, connecting.namespace, Auth(connecting.auth))?,
        };
        namespace.count_in();
        core.presence.enter(id);
        core.presence.carry(id, connecting.is_websocket);
        if let Some(waited) = &waited {
            core.presence.restore(id, waited.state());
        }
        let asked = self.ask_middleware(connecting, &namespace, waited.as_ref());
        if !matches!(asked, Ok(Admitted::To(_))) {
            self.forgotten(id, namespace.id());
            return asked;
        }
        if let Some(token) = &connecting.token {
            core.tokens.borrow_mut().put(id, token);
        }
        if namespace.all_handlers().any(|handlers| !handlers.on_connect.is_empty()) {
            let auth = connecting.auth.map(Box::from);
            let (handshake, rooms) = (connecting.handshake.cloned(), Vec::new());
            let introduction = Introduction { auth, handshake, rooms };
            core.introductions.borrow_mut().insert(id, Rc::new(introduction));
        }
        asked
    }

    /// Calls the middleware that has not been asked about a client before, until one refuses it or takes time.
    fn ask_middleware(
        &self,
        connecting: &Connecting<'_>,
        namespace: &Namespace,
        waited: Option<&Admission>,
    ) -> Result<Admitted, ConnectError> {
        let all: Vec<_> = namespace.all_handlers().flat_map(|handlers| handlers.middleware.all()).collect();
        let candidate = Candidate::new(connecting, namespace.clone());
        for (place, middleware) in all.iter().enumerate() {
            if waited.is_some_and(|waited| waited.has_passed(middleware)) {
                continue;
            }
            match &**middleware {
                Middleware::Now(ask) => {
                    guarded("a middleware", || ask(&candidate)).unwrap_or_else(|| Err(FAILED.into()))?;
                }
                Middleware::Later(_) => {
                    let state = self.core().presence.state_or_new(connecting.socket).unwrap_or_default();
                    self.wait_for(connecting, namespace, state, all[..=place].to_vec())?;
                    return Ok(Admitted::Waits);
                }
            }
        }
        Ok(Admitted::To(namespace.id()))
    }

    /// A client has changed to a WebSocket, or has come back over this transport.
    pub(crate) fn carried(&self, socket: SocketId, is_websocket: bool) {
        self.core().presence.carry(socket, is_websocket);
        self.core().on_carried.each(|listener| listener(socket, is_websocket));
    }

    /// The header fields that the application adds to the answer to any request of a session.
    pub(crate) fn fields_of(&self, request: &Request<'_>) -> String {
        self.core().opening.fields_of(request)
    }

    /// The name of a namespace in use.
    pub(crate) fn namespace_name(&self, namespace: NamespaceId) -> Rc<str> {
        let core = self.core();
        core.with_namespace(namespace, |namespace| Rc::clone(namespace.unwrap_or(core.root()).shared_name()))
    }

    /// Whether a namespace in use has this name.
    pub(crate) fn is_named(&self, namespace: NamespaceId, name: &str) -> bool {
        self.core().with_namespace(namespace, |namespace| namespace.is_some_and(|one| one.name() == name))
    }

    /// A client is in a namespace and has been told so; with `recovered` it was there before and missed nothing.
    pub(crate) fn connected(&self, socket: SocketId, namespace: NamespaceId, recovered: bool) {
        let core = self.core();
        let _speaking = core.orders.speak_for(socket);
        let Some(namespace) = core.namespace(namespace) else { return };
        core.presence.connect(socket, recovered);
        let introduction = core.introductions.borrow_mut().remove(&socket);
        let socket = Socket::introduced(socket, namespace.clone(), introduction);
        for handlers in namespace.all_handlers() {
            handlers.on_connect.each(|listener| {
                socket.guarded("a connect listener", || listener(socket.clone()));
            });
        }
    }

    /// An event that a client has sent has its turn.
    pub(super) fn hear_event(&self, socket: SocketId, namespace: NamespaceId, event: &Event<'_>) {
        let Some(namespace) = self.core().namespace(namespace) else { return };
        let _speaking = self.core().orders.speak_for(socket);
        let socket = Socket::new(socket, namespace);
        socket.namespace().hear(&socket, &RawEvent(event));
        self.core().owed.end_event(socket.id());
    }

    /// A client acknowledged an event that asked for it.
    pub(crate) fn acknowledged(&self, socket: SocketId, id: u64, json: &str, attachments: &[Box<[u8]>]) {
        let _speaking = self.core().orders.speak_for(socket);
        settle(self.core(), socket, id, Ok((json, attachments)));
    }

    /// Whether anybody wants to know who is about to leave a namespace.
    pub(crate) fn hears_disconnecting(&self, namespace: NamespaceId) -> bool {
        let namespace = self.core().namespace(namespace);
        namespace.is_some_and(|one| one.all_handlers().any(|handlers| !handlers.on_disconnecting.is_empty()))
    }

    /// A client is about to leave a namespace, and is in these rooms.
    pub(crate) fn disconnecting(
        &self,
        socket: SocketId,
        namespace: NamespaceId,
        reason: CloseReason,
        rooms: &[ChannelName],
    ) {
        let _speaking = self.core().orders.speak_for(socket);
        let Some(namespace) = self.core().namespace(namespace) else { return };
        let rooms: Vec<_> = rooms.iter().filter_map(|room| namespace_of(room).1).map(String::from).collect();
        let (handle, reason) = (Socket::new(socket, namespace.clone()), reason.socketio_text());
        for handlers in namespace.all_handlers() {
            handlers.on_disconnecting.each(|listener| {
                guarded("a disconnecting listener", || listener(&handle, reason, &rooms));
            });
        }
    }

    /// A client has left a namespace. With `is_kept` it may come back: what is kept of it goes with
    /// [`Self::forgotten`]. Without, this is the last that is said of it.
    pub(crate) fn disconnected(
        &self,
        socket: SocketId,
        namespace: NamespaceId,
        reason: CloseReason,
        is_kept: bool,
    ) {
        let core = self.core();
        let _speaking = core.orders.speak_for(socket);
        let Some(namespace) = core.namespace(namespace) else { return };
        core.presence.leave(socket);
        core.consulting.forget(socket);
        let reason = reason.socketio_text();
        let handle = Socket::new(socket, namespace.clone());
        let tell = |listener: &DisconnectListener| {
            guarded("a disconnect listener", || listener(&handle, reason));
        };
        if let Some(state) = core.presence.state(socket) {
            give_up_all(core, state.awaited.take());
            drop(state.joining.take());
            state.on_disconnect.each(tell);
            core.presence.stop_listening(&state);
        }
        for handlers in namespace.all_handlers() {
            handlers.on_disconnect.each(tell);
        }
        match is_kept {
            true => core.presence.prune(socket),
            false => self.forgotten(socket, namespace.id()),
        }
    }

    /// Whoever awaits an acknowledgement of a socket that goes on is told that none comes.
    pub(crate) fn await_no_more(&self, id: SocketId) {
        if let Some(state) = self.core().presence.state(id) {
            give_up_all(self.core(), state.awaited.take());
        }
    }

    /// A client that might have come back has not, or its connect was given up before [`Self::connected`].
    pub(crate) fn forgotten(&self, socket: SocketId, namespace: NamespaceId) {
        let core = self.core();
        let introduction = core.introductions.borrow_mut().remove(&socket);
        let state = core.presence.forget(socket);
        let token = core.tokens.borrow_mut().remove(socket);
        let authenticating = core.authenticating.borrow_mut().remove(&socket);
        core.consulting.forget(socket);
        core.owed.forget(socket);
        core.keys.borrow_mut().remove(&socket);
        if let Some(namespace) = core.namespace(namespace) {
            namespace.count_out();
        }
        // These may hold anything of the application's, which is dropped when nothing is borrowed.
        drop((introduction, state, token, authenticating));
    }

    /// The user of the token that a socket has shown.
    pub(crate) fn user_of(&self, socket: SocketId) -> Option<Box<str>> {
        self.core().tokens.borrow().get(socket).map(|token| token.user.clone())
    }

    /// A token that a socket has brought has been looked at.
    pub(crate) fn authenticated(&self, socket: SocketId, result: Result<Rc<Verified>, TokenError>) {
        let core = self.core();
        let Some(tell) = core.authenticating.borrow_mut().remove(&socket) else { return };
        if let Ok(token) = &result {
            let before = core.tokens.borrow_mut().put(socket, token);
            drop(before);
        }
        let _speaking = core.orders.speak_for(socket);
        if guarded("what awaits a token", || tell(result)).is_none() {
            let command = SocketCommand::Disconnect { ends_session: false };
            core.order(Order::Command { socket, command });
        }
    }

    /// Sockets whose token has run out by now, and those that have brought no other for so long.
    pub(crate) fn due_tokens(&self, now_s: u64, grace_s: u32) -> Vec<Due<SocketId>> {
        self.core().tokens.borrow_mut().take_due(now_s, grace_s)
    }

    /// Tells a socket that its token has run out, and how long it has to bring another.
    pub(crate) fn token_expired(&self, socket: SocketId, refresh_within_s: u32) {
        let json = format!("[\"token_expired\",{{\"refresh_within_s\":{refresh_within_s}}}]");
        let arguments = Arguments { json: json.into(), attachments: Box::default() };
        self.core().order(Order::Emit { socket, arguments, ack: None, is_volatile: false });
    }

    /// Whether a socket may be a member of a room's channel.
    pub(crate) fn may_enter(&self, socket: SocketId, namespace: NamespaceId, room: &ChannelName) -> bool {
        let Some(namespace) = self.core().namespace(namespace) else {
            return self.core().may_enter.borrow().is_none();
        };
        let (socket, said) = (Socket::new(socket, namespace), self.core().may_enter.borrow().clone());
        said.map_or_else(|| socket.may_be_member(room), |may_enter| may_enter(&socket, room))
    }

    /// Who a socket is to those who see it in a room: the user of its token, and what that lets others know.
    pub(crate) fn member_of(&self, socket: SocketId) -> (Option<Box<str>>, Box<str>) {
        let tokens = self.core().tokens.borrow();
        let Some(token) = tokens.get(socket) else { return (None, Box::default()) };
        (Some(token.user.clone()), token.claims.info.clone().unwrap_or_default())
    }

    /// Sockets that a revocation is about.
    pub(crate) fn revoked(&self, revocation: &Revocation) -> Vec<SocketId> {
        self.core().tokens.borrow().revoked(revocation)
    }

    /// Gathers for a shard, which has asked under this token, what its event to many is acknowledged with here.
    pub(crate) fn gather(&self, asked: (ShardId, u64), asking: Asking) -> Rc<Gathering> {
        Gathering::begin(self.core(), asked, asking)
    }

    /// Gathers the acknowledgement of one socket, too; see [`Gathering::await_one`].
    pub(crate) fn gather_of(
        &self,
        socket: SocketId,
        namespace: NamespaceId,
        gathering: &Rc<Gathering>,
    ) -> Option<Option<u64>> {
        gathering.await_one(&Socket::new(socket, self.core().namespace(namespace)?))
    }

    /// A room that a socket was put into under this number has taken it in, or refused it.
    pub(crate) fn joined(&self, socket: SocketId, number: u32, result: Result<(), SubscribeError>) {
        joining::answered(self.core(), socket, number, result);
    }

    /// What carries a socket's client.
    pub(crate) fn is_on_websocket(&self, socket: SocketId) -> bool {
        self.core().presence.is_on_websocket(socket)
    }

    /// The application's data of a socket as JSON, for other shards.
    pub(crate) fn data(&self, socket: SocketId) -> Box<str> {
        Socket::new(socket, (**self).clone()).public_data_json()
    }

    /// A shard, perhaps this one, has answered a request that carried a token.
    pub(crate) fn answered(&self, from: ShardId, answer: SocketsAnswer) {
        questions::answered(self.core(), from, answer);
    }

    /// Something is done to a socket because of where it is, and not by whoever is linked here.
    pub(crate) fn moves(&self, socket: SocketId, command: &SocketCommand) {
        let (rooms, are_joined) = match command {
            SocketCommand::Join(rooms) => (rooms, true),
            SocketCommand::Leave(rooms) => (rooms, false),
            _ => return,
        };
        self.core().on_moved.each(|listener| listener(socket, rooms, are_joined));
    }

    /// Another shard's application said something.
    pub(crate) fn server_event(&self, from: ShardId, namespace: &str, said: &Arguments, token: Option<u64>) {
        let core = self.core();
        let listener = core.on_said.borrow().clone();
        let waits = token.map(|token| Said { asker: from, token });
        if listener.is_some_and(|listener| listener(namespace, said, waits)) {
            return;
        }
        let name = arguments::decode::<(String,)>(&said.json, &[]);
        let mut listeners = 0;
        if let (Some(namespace), Ok((name,))) = (core.namespace_named(namespace), name) {
            for handlers in namespace.all_handlers() {
                for listener in handlers.server_events.of(&name).iter().flat_map(|list| list.iter()) {
                    listeners += 1;
                    let heard = guarded("a server event's listener", || {
                        listener(from, said, Ack::to_shard(core, from, token))
                    });
                    if let Some(Err(error)) = heard {
                        tracing::error!(
                            event = name,
                            "a server event is not what its listener takes: {error}"
                        );
                    }
                }
            }
        }
        if let (0, Some(token)) = (listeners, token) {
            // Nobody will answer; whoever asked need not wait.
            core.order(Order::Answer { asker: from, token, arguments: Arguments::default() });
        }
    }

    /// A raw Engine.IO session was opened.
    pub(crate) fn opened(&self, session: EngineId) {
        let session = RawSession::new(self.core(), session);
        self.core().raw.on_open.each(|listener| session.guarded(|| listener(&session)));
    }

    /// A raw Engine.IO session sent a message.
    pub(crate) fn message(&self, session: EngineId, message: Message<'_>) {
        let session = RawSession::new(self.core(), session);
        self.core().raw.on_message.each(|listener| session.guarded(|| listener(&session, message)));
    }

    /// A raw Engine.IO session has ended.
    pub(crate) fn closed(&self, session: EngineId, reason: CloseReason) {
        let session = RawSession::new(self.core(), session);
        self.core().raw.on_close.each(|listener| session.guarded(|| listener(&session, reason)));
    }
}

impl Handshake {
    /// The first value of a header field, as it was sent; the name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.fields.lines().filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        let (_, query) = self.target.split_once('?')?;
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
    }
}
