//! Warming up until a load is steady, and saying so when it never is.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::floor::{BENCH, Floor};

fn echo(url: &str, warm_up: &str, more: &[&str]) -> Value {
    let output = Command::new(BENCH)
        .args(["echo", "--url", url, "--rate", "500", "--connections", "4", "--seconds", "1", "--json"])
        .args(["--warm-up", warm_up])
        .args(more)
        .output()
        .expect("the load generator starts");
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

/// An echo whose replies take 50 ms longer in every other second; its URL.
fn moody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let (url, start) = (format!("tcp://{}", listener.local_addr().expect("bound")), Instant::now());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream, start));
        }
    });
    url
}

fn answer(mut stream: TcpStream, start: Instant) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        if start.elapsed().as_secs() % 2 == 1 {
            thread::sleep(Duration::from_millis(50));
        }
        if stream.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

#[test]
fn a_load_counts_once_it_is_steady_and_every_message_of_it_does() {
    let floor = Floor::start(&["echo"]);
    let result = echo(&floor.url(), "auto:60", &["--workers", "2"]);
    let warm_up = &result["warm_up"];
    // Four looks of half a second at least; a busy machine may well take a minute and not be steady.
    assert!(warm_up["seconds"].as_f64() >= Some(2.0), "{result}");
    let is_warned = result["verdict"]["warnings"].to_string().contains("not steady after");
    assert_eq!(warm_up["steady"], !is_warned, "{result}");
    let count = |name: &str| result[name].as_u64().expect("a count");
    assert_eq!(count("replies") + count("unanswered") + count("unsent") + count("wrong"), 500, "{result}");
}

#[test]
fn a_load_that_never_is_steady_is_measured_and_doubted() {
    let result = echo(&moody(), "auto:5", &[]);
    assert_eq!(result["warm_up"]["steady"], false, "{result}");
    let warnings = result["verdict"]["warnings"].to_string();
    assert!(
        warnings.contains("the load was not steady after 5.") && warnings.contains("p50 of"),
        "{warnings}"
    );
    assert!(result["replies"].as_u64() > Some(0), "{result}");
}

#[test]
fn a_warm_up_of_a_fixed_time_says_nothing_of_steadiness() {
    let floor = Floor::start(&["echo"]);
    let result = echo(&floor.url(), "0.1", &[]);
    assert_eq!(result["warm_up"], serde_json::json!({ "seconds": 0.1 }), "{result}");
}
