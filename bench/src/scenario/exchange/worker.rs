//! One thread of an exchange: its ring, its share of the connections, its part of the schedule.
//!
//! Invariant: `intended` of a lane holds the times of all messages that are due on it and not answered, oldest first;
//! the first `sent` of them are on their way.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{
    Exchange, ExchangePlan,
    dialogue::{Dialogue, Reply, Script},
};
use crate::{
    crew::plan::Share,
    endpoint::CLOSED,
    engine::{ConnectionId, Engine, Event, Io},
    error::{Doing, Result},
    host::clock::monotonic_ns,
    latency::Recorder,
    load::{
        control::{Control, News},
        pace::{Pace, Schedule},
        window::Window,
    },
    scenario::{
        crowd::{Crowd, Place},
        describe,
        team::{Member, Record, STOPPED_DRAIN_TIMEOUT, Standing, TURN},
        until,
    },
};

/// Messages sent between two looks at what has arrived.
const SENDS_PER_TURN: usize = 512;
/// Messages that may wait for one connection; more are counted as never sent.
const WAITING_MAX: usize = 4096;
/// How long the last replies may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What one worker counted.
#[derive(Default)]
pub struct Counts {
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
}

pub struct Worker<'a> {
    plan: &'a ExchangePlan,
    control: &'a Control,
    share: &'a Share,
    script: Script,
    crowd: Crowd<Lane>,
    window: Window,
    schedule: Option<Schedule>,
    is_sending: bool,
    recorder: Recorder,
    news: News<'a>,
    record: Record,
    counts: Counts,
}

struct Lane {
    dialogue: Dialogue,
    sent: usize,
    intended: VecDeque<u64>,
}

impl<'a> Worker<'a> {
    pub fn new(plan: &'a ExchangePlan, index: usize, control: &'a Control) -> Self {
        let script = match plan.exchange {
            Exchange::Echo { bytes } => Script::echo(&plan.endpoint, bytes),
            Exchange::Http { post_bytes } => Script::http(&plan.endpoint.target, post_bytes),
        };
        Self {
            plan,
            control,
            share: &plan.shares[index],
            script,
            crowd: Crowd::new(),
            window: Window::NEVER,
            schedule: None,
            is_sending: false,
            recorder: Recorder::new(0, Duration::ZERO),
            news: News::new(control),
            record: Record::default(),
            counts: Counts::default(),
        }
    }
}

impl Member for Worker<'_> {
    type Found = Counts;

    fn room(&self) -> u64 {
        self.share.connections
    }

    fn standing(&self) -> Standing {
        self.crowd.standing(self.share.connections)
    }

    fn open_next(&mut self, io: &mut Io) {
        let dialogue = Dialogue::new(&self.script);
        let number = self.crowd.enter(Lane { dialogue, sent: 0, intended: VecDeque::new() });
        let route = self.plan.endpoint.route(self.share.source(number as u64));
        self.crowd.open(io, number, &route);
    }

    fn begin(&mut self, start_ns: u64, window: Window) {
        self.window = window;
        self.recorder = Recorder::new(window.from_ns, self.plan.timing.measured);
        self.schedule = self.plan.pace.shared_by(self.plan.shares.len()).schedule(start_ns);
        self.is_sending = true;
    }

    fn live_until(&mut self, engine: &mut Engine, end_ns: u64) -> Result<()> {
        if self.plan.pace == Pace::Closed {
            for number in 0..self.crowd.places().len() {
                if self.crowd.place(number).client.intended.is_empty() {
                    self.ask(&mut engine.io, number, monotonic_ns());
                }
            }
        }
        loop {
            let now_ns = monotonic_ns();
            if self.control.is_stopped() {
                return Ok(());
            }
            let next_ns = self.send_due(&mut engine.io, now_ns);
            // A thread that was kept from its core past the end still sends what was due before it.
            if now_ns >= end_ns && next_ns >= end_ns {
                return Ok(());
            }
            let wait_ns = next_ns.min(end_ns).saturating_sub(now_ns);
            self.turn(engine, Duration::from_nanos(wait_ns).min(TURN))?;
        }
    }

    /// Waits for the replies to what was sent in the window.
    fn drain(&mut self, engine: &mut Engine) -> Result<()> {
        self.is_sending = false;
        let window = self.window;
        for place in self.crowd.places_mut() {
            let lane = &mut place.client;
            // In a closed loop what was sent last may lie beyond the window; it is not waited for.
            while lane.intended.len() > lane.sent && lane.intended.back().is_some_and(|at| !window.holds(*at))
            {
                lane.intended.pop_back();
            }
        }
        let is_stopped = self.control.is_stopped();
        let deadline = Instant::now() + if is_stopped { STOPPED_DRAIN_TIMEOUT } else { DRAIN_TIMEOUT };
        let is_waiting = |place: &Place<Lane>| place.id.is_some() && !place.client.intended.is_empty();
        while self.crowd.places().iter().any(is_waiting) && Instant::now() < deadline {
            self.turn(engine, until(deadline, TURN))?;
        }
        Ok(())
    }

    fn turn(&mut self, engine: &mut Engine, timeout: Duration) -> Result<()> {
        let before = self.counts.replies;
        engine.turn(timeout, |io, id, event| self.handle(io, id, event)).doing("wait for events")?;
        self.news.tell(self.counts.replies - before, &self.recorder);
        Ok(())
    }

    fn finish(mut self, window: Window) -> (Record, Counts) {
        let waiting = self.crowd.places().iter().flat_map(|place| &place.client.intended);
        self.counts.unanswered = waiting.filter(|at_ns| window.holds(**at_ns)).count() as u64;
        self.counts.lost = self.crowd.lost;
        self.record.latencies = self.recorder.finish();
        for (why, count) in self.crowd.failures {
            *self.record.failures.entry(why).or_default() += count;
        }
        (self.record, self.counts)
    }
}

impl Worker<'_> {
    /// Sends what is due; tells when more will be.
    fn send_due(&mut self, io: &mut Io, now_ns: u64) -> u64 {
        let Some(mut schedule) = self.schedule else { return u64::MAX };
        for _ in 0..SENDS_PER_TURN {
            let due_ns = schedule.due_ns();
            if due_ns > now_ns || due_ns >= self.window.to_ns {
                break;
            }
            if self.window.holds(due_ns) {
                self.record.lag.saturating_record(((now_ns - due_ns) / 1000).max(1));
            }
            let number = schedule.number() as usize % self.crowd.places().len();
            self.ask(io, number, due_ns);
            schedule.advance();
        }
        self.schedule = Some(schedule);
        schedule.due_ns()
    }

    /// A message for this lane is due: it goes out now, or when the lane is free.
    #[inline]
    fn ask(&mut self, io: &mut Io, number: usize, intended_ns: u64) {
        let place = self.crowd.place(number);
        if place.client.intended.len() >= WAITING_MAX || place.id.is_none() {
            self.counts.unsent += u64::from(self.window.holds(intended_ns));
            return;
        }
        place.client.intended.push_back(intended_ns);
        self.send_waiting(io, number);
    }

    #[inline]
    fn send_waiting(&mut self, io: &mut Io, number: usize) {
        let place = self.crowd.place(number);
        let Some(id) = place.id else { return };
        let lane = &mut place.client;
        while lane.sent < lane.intended.len() && lane.sent < self.script.under_way_max {
            if let Err(error) = io.send_shared(id, &self.script.message) {
                return self.lose(io, number, error.to_string());
            }
            lane.sent += 1;
        }
    }

    fn handle(&mut self, io: &mut Io, id: ConnectionId, event: Event<'_>) {
        let number = self.crowd.number_of(id);
        match event {
            Event::Received(bytes) => self.receive(io, number, bytes),
            Event::Connected if self.crowd.place(number).client.dialogue.is_served_at_once() => {
                self.serve(number)
            }
            Event::Connected => {
                if io.send(id, &self.plan.endpoint.request(number as u64)).is_err() {
                    self.lose(io, number, CLOSED.to_owned());
                }
            }
            Event::Closed(error) => self.lose(io, number, describe(error.as_ref())),
        }
    }

    fn receive(&mut self, io: &mut Io, number: usize, bytes: &mut [u8]) {
        let now_ns = monotonic_ns();
        let Place { id, client: lane, .. } = self.crowd.place(number);
        let (mut served, mut closing, mut wrong_status) = (false, false, None);
        let (mut right, mut wrong) = (0, 0);
        let result = lane.dialogue.handle(&self.script, bytes, |reply| match reply {
            Reply::Right => right += 1,
            Reply::Wrong(status) => {
                wrong += 1;
                wrong_status = status;
            }
            Reply::Served => served = true,
            Reply::Send(reply) => drop(id.map(|id| io.send(id, &reply))),
            Reply::Closing => closing = true,
        });
        if served {
            self.serve(number);
        }
        for index in 0..right + wrong {
            self.finish(number, now_ns, index < right);
        }
        if let Some(status) = wrong_status {
            *self.record.failures.entry(format!("answered {status}")).or_default() += 1;
        }
        match result {
            Err(error) => self.lose(io, number, error.to_string()),
            Ok(()) if closing => self.lose(io, number, CLOSED.to_owned()),
            Ok(()) => self.go_on(io, number, now_ns),
        }
    }

    /// Enters one reply.
    #[inline]
    fn finish(&mut self, number: usize, now_ns: u64, is_right: bool) {
        let lane = &mut self.crowd.place(number).client;
        // A reply nobody asked for is wrong, whatever it says.
        let Some(intended_ns) = lane.intended.pop_front() else {
            self.counts.wrong += 1;
            return;
        };
        lane.sent = lane.sent.saturating_sub(1);
        if self.window.holds(intended_ns) {
            self.recorder.record(now_ns, now_ns - intended_ns);
            self.counts.replies += u64::from(is_right);
            self.counts.wrong += u64::from(!is_right);
            self.record.last_ns = now_ns;
        }
    }

    #[inline]
    fn go_on(&mut self, io: &mut Io, number: usize, now_ns: u64) {
        if self.plan.pace == Pace::Closed
            && self.is_sending
            && self.crowd.place(number).client.intended.is_empty()
        {
            self.ask(io, number, now_ns);
        } else {
            self.send_waiting(io, number);
        }
    }

    fn serve(&mut self, number: usize) {
        if self.crowd.serve(number) {
            self.control.connected.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lose(&mut self, io: &mut Io, number: usize, why: String) {
        self.control.tell_failure(&why);
        self.crowd.lose(io, number, why);
    }
}
