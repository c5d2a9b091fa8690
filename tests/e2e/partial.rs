//! Input that has begun and not ended: how much of it all clients together may keep, and how long a message may take.

use std::time::{Duration, Instant};

use roadstead::wire::websocket::Opcode;

use crate::{
    client::Client,
    server::{Patience, Server},
    socket::{Incoming, frame},
};

const MIB: u64 = 1 << 20;
/// Each client sends so much of something larger.
const SENT: usize = 900 << 10;
const CLIENTS: usize = 64;
/// One shard, which has it all; `/echo` would ask for more.
const SETTINGS: &[&str] = &["limits.partial_input_bytes_max=8388608", "diagnostics.enabled=false"];

/// The least budget there may be, for the smallest messages and bodies that are of use here.
const SMALL: &[&str] = &[
    "limits.partial_input_bytes_max=100000",
    "limits.message_bytes_max=20000",
    "limits.body_bytes_max=20000",
    "limits.publication_bytes_max=20000",
    "diagnostics.enabled=false",
];
const SMALL_BYTES: f64 = 100_000.0;

/// Lets many clients begin what they do not end; the server must not grow by much more than it is allowed to keep.
#[track_caller]
fn check_bounded(server: &Server, begin: impl Fn(&Server) -> Client) -> Vec<Client> {
    let before = server.resident_bytes();
    let clients: Vec<_> = (0..CLIENTS).map(|_| begin(server)).collect();
    // What all have sent is seven times what may be kept.
    server.await_metric("roadstead_partial_input_dropped_total", "", CLIENTS as f64 / 2.0);
    let (grown, kept) = (server.resident_bytes().saturating_sub(before), kept_bytes(server));
    assert!(kept <= 8.0 * MIB as f64, "{kept} bytes are kept");
    assert!(grown < 24 * MIB, "grew by {} MiB", grown / MIB);
    clients
}

fn kept_bytes(server: &Server) -> f64 {
    server.metric("roadstead_partial_input_bytes", "")
}

/// Sends to a server that may have had enough.
fn send(mut client: Client, bytes: &[u8]) -> Client {
    client.try_send(bytes).unwrap_or_default();
    client
}

/// The most of a message of 1 MiB, which is the largest there may be.
fn most_of_a_message() -> Vec<u8> {
    let mut bytes = frame(Opcode::Binary, true, &vec![b'x'; MIB as usize]);
    bytes.truncate(SENT);
    bytes
}

#[test]
fn unfinished_messages_take_no_more_memory_than_they_may() {
    let server = Server::with_shards(1, SETTINGS);
    let bytes = most_of_a_message();
    let clients = check_bounded(&server, |server| send(server.websocket("/ws").client, &bytes));
    server.await_metric("roadstead_closed_total", "overloaded", CLIENTS as f64 / 2.0);
    // A message that comes soon is not the one to go, however much the others hold.
    let mut innocent = server.websocket("/ws");
    let command = frame(Opcode::Text, true, br#"{"id":1,"subscribe":{"channel":"a"}}"#);
    innocent.client.send(&command[..20]);
    innocent.client.send(&command[20..]);
    assert_eq!(innocent.json()["id"], 1);
    drop(clients);
}

#[test]
fn a_websocket_whose_message_is_given_up_closes_with_1013() {
    let server = Server::with_shards(1, SMALL);
    let bytes = &frame(Opcode::Binary, true, &[b'x'; 20_000])[..15_000];
    let mut oldest = server.websocket("/ws");
    oldest.client.send(bytes);
    server.await_metric("roadstead_partial_input_bytes", "", 15_000.0);
    let others: Vec<_> = (0..16).map(|_| send(server.websocket("/ws").client, bytes)).collect();
    assert_eq!(oldest.close_code(), Some(1013));
    drop(others);
}

#[test]
fn unfinished_bodies_take_no_more_memory_than_they_may_and_are_answered_503() {
    let server = Server::with_shards(1, SETTINGS);
    let head = "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    let request = [head.as_bytes(), &vec![b'x'; SENT]].concat();
    let clients = check_bounded(&server, |server| send(server.connect(), &request));
    let statuses = server.metric("roadstead_responses_total", "5xx");
    assert!(statuses >= CLIENTS as f64 / 2.0, "{statuses}");
    assert_eq!(server.publish("a", "the next one is whole"), 1);
    drop(clients);
}

#[test]
fn requests_that_wait_behind_another_take_no_more_memory_than_they_may() {
    let server = Server::with_shards(1, SMALL);
    let poll = "GET /channels/a?timeout=25 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let head = "POST /channels/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n";
    // Only what comes with one receive is read behind a request that waits.
    let request = [poll.as_bytes(), head.as_bytes(), &[b'x'; 3000]].concat();
    let mut oldest = server.connect();
    oldest.send(&request);
    server.await_metric("roadstead_partial_input_bytes", "", 3000.0);
    let others: Vec<_> = (0..100).map(|_| send(server.connect(), &request)).collect();
    server.await_metric("roadstead_partial_input_dropped_total", "", 60.0);
    assert!(kept_bytes(&server) <= SMALL_BYTES);
    assert_eq!(oldest.response().status, 503);
    drop(others);
}

#[test]
fn attachments_that_are_awaited_take_no_more_memory_than_they_may() {
    let server = Server::with_shards(1, SETTINGS);
    let event = r#"452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let attachment = frame(Opcode::Binary, true, &vec![b'x'; SENT]);
    check_bounded(&server, |server| {
        let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
        socket.send_text("40");
        assert!(socket.text().starts_with('0') && socket.text().starts_with("40"));
        socket.send_text(event);
        send(socket.client, &attachment)
    });
}

#[test]
fn a_message_slower_than_its_rate_closes_with_4006_and_a_faster_one_is_heard() {
    let settings = ["limits.message_timeout_ms=300", "limits.message_bytes_per_second_min=1000"];
    let server = Server::start(&settings);
    let mut socket = server.websocket("/ws");
    let began = Instant::now();
    socket.send_frame(Opcode::Text, false, b"{");
    socket.client.tcp().set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
    let patience = Patience::begin();
    while socket.client.receive().is_err() {
        patience.check("the server has had enough");
        // It lives, and says so.
        socket.client.try_send(frame(Opcode::Pong, true, b"")).expect("the server reads on");
        socket.client.try_send(frame(Opcode::Continuation, false, b" ")).expect("the server reads on");
    }
    assert!(began.elapsed() >= Duration::from_millis(250), "given up too soon, after {:?}", began.elapsed());
    socket.client.tcp().set_read_timeout(Some(crate::server::SOON)).expect("a timeout can be set");
    assert_eq!(socket.close_code(), Some(4006));
    server.await_metric("roadstead_closed_total", "message_timeout", 1.0);

    // 100 kB over about a second: longer than the timeout, faster than the rate. What the first look asks for comes at
    // once, and for the rest there are two seconds at a time, however slow this machine is.
    let mut socket = server.websocket("/echo");
    let message = "x".repeat(100_000);
    let bytes = frame(Opcode::Text, true, message.as_bytes());
    socket.client.send(&bytes[..4000]);
    for piece in bytes[4000..].chunks(2000) {
        std::thread::sleep(Duration::from_millis(20));
        socket.client.send(piece);
    }
    assert_eq!(socket.next(), Incoming::Text(message));
}

#[test]
fn each_message_has_a_time_of_its_own_though_another_is_always_incomplete() {
    // Longer than a busy machine makes this thread wait between two writes.
    let settings = ["limits.message_timeout_ms=1500", "limits.message_bytes_per_second_min=1000"];
    let server = Server::start(&settings);
    let mut socket = server.websocket("/echo");
    let bytes = frame(Opcode::Text, true, b"hello");
    socket.client.send(&bytes[..4]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(4000) {
        socket.client.send([&bytes[4..], &bytes[..4]].concat());
        assert_eq!(socket.next(), Incoming::Text("hello".into()), "after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
}
