//! `connect`: opens many connections, holds them idle, and measures what they cost; in waves if asked.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::{
    crew::{
        Crew, Order,
        plan::{self, Share},
        status::Status,
    },
    engine::{Engine, Event, Route},
    error::{Doing, Result, ServerFault},
    host::{
        clock::monotonic_ns,
        memory::{KernelMemory, UserMemory},
    },
    protocol::{
        request,
        stamp::{STAMP_BYTES, Stamp},
        subscriber::{Notice, Subscriber, Transport},
    },
    report::{ConnectReport, MemoryPerConnection, MemorySample, WaveReport},
    target::Target,
};

/// How long nothing may come while a message to all is on its way: how long it takes in all depends on how many they
/// are and on the machine.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long all connections may take to be closed again.
const DROP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one publication may take. The answer may wait for its turn behind deliveries.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(300);

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
    /// The server's process.
    pub server_pid: Option<u32>,
    /// Whether to show progress.
    pub progress: bool,
}

/// Runs the plan.
pub fn run(plan: &ConnectPlan) -> Result<ConnectReport> {
    let mut crew = Crew::start(&plan.shares, &plan.worker_arguments)?;
    thread::sleep(plan.settle);
    let before = sample(plan, &crew)?;
    let mut waves = Vec::new();
    for number in 1..=u64::from(plan.waves) {
        waves.push(wave(plan, &mut crew, number, &before)?);
    }
    Ok(ConnectReport {
        connections: plan.connections,
        workers: plan.shares.len(),
        spread: plan::describe(&plan.shares),
        before,
        waves,
    })
}

fn wave(plan: &ConnectPlan, crew: &mut Crew, number: u64, before: &MemorySample) -> Result<WaveReport> {
    let orders = number * plan.shares.len() as u64;
    let started = Instant::now();
    crew.order(Order::Open)?;
    let decided =
        |status: &Status| status.wave == orders && status.served + status.failed >= plan.connections;
    crew.wait(started + plan.connect_timeout, |status| show(plan, "connecting", status), decided);
    let seconds = started.elapsed().as_secs_f64();
    hold(plan, crew, plan.settle);
    let held = sample(plan, crew)?;
    hold(plan, crew, plan.hold);
    let message_received = match &plan.publish {
        Some((target, address)) => Some(publish_to_all(plan, crew, target, *address)?),
        None => None,
    };
    let status = crew.total();
    crew.order(Order::Drop)?;
    crew.wait(
        Instant::now() + DROP_TIMEOUT,
        |status| show(plan, "leaving", status),
        |status| status.open == 0,
    );
    thread::sleep(plan.settle);
    if plan.progress {
        eprintln!();
    }
    Ok(WaveReport {
        served: status.served,
        failed: plan.connections - status.served,
        lost: status.lost,
        seconds,
        connections_per_second: status.served as f64 / seconds,
        per_connection: MemoryPerConnection::between(before, &held, status.served),
        held,
        left: sample(plan, crew)?,
        message_received,
        failures: status.failures,
    })
}

/// Lets `time` pass while news keeps coming in.
fn hold(plan: &ConnectPlan, crew: &mut Crew, time: Duration) {
    crew.wait(Instant::now() + time, |status| show(plan, "holding", status), |_| false);
}

fn sample(plan: &ConnectPlan, crew: &Crew) -> Result<MemorySample> {
    Ok(MemorySample {
        server: plan
            .server_pid
            .map(UserMemory::of_process)
            .transpose()
            .doing("read the server's /proc/PID/smaps_rollup")?,
        client_anonymous_bytes: crew.anonymous_bytes()?,
        kernel: KernelMemory::now().doing("read /proc/meminfo")?,
    })
}

/// Publishes one stamped message and tells how many connections received it.
fn publish_to_all(plan: &ConnectPlan, crew: &mut Crew, target: &Target, address: SocketAddr) -> Result<u64> {
    let earlier = crew.total().messages;
    publish(target, address)?;
    let all = |status: &Status| status.messages - earlier >= status.served - status.lost;
    let mut seen = None;
    while seen != Some(crew.total().messages) {
        let received = crew.total().messages;
        seen = Some(received);
        let more = |status: &Status| all(status) || status.messages > received;
        crew.wait(Instant::now() + DELIVERY_TIMEOUT, |status| show(plan, "delivering", status), more);
        if all(&crew.total()) {
            break;
        }
    }
    // One more look: a message that comes twice must not pass for two that came once.
    hold(plan, crew, Duration::from_millis(300));
    Ok(crew.total().messages - earlier)
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
                Event::Closed(_) => drop(outcome.get_or_insert(Err(ServerFault::AllLost(None)))),
            })
            .doing("wait for the publication's answer")?;
    }
    outcome.unwrap_or(Err(ServerFault::Silent)).map_err(Into::into)
}

fn show(plan: &ConnectPlan, doing: &str, status: &Status) {
    if plan.progress {
        eprint!(
            "\r{doing}: {} served, {} failed, {} lost, {} open, {} messages   ",
            status.served, status.failed, status.lost, status.open, status.messages
        );
    }
}
