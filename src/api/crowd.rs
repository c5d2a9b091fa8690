//! The demo's crowd: many connections to this server that the server itself has opened, from a process of its own, so that
//! what a connection costs and how long a message takes to all of them can be seen.
//!
//! The process is this program with the command `crowd` (`cli/crowd.rs`). A thread starts it and listens to it; a shard
//! only reads what is known so far. Bounds: one crowd at a time, at most [`CROWD_CONNECTIONS_MAX`] connections and half of
//! those the server holds, for at most [`crate::limits::CROWD_LIFETIME_S`]; and only on a server that nobody beyond this
//! machine reaches, and that is set up for nobody else.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{fields::fresh, route::CrowdOrder};
use crate::{
    app::{Context, Response},
    limits::{CROWD_CONNECTIONS_MAX, CROWD_LIFETIME_S},
    model::{ChannelName, Payload},
    telemetry::process,
};

/// What the crowd follows.
pub const CHANNEL: &str = "demo-crowd";
/// How long memory takes to be at rest once the last of the crowd has come.
const AT_REST: Duration = Duration::from_millis(500);

/// What the crowd says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Connections that are open.
    pub open: u32,
    /// Whether no more are going to be.
    pub is_whole: bool,
    /// Why that is before all were, or why one has ended.
    pub why: Option<String>,
    /// What became of the last message.
    pub delivered: Option<Delivered>,
}

/// How long a message took, from the shard that was asked to publish it to the crowd's having read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Connections it has come to.
    pub to: u32,
    /// Which it was, counted from 1.
    pub number: u32,
    /// Microseconds until the first had it.
    pub first_us: u64,
    /// Until half of them had it.
    pub p50_us: u64,
    /// Until 99 in 100 had it.
    pub p99_us: u64,
    /// Until all had it.
    pub last_us: u64,
}

/// A message to all of the crowd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Which it is, counted from 1.
    pub number: u32,
    /// When it was published, in microseconds since 1970.
    pub sent_us: u64,
}

/// The crowd of one process, shared by its shards.
#[derive(Clone, Debug)]
pub struct Crowd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// This program.
    program: PathBuf,
    place: OnceLock<Place>,
    state: Mutex<State>,
}

/// Where the server is, once that is known.
#[derive(Debug)]
struct Place {
    /// `None` where a crowd cannot connect, or others could see it.
    at: Option<SocketAddr>,
    connections: u32,
}

/// What is known of the crowd.
#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// What ends the process when it is dropped.
    leash: Option<ChildStdin>,
    told: Option<Told>,
    before: Option<Memory>,
    after: Option<Memory>,
    failure: Option<String>,
    messages: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    /// There can be none.
    None,
    #[default]
    Closed,
    Opening,
    Open,
    Closing,
}

/// What the process takes.
#[derive(Clone, Copy, Debug, Serialize)]
struct Memory {
    resident_bytes: u64,
    /// That of the control group, with both ends of each connection.
    kernel_bytes: Option<u64>,
}

/// What the page is told.
#[derive(Serialize)]
struct Shown<'a> {
    phase: Phase,
    wanted: u32,
    lifetime_s: u64,
    why: Option<&'a str>,
    open: u32,
    before: Option<Memory>,
    after: Option<Memory>,
    delivered: Option<&'a Delivered>,
}

impl Crowd {
    /// Crowds of this program, which is started again for them.
    pub fn new(program: PathBuf) -> Self {
        Self(Arc::new(Shared { program, place: OnceLock::new(), state: Mutex::default() }))
    }

    /// The server listens: where a crowd can connect, if anywhere, and how many connections there can be.
    pub fn serve_at(&self, at: Option<SocketAddr>, connections: u32) {
        // A server listens once.
        self.0.place.get_or_init(|| Place { at, connections });
    }

    /// What is known.
    pub(super) fn response(&self) -> Response {
        let state = self.state();
        let place = self.place();
        let told = state.told.as_ref();
        let none = "a crowd needs a public address on loopback that does not speak TLS, and a server without keys, \
                    namespaces, proxies and names for others";
        let shown = Shown {
            phase: if place.is_some() { state.phase } else { Phase::None },
            wanted: place.map_or(0, |(_, wanted)| wanted),
            lifetime_s: CROWD_LIFETIME_S,
            why: match place {
                None => Some(none),
                Some(_) => state.failure.as_deref().or(told.and_then(|told| told.why.as_deref())),
            },
            open: told.map_or(0, |told| told.open),
            before: state.before,
            after: state.after,
            delivered: told.and_then(|told| told.delivered.as_ref()),
        };
        fresh(simd_json::to_vec(&shown).expect("this is what JSON can say"))
    }

    /// Does what the page asks, if that can be done now; it sees whether it was.
    pub(super) fn obey(&self, cx: &mut Context<'_>, order: CrowdOrder) -> Response {
        match order {
            CrowdOrder::Open => self.open(),
            CrowdOrder::Close => self.close(),
            CrowdOrder::Say => self.say(cx),
        }
        self.response()
    }

    fn open(&self) {
        let Some((at, wanted)) = self.place() else { return };
        let mut state = self.state();
        if state.phase != Phase::Closed {
            return;
        }
        *state = State { phase: Phase::Opening, ..State::default() };
        let crowd = self.clone();
        let keeper = thread::Builder::new().name("crowd".to_owned()).spawn(move || crowd.keep(at, wanted));
        if let Err(error) = keeper {
            state.phase = Phase::Closed;
            state.failure = Some(format!("no thread could be started: {error}"));
        }
    }

    fn close(&self) {
        let mut state = self.state();
        if state.phase != Phase::Closed {
            state.phase = Phase::Closing;
            state.leash = None;
        }
    }

    fn say(&self, cx: &mut Context<'_>) {
        let mut state = self.state();
        if state.phase != Phase::Open {
            return;
        }
        state.messages = state.messages.wrapping_add(1);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sent_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let message = Message { number: state.messages, sent_us };
        let data = simd_json::to_vec(&message).expect("numbers are what JSON can say");
        let channel = ChannelName::new(CHANNEL, CHANNEL.len()).expect("this is a name");
        cx.publish(channel, Payload::new(data, Some("application/json")), None);
    }

    /// Where it connects, and how many it opens.
    fn place(&self) -> Option<(SocketAddr, u32)> {
        let place = self.0.place.get()?;
        Some((place.at?, CROWD_CONNECTIONS_MAX.min(place.connections / 2)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the process and listens to it until it has ended: a thread of its own, for all of this takes time.
    fn keep(&self, at: SocketAddr, wanted: u32) {
        let before = Memory::read();
        self.state().before = before;
        let ended = self.start(at, wanted).and_then(|child| self.listen(child));
        let mut state = self.state();
        state.phase = Phase::Closed;
        state.leash = None;
        if let Some(told) = &mut state.told {
            told.open = 0;
        }
        if let Err(error) = ended {
            state.failure = Some(format!("the crowd could not be opened: {error}"));
        }
    }

    fn start(&self, at: SocketAddr, wanted: u32) -> io::Result<Child> {
        let mut child = Command::new(&self.0.program)
            .args(["crowd", "--at", &at.to_string(), "--connections", &wanted.to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let leash = child.stdin.take();
        let mut state = self.state();
        // Somebody may have closed it meanwhile.
        state.leash = leash.filter(|_| state.phase == Phase::Opening);
        Ok(child)
    }

    fn listen(&self, mut child: Child) -> io::Result<()> {
        let lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
        for told in lines.map_while(Result::ok).filter_map(|line| serde_json::from_str::<Told>(&line).ok()) {
            let is_new = told.is_whole && self.state().phase == Phase::Opening;
            if is_new {
                thread::sleep(AT_REST);
            }
            let after = is_new.then(Memory::read).flatten();
            let mut state = self.state();
            state.told = Some(told);
            if is_new && state.phase == Phase::Opening {
                state.after = after;
                state.phase = Phase::Open;
            }
        }
        child.wait().map(|_| ())
    }
}

impl Memory {
    fn read() -> Option<Self> {
        let report = process::read(Duration::ZERO).ok()?;
        Some(Self { resident_bytes: report.resident_bytes, kernel_bytes: report.kernel_bytes })
    }
}
