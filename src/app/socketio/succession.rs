//! What a Socket.IO application keeps of a client that comes back to another process.
//!
//! Data in the form of a program's own ([`super::Socket::set_data`]) is nothing that another program, which may be of another
//! version, could read. So a client with such data does not come back as who it was.

use std::rc::Rc;

use super::{Io, NamespaceId, matching::Auth, matching::Rules};
use crate::{mesh::LeftApplication, model::SocketId};

impl Io {
    /// What is kept of a client that may come back to another process; `None` for one that does not as who it was.
    pub(crate) fn leave_socket(&self, socket: SocketId) -> Option<LeftApplication> {
        let state = self.core().presence.state(socket);
        let has_data = state.is_some_and(|state| state.data.borrow().is_some());
        (!has_data).then(|| self.kept_of(socket))
    }

    /// What goes with any client.
    pub(super) fn kept_of(&self, socket: SocketId) -> LeftApplication {
        let core = self.core();
        let token = core.tokens.borrow().get(socket).map(|token| (**token).clone());
        let state = core.presence.state(socket);
        let public_data = state.and_then(|state| state.public_data.borrow().clone());
        LeftApplication { token, public_data }
    }

    /// A client that was in a namespace of another process may come back to this one; `None` when there is none of that name. As
    /// in its own process it is not asked again whether it may enter.
    pub(crate) fn await_again(
        &self,
        socket: SocketId,
        namespace: &str,
        kept: LeftApplication,
    ) -> Option<NamespaceId> {
        let core = self.core();
        let known = core.namespace_named(namespace);
        let namespace = known.or_else(|| Rules::make(core, namespace, Auth(None)).ok())?;
        namespace.count_in();
        core.presence.enter(socket);
        if let (Some(json), Some(state)) = (kept.public_data, core.presence.state_or_new(socket)) {
            state.public_data.replace(Some(json));
        }
        if let Some(token) = kept.token {
            core.tokens.borrow_mut().put(socket, &Rc::new(token));
        }
        Some(namespace.id())
    }
}
