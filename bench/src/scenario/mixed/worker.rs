//! One thread of a population: every so many-th connection of all, so that each thread has its part of every group.
//!
//! Invariant: `outstanding` of a lane counts its own messages of the window that have not come back to it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use roadstead::wire::websocket::Opcode;

use super::{MixedPlan, description::Group};
use crate::{
    crew::plan::Share,
    endpoint::Endpoint,
    engine::{ConnectionId, Engine, Event, Io},
    error::{Doing, Result},
    host::clock::monotonic_ns,
    latency::{Latencies, Recorder},
    load::{
        control::{Control, News},
        pace::{Pace, Schedule},
        window::Window,
    },
    protocol::{
        deflate::Traffic,
        stamp::Stamp,
        subscriber::{Subscriber, encode_compressed, encode_message},
    },
    scenario::{
        crowd::{Crowd, Place},
        describe,
        observed::Record,
        team::{Member, STOPPED_DRAIN_TIMEOUT, Standing, TURN},
        until,
    },
};

/// How long the last messages and reconnects may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Messages sent between two looks at what has arrived.
const SENDS_PER_TURN: usize = 256;

pub struct Worker<'a> {
    plan: &'a MixedPlan,
    control: &'a Control,
    index: u64,
    share: &'a Share,
    crowd: Crowd<Lane>,
    talk: Vec<Talk>,
    churn: Option<Schedule>,
    window: Window,
    recorder: Recorder,
    reconnecting: Recorder,
    news: News<'a>,
    record: Record,
    counts: Counts,
}

/// What one thread counted.
pub struct Counts {
    /// Messages sent.
    pub sent: u64,
    /// Those that came back to their sender.
    pub returned: u64,
    /// Sent by connections that were closed before the message could come back.
    pub abandoned: u64,
    /// Messages received by anybody.
    pub deliveries: u64,
    /// Connections closed and served again.
    pub reconnects: u64,
    /// From when one was due until it was served.
    pub reconnecting: Latencies,
    /// Connections lost.
    pub lost: u64,
    /// Connections still on their way back at the end.
    pub absent: u64,
    /// What came of offering compression.
    pub traffic: Traffic,
}

struct Lane {
    group: usize,
    subscriber: Subscriber,
    opened_ns: u64,
    outstanding: u64,
}

/// A group's schedule: its members here are neighbours.
struct Talk {
    first: usize,
    count: usize,
    bytes: usize,
    schedule: Schedule,
}

impl<'a> Worker<'a> {
    pub fn new(plan: &'a MixedPlan, index: usize, control: &'a Control) -> Self {
        let nothing = || Recorder::new(0, Duration::ZERO);
        Self {
            plan,
            control,
            index: index as u64,
            share: &plan.shares[index],
            crowd: Crowd::new(),
            talk: Vec::new(),
            churn: None,
            window: Window::NEVER,
            recorder: nothing(),
            reconnecting: nothing(),
            news: News::new(control),
            record: Record::default(),
            counts: Counts {
                sent: 0,
                returned: 0,
                abandoned: 0,
                deliveries: 0,
                reconnects: 0,
                reconnecting: Latencies::none(),
                lost: 0,
                absent: 0,
                traffic: Traffic::default(),
            },
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
        let group = self.plan.group_of(self.in_all(self.crowd.places().len()));
        let subscriber = self.plan.groups[group].endpoint.client();
        let number = self.crowd.enter(Lane { group, subscriber, opened_ns: 0, outstanding: 0 });
        self.open(io, number, 0);
    }

    fn turn(&mut self, engine: &mut Engine, timeout: Duration) -> Result<()> {
        let before = self.counts.deliveries;
        engine.turn(timeout, |io, id, event| self.handle(io, id, event)).doing("wait for events")?;
        self.news.tell(self.counts.deliveries - before, &self.recorder);
        Ok(())
    }

    fn begin(&mut self, start_ns: u64) {
        let schedule = |rate: f64| Pace::Open(rate).schedule(start_ns).filter(|_| rate > 0.0);
        self.churn = schedule(self.plan.description.churn_per_second / self.plan.shares.len() as f64);
        for (index, group) in self.plan.description.group.iter().enumerate() {
            let lanes = self.crowd.places().iter().map(|place| place.client.group);
            let first = lanes.clone().take_while(|group| *group < index).count();
            let count = lanes.filter(|group| *group == index).count();
            let Group { messages_per_second, bytes, .. } = *group;
            let talk = schedule(messages_per_second * count as f64);
            self.talk.extend(talk.map(|schedule| Talk { first, count, bytes, schedule }));
        }
    }

    fn measure(&mut self, window: Window) {
        let measured = self.plan.timing.measured;
        self.window = window;
        self.recorder = Recorder::new(window.from_ns, measured);
        self.reconnecting = Recorder::new(window.from_ns, measured);
    }

    fn live_until(&mut self, engine: &mut Engine, end_ns: u64) -> Result<()> {
        loop {
            let now_ns = monotonic_ns();
            if self.control.is_stopped() {
                return Ok(());
            }
            // A thread that was kept from its core past the end still does what was due before it, and no more.
            let next_ns = self.do_what_is_due(&mut engine.io, now_ns.min(end_ns.saturating_sub(1)));
            if now_ns >= end_ns && next_ns >= end_ns {
                return Ok(());
            }
            let wait_ns = next_ns.min(end_ns).saturating_sub(now_ns);
            self.turn(engine, Duration::from_nanos(wait_ns).min(TURN))?;
        }
    }

    fn drain(&mut self, engine: &mut Engine) -> Result<()> {
        let is_stopped = self.control.is_stopped();
        let deadline = Instant::now() + if is_stopped { STOPPED_DRAIN_TIMEOUT } else { DRAIN_TIMEOUT };
        let is_waiting = |worker: &Self| {
            let counts = &worker.counts;
            let returning = worker.plan.description.messages_return;
            worker.crowd.pending > 0 || returning && counts.returned + counts.abandoned < counts.sent
        };
        while is_waiting(self) && Instant::now() < deadline {
            self.turn(engine, until(deadline, TURN))?;
        }
        Ok(())
    }

    fn finish(mut self, _window: Window) -> (Record, Counts) {
        self.record.latencies = self.recorder.finish();
        self.record.failures = self.crowd.failures;
        let reconnecting = self.reconnecting.finish();
        let (lost, absent) = (self.crowd.lost, self.crowd.pending as u64);
        (self.record, Counts { reconnecting, lost, absent, ..self.counts })
    }
}

impl Worker<'_> {
    /// The number among all threads' connections of a place here.
    fn in_all(&self, number: usize) -> u64 {
        self.index + number as u64 * self.plan.shares.len() as u64
    }

    fn endpoint(&self, number: usize) -> &Endpoint {
        &self.plan.groups[self.crowd.places()[number].client.group].endpoint
    }

    fn open(&mut self, io: &mut Io, number: usize, since_ns: u64) {
        let route = self.endpoint(number).route(self.share.source(number as u64));
        let subscriber = self.endpoint(number).client();
        let lane = &mut self.crowd.place(number).client;
        lane.subscriber = subscriber;
        lane.opened_ns = since_ns;
        self.crowd.open(io, number, &route);
    }

    /// Sends, closes and opens what is due; tells when more will be.
    fn do_what_is_due(&mut self, io: &mut Io, until_ns: u64) -> u64 {
        let mut next_ns = u64::MAX;
        for index in 0..self.talk.len() {
            for _ in 0..SENDS_PER_TURN {
                let due_ns = self.talk[index].schedule.due_ns();
                if due_ns > until_ns {
                    break;
                }
                self.say(io, index, due_ns);
            }
            next_ns = next_ns.min(self.talk[index].schedule.due_ns());
        }
        while let Some(schedule) = self.churn.filter(|schedule| schedule.due_ns() <= until_ns) {
            // A stride coprime to most counts visits everybody, not neighbours.
            let number = (schedule.number() * 7919) as usize % self.crowd.places().len();
            self.come_back(io, number, schedule.due_ns());
            self.churn.as_mut().expect("just seen").advance();
        }
        next_ns.min(self.churn.map_or(u64::MAX, |schedule| schedule.due_ns()))
    }

    fn say(&mut self, io: &mut Io, index: usize, due_ns: u64) {
        let talk = &mut self.talk[index];
        let number = talk.first + talk.schedule.number() as usize % talk.count;
        let (count, bytes) = (talk.schedule.number(), talk.bytes);
        talk.schedule.advance();
        let sequence = self.in_all(number) << 32 | (count & 0xffff_ffff);
        let message = Stamp { sequence, sent_ns: due_ns }.encode(bytes);
        let Place { id: Some(id), is_served: true, client: lane } = self.crowd.place(number) else { return };
        let frame = match lane.subscriber.client_window_bits() {
            None => encode_message(Opcode::Text, &message),
            Some(bits) => {
                let (frame, sizes) = encode_compressed(Opcode::Text, &message, bits);
                self.counts.traffic.sent += sizes;
                frame
            }
        };
        if io.send(*id, &frame).is_ok() && self.window.holds(due_ns) {
            lane.outstanding += 1;
            self.counts.sent += 1;
            self.record.lag.saturating_record((monotonic_ns().saturating_sub(due_ns) / 1000).max(1));
        }
    }

    fn come_back(&mut self, io: &mut Io, number: usize, due_ns: u64) {
        // Somebody still on the way back does not leave again.
        if self.crowd.dismiss(io, number) {
            self.counts.abandoned += std::mem::take(&mut self.crowd.place(number).client.outstanding);
            self.open(io, number, due_ns);
        }
    }

    fn handle(&mut self, io: &mut Io, id: ConnectionId, event: Event<'_>) {
        let number = self.crowd.number_of(id);
        match event {
            Event::Received(bytes) => self.receive(io, number, bytes),
            Event::Connected => {
                // A connection that is gone tells so itself.
                drop(io.send(id, &self.endpoint(number).request(self.in_all(number))));
                if self.endpoint(number).is_served_silently() {
                    self.serve(number);
                }
            }
            Event::Closed(error) => self.lose(io, number, describe(error.as_ref())),
        }
    }

    fn receive(&mut self, io: &mut Io, number: usize, bytes: &mut [u8]) {
        let now_ns = monotonic_ns();
        let in_all = self.in_all(number);
        let Place { id: Some(id), client: lane, .. } = self.crowd.place(number) else { return };
        let endpoint = &self.plan.groups[lane.group].endpoint;
        let attended = endpoint.attend((in_all, &mut lane.subscriber), (io, *id), bytes, |data| {
            Stamp::find_all(data, |stamp| {
                if self.window.holds(stamp.sent_ns) {
                    self.recorder.record(now_ns, now_ns.saturating_sub(stamp.sent_ns));
                    self.counts.deliveries += 1;
                    if stamp.sequence >> 32 == in_all && lane.outstanding > 0 {
                        lane.outstanding -= 1;
                        self.counts.returned += 1;
                    }
                } else {
                    self.news.warm(now_ns, now_ns.saturating_sub(stamp.sent_ns));
                }
            });
        });
        self.counts.traffic += attended.traffic;
        if attended.served {
            self.serve(number);
        }
        if let Some(why) = attended.ended {
            self.lose(io, number, why);
        }
    }

    fn serve(&mut self, number: usize) {
        if !self.crowd.serve(number) {
            return;
        }
        self.control.connected.fetch_add(1, Ordering::Relaxed);
        let opened_ns = self.crowd.place(number).client.opened_ns;
        if self.window.holds(opened_ns) {
            let now_ns = monotonic_ns();
            self.reconnecting.record(now_ns, now_ns.saturating_sub(opened_ns));
            self.counts.reconnects += 1;
        }
    }

    fn lose(&mut self, io: &mut Io, number: usize, why: String) {
        self.control.tell_failure(&why);
        if self.crowd.lose(io, number, why) {
            let outstanding = std::mem::take(&mut self.crowd.place(number).client.outstanding);
            self.counts.abandoned += outstanding;
        }
    }
}
