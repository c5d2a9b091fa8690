//! A client of Socket.IO that asks without end and reads none of the answers.

use super::World;
use crate::{
    app::socketio::{Io, Socket},
    limits::{Limits, RECEIVE_BUFFER_BYTES},
    shard::{
        connection::Flags,
        simulated::{Common, ROUNDS_MAX, Shards, dialogue::Dialogue},
    },
};

const QUEUE_BYTES_MAX: usize = 400_000;
const ANSWER_BYTES: usize = 100;
/// More than sockets of this machine hold.
const EVENTS: usize = 30_000;
/// What the events that come with one receive are answered: each is no shorter than this.
const ANSWERED_AT_ONCE_BYTES: usize = RECEIVE_BUFFER_BYTES as usize / 20 * (ANSWER_BYTES + 20);
const _: () = assert!(QUEUE_BYTES_MAX / 2 + ANSWERED_AT_ONCE_BYTES < QUEUE_BYTES_MAX);

fn register(io: &Io) {
    io.on_with_ack("ask", |_: &Socket, _: u8, ack| ack.send(&"x".repeat(ANSWER_BYTES)));
}

/// Sends and reads; whether the client has been told that it is in.
fn enter(shards: &mut Shards, client: &mut Dialogue) -> bool {
    client.send(usize::MAX);
    shards.turn(0);
    client.read(usize::MAX).1.iter().any(|text| text.starts_with("40"))
}

#[test]
fn a_client_that_reads_no_answers_is_not_read_long_before_its_queue_is_full_and_is_answered_when_it_reads() {
    let limits = Limits { send_queue_bytes_max: QUEUE_BYTES_MAX as u32, ..Limits::default() };
    let World { mut shards } = World::of(&Common { limits, ..Common::of_one(2) }, register);
    let (socket, index) = shards.connect(0, 1).expect("there is room");
    let mut client = Dialogue::new(socket, "/socket.io/?EIO=4&transport=websocket");
    client.say("40");
    let mut rounds = 0;
    while !enter(&mut shards, &mut client) {
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "it is never in");
    }
    for number in 0..EVENTS {
        client.say(&format!("42{number:05}[\"ask\",1]"));
    }
    let (mut most, mut unsent) = (0, usize::MAX);
    while client.unsent_len() < unsent {
        unsent = client.unsent_len();
        client.send(usize::MAX);
        for _ in 0..20 {
            shards.turn(0);
            most = most.max(shards.all[0].lines.waiting(index));
        }
    }
    assert!(unsent > 0, "it has been read to the end");
    assert!(shards.all[0].lines.slab.look(index).flags.has(Flags::PAUSED_FULL));
    let bytes_max = QUEUE_BYTES_MAX / 2 + ANSWERED_AT_ONCE_BYTES;
    assert!((QUEUE_BYTES_MAX / 2..bytes_max).contains(&most), "{most} bytes waited for it");
    let (mut answered, mut rounds) = (0, 0);
    while answered < EVENTS {
        client.send(usize::MAX);
        shards.turn(0);
        let (_, texts) = client.read(usize::MAX);
        for text in texts.iter().filter(|text| text.starts_with("43")) {
            assert!(text.starts_with(&format!("43{answered}[")), "{text} instead of {answered}");
            answered += 1;
        }
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "{answered} are answered");
    }
}
