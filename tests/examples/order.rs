//! One order for one issuer, as a program sees it: what a function asks takes effect in the order in which it asked.

use std::time::Duration;

use roadstead::app::socketio::{Ack, Io, Socket};
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
