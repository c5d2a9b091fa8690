//! What is kept, told to clients that come back: streams of events that catch up, long polls, and pages of history, over whole
//! shards, while more is published. Clients stall, send half of what they ask, read a little, vanish and come back with a
//! position.
//!
//! ```text
//!   publish ─► owner ─► history ─┬─► pieces ─► stream of events ─┐
//!      │                         ├─► page ───► answer ───────────┼─► ring ─► socket ─► client ─► oracle
//!      └────► audience ──────────┴───────────► stream, poll ─────┘
//! ```
//!
//! What it holds against every client's bytes and every shard's memory:
//!
//! * each stream is told everything in order, or that something is lost, which then is kept no more;
//! * each page and answer begins where it was asked to, is whole, and says truly whether there is more;
//! * no more than a piece and what has been asked of it waits for whoever catches up, and no more than may for all others;
//! * when everybody has read there is nothing left to tell, and when everybody has gone nothing is held.

use std::time::Duration;

use super::{
    Common, ROUNDS_MAX, Replay, Shards,
    client::{Ask, Client, What},
    oracle::{Oracle, PUBLICATION_BYTES_MAX, Seen},
    seeds,
};
use crate::{
    app::{Answer, ChannelName, Context, Handler, Payload, Peer, Reply, Request, Response, Ticket, Verdict},
    limits::{HISTORY_PAGE_BYTES_MAX, Limits, RECOVERY_PIECE_BYTES},
    model::{CloseReason, Position, Shown},
    wire::json,
};

const SEEDS: u64 = 60;
const STEPS: u32 = 500;
const CLIENTS_MAX: usize = 10;
const CONNECTIONS: u32 = 16;
const QUEUE_BYTES_MAX: u32 = 200_000;
const ASKED_MAX: usize = 6;
const POLL_MS: u32 = 3_000;
/// Heads and small words.
const WORDS_BYTES: usize = 4_000;
/// What may wait for whoever catches up: as much as leaves room for a piece, and a piece.
const CATCHING_UP_BYTES_MAX: usize = RECOVERY_PIECE_BYTES as usize + PUBLICATION_BYTES_MAX + WORDS_BYTES;
/// For whoever has caught up, and for those who ask for pages: what may wait, and one thing more.
const STREAM_BYTES_MAX: usize = QUEUE_BYTES_MAX as usize + PUBLICATION_BYTES_MAX + WORDS_BYTES;
const ANSWERS_BYTES_MAX: usize = QUEUE_BYTES_MAX as usize + HISTORY_PAGE_BYTES_MAX as usize + WORDS_BYTES;
const _: () = assert!(PUBLICATION_BYTES_MAX as u64 > RECOVERY_PIECE_BYTES);

/// Serves `/events`, `/poll` and `/page`.
struct Server;

impl Handler for Server {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::Refuse(Response::empty(404))
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        let channel = name(&request.query("channel").expect("a channel"));
        let since = request.query("since").map(|since| since.parse().expect("a position"));
        let fields = String::new();
        match request.path() {
            "/events" => Answer::EventStream { channel, since, shown: Shown::default(), fields },
            "/poll" => Answer::LongPoll { channel, since, timeout_ms: POLL_MS, fields },
            _ => {
                let limit = request.query("limit").expect("a limit").parse().expect("a number");
                let ticket = Ticket { connection: peer.connection, token: 0 };
                // The channel comes back with the page as a number.
                let tag = channel.as_str()[1..].parse().expect("a number");
                cx.read_history(ticket, channel, since, limit);
                Answer::Later { tag }
            }
        }
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _: u32, reply: Reply) {
        let response = match reply {
            Reply::History(page) => {
                let (mut body, channel) = (Vec::new(), name(&format!("c{}", peer.tag)));
                let (recovered, more) = (page.recovered, page.has_more);
                json::encode_page(&mut body, &channel, page.position, recovered, more, &page.publications);
                Response::json(200, body)
            }
            Reply::Unread(_) => Response::empty(503),
            other => panic!("{other:?}"),
        };
        cx.respond(peer.connection, response);
    }
}

fn name(text: &str) -> ChannelName {
    ChannelName::new(text, 255).expect("a name")
}

struct World {
    rng: fastrand::Rng,
    shards: Shards,
    clients: Vec<Client>,
    channels: usize,
    oracle: Oracle,
    /// How large publications are, mostly.
    usual_bytes: usize,
    /// What may wait on one shard.
    share_bytes: Option<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (shards, channels, kept_max) = (rng.u16(1..4), rng.usize(1..4), rng.u32(3..40));
        let share_bytes = (rng.u8(..4) == 0).then_some(600_000);
        let limits = Limits {
            send_queue_bytes_max: QUEUE_BYTES_MAX,
            send_bytes_max: share_bytes.map_or(1 << 40, |share| share * u64::from(shards)),
            history_publications_max: kept_max,
            history_age_max_ms: u32::MAX,
            history_bytes_max: 1 << 40,
            // Nobody is too slow to ask or to read, however long.
            head_timeout_ms: 1_000_000,
            keep_alive_timeout_ms: 1_000_000,
            send_timeout_ms: 1_000_000,
            ..Limits::default()
        };
        let common = Common { shards, limits, hash_seed: rng.u64(..), ..Common::of_one(CONNECTIONS) };
        Self {
            shards: Shards::new(&common, |_| Box::new(Server)),
            clients: Vec::new(),
            channels,
            oracle: Oracle::new(channels, kept_max),
            usual_bytes: [200, 5_000, 40_000][rng.usize(..3)],
            share_bytes,
            rng,
        }
    }

    fn step(&mut self) {
        match self.rng.u8(..40) {
            0..3 => self.come(),
            3..7 => self.ask(),
            7..12 => {
                let bytes = self.rng.usize(..200);
                if let Some(client) = self.any_client() {
                    self.clients[client].send(bytes);
                }
            }
            12..17 => self.publish(),
            17..28 => {
                let shard = self.rng.usize(..self.shards.all.len());
                self.turn(shard);
            }
            28..39 => {
                let bytes = [100, 5_000, 100_000][self.rng.usize(..3)];
                if let Some(client) = self.any_client() {
                    self.clients[client].read(bytes, &mut self.oracle);
                }
            }
            _ if self.rng.bool() => {
                if let Some(client) = self.any_client() {
                    self.clients.swap_remove(client);
                }
            }
            _ => self.shards.clock += Duration::from_millis(self.rng.u64(..50)),
        }
    }

    fn any_client(&mut self) -> Option<usize> {
        self.clients.retain(|client| client.socket.is_some());
        (!self.clients.is_empty()).then(|| self.rng.usize(..self.clients.len()))
    }

    /// A client connects.
    fn come(&mut self) {
        let (at, sent_bytes) = (self.rng.usize(..self.shards.all.len()), self.rng.usize(1..40_000));
        if self.clients.len() < CLIENTS_MAX
            && let Some((socket, index)) = self.shards.connect(at, sent_bytes)
        {
            let connection = self.shards.all[at].lines.slab.id(index);
            self.clients.push(Client::new(at, connection, socket));
        }
    }

    /// A client asks for something kept, from a place where somebody may have been.
    fn ask(&mut self) {
        let Some(client) = self.any_client() else { return };
        if !self.clients[client].may_ask(ASKED_MAX) {
            return;
        }
        let channel = self.rng.usize(..self.channels);
        let what = match self.rng.u8(..8) {
            0..3 => What::Events,
            3..5 => What::Poll,
            5 => What::Page(1_000),
            _ => What::Page(self.rng.u32(1..8)),
        };
        let epoch = self.oracle.epoch(channel);
        let since = epoch.filter(|_| self.rng.u8(..5) > 0).map(|epoch| {
            let (published, back) = (self.oracle.published(channel), self.rng.u64(..50));
            let offset = published.saturating_sub(back);
            // What has not reached its owner yet is nowhere anybody has been.
            let offset = offset.min(self.oracle.told_up_to(channel));
            Position { epoch: epoch ^ u64::from(self.rng.u8(..12) == 0), offset }
        });
        self.clients[client].ask(Ask { what, channel, since });
        if self.rng.bool() {
            self.clients[client].send(usize::MAX);
        }
    }

    /// Some publications, on some shard.
    fn publish(&mut self) {
        let at = self.rng.usize(..self.shards.all.len());
        for _ in 0..self.rng.usize(1..6) {
            let channel = self.rng.usize(..self.channels);
            let bytes = match self.rng.u8(..12) {
                0 => PUBLICATION_BYTES_MAX,
                1..4 => 10,
                _ => self.usual_bytes,
            };
            let text = self.oracle.publish(channel, self.rng.usize(..bytes));
            let shard = &mut self.shards.all[at];
            shard.hub.publish(shard.now, name(&format!("c{channel}")), Payload::text_of(&text, None), None);
        }
    }

    fn turn(&mut self, at: usize) {
        self.shards.turn(at);
        let shard = &self.shards.all[at];
        for index in 0..shard.lines.slab.len() {
            let waiting = shard.lines.waiting(index);
            assert!(waiting <= ANSWERS_BYTES_MAX, "{waiting} bytes wait for {index}");
        }
        for client in self.clients.iter().filter(|client| client.shard == at && client.only_follows()) {
            let index = client.connection.index;
            let is_there = shard.lines.slab.id(index) == client.connection;
            let most = if shard.catch_ups.has(index) { CATCHING_UP_BYTES_MAX } else { STREAM_BYTES_MAX };
            let waiting = shard.lines.waiting(index);
            assert!(!is_there || waiting <= most, "{waiting} bytes of a stream wait for {index}, of {most}");
        }
        if let Some(share) = self.share_bytes {
            // One answer is let through, whoever has to go for it.
            let held = shard.lines.held_bytes();
            assert!(held <= share + 2 * HISTORY_PAGE_BYTES_MAX, "{held} bytes are held");
        }
    }

    /// Everybody reads until there is nothing left to tell.
    fn finish(&mut self) {
        let mut idle = 0;
        while idle < 20 {
            self.shards.clock += Duration::from_millis(1);
            (0..self.shards.all.len()).for_each(|shard| self.turn(shard));
            let mut read = 0;
            for client in &mut self.clients {
                client.send(usize::MAX);
                read += client.read(usize::MAX, &mut self.oracle);
            }
            idle = if read == 0 && !self.shards.are_busy() { idle + 1 } else { 0 };
        }
    }

    fn end(mut self) -> Seen {
        self.finish();
        // Polls for which nothing has come are answered.
        self.shards.clock += Duration::from_millis(u64::from(POLL_MS) * ASKED_MAX as u64);
        for _ in 0..=ASKED_MAX {
            self.finish();
            self.shards.clock += Duration::from_millis(2 * u64::from(POLL_MS));
        }
        for client in self.clients.iter().filter(|client| client.socket.is_some()) {
            assert!(client.asked.is_empty(), "{:?} of {} is not answered", client.asked, client.shard);
            if let Some(follows) = client.follows {
                assert_eq!(follows.place, Some(self.oracle.published(follows.channel)), "it is up to date");
            }
        }
        let slow = CloseReason::SlowConsumer.index();
        let ended: u64 = self.shards.all.iter().map(|shard| shard.report.closed_total[slow]).sum();
        assert!(self.oracle.seen.cuts <= ended, "{} were cut, {ended} as slow", self.oracle.seen.cuts);
        self.clients.clear();
        self.finish();
        self.shards.clock += Duration::from_secs(10);
        // The kernel closes some of them on threads of its own.
        let are_there = |shards: &Shards| shards.all.iter().any(|shard| shard.report.connections > 0);
        let mut rounds = 0;
        while rounds < ROUNDS_MAX && are_there(&self.shards) {
            std::thread::yield_now();
            self.finish();
            rounds += 1;
        }
        for shard in &self.shards.all {
            assert_eq!(shard.lines.outbox.total_bytes(), 0, "nothing is held when nobody is left");
            assert_eq!((shard.report.connections, shard.whole_report().subscriptions), (0, 0));
        }
        self.oracle.seen
    }
}

#[test]
fn whoever_comes_back_is_told_what_is_kept_byte_for_byte_and_no_more_than_a_piece_waits_for_it() {
    let (seeds, are_all) = seeds(SEEDS);
    let mut all = Seen::default();
    for seed in seeds {
        let _replay = Replay(seed);
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        all += world.end();
    }
    if are_all {
        eprintln!("{all:?}");
        assert!(all.publications > 5_000 && all.told > 5_000, "{all:?}");
        assert!(all.resets > 20 && all.gaps > 20 && all.pages > 100 && all.polls > 100, "{all:?}");
        assert!(all.cuts > 20, "{all:?}");
    }
}
