//! Sockets that are passed to the program, as systemd passes them.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    client::Client,
    server::{Server, program},
};

/// A path in the temporary directory that nobody else uses.
fn free_path() -> String {
    let name = format!("roadstead-activated-{}-{:?}.sock", std::process::id(), Instant::now());
    let name = name.replace([' ', '{', '}', ':', ','], "");
    std::env::temp_dir().join(name).to_str().expect("a path in ASCII").to_owned()
}

/// The program with two sockets, one of which stands for `TCP` in the flags.
fn activated(names: &str, path: &str, listen: &[&str]) -> Command {
    let mut command = Command::new("python3");
    let helper = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/activated.py");
    command.env_remove("ROADSTEAD_TEST_TLS").args([
        helper,
        names,
        path,
        program().get_program().to_str().expect("a path in ASCII"),
    ]);
    command.args(["--admin", "127.0.0.1:0", "--shards", "2", "--set", "server.drain_ms=100"]);
    for address in listen {
        command.args(["--listen", address]);
    }
    command
}

#[test]
fn sockets_that_were_passed_are_listened_on_by_every_shard_with_and_without_names() {
    for names in ["-", "web:local"] {
        let path = free_path();
        let unix = format!("unix:{path}");
        let server = Server::launch(&mut activated(names, &path, &["TCP", &unix, "127.0.0.1:0"]));
        assert_eq!(server.listening[1], unix);
        let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.request("GET", "/hello", "", b"").status, 200);
        }
        assert_eq!(Client::connect_unix(&path).request("GET", "/hello", "", b"").status, 200);
        let another = server.listening[2].parse().expect("an address");
        assert_eq!(Client::connect(another).request("GET", "/hello", "", b"").status, 200);
        drop(clients);
        server.stop();
        assert!(std::fs::exists(&path).expect("a folder"), "whoever made it keeps it");
        std::fs::remove_file(&path).expect("it is there");
    }
}

#[test]
fn a_socket_whose_address_nobody_named_is_told_at_the_start() {
    let path = free_path();
    let mut command = activated("-", &path, &["TCP"]);
    let output = command.stdout(Stdio::null()).output().expect("python3 can be started");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(log.contains("was passed a socket that nobody asked for") && log.contains(&path), "{log}");
    std::fs::remove_file(&path).expect("it is there");
}
