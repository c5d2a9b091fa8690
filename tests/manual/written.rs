//! What users see has its sentence: every code of a refusal is on the page of codes.
//!
//! Settings, metrics, the messages of `/ws` and the ends of sessions are there because their tables are made (`made.rs`), routes
//! because the description of the HTTP surface is held to them.

use std::{fs, path::Path};

use crate::blocks::{documents, page};

/// Where refusals get their codes, and the function that gives them.
const SOURCES: [&str; 3] = ["src/api/refusal.rs", "src/wire/json/fault.rs", "src/wire/http1/error.rs"];
/// What is refused in passing says its code where it is refused.
const IN_PASSING: &str = "Response::refused(";

/// What a command of `/ws` is never refused with: it is about a request, or about Socket.IO.
const NEVER_ON_WS: [&str; 29] = [
    "not_found",
    "method_not_allowed",
    "upgrade_required",
    "not_a_websocket",
    "path_encoding_invalid",
    "channels_invalid",
    "parameter_unknown",
    "parameter_unsupported",
    "timeout_invalid",
    "limit_invalid",
    "content_type_unsupported",
    "content_encoding_unsupported",
    "batch_invalid",
    "batch_too_large",
    "key_missing",
    "key_wrong",
    "asked_one_by_one",
    "revocation_invalid",
    "origin_not_allowed",
    "shards_silent",
    "lists_full",
    "dashboards_full",
    "client_script_missing",
    "rooms_too_many",
    "event_reserved",
    "room_forbidden",
    "room_of_socket",
    "namespace_invalid",
    "event_unheard",
];

/// What a source says.
fn source(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a source")
}

/// The codes that a source's function gives.
fn codes_of(path: &str) -> Vec<String> {
    let text = source(path);
    let (_, body) = text.split_once("fn code(self)").expect("the function that gives codes");
    let (body, _) = body.split_once("\n    }\n").expect("its end");
    let quoted: Vec<_> = body.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(quoted.len() >= 10, "{path}");
    quoted
}

#[test]
fn every_code_of_a_command_is_on_the_page_of_the_protocol() {
    let protocol = page("ws").text;
    for path in ["src/api/refusal.rs", "src/wire/json/fault.rs"] {
        for code in codes_of(path).iter().filter(|code| !NEVER_ON_WS.contains(&code.as_str())) {
            // What is wrong with the arguments of an event of Socket.IO is a member of an object here.
            let is_there = code == "arguments_invalid" || protocol.contains(&format!("`{code}`"));
            assert!(is_there, "src/manual/ws.md: say what a client does about {code} of {path}");
        }
    }
}

#[test]
fn every_command_that_is_read_is_on_the_page_of_the_protocol() {
    let text = source("src/wire/json/command.rs");
    let (_, body) = text.split_once("let decoded = match &*name {").expect("where commands are told apart");
    let (body, _) = body.split_once("};").expect("its end");
    let names: Vec<_> =
        body.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "id") {
        assert!(
            page("ws").text.contains(&format!("\n| `{name}` |")),
            "src/manual/asyncapi.json: describe {name}"
        );
    }
}

/// Where the words of Socket.IO are.
const SOCKETIO: &str = "src/app/socketio";

#[test]
fn every_word_that_users_of_socketio_are_told_to_use_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(SOCKETIO);
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    let code: String =
        files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).expect("text")).collect();
    let text = page("migrating").text;
    let (_, table) = text.split_once("| Socket.IO | here |").expect("a table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let mut words = Vec::new();
    for line in table.lines() {
        let ours = line.rsplit(" | ").next().unwrap_or_default();
        for owner in ["io.", "socket.", "candidate."] {
            let starts = ours.match_indices(owner).filter(|(at, _)| ours[..*at].ends_with('`'));
            for (at, _) in starts {
                let chain = ours[at..].split('`').next().unwrap_or_default();
                words.extend(chain.split('.').skip(1).map(|word| {
                    let end = word.find(|one: char| !one.is_ascii_lowercase() && one != '_');
                    word[..end.unwrap_or(word.len())].to_owned()
                }));
            }
        }
    }
    words.retain(|word| !word.is_empty() && word != "await");
    assert!(words.len() > 40, "{words:?}");
    for word in words {
        let is_there = ["fn ", "async fn "].iter().any(|kind| {
            code.contains(&format!("pub {kind}{word}(")) || code.contains(&format!("pub {kind}{word}<"))
        });
        assert!(is_there, "src/manual/migrating.md: there is no {word} in {SOCKETIO}");
    }
}

#[test]
fn every_code_of_a_refusal_is_on_the_page_of_codes() {
    let codes = page("codes").text;
    for source in SOURCES {
        for code in codes_of(source) {
            assert!(
                codes.contains(&format!("`{code}`")),
                "src/manual/codes.md: say what {code} of {source} means"
            );
        }
    }
}

#[test]
fn every_code_of_what_is_refused_in_passing_is_on_the_page_of_codes() {
    let codes = page("codes").text;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for path in
            fs::read_dir(folder).expect("the tree is readable").map(|entry| entry.expect("readable").path())
        {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for call in text.split(IN_PASSING).skip(1) {
                // Where the code is not written out, it comes from a table that is looked at elsewhere.
                let arguments = call.split(')').next().unwrap_or_default();
                let Some(code) = arguments.split('"').nth(1).filter(|_| !arguments.contains("code()")) else {
                    continue;
                };
                found += 1;
                assert!(
                    codes.contains(&format!("`{code}`")),
                    "src/manual/codes.md: say what {code} of {path:?} means"
                );
            }
        }
    }
    assert!(found > 8, "{found}");
}

#[test]
fn every_page_is_short() {
    // Tables that are made are looked things up in, not read.
    for document in documents().iter().filter(|document| !document.text.contains("<!-- made: ")) {
        let words = document.text.split_whitespace().count();
        assert!(words <= 2_500, "{}: {words} words; divide it", document.path);
    }
}
