//! WebSockets over whole shards, as the program serves them: those of `/ws`, which follow several channels and publish, and those
//! of one channel, which publish on the wire. They stall, send half of what they say, flood, vanish, and come back with the
//! positions they have heard; and shards do no turns for some time, or fail and begin anew.
//!
//! ```text
//!   command, frame ─► session ─► owner ─► history ──► pieces ─┐
//!                                   └────► audience ──────────┴─► ring ─► socket ─► client ─► oracle
//! ```
//!
//! What it holds against every client's bytes and every shard's memory:
//!
//! * each is told everything in order and whole, or that something is lost, which then is kept no more, or was a failed shard's,
//!   or was dropped by a full link;
//! * what one client says in one channel stands there in that order, once;
//! * each command is answered once;
//! * no turn hears more than it may, and no more waits than may: for one client, for one link, and on one shard;
//! * whoever is cut is counted, by why;
//! * when everybody has read they are where the channels are, and when everybody has gone nothing is held.

use std::time::Duration;

use serde_json::json;

use super::{
    Common, ROUNDS_MAX, Replay, Shards,
    dialogue::Dialogue,
    seeds,
    speaker::{Asked, CHANNELS_MAX, Client, Commands, Kind, name},
    spoken::{Seen, Spoken},
};
use crate::{
    api::{ChannelServer, Settings},
    app::Handler,
    config::Config,
    limits::{HEARD_PER_TURN_MAX, Limits, ORDER_WAIT_MAX_MS, RECOVERY_PIECE_BYTES},
    mesh::Bounds,
    model::CloseReason,
    wire::websocket::Opcode,
};

const SEEDS: u64 = 40;
const STEPS: u32 = 500;
const RESTING_ROUNDS: u32 = 15;
const CLIENTS_MAX: usize = 12;
const CONNECTIONS: u32 = 24;
const QUEUE_BYTES_MAX: u32 = 80_000;
const PUBLICATION_BYTES_MAX: usize = 20_000;
/// Replies, and words that say little.
const WORDS_BYTES: usize = 20_000;
/// What may wait for one client: what may for all, and for each channel that it catches up with a piece.
const WAITING_BYTES_MAX: usize = QUEUE_BYTES_MAX as usize
    + CHANNELS_MAX * (RECOVERY_PIECE_BYTES as usize + PUBLICATION_BYTES_MAX)
    + PUBLICATION_BYTES_MAX
    + WORDS_BYTES;
const PARTIAL_BYTES_MAX: u64 = 150_000;
const MESSAGE_BYTES_MAX: u64 = 100_000;
/// A publication and what it is kept in.
const PARCEL_BYTES_MAX: usize = PUBLICATION_BYTES_MAX + 1_000;
const NARROW: Bounds = Bounds { messages: 100, bytes: 60_000 };

struct World {
    rng: fastrand::Rng,
    shards: Shards,
    clients: Vec<Client>,
    numbers: u64,
    channels: usize,
    spoken: Spoken,
    share_bytes: Option<u64>,
    may_fail: bool,
    is_narrow: bool,
    /// One that does no turns.
    stalled: Option<usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (shards, channels, kept_max) = (rng.u16(1..5), rng.usize(1..=CHANNELS_MAX), rng.u32(3..400));
        let share_bytes = (rng.u8(..4) == 0).then_some(400_000);
        let limits = Limits {
            send_queue_bytes_max: QUEUE_BYTES_MAX,
            send_bytes_max: share_bytes.map_or(1 << 40, |share| share * u64::from(shards)),
            partial_input_bytes_max: PARTIAL_BYTES_MAX * u64::from(shards),
            message_bytes_max: MESSAGE_BYTES_MAX as u32,
            history_publications_max: kept_max,
            history_age_max_ms: u32::MAX,
            history_bytes_max: 1 << 40,
            // Nobody is too slow to say or to read something, however long.
            head_timeout_ms: 1_000_000,
            keep_alive_timeout_ms: 1_000_000,
            send_timeout_ms: 1_000_000,
            message_timeout_ms: 1_000_000,
            ping_interval_ms: 1_000_000,
            ..Limits::default()
        };
        let settings = Settings::from_config(&Config { limits: limits.clone(), ..Config::default() });
        let settings = settings.expect("nothing is read from files");
        let make = move |_| Box::new(ChannelServer::new(settings.clone())) as Box<dyn Handler>;
        let common = Common { shards, limits, hash_seed: rng.u64(..), ..Common::of_one(CONNECTIONS) };
        let (mut shards, is_narrow) = (Shards::new(&common, make), rng.u8(..3) == 0);
        if is_narrow {
            shards.all.iter_mut().for_each(|shard| shard.peers.narrow(NARROW));
        }
        Self {
            shards,
            clients: Vec::new(),
            numbers: 0,
            channels,
            spoken: Spoken::new(kept_max),
            share_bytes,
            may_fail: rng.u8(..3) == 0,
            is_narrow,
            stalled: None,
            rng,
        }
    }

    fn step(&mut self) {
        match self.rng.u8(..43) {
            0..3 => self.come(),
            3..8 => self.ask(),
            8..15 => self.speak(),
            15..20 => {
                let bytes = [3, 60, 3_000, 100_000][self.rng.usize(..4)];
                if let Some(client) = self.any_there() {
                    self.clients[client].send(bytes);
                }
            }
            20..30 => {
                let shard = self.rng.usize(..self.shards.all.len());
                if self.stalled != Some(shard) {
                    self.turn(shard);
                }
            }
            30..39 => {
                let bytes = [100, 5_000, 100_000][self.rng.usize(..3)];
                if let Some(client) = self.any_there() {
                    self.clients[client].read(bytes, &mut self.spoken);
                }
            }
            39 => {
                if let Some(client) = self.any_there() {
                    self.clients[client].dialogue = None;
                }
            }
            40 if self.may_fail && self.rng.u8(..4) == 0 => self.fail(),
            40 => {
                let shard = self.rng.usize(..self.shards.all.len());
                self.stalled = self.rng.bool().then_some(shard);
            }
            41 if self.rng.u8(..3) == 0 => self.rest(),
            _ => self.shards.clock += Duration::from_millis(self.rng.u64(..50)),
        }
    }

    /// For a while everybody reads, and nobody says anything more.
    fn rest(&mut self) {
        self.stalled = None;
        (0..RESTING_ROUNDS).for_each(|_| _ = self.round());
    }

    fn any_there(&mut self) -> Option<usize> {
        let there: Vec<_> = (0..self.clients.len()).filter(|at| self.clients[*at].is_there()).collect();
        self.rng.choice(there)
    }

    /// A client connects, for the first time or again.
    fn come(&mut self) {
        let (shard, sent_bytes) = (self.rng.usize(..self.shards.all.len()), self.rng.usize(1..40_000));
        let gone = (0..self.clients.len()).find(|at| !self.clients[*at].is_there());
        let at = match gone {
            Some(at) if self.rng.bool() || self.clients.len() == CLIENTS_MAX => at,
            _ if self.clients.len() == CLIENTS_MAX => return,
            _ => {
                let kind = match self.rng.u8(..12) {
                    0 => Kind::Flood,
                    1 => Kind::Half(self.rng.usize(1..90_000)),
                    2..4 => Kind::Raw { channel: self.rng.usize(..self.channels), heard: None },
                    _ => Kind::Commands(Commands::default()),
                };
                self.clients.push(Client { number: 0, shard, dialogue: None, kind });
                self.clients.len() - 1
            }
        };
        // What is on its way of another connection may come behind what this one says.
        self.numbers += 1;
        self.clients[at].number = self.numbers;
        self.clients[at].connect(&mut self.shards, shard, sent_bytes);
    }

    /// A client begins to follow a channel from where it was, or ends that.
    fn ask(&mut self) {
        let Some(at) = self.any_there() else { return };
        let (channel, is_new) = (self.rng.usize(..self.channels), self.rng.u8(..5) == 0);
        let Client { kind: Kind::Commands(commands), dialogue: Some(dialogue), .. } = &mut self.clients[at]
        else {
            return;
        };
        let follows = &mut commands.follows[channel];
        if std::mem::replace(&mut follows.is_asking, true) {
            return;
        }
        let (is_in, since) = (follows.is_in, follows.place.filter(|_| !is_new));
        let text = match (is_in, since) {
            (true, _) => {
                let what = json!({"channel": name(channel)});
                commands.command(Asked::Unsubscribe { channel }, "unsubscribe", what)
            }
            (false, since) => {
                let mut what = json!({"channel": name(channel)});
                if let Some((epoch, offset)) = since {
                    what["since"] = format!("{epoch}:{offset}").into();
                }
                commands.command(Asked::Subscribe { channel, since }, "subscribe", what)
            }
        };
        dialogue.say(&text);
    }

    /// A client says some things in channels, or what nobody wants to know.
    fn speak(&mut self) {
        let Some(at) = self.any_there() else { return };
        let count = [1, 3, 30][self.rng.usize(..3)];
        for _ in 0..count {
            let bytes = match self.rng.u8(..40) {
                0 => PUBLICATION_BYTES_MAX,
                1..10 => 2_000,
                _ => 20,
            };
            let bytes = self.rng.usize(..bytes);
            let any = self.rng.usize(..self.channels);
            let Client { number: issuer, kind, dialogue: Some(dialogue), .. } = &mut self.clients[at] else {
                return;
            };
            match kind {
                Kind::Commands(commands) => {
                    let text = self.spoken.say(*issuer, any, bytes);
                    let number = self.spoken.number(any, &text);
                    dialogue.say(&commands.publish(any, number, &text));
                }
                Kind::Raw { channel, .. } => dialogue.say(&self.spoken.say(*issuer, *channel, bytes)),
                Kind::Flood => {
                    (0..300).for_each(|_| dialogue.say_frame(Opcode::Ping, b"?"));
                    (0..20).for_each(|_| dialogue.say("{}"));
                    dialogue.say(&"x".repeat(4 * bytes));
                }
                Kind::Half(_) => {}
            }
        }
        if self.rng.bool() {
            self.clients[at].send(usize::MAX);
        }
    }

    /// A shard fails, and begins anew.
    fn fail(&mut self) {
        let at = self.rng.usize(..self.shards.all.len());
        self.stalled = None;
        self.spoken.failures += 1;
        self.spoken.seen.failures += 1;
        self.shards.fail(at);
        self.look_at_links(at);
        // The kernel closes what its ring had on a thread of its own.
        for client in self.clients.iter_mut().filter(|client| client.shard == at) {
            let mut looks = 0;
            while client.is_there() {
                client.read(usize::MAX, &mut self.spoken);
                std::thread::sleep(Duration::from_millis(1));
                looks += 1;
                assert!(looks < 60_000, "whoever was on the shard that failed is cut");
            }
        }
    }

    fn turn(&mut self, at: usize) {
        self.shards.turn(at);
        self.look_at_links(at);
        let shard = &self.shards.all[at];
        let heard = shard.intake.heard();
        assert!(heard <= HEARD_PER_TURN_MAX, "{heard} pieces were heard in one turn");
        for index in 0..shard.lines.slab.len() {
            let waiting = shard.lines.waiting(index);
            assert!(waiting <= WAITING_BYTES_MAX, "{waiting} bytes wait for {index}");
        }
        let partial = shard.partial.bytes();
        // One message more is let through, whoever has to go for it.
        let most = PARTIAL_BYTES_MAX + 2 * MESSAGE_BYTES_MAX;
        assert!(partial <= most, "{partial} bytes have begun and not ended");
        if let Some(share) = self.share_bytes {
            // One publication is let through, whoever has to go for it.
            let held = shard.lines.held_bytes();
            assert!(held <= share + 2 * RECOVERY_PIECE_BYTES, "{held} bytes are held");
        }
    }

    /// What waits for the links of a shard, and what they have dropped.
    fn look_at_links(&mut self, at: usize) {
        let dropped = self.shards.all.iter().map(|shard| shard.report.dropped_mesh_total).sum();
        self.spoken.seen.full_links += u64::from(dropped > self.spoken.dropped);
        self.spoken.dropped = dropped;
        if self.is_narrow {
            let Bounds { messages, bytes } = self.shards.all[at].peers.most_publications();
            assert!(messages <= NARROW.messages, "{messages} publications wait for a link");
            assert!(bytes <= NARROW.bytes + PARCEL_BYTES_MAX, "{bytes} bytes wait for a link");
        }
    }

    /// Everybody sends and reads until there is nothing left to tell.
    fn finish(&mut self) {
        let mut idle = 0;
        while idle < 20 {
            let read = self.round();
            idle = if read == 0 && !self.shards.are_busy() { idle + 1 } else { 0 };
        }
    }

    /// Everybody has a turn, and sends and reads all there is; how many bytes were read.
    fn round(&mut self) -> usize {
        self.shards.clock += Duration::from_millis(1);
        (0..self.shards.all.len()).for_each(|shard| self.turn(shard));
        let mut read = 0;
        for client in &mut self.clients {
            client.send(usize::MAX);
            read += client.read(usize::MAX, &mut self.spoken);
        }
        read
    }

    fn end(mut self) -> Seen {
        self.clients.retain(|client| matches!(client.kind, Kind::Commands(_) | Kind::Raw { .. }));
        self.stalled = None;
        self.finish();
        // What waits for a shard that is another now is not waited for any longer then.
        for _ in 0..2 {
            self.shards.clock += Duration::from_millis(ORDER_WAIT_MAX_MS);
            self.finish();
        }
        // What comes last tells those whose shard has failed of the channel's new life.
        for channel in 0..self.channels {
            let text = self.spoken.say(0, channel, 1);
            let number = self.spoken.number(channel, &text);
            let mut last = Commands::default();
            let text = last.publish(channel, number, &text);
            let (socket, _) = self.shards.connect(0, 1 << 16).expect("there is room");
            let mut dialogue = Dialogue::new(socket, "/ws");
            dialogue.say(&text);
            self.clients.push(Client {
                number: 0,
                shard: 0,
                dialogue: Some(dialogue),
                kind: Kind::Commands(last),
            });
            self.finish();
        }
        for client in self.clients.iter().filter(|client| client.is_there()) {
            let Kind::Commands(commands) = &client.kind else { continue };
            assert!(
                commands.asked.is_empty(),
                "{:?} of {} on {} are not answered, after {} failures: {}",
                commands.asked,
                client.number,
                client.shard,
                self.spoken.failures,
                commands.shown()
            );
            for (channel, follows) in commands.follows.iter().enumerate().filter(|(_, follows)| follows.is_in)
            {
                let last = self.spoken.last(channel);
                assert_eq!(follows.place, last, "{} is up to date with {channel}", client.number);
            }
        }
        self.spoken.check_order();
        let reports = self.shards.all.iter().map(|shard| &shard.report);
        self.spoken.seen.given_up = reports.clone().map(|report| report.partial_input_dropped_total).sum();
        let is_cut = |reason: &usize| {
            ![CloseReason::ClientGone, CloseReason::Normal].map(CloseReason::index).contains(reason)
        };
        let counted = reports.flat_map(|report| report.closed_total.iter().enumerate());
        let counted: u64 = counted.filter(|(reason, _)| is_cut(reason)).map(|(_, count)| count).sum();
        let cuts = self.spoken.seen.cuts;
        assert!(cuts <= counted, "{cuts} were cut, of {counted} it is known why");
        self.leave();
        self.spoken.seen
    }

    /// Everybody goes.
    fn leave(&mut self) {
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
            assert_eq!((shard.lines.outbox.total_bytes(), shard.partial.bytes()), (0, 0), "nothing is held");
            assert!(shard.messages.is_idle() && shard.kept.is_empty());
            assert_eq!((shard.report.connections, shard.whole_report().subscriptions), (0, 0));
        }
    }
}

#[test]
fn whatever_websockets_do_each_is_told_everything_in_order_or_what_is_lost_and_nothing_grows() {
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
        assert!(all.said > 5_000 && all.heard > 5_000 && all.heard_raw > 500, "{all:?}");
        assert!(all.recovered > 5 && all.gaps > 5 && all.subscribed > 200, "{all:?}");
        assert!(all.cuts > 20 && all.failures > 5, "{all:?}");
        assert!(all.full_links > 5 && all.missed > 50 && all.given_up > 5, "{all:?}");
    }
}
