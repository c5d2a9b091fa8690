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

    /// The lines before the unit tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).enumerate()
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
        for source in sources("src").iter().filter(|source| source.shown().starts_with(&prefix)) {
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
