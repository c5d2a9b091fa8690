//! The limits an operator sets. What each key means stands in `config/keys.rs`; maxima that nobody sets are in `limits.rs`.

use serde::{Deserialize, Serialize};

use super::{STATE_CHANNEL_BYTES_MAX, STREAM_CHANNELS_MAX};
use crate::model::POSITION_BYTES_MAX;

/// The limits an operator sets. Sizes in bytes, times in milliseconds, unless the name says otherwise; 0 means
/// "no limit" only where stated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections in all; 0 takes what the open-files limit allows. Shards lend each other room.
    pub connections_max: u32,
    /// Connections from one address; 0 is no limit. Those of the admin listener are not counted.
    pub connections_per_address_max: u32,
    /// Connections that have shown a token of one user; 0 is no limit. Those of Socket.IO are not counted.
    pub connections_per_user_max: u32,
    /// A request's line and headers together.
    pub head_bytes_max: u32,
    /// The number of header fields of a request.
    pub head_fields_max: u16,
    /// Time from a request's first byte to the end of its headers.
    pub head_timeout_ms: u32,
    /// A request's body.
    pub body_bytes_max: u32,
    /// Time a body may take before its rate is looked at.
    pub body_timeout_ms: u32,
    /// The least rate at which a body must arrive after `body_timeout_ms`, in bytes per second; 0 is no limit.
    pub body_bytes_per_second_min: u32,
    /// Idle time of a kept-alive connection between requests.
    pub keep_alive_timeout_ms: u32,
    /// A WebSocket message, all fragments together.
    pub message_bytes_max: u32,
    /// Fragments of one WebSocket message; 0 is no limit.
    pub message_fragments_max: u32,
    /// Time a WebSocket message may take, from its first byte on, before its rate is looked at.
    pub message_timeout_ms: u32,
    /// The least rate at which a message must arrive after `message_timeout_ms`, in bytes per second; 0 asks only that
    /// something arrives.
    pub message_bytes_per_second_min: u32,
    /// Memory for input that has begun and not ended, of all clients together; each shard has an equal share. Beyond it
    /// what has held most for longest is given up.
    pub partial_input_bytes_max: u64,
    /// Bytes waiting to be sent to one connection before `slow_consumer` applies; a connection with more is not read.
    pub send_queue_bytes_max: u32,
    /// Memory for what waits to be sent, of all clients together; each shard has an equal share. Beyond it those for
    /// whom most waits are ended as slow.
    pub send_bytes_max: u64,
    /// Time in which a client must take some of what is sent to it, or it is ended as slow.
    pub send_timeout_ms: u32,
    /// What happens to a subscriber whose send queue is full.
    pub slow_consumer: SlowConsumer,
    /// Interval between pings to a WebSocket.
    pub ping_interval_ms: u32,
    /// Time a WebSocket has to answer a ping.
    pub ping_timeout_ms: u32,
    /// Interval between comments on an otherwise silent event stream.
    pub event_stream_keep_alive_ms: u32,
    /// Mean of the jittered reconnection time told to event streams.
    pub event_stream_retry_ms: u32,
    /// The longest time a long poll may wait.
    pub long_poll_timeout_max_ms: u32,
    /// Bytes of a channel's name.
    pub channel_name_bytes_max: u16,
    /// Subscriptions of one connection.
    pub subscriptions_per_connection_max: u32,
    /// Channels in all; each shard owns an equal share.
    pub channels_max: u32,
    /// One publication's data.
    pub publication_bytes_max: u32,
    /// Publications in one `POST /publish`.
    pub batch_publications_max: u32,
    /// Publications kept per channel.
    pub history_publications_max: u32,
    /// Age beyond which a kept publication is dropped.
    pub history_age_max_ms: u32,
    /// Bytes of kept publications in all, payload and bookkeeping; each shard keeps an equal share.
    pub history_bytes_max: u64,
    /// Keys of one channel's state, counters among them.
    pub state_keys_max: u32,
    /// Channels with keys in all; each shard owns an equal share.
    pub state_channels_max: u32,
    /// Bytes of one channel's keys and values.
    pub state_channel_bytes_max: u32,
    /// Bytes of state in all, with bookkeeping; each shard keeps an equal share.
    pub state_bytes_max: u64,
    /// The least time between two pushes of one counter.
    pub counter_interval_ms: u32,
    /// Members of one channel.
    pub presence_members_max: u32,
    /// Members of one channel up to which each that comes or goes is told of by itself.
    pub presence_events_members_max: u32,
    /// Time a user has to come back, after its last connection has gone, before it counts as having left.
    pub presence_grace_ms: u32,
    /// Publications per second that one publishing key may make, or one user of tokens, on all shards together; 0 is no
    /// limit.
    pub publications_per_key_per_second_max: u32,
}

/// What happens to a subscriber whose send queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowConsumer {
    /// The session is closed with [`crate::model::CloseReason::SlowConsumer`].
    Close,
    /// The oldest waiting publications are dropped; the offsets show the gap. A plain WebSocket, which carries no
    /// offsets, is closed all the same.
    DropOldest,
}

impl Limits {
    /// Channels of one event stream or long poll: as many as a connection may follow, and as a request can bring positions
    /// back for in half of its head.
    pub fn stream_channels_max(&self) -> usize {
        let subscriptions = self.subscriptions_per_connection_max as usize;
        let brought_back = self.head_bytes_max as usize / 2 / POSITION_BYTES_MAX;
        STREAM_CHANNELS_MAX.min(subscriptions).min(brought_back).max(1)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 0,
            connections_per_address_max: 0,
            connections_per_user_max: 0,
            head_bytes_max: 16 * 1024,
            head_fields_max: 100,
            head_timeout_ms: 10_000,
            body_bytes_max: 1024 * 1024,
            body_timeout_ms: 10_000,
            body_bytes_per_second_min: 1024,
            keep_alive_timeout_ms: 75_000,
            message_bytes_max: 1024 * 1024,
            message_fragments_max: 1024,
            message_timeout_ms: 20_000,
            message_bytes_per_second_min: 1024,
            partial_input_bytes_max: 256 * 1024 * 1024,
            send_queue_bytes_max: 1024 * 1024,
            send_bytes_max: 1024 * 1024 * 1024,
            send_timeout_ms: 30_000,
            slow_consumer: SlowConsumer::Close,
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            event_stream_keep_alive_ms: 15_000,
            event_stream_retry_ms: 3_000,
            long_poll_timeout_max_ms: 60_000,
            channel_name_bytes_max: 255,
            subscriptions_per_connection_max: 128,
            channels_max: 1_000_000,
            publication_bytes_max: 256 * 1024,
            batch_publications_max: 1_000,
            history_publications_max: 100,
            history_age_max_ms: 300_000,
            history_bytes_max: 256 * 1024 * 1024,
            state_keys_max: 1_000,
            state_channels_max: 500_000,
            state_channel_bytes_max: STATE_CHANNEL_BYTES_MAX,
            state_bytes_max: 256 * 1024 * 1024,
            counter_interval_ms: 50,
            presence_members_max: 10_000,
            presence_events_members_max: 100,
            presence_grace_ms: 10_000,
            publications_per_key_per_second_max: 0,
        }
    }
}
