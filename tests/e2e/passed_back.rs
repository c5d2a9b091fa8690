//! `roadstead run`: answers of the program that are passed back as they come, event streams and what is large.

use serde_json::json;

use crate::{
    client::{Client, Response},
    program::{Player, run},
    server::Server,
};

const LARGE: usize = 24 << 20;

/// Reads one chunk; nothing at the end of the body.
#[track_caller]
fn chunk(client: &mut Client) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.append(&mut client.take(1));
    }
    let size = std::str::from_utf8(&line).expect("digits").trim();
    let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("a size: {size}"));
    let mut bytes = client.take(size + 2);
    assert_eq!(bytes.split_off(size), b"\r\n");
    bytes
}

/// Asks for a stream of events, whose head is there before any event is.
#[track_caller]
fn open(server: &Server) -> Client {
    let mut client = server.connect();
    client.ask("GET", "/events", "", b"");
    let head = client.response_head();
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")), "{}", head.head);
    assert_eq!(head.field("transfer-encoding"), Some("chunked"), "{}", head.head);
    client
}

#[test]
fn events_of_a_stream_reach_its_client_as_they_come_and_its_end_the_program() {
    let server = run(2, &[]);
    let mut player = Player::enter(&server);
    let (mut first, mut second) = (open(&server), open(&server));
    for text in ["one", "two"] {
        player.emit(&json!(["say to streams", text]));
        for client in [&mut first, &mut second] {
            assert_eq!(chunk(client), format!("data: {text}\n\n").as_bytes());
        }
    }
    drop(second);
    assert_eq!(player.event(), json!(["stream closed"]));
    player.emit(&json!(["end streams"]));
    assert_eq!(chunk(&mut first), b"");
    // What follows on the connection is another request.
    assert_eq!(first.request("GET", "/hello", "", b"").status, 200);
}

/// Reads a large body, whose bytes are the numbers of their MiB.
#[track_caller]
fn check_large(mut read: impl FnMut(usize) -> Vec<u8>) {
    let mut at = 0;
    while at < LARGE {
        let bytes = read(LARGE - at);
        assert!(!bytes.is_empty(), "it ends at {at}");
        // In runs, for the server waits no longer for another request than for any client.
        for run in bytes.chunks(1 << 10) {
            let (first, last) = (at >> 20, (at + run.len() - 1) >> 20);
            let is_right = run.iter().all(|byte| *byte == first as u8) || first != last;
            assert!(is_right, "at {at}");
            at += run.len();
        }
    }
}

#[test]
fn what_is_large_is_passed_back_whole_and_no_faster_than_it_is_read() {
    let server = run(1, &["socketio.ping_timeout_ms=200000", "limits.keep_alive_timeout_ms=200000"]);
    let mut player = Player::enter(&server);
    for target in ["/large", "/large-and-known"] {
        let mut client = Client::narrow(server.address());
        client.ask("GET", target, "", b"");
        let head: Response = client.response_head();
        assert_eq!(head.status, 200);
        // As much as buffers take is sent, and then no more while nobody reads.
        let mut sent = player.event_named("sent")[1].as_u64().expect("a number");
        for _ in 0..3 {
            sent = sent_since(&mut player).unwrap_or(sent);
        }
        assert!(sent < LARGE as u64 / 2, "{target}: {sent}");
        match head.field("content-length") {
            Some(length) => {
                assert_eq!(length, LARGE.to_string());
                check_large(|left| client.take(left.min(1 << 16)));
            }
            None => {
                check_large(|_| chunk(&mut client));
                assert_eq!(chunk(&mut client), b"");
            }
        }
        player.heard.clear();
        assert_eq!(client.request("GET", "/hello", "", b"").status, 200, "the connection is used again");
    }
}

/// What the program has sent meanwhile, if it has gone on since it was asked before.
fn sent_since(player: &mut Player) -> Option<u64> {
    player.heard.clear();
    // It answers behind what it has said until then.
    for _ in 0..10 {
        player.ask(&json!(["echo", 1]));
    }
    player.heard.last().and_then(|event| event[1].as_u64())
}

#[test]
fn an_answer_that_is_cut_is_seen_to_be_cut() {
    let server = run(1, &[]);
    let mut client = server.connect();
    client.ask("GET", "/cut", "", b"");
    assert_eq!(client.response_head().status, 200);
    assert_eq!(chunk(&mut client), "a".repeat(1000).into_bytes());
    client.expect_end();
    // A client that knows no chunks is told by the end of the connection.
    let mut old = server.connect();
    old.send("GET /cut HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let head = old.response_head();
    assert_eq!((head.status, head.field("transfer-encoding")), (200, None));
    assert_eq!(old.take(1000), "a".repeat(1000).into_bytes());
    old.expect_end();
}

#[test]
fn a_head_of_something_large_has_its_length_and_no_body() {
    let server = run(1, &[]);
    let mut client = server.connect();
    client.ask("HEAD", "/large-and-known", "", b"");
    let head = client.response_head();
    assert_eq!(head.field("content-length"), Some(&*LARGE.to_string()), "{}", head.head);
    assert_eq!(client.request("GET", "/hello", "", b"").status, 200);
}

#[test]
fn a_server_that_drains_ends_streams() {
    let mut server = run(1, &["server.drain_ms=500"]);
    let mut client = open(&server);
    server.signal("TERM");
    client.expect_end();
    assert!(server.wait().success());
}
