//! What the thread that keeps a program shares with the server that serves it: what each has come to, and who is to end.
//!
//! Invariant: a process is sent no signal once it may have been reaped.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Condvar, Mutex, PoisonError, atomic::AtomicUsize},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    process::{Pid, Signal},
};
use tracing::{error, warn};

/// What the thread shares with whoever started it.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Rung when another process of the program is asked for.
    pub(super) bell: OwnedFd,
    /// Requests that the program has been passed and has not answered, of all shards.
    pub(super) requests: AtomicUsize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// What the program is answered that wants to listen, once the server does.
    listening: Option<String>,
    pub(super) is_ending: bool,
    /// Another process is to take the place of the one that runs.
    pub(super) is_another_wanted: bool,
    /// Shards that take links.
    shards: usize,
    /// How many processes have come to serve.
    served: u64,
    /// The process, until it is reaped.
    pub(super) running: Option<Pid>,
}

/// How long shards may take that serve already, in milliseconds.
const SHARDS_MS: u64 = 10_000;

impl Shared {
    pub(super) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (state, changed, requests) = Default::default();
        Ok(Self { state, changed, bell, requests })
    }

    /// Has another process take the place of the one that runs. Asked for several times before it begins, it begins once.
    pub(super) fn ask_for_another(&self) {
        self.change(|state| state.is_another_wanted = true);
        // A bell that is rung so often that it cannot be once more is rung.
        rustix::io::write(&self.bell, &1u64.to_ne_bytes()).ok();
    }

    pub(super) fn is_another_wanted(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_another_wanted
    }

    /// The server listens: programs that want to are answered this.
    pub(super) fn set_listening(&self, json: String) {
        self.change(|state| state.listening = Some(json));
    }

    /// One more shard takes links.
    pub(super) fn count_shard(&self) {
        self.change(|state| state.shards += 1);
    }

    /// Waits until so many shards take links. One that cannot has said why.
    pub(super) fn await_shards(&self, count: usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let time = Duration::from_millis(SHARDS_MS);
        drop(self.changed.wait_timeout_while(state, time, |state| state.shards < count && !state.is_ending));
    }

    /// A process has been told that the server listens.
    pub(super) fn count_served(&self) {
        self.change(|state| state.served += 1);
    }

    /// How many have been.
    pub(super) fn served(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).served
    }

    /// Waits until there are more; whether there are in time, and before the program ends.
    pub(super) fn await_served(&self, before: u64, time: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| state.served == before && !state.is_ending;
        let waited = self.changed.wait_timeout_while(state, time, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.served > before && !state.is_ending
    }

    /// Asks the program to end, and begins it no more.
    pub(super) fn ask_to_end(&self) {
        if !self.change(|state| std::mem::replace(&mut state.is_ending, true)) {
            self.signal(Signal::TERM);
        }
    }

    /// Ends the program, which has been asked to. `SIGKILL` follows if it has not by then.
    pub(super) fn end(&self, thread: thread::JoinHandle<()>, until: Instant) {
        while !thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        self.signal(Signal::KILL);
        if thread.join().is_err() {
            error!("the thread that keeps the program has failed");
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // While this is locked nobody reaps it, so that the number is still its own.
        if let Some(pid) = state.running
            && let Err(error) = rustix::process::kill_process(pid, signal)
        {
            warn!("the program is not sent a signal: {error}");
        }
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        changed
    }

    pub(super) fn is_ending(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_ending
    }

    /// Whether the server listens.
    pub(super) fn listens(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).listening.is_some()
    }

    /// Waits until the server listens; `None` if it ends.
    pub(super) fn await_listening(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| state.listening.is_none() && !state.is_ending;
        let state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        state.listening.clone()
    }

    /// Waits, unless the server ends or another process is asked for.
    pub(super) fn sleep(&self, time: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| !state.is_ending && !state.is_another_wanted;
        drop(self.changed.wait_timeout_while(state, time, waits));
    }
}
