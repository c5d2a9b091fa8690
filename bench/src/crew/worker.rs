//! The worker's side of a crew: opens its share of connections, keeps them alive, drops them, and tells how it goes.

use std::{
    io::{self, BufRead, Write},
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::consts::SIGINT;

use super::{
    Order,
    assignment::{Assignment, Hold},
    plan::Share,
    status::{Decided, Status},
};
use crate::{
    endpoint::{CLOSED, Endpoint},
    engine::{ConnectionId, Engine, Event, Io, open_files_max},
    error::{Doing, Result},
    host::{clock::monotonic_ns, cpu::ThreadMark},
    latency::Recorder,
    protocol::{stamp::Stamp, subscriber::Subscriber},
    scenario::exchange::remote,
};

/// How long one turn waits when nothing happens: orders are looked for once a turn.
const TURN: Duration = Duration::from_millis(20);
/// How often the coordinator is told, when there is news.
const TELL_INTERVAL: Duration = Duration::from_millis(50);
/// Connections opened in one turn: between turns, answers are read.
const OPENS_PER_TURN: usize = 256;

/// What one worker does.
struct Duty {
    /// Where to connect.
    endpoint: Endpoint,
    /// This worker's part.
    share: Share,
    /// Connections on their way at once.
    in_flight_max: usize,
    /// Connections opened per second, at most.
    rate: Option<f64>,
}

struct Worker<'a> {
    duty: &'a Duty,
    /// What every connection sends first, where all send the same.
    request: Option<Rc<[u8]>>,
    lanes: Vec<Lane>,
    opened: u64,
    opening: Option<Opening>,
    pending: usize,
    is_storm: bool,
    times: Recorder,
    status: Status,
}

/// When the order to open came.
struct Opening {
    since: Instant,
    cpu: ThreadMark,
}

struct Lane {
    subscriber: Subscriber,
    served: bool,
    since_ns: u64,
}

/// Does what the first line of the standard input says, and what follows orders.
pub fn run() -> Result<()> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).doing("read the assignment")?;
    let assignment =
        serde_json::from_str(&line).map_err(io::Error::other).doing("understand the assignment")?;
    match assignment {
        Assignment::Exchange(task) => remote::work(&task),
        Assignment::Hold(job) => {
            let Hold { directions, share, in_flight_max, rate } = *job;
            open_files_max().doing("raise the open-files limit")?;
            hold(&Duty { endpoint: directions.endpoint()?, share, in_flight_max, rate })
        }
    }
}

/// Holds connections until the standard input ends.
fn hold(duty: &Duty) -> Result<()> {
    // Ctrl-C on a terminal goes to all processes; the coordinator's end is this one's.
    signal_hook::flag::register(SIGINT, Arc::default()).doing("ignore Ctrl-C")?;
    let mut engine = Engine::new(duty.share.connections).doing("create a ring")?;
    let mut worker = Worker::new(duty);
    let orders = hear_orders();
    let (mut told, mut told_at) = (Status::default(), Instant::now());
    loop {
        match orders.try_recv() {
            Ok(order) => worker.obey(&mut engine.io, order)?,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        worker.open_some(&mut engine.io);
        engine.turn(worker.rest(), |io, id, event| worker.handle(io, id, event)).doing("wait for events")?;
        worker.status.open = engine.io.connections_count() as u64;
        if worker.status != told && told_at.elapsed() >= TELL_INTERVAL {
            tell(&worker.status)?;
            worker.status.decided = None;
            told = worker.status.clone();
            told_at = Instant::now();
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
            request: duty.endpoint.is_same_for_all().then(|| duty.endpoint.request(0).into()),
            lanes: Vec::new(),
            opened: 0,
            opening: None,
            pending: 0,
            is_storm: false,
            times: Recorder::new(0, Duration::ZERO),
            status: Status::default(),
        }
    }

    fn obey(&mut self, io: &mut Io, order: Order) -> Result<()> {
        match order {
            Order::Open | Order::Storm => {
                self.is_storm = order == Order::Storm;
                self.times = Recorder::new(monotonic_ns(), Duration::ZERO);
                self.status = Status { wave: self.status.wave + 1, ..Status::default() };
                self.opened = 0;
                self.pending = 0;
                let cpu = ThreadMark::now().doing("read /proc/thread-self/stat")?;
                self.opening = Some(Opening { since: Instant::now(), cpu });
            }
            Order::Drop => {
                self.opening = None;
                io.close_all();
            }
        }
        Ok(())
    }

    /// Whether a connection may be opened right now.
    fn may_open(&self) -> bool {
        self.rest().is_zero()
    }

    /// How long nothing is to be done unless something happens.
    fn rest(&self) -> Duration {
        let Some(Opening { since, .. }) = self.opening else { return TURN };
        let is_full = !self.is_storm && self.pending >= self.duty.in_flight_max;
        if is_full || self.opened == self.duty.share.connections {
            return TURN;
        }
        let due = self.duty.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(self.opened as f64 / rate).saturating_sub(since.elapsed())
        });
        due.min(TURN)
    }

    fn open_some(&mut self, io: &mut Io) {
        for _ in 0..OPENS_PER_TURN {
            if !self.may_open() {
                return;
            }
            let route = self.duty.endpoint.route(self.duty.share.source(self.opened));
            self.opened += 1;
            match io.open(&route) {
                Ok(id) => self.enter(id),
                Err(error) => {
                    self.status.failed += 1;
                    self.status.count_failure(error.to_string());
                    self.tell_all_when_decided();
                }
            }
        }
    }

    fn enter(&mut self, id: ConnectionId) {
        let since_ns = self.since_ns();
        let lane = Lane { subscriber: self.duty.endpoint.client(), served: false, since_ns };
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
        let since = self.opening.as_ref().map_or(Duration::ZERO, |opening| opening.since.elapsed());
        match self.duty.rate {
            _ if self.is_storm => now_ns - since.as_nanos() as u64,
            Some(rate) => {
                let due = Duration::from_secs_f64((self.opened - 1) as f64 / rate);
                now_ns - since.saturating_sub(due).as_nanos() as u64
            }
            None => now_ns,
        }
    }

    /// What is told once, with the last connection.
    fn tell_all_when_decided(&mut self) {
        if self.pending > 0 || self.opened < self.duty.share.connections {
            return;
        }
        let times = std::mem::replace(&mut self.times, Recorder::new(0, Duration::ZERO));
        let mut decided = Decided { times_us: times.finish().into_intervals(), used: Vec::new() };
        if let Some(opening) = &self.opening {
            self.status.decided_us = opening.since.elapsed().as_micros() as u64;
            // Without /proc nothing is known, which is not a reason to give up thousands of connections.
            decided.used = opening.cpu.until_now().into_iter().collect();
        }
        self.status.decided = Some(decided);
    }

    fn handle(&mut self, io: &mut Io, id: ConnectionId, event: Event<'_>) {
        match event {
            Event::Connected => {
                if !self.send_request(io, id) {
                    return self.lose(io, id, CLOSED.to_owned());
                }
                if self.duty.endpoint.is_served_silently() {
                    self.serve(id);
                }
            }
            Event::Received(bytes) => self.receive(io, id, bytes),
            Event::Closed(error) => {
                let why = error.map_or_else(|| CLOSED.to_owned(), |error| error.to_string());
                self.lose(io, id, why);
            }
        }
    }

    fn send_request(&self, io: &mut Io, id: ConnectionId) -> bool {
        match &self.request {
            Some(request) => request.is_empty() || io.send_shared(id, request).is_ok(),
            None => io.send(id, &self.duty.endpoint.request(u64::from(id.index))).is_ok(),
        }
    }

    fn receive(&mut self, io: &mut Io, id: ConnectionId, bytes: &mut [u8]) {
        let client = (u64::from(id.index), &mut self.lanes[id.index as usize].subscriber);
        let attended = self.duty.endpoint.attend(client, (io, id), bytes, |data| {
            Stamp::find_all(data, |_| self.status.messages += 1);
        });
        if attended.served {
            self.serve(id);
        }
        if let Some(why) = attended.ended {
            self.lose(io, id, why);
        }
    }

    fn serve(&mut self, id: ConnectionId) {
        let lane = &mut self.lanes[id.index as usize];
        if !lane.served {
            lane.served = true;
            self.pending -= 1;
            self.status.served += 1;
            let now_ns = monotonic_ns();
            self.times.record(now_ns, now_ns.saturating_sub(lane.since_ns));
            self.tell_all_when_decided();
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
            self.tell_all_when_decided();
        }
    }
}
