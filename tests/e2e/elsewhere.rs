//! Clients of Socket.IO that poll, and whose requests a load balancer sends to another node than the one that has their session.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Response},
    nodes::{await_joined, node},
    redis::{Redis, Reply},
    server::{Server, await_that},
    socket::WebSocket,
};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Far more than it takes until a node is struck off the roll and others know that: up to 20 seconds.
const STRUCK_OFF: Duration = Duration::from_secs(90);

/// A node that says where others reach it, at a socket's file.
fn reachable(redis: &Redis, name: &str) -> Server {
    let path = format!("{}.{name}", redis.socket());
    let (setting, listen) = (redis.setting(), format!("unix:{path}"));
    let advertised = format!("broker.advertised_url={listen}");
    let settings = [setting.as_str(), &advertised];
    let server = Server::launch(&mut Server::command(2, &["127.0.0.1:0", &listen], &settings));
    await_joined(&server);
    server
}

/// Waits until Redis has been told where so many nodes are, and all of them know that.
fn await_places(redis: &Redis, servers: &[&Server]) {
    await_that("all nodes say where they are", || {
        let count = redis.ask(&["HLEN", "rs:where"]);
        count == Reply::Number(servers.len() as i64)
    });
    for from in servers {
        for to in servers {
            await_that("each is reached", || {
                let target = open(from);
                let answer = to.connect().request("POST", &target, "", b"40");
                answer.status == 200
            });
        }
    }
}

/// Opens a session; where it is asked.
fn open(server: &Server) -> String {
    let text = server.connect().request("GET", POLLING, "", b"").text();
    let open: Value = serde_json::from_str(&text[1..]).expect("an open packet");
    format!("{POLLING}&sid={}", open["sid"].as_str().expect("an id"))
}

fn emit(server: &Server, event: &str) {
    let body = json!({"event": event}).to_string();
    let json = "Content-Type: application/json\r\n";
    let answer = server.connect().request("POST", "/socket.io-api/emit", json, body.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
}

fn poll(client: &mut Client, target: &str) -> Response {
    client.request("GET", target, "", b"")
}

/// What a session that is not there is answered.
fn is_unknown(answer: &Response) -> bool {
    answer.status == 400 && answer.json() == json!({"code": 1, "message": "Session ID unknown"})
}

#[test]
fn a_client_that_polls_is_served_by_whichever_node_it_comes_to() {
    let redis = Redis::start();
    let (a, b) = (reachable(&redis, "a"), reachable(&redis, "b"));
    await_places(&redis, &[&a, &b]);
    let target = open(&a);
    let mut other = b.connect();
    let origin = "Origin: http://127.0.0.1\r\n";
    let entered = other.request("POST", &target, origin, b"40");
    assert_eq!((entered.status, entered.text().as_str()), (200, "ok"));
    assert!(poll(&mut other, &target).text().starts_with("40{"));
    // A poll that waits there is answered as it would be here.
    other.ask("GET", &target, "", b"");
    emit(&b, "one");
    assert_eq!(other.response().text(), "42[\"one\"]");
    emit(&a, "two");
    assert_eq!(poll(&mut other, &target).text(), "42[\"two\"]");
    // What its own node answers of errors comes back as well.
    let large = vec![b'4'; 1_000_001];
    assert_eq!(b.connect().request("POST", &target, "", &large).status, 413);
    // What has been passed on is not passed on again.
    assert!(is_unknown(&b.connect().request("GET", &target, "Roadstead-Passed-By: 0001\r\n", b"")));
    // It may come to its own at any time.
    emit(&b, "three");
    assert_eq!(poll(&mut a.connect(), &target).text(), "42[\"three\"]");
}

#[test]
fn a_websocket_that_takes_over_from_polls_goes_through_to_the_node_of_the_session() {
    let redis = Redis::start();
    let (a, b) = (reachable(&redis, "a"), reachable(&redis, "b"));
    await_places(&redis, &[&a, &b]);
    let target = open(&a);
    assert_eq!(b.connect().request("POST", &target, "", b"40").status, 200);
    assert!(poll(&mut b.connect(), &target).text().starts_with("40{"));
    let mut socket = WebSocket::open(b.connect(), &target.replace("polling", "websocket"), "");
    socket.send_text("2probe");
    assert_eq!(socket.text(), "3probe");
    socket.send_text("5");
    emit(&b, "one");
    assert_eq!(socket.text(), "42[\"one\"]");
    let large = "x".repeat(200_000);
    emit(&a, &large);
    assert_eq!(socket.text(), format!("42[\"{large}\"]"));
    // Nobody polls any more, and the end of the client is that of the session.
    assert_eq!(poll(&mut b.connect(), &target).status, 400);
    drop(socket);
    await_that("the session has ended", || is_unknown(&poll(&mut a.connect(), &target)));
    // Another one than a WebSocket is not let through.
    let plain = b.connect().request("GET", &open(&a).replace("polling", "websocket"), "", b"");
    assert!(is_unknown(&plain));
}

#[test]
fn a_client_that_leaves_takes_the_request_with_it_that_waits_at_its_node() {
    let redis = Redis::start();
    let path = format!("{}.other", redis.socket());
    redis.ask(&["HSET", "rs:where", "other", &format!("0001 unix:{path}")]);
    let b = node(&redis, &[]);
    let target = format!("{POLLING}&sid=AAAAAAAAAAEAAAAAAAAA");
    let ask = || b.connect().request("POST", &target, "", b"40");
    await_that("it is known where the other is", || ask().error_code() == "node_away");
    // The other node is played here, to see what comes to it.
    let other = UnixListener::bind(&path).expect("the folder is the test's");
    let mut client = b.connect();
    client.ask("GET", &target, "X-Forwarded-For: 192.0.2.1\r\nCookie: a=b\r\n", b"");
    let (mut stream, _) = other.accept().expect("a connection");
    let (mut came, mut bytes) = (Vec::new(), [0; 4096]);
    while !came.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut bytes).expect("the request");
        assert!(count > 0, "it is whole");
        came.extend_from_slice(&bytes[..count]);
    }
    let came = String::from_utf8(came).expect("text").to_lowercase();
    assert!(came.starts_with(&format!("get {} http/1.1\r\n", target.to_lowercase())), "{came}");
    for field in ["cookie: a=b\r\n", "x-forwarded-for: 127.0.0.1\r\n", "roadstead-passed-by: "] {
        assert_eq!(came.matches(field).count(), 1, "{field} in {came}");
    }
    drop(client);
    assert_eq!(stream.read(&mut bytes).expect("the end"), 0, "nobody waits for the answer any more");
    // Another request is none the worse for it.
    let mut client = b.connect();
    client.ask("POST", &target, "", b"40");
    let (mut stream, _) = other.accept().expect("a connection");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: io=1\r\n\r\nok").expect("written");
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.field("set-cookie"), answer.text().as_str()),
        (200, Some("io=1"), "ok")
    );
}

#[test]
fn a_client_whose_node_is_not_reached_is_told_so_and_begins_anew() {
    let redis = Redis::start();
    let (mut a, b) = (reachable(&redis, "a"), reachable(&redis, "b"));
    await_places(&redis, &[&a, &b]);
    let target = open(&a);
    a.signal("KILL");
    a.wait();
    let refused = WebSocket::try_open(b.connect(), &target.replace("polling", "websocket"), "");
    assert!(refused.is_err_and(|answer| is_unknown(&answer)), "it goes on polling");
    let refused = poll(&mut b.connect(), &target);
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "node_away"), "{}", refused.text());
    // That takes half as long as other things are given, and as long again where nobody gets on for four seconds.
    let began = Instant::now();
    while !is_unknown(&poll(&mut b.connect(), &target)) {
        assert!(began.elapsed() < STRUCK_OFF, "it is not struck off");
        sleep(Duration::from_millis(50));
    }
    assert_eq!(b.connect().request("POST", &open(&b), "", b"40").status, 200);
}

#[test]
fn a_node_that_says_nothing_is_not_waited_for_by_a_post_nor_by_a_poll_once_it_is_struck_off() {
    let redis = Redis::start();
    let path = format!("{}.other", redis.socket());
    redis.ask(&["HSET", "rs:where", "other", &format!("0001 unix:{path}")]);
    // A poll may last for longer than any test.
    let b = node(&redis, &["socketio.ping_interval_ms=600000"]);
    let target = format!("{POLLING}&sid=AAAAAAAAAAEAAAAAAAAA");
    let ask = || b.connect().request("POST", &target, "", b"40");
    await_that("it is known where the other is", || !is_unknown(&ask()));
    // It takes connections, and reads nothing.
    let _other = UnixListener::bind(&path).expect("the folder is the test's");
    let mut waiting = b.connect();
    waiting.ask("GET", &target, "", b"");
    let refused = ask();
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "node_away"), "{}", refused.text());
    let refused = WebSocket::try_open(b.connect(), &target.replace("polling", "websocket"), "");
    assert!(refused.is_err_and(|answer| is_unknown(&answer)));
    redis.ask(&["HDEL", "rs:where", "other"]);
    waiting.tcp().set_read_timeout(Some(STRUCK_OFF)).expect("a timeout can be set");
    assert!(is_unknown(&waiting.response()));
}

#[test]
fn a_node_that_does_not_say_where_it_is_is_asked_nothing_and_an_id_that_is_made_up_leads_nowhere() {
    let redis = Redis::start();
    let (a, b) = (node(&redis, &[]), reachable(&redis, "b"));
    let target = open(&a);
    assert!(is_unknown(&poll(&mut b.connect(), &target)));
    for sid in ["AAAAAAAA____________", "AAAAAAAAAAAAAAAAAAAA", "__proto__"] {
        assert!(is_unknown(&poll(&mut b.connect(), &format!("{POLLING}&sid={sid}"))), "{sid}");
    }
    assert_eq!(a.connect().request("POST", &target, "", b"40").status, 200);
}
