//! Everything a peer can get wrong in frames and messages, with the close code it is told.
//!
//! After any of these the session closes: what follows in the stream is not read.

use std::fmt;

/// What is wrong with what a peer sent. Sections are of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WsError {
    /// A reserved bit that no extension gave a meaning (§5.2).
    ReservedBit,
    /// An opcode without a meaning (§5.2).
    ReservedOpcode,
    /// A client's frame without a mask (§5.1).
    MaskMissing,
    /// A server's frame with a mask (§5.1).
    MaskUnexpected,
    /// A control frame in fragments (§5.5).
    ControlFragmented,
    /// A control frame of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A length written in more bytes than it needs (§5.2).
    LengthNotMinimal,
    /// A length of 2⁶³ or more (§5.2).
    LengthOutOfRange,
    /// A continuation of nothing (§5.4).
    ContinuationUnexpected,
    /// A new message before the last one ended (§5.4).
    ContinuationMissing,
    /// A close frame with half a code (§5.5.1).
    ClosePayload,
    /// A close code that may not be sent (§7.4).
    CloseCode,
    /// A text message or close reason that is not UTF-8 (§8.1).
    Utf8,
    /// A compressed message that cannot be inflated (RFC 7692 §7.2.2).
    CompressedData,
    /// A message larger than allowed.
    MessageTooBig,
    /// A message in more fragments than allowed.
    TooManyFragments,
}

impl WsError {
    /// The code of the close frame (§7.4.1).
    pub fn code(self) -> u16 {
        self.row().0
    }

    /// What the peer is told; fits a close frame.
    pub fn sentence(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (u16, &'static str) {
        match self {
            Self::ReservedBit => (1002, "a reserved bit is set"),
            Self::ReservedOpcode => (1002, "the opcode is reserved"),
            Self::MaskMissing => (1002, "a client must mask its frames"),
            Self::MaskUnexpected => (1002, "a server must not mask its frames"),
            Self::ControlFragmented => (1002, "a control frame must not be fragmented"),
            Self::ControlTooLong => (1002, "a control frame has at most 125 bytes"),
            Self::LengthNotMinimal => (1002, "the length is not written in the fewest bytes"),
            Self::LengthOutOfRange => (1002, "the length is out of range"),
            Self::ContinuationUnexpected => (1002, "there is no message to continue"),
            Self::ContinuationMissing => (1002, "the message before has not ended"),
            Self::ClosePayload => (1002, "the close frame holds half a code"),
            Self::CloseCode => (1002, "the close code may not be sent"),
            Self::Utf8 => (1007, "the text is not UTF-8"),
            Self::CompressedData => (1007, "the compressed message cannot be inflated"),
            Self::MessageTooBig => (1009, "the message is larger than allowed (limits.message_bytes_max)"),
            Self::TooManyFragments => {
                (1009, "the message has more fragments than allowed (limits.message_fragments_max)")
            }
        }
    }
}

impl fmt::Display for WsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for WsError {}
