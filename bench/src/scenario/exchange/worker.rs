//! One thread of an exchange: its ring, its share of the connections, its part of the schedule.
//!
//! Invariant: `intended` of a lane holds the times of all messages that are due on it and not answered, oldest first;
//! the first `sent` of them are on their way.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Barrier, atomic::Ordering},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{
    Exchange, ExchangePlan,
    dialogue::{Dialogue, Reply, Script},
};
use crate::{
    crew::plan::Share,
    engine::{ConnectionId, Engine, Event, Io, Route},
    error::{Doing, Result},
    host::clock::monotonic_ns,
    latency::{Latencies, Recorder, histogram},
    load::{
        control::Control,
        pace::{Pace, Schedule},
        window::Window,
    },
    scenario::{CONNECT_TIMEOUT, ThreadMark, ThreadUse, describe, until},
};

/// How long one turn waits when nothing happens.
const TURN: Duration = Duration::from_millis(20);
/// How often the live line's percentile is brought up to date.
const TELL_INTERVAL: Duration = Duration::from_millis(300);
/// Connections on their way at once.
const IN_FLIGHT: usize = 256;
/// Messages sent between two looks at what has arrived.
const SENDS_PER_TURN: usize = 512;
/// Messages that may wait for one connection; more are counted as never sent.
const WAITING_MAX: usize = 4096;
/// How long the last replies may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What one worker found.
pub struct Found {
    /// Round trips from the intended time.
    pub latencies: Latencies,
    /// How late messages were sent.
    pub lag: Histogram<u64>,
    /// Replies that were right.
    pub replies: u64,
    /// Replies that were not what was asked for.
    pub wrong: u64,
    /// Messages without a reply.
    pub unanswered: u64,
    /// Messages that were due while thousands waited.
    pub unsent: u64,
    /// Connections lost, or never made.
    pub lost: u64,
    /// Why, and how often.
    pub failures: BTreeMap<String, u64>,
    /// When the last reply came.
    pub last_reply_ns: u64,
    /// The part of the run that counts, as this worker saw it.
    pub window: Window,
    /// This thread's CPU.
    pub used: ThreadUse,
}

pub struct Worker<'a> {
    plan: &'a ExchangePlan,
    control: &'a Control,
    share: &'a Share,
    script: Script,
    lanes: Vec<Lane>,
    /// Where each lane is, by the engine's index.
    lane_of: Vec<u32>,
    pending: usize,
    served: u64,
    window: Window,
    schedule: Option<Schedule>,
    is_sending: bool,
    recorder: Recorder,
    tell_due: Instant,
    found: Found,
}

struct Lane {
    id: Option<ConnectionId>,
    dialogue: Dialogue,
    is_served: bool,
    sent: usize,
    intended: VecDeque<u64>,
}

impl<'a> Worker<'a> {
    pub fn new(plan: &'a ExchangePlan, share: &'a Share, control: &'a Control) -> Self {
        let script = match plan.exchange {
            Exchange::Echo { bytes } => Script::echo(&plan.target, bytes),
            Exchange::Http { post_bytes } => Script::http(&plan.target, post_bytes),
        };
        let found = Found {
            latencies: Latencies::none(),
            lag: histogram(),
            replies: 0,
            wrong: 0,
            unanswered: 0,
            unsent: 0,
            lost: 0,
            failures: BTreeMap::new(),
            last_reply_ns: 0,
            window: Window::new(0, Duration::ZERO, Duration::ZERO),
            used: ThreadUse::default(),
        };
        Self {
            plan,
            control,
            share,
            script,
            lanes: Vec::new(),
            lane_of: Vec::new(),
            pending: 0,
            served: 0,
            window: Window::new(0, Duration::ZERO, Duration::ZERO),
            schedule: None,
            is_sending: false,
            recorder: Recorder::new(0, Duration::ZERO),
            tell_due: Instant::now(),
            found,
        }
    }

    /// Connects, waits for the others, exchanges until the window ends.
    pub fn run(mut self, gate: &Barrier) -> Result<Found> {
        let engine = Engine::new(self.share.connections).doing("create a ring");
        // Memory is read between the two: a ring's buffers are no connection's.
        gate.wait();
        gate.wait();
        let mut engine = engine?;
        self.connect(&mut engine)?;
        self.control.ready.fetch_add(1, Ordering::AcqRel);
        let start_ns = loop {
            if let Some(start_ns) = self.control.start_ns() {
                break start_ns;
            }
            if self.control.is_stopped() {
                return Ok(self.found);
            }
            self.turn(&mut engine, TURN)?;
        };
        self.begin(start_ns);
        self.exchange_until(&mut engine, self.window.from_ns)?;
        let mark = ThreadMark::now()?;
        self.exchange_until(&mut engine, self.window.to_ns)?;
        self.window.cut(monotonic_ns());
        self.found.used = mark.until_now()?;
        self.drain(&mut engine)?;
        self.found.unanswered = self
            .lanes
            .iter()
            .flat_map(|lane| &lane.intended)
            .fold(0, |count, at_ns| count + u64::from(self.window.holds(*at_ns)));
        self.found.latencies = self.recorder.finish();
        self.found.window = self.window;
        Ok(self.found)
    }

    fn connect(&mut self, engine: &mut Engine) -> Result<()> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        while self.served + self.found.lost < self.share.connections
            && Instant::now() < deadline
            && !self.control.is_stopped()
        {
            while (self.lanes.len() as u64) < self.share.connections && self.pending < IN_FLIGHT {
                self.open(&mut engine.io);
            }
            self.turn(engine, until(deadline, TURN))?;
        }
        Ok(())
    }

    fn open(&mut self, io: &mut Io) {
        let number = self.lanes.len();
        let route = Route { target: self.plan.address, source: self.share.source(number as u64) };
        let dialogue = Dialogue::new(&self.script);
        let mut lane = Lane { id: None, dialogue, is_served: false, sent: 0, intended: VecDeque::new() };
        match io.open(&route) {
            Ok(id) => {
                lane.id = Some(id);
                let index = id.index as usize;
                self.lane_of.resize(self.lane_of.len().max(index + 1), 0);
                self.lane_of[index] = number as u32;
                self.pending += 1;
            }
            Err(error) => self.count_failure(error.to_string()),
        }
        self.lanes.push(lane);
    }

    fn begin(&mut self, start_ns: u64) {
        self.window = Window::new(start_ns, self.plan.warm_up, self.plan.measured);
        self.recorder = Recorder::new(self.window.from_ns, self.plan.measured);
        self.schedule = self.plan.pace.shared_by(self.plan.shares.len()).schedule(start_ns);
        self.is_sending = true;
    }

    fn exchange_until(&mut self, engine: &mut Engine, end_ns: u64) -> Result<()> {
        if self.plan.pace == Pace::Closed {
            for number in 0..self.lanes.len() {
                if self.lanes[number].intended.is_empty() {
                    self.ask(&mut engine.io, number, monotonic_ns());
                }
            }
        }
        loop {
            let now_ns = monotonic_ns();
            if now_ns >= end_ns || self.control.is_stopped() {
                return Ok(());
            }
            let wait_ns = self.send_due(&mut engine.io, now_ns).min(end_ns - now_ns);
            self.turn(engine, Duration::from_nanos(wait_ns).min(TURN))?;
        }
    }

    /// Sends what is due; tells how long it is until more is.
    fn send_due(&mut self, io: &mut Io, now_ns: u64) -> u64 {
        let Some(mut schedule) = self.schedule else { return u64::MAX };
        for _ in 0..SENDS_PER_TURN {
            let due_ns = schedule.due_ns();
            if due_ns > now_ns {
                break;
            }
            if due_ns >= self.window.to_ns {
                self.schedule = Some(schedule);
                return u64::MAX;
            }
            if self.window.holds(due_ns) {
                self.found.lag.saturating_record(((now_ns - due_ns) / 1000).max(1));
            }
            let number = schedule.number() as usize % self.lanes.len();
            self.ask(io, number, due_ns);
            schedule.advance();
        }
        self.schedule = Some(schedule);
        schedule.due_ns().saturating_sub(now_ns)
    }

    /// A message for this lane is due: it goes out now, or when the lane is free.
    #[inline]
    fn ask(&mut self, io: &mut Io, number: usize, intended_ns: u64) {
        let lane = &mut self.lanes[number];
        if lane.intended.len() >= WAITING_MAX || lane.id.is_none() {
            self.found.unsent += u64::from(self.window.holds(intended_ns));
            return;
        }
        lane.intended.push_back(intended_ns);
        self.send_waiting(io, number);
    }

    #[inline]
    fn send_waiting(&mut self, io: &mut Io, number: usize) {
        let lane = &mut self.lanes[number];
        let Some(id) = lane.id else { return };
        while lane.sent < lane.intended.len() && lane.sent < self.script.under_way_max {
            if let Err(error) = io.send_shared(id, &self.script.message) {
                return self.lose(io, number, error.to_string());
            }
            lane.sent += 1;
        }
    }

    /// Waits for the replies to what was sent in the window.
    fn drain(&mut self, engine: &mut Engine) -> Result<()> {
        self.is_sending = false;
        for lane in &mut self.lanes {
            // In a closed loop what was sent last may lie beyond the window; it is not waited for.
            let window = self.window;
            while lane.intended.len() > lane.sent && lane.intended.back().is_some_and(|at| !window.holds(*at))
            {
                lane.intended.pop_back();
            }
        }
        let deadline = Instant::now() + if self.control.is_stopped() { TURN } else { DRAIN_TIMEOUT };
        while self.lanes.iter().any(|lane| lane.id.is_some() && !lane.intended.is_empty())
            && Instant::now() < deadline
        {
            self.turn(engine, until(deadline, TURN))?;
        }
        Ok(())
    }

    fn turn(&mut self, engine: &mut Engine, timeout: Duration) -> Result<()> {
        let before = self.found.replies;
        engine.turn(timeout, |io, id, event| self.handle(io, id, event)).doing("wait for events")?;
        let after = self.found.replies;
        if after > before {
            self.control.replies.fetch_add(after - before, Ordering::Relaxed);
            if self.tell_due <= Instant::now() {
                self.tell_due = Instant::now() + TELL_INTERVAL;
                self.control.p99_us.store(self.recorder.p99_us_now(), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn handle(&mut self, io: &mut Io, id: ConnectionId, event: Event<'_>) {
        let number = self.lane_of[id.index as usize] as usize;
        match event {
            Event::Received(bytes) => self.receive(io, number, bytes),
            Event::Connected if self.lanes[number].dialogue.is_served_at_once() => self.serve(number),
            Event::Connected => {
                if io.send(id, &self.script.opening(&self.plan.target.numbered(number as u64))).is_err() {
                    self.lose(io, number, describe(None));
                }
            }
            Event::Closed(error) => self.lose(io, number, describe(error.as_ref())),
        }
    }

    fn receive(&mut self, io: &mut Io, number: usize, bytes: &mut [u8]) {
        let now_ns = monotonic_ns();
        let lane = &mut self.lanes[number];
        let (mut served, mut closing, mut wrong_status) = (false, false, None);
        let (mut right, mut wrong) = (0, 0);
        let result = lane.dialogue.handle(&self.script, bytes, |reply| match reply {
            Reply::Right => right += 1,
            Reply::Wrong(status) => {
                wrong += 1;
                wrong_status = status;
            }
            Reply::Served => served = true,
            Reply::Send(reply) => drop(lane.id.map(|id| io.send(id, &reply))),
            Reply::Closing => closing = true,
        });
        if served {
            self.serve(number);
        }
        for index in 0..right + wrong {
            self.finish(number, now_ns, index < right);
        }
        if let Some(status) = wrong_status {
            *self.found.failures.entry(format!("answered {status}")).or_default() += 1;
        }
        match result {
            Err(error) => self.lose(io, number, error.to_string()),
            Ok(()) if closing => self.lose(io, number, describe(None)),
            Ok(()) => self.go_on(io, number, now_ns),
        }
    }

    /// Enters one reply.
    #[inline]
    fn finish(&mut self, number: usize, now_ns: u64, is_right: bool) {
        let lane = &mut self.lanes[number];
        // A reply nobody asked for is wrong, whatever it says.
        let Some(intended_ns) = lane.intended.pop_front() else {
            self.found.wrong += 1;
            return;
        };
        lane.sent = lane.sent.saturating_sub(1);
        if self.window.holds(intended_ns) {
            self.recorder.record(now_ns, now_ns - intended_ns);
            self.found.replies += u64::from(is_right);
            self.found.wrong += u64::from(!is_right);
            self.found.last_reply_ns = now_ns;
        }
    }

    #[inline]
    fn go_on(&mut self, io: &mut Io, number: usize, now_ns: u64) {
        if self.plan.pace == Pace::Closed && self.is_sending && self.lanes[number].intended.is_empty() {
            self.ask(io, number, now_ns);
        } else {
            self.send_waiting(io, number);
        }
    }

    fn serve(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        if !lane.is_served {
            lane.is_served = true;
            self.pending -= 1;
            self.served += 1;
            self.control.connected.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lose(&mut self, io: &mut Io, number: usize, why: String) {
        let lane = &mut self.lanes[number];
        let Some(id) = lane.id.take() else { return };
        io.close(id);
        if !lane.is_served {
            self.pending -= 1;
        }
        self.count_failure(why);
    }

    fn count_failure(&mut self, why: String) {
        self.found.lost += 1;
        *self.found.failures.entry(why).or_default() += 1;
    }
}
