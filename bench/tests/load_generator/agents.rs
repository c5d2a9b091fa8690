//! Loads carried by agents, as they are on other machines; here all are on this one.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    thread,
};

use serde_json::Value;

use crate::floor::{BENCH, Floor};

const TOKEN: &str = "0123456789abcdef";

/// A running agent; ends with the test.
struct Agent {
    child: Child,
    address: String,
}

impl Agent {
    fn start() -> Self {
        let mut child = Command::new(BENCH)
            .args(["agent", "--listen", "127.0.0.1:0", "--token", TOKEN])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the agent starts");
        let mut line = String::new();
        let told = child.stdout.take().expect("piped");
        BufReader::new(told).read_line(&mut line).expect("it tells its address");
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { child, address }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn bench(arguments: &[&str], agents: &str) -> Output {
    Command::new(BENCH)
        .args(arguments)
        .args(["--agents", agents, "--token", TOKEN])
        .output()
        .expect("the load generator starts")
}

fn json(output: &Output) -> Value {
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn two_agents_carry_one_load_and_nothing_of_it_is_lost() {
    let (floor, one, two) = (Floor::start(&["echo"]), Agent::start(), Agent::start());
    let (url, pid, agents) = (floor.url(), floor.pid(), format!("{},{}", one.address, two.address));
    let load = ["--rate", "500", "--connections", "9", "--warm-up", "0.2", "--seconds", "1", "--json"];
    let arguments = [&["echo", "--url", &url, "--pid", &pid, "--repeat", "2"], &load[..]].concat();
    let result = json(&bench(&arguments, &agents));
    for round in result["rounds"].as_array().expect("rounds") {
        let count = |name: &str| round[name].as_u64().expect("a count");
        assert_eq!(count("replies") + count("unanswered") + count("unsent") + count("wrong"), 500, "{round}");
        assert_eq!(round["latency"]["count"], round["replies"], "{round}");
        assert_eq!((count("connections"), count("lost")), (9, 0), "{round}");
        assert_eq!(round["client_threads"].as_array().map(Vec::len), Some(2), "{round}");
        assert!(round["spread"].as_str().is_some_and(|spread| spread.contains(&two.address)), "{round}");
        assert!(round["server"]["cores"].as_f64() > Some(0.0), "{round}");
    }
}

#[test]
fn what_is_sent_through_agents_is_what_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let (seeing, seen) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let seeing = seeing.clone();
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                let mut head = String::new();
                while matches!(reader.read_line(&mut head), Ok(1..)) {
                    if head.ends_with("\r\n\r\n") {
                        drop(seeing.send(std::mem::take(&mut head)));
                        drop(stream.write_all(b"HTTP/1.1 204 No\r\n\r\n"));
                    }
                }
            });
        }
    });
    let (one, two) = (Agent::start(), Agent::start());
    let agents = format!("{},{}", one.address, two.address);
    let load = ["--stages", "50@1s", "--connections", "2", "--json", "--ok-status", "204"];
    let what = ["http", "--url", &url, "-H", "X-Key: secret", "--method", "DELETE"];
    let result = json(&bench(&[&what[..], &load].concat(), &agents));
    assert_eq!((&result["replies"], &result["wrong"]), (&50.into(), &0.into()), "{result}");
    let heads: Vec<String> = seen.try_iter().collect();
    assert_eq!(heads.len(), 50);
    assert!(
        heads.iter().all(|head| head.starts_with("DELETE / ") && head.contains("\r\nX-Key: secret\r\n")),
        "{heads:?}"
    );
}

#[test]
fn agents_hold_connections_together() {
    let (floor, one, two) = (Floor::start(&["fanout"]), Agent::start(), Agent::start());
    let (url, agents) = (floor.url(), format!("{},{}", one.address, two.address));
    let load = ["--connections", "41", "--hold", "0.2", "--settle-seconds", "0.1", "--waves", "2", "--json"];
    for scenario in ["connect", "storm"] {
        let result =
            json(&bench(&[&[scenario, "--url", &url, "--workers", "2"], &load[..]].concat(), &agents));
        for wave in result["waves"].as_array().expect("waves") {
            assert_eq!((&wave["served"], &wave["failed"]), (&41.into(), &0.into()), "{result}");
            assert_eq!(wave["time_to_served"]["count"], 41, "{result}");
        }
        assert_eq!(result["workers"], 4, "{result}");
    }
}

#[test]
fn an_agent_that_dies_half_way_ends_the_run_and_is_named() {
    for arguments in [
        &["echo", "--rate", "2000", "--seconds", "3600"][..],
        &["connect", "--connections", "100", "--rate", "20", "--connect-timeout-seconds", "3600"],
    ] {
        let (floor, one, mut two) = (Floor::start(&["echo"]), Agent::start(), Agent::start());
        let (url, agents) = (floor.url(), format!("{},{}", one.address, two.address));
        let running = Command::new(BENCH)
            .args(arguments)
            .args(["--url", &url, "--agents", &agents, "--token", TOKEN])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the load generator starts");
        if arguments[0] == "echo" {
            floor.wait_until_busy();
        } else {
            // Its connections are there, and more are to come.
            let sockets =
                || std::fs::read_dir(format!("/proc/{}/fd", floor.pid())).map_or(0, Iterator::count);
            while sockets() < 12 {
                thread::yield_now();
            }
        }
        two.child.kill().expect("it runs");
        let message = complaint(&running.wait_with_output().expect("it ends by itself"));
        assert!(message.contains(&two.address) && message.contains("went away"), "{message}");
    }
}

#[test]
fn one_run_at_a_time_is_let_in() {
    let (floor, agent) = (Floor::start(&["echo"]), Agent::start());
    let url = floor.url();
    let mut first = Command::new(BENCH)
        .args(["echo", "--url", &url, "--rate", "2000", "--seconds", "3600"])
        .args(["--agents", &agent.address, "--token", TOKEN])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the load generator starts");
    floor.wait_until_busy();
    let message = complaint(&bench(&["echo", "--url", &url, "--seconds", "1"], &agent.address));
    assert!(message.contains("busy with another run"), "{message}");
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    // Its worker leaves when it sees that nobody is left to be told.
    let mut last = String::new();
    for _ in 0..1000 {
        let output = bench(&["echo", "--url", &url, "--seconds", "0.2", "--warm-up", "0"], &agent.address);
        if output.status.code() != Some(1) {
            return;
        }
        last = complaint(&output);
        assert!(last.contains("busy with another run"), "{last}");
    }
    panic!("the agent stays busy: {last}");
}

#[test]
fn another_token_is_no_token() {
    let agent = Agent::start();
    let output = Command::new(BENCH)
        .args(["echo", "--url", "tcp://127.0.0.1:9", "--agents", &agent.address])
        .args(["--token", "fedcba9876543210"])
        .output()
        .expect("the load generator starts");
    let message = complaint(&output);
    assert!(
        message.contains("the token is another one here") && message.contains(&agent.address),
        "{message}"
    );
}

/// Something that listens where an agent is expected and says this; what it heard.
fn impostor(says: &'static str) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound").to_string();
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a coordinator");
        drop(stream.write_all(says.as_bytes()));
        BufReader::new(stream).lines().map_while(Result::ok).collect()
    });
    (address, heard)
}

#[test]
fn what_is_no_agent_of_ours_is_refused_and_told_nothing() {
    let hello =
        concat!(r#"{"protocol":1,"version":""#, env!("CARGO_PKG_VERSION"), r#"","nonce":"00"}"#, "\n");
    let knows_nothing: &'static str = Box::leak(
        format!("{hello}{{\"Welcome\":{{\"proof\":\"00\",\"open_files_max\":9}}}}\n").into_boxed_str(),
    );
    let endless: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
    let other = "{\"protocol\":1,\"version\":\"9.9.9\",\"nonce\":\"00\"}\n";
    for (says, words) in [
        (knows_nothing, "does not know the token"),
        (other, "it is roadstead-bench 9.9.9"),
        (endless, "a line of more than 4096 bytes"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the agents' protocol"),
    ] {
        let (address, heard) = impostor(says);
        let what = ["echo", "--url", "tcp://127.0.0.1:9", "-H", "X-Key: secret"];
        let message = complaint(&bench(&what, &address));
        assert!(message.contains(words) && message.contains(&address), "{message}");
        let heard = heard.join().expect("it ends").join("\n");
        assert!(!heard.contains("secret") && !heard.contains(TOKEN), "{heard}");
    }
}

#[test]
fn an_agent_loads_nobody_elses_machine_on_a_coordinators_word() {
    let agent = Agent::start();
    let owned = ["echo", "--url", "tcp://127.0.0.1:9", "--i-own-this-target", "--seconds", "1"];
    let message = complaint(&bench(&owned, &agent.address));
    assert!(message.contains("start it with --i-own-these-targets"), "{message}");
    let message =
        complaint(&bench(&["echo", "--url", "tcp://127.0.0.1:9", "--seconds", "1"], &agent.address));
    assert!(message.contains("Connection refused") && message.contains(&agent.address), "{message}");
}

#[test]
fn what_several_machines_cannot_measure_is_refused() {
    let (url, agents) = ("ws://127.0.0.1:9/", "127.0.0.1:7300");
    for (arguments, words) in [
        (&["fanout", "--url", url, "--publish", url][..], "one clock"),
        (&["echo", "--url", url, "--warm-up", "auto"], "each would be steady at another time"),
        (&["echo", "--url", url, "--unix-socket", "/x"], "--unix-socket /x"),
        (&["echo", "--url", url, "--connections", "0"], "1..=4000000"),
    ] {
        let output = bench(arguments, agents);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(words), "{arguments:?}: {message}");
    }
    let output = Command::new(BENCH)
        .args(["echo", "--url", url, "--agents", agents, "--token", "short"])
        .output()
        .expect("the load generator starts");
    let message = complaint(&output);
    assert!(message.contains("16 characters") && !message.contains("short"), "{message}");
}
