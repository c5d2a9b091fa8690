//! A keeper and its server: two processes that are one to whoever starts, ends or watches them, and a server that comes back
//! when it crashes.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::{net::UnixDatagram, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    client::Client,
    server::{SOON, Server, await_that},
};

/// Two shards with a keeper.
fn keep(settings: &[&str]) -> Server {
    Server::launch(&mut kept(settings))
}

fn kept(settings: &[&str]) -> Command {
    // The later one counts.
    Server::command(2, &["127.0.0.1:0"], &[&["server.keeper=true"], settings].concat())
}

pub fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let children = tasks
        .map(|task| fs::read_to_string(task.expect("a thread").path().join("children")).unwrap_or_default());
    let numbers = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    children.flat_map(numbers).map(|number| number.parse().expect("a number")).collect()
}

fn is_there(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

pub fn send(process: u32, signal: &str) {
    let kill = format!("kill -{signal} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("there is a shell").success());
}

/// Stops a process, and waits until each of its threads stands still.
fn stop(process: u32) {
    send(process, "STOP");
    await_that("it stands still", || {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
        let mut stats = tasks
            .map(|task| fs::read_to_string(task.expect("a thread").path().join("stat")).unwrap_or_default());
        stats.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
    });
}

impl Server {
    /// The process that serves.
    pub fn serving(&self) -> u32 {
        let mut found = None;
        await_that("a server is there", || {
            // The one before may not have gone yet.
            found = children(self.id()).last().copied();
            found.is_some()
        });
        found.expect("just seen")
    }

    /// Kills the process that serves, and waits for the next.
    pub fn crash(&self) {
        let before = self.serving();
        send(before, "KILL");
        await_that("another one is there", || children(self.id()).last().is_some_and(|now| *now != before));
    }
}

#[test]
fn the_keeper_is_small_has_one_thread_and_both_end_as_one() {
    let mut server = keep(&[]);
    let (keeper, serving) = (server.id(), server.serving());
    assert_eq!(fs::read_dir(format!("/proc/{keeper}/task")).expect("it runs").count(), 1);
    let name = |process: u32| fs::read_to_string(format!("/proc/{process}/comm")).expect("it runs");
    let named = [name(keeper), name(serving)];
    assert_eq!(named.each_ref().map(|name| name.trim_end()), ["roadstead-keep", "roadstead"]);
    assert!(server.status_bytes("RssAnon:") < 8 << 20, "{}", server.status_bytes("RssAnon:"));
    assert_eq!(server.get("/hello").status, 200);
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(!is_there(serving), "the server has ended before its keeper");
    assert!(server.log().contains("draining after SIGTERM"), "{}", server.log());
}

#[test]
fn a_server_that_crashes_serves_again_and_whoever_waits_to_be_accepted_is_served() {
    let server = keep(&[]);
    assert_eq!(server.publish("a", "x"), 1);
    let serving = server.serving();
    // Nobody accepts any more.
    stop(serving);
    let address = server.address();
    let connect = |_| TcpStream::connect_timeout(&address, SOON).expect("the queue has room");
    let waiting: Vec<_> = (0..30).map(connect).collect();
    send(serving, "KILL");
    for stream in waiting {
        assert_eq!(Client::over(stream).request("GET", "/hello", "", b"").status, 200);
    }
    assert_ne!(server.serving(), serving);
    assert_eq!(server.get("/channels/a/info").status, 200);
    assert_eq!(server.publish("a", "x"), 1, "what was in memory is gone");
    assert!(server.log().contains("was ended by SIGKILL; another one starts in 100 ms"), "{}", server.log());
    server.stop();
}

#[test]
fn three_crashes_within_a_minute_end_the_keeper_with_1_and_a_sentence() {
    let mut server = keep(&[]);
    server.crash();
    server.crash();
    send(server.serving(), "KILL");
    assert_eq!(server.wait().code(), Some(1));
    let log = server.log();
    assert!(log.contains("the server has crashed 3 times within 60 s; ending"), "{log}");
    assert!(TcpStream::connect(server.address()).is_err(), "nobody listens any more");
}

#[test]
fn a_signal_that_is_sent_to_both_counts_once() {
    for signal in ["TERM", "INT"] {
        let mut server = keep(&[]);
        let mut socket = server.websocket("/echo");
        let (keeper, serving) = (server.id(), server.serving());
        let kill = format!("kill -{signal} {serving} {keeper} {serving}; kill -{signal} {serving}");
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("there is a shell").success());
        assert!(server.wait().success(), "{}", server.log());
        assert!(!server.log().contains("at once"), "{}", server.log());
        assert!(matches!(socket.next(), crate::socket::Incoming::Close(Some(1001), _)));
    }
}

#[test]
fn a_second_signal_ends_both_at_once_with_the_code_a_shell_expects() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut server = keep(&["server.drain_ms=600000"]);
        let _sockets: Vec<_> = (0..4).map(|_| server.websocket("/echo")).collect();
        server.signal("TERM");
        await_that("it drains", || server.log().contains("draining after SIGTERM"));
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(code), "{}", server.log());
    }
}

#[test]
fn a_server_that_hangs_is_killed_at_the_second_signal() {
    let mut server = keep(&[]);
    let serving = server.serving();
    stop(serving);
    server.signal("TERM");
    // Two signals of a kind that come together would be one.
    server.signal("INT");
    await_that("it is killed", || !is_there(serving));
    assert!(matches!(server.wait().code(), Some(130 | 143)), "{}", server.log());
    assert!(server.log().contains("it is killed"), "{}", server.log());
}

#[test]
fn a_server_that_hangs_is_killed_when_it_could_have_ended_long_ago() {
    let mut server = keep(&["server.drain_ms=0"]);
    let serving = server.serving();
    stop(serving);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    assert!(!is_there(serving));
    assert!(server.log().contains("the server does not end; it is killed"), "{}", server.log());
}

#[test]
fn who_asks_the_server_itself_to_end_ends_both() {
    let mut server = keep(&[]);
    send(server.serving(), "TERM");
    assert!(server.wait().success(), "{}", server.log());
}

#[test]
fn no_server_outlives_its_keeper() {
    let mut server = keep(&[]);
    let serving = server.serving();
    server.signal("KILL");
    assert_eq!(server.wait().signal(), Some(libc::SIGKILL));
    await_that("the server ends", || !is_there(serving));
}

#[test]
fn a_keeper_passes_on_that_the_configuration_is_to_be_read_again() {
    let server = keep(&[]);
    server.signal("HUP");
    await_that("it is read again", || server.log().contains("read again; nothing has changed"));
    server.stop();
}

#[test]
fn a_server_that_comes_back_listens_where_the_first_did_whatever_its_file_says_now() {
    let file = std::env::temp_dir().join(format!("roadstead-e2e-{}-keeper.toml", std::process::id()));
    fs::write(&file, "[server]\nlisten = [\"127.0.0.1:0\"]\n").expect("the temporary directory takes a file");
    let mut command = Server::command(2, &[], &["server.keeper=true"]);
    let server = Server::launch(command.arg("--config").arg(&file));
    // Without flags that would have it speak TLS.
    let address: SocketAddr = server.address();
    fs::write(&file, "[server]\nlisten = [\"127.0.0.1:1\"]\n").expect("the temporary directory takes a file");
    server.crash();
    assert_eq!(Client::connect(address).request("GET", "/hello", "", b"").status, 200);
    assert!(server.log().contains("a restart is needed to listen elsewhere"), "{}", server.log());
    server.stop();
    fs::remove_file(file).expect("it is there");
}

#[test]
fn a_server_that_comes_back_to_a_broken_file_goes_on_with_what_it_said_before() {
    let file = std::env::temp_dir().join(format!("roadstead-e2e-{}-broken.toml", std::process::id()));
    let write = |text: &str| fs::write(&file, text).expect("the temporary directory takes a file");
    write("");
    let mut command = kept(&[]);
    let mut server = Server::launch(command.arg("--config").arg(&file));
    write("[diagnostics]\nenabled = false\n");
    server.signal("HUP");
    await_that("it is read again", || server.log().contains("the configuration was read again"));
    // The second server that finds it broken knows what the first one went on with.
    for text in ["[server]\nlisten_on = 1\n", "not even TOML"] {
        write(text);
        server.crash();
        assert_eq!(server.get("/channels").status, 200);
        assert_eq!(server.get("/hello").status, 404, "what was read last counts");
    }
    let log = server.log();
    assert_eq!(
        log.matches("the configuration has become wrong, and what it said before is gone on with").count(),
        2
    );
    assert!(log.contains("there is no key server.listen_on"), "{log}");
    fs::remove_file(file).expect("it is there");
    server.signal("TERM");
    assert!(server.wait().success(), "{}", server.log());
}

#[test]
fn the_file_of_a_unix_socket_lasts_as_long_as_the_keeper() {
    let path = std::env::temp_dir().join(format!("roadstead-e2e-{}-keeper.sock", std::process::id()));
    let unix = format!("unix:{}", path.display());
    let server = Server::launch(&mut Server::command(2, &[&unix], &["server.keeper=true"]));
    let hello = |path: &Path| {
        let path = path.to_str().expect("a plain name");
        Client::connect_unix(path).request("GET", "/hello", "", b"").status
    };
    assert_eq!(hello(&path), 200);
    server.crash();
    assert_eq!(hello(&path), 200);
    server.stop();
    assert!(!path.exists());
}

#[test]
fn systemd_is_told_by_the_keeper_that_the_service_is_ready_and_that_it_ends() {
    let path: PathBuf =
        std::env::temp_dir().join(format!("roadstead-e2e-{}-notify.sock", std::process::id()));
    let systemd = UnixDatagram::bind(&path).expect("a free path");
    systemd.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    let hear = || {
        let mut said = [0; 256];
        let length = systemd.recv(&mut said).expect("something is said");
        String::from_utf8_lossy(&said[..length]).trim().to_owned()
    };
    for is_kept in ["server.keeper=true", "server.keeper=false"] {
        let mut command = Server::command(1, &["127.0.0.1:0"], &[is_kept]);
        let server = Server::launch(command.env("NOTIFY_SOCKET", &path));
        assert_eq!(hear(), "READY=1");
        server.stop();
        if is_kept == "server.keeper=true" {
            assert_eq!(hear(), "STOPPING=1");
        }
    }
    fs::remove_file(path).expect("it is there");
}

#[test]
fn as_process_1_a_keeper_reaps_what_others_leave_and_ends_when_it_is_asked() {
    let inner = kept(&[]);
    let mut command = Command::new("unshare");
    // The shell leaves a process behind, which ends; what takes its place is the keeper.
    command.args(["--pid", "--fork", "--kill-child", "sh", "-c", "(sleep 0.1 &); exec \"$@\"", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear().env("PATH", "/usr/bin:/bin");
    let mut server = Server::launch(&mut command);
    assert_eq!(server.get("/hello").status, 200);
    let keeper = children(server.id())[0];
    await_that("only the server is left to it", || children(keeper).len() == 1);
    send(keeper, "TERM");
    assert!(server.wait().success(), "{}", server.log());
}
