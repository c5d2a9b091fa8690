//! A new version in place of the old: what channels are goes over, and an upgrade that fails is none.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::{
    certificate,
    client::Client,
    keeper::{children, send},
    server::{Patience, Server, await_that, program},
    socket::Incoming,
    stream::EventStream,
};

/// A program of its own, whose file another may take the place of.
pub struct Installed {
    folder: PathBuf,
}

impl Installed {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("upgrade-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for tests");
        let installed = Self { folder };
        installed.install();
        installed
    }

    pub fn program(&self) -> PathBuf {
        self.folder.join("roadstead")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("roadstead.toml")
    }

    /// Puts the program where it stands, as a package does: the file that was there has no name any more.
    pub fn install(&self) {
        fs::remove_file(self.program()).ok();
        // Under a name of the same file, rename(2) would do nothing.
        fs::hard_link(env!("CARGO_BIN_EXE_roadstead"), self.program()).expect("one file system");
    }

    /// Puts something else there.
    fn install_text(&self, text: &str) {
        let next = self.folder.join("next");
        fs::write(&next, text).expect("the folder is ours");
        fs::set_permissions(&next, Permissions::from_mode(0o755)).expect("the folder is ours");
        fs::rename(next, self.program()).expect("the folder is ours");
    }

    /// Puts a program there that reads this version of the snapshot, and never serves (`another_version.c`).
    fn install_another(&self, reads: u8) {
        self.install_made(&[&format!("-DREADS={reads}")]);
    }

    /// The same, made with these definitions.
    pub fn install_made(&self, definitions: &[&str]) {
        let next = self.folder.join("next");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/another_version.c");
        let made = Command::new("cc").args(definitions).arg("-o").arg(&next).arg(source).status();
        assert!(made.expect("there is a compiler of C").success());
        fs::rename(next, self.program()).expect("the folder is ours");
    }

    /// What the next server reads.
    pub fn configure(&self, text: &str) {
        fs::write(self.config(), text).expect("the folder is ours");
    }

    /// Two shards with a keeper.
    pub fn serve(&self, settings: &[&str]) -> Server {
        self.configure("");
        self.launch(&["127.0.0.1:0"], settings)
    }

    /// The same without TLS, whatever other tests use, and with what has been configured.
    pub fn serve_plainly(&self, settings: &[&str]) -> Server {
        if !self.config().exists() {
            self.configure("");
        }
        let beside = format!("unix:{}", self.folder.join("socket").display());
        self.launch(&["127.0.0.1:0", &beside], settings)
    }

    /// The same, and with TLS if other tests use it.
    pub fn serve_configured(&self, settings: &[&str]) -> Server {
        if !self.config().exists() {
            self.configure("");
        }
        self.launch(&["127.0.0.1:0"], settings)
    }

    /// The same with TLS, and without it [beside](Self::beside), whatever other tests use.
    pub fn serve_both(&self, settings: &[&str]) -> Server {
        let [_, chain, _, key] = certificate::flags();
        let sealed = [format!("tls.certificates={chain}"), format!("tls.keys={key}")];
        let [chain, key] = sealed.each_ref().map(String::as_str);
        self.serve_plainly(&[settings, &[chain, key, "tls.addresses=127.0.0.1:0"]].concat())
    }

    /// A connection without TLS to a server that serves plainly or both ways.
    pub fn beside(&self) -> Client {
        Client::connect_unix(self.folder.join("socket").to_str().expect("a path of tests"))
    }

    /// Puts the program there as one that does not know of connections that go on, so that all clients come back.
    pub fn install_forgetful(&self) {
        self.install_made(&["-DREADS=0", concat!("-DFORGETS=\"", env!("CARGO_BIN_EXE_roadstead"), "\"")]);
    }

    fn launch(&self, listen: &[&str], settings: &[&str]) -> Server {
        let inner = Server::command(2, listen, &[&["server.keeper=true"], settings].concat());
        let mut command = Command::new(self.program());
        command.env_clear().args(inner.get_args()).arg("--config").arg(self.config());
        Server::launch(&mut command)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

impl Server {
    /// Asks for an upgrade, and waits until the log says so often what became of it.
    pub fn upgrade(&self, told: &str) {
        let count = || self.log().matches(told).count();
        let before = count();
        self.signal("USR2");
        await_that(told, || count() > before);
    }

    /// Upgrades, and waits until the new version serves.
    pub fn succeeded(&self) {
        self.upgrade("the new version serves");
    }
}

/// What somebody has heard of a channel: offsets, and what was published.
#[derive(Default)]
pub struct Heard {
    position: String,
    offsets: Vec<u64>,
    data: BTreeSet<String>,
}

impl Heard {
    fn at(position: &str) -> Self {
        Self { position: position.to_owned(), ..Self::default() }
    }

    fn take(&mut self, offset: u64, data: &str) {
        let (epoch, _) = self.position.split_once(':').expect("a position");
        self.position = format!("{epoch}:{offset}");
        self.offsets.push(offset);
        self.data.insert(data.to_owned());
    }

    /// Whether the last has come, so that nothing more does.
    fn is_over(&self) -> bool {
        self.data.contains("last")
    }

    /// Whether that is all there was, each once.
    pub fn check(&self, acknowledged: &[String]) {
        let last = self.offsets.last().copied().expect("something was published");
        assert_eq!(self.offsets, (1..=last).collect::<Vec<_>>(), "no gap, nothing twice");
        let missing: Vec<_> = acknowledged.iter().filter(|one| !self.data.contains(*one)).collect();
        assert!(missing.is_empty(), "acknowledged, and not heard: {missing:?}");
    }
}

/// Tries again whatever fails because the server turns clients away.
pub fn again_and_again<T>(what: &str, mut attempt: impl FnMut() -> T) -> T {
    let patience = Patience::begin();
    loop {
        patience.check(what);
        if let Ok(done) = catch_unwind(AssertUnwindSafe(&mut attempt)) {
            return done;
        }
    }
}

fn follow_by_commands(server: &Server, start: &str) -> Heard {
    let mut heard = Heard::at(start);
    while !heard.is_over() {
        let (mut socket, reply) = again_and_again("it can be subscribed", || {
            let mut socket = server.websocket("/ws");
            let since = &heard.position;
            let reply = socket.command(&json!({"id":1,"subscribe":{"channel":"news","since":since}}));
            (socket, reply)
        });
        assert_eq!(reply["subscribed"]["recovered"], json!(true), "{reply}");
        while !heard.is_over() {
            match socket.next() {
                Incoming::Text(text) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    let push = &message["push"];
                    if let Some(data) = push["data"].as_str() {
                        heard.take(push["offset"].as_u64().expect("an offset"), data);
                    }
                }
                Incoming::Ping(_) => {}
                Incoming::Close(..) => break,
                other => panic!("{other:?}"),
            }
        }
    }
    heard
}

/// Follows a channel from a position until the last is published, coming back whenever it is told to.
pub fn follow_by_events(server: &Server, start: &str) -> Heard {
    let mut heard = Heard::at(start);
    while !heard.is_over() {
        let query = format!("?since={}", heard.position);
        let mut stream =
            again_and_again("there is a stream", || EventStream::open(server.connect(), "news", &query, ""));
        while !heard.is_over()
            && let Some(event) = stream.block()
        {
            assert_ne!(event.name.as_deref(), Some("reset"), "it is not recovered");
            if let (Some(data), Some(id)) = (event.data, event.id) {
                let (_, offset) = id.split_once(':').expect("a position");
                heard.take(offset.parse().expect("a number"), &data);
            }
        }
    }
    heard
}

/// The same by long polls.
pub fn follow_by_polls(server: &Server, start: &str) -> Heard {
    let mut heard = Heard::at(start);
    while !heard.is_over() {
        let target = format!("/channels/news?since={}&timeout=2", heard.position);
        let page = again_and_again("there is an answer", || {
            let response = server.get(&target);
            assert_eq!(response.status, 200);
            response.json()
        });
        assert_eq!(page["recovered"], json!(true), "{page}");
        for one in page["publications"].as_array().expect("a list") {
            heard.take(one["offset"].as_u64().expect("an offset"), one["data"].as_str().expect("text"));
        }
    }
    heard
}

/// Ends the publishing, also when the test fails.
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Publishes numbers until it is told to end; those that were acknowledged.
pub fn publish_until(server: &Server, is_over: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let text = if is_over.load(Ordering::Relaxed) { "last".to_owned() } else { number.to_string() };
        let attempt = || {
            let response = server.connect().request("POST", "/channels/news", "", text.as_bytes());
            assert_eq!(response.status, 200);
        };
        again_and_again("it is published", attempt);
        let is_last = text == "last";
        acknowledged.push(text);
        if is_last {
            break;
        }
    }
    acknowledged
}

#[test]
fn who_comes_back_after_an_upgrade_has_missed_nothing_and_is_told_nothing_twice() {
    let installed = Installed::new();
    let server = installed.serve(&["limits.history_publications_max=100000"]);
    server.publish("news", "first");
    let start = server.position("news").replace(":1", ":0");
    let is_over = AtomicBool::new(false);
    let (server, is_over) = (&server, &is_over);
    thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_until(server, is_over));
        let followers: [fn(&Server, &str) -> Heard; 3] =
            [follow_by_commands, follow_by_events, follow_by_polls];
        let followers = followers.map(|follow| {
            let start = &start;
            scope.spawn(move || follow(server, start))
        });
        let ending = Ending(is_over);
        for _ in 0..3 {
            installed.install();
            server.succeeded();
        }
        drop(ending);
        let acknowledged = publisher.join().expect("it publishes");
        for follower in followers {
            follower.join().expect("it follows").check(&acknowledged);
        }
    });
}

#[test]
fn keys_counters_and_history_go_over() {
    let installed = Installed::new();
    let server = installed.serve(&[]);
    let ask = |method: &str, target: &str, body: &str| {
        server.connect().request(method, &format!("/channels/news{target}"), "", body.as_bytes()).json()
    };
    server.publish("news", "one");
    ask("PUT", "/state/colour", "red");
    assert_eq!(ask("POST", "/counters/visits", r#"{"add":3}"#)["value"], 3);
    let look = || [ask("GET", "/history", ""), ask("GET", "/state/colour", ""), ask("GET", "/info", "")];
    let before = look();
    server.succeeded();
    assert_eq!(look(), before);
    assert_eq!(ask("POST", "/counters/visits", r#"{"add":3}"#)["value"], 6);
    assert_eq!(before[1]["data"], "red");
}

#[test]
fn an_upgrade_that_fails_leaves_the_old_server_and_its_clients_alone() {
    let installed = Installed::new();
    let server = installed.serve(&[]);
    let mut socket = server.websocket("/echo");
    let position = server.publish("news", "x");
    let mut is_untouched = || {
        socket.send_text("still here");
        assert_eq!(socket.text(), "still here");
    };
    let failed = "the upgrade has failed, and the old version serves on";
    // What does not run.
    installed.install_text("#!/bin/sh\nexit 3\n");
    server.upgrade(failed);
    is_untouched();
    fs::remove_file(installed.program()).expect("it was there");
    server.upgrade(failed);
    is_untouched();
    // What does not like its configuration.
    installed.install();
    installed.configure("[server]\nlisten_on = 1\n");
    server.upgrade(failed);
    is_untouched();
    assert!(server.log().contains("there is no key server.listen_on"), "{}", server.log());
    installed.configure("");
    server.succeeded();
    assert_eq!(server.publish("news", "y"), position + 1);
    assert_eq!(socket.close_code(), Some(1001));
}

#[test]
fn a_version_that_reads_another_format_is_refused_before_anybody_is_told() {
    let installed = Installed::new();
    let server = installed.serve(&[]);
    let mut socket = server.websocket("/echo");
    installed.install_another(99);
    server.upgrade("serves on: what it reads is not written by this version");
    socket.send_text("still here");
    assert_eq!(socket.text(), "still here");
    installed.install();
    server.succeeded();
    assert_eq!(socket.close_code(), Some(1001));
}

#[test]
fn the_old_program_begins_again_with_all_that_was_left_when_the_new_one_ends_before_it_serves() {
    let installed = Installed::new();
    let server = installed.serve(&[]);
    server.publish("news", "one");
    let before = server.get("/channels/news/history").json();
    installed.install_another(1);
    server.upgrade("before it served; the old one begins again with what was left");
    assert_eq!(server.get("/channels/news/history").json(), before);
    assert_eq!(server.publish("news", "two"), 2);
    installed.install();
    server.succeeded();
    assert_eq!(server.publish("news", "three"), 3);
}

/// What an operator is told who asks for an upgrade, with the status.
fn asked(server: &Server) -> (i32, String) {
    let mut upgrade = program();
    let admin = server.admin_address().to_string();
    let told = upgrade.args(["upgrade", "--admin", &admin]).output().expect("the program runs");
    let said = [told.stdout, told.stderr].concat();
    (told.status.code().expect("it ends by itself"), String::from_utf8_lossy(&said).into_owned())
}

/// Asks for an upgrade, and meanwhile does something with the process of the new version.
fn asked_while(server: &Server, act: impl FnOnce(u32)) -> (i32, String) {
    let old = server.serving();
    thread::scope(|scope| {
        let asking = scope.spawn(|| asked(server));
        let mut new = None;
        await_that("the new version is there", || {
            new = children(server.id()).last().copied().filter(|newest| *newest != old);
            new.is_some()
        });
        act(new.expect("just seen"));
        asking.join().expect("it ends")
    })
}

#[test]
fn an_operator_is_told_why_an_upgrade_has_failed_though_the_old_program_has_begun_again() {
    let installed = Installed::new();
    let server = installed.serve(&[]);
    let failed = |(status, said): (i32, String), why: &str| {
        let told = format!("the upgrade has failed, and the old version serves on: {why}");
        assert!(status == 1 && said.contains(&told), "{status}: {said}");
    };
    let before = server.serving();
    installed.install_text("#!/bin/sh\nexit 3\n");
    failed(asked(&server), "the new version ended with status ");
    installed.install_made(&["-DREADS=0", "-DSILENT"]);
    failed(
        asked_while(&server, |new| send(new, "KILL")),
        "the new version was ended by SIGKILL before it served",
    );
    assert_eq!(server.serving(), before);
    installed.install_another(1);
    failed(asked(&server), "the new version ended with status 3 before it served");
    installed.install_made(&["-DREADS=1", "-DHANGS"]);
    let told = asked_while(&server, |new| {
        await_that("it is told to begin", || {
            server.log().matches("left to the process that goes on").count() == 2
        });
        send(new, "KILL");
    });
    failed(told, "the new version was ended by SIGKILL before it served");
    assert_ne!(server.serving(), before);
    installed.install();
    let (status, said) = asked(&server);
    assert!(status == 0 && said.contains("serves at"), "{status}: {said}");
}

#[test]
fn a_second_upgrade_beside_one_that_is_under_way_is_refused_at_once() {
    let installed = Installed::new();
    let server = installed.serve(&[]);
    installed.install_made(&["-DREADS=0", "-DSILENT"]);
    let mut second = None;
    let first = asked_while(&server, |new| {
        second = Some(asked(&server));
        send(new, "KILL");
    });
    let (status, said) = second.expect("it was asked for");
    assert!(status == 1 && said.contains("an upgrade is under way"), "{status}: {said}");
    // It had not been given up by then.
    assert!(first.0 == 1 && first.1.contains("was ended by SIGKILL"), "{first:?}");
    installed.install();
    assert_eq!(asked(&server).0, 0);
}

#[test]
fn an_operator_asks_for_an_upgrade_and_is_told_when_it_is_done() {
    let installed = Installed::new();
    let server = installed.serve(&[]);
    server.publish("news", "x");
    let (status, said) = asked(&server);
    assert!(status == 0 && said.contains(&format!("serves at {}", server.admin_address())), "{said}");
    assert_eq!(server.publish("news", "y"), 2);
    let page = server.connect_admin().request("POST", "/upgrade", "Origin: http://x.example\r\n", b"");
    assert_eq!(page.status, 403);
}

#[test]
fn after_an_upgrade_a_crash_is_cured_with_the_new_version_and_the_end_is_as_ever() {
    let installed = Installed::new();
    let mut server = installed.serve(&[]);
    server.succeeded();
    server.crash();
    assert_eq!(server.get("/hello").status, 200);
    server.signal("TERM");
    assert!(server.wait().success(), "{}", server.log());
}
