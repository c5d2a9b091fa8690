//! What a shard says of itself: its counters and gauges, and how long what it does takes.
//!
//! Invariant: counters never fall while the process lives.

use serde::Serialize;

use crate::{
    auth::{HookFailure, TokenError},
    limits::{TIMING_BOUNDS, TURN_US_BOUNDS},
    model::{BrokerLoss, CloseReason, HandshakeResult, Work},
};

/// One shard's counters and gauges. Counters never fall while the process lives.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ShardReport {
    /// The shard.
    pub shard: u16,
    /// The core it is pinned to.
    pub core: u32,
    /// Gauge: open connections.
    pub connections: u32,
    /// Gauge: connections it may hold now; shards lend each other room, the sum stays the same.
    pub connections_max: u32,
    /// Gauge: sessions by kind: HTTP, WebSocket, event stream, long poll.
    pub sessions: [u32; 4],
    /// Gauge: Engine.IO sessions, whatever carries them.
    pub engine_sessions: u32,
    /// Gauge: Socket.IO sockets, one for each namespace a client is in, with those whose clients may come back.
    pub sockets: u32,
    /// Counter: connections accepted.
    pub accepted_total: u64,
    /// Counter: connections answered with 503 because the shard was full.
    pub refused_full_total: u64,
    /// Counter: connections answered with 503 because the process took nearly as much memory as it may.
    pub refused_memory_total: u64,
    /// Counter: connections closed at once because their address had too many.
    pub refused_address_total: u64,
    /// Counter: connections of proxies that ended because no header of the PROXY protocol came.
    pub proxy_headers_refused_total: u64,
    /// Counter: accepts that failed for want of descriptors or memory.
    pub accept_failures_total: u64,
    /// Counter: connections handed over to another shard.
    pub handed_over_total: u64,
    /// Gauge: so many in a thousand new connections are sent to this shard; 0 while nobody is sent anywhere.
    pub steered_permille: u32,
    /// Counter: live connections that have gone to a shard with less to do.
    pub levelled_total: u64,
    /// Counter: microseconds that it took, here and for those that have come.
    pub levelling_us_total: u64,
    /// Counter: those that were to, and have stayed.
    pub levelling_given_up_total: u64,
    /// Counter: connections answered with 503 because they could not be handed over: no descriptor, no free slot, or a
    /// kernel that cannot.
    pub hand_over_failures_total: u64,
    /// Counter: connections that the process before had, and that have gone on here.
    pub carried_total: u64,
    /// Counter: connections that the process before had, and that were told to come back, or lost, on their way.
    pub carried_refused_total: u64,
    /// Counter: connections that the process before had told to come back.
    pub carried_told_total: u64,
    /// Counter: sessions ended, by [`CloseReason::index`].
    pub closed_total: [u64; CloseReason::COUNT],
    /// Counter: bytes received.
    pub received_bytes_total: u64,
    /// Counter: bytes sent.
    pub sent_bytes_total: u64,
    /// Counter: HTTP requests answered, by status class 1xx–5xx.
    pub responses_total: [u64; 5],
    /// Counter: WebSocket messages received.
    pub messages_total: u64,
    /// Counter: messages that left compressed, each once however many it was for.
    pub messages_deflated_total: u64,
    /// Counter: messages received that came compressed.
    pub messages_inflated_total: u64,
    /// Counter: publications this shard stamped as owner.
    pub publications_total: u64,
    /// Counter: publications refused, busy or full.
    pub publications_refused_total: u64,
    /// Counter: publications queued to subscribers.
    pub deliveries_total: u64,
    /// Publications handed out, by how long after they were stamped, by [`crate::limits::WAIT_US_BOUNDS`].
    pub delivery_us: Timings,
    /// Counter: publications dropped from a slow subscriber's queue.
    pub dropped_slow_total: u64,
    /// Counter: deliveries to another shard dropped because the way was full.
    pub dropped_mesh_total: u64,
    /// Counter: publishes refused for exceeding their key's rate.
    pub rate_limited_total: u64,
    /// Counter: commands of `/ws` answered with an error, for whatever limit or fault.
    pub commands_refused_total: u64,
    /// Counter: tokens refused, by [`TokenError::CODES`].
    pub tokens_refused_total: [u64; TokenError::CODES.len()],
    /// Counter: questions to the operator's backend, by what they came to: allowed, denied, remembered, and each
    /// [`HookFailure`].
    pub hooks_total: [u64; 3 + HookFailure::ALL.len()],
    /// Gauge: those that wait for an answer.
    pub hooks_waiting: u32,
    /// Counter: notices to the operator's backend, delivered and dropped.
    pub notices_total: [u64; 2],
    /// Gauge: those that wait.
    pub notices_waiting: u32,
    /// Counter: calls with notices that were not taken.
    pub notice_failures_total: u64,
    /// Counter: requests refused for a limit, by HTTP status 408, 413, 414, 417, 431.
    pub request_limits_total: [u64; 5],
    /// Counter: TLS handshakes that have ended, by [`HandshakeResult`] number.
    pub tls_handshakes_total: [u64; HandshakeResult::COUNT],
    /// Counter: microseconds spent in TLS handshakes.
    pub tls_handshake_us_total: u64,
    /// TLS handshakes that have succeeded, by how long their clients waited, by [`crate::limits::WAIT_US_BOUNDS`].
    pub tls_handshake_wait_us: Timings,
    /// Gauge: TLS handshakes in progress.
    pub tls_handshakes_in_progress: u32,
    /// Gauge: memory taken by input that has begun and not ended.
    pub partial_input_bytes: u64,
    /// Counter: inputs given up because all of them together took too much memory.
    pub partial_input_dropped_total: u64,
    /// Gauge: other shards that do no turns, as this one was told.
    pub shards_silent: u32,
    /// Counter: calls of the application that panicked.
    pub handler_panics_total: u64,
    /// Counter: how often the shard failed and began anew.
    pub shard_restarts_total: u64,
    /// Counter: turns of the shard's loop.
    pub turns_total: u64,
    /// Counter: microseconds spent in turns, not asleep.
    pub busy_us_total: u64,
    /// Counter: turns of more than 5 ms: those in which the thread computed for so long, and those in which it did not have its
    /// core for some of the time.
    pub turns_long_total: [u64; 2],
    /// Counter: turns by how long they took, up to each of [`TURN_US_BOUNDS`] and beyond.
    pub turn_us: [u64; TURN_US_BOUNDS.len() + 1],
    /// Gauge: the most pieces of work of each kind that one turn has done, by [`Work`] number.
    pub turn_items_max: [u32; Work::COUNT],
    /// Counter: completions handled.
    pub completions_total: u64,
    /// Counter: receives that found no buffer.
    pub receive_buffers_exhausted_total: u64,
    /// Batches from other shards, by how long they were on their way, by [`crate::limits::HOP_US_BOUNDS`].
    pub mesh_hop_us: Timings,
    /// Gauge: messages waiting for other shards.
    pub mesh_depth: u32,
    /// Gauge: channels owned.
    pub channels: u32,
    /// Gauge: subscriptions held.
    pub subscriptions: u32,
    /// Gauge: publications kept.
    pub history_publications: u64,
    /// Gauge: bytes of publications kept.
    pub history_bytes: u64,
    /// Gauge: keys of channels' state, counters among them.
    pub state_keys: u32,
    /// Gauge: bytes of channels' state.
    pub state_bytes: u64,
    /// Gauge: members of channels.
    pub members: u32,
    /// Gauge: bytes left to be written to disk that are not.
    pub storage_queue_bytes: u64,
    /// Transactions of all shards that are on disk; told by the first.
    pub storage_commits_total: u64,
    /// Those that failed; told by the first.
    pub storage_failures_total: u64,
    /// Gauge: 1 while the broker is there, if there is to be one.
    pub broker_up: u32,
    /// Gauge: publications that wait for the broker.
    pub broker_waiting: u32,
    /// Counter: publications the broker has not taken, and those of which nobody knows.
    pub broker_refused_total: [u64; 2],
    /// Counter: how often the broker was lost, by why.
    pub broker_lost_total: [u64; BrokerLoss::ALL.len()],
    /// Counter: streams that were followed and have begun anew.
    pub broker_renewed_total: u64,
    /// Gauge: 1 while the Redis of the Socket.IO cluster is there, if there is one; told by the first shard, as the rest of it.
    pub cluster_up: u32,
    /// Counter: events, requests and answers that were told the cluster.
    pub cluster_told_total: u64,
    /// Counter: events and requests that were heard of it.
    pub cluster_heard_total: u64,
    /// Counter: what was heard and makes no sense.
    pub cluster_ignored_total: u64,
    /// Counter: what was to be told and was not.
    pub cluster_dropped_total: u64,
    /// Gauge: bytes waiting to be sent.
    pub send_queue_bytes: u64,
    /// Bytes one idle connection with one subscription takes in the shard's tables.
    pub connection_bytes: u32,
}

/// How long something took, each time: a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timings {
    /// How often it was up to each bound, and beyond the last.
    pub counts: [u64; TIMING_BOUNDS + 1],
    /// All of it together, in microseconds.
    pub total_us: u64,
}

impl Timings {
    /// It took so long once more.
    pub fn note(&mut self, bounds: &[u64; TIMING_BOUNDS], took_us: u64) {
        self.counts[bounds.partition_point(|bound| *bound < took_us)] += 1;
        self.total_us = self.total_us.saturating_add(took_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HOP_US_BOUNDS;

    #[test]
    fn what_took_just_a_bound_counts_up_to_it_and_what_took_longer_beyond_it() {
        let mut timings = Timings::default();
        let last = HOP_US_BOUNDS[TIMING_BOUNDS - 1];
        for took_us in [0, HOP_US_BOUNDS[0], HOP_US_BOUNDS[0] + 1, last, last + 1] {
            timings.note(&HOP_US_BOUNDS, took_us);
        }
        let ends = (
            timings.counts[0],
            timings.counts[1],
            timings.counts[TIMING_BOUNDS - 1],
            timings.counts[TIMING_BOUNDS],
        );
        assert_eq!(ends, (2, 1, 1, 1));
        assert_eq!(timings.total_us, 2 * HOP_US_BOUNDS[0] + 1 + 2 * last + 1);
    }
}
