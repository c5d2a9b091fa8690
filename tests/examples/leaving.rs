//! Who is about to leave: the application is told while the rooms are still there.

use roadstead::app::socketio::{Ack, Io, Socket};
use serde_json::{Value, json};

use super::client::{Client, start};

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
