//! An ordinary test that polices the tree: layers, lengths, names, leftovers. Each message says what to do instead.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What each folder or file of `src/` must not import: the directions of the code map in `src/lib.rs`.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "model",
        &[
            "api",
            "app",
            "cli",
            "config",
            "hub",
            "limits",
            "mesh",
            "ring",
            "session",
            "shard",
            "supervisor",
            "telemetry",
            "wire",
        ],
    ),
    (
        "limits.rs",
        &["api", "app", "cli", "config", "hub", "mesh", "ring", "session", "shard", "supervisor", "wire"],
    ),
    (
        "live.rs",
        &["api", "app", "cli", "config", "hub", "mesh", "ring", "session", "shard", "supervisor", "wire"],
    ),
    (
        "wire",
        &[
            "api",
            "app",
            "cli",
            "config",
            "hub",
            "mesh",
            "ring",
            "session",
            "shard",
            "supervisor",
            "telemetry",
        ],
    ),
    (
        "auth",
        &[
            "api",
            "app",
            "cli",
            "config",
            "hub",
            "mesh",
            "ring",
            "session",
            "shard",
            "supervisor",
            "telemetry",
        ],
    ),
    (
        "backend",
        &["api", "app", "cli", "config", "hub", "mesh", "session", "shard", "supervisor", "telemetry"],
    ),
    (
        "broker",
        &["api", "app", "cli", "config", "hub", "mesh", "session", "shard", "supervisor", "telemetry"],
    ),
    ("session", &["api", "app", "cli", "config", "hub", "mesh", "ring", "shard", "supervisor", "telemetry"]),
    ("hub", &["api", "app", "cli", "config", "ring", "session", "shard", "supervisor", "telemetry", "wire"]),
    (
        "ring",
        &[
            "api",
            "app",
            "cli",
            "config",
            "hub",
            "mesh",
            "session",
            "shard",
            "supervisor",
            "telemetry",
            "wire",
        ],
    ),
    ("mesh", &["api", "app", "cli", "config", "hub", "session", "shard", "supervisor", "telemetry", "wire"]),
    (
        "tls",
        &[
            "api",
            "app",
            "cli",
            "config",
            "hub",
            "mesh",
            "model",
            "ring",
            "session",
            "shard",
            "supervisor",
            "telemetry",
            "wire",
        ],
    ),
    (
        "storage",
        &["api", "app", "cli", "config", "hub", "session", "shard", "supervisor", "telemetry", "wire"],
    ),
    ("shard", &["api", "cli", "config", "supervisor", "telemetry"]),
    ("app", &["cli", "config", "ring", "shard", "supervisor", "telemetry"]),
    ("api", &["cli", "ring", "shard", "supervisor"]),
    (
        "manual",
        &["api", "app", "cli", "config", "hub", "mesh", "ring", "session", "shard", "supervisor", "wire"],
    ),
    ("config", &["cli", "hub", "mesh", "ring", "session", "shard", "supervisor"]),
    ("program", &["cli", "hub", "ring", "session", "shard"]),
];

/// What a pure layer must not name at all.
const IMPURE: &[(&str, &[&str])] = &[
    ("wire", &["std::net::Tcp", "Instant::now", "SystemTime::now", "async fn", ".await;", ".await?"]),
    ("session", &["std::net::Tcp", "Instant::now", "SystemTime::now", "async fn", ".await;", ".await?"]),
    ("tls", &["std::net::Tcp", "Instant::now", "SystemTime::now", "async fn", ".await;", ".await?", "Mutex"]),
    ("auth", &["std::net::Tcp", "Instant::now", "SystemTime::now", "async fn", ".await;", ".await?"]),
    (
        "hub",
        &["Mutex", "RwLock", "Atomic", "async fn", ".await;", ".await?", "Instant::now", "SystemTime::now"],
    ),
];

const BANNED_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "types", "manager"];
const LEFTOVERS: &[&str] = &["dbg!(", "todo!(", "unimplemented!(", "FIXME"];
const FILE_CODE_LINES_MAX: usize = 500;
const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn shown(&self) -> String {
        self.path.strip_prefix(root()).unwrap_or(&self.path).display().to_string()
    }

    /// The lines of what is not for tests alone, with their places in the file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut is_for_tests = false;
        self.text.lines().enumerate().filter(move |(_, line)| {
            is_for_tests |= line.starts_with("#[cfg(test)]");
            let is_code = !is_for_tests;
            is_for_tests &= !(line.ends_with(';') || line.ends_with('}')) || line.starts_with(' ');
            is_code
        })
    }

    /// Whether the file holds tests only.
    fn is_test(&self) -> bool {
        let shown = self.shown();
        shown.contains("/tests") || shown.starts_with("tests") || shown.ends_with("tests.rs")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("the tree is readable").path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !["target", "node_modules", ".venv"].contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no sources in {folder}/");
    found
}

fn all_sources() -> Vec<Source> {
    ["src", "bench", "tuning", "tests"].into_iter().flat_map(sources).collect()
}

fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn no_layer_imports_upward() {
    let mut complaints = Vec::new();
    for (layer, forbidden) in FORBIDDEN {
        let prefix = format!("src/{layer}");
        // A simulator plays the layers above.
        let is_of_it =
            |source: &&Source| source.shown().starts_with(&prefix) && !source.shown().contains("/simulated/");
        for source in sources("src").iter().filter(is_of_it) {
            let mut in_use = false;
            for (number, line) in source.code().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                in_use |= line.starts_with("use crate::{") || line.starts_with("pub use crate::{");
                for other in *forbidden {
                    let direct = line.contains(&format!("crate::{other}::"));
                    let grouped = in_use && line.trim_start().starts_with(&format!("{other}::"));
                    if direct || grouped {
                        complaints.push(format!(
                            "{}:{}: {layer} must not import {other}; pass a value in, or move the code to a layer above",
                            source.shown(),
                            number + 1
                        ));
                    }
                }
                in_use &= !line.ends_with("};");
            }
        }
    }
    report(&complaints);
}

#[test]
fn pure_layers_know_no_clock_no_socket_and_no_lock() {
    let mut complaints = Vec::new();
    for (layer, words) in IMPURE {
        let prefix = format!("src/{layer}/");
        for source in sources("src").iter().filter(|source| source.shown().starts_with(&prefix)) {
            for (number, line) in source.code().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                    complaints.push(format!(
                        "{}:{}: {layer} is sans-io: `{word}` belongs to the shard; take its result as an argument",
                        source.shown(),
                        number + 1
                    ));
                }
            }
        }
    }
    report(&complaints);
}

#[test]
fn unsafe_lives_in_the_ring_and_in_the_bare_programs() {
    let allowed = ["src/ring/", "bench/", "tuning/src/sys"];
    let mut complaints = Vec::new();
    for source in all_sources() {
        let shown = source.shown();
        if allowed.iter().any(|place| shown.starts_with(place)) || shown == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl") {
                complaints.push(format!(
                    "{shown}:{}: move `unsafe` behind a safe function of src/ring/",
                    number + 1
                ));
            }
        }
    }
    report(&complaints);
}

#[test]
fn every_file_says_what_it_is_and_holds_one_idea() {
    let mut complaints = Vec::new();
    for source in all_sources() {
        let shown = source.shown();
        if !source.text.starts_with("//!") {
            complaints.push(format!(
                "{shown}: open the file with `//!`: what it is, what it is not, its invariant"
            ));
        }
        let (code, all) = (source.code().count(), source.text.lines().count());
        if (code > FILE_CODE_LINES_MAX && !source.is_test()) || all > FILE_LINES_MAX {
            complaints.push(format!("{shown}: {code} lines of code, {all} in all: split it by concept"));
        }
        let stem = source.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if BANNED_NAMES.contains(&stem) {
            complaints.push(format!("{shown}: name the file after the noun it holds, not `{stem}`"));
        }
    }
    report(&complaints);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut complaints = Vec::new();
    for source in all_sources().iter().filter(|source| !source.is_test()) {
        let mut open: Option<(usize, usize, &str)> = None;
        for (number, line) in source.code() {
            let indent = line.len() - line.trim_start().len();
            let text = line.trim_start();
            let is_function = ["fn ", "pub fn ", "async fn ", "pub async fn ", "const fn ", "pub const fn "]
                .iter()
                .any(|start| text.starts_with(start))
                || (text.starts_with("pub(") && text.contains(") fn ") | text.contains(") async fn "));
            if is_function && open.is_none() && !text.ends_with(';') {
                open = Some((number, indent, text));
            }
            if let Some((start, depth, name)) = open
                && ((text == "}" && indent == depth) || (start == number && text.ends_with('}')))
            {
                if number - start + 1 > FUNCTION_LINES_MAX {
                    let lines = number - start + 1;
                    complaints.push(format!(
                        "{}:{}: {lines} lines: divide `{name}`",
                        source.shown(),
                        start + 1
                    ));
                }
                open = None;
            }
        }
    }
    report(&complaints);
}

#[test]
fn nothing_is_left_over() {
    let mut complaints = Vec::new();
    for source in all_sources().iter().filter(|source| source.shown() != "tests/tidy.rs") {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(word) = LEFTOVERS.iter().find(|word| line.contains(**word)) {
                complaints.push(format!("{}:{}: finish or remove `{word}`", source.shown(), number + 1));
            }
            if line.contains("#[allow(") {
                let advice = "say `#[expect(lint, reason = \"…\")]` instead of `allow`";
                complaints.push(format!("{}:{}: {advice}", source.shown(), number + 1));
            }
            if line.contains("#[ignore]") {
                complaints.push(format!("{}:{}: say why the test is ignored", source.shown(), number + 1));
            }
        }
    }
    report(&complaints);
}

/// Circles of files within a folder that stand yet; none may be added, and none may grow. Parts of a shard are put together in
/// `turn.rs`, and most of what a shard does is a method of that.
const CIRCLES: &[(&str, &[&str])] = &[
    ("src/api", &["access", "channels", "keys", "pending", "presence", "publish", "state"]),
    (
        "src/app/socketio",
        &[
            "admission",
            "awaiting",
            "broadcast",
            "channel",
            "core",
            "handlers",
            "joining",
            "matching",
            "members",
            "namespace",
            "opening",
            "presence",
            "questions",
            "raw",
            "socket",
            "told",
        ],
    ),
    ("src/backend", &["desk", "hooks", "jwks", "thread"]),
    ("src/broker", &["followed", "link", "outbox", "stream", "tended", "thread"]),
    ("src/cli/watch", &["feed", "status"]),
    (
        "src/hub",
        &[
            "channel",
            "history",
            "ledger",
            "ledgers",
            "members",
            "occupancy",
            "presences",
            "slots",
            "state",
            "stream",
        ],
    ),
    ("src/ring", &["engine", "waiting"]),
    (
        "src/shard",
        &[
            "answer",
            "asks",
            "calls",
            "carrying",
            "compression",
            "consults",
            "ending",
            "fan_out",
            "following",
            "foundation",
            "gate",
            "intents",
            "lines",
            "marks",
            "nodes",
            "polls",
            "proxied",
            "several",
            "shown",
            "sockets",
            "trails",
            "turn",
            "verifying",
        ],
    ),
    ("src/shard/sockets", &["posts", "requests"]),
    ("src/storage", &["error", "tables"]),
    ("src/supervisor", &["passed", "signals", "sockets", "watch"]),
    ("src/supervisor/keeper", &["child", "handed", "kept", "last_good", "link"]),
    ("src/wire/json", &["encode", "publish", "state"]),
    ("src/wire/resp", &["decode", "value"]),
];

/// The files and folders of a folder, and which of them each names.
struct Folder {
    parts: Vec<String>,
    names: Vec<Vec<bool>>,
}

impl Folder {
    fn read(folder: &str) -> Self {
        let depth = folder.split('/').count();
        let prefix = format!("{folder}/");
        let path = folder.trim_start_matches("src/").replace('/', "::");
        let mut found: Vec<(String, String)> = Vec::new();
        for source in sources("src").iter().filter(|source| source.shown().starts_with(&prefix)) {
            let shown = source.shown();
            let steps: Vec<_> = shown.trim_end_matches(".rs").split('/').skip(depth).collect();
            let is_played =
                shown.contains("/simulated") || shown.contains("/tests") || shown.ends_with("testing.rs");
            if steps == ["mod"] || is_played {
                continue;
            }
            let below = steps.len() - usize::from(steps.last() == Some(&"mod"));
            let code: Vec<_> = source.code().map(|(_, line)| line).filter(|line| !is_comment(line)).collect();
            let code = code.join("\n");
            let names = [format!("crate::{path}::"), "super::".repeat(below)];
            let named =
                names.iter().flat_map(|start| named_after(&code, start)).collect::<Vec<_>>().join(" ");
            found.push((steps[0].to_owned(), named));
        }
        let mut parts: Vec<_> = found.iter().map(|(part, _)| part.clone()).collect();
        parts.sort();
        parts.dedup();
        let mut names = vec![vec![false; parts.len()]; parts.len()];
        for (part, named) in &found {
            let from = parts.binary_search(part).expect("it is one of them");
            for name in named.split(' ') {
                if let Ok(to) = parts.binary_search(&name.to_owned()) {
                    names[from][to] |= from != to;
                }
            }
        }
        Self { parts, names }
    }

    /// The parts that stand in circles, each circle by itself.
    fn circles(&self) -> Vec<Vec<&str>> {
        let count = self.parts.len();
        let mut reached = self.names.clone();
        for by in 0..count {
            for from in 0..count {
                if reached[from][by] {
                    let further = reached[by].clone();
                    reached[from].iter_mut().zip(further).for_each(|(to, more)| *to |= more);
                }
            }
        }
        let mut circles: Vec<Vec<&str>> = Vec::new();
        for part in (0..count).filter(|part| reached[*part][*part]) {
            let together = |other: &usize| reached[part][*other] && reached[*other][part];
            let circle: Vec<_> = (0..count).filter(together).map(|other| &*self.parts[other]).collect();
            if !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The names that follow `start`, alone or in braces.
fn named_after<'a>(code: &'a str, start: &str) -> Vec<&'a str> {
    let is_of_name = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let first_name = |text: &'a str| &text[..text.find(|letter| !is_of_name(letter)).unwrap_or(text.len())];
    let mut names = Vec::new();
    for (at, _) in code.match_indices(start) {
        // Of a longer way up.
        if code[..at].ends_with("super::") {
            continue;
        }
        let rest = &code[at + start.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(first_name(rest));
            continue;
        };
        let (mut depth, mut is_first) = (0, true);
        for (place, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_first = true,
                letter if is_first && depth == 0 && !letter.is_whitespace() => {
                    names.push(first_name(&list[place..]));
                    is_first = false;
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn no_circle_of_files_is_added_within_a_folder() {
    let mut folders: Vec<_> = sources("src")
        .iter()
        .filter_map(|source| source.shown().rsplit_once('/').map(|(folder, _)| folder.to_owned()))
        .filter(|folder| folder != "src" && !folder.contains("simulated") && !folder.contains("tests"))
        .collect();
    folders.sort();
    folders.dedup();
    let mut complaints = Vec::new();
    for folder in &folders {
        let read = Folder::read(folder);
        let known = CIRCLES.iter().find(|(known, _)| known == folder).map_or(&[][..], |(_, parts)| parts);
        let circles = read.circles();
        for circle in &circles {
            let added: Vec<_> = circle.iter().filter(|part| !known.contains(part)).collect();
            if !added.is_empty() {
                complaints.push(format!(
                    "{folder}: {added:?} stand in a circle, {circle:?}: let one of them be told what it asks the other for, \
                     or move what both need below them"
                ));
            }
        }
        for part in known.iter().filter(|part| !circles.iter().any(|circle| circle.contains(part))) {
            complaints.push(format!("{folder}: {part} stands in no circle any more: take it off `CIRCLES`"));
        }
    }
    report(&complaints);
}

#[test]
fn names_are_found_that_files_of_a_folder_are_named_by() {
    let code =
        "use super::{\n    Shard, one::{A, B},\n    two,\n};\nuse super::three::C; crate::shard::four::f()";
    assert_eq!(named_after(code, "super::"), ["", "one", "two", "three"]);
    assert_eq!(named_after(code, "crate::shard::"), ["four"]);
    assert_eq!(named_after("use super::super::five;", "super::"), ["super"]);
    let names = vec![vec![false, true, false], vec![true, false, true], vec![false; 3]];
    let folder = Folder { parts: ["a", "b", "c"].map(str::to_owned).to_vec(), names };
    assert_eq!(folder.circles(), [["a", "b"]]);
}
