//! What channels hold, read and changed by an application on whatever shard, by clients on both.

use roadstead::{
    app::socketio::{Ack, Channel, ChannelError, Io, Socket},
    config::Config,
    model::{Condition, Payload, StateError, StateKey, StateRequest},
};
use serde_json::{Value, json};

use super::client::{Client, start_as};

fn key(name: &str) -> StateKey {
    StateKey::new(name).expect("a key")
}

fn text(result: Result<impl ToString, ChannelError>) -> String {
    result.map_or_else(|error| error.to_string(), |value| value.to_string())
}

/// Clients say here what the application shall ask of a room.
fn register(io: &Io) {
    io.on("join", |socket: &Socket, room: String| assert!(socket.join(room)));
    let on = |event: &str, answer: fn(&Socket, Channel, Ack)| {
        io.on_with_ack(event, move |socket: &Socket, room: String, ack: Ack| {
            answer(socket, socket.namespace().channel_of(&room).expect("a room"), ack);
        });
    };
    on("count", |socket, room, ack| {
        let counted = room.add(key("n"), 2);
        socket.spawn(async move { ack.send(&text(counted.await)) });
    });
    on("claim", |socket, room, ack| {
        let mine = Payload::new(*b"mine", None);
        let claim = room.change(StateRequest::set(key("owner"), mine).only_if(Condition::Absent));
        socket.spawn(async move { ack.send(&text(claim.await.map(|changed| changed.is_new))) });
    });
    on("owner", |socket, room, ack| {
        let owner = room.key(key("owner"));
        socket.spawn(async move {
            let owner = owner.await.expect("its owner answers");
            ack.send(&owner.map(|one| String::from_utf8_lossy(&one.payload.data).into_owned()));
        });
    });
    on("all", |socket, room, ack| {
        // What was asked before has taken effect when this is read, whether or not it was waited for.
        drop(room.add(key("n"), 1));
        let state = room.state(None, 10);
        socket.spawn(async move {
            let state = state.await.expect("its owner answers");
            let changes = state.keys.iter().filter_map(|one| one.payload.change.as_ref());
            let names: Vec<_> = changes.map(|change| change.key.as_str()).collect();
            ack.send(&(names, state.keys.iter().find_map(|one| one.counter())));
        });
    });
    on("who", |socket, room, ack| {
        let presence = room.presence(None, 10);
        socket.spawn(async move {
            let presence = presence.await.expect("its owner answers");
            ack.send(&(presence.connections, presence.members.len()));
        });
    });
}

#[test]
fn an_application_reads_and_changes_what_rooms_hold_and_sees_who_is_there_from_every_shard() {
    let mut config = Config::default();
    config.socketio.members = true;
    let server = start_as(config, 2, register);
    let mut clients = Client::enter_on_both_shards(&server);
    let several = clients.len();
    // Rooms of both shards.
    for room in ["a", "b", "c", "d"] {
        let mut counted = Vec::new();
        for client in &mut clients {
            counted.push(client.ask("count", json!([room]))[0].clone());
        }
        let all = (1..=several).map(|times| json!((2 * times).to_string()));
        assert_eq!(counted, all.collect::<Vec<Value>>(), "each is told the value");
        let mut claims: Vec<_> =
            clients.iter_mut().map(|client| client.ask("claim", json!([room]))[0].clone()).collect();
        assert_eq!(claims.remove(0), "true");
        let refused = ChannelError::Refused(StateError::ConditionFailed).to_string();
        assert!(claims.iter().all(|claim| *claim == refused), "{claims:?}");
        for (before, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.ask("owner", json!([room])), json!(["mine"]));
            assert_eq!(client.ask("all", json!([room])), json!([["n", "owner"], 2 * several + before + 1]));
            client.say("join", json!([room]));
            let there = before + 1;
            client.ask_until("who", json!([room]), |who| *who == json!([there, there]));
        }
    }
    assert_eq!(clients[0].ask("owner", json!(["elsewhere"])), json!([null]));
}
