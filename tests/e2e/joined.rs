//! What nodes that a broker joins ask each other: what is known of channels, and sockets of Socket.IO. Applications that do are in
//! `tests/clients/cluster`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    client::Response,
    cluster::enter,
    nodes::{follow, node, nodes, publish},
    redis::{Redis, Reply},
    server::{Server, await_that},
    socket::WebSocket,
};

/// Waits until nodes hear what others ask.
pub fn await_asked(redis: &Redis, namespace: &str, count: i64) {
    let channel = format!("rs:io-request#{namespace}#");
    let told = Reply::List(vec![Reply::Text(channel.clone()), Reply::Number(count)]);
    await_that("so many nodes hear it", || redis.ask(&["PUBSUB", "NUMSUB", &channel]) == told);
}

/// Two nodes that hear each other.
fn joined(redis: &Redis) -> [Server; 2] {
    let both = nodes(redis);
    await_asked(redis, "nodes:rs", 2);
    await_asked(redis, "/", 2);
    both
}

fn post(server: &Server, target: &str, body: &Value) -> Response {
    let body = body.to_string();
    server.connect().request("POST", target, "Content-Type: application/json\r\n", body.as_bytes())
}

/// Waits until what is asked is answered so: whoever is late counts as missing, and is asked again.
fn await_answer(server: &Server, target: &str, is_so: impl Fn(&Value) -> bool) {
    await_that(&format!("{target} says what it should"), || is_so(&server.get(target).json()));
}

/// How many there are in a list, and whether it says that these are all.
fn counted(list: &Value, name: &str) -> (Option<usize>, Option<bool>) {
    (list[name].as_array().map(Vec::len), list["complete"].as_bool())
}

const SOCKETS: &str = "/socket.io-api/sockets";

#[test]
fn what_is_known_of_channels_is_known_on_every_node_and_who_does_not_answer_is_counted() {
    let redis = Redis::start();
    let [a, b] = joined(&redis);
    let _followers = [follow(&a, "news"), follow(&b, "news"), follow(&b, "of-b")];
    let position = publish(&a, "news", "one");
    for server in [&a, &b] {
        await_answer(server, "/channels/news/info", |info| {
            let counts = (&info["subscribers"], &info["transports"]["json"], &info["history_publications"]);
            counts == (&json!(2), &json!(2), &json!(1))
                && info["position"] == position.as_str()
                && info.get("missing_nodes").is_none()
        });
        await_answer(server, "/channels?prefix=of", |list| {
            list["channels"][0]["channel"] == "of-b"
                && counted(list, "channels") == (Some(1), Some(true))
                && list.get("missing_nodes").is_none()
        });
        await_answer(server, "/channels?limit=1", |list| {
            counted(list, "channels") == (Some(1), Some(false)) && list.get("missing_nodes").is_none()
        });
    }
    b.pause(|| {
        await_answer(&a, "/channels/news/info", |info| {
            (&info["subscribers"], &info["missing_nodes"]) == (&json!(1), &json!(1))
        });
        await_answer(&a, "/channels?prefix=of", |list| {
            counted(list, "channels") == (Some(0), Some(false)) && list["missing_nodes"] == 1
        });
    });
    await_answer(&a, "/channels/of-b/info", |info| info["subscribers"] == 1);
}

#[test]
fn who_was_on_a_node_that_is_killed_is_told_of_no_more() {
    let redis = Redis::start();
    let [mut a, b] = joined(&redis);
    let _stays = follow(&b, "news");
    let (_gone, _socket) = (follow(&a, "news"), enter(&a, "/"));
    await_answer(&b, "/channels/news/info", |info| info["subscribers"] == 2);
    await_answer(&b, SOCKETS, |list| counted(list, "sockets") == (Some(1), Some(true)));
    a.signal("KILL");
    a.wait();
    await_answer(&b, "/channels/news/info", |info| {
        info["subscribers"] == 1 && info.get("missing_nodes").is_none()
    });
    await_answer(&b, SOCKETS, |list| counted(list, "sockets") == (Some(0), Some(true)));
}

#[test]
fn sockets_of_every_node_are_listed_moved_told_and_disconnected_by_any() {
    let redis = Redis::start();
    let [a, b] = joined(&redis);
    let mut both = [enter(&a, "/"), enter(&b, "/")];
    await_answer(&a, SOCKETS, |list| counted(list, "sockets") == (Some(2), Some(true)));
    let in_room = |count: usize| {
        for server in [&a, &b] {
            let target = format!("{SOCKETS}?room=lobby");
            await_answer(server, &target, |list| counted(list, "sockets") == (Some(count), Some(true)));
        }
    };
    assert_eq!(post(&a, SOCKETS, &json!({"join": ["lobby"]})).status, 202);
    in_room(2);
    // To those of both by their ids alone, each once.
    let mut all = Value::Null;
    await_that("both are listed", || {
        all = a.get(SOCKETS).json();
        counted(&all, "sockets") == (Some(2), Some(true))
    });
    let ids: Vec<_> = all["sockets"].as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    let told = post(&b, "/socket.io-api/emit", &json!({"rooms": ids, "event": "by id"}));
    assert_eq!(told.status, 202, "{}", told.text());
    for socket in &mut both {
        assert_eq!(socket.text(), "42[\"by id\"]");
    }
    post(&a, "/socket.io-api/emit", &json!({"rooms": ["lobby"], "event": "to the room"}));
    for socket in &mut both {
        assert_eq!(socket.text(), "42[\"to the room\"]");
    }
    post(&b, SOCKETS, &json!({"leave": ["lobby"]}));
    in_room(0);
    post(&a, SOCKETS, &json!({"disconnect": true}));
    for socket in &mut both {
        assert_eq!(socket.text(), "41");
    }
    let _socket = enter(&a, "/");
    b.pause(|| {
        await_answer(&a, SOCKETS, |list| {
            counted(list, "sockets") == (Some(1), Some(false)) && list["missing_members"] == 1
        });
    });
}

/// What a client is told that asks who is in the room.
fn present(socket: &mut WebSocket) -> Value {
    socket.send_text("427[\"presence\",\"lobby\"]");
    let answer = socket.text();
    let mut answer: Value =
        serde_json::from_str(answer.strip_prefix("437").expect("an answer")).expect("JSON");
    answer[0].take()
}

#[test]
fn a_client_that_asks_who_is_in_a_room_hears_of_those_on_every_node() {
    let redis = Redis::start();
    let [a, b] = joined(&redis);
    let mut both = [enter(&a, "/"), enter(&b, "/")];
    let _elsewhere = enter(&b, "/");
    for socket in &mut both {
        socket.send_text("428[\"join\",\"lobby\"]");
        assert_eq!(socket.text(), "438[{\"room\":\"lobby\"}]");
    }
    let all = json!({"room": "lobby", "count": 2});
    for socket in &mut both {
        await_that("both are counted", || present(socket) == all);
    }
    let [asker, _other] = &mut both;
    b.pause(|| {
        let some = json!({"room": "lobby", "count": 1, "incomplete": true, "missing_members": 1});
        await_that("one is known, and that there may be more", || present(asker) == some);
    });
    await_that("both are counted again", || present(asker) == all);
}

#[test]
fn the_ids_of_those_in_a_room_are_told_with_those_of_every_node() {
    let redis = Redis::start();
    let settings = ["socketio.presence=ids"];
    let [a, b] = [node(&redis, &settings), node(&redis, &settings)];
    await_asked(&redis, "/", 2);
    let mut both = [enter(&a, "/"), enter(&b, "/")];
    for socket in &mut both {
        socket.send_text("428[\"join\",\"lobby\"]");
        socket.text();
    }
    let mut listed = Value::Null;
    await_that("both are listed", || {
        listed = a.get(&format!("{SOCKETS}?room=lobby")).json();
        counted(&listed, "sockets") == (Some(2), Some(true))
    });
    let sorted = |list: &Value, id: fn(&Value) -> &Value| {
        let list = list.as_array().expect("a list").iter();
        list.map(|one| id(one).to_string()).collect::<BTreeSet<_>>()
    };
    let expected = sorted(&listed["sockets"], |socket| &socket["id"]);
    for socket in &mut both {
        let answer = present(socket);
        assert_eq!((sorted(&answer["ids"], |id| id), &answer["count"]), (expected.clone(), &json!(2)));
    }
}
