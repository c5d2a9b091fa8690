//! Whole shards in one thread, with the links between them and their real rings, but without their executors: a test gives each
//! its turns, and a clock.
//!
//! `ROADSTEAD_SIM_SEED=17 cargo test -p roadstead --lib simulated` replays one seed, which a failure prints;
//! `ROADSTEAD_SIM_SEEDS=1000` plays so many.

mod client;
mod commands;
pub(super) mod dialogue;
mod kept;
mod oracle;
mod speaker;
mod speakers;
mod spoken;

use std::{
    io::{ErrorKind, Read},
    os::{fd::AsFd, unix::net::UnixStream},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    acceptors::Arrival,
    addresses::Entering,
    foundation::Foundation,
    peers::Peers,
    setup::{Forms, ShardSetup},
    turn::Shard,
};
use crate::{
    app::{Handler, ListenerHosts, Proxies, guard::Panicked, outside, socketio::Settings},
    limits::Limits,
    live::Tokens,
    mesh::{self, Legacy, control},
    model::{AccessSettings, ShardId},
};

/// Reads what has come, so many bytes at most, behind what was received before; how many that were, and whether the other end
/// has gone.
pub(super) fn receive(socket: &mut UnixStream, into: &mut Vec<u8>, bytes: usize) -> (usize, bool) {
    let (mut buffer, mut read) = ([0; 16_384], 0);
    while read < bytes {
        let len = buffer.len().min(bytes - read);
        match socket.read(&mut buffer[..len]) {
            Ok(0) => return (read, true),
            Ok(count) => {
                into.extend_from_slice(&buffer[..count]);
                read += count;
            }
            Err(error) => return (read, error.kind() != ErrorKind::WouldBlock),
        }
    }
    (read, false)
}

/// Rounds of turns after which nothing goes on any more.
pub(super) const ROUNDS_MAX: usize = 10_000;

/// Shards, and the links between them.
pub(super) struct Shards {
    pub(super) all: Vec<Shard>,
    pub(super) clock: Duration,
    /// Makes the handlers of shards that begin anew.
    make: Rc<dyn Fn(ShardId) -> Box<dyn Handler>>,
    /// What a supervisor tells them by.
    pub(super) controls: Vec<mesh::ControlSender>,
}

/// What all shards of a world have in common.
pub(super) struct Common {
    pub(super) shards: u16,
    pub(super) limits: Limits,
    /// Connections for which each shard has room.
    pub(super) connections: u32,
    pub(super) hash_seed: u64,
    pub(super) socketio: Settings,
}

impl Common {
    /// One shard that keeps what it does by default.
    pub(super) fn of_one(connections: u32) -> Self {
        Self {
            shards: 1,
            limits: Limits::default(),
            connections,
            hash_seed: 1,
            socketio: Settings::default(),
        }
    }
}

impl Shards {
    pub(super) fn new(common: &Common, make: impl Fn(ShardId) -> Box<dyn Handler> + 'static) -> Self {
        // What the shards leave to chance, they do on this thread.
        fastrand::seed(common.hash_seed);
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..common.shards).map(|_| control().expect("an eventfd")).unzip();
        let bells: Vec<_> = receivers.iter().map(|receiver| receiver.doorbell().clone()).collect();
        let ends = mesh::full(&bells).into_iter().zip(receivers).zip(0..);
        let all = ends.map(|((links, control), id)| {
            let mut setup = setup(ShardId(id), common, links, control);
            let foundation = Foundation::of(&setup);
            let ring = foundation.make_ring(&setup.control, &setup.pulse).expect("a ring can be made here");
            let hub = foundation.make_hub(&setup, 0);
            let peers = Peers::new(setup.shard, setup.shards, std::mem::take(&mut setup.links).connect());
            Shard::new(setup, (ring, hub, peers), make(ShardId(id)), foundation)
        });
        Self { all: all.collect(), clock: Duration::ZERO, make: Rc::new(make), controls: senders }
    }

    /// A client connects to a shard, if that has room; its end, and the shard's number for it. So many bytes on their way to
    /// it are kept by the kernel, at least.
    pub(super) fn connect(&mut self, shard: usize, sent_bytes: usize) -> Option<(UnixStream, u32)> {
        let shard = &mut self.all[shard];
        let index = shard.lines.slab.reserve()?;
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        socket2::SockRef::from(&ours).set_send_buffer_size(sent_bytes).expect("it can be");
        theirs.set_nonblocking(true).expect("it can be");
        shard.lines.ring.adopt(index, ours.as_fd()).expect("it is taken");
        let arrival = Arrival {
            peer: None,
            is_admin: false,
            speaks_tls: false,
            is_redirected: false,
            entering: Entering::Client,
            speaks_http: true,
            is_unnamed: false,
        };
        assert!(shard.open(index, arrival), "there is room");
        Some((theirs, index))
    }

    /// A shard does a turn, and what it has left is submitted.
    pub(super) fn turn(&mut self, shard: usize) {
        let shard = &mut self.all[shard];
        shard.clock.stand_at(self.clock);
        shard.turn();
        shard.lines.ring.enter(0).expect("it enters");
    }

    /// A shard meets a mistake between two turns, and begins anew.
    pub(super) fn fail(&mut self, at: usize) {
        let told = |text: &str| text.to_owned();
        let panicked = Panicked { what: told("told to fail"), place: told("here"), backtrace: String::new() };
        let (shard, make) = (self.all.remove(at), Rc::clone(&self.make));
        let id = shard.id;
        let shard = shard.begin_anew(&panicked, &move || make(id)).expect("it can");
        self.all.insert(at, shard);
    }

    /// Lets everything that has been asked for take effect.
    pub(super) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            (0..self.all.len()).for_each(|shard| self.turn(shard));
            if !self.are_busy() {
                return;
            }
        }
        panic!("the shards do not come to rest");
    }

    /// Whether a turn would find something to do that no client has sent.
    pub(super) fn are_busy(&self) -> bool {
        let is_busy = |shard: &Shard| shard.has_more() || !shard.peers.are_quiet();
        self.all.iter().any(is_busy)
    }
}

fn setup(shard: ShardId, common: &Common, links: mesh::Links, control: mesh::ControlReceiver) -> ShardSetup {
    ShardSetup {
        shard,
        shards: common.shards,
        core: 0,
        connections_max: common.connections,
        connections_limit: common.connections,
        pulse: Arc::default(),
        address_counts: Arc::default(),
        handshake_counts: Arc::default(),
        limits: common.limits.clone(),
        tokens: Tokens::default(),
        user_counts: Arc::default(),
        desk: None,
        notices: None,
        left: Legacy::default(),
        broker: None,
        cluster: None,
        retentions: Vec::new(),
        rules: Arc::default(),
        outside: outside(|| ()).1,
        access: AccessSettings::default(),
        diagnostic_message_bytes_max: 0,
        forms: Forms::default(),
        tls: None,
        errand: Box::new(|_| ()),
        listeners: Vec::new(),
        drain_ms: 0,
        spin: Duration::ZERO,
        started: Instant::now(),
        links,
        control,
        hosts: ListenerHosts::default(),
        proxies: Proxies::default(),
        socketio: common.socketio.clone(),
        epoch_seed: 1,
        hash_seed: common.hash_seed,
        restarts_max: 0,
        storage: None,
    }
}

/// The seeds to play: one that is asked for, or so many, or as many as are asked for; and whether it is not one alone.
pub(super) fn seeds(count: u64) -> (std::ops::Range<u64>, bool) {
    let asked = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    match asked("ROADSTEAD_SIM_SEED") {
        Some(seed) => (seed..seed + 1, false),
        None => (0..asked("ROADSTEAD_SIM_SEEDS").unwrap_or(count), true),
    }
}

/// Tells how to run a seed again.
pub(super) struct Replay(pub(super) u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to see this again: ROADSTEAD_SIM_SEED={} cargo test -p roadstead --lib simulated",
                self.0
            );
        }
    }
}
