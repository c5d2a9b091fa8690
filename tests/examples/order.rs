//! One order for one issuer, as a program sees it: what a function asks takes effect in the order in which it asked.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use roadstead::app::socketio::{Ack, Io, Socket, SocketId};
use serde_json::{Value, json};

use super::client::{Client, start_on};

/// The numbers of shards that everything here is tried on.
const SHARDS: [u16; 3] = [1, 2, 4];

fn register(io: &Io) {
    io.on_with_ack("join", |socket: &Socket, room: String, ack: Ack| {
        socket.join(&room);
        ack.send(&[(); 0]);
    });
    io.on_with_ack("in and out", |socket: &Socket, room: String, ack: Ack| in_and_out(socket, &room, ack));
    io.on_with_ack("all ways", |socket: &Socket, room: String, ack: Ack| all_ways(socket, &room, ack));
    io.on_with_ack("in a task", |socket: &Socket, room: String, ack: Ack| {
        let speaking = socket.clone();
        socket.io().to(&room).emit("n", &0);
        socket.spawn(async move { all_ways(&speaking, &room, ack) });
    });
    io.on_with_ack("in a timer", |socket: &Socket, room: String, ack: Ack| {
        let speaking = socket.clone();
        socket.io().to(&room).emit("n", &0);
        socket.io().after(Duration::ZERO, move || all_ways(&speaking, &room, ack)).detach();
    });
}

fn in_and_out(socket: &Socket, room: &str, ack: Ack) {
    let io = socket.io();
    socket.join(room);
    io.to(room).emit("n", &1);
    socket.leave(room);
    io.to(room).emit("n", &2);
    socket.join(room);
    io.to(room).emit("n", &3);
    socket.leave(room);
    ack.send(&[(); 0]);
}

fn all_ways(socket: &Socket, room: &str, ack: Ack) {
    let io = socket.io();
    io.emit("n", &1);
    socket.emit("n", &2);
    io.to(room).emit("n", &3);
    socket.emit("n", &4);
    io.to(socket.id()).emit("n", &5);
    io.emit("n", &6);
    ack.send(&[(); 0]);
}

/// The numbers that come before an acknowledgement.
fn numbers(client: &mut Client, event: &str, room: &str) -> Vec<i64> {
    let (before, _) = client.ask_hearing(event, json!([room]));
    before.iter().map(|event: &Value| event[1].as_i64().expect("a number")).collect()
}

#[test]
fn who_goes_in_and_out_hears_what_is_said_while_it_is_in() {
    for shards in SHARDS {
        let server = start_on(shards, register);
        let mut client = Client::enter(&server);
        for round in 0..20 {
            assert_eq!(numbers(&mut client, "in and out", &format!("r{round}")), [1, 3], "{shards} shards");
        }
    }
}

#[test]
fn what_is_sent_in_different_ways_arrives_in_the_order_sent() {
    for shards in SHARDS {
        let server = start_on(shards, register);
        let mut client = Client::enter(&server);
        for round in 0..20 {
            let room = format!("r{round}");
            client.ask("join", json!([room]));
            assert_eq!(numbers(&mut client, "all ways", &room), [1, 2, 3, 4, 5, 6], "{shards} shards");
        }
    }
}

#[test]
fn what_a_function_began_goes_on_behind_what_it_asked() {
    for shards in SHARDS {
        let server = start_on(shards, register);
        let mut client = Client::enter(&server);
        client.ask("join", json!(["a"]));
        for event in ["in a task", "in a timer"].repeat(10) {
            assert_eq!(numbers(&mut client, event, "a"), [0, 1, 2, 3, 4, 5, 6], "{event}, {shards} shards");
        }
    }
}

/// Sockets of a shard, and those who are told what other shards say.
fn register_for_events_between_shards(io: &Io) {
    register(io);
    let here: Rc<RefCell<Vec<Socket>>> = Rc::default();
    let told = Rc::clone(&here);
    io.on_connect(move |socket| here.borrow_mut().push(socket));
    io.on_server_event("between", move |_from, (): ()| {
        told.borrow().iter().for_each(|socket| socket.emit("n", &2));
    });
    io.on_with_ack("say it between", |socket: &Socket, room: String, ack: Ack| {
        let io = socket.io();
        io.to(&room).emit("n", &1);
        io.server_side_emit("between", &());
        io.to(&room).emit("n", &3);
        ack.send(&[(); 0]);
    });
}

#[test]
fn what_is_said_to_other_shards_comes_between_what_is_sent_before_and_after() {
    for shards in [2, 4] {
        let server = start_on(shards, register_for_events_between_shards);
        let mut clients = Client::enter_on_both_shards(&server);
        let shard = |client: &Client| SocketId::parse(&client.id).expect("an id").shard;
        for client in &mut clients {
            client.ask("join", json!(["a"]));
        }
        let speaker = shard(&clients[0]);
        for _ in 0..20 {
            clients[0].say("say it between", json!(["a"]));
            for client in &mut clients {
                // The shard that says it does not tell itself.
                let expected: &[i64] = if shard(client) == speaker { &[1, 3] } else { &[1, 2, 3] };
                let heard: Vec<_> = expected.iter().map(|_| client.hear("n")[0].as_i64()).collect();
                assert_eq!(heard, expected.iter().copied().map(Some).collect::<Vec<_>>(), "{shards} shards");
            }
        }
    }
}

/// Shards that are kept from their work, for less than the others wait for them; and those that have noticed.
static HELD: [AtomicBool; 4] = [const { AtomicBool::new(false) }; 4];
static STOPPED: [AtomicBool; 4] = [const { AtomicBool::new(false) }; 4];
const HELD_MAX: Duration = Duration::from_millis(800);

fn register_for_busy_shards(io: &Io) {
    register(io);
    io.on_with_ack("ping", |_: &Socket, (): (), ack: Ack| ack.send(&[(); 0]));
    io.on("be busy", |socket: &Socket, (): ()| {
        let (shard, began) = (usize::from(socket.io().shard().0), Instant::now());
        STOPPED[shard].store(true, Ordering::SeqCst);
        while HELD[shard].load(Ordering::SeqCst) && began.elapsed() < HELD_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    io.on("nudge", |socket: &Socket, id: String| socket.io().to(&id).emit("nudged", &()));
    io.on("put in and tell", |socket: &Socket, (id, room): (String, String)| {
        let io = socket.io();
        io.to(&id).sockets_join(&room);
        io.to(&room).emit("n", &room);
    });
}

/// Keeps the shard of a client from its work until it is let go.
fn hold(client: &mut Client, shard: usize) {
    STOPPED[shard].store(false, Ordering::SeqCst);
    HELD[shard].store(true, Ordering::SeqCst);
    client.say("be busy", json!([]));
    while !STOPPED[shard].load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_is_put_into_a_room_hears_what_follows_though_shards_are_busy() {
    let server = start_on(4, register_for_busy_shards);
    let shard = |client: &Client| usize::from(SocketId::parse(&client.id).expect("an id").shard.0);
    let mut on: [Vec<Client>; 4] = Default::default();
    for _ in 0..200 {
        let client = Client::enter(&server);
        on[shard(&client)].push(client);
        if on.iter().all(|clients| clients.len() > 1) {
            break;
        }
    }
    // What one asks waits for what it asked before, so that another tells how far its shard is.
    let mut others = on.each_mut().map(|clients| clients.pop().expect("the kernel spreads connections"));
    let mut clients = on.map(|mut clients| clients.pop().expect("the kernel spreads connections"));
    let ping = |client: &mut Client| {
        // What came to the shard before is done by then, and what it sends has left.
        (0..3).for_each(|_| drop(client.ask("ping", json!([]))));
    };
    for round in 0..96 {
        let (asker, joiner) = (round % 4, (round + 1 + round / 4 % 3) % 4);
        let mut others_left: Vec<_> = (0..4).filter(|other| ![asker, joiner].contains(other)).collect();
        let owner = others_left.remove(round / 12 % 2);
        let fourth = others_left[0];
        let (id, room) = (clients[joiner].id.clone(), format!("r{round}"));
        hold(&mut clients[joiner], joiner);
        clients[asker].say("put in and tell", json!([id, room]));
        ping(&mut others[asker]);
        // All but the joiner's shard have said that nothing stands against the event.
        ping(&mut others[owner]);
        // A shard looks at its links in turn, beginning behind the one it has heard from last. So in half of the rounds the
        // owner comes to what the asker says before it comes to what the joiner does.
        let id = others[owner].id.clone();
        others[fourth].say("nudge", json!([id]));
        others[owner].hear("nudged");
        hold(&mut clients[owner], owner);
        HELD[joiner].store(false, Ordering::SeqCst);
        ping(&mut others[joiner]);
        ping(&mut others[asker]);
        HELD[owner].store(false, Ordering::SeqCst);
        let heard = clients[joiner].hear("n");
        assert_eq!(heard, json!([room]), "{asker} puts {joiner} into it while {owner} is busy");
    }
}
