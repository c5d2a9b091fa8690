//! `roadstead status` and `roadstead top`: a running server, looked at from a terminal.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    process::{Command, Output},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    certificate::{self, Certificate},
    server::{Server, await_that, program},
};

fn status(arguments: &[&str]) -> Output {
    program().arg("status").args(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn a_server_tells_how_it_is() {
    let server = Server::with_shards(2, &[]);
    let _clients: Vec<_> = (0..3).map(|_| server.websocket("/channels/news")).collect();
    let admin = server.admin_address().to_string();
    let told = status(&["--admin", &admin]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    let told = text(&told.stdout);
    assert!(told.contains(&format!(" at {admin}, up ")), "{told}");
    assert!(told.contains(": ready\n"), "{told}");
    // Whoever looks is not among them; whoever has found out that the server is there may be for a moment.
    await_that("three are told of", || {
        let told = text(&status(&["--admin", &admin]).stdout);
        let mut lines = told.lines();
        lines.any(|line| line.starts_with("connections  3 of ") && line.ends_with(": 3 WebSockets"))
    });
    // What it would listen on itself is nothing to it.
    let elsewhere =
        program().args(["status", "--admin", &admin]).env("ROADSTEAD_SERVER__LISTEN", &admin).output();
    assert!(elsewhere.expect("the program runs").status.success());
    let json = status(&["--admin", &admin, "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&json["is_ready"], json["shards"].as_array().map(Vec::len)), (&Value::Bool(true), Some(2)));
}

#[test]
fn whoever_cannot_look_is_told_why() {
    let key = "server.admin_keys=s3cret-s3cret-s3cret";
    let server = Server::with_shards(1, &[key]);
    let admin = server.admin_address().to_string();
    let refused = status(&["--admin", &admin]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("ROADSTEAD_SERVER__ADMIN_KEYS"), "{}", text(&refused.stderr));
    let let_in = program()
        .args(["status", "--admin", &admin])
        .env("ROADSTEAD_SERVER__ADMIN_KEYS", "s3cret-s3cret-s3cret")
        .output()
        .expect("the program runs");
    assert!(let_in.status.success(), "{}", text(&let_in.stderr));
    let public = status(&["--admin", &server.address().to_string()]);
    let told = if certificate::is_used_everywhere() { "speaks TLS" } else { "no admin listener" };
    assert!(text(&public.stderr).contains(told), "{}", text(&public.stderr));
    server.stop();
    let gone = status(&["--admin", &admin]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("is it running"), "{}", text(&gone.stderr));
    let no_terminal = program().args(["top", "--admin", &admin]).output().expect("the program runs");
    assert_eq!(no_terminal.status.code(), Some(2));
}

#[test]
fn a_listener_that_speaks_tls_is_looked_at_by_whoever_trusts_it() {
    let mut command = Server::command(1, &["127.0.0.1:0"], &["tls.addresses=127.0.0.1:0"]);
    if !certificate::is_used_everywhere() {
        command.args(certificate::flags());
    }
    let server = Server::launch(&mut command);
    let admin = server.admin_address();
    let [_, chain, _, key] = certificate::flags();
    let at = format!("https://localhost:{}", admin.port());
    let told = status(&["--admin", &at, "--ca-file", &chain]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    assert!(text(&told.stdout).contains(&format!(" at {at}, up ")), "{}", text(&told.stdout));
    // Its configuration knows its certificate, which is for another name than the address.
    let path = std::env::temp_dir().join(format!("roadstead-watch-{}.toml", std::process::id()));
    let tls = format!("certificates = [{chain:?}]\nkeys = [{key:?}]\naddresses = [\"{admin}\"]");
    fs::write(&path, format!("[server]\nadmin = \"{admin}\"\n[tls]\n{tls}\n")).expect("written");
    let told = status(&["--config", path.to_str().expect("a plain path")]);
    fs::remove_file(&path).expect("it is still there");
    assert!(told.status.success(), "{}", text(&told.stderr));

    let stranger = Certificate::new("localhost").chain;
    let told = status(&["--admin", &at, "--ca-file", stranger.to_str().expect("a plain path")]);
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told.stderr).contains("is not trusted"), "{}", text(&told.stderr));
    let told = status(&["--admin", &admin.to_string()]);
    assert!(text(&told.stderr).contains("--admin https://NAME:PORT"), "{}", text(&told.stderr));
}

#[test]
fn who_says_a_byte_at_a_time_is_not_waited_for_longer_than_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let admin = listener.local_addr().expect("it has an address").to_string();
    let slow = thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("it connects");
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("it is there");
        while client.write_all(b":").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let told = status(&["--admin", &admin, "--timeout", "1"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told.stderr).contains("has not told all in 1 s"), "{}", text(&told.stderr));
    slow.join().expect("it ends with its client");
}

/// A terminal of tmux, on a server of tmux's own.
struct Terminal(String);

impl Terminal {
    fn run(command: &str) -> Self {
        let terminal = Self(format!("roadstead-{}", std::process::id()));
        let size = ["-x", "100", "-y", "30"];
        terminal.tmux(&[&["-f", "/dev/null", "new-session", "-d"], &size[..], &[command]].concat());
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        // What is meant for the tests is no key of the program's.
        let mut tmux = Command::new("tmux");
        let output = tmux.env_remove("ROADSTEAD_TEST_TLS").args(["-L", &self.0]).args(arguments).output();
        output.expect("tmux is installed (apt-get install tmux)")
    }

    fn screen(&self) -> String {
        text(&self.tmux(&["capture-pane", "-p"]).stdout)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn a_terminal_shows_a_server_until_it_is_told_to_end() {
    let server = Server::with_shards(2, &[]);
    let admin = server.admin_address().to_string();
    let program = program().get_program().to_string_lossy().into_owned();
    let terminal = Terminal::run(&format!("{program} top --admin {admin}"));
    await_that("the server is shown", || terminal.screen().contains(": ready"));
    let _clients: Vec<_> = (0..3).map(|_| server.websocket("/channels/news")).collect();
    await_that("its clients are shown", || terminal.screen().contains("3 WebSockets"));
    await_that("its channel is shown", || {
        server.publish("news", "x");
        terminal.screen().lines().any(|line| line.ends_with("delivered  news"))
    });
    terminal.tmux(&["send-keys", "q"]);
    await_that("it has ended", || !terminal.tmux(&["has-session"]).status.success());
}
