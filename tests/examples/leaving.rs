//! Who is about to leave: the application is told while the rooms are still there.

use roadstead::{
    app::socketio::{Ack, Io, Socket},
    config::Config,
};
use serde_json::{Value, json};

use super::client::{Client, request, start, start_as};

fn register(io: &Io) {
    io.on_with_ack("join", |socket: &Socket, room: String, ack: Ack| ack.send(&socket.join(&room)));
    io.on_disconnecting(|socket, reason, rooms| {
        let mut rooms = rooms.to_vec();
        rooms.sort();
        socket.to(&rooms[..]).emit("leaves", &(socket.id(), reason, &rooms));
    });
    io.on_disconnect(|socket, _| socket.io().emit("left", &socket.id()));
}

#[test]
fn who_is_about_to_leave_is_told_of_with_its_rooms_and_then_has_left() {
    let server = start(register);
    let (mut ann, mut eve) = (Client::enter(&server), Client::enter(&server));
    ann.ask("join", json!(["a"]));
    // Of those who are in both rooms nobody hears it twice.
    ann.ask("join", json!(["b"]));
    for (ends, reason) in [(true, "transport close"), (false, "client namespace disconnect")] {
        let mut bob = Client::enter(&server);
        for room in ["a", "b", "c"] {
            bob.ask("join", json!([room]));
        }
        let id = bob.id.clone();
        match ends {
            true => drop(bob),
            false => bob.write("41"),
        }
        let heard: Vec<Value> = vec![ann.hear_next(), ann.hear_next()];
        let leaves = json!(["leaves", id, reason, ["a", "b", "c"]]);
        assert_eq!(heard, [leaves, json!(["left", id])]);
        assert_eq!(eve.hear_next(), json!(["left", id]), "it was in no room of theirs");
    }
}

/// Tells those who stay in a room who is there, as it is asked for one that is about to leave, and for one that has left.
fn register_asking(io: &Io) {
    io.on_with_ack("join", |socket: &Socket, room: String, ack: Ack| ack.send(&socket.join(&room)));
    io.on_disconnecting(|socket, _, _| tell_who_is_there(socket, "as it leaves"));
    io.on_disconnect(|socket, _| tell_who_is_there(socket, "when it has left"));
}

fn tell_who_is_there(of: &Socket, event: &'static str) {
    let (io, gone) = (of.io(), of.id());
    of.io().spawn_local(async move {
        let sockets = io.to("a").fetch_sockets().await;
        assert!(sockets.is_complete());
        let mut ids: Vec<_> = sockets.iter().map(|socket| socket.id().to_string()).collect();
        ids.sort();
        io.to("a").emit(event, &(gone, ids));
    });
}

/// Those in a room, as a backend is told.
fn listed(server: &roadstead::supervisor::Server) -> Vec<String> {
    let answer = request(server, "GET /socket.io-api/sockets?room=a", "");
    let body = answer.split_once("\r\n\r\n").expect("an answer has a body").1;
    let said: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(said["complete"], true, "{said}");
    let sockets = said["sockets"].as_array().expect("a list").iter();
    let mut ids: Vec<_> = sockets.map(|socket| socket["id"].as_str().expect("an id").to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn who_is_about_to_leave_is_told_to_nobody_who_asks_who_is_there_from_then_on() {
    for recovery_ms in [0, 60_000] {
        let mut config = Config::default();
        config.socketio.connection_state_recovery_ms = recovery_ms;
        let server = start_as(config, 2, register_asking);
        let mut stay = Client::enter_on_both_shards(&server);
        stay.iter_mut().for_each(|client| drop(client.ask("join", json!(["a"]))));
        let mut staying: Vec<_> = stay.iter().map(|client| client.id.clone()).collect();
        staying.sort();
        for ends in [true, false, true, false] {
            let mut bob = Client::enter(&server);
            bob.ask("join", json!(["a"]));
            let mut all = [&staying[..], &[bob.id.clone()]].concat();
            all.sort();
            assert_eq!(listed(&server), all);
            let id = bob.id.clone();
            match ends {
                true => drop(bob),
                false => bob.write("41"),
            }
            for client in &mut stay {
                for event in ["as it leaves", "when it has left"] {
                    let heard = client.hear(event);
                    assert_eq!((&heard[0], &heard[1]), (&json!(id), &json!(staying)), "{event}");
                }
            }
            assert_eq!(listed(&server), staying);
        }
    }
}
