//! What bursts cost: how many turns pass until one has taken effect that goes to many rooms, or that is mixed with joining and
//! leaving. No clock decides that.

use serde_json::json;

use super::{
    World,
    oracle::{Wish, ask},
};
use crate::app::socketio::{Io, Socket};

const EVENTS: u32 = 60;
const ROOMS: u32 = 8;
/// Clients of each shard, all of which ask at once.
const CLIENTS: usize = 4;

/// What is asked after each event.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    /// To join or leave a room of one's own.
    OfNoEvent,
    /// To leave a room in which one is not.
    OfNoEffect,
    /// To join or leave a room to which one has sent before.
    OfEvents,
}

fn register(io: &Io) {
    io.on("ask", |socket: &Socket, (issuer, wishes): (u32, Vec<Wish>)| {
        wishes.into_iter().for_each(|wish| ask(socket, issuer, wish));
    });
}

fn wishes(between: Between, client: usize) -> Vec<Wish> {
    let event = |number: u32| {
        let rooms = vec![format!("room-{}", number % ROOMS)];
        Wish::Emit { rooms, except: Vec::new(), number, is_relayed: true }
    };
    let toggle = |number: u32, room: String| match number / ROOMS % 2 {
        0 => Wish::Join(room),
        _ => Wish::Leave(room),
    };
    let change = |number: u32| match between {
        Between::Nothing => None,
        Between::OfNoEvent => Some(toggle(number, format!("own-{client}-{}", number % ROOMS))),
        Between::OfNoEffect => Some(Wish::Leave(format!("room-{}", number % ROOMS))),
        Between::OfEvents => Some(toggle(number, format!("room-{}", (number + 1) % ROOMS))),
    };
    (0..EVENTS).flat_map(|number| [Some(event(number)), change(number)]).flatten().collect()
}

/// How many rounds of turns pass until all of it has taken effect.
fn rounds(shards: u16, between: Between) -> usize {
    let mut world = World::new(shards, 7, register);
    let players: Vec<_> =
        (0..shards).flat_map(|shard| [shard; CLIENTS]).map(|shard| world.enter(shard)).collect();
    for (client, player) in players.iter().enumerate() {
        world.say(*player, &format!("2{}", json!(["ask", client, wishes(between, client)])));
    }
    let (mut rounds, all) = (0, world.shards.all.len());
    while rounds == 0 || world.shards.are_busy() {
        (0..all).for_each(|shard| world.shards.turn(shard));
        rounds += 1;
    }
    rounds
}

#[test]
fn a_burst_that_is_mixed_with_joining_and_leaving_other_rooms_takes_as_long_as_one_that_is_not() {
    for shards in [1, 2, 4] {
        let events_alone = rounds(shards, Between::Nothing);
        for between in [Between::OfNoEvent, Between::OfNoEffect] {
            let mixed = rounds(shards, between);
            assert!(
                mixed <= events_alone + 1,
                "{mixed} rounds, {events_alone} without, {shards} {between:?}"
            );
        }
    }
}

#[test]
fn who_joins_and_leaves_rooms_it_has_sent_to_waits_less_often_than_it_does() {
    for shards in [1, 2, 4] {
        let (mixed, changes) = (rounds(shards, Between::OfEvents), EVENTS as usize);
        assert!(mixed < changes * usize::from(shards) / 2, "{mixed} rounds for {changes}, {shards} shards");
    }
}

/// Events of a burst that is not mixed with anything.
const BURST: u32 = 300;

/// A client sends a burst to so many rooms in turn, in each of which there is a client of each shard, after one that has brought
/// its shard the lease: how many rounds of turns pass until all have heard all, and how much is noted of it until then.
fn burst(shards: u16, rooms: u32) -> (usize, usize) {
    let mut world = World::new(shards, 7, register);
    let players: Vec<_> = (0..shards).map(|shard| world.enter(shard)).collect();
    let joins: Vec<_> = (0..rooms).map(|room| Wish::Join(format!("room-{room}"))).collect();
    let events = (0..BURST).map(|number| Wish::Emit {
        rooms: vec![format!("room-{}", number % rooms)],
        except: Vec::new(),
        number,
        is_relayed: true,
    });
    let events = format!("2{}", json!(["ask", 0, events.collect::<Vec<_>>()]));
    players.iter().for_each(|player| world.say(*player, &format!("2{}", json!(["ask", 0, joins]))));
    world.shards.settle();
    world.say(players[0], &events);
    world.shards.settle();
    players.iter().for_each(|player| drop(world.take_heard(*player)));
    world.say(players[0], &events);
    let (mut rounds, noted) = (0, world.shards.all[0].asks.noted_here());
    while rounds == 0 || world.shards.are_busy() {
        (0..usize::from(shards)).for_each(|shard| world.shards.turn(shard));
        rounds += 1;
    }
    let expected: Vec<_> = (0..BURST).map(|number| format!(r#"42["n",0,{number}]"#)).collect();
    players.iter().for_each(|player| assert_eq!(world.take_heard(*player), expected));
    (rounds, noted)
}

#[test]
fn a_burst_to_many_rooms_takes_few_turns_more_than_one_to_one_room_and_is_noted_once_for_each() {
    for shards in [1, 2, 4] {
        let (alone, _) = burst(shards, 1);
        for rooms in [8, 50] {
            let (rounds, noted) = burst(shards, rooms);
            assert!(rounds <= alone + 4, "{rounds} rounds to {rooms} rooms, {alone} to one, {shards} shards");
            assert!(noted <= rooms as usize, "{noted} of {rooms} rooms, {shards} shards");
        }
    }
}
