//! The end of a server: everybody is told, within the time set, and the code is 0.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    client::Client,
    server::{Server, await_that},
    socket::Incoming,
    stream::EventStream,
};

const DRAIN_MS: u32 = 1000;
/// Two seconds of grace beyond the drain, and much more than that for a busy machine.
const DRAIN_AND_GRACE: Duration = Duration::from_millis(DRAIN_MS as u64 + 2_000 + 8_000);

/// Far less than the minute that some tests let a drain last.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Starts two shards that drain over so many milliseconds.
fn server(drain_ms: u32) -> Server {
    let drain = drain_ms.to_string();
    Server::launch(Server::command(2, &["127.0.0.1:0"], &[]).args(["--drain-ms", &drain]))
}

/// A client of Socket.IO that polls, and the target of its requests.
fn enter_polling(server: &Server) -> (Client, String) {
    const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
    let mut client = server.connect();
    let opened = client.request("GET", POLLING, "", b"").text();
    let opened: serde_json::Value = serde_json::from_str(&opened[1..]).expect("a session is open");
    let target = format!("{POLLING}&sid={}", opened["sid"].as_str().expect("an id"));
    assert_eq!(client.request("POST", &target, "", b"40").status, 200);
    assert!(client.request("GET", &target, "", b"").text().starts_with("40{"));
    (client, target)
}

#[test]
fn every_kind_of_client_is_told_in_its_own_words() {
    for signal in ["TERM", "INT"] {
        let mut server = server(DRAIN_MS);
        let mut raw: Vec<_> = (0..6).map(|_| server.websocket("/channels/d")).collect();
        let mut commands = server.websocket("/ws");
        commands.command(&json!({"id":1,"subscribe":{"channel":"d"}}));
        let mut echo = server.websocket("/echo");
        let mut streams: Vec<_> = (0..6).map(|_| EventStream::open(server.connect(), "d", "", "")).collect();
        let mut polls: Vec<_> = (0..6).map(|_| server.connect()).collect();
        polls.iter_mut().for_each(|poll| poll.ask("GET", "/channels/d?timeout=25", "", b""));
        let mut idle = server.connect();
        assert_eq!(idle.request("GET", "/hello", "", b"").status, 200);
        let mut half = server.connect();
        half.send("GET /hello HTTP/1.1\r\nHo");
        server.await_subscribers("d", 19);
        let position = server.publish_and_collect(&mut raw, &mut commands, &mut streams, &mut polls);

        let began = Instant::now();
        server.signal(signal);
        for socket in raw.iter_mut().chain([&mut commands, &mut echo]) {
            let Incoming::Close(code, reason) = socket.next() else { panic!("no closing frame") };
            assert_eq!((code, reason.is_empty()), (Some(1001), false));
            socket.client.expect_end();
        }
        for stream in &mut streams {
            let rest = stream.rest();
            assert!(rest.iter().any(|block| block.retry.is_some()), "{rest:?}");
        }
        for poll in &mut polls {
            let answer = poll.response();
            assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
            assert_eq!(
                (&answer.json()["recovered"], &answer.json()["position"]),
                (&json!(true), &json!(position))
            );
            poll.expect_end();
        }
        idle.expect_end();
        half.send("st: a\r\n\r\n");
        assert_eq!(half.response().field("connection"), Some("close"), "a request under way is answered");
        half.expect_end();
        drop((raw, commands, echo, streams, polls, idle, half));
        assert!(server.wait().success(), "{}", server.log());
        assert!(began.elapsed() < DRAIN_AND_GRACE, "{:?}", began.elapsed());
        assert!(server.log().contains("drain"), "{}", server.log());
    }
}

impl Server {
    /// Publishes once, takes it from everybody, and asks every poll anew; the position from which they wait.
    fn publish_and_collect(
        &self,
        raw: &mut [crate::socket::WebSocket],
        commands: &mut crate::socket::WebSocket,
        streams: &mut [EventStream],
        polls: &mut [crate::client::Client],
    ) -> String {
        self.publish("d", "last");
        raw.iter_mut().for_each(|socket| assert_eq!(socket.text(), "last"));
        assert_eq!(commands.push()["data"], "last");
        streams.iter_mut().for_each(|stream| assert_eq!(stream.data(), "last"));
        polls.iter_mut().for_each(|poll| assert_eq!(poll.response().status, 200));
        polls.iter_mut().for_each(|poll| poll.ask("GET", "/channels/d?timeout=25", "", b""));
        self.await_subscribers("d", 19);
        self.position("d")
    }
}

#[test]
fn a_client_that_polls_and_has_no_request_open_is_told_with_its_next_one() {
    let mut server = server(3000);
    let mut polls: Vec<_> = (0..30).map(|_| enter_polling(&server)).collect();
    let mut idle = server.connect();
    assert_eq!(idle.request("GET", "/hello", "", b"").status, 200);
    let sockets = || server.metric("roadstead_sockets", "");
    assert_eq!(sockets(), 30.0);
    server.signal("TERM");
    await_that("half of them have been ended", || sockets() <= 15.0);
    for (client, target) in &mut polls {
        let answer = client.request("GET", target, "", b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, "1"), "{target}");
        client.expect_end();
    }
    idle.expect_end();
    drop((polls, idle));
    assert!(server.wait().success(), "{}", server.log());
}

#[test]
fn what_waits_for_a_client_that_polls_leaves_without_the_word_that_the_server_goes() {
    let mut server = server(20_000);
    let (mut client, target) = enter_polling(&server);
    let said = json!({"event": "said", "args": ["x"]}).to_string();
    let json = "Content-Type: application/json\r\n";
    let answer = server.connect().request("POST", "/socket.io-api/emit", json, said.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    server.signal("TERM");
    await_that("the session has ended", || server.metric("roadstead_sockets", "") == 0.0);
    let answer = client.request("GET", &target, "", b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"42["said","x"]"#));
    client.expect_end();
    assert!(server.wait().success(), "{}", server.log());
}

#[test]
fn clients_are_told_one_after_another_over_the_whole_time() {
    let mut server = server(3000);
    let sockets: Vec<_> = (0..60).map(|_| server.websocket("/channels/d")).collect();
    let began = Instant::now();
    server.signal("TERM");
    let mut waiting: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            std::thread::spawn(move || {
                assert_eq!(socket.close_code(), Some(1001));
                began.elapsed()
            })
        })
        .collect();
    let mut times: Vec<_> = waiting.drain(..).map(|thread| thread.join().expect("told to go")).collect();
    times.sort();
    assert!(times[0] < Duration::from_millis(2000), "the first waits for nothing: {times:?}");
    assert!(times[59] - times[0] > Duration::from_millis(1000), "all at once: {times:?}");
    assert!(times[59] < Duration::from_secs(10), "{times:?}");
    assert!(server.wait().success());
}

#[test]
fn clients_that_do_not_listen_do_not_hold_the_server_up() {
    let mut server = server(DRAIN_MS);
    let deaf: Vec<_> = (0..10).map(|_| server.websocket("/channels/d")).collect();
    let _half = {
        let mut client = server.connect();
        client.send("POST /channels/d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx");
        client
    };
    await_that("all are there", || server.connections() == 11);
    let began = Instant::now();
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(began.elapsed() < DRAIN_AND_GRACE, "{:?}", began.elapsed());
    drop(deaf);
}

#[test]
fn an_empty_server_ends_at_once_whatever_the_drain_time() {
    let mut server = server(60_000);
    let began = Instant::now();
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[test]
fn nobody_new_is_served_while_the_server_drains() {
    let mut server = server(1500);
    let held: Vec<_> = (0..8).map(|_| server.websocket("/channels/d")).collect();
    server.signal("TERM");
    await_that("new clients are turned away", || match TcpStream::connect(server.address()) {
        Err(_) => true,
        Ok(stream) => {
            let mut client = crate::client::Client::over(stream);
            client.try_send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").ok();
            match client.receive() {
                Ok(count) => count == 0 || client.received.starts_with(b"HTTP/1.1 503"),
                Err(_) => true,
            }
        }
    });
    drop(held);
    assert!(server.wait().success());
}

#[test]
fn operators_are_answered_to_the_last() {
    let mut server = server(60_000);
    let mut held: Vec<_> = (0..8).map(|_| server.websocket("/channels/d")).collect();
    assert_eq!((server.admin("/readyz").status, server.admin("/healthz").status), (200, 200));
    server.signal("TERM");
    await_that("the drain has begun", || server.log().contains("draining"));
    // Each asks anew, as a load balancer does, and each shard is asked.
    await_that("every shard has heard of it", || (0..20).all(|_| server.admin("/readyz").status == 503));
    assert_eq!(server.admin("/healthz").status, 200);
    assert_eq!(server.shards().len(), 2);
    let refused = TcpStream::connect(server.address()).map(|_| ()).map_err(|error| error.kind());
    assert_eq!(refused, Err(std::io::ErrorKind::ConnectionRefused), "clients go elsewhere at once");
    let mut operator = crate::client::Client::connect(server.admin_address());
    assert_eq!(operator.request("GET", "/readyz", "", b"").status, 503);
    held.clear();
    assert!(server.wait().success(), "an operator does not hold the server up");
}

#[test]
fn a_lame_duck_says_that_it_is_not_ready_and_serves_on() {
    let mut server = lame_duck(600_000);
    server.signal("TERM");
    await_that("every shard has heard of it", || (0..20).all(|_| server.admin("/readyz").status == 503));
    let mut socket = server.websocket("/channels/d");
    server.publish("d", "as before");
    assert_eq!(socket.text(), "as before");
    assert_eq!(server.admin("/healthz").status, 200);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(143), "{}", server.log());

    let mut server = lame_duck(1);
    let mut socket = server.websocket("/channels/d");
    server.signal("TERM");
    assert_eq!(socket.close_code(), Some(1001), "then it drains");
    drop(socket);
    assert!(server.wait().success(), "{}", server.log());
}

fn lame_duck(ms: u32) -> Server {
    Server::start(&[&format!("server.lame_duck_ms={ms}")])
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut server = server(60_000);
    let sockets: Vec<_> = (0..20).map(|_| server.websocket("/channels/d")).collect();
    server.signal("TERM");
    await_that("the drain has begun", || server.log().contains("drain"));
    let began = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(143), "{}", server.log());
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    drop(sockets);
}
