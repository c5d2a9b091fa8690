//! Engine.IO without Socket.IO: messages, and nothing else.

use std::rc::Rc;

use super::{EngineId, Io, Order, core::Core, listeners::Listeners};
use crate::{
    app::{Message, guard::guarded},
    model::CloseReason,
};

/// The sessions of an application that speaks Engine.IO only. Registering anything here turns Socket.IO off for the
/// whole application.
#[derive(Clone, Debug)]
pub struct RawEngine(pub(super) Io);

/// A client's Engine.IO session.
#[derive(Clone)]
pub struct RawSession {
    id: EngineId,
    core: Rc<Core>,
}

type OpenListener = dyn Fn(&RawSession);
type MessageListener = dyn Fn(&RawSession, Message<'_>);
type CloseListener = dyn Fn(&RawSession, CloseReason);

/// What an application registered for raw sessions.
#[derive(Debug, Default)]
pub(super) struct RawListeners {
    pub(super) on_open: Listeners<OpenListener>,
    pub(super) on_message: Listeners<MessageListener>,
    pub(super) on_close: Listeners<CloseListener>,
}

impl RawListeners {
    /// The application ends.
    pub(super) fn end(&self) {
        self.on_open.clear();
        self.on_message.clear();
        self.on_close.clear();
    }
}

impl RawEngine {
    /// Calls `listener` with every session that is opened.
    pub fn on_open(&self, listener: impl Fn(&RawSession) + 'static) {
        self.0.core().raw.on_open.add(Rc::new(listener));
    }

    /// Calls `listener` with every message.
    pub fn on_message(&self, listener: impl Fn(&RawSession, Message<'_>) + 'static) {
        self.0.core().raw.on_message.add(Rc::new(listener));
    }

    /// Calls `listener` with every session that has ended.
    pub fn on_close(&self, listener: impl Fn(&RawSession, CloseReason) + 'static) {
        self.0.core().raw.on_close.add(Rc::new(listener));
    }
}

impl RawListeners {
    pub(super) fn are_used(&self) -> bool {
        !(self.on_open.is_empty() && self.on_message.is_empty() && self.on_close.is_empty())
    }
}

impl RawSession {
    pub(super) fn new(core: &Rc<Core>, id: EngineId) -> Self {
        Self { id, core: Rc::clone(core) }
    }

    /// Its id, for tables of the application's own.
    pub fn id(&self) -> EngineId {
        self.id
    }

    /// Sends a message.
    pub fn send(&self, message: Message<'_>) {
        let is_text = matches!(message, Message::Text(_));
        self.core.order(Order::Send { session: self.id, is_text, data: message.bytes().into() });
    }

    /// Calls a function of the application on behalf of this session, which is ended when it panics.
    pub(super) fn guarded(&self, function: impl FnOnce()) {
        if guarded("a listener", function).is_none() {
            self.close();
        }
    }

    /// Ends the session.
    pub fn close(&self) {
        self.core.order(Order::Close { session: self.id });
    }
}

impl std::fmt::Debug for RawSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RawSession").field(&self.id).finish()
    }
}
