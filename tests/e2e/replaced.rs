//! `roadstead run` when another server takes the place of the one that runs: its program starts beside the old one, which ends before
//! the clients come back to the new one.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    program::{Player, command},
    server::{Server, await_that},
    storage::Folder,
    upgrade::{Installed, again_and_again},
};

/// Two shards with a keeper, and clients that may come back.
fn run(installed: &Installed, folder: &Folder) -> Server {
    let settings = ["server.listen=127.0.0.1:0", "server.keeper=true"];
    let inner = command(2, &settings);
    let mut command = Command::new(installed.program());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(inner.get_args()).arg(folder.0.join("app.js"));
    Server::launch(&mut command)
}

impl Folder {
    /// A program that tells its version and what it knows of whoever comes, and writes down when it begins, listens and ends.
    fn write_noting(&self, version: u32, more: &str) {
        self.write(&format!(
            "const fs = require('node:fs');\nconst http = require('node:http');\nconst {{ Server }} = require('socket.io');\n\
             const note = (what) => fs.appendFileSync(`${{__dirname}}/notes`, `${{what}} {version}\\n`);\nnote('begins');\n{more}\n\
             const server = http.createServer();\n\
             const io = new Server(server, {{ connectionStateRecovery: {{}}, cleanupEmptyChildNamespaces: true }});\n\
             const tell = (socket) => {{\n\
               socket.emit('hello', {version}, socket.recovered, socket.user ?? null, [...socket.rooms].length, socket.data);\n\
               socket.on('keep', (value, ack) => {{ socket.join('room'); socket.data.value = value; ack(); }});\n\
               socket.on('tell', (text) => io.of(socket.nsp.name).to('room').emit('told', text));\n\
             }};\n\
             io.use((socket, next) => {{ socket.user = socket.handshake.auth.user; next(); }});\n\
             io.on('connection', tell);\nio.of(/^\\/made-/).on('connection', tell);\n\
             process.on('SIGTERM', () => {{ note('ends'); process.exit(); }});\n\
             server.listen(0, () => note('listens'));\n"
        ));
    }

    fn notes(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("notes")).expect("the program has begun");
        text.lines().map(str::to_owned).collect()
    }
}

/// The next event, and where it stands.
#[track_caller]
fn hear(player: &mut Player) -> (Value, String) {
    let mut event = player.event();
    let offset = event.as_array_mut().and_then(Vec::pop).expect("an event");
    (event, offset.as_str().expect("where it stands").to_owned())
}

/// What a client proves itself with that comes back to who it was: what it was answered when it entered, and where the last event
/// stood that it has heard.
fn claim(answer: &str, offset: &str) -> Value {
    let json = answer.split_once('{').map(|(_, rest)| format!("{{{rest}")).expect("an object");
    let told: Value = serde_json::from_str(&json).expect("JSON");
    json!({"pid": told["pid"], "offset": offset, "user": "ann"})
}

/// Comes back, once somebody takes connections.
fn come_back(server: &Server, namespace: &'static str, claim: &Value) -> Player {
    again_and_again("it may come back", || {
        let (player, answer) = Player::try_open(server, namespace, claim);
        assert!(answer.starts_with("40"), "{answer}");
        player
    })
}

#[test]
fn a_new_server_starts_its_program_beside_the_old_and_clients_come_back_as_who_they_were() {
    let (installed, folder) = (Installed::new(), Folder::new("replaced"));
    folder.write_noting(1, "");
    let server = run(&installed, &folder);
    let (mut ann, answer) = Player::try_open(&server, "", &json!({"user": "ann"}));
    let (hello, offset) = hear(&mut ann);
    assert_eq!(hello, json!(["hello", 1, false, "ann", 1, {}]));
    let root = claim(&answer, &offset);
    ann.ask(&json!(["keep", 7]));
    let (mut made, answer) = Player::try_open(&server, "/made-1", &json!({}));
    let (hello, offset) = hear(&mut made);
    assert_eq!(hello, json!(["hello", 1, false, null, 1, {}]));
    let of_made = claim(&answer, &offset);
    made.ask(&json!(["keep", 8]));
    folder.write_noting(2, "");
    installed.install();
    server.succeeded();
    let mut ann = come_back(&server, "", &root);
    assert_eq!(hear(&mut ann).0, json!(["hello", 2, true, "ann", 2, {"value": 7}]));
    ann.emit(&json!(["tell", "again"]));
    assert_eq!(hear(&mut ann).0, json!(["told", "again"]));
    let mut made = come_back(&server, "/made-1", &of_made);
    assert_eq!(hear(&mut made).0, json!(["hello", 2, true, null, 2, {"value": 8}]));
    made.emit(&json!(["tell", "there"]));
    assert_eq!(hear(&mut made).0, json!(["told", "there"]));
    let notes = ["begins 1", "listens 1", "begins 2", "ends 1", "listens 2"];
    await_that("the new program listens", || folder.notes().len() >= notes.len());
    assert_eq!(
        folder.notes(),
        notes,
        "the new one begins beside the old, and is told that it listens when that has ended"
    );
    server.stop();
    assert_eq!(folder.notes().last().map(String::as_str), Some("ends 2"));
}

#[test]
fn a_program_that_does_not_start_makes_no_upgrade_and_the_old_one_serves_on() {
    let (installed, folder) = (Installed::new(), Folder::new("not-replaced"));
    folder.write_noting(1, "");
    let server = run(&installed, &folder);
    let (mut ann, _) = Player::try_open(&server, "", &json!({"user": "ann"}));
    assert_eq!(hear(&mut ann).0[1], 1);
    folder.write_noting(2, "process.exit(3);");
    server.upgrade("the upgrade has failed, and the old version serves on");
    assert_eq!(ann.ask(&json!(["keep", 7])), json!([]));
    folder.write_noting(3, "");
    server.succeeded();
    let (mut bob, _) = Player::try_open(&server, "", &json!({"user": "bob"}));
    assert_eq!(hear(&mut bob).0, json!(["hello", 3, false, "bob", 1, {}]));
    server.stop();
}

#[test]
fn a_server_that_crashes_comes_back_with_another_process_of_its_program() {
    let (installed, folder) = (Installed::new(), Folder::new("crashed"));
    folder.write_noting(1, "");
    let server = run(&installed, &folder);
    let (mut ann, _) = Player::try_open(&server, "", &json!({"user": "ann"}));
    assert_eq!(hear(&mut ann).0[1], 1);
    folder.write_noting(2, "");
    server.crash();
    let mut again = come_back(&server, "", &json!({"user": "ann"}));
    assert_eq!(hear(&mut again).0, json!(["hello", 2, false, "ann", 1, {}]));
    server.stop();
}
