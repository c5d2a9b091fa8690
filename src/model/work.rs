//! What a shard's turn consists of, by kind: counted, so that a turn that is long says why.

/// A kind of work, of which a turn does a number of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// HTTP requests answered.
    Requests,
    /// WebSocket messages, and messages of Engine.IO sessions, handled.
    Messages,
    /// Publications stamped or passed on.
    Publications,
    /// Subscribers handed publications.
    Deliveries,
    /// Messages of other shards handled.
    Mesh,
    /// Channels looked at for a list of them.
    Channels,
    /// Publications and channels let go for their age.
    Aged,
    /// Socket.IO sockets selected, told of, or ended.
    Sockets,
    /// Events looked at for a Socket.IO client that came back.
    Events,
    /// Connections and sessions whose deadline passed.
    Deadlines,
    /// Steps of TLS handshakes.
    Handshakes,
    /// Requests, frames and packets of clients, and so many bytes of theirs.
    Heard,
    /// Bytes written for clients.
    Written,
    /// Bytes given to the kernel to be sent.
    Sent,
    /// Bytes that compressed messages of clients came to, with what their blocks cost.
    Inflated,
    /// Bytes compressed for clients.
    Deflated,
}

impl Work {
    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every kind, in the order of its number.
    pub const ALL: [Self; 16] = [
        Self::Requests,
        Self::Messages,
        Self::Publications,
        Self::Deliveries,
        Self::Mesh,
        Self::Channels,
        Self::Aged,
        Self::Sockets,
        Self::Events,
        Self::Deadlines,
        Self::Handshakes,
        Self::Heard,
        Self::Written,
        Self::Sent,
        Self::Inflated,
        Self::Deflated,
    ];

    /// Its name in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Messages => "messages",
            Self::Publications => "publications",
            Self::Deliveries => "deliveries",
            Self::Mesh => "mesh",
            Self::Channels => "channels",
            Self::Aged => "aged",
            Self::Sockets => "sockets",
            Self::Events => "events",
            Self::Deadlines => "deadlines",
            Self::Handshakes => "handshakes",
            Self::Heard => "heard",
            Self::Written => "written_bytes",
            Self::Sent => "sent_bytes",
            Self::Inflated => "inflated_bytes",
            Self::Deflated => "deflated_bytes",
        }
    }
}
