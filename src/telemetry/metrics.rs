//! Metrics in the OpenMetrics text format, which Prometheus reads.
//!
//! One table, `SERIES`, says how each field of a [`ShardReport`] becomes a series; a test proves that no field is
//! missing. The names follow the fields: `roadstead_` and the field's name, with times in seconds.

use std::{borrow::Cow, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::process::ProcessReport;
use crate::{
    auth::{HookFailure, TokenError},
    limits::{HOP_US_BOUNDS, TURN_US_BOUNDS, WAIT_US_BOUNDS},
    mesh::ShardReport,
    model::{BrokerLoss, CloseReason, HandshakeResult, Work},
};

/// The media type of what [`encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric of the process and of its shards, each shard under its own label.
pub fn encode(reports: &[ShardReport], process: &ProcessReport) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process(process.clone())));
    let ours = registry.sub_registry_with_prefix("roadstead");
    ours.register_collector(Box::new(Server(process.clone())));
    ours.register_collector(Box::new(Shards(reports.to_vec())));
    let mut encoded = String::new();
    text::encode(&mut encoded, &registry).expect("writing to a String cannot fail");
    encoded
}

/// How one field of a [`ShardReport`] becomes a series.
struct Series {
    /// The field.
    field: &'static str,
    help: &'static str,
    measure: Measure,
    read: Read,
}

/// What a number counts.
#[derive(Clone, Copy)]
enum Measure {
    Count,
    Bytes,
    /// Kept in microseconds, shown in seconds as the format wants it.
    Microseconds,
}

/// Where the number, or the numbers under a further label, are.
enum Read {
    Counter(fn(&ShardReport) -> u64),
    Gauge(fn(&ShardReport) -> u64),
    CounterBy(&'static str, fn(&ShardReport) -> Vec<(&'static str, u64)>),
    GaugeBy(&'static str, fn(&ShardReport) -> Vec<(&'static str, u64)>),
    /// How many lie up to each bound and beyond the last, and the sum of all.
    Histogram(&'static [u64], fn(&ShardReport) -> (&[u64], u64)),
}

const SESSION_KINDS: [&str; 4] = ["http", "websocket", "event_stream", "long_poll"];
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const LIMIT_STATUSES: [&str; 5] = ["408", "413", "414", "417", "431"];

#[rustfmt::skip]
const SERIES: &[Series] = &[
    Series { field: "core", help: "The core the shard is pinned to.", measure: Measure::Count, read: Read::Gauge(|r| r.core.into()) },
    Series { field: "connections", help: "Open connections.", measure: Measure::Count, read: Read::Gauge(|r| r.connections.into()) },
    Series { field: "connections_max", help: "The most connections the shard admits.", measure: Measure::Count, read: Read::Gauge(|r| r.connections_max.into()) },
    Series { field: "sessions", help: "Sessions, by kind.", measure: Measure::Count, read: Read::GaugeBy("kind", |r| SESSION_KINDS.into_iter().zip(r.sessions.map(u64::from)).collect()) },
    Series { field: "accepted_total", help: "Connections accepted.", measure: Measure::Count, read: Read::Counter(|r| r.accepted_total) },
    Series { field: "refused_full_total", help: "Connections answered with 503 because the shard was full (limits.connections_max).", measure: Measure::Count, read: Read::Counter(|r| r.refused_full_total) },
    Series { field: "refused_memory_total", help: "Connections answered with 503 because the process took nearly as much memory as it may (server.memory_max).", measure: Measure::Count, read: Read::Counter(|r| r.refused_memory_total) },
    Series { field: "proxy_headers_refused_total", help: "Connections of proxies that ended because no header of the PROXY protocol came (proxy.protocol).", measure: Measure::Count, read: Read::Counter(|r| r.proxy_headers_refused_total) },
    Series { field: "refused_address_total", help: "Connections closed at once because their address had too many (limits.connections_per_address_max).", measure: Measure::Count, read: Read::Counter(|r| r.refused_address_total) },
    Series { field: "accept_failures_total", help: "Accepts that failed for want of descriptors or memory.", measure: Measure::Count, read: Read::Counter(|r| r.accept_failures_total) },
    Series { field: "handed_over_total", help: "Connections handed over to another shard.", measure: Measure::Count, read: Read::Counter(|r| r.handed_over_total) },
    Series { field: "steered_permille", help: "Of a thousand new connections so many are sent to this shard (server.balance); 0 while the kernel spreads them.", measure: Measure::Count, read: Read::Gauge(|r| r.steered_permille.into()) },
    Series { field: "levelled_total", help: "Live connections that have gone from this shard to one with less to do (server.balance).", measure: Measure::Count, read: Read::Counter(|r| r.levelled_total) },
    Series { field: "levelling_us_total", help: "Time spent on live connections that go to another shard, or come from there.", measure: Measure::Microseconds, read: Read::Counter(|r| r.levelling_us_total) },
    Series { field: "levelling_given_up_total", help: "Live connections that were to go to a shard with less to do, and have stayed.", measure: Measure::Count, read: Read::Counter(|r| r.levelling_given_up_total) },
    Series { field: "hand_over_failures_total", help: "Connections answered with 503 because they could not be handed over to another shard: no descriptor, no free slot, or a kernel before 6.8.", measure: Measure::Count, read: Read::Counter(|r| r.hand_over_failures_total) },
    Series { field: "carried_total", help: "Connections that the version before had, and that go on in this one since an upgrade.", measure: Measure::Count, read: Read::Counter(|r| r.carried_total) },
    Series { field: "carried_refused_total", help: "Connections that the version before handed over at an upgrade, and that were told to come back after all, or lost.", measure: Measure::Count, read: Read::Counter(|r| r.carried_refused_total) },
    Series { field: "carried_told_total", help: "Connections that the version before told to come back at an upgrade, because they could not be handed over.", measure: Measure::Count, read: Read::Counter(|r| r.carried_told_total) },
    Series { field: "closed_total", help: "Sessions ended, by reason.", measure: Measure::Count, read: Read::CounterBy("reason", |r| close_labels().zip(r.closed_total).collect()) },
    Series { field: "received_bytes_total", help: "Bytes received.", measure: Measure::Bytes, read: Read::Counter(|r| r.received_bytes_total) },
    Series { field: "sent_bytes_total", help: "Bytes sent.", measure: Measure::Bytes, read: Read::Counter(|r| r.sent_bytes_total) },
    Series { field: "responses_total", help: "HTTP requests answered, by status class.", measure: Measure::Count, read: Read::CounterBy("status", |r| STATUS_CLASSES.into_iter().zip(r.responses_total).collect()) },
    Series { field: "messages_total", help: "WebSocket messages received.", measure: Measure::Count, read: Read::Counter(|r| r.messages_total) },
    Series { field: "messages_deflated_total", help: "WebSocket messages compressed, each once however many clients it was sent to (websocket.compression).", measure: Measure::Count, read: Read::Counter(|r| r.messages_deflated_total) },
    Series { field: "messages_inflated_total", help: "WebSocket messages received that came compressed (websocket.compression).", measure: Measure::Count, read: Read::Counter(|r| r.messages_inflated_total) },
    Series { field: "publications_total", help: "Publications stamped by this shard as owner of their channel.", measure: Measure::Count, read: Read::Counter(|r| r.publications_total) },
    Series { field: "publications_refused_total", help: "Publications refused because the way to the owner or its table of channels was full.", measure: Measure::Count, read: Read::Counter(|r| r.publications_refused_total) },
    Series { field: "deliveries_total", help: "Publications queued to subscribers.", measure: Measure::Count, read: Read::Counter(|r| r.deliveries_total) },
    Series { field: "delivery_us", help: "Publications handed out to the shard's subscribers, by how long after their channel's owner had stamped them, to the millisecond. One that is handed out in several turns counts in each.", measure: Measure::Microseconds, read: Read::Histogram(&WAIT_US_BOUNDS, |r| (&r.delivery_us.counts, r.delivery_us.total_us)) },
    Series { field: "dropped_slow_total", help: "Publications dropped from the queue of a slow subscriber (limits.send_queue_bytes_max).", measure: Measure::Count, read: Read::Counter(|r| r.dropped_slow_total) },
    Series { field: "dropped_mesh_total", help: "Deliveries to another shard dropped because the way was full.", measure: Measure::Count, read: Read::Counter(|r| r.dropped_mesh_total) },
    Series { field: "commands_refused_total", help: "Commands on /ws and of Socket.IO clients answered with an error: subscriptions, names, sizes, channels beyond their limits, and faults.", measure: Measure::Count, read: Read::Counter(|r| r.commands_refused_total) },
    Series { field: "rate_limited_total", help: "Publishes refused for the rate of their key, user or address (limits.publications_per_key_per_second_max, or that of the namespace).", measure: Measure::Count, read: Read::Counter(|r| r.rate_limited_total) },
    Series { field: "tokens_refused_total", help: "Tokens refused, by why.", measure: Measure::Count, read: Read::CounterBy("code", |r| TokenError::CODES.into_iter().zip(r.tokens_refused_total).collect()) },
    Series { field: "hooks_total", help: "Questions to the operator's backend, by what they came to; \"remembered\" were not put, nor \"busy\" and \"not_asked\" (hooks.connect, hooks.subscribe, hooks.publish).", measure: Measure::Count, read: Read::CounterBy("result", |r| hook_labels().zip(r.hooks_total).collect()) },
    Series { field: "hooks_waiting", help: "Questions to the operator's backend that wait for an answer.", measure: Measure::Count, read: Read::Gauge(|r| r.hooks_waiting.into()) },
    Series { field: "notices_total", help: "Notices to the operator's backend, by what became of them; \"dropped\" went because too many waited (notices.queue_max), or the backend wants none (410).", measure: Measure::Count, read: Read::CounterBy("result", |r| ["delivered", "dropped"].into_iter().zip(r.notices_total).collect()) },
    Series { field: "notices_waiting", help: "Notices to the operator's backend that wait.", measure: Measure::Count, read: Read::Gauge(|r| r.notices_waiting.into()) },
    Series { field: "notice_failures_total", help: "Calls with notices that the backend has not taken; each is made again.", measure: Measure::Count, read: Read::Counter(|r| r.notice_failures_total) },
    Series { field: "request_limits_total", help: "Requests refused for a limit, by HTTP status.", measure: Measure::Count, read: Read::CounterBy("status", |r| LIMIT_STATUSES.into_iter().zip(r.request_limits_total).collect()) },
    Series { field: "tls_handshakes_total", help: "TLS handshakes that have ended, by result.", measure: Measure::Count, read: Read::CounterBy("result", |r| HandshakeResult::ALL.map(HandshakeResult::label).into_iter().zip(r.tls_handshakes_total).collect()) },
    Series { field: "tls_handshake_us_total", help: "Time spent in TLS handshakes.", measure: Measure::Microseconds, read: Read::Counter(|r| r.tls_handshake_us_total) },
    Series { field: "tls_handshake_wait_us", help: "TLS handshakes that have succeeded, by how long it took from the client's first bytes to its last, to the millisecond.", measure: Measure::Microseconds, read: Read::Histogram(&WAIT_US_BOUNDS, |r| (&r.tls_handshake_wait_us.counts, r.tls_handshake_wait_us.total_us)) },
    Series { field: "tls_handshakes_in_progress", help: "TLS handshakes in progress.", measure: Measure::Count, read: Read::Gauge(|r| r.tls_handshakes_in_progress.into()) },
    Series { field: "partial_input_bytes", help: "Memory taken by input that has begun and not ended.", measure: Measure::Bytes, read: Read::Gauge(|r| r.partial_input_bytes) },
    Series { field: "partial_input_dropped_total", help: "Unfinished requests, messages and packets given up because all together took too much memory (limits.partial_input_bytes_max).", measure: Measure::Count, read: Read::Counter(|r| r.partial_input_dropped_total) },
    Series { field: "shards_silent", help: "Other shards that do no turns, as this one was told: a handler of theirs hangs.", measure: Measure::Count, read: Read::Gauge(|r| r.shards_silent.into()) },
    Series { field: "handler_panics_total", help: "Calls of the application that panicked; each has ended one client and stands in the log.", measure: Measure::Count, read: Read::Counter(|r| r.handler_panics_total) },
    Series { field: "shard_restarts_total", help: "How often the shard failed and began anew: a mistake in the server, which the log tells. Its clients were told to come back.", measure: Measure::Count, read: Read::Counter(|r| r.shard_restarts_total) },
    Series { field: "turns_total", help: "Turns of the shard's loop.", measure: Measure::Count, read: Read::Counter(|r| r.turns_total) },
    Series { field: "busy_us_total", help: "Time spent in turns, not asleep.", measure: Measure::Microseconds, read: Read::Counter(|r| r.busy_us_total) },
    Series { field: "turn_us", help: "Turns of the shard's loop, by how long they took.", measure: Measure::Microseconds, read: Read::Histogram(&TURN_US_BOUNDS, |r| (&r.turn_us, r.busy_us_total)) },
    Series { field: "turns_long_total", help: "Turns of more than 5 ms, by whether the thread computed for so long (computed), or did not have its core for some of the time (off_core): another thread or program had it, or the disk was waited for.", measure: Measure::Count, read: Read::CounterBy("cause", |r| ["computed", "off_core"].into_iter().zip(r.turns_long_total).collect()) },
    Series { field: "turn_items_max", help: "The most pieces of work of each kind that one turn has done.", measure: Measure::Count, read: Read::GaugeBy("work", |r| Work::ALL.map(Work::label).into_iter().zip(r.turn_items_max.map(u64::from)).collect()) },
    Series { field: "completions_total", help: "Completions of the ring handled.", measure: Measure::Count, read: Read::Counter(|r| r.completions_total) },
    Series { field: "receive_buffers_exhausted_total", help: "Receives that found no buffer and were tried again.", measure: Measure::Count, read: Read::Counter(|r| r.receive_buffers_exhausted_total) },
    Series { field: "mesh_hop_us", help: "Batches of messages from other shards, by how long they were on their way until the shard took them.", measure: Measure::Microseconds, read: Read::Histogram(&HOP_US_BOUNDS, |r| (&r.mesh_hop_us.counts, r.mesh_hop_us.total_us)) },
    Series { field: "mesh_depth", help: "Messages waiting for other shards.", measure: Measure::Count, read: Read::Gauge(|r| r.mesh_depth.into()) },
    Series { field: "channels", help: "Channels owned.", measure: Measure::Count, read: Read::Gauge(|r| r.channels.into()) },
    Series { field: "subscriptions", help: "Subscriptions held.", measure: Measure::Count, read: Read::Gauge(|r| r.subscriptions.into()) },
    Series { field: "engine_sessions", help: "Engine.IO sessions, whatever carries them.", measure: Measure::Count, read: Read::Gauge(|r| r.engine_sessions.into()) },
    Series { field: "sockets", help: "Socket.IO sockets, one for each namespace a client is in, with those whose clients may come back.", measure: Measure::Count, read: Read::Gauge(|r| r.sockets.into()) },
    Series { field: "history_publications", help: "Publications kept.", measure: Measure::Count, read: Read::Gauge(|r| r.history_publications) },
    Series { field: "history_bytes", help: "Publications kept, payload and bookkeeping.", measure: Measure::Bytes, read: Read::Gauge(|r| r.history_bytes) },
    Series { field: "state_keys", help: "Keys of channels' state, counters among them.", measure: Measure::Count, read: Read::Gauge(|r| r.state_keys.into()) },
    Series { field: "state_bytes", help: "Channels' state, keys and values and bookkeeping (limits.state_bytes_max).", measure: Measure::Bytes, read: Read::Gauge(|r| r.state_bytes) },
    Series { field: "storage_queue_bytes", help: "Records left to be written to disk that are not (storage.path); beyond 16 MiB of a shard what would have to be written is refused.", measure: Measure::Bytes, read: Read::Gauge(|r| r.storage_queue_bytes) },
    Series { field: "storage_commits_total", help: "Transactions that have been written to disk, each for all shards (told by the first shard).", measure: Measure::Count, read: Read::Counter(|r| r.storage_commits_total) },
    Series { field: "storage_failures_total", help: "Transactions that could not be written, each try (told by the first shard): anything above 0 wants a look at the disk and the log.", measure: Measure::Count, read: Read::Counter(|r| r.storage_failures_total) },
    Series { field: "broker_up", help: "Whether the shard's connections to the broker stand (broker.url); 0 where there is none.", measure: Measure::Count, read: Read::Gauge(|r| r.broker_up.into()) },
    Series { field: "broker_waiting", help: "Publications that wait for the broker; beyond 10,000 or 16 MiB of a shard, or two seconds, they are refused.", measure: Measure::Count, read: Read::Gauge(|r| r.broker_waiting.into()) },
    Series { field: "broker_refused_total", help: "Publications that the broker has not made (unavailable), or of which nobody knows whether it has (unknown).", measure: Measure::Count, read: Read::CounterBy("outcome", |r| ["unavailable", "unknown"].into_iter().zip(r.broker_refused_total).collect()) },
    Series { field: "broker_lost_total", help: "How often the broker was lost, by why: the connection has ended (closed), nothing is answered (silent) or passed on (mute), it takes no writes (role), refuses to serve (refused), or makes no sense (protocol).", measure: Measure::Count, read: Read::CounterBy("cause", |r| BrokerLoss::ALL.map(BrokerLoss::label).into_iter().zip(r.broker_lost_total).collect()) },
    Series { field: "broker_renewed_total", help: "Streams that were followed and have begun anew at the broker, so that their followers are told of a gap.", measure: Measure::Count, read: Read::Counter(|r| r.broker_renewed_total) },
    Series { field: "cluster_up", help: "Whether the Redis of the Socket.IO cluster is there (socketio.cluster); 0 where there is none, and on all shards but the first, which tells of the process.", measure: Measure::Count, read: Read::Gauge(|r| r.cluster_up.into()) },
    Series { field: "cluster_told_total", help: "Events, requests and answers that the Socket.IO cluster was told.", measure: Measure::Count, read: Read::Counter(|r| r.cluster_told_total) },
    Series { field: "cluster_heard_total", help: "Events and requests that were heard of the Socket.IO cluster.", measure: Measure::Count, read: Read::Counter(|r| r.cluster_heard_total) },
    Series { field: "cluster_ignored_total", help: "What was heard of the Socket.IO cluster and makes no sense; log.level debug says why.", measure: Measure::Count, read: Read::Counter(|r| r.cluster_ignored_total) },
    Series { field: "cluster_dropped_total", help: "What the Socket.IO cluster was to be told and was not: its Redis was away, too much waited, or msgpack cannot say it.", measure: Measure::Count, read: Read::Counter(|r| r.cluster_dropped_total) },
    Series { field: "members", help: "Members of channels: users, and connections of nobody, that have entered.", measure: Measure::Count, read: Read::Gauge(|r| r.members.into()) },
    Series { field: "send_queue_bytes", help: "Memory of what waits to be sent or is being sent (limits.send_bytes_max); what many are sent counts once.", measure: Measure::Bytes, read: Read::Gauge(|r| r.send_queue_bytes) },
    Series { field: "connection_bytes", help: "What one idle connection with one subscription takes in the shard's tables.", measure: Measure::Bytes, read: Read::Gauge(|r| r.connection_bytes.into()) },
];

/// The labels of `closed_total`, in the order of [`CloseReason::index`].
fn close_labels() -> impl Iterator<Item = &'static str> {
    CloseReason::ALL.into_iter().chain([CloseReason::Application(0)]).map(CloseReason::label)
}

/// The labels of `hooks_total`.
pub fn hook_labels() -> impl Iterator<Item = &'static str> {
    ["allowed", "denied", "remembered"].into_iter().chain(HookFailure::ALL.map(HookFailure::label))
}

type Labels = Vec<(&'static str, Cow<'static, str>)>;

#[derive(Debug)]
struct Shards(Vec<ShardReport>);

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for series in SERIES {
            let unit = series.measure.unit();
            let mut metric =
                encoder.encode_descriptor(series.name(), series.help, unit.as_ref(), series.metric_type())?;
            for report in &self.0 {
                series.encode(report, &mut metric)?;
            }
        }
        Ok(())
    }
}

impl Series {
    /// The field's name without what the format adds: the unit and, to a counter, `_total`.
    fn name(&self) -> &'static str {
        let name = self.field.strip_suffix("_total").unwrap_or(self.field);
        name.strip_suffix(self.measure.field_suffix()).unwrap_or(name)
    }

    fn metric_type(&self) -> MetricType {
        match self.read {
            Read::Counter(_) | Read::CounterBy(..) => MetricType::Counter,
            Read::Gauge(_) | Read::GaugeBy(..) => MetricType::Gauge,
            Read::Histogram(..) => MetricType::Histogram,
        }
    }

    fn encode(&self, report: &ShardReport, metric: &mut MetricEncoder) -> fmt::Result {
        let shard: Labels = vec![("shard", report.shard.to_string().into())];
        let numbers = match self.read {
            Read::Counter(read) | Read::Gauge(read) => vec![(shard, read(report))],
            Read::CounterBy(label, read) | Read::GaugeBy(label, read) => {
                let with = |value| [shard.clone(), vec![(label, Cow::Borrowed(value))]].concat();
                read(report).into_iter().map(|(value, number)| (with(value), number)).collect()
            }
            Read::Histogram(bounds, read) => {
                let (counts, sum) = read(report);
                return encode_histogram(metric.encode_family(&shard)?, self.measure, bounds, counts, sum);
            }
        };
        for (labels, number) in numbers {
            encode_number(metric.encode_family(&labels)?, self.metric_type(), self.measure, number)?;
        }
        Ok(())
    }
}

impl Measure {
    /// How a field's name ends that holds such a number.
    fn field_suffix(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Bytes => "_bytes",
            Self::Microseconds => "_us",
        }
    }

    fn unit(self) -> Option<Unit> {
        match self {
            Self::Count => None,
            Self::Bytes => Some(Unit::Bytes),
            Self::Microseconds => Some(Unit::Seconds),
        }
    }
}

fn encode_histogram(
    mut metric: MetricEncoder,
    measure: Measure,
    bounds: &[u64],
    counts: &[u64],
    sum: u64,
) -> fmt::Result {
    let scale = if matches!(measure, Measure::Microseconds) { 1e6 } else { 1.0 };
    let bounds = bounds.iter().map(|bound| *bound as f64 / scale).chain([f64::MAX]);
    let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
    metric.encode_histogram::<[(&str, &str); 0]>(sum as f64 / scale, counts.iter().sum(), &buckets, None)
}

fn encode_number(metric: MetricEncoder, kind: MetricType, measure: Measure, number: u64) -> fmt::Result {
    let seconds = number as f64 / 1e6;
    match (kind, measure) {
        (MetricType::Counter, Measure::Microseconds) => ConstCounter::new(seconds).encode(metric),
        (MetricType::Counter, _) => ConstCounter::new(number).encode(metric),
        (_, Measure::Microseconds) => ConstGauge::new(seconds).encode(metric),
        (_, _) => ConstGauge::new(number).encode(metric),
    }
}

/// The process, under the names every Prometheus client library uses.
#[derive(Debug)]
struct Process(ProcessReport);

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        use Measure::{Bytes, Count, Microseconds};
        use MetricType::{Counter, Gauge};

        let process = &self.0;
        let (cpu_us, started_us) = (process.cpu_ms * 1000, process.started_unix_ms * 1000);
        for (name, help, kind, measure, number) in [
            ("process_resident_memory", "Resident memory.", Gauge, Bytes, process.resident_bytes),
            (
                "process_open_fds",
                "Open descriptors; connections live in the rings' own tables and are not among them.",
                Gauge,
                Count,
                process.open_descriptors,
            ),
            ("process_max_fds", "The limit of open descriptors.", Gauge, Count, process.descriptors_max),
            ("process_cpu", "CPU time spent in user and kernel.", Counter, Microseconds, cpu_us),
            ("process_start_time", "Start time since the Unix epoch.", Gauge, Microseconds, started_us),
        ] {
            let unit = measure.unit();
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
            encode_number(metric, kind, measure, number)?;
        }
        Ok(())
    }
}

/// The server as a whole.
#[derive(Debug)]
struct Server(ProcessReport);

impl Collector for Server {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (kind, measure) = (MetricType::Gauge, Measure::Microseconds);
        let unit = measure.unit();
        let metric =
            encoder.encode_descriptor("uptime", "Time since the server started.", unit.as_ref(), kind)?;
        encode_number(metric, kind, measure, self.0.uptime_ms * 1000)?;
        let mut metric = encoder.encode_descriptor(
            "build",
            "The version running, and the commit it was built from with its date.",
            None,
            MetricType::Info,
        )?;
        metric.encode_info(&[("version", self.0.version), ("commit", env!("BUILD_COMMIT"))])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mesh::Timings;

    /// A histogram in which every number is different.
    fn timings(first: u64) -> Timings {
        Timings { counts: std::array::from_fn(|index| first + index as u64), total_us: first + 100_000_000 }
    }

    /// A report in which every number is different.
    fn report() -> ShardReport {
        ShardReport {
            shard: 3,
            core: 7,
            connections: 101,
            connections_max: 102,
            sessions: [103, 104, 105, 106],
            accepted_total: 107,
            refused_full_total: 108,
            refused_memory_total: 198,
            refused_address_total: 109,
            proxy_headers_refused_total: 199,
            accept_failures_total: 110,
            handed_over_total: 142,
            hand_over_failures_total: 143,
            steered_permille: 957,
            levelled_total: 958,
            levelling_us_total: 132_000_001,
            levelling_given_up_total: 959,
            carried_total: 951,
            carried_refused_total: 952,
            carried_told_total: 953,
            closed_total: std::array::from_fn(|index| 200 + index as u64),
            received_bytes_total: 111,
            sent_bytes_total: 112,
            responses_total: [113, 114, 115, 116, 117],
            messages_total: 118,
            messages_deflated_total: 154,
            messages_inflated_total: 155,
            publications_total: 119,
            publications_refused_total: 120,
            deliveries_total: 121,
            delivery_us: timings(900),
            dropped_slow_total: 122,
            dropped_mesh_total: 123,
            rate_limited_total: 124,
            commands_refused_total: 141,
            tokens_refused_total: std::array::from_fn(|index| 700 + index as u64),
            hooks_total: std::array::from_fn(|index| 600 + index as u64),
            hooks_waiting: 149,
            notices_total: [151, 152],
            notices_waiting: 153,
            notice_failures_total: 154,
            request_limits_total: [125, 126, 127, 128, 129],
            tls_handshakes_total: std::array::from_fn(|index| 500 + index as u64),
            tls_handshake_us_total: 147,
            tls_handshake_wait_us: timings(800),
            tls_handshakes_in_progress: 148,
            partial_input_bytes: 143,
            partial_input_dropped_total: 144,
            shards_silent: 146,
            handler_panics_total: 145,
            shard_restarts_total: 147,
            turns_total: 130,
            busy_us_total: 131_000_001,
            turn_us: std::array::from_fn(|index| 300 + index as u64),
            turns_long_total: [166, 167],
            turn_items_max: std::array::from_fn(|index| 400 + index as u32),
            completions_total: 132,
            receive_buffers_exhausted_total: 133,
            mesh_hop_us: timings(1000),
            mesh_depth: 134,
            channels: 135,
            subscriptions: 136,
            history_publications: 137,
            history_bytes: 138,
            state_keys: 151,
            state_bytes: 152,
            members: 153,
            storage_queue_bytes: 154,
            storage_commits_total: 155,
            storage_failures_total: 156,
            broker_up: 1,
            broker_waiting: 157,
            broker_refused_total: [158, 159],
            broker_lost_total: std::array::from_fn(|index| 720 + index as u64),
            broker_renewed_total: 161,
            cluster_up: 1,
            cluster_told_total: 162,
            cluster_heard_total: 163,
            cluster_ignored_total: 164,
            cluster_dropped_total: 165,
            send_queue_bytes: 139,
            connection_bytes: 140,
            engine_sessions: 141,
            sockets: 142,
        }
    }

    fn lines_of(text: &str, name: &str) -> Vec<String> {
        let is_sample = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        };
        text.lines().filter(is_sample).map(str::to_owned).collect()
    }

    #[test]
    fn every_field_of_a_report_but_the_shard_is_a_series() {
        let value = serde_json::to_value(report()).expect("a report serializes");
        let fields: BTreeSet<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
        let shown: BTreeSet<_> = SERIES.iter().map(|series| series.field).chain(["shard"]).collect();
        assert_eq!(shown, fields);
        assert_eq!(shown.len(), SERIES.len() + 1, "no field stands twice in the table");
    }

    #[test]
    fn every_series_shows_its_own_field() {
        let text = encode(&[report()], &ProcessReport::default());
        let value = serde_json::to_value(report()).expect("a report serializes");
        for series in SERIES.iter().filter(|series| !matches!(series.read, Read::Histogram(..))) {
            let name = format!("roadstead_{}", series.field.replace("_us_total", "_seconds_total"));
            let shown: Vec<f64> = lines_of(&text, &name)
                .iter()
                .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
                .collect();
            let scale = if matches!(series.measure, Measure::Microseconds) { 1e6 } else { 1.0 };
            let expected: Vec<f64> = match &value[series.field] {
                serde_json::Value::Array(items) => {
                    items.iter().map(|item| item.as_f64().expect("a number")).collect()
                }
                number => vec![number.as_f64().expect("a number") / scale],
            };
            assert_eq!(shown, expected, "{name}");
        }
    }

    #[test]
    fn histograms_show_in_seconds() {
        let text = encode(&[report()], &ProcessReport::default());
        for line in [
            "# TYPE roadstead_turn_seconds histogram",
            "roadstead_turn_seconds_sum{shard=\"3\"} 131.000001",
            "roadstead_turn_seconds_count{shard=\"3\"} 3666",
            "roadstead_turn_seconds_bucket{le=\"0.00005\",shard=\"3\"} 300",
            "roadstead_turn_seconds_bucket{le=\"0.0001\",shard=\"3\"} 601",
            "roadstead_turn_seconds_bucket{le=\"+Inf\",shard=\"3\"} 3666",
            "roadstead_delivery_seconds_sum{shard=\"3\"} 100.0009",
            "roadstead_delivery_seconds_bucket{le=\"0.001\",shard=\"3\"} 900",
            "roadstead_delivery_seconds_bucket{le=\"0.002\",shard=\"3\"} 1801",
            "roadstead_tls_handshake_wait_seconds_bucket{le=\"0.001\",shard=\"3\"} 800",
            "roadstead_mesh_hop_seconds_bucket{le=\"0.00001\",shard=\"3\"} 1000",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\nis missing in\n{text}");
        }
    }

    #[test]
    fn shards_and_further_labels_are_told_apart() {
        let other = ShardReport { shard: 4, ..ShardReport::default() };
        let text = encode(&[report(), other], &ProcessReport::default());
        for line in [
            "roadstead_connections{shard=\"3\"} 101",
            "roadstead_connections{shard=\"4\"} 0",
            "roadstead_sessions{shard=\"3\",kind=\"event_stream\"} 105",
            "roadstead_closed_total{shard=\"3\",reason=\"client_gone\"} 200",
            "roadstead_closed_total{shard=\"3\",reason=\"application\"} 228",
            "roadstead_request_limits_total{shard=\"3\",status=\"431\"} 129",
            "roadstead_responses_total{shard=\"3\",status=\"4xx\"} 116",
            "# UNIT roadstead_received_bytes bytes",
            "# TYPE roadstead_received_bytes counter",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\nis missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_process_shows_under_the_usual_names() {
        let process = ProcessReport {
            version: "1.2.3",
            resident_bytes: 4096,
            kernel_bytes: None,
            open_descriptors: 5,
            descriptors_max: 6,
            cpu_ms: 1_500,
            uptime_ms: 2_500,
            started_unix_ms: 1_700_000_000_250,
            upgrade_failed: None,
        };
        let text = encode(&[], &process);
        for line in [
            "process_resident_memory_bytes 4096",
            "process_open_fds 5",
            "process_max_fds 6",
            "process_cpu_seconds_total 1.5",
            "process_start_time_seconds 1700000000.25",
            "roadstead_uptime_seconds 2.5",
            "roadstead_build_info{version=\"1.2.3\",commit=\"\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\nis missing in\n{text}");
        }
    }
}
