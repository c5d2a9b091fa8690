//! Several runs of one load: thresholds, rounds, a rival, an objective; and the files other tools read.

use std::process::{Command, Output};

use serde_json::Value;

use crate::floor::{BENCH, Floor};

const SHORT: [&str; 8] =
    ["--rate", "500", "--connections", "4", "--warm-up-seconds", "0", "--seconds", "0.4"];

fn echo(floor: &Floor, arguments: &[&str]) -> Output {
    let url = floor.url();
    Command::new(BENCH)
        .args(["echo", "--url", &url, "--json"])
        .args(arguments)
        .output()
        .expect("the load generator starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("a line of JSON: {output:?}"))
}

#[test]
fn a_threshold_sets_the_exit_status_and_is_told() {
    let floor = Floor::start(&["echo"]);
    // A busy machine may well make any result invalid, which is status 2 whatever the thresholds say.
    let output = echo(&floor, &[&SHORT[..], &["--fail-if", "p99>1h,lost>0"]].concat());
    assert_eq!(output.status.code(), Some(2), "an hour is no unit");
    let output = echo(&floor, &[&SHORT[..], &["--fail-if", "p99>1000s,lost>0"]].concat());
    let result = json(&output);
    let crossed: Vec<_> =
        result["thresholds"].as_array().into_iter().flatten().map(|one| &one["crossed"]).collect();
    assert_eq!(crossed, [false, false], "{result}");
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    let output = echo(&floor, &[&SHORT[..], &["--fail-if", "max>0us", "--fail-if", "lost>0"]].concat());
    let result = json(&output);
    assert_eq!(
        (&result["thresholds"][0]["crossed"], &result["thresholds"][1]["crossed"]),
        (&true.into(), &false.into())
    );
    assert!(matches!(output.status.code(), Some(2 | 3)), "{output:?}");
}

#[test]
fn rounds_are_all_there_and_a_rival_takes_turns() {
    let (one, two) = (Floor::start(&["echo"]), Floor::start(&["echo"]));
    let result = json(&echo(&one, &[&SHORT[..], &["--repeat", "3"]].concat()));
    assert_eq!(result["rounds"].as_array().map(Vec::len), Some(3), "{result}");
    assert!(
        result["summary"]["p50"]["median"].is_number() && result["origin"]["date"].is_string(),
        "{result}"
    );
    let (url, pid) = (two.url(), two.pid());
    let rival = ["--against", &url, "--against-pid", &pid, "--repeat", "2"];
    let result = json(&echo(&one, &[&SHORT[..], &rival].concat()));
    for (side, floor) in [("a", &one), ("b", &two)] {
        assert_eq!(result[side]["rounds"].as_array().map(Vec::len), Some(2), "{result}");
        assert!(result[side]["url"].as_str().expect("a URL").starts_with(&floor.url()), "{result}");
    }
    assert_eq!(result["differences"]["p50"]["differs"], false, "two rounds show nothing: {result}");
}

#[test]
fn an_objective_is_searched_for_step_by_step() {
    let floor = Floor::start(&["echo"]);
    let short = ["--rate", "500", "--connections", "4", "--warm-up-seconds", "0", "--seconds", "0.2"];
    // Only a rate of 2,000 and more misses this, whatever the machine does besides.
    let result = json(&echo(&floor, &[&short[..], &["--objective", "rate<1500"]].concat()));
    let steps = result["steps"].as_array().expect("the steps");
    assert!(!steps.is_empty() && steps[0]["asked"] == 500.0, "{result}");
    for step in steps {
        let (asked, outcome) =
            (step["asked"].as_f64().expect("a rate"), step["outcome"].as_str().expect("a word"));
        assert!(outcome == "unknown" || asked > 1450.0 || outcome == "kept", "{step}");
        assert!(outcome == "unknown" || asked < 1550.0 || outcome == "missed", "{step}");
    }
}

#[test]
fn stages_are_reported_apart_and_make_all_their_messages() {
    let floor = Floor::start(&["echo"]);
    let result =
        json(&echo(&floor, &["--stages", "100@1s,100..500@2s", "--connections", "4", "--workers", "2"]));
    let count = |name: &str| result[name].as_u64().expect("a count");
    assert_eq!(count("replies") + count("unanswered") + count("unsent"), 700, "{result}");
    let stages = result["stages"].as_array().expect("the stages");
    assert_eq!(
        (stages.len(), &stages[1]["from"], &stages[1]["to"]),
        (2, &100.0.into(), &500.0.into()),
        "{result}"
    );
    let told: u64 = stages.iter().map(|stage| stage["latency"]["count"].as_u64().expect("a count")).sum();
    assert!(told >= 690, "{result}");
}

#[test]
fn the_time_series_and_the_figures_are_written_for_other_tools() {
    let floor = Floor::start(&["echo"]);
    let path =
        |name: &str| std::env::temp_dir().join(format!("roadstead-bench-{}-{name}", std::process::id()));
    let (csv, metrics) = (path("csv"), path("metrics"));
    let files = ["--csv", csv.to_str().expect("text"), "--openmetrics", metrics.to_str().expect("text")];
    echo(&floor, &[&SHORT[..], &files].concat());
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("it was written");
    let lines: Vec<String> = read(&csv).lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("seconds,per_second,p50_us") && lines.len() >= 2, "{lines:?}");
    let text = read(&metrics);
    assert!(
        text.contains("roadstead_bench_per_second{scenario=\"echo\"") && text.ends_with("# EOF\n"),
        "{text}"
    );
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(BENCH).args(arguments).output().expect("the load generator starts")
}

/// What a comparison of two rounds each has to show, whatever is measured.
fn compared(arguments: &[&str]) -> Value {
    let result = json(&bench(&[arguments, &["--repeat", "2", "--json"]].concat()));
    for side in ["a", "b"] {
        assert_eq!(result[side]["rounds"].as_array().map(Vec::len), Some(2), "{result}");
    }
    assert_ne!(result["a"]["url"], result["b"]["url"], "{result}");
    assert!(result["differences"]["rate"]["ratio"]["median"].is_number(), "{result}");
    result
}

#[test]
fn every_scenario_takes_turns_with_a_rival() {
    let (one, two) = (Floor::start(&["fanout"]), Floor::start(&["fanout"]));
    let (ours, theirs, pid) = (one.url(), two.url(), two.pid());
    let rival = ["--against", &theirs, "--against-pid", &pid];
    let load = ["--subscribers", "20", "--rate", "50", "--warm-up", "0", "--seconds", "0.5"];
    let result = compared(
        &[&["fanout", "--url", &ours, "--publish", &ours, "--against-publish", &theirs], &rival[..], &load]
            .concat(),
    );
    for round in result["b"]["rounds"].as_array().expect("rounds") {
        assert_eq!((&round["delivered"], round["expected"].as_u64() > Some(0)), (&round["expected"], true));
    }
    for scenario in ["connect", "storm"] {
        let load = ["--connections", "50", "--hold", "0", "--settle-seconds", "0.1"];
        let result = compared(&[&[scenario, "--url", &ours], &rival[..], &load].concat());
        assert_eq!(result["b"]["rounds"][0]["waves"][0]["served"], 50, "{result}");
    }
    let path = std::env::temp_dir().join(format!("roadstead-bench-{}-mixed.toml", std::process::id()));
    let text = "url = \"tcp://127.0.0.1:1/\"\nconnections = 20\nseconds = 0.5\nchurn_per_second = 100\n\
                [[group]]\nname = \"all\"\npercent = 100\n";
    std::fs::write(&path, text).expect("a scenario");
    let result = json(&bench(
        &[&["mixed", path.to_str().expect("text"), "--url", &ours], &rival[..], &["--repeat", "2", "--json"]]
            .concat(),
    ));
    for side in ["a", "b"] {
        assert!(result[side]["rounds"][1]["reconnects"].as_u64() > Some(0), "{result}");
    }
}

#[test]
fn a_comparison_that_would_compare_nothing_is_refused() {
    let path = std::env::temp_dir().join(format!("roadstead-bench-{}-own.toml", std::process::id()));
    let text = "url = \"tcp://127.0.0.1:1/\"\nconnections = 2\nseconds = 1\n\
                [[group]]\nname = \"apart\"\npercent = 100\nurl = \"tcp://127.0.0.1:2/\"\n";
    std::fs::write(&path, text).expect("a scenario");
    let (url, other) = ("ws://127.0.0.1:1/", "ws://127.0.0.1:2/");
    for (arguments, words) in [
        (&["fanout", "--url", url, "--publish", url, "--against", other][..], "--against-publish URL"),
        (
            &["connect", "--url", url, "--publish", "http://127.0.0.1:1/", "--against", other],
            "--against-publish URL",
        ),
        (
            &["connect", "--url", url, "--against", other, "--against-publish", "http://127.0.0.1:2/"],
            "--publish to go with",
        ),
        (&["mixed", path.to_str().expect("text"), "--against", other], "apart has a url of its own"),
        (&["http", "--url", "http://127.0.0.1:1/", "--against", other], "starts with http://"),
    ] {
        let output = bench(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && message.contains(words), "{arguments:?}: {message}");
    }
}
