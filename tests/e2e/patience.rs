//! How long the server waits for a client that is slow to say what it wants.

use std::time::{Duration, Instant};

use roadstead::wire::websocket::Opcode;

use crate::{client::Client, server::Server, socket::WebSocket};

const SETTINGS: &[&str] = &[
    "limits.head_timeout_ms=300",
    "limits.body_timeout_ms=300",
    "limits.body_bytes_per_second_min=1000",
    "limits.keep_alive_timeout_ms=300",
];

/// Sends a byte every few milliseconds until the server has had enough; what it answered.
#[track_caller]
fn drip(server: &Server, start: &str, drop: &str) -> crate::client::Response {
    // The server may count from the connection on, and this thread may be kept waiting behind it.
    let began = Instant::now();
    let mut client = server.connect();
    client.send(start);
    client.tcp().set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
    while client.receive().is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "the server waits for ever");
        client.try_send(drop).expect("the server reads on");
    }
    assert!(began.elapsed() >= Duration::from_millis(250), "given up too soon, after {:?}", began.elapsed());
    client.tcp().set_read_timeout(Some(crate::server::SOON)).expect("a timeout can be set");
    let response = client.response();
    client.receive_to_end();
    response
}

#[test]
fn headers_that_never_end_are_answered_408() {
    let server = Server::start(SETTINGS);
    for (start, drop) in [
        ("GET /hello HTT", "X"),
        ("GET /hello HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n"),
        ("GET /hello HTTP/1.1\r\nHost: localhost\r\nX: ", "y"),
    ] {
        let answer = drip(&server, start, drop);
        assert_eq!((answer.status, answer.field("connection")), (408, Some("close")), "{start:?}");
    }
    assert_eq!(server.metric("roadstead_request_limits_total", "408"), 3.0);
    assert_eq!(server.metric("roadstead_closed_total", "request_timeout"), 3.0);
}

#[test]
fn a_body_slower_than_its_rate_is_answered_408_and_a_faster_one_is_not() {
    let server = Server::start(SETTINGS);
    let head = "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    assert_eq!(drip(&server, head, "x").status, 408);
    let chunked = "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(drip(&server, chunked, "1\r\nx\r\n").status, 408);
    assert_eq!(server.metric("roadstead_request_limits_total", "408"), 2.0);

    // 100 kB over about a second: longer than the timeout, faster than the rate. What the timeout asks for comes with
    // the head, and for the rest there are two seconds at a time, however slow this machine is.
    let mut client = server.connect();
    client.send(head.to_owned() + &"x".repeat(4000));
    for _ in 2..50 {
        std::thread::sleep(Duration::from_millis(20));
        client.send([b'x'; 2000]);
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Server::start(SETTINGS);
    let mut silent = server.connect();
    silent.expect_end();
    let mut kept = server.connect();
    assert_eq!(kept.request("GET", "/hello", "", b"").status, 200);
    kept.expect_end();
    server.await_metric("roadstead_closed_total", "idle_timeout", 2.0);
}

#[test]
fn a_connection_in_steady_use_outlives_every_timeout() {
    // Longer than a busy machine makes this thread wait between two writes.
    let server = Server::start(&["limits.head_timeout_ms=1200", "limits.keep_alive_timeout_ms=1200"]);
    let mut client = server.connect();
    let request = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let began = Instant::now();
    // Each write ends within a request, so that one is always incomplete.
    client.send(&request[..10]);
    while began.elapsed() < Duration::from_millis(3000) {
        client.send([&request[10..], &request[..10]].concat());
        assert_eq!(client.response().status, 200, "after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn waiting_polls_streams_and_sockets_are_not_idle() {
    let server = Server::start(SETTINGS);
    let mut poll = server.connect();
    poll.ask("GET", "/channels/w?timeout=25", "", b"");
    let mut stream = crate::stream::EventStream::open(server.connect(), "w", "", "");
    let mut socket = server.websocket("/channels/w");
    server.await_subscribers("w", 3);
    let mut silent = server.connect();
    silent.expect_end();
    let mut silent = server.connect();
    silent.expect_end();
    server.publish("w", "still there");
    assert_eq!(poll.response().json()["publications"][0]["data"], "still there");
    assert_eq!((stream.data(), socket.text()), ("still there".into(), "still there".into()));
}

#[test]
fn a_websocket_that_reads_a_long_message_slowly_is_not_taken_for_dead() {
    // The server would wait two seconds more for one that it gives up.
    const BYTES: usize = 8 << 20;
    let server = Server::start(&["limits.ping_interval_ms=200", "limits.ping_timeout_ms=200"]);
    let mut socket = WebSocket::open(Client::narrow(server.address()), "/echo", "");
    socket.send_frame(Opcode::Binary, true, &vec![b'x'; BYTES]);
    assert!(socket.client.sip(BYTES), "it was given up while it read");
    assert_eq!(server.metric("roadstead_closed_total", "slow_consumer"), 0.0);
}
