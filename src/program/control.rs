//! The thread that keeps a program: starts it, hears what it wants to listen on, asks it for signs of life, and begins it anew
//! when it has ended.
//!
//! ```text
//!   start ─► HELLO ─► LISTEN ─(the server listens)─► LISTENING ─► PING, PONG … ─► ended ─(a while)─► start
//!                                                        │
//!                          (another is to take its place)└─► STOP ─► STOPPED ─► SIGTERM ─► ended ─► start
//! ```
//!
//! Invariant: there is one process of the program at most, and it has been reaped before the next begins.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    process::{Child, ExitStatus},
    sync::{Arc, atomic::Ordering, mpsc},
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
    node::{Node, NodeError, Place},
    options::Listen,
    shared::Shared,
};
use crate::limits::{
    PROGRAM_AGAIN_MS_MAX, PROGRAM_AGAIN_MS_MIN, PROGRAM_END_MS, PROGRAM_PING_MS, PROGRAM_SILENT_MS,
    PROGRAM_STOP_MS,
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

/// Keeps a program, on a thread of its own.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) node: Node,
    pub(super) place: Place,
    pub(super) folder: Arc<Folder>,
    pub(super) shared: Arc<Shared>,
    pub(super) listener: UnixListener,
    pub(super) tell: mpsc::Sender<Told>,
}

/// How a conversation has ended.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    /// The program has said that it wants to be served.
    has_listened: bool,
    /// Another one is to take its place.
    is_replaced: bool,
}

/// What a program is doing.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// It serves, or is about to.
    Running,
    /// It finishes what it was given, until then at the latest.
    Stopping { until: Instant },
    /// It has finished that, and may still answer requests until then.
    Stopped { until: Instant },
}

impl Keeper {
    /// Runs the program again and again until the server ends, or the program has never wanted to be served.
    pub(super) fn run(self) {
        let mut delay = PROGRAM_AGAIN_MS_MIN;
        loop {
            let began = Instant::now();
            // Whatever has been changed by now is what begins.
            self.shared.change(|state| state.is_another_wanted = false);
            let mut child = match self.node.start(&self.folder, self.place) {
                Ok(child) => child,
                Err(error) => {
                    error!("{error}");
                    return drop(self.tell.send(Told::NotStarted(error)));
                }
            };
            self.shared.change(|state| state.running = Some(Pid::from_child(&child)));
            let mut life = Life::default();
            let outcome = self.converse(&mut child, &mut life);
            let status = self.reap(&mut child);
            if self.shared.is_ending() {
                return;
            }
            let was_served = self.shared.listens();
            let status = match (outcome, status) {
                (Err(error), _) if !was_served => return drop(self.tell.send(Told::Refused(error))),
                (Err(error), status) => {
                    error!("the link to the program ends: {error}");
                    status
                }
                (Ok(()), status) => status,
            };
            let Ok(status) = status else { return };
            if !was_served && !life.is_replaced {
                return drop(self.tell.send(Told::Ended(status)));
            }
            // One that ends before it has wanted to be served has not become what it was to be.
            if status.success() && life.has_listened && !life.is_replaced {
                info!("the program has ended, and so does the server");
                return end_this_process();
            }
            if life.is_replaced || began.elapsed() > Duration::from_millis(PROGRAM_AGAIN_MS_MAX) {
                delay = PROGRAM_AGAIN_MS_MIN;
            }
            if life.is_replaced {
                info!("the program has ended ({status}), and begins anew; its clients stay");
            } else {
                let when = if life.has_listened { "" } else { " before it has called listen" };
                error!(
                    "the program has ended{when} ({status}); its clients stay, and it begins again in {delay} ms"
                );
                self.shared.sleep(Duration::from_millis(delay));
                delay = (2 * delay).min(PROGRAM_AGAIN_MS_MAX);
            }
            if self.shared.is_ending() {
                return;
            }
            if let Err(error) = self.folder.write_module() {
                error!("the module cannot be written again: {error}");
            }
        }
    }

    /// Speaks with the program until it has ended, or is to be.
    fn converse(&self, child: &mut Child, life: &mut Life) -> Result<(), LinkError> {
        let Some(mut stream) = self.accept(child)? else {
            life.is_replaced = self.shared.is_another_wanted();
            if life.is_replaced {
                self.ask_to_end(child);
            }
            return Ok(());
        };
        let outcome = self.speak(&mut stream, life);
        if let Err(error) = &outcome {
            let mut refused = Vec::new();
            greeting::encode_refused(&mut refused, error);
            // It may be gone.
            drop(stream.write_all(&refused));
            // So that it can say why it ends.
            drop(stream.read(&mut [0; 64]));
        }
        if life.is_replaced {
            // Its link stays until it has gone: without one it would end at once.
            self.ask_to_end(child);
        }
        outcome
    }

    /// Asks a process to end, and waits for that as long as it may take.
    fn ask_to_end(&self, child: &Child) {
        self.shared.signal(Signal::TERM);
        let until = Instant::now() + Duration::from_millis(PROGRAM_END_MS);
        while !has_ended(child) && Instant::now() < until && !self.shared.is_ending() {
            thread::sleep(Duration::from_millis(2));
        }
        if !has_ended(child) && !self.shared.is_ending() {
            warn!("the program has not ended within {PROGRAM_END_MS} ms of SIGTERM, and is killed");
        }
    }

    /// Waits for the program's link; `None` when it has ended without, or another one is wanted.
    fn accept(&self, child: &mut Child) -> io::Result<Option<UnixStream>> {
        let look_again = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        loop {
            let mut ready = [PollFd::new(&self.listener, PollFlags::IN)];
            match poll(&mut ready, Some(&look_again)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.listener.accept().map(|(stream, _)| Some(stream)),
                Err(error) => return Err(error.into()),
            }
            if has_ended(child) || self.shared.is_another_wanted() {
                return Ok(None);
            }
        }
    }

    fn speak(&self, stream: &mut UnixStream, life: &mut Life) -> Result<(), LinkError> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        let mut is_greeted = false;
        let mut heard = Instant::now();
        let mut stage = Stage::Running;
        loop {
            while let Step::Frame { frame, consumed } = frame::decode(&bytes)? {
                match (is_greeted, frame.head.kind) {
                    (false, _) => {
                        let protocol = greeting::take_hello(&frame)?;
                        let mut hello = Vec::new();
                        greeting::encode_hello(&mut hello, protocol, None);
                        stream.write_all(&hello)?;
                        is_greeted = true;
                    }
                    (true, Kind::Stopped) => stage = stage.stopped()?,
                    (true, _) => {
                        if !self.handle(&frame, stream, life)? {
                            return Ok(());
                        }
                    }
                }
                heard = Instant::now();
                bytes.drain(..consumed);
            }
            if self.shared.is_another_wanted() {
                life.is_replaced = true;
                if !life.has_listened {
                    return Ok(());
                }
                if matches!(stage, Stage::Running) {
                    say(stream, Kind::Stop)?;
                    stage =
                        Stage::Stopping { until: Instant::now() + Duration::from_millis(PROGRAM_STOP_MS) };
                }
                let is_idle = self.shared.requests.load(Ordering::Acquire) == 0;
                if stage.is_over(is_idle) {
                    return Ok(());
                }
            }
            let ready = self.await_something(stream, stage)?;
            if !ready {
                if heard.elapsed() > Duration::from_millis(PROGRAM_SILENT_MS) {
                    error!("the program has not answered for {PROGRAM_SILENT_MS} ms, and is ended");
                    return Ok(());
                }
                // With each sign of life a program forgets what it has owed for long: one that is to stop owes what it has been given.
                if matches!(stage, Stage::Running) && !self.shared.is_another_wanted() {
                    say(stream, Kind::Ping)?;
                }
                continue;
            }
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the program says something, another one is asked for, or it is time to look; whether it says something.
    fn await_something(&self, stream: &UnixStream, stage: Stage) -> io::Result<bool> {
        let ms = match stage {
            Stage::Running => PROGRAM_PING_MS,
            Stage::Stopping { .. } => STOPPING_LOOK_MS,
            Stage::Stopped { .. } => STOPPED_LOOK_MS,
        };
        let time = Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 };
        // Rung once, the bell stays so until the next process: while this one stops, it is not listened to.
        let is_listened_to = matches!(stage, Stage::Running);
        let mut ready = [PollFd::new(stream, PollFlags::IN), PollFd::new(&self.shared.bell, PollFlags::IN)];
        let of = if is_listened_to { 2 } else { 1 };
        match poll(&mut ready[..of], Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if is_listened_to && !ready[1].revents().is_empty() {
            rustix::io::read(&self.shared.bell, &mut [0; 8]).ok();
        }
        Ok(!ready[0].revents().is_empty())
    }

    /// Does what the program asks; `false` when the server ends.
    fn handle(&self, frame: &Frame<'_>, stream: &mut UnixStream, life: &mut Life) -> Result<bool, LinkError> {
        match frame.head.kind {
            Kind::Pong => Ok(true),
            Kind::Listen => {
                let listen: Listen =
                    serde_json::from_str(frame.json()?).map_err(|_| FrameError::Json(Kind::Listen))?;
                // Whoever waits for it has gone once the server has been told; then it is known already.
                drop(self.tell.send(Told::Wants(Box::new(listen))));
                let is_again = self.shared.served() > 0;
                let Some(json) = self.shared.await_listening() else { return Ok(false) };
                let mut listening = Vec::new();
                Head::of(Kind::Listening).encode(&mut listening, &json, &[]);
                stream.write_all(&listening)?;
                life.has_listened = true;
                self.shared.count_served();
                if is_again {
                    info!("the program serves again");
                }
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

impl Stage {
    /// The program has finished what it was given.
    fn stopped(self) -> Result<Self, LinkError> {
        match self {
            Self::Stopping { until } => Ok(Self::Stopped { until }),
            Self::Running | Self::Stopped { .. } => Err(FrameError::Unexpected(Kind::Stopped).into()),
        }
    }

    /// Whether the program need not be waited for any longer.
    fn is_over(self, is_idle: bool) -> bool {
        match self {
            Self::Running => false,
            Self::Stopped { .. } if is_idle => true,
            Self::Stopping { until } | Self::Stopped { until } => {
                let is_late = Instant::now() >= until;
                if is_late {
                    warn!(
                        "the program has not finished within {PROGRAM_STOP_MS} ms, and is ended all the same"
                    );
                }
                is_late
            }
        }
    }
}

/// Time between two looks at a program that finishes what it was given, in milliseconds.
const STOPPING_LOOK_MS: u64 = 50;

/// Time between two looks whether it has answered all requests, in milliseconds.
const STOPPED_LOOK_MS: u64 = 5;

/// How long a program may take to end whose link has ended, in milliseconds.
const ENDING_MS: u64 = 1_000;

/// Writes a frame that says only what it is.
fn say(stream: &mut UnixStream, kind: Kind) -> io::Result<()> {
    let mut bytes = Vec::new();
    Head::of(kind).encode(&mut bytes, "", &[]);
    stream.write_all(&bytes)
}

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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Reads the next frame.
    fn next(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> Kind {
        loop {
            if let Ok(Step::Frame { frame, consumed }) = frame::decode(bytes) {
                let kind = frame.head.kind;
                bytes.drain(..consumed);
                return kind;
            }
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).expect("the keeper speaks");
            assert!(count > 0, "the keeper has hung up");
            bytes.extend_from_slice(&chunk[..count]);
        }
    }

    #[test]
    fn a_program_that_is_to_stop_is_not_asked_for_a_sign_of_life_first() {
        let folder = Arc::new(Folder::new().expect("a folder"));
        let listener = UnixListener::bind(folder.control()).expect("a socket");
        let shared = Arc::new(Shared::new().expect("a bell"));
        shared.set_listening("{}".to_owned());
        let node = Node { command: None, program: PathBuf::new(), arguments: Vec::new() };
        let (tell, _told) = mpsc::channel();
        let place = Place { index: 0, count: 1 };
        let keeper = Keeper { node, place, folder, shared: Arc::clone(&shared), listener, tell };
        let (mut program, mut stream) = UnixStream::pair().expect("a pair");
        let speaking = thread::spawn(move || {
            let mut life = Life::default();
            keeper.speak(&mut stream, &mut life).map(|()| life.is_replaced)
        });
        let mut bytes = Vec::new();
        let say = |program: &mut UnixStream, kind, json| {
            let mut bytes = Vec::new();
            Head::of(kind).encode(&mut bytes, json, &[]);
            program.write_all(&bytes).expect("the keeper hears");
        };
        say(&mut program, Kind::Hello, "{\"protocol\":2}");
        assert_eq!(next(&mut program, &mut bytes), Kind::Hello);
        say(&mut program, Kind::Listen, "{\"port\":0}");
        assert_eq!(next(&mut program, &mut bytes), Kind::Listening);
        shared.ask_for_another();
        assert_eq!(next(&mut program, &mut bytes), Kind::Stop);
        say(&mut program, Kind::Stopped, "");
        assert!(speaking.join().expect("it does not panic").expect("it understands"));
    }
}
