//! One thread of a fan-out: its share of the subscribers and, on the first thread, the publisher.
//!
//! Invariant: places up to the share's size are subscribers, those behind it publish.

use std::{
    rc::Rc,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{
    Audience, FanoutPlan,
    publisher::{Publisher, channel_and_number},
};
use crate::{
    crew::plan::Share,
    endpoint::{CLOSED, Endpoint},
    engine::{ConnectionId, Engine, Event, Io},
    error::{Doing, Result, ServerFault},
    host::clock::monotonic_ns,
    latency::Recorder,
    ledger::{Ledger, Tally},
    load::{
        control::{Control, News},
        window::Window,
    },
    protocol::{
        deflate::Traffic,
        stamp::Stamp,
        subscriber::{Notice, SubscribeError, Subscriber, Transport},
    },
    scenario::{
        CONNECT_TIMEOUT,
        crowd::{Crowd, Place},
        describe,
        observed::Record,
        team::{Member, STOPPED_DRAIN_TIMEOUT, Standing, TURN},
        until,
    },
};

/// How often the publisher looks whether the other threads' subscribers have everything.
const LOOK: Duration = Duration::from_micros(50);
/// Bursts sent between two looks at what has arrived.
const BURSTS_PER_TURN: usize = 16;

pub struct Worker<'a> {
    plan: &'a FanoutPlan,
    control: &'a Control,
    audience: &'a Audience,
    share: &'a Share,
    /// The number of its first subscriber among all threads'.
    first: u64,
    /// What every subscriber sends first, where all send the same.
    request: Option<Rc<[u8]>>,
    crowd: Crowd<Lane>,
    publisher: Option<Publisher>,
    publish_failure: Option<SubscribeError>,
    /// Stamps older than this are left over from an earlier run.
    start_ns: u64,
    window: Window,
    recorder: Recorder,
    news: News<'a>,
    record: Record,
    counts: Counts,
}

/// What one thread counted.
#[derive(Default)]
pub struct Counts {
    /// What became of the window's publications.
    pub tally: Tally,
    /// What became of the others: the warm-up's.
    outside: Tally,
    /// Pieces received that held any of them: several that a server sent together make one.
    pub reads: u64,
    /// Deliveries to subscribers of another channel.
    pub strays: u64,
    /// Subscribers the server closed.
    pub subscribers_lost: u64,
    /// Publications sent in the window.
    pub publications: u64,
    /// Deliveries they should make.
    pub expected: u64,
    /// What came of offering compression.
    pub traffic: Traffic,
}

struct Lane {
    subscriber: Subscriber,
    ledger: Ledger,
}

impl<'a> Worker<'a> {
    pub fn new(plan: &'a FanoutPlan, index: usize, control: &'a Control, audience: &'a Audience) -> Self {
        let request = plan.endpoint.is_same_for_all().then(|| plan.endpoint.request(0).into());
        Self {
            plan,
            control,
            audience,
            share: &plan.shares[index],
            first: plan.shares[..index].iter().map(|share| share.connections).sum(),
            request,
            crowd: Crowd::new(),
            publisher: (index == 0).then(|| Publisher::new(plan)),
            publish_failure: None,
            start_ns: u64::MAX,
            window: Window::NEVER,
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
        let publishers = self.publisher.as_ref().map_or(0, |_| Publisher::connections(self.plan));
        self.share.connections + publishers
    }

    fn standing(&self) -> Standing {
        self.crowd.standing(self.share.connections)
    }

    fn open_next(&mut self, io: &mut Io) {
        let number = self.crowd.enter(Lane::new(&self.plan.endpoint));
        let source = self.share.source(number as u64);
        self.crowd.open(io, number, &self.plan.endpoint.route(source));
    }

    /// Connects the publisher.
    fn settle(&mut self, engine: &mut Engine) -> Result<()> {
        if self.publisher.is_none() || self.crowd.served < self.share.connections {
            return Ok(());
        }
        let asked = self.room();
        for _ in self.share.connections..asked {
            let number = self.crowd.enter(Lane::new(&self.plan.publish));
            self.crowd.open(&mut engine.io, number, &self.plan.publish.route(None));
        }
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        while self.crowd.standing(asked).decided < asked && Instant::now() < deadline {
            self.turn(engine, until(deadline, TURN))?;
        }
        let (served, asked) = (self.crowd.served - self.share.connections, Publisher::connections(self.plan));
        if served < asked {
            let why = self.control.first_failure().map(|why| format!("of the publisher's: {why}"));
            let fault =
                ServerFault::NotServed { served: served as usize, asked: asked as usize, why, cure: None };
            return Err(fault.into());
        }
        Ok(())
    }

    fn turn(&mut self, engine: &mut Engine, timeout: Duration) -> Result<()> {
        let before = self.counts.delivered();
        engine.turn(timeout, |io, id, event| self.handle(io, id, event)).doing("wait for events")?;
        let fresh = self.counts.delivered() - before;
        if fresh > 0 {
            self.audience.delivered.fetch_add(fresh, Ordering::Relaxed);
            self.news.tell(fresh, &self.recorder);
        }
        Ok(())
    }

    fn begin(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
        if let Some(publisher) = &mut self.publisher {
            publisher.begin(self.plan, start_ns);
        }
    }

    fn measure(&mut self, window: Window) {
        self.window = window;
        self.recorder = Recorder::new(window.from_ns, self.plan.timing.measured);
    }

    fn live_until(&mut self, engine: &mut Engine, end_ns: u64) -> Result<()> {
        loop {
            let now_ns = monotonic_ns();
            if self.control.is_stopped() {
                return Ok(());
            }
            let next_ns = self.publish_due(&mut engine.io, now_ns)?;
            // A thread that was kept from its core past the end still publishes what was due before it.
            if now_ns >= end_ns && next_ns >= end_ns {
                return Ok(());
            }
            let wait_ns = next_ns.min(end_ns).saturating_sub(now_ns);
            self.turn(engine, Duration::from_nanos(wait_ns).min(TURN))?;
        }
    }

    /// Waits until everything published has arrived everywhere, or nothing has for a while. The publishing thread ends
    /// the wait of the others.
    fn drain(&mut self, engine: &mut Engine) -> Result<()> {
        let deadline = self.control.is_stopped().then(|| Instant::now() + STOPPED_DRAIN_TIMEOUT);
        while !self.control.is_drained() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let delivered = self.audience.delivered.load(Ordering::Relaxed);
            let publisher = self.publisher.as_mut();
            if publisher.is_some_and(|publisher| !publisher.is_awaiting(delivered, Instant::now())) {
                self.control.end_drain();
            } else {
                self.turn(engine, TURN)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, _window: Window) -> (Record, Counts) {
        self.record.latencies = self.recorder.finish();
        self.record.failures = self.crowd.failures;
        (self.record, self.counts)
    }
}

impl Worker<'_> {
    /// Publishes what is due; tells when to look again.
    fn publish_due(&mut self, io: &mut Io, now_ns: u64) -> Result<u64> {
        let Some(publisher) = &mut self.publisher else { return Ok(u64::MAX) };
        let Some(mut schedule) = publisher.schedule else {
            let delivered = self.audience.delivered.load(Ordering::Relaxed);
            if now_ns < self.window.to_ns && !publisher.is_awaiting(delivered, Instant::now()) {
                self.publish(io, now_ns)?;
            }
            // Nothing but time tells of other threads' deliveries.
            let rest = if self.plan.shares.len() > 1 { LOOK } else { TURN };
            return Ok(now_ns + rest.as_nanos() as u64);
        };
        for _ in 0..BURSTS_PER_TURN {
            let due_ns = schedule.due_ns();
            if due_ns > now_ns || due_ns >= self.window.to_ns {
                break;
            }
            if self.window.holds(due_ns) {
                self.record.lag.saturating_record(((now_ns - due_ns) / 1000).max(1));
            }
            self.publish(io, due_ns)?;
            schedule.advance();
        }
        if let Some(publisher) = &mut self.publisher {
            publisher.schedule = Some(schedule);
        }
        Ok(schedule.due_ns())
    }

    /// Sends one burst in one write.
    fn publish(&mut self, io: &mut Io, intended_ns: u64) -> Result<()> {
        if let Some(error) = self.publish_failure.clone() {
            return Err(ServerFault::PublishRefused(error).into());
        }
        let Some(publisher) = &mut self.publisher else { return Ok(()) };
        let present = self.audience.present(publisher.next_channel(self.plan));
        let burst = publisher.burst(self.plan, intended_ns, present);
        let connection = burst.channel % Publisher::connections(self.plan);
        let place = self.crowd.place((self.share.connections + connection) as usize);
        let sent = place.id.is_some_and(|id| io.send(id, &burst.bytes).is_ok());
        if !sent || self.audience.is_deserted() {
            let why = self.control.first_failure().map(str::to_owned);
            return Err(ServerFault::AllLost(why).into());
        }
        if self.window.holds(intended_ns) {
            self.counts.publications += self.plan.burst as u64;
            self.counts.expected += self.plan.burst as u64 * self.plan.subscribers_of(burst.channel);
        }
        Ok(())
    }

    fn handle(&mut self, io: &mut Io, id: ConnectionId, event: Event<'_>) {
        let number = self.crowd.number_of(id);
        let publishes = number as u64 >= self.share.connections;
        match event {
            Event::Received(bytes) if publishes => self.receive_answer(io, number, bytes),
            Event::Received(bytes) => self.receive(io, number, bytes),
            Event::Connected if publishes => {
                if self.plan.publish.transport == Transport::Ws {
                    let channel = number as u64 - self.share.connections;
                    // A connection that is gone tells so itself.
                    drop(io.send(id, &self.plan.publish.request(channel)));
                } else {
                    self.crowd.serve(number);
                }
            }
            Event::Connected => {
                if !self.send_request(io, id, number) {
                    self.lose(io, number, CLOSED.to_owned());
                } else if self.plan.endpoint.is_served_silently() {
                    self.serve(number);
                }
            }
            Event::Closed(error) => self.lose(io, number, describe(error.as_ref())),
        }
    }

    fn send_request(&self, io: &mut Io, id: ConnectionId, number: usize) -> bool {
        match &self.request {
            Some(request) => request.is_empty() || io.send_shared(id, request).is_ok(),
            None => io.send(id, &self.plan.endpoint.request(self.first + number as u64)).is_ok(),
        }
    }

    #[inline]
    fn receive(&mut self, io: &mut Io, number: usize, bytes: &mut [u8]) {
        let now_ns = monotonic_ns();
        let in_all = self.first + number as u64;
        let own_channel = in_all % self.plan.channels;
        let Place { id: Some(id), client: lane, .. } = self.crowd.place(number) else { return };
        let client = (in_all, &mut lane.subscriber);
        let before = self.counts.tally.delivered;
        let attended = self.plan.endpoint.attend(client, (io, *id), bytes, |data| {
            Stamp::find_all(data, |stamp| {
                if stamp.sent_ns < self.start_ns {
                    return;
                }
                let (channel, sequence) = channel_and_number(stamp.sequence);
                if channel != own_channel {
                    self.counts.strays += 1;
                } else if self.window.holds(stamp.sent_ns) {
                    lane.ledger.enter(sequence, &mut self.counts.tally);
                    self.recorder.record(now_ns, now_ns.saturating_sub(stamp.sent_ns));
                    self.record.last_ns = now_ns;
                } else {
                    lane.ledger.enter(sequence, &mut self.counts.outside);
                    self.news.warm(now_ns, now_ns.saturating_sub(stamp.sent_ns));
                }
            });
        });
        self.counts.traffic += attended.traffic;
        self.counts.reads += u64::from(self.counts.tally.delivered > before);
        if attended.served {
            self.serve(number);
        }
        if let Some(why) = attended.ended {
            self.lose(io, number, why);
        }
    }

    /// What a server tells its publisher: its answers, and perhaps everybody's publications.
    fn receive_answer(&mut self, io: &mut Io, number: usize, bytes: &mut [u8]) {
        let Place { id: Some(id), client: lane, .. } = self.crowd.place(number) else { return };
        let mut served = false;
        let result = lane.subscriber.handle(bytes, |notice| match notice {
            Notice::Served => served = true,
            Notice::Reply(reply) => drop(io.send(*id, &reply)),
            _ => {}
        });
        if served {
            self.crowd.serve(number);
        }
        if let Err(error) = result {
            self.publish_failure = Some(error);
        }
    }

    fn serve(&mut self, number: usize) {
        if self.crowd.serve(number) {
            self.control.connected.fetch_add(1, Ordering::Relaxed);
            self.present_of(number).fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lose(&mut self, io: &mut Io, number: usize, why: String) {
        self.control.tell_failure(&why);
        let was_served = self.crowd.place(number).is_served;
        if self.crowd.lose(io, number, why) && (number as u64) < self.share.connections {
            self.counts.subscribers_lost += 1;
            if was_served {
                self.present_of(number).fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn present_of(&self, number: usize) -> &std::sync::atomic::AtomicU64 {
        &self.audience.present[((self.first + number as u64) % self.plan.channels) as usize]
    }
}

impl Counts {
    fn delivered(&self) -> u64 {
        self.tally.delivered + self.outside.delivered
    }
}

impl Lane {
    fn new(endpoint: &Endpoint) -> Self {
        Self { subscriber: endpoint.client(), ledger: Ledger::default() }
    }
}
