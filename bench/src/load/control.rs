//! What a coordinator and its worker threads tell each other: a few numbers, written by one side and read by the other.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use signal_hook::consts::{SIGINT, SIGTERM};

/// No start has been given.
const NOT_YET: u64 = 0;

/// Shared by all threads of a run.
#[derive(Debug, Default)]
pub struct Control {
    stop: Arc<AtomicBool>,
    start_ns: AtomicU64,
    /// Connections that are served.
    pub connected: AtomicU64,
    /// Workers that have done what they can to connect.
    pub ready: AtomicU64,
    /// Messages that have come back.
    pub replies: AtomicU64,
    /// A worker's 99th percentile of late, in microseconds.
    pub p99_us: AtomicU64,
}

impl Control {
    /// A run that Ctrl-C and a polite request to end stop early, with the result so far. A second Ctrl-C ends it at
    /// once.
    pub fn new() -> io::Result<Self> {
        let control = Self::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&control.stop))?;
            signal_hook::flag::register(signal, Arc::clone(&control.stop))?;
        }
        Ok(control)
    }

    /// Lets all workers start at this time.
    pub fn start_at(&self, at_ns: u64) {
        self.start_ns.store(at_ns, Ordering::Release);
    }

    /// The time to start, once it is known.
    pub fn start_ns(&self) -> Option<u64> {
        Some(self.start_ns.load(Ordering::Acquire)).filter(|at_ns| *at_ns != NOT_YET)
    }

    /// Ends the run early.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the run ends early.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}
