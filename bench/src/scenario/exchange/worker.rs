//! One thread of an exchange: its ring, its share of the connections, its part of the schedule.
//!
//! Invariant: `intended` of a lane holds the times of all messages that are due on it and not answered, oldest first;
//! the first `sent` of them are on their way.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Exchange, ExchangePlan,
    dialogue::{Dialogue, Reply, Script, Wrong},
};
use crate::{
    crew::plan::Share,
    endpoint::{CLOSED, closed_for},
    engine::{ConnectionId, Engine, Event, Io, Route},
    error::{Doing, Result},
    host::clock::monotonic_ns,
    latency::Recorder,
    load::{
        control::{Control, News},
        pace::{Pace, Schedule},
        window::Window,
    },
    protocol::{deflate::Traffic, template::Requests},
    scenario::{
        crowd::{Crowd, Place},
        describe,
        observed::Record,
        team::{Member, STOPPED_DRAIN_TIMEOUT, Standing, TURN},
        until,
    },
};

/// Messages sent between two looks at what has arrived.
const SENDS_PER_TURN: usize = 512;
/// Messages that may wait for one connection; more are counted as never sent.
const WAITING_MAX: usize = 4096;
/// How long the last replies may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections in a row that a place may see closed in an orderly way before they brought one reply.
const FRUITLESS_MAX: u8 = 3;
/// Wrong replies after which, without a right one, no right one is to be expected.
const HOPELESS_WRONG: u64 = 50;

/// What one worker counted.
#[derive(Default, Serialize, Deserialize)]
pub struct Counts {
    /// Replies that were right.
    pub replies: u64,
    /// Replies that were not what was asked for.
    pub wrong: u64,
    /// Messages without a reply.
    pub unanswered: u64,
    /// Messages that were due while thousands waited.
    pub unsent: u64,
    /// Messages that were due when their connection had been lost.
    pub orphaned: u64,
    /// Connections lost, or never made.
    pub lost: u64,
    /// Connections the server closed in an orderly way, each followed by a new one.
    pub reconnects: u64,
    /// What came of offering compression.
    pub traffic: Traffic,
}

pub struct Worker<'a> {
    plan: &'a ExchangePlan,
    control: &'a Control,
    share: &'a Share,
    index: u64,
    sent_in_all: u64,
    script: Script,
    crowd: Crowd<Lane>,
    window: Window,
    schedule: Option<Schedule>,
    is_sending: bool,
    is_over: bool,
    /// Places whose next connection is still to be opened.
    returning: VecDeque<usize>,
    /// Replies of the whole run, in the window or not: right and wrong ones.
    heard: (u64, u64),
    blame: Blame,
    recorder: Recorder,
    news: News<'a>,
    record: Record,
    counts: Counts,
}

struct Lane {
    dialogue: Dialogue,
    sent: usize,
    intended: VecDeque<u64>,
    /// Whether a connection is followed by another, which is not served yet.
    is_returning: bool,
    /// Connections closed in a row without a reply.
    fruitless: u8,
}

/// Wrong replies by kind; the first of each kind is shown.
#[derive(Default)]
struct Blame {
    kinds: Vec<(u16, String, u64)>,
}

impl<'a> Worker<'a> {
    pub fn new(plan: &'a ExchangePlan, index: usize, control: &'a Control) -> Self {
        let script = match &plan.exchange {
            Exchange::Echo { message } => Script::echo(&plan.endpoint, message),
            Exchange::Http(request) => Script::http(&plan.endpoint, request, &plan.right_statuses),
        };
        Self {
            plan,
            control,
            share: &plan.shares[index],
            index: index as u64,
            sent_in_all: 0,
            script,
            crowd: Crowd::new(),
            window: Window::NEVER,
            schedule: None,
            is_sending: false,
            is_over: false,
            returning: VecDeque::new(),
            heard: (0, 0),
            blame: Blame::default(),
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
        let number = self.crowd.enter(Lane::new(&self.script));
        let route = self.route(number);
        self.crowd.open(io, number, &route);
    }

    fn begin(&mut self, start_ns: u64) {
        self.schedule = self.plan.pace.shared_by(self.plan.shares.len()).schedule(start_ns);
        self.is_sending = true;
    }

    fn measure(&mut self, window: Window) {
        self.window = window;
        self.recorder = Recorder::new(window.from_ns, self.plan.timing.measured);
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
        self.is_over = true;
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
        let is_waiting = |place: &Place<Lane>| {
            (place.id.is_some() || place.client.is_returning) && !place.client.intended.is_empty()
        };
        while self.crowd.places().iter().any(is_waiting) && Instant::now() < deadline {
            self.turn(engine, until(deadline, TURN))?;
        }
        Ok(())
    }

    fn turn(&mut self, engine: &mut Engine, timeout: Duration) -> Result<()> {
        let before = self.counts.replies;
        engine.turn(timeout, |io, id, event| self.handle(io, id, event)).doing("wait for events")?;
        self.news.tell(self.counts.replies - before, &self.recorder);
        while engine.io.has_room() {
            let Some(number) = self.returning.pop_front() else { break };
            let route = self.route(number);
            self.crowd.open_again(&mut engine.io, number, &route);
        }
        Ok(())
    }

    fn finish(mut self, window: Window) -> (Record, Counts) {
        let waiting = self.crowd.places().iter().flat_map(|place| &place.client.intended);
        self.counts.unanswered = waiting.filter(|at_ns| window.holds(**at_ns)).count() as u64;
        self.counts.lost = self.crowd.lost;
        self.record.latencies = self.recorder.finish();
        let wrong = self.blame.kinds.into_iter().map(|(_, why, count)| (why, count));
        for (why, count) in self.crowd.failures.into_iter().chain(wrong) {
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
        if place.id.is_none() && !place.client.is_returning {
            self.counts.orphaned += u64::from(self.window.holds(intended_ns));
            return;
        }
        if place.client.intended.len() >= WAITING_MAX {
            self.counts.unsent += u64::from(self.window.holds(intended_ns));
            return;
        }
        place.client.intended.push_back(intended_ns);
        self.send_waiting(io, number);
    }

    #[inline]
    fn send_waiting(&mut self, io: &mut Io, number: usize) {
        let place = self.crowd.place(number);
        let Some(id) = place.id.filter(|_| place.is_served) else { return };
        let lane = &mut place.client;
        while lane.sent < lane.intended.len() && lane.sent < self.script.under_way_max {
            let sent = match (&self.script.requests, lane.dialogue.window_bits()) {
                (Requests::Same(bytes), None) => io.send_shared(id, bytes),
                (Requests::Same(_), Some(bits)) => {
                    let (bytes, sizes) = self.script.compressed(bits);
                    self.counts.traffic.sent += *sizes;
                    io.send_shared(id, bytes)
                }
                (Requests::Each(template), _) => {
                    let number = self.sent_in_all * self.plan.shares.len() as u64 + self.index;
                    self.sent_in_all += 1;
                    io.send(id, &template.encode(number, lane.intended[lane.sent]))
                }
            };
            if let Err(error) = sent {
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
                self.serve(number);
                self.go_on(io, number, monotonic_ns());
            }
            Event::Connected => {
                if io.send(id, &self.plan.endpoint.request(number as u64)).is_err() {
                    self.lose(io, number, CLOSED.to_owned());
                }
            }
            Event::Closed(None) => {
                let (now_ns, mut last) = (monotonic_ns(), None);
                let script = &self.script;
                self.crowd.place(number).client.dialogue.end(script, |reply| last = Some(reply));
                match last {
                    Some(Reply::Right) => self.finish(number, now_ns, true),
                    Some(Reply::Wrong(wrong)) => self.blame_for(number, now_ns, &wrong),
                    _ => {}
                }
                self.part(io, number, CLOSED.to_owned());
            }
            Event::Closed(error) => self.lose(io, number, describe(error.as_ref())),
        }
    }

    fn receive(&mut self, io: &mut Io, number: usize, bytes: &mut [u8]) {
        let now_ns = monotonic_ns();
        let Place { id, client: lane, .. } = self.crowd.place(number);
        let (mut served, mut closing, mut right, mut wrong) = (false, None, 0, Vec::new());
        let traffic = &mut self.counts.traffic;
        let result = lane.dialogue.handle(&self.script, number as u64, bytes, |reply| match reply {
            Reply::Right => right += 1,
            Reply::Wrong(what) => wrong.push(what),
            Reply::Agreed => traffic.agreed += 1,
            Reply::Sized(sizes) => traffic.received += sizes,
            Reply::Served => served = true,
            Reply::Send(reply) => drop(id.map(|id| io.send(id, &reply))),
            Reply::Closing(why) => closing = Some(why),
        });
        if served {
            self.serve(number);
        }
        for _ in 0..right {
            self.finish(number, now_ns, true);
        }
        for what in &wrong {
            self.blame_for(number, now_ns, what);
        }
        match (result, closing) {
            (Err(error), _) => self.lose(io, number, error.to_string()),
            (Ok(()), Some(why)) => self.part(io, number, closed_for(why.as_deref())),
            (Ok(()), None) => self.go_on(io, number, now_ns),
        }
    }

    /// Enters a wrong reply. Where none was right, and many were wrong, nothing more will come of the run.
    #[cold]
    fn blame_for(&mut self, number: usize, now_ns: u64, wrong: &Wrong) {
        self.finish(number, now_ns, false);
        self.blame.count(wrong);
        if let (0, count @ HOPELESS_WRONG..) = self.heard {
            self.control.give_up(format!("not one of the first {count} replies was right"));
        }
    }

    /// Enters one reply.
    #[inline]
    fn finish(&mut self, number: usize, now_ns: u64, is_right: bool) {
        let lane = &mut self.crowd.place(number).client;
        lane.fruitless = 0;
        self.heard.0 += u64::from(is_right);
        self.heard.1 += u64::from(!is_right);
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
        } else {
            self.news.warm(now_ns, now_ns - intended_ns);
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
        if self.crowd.serve(number) && !std::mem::take(&mut self.crowd.place(number).client.is_returning) {
            self.control.connected.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A server that closes in an orderly way is no fault: the place gets a new connection, and what is due on it waits
    /// for that. What was under way is asked again where it may be, and has no reply where it may not.
    fn part(&mut self, io: &mut Io, number: usize, why: String) {
        let place = self.crowd.place(number);
        if !place.is_served || place.client.fruitless == FRUITLESS_MAX {
            return self.lose(io, number, why);
        }
        let lane = &mut place.client;
        lane.fruitless += 1;
        let sent = std::mem::take(&mut lane.sent);
        if !self.script.is_repeatable {
            let window = self.window;
            self.counts.unanswered +=
                lane.intended.drain(..sent).filter(|at_ns| window.holds(*at_ns)).count() as u64;
        }
        if self.is_over && lane.intended.is_empty() {
            self.crowd.dismiss(io, number);
            return;
        }
        lane.dialogue = Dialogue::new(&self.script);
        lane.is_returning = true;
        self.crowd.leave(io, number);
        self.counts.reconnects += 1;
        self.returning.push_back(number);
    }

    fn lose(&mut self, io: &mut Io, number: usize, why: String) {
        self.control.tell_failure(&why);
        self.crowd.place(number).client.is_returning = false;
        if self.crowd.lose(io, number, why) {
            let lost = self.control.lost.fetch_add(1, Ordering::Relaxed) + 1;
            let all: u64 = self.plan.shares.iter().map(|share| share.connections).sum();
            if lost == all {
                self.control.give_up("every connection was lost".to_owned());
            }
        }
    }

    fn route(&self, number: usize) -> Route {
        self.plan.endpoint.route(self.share.source(number as u64))
    }
}

impl Lane {
    fn new(script: &Script) -> Self {
        let dialogue = Dialogue::new(script);
        Self { dialogue, sent: 0, intended: VecDeque::new(), is_returning: false, fruitless: 0 }
    }
}

impl Blame {
    fn count(&mut self, wrong: &Wrong) {
        match self.kinds.iter_mut().find(|(kind, _, _)| *kind == wrong.kind()) {
            Some((_, _, count)) => *count += 1,
            None => self.kinds.push((wrong.kind(), wrong.to_string(), 1)),
        }
    }
}
