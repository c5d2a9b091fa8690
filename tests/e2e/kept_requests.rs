//! Connections that speak HTTP, and clients of Socket.IO that poll, when another version takes the place of the one that accepted
//! them: no request meets the end of a connection, and nothing is heard twice or not at all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    client::Client,
    kept_open_unsent::{HISTORY, both_ways},
    kept_sockets::emit,
    server::{Server, await_that},
    upgrade::{Ending, Installed},
};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
/// Long enough that no client is asked whether it is there.
const QUIET: &str = "socketio.ping_interval_ms=600000";
const CLIENTS: usize = 6;
/// Time between two requests of one of those who ask and say: without any they take all the time that there is, and leave a new
/// version none to make itself ready.
const PAUSE: Duration = Duration::from_millis(5);
const UPGRADES: usize = 3;

/// Opens a session and enters `/` and a room, over one connection; where it is polled.
#[track_caller]
fn enter(connection: &mut Client, room: &str) -> String {
    let opened: Value =
        serde_json::from_str(&connection.request("GET", POLLING, "", b"").text()[1..]).expect("JSON");
    let target = format!("{POLLING}&sid={}", opened["sid"].as_str().expect("an id"));
    post(connection, &target, "40");
    assert!(connection.request("GET", &target, "", b"").text().starts_with("40{"));
    post(connection, &target, &format!("420{}", json!(["join", room])));
    let joined = format!("430{}", json!([{ "room": room }]));
    assert_eq!(connection.request("GET", &target, "", b"").text(), joined);
    target
}

#[track_caller]
fn post(connection: &mut Client, target: &str, packet: &str) {
    let told = connection.request("POST", target, "", packet.as_bytes());
    assert_eq!((told.status, &*told.text()), (200, "ok"), "{packet}");
}

/// What a client that polls has been told.
#[derive(Default)]
struct Heard {
    number: u64,
    acks: u64,
    is_last: bool,
}

impl Heard {
    fn hear(&mut self, payload: &str) {
        for packet in payload.split('\u{1e}') {
            match packet.strip_prefix("42") {
                Some(event) => match &serde_json::from_str::<Value>(event).expect("JSON") {
                    event if event[0] == "last" => self.is_last = true,
                    event => {
                        self.number += 1;
                        assert_eq!(event[1], json!(self.number), "no gap, nothing twice");
                    }
                },
                None if packet.starts_with("43") => self.acks += 1,
                None => assert_eq!(packet, "6", "nothing else is told"),
            }
        }
    }
}

/// Polls over one connection until the last is heard, and as many acknowledgements as there are to come by then.
fn poll_and_hear(mut connection: Client, target: &str, to_come: &AtomicU64) -> Heard {
    let mut heard = Heard::default();
    while !heard.is_last || heard.acks < to_come.load(Ordering::SeqCst) {
        let told = connection.request("GET", target, "", b"");
        assert_eq!(told.status, 200, "{}", told.text());
        heard.hear(&told.text());
    }
    heard
}

/// Asks again and again, over one connection, and over ones that begin at any time; how often.
fn ask(
    target: &str,
    mut posts: Client,
    fresh: impl Fn() -> Client,
    asked: &AtomicU64,
    is_over: &AtomicBool,
) -> u64 {
    while !is_over.load(Ordering::Relaxed) {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        let packet = format!("42{number}{}", json!(["join", "lobby"]));
        match number % 3 {
            0 => post(&mut fresh(), target, &packet),
            _ => post(&mut posts, target, &packet),
        }
        thread::sleep(PAUSE);
    }
    asked.load(Ordering::SeqCst)
}

fn poll_through_upgrades(settings: &[&str]) {
    let installed = Installed::new();
    let server = installed.serve_both(&[&[QUIET, HISTORY], settings].concat());
    // Half of them speak TLS, or do not if that is what the server does beside.
    let connect =
        |number: usize| if number.is_multiple_of(2) { server.connect() } else { installed.beside() };
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut polls = connect(number);
            let target = enter(&mut polls, "lobby");
            (target, polls, connect(number))
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let mut backend = server.connect();
    thread::scope(|scope| {
        let (installed, is_over) = (&installed, &is_over);
        let (mut hearing, mut asking) = (Vec::new(), Vec::new());
        for (target, polls, posts) in clients {
            let (asked, its) = (Arc::new(AtomicU64::new(0)), target.clone());
            let to_come = Arc::clone(&asked);
            hearing.push(scope.spawn(move || poll_and_hear(polls, &its, &to_come)));
            let fresh = || installed.beside();
            asking.push(scope.spawn(move || ask(&target, posts, fresh, &asked, is_over)));
        }
        let saying = scope.spawn(move || {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                emit(&mut backend, &json!({"rooms": ["lobby"], "event": "said", "args": [number]}));
                thread::sleep(PAUSE);
            }
            (number, backend)
        });
        let ending = Ending(is_over);
        for _ in 0..UPGRADES {
            installed.install();
            server.succeeded();
        }
        drop(ending);
        let (said, mut backend) = saying.join().expect("each is taken");
        let asked: Vec<_> = asking.into_iter().map(|one| one.join().expect("it asks")).collect();
        emit(&mut backend, &json!({"rooms": ["lobby"], "event": "last"}));
        for (hearing, asked) in hearing.into_iter().zip(asked) {
            let heard = hearing.join().expect("it hears all");
            assert_eq!((heard.number, heard.acks), (said, asked));
        }
    });
    assert_eq!(server.metric("roadstead_carried_total", ""), 0.0, "who polls has no connection of its own");
}

#[test]
fn clients_of_socketio_that_poll_go_on_polling_through_upgrades_and_hear_everything_once() {
    poll_through_upgrades(&[]);
}

#[test]
fn clients_of_socketio_that_poll_and_may_come_back_need_not() {
    poll_through_upgrades(&["socketio.connection_state_recovery_ms=600000"]);
}

#[test]
fn a_connection_goes_on_between_two_requests_and_with_half_of_one() {
    both_ways(&[QUIET, HISTORY], |_, server| between_requests(server));
}

fn between_requests(server: &Server) {
    let mut idle = server.connect();
    assert_eq!(idle.publish("news", "first"), 1);
    let mut fresh = server.connect();
    let mut head = server.connect();
    head.send("GET /channels/news/history HTTP/1.1\r\nHo");
    let mut body = server.connect();
    body.send("POST /channels/news HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nsec");
    let mut long = server.connect();
    let padding = "x".repeat(30_000);
    long.send(format!(
        "POST /channels/long HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n{padding}"
    ));
    await_that("all are there", || server.connections() == 5);
    for version in 2..=3 {
        server.succeeded();
        let history = idle.request("GET", "/channels/news/history", "", b"");
        assert_eq!(history.json()["publications"][0]["data"], json!("first"), "{version}");
        assert_eq!(history.field("connection"), None, "it may be used again");
    }
    body.send("ond");
    let published = body.response();
    assert_eq!(published.json()["offset"], json!(2), "{}", published.text());
    head.send("st: localhost\r\n\r\n");
    assert_eq!(head.response().json()["publications"][1]["data"], json!("second"));
    long.send(&padding);
    assert_eq!(long.response().json()["offset"], json!(1));
    for connection in [&mut idle, &mut fresh, &mut head, &mut body, &mut long] {
        assert_eq!(connection.request("GET", "/channels/long/info", "", b"").json()["subscribers"], json!(0));
    }
    assert_eq!(server.metric("roadstead_carried_total", ""), 0.0);
    assert_eq!(server.metric("roadstead_carried_refused_total", ""), 0.0);
}

#[test]
fn who_polls_and_has_not_read_the_answer_reads_the_rest_of_it_and_polls_on() {
    const ROOMY: [&str; 3] = [
        "limits.publication_bytes_max=8000000",
        "limits.body_bytes_max=8000000",
        "limits.send_queue_bytes_max=8000000",
    ];
    both_ways(&[&[QUIET, HISTORY][..], &ROOMY].concat(), |_, server| {
        let mut polls = Client::narrow(server.address());
        let target = enter(&mut polls, "lobby");
        let mut backend = server.connect();
        let mut say = |number: usize, filling: &str| {
            emit(&mut backend, &json!({"rooms": ["lobby"], "event": "said", "args": [number, filling]}));
        };
        polls.ask("GET", &target, "", b"");
        // More than the kernel takes (`tcp_wmem`).
        say(1, &"x".repeat(7_000_000));
        assert!(polls.receive().expect("its answer has begun") > 0);
        for number in 2..=3 {
            server.succeeded();
            say(number, "");
        }
        let mut heard = Heard::default();
        heard.hear(&polls.response().text());
        assert_eq!(heard.number, 1);
        while heard.number < 3 {
            heard.hear(&polls.request("GET", &target, "", b"").text());
        }
    });
}
