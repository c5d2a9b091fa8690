//! `roadstead run`: a program in Node.js whose clients the server holds, what they hear of it and it of them, and what becomes of
//! them when it ends.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use roadstead::wire::websocket::Opcode;
use serde_json::{Value, json};

use crate::{
    certificate,
    server::{self, Patience, Server, await_that},
    socket::{Incoming, WebSocket, frame},
};

const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

pub fn app() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/program/app.js")
}

/// The command that runs the program over so many shards, with these settings.
pub fn command(shards: u16, settings: &[&str]) -> Command {
    let mut command = server::program();
    // Node.js is looked for as in any shell.
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.args(["run", "--admin", "127.0.0.1:0", "--set", "server.drain_ms=100"]);
    // As in `Server::command`.
    command.args(["--set", "server.keeper=false"]);
    command.args(["--shards", &shards.to_string()]);
    if certificate::is_used_everywhere() {
        command.args(certificate::flags());
    }
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

/// Runs the program of these tests.
pub fn run(shards: u16, settings: &[&str]) -> Server {
    let listen = ["server.listen=127.0.0.1:0"];
    Server::launch(command(shards, &[&listen, settings].concat()).arg(app()))
}

/// A client of Socket.IO on a WebSocket.
pub struct Player {
    socket: WebSocket,
    namespace: &'static str,
    asked: u32,
    /// Events that came while something else was waited for.
    pub heard: Vec<Value>,
}

impl Player {
    /// Enters `/`; what it was told first is left out.
    #[track_caller]
    pub fn enter(server: &Server) -> Self {
        let mut player = Self::open(server, "", &json!({}));
        assert_eq!(player.event()[0], "hello");
        player
    }

    #[track_caller]
    pub fn open(server: &Server, namespace: &'static str, auth: &Value) -> Self {
        let (player, answer) = Self::try_open(server, namespace, auth);
        assert!(answer.starts_with("40"), "{answer}");
        player
    }

    /// Wants to enter, and what it is answered.
    #[track_caller]
    pub fn try_open(server: &Server, namespace: &'static str, auth: &Value) -> (Self, String) {
        Self::try_open_with(server, "", namespace, auth)
    }

    /// The same with header fields.
    #[track_caller]
    fn try_open_with(server: &Server, fields: &str, namespace: &'static str, auth: &Value) -> (Self, String) {
        let mut socket = WebSocket::open(server.connect(), WEBSOCKET, fields);
        assert!(socket.text().starts_with("0{"));
        let mut player = Self { socket, namespace, asked: 0, heard: Vec::new() };
        player.send(&format!("40{}{auth}", player.prefix()));
        let answer = player.text();
        (player, answer)
    }

    fn prefix(&self) -> String {
        if self.namespace.is_empty() { String::new() } else { format!("{},", self.namespace) }
    }

    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.socket.send_text(text);
    }

    /// The next packet; the server's pings are answered.
    #[track_caller]
    pub fn text(&mut self) -> String {
        loop {
            let text = self.socket.text();
            if text != "2" {
                return text;
            }
            self.send("3");
        }
    }

    #[track_caller]
    pub fn emit(&mut self, event: &Value) {
        let packet = format!("42{}{event}", self.prefix());
        self.send(&packet);
    }

    /// The next event.
    #[track_caller]
    pub fn event(&mut self) -> Value {
        if !self.heard.is_empty() {
            return self.heard.remove(0);
        }
        let text = self.text();
        let event = text.strip_prefix("42").and_then(|text| text.strip_prefix(&*self.prefix()));
        let event = event.unwrap_or_else(|| panic!("an event: {text}"));
        serde_json::from_str(event).expect("JSON")
    }

    /// Emits an event, and gives the acknowledgement.
    #[track_caller]
    pub fn ask(&mut self, event: &Value) -> Value {
        let number = self.begin_to_ask(event);
        self.answer(number)
    }

    #[track_caller]
    pub fn begin_to_ask(&mut self, event: &Value) -> u32 {
        self.asked += 1;
        let packet = format!("42{}{}{event}", self.prefix(), self.asked);
        self.send(&packet);
        self.asked
    }

    #[track_caller]
    pub fn answer(&mut self, number: u32) -> Value {
        let head = format!("43{}{number}[", self.prefix());
        loop {
            let text = self.text();
            if text.starts_with(&head) {
                return serde_json::from_str(&text[head.len() - 1..]).expect("JSON");
            }
            let event = text.strip_prefix("42").and_then(|text| text.strip_prefix(&*self.prefix()));
            let event = event.unwrap_or_else(|| panic!("an event: {text}"));
            self.heard.push(serde_json::from_str(event).expect("JSON"));
        }
    }

    /// Hears events until there is one of this name.
    #[track_caller]
    pub fn event_named(&mut self, name: &str) -> Value {
        let patience = Patience::begin();
        loop {
            let event = self.event();
            if event[0] == name {
                return event;
            }
            patience.check(name);
        }
    }
}

/// Somebody enters `/`; the program's process, as it says it of itself.
#[track_caller]
fn pid(server: &Server) -> u64 {
    let mut guest = Player::open(server, "", &json!({}));
    let hello = guest.event_named("hello");
    hello[1].as_u64().unwrap_or_else(|| panic!("a number: {hello}"))
}

pub fn signal(name: &str, pid: u64) {
    let kill = format!("kill -{name} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("there is a shell").success());
}

#[test]
fn events_and_acknowledgements_go_both_ways_with_bytes_in_them() {
    let server = run(2, &[]);
    let mut player = Player::enter(&server);
    assert_eq!(
        player.ask(&json!(["echo", 1, {"a": [true, null]}, "\u{e4}"])),
        json!([1, {"a": [true, null]}, "\u{e4}"])
    );
    assert_eq!(player.ask(&json!(["echo"])), json!([]));
    player.send(r#"451-["say",{"b":[{"_placeholder":true,"num":0}]},7]"#);
    player.socket.send_frame(Opcode::Binary, true, &[0, 1, 255]);
    assert_eq!(player.text(), r#"451-["said",{"b":[{"_placeholder":true,"num":0}]},7]"#);
    assert_eq!(player.socket.next(), Incoming::Binary(vec![0, 1, 255]));
    let asked = player.begin_to_ask(&json!(["ask", "x"]));
    let question = player.text();
    let number = question.strip_prefix("42").and_then(|text| text.strip_suffix(r#"["question","x"]"#));
    let number = number.unwrap_or_else(|| panic!("a question: {question}"));
    player.send(&format!("43{number}[\"yes\"]"));
    assert_eq!(player.answer(asked), json!(["yes"]));
}

#[test]
fn everybody_is_asked_and_the_answers_are_gathered_from_all_shards() {
    let server = run(2, &[]);
    let mut players: Vec<_> = (0..6).map(|_| Player::enter(&server)).collect();
    let asked = players[0].begin_to_ask(&json!(["ask everybody"]));
    for (place, player) in players.iter_mut().enumerate() {
        let question = player.text();
        let number = question.strip_prefix("42").and_then(|text| text.strip_suffix(r#"["question","all"]"#));
        let number = number.unwrap_or_else(|| panic!("a question: {question}")).to_owned();
        player.send(&format!("43{number}[{place}]"));
    }
    assert_eq!(players[0].answer(asked), json!([[0, 1, 2, 3, 4, 5]]));
}

#[test]
fn what_a_program_emits_comes_in_the_order_of_its_calls() {
    const ROUNDS: usize = 40;
    for shards in [1, 2] {
        let server = run(shards, &[]);
        let mut players: Vec<_> = (0..6).map(|_| Player::enter(&server)).collect();
        for player in &mut players[..4] {
            assert_eq!(player.ask(&json!(["join", "room"])), json!([true]));
        }
        let asked = players[0].begin_to_ask(&json!(["burst", ROUNDS]));
        let (first, others) = players.split_first_mut().expect("six");
        assert_eq!(first.answer(asked), json!([5 * ROUNDS]));
        assert_eq!(first.heard.len(), 4 * ROUNDS, "the acknowledgement comes behind them");
        let in_room = others[..3].iter_mut().map(|player| (player, 4));
        for (player, each) in in_room.collect::<Vec<_>>() {
            check_order(player, each * ROUNDS);
        }
        for player in &mut others[3..] {
            check_order(player, 3 * ROUNDS);
        }
        check_order(first, 4 * ROUNDS + 1);
    }
}

/// Hears so many numbers, and that they rise.
#[track_caller]
fn check_order(player: &mut Player, count: usize) {
    let numbers: Vec<_> = (0..count)
        .map(|_| {
            let event = player.event();
            assert_eq!(event[0], "n", "{event}");
            event[1].as_u64().expect("a number")
        })
        .collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
}

#[test]
fn rooms_are_joined_and_left_and_their_people_told() {
    let server = run(2, &[]);
    let mut players: Vec<_> = (0..4).map(|_| Player::enter(&server)).collect();
    for player in &mut players[..3] {
        assert_eq!(player.ask(&json!(["join", "tea"])), json!([true]));
    }
    assert_eq!(players[2].ask(&json!(["leave", "tea"])), json!([false]));
    players[0].emit(&json!(["tell", "tea", "hot"]));
    assert_eq!(players[1].event(), json!(["told", "hot"]));
    // Whoever is not told hears what comes behind it.
    players[3].emit(&json!(["tell", "nobody", "cold"]));
    for player in &mut players {
        assert_eq!(player.ask(&json!(["echo", 1])), json!([1]));
        assert!(player.heard.is_empty(), "{:?}", player.heard);
    }
}

#[test]
fn middleware_takes_its_time_and_refuses_with_data() {
    let server = run(2, &[]);
    let (_, refused) = Player::try_open(&server, "/guarded", &json!({}));
    assert_eq!(refused, r#"44/guarded,{"message":"who are you?","data":{"code":7}}"#);
    let mut ann = Player::open(&server, "/guarded", &json!({"name": "ann"}));
    assert_eq!(ann.ask(&json!(["name"]))[0], "ann");
    let (_, unknown) = Player::try_open(&server, "/nowhere", &json!({}));
    assert_eq!(unknown, r#"44/nowhere,{"message":"Invalid namespace"}"#);
}

#[test]
fn whoever_leaves_or_is_put_out_is_told_of() {
    let server = run(2, &[]);
    let mut witness = Player::enter(&server);
    let mut player = Player::enter(&server);
    player.send("41");
    assert_eq!(witness.event(), json!(["left", "client namespace disconnect"]));
    let mut player = Player::enter(&server);
    player.emit(&json!(["put out", false]));
    assert_eq!(player.text(), "41");
    assert_eq!(witness.event(), json!(["left", "server namespace disconnect"]));
    let mut player = Player::enter(&server);
    player.emit(&json!(["put out", true]));
    assert_eq!(player.text(), "41");
    player.socket.close_code();
    assert_eq!(witness.event()[0], "left");
    drop(Player::enter(&server));
    assert_eq!(witness.event(), json!(["left", "transport close"]));
}

#[test]
fn clients_stay_when_the_program_is_killed_and_another_one_is_told_of_them() {
    const PLAYERS: usize = 24;
    let server = run(2, &[]);
    let mut players: Vec<_> = (0..PLAYERS)
        .map(|place| {
            let mut player = Player::open(&server, "", &json!({"place": place}));
            assert_eq!(player.event_named("hello")[3], json!({"place": place}));
            player
        })
        .collect();
    let mut ann = Player::open(&server, "/guarded", &json!({"name": "ann"}));
    assert_eq!(players[0].ask(&json!(["join", "room"])), json!([true]));
    let killed = ann.ask(&json!(["name"]))[1].as_u64().expect("its process");
    signal("KILL", killed);
    await_that("it is begun again", || server.log().contains("it begins again"));
    // These wait until somebody is there to hear them.
    let asked: Vec<_> =
        players.iter_mut().map(|player| player.begin_to_ask(&json!(["echo", "still here"]))).collect();
    for (place, (player, number)) in players.iter_mut().zip(asked).enumerate() {
        assert_eq!(player.answer(number), json!(["still here"]));
        let hello = player.event_named("hello");
        assert_ne!(hello[1].as_u64(), Some(killed));
        let rooms = if place == 0 { 2 } else { 1 };
        assert_eq!(
            hello.as_array().expect("an event")[2..],
            [json!(true), json!({"place": place}), json!(rooms)]
        );
    }
    let told = ann.ask(&json!(["name"]));
    assert_eq!(told[0], "ann");
    assert_ne!(told[1].as_u64(), Some(killed));
    // Who is in a room still is.
    players[1].emit(&json!(["tell", "room", "hot"]));
    assert_eq!(players[0].event_named("told"), json!(["told", "hot"]));
}

#[test]
fn who_comes_and_goes_while_no_program_is_there_is_told_of_when_one_is() {
    let server = run(1, &[]);
    let mut witness = Player::enter(&server);
    let killed = pid(&server);
    signal("KILL", killed);
    await_that("it has ended", || server.log().contains("it begins again"));
    let mut early = Player::open(&server, "", &json!({}));
    early.emit(&json!(["tell", "nobody", "x"]));
    early.send("41");
    let mut late = Player::open(&server, "", &json!({"late": true}));
    let asked = late.begin_to_ask(&json!(["echo", "late"]));
    assert_eq!(late.answer(asked), json!(["late"]));
    assert_eq!(late.event_named("hello")[3], json!({"late": true}));
    assert_eq!(witness.event_named("hello")[2], true);
    // Who has come and gone meanwhile has come and gone for the program as well.
    while witness.event_named("left") != json!(["left", "client namespace disconnect"]) {}
    assert_eq!(witness.ask(&json!(["echo", 1])), json!([1]));
}

#[test]
fn a_handler_that_throws_ends_no_connection() {
    let server = run(2, &[]);
    let mut player = Player::enter(&server);
    player.emit(&json!(["throw"]));
    assert_eq!(player.event_named("hello")[2], true, "another program is told of it");
    assert_eq!(player.ask(&json!(["echo", 1])), json!([1]));
    let log = server.log();
    assert!(log.contains("thrown in a handler") && log.contains("app.js:"), "{log}");
}

#[test]
fn a_handler_that_does_not_return_holds_up_the_program_alone() {
    let server = run(2, &[]);
    let mut player = Player::enter(&server);
    let looping = pid(&server);
    player.emit(&json!(["loop"]));
    // Others come, and the server answers for itself.
    let mut guest = Player::open(&server, "", &json!({}));
    assert_eq!(server.admin("/healthz").status, 200);
    signal("KILL", looping);
    // It may have been heard by the one that has been killed.
    while guest.event_named("hello")[1] == looping {}
    assert_eq!(guest.ask(&json!(["echo", 1])), json!([1]));
    assert_eq!(player.event_named("hello")[2], true);
}

#[test]
fn whoever_sends_more_than_may_wait_for_the_program_is_disconnected() {
    let server = run(1, &[]);
    let mut witness = Player::enter(&server);
    let stopped = pid(&server);
    signal("STOP", stopped);
    let mut player = Player::open(&server, "", &json!({}));
    let long = "x".repeat(900_000);
    let event = frame(Opcode::Text, true, format!("42[\"tell\",\"nobody\",\"{long}\"]").as_bytes());
    // Its connection ends in the midst of it.
    let refused = (0..40).find(|_| player.socket.client.try_send(&event).is_err());
    await_that("too much waits", || server.log().contains("too much waits for the program"));
    assert!(refused.is_none_or(|sent| sent >= 16), "as much as may wait is taken: {refused:?}");
    signal("CONT", stopped);
    let left = json!(["left", "server namespace disconnect"]);
    while witness.event_named("left") != left {}
    assert_eq!(witness.ask(&json!(["echo", 1])), json!([1]));
}

#[test]
fn requests_that_are_not_socket_ios_are_the_programs() {
    let server = run(2, &["limits.body_bytes_max=300000"]);
    let hello = server.get("/hello");
    assert_eq!(hello.status, 200);
    let scheme = if certificate::is_used_everywhere() { "https" } else { "http" };
    assert_eq!(hello.text(), format!("127.0.0.1 {scheme}"));
    for field in ["Set-Cookie: a=1\r\n", "Set-Cookie: b=2\r\n"] {
        assert!(hello.head.contains(field), "{}", hello.head);
    }
    let mut client = server.connect();
    let body = vec![b'x'; 300_000];
    for _ in 0..3 {
        let echo = client.request("POST", "/echo", "", &body);
        assert_eq!((echo.status, echo.body.len()), (201, body.len()));
        assert!(echo.head.contains("X-Method: POST\r\n"), "{}", echo.head);
    }
    let large = client.request("POST", "/socket.io/?EIO=4&transport=polling&sid=x", "", &vec![b'x'; 300_001]);
    assert_eq!(large.status, 413, "what is not passed on has a bound");
    let head = server.connect().request("HEAD", "/hello", "", b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(server.get("/channels/news").status, 404, "channels are not served beside a program");
    let refused = WebSocket::try_open(server.connect(), "/ws", "").map(|_| ()).expect_err("not passed on");
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (501, &"upgrade_unsupported".into()));
    let gone = server.get("/end");
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (502, &"program_failed".into()));
    assert_eq!(server.get("/hello").status, 200, "the next one is answered by the next program");
}

#[test]
fn a_program_knows_how_its_clients_have_come() {
    const PASSED_ON: &str = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n";
    let directly = json!(["127.0.0.1", certificate::is_used_everywhere()]);
    for (trusted, fields, expected) in [
        ("127.0.0.0/8", "", &directly),
        ("127.0.0.0/8", PASSED_ON, &json!(["203.0.113.7", true])),
        ("10.0.0.0/8", PASSED_ON, &directly),
    ] {
        let server = run(1, &[&format!("proxy.trusted={trusted}")]);
        let (mut player, _) = Player::try_open_with(&server, fields, "", &json!({}));
        assert_eq!(player.event()[0], "hello");
        assert_eq!(player.ask(&json!(["whence"])), *expected, "{trusted} {fields}");
    }
}

#[test]
fn a_post_is_passed_on_once_whatever_becomes_of_the_program() {
    let server = run(1, &[]);
    let note = std::env::temp_dir().join(format!("roadstead-e2e-{}-note", std::process::id()));
    // So that there is a connection that is kept.
    let mut client = server.connect();
    assert_eq!(client.request("GET", "/hello", "", b"").status, 200);
    let path = note.to_str().expect("a plain name");
    let gone = client.request("POST", "/note-and-end", "", path.as_bytes());
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (502, &"program_failed".into()));
    assert_eq!(server.get("/hello").status, 200, "there is another program");
    assert_eq!(std::fs::read_to_string(&note).expect("it was written"), ".");
    std::fs::remove_file(note).expect("it was written");
}

#[test]
fn the_server_and_its_program_end_together() {
    let server = run(2, &[]);
    let pid = pid(&server);
    let is_there = || Path::new(&format!("/proc/{pid}")).exists();
    assert!(is_there());
    server.stop();
    assert!(!is_there(), "it was waited for");
}

#[test]
fn a_program_that_ends_in_order_ends_the_server() {
    let folder = std::env::temp_dir().join(format!("roadstead-e2e-ends-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("ends.js");
    let text = "const { Server } = require('socket.io');\nconst io = new Server(0);\n\
                io.on('connection', (socket) => socket.on('end', () => process.exit(0)));\n";
    std::fs::write(&file, text).expect("a file");
    let mut server = Server::launch(command(1, &["server.listen=127.0.0.1:0"]).arg(&file));
    let mut player = Player::open(&server, "", &json!({}));
    player.emit(&json!(["end"]));
    assert!(server.wait().success());
    std::fs::remove_dir_all(&folder).expect("it was made here");
}

#[test]
fn a_program_that_cannot_be_served_says_why() {
    let check = |command: &mut Command, code: i32, says: &str| {
        let output = command.output().expect("the program can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    };
    check(command(1, &[]).args(["--node", "/nonexistent/node"]).arg(app()), 2, "--node PATH");
    check(command(1, &[]).arg("/nonexistent/app.js"), 2, "/nonexistent/app.js");
    check(command(1, &["limits.no_such_key=1"]).arg(app()), 2, "limits.no_such_key");
    let folder = std::env::temp_dir().join(format!("roadstead-e2e-says-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("says.js");
    let run = |text: &str, code: i32, says: &str| {
        std::fs::write(&file, text).expect("a file");
        check(command(1, &[]).arg(&file), code, says);
    };
    run("process.exit(7);", 7, "has ended");
    run("throw new Error('at once');", 1, "at once");
    run("new (require('socket.io').Server)(0, { allowEIO3: true });", 2, "allowEIO3");
    std::fs::remove_dir_all(&folder).expect("it was made here");
}
