//! One order for one issuer, at random: some issuers ask at once, the shards have their turns in any order, and every socket has
//! heard of each issuer exactly what it had to, in the order asked.

use std::time::Duration;

use serde_json::json;

use super::{
    Player, World,
    oracle::{Oracle, Wish, ask},
};
use crate::{
    app::socketio::{Io, Socket},
    limits::ORDER_WAIT_MAX_MS,
    shard::simulated::{Replay, seeds},
};

/// Worlds of each number of shards.
const SEEDS: u64 = 150;
const WISHES: usize = 40;
const ROOMS: usize = 4;
/// How long a shard may keep others waiting in one world, which is less than they wait for it.
const DELAY_MS: u64 = ORDER_WAIT_MAX_MS - 1_000;

/// What is asked in one world, by whom, and what has to come of it.
struct Scene {
    rng: fastrand::Rng,
    world: World,
    players: Vec<Player>,
    /// The first players.
    issuers: Vec<Oracle>,
    number: u32,
    log: Vec<String>,
    /// How often each shard has its turn.
    paces: Vec<u32>,
    delay_left_ms: u64,
}

fn register(io: &Io) {
    io.on("ask", |socket: &Socket, (issuer, wishes): (u32, Vec<Wish>)| {
        wishes.into_iter().for_each(|wish| ask(socket, issuer, wish));
    });
}

impl Scene {
    fn new(shards: u16, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = World::new(shards, rng.u64(..), register);
        let players = rng.usize(2..7);
        let players: Vec<_> = (0..players).map(|_| world.enter(rng.u16(0..shards))).collect();
        let sockets: Vec<_> = players.iter().map(|player| player.id).collect();
        let issuers = (0..rng.usize(1..4).min(sockets.len()))
            .map(|issuer| Oracle::new(sockets[issuer], sockets.clone()))
            .collect();
        let paces = (0..shards).map(|_| 1 << rng.u32(0..5)).collect();
        Self { rng, world, players, issuers, number: 0, log: Vec::new(), paces, delay_left_ms: DELAY_MS }
    }

    fn play(mut self) {
        for _ in 0..WISHES {
            let issuer = self.rng.usize(0..self.issuers.len());
            let wishes: Vec<_> = (0..self.rng.usize(1..5)).map(|_| self.wish(issuer)).collect();
            self.log.push(format!("{issuer} asks {wishes:?}"));
            wishes.iter().for_each(|wish| self.issuers[issuer].ask(wish));
            let event = json!(["ask", issuer, wishes]);
            self.world.say(self.players[issuer], &format!("2{event}"));
            if self.rng.u8(0..10) == 0 {
                let delay_ms = self.rng.u64(0..DELAY_MS / 4).min(self.delay_left_ms);
                self.delay_left_ms -= delay_ms;
                self.world.shards.clock += Duration::from_millis(delay_ms);
            }
            for _ in 0..self.rng.usize(0..12) {
                let shard = self.any_shard();
                self.world.shards.turn(shard);
            }
        }
        self.world.shards.settle();
        self.check();
    }

    fn any_shard(&mut self) -> usize {
        let mut at = self.rng.u32(0..self.paces.iter().sum());
        let is_it = |pace: &u32| {
            let is_it = at < *pace;
            at = at.saturating_sub(*pace);
            is_it
        };
        self.paces.iter().position(is_it).unwrap_or(0)
    }

    fn wish(&mut self, issuer: usize) -> Wish {
        self.number += 1;
        let number = self.number;
        match self.rng.u8(0..12) {
            0 => Wish::Join(self.room(issuer)),
            1 => Wish::Leave(self.room(issuer)),
            2 => Wish::Ask { rooms: self.receivers(issuer, 1), except: self.receivers(issuer, 0), number },
            3..6 => {
                Wish::Emit { rooms: self.receivers(issuer, 1), except: self.receivers(issuer, 0), number }
            }
            6 => Wish::EmitToAll { except: self.receivers(issuer, 0), number },
            7 => Wish::EmitToMe { number },
            8 | 9 => Wish::PutIn { rooms: self.receivers(issuer, 1), room: self.room(issuer) },
            _ => Wish::TakeOut { rooms: self.receivers(issuer, 1), room: self.room(issuer) },
        }
    }

    fn room(&mut self, issuer: usize) -> String {
        format!("{issuer}-{}", self.rng.usize(0..ROOMS))
    }

    /// Rooms, or sockets.
    fn receivers(&mut self, issuer: usize, at_least: usize) -> Vec<String> {
        let count = at_least.max(self.rng.usize(0..3));
        let mut receivers: Vec<_> = (0..count)
            .map(|_| match self.rng.u8(0..3) {
                0 => self.players[self.rng.usize(0..self.players.len())].id.to_string(),
                _ => self.room(issuer),
            })
            .collect();
        receivers.dedup();
        receivers
    }

    fn check(&mut self) {
        for (place, player) in self.players.clone().into_iter().enumerate() {
            let mut heard = vec![Vec::new(); self.issuers.len()];
            for packet in self.world.take_heard(player) {
                // The number under which it is to be acknowledged stands before.
                let json = packet[2..].trim_start_matches(|c: char| c.is_ascii_digit());
                let event: (String, usize, u32) = serde_json::from_str(json).expect("an event");
                heard[event.1].push(event.2);
            }
            for (issuer, heard) in heard.into_iter().enumerate() {
                let expected = &self.issuers[issuer].heard[place];
                assert_eq!(&heard, expected, "{} of {issuer}:\n{}", player.id, self.log.join("\n"));
            }
        }
    }
}

#[test]
fn what_is_asked_in_one_order_takes_effect_in_it_at_every_socket() {
    let (seeds, _) = seeds(SEEDS);
    for seed in seeds {
        let _replay = Replay(seed);
        Scene::new(1 + (seed % 4) as u16, seed).play();
    }
}
