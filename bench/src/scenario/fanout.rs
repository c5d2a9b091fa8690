//! `fanout`: one publisher, many subscribers, every delivery accounted for.
//!
//! It runs on one thread: the publication and every delivery are timed by the same clock in the same place.
//!
//! Two ways to load. *Open*: bursts go out on a schedule, whatever became of the last, and latency counts from the
//! scheduled time. *Closed*: the next burst goes out when everybody has the last, which finds the highest rate of
//! deliveries and the CPU of each.

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use roadstead::wire::websocket::Opcode;

use super::{CONNECT_TIMEOUT, Mark, ThreadMark, ThreadUse, describe, until};
use crate::{
    engine::{ConnectionId, Engine, Event, Io, Route},
    error::{Doing, Result, ServerFault},
    host::{clock::monotonic_ns, server::Server},
    latency::{Latencies, Recorder, histogram, summarize},
    ledger::{Ledger, Tally},
    load::{control::Control, pace::Pace, progress::Progress},
    protocol::{
        request,
        stamp::Stamp,
        subscriber::{Notice, SubscribeError, Subscriber, Transport, encode_message},
    },
    report::{FanoutReport, Measured, MemoryPerConnection, MemorySample},
    target::{Scheme, Target},
    verdict::Evidence,
};

/// How long a delivery may take before it counts as lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server is given to settle after the last handshake.
const SETTLE: Duration = Duration::from_millis(300);
/// How long one turn waits when nothing happens.
const TURN: Duration = Duration::from_millis(100);
/// Subscribers connecting at once.
const IN_FLIGHT: usize = 256;

/// What to run.
pub struct FanoutPlan {
    /// Where subscribers connect.
    pub target: Target,
    /// Its address.
    pub address: SocketAddr,
    /// How they receive.
    pub transport: Transport,
    /// Where publications go.
    pub publish: Target,
    /// Its address.
    pub publish_address: SocketAddr,
    /// Subscribers.
    pub subscribers: usize,
    /// Payload of a publication.
    pub message_bytes: usize,
    /// Publications written together.
    pub burst: usize,
    /// Publications per second, or the next when all have the last.
    pub pace: Pace,
    /// Time before measuring.
    pub warm_up: Duration,
    /// Measured time.
    pub measured: Duration,
    /// The server's process.
    pub server: Option<Server>,
}

struct Run<'a> {
    plan: &'a FanoutPlan,
    request: Rc<[u8]>,
    lanes: Vec<Lane>,
    publisher: Option<ConnectionId>,
    publisher_ready: bool,
    served: usize,
    subscribers_lost: u64,
    first_failure: Option<String>,
    publish_failure: Option<SubscribeError>,
    /// Stamps older than this are left over from an earlier run.
    started_ns: u64,
    sequence: u64,
    tally: Tally,
    latencies: Recorder,
    last_delivery_ns: u64,
    lag: Histogram<u64>,
    control: Control,
    progress: Progress,
}

struct Lane {
    subscriber: Subscriber,
    ledger: Ledger,
}

/// Runs the plan.
pub fn run(plan: &FanoutPlan) -> Result<(FanoutReport, Latencies)> {
    let mut engine = Engine::new(plan.subscribers as u64 + 1).doing("create a ring")?;
    let mut run = Run::new(plan)?;
    let memory = MemorySample::now(plan.server.as_ref())?;
    run.connect(&mut engine)?;
    let memory = MemoryPerConnection::between(
        &memory,
        &MemorySample::now(plan.server.as_ref())?,
        plan.subscribers as u64,
    );
    run.load(&mut engine, plan.warm_up)?;
    run.restart();
    let (before, thread) = (Mark::now(plan.server.as_ref())?, ThreadMark::now()?);
    run.load(&mut engine, plan.measured)?;
    let (used, after) = (thread.until_now()?, Mark::now(plan.server.as_ref())?);
    if run.tally.delivered == 0 {
        return Err(ServerFault::Silent.into());
    }
    Ok(run.report(&before, &after, used, memory))
}

impl<'a> Run<'a> {
    fn new(plan: &'a FanoutPlan) -> Result<Self> {
        Ok(Self {
            plan,
            request: Subscriber::request(plan.transport, &plan.target).into(),
            lanes: Vec::with_capacity(plan.subscribers + 1),
            publisher: None,
            publisher_ready: false,
            served: 0,
            subscribers_lost: 0,
            first_failure: None,
            publish_failure: None,
            started_ns: monotonic_ns(),
            sequence: 0,
            tally: Tally::default(),
            latencies: Recorder::new(monotonic_ns(), plan.measured),
            last_delivery_ns: 0,
            lag: histogram(),
            control: Control::new().doing("watch for Ctrl-C")?,
            progress: Progress::new(),
        })
    }

    /// Connects every subscriber, a few hundred at a time, and then the publisher.
    fn connect(&mut self, engine: &mut Engine) -> Result<()> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let asked = self.plan.subscribers;
        let route = Route { target: self.plan.address, source: None };
        while self.served < asked
            && self.subscribers_lost == 0
            && Instant::now() < deadline
            && !self.control.is_stopped()
        {
            while self.lanes.len() < asked && self.lanes.len() - self.served < IN_FLIGHT {
                engine.io.open(&route).doing("open a connection")?;
                self.lanes.push(Lane::new(self.plan.transport));
            }
            self.turn(engine, until(deadline, TURN))?;
        }
        if self.served < asked {
            let why = self.first_failure.clone();
            return Err(ServerFault::NotServed { served: self.served, asked, why }.into());
        }
        self.turn_until(engine, Instant::now() + SETTLE, |_| false)?;
        self.connect_publisher(engine, deadline)
    }

    fn connect_publisher(&mut self, engine: &mut Engine, deadline: Instant) -> Result<()> {
        let route = Route { target: self.plan.publish_address, source: None };
        self.publisher = Some(engine.io.open(&route).doing("open the publisher's connection")?);
        self.lanes.push(Lane::new(match self.plan.publish.scheme {
            Scheme::Tcp => Transport::Tcp,
            Scheme::WebSocket => Transport::Ws,
            Scheme::Http => Transport::Poll,
        }));
        self.turn_until(engine, deadline, |run| run.publisher_ready)?;
        if self.publisher_ready {
            return Ok(());
        }
        Err(ServerFault::NotServed { served: 0, asked: 1, why: self.first_failure.clone() }.into())
    }

    fn load(&mut self, engine: &mut Engine, time: Duration) -> Result<()> {
        match self.plan.pace {
            Pace::Open(rate) => self.load_open(engine, time, rate / self.plan.burst as f64),
            Pace::Closed => self.load_closed(engine, time),
        }
    }

    fn load_closed(&mut self, engine: &mut Engine, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.control.is_stopped() {
            self.publish(&mut engine.io, monotonic_ns())?;
            self.drain(engine)?;
        }
        Ok(())
    }

    fn load_open(&mut self, engine: &mut Engine, time: Duration, bursts_per_second: f64) -> Result<()> {
        let (start, start_ns) = (Instant::now(), monotonic_ns());
        let bursts = (time.as_secs_f64() * bursts_per_second).ceil() as u64;
        for burst in 0..bursts {
            let due = Duration::from_secs_f64(burst as f64 / bursts_per_second);
            self.turn_until(engine, start + due, |run| run.control.is_stopped())?;
            if self.control.is_stopped() {
                break;
            }
            self.lag.saturating_record((start.elapsed().saturating_sub(due).as_micros() as u64).max(1));
            self.publish(&mut engine.io, start_ns + due.as_nanos() as u64)?;
            self.turn(engine, Duration::ZERO)?;
        }
        self.drain(engine)
    }

    /// Waits until everything published has arrived everywhere, or nothing has for [`DELIVERY_TIMEOUT`].
    fn drain(&mut self, engine: &mut Engine) -> Result<()> {
        let mut seen = self.tally.delivered;
        let mut deadline = Instant::now() + DELIVERY_TIMEOUT;
        while self.tally.delivered < self.expected() && !self.control.is_stopped() {
            self.turn(engine, until(deadline, TURN))?;
            if self.tally.delivered > seen {
                seen = self.tally.delivered;
                deadline = Instant::now() + DELIVERY_TIMEOUT;
            } else if Instant::now() >= deadline {
                // What is missing stays missing: it shows in the report, and the next round is not held up by it.
                break;
            }
        }
        Ok(())
    }

    fn expected(&self) -> u64 {
        self.sequence * (self.plan.subscribers as u64 - self.subscribers_lost)
    }

    /// Sends one burst in one write.
    fn publish(&mut self, io: &mut Io, intended_ns: u64) -> Result<()> {
        let mut bytes = Vec::with_capacity(self.plan.burst * (self.plan.message_bytes + 256));
        for _ in 0..self.plan.burst {
            let stamp = Stamp { sequence: self.sequence, sent_ns: intended_ns };
            let message = stamp.encode(self.plan.message_bytes);
            bytes.extend(match self.plan.publish.scheme {
                Scheme::Tcp => message,
                Scheme::WebSocket => encode_message(Opcode::Text, &message),
                Scheme::Http => request::encode_publish(&self.plan.publish, &message),
            });
            self.sequence += 1;
        }
        if let Some(error) = self.publish_failure {
            return Err(ServerFault::PublishRefused(error).into());
        }
        let lost = || ServerFault::AllLost(self.first_failure.clone());
        let publisher = self.publisher.ok_or_else(lost)?;
        io.send(publisher, &bytes).map_err(|_| lost().into())
    }

    fn turn_until(
        &mut self,
        engine: &mut Engine,
        deadline: Instant,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        while Instant::now() < deadline && !done(self) {
            self.turn(engine, until(deadline, TURN))?;
        }
        Ok(())
    }

    fn turn(&mut self, engine: &mut Engine, timeout: Duration) -> Result<()> {
        engine.turn(timeout, |io, id, event| self.handle(io, id, event)).doing("wait for events")?;
        let (served, delivered) = (self.served, self.tally.delivered);
        self.progress.tell(delivered, |rate| {
            format!("{served} connected, {rate:.0} deliveries/s, p99 {} µs", self.latencies.p99_us_now())
        });
        if self.subscribers_lost == self.plan.subscribers as u64 {
            return Err(ServerFault::AllLost(self.first_failure.clone()).into());
        }
        Ok(())
    }

    fn handle(&mut self, io: &mut Io, id: ConnectionId, event: Event<'_>) {
        match event {
            Event::Received(bytes) if self.publisher == Some(id) => self.receive_answer(io, id, bytes),
            Event::Received(bytes) => self.receive(io, id, bytes),
            Event::Connected if self.publisher == Some(id) => {
                if self.plan.publish.scheme == Scheme::WebSocket {
                    drop(io.send(id, &Subscriber::request(Transport::Ws, &self.plan.publish)));
                } else {
                    self.publisher_ready = true;
                }
            }
            Event::Connected => {
                if self.plan.transport == Transport::Tcp {
                    self.served += 1;
                } else if !self.send_request(io, id) {
                    self.lose(io, id, describe(None));
                } else if self.plan.transport == Transport::Poll {
                    // Nothing tells that a poll is parked but the silence that follows.
                    self.served += 1;
                }
            }
            Event::Closed(error) => self.lose(io, id, describe(error.as_ref())),
        }
    }

    fn send_request(&self, io: &mut Io, id: ConnectionId) -> bool {
        if self.plan.target.is_numbered() {
            let target = self.plan.target.numbered(u64::from(id.index));
            return io.send(id, &Subscriber::request(self.plan.transport, &target)).is_ok();
        }
        io.send_shared(id, &self.request).is_ok()
    }

    fn receive(&mut self, io: &mut Io, id: ConnectionId, bytes: &mut [u8]) {
        let lane = &mut self.lanes[id.index as usize];
        let (mut served, mut closing, mut again) = (false, false, None);
        let now_ns = monotonic_ns();
        let result = lane.subscriber.handle(bytes, |notice| match notice {
            Notice::Message(data) => Stamp::find_all(data, |stamp| {
                if stamp.sent_ns >= self.started_ns {
                    lane.ledger.enter(stamp.sequence, &mut self.tally);
                    self.latencies.record(now_ns, now_ns.saturating_sub(stamp.sent_ns));
                    self.last_delivery_ns = now_ns;
                }
            }),
            Notice::Served => served = true,
            Notice::Reply(reply) => drop(io.send(id, &reply)),
            Notice::Answered(position) => again = Some(position),
            Notice::Closing => closing = true,
        });
        self.served += usize::from(served && self.plan.transport != Transport::Poll);
        match result {
            Err(error) => self.lose(io, id, error.to_string()),
            Ok(()) if closing => self.lose(io, id, "the server sent a close frame".to_owned()),
            Ok(()) => {
                if let Some(position) = again {
                    drop(io.send(
                        id,
                        &request::encode_poll(
                            &self.plan.target.numbered(u64::from(id.index)),
                            position.as_deref(),
                        ),
                    ));
                }
            }
        }
    }

    fn receive_answer(&mut self, io: &mut Io, id: ConnectionId, bytes: &mut [u8]) {
        let lane = &mut self.lanes[id.index as usize];
        let result = lane.subscriber.handle(bytes, |notice| match notice {
            Notice::Served => self.publisher_ready = true,
            Notice::Reply(reply) => drop(io.send(id, &reply)),
            Notice::Message(_) | Notice::Answered(_) | Notice::Closing => {}
        });
        if let Err(error) = result {
            self.publish_failure = Some(error);
        }
    }

    fn lose(&mut self, io: &mut Io, id: ConnectionId, why: String) {
        io.close(id);
        self.first_failure.get_or_insert(why);
        if self.publisher == Some(id) {
            self.publisher = None;
        } else {
            self.subscribers_lost += 1;
        }
    }

    /// Forgets the warm-up, including what of it might still be on its way.
    fn restart(&mut self) {
        self.started_ns = monotonic_ns();
        self.sequence = 0;
        self.tally = Tally::default();
        self.latencies = Recorder::new(self.started_ns, self.plan.measured);
        self.lag.clear();
        for lane in &mut self.lanes {
            lane.ledger = Ledger::default();
        }
    }

    fn report(
        self,
        before: &Mark,
        after: &Mark,
        used: ThreadUse,
        memory: MemoryPerConnection,
    ) -> (FanoutReport, Latencies) {
        let plan = self.plan;
        let to_last_delivery = self.last_delivery_ns.saturating_sub(before.at_ns) as f64 / 1e9;
        // A schedule's last interval belongs to it even if all is delivered earlier.
        let scheduled = plan.pace.asked().map_or(0.0, |rate| self.sequence as f64 / rate);
        let seconds = to_last_delivery.max(scheduled);
        let per_second = |count: u64| count as f64 / seconds;
        let expected = self.sequence * plan.subscribers as u64;
        let lost = expected.saturating_sub(self.tally.delivered);
        let latencies = self.latencies.finish();
        let faults = [
            (lost, "deliveries were lost"),
            (self.tally.duplicates, "deliveries came twice"),
            (self.tally.reordered, "deliveries came out of order"),
            (self.subscribers_lost, "subscribers were lost"),
        ];
        let measured = Measured::new(Evidence {
            pace: plan.pace,
            achieved: per_second(self.sequence),
            clients: &ThreadUse::shares(&[used], self.tally.delivered),
            core_wait: ThreadUse::core_wait(&[used]),
            server_cores: before.server_busiest_until(after),
            lag: summarize(&self.lag),
            latency: latencies.summary(),
            faults: &faults,
            is_stopped: self.control.is_stopped(),
        })
        .with_times(seconds, &latencies)
        .with_server(before.server_share_until(after, self.tally.delivered))
        .with_memory(memory);
        let report = FanoutReport {
            scenario: "fanout",
            url: plan.target.to_string(),
            subscribers: plan.subscribers,
            message_bytes: plan.message_bytes,
            burst: plan.burst,
            publications: self.sequence,
            publications_per_second_asked: plan.pace.asked(),
            publications_per_second: per_second(self.sequence),
            expected,
            tally: self.tally,
            lost,
            subscribers_lost: self.subscribers_lost,
            deliveries_per_second: per_second(self.tally.delivered),
            measured,
        };
        (report, latencies)
    }
}

impl Lane {
    fn new(transport: Transport) -> Self {
        Self { subscriber: Subscriber::new(transport), ledger: Ledger::default() }
    }
}
