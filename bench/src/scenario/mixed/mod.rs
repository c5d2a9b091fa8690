//! `mixed`: a described population on one thread: some are silent, some talk on a schedule, some come and go.
//!
//! A message carries its sender and the time it was meant to be sent, so that every connection that receives it knows
//! how long it took, and its sender knows that it came back. Latency is that of all deliveries; where nobody talks, that
//! of coming back.

pub mod description;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use roadstead::wire::websocket::Opcode;

use self::description::Description;
use super::{CONNECT_TIMEOUT, Mark, ThreadMark, ThreadUse, describe, until};
use crate::{
    engine::{ConnectionId, Engine, Event, Io, Route},
    error::{Doing, Result, ServerFault},
    host::{clock::monotonic_ns, server::Server},
    latency::{Latencies, Recorder, histogram, summarize},
    load::{
        control::Control,
        pace::{Pace, Schedule},
        progress::Progress,
        window::Window,
    },
    protocol::{
        request,
        stamp::Stamp,
        subscriber::{Notice, Subscriber, Transport, encode_message},
    },
    report::{Measured, MemoryPerConnection, MemorySample, MixedReport},
    target::Target,
    verdict::Evidence,
};

const TURN: Duration = Duration::from_millis(20);
const SETTLE: Duration = Duration::from_millis(300);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
const IN_FLIGHT: usize = 256;
/// Messages sent between two looks at what has arrived.
const SENDS_PER_TURN: usize = 256;

/// What to run.
pub struct MixedPlan {
    /// The population.
    pub description: Description,
    /// Each of its groups.
    pub groups: Vec<GroupPlan>,
    /// The server's process.
    pub server: Option<Server>,
}

/// One group.
pub struct GroupPlan {
    /// Connections.
    pub count: u64,
    /// Where it connects.
    pub target: Target,
    /// Its address.
    pub address: SocketAddr,
    /// How it receives.
    pub transport: Transport,
}

struct Run<'a> {
    plan: &'a MixedPlan,
    control: Control,
    progress: Progress,
    lanes: Vec<Lane>,
    lane_of: Vec<u32>,
    talk: Vec<Talk>,
    churn: Option<Schedule>,
    window: Window,
    recorder: Recorder,
    reconnects: Recorder,
    lag: Histogram<u64>,
    pending: usize,
    served: u64,
    counts: Counts,
    failures: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    returned: u64,
    /// Sent by connections that were closed before the message could come back.
    abandoned: u64,
    deliveries: u64,
    reconnects: u64,
    lost: u64,
}

struct Lane {
    group: usize,
    id: Option<ConnectionId>,
    subscriber: Subscriber,
    is_served: bool,
    opened_ns: u64,
    outstanding: u64,
}

/// A group's schedule.
struct Talk {
    first: usize,
    count: usize,
    bytes: usize,
    schedule: Schedule,
}

/// Runs the plan.
pub fn run(plan: &MixedPlan) -> Result<(MixedReport, Latencies)> {
    let mut engine = Engine::new(plan.description.connections).doing("create a ring")?;
    let memory = MemorySample::now(plan.server.as_ref())?;
    let mut run = Run::new(plan)?;
    run.connect(&mut engine)?;
    let connections = plan.description.connections;
    let memory =
        MemoryPerConnection::between(&memory, &MemorySample::now(plan.server.as_ref())?, connections);
    run.begin();
    run.live_until(&mut engine, run.window.from_ns)?;
    let (before, thread) = (Mark::now(plan.server.as_ref())?, ThreadMark::now()?);
    run.live_until(&mut engine, run.window.to_ns)?;
    let (used, after) = (thread.until_now()?, Mark::now(plan.server.as_ref())?);
    run.drain(&mut engine)?;
    Ok(run.report(&before, &after, used, memory))
}

impl<'a> Run<'a> {
    fn new(plan: &'a MixedPlan) -> Result<Self> {
        let nothing = || Recorder::new(0, Duration::ZERO);
        Ok(Self {
            plan,
            control: Control::new().doing("watch for Ctrl-C")?,
            progress: Progress::new(),
            lanes: Vec::new(),
            lane_of: Vec::new(),
            talk: Vec::new(),
            churn: None,
            window: Window::new(0, Duration::ZERO, Duration::ZERO),
            recorder: nothing(),
            reconnects: nothing(),
            lag: histogram(),
            pending: 0,
            served: 0,
            counts: Counts::default(),
            failures: BTreeMap::new(),
        })
    }

    fn connect(&mut self, engine: &mut Engine) -> Result<()> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let asked = self.plan.description.connections;
        let groups = self.plan.groups.iter().enumerate();
        let mut waiting = groups.flat_map(|(group, plan)| (0..plan.count).map(move |_| group)).peekable();
        while self.served < asked && Instant::now() < deadline && !self.control.is_stopped() {
            while self.pending < IN_FLIGHT {
                let Some(group) = waiting.next() else { break };
                let subscriber = Subscriber::new(self.plan.groups[group].transport);
                let lane =
                    Lane { group, id: None, subscriber, is_served: false, opened_ns: 0, outstanding: 0 };
                self.lanes.push(lane);
                self.open(&mut engine.io, self.lanes.len() - 1, monotonic_ns());
            }
            self.turn(engine, until(deadline, TURN))?;
            if self.counts.lost > 0 {
                break;
            }
        }
        if self.served < asked {
            let why = self.failures.keys().next().cloned();
            return Err(
                ServerFault::NotServed { served: self.served as usize, asked: asked as usize, why }.into()
            );
        }
        let settled = Instant::now() + SETTLE;
        while Instant::now() < settled {
            self.turn(engine, until(settled, TURN))?;
        }
        Ok(())
    }

    fn begin(&mut self) {
        let start_ns = monotonic_ns();
        let (warm_up, measured) = self.plan.description.times();
        self.window = Window::new(start_ns, warm_up, measured);
        self.recorder = Recorder::new(self.window.from_ns, measured);
        self.reconnects = Recorder::new(self.window.from_ns, measured);
        self.churn = Some(self.plan.description.churn_per_second)
            .filter(|rate| *rate > 0.0)
            .and_then(|rate| Pace::Open(rate).schedule(start_ns));
        let mut first = 0;
        for (group, plan) in self.plan.description.group.iter().zip(&self.plan.groups) {
            let rate = group.messages_per_second * plan.count as f64;
            if let Some(schedule) = Some(rate).filter(|rate| *rate > 0.0).map(Pace::Open) {
                let schedule = schedule.schedule(start_ns).expect("an open loop has a schedule");
                self.talk.push(Talk { first, count: plan.count as usize, bytes: group.bytes, schedule });
            }
            first += plan.count as usize;
        }
    }

    fn live_until(&mut self, engine: &mut Engine, end_ns: u64) -> Result<()> {
        loop {
            let now_ns = monotonic_ns();
            if now_ns >= end_ns || self.control.is_stopped() {
                return Ok(());
            }
            let next_ns = self.do_what_is_due(&mut engine.io, now_ns).min(end_ns);
            self.turn(engine, Duration::from_nanos(next_ns.saturating_sub(now_ns)).min(TURN))?;
        }
    }

    /// Sends, closes and opens what is due; tells when more will be.
    fn do_what_is_due(&mut self, io: &mut Io, now_ns: u64) -> u64 {
        let mut next_ns = u64::MAX;
        for index in 0..self.talk.len() {
            for _ in 0..SENDS_PER_TURN {
                let due_ns = self.talk[index].schedule.due_ns();
                if due_ns > now_ns {
                    break;
                }
                self.say(io, index, due_ns, now_ns);
            }
            next_ns = next_ns.min(self.talk[index].schedule.due_ns());
        }
        while let Some(schedule) = self.churn.filter(|schedule| schedule.due_ns() <= now_ns) {
            // A stride coprime to most counts visits everybody, not neighbours.
            let number = (schedule.number() * 7919) as usize % self.lanes.len();
            self.come_back(io, number, schedule.due_ns());
            self.churn.as_mut().expect("just seen").advance();
        }
        next_ns.min(self.churn.map_or(u64::MAX, |schedule| schedule.due_ns()))
    }

    fn say(&mut self, io: &mut Io, index: usize, due_ns: u64, now_ns: u64) {
        let talk = &mut self.talk[index];
        let number = talk.first + talk.schedule.number() as usize % talk.count;
        let sequence = (number as u64) << 32 | (talk.schedule.number() & 0xffff_ffff);
        talk.schedule.advance();
        let message = Stamp { sequence, sent_ns: due_ns }.encode(talk.bytes);
        let lane = &mut self.lanes[number];
        let Some(id) = lane.id.filter(|_| lane.is_served) else { return };
        if io.send(id, &encode_message(Opcode::Text, &message)).is_ok() && self.window.holds(due_ns) {
            lane.outstanding += 1;
            self.counts.sent += 1;
            self.lag.saturating_record(((now_ns - due_ns) / 1000).max(1));
        }
    }

    fn come_back(&mut self, io: &mut Io, number: usize, due_ns: u64) {
        let lane = &mut self.lanes[number];
        // Somebody still on the way back does not leave again.
        let Some(id) = lane.id.filter(|_| lane.is_served) else { return };
        io.close(id);
        self.counts.abandoned += std::mem::take(&mut lane.outstanding);
        self.served -= 1;
        self.open(io, number, due_ns);
    }

    fn open(&mut self, io: &mut Io, number: usize, since_ns: u64) {
        let lane = &mut self.lanes[number];
        let group = &self.plan.groups[lane.group];
        lane.subscriber = Subscriber::new(group.transport);
        lane.is_served = false;
        lane.opened_ns = since_ns;
        self.pending += 1;
        match io.open(&Route { target: group.address, source: None }) {
            Ok(id) => {
                lane.id = Some(id);
                let index = id.index as usize;
                self.lane_of.resize(self.lane_of.len().max(index + 1), 0);
                self.lane_of[index] = number as u32;
            }
            Err(error) => self.lose(io, number, error.to_string()),
        }
    }

    fn drain(&mut self, engine: &mut Engine) -> Result<()> {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let is_waiting = |run: &Self| {
            run.pending > 0
                || run.plan.description.messages_return
                    && run.counts.returned + run.counts.abandoned < run.counts.sent
        };
        while is_waiting(self) && Instant::now() < deadline && !self.control.is_stopped() {
            self.turn(engine, until(deadline, TURN))?;
        }
        Ok(())
    }

    fn turn(&mut self, engine: &mut Engine, timeout: Duration) -> Result<()> {
        engine.turn(timeout, |io, id, event| self.handle(io, id, event)).doing("wait for events")?;
        let (served, recorder) = (self.served, &self.recorder);
        self.progress.tell(self.counts.deliveries, |rate| {
            format!("{served} connected, {rate:.0} deliveries/s, p99 {} µs", recorder.p99_us_now())
        });
        Ok(())
    }

    fn handle(&mut self, io: &mut Io, id: ConnectionId, event: Event<'_>) {
        let number = self.lane_of[id.index as usize] as usize;
        match event {
            Event::Received(bytes) => self.receive(io, number, bytes),
            Event::Connected => {
                let group = &self.plan.groups[self.lanes[number].group];
                let opening = Subscriber::request(group.transport, &group.target.numbered(number as u64));
                drop(io.send(id, &opening));
                if matches!(group.transport, Transport::Poll | Transport::Tcp) {
                    self.serve(number);
                }
            }
            Event::Closed(error) => self.lose(io, number, describe(error.as_ref())),
        }
    }

    fn receive(&mut self, io: &mut Io, number: usize, bytes: &mut [u8]) {
        let now_ns = monotonic_ns();
        let lane = &mut self.lanes[number];
        let Some(id) = lane.id else { return };
        let (mut served, mut closing, mut again) = (false, false, None);
        let result = lane.subscriber.handle(bytes, |notice| match notice {
            Notice::Message(data) => Stamp::find_all(data, |stamp| {
                if self.window.holds(stamp.sent_ns) {
                    self.recorder.record(now_ns, now_ns.saturating_sub(stamp.sent_ns));
                    self.counts.deliveries += 1;
                    if stamp.sequence >> 32 == number as u64 && lane.outstanding > 0 {
                        lane.outstanding -= 1;
                        self.counts.returned += 1;
                    }
                }
            }),
            Notice::Served => served = true,
            Notice::Reply(reply) => drop(io.send(id, &reply)),
            Notice::Answered(position) => again = Some(position),
            Notice::Closing => closing = true,
        });
        if served {
            self.serve(number);
        }
        match result {
            Err(error) => self.lose(io, number, error.to_string()),
            Ok(()) if closing => self.lose(io, number, describe(None)),
            Ok(()) => {
                if let Some(position) = again {
                    let target = self.plan.groups[self.lanes[number].group].target.numbered(number as u64);
                    drop(io.send(id, &request::encode_poll(&target, position.as_deref())));
                }
            }
        }
    }

    fn serve(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        if lane.is_served {
            return;
        }
        lane.is_served = true;
        self.pending -= 1;
        self.served += 1;
        if self.window.holds(lane.opened_ns) {
            let now_ns = monotonic_ns();
            self.reconnects.record(now_ns, now_ns.saturating_sub(lane.opened_ns));
            self.counts.reconnects += 1;
        }
    }

    fn lose(&mut self, io: &mut Io, number: usize, why: String) {
        let lane = &mut self.lanes[number];
        if let Some(id) = lane.id.take() {
            io.close(id);
        }
        if lane.is_served {
            self.served -= 1;
        } else {
            self.pending -= 1;
        }
        lane.is_served = false;
        self.counts.lost += 1;
        *self.failures.entry(why).or_default() += 1;
    }

    fn report(
        self,
        before: &Mark,
        after: &Mark,
        used: ThreadUse,
        memory: MemoryPerConnection,
    ) -> (MixedReport, Latencies) {
        let counts = &self.counts;
        let (deliveries, reconnects) = (self.recorder.finish(), self.reconnects.finish());
        let time_to_return = reconnects.summary();
        let latencies = if self.talk.is_empty() { reconnects } else { deliveries };
        let missing = match self.plan.description.messages_return {
            true => counts.sent - counts.returned - counts.abandoned,
            false => 0,
        };
        let seconds = (after.at_ns - before.at_ns) as f64 / 1e9;
        let handled = counts.deliveries + counts.reconnects;
        let asked = self.talk.iter().map(|talk| talk.schedule.per_second()).fold(0.0, |sum, rate| sum + rate);
        let faults = [
            (counts.lost, "connections were lost"),
            (missing, "messages did not come back to their sender"),
            (self.pending as u64, "connections did not come back"),
        ];
        let measured = Measured::new(Evidence {
            pace: Pace::Open(asked),
            achieved: counts.sent as f64 / seconds,
            clients: &ThreadUse::shares(&[used], handled),
            core_wait: ThreadUse::core_wait(&[used]),
            server_cores: before.server_busiest_until(after),
            lag: summarize(&self.lag),
            latency: latencies.summary(),
            faults: &faults,
            is_stopped: self.control.is_stopped(),
        })
        .with_times(seconds, &latencies)
        .with_server(before.server_share_until(after, handled))
        .with_memory(memory);
        let report = MixedReport {
            scenario: "mixed",
            connections: self.plan.description.connections,
            groups: self.plan.description.group.iter().map(|group| group.name.clone()).collect(),
            messages_per_second_asked: asked,
            messages: counts.sent,
            returned: counts.returned,
            missing,
            deliveries: counts.deliveries,
            deliveries_per_second: counts.deliveries as f64 / seconds,
            reconnects: counts.reconnects,
            time_to_return,
            lost: counts.lost,
            failures: self.failures,
            measured,
        };
        (report, latencies)
    }
}
