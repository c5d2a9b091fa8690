//! The thread that keeps a program: starts it, hears what it wants to listen on, asks it for signs of life, and begins it anew
//! when it has ended.
//!
//! ```text
//!   start ─► HELLO ─► LISTEN ─(the server listens)─► LISTENING ─► PING, PONG … ─► ended ─(a while)─► start
//! ```
//!
//! Invariant: there is one process of the program at most, and it has been reaped before the next begins.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    process::{Child, ExitStatus},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal},
};
use tracing::{error, info, warn};

use super::{
    folder::Folder,
    frame::{self, Frame, FrameError, Head, Kind, Step},
    greeting::{self, LinkError},
    node::{Node, NodeError},
    options::Listen,
};
use crate::limits::{
    PROGRAM_AGAIN_MS_MAX, PROGRAM_AGAIN_MS_MIN, PROGRAM_END_MS, PROGRAM_PING_MS, PROGRAM_SILENT_MS,
};

/// What is told of a program until the server listens.
#[derive(Debug)]
pub(super) enum Told {
    /// It wants to be served.
    Wants(Box<Listen>),
    /// It has ended before.
    Ended(ExitStatus),
    /// It cannot be started.
    NotStarted(NodeError),
    /// It is refused.
    Refused(LinkError),
}

/// What the thread shares with whoever started it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What the program is answered that wants to listen, once the server does.
    listening: Option<String>,
    is_ending: bool,
    /// Shards that take links.
    shards: usize,
    /// The process, until it is reaped.
    running: Option<Pid>,
}

/// Keeps a program, on a thread of its own.
pub(super) struct Keeper {
    pub(super) node: Node,
    pub(super) folder: Arc<Folder>,
    pub(super) shared: Arc<Shared>,
    pub(super) listener: UnixListener,
    pub(super) tell: mpsc::Sender<Told>,
}

impl Shared {
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

    /// Ends the program, and begins it no more. `SIGKILL` follows if it takes its time.
    pub(super) fn end(&self, thread: thread::JoinHandle<()>) {
        self.change(|state| state.is_ending = true);
        let until = Instant::now() + Duration::from_millis(PROGRAM_END_MS);
        self.signal(Signal::TERM);
        while !thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        self.signal(Signal::KILL);
        if thread.join().is_err() {
            error!("the thread that keeps the program has failed");
        }
    }

    fn signal(&self, signal: Signal) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // While this is locked nobody reaps it, so that the number is still its own.
        if let Some(pid) = state.running
            && let Err(error) = rustix::process::kill_process(pid, signal)
        {
            warn!("the program is not sent a signal: {error}");
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        changed
    }

    fn is_ending(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_ending
    }

    /// Waits until the server listens; `None` if it ends.
    fn await_listening(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| state.listening.is_none() && !state.is_ending;
        let state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        state.listening.clone()
    }

    /// Waits, unless the server ends.
    fn sleep(&self, time: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(state, time, |state| !state.is_ending));
    }
}

impl Keeper {
    /// Runs the program again and again until the server ends, or the program has never wanted to be served.
    pub(super) fn run(self) {
        let mut delay = PROGRAM_AGAIN_MS_MIN;
        loop {
            let began = Instant::now();
            let mut child = match self.node.start(&self.folder) {
                Ok(child) => child,
                Err(error) => {
                    error!("{error}");
                    return drop(self.tell.send(Told::NotStarted(error)));
                }
            };
            self.shared.change(|state| state.running = Some(Pid::from_child(&child)));
            let outcome = self.converse(&mut child);
            let status = self.reap(&mut child);
            if self.shared.is_ending() {
                return;
            }
            let was_served =
                self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).listening.is_some();
            let status = match (outcome, status) {
                (Err(error), _) if !was_served => return drop(self.tell.send(Told::Refused(error))),
                (Err(error), status) => {
                    error!("the link to the program ends: {error}");
                    status
                }
                (Ok(()), status) => status,
            };
            let Ok(status) = status else { return };
            if !was_served {
                return drop(self.tell.send(Told::Ended(status)));
            }
            if status.success() {
                info!("the program has ended, and so does the server");
                return end_this_process();
            }
            if began.elapsed() > Duration::from_millis(PROGRAM_AGAIN_MS_MAX) {
                delay = PROGRAM_AGAIN_MS_MIN;
            }
            error!("the program has ended ({status}); its clients stay, and it begins again in {delay} ms");
            self.shared.sleep(Duration::from_millis(delay));
            if self.shared.is_ending() {
                return;
            }
            if let Err(error) = self.folder.write_module() {
                error!("the module cannot be written again: {error}");
            }
            delay = (2 * delay).min(PROGRAM_AGAIN_MS_MAX);
        }
    }

    /// Speaks with the program until it has ended, or is to be.
    fn converse(&self, child: &mut Child) -> Result<(), LinkError> {
        let Some(mut stream) = self.accept(child)? else { return Ok(()) };
        stream.set_read_timeout(Some(Duration::from_millis(PROGRAM_PING_MS)))?;
        let outcome = self.speak(&mut stream);
        if let Err(error) = &outcome {
            let mut refused = Vec::new();
            greeting::encode_refused(&mut refused, error);
            // It may be gone.
            drop(stream.write_all(&refused));
            // So that it can say why it ends.
            drop(stream.read(&mut [0; 64]));
        }
        outcome
    }

    /// Waits for the program's link; `None` when it has ended without.
    fn accept(&self, child: &mut Child) -> io::Result<Option<UnixStream>> {
        let look_again = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        loop {
            let mut ready = [PollFd::new(&self.listener, PollFlags::IN)];
            match poll(&mut ready, Some(&look_again)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.listener.accept().map(|(stream, _)| Some(stream)),
                Err(error) => return Err(error.into()),
            }
            if has_ended(child) {
                return Ok(None);
            }
        }
    }

    fn speak(&self, stream: &mut UnixStream) -> Result<(), LinkError> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        let mut is_greeted = false;
        let mut heard = Instant::now();
        loop {
            while let Step::Frame { frame, consumed } = frame::decode(&bytes)? {
                match is_greeted {
                    false => {
                        greeting::take_hello(&frame)?;
                        let mut hello = Vec::new();
                        greeting::encode_hello(&mut hello, None, None);
                        stream.write_all(&hello)?;
                        is_greeted = true;
                    }
                    true => {
                        if !self.handle(&frame, stream)? {
                            return Ok(());
                        }
                    }
                }
                heard = Instant::now();
                bytes.drain(..consumed);
            }
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if heard.elapsed() > Duration::from_millis(PROGRAM_SILENT_MS) {
                        error!("the program has not answered for {PROGRAM_SILENT_MS} ms, and is ended");
                        return Ok(());
                    }
                    let mut ping = Vec::new();
                    Head::of(Kind::Ping).encode(&mut ping, "", &[]);
                    stream.write_all(&ping)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Does what the program asks; `false` when the server ends.
    fn handle(&self, frame: &Frame<'_>, stream: &mut UnixStream) -> Result<bool, LinkError> {
        match frame.head.kind {
            Kind::Pong => Ok(true),
            Kind::Listen => {
                let listen: Listen =
                    serde_json::from_str(frame.json()?).map_err(|_| FrameError::Json(Kind::Listen))?;
                // Whoever waits for it has gone once the server has been told; then it is known already.
                drop(self.tell.send(Told::Wants(Box::new(listen))));
                let Some(json) = self.shared.await_listening() else { return Ok(false) };
                let mut listening = Vec::new();
                Head::of(Kind::Listening).encode(&mut listening, &json, &[]);
                stream.write_all(&listening)?;
                Ok(true)
            }
            other => Err(FrameError::Unexpected(other).into()),
        }
    }

    /// Ends a process that has not ended, and waits for it.
    fn reap(&self, child: &mut Child) -> io::Result<ExitStatus> {
        // Its links end before it does.
        let until = Instant::now() + Duration::from_millis(ENDING_MS);
        while !has_ended(child) && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
        let is_ending = self.shared.is_ending();
        while is_ending && !has_ended(child) {
            // Whoever ends it waits, and kills it in the end.
            thread::sleep(Duration::from_millis(2));
        }
        drop(child.kill());
        self.shared.change(|state| {
            state.running = None;
            child.wait()
        })
    }
}

/// How long a program may take to end whose link has ended, in milliseconds.
const ENDING_MS: u64 = 1_000;

/// How long shards may take that serve already, in milliseconds.
const SHARDS_MS: u64 = 10_000;

/// Whether a process has ended; it is not reaped by that.
fn has_ended(child: &Child) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(Pid::from_child(child)), options), Ok(None))
}

/// Has the server drain, as whoever asks it to end would.
fn end_this_process() {
    if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), Signal::TERM) {
        error!("the server goes on without its program: {error}");
    }
}
