//! Whole shards in one thread, without clients' sockets: their clients poll, and what they are told is read from where it waits
//! for a poll. A seed decides which shard has its turn, and how time passes.
//!
//! ```text
//!   script ─► issuers' sessions ─► shard 0 ┐
//!                                  shard 1 ├─ links ─► what each socket has heard ─► oracle
//!                                  shard 2 ┘
//! ```
//!
//! `ROADSTEAD_SIM_SEED=17 cargo test -p roadstead --lib simulated` replays one seed, which a failure prints.

mod oracle;
mod order;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Session, Shard};
use crate::{
    app::{
        ListenerHosts, Message, Proxies, outside,
        socketio::{Io, Settings, SocketId, application},
    },
    limits::Limits,
    live::Tokens,
    mesh::{self, control},
    model::{AccessSettings, ShardId},
    session::Engine,
    shard::setup::{Forms, Foundation, ShardSetup},
};

/// Connections for which a shard has room: none comes.
const CONNECTIONS: u32 = 4;
/// The wheel never comes to this.
const NEVER_MS: u32 = 1_000_000_000;
/// Rounds of turns after which nothing goes on any more.
const ROUNDS_MAX: usize = 10_000;

/// Shards, and the links between them.
struct World {
    shards: Vec<Shard>,
    clock: Duration,
    /// So that the shards' ends of it live.
    _controls: Vec<mesh::ControlSender>,
}

/// A client in `/`.
#[derive(Clone, Copy, Debug)]
struct Player {
    session: u32,
    id: SocketId,
}

impl World {
    fn new(shards: u16, hash_seed: u64, register: impl Fn(&Io) + Clone + Send + Sync + 'static) -> Self {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| control().expect("an eventfd")).unzip();
        let bells: Vec<_> = receivers.iter().map(|receiver| receiver.doorbell().clone()).collect();
        let make = application(register);
        let ends = mesh::full(&bells).into_iter().zip(receivers).zip(0..);
        let shards = ends.map(|((links, control), id)| {
            let mut setup = setup(ShardId(id), shards, hash_seed, links, control);
            let foundation = Foundation::of(&setup);
            let ring = foundation.make_ring(&setup.control, &setup.pulse).expect("a ring can be made here");
            let hub = foundation.make_hub(&setup, 0);
            let mesh = std::mem::take(&mut setup.links).connect();
            Shard::new(setup, (ring, hub, mesh), make(ShardId(id)), foundation)
        });
        Self { shards: shards.collect(), clock: Duration::ZERO, _controls: senders }
    }

    /// A client opens a session on a shard and enters.
    fn enter(&mut self, shard: u16) -> Player {
        let session = Session::new(Engine::new([0; 9], None));
        let session = self.shards[usize::from(shard)].sockets.take_in(session, 0, NEVER_MS);
        let mut player = Player { session, id: SocketId { shard: ShardId(shard), index: 0, generation: 0 } };
        self.say(player, "0");
        self.settle();
        let heard = self.take_heard(player);
        let entered: serde_json::Value = serde_json::from_str(&heard[0][2..]).expect("it is in");
        player.id = SocketId::parse(entered["sid"].as_str().expect("an id")).expect("an id");
        player
    }

    /// A client sends a packet of Socket.IO.
    fn say(&mut self, player: Player, packet: &str) {
        let shard = &mut self.shards[usize::from(player.id.shard.0)];
        shard.hear_socketio(player.session, Message::Text(packet)).expect("a packet");
    }

    fn turn(&mut self, shard: usize) {
        let shard = &mut self.shards[shard];
        // However long the test takes.
        shard.started = Instant::now() - self.clock;
        shard.turn();
    }

    /// Lets everything that has been asked for take effect.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            (0..self.shards.len()).for_each(|shard| self.turn(shard));
            let is_busy =
                |shard: &Shard| shard.has_more() || shard.mesh.has_arrived() || shard.mesh.depth() > 0;
            if !self.shards.iter().any(is_busy) {
                return;
            }
        }
        panic!("the shards do not come to rest");
    }

    /// The packets of Engine.IO that wait for a client.
    fn take_heard(&mut self, player: Player) -> Vec<String> {
        let sockets = &mut self.shards[usize::from(player.id.shard.0)].sockets;
        let session = sockets.sessions.get_mut(player.session).expect("it is there");
        let bytes = session.engine.queue.take_bytes();
        let payload = String::from_utf8(bytes).expect("text");
        payload.split('\u{1e}').filter(|packet| !packet.is_empty()).map(str::to_owned).collect()
    }
}

fn setup(
    shard: ShardId,
    shards: u16,
    hash_seed: u64,
    links: mesh::Links,
    control: mesh::ControlReceiver,
) -> ShardSetup {
    ShardSetup {
        shard,
        shards,
        core: 0,
        connections_max: CONNECTIONS,
        connections_limit: CONNECTIONS,
        pulse: Arc::default(),
        address_counts: Arc::default(),
        handshake_counts: Arc::default(),
        limits: Limits::default(),
        tokens: Tokens::default(),
        user_counts: Arc::default(),
        desk: None,
        notices: None,
        retentions: Vec::new(),
        outside: outside(|| ()).1,
        access: AccessSettings::default(),
        diagnostic_message_bytes_max: 0,
        forms: Forms::default(),
        tls: None,
        reload: Box::new(|| ()),
        listeners: Vec::new(),
        drain_ms: 0,
        spin: Duration::ZERO,
        started: Instant::now(),
        links,
        control,
        hosts: ListenerHosts::default(),
        proxies: Proxies::default(),
        socketio: Settings::default(),
        epoch_seed: 1,
        hash_seed,
        restarts_max: 0,
        storage: None,
    }
}
