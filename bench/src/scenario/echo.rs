//! `echo`: every connection always has one message under way, and the cost of each round trip is measured.
//!
//! This is a closed loop: it finds the highest rate and the CPU per message, while its latencies are those of a
//! system kept full, not of one under a given load.

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use roadstead::wire::websocket::Opcode;

use super::{Mark, describe, until};
use crate::{
    engine::{ConnectionId, Engine, Event, Io, Route},
    error::{Doing, Result, ServerFault},
    host::clock::monotonic_ns,
    latency::Latencies,
    protocol::subscriber::{Notice, Subscriber, Transport, encode_message},
    report::{Bottleneck, EchoReport},
    target::{Scheme, Target},
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one turn waits when nothing happens.
const TURN: Duration = Duration::from_millis(100);

/// What to run.
pub struct EchoPlan {
    /// The server.
    pub target: Target,
    /// Its address.
    pub address: SocketAddr,
    /// Connections, each with one message under way.
    pub connections: usize,
    /// Payload of a message.
    pub message_bytes: usize,
    /// Time before measuring.
    pub warm_up: Duration,
    /// Measured time.
    pub measured: Duration,
    /// The server's process.
    pub server_pid: Option<u32>,
}

struct Run {
    request: Vec<u8>,
    message: Rc<[u8]>,
    payload: Vec<u8>,
    raw: bool,
    lanes: Vec<Lane>,
    served: usize,
    started: bool,
    latencies: Latencies,
    echoes: u64,
    wrong: u64,
    lost: u64,
    first_failure: Option<String>,
}

/// One connection's state.
struct Lane {
    id: ConnectionId,
    subscriber: Subscriber,
    /// Bytes of the reply so far.
    received: usize,
    sent_ns: u64,
}

/// Runs the plan.
pub fn run(plan: &EchoPlan) -> Result<EchoReport> {
    let mut engine = Engine::new(plan.connections as u64).doing("create a ring")?;
    let mut run = Run::new(plan);
    let route = Route { target: plan.address, source: None };
    for _ in 0..plan.connections {
        let id = engine.io.open(&route).doing("open a connection")?;
        run.lanes.push(Lane::new(id, run.raw));
    }
    run.turn_until(&mut engine, Instant::now() + CONNECT_TIMEOUT, |run| {
        run.served + run.lost as usize == plan.connections
    })?;
    run.check_served(plan.connections)?;

    run.started = true;
    for index in 0..run.lanes.len() {
        run.send(&mut engine.io, index);
    }
    run.turn_until(&mut engine, Instant::now() + plan.warm_up, |_| false)?;
    run.latencies.clear();
    let (before, echoes_before) = (Mark::now(plan.server_pid)?, run.echoes);
    run.turn_until(&mut engine, before.at + plan.measured, |_| false)?;
    let after = Mark::now(plan.server_pid)?;
    match run.echoes - echoes_before {
        0 => Err(ServerFault::Silent.into()),
        echoes => Ok(run.report(plan, &before, &after, echoes)),
    }
}

impl Run {
    fn new(plan: &EchoPlan) -> Self {
        let raw = plan.target.scheme == Scheme::Tcp;
        let payload: Vec<u8> = (0..plan.message_bytes).map(|n| b'a' + (n % 26) as u8).collect();
        Self {
            request: if raw { Vec::new() } else { Subscriber::request(Transport::Ws, &plan.target) },
            message: if raw {
                Rc::from(&payload[..])
            } else {
                encode_message(Opcode::Binary, &payload).into()
            },
            payload,
            raw,
            lanes: Vec::with_capacity(plan.connections),
            served: 0,
            started: false,
            latencies: Latencies::new(),
            echoes: 0,
            wrong: 0,
            lost: 0,
            first_failure: None,
        }
    }

    fn turn_until(
        &mut self,
        engine: &mut Engine,
        deadline: Instant,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        while Instant::now() < deadline && !done(self) {
            engine
                .turn(until(deadline, TURN), |io, id, event| self.handle(io, id, event))
                .doing("wait for events")?;
            if self.lost as usize == self.lanes.len() {
                return Err(ServerFault::AllLost(self.first_failure.clone()).into());
            }
        }
        Ok(())
    }

    fn check_served(&self, asked: usize) -> Result<()> {
        if self.served == asked {
            return Ok(());
        }
        Err(ServerFault::NotServed { served: self.served, asked, why: self.first_failure.clone() }.into())
    }

    fn handle(&mut self, io: &mut Io, id: ConnectionId, event: Event<'_>) {
        match event {
            Event::Received(bytes) => self.receive(io, id, bytes),
            Event::Connected if self.raw => self.served += 1,
            Event::Connected => {
                if io.send(id, &self.request).is_err() {
                    self.lose(io, id, "the server closed the connection".to_owned());
                }
            }
            Event::Closed(error) => self.lose(io, id, describe(error.as_ref())),
        }
    }

    fn receive(&mut self, io: &mut Io, id: ConnectionId, bytes: &mut [u8]) {
        let lane = &mut self.lanes[id.index as usize];
        let (mut received, mut wrong, mut served, mut closing) = (lane.received, false, false, false);
        let mut take = |data: &[u8]| {
            wrong |= self.payload.get(received..received + data.len()) != Some(data);
            received += data.len();
        };
        if self.raw {
            take(bytes);
        } else {
            let result = lane.subscriber.handle(bytes, |notice| match notice {
                Notice::Message(data) => take(data),
                Notice::Served => served = true,
                Notice::Reply(reply) => drop(io.send(id, &reply)),
                Notice::Closing => closing = true,
                Notice::Answered(_) => {}
            });
            if let Err(error) = result {
                return self.lose(io, id, error.to_string());
            }
        }
        lane.received = received;
        self.served += usize::from(served);
        if closing {
            return self.lose(io, id, "the server sent a close frame".to_owned());
        }
        if wrong || received >= self.payload.len() {
            self.finish(io, id, wrong);
        }
    }

    /// A reply is complete, or wrong beyond repair: either way the next message goes out.
    fn finish(&mut self, io: &mut Io, id: ConnectionId, wrong: bool) {
        if !self.started {
            return;
        }
        let now_ns = monotonic_ns();
        let lane = &mut self.lanes[id.index as usize];
        self.latencies.record_ns(now_ns - lane.sent_ns);
        lane.received = 0;
        lane.sent_ns = now_ns;
        self.wrong += u64::from(wrong);
        self.echoes += u64::from(!wrong);
        if io.send_shared(id, &self.message).is_err() {
            self.lose(io, id, "the server closed the connection".to_owned());
        }
    }

    fn send(&mut self, io: &mut Io, index: usize) {
        let lane = &mut self.lanes[index];
        lane.sent_ns = monotonic_ns();
        let id = lane.id;
        if io.send_shared(id, &self.message).is_err() {
            self.lose(io, id, "the server closed the connection".to_owned());
        }
    }

    fn lose(&mut self, io: &mut Io, id: ConnectionId, why: String) {
        io.close(id);
        self.lost += 1;
        self.first_failure.get_or_insert(why);
    }

    fn report(&self, plan: &EchoPlan, before: &Mark, after: &Mark, echoes: u64) -> EchoReport {
        let (client, server) = before.cpu_until(after, echoes);
        let seconds = (after.at - before.at).as_secs_f64();
        EchoReport {
            load: "closed",
            connections: plan.connections,
            message_bytes: plan.message_bytes,
            seconds,
            echoes,
            echoes_per_second: echoes as f64 / seconds,
            wrong: self.wrong,
            lost: self.lost,
            latency: self.latencies.summary(),
            bottleneck: Bottleneck::judge(&client, server.as_ref()),
            client,
            server,
        }
    }
}

impl Lane {
    fn new(id: ConnectionId, raw: bool) -> Self {
        let transport = if raw { Transport::Tcp } else { Transport::Ws };
        Self { id, subscriber: Subscriber::new(transport), received: 0, sent_ns: 0 }
    }
}
