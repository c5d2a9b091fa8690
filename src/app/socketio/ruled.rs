//! The operator's rules for a Socket.IO application that wants them in force: who may enter its namespaces, and what its clients
//! may do with rooms. What they do by a listener of the application's is that listener's to ask.

use super::{Candidate, ConnectError, Credentials, Handlers, RawEvent, Socket};
use crate::{
    auth::{Asked, Missing, Right, Ruled, Verified},
    model::{ChannelName, SocketId, room_channel},
};

impl Handlers {
    /// Lets nobody in whom the operator's rules do not let (`[[namespace]]`, `read.open`): the right is `subscribe` on the
    /// namespace's channel, by rule, token or the backend, and is looked at before the middleware that is registered behind this.
    /// Clients of the namespace are shown as members of rooms only where they have the right `enter` there. A client may hold a
    /// publishing key as well, which it says as `auth: {key}`. What it may do with rooms and publish is for listeners to ask
    /// ([`Socket::may`], [`RawEvent::may`]).
    pub fn use_rules(&self) {
        self.is_ruled.set(true);
        self.use_middleware(admit);
    }
}

fn admit(candidate: &Candidate<'_>) -> Result<(), ConnectError> {
    let socket = candidate.socket();
    let core = socket.core();
    let said = candidate.auth::<Option<Credentials>>().ok().flatten();
    let presented = said.and_then(|said| said.key);
    let key = presented.and_then(|key| core.access.borrow().key(key.as_bytes()));
    if let Some(key) = key {
        core.keys.borrow_mut().insert(socket.id(), key);
    }
    let decided = decide(
        socket,
        candidate.token(),
        candidate.rulings(),
        Right::Subscribe,
        candidate.namespace().channel(),
    );
    decided.map_err(|missing| {
        let error = ConnectError::coded(missing.code(), &missing.to_string());
        if let Missing::Ruling(question) = missing {
            candidate.consult(*question);
        }
        error
    })
}

impl Socket {
    /// Whether the operator's rules, its token and its key let the client do something with a room of its namespace; what is
    /// missing otherwise. Where the backend decides that is its word, for which an event can wait ([`RawEvent::may`]).
    pub fn may(&self, right: Right, room: &str) -> Result<(), Missing> {
        self.may_by(&[], right, room)
    }

    fn may_by(&self, rulings: &[Ruled], right: Right, room: &str) -> Result<(), Missing> {
        let channel = room_channel(self.namespace().name(), room);
        match channel {
            Ok(channel) => decide(self, self.token().as_deref(), rulings, right, &channel),
            Err(_) => {
                let is_known = self.token().is_some();
                Err(Missing::Right(crate::auth::Denied { right, is_known }))
            }
        }
    }

    /// Whether the client may be shown as a member of a room's channel, where rules are in force.
    pub(super) fn may_be_member(&self, channel: &ChannelName) -> bool {
        let is_ruled = self.namespace().all_handlers().any(|handlers| handlers.is_ruled.get());
        !is_ruled || decide(self, self.token().as_deref(), &[], Right::Enter, channel).is_ok()
    }
}

impl RawEvent<'_> {
    /// As [`Socket::may`], for what the client wants with this event. Where the operator's backend decides, that is asked and the
    /// event waits ([`RawEvent::consult`]): `None` is that nothing is to be done now, for all listeners are called again when
    /// there is an answer.
    pub fn may(&self, socket: &Socket, right: Right, room: &str) -> Option<Result<(), Missing>> {
        match socket.may_by(self.rulings(), right, room) {
            Err(Missing::Ruling(question)) => match self.consult(socket, (*question).clone()) {
                true => None,
                false => Some(Err(Missing::Ruling(question))),
            },
            decided => Some(decided),
        }
    }
}

fn decide(
    socket: &Socket,
    token: Option<&Verified>,
    rulings: &[Ruled],
    right: Right,
    channel: &ChannelName,
) -> Result<(), Missing> {
    let core = socket.core();
    let key = core.keys.borrow().get(&socket.id()).copied();
    let (user, grant) = (token.map(|token| &*token.user), token.map(|token| &token.claims.grant));
    let asked = Asked { rulings, part: 0 };
    core.access.borrow().may((user, grant, key.as_ref()), asked, right, channel.as_str())
}

/// Which sockets have presented which keys, by their hashes.
pub(super) type KeyHashes = rustc_hash::FxHashMap<SocketId, [u8; 32]>;
