//! What the query of a request to Engine.IO asks for. What to answer is the session's business.
//!
//! Nothing here fails: which fault is told first depends on the request (`HandshakeError` says how), so each member
//! keeps what was found.

use crate::model::{IdError, SessionId};

/// How a client's packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// GET requests that wait for packets, POST requests that carry them.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// The members of a query that Engine.IO gives a meaning; of members that stand twice, the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// Whether `EIO` names version 4. Of interest at the handshake alone.
    pub is_version_4: bool,
    /// The `transport`, if it is known here.
    pub transport: Option<Transport>,
    /// The session of `sid`; an id this server cannot have given names no session. `None` asks for a new one.
    pub sid: Option<Result<SessionId, IdError>>,
    /// Whether `j` asks for JSONP, which version 4 has no more.
    pub is_jsonp: bool,
    /// Whether `b64` asks for binary packets as base64, over WebSocket too.
    pub is_base64: bool,
}

impl Transport {
    /// The transport of a name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "polling" => Some(Self::Polling),
            "websocket" => Some(Self::WebSocket),
            _ => None,
        }
    }

    /// The name in queries and in the open packet.
    pub fn name(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }
}

impl Query {
    /// Reads the query of a request target.
    pub fn decode(target: &str) -> Self {
        let (_, query) = target.split_once('?').unwrap_or((target, ""));
        let (mut version, mut transport, mut sid, mut jsonp, mut base64) = (None, None, None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match &*name {
                "EIO" => &mut version,
                "transport" => &mut transport,
                "sid" => &mut sid,
                "j" => &mut jsonp,
                "b64" => &mut base64,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        Self {
            is_version_4: version.is_some_and(|version| version == "4"),
            transport: transport.and_then(|name| Transport::named(&name)),
            sid: sid.filter(|sid| !sid.is_empty()).map(|sid| sid.parse()),
            is_jsonp: jsonp.is_some(),
            is_base64: base64.is_some_and(|value| !value.is_empty()),
        }
    }
}
