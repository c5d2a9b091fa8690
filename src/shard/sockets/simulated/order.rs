//! One order for one issuer, at random: some issuers ask at once, one thing or a burst, the shards have their turns in any order,
//! and every socket has heard of each issuer exactly what it had to, in the order asked. To some rooms several issuers send:
//! all who are in such a room have heard the same there, in the same order; and of what the application sends there from one
//! shard, whoever asked it to, in the order in which that was asked.

use std::{collections::HashMap, time::Duration};

use serde_json::json;

use super::{
    Player, World,
    oracle::{Oracle, Wish, ask},
};
use crate::{
    app::socketio::{Io, Socket, SocketId},
    limits::ORDER_WAIT_MAX_MS,
    model::{ShardId, room_channel},
    shard::simulated::{Replay, seeds},
};

/// Worlds of each number of shards.
const SEEDS: u64 = 150;
const WISHES: usize = 40;
const ROOMS: usize = 4;
/// Rooms to which every issuer sends.
const SHARED_ROOMS: usize = 3;
/// How long a shard may keep others waiting in one world, which is less than they wait for it.
const DELAY_MS: u64 = ORDER_WAIT_MAX_MS - 1_000;

/// What is asked in one world, by whom, and what has to come of it.
struct Scene {
    rng: fastrand::Rng,
    world: World,
    players: Vec<Player>,
    /// The first players.
    issuers: Vec<Oracle>,
    /// Who is in the rooms to which every issuer sends.
    seated: Vec<(String, SocketId)>,
    /// The numbers of the events that went to one of those and to nobody else.
    shared: HashMap<u32, String>,
    /// The numbers of those that the application sent, by shard.
    by_application: HashMap<u32, u16>,
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
        let mut seated = Vec::new();
        for (room, player) in
            (0..SHARED_ROOMS).flat_map(|room| players.iter().map(move |player| (room, *player)))
        {
            if rng.bool() {
                let room = format!("s-{room}");
                world.say(player, &format!("2{}", json!(["ask", 0, [Wish::Join(room.clone())]])));
                seated.push((room, player.id));
            }
        }
        world.shards.settle();
        let issuers = (0..rng.usize(1..4).min(sockets.len()))
            .map(|issuer| Oracle::new(sockets[issuer], sockets.clone(), &seated))
            .collect();
        let paces = (0..shards).map(|_| 1 << rng.u32(0..5)).collect();
        let (number, log, shared, delay_left_ms) = (0, Vec::new(), HashMap::new(), DELAY_MS);
        let by_application = HashMap::new();
        Self {
            rng,
            world,
            players,
            issuers,
            seated,
            shared,
            by_application,
            number,
            log,
            paces,
            delay_left_ms,
        }
    }

    /// Plays it; tells whether anything was sent at once to be held back where it is told.
    fn play(mut self) -> bool {
        for _ in 0..WISHES {
            let issuer = self.rng.usize(0..self.issuers.len());
            let wishes = self.wishes(issuer);
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
        self.world.shards.all.iter().any(|shard| shard.asks.has_followed())
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

    /// Some things, or a burst of events, which may be mixed with joining and leaving.
    fn wishes(&mut self, issuer: usize) -> Vec<Wish> {
        match self.rng.u8(0..6) {
            0 => (0..self.rng.usize(8..30)).map(|_| self.emission(issuer)).collect(),
            1 => (0..self.rng.usize(8..30)).map(|_| self.emission_or_change(issuer)).collect(),
            _ => (0..self.rng.usize(1..5)).map(|_| self.wish(issuer)).collect(),
        }
    }

    fn emission(&mut self, issuer: usize) -> Wish {
        self.number += 1;
        let number = self.number;
        let (rooms, except) = (self.receivers(issuer, 1), self.receivers(issuer, 0));
        let is_relayed = self.rng.bool();
        if let [room] = &rooms[..]
            && except.is_empty()
            && room.starts_with("s-")
        {
            self.shared.insert(number, room.clone());
            if !is_relayed {
                self.by_application.insert(number, self.players[issuer].id.shard.0);
            }
        }
        Wish::Emit { rooms, except, number, is_relayed }
    }

    fn emission_or_change(&mut self, issuer: usize) -> Wish {
        match self.rng.u8(0..6) {
            0 => Wish::Join(self.room(issuer)),
            1 => Wish::Leave(self.room(issuer)),
            _ => self.emission(issuer),
        }
    }

    fn wish(&mut self, issuer: usize) -> Wish {
        self.number += 1;
        let number = self.number;
        match self.rng.u8(0..12) {
            0 => Wish::Join(self.room(issuer)),
            1 => Wish::Leave(self.room(issuer)),
            2 => Wish::Ask { rooms: self.receivers(issuer, 1), except: self.receivers(issuer, 0), number },
            3..6 => self.emission(issuer),
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
            .map(|_| match self.rng.u8(0..6) {
                0 | 1 => self.players[self.rng.usize(0..self.players.len())].id.to_string(),
                2 => format!("s-{}", self.rng.usize(0..SHARED_ROOMS)),
                _ => self.room(issuer),
            })
            .collect();
        receivers.dedup();
        receivers
    }

    /// Later events have higher numbers, whoever asked for them.
    fn check_application(&self, heard: &[u32], room: &str) {
        for shard in 0..self.paces.len() as u16 {
            let of_shard = heard.iter().filter(|number| self.by_application.get(number) == Some(&shard));
            assert!(of_shard.is_sorted(), "of {shard} in {room}: {heard:?}\n{}", self.log.join("\n"));
        }
    }

    fn check(&mut self) {
        let mut in_rooms: HashMap<String, Vec<u32>> = HashMap::new();
        for (place, player) in self.players.clone().into_iter().enumerate() {
            let mut heard_in: HashMap<String, Vec<u32>> = HashMap::new();
            let mut heard = vec![Vec::new(); self.issuers.len()];
            for packet in self.world.take_heard(player) {
                // The number under which it is to be acknowledged stands before.
                let json = packet[2..].trim_start_matches(|c: char| c.is_ascii_digit());
                let event: (String, usize, u32) = serde_json::from_str(json).expect("an event");
                heard[event.1].push(event.2);
                if let Some(room) = self.shared.get(&event.2) {
                    heard_in.entry(room.clone()).or_default().push(event.2);
                }
            }
            for (room, _) in self.seated.iter().filter(|(_, socket)| *socket == player.id) {
                let heard = heard_in.remove(room).unwrap_or_default();
                self.check_application(&heard, room);
                let first = in_rooms.entry(room.clone()).or_insert_with(|| heard.clone());
                assert_eq!(&heard, first, "{} in {room}:\n{}", player.id, self.log.join("\n"));
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
    let (seeds, are_all) = seeds(SEEDS);
    let mut followed = 0;
    for seed in seeds {
        let _replay = Replay(seed);
        followed += u64::from(Scene::new(1 + (seed % 4) as u16, seed).play());
    }
    assert!(!are_all || followed > SEEDS / 4, "{followed} of {SEEDS}");
}

/// Two clients of one shard. The first sends to a room of the other shard and then to one in which both are, so that the latter
/// waits for the former; and then the second sends there. What they have heard by then, and at the end.
fn one_behind_another(is_relayed: bool) -> [Vec<u32>; 2] {
    let mut world = World::new(2, 7, register);
    let players = [(); 2].map(|()| world.enter(0));
    let room_of = |world: &World, owner: u16| {
        let hub = &world.shards.all[0].hub;
        let is_of = |room: &String| hub.owner_of(&room_channel("/", room).expect("a room")) == ShardId(owner);
        (0..).map(|number| format!("room-{number}")).find(is_of).expect("there is one")
    };
    let (far, near) = (room_of(&world, 1), room_of(&world, 0));
    let say = |world: &mut World, player: usize, wishes: Vec<Wish>| {
        world.say(players[player], &format!("2{}", json!(["ask", player, wishes])));
    };
    (0..2).for_each(|player| say(&mut world, player, vec![Wish::Join(near.clone())]));
    world.shards.settle();
    let emit = |room: &String, number| {
        let (rooms, except) = (vec![room.clone()], Vec::new());
        Wish::Emit { rooms, except, number, is_relayed }
    };
    say(&mut world, 0, vec![emit(&far, 1), emit(&near, 2)]);
    say(&mut world, 1, vec![emit(&near, 3)]);
    let heard = |world: &mut World| {
        let all = players.map(|player| {
            let packets = world.take_heard(player);
            let events = packets.iter().map(|packet| serde_json::from_str(&packet[2..]).expect("an event"));
            events.map(|(_, _, number): (String, u32, u32)| number).collect::<Vec<_>>()
        });
        assert_eq!(all[0], all[1]);
        all[0].clone()
    };
    // The other shard does nothing, and nothing it has to say can have come.
    (0..5).for_each(|_| world.shards.turn(0));
    let before = heard(&mut world);
    world.shards.settle();
    [before, heard(&mut world)]
}

#[test]
fn what_a_client_sends_to_a_room_stands_behind_nobody_elses_that_waits_for_another_room() {
    assert_eq!(one_behind_another(true), [vec![3], vec![2]]);
}

#[test]
fn what_the_application_sends_to_a_room_keeps_its_order_whoever_it_is_sent_for() {
    assert_eq!(one_behind_another(false), [vec![], vec![2, 3]]);
}

/// A burst to rooms of both shards, of which a turn can hand out a part only, while the issuer goes on and the shards have their
/// turns in any order. Whether all whom it is for have heard it in the order asked.
fn is_burst_in_order(seed: u64) -> bool {
    const MEMBERS: usize = 16;
    const EVENTS: u32 = 600;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut world = World::new(2, rng.u64(..), register);
    let issuer = world.enter(0);
    let members: Vec<_> = (0..MEMBERS).map(|_| world.enter(rng.u16(0..2) * (seed % 2) as u16)).collect();
    let rooms: Vec<_> = (0..6).map(|room| format!("room-{room}")).collect();
    for member in &members {
        let joins: Vec<_> = rooms.iter().cloned().map(Wish::Join).collect();
        world.say(*member, &format!("2{}", json!(["ask", 0, joins])));
    }
    world.shards.settle();
    let mut number = 0;
    while number < EVENTS {
        let emit = |number: u32| Wish::Emit {
            rooms: vec![rooms[number as usize % rooms.len()].clone()],
            except: Vec::new(),
            number,
            is_relayed: true,
        };
        let burst: Vec<_> = (number..EVENTS.min(number + rng.u32(1..60))).map(emit).collect();
        number += burst.len() as u32;
        world.say(issuer, &format!("2{}", json!(["ask", 0, burst])));
        (0..rng.usize(0..6)).for_each(|_| world.shards.turn(rng.usize(0..2)));
    }
    world.shards.settle();
    members.iter().all(|member| {
        let events = world.take_heard(*member);
        let numbers = events.iter().map(|event| serde_json::from_str::<(String, u32, u32)>(&event[2..]));
        numbers.map(|event| event.expect("an event").2).eq(0..EVENTS)
    })
}

#[test]
fn a_burst_for_which_turns_have_no_room_is_heard_in_the_order_asked() {
    for seed in seeds(SEEDS).0 {
        let _replay = Replay(seed);
        assert!(is_burst_in_order(seed));
    }
}
