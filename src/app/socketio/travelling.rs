//! Clients that stay connected when another version of the program takes the place of this one: what the application keeps of
//! each, and what the next one makes of that.
//!
//! ```text
//!   old: nothing is under way for it ─► save ─► bytes ══► new: restore ─► on_connect, recovered
//!                     └── otherwise, or None ─► told to come back      └─ false ─► told to come back
//! ```
//!
//! Invariant: a client for which an application owes something goes on nowhere else.

use std::{cell::RefCell, rc::Rc};

use super::{Io, NamespaceId, Socket};
use crate::{
    app::{Resumed, guard::guarded},
    mesh::LeftApplication,
    model::{ChannelName, SocketId},
};

/// How the application lets clients go on with another process.
#[derive(Default)]
pub(super) struct Travels(RefCell<Option<Rc<Functions>>>);

struct Functions {
    save: Box<Save>,
    restore: Box<Restore>,
}

type Save = dyn Fn(&Socket, &[ChannelName]) -> Option<Vec<u8>>;
type Restore = dyn Fn(&Socket, &Resumed<'_>) -> bool;

/// What is left of a socket whose client goes on.
pub(crate) struct SavedSocket {
    /// What any client takes along.
    pub(crate) kept: LeftApplication,
    /// What the application says of it.
    pub(crate) saved: Vec<u8>,
    /// The digest of the operator's key that it holds, where rules are in force.
    pub(crate) key: Option<[u8; 32]>,
    /// Whether the client may come back without all this.
    pub(crate) may_come_back: bool,
}

impl Io {
    /// Lets clients on WebSockets stay connected at an upgrade of the server ([`crate::supervisor::keep`]). The last functions set
    /// count; without them all clients are told to come back.
    ///
    /// `save` is called for each socket, with the channels of its namespace and rooms, when nothing is read or sent any more. It
    /// gives what the application keeps of it beside what goes by itself, in a form that another version reads: its id, namespace, rooms, token, key and public data, and all that
    /// it has been sent. [Data](Socket::set_data), functions that were registered for one socket, timers and tasks do not go by
    /// themselves. `None` while something is under way for it that cannot go; then the client, with its sockets in all namespaces,
    /// is told to come back. So it is without being asked about while an [`Ack`](super::Ack) for it is kept. An acknowledgement
    /// that is awaited from it has [failed](super::AckError::Disconnected) then, and what it answers is heard by nobody.
    ///
    /// `restore` is called in the next process before it serves: whether the socket goes on there. With `true` the listeners of
    /// [`on_connect`](super::Handlers::on_connect) are called when it does, as for one that has come back
    /// ([`Socket::recovered`]), and middleware is not. With `false` the client is told to come back, as a new one. Should the
    /// server not come to serve, what `restore` was asked is as if it had not been.
    ///
    /// ```
    /// # use roadstead::app::socketio::{Io, Socket};
    /// fn register(io: &Io) {
    ///     io.use_middleware(|candidate| Ok(candidate.set_data(candidate.auth::<String>()?)));
    ///     io.on_upgrade(
    ///         |socket, _followed| Some(socket.data::<String>()?.as_bytes().to_vec()),
    ///         |socket, resumed| {
    ///             let Ok(name) = String::from_utf8(resumed.saved.to_vec()) else { return false };
    ///             socket.set_data(name);
    ///             true
    ///         },
    ///     );
    /// }
    /// ```
    pub fn on_upgrade(
        &self,
        save: impl Fn(&Socket, &[ChannelName]) -> Option<Vec<u8>> + 'static,
        restore: impl Fn(&Socket, &Resumed<'_>) -> bool + 'static,
    ) {
        let functions = Functions { save: Box::new(save), restore: Box::new(restore) };
        let before = self.core().travels.0.replace(Some(Rc::new(functions)));
        drop(before);
    }

    /// Whether clients may go on with another process.
    pub(crate) fn has_travellers(&self) -> bool {
        !self.is_raw() && self.core().travels.0.borrow().is_some()
    }

    /// What is left of a socket of this namespace whose client goes on; `None` for one that does not.
    pub(crate) fn save_socket(
        &self,
        id: SocketId,
        namespace: NamespaceId,
        followed: &[ChannelName],
        now_s: u64,
    ) -> Option<SavedSocket> {
        let core = self.core();
        let functions = core.travels.0.borrow().clone()?;
        let is_owed =
            core.owed.has(id) || core.consulting.has(id) || core.authenticating.borrow().contains_key(&id);
        let has_run_out = core.tokens.borrow().get(id).is_some_and(|token| token.expires_s <= now_s);
        let state = core.presence.state(id);
        let is_joining = state.as_ref().is_some_and(|state| !state.joining.borrow().is_empty());
        if is_owed || has_run_out || is_joining {
            return None;
        }
        let socket = Socket::new(id, core.namespace(namespace)?);
        let saved = guarded("save", || (functions.save)(&socket, followed)).flatten()?;
        let (left, key) = (self.leave_socket(id), core.keys.borrow().get(&id).copied());
        let may_come_back = left.is_some() && key.is_none();
        Some(SavedSocket { kept: left.unwrap_or_else(|| self.kept_of(id)), saved, key, may_come_back })
    }

    /// Lets a socket go on that has [come from another process](Self::await_again), perhaps with a key; whether it does.
    pub(crate) fn restore_socket(
        &self,
        id: SocketId,
        namespace: NamespaceId,
        key: Option<[u8; 32]>,
        resumed: &Resumed<'_>,
    ) -> bool {
        let core = self.core();
        let functions = core.travels.0.borrow().clone();
        let (Some(functions), Some(namespace)) = (functions, core.namespace(namespace)) else { return false };
        if let Some(key) = key {
            core.keys.borrow_mut().insert(id, key);
        }
        let _speaking = core.orders.speak_for(id);
        let socket = Socket::new(id, namespace);
        guarded("restore", || (functions.restore)(&socket, resumed)) == Some(true)
    }

    /// A socket that goes on is carried by a WebSocket here, or polls, as it did before.
    pub(crate) fn carry(&self, id: SocketId, is_websocket: bool) {
        self.core().presence.carry(id, is_websocket);
    }

    /// A number that no acknowledgement has been asked under.
    pub(crate) fn next_number(&self) -> u64 {
        self.core().next_number()
    }

    /// Asks for no acknowledgement under a number below this: it may be one of another process, and be answered here.
    pub(crate) fn number_from(&self, number: u64) {
        self.core().number_from(number);
    }
}

impl Travels {
    /// The application ends.
    pub(super) fn end(&self) {
        self.0.take();
    }
}
