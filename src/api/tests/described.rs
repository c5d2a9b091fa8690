//! The descriptions served beside the manual say what the routes are, and which methods each takes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::route::Route;
use crate::{
    manual::DESCRIPTIONS,
    wire::json::{self, decode_command},
};

/// The HTTP methods an OpenAPI path lists.
const METHODS: [&str; 7] = ["get", "head", "post", "put", "delete", "patch", "options"];

fn description(name: &str) -> Value {
    let found = DESCRIPTIONS.iter().find(|description| description.name == name).expect("a description");
    serde_json::from_str(found.text).expect("JSON")
}

/// What stands for a part of a path.
fn target(path: &str) -> String {
    path.replace("{name}", "x")
        .replace("{key}", "k")
        .replace("{page}", "start")
        .replace("{file}", "socket.io.js")
}

/// The variants of an enum, read from where it is written: one that is added has to be described.
fn variants(name: &str) -> BTreeSet<String> {
    let source = include_str!("../route.rs");
    let (_, body) = source.split_once(&format!("enum {name}")).expect("the enum");
    let (body, _) = body.split_once("\n}").expect("its end");
    let lines = body.lines().skip(1).map(str::trim).filter(|line| !line.starts_with("//"));
    lines.filter_map(|line| line.split(['(', ',']).next()).map(str::to_owned).collect()
}

fn variant(route: Route<'_>) -> String {
    let text = match route {
        Route::Admin(route) => format!("{route:?}"),
        route => format!("{route:?}"),
    };
    text.split('(').next().unwrap_or_default().to_owned()
}

/// Checks every path of a description, and tells which routes they are.
fn routes_of(name: &str, is_admin: bool) -> BTreeSet<String> {
    let description = description(name);
    let mut found = BTreeSet::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        let target = target(path);
        let route = Route::find(&target, is_admin, Some("/socket.io/"));
        let route = route.unwrap_or_else(|| panic!("{name}: nothing is served at {path}"));
        let described = METHODS.iter().filter(|method| item.get(**method).is_some());
        let described: BTreeSet<_> = described.map(|method| method.to_uppercase()).collect();
        let taken: BTreeSet<_> = route
            .methods()
            .listed()
            .split(", ")
            .filter(|method| *method != "OPTIONS")
            .map(str::to_owned)
            .collect();
        assert_eq!(described, taken, "{name}: {path}");
        found.insert(variant(route));
    }
    found
}

#[test]
fn every_route_is_described_with_its_methods() {
    let mut public = variants("Route<'a>");
    // What is asked about the server as a whole, and what the other description is about.
    assert!(public.remove("Server") && public.remove("Admin"));
    assert_eq!(routes_of("openapi.json", false), public);
    let mut admin = variants("AdminRoute");
    admin.insert("Manual".into());
    assert_eq!(routes_of("openapi-admin.json", true), admin);
}

#[test]
fn every_command_is_described_with_examples_that_are_read() {
    let description = description("asyncapi.json");
    let messages = description["components"]["messages"].as_object().expect("messages");
    let mut read = BTreeSet::new();
    for (name, message) in messages {
        for example in message["examples"].as_array().into_iter().flatten() {
            let text = example["payload"].to_string();
            let command = decode_command(&text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            let action = match command.action {
                json::Action::Subscribe { .. } => "subscribe",
                json::Action::Unsubscribe { .. } => "unsubscribe",
                json::Action::Publish(_) => "publish",
                json::Action::Authenticate { is_refresh: false, .. } => "connect",
                json::Action::Authenticate { is_refresh: true, .. } => "refresh",
                json::Action::Key(command) => match command.action {
                    json::KeyAction::Set(..) => "set",
                    json::KeyAction::Remove => "remove",
                    json::KeyAction::Add(_) => "add",
                },
                json::Action::State { .. } => "state",
                json::Action::Enter { .. } => "enter",
                json::Action::Leave { .. } => "leave",
                json::Action::Presence { .. } => "presence",
                json::Action::Ping => "ping",
            };
            assert_eq!(action, name);
            read.insert(action);
        }
    }
    assert_eq!(read.len(), 13, "{read:?}");
    for answer in [
        "subscribed",
        "unsubscribed",
        "published",
        "pong",
        "error",
        "push",
        "gap",
        "setReply",
        "added",
        "removed",
        "stateReply",
        "setPush",
        "addPush",
        "removePush",
        "statePush",
        "entered",
        "left",
        "presenceReply",
        "presencePush",
        "digest",
        "enterPush",
        "updatePush",
        "leavePush",
        "connected",
        "refreshed",
        "expired",
        "ended",
    ] {
        assert!(messages.contains_key(answer), "{answer}");
    }
}
