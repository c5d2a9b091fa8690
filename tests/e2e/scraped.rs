//! Metrics as scrapers read them, and the files made for Prometheus and Grafana: every metric that they name is one, and
//! Prometheus's own tool reads them where it is installed.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{certificate, server::Server};

fn metrics(server: &Server, fields: &str) -> (String, String) {
    let answer = server.connect_admin().request("GET", "/metrics", fields, b"");
    (answer.field("content-type").expect("a type").to_owned(), answer.text())
}

/// The names that samples have.
fn names(text: &str) -> BTreeSet<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

/// The metrics that an expression or a text names.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("roadstead_") || word.starts_with("process_"))
}

/// Runs promtool with an input, if it is installed.
#[track_caller]
fn promtool(arguments: &[&str], input: &str) {
    let program = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".into());
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut process) = command.spawn() else {
        println!("skipped: promtool is not installed");
        return;
    };
    process.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = process.wait_with_output().expect("it ends");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

#[test]
fn metrics_are_plain_text_unless_a_scraper_asks_for_openmetrics() {
    let server = Server::start(&[]);
    let (kind, text) = metrics(&server, "");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    promtool(&["check", "metrics"], &text);
    // What Prometheus 2 sends.
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5\r\n";
    let (kind, openmetrics) = metrics(&server, accept);
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(openmetrics.ends_with("# EOF\n") && !text.contains("# EOF"));
    assert_eq!(names(&text), names(&openmetrics));
}

#[test]
fn the_files_for_prometheus_and_grafana_name_only_what_there_is() {
    let server = Server::start(&[]);
    let (_, text) = metrics(&server, "");
    let known = names(&text);
    let alerts = server.admin("/manual/alerts.yml");
    assert_eq!(alerts.field("content-type"), Some("application/yaml"));
    let (alerts, dashboard) = (alerts.text(), server.admin("/manual/grafana.json").text());
    let mut count = 0;
    let expressions = alerts.lines().filter(|line| line.trim_start().starts_with("expr:"));
    for name in expressions.flat_map(named).chain(named(&dashboard)) {
        assert!(known.contains(name), "{name} is no metric");
        count += 1;
    }
    assert!(count > 40, "{count}");
    let file = std::env::temp_dir().join(format!("roadstead-alerts-{}.yml", std::process::id()));
    std::fs::write(&file, &alerts).expect("a file can be written");
    promtool(&["check", "rules", file.to_str().expect("a path")], "");
    std::fs::remove_file(&file).expect("it is there");
}

#[test]
fn the_panels_of_the_dashboard_for_grafana_stand_beside_each_other() {
    let server = Server::with_shards(1, &[]);
    let dashboard: Value = server.admin("/manual/grafana.json").json();
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut taken = BTreeSet::new();
    for (number, panel) in panels.iter().enumerate() {
        assert_eq!(panel["id"].as_u64(), Some(number as u64 + 1), "every panel has a number of its own");
        let at = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{panel}");
        for cell in
            (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y)))
        {
            assert!(taken.insert(cell), "{} lies over another", panel["title"]);
        }
        if panel["type"] != "row" {
            let targets = panel["targets"].as_array().expect("something is shown");
            assert!(
                targets.iter().all(|target| target["expr"].as_str().is_some_and(|text| !text.is_empty()))
            );
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", panel["title"]);
        }
    }
}

#[test]
fn how_long_deliveries_and_ways_between_shards_take_is_counted() {
    let server = Server::with_shards(2, &[]);
    let mut followers: Vec<_> = (0..8).map(|_| server.websocket("/channels/timed")).collect();
    server.await_subscribers("timed", 8);
    let mut publisher = server.connect();
    for _ in 0..10 {
        publisher.publish("timed", "hello");
        followers.iter_mut().for_each(|follower| assert_eq!(follower.text(), "hello"));
    }
    let counted = server.metric("roadstead_delivery_seconds_count", "");
    assert!((10.0..=20.0).contains(&counted), "{counted} times handed out");
    assert_eq!(server.metric("roadstead_delivery_seconds_bucket", "+Inf"), counted);
    assert!(server.metric("roadstead_mesh_hop_seconds_count", "") > 0.0);
    assert!(server.metric("roadstead_mesh_hop_seconds_sum", "") > 0.0);
    let handshakes = server.metric("roadstead_tls_handshake_wait_seconds_count", "");
    assert_eq!(handshakes > 0.0, certificate::is_used_everywhere());
}
