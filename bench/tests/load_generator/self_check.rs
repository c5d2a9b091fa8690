//! The load generator measured by itself: against a server with a known fault, does it find the fault?
//!
//! `floor echo --pause-ms 100 --every-ms 1000` stands still for a tenth of the time. On a schedule, a tenth of all
//! messages meet a pause, so the 99th percentile is most of one. In a closed loop only the few messages that are under
//! way meet it, one in thousands, and the 99th percentile knows nothing: that is the error this tool exists to avoid.

use std::process::{Command, Output};

use serde_json::Value;

use crate::floor::{BENCH, Floor};

const PAUSE_US: u64 = 100_000;

fn bench(arguments: &[&str]) -> Output {
    Command::new(BENCH).args(arguments).output().expect("the load generator starts")
}

/// Echoes against `floor`. A busy machine may well make the result invalid (status 2): the figures are still there.
fn echo(floor: &Floor, arguments: &[&str]) -> Value {
    let (url, pid) = (floor.url(), floor.pid());
    let common = ["echo", "--url", &url, "--pid", &pid, "--seconds", "4", "--json"];
    let output = bench(&[&common, arguments].concat());
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

fn p99_us(result: &Value) -> u64 {
    result["latency"]["p99_us"].as_u64().expect("a percentile")
}

#[test]
fn a_pause_of_the_server_shows_in_an_open_loop_and_hides_in_a_closed_one() {
    let floor = Floor::start(&["echo", "--pause-ms", "100", "--every-ms", "1000"]);
    // Few connections: a generator that waits for answers before it sends on would have only two messages meet a pause.
    let open = echo(&floor, &["--rate", "1000", "--connections", "2"]);
    assert!(p99_us(&open) > PAUSE_US * 6 / 10, "the open loop must show the pause: {}", open["latency"]);
    assert_eq!(open["load"], "open");
    let closed = echo(&floor, &["--closed-loop", "--connections", "2"]);
    assert!(p99_us(&closed) < PAUSE_US / 2, "the closed loop hides the pause: {}", closed["latency"]);
    assert!(
        closed["latency"]["max_us"].as_u64() > Some(PAUSE_US / 2),
        "it did meet it: {}",
        closed["latency"]
    );
    assert_eq!(closed["load"], "closed");
    let warnings = closed["verdict"]["warnings"].to_string();
    assert!(warnings.contains("coordinated omission"), "{warnings}");
}

#[test]
fn every_message_of_the_schedule_is_accounted_for() {
    let floor = Floor::start(&["echo"]);
    let result = echo(&floor, &["--rate", "500", "--connections", "10", "--workers", "2"]);
    let count = |name: &str| result[name].as_u64().expect("a count");
    assert_eq!(count("replies") + count("unanswered") + count("unsent") + count("wrong"), 2000, "{result}");
    assert_eq!(result["client_threads"].as_array().map(Vec::len), Some(2));
    let timeline = result["timeline"].as_array().expect("a timeline");
    let counted: f64 = timeline.iter().map(|second| second["per_second"].as_f64().expect("a rate")).sum();
    assert!((counted - count("replies") as f64).abs() < 0.5, "{timeline:?}");
}

#[test]
fn a_server_that_is_not_there_is_an_error_and_not_a_result() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
    let url = format!("tcp://127.0.0.1:{port}");
    let output = bench(&["echo", "--url", &url, "--connections", "3", "--seconds", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("0 of 3 connections were served"), "{message}");
    assert!(message.contains("Connection refused"), "{message}");
}

#[test]
fn a_refusal_names_flag_value_and_what_is_accepted() {
    for (arguments, words) in [
        (&["echo", "--url", "tcp://127.0.0.1:9", "--rate", "0"][..], ["--rate", "0", "more than 0"]),
        (&["echo", "--url", "tcp://127.0.0.1:9", "--bytes", "0"], ["--bytes", "0", "1..=16777216"]),
        (&["http", "--url", "ws://127.0.0.1:9/"], ["--url", "ws://127.0.0.1:9/", "http://"]),
        (&["echo", "--url", "tcp://192.0.2.1:9"], ["192.0.2.1", "--i-own-this-target", "private"]),
    ] {
        let output = bench(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        for word in words {
            assert!(message.contains(word), "{arguments:?}: {message}");
        }
    }
}
