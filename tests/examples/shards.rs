//! What an application asks of all shards, and does to sockets of any: on two shards, by clients on both.

use std::time::Duration;

use roadstead::app::socketio::{Ack, Io, Socket, SocketId};
use serde_json::{Value, json};

use super::client::{Client, start};

/// Clients say here what the application shall do.
fn register(io: &Io) {
    io.on_connect(|socket| socket.set_public_data(&json!({ "shard": socket.io().shard().0 })));
    io.on("join", |socket: &Socket, rooms: Vec<String>| assert!(socket.join(rooms)));
    io.on_with_ack("rooms", |socket: &Socket, (): (), ack: Ack| {
        let socket = socket.clone();
        socket.clone().spawn(async move { ack.send(&socket.rooms().await) });
    });
    io.on_with_ack("fetch", |socket: &Socket, (rooms, except): (Vec<String>, Vec<String>), ack: Ack| {
        let io = socket.io();
        socket.spawn(async move {
            let sockets = io.to(rooms).except(except).fetch_sockets().await;
            assert!(sockets.is_complete());
            let found = sockets.iter().map(|socket| (socket.id(), socket.data::<Value>().ok()));
            ack.send(&found.collect::<Vec<_>>());
        });
    });
    io.on("tell", |socket: &Socket, (rooms, except, text): (Vec<String>, Vec<String>, String)| {
        socket.io().to(rooms).except(except).emit("told", &text);
    });
    io.on("move in", |socket: &Socket, (who, room): (Vec<SocketId>, String)| {
        socket.io().to(who).sockets_join(room);
    });
    io.on("put out", |socket: &Socket, who: Vec<SocketId>| socket.io().to(who).disconnect_sockets(false));
    io.on_with_ack("shards", |socket: &Socket, number: i32, ack: Ack| {
        let io = socket.io();
        socket.spawn(async move {
            let doubled = io.timeout(Duration::from_secs(5));
            let doubled = doubled.server_side_emit_with_answers::<i32>("double", &number).await;
            let silent = io.server_side_emit_with_answers::<i32>("nobody hears", &[(); 0]).await;
            let doubled: Vec<_> = doubled.into_iter().map(|(shard, number)| (shard.0, number)).collect();
            ack.send(&(doubled, silent.missing));
        });
    });
    io.on_server_event_with_ack("double", |_from, number: i32, ack| ack.send(&(2 * number)));
    io.on_with_ack("ask me", |socket: &Socket, (): (), ack: Ack| {
        let socket = socket.clone();
        socket.clone().spawn(async move {
            let answer =
                socket.timeout(Duration::from_secs(5)).emit_with_ack::<String>("who?", &[(); 0]).await;
            let none =
                socket.timeout(Duration::from_millis(1)).emit_with_ack::<String>("who?", &[(); 0]).await;
            ack.send(&(answer.ok(), none.map_err(|error| error.to_string()).err()));
        });
    });
}

fn ids(clients: &[Client]) -> Vec<String> {
    let mut ids: Vec<_> = clients.iter().map(|client| client.id.clone()).collect();
    ids.sort();
    ids
}

/// The ids in an answer to "fetch".
fn fetched(answer: &Value) -> Vec<String> {
    let sockets = answer[0].as_array().expect("a list");
    let mut ids: Vec<_> = sockets.iter().map(|found| found[0].as_str().expect("an id").to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn sockets_are_found_by_room_and_by_id_on_every_shard() {
    let server = start(register);
    let mut clients = Client::enter_on_both_shards(&server);
    let all = ids(&clients);
    for client in &mut clients {
        client.say("join", json!([["a", "b"]]));
        // A room is joined when the shard that owns it has said so, and the owner of the second may say it first.
        let of_both = [json!([["a", "b"]]), json!([["b", "a"]])];
        client.ask_until("rooms", json!([]), |rooms| of_both.contains(rooms));
    }
    let (first, last) = (clients[0].id.clone(), clients[clients.len() - 1].id.clone());
    let asker = &mut clients[0];
    let mut fetch = |rooms: Value, except: Value| fetched(&asker.ask("fetch", json!([rooms, except])));
    assert_eq!(fetch(json!(["a", "b"]), json!([])), all);
    assert_eq!(fetch(json!([last, first]), json!([])).len(), 2);
    assert_eq!(fetch(json!([last, first]), json!([last])), [first.as_str()]);
    assert_eq!(fetch(json!(["a"]), json!([first])).len(), all.len() - 1);
    assert!(fetch(json!(["a"]), json!(["b"])).is_empty());
    let found = asker.ask("fetch", json!([[last], []]));
    let shard = SocketId::parse(&last).expect("an id").shard.0;
    assert_eq!(found, json!([[[last, { "shard": shard }]]]));
}

#[test]
fn an_event_to_rooms_and_ids_reaches_each_once_and_nobody_left_out() {
    let server = start(register);
    let mut clients = Client::enter_on_both_shards(&server);
    let all = ids(&clients);
    let [first, last] = [0, clients.len() - 1].map(|place| clients[place].id.clone());
    clients[0].say("move in", json!([all, "a"]));
    clients[0].ask_until("fetch", json!([["a"], []]), |answer| fetched(answer) == all);
    clients[0].say("tell", json!([["a", first, last], [], "all"]));
    clients[0].say("tell", json!([["a"], [last], "not the last"]));
    clients[0].say("tell", json!([[last, first], [first], "the last"]));
    clients[0].say("tell", json!([["a"], [], "end"]));
    let count = clients.len();
    for (place, client) in clients.iter_mut().enumerate() {
        let mut told: Vec<_> = std::iter::from_fn(|| {
            let text = client.hear("told")[0].as_str().expect("a text").to_owned();
            (text != "end").then_some(text)
        })
        .collect();
        // What goes to one socket does not go by way of the room's owner.
        while place + 1 == count && told.len() < 2 {
            told.push(client.hear("told")[0].as_str().expect("a text").to_owned());
        }
        told.sort();
        let second = if place + 1 == count { "the last" } else { "not the last" };
        assert_eq!(told, ["all", second]);
    }
}

#[test]
fn shards_answer_each_other_and_clients_answer_the_server() {
    let server = start(register);
    let mut client = Client::enter(&server);
    let other = 1 - SocketId::parse(&client.id).expect("an id").shard.0;
    assert_eq!(client.ask("shards", json!([21])), json!([[[other, 42]], 1]));
    let answer = client.ask_answering("ask me", &json!(["me"]));
    assert_eq!(answer, json!(["me", "the client did not acknowledge in time"]));
}

#[test]
fn a_client_can_be_put_out_from_any_shard() {
    let server = start(register);
    let mut clients = Client::enter_on_both_shards(&server);
    let others: Vec<_> = clients[1..].iter().map(|client| client.id.clone()).collect();
    clients[0].say("put out", json!([others]));
    for client in &mut clients[1..] {
        assert_eq!(client.hear_packet(), "41");
    }
    assert_eq!(fetched(&clients[0].ask("fetch", json!([others, []]))), Vec::<String>::new());
}
