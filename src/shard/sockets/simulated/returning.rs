//! Clients of Socket.IO that are cut and come back (connection state recovery), over whole shards: to the shard where they were or
//! to another, while others speak in rooms, to everybody and to one socket alone. Clients stall, send half of what they say, read a
//! little, do not answer pings, vanish, and come back by what they were told.
//!
//! ```text
//!   speakers ─► shards ─┬─► log ─► pieces ─► socket of who has come back ─┐
//!                       └──────────────────► sockets of the others ───────┼─► client, byte by byte ─► oracle
//!                                                 a witness of every room ┘
//! ```
//!
//! What it holds against every client's bytes and every shard's memory:
//!
//! * each stay in a room is told all that was said in it, in its order, once, however often its client was cut;
//! * so is what each speaker says to one socket alone;
//! * who is told that not all is held was away while more was said than may be held;
//! * no more than a piece and what is in hand waits for whoever catches up, and no more than may for all others;
//! * a log keeps no more than it may, and nothing is held when everybody has gone.

use std::time::Duration;

use serde_json::json;

use super::{
    Player, World,
    client::Client,
    missed::{FILLING_BYTES_MAX, Oracle, ROOMS, Seen, UNSETTLED_BYTES_MAX},
};
use crate::{
    app::socketio::{Io, Settings, Socket},
    limits::{Limits, RECOVERY_PIECE_BYTES, RECOVERY_QUEUES_MAX, RECOVERY_READ_MS},
    shard::{
        connection::Flags,
        simulated::{Common, Replay, seeds},
    },
};

const SEEDS: u64 = 40;
const STEPS: u32 = 700;
const CLIENTS: usize = 6;
const CONNECTIONS: u32 = 24;
const QUEUE_BYTES_MAX: u32 = 200_000;
const RECOVERY_MS: u32 = 1_000_000;
/// What a log may keep where it is small.
const SMALL_LOG_BYTES: u32 = 150_000;
/// Heads, names and small words.
const WORDS_BYTES: usize = 4_000;
/// What may wait for whoever catches up: as much as leaves room for a piece, a piece, and the event that ends it.
const CATCHING_UP_BYTES_MAX: usize = 2 * RECOVERY_PIECE_BYTES as usize + FILLING_BYTES_MAX + WORDS_BYTES;
/// Rounds of turns after which nothing goes on any more.
const ROUNDS_MAX: usize = 10_000;
/// For all others: what may wait, and one thing more.
const WAITING_BYTES_MAX: usize = QUEUE_BYTES_MAX as usize + FILLING_BYTES_MAX + WORDS_BYTES;

fn register(io: &Io) {
    io.on_with_ack("join", |socket: &Socket, room: String, ack| {
        socket.join(room);
        ack.send(&[(); 0]);
    });
    io.on_with_ack("leave", |socket: &Socket, room: String, ack| {
        socket.leave(room);
        ack.send(&[(); 0]);
    });
    io.on("say", |socket: &Socket, (room, number, filling, except): (usize, u64, String, Option<String>)| {
        let io = socket.io();
        let to = match except {
            Some(except) => io.except(except),
            None => io.except(Vec::<String>::new()),
        };
        let to = if room > 0 { to.to(format!("r{room}")) } else { to };
        to.emit("said", &(room, number, filling));
    });
    io.on("tell", |socket: &Socket, (to, speaker, number, filling): (String, usize, u64, String)| {
        socket.io().to(to).emit("told", &(speaker, number, filling));
    });
}

struct Scene {
    rng: fastrand::Rng,
    world: World,
    /// One for each shard; the first is the witness.
    speakers: Vec<Player>,
    clients: Vec<Client>,
    oracle: Oracle,
    usual_bytes: usize,
    unsettled_bytes: usize,
    log_bytes_max: u32,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let shards = rng.u16(1..4);
        let log_bytes_max = if rng.u8(..3) == 0 { SMALL_LOG_BYTES } else { u32::MAX };
        let limits = Limits {
            send_queue_bytes_max: QUEUE_BYTES_MAX,
            // Nobody is too slow to ask or to read, however long.
            head_timeout_ms: 1_000_000,
            keep_alive_timeout_ms: 1_000_000,
            send_timeout_ms: 1_000_000,
            ..Limits::default()
        };
        let socketio = Settings {
            ping_interval_ms: 3_000,
            ping_timeout_ms: 2_000,
            recovery_ms: RECOVERY_MS,
            recovery_bytes_max: log_bytes_max,
            ..Settings::default()
        };
        let hash_seed = rng.u64(..);
        let common = Common { shards, limits, connections: CONNECTIONS, hash_seed, socketio };
        let mut world = World::of(&common, register);
        let speakers: Vec<_> = (0..shards).map(|shard| world.enter(shard)).collect();
        for room in 1..ROOMS {
            world.say(speakers[0], &format!("21{}", json!(["join", format!("r{room}")])));
        }
        world.shards.settle();
        let queues_bytes = RECOVERY_QUEUES_MAX * QUEUE_BYTES_MAX as usize;
        let mut scene = Self {
            world,
            speakers,
            clients: (0..CLIENTS).map(|_| Client::new()).collect(),
            oracle: Oracle::new(queues_bytes.min(log_bytes_max as usize)),
            usual_bytes: [200, 2_000, 10_000][rng.usize(..3)],
            unsettled_bytes: 0,
            log_bytes_max,
            rng,
        };
        scene.listen();
        scene
    }

    fn step(&mut self) {
        let client = self.rng.usize(..self.clients.len());
        let (client, bytes) = (&mut self.clients[client], [100, 5_000, 100_000][self.rng.usize(..3)]);
        match self.rng.u8(..40) {
            0..3 => self.come(),
            3..6 => client.change(self.rng.usize(1..ROOMS), &mut self.oracle),
            6..12 => client.send(self.rng.usize(..200)),
            12..17 => self.speak(),
            17..27 => {
                let shard = self.rng.usize(..self.speakers.len());
                self.turn(shard);
            }
            27..38 => _ = client.read(bytes, &mut self.oracle),
            38 => client.cut(&mut self.oracle),
            _ => self.world.shards.clock += Duration::from_millis(self.rng.u64(..1_500)),
        }
    }

    /// Somebody who is not connected connects, to any shard.
    fn come(&mut self) {
        let (at, sent_bytes) = (self.rng.usize(..self.speakers.len()), self.rng.usize(1..40_000));
        if let Some(client) = self.clients.iter().position(|client| client.socket.is_none())
            && let Some((socket, _)) = self.world.shards.connect(at, sent_bytes)
        {
            self.clients[client].connect(socket);
            if self.rng.bool() {
                self.clients[client].send(usize::MAX);
            }
        }
    }

    /// A speaker says a few things, in rooms or to somebody alone.
    fn speak(&mut self) {
        let speaker = self.rng.usize(..self.speakers.len());
        for _ in 0..self.rng.usize(1..4) {
            let most = match self.rng.u8(..10) {
                0 => FILLING_BYTES_MAX,
                1..4 => 10,
                _ => self.usual_bytes,
            };
            let (bytes, somebody) = (self.rng.usize(..most), self.rng.usize(..self.clients.len()));
            let (sid, filling) = (self.clients[somebody].sid.clone(), "x".repeat(bytes));
            let event = match (sid, self.rng.u8(..6)) {
                (Some(sid), 0) => {
                    let number = self.oracle.say_alone(&sid, speaker, bytes);
                    json!(["tell", sid, speaker, number, filling])
                }
                (sid, one) => {
                    let except = sid.filter(|_| one == 1);
                    let number = self.oracle.say(bytes, except.as_deref());
                    json!(["say", self.rng.usize(..ROOMS), number, filling, except])
                }
            };
            self.world.say(self.speakers[speaker], &format!("2{event}"));
            self.unsettled_bytes += bytes;
        }
        if self.unsettled_bytes > UNSETTLED_BYTES_MAX - 3 * FILLING_BYTES_MAX {
            self.settle();
        }
    }

    /// What has been said reaches every shard.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if !self.world.shards.are_busy() {
                self.unsettled_bytes = 0;
                return;
            }
            self.turn_all();
        }
        panic!("the shards do not come to rest");
    }

    fn turn_all(&mut self) {
        (0..self.speakers.len()).for_each(|shard| self.turn(shard));
    }

    fn turn(&mut self, at: usize) {
        let moved = self.world.shards.all[at].report.handed_over_total;
        self.world.shards.turn(at);
        self.listen();
        let shard = &self.world.shards.all[at];
        self.oracle.seen.moved += shard.report.handed_over_total - moved;
        for index in 0..shard.lines.slab.len() {
            let catches_up = shard.lines.slab.look(index).flags.has(Flags::CATCHING_UP);
            let most = if catches_up { CATCHING_UP_BYTES_MAX } else { WAITING_BYTES_MAX };
            let waiting = shard.lines.waiting(index);
            assert!(waiting <= most, "{waiting} bytes wait for {index}, of {most}");
        }
        let held = shard.engines.log.held();
        assert!(held.1 <= self.log_bytes_max as usize, "{held:?} events and bytes are kept");
    }

    /// The speakers hear what they are told, and the witness tells of it.
    fn listen(&mut self) {
        for speaker in 0..self.speakers.len() {
            for packet in self.world.take_heard(self.speakers[speaker]) {
                let Some(json) = packet.strip_prefix("42").filter(|_| speaker == 0) else { continue };
                let event: Vec<serde_json::Value> = serde_json::from_str(json).expect("an event");
                let [room, number] = [1, 2].map(|at: usize| event[at].as_u64().expect("a number"));
                self.oracle.witness(room as usize, number);
            }
        }
    }

    /// Everybody is there, and reads until there is nothing left to tell.
    fn finish(&mut self) {
        let mut idle = 0;
        while idle < 20 {
            self.world.shards.clock += Duration::from_millis(1);
            self.come();
            self.turn_all();
            let mut read = 0;
            for client in &mut self.clients {
                client.send(usize::MAX);
                read += client.read(usize::MAX, &mut self.oracle);
            }
            let is_quiet = read == 0 && !self.world.shards.are_busy();
            idle = if is_quiet && self.clients.iter().all(Client::is_settled) { idle + 1 } else { 0 };
        }
    }

    fn end(mut self) -> Seen {
        self.finish();
        self.oracle.check(self.clients.iter().filter_map(|client| client.sid.clone()));
        self.clients.iter_mut().for_each(|client| client.cut(&mut self.oracle));
        self.clients.clear();
        // The kernel closes some of them on threads of its own.
        let are_there =
            |scene: &Self| scene.world.shards.all.iter().any(|shard| shard.report.connections > 0);
        for _ in 0..ROUNDS_MAX {
            if are_there(&self) {
                std::thread::yield_now();
                self.turn_all();
            }
        }
        assert!(!are_there(&self), "everybody has gone");
        self.world.shards.clock += Duration::from_millis(u64::from(RECOVERY_MS) + RECOVERY_READ_MS + 1_000);
        self.settle();
        self.turn_all();
        // What is kept goes with what is kept next.
        self.world.say(self.speakers[0], &format!("2{}", json!(["say", 0, 0, "", null])));
        self.settle();
        for shard in &self.world.shards.all {
            let engines = &shard.engines;
            assert_eq!((engines.sockets.len(), engines.sessions.len()), (1, 1), "speakers are left");
            assert!(engines.held.is_empty() && engines.returning.is_empty() && engines.foreign.is_empty());
            assert_eq!(engines.log.held().0, 1, "what was kept for those who do not come back has gone");
            assert_eq!((shard.lines.outbox.total_bytes(), engines.queued_bytes.get()), (0, 0));
        }
        self.oracle.seen
    }
}

#[test]
fn whoever_is_cut_and_comes_back_is_told_what_it_missed_byte_for_byte_and_no_more_than_a_piece_waits_for_it()
{
    let (seeds, are_all) = seeds(SEEDS);
    let mut all = Seen::default();
    for seed in seeds {
        let _replay = Replay(seed);
        let mut scene = Scene::new(seed);
        (0..STEPS).for_each(|_| scene.step());
        all += scene.end();
    }
    if are_all {
        eprintln!("{all:?}");
        assert!(all.said > 2_000 && all.heard > 5_000 && all.alone > 100, "{all:?}");
        assert!(all.cuts > 200 && all.recovered > 100 && all.lost > 5 && all.moved > 20, "{all:?}");
    }
}
