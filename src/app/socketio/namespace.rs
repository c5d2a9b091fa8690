//! A namespace: what its sockets have in common.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    ops::Deref,
    rc::Rc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tracing::debug;

use super::{
    Acknowledged, Answers, Awaiting, Broadcast, Channel, Handlers, Io, Matching, NamespaceId, RemoteSocket,
    Rooms, Socket,
    core::Core,
    events::{EventError, RawEvent},
};
use crate::model::{ChannelName, ChannelNameError, ShardId, StateRequest, room_channel};

/// A namespace. Cheap to clone; every clone is the same. It has the methods of [`Handlers`], which say what happens
/// with its sockets, and those of a [`Broadcast`] to all of them.
#[derive(Clone)]
pub struct Namespace(Rc<Inner>);

struct Inner {
    core: Rc<Core>,
    id: NamespaceId,
    name: Rc<str>,
    channel: ChannelName,
    handlers: Handlers,
    /// What made it, if it is dynamic.
    rule: Option<Matching>,
    /// Whether it stays with nobody in it, for the application asked for it by name.
    is_static: Cell<bool>,
    /// Called when it has gone, if it goes with the last.
    on_gone: RefCell<Option<Box<dyn FnOnce()>>>,
    /// The sockets on this shard, with those that are being admitted and those that may come back.
    sockets: Cell<usize>,
    data: RefCell<Option<Rc<dyn Any>>>,
}

impl Namespace {
    pub(super) fn new(core: Rc<Core>, id: NamespaceId, channel: ChannelName, rule: Option<Matching>) -> Self {
        Self(Rc::new(Inner {
            core,
            id,
            name: channel.as_str().into(),
            channel,
            handlers: Handlers::default(),
            is_static: Cell::new(rule.is_none()),
            rule,
            on_gone: RefCell::default(),
            sockets: Cell::new(0),
            data: RefCell::default(),
        }))
    }

    /// Its name, with a slash in front.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The application it belongs to.
    pub fn io(&self) -> Io {
        Io::of_core(&self.0.core)
    }

    /// How many sockets it has on this shard, with those that may come back.
    pub fn sockets_count(&self) -> usize {
        self.0.sockets.get()
    }

    /// Keeps a value for the namespace, instead of one kept before. It goes with a dynamic namespace when nobody is
    /// in it any more.
    pub fn set_data<T: 'static>(&self, data: T) {
        let before = self.0.data.replace(Some(Rc::new(data)));
        drop(before);
    }

    /// The value kept, if it is of this type.
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.0.data.borrow().clone()?.downcast().ok()
    }

    /// Sends an event to every socket, on every shard.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) {
        self.everybody().emit(event, data);
    }

    /// Sends an event to every socket, on every shard, and gathers what they acknowledge it with.
    pub fn emit_with_ack<R: DeserializeOwned + 'static>(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Awaiting<Acknowledged<R>> {
        self.everybody().emit_with_ack(event, data)
    }

    /// Selects the sockets in a room; more calls add more rooms.
    pub fn to(&self, rooms: impl Rooms) -> Broadcast {
        self.everybody().to(rooms)
    }

    /// The same as [`Self::to`].
    pub fn in_(&self, rooms: impl Rooms) -> Broadcast {
        self.to(rooms)
    }

    /// Selects the sockets that are not in a room.
    pub fn except(&self, rooms: impl Rooms) -> Broadcast {
        self.everybody().except(rooms)
    }

    /// Selects everybody, for events that are not worth waiting for.
    pub fn volatile(&self) -> Broadcast {
        self.everybody().volatile()
    }

    /// Selects everybody but the sockets of other members of a Socket.IO cluster: a process is one member.
    pub fn local(&self) -> Broadcast {
        self.everybody().local()
    }

    /// Selects everybody; said for those who know it from Socket.IO, it changes nothing.
    pub fn compress(&self, compress: bool) -> Broadcast {
        self.everybody().compress(compress)
    }

    /// Sets how long the answers of other shards are waited for.
    pub fn timeout(&self, timeout: Duration) -> Broadcast {
        self.everybody().timeout(timeout)
    }

    /// What the namespace holds: keys, counters, and who is present.
    pub fn own_channel(&self) -> Channel {
        Channel::new(Rc::clone(&self.0.core), self.0.channel.clone())
    }

    /// What a room holds, whether or not anybody is in it; an error if no room can have the name.
    pub fn channel_of(&self, room: &str) -> Result<Channel, ChannelNameError> {
        Ok(Channel::new(Rc::clone(&self.0.core), room_channel(self.name(), room)?))
    }

    /// Changes the state of the namespace: sets or removes a key, or counts one further; see [`Broadcast::change_state`].
    pub fn change_state(&self, request: StateRequest) {
        self.everybody().change_state(request);
    }

    /// Puts every socket into rooms.
    pub fn sockets_join(&self, rooms: impl Rooms) {
        self.everybody().sockets_join(rooms);
    }

    /// Takes every socket out of rooms.
    pub fn sockets_leave(&self, rooms: impl Rooms) {
        self.everybody().sockets_leave(rooms);
    }

    /// Takes every socket out of the namespace, and with `close` ends its client's connection.
    pub fn disconnect_sockets(&self, close: bool) {
        self.everybody().disconnect_sockets(close);
    }

    /// Asks every shard for its sockets, and every other member of a Socket.IO cluster.
    pub async fn fetch_sockets(&self) -> Answers<RemoteSocket> {
        self.everybody().fetch_sockets().await
    }

    /// Says something to this application on every other shard.
    pub fn server_side_emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) {
        self.everybody().server_side_emit(event, data);
    }

    /// As [`Self::server_side_emit`], and gives the answers.
    pub async fn server_side_emit_with_answers<R: DeserializeOwned + 'static>(
        &self,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Answers<(ShardId, R)> {
        self.everybody().server_side_emit_with_answers(event, data).await
    }

    /// Selects every socket.
    pub(crate) fn everybody(&self) -> Broadcast {
        Broadcast::new(self.clone())
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.0.core
    }

    pub(super) fn id(&self) -> NamespaceId {
        self.0.id
    }

    pub(super) fn shared_name(&self) -> &Rc<str> {
        &self.0.name
    }

    pub(super) fn channel(&self) -> &ChannelName {
        &self.0.channel
    }

    /// What was registered for it: by the rule that made it, and for itself.
    pub(super) fn all_handlers(&self) -> impl Iterator<Item = &Handlers> {
        self.0.rule.as_deref().into_iter().chain([&self.0.handlers])
    }

    /// An event goes to the socket's own listeners, then to the namespace's.
    pub(super) fn hear(&self, socket: &Socket, event: &RawEvent<'_>) {
        if let Some(own) = self.core().presence.events(socket.id()) {
            own.dispatch(socket, event);
        }
        self.all_handlers().for_each(|handlers| handlers.events.dispatch(socket, event));
    }

    pub(super) fn event_failed(&self, socket: &Socket, error: &EventError<'_>) {
        self.core().count_failed_event();
        let heard = self.all_handlers().filter(|handlers| handlers.tell_error(socket, error)).count();
        if heard == 0 {
            debug!(socket = %socket.id(), namespace = self.name(), "{error}");
        }
    }

    /// The application ends.
    pub(super) fn end(&self) {
        self.0.handlers.end();
        drop(self.0.data.take());
    }

    pub(super) fn count_in(&self) {
        self.0.sockets.set(self.0.sockets.get() + 1);
    }

    /// One socket fewer; with the last a dynamic namespace goes.
    pub(super) fn count_out(&self) {
        debug_assert!(self.0.sockets.get() > 0, "who leaves was counted in");
        self.0.sockets.set(self.0.sockets.get().saturating_sub(1));
        if self.0.sockets.get() == 0 && !self.0.is_static.get() {
            self.release();
        }
    }

    /// One that no rule has made goes with the last that is in it, or, if nobody has come yet, with the first that does; `then` is
    /// called when it has gone. It stays when it is asked for by name again.
    pub(crate) fn pass_with_the_last(&self, then: impl FnOnce() + 'static) {
        debug_assert!(self.0.rule.is_none(), "one that a rule has made passes anyhow");
        self.0.is_static.set(false);
        let before = self.0.on_gone.replace(Some(Box::new(then)));
        drop(before);
    }

    /// As [`Self::pass_with_the_last`]; one that nobody is in goes at once.
    pub(crate) fn let_go(&self, then: impl FnOnce() + 'static) {
        self.pass_with_the_last(then);
        if self.0.sockets.get() == 0 {
            self.release();
        }
    }

    /// The last has left.
    fn release(&self) {
        if self.0.rule.is_some() {
            return self.core().rules.release(self);
        }
        self.core().remove_namespace(self);
        self.end();
        let then = self.0.on_gone.take();
        then.into_iter().for_each(|then| then());
    }

    pub(super) fn make_static(&self) {
        if self.0.is_static.replace(true) {
            return;
        }
        match self.0.rule {
            Some(_) => self.core().rules.count_out(),
            None => drop(self.0.on_gone.take()),
        }
    }
}

impl Deref for Namespace {
    type Target = Handlers;

    fn deref(&self) -> &Handlers {
        &self.0.handlers
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.name()).finish()
    }
}
