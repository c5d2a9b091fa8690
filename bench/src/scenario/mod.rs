//! The measurements, one file or folder each.

pub mod connect;
mod crowd;
pub mod exchange;
pub mod fanout;
pub mod mixed;
mod observed;
mod team;

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crate::{
    endpoint::CLOSED,
    error::{Doing, Result},
    host::{
        clock::monotonic_ns,
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
pub struct Mark {
    at: Instant,
    at_ns: u64,
    server: Option<ServerCpu>,
}

impl Mark {
    fn now(server: Option<&Server>) -> Result<Self> {
        let server = match server.map(Server::cpu).transpose() {
            // A server that has ended is told of by its connections.
            Err(error) if is_gone(&error) => None,
            read => read.doing("read the server's /proc/PID/stat")?,
        };
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

/// Whether a process is no more: its files are gone, or are there and cannot be read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
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
    error.map_or_else(|| CLOSED.to_owned(), ToString::to_string)
}

/// The time left until `deadline`, at most `longest`.
fn until(deadline: Instant, longest: Duration) -> Duration {
    deadline.saturating_duration_since(Instant::now()).min(longest)
}
