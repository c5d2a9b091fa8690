//! Deliveries accounted for over the bare fan-out, which sends every message to all, whatever channel it is meant for.

use std::process::Command;

use serde_json::Value;

use crate::floor::{BENCH, Floor};

fn fanout(arguments: &[&str]) -> Value {
    let output = Command::new(BENCH)
        .arg("fanout")
        .args(arguments)
        .args(["--seconds", "1", "--json"])
        .output()
        .expect("the load generator starts");
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

fn count(result: &Value, name: &str) -> u64 {
    result[name].as_u64().unwrap_or_else(|| panic!("{name}: {result}"))
}

#[test]
fn every_delivery_is_counted_once_however_many_threads_receive() {
    let floor = Floor::start(&["fanout"]);
    let url = floor.url();
    let common = ["--url", &url, "--publish", &url, "--subscribers", "51"];
    for (load, workers) in [(&["--rate", "50"][..], "1"), (&["--rate", "50"], "3"), (&["--closed-loop"], "3")]
    {
        let result = fanout(&[&common, load, &["--workers", workers]].concat());
        assert_eq!(count(&result, "expected"), 51 * count(&result, "publications"), "{result}");
        assert_eq!(count(&result, "delivered"), count(&result, "expected"), "{result}");
        assert_eq!(
            result["client_threads"].as_array().map(Vec::len).unwrap_or_default().to_string(),
            workers
        );
    }
}

#[test]
fn what_another_channel_should_hear_is_a_stray_and_no_delivery() {
    let floor = Floor::start(&["fanout"]);
    let url = format!("{}/{{n%3}}", floor.url());
    let result = fanout(&["--url", &url, "--publish", &url, "--subscribers", "9", "--rate", "30"]);
    assert_eq!(count(&result, "expected"), 3 * count(&result, "publications"), "{result}");
    assert_eq!(count(&result, "delivered"), count(&result, "expected"), "{result}");
    assert!(count(&result, "strays") >= 6 * count(&result, "publications"), "{result}");
    assert_eq!(result["verdict"]["valid"], false);
}
