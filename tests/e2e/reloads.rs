//! `roadstead run` when another process of the program takes the place of the one that runs: on request, when its files change,
//! and when the new version does not start.

use std::{
    collections::HashMap,
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::{
    program::{Player, app, command, run},
    server::{Patience, Server, await_that, program},
    storage::Folder,
};

const SERVES_AGAIN: &str = "the program serves again";

impl Folder {
    /// A program that tells its version to whoever comes or asks.
    fn write_version(&self, version: u32) {
        self.write(&format!(
            "const {{ Server }} = require('socket.io');\nconst io = new Server(0);\n\
             io.on('connection', (socket) => {{ socket.emit('hello', {version}); \
             socket.on('version', (ack) => ack({version})); }});\n"
        ));
    }

    /// Puts another file in the place of the program, whole.
    pub fn write(&self, text: &str) {
        let (new, app) = (self.0.join("new"), self.0.join("app.js"));
        fs::write(&new, text).expect("a file");
        fs::rename(new, app).expect("a file");
    }

    /// Runs the program with two shards.
    pub fn serve(&self, flags: &[&str]) -> Server {
        let app = self.0.join("app.js");
        Server::launch(command(2, &["server.listen=127.0.0.1:0"]).args(flags).arg(app))
    }
}

/// Has the program begin anew, and waits until it serves.
#[track_caller]
pub fn reload(server: &Server) {
    let count = || server.log().matches(SERVES_AGAIN).count();
    let before = count();
    server.signal("HUP");
    await_that(SERVES_AGAIN, || count() > before);
}

/// Somebody who goes on sending numbered events and hears of each once.
fn note_all(server: &Server, who: usize, (is_over, rounds): (&AtomicBool, &AtomicUsize)) -> u64 {
    const TOGETHER: u64 = 10;
    let mut player = Player::open(server, "", &json!({}));
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
        let first = sent;
        let mut acks = 0;
        for number in first..first + TOGETHER {
            let event = json!(["note", who, number]);
            match number % 2 {
                0 => drop(player.begin_to_ask(&event)),
                _ => player.emit(&event),
            }
        }
        sent += TOGETHER;
        let mut noted: HashMap<u64, u32> = HashMap::new();
        let patience = Patience::begin();
        // What is noted and acknowledged twice is seen here or by the next round.
        while noted.len() < TOGETHER as usize || acks < TOGETHER / 2 {
            patience.check("all is noted");
            let text = player.text();
            if text.starts_with("43") {
                acks += 1;
                continue;
            }
            let event: Value =
                serde_json::from_str(text.strip_prefix("42").expect("an event")).expect("JSON");
            if event[0] == "noted" {
                *noted.entry(event[1].as_u64().expect("a number")).or_default() += 1;
            }
        }
        assert!((first..sent).all(|number| noted.get(&number) == Some(&1)), "{noted:?}, {first}");
        assert_eq!(acks, TOGETHER / 2);
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    sent
}

#[test]
fn twenty_reloads_under_load_lose_nothing_and_do_nothing_twice() {
    const PLAYERS: usize = 6;
    const RELOADS: usize = 20;
    let folder = Folder::new("notes");
    let notes = folder.0.join("notes");
    let mut command = command(2, &["server.listen=127.0.0.1:0"]);
    let server = Server::launch(command.env("NOTES_FILE", &notes).arg(app()));
    let (is_over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let sent: Vec<u64> = thread::scope(|scope| {
        let (server, over) = (&server, (&is_over, &rounds));
        let players: Vec<_> =
            (0..PLAYERS).map(|who| scope.spawn(move || note_all(server, who, over))).collect();
        for _ in 0..RELOADS {
            reload(server);
            // One that is to go again before it is ready hands nothing on.
            let noted = rounds.load(Ordering::Relaxed);
            await_that("the new program notes", || rounds.load(Ordering::Relaxed) > noted);
        }
        is_over.store(true, Ordering::Relaxed);
        players.into_iter().map(|player| player.join().expect("all was noted")).collect()
    });
    let text = fs::read_to_string(&notes).expect("something was noted");
    let mut noted: HashMap<(usize, u64), u32> = HashMap::new();
    for line in text.lines() {
        let (who, number) = line.split_once(' ').expect("two numbers");
        let key = (who.parse().expect("a number"), number.parse().expect("a number"));
        *noted.entry(key).or_default() += 1;
    }
    for (who, sent) in sent.iter().enumerate() {
        for number in 0..*sent {
            assert_eq!(noted.remove(&(who, number)), Some(1), "{who} {number}");
        }
    }
    assert!(noted.is_empty(), "{noted:?}");
}

#[test]
fn requests_under_way_are_answered_by_the_old_program_and_later_ones_by_the_new() {
    let server = run(2, &[]);
    let mut witness = Player::enter(&server);
    let old = server.get("/pid").text();
    let mut client = server.connect();
    client.ask("POST", "/pid-in-a-while", "", b"");
    assert_eq!(witness.event(), json!(["asked"]), "the program has it");
    server.signal("HUP");
    await_that("it is about to go", || server.log().contains("begins anew"));
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (200, old.clone()));
    let new = server.connect().request("POST", "/pid", "", b"");
    assert_eq!(new.status, 200);
    assert_ne!(new.text(), old);
}

#[test]
fn a_program_that_owes_what_it_never_gives_is_not_waited_for_without_end() {
    let server = run(1, &[]);
    let mut player = Player::enter(&server);
    player.begin_to_ask(&json!(["never"]));
    assert_eq!(player.ask(&json!(["echo", 1])), json!([1]), "it has heard both");
    reload(&server);
    assert!(server.log().contains("has not finished within"), "{}", server.log());
    assert_eq!(player.ask(&json!(["echo", 2])), json!([2]));
}

#[test]
fn a_new_version_that_does_not_start_keeps_the_clients_and_one_that_does_serves_them() {
    let folder = Folder::new("versions");
    folder.write_version(1);
    let server = folder.serve(&[]);
    let mut player = Player::open(&server, "", &json!({}));
    assert_eq!(player.event(), json!(["hello", 1]));
    folder.write("throw new Error('not yet');");
    server.signal("HUP");
    let says = "before it has called listen";
    await_that(says, || server.log().contains(says));
    // One that ends as if all were well has not begun to serve either.
    folder.write("");
    let before = server.log().matches("exit status: 0").count();
    server.signal("HUP");
    await_that("it has ended in order", || server.log().matches("exit status: 0").count() > before);
    let asked = player.begin_to_ask(&json!(["version"]));
    folder.write_version(2);
    let admin = server.admin_address().to_string();
    let output = program().args(["reload", "--admin", &admin]).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(player.answer(asked), json!([2]));
    assert_eq!(player.event(), json!(["hello", 2]));
}

#[test]
fn a_program_that_is_watched_begins_anew_when_its_files_change() {
    let folder = Folder::new("watched");
    folder.write_version(1);
    let server = folder.serve(&["--watch"]);
    let mut player = Player::open(&server, "", &json!({}));
    assert_eq!(player.event(), json!(["hello", 1]));
    folder.write_version(2);
    assert_eq!(player.event(), json!(["hello", 2]));
    assert_eq!(player.ask(&json!(["version"])), json!([2]));
}
