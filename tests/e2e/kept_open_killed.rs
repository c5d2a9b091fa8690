//! The process that holds connections for the next version, or that one, is killed while they go from one to the other: every client
//! is kept, or the keeper serves again; and whatever becomes of a client, nothing is done or told twice.

use std::{io::ErrorKind, process::Command, thread, time::Duration};

use roadstead::wire::websocket::Opcode;
use serde_json::{Value, json};

use crate::{
    client::Client,
    keeper::children,
    server::{Server, await_that},
    socket::{Incoming, WebSocket, frame},
    upgrade::{Installed, again_and_again},
};

/// Long enough that no client is asked whether it is there.
const QUIET: &str = "limits.ping_interval_ms=600000";
const FOLLOWING: usize = 600;
const ASKING: usize = 40;
/// About as long as all of them are under way.
const UNDER_WAY_US: u64 = 12_000;

/// What a client hears up to something, or to the end of its connection; and whether it has ended.
fn heard_until(socket: &mut WebSocket, is_last: impl Fn(&str) -> bool) -> (Vec<String>, bool) {
    let mut heard = Vec::new();
    while !heard.last().is_some_and(|text: &String| is_last(text)) {
        match socket.try_next() {
            Ok(Some(Incoming::Text(text))) => heard.push(text),
            Ok(Some(Incoming::Close(code, _))) => {
                assert_eq!(code, Some(1001));
                return (heard, true);
            }
            Ok(None) => return (heard, true),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return (heard, true);
            }
            other => panic!("{other:?}"),
        }
    }
    (heard, false)
}

/// Connections with TLS and without, in turns.
fn connections<'a>(installed: &'a Installed, server: &'a Server) -> impl Iterator<Item = Client> + 'a {
    (0..).map(|number| if number % 2 == 0 { server.connect() } else { installed.beside() })
}

/// Kills a process that may have gone already.
fn kill(process: u32) {
    let kill = format!("kill -KILL {process} 2> /dev/null || true");
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("there is a shell").success());
}

/// Whom to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Holder,
    Successor,
}

fn kill_one(victim: Victim, after: Duration) {
    let installed = Installed::new();
    let server = installed.serve_both(&[QUIET]);
    let open = |count, target| -> Vec<_> {
        connections(&installed, &server)
            .take(count)
            .map(|client| WebSocket::open(client, target, ""))
            .collect()
    };
    let mut following = open(FOLLOWING, "/channels/news");
    let mut asking = open(ASKING, "/ws");
    server.await_subscribers("news", FOLLOWING as u64);
    server.publish("news", "before");
    let holder = server.serving();
    server.signal("USR2");
    let mut successor = None;
    await_that("another version makes itself ready", || {
        successor = children(server.id()).into_iter().find(|process| *process != holder);
        successor.is_some()
    });
    await_that("it is told to begin", || server.log().contains("left to the process that goes on"));
    // Nobody reads this but whoever serves next.
    for (number, socket) in asking.iter_mut().enumerate() {
        let publish = json!({"id": 7, "publish": {"channel": format!("own-{number}"), "data": "x"}});
        socket.send_text(&publish.to_string());
    }
    thread::sleep(after);
    kill(match victim {
        Victim::Holder => holder,
        Victim::Successor => successor.expect("just seen"),
    });
    await_that("one serves", || {
        let log = server.log();
        log.contains("the new version serves") || log.contains("begins again with what was left")
    });
    again_and_again("something is published", || server.publish("news", "after"));
    let log = server.log();
    let is_followed = log.contains("begins again with what was left");
    let is_lossy = log.contains("are lost");
    let has_crashed = log.contains("another one starts in");
    let mut kept = 0;
    for socket in &mut following {
        let (heard, has_ended) = heard_until(socket, |text| text == "after");
        match has_ended {
            true => assert!(heard == ["before"], "{victim:?} {after:?}: {heard:?}\n{log}"),
            false => assert!(heard == ["before", "after"], "{victim:?} {after:?}: {heard:?}\n{log}"),
        }
        kept += usize::from(!has_ended);
    }
    if !(has_crashed || victim == Victim::Holder && is_lossy) {
        assert_eq!(kept, FOLLOWING, "{victim:?} {after:?} followed: {is_followed}\n{log}");
    }
    for (number, socket) in asking.iter_mut().enumerate() {
        let is_answer = |id: u32| {
            move |text: &str| {
                let reply: Value = serde_json::from_str(text).expect("JSON");
                reply["id"] == json!(id)
            }
        };
        let (heard, has_ended) = heard_until(socket, is_answer(7));
        if !has_ended {
            assert_eq!(heard.len(), 1, "{heard:?}");
            let reply: Value = serde_json::from_str(&heard[0]).expect("JSON");
            assert_eq!(reply["published"]["offset"], json!(1), "{victim:?} {after:?}: {reply}");
            let ping = json!({"id": 8, "ping": {}}).to_string();
            socket.client.try_send(frame(Opcode::Text, true, ping.as_bytes())).ok();
            let (heard, has_ended) = heard_until(socket, is_answer(8));
            assert_eq!(heard.len(), usize::from(!has_ended), "nothing is answered twice: {heard:?}");
        }
        let history = server.get(&format!("/channels/own-{number}/history")).json();
        let published = history["publications"].as_array().map_or(0, Vec::len);
        assert!(published <= 1 && (has_ended || has_crashed || published == 1), "{published}: {history}");
    }
}

/// With `ROADSTEAD_TEST_KILLS=200` as many kills.
#[test]
fn whoever_is_killed_at_any_moment_while_connections_go_over_costs_nobody_more_than_its_connection() {
    let kills =
        std::env::var("ROADSTEAD_TEST_KILLS").ok().map_or(4, |kills| kills.parse().expect("a number"));
    for kill in 0..kills {
        let victim = if kill % 2 == 0 { Victim::Holder } else { Victim::Successor };
        kill_one(victim, Duration::from_micros(fastrand::u64(0..UNDER_WAY_US)));
    }
}
