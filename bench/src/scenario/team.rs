//! The course of a load that several threads carry: connect, wait for each other, warm up, be measured, drain.
//!
//! Each thread has a ring and a share of the connections; what it does with them is its [`Member`]'s business. The
//! coordinator reads memory and CPU at the right times, shows the live line, and knows no message.

use std::{
    sync::{Barrier, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    CONNECT_TIMEOUT, Mark,
    observed::{Observed, Part, Record, Watched},
    sleep_until, until,
};
use crate::{
    crew::plan::Share,
    engine::{Engine, Io},
    error::{Doing, Error, Result, ServerFault},
    host::{clock::monotonic_ns, cpu::ThreadMark, server::Server},
    load::{
        control::Control,
        progress::Progress,
        window::{Timing, WarmUp, Window},
    },
    report::{MemoryPerConnection, MemorySample, WarmedUp},
};

/// How often the coordinator looks at its workers.
const LOOK: Duration = Duration::from_millis(50);
/// How often a run that is held looks whether it may start.
const GATE_LOOK: Duration = Duration::from_millis(1);
/// From the word to start until the first message is due, so that all workers have heard it.
const HEAD_START: Duration = Duration::from_millis(20);
/// From the word to measure until it begins, where that was not known from the start: far longer than a thread's look at
/// the word takes, or it would count from a moment that has passed.
const WORD_TO_MEASURE: Duration = Duration::from_millis(200);
/// How long the server is given after the last handshake before memory is read.
const SETTLE: Duration = Duration::from_millis(300);
/// How long one turn waits when nothing happens.
pub const TURN: Duration = Duration::from_millis(20);
/// How long a run that somebody ended early waits for what is still on its way.
pub const STOPPED_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections on their way at once, per thread.
const IN_FLIGHT: usize = 256;

/// What is to be carried.
pub struct Team<'a> {
    /// Connections of each thread, and from where.
    pub shares: &'a [Share],
    /// How long.
    pub timing: Timing,
    /// The server's process.
    pub server: Option<&'a Server>,
    /// What the live line counts.
    pub unit: &'a str,
}

/// One thread's work.
pub trait Member {
    /// What it found.
    type Found: Send;

    /// Connections its ring holds at once.
    fn room(&self) -> u64;
    /// How far its connections have come.
    fn standing(&self) -> Standing;
    /// Starts one more connection.
    fn open_next(&mut self, io: &mut Io);
    /// Does what is left to do when all are connected and nothing is measured yet.
    fn settle(&mut self, _engine: &mut Engine) -> Result<()> {
        Ok(())
    }
    /// Handles what has happened, for `timeout` at most.
    fn turn(&mut self, engine: &mut Engine, timeout: Duration) -> Result<()>;
    /// Starts its load; nothing counts yet.
    fn begin(&mut self, start_ns: u64);
    /// Learns what counts.
    fn measure(&mut self, window: Window);
    /// Carries its load until this time.
    fn live_until(&mut self, engine: &mut Engine, end_ns: u64) -> Result<()>;
    /// Waits for what is still on its way.
    fn drain(&mut self, engine: &mut Engine) -> Result<()>;
    /// What it found in the part of the run that counts.
    fn finish(self, window: Window) -> (Record, Self::Found);
}

/// How far a thread's connections have come.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Its share.
    pub asked: u64,
    /// Started so far.
    pub opened: u64,
    /// On their way.
    pub pending: usize,
    /// Served or lost.
    pub decided: u64,
    /// Lost.
    pub lost: u64,
}

impl Standing {
    fn is_undecided(self) -> bool {
        self.decided < self.asked
    }

    fn may_open(self) -> bool {
        self.opened < self.asked && self.pending < IN_FLIGHT
    }
}

/// Runs one member per share to the end.
pub fn run<M: Member>(
    team: &Team<'_>,
    control: &Control,
    member: impl Fn(usize) -> M + Sync,
) -> Result<Observed<M::Found>> {
    if matches!(team.timing.warm_up, WarmUp::UntilSteady(_)) {
        control.watch_steadiness();
    }
    let gate = Barrier::new(team.shares.len() + 1);
    thread::scope(|scope| {
        let start = |index| {
            let (gate, member) = (&gate, &member);
            scope.spawn(move || {
                let result = follow(member(index), team, control, gate);
                if result.is_err() {
                    control.stop();
                }
                result
            })
        };
        let workers: Vec<_> = (0..team.shares.len()).map(start).collect();
        gate.wait();
        let memory = MemorySample::now(team.server);
        gate.wait();
        let watched = memory.and_then(|memory| watch(team, control, &memory));
        if watched.is_err() {
            control.stop();
        }
        let found = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
        let parts = found.collect::<Result<Option<Vec<_>>>>()?;
        let (watched, parts) = watched?.zip(parts).ok_or_else(|| not_begun(team, control))?;
        Ok(Observed::new(parts, watched, control))
    })
}

/// One thread, from its ring to what it found; `None` if the run never began.
fn follow<M: Member>(
    mut member: M,
    team: &Team<'_>,
    control: &Control,
    gate: &Barrier,
) -> Result<Option<Part<M::Found>>> {
    let engine = Engine::new(member.room()).doing("create a ring");
    // Memory is read between the two: a ring's buffers are no connection's.
    gate.wait();
    gate.wait();
    let mut engine = engine?;
    connect(&mut member, &mut engine, control)?;
    member.settle(&mut engine)?;
    control.ready.fetch_add(1, Ordering::AcqRel);
    let Some(start_ns) = wait_for_start(&mut member, &mut engine, control)? else { return Ok(None) };
    let mut window = warm_up(&mut member, &mut engine, (team, control), start_ns)?;
    let mark = ThreadMark::now().doing("read /proc/thread-self/stat")?;
    member.live_until(&mut engine, window.to_ns)?;
    window.cut(monotonic_ns());
    let used = mark.until_now().doing("read /proc/thread-self/stat")?;
    member.drain(&mut engine)?;
    let (record, found) = member.finish(window);
    Ok(Some(Part { found, record, window, used }))
}

fn connect(member: &mut impl Member, engine: &mut Engine, control: &Control) -> Result<()> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    while member.standing().is_undecided() && Instant::now() < deadline && !control.is_stopped() {
        while member.standing().may_open() {
            member.open_next(&mut engine.io);
        }
        member.turn(engine, until(deadline, TURN))?;
        // A run begins with all of them or not at all.
        if member.standing().lost > 0 {
            control.stop();
        }
    }
    Ok(())
}

/// Turns until it is time to start; `None` if it never is.
fn wait_for_start(member: &mut impl Member, engine: &mut Engine, control: &Control) -> Result<Option<u64>> {
    while !control.is_stopped() {
        let left_ns = control.start_ns().map(|start_ns| start_ns.saturating_sub(monotonic_ns()));
        if left_ns == Some(0) {
            return Ok(control.start_ns());
        }
        member.turn(engine, left_ns.map_or(TURN, |left_ns| Duration::from_nanos(left_ns).min(TURN)))?;
    }
    Ok(None)
}

/// Starts the load and carries it until it counts.
fn warm_up(
    member: &mut impl Member,
    engine: &mut Engine,
    (team, control): (&Team<'_>, &Control),
    start_ns: u64,
) -> Result<Window> {
    member.begin(start_ns);
    let from_ns = match team.timing.warm_up {
        WarmUp::For(time) => start_ns + time.as_nanos() as u64,
        WarmUp::UntilSteady(_) => loop {
            if let Some(from_ns) = control.measure_ns() {
                break from_ns;
            }
            if control.is_stopped() {
                break monotonic_ns();
            }
            member.live_until(engine, monotonic_ns() + TURN.as_nanos() as u64)?;
        },
    };
    let window = team.timing.window_from(from_ns);
    member.measure(window);
    member.live_until(engine, from_ns)?;
    Ok(window)
}

/// Waits until all threads' loads are steady, or until they have had the time to be; when measuring begins.
fn await_steadiness(
    team: &Team<'_>,
    control: &Control,
    (start_ns, longest): (u64, Duration),
    progress: &mut Progress,
) -> (u64, WarmedUp) {
    let is_steady = || control.steady.load(Ordering::Acquire) == team.shares.len() as u64;
    sleep_until(start_ns + longest.as_nanos() as u64, || {
        progress.tell(0, |_| "warming up until the load is steady".to_owned());
        control.is_stopped() || is_steady()
    });
    let from_ns = monotonic_ns() + WORD_TO_MEASURE.as_nanos() as u64;
    let unsteady = (!is_steady()).then(|| control.unsteady());
    control.measure_from(from_ns);
    let seconds = (from_ns - start_ns) as f64 / 1e9;
    (from_ns, WarmedUp { seconds, steady: Some(unsteady.is_none()), unsteady })
}

/// Sees the threads through their run; `None` when they could not all connect.
fn watch(team: &Team<'_>, control: &Control, memory: &MemorySample) -> Result<Option<Watched>> {
    let mut progress = Progress::new();
    let asked = team.connections();
    while control.ready.load(Ordering::Acquire) < team.shares.len() as u64 && !control.is_stopped() {
        let connected = control.connected.load(Ordering::Relaxed);
        progress.tell(connected, |rate| format!("connecting: {connected} of {asked}, {rate:.0}/s"));
        thread::sleep(LOOK);
    }
    if control.connected.load(Ordering::Acquire) < asked || control.is_stopped() {
        control.stop();
        return Ok(None);
    }
    thread::sleep(SETTLE);
    let memory = MemoryPerConnection::between(memory, &MemorySample::now(team.server)?, asked);
    control.tell_ready();
    while control.is_held() {
        if control.is_stopped() {
            return Ok(None);
        }
        thread::sleep(GATE_LOOK);
    }
    let start_ns = monotonic_ns() + HEAD_START.as_nanos() as u64;
    control.start_at(start_ns);
    let (from_ns, warm_up) = match team.timing.warm_up {
        WarmUp::For(time) => (start_ns + time.as_nanos() as u64, WarmedUp::of(time)),
        WarmUp::UntilSteady(longest) => await_steadiness(team, control, (start_ns, longest), &mut progress),
    };
    let window = team.timing.window_from(from_ns);
    let mut tell = || {
        let replies = control.replies.load(Ordering::Relaxed);
        let p99_us = control.p99_us.load(Ordering::Relaxed);
        progress.tell_with_tail(replies, p99_us, |rate| {
            format!("{asked} connected, {rate:.0} {}, p99 {p99_us} µs", team.unit)
        });
        control.is_stopped()
    };
    sleep_until(window.from_ns, &mut tell);
    let before = Mark::now(team.server)?;
    sleep_until(window.to_ns, &mut tell);
    let after = Mark::now(team.server)?;
    Ok(Some(Watched { before, after, memory, warm_up }))
}

fn not_begun(team: &Team<'_>, control: &Control) -> Error {
    let (served, asked) = (control.connected.load(Ordering::Relaxed), team.connections());
    if let Some(why) = control.hopeless().filter(|_| served == asked) {
        let first = control.first_failure().map(|why| (format!("{why} (the first)"), 1));
        return ServerFault::Fruitless(why.to_owned(), first.into_iter().collect()).into();
    }
    if served == asked {
        return Error::Stopped;
    }
    let why = control.first_failure().map(str::to_owned);
    let cure = team.server.and_then(|server| server.cure_for(asked));
    ServerFault::NotServed { served: served as usize, asked: asked as usize, why, cure }.into()
}

impl Team<'_> {
    /// All threads' connections.
    pub fn connections(&self) -> u64 {
        self.shares.iter().map(|share| share.connections).sum()
    }
}
