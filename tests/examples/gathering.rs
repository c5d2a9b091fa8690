//! Acknowledgements of one event to many: who said what, who was late, and how many were asked, on every number of shards.

use std::time::Duration;

use roadstead::app::socketio::{Ack, Io, Socket};
use serde_json::{Value, json};

use super::client::{Client, start_on};

fn register(io: &Io) {
    io.on_with_ack("join", |socket: &Socket, room: String, ack: Ack| {
        socket.join(&room);
        ack.send(&[(); 0]);
    });
    io.on_with_ack("ask", |socket: &Socket, (room, timeout_ms): (String, u64), ack: Ack| {
        let asked =
            socket.to(&room).timeout(Duration::from_millis(timeout_ms)).emit_with_ack::<i64>("q", &"?");
        socket.spawn(async move {
            let told = asked.await;
            let mut list: Vec<_> = told.list.iter().map(|(id, said)| (id.to_string(), *said)).collect();
            list.sort();
            let mut late: Vec<_> = told.unanswered.iter().map(ToString::to_string).collect();
            late.sort();
            ack.send(&(json!({"list": list, "late": late, "asked": told.asked(), "missing": told.missing}),));
        });
    });
}

/// Takes the question; the number under which it is to be acknowledged.
fn question(client: &mut Client) -> String {
    let packet = client.hear_packet();
    let id: String = packet[2..].chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(packet, format!("42{id}[\"q\",\"?\"]"));
    id
}

/// What the asker is told at last.
fn told(asker: &mut Client) -> Value {
    let packet = asker.hear_packet();
    serde_json::from_str(packet.strip_prefix("437").expect("an answer")).expect("JSON")
}

#[test]
fn who_acknowledges_is_told_with_what_and_who_is_late_gone_or_answers_something_else_too() {
    for shards in [1, 2, 4] {
        let server = start_on(shards, register);
        let mut asker = Client::enter(&server);
        let mut clients: Vec<_> = (0..12).map(|_| Client::enter(&server)).collect();
        clients.iter_mut().for_each(|client| drop(client.ask("join", json!(["r"]))));
        asker.ask("join", json!(["r"]));
        asker.write(&format!("427{}", json!(["ask", "r", 20_000])));
        let (mut list, mut late) = (Vec::new(), Vec::new());
        for (number, client) in clients.iter_mut().enumerate() {
            let id = question(client);
            let answer = if number % 4 == 1 { json!(["no number"]) } else { json!([number]) };
            client.write(&format!("43{id}{answer}"));
            match number % 4 {
                1 => late.push(client.id.clone()),
                _ => list.push(json!([client.id, number])),
            }
        }
        list.sort_by_key(|one| one[0].to_string());
        late.sort();
        let expected = json!([{"list": list, "late": late, "asked": 12, "missing": 0}]);
        assert_eq!(told(&mut asker), expected, "{shards} shards");
        // Nobody is in time.
        asker.write(&format!("427{}", json!(["ask", "r", 1])));
        let ids: Vec<_> = clients.iter_mut().map(question).collect();
        let mut late: Vec<_> = clients.iter().map(|client| client.id.clone()).collect();
        late.sort();
        let expected = json!([{"list": [], "late": late, "asked": 12, "missing": 0}]);
        assert_eq!(told(&mut asker), expected, "{shards} shards");
        // What comes then is passed over.
        for (client, id) in clients.iter_mut().zip(ids) {
            client.write(&format!("43{id}[1]"));
            client.ask("join", json!(["r"]));
        }
        // Nobody is there.
        let nobody = json!([{"list": [], "late": [], "asked": 0, "missing": 0}]);
        assert_eq!(asker.ask("ask", json!(["empty", 20_000])), nobody);
        assert_eq!(asker.ask("ask", json!(["", 20_000])), nobody);
        let mut gone = Client::enter(&server);
        gone.ask("join", json!(["g"]));
        asker.write(&format!("427{}", json!(["ask", "g", 20_000])));
        question(&mut gone);
        let id = gone.id.clone();
        drop(gone);
        let expected = json!([{"list": [], "late": [id], "asked": 1, "missing": 0}]);
        assert_eq!(told(&mut asker), expected, "{shards} shards");
    }
}
