//! `connect`: opens many connections, holds them idle, and measures what they cost; in waves if asked. `storm`: lets
//! all come back at once, and measures how long each waits until it is served.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    crew::{
        Crew, Order,
        plan::{self, Share},
        status::Status,
    },
    engine::{Engine, Event, Route},
    error::{Doing, Result, ServerFault},
    host::{clock::monotonic_ns, server::Server},
    latency::{histogram, summarize},
    load::{control::Control, progress::Progress},
    protocol::{
        request,
        stamp::{STAMP_BYTES, Stamp},
        subscriber::{Notice, Subscriber, Transport},
    },
    report::{ConnectReport, MemoryPerConnection, MemorySample, WaveReport},
    target::Target,
    verdict::Verdict,
};

/// How long a message to all may take to reach all.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long all connections may take to be closed again.
const DROP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one publication may take.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// What to run.
pub struct ConnectPlan {
    /// Connections in all.
    pub connections: u64,
    /// How they are spread.
    pub shares: Vec<Share>,
    /// What every worker is told on its command line.
    pub worker_arguments: Vec<String>,
    /// How often to connect and disconnect them all.
    pub waves: u32,
    /// How long to hold them.
    pub hold: Duration,
    /// How long server and kernel are given to settle before memory is read.
    pub settle: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Where to publish one message at the end of each hold.
    pub publish: Option<(Target, SocketAddr)>,
    /// Whether every wave but the first comes all at once.
    pub storm: bool,
    /// The server's process.
    pub server: Option<Server>,
}

/// Runs the plan.
pub fn run(plan: &ConnectPlan) -> Result<ConnectReport> {
    let control = Control::new().doing("watch for Ctrl-C")?;
    let crew = Crew::start(&plan.shares, &plan.worker_arguments)?;
    thread::sleep(plan.settle);
    let mut run = Run { plan, crew, control, progress: Progress::new(), times: histogram() };
    let before = run.sample()?;
    let mut waves = Vec::new();
    for number in 1..=u64::from(plan.waves) {
        waves.push(run.wave(number, &before)?);
        if run.control.is_stopped() {
            break;
        }
    }
    Ok(ConnectReport {
        scenario: if plan.storm { "storm" } else { "connect" },
        verdict: judge(&waves, run.control.is_stopped()),
        latency: summarize(&run.times),
        connections: plan.connections,
        workers: plan.shares.len(),
        spread: plan::describe(&plan.shares),
        before,
        waves,
    })
}

/// A run under way.
struct Run<'a> {
    plan: &'a ConnectPlan,
    crew: Crew,
    control: Control,
    progress: Progress,
    times: Histogram<u64>,
}

impl Run<'_> {
    fn wave(&mut self, number: u64, before: &MemorySample) -> Result<WaveReport> {
        let plan = self.plan;
        let orders = number * plan.shares.len() as u64;
        let is_storm = plan.storm && number > 1;
        let started = Instant::now();
        self.crew.order(if is_storm { Order::Storm } else { Order::Open })?;
        let decided =
            |status: &Status| status.wave == orders && status.served + status.failed >= plan.connections;
        self.wait("connecting", started + plan.connect_timeout, decided);
        let seconds = started.elapsed().as_secs_f64();
        self.hold(plan.settle);
        let held = self.sample()?;
        self.hold(plan.hold);
        let message_received = match &plan.publish {
            Some((target, address)) if !self.control.is_stopped() => {
                Some(self.publish_to_all(target, *address)?)
            }
            _ => None,
        };
        let status = self.crew.total();
        let mut times = histogram();
        for (value, count) in &status.times_us {
            times.saturating_record_n(*value, *count);
        }
        if is_storm || !plan.storm {
            self.times.add(&times).expect("both have the same range");
        }
        self.crew.order(Order::Drop)?;
        self.wait("leaving", Instant::now() + DROP_TIMEOUT, |status| status.open == 0);
        thread::sleep(plan.settle);
        Ok(WaveReport {
            served: status.served,
            failed: plan.connections - status.served,
            lost: status.lost,
            seconds,
            connections_per_second: status.served as f64 / seconds,
            time_to_served: summarize(&times),
            per_connection: MemoryPerConnection::between(before, &held, status.served),
            held,
            left: self.sample()?,
            message_received,
            failures: status.failures,
        })
    }

    /// Takes in the workers' news until `done` holds, the deadline has come, or somebody stops the run.
    fn wait(&mut self, doing: &str, deadline: Instant, done: impl Fn(&Status) -> bool) {
        let (control, progress) = (&self.control, &mut self.progress);
        self.crew.wait(
            deadline,
            |status| {
                progress.tell(status.served, |rate| {
                    format!(
                        "{doing}: {} connected, {rate:.0}/s, {} failed, {} lost, {} messages",
                        status.open, status.failed, status.lost, status.messages
                    )
                });
            },
            |status| done(status) || (control.is_stopped() && doing != "leaving"),
        );
    }

    /// Lets `time` pass while news keeps coming in.
    fn hold(&mut self, time: Duration) {
        self.wait("holding", Instant::now() + time, |_| false);
    }

    fn sample(&self) -> Result<MemorySample> {
        let sample = MemorySample::now(self.plan.server.as_ref())?;
        Ok(MemorySample { client_anonymous_bytes: self.crew.anonymous_bytes()?, ..sample })
    }

    /// Publishes one stamped message and tells how many connections received it.
    fn publish_to_all(&mut self, target: &Target, address: SocketAddr) -> Result<u64> {
        let earlier = self.crew.total().messages;
        publish(target, address)?;
        let all = |status: &Status| status.messages - earlier >= status.served - status.lost;
        self.wait("delivering", Instant::now() + DELIVERY_TIMEOUT, all);
        // One more look: a message that comes twice must not pass for two that came once.
        self.hold(Duration::from_millis(300));
        Ok(self.crew.total().messages - earlier)
    }
}

/// A connection that failed, was lost, or missed the message makes the result invalid.
fn judge(waves: &[WaveReport], is_stopped: bool) -> Verdict {
    let sum = |field: fn(&WaveReport) -> u64| waves.iter().map(field).sum::<u64>();
    let missed =
        |wave: &WaveReport| wave.message_received.map_or(0, |received| wave.served.abs_diff(received));
    let faults = [
        (sum(|wave| wave.failed), "connections were not served"),
        (sum(|wave| wave.lost), "connections were lost while held"),
        (waves.iter().map(missed).sum(), "connections missed the message or had it twice"),
    ];
    let mut reasons: Vec<String> = faults
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if is_stopped {
        reasons.push("the run was stopped early".to_owned());
    }
    Verdict { valid: reasons.is_empty(), reasons, warnings: Vec::new() }
}

/// Makes one `POST` and waits for its answer.
fn publish(target: &Target, address: SocketAddr) -> Result<()> {
    let message = Stamp { sequence: 0, sent_ns: monotonic_ns() }.encode(STAMP_BYTES);
    let mut engine = Engine::new(1).doing("create a ring")?;
    let publisher =
        engine.io.open(&Route { target: address, source: None }).doing("open the publisher's connection")?;
    let request = request::encode_publish(target, &message);
    let deadline = Instant::now() + PUBLISH_TIMEOUT;
    let mut answer = Subscriber::new(Transport::Poll);
    let mut outcome = None;
    drop(engine.io.send(publisher, &request));
    while outcome.is_none() && Instant::now() < deadline {
        engine
            .turn(Duration::from_millis(50), |_, _, event| match event {
                Event::Connected => {}
                Event::Received(bytes) => {
                    let result = answer.handle(bytes, |notice| {
                        if notice == Notice::Served {
                            outcome = Some(Ok(()));
                        }
                    });
                    if let Err(error) = result {
                        outcome = Some(Err(ServerFault::PublishRefused(error)));
                    }
                }
                // An answer that came first counts, though the end came with it.
                Event::Closed(_) if outcome.is_some() => {}
                Event::Closed(_) => outcome = Some(Err(ServerFault::AllLost(None))),
            })
            .doing("wait for the publication's answer")?;
    }
    outcome.unwrap_or(Err(ServerFault::Silent)).map_err(Into::into)
}
