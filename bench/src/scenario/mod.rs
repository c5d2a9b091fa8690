//! The measurements, one file or folder each.

pub mod connect;
pub mod exchange;
pub mod fanout;
pub mod mixed;

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crate::{
    error::{Doing, Result},
    host::{
        clock::monotonic_ns,
        cpu::{self, CpuTime},
        server::{Server, ServerCpu},
    },
    report::CpuShare,
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a coordinator sleeps at once.
const NAP: Duration = Duration::from_millis(50);

/// Time and the server's CPU at one moment, to be compared with a later one.
#[derive(Clone)]
struct Mark {
    at: Instant,
    at_ns: u64,
    server: Option<ServerCpu>,
}

/// A generator thread's CPU at one moment.
#[derive(Clone, Copy)]
struct ThreadMark {
    at: Instant,
    cpu: CpuTime,
    core_wait_us: Option<u64>,
}

/// What a generator thread used.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadUse {
    cpu: CpuTime,
    elapsed: Duration,
    core_wait_us: u64,
}

impl Mark {
    fn now(server: Option<&Server>) -> Result<Self> {
        let server = server.map(Server::cpu).transpose().doing("read the server's /proc/PID/stat")?;
        Ok(Self { at: Instant::now(), at_ns: monotonic_ns(), server })
    }

    /// CPU of the server from this mark to `end`, per message.
    fn server_share_until(&self, end: &Self, messages: u64) -> Option<CpuShare> {
        let (before, after) = self.server.as_ref().zip(end.server.as_ref())?;
        Some(CpuShare::new(after.total - before.total, end.at - self.at, messages))
    }

    /// The share of a core its busiest thread used.
    fn server_busiest_until(&self, end: &Self) -> Option<f64> {
        let (before, after) = self.server.as_ref().zip(end.server.as_ref())?;
        Some(after.busiest_thread_since(before).cores(end.at - self.at))
    }
}

impl ThreadMark {
    fn now() -> Result<Self> {
        let cpu = CpuTime::of_this_thread().doing("read /proc/thread-self/stat")?;
        Ok(Self { at: Instant::now(), cpu, core_wait_us: cpu::core_wait_us_of_this_thread() })
    }

    fn until_now(&self) -> Result<ThreadUse> {
        let now = Self::now()?;
        let waited = self.core_wait_us.zip(now.core_wait_us).map(|(before, after)| after - before);
        Ok(ThreadUse {
            cpu: now.cpu - self.cpu,
            elapsed: now.at - self.at,
            core_wait_us: waited.unwrap_or_default(),
        })
    }
}

impl ThreadUse {
    /// Each thread's share, with all threads' messages divided evenly.
    fn shares(threads: &[Self], messages: u64) -> Vec<CpuShare> {
        let each = messages / threads.len().max(1) as u64;
        threads.iter().map(|thread| CpuShare::new(thread.cpu, thread.elapsed, each)).collect()
    }

    /// The largest share of its time that a thread waited for a core.
    fn core_wait(threads: &[Self]) -> f64 {
        let wait = |thread: &Self| thread.core_wait_us as f64 / thread.elapsed.as_micros().max(1) as f64;
        threads.iter().map(wait).fold(0.0, f64::max)
    }
}

/// Sleeps until a time of the monotonic clock, or until `tell`, called now and then, says that it is enough.
fn sleep_until(at_ns: u64, mut tell: impl FnMut() -> bool) {
    loop {
        let now_ns = monotonic_ns();
        if now_ns >= at_ns || tell() {
            return;
        }
        thread::sleep(Duration::from_nanos(at_ns - now_ns).min(NAP));
    }
}

/// The text by which a failed connection is counted.
fn describe(error: Option<&io::Error>) -> String {
    error.map_or_else(|| "the server closed the connection".to_owned(), ToString::to_string)
}

/// The time left until `deadline`, at most `longest`.
fn until(deadline: Instant, longest: Duration) -> Duration {
    deadline.saturating_duration_since(Instant::now()).min(longest)
}
