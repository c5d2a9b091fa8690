//! Every way a session can end, in one table.

/// Why a session ended. One row per reason: WebSocket close code, HTTP status for sessions that have not answered
/// yet, metric label, what the client is told, and whether it may come back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// The peer closed, or its connection broke.
    ClientGone,
    /// The session ended as its protocol ends sessions.
    Normal,
    /// The server is draining (RFC 6455 §7.4.1, 1001).
    GoingAway,
    /// The peer broke its protocol (1002, 400).
    ProtocolError,
    /// The peer sent a kind of data this endpoint does not take (1003, 415).
    Unsupported,
    /// A text message was not UTF-8 (1007).
    InvalidUtf8,
    /// A compressed message could not be inflated (1007).
    InvalidData,
    /// The peer did what it may not do here (1008, 403).
    PolicyViolation,
    /// A message or body was larger than allowed (1009, 413).
    MessageTooBig,
    /// The server failed (1011, 500).
    InternalError,
    /// The server sheds load (1013, 503).
    Overloaded,
    /// The broker that joins the nodes is away (1013, 503).
    BrokerUnavailable,
    /// The peer did not answer a ping in time.
    PingTimeout,
    /// The peer did not send its request or body in time (408).
    RequestTimeout,
    /// A kept-alive connection stayed idle.
    IdleTimeout,
    /// The peer reads more slowly than its subscriptions deliver.
    SlowConsumer,
    /// The position to resume from is no longer held and this transport cannot show a gap.
    PositionLost,
    /// A connection broke the rules of the transport it carries a session by.
    TransportError,
    /// A Socket.IO client entered no namespace in time.
    ConnectTimeout,
    /// A message that had begun did not arrive in time.
    MessageTimeout,
    /// The token that a client was let in by has run out, and no other came in time.
    TokenExpired,
    /// A token was refused.
    TokenRefused,
    /// The client's token, or its user, has been shut out.
    Revoked,
    /// A Socket.IO client left a namespace.
    ClientLeft,
    /// The server put a Socket.IO client out of a namespace, or ended its session.
    ServerLeft,
    /// A Socket.IO client sent what makes no sense where it is.
    ServerClosed,
    /// A Socket.IO client sent JSON with more levels than may be inside each other (1008, 400).
    NestedTooDeep,
    /// The shard that had the session failed and began anew (1012, 503).
    ShardFailed,
    /// The embedding program closed the session with a code of its own (3000–4999).
    Application(u16),
}

/// One row of the table.
struct Row {
    code: u16,
    status: u16,
    label: &'static str,
    sentence: &'static str,
    may_reconnect: bool,
}

impl CloseReason {
    /// Every reason but [`Self::Application`], for tables and metrics.
    pub const ALL: [Self; 28] = [
        Self::ClientGone,
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::Unsupported,
        Self::InvalidUtf8,
        Self::InvalidData,
        Self::PolicyViolation,
        Self::MessageTooBig,
        Self::InternalError,
        Self::Overloaded,
        Self::BrokerUnavailable,
        Self::PingTimeout,
        Self::RequestTimeout,
        Self::IdleTimeout,
        Self::SlowConsumer,
        Self::PositionLost,
        Self::TransportError,
        Self::ConnectTimeout,
        Self::MessageTimeout,
        Self::TokenExpired,
        Self::TokenRefused,
        Self::Revoked,
        Self::ClientLeft,
        Self::ServerLeft,
        Self::ServerClosed,
        Self::NestedTooDeep,
        Self::ShardFailed,
    ];

    /// The code of the WebSocket close frame (RFC 6455 §7.4; 4000–4999 are ours to define).
    pub fn websocket_code(self) -> u16 {
        self.row().code
    }

    /// The status for a request that has not been answered.
    pub fn http_status(self) -> u16 {
        self.row().status
    }

    /// The label of the metric that counts these.
    pub fn label(self) -> &'static str {
        self.row().label
    }

    /// What the client is told; fits a close frame (at most 123 bytes).
    pub fn sentence(self) -> &'static str {
        self.row().sentence
    }

    /// What Socket.IO's applications are told, in its own words.
    pub fn socketio_text(self) -> &'static str {
        match self {
            Self::ClientGone | Self::Normal | Self::IdleTimeout | Self::RequestTimeout => "transport close",
            Self::GoingAway => "server shutting down",
            Self::ProtocolError
            | Self::Unsupported
            | Self::InvalidUtf8
            | Self::InvalidData
            | Self::MessageTooBig
            | Self::NestedTooDeep => "parse error",
            Self::PingTimeout => "ping timeout",
            Self::TransportError
            | Self::SlowConsumer
            | Self::Overloaded
            | Self::BrokerUnavailable
            | Self::MessageTimeout
            | Self::ShardFailed => "transport error",
            Self::ClientLeft => "client namespace disconnect",
            Self::ServerLeft => "server namespace disconnect",
            Self::PolicyViolation
            | Self::TokenExpired
            | Self::TokenRefused
            | Self::Revoked
            | Self::InternalError
            | Self::PositionLost
            | Self::ConnectTimeout
            | Self::ServerClosed
            | Self::Application(_) => "forced server close",
        }
    }

    /// Whether a Socket.IO client that was lost so may come back to what it missed; one that left, or was put out, not.
    pub fn may_come_back(self) -> bool {
        matches!(self.socketio_text(), "transport close" | "transport error" | "ping timeout" | "parse error")
            || self == Self::GoingAway
    }

    /// Whether a client may reconnect by itself and expect better.
    pub fn may_reconnect(self) -> bool {
        self.row().may_reconnect
    }

    /// The place of this reason in a table of [`Self::COUNT`] counters.
    pub fn index(self) -> usize {
        match self {
            Self::Application(_) => Self::ALL.len(),
            listed => Self::ALL.iter().position(|reason| *reason == listed).expect("ALL lists every reason"),
        }
    }

    /// How many rows [`Self::index`] can name.
    pub const COUNT: usize = Self::ALL.len() + 1;

    fn row(self) -> Row {
        let row = |code, status, label, sentence, may_reconnect| Row {
            code,
            status,
            label,
            sentence,
            may_reconnect,
        };
        match self {
            Self::ClientGone => row(1006, 499, "client_gone", "the client went away", true),
            Self::Normal => row(1000, 200, "normal", "", true),
            Self::GoingAway => row(1001, 503, "going_away", "the server is going away; reconnect", true),
            Self::ProtocolError => row(1002, 400, "protocol_error", "protocol error", false),
            Self::Unsupported => {
                row(1003, 415, "unsupported", "this endpoint does not take such data", false)
            }
            Self::InvalidUtf8 => row(1007, 400, "invalid_utf8", "a text message was not UTF-8", false),
            Self::InvalidData => {
                row(1007, 400, "invalid_data", "a compressed message could not be inflated", false)
            }
            Self::PolicyViolation => row(1008, 403, "policy_violation", "not allowed here", false),
            Self::MessageTooBig => {
                row(1009, 413, "message_too_big", "the message is larger than allowed", false)
            }
            Self::InternalError => row(1011, 500, "internal_error", "the server failed", true),
            Self::Overloaded => {
                row(1013, 503, "overloaded", "the server is overloaded; try again later", true)
            }
            Self::BrokerUnavailable => row(
                1013,
                503,
                "broker_unavailable",
                "the broker that joins the nodes is away; try again later",
                true,
            ),
            Self::PingTimeout => row(4000, 408, "ping_timeout", "no answer to a ping", true),
            Self::RequestTimeout => {
                row(4001, 408, "request_timeout", "the request did not arrive in time", true)
            }
            Self::IdleTimeout => row(4002, 408, "idle_timeout", "idle for too long", true),
            Self::SlowConsumer => row(4003, 503, "slow_consumer", "the client reads too slowly", true),
            Self::PositionLost => row(4004, 410, "position_lost", "that position is no longer held", false),
            Self::TransportError => row(1002, 400, "transport_error", "transport error", true),
            Self::ConnectTimeout => {
                row(4005, 408, "connect_timeout", "no namespace was entered in time", true)
            }
            Self::MessageTimeout => {
                row(4006, 408, "message_timeout", "the message did not arrive in time", true)
            }
            Self::TokenExpired => {
                row(4007, 401, "token_expired", "the token has expired; come back with a new one", true)
            }
            Self::TokenRefused => row(4008, 401, "token_refused", "the token was refused", false),
            Self::Revoked => row(4009, 401, "revoked", "the token, or its user, has been shut out", false),
            Self::ClientLeft => row(1000, 200, "client_left", "", true),
            Self::ServerLeft => row(1000, 200, "server_left", "", false),
            Self::ServerClosed => row(1002, 400, "server_closed", "this makes no sense here", false),
            Self::NestedTooDeep => {
                row(1008, 400, "nested_too_deep", "the JSON nests deeper than 64 levels; flatten it", false)
            }
            Self::ShardFailed => row(
                1012,
                503,
                "shard_failed",
                "this part of the server failed and begins anew; reconnect",
                true,
            ),
            Self::Application(code) => row(code, 403, "application", "closed by the application", false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_label_and_index_and_a_sentence_that_fits() {
        let labels: std::collections::HashSet<_> =
            CloseReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), CloseReason::ALL.len());
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(reason.sentence().len() <= 123, "{reason:?}");
        }
        assert_eq!(CloseReason::Application(4999).index(), CloseReason::COUNT - 1);
    }
}
