//! One client, in whatever namespaces it is: what is kept of every one, and what few need.
//!
//! Invariant: a client that polls or has a WebSocket, and nothing more, has no [`Extra`].

use std::rc::Rc;

use crate::{
    app::socketio::{EngineId, Handshake},
    auth::Verified,
    mesh::{CountedAddress, CountedUser},
    model::{ConnectionId, SessionId},
    session::{Engine, NONE},
    shard::table::Table,
    wire::socketio::Assembly,
};

/// One client.
pub(super) struct Session {
    pub(super) engine: Engine,
    /// Its first socket, or [`NONE`]; the others follow through [`Socket::next`].
    pub(super) socket: u32,
    /// Whether its parked poll stands in the list of those to answer.
    pub(super) is_to_answer: bool,
    pub(super) extra: Option<Box<Extra>>,
}

/// What few sessions need, or for a short time.
#[derive(Default)]
pub(super) struct Extra {
    /// A packet whose attachments have not all arrived.
    pub(super) assembly: Assembly,
    /// Whether the packet stands in the list of inputs that have begun and not ended.
    pub(super) is_partial: bool,
    /// The request that opened the session.
    pub(super) handshake: Option<Box<Handshake>>,
    /// What a backend is told of that request, once it is not kept any more.
    pub(super) told: Option<Box<Handshake>>,
    /// The token that came with the request which opened the session.
    pub(super) token: Option<Shown>,
    /// Its counts among the clients of the users whose tokens it has shown.
    pub(super) users: Vec<CountedUser>,
    /// Header fields of CORS that every answer carries.
    pub(super) fields: Box<str>,
    /// The id of a session that came from another shard.
    pub(super) home: Option<SessionId>,
    /// The connection of a poll with an answer that takes time to read.
    pub(super) long_answer: Option<ConnectionId>,
    /// Its count among the sessions of its address that poll.
    pub(super) counted: Option<CountedAddress>,
}

/// A token that came with a request.
pub(super) enum Shown {
    /// As it came.
    Text(Box<[u8]>),
    /// It was good when it was looked at.
    Good(Rc<Verified>),
}

const _: () = assert!(size_of::<Session>() <= 64);

impl Session {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, socket: NONE, is_to_answer: false, extra: None }
    }

    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// It is none of its address's sessions that poll any more.
    pub(super) fn count_no_more(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.counted = None;
        }
    }

    /// Gives the memory back when nothing is in it.
    pub(super) fn give_back_extra(&mut self) {
        let is_empty = |extra: &Extra| {
            extra.assembly.is_idle()
                && extra.handshake.is_none()
                && extra.told.is_none()
                && extra.token.is_none()
                && extra.users.is_empty()
                && extra.fields.is_empty()
                && extra.home.is_none()
                && extra.long_answer.is_none()
                && extra.counted.is_none()
        };
        if self.extra.as_deref().is_some_and(is_empty) {
            self.extra = None;
        }
    }

    pub(super) fn fields(&self) -> &str {
        self.extra.as_ref().map_or("", |extra| &extra.fields)
    }
}

impl Table<Session> {
    /// Whether a session is still to enter a namespace.
    pub(super) fn is_unadmitted(&self, id: EngineId) -> bool {
        self.find(id.index, id.generation).is_some_and(|session| !session.engine.is_admitted())
    }

    /// Whether a session still tries this WebSocket.
    pub(super) fn is_tried(&self, id: EngineId, connection: u32) -> bool {
        let session = self.find(id.index, id.generation);
        session.is_some_and(|session| session.engine.probe() == Some(connection))
    }
}
