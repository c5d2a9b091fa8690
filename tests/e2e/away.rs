//! What those are told who come while the broker is away: that it is, and when to come back; and nothing is acknowledged before
//! it has it.

use serde_json::json;

use crate::{
    epochs::closed,
    nodes::{await_joined, follow, node},
    redis::Redis,
    server::{Server, await_that, program},
    socket::WebSocket,
    stream::EventStream,
};

/// A node whose Redis is killed.
fn alone(redis: &mut Redis) -> Server {
    let server = node(redis, &[]);
    redis.kill();
    await_that("the loss is seen", || server.metric("roadstead_broker_up", "") == 0.0);
    server
}

#[test]
fn who_comes_while_the_broker_is_away_is_told_so_and_when_to_come_back() {
    let mut redis = Redis::start();
    let server = alone(&mut redis);
    let polls = [
        "/channels/news?since=0:0&timeout=30",
        "/channels/news?since=0:0&timeout=1",
        "/events?channel=a&channel=b&timeout=30",
    ];
    let mut clients = polls.map(|target| {
        let mut client = server.connect();
        client.ask("GET", target, "", b"");
        client
    });
    let mut plain = server.websocket("/channels/news");
    let mut stream = EventStream::open(server.connect(), "news", "", "");
    for (client, target) in clients.iter_mut().zip(polls) {
        let answer = client.response();
        assert_eq!((answer.status, answer.error_code().as_str()), (503, "broker_unavailable"), "{target}");
        assert_eq!(answer.field("retry-after"), Some("1"), "{target}");
    }
    let (code, reason) = closed(&mut plain);
    assert_eq!(code, Some(1013));
    assert!(reason.contains("broker"), "{reason}");
    while stream.block().is_some() {}
    server.await_metric("roadstead_closed_total", "broker_unavailable", 2.0);
    assert_eq!(server.metric("roadstead_closed_total", "overloaded"), 0.0);
}

#[test]
fn an_event_of_socketio_is_acknowledged_when_the_broker_has_it_and_refused_when_it_has_not() {
    let mut redis = Redis::start();
    let (a, b) = (node(&redis, &[]), node(&redis, &[]));
    let mut follower = follow(&b, "lobby");
    let mut socket = WebSocket::open(a.connect(), "/socket.io/?EIO=4&transport=websocket", "");
    assert!(socket.text().starts_with("0{"));
    socket.send_text("40");
    assert!(socket.text().starts_with("40{"));
    let emit = |body: &serde_json::Value| {
        let json = "Content-Type: application/json\r\n";
        a.connect().request("POST", "/socket.io-api/emit", json, body.to_string().as_bytes())
    };
    let event = json!({"rooms": ["lobby", "hall"], "event": "news", "args": ["by HTTP"]});
    assert_eq!(emit(&event).status, 202);
    assert_eq!(follower.push()["data"], json!(["news", "by HTTP"]));
    let nobody = json!({"rooms": ["AAAAAAAAAAAAAAAAAAAA"], "event": "news"});
    assert_eq!(emit(&nobody).status, 202);
    socket.send_text("421[\"publish\",\"lobby\",\"news\",\"by a client\"]");
    assert_eq!(socket.text(), "431[{\"room\":\"lobby\"}]");
    assert_eq!(follower.push()["data"], json!(["news", "by a client"]));

    redis.kill();
    await_that("the loss is seen", || a.metric("roadstead_broker_up", "") == 0.0);
    let refused = emit(&event);
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "broker_unavailable"));
    assert!(refused.field("retry-after").is_some());
    for (sent, told) in [
        ("422[\"publish\",\"lobby\",\"news\",\"lost\"]", "432["),
        ("423[\"anything\",\"lost\"]", "433["),
        ("42[\"anything\",\"lost\"]", "42[\"refused\""),
    ] {
        socket.send_text(sent);
        let answer = socket.text();
        assert!(answer.starts_with(told) && answer.contains("broker_unavailable"), "{answer}");
    }
    redis.go_on();
    [&a, &b].into_iter().for_each(await_joined);
    assert_eq!(emit(&event).status, 202);
    loop {
        let told = follower.json();
        if told.get("gap").is_none() {
            assert_eq!(told["push"]["data"], json!(["news", "by HTTP"]), "nothing that was refused has come");
            break;
        }
    }
}

#[test]
fn status_names_a_broker_that_is_away_as_the_cause() {
    let mut redis = Redis::start();
    let server = alone(&mut redis);
    let admin = server.admin_address().to_string();
    let status = || {
        let told = program().args(["status", "--admin", &admin]).output().expect("the program runs");
        (told.status.code(), String::from_utf8(told.stdout).expect("UTF-8"))
    };
    await_that("it is told not to be ready", || server.admin("/readyz").status == 503);
    let (code, told) = status();
    assert_eq!(code, Some(1));
    assert!(told.contains(": not ready: the broker that joins the nodes is away (broker.url)"), "{told}");
    redis.go_on();
    await_joined(&server);
    let (code, told) = status();
    assert_eq!(code, Some(0), "{told}");
}
