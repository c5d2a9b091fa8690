//! Runs every fuzz body over its corpus, so that what fuzzing once found stays found. The fuzzing itself is in
//! `tests/fuzz/`.

use std::{fs, path::Path};

#[path = "fuzz/terms.rs"]
mod terms;

/// Runs `body` over `tests/fuzz/corpus/<target>`, naming the file that fails.
fn run_corpus(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut file_count = 0;
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let data = fs::read(&path).expect("a readable file");
        if std::panic::catch_unwind(|| body(&data)).is_err() {
            panic!("the fuzz body of {target} fails on {}", path.display());
        }
        file_count += 1;
    }
    assert!(file_count > 10, "only {file_count} files in {}", folder.display());
}

#[test]
fn http1_holds_its_properties_on_its_corpus() {
    run_corpus("http1", roadstead::wire::http1::fuzz);
}

#[test]
fn websocket_holds_its_properties_on_its_corpus() {
    run_corpus("websocket", roadstead::wire::websocket::fuzz);
}

#[test]
fn deflate_holds_its_properties_on_its_corpus() {
    run_corpus("deflate", roadstead::wire::websocket::fuzz_deflate);
}

#[test]
fn engineio_holds_its_properties_on_its_corpus() {
    run_corpus("engineio", roadstead::wire::engineio::fuzz);
}

#[test]
fn socketio_holds_its_properties_on_its_corpus() {
    run_corpus("socketio", roadstead::wire::socketio::fuzz);
}

#[test]
fn json_commands_hold_their_properties_on_their_corpus() {
    run_corpus("json_command", roadstead::wire::json::fuzz);
}

#[test]
fn resp_holds_its_properties_on_its_corpus() {
    run_corpus("resp", roadstead::wire::resp::fuzz);
}

#[test]
fn what_members_of_a_cluster_say_holds_its_properties_on_its_corpus() {
    run_corpus("redis_adapter", roadstead::wire::redis_adapter::fuzz);
}

#[test]
fn headers_of_the_proxy_protocol_hold_their_properties_on_their_corpus() {
    run_corpus("proxy", roadstead::wire::proxy::fuzz);
}

#[test]
fn handshakes_of_tls_hold_their_properties_on_their_corpus() {
    run_corpus("tls_handshake", |data| roadstead::tls::fuzz_handshake(&terms::TERMS, data));
}

#[test]
fn records_of_tls_hold_their_properties_on_their_corpus() {
    run_corpus("tls_records", roadstead::tls::fuzz_records);
}

#[test]
fn every_corpus_has_a_target_and_every_target_a_corpus() {
    let names = |folder: &str| -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder);
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("a readable folder").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("corpus"), names("fuzz_targets"));
}
