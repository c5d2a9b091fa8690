//! Everything a peer can get wrong in packets and payloads.
//!
//! After any of these the session closes: what follows is not read.

use std::fmt;

use crate::model::CloseReason;

/// What is wrong with what a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineError {
    /// A packet of no characters.
    Empty,
    /// A first character that names no type of packet.
    PacketType,
    /// A packet that says all by its type, with data.
    DataUnexpected,
    /// A binary packet in text that is not base64 (RFC 4648 §4, padded).
    Base64,
    /// A payload that is not UTF-8.
    NotUtf8,
    /// More packets in one payload than allowed.
    PacketsTooMany,
}

impl EngineError {
    /// How the session ends. Socket.IO tells its application "parse error" for all of these.
    pub fn close_reason(self) -> CloseReason {
        self.row().0
    }

    /// What is wrong, for the log.
    pub fn sentence(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (CloseReason, &'static str) {
        match self {
            Self::Empty => (CloseReason::ProtocolError, "a packet has at least one character"),
            Self::PacketType => (CloseReason::ProtocolError, "a packet begins with 0 to 6, or b"),
            Self::DataUnexpected => (CloseReason::ProtocolError, "this type of packet carries no data"),
            Self::Base64 => (CloseReason::ProtocolError, "binary in text must be base64 with padding"),
            Self::NotUtf8 => (CloseReason::InvalidUtf8, "the payload is not UTF-8"),
            Self::PacketsTooMany => (CloseReason::MessageTooBig, "the payload holds too many packets"),
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for EngineError {}
