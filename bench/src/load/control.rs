//! What a coordinator and its worker threads tell each other: a few numbers, written by one side and read by the other.

use std::{
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::steady::Steadiness;
use crate::{host::clock::monotonic_ns, latency::Recorder};

/// Whether somebody has asked for the end, in whichever run.
static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// No start has been given.
const NOT_YET: u64 = 0;
/// How often the live line's percentile is brought up to date.
const TELL_INTERVAL: Duration = Duration::from_millis(300);

/// Shared by all threads of a run.
#[derive(Debug, Default)]
pub struct Control {
    stop: Arc<AtomicBool>,
    is_drained: AtomicBool,
    start_ns: AtomicU64,
    measure_ns: AtomicU64,
    is_watched: AtomicBool,
    unsteady: Mutex<String>,
    gate: Option<Gate>,
    first_failure: OnceLock<String>,
    hopeless: OnceLock<String>,
    /// Connections that have been served.
    pub connected: AtomicU64,
    /// Connections that are lost.
    pub lost: AtomicU64,
    /// Workers that have done what they can to connect.
    pub ready: AtomicU64,
    /// Workers whose load is steady.
    pub steady: AtomicU64,
    /// Messages that have come back.
    pub replies: AtomicU64,
    /// A worker's 99th percentile of late, in microseconds.
    pub p99_us: AtomicU64,
}

/// What keeps a run that is ready from starting, where somebody else says when.
#[derive(Debug)]
struct Gate {
    tell_ready: fn(),
    is_open: AtomicBool,
}

/// Whether somebody has asked for the end: no further run is begun.
pub fn is_interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|interrupted| interrupted.load(Ordering::Acquire))
}

/// What one worker tells the live line.
pub struct News<'a> {
    control: &'a Control,
    due: Instant,
    /// What it has seen while warming up, where that ends when the load is steady.
    steadiness: Option<Steadiness>,
    is_steady: bool,
}

impl<'a> News<'a> {
    /// Nothing yet.
    pub fn new(control: &'a Control) -> Self {
        let steadiness = control.is_watched.load(Ordering::Acquire).then(|| Steadiness::new(monotonic_ns()));
        Self { control, due: Instant::now(), steadiness, is_steady: false }
    }

    /// Takes in a reply that does not count because the load is warming up.
    #[inline]
    pub fn warm(&mut self, now_ns: u64, latency_ns: u64) {
        if let Some(steadiness) = &mut self.steadiness
            && steadiness.record(now_ns, latency_ns)
        {
            self.tell_steadiness();
        }
    }

    #[cold]
    fn tell_steadiness(&mut self) {
        let Some(steadiness) = &self.steadiness else { return };
        let is_steady = steadiness.is_steady();
        match (self.is_steady, is_steady) {
            (false, true) => drop(self.control.steady.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.control.steady.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
        self.is_steady = is_steady;
        if !is_steady {
            *self.control.unsteady.lock().unwrap_or_else(PoisonError::into_inner) = steadiness.describe();
        }
    }

    /// Tells of so many more messages and now and then of their 99th percentile.
    #[inline]
    pub fn tell(&mut self, count: u64, recorder: &Recorder) {
        if count == 0 {
            return;
        }
        self.control.replies.fetch_add(count, Ordering::Relaxed);
        if self.due <= Instant::now() {
            self.due = Instant::now() + TELL_INTERVAL;
            self.control.p99_us.store(recorder.p99_us_now(), Ordering::Relaxed);
        }
    }
}

impl Control {
    /// A run that Ctrl-C and a polite request to end stop early, with the result so far. A second Ctrl-C ends it at
    /// once.
    pub fn new() -> io::Result<Self> {
        let control = Self::default();
        if INTERRUPTED.get().is_none() {
            let interrupted = INTERRUPTED.get_or_init(Arc::default);
            for signal in [SIGINT, SIGTERM] {
                signal_hook::flag::register(signal, Arc::clone(interrupted))?;
            }
        }
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&control.stop))?;
            signal_hook::flag::register(signal, Arc::clone(&control.stop))?;
        }
        Ok(control)
    }

    /// The same, for a run that says when it is ready and is told when to start.
    pub fn gated(self, tell_ready: fn()) -> Self {
        Self { gate: Some(Gate { tell_ready, is_open: AtomicBool::new(false) }), ..self }
    }

    /// Lets a gated run start.
    pub fn open_gate(&self) {
        if let Some(gate) = &self.gate {
            gate.is_open.store(true, Ordering::Release);
        }
    }

    /// Says that a gated run is ready.
    pub fn tell_ready(&self) {
        if let Some(gate) = &self.gate {
            (gate.tell_ready)();
        }
    }

    /// Whether the run may not start yet.
    pub fn is_held(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| !gate.is_open.load(Ordering::Acquire))
    }

    /// Lets all workers start at this time.
    pub fn start_at(&self, at_ns: u64) {
        self.start_ns.store(at_ns, Ordering::Release);
    }

    /// The time to start, once it is known.
    pub fn start_ns(&self) -> Option<u64> {
        Some(self.start_ns.load(Ordering::Acquire)).filter(|at_ns| *at_ns != NOT_YET)
    }

    /// Has workers look whether their load is steady; before they are made.
    pub fn watch_steadiness(&self) {
        self.is_watched.store(true, Ordering::Release);
    }

    /// What was seen last of a load that is not steady.
    pub fn unsteady(&self) -> String {
        self.unsteady.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends a warm-up whose end was not known when it began.
    pub fn measure_from(&self, at_ns: u64) {
        self.measure_ns.store(at_ns, Ordering::Release);
    }

    /// When that is, once it is known.
    pub fn measure_ns(&self) -> Option<u64> {
        Some(self.measure_ns.load(Ordering::Acquire)).filter(|at_ns| *at_ns != NOT_YET)
    }

    /// Lets nobody wait any longer for what is still on its way.
    pub fn end_drain(&self) {
        self.is_drained.store(true, Ordering::Release);
    }

    /// Whether there is nothing left to wait for.
    pub fn is_drained(&self) -> bool {
        self.is_drained.load(Ordering::Acquire)
    }

    /// Tells why a connection failed; only the first is kept.
    pub fn tell_failure(&self, why: &str) {
        self.first_failure.get_or_init(|| why.to_owned());
    }

    /// Why the first connection failed, if one did.
    pub fn first_failure(&self) -> Option<&str> {
        self.first_failure.get().map(String::as_str)
    }

    /// Ends the run because nothing more can come of it; only the first reason is kept.
    pub fn give_up(&self, why: String) {
        self.hopeless.get_or_init(|| why);
        self.stop();
    }

    /// Why nothing more could come of the run, if so.
    pub fn hopeless(&self) -> Option<&str> {
        self.hopeless.get().map(String::as_str)
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
