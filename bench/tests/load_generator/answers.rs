//! HTTP servers with the habits of real ones: they close after a while, refuse, redirect, die.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    thread,
};

use serde_json::Value;

use crate::floor::{BENCH, Floor};

/// A server that answers `answers` requests on each connection with `answer` and the last of them with `last`, and then
/// closes in an orderly way; its address.
fn server(answers: usize, answer: &'static str, last: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, answers, answer, last));
        }
    });
    address
}

fn serve(stream: TcpStream, answers: usize, answer: &str, last: &str) {
    let mut requests = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    for number in 1..=answers {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if !matches!(requests.read_line(&mut line), Ok(1..)) {
                return;
            }
        }
        if stream.write_all(if number == answers { last } else { answer }.as_bytes()).is_err() {
            return;
        }
    }
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(BENCH).args(arguments).output().expect("the load generator starts")
}

/// Requests on a schedule: 300 in a second.
fn http(address: &str) -> Value {
    let url = format!("http://{address}/");
    let load = ["--rate", "300", "--connections", "4", "--warm-up-seconds", "0", "--seconds", "1", "--json"];
    let output = bench(&[&["http", "--url", &url], &load[..]].concat());
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

fn error(arguments: &[&str]) -> String {
    let output = bench(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OK_AND_CLOSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

#[test]
fn a_server_that_closes_now_and_then_is_connected_to_again_and_nothing_is_lost() {
    // As nginx does after keepalive_requests; as servers do that say nothing; as those do that keep nothing alive; and as
    // it looks when a request crosses the close on its way.
    for (answers, last) in [(10, OK_AND_CLOSE), (10, OK), (1, OK_AND_CLOSE), (10, "")] {
        let result = http(&server(answers, OK, last));
        assert_eq!(
            (&result["replies"], &result["lost"], &result["unanswered"], &result["unsent"]),
            (&300.into(), &0.into(), &0.into(), &0.into()),
            "{result}"
        );
        let reconnects = result["reconnects"].as_u64().expect("a count") as usize;
        assert!(reconnects + 8 >= 300 / answers, "{result}");
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_an_answer() {
    let result = http(&server(1, OK, "HTTP/1.1 200 OK\r\n\r\nuntil the end"));
    assert_eq!((&result["replies"], &result["wrong"]), (&300.into(), &0.into()), "{result}");
}

#[test]
fn where_nothing_can_succeed_the_run_ends_at_once_and_says_what_was_answered() {
    for (answer, words) in [
        ("HTTP/1.1 404 No\r\nContent-Length: 12\r\n\r\nNo such page", "× answered 404 “No such page”"),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "× answered 500"),
        ("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "× answered 302 to /login"),
    ] {
        let url = format!(
            "http://{}/",
            server(if answer.contains("close") { 1 } else { 1_000_000 }, answer, answer)
        );
        let message = error(&["http", "--url", &url, "--rate", "1000", "--seconds", "3600"]);
        assert!(message.contains("not one of the first") && message.contains(words), "{message}");
    }
}

#[test]
fn a_status_that_is_wanted_is_right() {
    let found = "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
    let url = format!("http://{}/", server(1_000_000, found, found));
    let load = ["--rate", "300", "--warm-up-seconds", "0", "--seconds", "1", "--json"];
    let output = bench(&[&["http", "--url", &url, "--ok-status", "200,300-399"], &load[..]].concat());
    let result: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    assert_eq!((&result["replies"], &result["wrong"]), (&300.into(), &0.into()), "{result}");
}

#[test]
fn a_server_that_never_answers_is_not_connected_to_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    thread::spawn(move || listener.incoming().for_each(drop));
    let message =
        error(&["http", "--url", &url, "--rate", "1000", "--connections", "5", "--seconds", "3600"]);
    assert!(message.contains("the server closed the connection"), "{message}");
}

#[test]
fn a_refused_websocket_says_why() {
    let no = "HTTP/1.1 403 No\r\nContent-Length: 18\r\n\r\nwhere is your key?";
    let url = format!("ws://{}/", server(1, no, no));
    let message = error(&["echo", "--url", &url, "--connections", "1000", "--seconds", "3600"]);
    assert!(message.contains("the server answered 403 “where is your key?”"), "{message}");
}

#[test]
fn a_server_that_is_killed_has_lost_its_connections() {
    let floor = Floor::start(&["echo"]);
    let (url, pid) = (floor.url(), floor.pid());
    let load =
        ["--rate", "2000", "--connections", "4", "--warm-up-seconds", "0", "--seconds", "3600", "--json"];
    let child = Command::new(BENCH)
        .args(["echo", "--url", &url, "--pid", &pid])
        .args(load)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the load generator starts");
    floor.wait_until_busy();
    drop(floor);
    let output = child.wait_with_output().expect("it ends by itself");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    assert_eq!((&result["lost"], &result["unsent"]), (&4.into(), &0.into()), "{result}");
    let reasons = result["verdict"]["reasons"].to_string();
    assert!(
        reasons.contains("4 connections were lost") && reasons.contains("every connection was lost"),
        "{reasons}"
    );
}

#[test]
fn more_connections_than_the_server_may_hold_fail_at_once_with_the_cure() {
    let floor = Floor::start_with(&["echo"], "ulimit -n 64");
    let (url, pid) = (floor.url(), floor.pid());
    let load = ["--connections", "15000", "--seconds", "1"];
    let message = error(&[&["echo", "--url", &url, "--pid", &pid], &load[..]].concat());
    assert!(message.contains("may hold 64 open files") && message.contains("prlimit --pid"), "{message}");
    let served = message.split_once("only ").and_then(|(_, rest)| rest.split_once(" of 15000"));
    let served: u64 = served.expect("how many were served").0.parse().expect("a number");
    assert!(served < 2000, "{message}");
}
