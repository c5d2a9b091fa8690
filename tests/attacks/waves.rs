//! Waves: very many at a time of what is small, or some of what is large. When they have gone, so has their memory.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use roadstead::wire::websocket::Opcode;
use serde_json::json;

use crate::{
    client::Client,
    floods::{hello, sealing_server},
    row::Attack,
    server::{Server, await_that},
    socket::{WebSocket, frame},
};

/// Carries out a wave, which takes at least so many bytes, and waits until a good part of them has been given back.
fn check(server: &Server, name: &'static str, size: String, bytes_min: u64, wave: impl FnOnce()) {
    let before = server.resident_bytes();
    let attack = Attack::begin(server, name, size);
    wave();
    let taken = server.status_bytes("VmHWM:").saturating_sub(before);
    assert!(taken >= bytes_min, "the wave has taken {} KiB only", taken >> 10);
    await_that("the memory of the wave is given back", || {
        server.resident_bytes().saturating_sub(before) <= taken / 3
    });
    attack.end(taken);
}

#[test]
fn channels_that_are_forgotten_give_their_memory_back() {
    const CHANNELS: usize = 100_000;
    let server = Server::with_shards(1, &["limits.history_age_max_ms=6000"]);
    let mut client = server.connect();
    check(&server, "channels used once", CHANNELS.to_string(), 8 << 20, || {
        for first in (0..CHANNELS).step_by(1_000) {
            let items: Vec<_> = (first..first + 1_000)
                .map(|number| json!({"channel":format!("wave-{number}"),"data":"x"}))
                .collect();
            let body = serde_json::to_vec(&json!({"publications":items})).expect("JSON");
            assert_eq!(client.request("POST", "/publish", "", &body).status, 200);
        }
        await_that("they are forgotten", || server.metric("roadstead_channels", "") == 0.0);
    });
}

#[test]
fn answers_that_nobody_reads_give_their_memory_back() {
    const CLIENTS: usize = 100;
    let server = Server::with_shards(1, &[]);
    (1..=8).for_each(|offset| assert_eq!(server.publish("h", vec![b'x'; 128 * 1024]), offset));
    let size = format!("{CLIENTS} pages of 1 MiB");
    check(&server, "pages unread, then gone", size, 50 << 20, || {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::narrow(server.address())).collect();
        clients.iter_mut().for_each(|client| client.ask("GET", "/channels/h/history", "", b""));
        await_that("all are answered", || {
            server.metric("roadstead_responses_total", "2xx") >= CLIENTS as f64
        });
    });
}

#[test]
fn messages_that_are_never_whole_give_their_memory_back() {
    const CLIENTS: usize = 100;
    const BYTES: usize = 1_000_000;
    let server = Server::with_shards(1, &[]);
    let size = format!("{CLIENTS} of 1 MB");
    check(&server, "half messages, then gone", size, 50 << 20, || {
        let message = frame(Opcode::Binary, true, &vec![7; BYTES]);
        let mut sockets: Vec<WebSocket> = (0..CLIENTS).map(|_| server.websocket("/echo")).collect();
        sockets.iter_mut().for_each(|socket| socket.client.send(&message[..BYTES - 1]));
        await_that("they have arrived", || {
            server.metric("roadstead_partial_input_bytes", "") >= (CLIENTS * (BYTES - 100)) as f64
        });
    });
}

#[test]
fn handshakes_that_are_never_done_leave_their_memory_to_those_that_follow() {
    const BEGUN: usize = 600;
    let (server, hello) = (sealing_server(), hello());
    let wave = || {
        let mut clients: Vec<_> = (0..BEGUN)
            .map(|_| {
                let mut stream = TcpStream::connect(server.address()).expect("it listens");
                stream.write_all(&hello).expect("it is taken");
                stream
            })
            .collect();
        for client in &mut clients {
            client.read_exact(&mut [0]).expect("its hello is answered");
        }
        drop(clients);
        await_that("they are gone", || server.metric("roadstead_tls_handshakes_in_progress", "") == 0.0);
    };
    let before = server.resident_bytes();
    let attack = Attack::begin(&server, "handshakes answered, then gone", format!("5 waves of {BEGUN}"));
    wave();
    let taken = server.resident_bytes().saturating_sub(before);
    assert!(taken >= 3 << 20, "the wave has taken {} KiB only", taken >> 10);
    (0..4).for_each(|_| wave());
    let taken_by_all = server.resident_bytes().saturating_sub(before);
    assert!(taken_by_all < 2 * taken, "{} KiB, and the first took {} KiB", taken_by_all >> 10, taken >> 10);
    attack.end(taken);
}
