//! What a shard tells those who watch it: how it is, how it has been, and which channels keep it busy.
//!
//! How it has been is a row of samples, each of [`SAMPLE_MS`](crate::limits::SAMPLE_MS), which say what was counted in that
//! time and how many there were at its end.

use std::{cmp::Reverse, net::IpAddr};

use serde::Serialize;

use super::ShardReport;
use crate::{
    limits::{BUSY_CHANNELS_TOLD, BUSY_ORIGINS_TOLD, SAMPLES_MAX},
    model::{ChannelName, CloseReason, HandshakeResult, Passage},
};

/// One shard, looked at.
#[derive(Clone, Debug)]
pub struct Look {
    /// Its counters and gauges.
    pub report: ShardReport,
    /// The channels that keep it busiest, the busiest first.
    pub busiest: Vec<BusyChannel>,
    /// Where most of its connections come from, those with the most first.
    pub origins: Vec<BusyOrigin>,
    /// The last hour, the oldest first; empty unless it was wanted.
    pub past: Vec<Sample>,
}

/// How busy a channel keeps a shard, per second, over the last few seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BusyChannel {
    /// The channel.
    pub channel: ChannelName,
    /// Publications that the shard stamped, if it is the owner.
    pub publications: f32,
    /// Publications that it queued to subscribers of its own.
    pub deliveries: f32,
}

impl BusyChannel {
    /// The busiest of some, the busiest first.
    pub fn busiest(mut some: Vec<Self>) -> Vec<Self> {
        let load = |one: &Self| one.publications + one.deliveries;
        some.sort_by(|a, b| load(b).total_cmp(&load(a)));
        some.truncate(BUSY_CHANNELS_TOLD);
        some
    }
}

/// How many connections come from an address in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BusyOrigin {
    /// The address, as far as proxies that are trusted tell it.
    pub address: IpAddr,
    /// How they have come whom proxies have passed on; of others that is not kept.
    #[serde(flatten)]
    pub passage: Option<Passage>,
    /// Connections, those of operators among them.
    pub connections: u32,
}

impl BusyOrigin {
    /// Those of some with the most connections, the most first.
    pub fn busiest(mut some: Vec<Self>) -> Vec<Self> {
        some.sort_by_key(|one| Reverse(one.connections));
        some.truncate(BUSY_ORIGINS_TOLD);
        some
    }
}

/// What has happened on a shard in some seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When it ended, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Open connections at its end.
    pub connections: u32,
    /// Publications stamped.
    pub publications: u32,
    /// Publications queued to subscribers.
    pub deliveries: u32,
    /// How much of the time was spent in turns, in thousandths.
    pub busy_permille: u32,
    /// What went wrong, by [`Trouble`] number.
    pub troubles: [u32; Trouble::COUNT],
}

/// Something that an operator should know of: a limit that was met, somebody who was refused, a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Connections answered with 503 because there were too many.
    Full,
    /// Connections answered with 503 because memory was scarce.
    MemoryFull,
    /// Connections of an address that had too many.
    AddressFull,
    /// Accepts that failed for want of descriptors or memory.
    AcceptFailed,
    /// Connections of proxies without a header of the PROXY protocol.
    ProxyHeader,
    /// Handshakes of TLS that came to nothing.
    Handshake,
    /// Clients ended because they read too slowly.
    SlowConsumer,
    /// Publications dropped from queues of slow subscribers.
    DroppedSlow,
    /// Deliveries to other shards dropped.
    DroppedMesh,
    /// Clients that answered no ping.
    PingTimeout,
    /// Publications refused because the way to the owner or its table of channels was full.
    PublicationRefused,
    /// Publishes refused for their key's rate.
    RateLimited,
    /// Commands answered with an error.
    CommandRefused,
    /// Tokens refused.
    TokenRefused,
    /// Questions to the backend that it denied or did not answer.
    Hook,
    /// Requests that did not arrive in time.
    RequestTimeout,
    /// Requests whose body or head was too large.
    RequestTooLarge,
    /// Unfinished input given up.
    PartialInput,
    /// Requests answered with a status of 5xx.
    ServerError,
    /// Calls of the application that panicked.
    HandlerPanic,
    /// Restarts of the shard.
    ShardRestart,
}

impl Trouble {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every trouble, in the order of its number.
    pub const ALL: [Self; 21] = [
        Self::Full,
        Self::MemoryFull,
        Self::AddressFull,
        Self::AcceptFailed,
        Self::ProxyHeader,
        Self::Handshake,
        Self::SlowConsumer,
        Self::DroppedSlow,
        Self::DroppedMesh,
        Self::PingTimeout,
        Self::PublicationRefused,
        Self::RateLimited,
        Self::CommandRefused,
        Self::TokenRefused,
        Self::Hook,
        Self::RequestTimeout,
        Self::RequestTooLarge,
        Self::PartialInput,
        Self::ServerError,
        Self::HandlerPanic,
        Self::ShardRestart,
    ];

    /// What there has been so much of, for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "connections refused: the server is full",
            Self::MemoryFull => "connections refused: memory is scarce",
            Self::AddressFull => "connections refused: their address has too many",
            Self::AcceptFailed => "accepts failed: no descriptors or memory",
            Self::ProxyHeader => "connections of proxies without a PROXY header",
            Self::Handshake => "TLS handshakes failed",
            Self::SlowConsumer => "clients ended: they read too slowly",
            Self::DroppedSlow => "publications dropped for slow clients",
            Self::DroppedMesh => "deliveries between shards dropped",
            Self::PingTimeout => "clients answered no ping",
            Self::PublicationRefused => "publications refused: busy, or too many channels",
            Self::RateLimited => "publications refused: over their key's rate",
            Self::CommandRefused => "commands answered with an error",
            Self::TokenRefused => "tokens refused",
            Self::Hook => "questions that the backend denied or left unanswered",
            Self::RequestTimeout => "requests not in time",
            Self::RequestTooLarge => "requests too large",
            Self::PartialInput => "unfinished inputs given up",
            Self::ServerError => "requests answered with 5xx",
            Self::HandlerPanic => "calls of the application panicked",
            Self::ShardRestart => "restarts of a shard",
        }
    }

    /// The setting that decides about it; empty where none does.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Full => "limits.connections_max",
            Self::MemoryFull => "server.memory_max",
            Self::AddressFull => "limits.connections_per_address_max",
            Self::ProxyHeader => "proxy.protocol",
            Self::SlowConsumer => "limits.slow_consumer",
            Self::DroppedSlow => "limits.send_queue_bytes_max",
            Self::PingTimeout => "limits.ping_timeout_ms",
            Self::PublicationRefused => "limits.channels_max",
            Self::RateLimited => "limits.publications_per_key_per_second_max",
            Self::RequestTimeout => "limits.head_timeout_ms",
            Self::RequestTooLarge => "limits.body_bytes_max",
            Self::PartialInput => "limits.partial_input_bytes_max",
            Self::ShardRestart => "server.shard_restarts_max",
            Self::AcceptFailed
            | Self::Handshake
            | Self::DroppedMesh
            | Self::CommandRefused
            | Self::TokenRefused
            | Self::Hook
            | Self::ServerError
            | Self::HandlerPanic => "",
        }
    }

    /// How often it has happened on a shard since the process began.
    pub fn count(self, report: &ShardReport) -> u64 {
        let closed = |reason: CloseReason| report.closed_total[reason.index()];
        let [timeouts, bodies, targets, _, heads] = report.request_limits_total;
        match self {
            Self::Full => report.refused_full_total,
            Self::MemoryFull => report.refused_memory_total,
            Self::AddressFull => report.refused_address_total,
            Self::AcceptFailed => report.accept_failures_total + report.hand_over_failures_total,
            Self::ProxyHeader => report.proxy_headers_refused_total,
            Self::Handshake => {
                let is_good = |result| matches!(result, HandshakeResult::Full | HandshakeResult::Resumed);
                let results = HandshakeResult::ALL.into_iter().zip(report.tls_handshakes_total);
                results.filter(|(result, _)| !is_good(*result)).map(|(_, count)| count).sum()
            }
            Self::SlowConsumer => closed(CloseReason::SlowConsumer),
            Self::DroppedSlow => report.dropped_slow_total,
            Self::DroppedMesh => report.dropped_mesh_total,
            Self::PingTimeout => closed(CloseReason::PingTimeout),
            Self::PublicationRefused => report.publications_refused_total,
            Self::RateLimited => report.rate_limited_total,
            Self::CommandRefused => report.commands_refused_total,
            Self::TokenRefused => report.tokens_refused_total.iter().sum(),
            // The first and the third were allowed, now or before.
            Self::Hook => report.hooks_total[1] + report.hooks_total[3..].iter().sum::<u64>(),
            Self::RequestTimeout => timeouts,
            Self::RequestTooLarge => bodies + targets + heads,
            Self::PartialInput => report.partial_input_dropped_total,
            Self::ServerError => report.responses_total[4],
            Self::HandlerPanic => report.handler_panics_total,
            Self::ShardRestart => report.shard_restarts_total,
        }
    }
}

const _: () = assert!(SAMPLES_MAX * size_of::<Sample>() <= 40 * 1024, "every shard keeps an hour of itself");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_counts_its_own() {
        assert!(Trouble::ALL.iter().all(|trouble| trouble.count(&ShardReport::default()) == 0));
        assert!(Trouble::ALL.iter().enumerate().all(|(number, trouble)| *trouble as usize == number));
        let mut report = ShardReport { refused_full_total: 1, ..ShardReport::default() };
        report.closed_total[CloseReason::SlowConsumer.index()] = 2;
        report.request_limits_total = [3, 4, 5, 100, 6];
        report.tls_handshakes_total = [100, 100, 1, 2, 0, 0, 0, 0, 4];
        report.hooks_total = std::array::from_fn(|index| if index < 3 { [100, 8, 100][index] } else { 0 });
        let counted = |trouble: Trouble| trouble.count(&report);
        assert_eq!(counted(Trouble::Full), 1);
        assert_eq!(counted(Trouble::SlowConsumer), 2);
        assert_eq!((counted(Trouble::RequestTimeout), counted(Trouble::RequestTooLarge)), (3, 15));
        assert_eq!((counted(Trouble::Handshake), counted(Trouble::Hook)), (7, 8));
    }
}
