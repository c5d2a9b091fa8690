//! Clients that ask, or follow, and do not read.

use std::io::ErrorKind;

use roadstead::wire::websocket::Opcode;

use crate::{
    client::Client,
    row::Attack,
    server::{Patience, Server, await_that},
    socket::{WebSocket, frame},
    stream::EventStream,
};

const CLOSED: (&str, &str) = ("roadstead_closed_total", "slow_consumer");

/// Sends the same bytes until the server reads no more of them, or `bytes_max` have been sent; how many were.
fn flood(client: &mut Client, bytes: &[u8], bytes_max: u64, mut is_over: impl FnMut() -> bool) -> u64 {
    client.tcp().set_nonblocking(true).expect("sockets can be asked not to wait");
    let (mut sent, patience) = (0, Patience::begin());
    while sent < bytes_max {
        match client.try_send_some(&bytes[sent as usize % bytes.len()..]) {
            Ok(count) => sent += count as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock && is_over() => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                patience.check("the server has had enough")
            }
            Err(error) => panic!("{error} after {sent} bytes"),
        }
    }
    client.tcp().set_nonblocking(false).expect("sockets can be asked to wait");
    sent
}

fn flood_with_pings(target: &str) {
    const QUEUE_BYTES_MAX: u64 = 1 << 20;
    let server = Server::with_shards(1, &[]);
    let mut socket = WebSocket::open(Client::narrow(server.address()), target, "");
    let attack = Attack::begin(&server, "pings, pongs unread", format!("64 MB to {target}"));
    let pings = frame(Opcode::Ping, true, &[7; 125]).repeat(500);
    let mut had = 0;
    let sent = flood(&mut socket.client, &pings, 64 << 20, || {
        // It reads no more once so much waits, and what waits does not grow any more.
        let has = queued_bytes(&server);
        let is_over = has > QUEUE_BYTES_MAX && has == had;
        had = has;
        is_over
    });
    attack.end(2 * QUEUE_BYTES_MAX);
    assert!(sent < 64 << 20, "the server reads all pings of a client that reads no pong");
    assert!(had < QUEUE_BYTES_MAX + 64 * 1024, "{had} bytes wait");
}

#[test]
fn pings_without_end_are_not_answered_without_end() {
    flood_with_pings("/ws");
    flood_with_pings("/echo");
}

/// Bytes waiting to be sent on all shards.
fn queued_bytes(server: &Server) -> u64 {
    server.shards().iter().map(|shard| shard["send_queue_bytes"].as_u64().expect("a number")).sum()
}

#[test]
fn whoever_takes_nothing_for_the_send_timeout_is_ended_whatever_it_is_sent() {
    let server = Server::start(&["limits.send_timeout_ms=400", "limits.history_publications_max=1000"]);
    let mut publisher = server.connect();
    server.publish("h", "first");
    let position = server.position("h");
    // More than the kernel's buffers and less than a queue may hold: nobody is slow for having too much.
    for _ in 0..40 {
        publisher.publish("h", vec![b'x'; 128 * 1024]);
    }
    let narrow = || Client::narrow(server.address());
    let mut pings = WebSocket::open(narrow(), "/ws", "");
    let mut waited =
        flood(&mut pings.client, &frame(Opcode::Ping, true, &[7; 125]).repeat(500), 8 << 20, || true);
    waited += queued_bytes(&server);
    assert!(waited > 0);
    let mut page = narrow();
    (0..8).for_each(|_| page.ask("GET", "/channels/h/history", "", b""));
    let stream = EventStream::open(narrow(), "h", &format!("?since={position}"), "");
    let mut socket = WebSocket::open(narrow(), &format!("/channels/h?since={position}"), "");
    server.await_metric(CLOSED.0, CLOSED.1, 4.0);
    // What a WebSocket is told when it is ended waits for it a while.
    drop((page, stream, pings));
    assert_eq!(socket.close_code(), Some(4003));
    await_that("they are gone", || server.connections() == 1);
    assert_eq!(queued_bytes(&server), 0);
}

#[test]
fn all_clients_together_are_kept_no_more_than_the_budget_and_the_worst_go_first() {
    const BUDGET: u64 = 16 << 20;
    let budget = format!("limits.send_bytes_max={BUDGET}");
    let server = Server::with_shards(1, &[&budget, "limits.send_queue_bytes_max=4000000"]);
    let mut publisher = server.connect();
    for _ in 0..8 {
        publisher.publish("h", vec![b'x'; 128 * 1024]);
    }
    let mut small = Client::narrow(server.address());
    let attack = Attack::begin(&server, "pages unread", "100 × 20 of 1 MiB, budget 16 MiB".into());
    let mut clients: Vec<_> = (0..100).map(|_| Client::narrow(server.address())).collect();
    for client in &mut clients {
        (0..20).for_each(|_| client.ask("GET", "/channels/h/history", "", b""));
    }
    server.await_metric(CLOSED.0, CLOSED.1, 50.0);
    assert!(queued_bytes(&server) <= BUDGET, "{} bytes wait", queued_bytes(&server));
    attack.end(BUDGET);
    assert_eq!(small.request("GET", "/hello", "", b"").status, 200);
    // There is room again for whoever reads.
    drop(clients);
    assert_eq!(server.get("/channels/h/history").json()["publications"].as_array().map(Vec::len), Some(7));
}
