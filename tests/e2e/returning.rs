//! Socket.IO clients that come back to more than they can take at once: they are told it bit by bit, in order and once,
//! whatever is said meanwhile.

use crate::{
    client::Client,
    server::{Server, await_that},
    socket::WebSocket,
};

const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
/// More than the kernel takes for a client that reads little.
const EVENTS: usize = 300;
const EVENT_BYTES: usize = 40_000;

fn start(settings: &[&str]) -> Server {
    let recovery = [
        "socketio.connection_state_recovery_ms=120000",
        "socketio.connection_state_recovery_bytes_max=64000000",
    ];
    Server::with_shards(1, &[&recovery, settings].concat())
}

/// The secret in the packet that lets a client in.
fn pid_of(entered: &str) -> String {
    let reply: serde_json::Value = serde_json::from_str(&entered[2..]).expect("an object");
    reply["pid"].as_str().expect("a server that keeps clients").to_owned()
}

/// A client enters and is lost.
fn come_and_go(server: &Server) -> String {
    let mut socket = server.websocket(WEBSOCKET);
    assert!(socket.text().starts_with("0{"));
    socket.send_text("40");
    let pid = pid_of(&socket.text());
    drop(socket);
    await_that("it is away", || server.metric("roadstead_engine_sessions", "") == 0.0);
    pid
}

/// It comes back, with the offset of the last event it has seen.
fn come_back(client: Client, pid: &str, offset: Option<&str>) -> WebSocket {
    let mut socket = WebSocket::open(client, WEBSOCKET, "");
    assert!(socket.text().starts_with("0{"));
    let auth = match offset {
        Some(offset) => format!("40{{\"pid\":\"{pid}\",\"offset\":\"{offset}\"}}"),
        None => format!("40{{\"pid\":\"{pid}\"}}"),
    };
    socket.send_text(&auth);
    assert_eq!(pid_of(&socket.text()), pid, "it is the one that left");
    socket
}

fn publish(server: &Server, numbers: std::ops::Range<usize>) {
    let mut publisher = server.connect();
    for number in numbers {
        publisher.publish("%2F", format!("{number} {}", "x".repeat(EVENT_BYTES)));
    }
}

/// The number and the offset of such an event.
fn number_of(event: &str) -> (usize, String) {
    let event: Vec<String> = serde_json::from_str(&event[2..]).expect("an event");
    let number = event[1].split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
    (number, event[2].clone())
}

#[test]
fn what_was_missed_and_what_is_said_meanwhile_comes_in_order_and_once() {
    let server = start(&[]);
    let pid = come_and_go(&server);
    publish(&server, 0..EVENTS);
    let mut socket = come_back(Client::narrow(server.address()), &pid, None);
    publish(&server, EVENTS..EVENTS + 3);
    // It asks for something meanwhile; what it is told comes when it has caught up.
    socket.send_text("421[\"presence\",\"lobby\"]");
    let mut heard = 0;
    let mut told = None;
    while heard < EVENTS + 3 || told.is_none() {
        let text = socket.text();
        match text.strip_prefix("431") {
            Some(answer) => told = Some((answer.to_owned(), heard)),
            None if text == "2" => socket.send_text("3"),
            None => {
                assert_eq!(number_of(&text).0, heard);
                heard += 1;
            }
        }
    }
    let (answer, at) = told.expect("it was awaited");
    assert!(answer.contains("\"room\":\"lobby\"") && at >= EVENTS, "{answer} at {at}");
    publish(&server, EVENTS + 3..EVENTS + 4);
    assert_eq!(number_of(&socket.text()).0, EVENTS + 3);
}

#[test]
fn a_client_that_polls_is_told_in_as_many_answers_as_it_takes() {
    let server = start(&[]);
    let pid = come_and_go(&server);
    publish(&server, 0..EVENTS);
    let mut client = server.connect();
    let opened = client.request("GET", POLLING, "", b"").text();
    let sid = opened.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split('"').next()).expect("an id");
    let path = format!("{POLLING}&sid={sid}");
    assert_eq!(client.request("POST", &path, "", format!("40{{\"pid\":\"{pid}\"}}").as_bytes()).status, 200);
    let (mut heard, mut answers) = (0, 0);
    while heard < EVENTS {
        let answer = client.request("GET", &path, "", b"").text();
        assert!(answer.len() < 4 * 65_536, "{} bytes at once", answer.len());
        answers += 1;
        for packet in answer.split('\u{1e}').filter(|packet| packet.starts_with("42")) {
            assert_eq!(number_of(packet).0, heard);
            heard += 1;
        }
    }
    assert!(answers > 10, "all in {answers} answers");
}

#[test]
fn a_pong_proves_nothing_of_what_its_client_has_not_been_told_yet() {
    let server = start(&["socketio.ping_interval_ms=300"]);
    let pid = come_and_go(&server);
    publish(&server, 0..EVENTS);
    let mut socket = come_back(Client::narrow(server.address()), &pid, None);
    // When one that opened its session later has been pinged twice, so has been the first.
    let mut other = server.websocket(WEBSOCKET);
    assert!(other.text().starts_with("0{"));
    for _ in 0..2 {
        assert_eq!(other.text(), "2");
        other.send_text("3");
    }
    let messages = server.metric("roadstead_messages_total", "");
    let mut last = None;
    loop {
        let text = socket.text();
        if text == "2" {
            break;
        }
        last = Some(number_of(&text));
    }
    socket.send_text("3");
    socket.send_text("42[\"leave\",\"lobby\"]");
    server.await_metric("roadstead_messages_total", "", messages + 1.0);
    let (number, offset) = last.expect("it has heard some");
    assert!(number < EVENTS - 1, "it was pinged behind all that it missed");
    drop(socket);
    let mut socket = come_back(server.connect(), &pid, Some(&offset));
    let mut next = number + 1;
    while next < EVENTS {
        match socket.text() {
            text if text == "2" => socket.send_text("3"),
            text => {
                assert_eq!(number_of(&text).0, next);
                next += 1;
            }
        }
    }
}

#[test]
fn who_reads_more_slowly_than_the_log_lets_go_is_ended_and_never_told_less() {
    let server = start(&["socketio.connection_state_recovery_bytes_max=13000000"]);
    let pid = come_and_go(&server);
    publish(&server, 0..EVENTS);
    let mut socket = come_back(Client::narrow(server.address()), &pid, None);
    let (first, _) = number_of(&socket.text());
    publish(&server, EVENTS..2 * EVENTS);
    let mut heard = first;
    let code = loop {
        match socket.next() {
            crate::socket::Incoming::Text(text) if text == "2" => socket.send_text("3"),
            crate::socket::Incoming::Text(text) => {
                heard += 1;
                assert_eq!(number_of(&text).0, heard);
            }
            crate::socket::Incoming::Close(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Some(4003));
    assert!(heard < EVENTS, "what it missed is gone by now");
}

#[test]
fn who_is_away_leaves_a_room_by_the_room_as_by_its_id() {
    let server = start(&["publish.open=true"]);
    for (by_id, room) in [(true, "a"), (false, "b")] {
        let mut socket = server.websocket(WEBSOCKET);
        assert!(socket.text().starts_with("0{"));
        socket.send_text("40");
        let entered = socket.text();
        let reply: serde_json::Value = serde_json::from_str(&entered[2..]).expect("an object");
        socket.send_text(&format!(r#"421["join","{room}"]"#));
        assert!(socket.text().starts_with("431["));
        drop(socket);
        await_that("it is away", || server.metric("roadstead_engine_sessions", "") == 0.0);
        let meant = if by_id { reply["sid"].as_str().expect("an id") } else { room };
        let mut backend = server.connect();
        let mut ask = |path: &str, body: String| {
            let path = format!("/socket.io-api/{path}");
            let answer =
                backend.request("POST", &path, "Content-Type: application/json\r\n", body.as_bytes());
            assert_eq!(answer.status, 202, "{}", answer.text());
        };
        ask("sockets", format!(r#"{{"rooms":["{meant}"],"leave":["{room}"]}}"#));
        ask("emit", format!(r#"{{"rooms":["{room}"],"event":"not you"}}"#));
        ask("emit", r#"{"event":"all"}"#.to_owned());
        let mut socket = come_back(server.connect(), &pid_of(&entered), None);
        assert!(socket.text().starts_with("42[\"all\""), "by {meant}");
    }
}
