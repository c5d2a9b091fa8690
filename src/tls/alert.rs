//! Why a connection is ended, in TLS's own words (RFC 8446 §6).

/// An alert that this side sends. All but [`Alert::CloseNotify`] are fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alert {
    /// Nothing more will be sent.
    CloseNotify = 0,
    /// A record of a kind that must not come now.
    UnexpectedMessage = 10,
    /// A record that nobody with the keys has made.
    BadRecordMac = 20,
    /// A record longer than one may be.
    RecordOverflow = 22,
    /// Nothing that both sides can do.
    HandshakeFailure = 40,
    /// A field with a value that must not be.
    IllegalParameter = 47,
    /// A message that cannot be read.
    DecodeError = 50,
    /// The bytes are of no version of TLS.
    ProtocolVersion = 70,
    /// Something went wrong here.
    InternalError = 80,
    /// A handshake within the connection is not done.
    NoRenegotiation = 100,
}

impl Alert {
    /// The alert's two bytes: its level and what it says.
    pub(super) fn bytes(self) -> [u8; 2] {
        const WARNING: u8 = 1;
        const FATAL: u8 = 2;
        match self {
            Self::CloseNotify => [WARNING, self as u8],
            _ => [FATAL, self as u8],
        }
    }
}
