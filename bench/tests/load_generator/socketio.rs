//! Socket.IO against Roadstead's own program of the comparison, in this process.

use std::process::Command;

use roadstead::{config::Config, supervisor::Server};
use serde_json::Value;

use crate::{floor::BENCH, rooms::Rooms};

/// A server on a free port, until the tests end; its URL.
fn start() -> String {
    let mut config = Config::default();
    config.server.listen = vec!["127.0.0.1:0".parse().expect("an address")];
    config.server.admin = None;
    config.server.shards = 1;
    let server = Server::start(&config, |_| Box::new(Rooms::default())).expect("a server starts here");
    format!("http://{}", server.listening().public[0])
}

fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(BENCH).args(arguments).arg("--json").output().expect("the generator starts");
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

#[test]
fn every_event_is_acknowledged_with_its_argument() {
    let url = format!("{}/socket.io/", start());
    let load = ["--rate", "200", "--connections", "10", "--seconds", "1"];
    let result = bench(&[&["echo", "--url", &url, "--transport", "socketio"], &load[..]].concat());
    assert_eq!(
        (&result["replies"], &result["wrong"], &result["lost"]),
        (&200.into(), &0.into(), &0.into()),
        "{result}"
    );
}

#[test]
fn every_member_of_a_room_hears_its_events_and_no_others_over_frames_and_polls() {
    let server = start();
    let (url, publish) =
        (format!("{server}/socket.io/?room=r{{n%3}}"), format!("{server}/publish?room=r{{n%3}}"));
    for transport in ["socketio", "socketio-polling"] {
        let load = ["--subscribers", "20", "--rate", "60", "--burst", "4", "--seconds", "1"];
        let common = ["fanout", "--url", &url, "--publish", &publish, "--transport", transport];
        let result = bench(&[&common[..], &load[..]].concat());
        assert_eq!(result["publications"], 60, "{result}");
        assert_eq!((&result["delivered"], &result["strays"]), (&result["expected"], &0.into()), "{result}");
        assert!(result["deliveries_per_read"].as_f64() >= Some(1.0), "{result}");
    }
}

#[test]
fn a_namespace_nobody_serves_is_a_failure_that_is_told() {
    let url = format!("{}/socket.io/?namespace=/nobody", start());
    for transport in ["socketio", "socketio-polling"] {
        let result =
            bench(&["connect", "--url", &url, "--transport", transport, "--connections", "3", "--hold", "0"]);
        assert_eq!(result["waves"][0]["failed"], 3, "{result}");
        assert!(result["waves"][0]["failures"].to_string().contains("into the namespace"), "{result}");
    }
}
