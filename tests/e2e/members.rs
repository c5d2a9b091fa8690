//! `roadstead run` on several nodes: what a program asks of the clients and programs of all.

use serde_json::{Value, json};

use crate::{
    joined::await_asked,
    nodes::await_joined,
    program::{Player, run},
    redis::Redis,
    server::{Server, await_that},
};

/// Two nodes, each with a program, that hear each other.
fn both(redis: &Redis) -> [Server; 2] {
    let servers = [(); 2].map(|()| run(2, &[redis.setting().as_str()]));
    servers.iter().for_each(await_joined);
    await_asked(redis, "/", 2);
    servers
}

/// A client of a program, and the program's process.
fn enter(server: &Server) -> (Player, Value) {
    let mut player = Player::open(server, "", &json!({}));
    let hello = player.event();
    assert_eq!(hello[0], "hello");
    (player, hello[1].clone())
}

/// Has the program do something with all who are in a room: `[error, answer]`.
#[track_caller]
fn all(player: &mut Player, what: &str, room: &str, value: impl Into<Value>) -> Value {
    player.ask(&json!(["all", what, room, value.into()]))
}

/// How long members have, in milliseconds.
const PATIENCE_MS: u32 = 15_000;

/// Those in a room: of each its id, its rooms and its data. Its own are told as they are when all others have been told.
#[track_caller]
fn found(player: &mut Player, room: &str) -> Vec<Value> {
    let told = all(player, "fetch", room, PATIENCE_MS);
    assert_eq!(told[0], Value::Null, "{told}");
    told[1].as_array().expect("a list").clone()
}

/// The ids of those in a room.
#[track_caller]
fn ids(player: &mut Player, room: &str) -> Vec<String> {
    let id = |one: &Value| one[0].as_str().expect("an id").to_owned();
    found(player, room).iter().map(id).collect()
}

#[test]
fn a_program_finds_and_moves_the_clients_of_all_nodes_and_puts_them_out() {
    let redis = Redis::start();
    let [a, b] = both(&redis);
    let ((mut ours, _), (mut theirs, _)) = (enter(&a), enter(&b));
    for player in [&mut ours, &mut theirs] {
        assert_eq!(player.ask(&json!(["join", "lobby"])), json!([true]));
    }
    await_that("both are found on both nodes", || {
        ids(&mut ours, "lobby").len() == 2 && ids(&mut theirs, "lobby").len() == 2
    });
    let [mut one, mut other] = [&mut ours, &mut theirs].map(|player| ids(player, "lobby"));
    assert_ne!(one, other, "its own come first");
    one.sort();
    other.sort();
    assert_eq!(one, other);
    for one in found(&mut ours, "lobby") {
        let rooms = one[1].as_array().expect("rooms");
        assert!(rooms.contains(&one[0]) && rooms.contains(&json!("lobby")), "{one}");
    }
    assert_eq!(all(&mut ours, "emit", "lobby", "x"), json!([null, null]));
    for player in [&mut ours, &mut theirs] {
        assert_eq!(player.event_named("one by one"), json!(["one by one", "x"]));
    }
    all(&mut ours, "join", "lobby", "hall");
    await_that("both are in the hall", || ids(&mut theirs, "hall").len() == 2);
    all(&mut theirs, "leave", "hall", "lobby");
    await_that("nobody is in the lobby", || ids(&mut ours, "lobby").is_empty());
    let own = ids(&mut ours, "hall")[0].clone();
    let there: Vec<_> = ids(&mut theirs, "hall").into_iter().filter(|id| *id != own).collect();
    all(&mut ours, "disconnect", &there[0], Value::Null);
    await_that("the other is put out", || ids(&mut ours, "hall") == [own.as_str()]);
    b.pause(|| {
        let told = all(&mut ours, "fetch", "hall", 200);
        assert!(told[0].as_str().is_some_and(|text| text.starts_with("timeout reached")), "{told}");
    });
}

#[test]
fn programs_of_nodes_tell_and_ask_each_other() {
    let redis = Redis::start();
    let [a, b] = both(&redis);
    let ((mut ours, _), (mut theirs, pid)) = (enter(&a), enter(&b));
    all(&mut ours, "say", "", 5);
    let heard = json!(["heard of a program", 5, pid]);
    for player in [&mut theirs, &mut ours] {
        assert_eq!(player.event_named("heard of a program"), heard, "a program does not hear itself");
    }
    let told = all(&mut ours, "ask", "", json!({"a": [1, null]}));
    assert_eq!(told, json!([null, [[pid, {"a": [1, null]}]]]));
    let is_said = |event: &Value| event[0] == "heard of a program";
    assert!(!ours.heard.iter().any(is_said), "once");
}

#[test]
fn a_program_that_is_alone_finds_its_own_clients_and_asks_nobody() {
    let server = run(2, &[]);
    let (mut player, _) = enter(&server);
    assert_eq!(player.ask(&json!(["join", "lobby"])), json!([true]));
    assert_eq!(ids(&mut player, "lobby").len(), 1);
    assert_eq!(all(&mut player, "ask", "", 1), json!([null, []]));
}
