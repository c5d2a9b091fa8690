//! How a TLS handshake ended.

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeResult {
    /// A connection, after all of it.
    Full,
    /// A connection, by a ticket.
    Resumed,
    /// This side refused: there is nothing both can do, or the client broke the protocol.
    Refused,
    /// The client refused: as a rule it does not accept the certificate.
    Rejected,
    /// It took too long.
    Timeout,
    /// The client went.
    Gone,
    /// It owed its next message for too long while others waited.
    GivenUp,
    /// What came was HTTP without TLS.
    Plain,
    /// Something went wrong here.
    Failed,
}

impl HandshakeResult {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every result, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::Full,
        Self::Resumed,
        Self::Refused,
        Self::Rejected,
        Self::Timeout,
        Self::Gone,
        Self::GivenUp,
        Self::Plain,
        Self::Failed,
    ];

    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Gone => "gone",
            Self::GivenUp => "given_up",
            Self::Plain => "plain",
            Self::Failed => "failed",
        }
    }
}
