//! One client in one namespace, as the application sees it.

use std::{
    fmt,
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};
use tracing::{debug, error};

use super::{
    Ack, AckError, Broadcast, Handshake, Io, Namespace, Order, RawEvent, Rooms,
    arguments::{self, PayloadError, decode_value},
    awaiting,
    broadcast::{outgoing, own_room},
    core::Core,
    joining,
    later::Awaiting,
    questions::{self, Asked},
    rooms,
};
use crate::{
    app::guard::guarded,
    auth::{TokenError, Verified},
    hub::SubscribeError,
    limits::{ACK_TIMEOUT_MS, SURVEY_TIMEOUT_MS},
    mesh::{Selection, SocketCommand, SocketsRequest, Told},
    model::{Arguments, ChannelName, SocketId, namespace_of},
};

/// A client in a namespace. Cheap to clone, and no harm if it is kept: when the client is gone, nothing happens any
/// more.
#[derive(Clone)]
pub struct Socket {
    id: SocketId,
    namespace: Namespace,
    introduction: Option<Rc<Introduction>>,
}

/// What a client said on entering.
#[derive(Debug)]
pub(super) struct Introduction {
    pub(super) auth: Option<Box<str>>,
    pub(super) handshake: Option<Handshake>,
    /// The channels of the rooms that one is in who has come back.
    pub(super) rooms: Vec<ChannelName>,
}

/// An event to one socket that is not sent quite as usual.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is sent yet"]
pub struct Emit<'a> {
    socket: &'a Socket,
    is_volatile: bool,
    timeout: Duration,
}

impl Socket {
    pub(super) fn new(id: SocketId, namespace: Namespace) -> Self {
        Self { id, namespace, introduction: None }
    }

    pub(super) fn introduced(id: SocketId, namespace: Namespace, said: Option<Rc<Introduction>>) -> Self {
        Self { id, namespace, introduction: said }
    }

    /// Its id, which everybody may know.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The application it belongs to.
    pub fn io(&self) -> Io {
        self.namespace.io()
    }

    /// Whether the client is still there.
    pub fn is_connected(&self) -> bool {
        self.core().presence.is_connected(self.id)
    }

    /// What carries the client now: `"polling"`, or `"websocket"`, to which a client that polls may change.
    pub fn transport(&self) -> &'static str {
        if self.core().presence.is_on_websocket(self.id) { "websocket" } else { "polling" }
    }

    /// Whether the client came back and missed nothing: its rooms and its data are those it had.
    pub fn recovered(&self) -> bool {
        self.core().presence.has_recovered(self.id)
    }

    /// The request that opened the client's session, if headers are kept
    /// ([`super::Settings::keep_handshake`]). Known to the socket that [`super::Handlers::on_connect`] gives and to
    /// its clones; nothing else keeps it, for it is larger than all the rest of an idle client.
    pub fn handshake(&self) -> Option<&Handshake> {
        self.introduction.as_ref()?.handshake.as_ref()
    }

    /// What the client sent to prove itself, known where [`Self::handshake`] is.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        read_auth(self.introduction.as_ref().and_then(|said| said.auth.as_deref()))
    }

    /// What the client sent to prove itself, a JSON object, known where [`Self::handshake`] is.
    pub fn auth_json(&self) -> Option<&str> {
        self.introduction.as_ref()?.auth.as_deref()
    }

    /// The rooms that one is in who has come back, its own not among them, known where [`Self::handshake`] is to an application that
    /// has asked to be told.
    pub(crate) fn rooms_again(&self) -> impl Iterator<Item = &str> {
        let rooms = self.introduction.as_ref().map_or(&[][..], |said| &said.rooms);
        rooms.iter().filter_map(|room| namespace_of(room).1)
    }

    /// Sends an event. A tuple is as many arguments as it has items and [`super::NO_ARGUMENTS`] is none; anything else is
    /// one, `&()` a `null`.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) {
        self.usually().emit(event, data);
    }

    /// Sends an event and waits for the acknowledgement, which is read as [`super::Handlers::on`] reads arguments.
    /// The event is sent now, not when it is awaited.
    pub fn emit_with_ack<R: DeserializeOwned + 'static>(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Awaiting<Result<R, AckError>> {
        self.usually().emit_with_ack(event, data)
    }

    /// As [`Self::emit_with_ack`], and calls `then` with what came of it.
    pub fn emit_with_callback<R: DeserializeOwned + 'static>(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
        then: impl FnOnce(Result<R, AckError>) + 'static,
    ) {
        self.usually().emit_with_callback(event, data, then);
    }

    /// Sets how long an acknowledgement is waited for, instead of [`ACK_TIMEOUT_MS`].
    pub fn timeout(&self, timeout: Duration) -> Emit<'_> {
        self.usually().timeout(timeout)
    }

    /// Does not wait for the client if it cannot take the event at once.
    pub fn volatile(&self) -> Emit<'_> {
        self.usually().volatile()
    }

    /// Changes nothing: nothing is compressed.
    pub fn compress(&self, compress: bool) -> Emit<'_> {
        self.usually().compress(compress)
    }

    /// Puts the socket into rooms; whether all of them can be rooms. It is already in the one of its own id.
    ///
    /// A room's owner may be another shard. What the client is told after this, an acknowledgement above all, waits until
    /// it is in, so that whatever is published once it knows reaches it.
    pub fn join(&self, rooms: impl Rooms) -> bool {
        self.change_rooms(&rooms, SocketCommand::Join)
    }

    /// As [`Self::join`], and calls `then` when the socket is in all of the rooms, or has been refused one: it is in as many
    /// as it may be, or a room's owner has no place for it. Not called when the socket leaves before.
    pub fn join_then(&self, rooms: impl Rooms, then: impl FnOnce(Result<(), SubscribeError>) + 'static) {
        joining::join(self, &rooms, then);
    }

    /// Takes the socket out of rooms; whether all of them can be rooms.
    pub fn leave(&self, rooms: impl Rooms) -> bool {
        self.change_rooms(&rooms, SocketCommand::Leave)
    }

    /// The rooms the socket was put into, in any order. That of its own id is not among them.
    pub async fn rooms(&self) -> Vec<String> {
        let core = self.core();
        let selection = Selection {
            namespace: self.namespace.channel().clone(),
            rooms: own_room(self.id, self.namespace.name()).into_iter().collect(),
            except: Vec::new(),
            except_socket: None,
        };
        let until = Instant::now() + Duration::from_millis(SURVEY_TIMEOUT_MS);
        let put = |token| SocketsRequest::Fetch { selection, token, limit: 1, told: Told::Summaries };
        let replies = questions::ask(core, Asked::One(self.id.shard), until, put).await;
        let sockets = replies.flat_map(|_, answer| answer.sockets);
        let rooms = sockets.iter().flat_map(|socket| &socket.rooms);
        rooms.filter_map(|room| namespace_of(room).1).map(String::from).collect()
    }

    /// Selects the sockets in a room but for this one.
    pub fn to(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().to(rooms)
    }

    /// The same as [`Self::to`].
    pub fn in_(&self, rooms: impl Rooms) -> Broadcast {
        self.to(rooms)
    }

    /// Selects the sockets that are not in a room, but for this one.
    pub fn except(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().except(rooms)
    }

    /// Selects all sockets of the namespace but this one.
    pub fn broadcast(&self) -> Broadcast {
        let mut others = self.namespace.everybody();
        others.leave_out(self.id);
        others
    }

    /// The same as [`Self::broadcast`]: a process is one node to Socket.IO.
    pub fn local(&self) -> Broadcast {
        self.broadcast()
    }

    /// Looks at a token that the client has brought while it is connected, in place of the one it has, which must be of the same
    /// user; `then` is called at once or, when many are shown, in a later turn. What the client has by the one before stays:
    /// ending that is for the application. Not called when the client leaves before; busy while another is being looked at.
    pub fn authenticate(&self, token: &str, then: impl FnOnce(Result<Rc<Verified>, TokenError>) + 'static) {
        let core = self.core();
        if core.authenticating.borrow().contains_key(&self.id) || !self.is_connected() {
            return then(Err(TokenError::Busy));
        }
        core.authenticating.borrow_mut().insert(self.id, Box::new(then));
        core.order(Order::Authenticate { socket: self.id, token: token.into() });
    }

    /// The good token that it has shown, if it has.
    pub fn token(&self) -> Option<Rc<Verified>> {
        self.core().tokens.borrow().get(self.id).cloned()
    }

    /// Keeps a value for the socket, instead of one kept before, until the client is gone for good.
    pub fn set_data<T: 'static>(&self, data: T) {
        if let Some(state) = self.core().presence.state_or_new(self.id) {
            let before = state.data.replace(Some(Rc::new(data)));
            drop(before);
        }
    }

    /// The value kept, if it is of this type.
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        let state = self.core().presence.state(self.id)?;
        let data = state.data.borrow().clone()?;
        data.downcast().ok()
    }

    /// Sets what [`Namespace::fetch_sockets`] tells of the socket, on every shard.
    pub fn set_public_data(&self, data: &(impl Serialize + ?Sized)) {
        let json = match arguments::encode_value(data) {
            Ok(json) => json,
            Err(error) => return error!("no public data: JSON cannot say it: {error}"),
        };
        if let Some(state) = self.core().presence.state_or_new(self.id) {
            state.public_data.replace(Some(json.into()));
        }
    }

    /// What [`Self::set_public_data`] set.
    pub fn public_data<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        decode_value(&self.public_data_json())
    }

    /// Calls `listener` with the arguments of this socket's events of this name, before the namespace's listeners
    /// are called. Each listener of a socket costs memory as long as it is connected, and nothing when it is the
    /// namespace's: prefer that.
    pub fn on<T, F>(&self, event: &str, listener: F)
    where
        T: DeserializeOwned,
        F: Fn(&Socket, T) + 'static,
    {
        if let Some(events) = self.core().presence.own_events(self.id) {
            events.on(event, listener);
        }
    }

    /// As [`Self::on`], with the means to acknowledge the event.
    pub fn on_with_ack<T, F>(&self, event: &str, listener: F)
    where
        T: DeserializeOwned,
        F: Fn(&Socket, T, Ack) + 'static,
    {
        if let Some(events) = self.core().presence.own_events(self.id) {
            events.on_with_ack(event, listener);
        }
    }

    /// Calls `listener` with every event of this socket.
    pub fn on_any(&self, listener: impl Fn(&Socket, &RawEvent<'_>) + 'static) {
        if let Some(events) = self.core().presence.own_events(self.id) {
            events.on_any(listener);
        }
    }

    /// Removes the socket's own listeners for an event.
    pub fn off(&self, event: &str) {
        if let Some(events) = self.core().presence.events(self.id) {
            events.off(event);
        }
    }

    /// Removes the socket's own listeners for any event.
    pub fn off_any(&self) {
        if let Some(events) = self.core().presence.events(self.id) {
            events.off_any();
        }
    }

    /// Calls `listener` when the client has left, and why ([`super::Handlers::on_disconnect`]).
    pub fn on_disconnect(&self, listener: impl Fn(&Socket, &str) + 'static) {
        if let Some(state) = self.core().presence.state_or_new(self.id) {
            state.on_disconnect.add(Rc::new(listener));
        }
    }

    /// Takes the client out of the namespace.
    pub fn disconnect(&self) {
        self.command(SocketCommand::Disconnect { ends_session: false });
    }

    /// Ends the client's connection, and with it its sockets in all namespaces.
    pub fn disconnect_all(&self) {
        self.command(SocketCommand::Disconnect { ends_session: true });
    }

    /// Runs asynchronous work on this shard. It goes on when the client is gone; [`Self::is_connected`] tells. When it
    /// panics, the client is disconnected.
    pub fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        let socket = self.clone();
        self.io().spawn_or(work, move || socket.fail());
    }

    /// Calls a function of the application on behalf of this client, which is disconnected when it panics.
    pub(super) fn guarded<T>(&self, call: &str, function: impl FnOnce() -> T) -> Option<T> {
        let outcome = guarded(call, function);
        if outcome.is_none() {
            self.fail();
        }
        outcome
    }

    fn fail(&self) {
        self.command(SocketCommand::Disconnect { ends_session: false });
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        self.namespace.core()
    }

    pub(super) fn send(&self, arguments: Arguments, ack: Option<u64>, is_volatile: bool) {
        self.core().order(Order::Emit { socket: self.id, arguments, ack, is_volatile });
    }

    pub(super) fn public_data_json(&self) -> Box<str> {
        let state = self.core().presence.state(self.id);
        state.and_then(|state| state.public_data.borrow().clone()).unwrap_or_else(|| "null".into())
    }

    fn usually(&self) -> Emit<'_> {
        Emit { socket: self, is_volatile: false, timeout: Duration::from_millis(ACK_TIMEOUT_MS) }
    }

    fn command(&self, command: SocketCommand) {
        self.core().order(Order::Command { socket: self.id, command });
    }

    fn change_rooms(
        &self,
        rooms: &impl Rooms,
        change: impl FnOnce(Vec<crate::model::ChannelName>) -> SocketCommand,
    ) -> bool {
        let mut names = 0;
        rooms.visit(&mut |_| names += 1);
        let channels = rooms::channels(rooms, self.namespace.name());
        let are_all = channels.len() == names;
        if !are_all {
            debug!(socket = %self.id, "a name that cannot be a room's was left out");
        }
        if !channels.is_empty() {
            self.command(change(channels));
        }
        are_all
    }
}

impl Emit<'_> {
    /// Sets how long an acknowledgement is waited for.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Does not wait for the client if it cannot take the event at once.
    pub fn volatile(mut self) -> Self {
        self.is_volatile = true;
        self
    }

    /// Changes nothing: nothing is compressed.
    pub fn compress(self, compress: bool) -> Self {
        let _unused = compress;
        self
    }

    /// [`Socket::emit`]
    pub fn emit<T: Serialize + ?Sized>(self, event: &str, data: &T) {
        if let Some(outgoing) = outgoing(event, data) {
            self.socket.send(outgoing.arguments, None, self.is_volatile);
        }
    }

    /// [`Socket::emit_with_ack`]
    pub fn emit_with_ack<R: DeserializeOwned + 'static>(
        self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Awaiting<Result<R, AckError>> {
        let (give, awaiting) = Awaiting::new();
        self.emit_with_callback(event, data, give);
        awaiting
    }

    /// [`Socket::emit_with_callback`]
    pub fn emit_with_callback<R: DeserializeOwned + 'static>(
        self,
        event: &str,
        data: &(impl Serialize + ?Sized),
        then: impl FnOnce(Result<R, AckError>) + 'static,
    ) {
        let Some(outgoing) = outgoing(event, data) else { return then(Err(AckError::NotSent)) };
        let until = Instant::now() + self.timeout;
        awaiting::ask(self.socket, outgoing.arguments, self.is_volatile, until, then);
    }
}

/// Reads what a client sent to prove itself; nothing reads as `null`.
pub(super) fn read_auth<T: DeserializeOwned>(auth: Option<&str>) -> Result<T, PayloadError> {
    decode_value(auth.unwrap_or("null"))
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("id", &self.id).field("namespace", &self.namespace).finish()
    }
}
