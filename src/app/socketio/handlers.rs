//! What an application registers for a namespace: shared by all its sockets, so that it costs none of them anything.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    rc::Rc,
};

use serde::de::DeserializeOwned;

use super::{
    Ack, Applicant, Candidate, ConnectError, Socket,
    admission::{Middleware, Verdict},
    arguments::{self, PayloadError},
    events::{EventError, EventTable, RawEvent},
    listeners::{Listeners, NamedListeners},
};
use crate::model::{Arguments, ShardId};

/// Hears of a socket that has left, and why.
pub(super) type DisconnectListener = dyn Fn(&Socket, &str);
/// Hears of a socket that is about to leave, why, and of its rooms.
type DisconnectingListener = dyn Fn(&Socket, &str, &[String]);
type ErrorListener = dyn Fn(&Socket, &EventError<'_>);
type ServerListener = dyn Fn(ShardId, &Arguments, Ack) -> Result<(), PayloadError>;

/// The functions of a namespace, or of all namespaces a rule matches. They are called in the order in which they
/// were registered, and may do anything: also register others.
#[derive(Default)]
pub struct Handlers {
    pub(super) middleware: Listeners<Middleware>,
    pub(super) on_connect: Listeners<dyn Fn(Socket)>,
    pub(super) on_disconnecting: Listeners<DisconnectingListener>,
    pub(super) on_disconnect: Listeners<DisconnectListener>,
    pub(super) events: EventTable,
    pub(super) server_events: NamedListeners<ServerListener>,
    /// The operator's rules are in force ([`Self::use_rules`]).
    pub(super) is_ruled: Cell<bool>,
    on_error: RefCell<Option<Rc<ErrorListener>>>,
}

impl Handlers {
    /// Calls `check` with everybody who wants to enter, in order, until one refuses.
    pub fn use_middleware(&self, check: impl Fn(&Candidate<'_>) -> Result<(), ConnectError> + 'static) {
        self.middleware.add(Rc::new(Middleware::Now(Box::new(check))));
    }

    /// As [`Self::use_middleware`], for what takes time, such as to ask a database: the client waits for what `check` says, and
    /// is asked about further only then. It must enter some namespace within `socketio.connect_timeout_ms` all the same. What
    /// panics refuses it.
    pub fn use_async_middleware<W>(&self, check: impl Fn(Applicant) -> W + 'static)
    where
        W: Future<Output = Result<(), ConnectError>> + 'static,
    {
        let ask = move |who| -> Verdict { Box::pin(check(who)) };
        self.middleware.add(Rc::new(Middleware::Later(Box::new(ask))));
    }

    /// Calls `listener` with everybody who has entered.
    pub fn on_connect(&self, listener: impl Fn(Socket) + 'static) {
        self.on_connect.add(Rc::new(listener));
    }

    /// Calls `listener` with everybody who is about to leave, why, and the rooms it is in, its own not among them. What the
    /// listener asks for is done when the socket has left them; [`Self::on_disconnect`]'s listeners are called after it.
    pub fn on_disconnecting(&self, listener: impl Fn(&Socket, &str, &[String]) + 'static) {
        self.on_disconnecting.add(Rc::new(listener));
    }

    /// Calls `listener` with everybody who has left and why, in the words of Socket.IO (`"transport close"`). The
    /// socket's data is still there.
    pub fn on_disconnect(&self, listener: impl Fn(&Socket, &str) + 'static) {
        self.on_disconnect.add(Rc::new(listener));
    }

    /// Calls `listener` with the arguments of every event of this name. One whose arguments are not what `T` takes
    /// goes to [`Self::on_error`] instead.
    pub fn on<T, F>(&self, event: &str, listener: F)
    where
        T: DeserializeOwned,
        F: Fn(&Socket, T) + 'static,
    {
        self.events.on(event, listener);
    }

    /// As [`Self::on`], with the means to acknowledge the event.
    pub fn on_with_ack<T, F>(&self, event: &str, listener: F)
    where
        T: DeserializeOwned,
        F: Fn(&Socket, T, Ack) + 'static,
    {
        self.events.on_with_ack(event, listener);
    }

    /// Calls `listener` with every event, before those that listen for its name.
    pub fn on_any(&self, listener: impl Fn(&Socket, &RawEvent<'_>) + 'static) {
        self.events.on_any(listener);
    }

    /// Removes every listener for an event.
    pub fn off(&self, event: &str) {
        self.events.off(event);
    }

    /// Removes every listener for any event.
    pub fn off_any(&self) {
        self.events.off_any();
    }

    /// Calls `listener`, and no one before it, with events whose arguments are not what their listener takes.
    /// Without one they are logged at level debug; [`super::Io::events_failed`] counts them either way.
    pub fn on_error(&self, listener: impl Fn(&Socket, &EventError<'_>) + 'static) {
        drop(self.on_error.replace(Some(Rc::new(listener))));
    }

    /// Calls `listener` with what another shard said with [`super::Namespace::server_side_emit`].
    pub fn on_server_event<T, F>(&self, event: &str, listener: F)
    where
        T: DeserializeOwned,
        F: Fn(ShardId, T) + 'static,
    {
        self.on_server_event_with_ack(event, move |from, data, _ack| listener(from, data));
    }

    /// As [`Self::on_server_event`], with the means to answer.
    pub fn on_server_event_with_ack<T, F>(&self, event: &str, listener: F)
    where
        T: DeserializeOwned,
        F: Fn(ShardId, T, Ack) + 'static,
    {
        self.server_events.add(
            event,
            Rc::new(move |from, said: &Arguments, ack| {
                listener(from, arguments::decode_event(&said.json, &said.attachments)?, ack);
                Ok(())
            }),
        );
    }

    /// The application ends.
    pub(super) fn end(&self) {
        self.middleware.clear();
        self.on_connect.clear();
        self.on_disconnecting.clear();
        self.on_disconnect.clear();
        self.events.end();
        self.server_events.clear();
        drop(self.on_error.take());
    }

    /// Tells whoever listens for failures; whether anybody does.
    pub(super) fn tell_error(&self, socket: &Socket, error: &EventError<'_>) -> bool {
        let listener = self.on_error.borrow().clone();
        let heard = listener.map(|listener| socket.guarded("an error listener", || listener(socket, error)));
        heard.is_some()
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").field("events", &self.events).finish_non_exhaustive()
    }
}
