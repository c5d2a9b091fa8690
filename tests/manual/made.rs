//! The tables of the manual that are made from the program's own, so that they cannot say something else.
//!
//! A table stands between `<!-- made: NAME -->` and `<!-- end -->`. When it is not what the program says, the test
//! writes it anew and fails: look at the change, and commit it.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use roadstead::{
    config::{Config, commented_defaults, keys::KEYS},
    mesh::ShardReport,
    model::CloseReason,
    telemetry::{metrics, process::ProcessReport},
};
use serde_json::Value;

use crate::blocks::page;

const BEGIN: &str = "<!-- made: ";
const END: &str = "<!-- end -->";

fn check(page_name: &str, table_name: &str, table: &str) {
    let document = page(page_name);
    let begin = format!("{BEGIN}{table_name} -->\n");
    let (before, rest) = document.text.split_once(&begin).expect("the place of the table");
    let (_, after) = rest.split_once(END).expect("the end of the table");
    let made = format!("{before}{begin}{table}{END}{after}");
    if made != document.text {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&document.path);
        fs::write(path, made).expect("the tree can be written");
        panic!("{} was not what the program says; it has been made anew: commit it", document.path);
    }
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<").replace('*', "\\*")
}

#[test]
fn the_settings_are_the_keys() {
    let defaults = serde_json::to_value(Config::default()).expect("a configuration is written");
    let printed = commented_defaults();
    // Which keys SIGHUP changes is told by what `config print` says above each.
    let is_live = |name: &str| {
        let (section, key) = name.split_once('.').expect("a section");
        let (_, rest) = printed
            .split_once(&format!("\n[{section}]\n"))
            .or_else(|| printed.split_once(&format!("\n# [[{section}]]\n")))
            .expect("its section");
        let lines = [format!("\n{key} = "), format!("\n# {key} = ")];
        let (above, _) = lines.iter().filter_map(|line| rest.split_once(line)).next().expect("its line");
        above.lines().next_back().is_some_and(|line| line.ends_with("SIGHUP."))
    };
    let mut table = String::new();
    let mut open = "";
    for key in KEYS {
        let (section, rest) = key.name.split_once('.').expect("a section");
        if section != open {
            let line = if open.is_empty() { "" } else { "\n" };
            write!(table, "{line}## {section}\n\n| key | unless set | means |\n|---|---|---|\n")
                .expect("a String");
            open = section;
        }
        // A section that may stand often has no defaults: there is none of it unless somebody writes one.
        let value = defaults.get(section).and_then(|keys| keys.get(rest)).map(|value| format!("`{value}`"));
        let value = value.unwrap_or("–".into());
        let unit = if key.unit.is_empty() { String::new() } else { format!(" {}", key.unit) };
        let mark = if is_live(key.name) { " ↻" } else { "" };
        writeln!(table, "| `{}`{mark} | {value}{unit} | {} |", key.name, cell(key.meaning))
            .expect("a String");
    }
    check("settings", "settings", &table);
}

#[test]
fn the_metrics_are_those_that_are_told() {
    let text = metrics::encode(&[ShardReport::default()], &ProcessReport::default());
    let kinds: BTreeMap<_, _> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut table = String::from("| metric | kind | means |\n|---|---|---|\n");
    for (name, help) in text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')) {
        let kind = kinds.get(name).expect("every metric has a kind");
        // The format names a counter's series with a suffix of their own.
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        writeln!(table, "| `{name}{suffix}` | {kind} | {} |", cell(help)).expect("a String");
    }
    check("metrics", "metrics", &table);
}

/// A message's own member, whether it has an id beside that, and what stands in it.
fn words(payload: &Value) -> (&str, bool, Vec<String>) {
    let required = payload["required"].as_array().expect("a list");
    let own =
        required.iter().filter_map(Value::as_str).find(|name| *name != "id").expect("a member of its own");
    let inside = payload["properties"][own]["properties"].as_object();
    let mut members: Vec<_> = inside.into_iter().flat_map(|members| members.keys()).collect();
    members.sort();
    let members = members.into_iter().map(|name| format!("`{name}`")).collect();
    (own, payload["properties"]["id"].is_object(), members)
}

#[test]
fn the_messages_of_ws_are_those_of_its_description() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/asyncapi.json");
    let described: Value = serde_json::from_slice(&fs::read(path).expect("a description")).expect("JSON");
    for (table_name, operation, head) in [("commands", "command", "command"), ("told", "tell", "member")] {
        let mut table = format!("| {head} | members | means |\n|---|---|---|\n");
        for message in described["operations"][operation]["messages"].as_array().expect("a list") {
            let (_, name) = message["$ref"].as_str().and_then(|at| at.rsplit_once('/')).expect("a reference");
            let message = &described["components"]["messages"][name];
            let (own, has_id, members) = words(&message["payload"]);
            let id = if has_id && operation == "tell" { "`id`, " } else { "" };
            let members = if members.is_empty() { "–".to_owned() } else { members.join(", ") };
            let summary = cell(message["summary"].as_str().expect("a summary"));
            writeln!(table, "| {id}`{own}` | {members} | {summary} |").expect("a String");
        }
        check("ws", table_name, &table);
    }
}

#[test]
fn the_ends_of_sessions_are_those_of_the_table() {
    let mut table = String::from(
        "| name | WebSocket | HTTP | Socket.IO | come back | says |\n|---|---|---|---|---|---|\n",
    );
    for reason in CloseReason::ALL {
        let back = if reason.may_reconnect() { "yes" } else { "no" };
        writeln!(
            table,
            "| `{}` | {} | {} | {} | {back} | {} |",
            reason.label(),
            reason.websocket_code(),
            reason.http_status(),
            reason.socketio_text(),
            cell(reason.sentence())
        )
        .expect("a String");
    }
    check("codes", "ends", &table);
}
