//! What a run found, in the shape of its JSON. The text for people is in `text.rs`, HdrHistogram's files in `files.rs`.

mod cost;
pub mod files;
pub mod series;
mod text;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

pub use self::{
    cost::{CpuShare, MemoryPerConnection, MemorySample},
    text::{Report, print},
};
use crate::{
    latency::{Interval, Latencies, LatencySummary, summarize},
    ledger::Tally,
    load::{pace::Pace, stages::Stage},
    protocol::deflate::Traffic,
    verdict::{Bottleneck, Evidence, Verdict},
};

/// What every load measures.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// `open` or `closed`.
    pub load: &'static str,
    /// Whether the figures may be believed.
    pub verdict: Verdict,
    /// What came before measuring.
    pub warm_up: WarmedUp,
    /// Measured time.
    pub seconds: f64,
    /// Latencies from the intended time.
    pub latency: LatencySummary,
    /// How late messages were sent.
    pub schedule_lag: LatencySummary,
    /// The generator, all its threads.
    pub client: CpuShare,
    /// Each of its threads.
    pub client_threads: Vec<CpuShare>,
    /// The largest share of its time that one of them waited for a core.
    pub client_core_wait: f64,
    /// The server, if its pid is known.
    pub server: Option<CpuShare>,
    /// Cores its busiest thread used.
    pub server_busiest_thread_cores: Option<f64>,
    /// What held the rate back.
    pub bottleneck: Bottleneck,
    /// Growth from before the first connection until all were served.
    pub memory_per_connection: Option<MemoryPerConnection>,
    /// What came of offering compression, if it was offered: of the whole run, its warm-up too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Traffic>,
    /// The percentile curve: percentile and microseconds.
    pub percentiles: Vec<(f64, u64)>,
    /// Interval by interval.
    pub timeline: Vec<Interval>,
    /// Stage by stage, where the rate had stages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageReport>,
}

/// How a load was warmed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WarmedUp {
    /// How long.
    pub seconds: f64,
    /// Whether it was steady in the end; none if nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steady: Option<bool>,
    /// What was seen last of one that was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsteady: Option<String>,
}

/// One stage of a rate.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// What was asked for.
    #[serde(flatten)]
    pub stage: Stage,
    /// Messages per second that came back or arrived.
    pub per_second: f64,
    /// Their latencies.
    pub latency: LatencySummary,
}

/// The result of `echo` and `http`.
#[derive(Clone, Debug, Serialize)]
pub struct ExchangeReport {
    /// Which of them.
    pub scenario: &'static str,
    /// The server.
    pub url: String,
    /// How connections were spread.
    pub spread: String,
    /// Connections.
    pub connections: u64,
    /// Payload.
    pub message_bytes: usize,
    /// Messages per second asked for.
    pub per_second_asked: Option<f64>,
    /// Right replies.
    pub replies: u64,
    /// The rate.
    pub per_second: f64,
    /// The same, for `echo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echoes_per_second: Option<f64>,
    /// Replies that were not what was asked for.
    pub wrong: u64,
    /// Connections lost on the way.
    pub lost: u64,
    /// Messages without a reply.
    pub unanswered: u64,
    /// Messages that were due but never sent, because thousands waited.
    pub unsent: u64,
    /// Messages that were due on connections that had been lost.
    pub orphaned: u64,
    /// Connections that the server closed in an orderly way, each followed by a new one.
    pub reconnects: u64,
    /// Why connections were lost or replies wrong, and how often.
    pub failures: BTreeMap<String, u64>,
    /// What every load measures.
    #[serde(flatten)]
    pub measured: Measured,
}

/// The result of `fanout`.
#[derive(Clone, Debug, Serialize)]
pub struct FanoutReport {
    /// `fanout`.
    pub scenario: &'static str,
    /// Where subscribers connected.
    pub url: String,
    /// How subscribers were spread.
    pub spread: String,
    /// Subscribers.
    pub subscribers: u64,
    /// Channels they were divided among.
    pub channels: u64,
    /// Payload.
    pub message_bytes: usize,
    /// Publications sent together.
    pub burst: usize,
    /// Publications sent.
    pub publications: u64,
    /// Asked rate of publications, if one was asked for.
    pub publications_per_second_asked: Option<f64>,
    /// Achieved rate of publications.
    pub publications_per_second: f64,
    /// Deliveries that should have been made.
    pub expected: u64,
    /// What became of them.
    #[serde(flatten)]
    pub tally: Tally,
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries to subscribers of another channel.
    pub strays: u64,
    /// Subscribers the server closed.
    pub subscribers_lost: u64,
    /// The rate of deliveries.
    pub deliveries_per_second: f64,
    /// How many came together, on average: more than one shows a server that gathers what it has to send.
    pub deliveries_per_read: f64,
    /// Why subscribers were lost, and how often.
    pub failures: BTreeMap<String, u64>,
    /// What every load measures.
    #[serde(flatten)]
    pub measured: Measured,
}

/// The result of `mixed`.
#[derive(Clone, Debug, Serialize)]
pub struct MixedReport {
    /// `mixed`.
    pub scenario: &'static str,
    /// Where everybody connected who does not say otherwise.
    pub url: String,
    /// How connections were spread.
    pub spread: String,
    /// Connections in all.
    pub connections: u64,
    /// The groups' names.
    pub groups: Vec<String>,
    /// Messages per second asked for.
    #[serde(rename = "per_second_asked")]
    pub messages_per_second_asked: f64,
    /// Messages sent.
    pub messages: u64,
    /// Those that came back to their sender.
    pub returned: u64,
    /// Those that should have and did not.
    pub missing: u64,
    /// Messages received by anybody.
    pub deliveries: u64,
    /// The rate.
    pub deliveries_per_second: f64,
    /// Connections closed and served again.
    pub reconnects: u64,
    /// From when one was due until it was served.
    pub time_to_return: LatencySummary,
    /// Connections lost.
    pub lost: u64,
    /// Why, and how often.
    pub failures: BTreeMap<String, u64>,
    /// What every load measures.
    #[serde(flatten)]
    pub measured: Measured,
}

/// One wave of `connect`.
#[derive(Clone, Debug, Serialize)]
pub struct WaveReport {
    /// Connections served.
    pub served: u64,
    /// Connections refused or broken before they were served.
    pub failed: u64,
    /// Connections lost while held.
    pub lost: u64,
    /// From the first connect to the last one served.
    pub seconds: f64,
    /// The rate.
    pub connections_per_second: f64,
    /// From a connection's start until it was served.
    pub time_to_served: LatencySummary,
    /// The generator, all its processes, while connecting; messages are connections.
    pub client: CpuShare,
    /// Each of its processes.
    pub client_workers: Vec<CpuShare>,
    /// The largest share of its time that one of them waited for a core.
    pub client_core_wait: f64,
    /// The server meanwhile, if its pid is known.
    pub server: Option<CpuShare>,
    /// Cores its busiest thread used.
    pub server_busiest_thread_cores: Option<f64>,
    /// What held the rate back.
    pub bottleneck: Bottleneck,
    /// Growth since the start, once all were served.
    pub per_connection: MemoryPerConnection,
    /// Memory when all were served.
    pub held: MemorySample,
    /// Memory after all had left.
    pub left: MemorySample,
    /// Connections that received the message published at the end of the hold, if one was.
    pub message_received: Option<u64>,
    /// Why connections failed, and how many.
    pub failures: BTreeMap<String, u64>,
}

/// The result of `connect`.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectReport {
    /// `connect` or `storm`.
    pub scenario: &'static str,
    /// Where to.
    pub url: String,
    /// Whether the figures may be believed.
    pub verdict: Verdict,
    /// The waves' times until served, together.
    pub latency: LatencySummary,
    /// Connections asked for.
    pub connections: u64,
    /// Processes they were spread over.
    pub workers: usize,
    /// How they were spread.
    pub spread: String,
    /// Memory before the first connection.
    pub before: MemorySample,
    /// The waves.
    pub waves: Vec<WaveReport>,
}

impl WarmedUp {
    /// For so long, whatever came of it.
    pub fn of(time: Duration) -> Self {
        Self { seconds: time.as_secs_f64(), ..Self::default() }
    }
}

impl Measured {
    /// What the evidence says by itself.
    pub fn new(evidence: Evidence<'_>) -> Self {
        Self {
            load: evidence.pace.name(),
            verdict: evidence.judge(),
            warm_up: WarmedUp::default(),
            seconds: 0.0,
            latency: evidence.latency,
            schedule_lag: evidence.lag,
            client: CpuShare::sum(evidence.clients),
            client_threads: evidence.clients.to_vec(),
            client_core_wait: evidence.core_wait,
            server: None,
            server_busiest_thread_cores: evidence.server_cores,
            bottleneck: evidence.bottleneck(),
            memory_per_connection: None,
            compression: None,
            percentiles: Vec::new(),
            timeline: Vec::new(),
            stages: Vec::new(),
        }
    }

    /// Adds how each stage went.
    pub fn with_stages(self, pace: Pace, latencies: &Latencies) -> Self {
        let Pace::Staged(stages, _) = pace else { return self };
        let mut start = 0.0;
        let report = |stage: &Stage| {
            let all = latencies.between(start, start + stage.seconds);
            start += stage.seconds;
            StageReport {
                stage: *stage,
                per_second: all.len() as f64 / stage.seconds,
                latency: summarize(&all),
            }
        };
        Self { stages: stages.all().iter().map(report).collect(), ..self }
    }

    /// Adds how long it took, and the course of the latencies.
    pub fn with_times(self, seconds: f64, latencies: &Latencies) -> Self {
        Self { seconds, percentiles: latencies.curve(), timeline: latencies.timeline(), ..self }
    }

    /// Adds the server's CPU.
    pub fn with_server(self, server: Option<CpuShare>) -> Self {
        Self { server, ..self }
    }

    /// Adds how it was warmed up, and doubts a load that never was steady.
    pub fn with_warm_up(mut self, warm_up: &WarmedUp) -> Self {
        if let Some(unsteady) = &warm_up.unsteady {
            self.verdict.warnings.push(format!(
                "the load was not steady after {:.1} s of warming up: {unsteady}",
                warm_up.seconds
            ));
        }
        Self { warm_up: warm_up.clone(), ..self }
    }

    /// Adds what came of offering compression.
    pub fn with_traffic(mut self, traffic: Option<Traffic>) -> Self {
        if traffic.is_some_and(|traffic| traffic.agreed == 0) {
            self.verdict.warnings.push("compression was offered and the server did not agree".to_owned());
        }
        Self { compression: traffic, ..self }
    }

    /// Adds what a connection costs.
    pub fn with_memory(self, memory: MemoryPerConnection) -> Self {
        Self { memory_per_connection: Some(memory), ..self }
    }
}
