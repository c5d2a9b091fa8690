//! `echo` and `http`: messages that are each answered, on a schedule or as fast as answers come.
//!
//! The schedule is kept whatever becomes of the messages, and latency counts from the time a message was meant to be
//! sent: what waits behind a slow answer has waited since it was due.

mod dialogue;
mod worker;

use std::{
    net::SocketAddr,
    sync::{Barrier, atomic::Ordering},
    thread,
    time::Duration,
};

use self::worker::{Found, Worker};
use super::{Mark, ThreadUse, sleep_until};
use crate::{
    crew::plan::Share,
    error::{Doing, Error, Result, ServerFault},
    host::{clock::monotonic_ns, server::Server},
    latency::{Latencies, histogram, summarize},
    load::{control::Control, pace::Pace, progress::Progress, window::Window},
    report::{ExchangeReport, Measured, MemoryPerConnection, MemorySample},
    target::Target,
    verdict::Evidence,
};

/// How often the coordinator looks at its workers.
const LOOK: Duration = Duration::from_millis(50);
/// From the word to start until the first message is due, so that all workers have heard it.
const HEAD_START: Duration = Duration::from_millis(20);
/// How long the server is given after the last handshake before memory is read.
const SETTLE: Duration = Duration::from_millis(300);

/// What to run.
pub struct ExchangePlan {
    /// The server.
    pub target: Target,
    /// Its address.
    pub address: SocketAddr,
    /// What is exchanged.
    pub exchange: Exchange,
    /// Connections of each worker, and from where.
    pub shares: Vec<Share>,
    /// Open or closed loop.
    pub pace: Pace,
    /// Time before measuring.
    pub warm_up: Duration,
    /// Measured time.
    pub measured: Duration,
    /// The server's process.
    pub server: Option<Server>,
}

/// What is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Messages that come back.
    Echo {
        /// Payload of a message.
        bytes: usize,
    },
    /// Requests that are answered.
    Http {
        /// `POST` with a body of this size; without one, `GET`.
        post_bytes: Option<usize>,
    },
}

struct Observed {
    found: Vec<Found>,
    before: Mark,
    after: Mark,
    memory: MemoryPerConnection,
    is_stopped: bool,
}

/// Runs the plan.
pub fn run(plan: &ExchangePlan) -> Result<(ExchangeReport, Latencies)> {
    let control = Control::new().doing("watch for Ctrl-C")?;
    let gate = Barrier::new(plan.shares.len() + 1);
    let observed = thread::scope(|scope| {
        let workers: Vec<_> = plan
            .shares
            .iter()
            .map(|share| {
                let (control, gate) = (&control, &gate);
                scope.spawn(move || {
                    let result = Worker::new(plan, share, control).run(gate);
                    if result.is_err() {
                        control.stop();
                    }
                    result
                })
            })
            .collect();
        gate.wait();
        let memory = MemorySample::now(plan.server.as_ref());
        gate.wait();
        let watched = memory.and_then(|memory| watch(plan, &control, &memory));
        if watched.is_err() {
            control.stop();
        }
        let found = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
        let found = found.collect::<Result<Vec<_>>>()?;
        match watched? {
            Some((before, after, memory)) => {
                Ok(Observed { found, before, after, memory, is_stopped: control.is_stopped() })
            }
            None => Err(not_served(plan, &control, &found)),
        }
    })?;
    if observed.found.iter().all(|found| found.replies == 0) {
        return Err(ServerFault::Silent.into());
    }
    Ok(report(plan, observed))
}

/// Sees the workers through their run; `None` when they could not all connect.
fn watch(
    plan: &ExchangePlan,
    control: &Control,
    memory: &MemorySample,
) -> Result<Option<(Mark, Mark, MemoryPerConnection)>> {
    let mut progress = Progress::new();
    let asked: u64 = plan.shares.iter().map(|share| share.connections).sum();
    while control.ready.load(Ordering::Acquire) < plan.shares.len() as u64 && !control.is_stopped() {
        let connected = control.connected.load(Ordering::Relaxed);
        progress.tell(connected, |rate| format!("connecting: {connected} of {asked}, {rate:.0}/s"));
        thread::sleep(LOOK);
    }
    if control.connected.load(Ordering::Acquire) < asked {
        control.stop();
        return Ok(None);
    }
    thread::sleep(SETTLE);
    let memory = MemoryPerConnection::between(memory, &MemorySample::now(plan.server.as_ref())?, asked);
    let start_ns = monotonic_ns() + HEAD_START.as_nanos() as u64;
    let window = Window::new(start_ns, plan.warm_up, plan.measured);
    control.start_at(start_ns);
    let mut tell = || {
        let replies = control.replies.load(Ordering::Relaxed);
        let p99_us = control.p99_us.load(Ordering::Relaxed);
        progress.tell(replies, |rate| format!("{asked} connected, {rate:.0}/s, p99 {p99_us} µs"));
        control.is_stopped()
    };
    sleep_until(window.from_ns, &mut tell);
    let before = Mark::now(plan.server.as_ref())?;
    sleep_until(window.to_ns, &mut tell);
    let after = Mark::now(plan.server.as_ref())?;
    Ok(Some((before, after, memory)))
}

fn not_served(plan: &ExchangePlan, control: &Control, found: &[Found]) -> Error {
    let asked: u64 = plan.shares.iter().map(|share| share.connections).sum();
    let served = control.connected.load(Ordering::Relaxed) as usize;
    let why = found.iter().find_map(|found| found.failures.keys().next().cloned());
    ServerFault::NotServed { served, asked: asked as usize, why }.into()
}

/// The measured time, by the workers' own clocks. On a schedule, replies that came after the window's end belong to it,
/// and so does the time they took.
fn seconds(pace: Pace, windows: &[Window], last_reply_ns: u64) -> f64 {
    let from_ns = windows.iter().map(|window| window.from_ns).min().unwrap_or_default();
    let to_ns = windows.iter().map(|window| window.to_ns).max().unwrap_or_default();
    let to_ns = match pace {
        Pace::Closed => to_ns,
        Pace::Open(_) => to_ns.max(last_reply_ns),
    };
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

fn report(plan: &ExchangePlan, observed: Observed) -> (ExchangeReport, Latencies) {
    let Observed { found, before, after, memory, is_stopped } = observed;
    let (mut latencies, mut lag) = (Latencies::none(), histogram());
    let mut failures = std::collections::BTreeMap::new();
    let sum = |field: fn(&Found) -> u64| found.iter().map(field).sum::<u64>();
    let (replies, wrong, lost) = (sum(|f| f.replies), sum(|f| f.wrong), sum(|f| f.lost));
    let (unanswered, unsent) = (sum(|f| f.unanswered), sum(|f| f.unsent));
    let last_reply_ns = found.iter().map(|found| found.last_reply_ns).max().unwrap_or_default();
    let windows: Vec<Window> = found.iter().map(|found| found.window).collect();
    let threads: Vec<ThreadUse> = found.iter().map(|found| found.used).collect();
    for one in found {
        latencies.merge(one.latencies);
        lag.add(&one.lag).expect("all have the same range");
        for (why, count) in one.failures {
            *failures.entry(why).or_default() += count;
        }
    }
    let seconds = seconds(plan.pace, &windows, last_reply_ns);
    // The coordinator may itself be kept from its core; then its readings are of another time than the messages.
    let is_late = (after.at_ns - before.at_ns) as f64 / 1e9 > 1.1 * seconds + 0.1
        || ((after.at_ns - before.at_ns) as f64 / 1e9) < 0.9 * seconds - 0.1;
    let faults = [
        (wrong, "replies were wrong"),
        (lost, "connections were lost"),
        (unanswered, "messages had no reply"),
        (unsent, "messages were never sent: thousands waited before them"),
        (u64::from(is_late && plan.server.is_some()), "reading of the server's CPU came at the wrong time"),
    ];
    let per_second = replies as f64 / seconds;
    let measured = Measured::new(Evidence {
        pace: plan.pace,
        achieved: per_second,
        clients: &ThreadUse::shares(&threads, replies),
        core_wait: ThreadUse::core_wait(&threads),
        server_cores: before.server_busiest_until(&after),
        lag: summarize(&lag),
        latency: latencies.summary(),
        faults: &faults,
        is_stopped,
    })
    .with_times(seconds, &latencies)
    .with_server(before.server_share_until(&after, replies))
    .with_memory(memory);
    let report = ExchangeReport {
        scenario: match plan.exchange {
            Exchange::Echo { .. } => "echo",
            Exchange::Http { .. } => "http",
        },
        url: plan.target.to_string(),
        spread: crate::crew::plan::describe_threads(&plan.shares),
        connections: plan.shares.iter().map(|share| share.connections).sum(),
        message_bytes: match plan.exchange {
            Exchange::Echo { bytes } => bytes,
            Exchange::Http { post_bytes } => post_bytes.unwrap_or_default(),
        },
        per_second_asked: plan.pace.asked(),
        replies,
        per_second,
        echoes_per_second: matches!(plan.exchange, Exchange::Echo { .. }).then_some(per_second),
        wrong,
        lost,
        unanswered,
        unsent,
        failures,
        measured,
    };
    (report, latencies)
}
