//! What a server answers to a request for a session: the JSON of the open packet, or a refusal.

use std::io::Write;

use super::Transport;
use crate::{model::SessionId, wire::json::push_string};

/// What a client learns in the open packet.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    /// The session.
    pub sid: SessionId,
    /// The transports the client may go over to.
    pub upgrades: &'a [Transport],
    /// The time between two pings of the server.
    pub ping_interval_ms: u32,
    /// The time a pong may take.
    pub ping_timeout_ms: u32,
    /// The largest body or message the client may send.
    pub payload_bytes_max: u32,
}

/// Why a request gets no session, or none of its own. A server looks for them in this order: `UnknownTransport`;
/// with a `sid` `UnknownSid`, then `BadRequest` when another transport has the session; without one
/// `BadHandshakeMethod`, `BadRequest` for a WebSocket transport without its upgrade, `Forbidden`,
/// `UnsupportedProtocolVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HandshakeError {
    /// The transport is missing, unknown or not offered.
    UnknownTransport = 0,
    /// There is no session of that id.
    UnknownSid = 1,
    /// A session is asked for by GET.
    BadHandshakeMethod = 2,
    /// Anything else about the request.
    BadRequest = 3,
    /// The application refused.
    Forbidden = 4,
    /// The client speaks another version.
    UnsupportedProtocolVersion = 5,
}

impl Handshake<'_> {
    /// Appends the JSON of the open packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let names = self.upgrades.iter().map(|transport| transport.name()).collect::<Vec<_>>();
        let upgrades = if names.is_empty() { String::new() } else { format!("\"{}\"", names.join("\",\"")) };
        let Self { sid, ping_interval_ms, ping_timeout_ms, payload_bytes_max, upgrades: _ } = self;
        write!(
            out,
            "{{\"sid\":\"{sid}\",\"upgrades\":[{upgrades}],\"pingInterval\":{ping_interval_ms},\
             \"pingTimeout\":{ping_timeout_ms},\"maxPayload\":{payload_bytes_max}}}"
        )
        .expect("writing to a Vec cannot fail");
    }
}

impl HandshakeError {
    /// The status of the answer. An upgrade is refused with 400 always, and the message as text.
    pub fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::UnknownTransport
            | Self::UnknownSid
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::UnsupportedProtocolVersion => 400,
        }
    }

    /// What the client is told; clients' tests compare it.
    pub fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSid => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedProtocolVersion => "Unsupported protocol version",
        }
    }

    /// Appends the answer's body, of type `application/json`. An application that forbids may say why.
    pub fn encode(self, out: &mut Vec<u8>, message: Option<&str>) {
        write!(out, "{{\"code\":{},\"message\":", self as u8).expect("writing to a Vec cannot fail");
        push_string(out, message.unwrap_or(self.message()));
        out.push(b'}');
    }
}
