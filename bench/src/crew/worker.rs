//! The worker's side of a crew: opens its share of connections, keeps them alive, drops them, and tells how it goes.

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    rc::Rc,
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{Order, plan::Share, status::Status};
use crate::{
    engine::{ConnectionId, Engine, Event, Io, Route},
    error::{Doing, Result},
    host::clock::monotonic_ns,
    latency::histogram,
    protocol::{
        request,
        stamp::Stamp,
        subscriber::{Notice, Subscriber, Transport},
    },
    target::Target,
};

/// How long one turn waits when nothing happens: orders are looked for once a turn.
const TURN: Duration = Duration::from_millis(20);
/// How often the coordinator is told, when there is news.
const TELL_INTERVAL: Duration = Duration::from_millis(50);
/// Connections opened in one turn: between turns, answers are read.
const OPENS_PER_TURN: usize = 256;

/// What one worker does.
pub struct Duty {
    /// Where to connect.
    pub target: Target,
    /// Its address.
    pub address: SocketAddr,
    /// How to receive.
    pub transport: Transport,
    /// This worker's part.
    pub share: Share,
    /// Connections on their way at once.
    pub in_flight_max: usize,
    /// Connections opened per second, at most.
    pub rate: Option<f64>,
}

struct Worker<'a> {
    duty: &'a Duty,
    request: Rc<[u8]>,
    lanes: Vec<Lane>,
    opened: u64,
    opening_since: Option<Instant>,
    pending: usize,
    is_storm: bool,
    times: Histogram<u64>,
    status: Status,
}

struct Lane {
    subscriber: Subscriber,
    served: bool,
    since_ns: u64,
}

/// Works until the standard input ends.
pub fn run(duty: &Duty) -> Result<()> {
    let mut engine = Engine::new(duty.share.connections).doing("create a ring")?;
    let mut worker = Worker::new(duty);
    let orders = hear_orders();
    let (mut told, mut told_at) = (Status::default(), Instant::now());
    loop {
        match orders.try_recv() {
            Ok(order) => worker.obey(&mut engine.io, order),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        worker.open_some(&mut engine.io);
        let timeout = if worker.may_open() { Duration::ZERO } else { TURN };
        engine.turn(timeout, |io, id, event| worker.handle(io, id, event)).doing("wait for events")?;
        worker.status.open = engine.io.connections_count() as u64;
        if worker.status != told && told_at.elapsed() >= TELL_INTERVAL {
            told = worker.status.clone();
            told_at = Instant::now();
            tell(&told)?;
        }
    }
}

/// Reads orders on a thread of their own; the channel closes when the standard input ends.
fn hear_orders() -> Receiver<Order> {
    let (sender, orders) = channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Some(order) = line.ok().and_then(|line| Order::from_line(&line)) else { break };
            if sender.send(order).is_err() {
                break;
            }
        }
    });
    orders
}

fn tell(status: &Status) -> Result<()> {
    let mut line = serde_json::to_string(status).expect("a status holds only numbers and texts");
    line.push('\n');
    io::stdout().write_all(line.as_bytes()).doing("tell the coordinator")
}

impl<'a> Worker<'a> {
    fn new(duty: &'a Duty) -> Self {
        Self {
            duty,
            request: Subscriber::request(duty.transport, &duty.target).into(),
            lanes: Vec::new(),
            opened: 0,
            opening_since: None,
            pending: 0,
            is_storm: false,
            times: histogram(),
            status: Status::default(),
        }
    }

    fn obey(&mut self, io: &mut Io, order: Order) {
        match order {
            Order::Open | Order::Storm => {
                self.is_storm = order == Order::Storm;
                self.times.clear();
                self.status = Status { wave: self.status.wave + 1, ..Status::default() };
                self.opened = 0;
                self.pending = 0;
                self.opening_since = Some(Instant::now());
            }
            Order::Drop => {
                self.opening_since = None;
                io.close_all();
            }
        }
    }

    /// Whether a connection may be opened right now.
    fn may_open(&self) -> bool {
        let Some(since) = self.opening_since else { return false };
        let due =
            self.duty.rate.is_none_or(|rate| (self.opened as f64) < since.elapsed().as_secs_f64() * rate);
        due && self.opened < self.duty.share.connections
            && (self.is_storm || self.pending < self.duty.in_flight_max)
    }

    fn open_some(&mut self, io: &mut Io) {
        for _ in 0..OPENS_PER_TURN {
            if !self.may_open() {
                return;
            }
            let route = Route { target: self.duty.address, source: self.duty.share.source(self.opened) };
            self.opened += 1;
            match io.open(&route) {
                Ok(id) => self.enter(id),
                Err(error) => {
                    self.status.failed += 1;
                    self.status.count_failure(error.to_string());
                }
            }
        }
    }

    fn enter(&mut self, id: ConnectionId) {
        let since_ns = self.since_ns();
        let lane = Lane { subscriber: Subscriber::new(self.duty.transport), served: false, since_ns };
        match self.lanes.get_mut(id.index as usize) {
            Some(old) => *old = lane,
            None => self.lanes.push(lane),
        }
        debug_assert!((id.index as usize) < self.lanes.len());
        self.pending += 1;
    }

    /// The time a connection being opened counts from: when it was meant to be opened. In a storm all are meant at once.
    fn since_ns(&self) -> u64 {
        let now_ns = monotonic_ns();
        let since = self.opening_since.map_or(Duration::ZERO, |since| since.elapsed());
        match self.duty.rate {
            _ if self.is_storm => now_ns - since.as_nanos() as u64,
            Some(rate) => {
                let due = Duration::from_secs_f64((self.opened - 1) as f64 / rate);
                now_ns - since.saturating_sub(due).as_nanos() as u64
            }
            None => now_ns,
        }
    }

    /// The times are told once, with the last of them.
    fn tell_times_when_done(&mut self) {
        if self.pending == 0 && self.opened == self.duty.share.connections {
            let values = self.times.iter_recorded();
            let values = values.map(|value| (value.value_iterated_to(), value.count_at_value()));
            self.status.times_us = values.collect();
        }
    }

    fn handle(&mut self, io: &mut Io, id: ConnectionId, event: Event<'_>) {
        match event {
            Event::Connected => {
                if !self.send_request(io, id) {
                    return self.lose(io, id, super::status::CLOSED.to_owned());
                }
                // Nothing tells that a poll is parked or a bare connection is accepted; they count when asked.
                if matches!(self.duty.transport, Transport::Poll | Transport::Tcp) {
                    self.serve(id);
                }
            }
            Event::Received(bytes) => self.receive(io, id, bytes),
            Event::Closed(error) => {
                let why = error.map_or_else(|| super::status::CLOSED.to_owned(), |error| error.to_string());
                self.lose(io, id, why);
            }
        }
    }

    fn send_request(&self, io: &mut Io, id: ConnectionId) -> bool {
        if self.duty.target.is_numbered() {
            let target = self.duty.target.numbered(u64::from(id.index));
            return io.send(id, &Subscriber::request(self.duty.transport, &target)).is_ok();
        }
        self.request.is_empty() || io.send_shared(id, &self.request).is_ok()
    }

    fn receive(&mut self, io: &mut Io, id: ConnectionId, bytes: &mut [u8]) {
        let lane = &mut self.lanes[id.index as usize];
        let (mut served, mut closing, mut again) = (false, false, None);
        let result = lane.subscriber.handle(bytes, |notice| match notice {
            Notice::Message(data) => Stamp::find_all(data, |_| self.status.messages += 1),
            Notice::Served => served = true,
            Notice::Reply(reply) => drop(io.send(id, &reply)),
            Notice::Answered(position) => again = Some(position),
            Notice::Closing => closing = true,
        });
        if served {
            self.serve(id);
        }
        match result {
            Err(error) => self.lose(io, id, error.to_string()),
            Ok(()) if closing => self.lose(io, id, "the server sent a close frame".to_owned()),
            Ok(()) => {
                if let Some(position) = again {
                    drop(io.send(
                        id,
                        &request::encode_poll(
                            &self.duty.target.numbered(u64::from(id.index)),
                            position.as_deref(),
                        ),
                    ));
                }
            }
        }
    }

    fn serve(&mut self, id: ConnectionId) {
        let lane = &mut self.lanes[id.index as usize];
        if !lane.served {
            lane.served = true;
            self.pending -= 1;
            self.status.served += 1;
            let time_us = monotonic_ns().saturating_sub(lane.since_ns) / 1000;
            self.times.saturating_record(time_us.max(1));
            self.tell_times_when_done();
        }
    }

    fn lose(&mut self, io: &mut Io, id: ConnectionId, why: String) {
        io.close(id);
        self.status.count_failure(why);
        if self.lanes[id.index as usize].served {
            self.status.lost += 1;
        } else {
            self.pending -= 1;
            self.status.failed += 1;
            self.tell_times_when_done();
        }
    }
}
