//! Everything a peer can get wrong in packets and attachments.
//!
//! After any of these the session closes: what follows is not read.

use std::fmt;

use crate::{limits::JSON_DEPTH_MAX, model::CloseReason, wire::json::JsonError};

/// What is wrong with what a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketError {
    /// A packet of no characters.
    Empty,
    /// A first character that names no type of packet.
    PacketType,
    /// A number of attachments that is none, or without its hyphen.
    Attachments,
    /// More attachments than allowed.
    AttachmentsTooMany,
    /// A namespace with a control character.
    Namespace,
    /// A namespace longer than allowed.
    NamespaceTooLong,
    /// An acknowledgement without the id of what it acknowledges.
    AckIdMissing,
    /// An id of more digits than allowed.
    AckIdTooLong,
    /// A payload that is not JSON.
    Json(JsonError),
    /// A payload that this type of packet does not carry, or none where it carries one.
    Payload,
    /// An event whose name is neither a string nor a number.
    EventName,
    /// An event's name longer than allowed.
    EventNameTooLong,
    /// An event's name with a meaning of its own.
    EventReserved,
    /// A placeholder that names none of the attachments.
    Placeholders,
    /// A text packet before the last attachment of the one before.
    AttachmentMissing,
    /// A binary message that no packet announced.
    AttachmentUnexpected,
    /// A packet that is larger than allowed with its attachments.
    TooBig,
}

const _: () = assert!(JSON_DEPTH_MAX == 64, "the sentence of `NestedTooDeep` says how many levels");

impl SocketError {
    /// How the session ends. Socket.IO tells its application "parse error" for all of these.
    pub fn close_reason(self) -> CloseReason {
        self.row().0
    }

    /// What is wrong, for the log.
    pub fn sentence(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (CloseReason, &'static str) {
        use CloseReason::{MessageTooBig, NestedTooDeep, ProtocolError};
        match self {
            Self::Empty => (ProtocolError, "a packet has at least one character"),
            Self::PacketType => (ProtocolError, "a packet begins with 0 to 6"),
            Self::Attachments => {
                (ProtocolError, "a binary packet tells its attachments as a number and a hyphen")
            }
            Self::AttachmentsTooMany => (MessageTooBig, "the packet has too many attachments"),
            Self::Namespace => (ProtocolError, "a namespace has no control characters"),
            Self::NamespaceTooLong => (MessageTooBig, "the namespace is too long"),
            Self::AckIdMissing => (ProtocolError, "an acknowledgement names what it acknowledges"),
            Self::AckIdTooLong => (ProtocolError, "the id has too many digits"),
            Self::Json(JsonError::TooDeep) => (NestedTooDeep, "the payload nests too deep"),
            Self::Json(JsonError::NotUtf8 | JsonError::Syntax | JsonError::Number) => {
                (ProtocolError, "the payload is not JSON")
            }
            Self::Payload => (ProtocolError, "this type of packet does not carry such a payload"),
            Self::EventName => (ProtocolError, "an event is an array that begins with its name"),
            Self::EventNameTooLong => (MessageTooBig, "the event's name is too long"),
            Self::EventReserved => (ProtocolError, "the event's name is reserved"),
            Self::Placeholders => (ProtocolError, "a placeholder names none of the attachments"),
            Self::AttachmentMissing => (ProtocolError, "an attachment of the packet before is missing"),
            Self::AttachmentUnexpected => (ProtocolError, "no packet announced this attachment"),
            Self::TooBig => (MessageTooBig, "the packet is too large with its attachments"),
        }
    }
}

impl From<JsonError> for SocketError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for SocketError {}
