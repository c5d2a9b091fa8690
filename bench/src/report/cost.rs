//! What a message costs in CPU and a connection in memory, and when that cannot be told: a figure whose uncertainty is
//! larger than itself is none.

use std::time::Duration;

use serde::Serialize;

use crate::{
    error::{Doing, Result},
    host::{
        cpu::{CpuTime, ThreadUse},
        memory::{KernelMemory, UserMemory},
        server::Server,
    },
};

/// How far a reading of CPU may be off: a thread that runs just then is accounted for at its next tick.
const CPU_UNCERTAINTY_US: u64 = 4_000;
/// How far its division into user and system may be off: a tick at each end.
const DIVISION_UNCERTAINTY_US: u64 = 20_000;
/// How much a process's memory wanders by itself: arenas, stacks, pages touched once.
const USER_WANDERING_BYTES: u64 = 128 << 10;
/// How much the machine's slab wanders while other programs live on it.
const SLAB_WANDERING_BYTES: u64 = 2 << 20;

/// CPU of one side over the measured time. What cannot be told is none.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CpuShare {
    /// User and system time.
    #[serde(flatten)]
    pub time: CpuTime,
    /// Cores kept busy.
    pub cores: f64,
    /// Microseconds of user time per message.
    pub user_us_per_message: Option<f64>,
    /// Microseconds of system time per message.
    pub system_us_per_message: Option<f64>,
    /// Both together.
    pub us_per_message: Option<f64>,
    #[serde(skip)]
    messages: u64,
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

/// Growth per connection, in bytes. What is less than the memory's own wandering is none.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MemoryPerConnection {
    /// The server's resident memory.
    pub server_rss_bytes: Option<f64>,
    /// The server's proportional resident memory.
    pub server_pss_bytes: Option<f64>,
    /// The server's anonymous memory.
    pub server_anonymous_bytes: Option<f64>,
    /// The client's anonymous memory.
    pub client_anonymous_bytes: Option<f64>,
    /// Kernel slab, both ends, unreclaimable and reclaimable.
    pub kernel_slab_bytes: Option<f64>,
    /// The unreclaimable part of it.
    pub kernel_slab_unreclaimable_bytes: Option<f64>,
    /// Whether the server's memory was looked at.
    #[serde(skip)]
    is_server_known: bool,
    /// Whether clients and their kernel are on other machines.
    #[serde(skip)]
    is_elsewhere: bool,
    #[serde(skip)]
    connections: u64,
}

impl CpuShare {
    /// The share of `time` in `elapsed`, with `messages` handled.
    pub fn new(time: CpuTime, elapsed: Duration, messages: u64) -> Self {
        Self::of(time, time.cores(elapsed), messages)
    }

    fn of(time: CpuTime, cores: f64, messages: u64) -> Self {
        let per = |us: u64, uncertainty_us: u64| {
            (us > uncertainty_us && messages > 0).then(|| us as f64 / messages as f64)
        };
        Self {
            time,
            cores,
            user_us_per_message: per(time.user_us, DIVISION_UNCERTAINTY_US),
            system_us_per_message: per(time.system_us, DIVISION_UNCERTAINTY_US),
            us_per_message: per(time.total_us(), CPU_UNCERTAINTY_US),
            messages,
        }
    }

    /// Each thread's share, with all threads' messages divided evenly.
    pub fn of_threads(threads: &[ThreadUse], messages: u64) -> Vec<Self> {
        let each = messages / threads.len().max(1) as u64;
        threads.iter().map(|thread| Self::new(thread.cpu, thread.elapsed, each)).collect()
    }

    /// Several threads together.
    pub fn sum(threads: &[Self]) -> Self {
        let time = threads.iter().fold(CpuTime::default(), |sum, thread| sum + thread.time);
        let messages = threads.iter().map(|thread| thread.messages).sum();
        Self::of(time, threads.iter().map(|thread| thread.cores).sum(), messages)
    }

    /// The CPU of each message, with as many digits as are known, or why there is none.
    pub fn to_text(self, unit: &str) -> String {
        let Some(each) = self.us_per_message else {
            return match self.messages {
                0 => format!("CPU per {unit} is not measurable here: there was none"),
                _ => format!(
                    "CPU per {unit} is not measurable here: {:.1} ms in all, known to ±{} ms; run longer or faster",
                    self.time.total_us() as f64 / 1e3,
                    CPU_UNCERTAINTY_US / 1000
                ),
            };
        };
        let digits = digits_for(CPU_UNCERTAINTY_US as f64 / self.messages as f64);
        let rough = digits_for(DIVISION_UNCERTAINTY_US as f64 / self.messages as f64);
        let division = match (self.user_us_per_message, self.system_us_per_message) {
            (Some(user), Some(system)) => format!("{user:.rough$} user, {system:.rough$} system"),
            (Some(_), None) => "system time too short to be told".to_owned(),
            (None, Some(_)) => "user time too short to be told".to_owned(),
            (None, None) => "too short to be divided into user and system".to_owned(),
        };
        format!("{each:.digits$} µs per {unit} ({division})")
    }
}

/// Decimals that mean something in a figure that is off by up to `uncertainty`.
fn digits_for(uncertainty: f64) -> usize {
    (-uncertainty.max(1e-9).log10()).ceil().clamp(0.0, 3.0) as usize
}

impl MemorySample {
    /// Memory now, of the server, of this process, and of the kernel.
    pub fn now(server: Option<&Server>) -> Result<Self> {
        Ok(Self {
            server: server
                .map(Server::memory)
                .transpose()
                .doing("read the server's /proc/PID/smaps_rollup")?,
            client_anonymous_bytes: UserMemory::of_process(std::process::id())
                .doing("read /proc/self/smaps_rollup")?
                .anonymous_bytes,
            kernel: KernelMemory::now().doing("read /proc/meminfo")?,
        })
    }
}

impl MemoryPerConnection {
    /// Growth from `before` to `after` over `connections`.
    pub fn between(before: &MemorySample, after: &MemorySample, connections: u64) -> Self {
        let per = |before: u64, after: u64, wandering: u64| {
            let grown = after.checked_sub(before).filter(|grown| *grown > wandering)?;
            Some(grown as f64 / connections.max(1) as f64)
        };
        let server = |field: fn(&UserMemory) -> u64| {
            per(field(before.server.as_ref()?), field(after.server.as_ref()?), USER_WANDERING_BYTES)
        };
        let kernel = |field: fn(&KernelMemory) -> u64| {
            per(field(&before.kernel), field(&after.kernel), SLAB_WANDERING_BYTES)
        };
        Self {
            server_rss_bytes: server(|memory| memory.rss_bytes),
            server_pss_bytes: server(|memory| memory.pss_bytes),
            server_anonymous_bytes: server(|memory| memory.anonymous_bytes),
            client_anonymous_bytes: per(
                before.client_anonymous_bytes,
                after.client_anonymous_bytes,
                USER_WANDERING_BYTES,
            ),
            kernel_slab_bytes: kernel(|memory| memory.slab_bytes()),
            kernel_slab_unreclaimable_bytes: kernel(|memory| memory.slab_unreclaimable_bytes),
            is_server_known: before.server.is_some() && after.server.is_some(),
            is_elsewhere: false,
            connections,
        }
    }

    /// What is known of the server alone.
    pub fn of_server(self) -> Self {
        Self {
            client_anonymous_bytes: None,
            kernel_slab_bytes: None,
            kernel_slab_unreclaimable_bytes: None,
            is_elsewhere: true,
            ..self
        }
    }

    /// The figures that are known, and why others are not. User and kernel memory are never added up: the one is the
    /// program's doing, the other the kernel's.
    pub fn to_text(self) -> String {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        let mut tell = |what: &str, bytes: Option<f64>, wandering: u64| match bytes {
            Some(bytes) => known.push(format!("{what} {bytes:.0} B")),
            None => {
                unknown.push(format!("{what} less than {:.0} B", wandering as f64 / self.connections as f64))
            }
        };
        if self.is_server_known {
            tell("server, resident", self.server_rss_bytes, USER_WANDERING_BYTES);
            if self.server_pss_bytes.is_some() {
                tell("server, proportional", self.server_pss_bytes, USER_WANDERING_BYTES);
            }
        }
        if !self.is_elsewhere {
            tell("kernel slab of both ends", self.kernel_slab_bytes, SLAB_WANDERING_BYTES);
            tell("client", self.client_anonymous_bytes, USER_WANDERING_BYTES);
        }
        let mut text = String::new();
        if self.connections == 0 {
            return text;
        }
        if !known.is_empty() {
            text += &format!("  memory per connection: {}\n", known.join(", "));
        }
        if !unknown.is_empty() {
            text += &format!(
                "  memory per connection not measurable here: {}, which is how far it wanders by itself; take more than {} \
                 connections\n",
                unknown.join(", "),
                self.connections
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_within_the_usual_wandering_is_no_figure() {
        let sample = |bytes| MemorySample {
            server: Some(UserMemory { rss_bytes: bytes, pss_bytes: bytes, anonymous_bytes: bytes }),
            ..MemorySample::default()
        };
        let growth = |before, after| MemoryPerConnection::between(&sample(before), &sample(after), 10);
        assert_eq!(growth(2000, 1000).server_rss_bytes, None);
        assert_eq!(growth(0, USER_WANDERING_BYTES).server_rss_bytes, None);
        assert_eq!(growth(0, USER_WANDERING_BYTES + 10).server_rss_bytes, Some(13_108.2));
        assert!(
            growth(2000, 1000).to_text().contains("not measurable here: server, resident less than 13107 B")
        );
        let unknown = MemorySample::default();
        assert_eq!(MemoryPerConnection::between(&unknown, &sample(1 << 30), 10).server_pss_bytes, None);
    }

    #[test]
    fn cpu_has_the_digits_that_are_known_or_none() {
        let text = |user_us, system_us, messages| {
            let time = CpuTime { user_us, system_us };
            CpuShare::new(time, Duration::from_secs(1), messages).to_text("echo")
        };
        assert_eq!(text(300_000, 900_000, 100_000), "12.00 µs per echo (3.0 user, 9.0 system)");
        assert_eq!(text(300_000, 0, 1000), "300 µs per echo (system time too short to be told)");
        assert_eq!(text(5_000, 5_000, 10), "1000 µs per echo (too short to be divided into user and system)");
        assert!(text(1_000, 2_000, 10).contains("not measurable here: 3.0 ms in all, known to ±4 ms"));
        assert!(text(1_000_000, 0, 0).contains("there was none"));
    }
}
