//! What a run found, for people and as JSON.

use std::time::Duration;

use serde::Serialize;

use crate::{
    host::{
        cpu::CpuTime,
        memory::{KernelMemory, UserMemory},
    },
    latency::LatencySummary,
    ledger::Tally,
};

/// A share of a core above which a process counts as saturated.
const SATURATED_CORES: f64 = 0.97;

/// CPU of one side over the measured time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CpuShare {
    /// User and system time.
    #[serde(flatten)]
    pub time: CpuTime,
    /// Cores kept busy.
    pub cores: f64,
    /// Microseconds of user time per message.
    pub user_us_per_message: f64,
    /// Microseconds of system time per message.
    pub system_us_per_message: f64,
    /// Both together.
    pub us_per_message: f64,
}

/// What held the rate back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bottleneck {
    /// The server kept its core busy.
    Server,
    /// The generator kept its core busy and the server did not: the rate says nothing about the server.
    Generator,
    /// Both kept their cores busy.
    Both,
    /// Neither did, or the server's time is unknown.
    Neither,
}

/// The result of `echo`.
#[derive(Clone, Debug, Serialize)]
pub struct EchoReport {
    /// `closed`: latency does not count the time a request could not be sent because the last was late.
    pub load: &'static str,
    /// Connections.
    pub connections: usize,
    /// Payload.
    pub message_bytes: usize,
    /// Measured time.
    pub seconds: f64,
    /// Echoes within it.
    pub echoes: u64,
    /// The rate.
    pub echoes_per_second: f64,
    /// Replies that were not what was sent.
    pub wrong: u64,
    /// Connections lost on the way.
    pub lost: u64,
    /// Round trips.
    pub latency: LatencySummary,
    /// This process.
    pub client: CpuShare,
    /// The server, if its pid is known.
    pub server: Option<CpuShare>,
    /// What held the rate back.
    pub bottleneck: Bottleneck,
}

/// The result of `fanout`.
#[derive(Clone, Debug, Serialize)]
pub struct FanoutReport {
    /// `closed` or `open`.
    pub load: &'static str,
    /// Subscribers.
    pub subscribers: usize,
    /// Payload.
    pub message_bytes: usize,
    /// Publications sent together.
    pub burst: usize,
    /// Measured time, from the first publication to the last delivery.
    pub seconds: f64,
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
    /// Subscribers the server closed.
    pub subscribers_lost: u64,
    /// The rate of deliveries.
    pub deliveries_per_second: f64,
    /// From the intended publication time to each delivery.
    pub latency: LatencySummary,
    /// The latest a publication was sent after its time.
    pub schedule_lag_max_us: u64,
    /// This process, per delivery.
    pub client: CpuShare,
    /// The server, per delivery.
    pub server: Option<CpuShare>,
    /// What held the rate back.
    pub bottleneck: Bottleneck,
}

/// Memory at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MemorySample {
    /// The server's, if its pid is known.
    pub server: Option<UserMemory>,
    /// The worker processes' anonymous memory, all together.
    pub client_anonymous_bytes: u64,
    /// The kernel's, for both ends of every connection.
    pub kernel: KernelMemory,
}

/// Growth per connection, in bytes. Signed: a process may shrink.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MemoryPerConnection {
    /// The server's resident memory.
    pub server_rss_bytes: Option<f64>,
    /// The server's proportional resident memory.
    pub server_pss_bytes: Option<f64>,
    /// The server's anonymous memory.
    pub server_anonymous_bytes: Option<f64>,
    /// The client's anonymous memory.
    pub client_anonymous_bytes: f64,
    /// Kernel slab, both ends, unreclaimable and reclaimable.
    pub kernel_slab_bytes: f64,
    /// The unreclaimable part of it.
    pub kernel_slab_unreclaimable_bytes: f64,
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
    /// Growth since the start, once all were served.
    pub per_connection: MemoryPerConnection,
    /// Memory when all were served.
    pub held: MemorySample,
    /// Memory after all had left.
    pub left: MemorySample,
    /// Connections that received the message published at the end of the hold, if one was.
    pub message_received: Option<u64>,
    /// Why connections failed, and how many.
    pub failures: std::collections::BTreeMap<String, u64>,
}

/// The result of `connect`.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectReport {
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

impl CpuShare {
    /// The share of `time` in `elapsed`, with `messages` handled.
    pub fn new(time: CpuTime, elapsed: Duration, messages: u64) -> Self {
        let per = |us: u64| us as f64 / messages.max(1) as f64;
        Self {
            time,
            cores: time.cores(elapsed),
            user_us_per_message: per(time.user_us),
            system_us_per_message: per(time.system_us),
            us_per_message: per(time.total_us()),
        }
    }
}

impl Bottleneck {
    /// Judges by how busy each side was. A server of several threads is taken for saturated at one core: its busiest
    /// thread is what matters, and that is not known here.
    pub fn judge(client: &CpuShare, server: Option<&CpuShare>) -> Self {
        let client_busy = client.cores >= SATURATED_CORES;
        let server_busy = server.is_some_and(|server| server.cores >= SATURATED_CORES);
        match (client_busy, server_busy) {
            (true, true) => Self::Both,
            (true, false) => Self::Generator,
            (false, true) => Self::Server,
            (false, false) => Self::Neither,
        }
    }
}

impl MemoryPerConnection {
    /// Growth from `before` to `after` over `connections`.
    pub fn between(before: &MemorySample, after: &MemorySample, connections: u64) -> Self {
        let per = |before: u64, after: u64| (after as f64 - before as f64) / connections.max(1) as f64;
        let server = |field: fn(&UserMemory) -> u64| {
            Some(per(field(before.server.as_ref()?), field(after.server.as_ref()?)))
        };
        Self {
            server_rss_bytes: server(|memory| memory.rss_bytes),
            server_pss_bytes: server(|memory| memory.pss_bytes),
            server_anonymous_bytes: server(|memory| memory.anonymous_bytes),
            client_anonymous_bytes: per(before.client_anonymous_bytes, after.client_anonymous_bytes),
            kernel_slab_bytes: per(before.kernel.slab_bytes(), after.kernel.slab_bytes()),
            kernel_slab_unreclaimable_bytes: per(
                before.kernel.slab_unreclaimable_bytes,
                after.kernel.slab_unreclaimable_bytes,
            ),
        }
    }
}

/// A result that can be shown.
pub trait Report: Serialize {
    /// The result as a few lines for people.
    fn to_text(&self) -> String;
}

/// Prints `report` as asked.
pub fn print(report: &impl Report, json: bool) {
    if json {
        println!("{}", serde_json::to_string(report).expect("a report holds only numbers and texts"));
    } else {
        print!("{}", report.to_text());
    }
}

impl Report for EchoReport {
    fn to_text(&self) -> String {
        format!(
            "echo, {} loop, {} connections, {} B, {:.1} s\n  {:.0} echoes/s, {} wrong, {} connections lost\n\
             {}{}{}{}",
            self.load,
            self.connections,
            self.message_bytes,
            self.seconds,
            self.echoes_per_second,
            self.wrong,
            self.lost,
            latency_line(&self.latency),
            cpu_line("client", &self.client, "echo"),
            self.server.map_or(String::new(), |server| cpu_line("server", &server, "echo")),
            bottleneck_line(self.bottleneck),
        )
    }
}

impl Report for FanoutReport {
    fn to_text(&self) -> String {
        format!(
            "fan-out, {} loop, {} subscribers, {} B, bursts of {}, {:.1} s\n  {:.0} publications/s{}, \
             {:.0} deliveries/s\n  {} of {} delivered, {} lost, {} duplicates, {} out of order, {} subscribers lost\n\
             {}{}{}{}",
            self.load,
            self.subscribers,
            self.message_bytes,
            self.burst,
            self.seconds,
            self.publications_per_second,
            self.publications_per_second_asked.map_or(String::new(), |rate| format!(
                " ({rate} asked, at most {} µs late)",
                self.schedule_lag_max_us
            )),
            self.deliveries_per_second,
            self.tally.delivered,
            self.expected,
            self.lost,
            self.tally.duplicates,
            self.tally.reordered,
            self.subscribers_lost,
            latency_line(&self.latency),
            cpu_line("client", &self.client, "delivery"),
            self.server.map_or(String::new(), |server| cpu_line("server", &server, "delivery")),
            bottleneck_line(self.bottleneck),
        )
    }
}

impl Report for ConnectReport {
    fn to_text(&self) -> String {
        let mut text = format!("connect, {} connections, {}\n", self.connections, self.spread);
        for (number, wave) in self.waves.iter().enumerate() {
            text += &wave.to_text(number + 1);
        }
        text
    }
}

impl WaveReport {
    fn to_text(&self, number: usize) -> String {
        let mut text = format!(
            "wave {number}: {} served in {:.2} s ({:.0}/s), {} failed, {} lost while held\n",
            self.served, self.seconds, self.connections_per_second, self.failed, self.lost
        );
        let growth = &self.per_connection;
        if let (Some(rss), Some(pss)) = (growth.server_rss_bytes, growth.server_pss_bytes) {
            text += &format!("  server user memory per connection: {rss:.0} B RSS, {pss:.0} B PSS\n");
        }
        if let (Some(held), Some(left)) = (&self.held.server, &self.left.server) {
            let kilobytes = |memory: &UserMemory| memory.rss_bytes / 1024;
            text += &format!(
                "  server RSS: {} kB with all, {} kB after they left\n",
                kilobytes(held),
                kilobytes(left)
            );
        }
        text += &format!(
            "  kernel slab per connection, both ends: {:.0} B ({:.0} B unreclaimable); client user memory: {:.0} B\n",
            growth.kernel_slab_bytes, growth.kernel_slab_unreclaimable_bytes, growth.client_anonymous_bytes
        );
        if let Some(received) = self.message_received {
            text += &format!("  one message to all: {received} of {} received it\n", self.served);
        }
        for (why, count) in &self.failures {
            text += &format!("  {count} × {why}\n");
        }
        text
    }
}

fn latency_line(latency: &LatencySummary) -> String {
    format!(
        "  latency: p50 {} µs, p90 {}, p99 {}, p99.9 {}, max {}\n",
        latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us
    )
}

fn cpu_line(who: &str, share: &CpuShare, unit: &str) -> String {
    format!(
        "  {who} CPU: {:.2} cores, {:.3} µs per {unit} ({:.3} user, {:.3} system)\n",
        share.cores, share.us_per_message, share.user_us_per_message, share.system_us_per_message
    )
}

fn bottleneck_line(bottleneck: Bottleneck) -> String {
    let sentence = match bottleneck {
        Bottleneck::Server => "the server was saturated",
        Bottleneck::Generator => {
            "the GENERATOR was the bottleneck: the rate says nothing about the server; CPU per message still holds"
        }
        Bottleneck::Both => "both sides were saturated",
        Bottleneck::Neither => "neither side was known to be saturated",
    };
    format!("  {sentence}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_client_before_an_idle_server_is_the_bottleneck() {
        let share =
            |busy_us| CpuShare::new(CpuTime { user_us: busy_us, system_us: 0 }, Duration::from_secs(1), 1000);
        let judge = |client, server| Bottleneck::judge(&share(client), Some(&share(server)));
        assert_eq!(judge(990_000, 500_000), Bottleneck::Generator);
        assert_eq!(judge(500_000, 990_000), Bottleneck::Server);
        assert_eq!(judge(990_000, 990_000), Bottleneck::Both);
        assert_eq!(judge(500_000, 500_000), Bottleneck::Neither);
        assert!((share(500_000).us_per_message - 500.0).abs() < 1e-9);
    }

    #[test]
    fn shrinking_memory_is_negative_growth() {
        let sample = |bytes| MemorySample {
            server: Some(UserMemory { rss_bytes: bytes, pss_bytes: bytes, anonymous_bytes: bytes }),
            ..MemorySample::default()
        };
        let growth = MemoryPerConnection::between(&sample(2000), &sample(1000), 10);
        assert_eq!(growth.server_rss_bytes, Some(-100.0));
        let unknown = MemorySample::default();
        assert_eq!(MemoryPerConnection::between(&unknown, &sample(1000), 10).server_pss_bytes, None);
    }
}
