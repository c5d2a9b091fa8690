//! Whole shards in one thread. A seed decides which shard has its turn, and how time passes.
//!
//! Issuers and speakers have no sockets: they poll, and what they are told is read from where it waits for a poll. Clients that are
//! cut and come back have some (`returning`, by `client` and against `missed`), and so have those that stay connected when other
//! shards take the place of these (`travelling`; `polled` of those that poll).
//!
//! ```text
//!   script ─► issuers' sessions ─► shard 0 ┐
//!                                  shard 1 ├─ links ─► what each socket has heard ─► oracle
//!                                  shard 2 ┘
//! ```
//!
//! `pausing` is about a client that asks and does not read.
//!
//! `ROADSTEAD_SIM_SEED=17 cargo test -p roadstead --lib simulated` replays one seed, which a failure prints.

mod client;
mod missed;
mod mixed;
mod oracle;
mod order;
mod pausing;
mod polled;
mod returning;
mod travelling;

use super::Session;
use crate::{
    app::{
        Message,
        socketio::{Io, SocketId, application},
    },
    model::ShardId,
    session::Engine,
    shard::simulated::{Common, Shards},
};

/// Connections for which a shard has room: none comes.
const CONNECTIONS: u32 = 4;
/// The wheel never comes to this.
const NEVER_MS: u32 = 1_000_000_000;

/// Shards, and how Socket.IO's clients use them.
struct World {
    shards: Shards,
}

/// A client in `/`.
#[derive(Clone, Copy, Debug)]
struct Player {
    session: u32,
    id: SocketId,
}

impl World {
    fn new(shards: u16, hash_seed: u64, register: impl Fn(&Io) + Clone + Send + Sync + 'static) -> Self {
        Self::of(&Common { shards, hash_seed, ..Common::of_one(CONNECTIONS) }, register)
    }

    fn of(common: &Common, register: impl Fn(&Io) + Clone + Send + Sync + 'static) -> Self {
        Self { shards: Shards::new(common, application(register)) }
    }

    /// A client opens a session on a shard and enters.
    fn enter(&mut self, shard: u16) -> Player {
        let session = Session::new(Engine::new([0; 9], None));
        let session = self.shards.all[usize::from(shard)].engines.take_in(session, NEVER_MS);
        let mut player = Player { session, id: SocketId::local(ShardId(shard), 0, 0) };
        self.say(player, "0");
        self.shards.settle();
        let heard = self.take_heard(player);
        let entered: serde_json::Value = serde_json::from_str(&heard[0][2..]).expect("it is in");
        player.id = SocketId::parse(entered["sid"].as_str().expect("an id")).expect("an id");
        player
    }

    /// A client sends a packet of Socket.IO.
    fn say(&mut self, player: Player, packet: &str) {
        let shard = &mut self.shards.all[usize::from(player.id.shard.0)];
        shard.hear_socketio(player.session, Message::Text(packet)).expect("a packet");
    }

    /// The packets of Engine.IO that wait for a client.
    fn take_heard(&mut self, player: Player) -> Vec<String> {
        let engines = &mut self.shards.all[usize::from(player.id.shard.0)].engines;
        let session = engines.sessions.get_mut(player.session).expect("it is there");
        let bytes = session.engine.queue.take_bytes();
        let payload = String::from_utf8(bytes).expect("text");
        payload.split('\u{1e}').filter(|packet| !packet.is_empty()).map(str::to_owned).collect()
    }
}
