//! How publications reach a subscriber.

use serde::Serialize;

/// How publications reach a subscriber. A channel keeps one list of subscribers per transport, so a publication is
/// encoded once for each and the loop over subscribers has no branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Transport {
    /// A WebSocket of one channel: each publication is one frame and nothing else. It has no place to show a gap,
    /// so a subscriber that would miss something is closed instead.
    WebSocket = 0,
    /// A WebSocket of many channels, speaking JSON.
    Json = 1,
    /// Server-sent events.
    EventStream = 2,
    /// A parked long poll: the first publications answer it and end the subscription.
    LongPoll = 3,
    /// A Socket.IO socket, whatever carries its session: each publication is an event.
    SocketIo = 4,
}

impl Transport {
    /// Every transport, in the order of its number.
    pub const ALL: [Self; 5] =
        [Self::WebSocket, Self::Json, Self::EventStream, Self::LongPoll, Self::SocketIo];
}
