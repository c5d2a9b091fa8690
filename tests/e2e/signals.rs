//! Signals that do not end the server: SIGHUP has the configuration read again, SIGUSR1 and SIGUSR2 do nothing.

use std::fs;

use crate::{
    permissions::TemporaryFile,
    server::{Server, await_that},
    socket::WebSocket,
};

impl TemporaryFile {
    fn write(&self, text: &str) {
        fs::write(self.path(), text).expect("the temporary directory takes a file");
    }

    /// Two shards that read this file.
    fn serve(&self) -> Server {
        Server::launch(Server::command(2, &["127.0.0.1:0"], &[]).args(["--config", self.path()]))
    }
}

impl Server {
    /// Sends SIGHUP and waits until the log says so once more.
    fn reload(&self, told: &str) {
        let count = || self.log().matches(told).count();
        let before = count();
        self.signal("HUP");
        await_that(told, || count() > before);
    }

    /// The status of a publish with this key.
    fn publish_status(&self, key: &str) -> u16 {
        let fields = format!("Authorization: Bearer {key}\r\n");
        self.connect().request("POST", "/channels/a", &fields, b"x").status
    }
}

#[test]
fn no_such_signal_ends_the_server() {
    let server = Server::start(&[]);
    let mut socket = server.websocket("/echo");
    for signal in ["HUP", "USR1", "USR2"] {
        server.signal(signal);
        await_that(signal, || server.log().contains(&format!("SIG{signal}")) || signal == "HUP");
    }
    await_that("it is read again", || server.log().contains("read again; nothing has changed"));
    socket.send_text("still here");
    assert_eq!(socket.text(), "still here");
}

#[test]
fn a_key_that_is_exchanged_works_at_once_and_the_old_one_no_more_not_even_for_those_connected() {
    let file = TemporaryFile::holding("keys.toml", "[publish]\nkeys = [\"old\", \"other\"]\n");
    let server = file.serve();
    let open = |key: &str| WebSocket::open(server.connect(), &format!("/channels/a?key={key}"), "");
    let (mut old, mut other) = (open("old"), open("other"));
    assert_eq!((server.publish_status("old"), server.publish_status("new")), (200, 403));
    file.write("[publish]\nkeys = [\"new\", \"other\"]\n");
    server.reload("changed: publish.keys");
    // Every shard is told on its own.
    await_that("the old key is unknown everywhere", || (0..20).all(|_| server.publish_status("old") == 403));
    await_that("the new one is known everywhere", || (0..20).all(|_| server.publish_status("new") == 200));
    let before = server.get("/channels/a/info").json()["offset"].as_u64();
    other.send_text("may");
    await_that("it is published", || server.get("/channels/a/info").json()["offset"].as_u64() > before);
    old.send_text("may not");
    assert_eq!(old.close_code(), Some(1008));
    assert!(!server.log().contains("\"new\""), "no log shows a key");
}

#[test]
fn limits_origins_and_the_level_of_the_log_change_and_what_cannot_is_named() {
    let file = TemporaryFile::holding("limits.toml", "[log]\nlevel = \"warn\"\n");
    let server = file.serve();
    let evil = "Origin: https://app.example\r\n";
    let status = |body: &[u8]| server.connect().request("POST", "/channels/a", evil, body).status;
    assert_eq!(status(b"xyz"), 403);
    file.write(
        "[log]\nlevel = \"info\"\n[cors]\nallowed_origins = [\"https://app.example\"]\n\
         [limits]\npublication_bytes_max = 2\nconnections_max = 77\n",
    );
    server.reload("changed: limits.publication_bytes_max, cors.allowed_origins, log.level");
    assert!(
        server.log().contains("a restart is needed to change limits.connections_max"),
        "{}",
        server.log()
    );
    await_that("every shard allows the page", || (0..20).all(|_| status(b"xy") == 200));
    await_that("and nothing longer", || (0..20).all(|_| status(b"xyz") == 413));
    let config = server.admin("/config").json();
    assert_eq!(
        (&config["limits"]["publication_bytes_max"], &config["log"]["level"]),
        (&2.into(), &"info".into())
    );
    assert_eq!(config["limits"]["connections_max"], 0, "what is in force");
}

#[test]
fn a_file_that_cannot_work_changes_nothing_and_says_why() {
    let file = TemporaryFile::holding("invalid.toml", "");
    let server = file.serve();
    for (text, why) in [
        (
            "[limits]\npublication_bytes_max = 2\nping_intervall_ms = 1\n",
            "did you mean limits.ping_interval_ms?",
        ),
        ("[limits]\npublication_bytes_max = 2\nping_timeout_ms = 90000\n", "limits.ping_timeout_ms is 90000"),
        ("[limits\n", "is not TOML"),
    ] {
        file.write(text);
        server.reload("is refused; nothing has changed");
        assert!(server.log().contains(why), "{why}: {}", server.log());
        assert_eq!(server.admin("/config").json()["limits"]["publication_bytes_max"], 262_144);
    }
    fs::remove_file(file.path()).expect("it is there");
    server.reload("is refused; nothing has changed");
    file.write("");
    assert_eq!(server.connect().request("POST", "/channels/a", "", b"xyz").status, 200);
}
