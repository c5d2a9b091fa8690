//! `connect`: opens many connections, holds them idle, and measures what they cost; in waves if asked. `storm`: lets
//! all come back at once, and measures how long each waits until it is served.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::Mark;
use crate::{
    crew::{Crew, Hands, Order, assignment::Hold, status::Status},
    endpoint::Endpoint,
    engine::{Engine, Event},
    error::{Doing, Result, ServerFault},
    host::{clock::monotonic_ns, cpu::ThreadUse, server::Server},
    latency::{Latencies, LatencySummary},
    load::{control::Control, pace::Pace, progress::Progress},
    protocol::{
        request,
        stamp::{STAMP_BYTES, Stamp},
        subscriber::{Notice, Subscriber, Transport},
    },
    report::{ConnectReport, CpuShare, MemoryPerConnection, MemorySample, WaveReport},
    trial::Plan,
    verdict::{Bottleneck, Evidence, Verdict},
};

/// How long nobody may receive a message to all before those who have not are taken to miss it.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long all connections may take to be closed again.
const DROP_TIMEOUT: Duration = Duration::from_secs(60);
/// What is over sooner is not judged by the CPU it took: the kernel counts that in steps of 10 ms.
const JUDGED_SECONDS_MIN: f64 = 0.2;
/// How long a publication may wait for its answer.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// What to run.
pub struct ConnectPlan {
    /// Where to connect, as it is told.
    pub url: String,
    /// Connections in all.
    pub connections: u64,
    /// Who holds them.
    pub hands: Hands,
    /// What they have in common, and the rate of all together.
    pub hold_as: Hold,
    /// The server.
    pub target: SocketAddr,
    /// How often to connect and disconnect them all.
    pub waves: u32,
    /// How long to hold them.
    pub hold: Duration,
    /// How long server and kernel are given to settle before memory is read.
    pub settle: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Where to publish one message at the end of each hold.
    pub publish: Option<Endpoint>,
    /// Connections opened per second, if so many were asked for.
    pub rate: Option<f64>,
    /// Whether every wave but the first comes all at once.
    pub storm: bool,
    /// The server's process.
    pub server: Option<Server>,
}

impl Plan for ConnectPlan {
    type Report = ConnectReport;

    fn measure(&self) -> Result<(ConnectReport, Latencies)> {
        run(self)
    }
}

fn run(plan: &ConnectPlan) -> Result<(ConnectReport, Latencies)> {
    let control = Control::new().doing("watch for Ctrl-C")?;
    let crew = Crew::start(&plan.hands, &plan.hold_as, plan.target)?;
    thread::sleep(plan.settle);
    let mut run =
        Run { plan, crew, control, progress: Progress::new(), times: Latencies::none(), unanswered: 0 };
    let before = run.sample()?;
    let (mut waves, mut verdict) = (Vec::new(), Verdict { valid: true, ..Verdict::default() });
    for number in 1..=u64::from(plan.waves) {
        let (wave, found) = run.wave(number, &before)?;
        verdict.add(if plan.waves > 1 { format!("wave {number}: ") } else { String::new() }, found);
        waves.push(wave);
        if run.control.is_stopped() {
            break;
        }
    }
    let report = ConnectReport {
        scenario: if plan.storm { "storm" } else { "connect" },
        url: plan.url.clone(),
        verdict,
        latency: run.times.summary(),
        connections: plan.connections,
        workers: run.crew.len(),
        spread: run.crew.describe(),
        before,
        waves,
    };
    Ok((report, run.times))
}

/// A run under way.
struct Run<'a> {
    plan: &'a ConnectPlan,
    crew: Crew,
    control: Control,
    progress: Progress,
    times: Latencies,
    /// Publications whose answers did not come in time.
    unanswered: u64,
}

impl Run<'_> {
    fn wave(&mut self, number: u64, before: &MemorySample) -> Result<(WaveReport, Verdict)> {
        let plan = self.plan;
        let orders = number * self.crew.len() as u64;
        let is_calm = plan.storm && number == 1;
        let mark = Mark::now(plan.server.as_ref())?;
        self.crew.order(if plan.storm && !is_calm { Order::Storm } else { Order::Open })?;
        let decided =
            |status: &Status| status.wave == orders && status.served + status.failed >= plan.connections;
        self.wait("connecting", Instant::now() + plan.connect_timeout, decided)?;
        let connected = Mark::now(plan.server.as_ref())?;
        self.hold(plan.settle)?;
        let held = self.sample()?;
        self.hold(plan.hold)?;
        let message_received = match &plan.publish {
            Some(endpoint) if !self.control.is_stopped() => Some(self.publish_to_all(endpoint)?),
            _ => None,
        };
        let (status, decided) = (self.crew.total(), self.crew.decided());
        self.crew.order(Order::Drop)?;
        self.wait("leaving", Instant::now() + DROP_TIMEOUT, |status| status.open == 0)?;
        thread::sleep(plan.settle);
        let times = Latencies::from_intervals(decided.times_us);
        let wave = WaveReport {
            per_connection: MemoryPerConnection::between(before, &held, status.served),
            held,
            left: self.sample()?,
            message_received,
            failed: if self.control.is_stopped() { status.failed } else { plan.connections - status.served },
            ..connecting(&status, &decided.used, &times, (&mark, &connected))
        };
        let verdict = self.judge(&wave, is_calm);
        if !is_calm {
            self.times.append(times);
        }
        Ok((wave, verdict))
    }

    /// A connection that failed, was lost or missed the message makes the result invalid, and so does a generator that
    /// was the bottleneck while connecting; where that is the calm before a storm, nobody asks.
    fn judge(&self, wave: &WaveReport, is_calm: bool) -> Verdict {
        let missed = wave.message_received.map_or(0, |received| wave.served.abs_diff(received));
        let is_measured = !is_calm && wave.seconds >= JUDGED_SECONDS_MIN;
        let evidence = Evidence {
            // Without a rate nothing is on a schedule, and times count from each connection's own start or the storm's.
            pace: self.plan.rate.map_or(Pace::Open(0.0), Pace::Open),
            achieved: wave.connections_per_second,
            clients: if is_measured { &wave.client_workers } else { &[] },
            core_wait: if is_measured { wave.client_core_wait } else { 0.0 },
            server_cores: wave.server_busiest_thread_cores,
            lag: LatencySummary::default(),
            latency: wave.time_to_served,
            faults: &[
                (wave.failed, "connections were not served"),
                (wave.lost, "connections were lost while held"),
                (missed, "connections missed the message or had it twice"),
                (self.unanswered, "publications were not answered in time"),
            ],
            is_stopped: self.control.is_stopped(),
            hopeless: None,
        };
        evidence.judge()
    }

    /// Takes in the workers' news until `done` holds, the deadline has come, or somebody stops the run. A worker that is
    /// gone ends it.
    fn wait(&mut self, doing: &str, deadline: Instant, done: impl Fn(&Status) -> bool) -> Result<()> {
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
        self.crew.check()
    }

    /// Lets `time` pass while news keeps coming in.
    fn hold(&mut self, time: Duration) -> Result<()> {
        self.wait("holding", Instant::now() + time, |_| false)
    }

    fn sample(&self) -> Result<MemorySample> {
        let sample = MemorySample::now(self.plan.server.as_ref())?;
        Ok(MemorySample { client_anonymous_bytes: self.crew.anonymous_bytes()?, ..sample })
    }

    /// Publishes one stamped message and tells how many connections received it.
    fn publish_to_all(&mut self, endpoint: &Endpoint) -> Result<u64> {
        let earlier = self.crew.total().messages;
        self.unanswered += u64::from(!publish(endpoint)?);
        let all = |status: &Status| status.messages - earlier >= status.served - status.lost;
        loop {
            let heard = self.crew.total().messages;
            let deadline = Instant::now() + DELIVERY_TIMEOUT;
            self.wait("delivering", deadline, |status| all(status) || status.messages > heard)?;
            let status = self.crew.total();
            if all(&status) || status.messages == heard || self.control.is_stopped() {
                break;
            }
        }
        // One more look: a message that comes twice must not pass for two that came once.
        self.hold(Duration::from_millis(300))?;
        Ok(self.crew.total().messages - earlier)
    }
}

/// What a wave's connecting was like; what was held is still to be added.
fn connecting(
    status: &Status,
    used: &[ThreadUse],
    times: &Latencies,
    (before, after): (&Mark, &Mark),
) -> WaveReport {
    // The workers' own clocks: what they tell arrives later.
    let seconds = if status.decided_us > 0 {
        status.decided_us as f64 / 1e6
    } else {
        (after.at - before.at).as_secs_f64()
    };
    // The server is idle once all is decided, but what it used is read only when the workers have told so.
    let after = &Mark { at: before.at + Duration::from_secs_f64(seconds), ..after.clone() };
    let client_workers = CpuShare::of_threads(used, status.served);
    let client = CpuShare::sum(&client_workers);
    let server_cores = before.server_busiest_until(after);
    let busiest = client_workers.iter().map(|worker| worker.cores).fold(0.0, f64::max);
    let is_judged = seconds >= JUDGED_SECONDS_MIN;
    WaveReport {
        served: status.served,
        failed: status.failed,
        lost: status.lost,
        seconds,
        connections_per_second: status.served as f64 / seconds,
        time_to_served: times.summary(),
        client,
        client_workers,
        client_core_wait: ThreadUse::core_wait(used),
        server: before.server_share_until(after, status.served),
        server_busiest_thread_cores: server_cores,
        bottleneck: if is_judged { Bottleneck::judge(busiest, server_cores) } else { Bottleneck::Neither },
        per_connection: MemoryPerConnection::default(),
        held: MemorySample::default(),
        left: MemorySample::default(),
        message_received: None,
        failures: status.failures.clone(),
    }
}

/// Makes one `POST` and waits for its answer; tells whether it came in time.
fn publish(endpoint: &Endpoint) -> Result<bool> {
    let message = Stamp { sequence: 0, sent_ns: monotonic_ns() }.encode(STAMP_BYTES);
    let mut engine = Engine::new(1).doing("create a ring")?;
    let publisher = engine.io.open(&endpoint.route(None)).doing("open the publisher's connection")?;
    let request = endpoint.manners.dress(request::encode_publish(&endpoint.target, &message), 0);
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
    outcome.map_or(Ok(false), |outcome| outcome.map(|()| true)).map_err(Into::into)
}
