//! One client's state machine per protocol. Pure: bytes and deadlines in, events and bytes out.
//!
//! A session knows neither the hub nor the socket; the shard is the matchmaker of all three. Between two messages a
//! session owns no heap memory: partial input is kept only while it is partial.

mod engine;
mod http;
mod leaving;
mod long_poll;
mod poll_queue;
pub mod upgrade;
mod websocket;

pub use engine::{Engine, Lost, NONE, Outlet, Poll, Probe};
pub use http::{Exchange, Http};
pub use leaving::Leaving;
pub use long_poll::LongPoll;
pub use poll_queue::{PollQueue, SharedPayload};
pub use websocket::{Event, Inflating, Unfinished, WebSocket};

use crate::model::CloseReason;

/// What a connection speaks.
#[derive(Debug)]
pub enum Session {
    /// HTTP/1.1, between or within requests.
    Http(Http),
    /// A WebSocket after its handshake.
    WebSocket(WebSocket),
    /// A stream of server-sent events: nothing but its subscription, which the hub holds.
    EventStream,
    /// A request that waits for a publication.
    LongPoll(Box<LongPoll>),
    /// HTTP whose next request another shard is to answer.
    Leaving(Box<Leaving>),
    /// All has been said; what the peer still sends is discarded until it closes.
    Lingering,
    /// Lent to the shard for the length of one call; the kind of what was lent, and its tag.
    Lent(Kind, u32),
}

/// The kinds of sessions, in the order of [`crate::mesh::ShardReport::sessions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP, or a connection that is ending.
    Http = 0,
    /// WebSocket.
    WebSocket = 1,
    /// Server-sent events.
    EventStream = 2,
    /// A parked long poll.
    LongPoll = 3,
}

/// What a session wants when its deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Another deadline, in this many milliseconds.
    Again(u32),
    /// The end.
    End(CloseReason),
}

impl Session {
    /// What kind of session this is, or was when it was lent.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Http(_) | Self::Leaving(_) | Self::Lingering => Kind::Http,
            Self::WebSocket(_) => Kind::WebSocket,
            Self::EventStream => Kind::EventStream,
            Self::LongPoll(_) => Kind::LongPoll,
            Self::Lent(kind, _) => *kind,
        }
    }

    /// Lends the session out.
    pub fn lend(&mut self) -> Self {
        let lent = Self::Lent(self.kind(), self.tag());
        std::mem::replace(self, lent)
    }

    /// Whether the session is over, though its connection may still be there.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Lingering)
    }

    /// Memory taken by input that has begun and not ended, or waits for its turn.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Http(http) => http.decoder.held_bytes(),
            Self::WebSocket(websocket) => websocket.held_bytes(),
            Self::LongPoll(poll) => poll.http.decoder.held_bytes(),
            Self::Leaving(leaving) => leaving.bytes.capacity(),
            Self::EventStream | Self::Lingering | Self::Lent(..) => 0,
        }
    }

    /// What the application said when it accepted the session.
    pub fn tag(&self) -> u32 {
        match self {
            Self::Http(http) => http.tag,
            Self::WebSocket(websocket) => websocket.tag,
            Self::Lent(_, tag) => *tag,
            Self::EventStream | Self::LongPoll(_) | Self::Leaving(_) | Self::Lingering => 0,
        }
    }
}

const _: () =
    assert!(size_of::<Session>() <= 32, "a session's state is part of every idle connection's cost");
