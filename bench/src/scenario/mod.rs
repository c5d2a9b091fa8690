//! The measurements, one file each.

pub mod connect;
pub mod echo;
pub mod fanout;

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    error::{Doing, Result},
    host::clock::monotonic_ns,
    host::cpu::CpuTime,
    report::CpuShare,
};

/// Time and CPU at one moment, to be compared with a later one.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    at_ns: u64,
    client: CpuTime,
    server: Option<CpuTime>,
}

impl Mark {
    fn now(server_pid: Option<u32>) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            at_ns: monotonic_ns(),
            client: CpuTime::of_this_process().doing("read /proc/self/stat")?,
            server: server_pid
                .map(CpuTime::of_process)
                .transpose()
                .doing("read the server's /proc/PID/stat")?,
        })
    }

    /// CPU of client and server from this mark to `end`, per message.
    fn cpu_until(&self, end: &Self, messages: u64) -> (CpuShare, Option<CpuShare>) {
        let elapsed = end.at - self.at;
        let client = CpuShare::new(end.client - self.client, elapsed, messages);
        let server = self
            .server
            .zip(end.server)
            .map(|(before, after)| CpuShare::new(after - before, elapsed, messages));
        (client, server)
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
