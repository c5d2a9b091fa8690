//! Ctrl-C, as a terminal sends it: to the load generator and everything it has started. The result so far is printed.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use serde_json::Value;

use crate::floor::{BENCH, Floor};

/// An echo server that tells of every connection and every message.
struct Echo {
    url: String,
    accepted: Receiver<()>,
    echoed: Receiver<()>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("tcp://{}", listener.local_addr().expect("bound"));
        let ((accepting, accepted), (echoing, echoed)) = (channel(), channel());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let echoing = echoing.clone();
                thread::spawn(move || echo(stream, &echoing));
                if accepting.send(()).is_err() {
                    return;
                }
            }
        });
        Self { url, accepted, echoed }
    }
}

fn echo(mut stream: TcpStream, echoing: &Sender<()>) {
    let mut buffer = [0; 4096];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 || stream.write_all(&buffer[..count]).is_err() || echoing.send(()).is_err() {
            return;
        }
    }
}

fn start(arguments: &[&str]) -> Child {
    Command::new(BENCH)
        .args(arguments)
        .arg("--json")
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the load generator starts")
}

/// Presses Ctrl-C, and waits for the end.
fn interrupt(child: Child) -> Output {
    let group = format!("-{}", child.id());
    let status = Command::new("kill").args(["-INT", "--", &group]).status().expect("kill runs");
    assert!(status.success());
    child.wait_with_output().expect("it ends")
}

/// The result, which says that it is not the whole; a busy machine may make it invalid besides.
fn result_so_far(output: &Output) -> Value {
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    assert!(result["verdict"]["warnings"].to_string().contains("stopped early"), "{result}");
    result
}

#[test]
fn an_interrupted_echo_tells_what_came_back_until_then() {
    let server = Echo::start();
    let arguments = ["--rate", "500", "--connections", "4", "--warm-up-seconds", "0", "--seconds", "600"];
    let child = start(&[&["echo", "--url", &server.url], &arguments[..]].concat());
    server.echoed.iter().take(100).for_each(drop);
    let result = result_so_far(&interrupt(child));
    assert!(result["replies"].as_u64() >= Some(50), "{result}");
    assert_eq!(result["unanswered"], 0, "{result}");
    assert!(result["seconds"].as_f64() < Some(60.0), "{result}");
}

#[test]
fn an_interrupted_hold_still_knows_its_connections() {
    let server = Echo::start();
    let child =
        start(&["connect", "--url", &server.url, "--connections", "40", "--workers", "2", "--hold", "600"]);
    server.accepted.iter().take(40).for_each(drop);
    let result = result_so_far(&interrupt(child));
    assert_eq!(
        (&result["waves"][0]["failed"], &result["waves"][0]["lost"]),
        (&0.into(), &0.into()),
        "{result}"
    );
}

#[test]
fn an_interrupted_fanout_counts_no_delivery_as_lost_that_was_on_its_way() {
    let floor = Floor::start(&["fanout"]);
    // One more subscriber, by which the test knows that messages are being delivered.
    let mut listener = TcpStream::connect(&floor.address).expect("the floor listens");
    let url = floor.url();
    let child = start(&[
        "fanout",
        "--url",
        &url,
        "--publish",
        &url,
        "--subscribers",
        "50",
        "--workers",
        "2",
        "--rate",
        "100",
        "--warm-up-seconds",
        "0",
        "--seconds",
        "600",
    ]);
    listener.read_exact(&mut [0; 66 * 20]).expect("twenty messages of 64 bytes behind heads of two");
    let result = result_so_far(&interrupt(child));
    assert!(result["delivered"].as_u64() >= Some(50), "{result}");
    assert_eq!((&result["lost"], &result["strays"]), (&0.into(), &0.into()), "{result}");
}

#[test]
fn stopped_before_it_began_a_run_has_no_result() {
    let server = Echo::start();
    let child = start(&["echo", "--url", &server.url, "--connections", "1", "--warm-up-seconds", "600"]);
    server.echoed.recv().expect("it has warmed up");
    let output = interrupt(child);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("stopped before anything was measured"), "{message}");
}
