//! One order for one issuer: what a client, or the backend on one connection, asks takes effect in the order asked, at
//! every socket and on whatever shard it is.

use roadstead::wire::websocket::Opcode;
use serde_json::{Value, json};

use crate::{
    client::Client,
    server::Server,
    socket::{WebSocket, frame},
};

/// The numbers of shards that everything here is tried on.
const SHARDS: [u16; 3] = [1, 2, 4];
const OPEN: &[&str] = &["publish.open=true"];

/// A client of Socket.IO in `/`.
struct Player {
    socket: WebSocket,
    sid: String,
    /// What it comes back with, where that is possible.
    pid: String,
    asked: u32,
}

impl Player {
    #[track_caller]
    fn enter(server: &Server) -> Self {
        Self::enter_with(server, &["40".to_owned()])
    }

    /// Sends these packets in one segment, the first to enter.
    #[track_caller]
    fn enter_with(server: &Server, packets: &[String]) -> Self {
        let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
        assert!(socket.text().starts_with("0{"));
        let frames = packets.iter().map(|packet| frame(Opcode::Text, true, packet.as_bytes()));
        socket.client.send(frames.collect::<Vec<_>>().concat());
        let entered = socket.text();
        let entered: Value = serde_json::from_str(&entered[2..]).expect("it is in");
        let text = |name: &str| entered[name].as_str().unwrap_or_default().to_owned();
        Self { socket, sid: text("sid"), pid: text("pid"), asked: 0 }
    }

    /// Sends events in one segment.
    fn say(&mut self, events: &[Value]) {
        let frames = events.iter().map(|event| frame(Opcode::Text, true, format!("42{event}").as_bytes()));
        self.socket.client.send(frames.collect::<Vec<_>>().concat());
    }

    /// Sends an event and waits for its acknowledgement; the packets that came before.
    #[track_caller]
    fn ask(&mut self, event: Value) -> Vec<String> {
        self.asked += 1;
        self.socket.send_text(&format!("42{}{event}", self.asked));
        self.hear_until(&format!("43{}[", self.asked))
    }

    /// The packets before one that begins like this.
    #[track_caller]
    fn hear_until(&mut self, begin: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            match self.socket.text() {
                packet if packet.starts_with(begin) => return heard,
                ping if ping == "2" => self.socket.send_text("3"),
                packet => heard.push(packet),
            }
        }
    }

    /// What is sent to everybody comes back when everything sent before has come.
    #[track_caller]
    fn hear_all(&mut self) -> Vec<String> {
        self.asked += 1;
        self.say(&[json!(["all", self.asked])]);
        self.hear_until(&format!(r#"42["all",{}]"#, self.asked))
    }
}

/// The backend.
struct Backend {
    client: Client,
    /// Whether each answer is awaited before the next request is sent.
    awaits: bool,
}

impl Backend {
    /// Asks for these, in order; each is what follows `/socket.io-api/`, and a body.
    #[track_caller]
    fn ask(&mut self, asked: &[(&str, Value)]) {
        let mut bytes = Vec::new();
        for (path, body) in asked {
            let request = request(path, body);
            match self.awaits {
                true => {
                    self.client.send(request);
                    self.expect();
                }
                false => bytes.extend(request.into_bytes()),
            }
        }
        if !self.awaits {
            self.client.send(bytes);
            asked.iter().for_each(|_| self.expect());
        }
    }

    #[track_caller]
    fn expect(&mut self) {
        let answer = self.client.response();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

fn request(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST /socket.io-api/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Plays a scene in so many rooms, with a backend that awaits its answers and one that does not, on each number of shards.
#[track_caller]
fn play(rounds: usize, scene: impl Fn(&Server, &mut Backend, &str)) {
    for shards in SHARDS {
        let server = Server::with_shards(shards, OPEN);
        for awaits in [false, true] {
            let mut backend = Backend { client: server.connect(), awaits };
            for round in 0..rounds {
                scene(&server, &mut backend, &format!("r-{awaits}-{round}"));
            }
        }
    }
}

fn emit(select: &Value, event: &str) -> (&'static str, Value) {
    let mut body = select.clone();
    body["event"] = json!(event);
    ("emit", body)
}

fn sockets(select: &Value, what: &str, value: &Value) -> (&'static str, Value) {
    let mut body = select.clone();
    body[what] = value.clone();
    ("sockets", body)
}

#[test]
fn a_client_hears_what_it_publishes_before_it_leaves() {
    for shards in SHARDS {
        let server = Server::with_shards(shards, OPEN);
        for round in 0..40 {
            let mut player = Player::enter(&server);
            let room = format!("r{round}");
            player.ask(json!(["join", room]));
            player.say(&[json!(["publish", room, "bye", round]), json!(["leave", room])]);
            assert_eq!(player.hear_all(), [format!(r#"42["bye",{round}]"#)], "{shards} shards");
            player.ask(json!(["leave", room]));
            assert_eq!(player.ask(json!(["publish", room, "late"])), [""; 0]);
        }
    }
}

#[test]
fn an_acknowledgement_comes_behind_what_the_event_caused() {
    for shards in SHARDS {
        let server = Server::with_shards(shards, OPEN);
        let mut player = Player::enter(&server);
        for round in 0..40 {
            let room = format!("r{round}");
            player.ask(json!(["join", room]));
            let before = player.ask(json!(["publish", room, "event", round]));
            assert_eq!(before, [format!(r#"42["event",{round}]"#)], "{shards} shards");
        }
    }
}

#[test]
fn sockets_that_leave_a_room_hear_what_was_said_there_before_and_nothing_after() {
    play(30, |server, backend, room| {
        let mut player = Player::enter(server);
        player.ask(json!(["join", room]));
        let (in_room, to_one) = (json!({"rooms":[room]}), json!({"rooms":[player.sid]}));
        backend.ask(&[
            emit(&in_room, "before"),
            sockets(&in_room, "leave", &json!([room])),
            emit(&in_room, "after"),
            emit(&to_one, "end"),
        ]);
        assert_eq!(player.hear_until(r#"42["end"]"#), [r#"42["before"]"#], "{room}");
        assert_eq!(player.hear_all(), [""; 0]);
    });
}

#[test]
fn sockets_that_are_disconnected_hear_why() {
    play(20, |server, backend, room| {
        let mut player = Player::enter(server);
        player.ask(json!(["join", room]));
        let in_room = json!({"rooms":[room]});
        backend.ask(&[emit(&in_room, "kicked"), sockets(&in_room, "disconnect", &json!(true))]);
        assert_eq!(player.hear_until("41"), [r#"42["kicked"]"#], "{room}");
    });
}

#[test]
fn a_room_that_is_left_out_is_left_out_though_it_is_left_then() {
    play(20, |server, backend, room| {
        let mut player = Player::enter(server);
        player.ask(json!(["join", room]));
        let to_one = json!({"rooms":[player.sid]});
        backend.ask(&[
            emit(&json!({"except":[room]}), "not you"),
            sockets(&json!({"rooms":[room]}), "leave", &json!([room])),
            emit(&json!({"except":[room]}), "you"),
            emit(&to_one, "end"),
        ]);
        assert_eq!(player.hear_until(r#"42["end"]"#), [r#"42["you"]"#], "{room}");
        assert_eq!(player.hear_all(), [""; 0]);
    });
}

#[test]
fn a_socket_hears_what_is_said_in_a_room_from_its_join_on() {
    play(20, |server, backend, room| {
        let mut player = Player::enter(server);
        let (in_room, to_one) = (json!({"rooms":[room]}), json!({"rooms":[player.sid]}));
        backend.ask(&[
            emit(&in_room, "older"),
            sockets(&to_one, "join", &json!([room])),
            emit(&in_room, "newer"),
            emit(&to_one, "end"),
        ]);
        assert_eq!(player.hear_until(r#"42["end"]"#), [r#"42["newer"]"#], "{room}");
        assert_eq!(player.hear_all(), [""; 0]);
    });
}

#[test]
fn events_to_rooms_to_everybody_and_to_one_arrive_in_the_order_sent() {
    play(20, |server, backend, room| {
        let mut player = Player::enter(server);
        let rooms: Vec<_> = (0..4).map(|number| format!("{room}-{number}")).collect();
        rooms.iter().for_each(|room| drop(player.ask(json!(["join", room]))));
        let mut receivers: Vec<Value> = rooms.iter().map(|room| json!({"rooms":[room]})).collect();
        receivers.extend([json!({}), json!({"rooms":[player.sid]})]);
        let mut choices = fastrand::Rng::with_seed(room.len() as u64);
        let asked: Vec<_> = (0..40)
            .map(|number| {
                let to = choices.choice(&receivers).expect("some");
                emit(to, &number.to_string())
            })
            .collect();
        backend.ask(&asked);
        let expected: Vec<_> = (0..39).map(|number| format!(r#"42["{number}"]"#)).collect();
        assert_eq!(player.hear_until(r#"42["39"]"#), expected, "{room}");
    });
}

#[test]
fn a_command_to_more_than_a_turn_takes_is_done_before_what_is_asked_behind_it() {
    // Each socket is compared with each of these rooms, so that a turn has room for some sixty.
    const PLAYERS: usize = 80;
    let left_out: Vec<_> = (0..60).map(|number| format!("nobody-{number}")).collect();
    play(1, |server, backend, room| {
        let mut players: Vec<_> = (0..PLAYERS).map(|_| Player::enter(server)).collect();
        players.iter_mut().for_each(|player| drop(player.ask(json!(["join", room]))));
        let in_room = json!({"rooms":[room]});
        let in_room_but = json!({"rooms":[room], "except":left_out});
        backend.ask(&[
            emit(&in_room, "before"),
            sockets(&in_room_but, "leave", &json!([room])),
            emit(&in_room, "after"),
            sockets(&json!({"except":left_out}), "join", &json!([room])),
            emit(&in_room, "again"),
            emit(&json!({}), "end"),
        ]);
        for player in &mut players {
            let heard = player.hear_until(r#"42["end"]"#);
            assert_eq!(heard, [r#"42["before"]"#, r#"42["again"]"#], "{room}");
        }
    });
}

#[test]
fn what_a_client_asks_as_its_session_goes_to_another_shard_keeps_its_order() {
    const RECOVERY: &str = "socketio.connection_state_recovery_ms=60000";
    for shards in SHARDS {
        let server = Server::with_shards(shards, &["publish.open=true", RECOVERY]);
        for round in 0..30 {
            let mut player = Player::enter(&server);
            let room = format!("r{round}");
            player.ask(json!(["join", room]));
            player.say(&[json!(["publish", room, "seen"])]);
            let seen: Value = serde_json::from_str(&player.socket.text()[2..]).expect("an event");
            let offset = seen[1].as_str().expect("an offset").to_owned();
            let (sid, pid) = (player.sid.clone(), player.pid.clone());
            drop(player);
            // One segment: who it was, and what it asks then. The kernel gives it to any shard.
            let asked =
                [json!(["publish", room, "bye"]), json!(["leave", room]), json!(["publish", room, "late"])];
            let events = asked.iter().map(|event| format!("42{event}"));
            let claim = format!("40{}", json!({"pid": pid, "offset": offset}));
            let packets: Vec<_> = [claim].into_iter().chain(events).collect();
            let mut player = Player::enter_with(&server, &packets);
            assert_eq!(player.sid, sid, "it is who it was");
            player.say(&[json!(["end"])]);
            let heard = player.hear_until(r#"42["end""#);
            let names: Vec<_> = heard.iter().map(|packet| &packet[..8.min(packet.len())]).collect();
            assert_eq!(names, [r#"42["bye""#], "{shards} shards");
        }
    }
}

#[test]
fn a_subscriber_hears_what_it_publishes_before_it_unsubscribes() {
    for shards in SHARDS {
        let server = Server::with_shards(shards, OPEN);
        for round in 0..20 {
            let mut socket = server.websocket("/ws");
            let channel = format!("c{round}");
            let reply = socket.command(&json!({"id":1,"subscribe":{"channel":channel}}));
            assert_eq!(reply["subscribed"]["channel"], channel);
            let commands = [
                json!({"id":2,"publish":{"channel":channel,"data":"bye"}}),
                json!({"id":3,"unsubscribe":{"channel":channel}}),
                json!({"id":4,"publish":{"channel":channel,"data":"late"}}),
                json!({"id":5,"subscribe":{"channel":channel}}),
                json!({"id":6,"publish":{"channel":channel,"data":"again"}}),
                json!({"id":7,"unsubscribe":{"channel":channel}}),
            ];
            let frames = commands.map(|command| frame(Opcode::Text, true, command.to_string().as_bytes()));
            socket.client.send(frames.concat());
            let mut heard = Vec::new();
            while heard.last().is_none_or(|last| last != "unsubscribed 7") {
                let message = socket.json();
                match (&message["push"], &message["id"]) {
                    (Value::Null, id) if !message["unsubscribed"].is_null() => {
                        heard.push(format!("unsubscribed {id}"));
                    }
                    (Value::Null, id) if !message["subscribed"].is_null() => {
                        heard.push(format!("subscribed {id}"));
                    }
                    (Value::Null, _) => {}
                    (push, _) => heard.push(push["data"].as_str().expect("text").to_owned()),
                }
            }
            let expected = ["bye", "unsubscribed 3", "subscribed 5", "again", "unsubscribed 7"];
            assert_eq!(heard, expected, "{shards} shards");
        }
    }
}

#[test]
fn who_publishes_and_then_subscribes_hears_what_it_publishes_behind_that_alone() {
    for shards in SHARDS {
        let server = Server::with_shards(shards, OPEN);
        for round in 0..8 {
            let channel = format!("c{round}");
            // Its shard knows where the channel is, wherever that is.
            let _others: Vec<_> = (0..6).map(|_| server.websocket(&format!("/channels/{channel}"))).collect();
            server.await_subscribers(&channel, 6);
            let mut socket = server.websocket("/ws");
            let commands = [
                json!({"id":1,"publish":{"channel":channel,"data":"older"}}),
                json!({"id":2,"subscribe":{"channel":channel}}),
                json!({"id":3,"publish":{"channel":channel,"data":"newer"}}),
            ];
            let frames = commands.map(|command| frame(Opcode::Text, true, command.to_string().as_bytes()));
            socket.client.send(frames.concat());
            let heard = loop {
                let message = socket.json();
                if !message["push"].is_null() {
                    break message["push"]["data"].clone();
                }
            };
            assert_eq!(heard, "newer", "{shards} shards");
        }
    }
}

#[test]
fn who_unsubscribes_at_once_is_not_told_then_that_it_is_subscribed_and_hears_nothing() {
    for shards in SHARDS {
        let server = Server::with_shards(shards, OPEN);
        for round in 0..20 {
            let (channel, mut socket) = (format!("c{round}"), server.websocket("/ws"));
            server.publish(&channel, "missed");
            let commands = [
                json!({"id":1,"subscribe":{"channel":channel, "since":"1:0"}}),
                json!({"id":2,"unsubscribe":{"channel":channel}}),
                json!({"id":3,"publish":{"channel":channel,"data":"late"}}),
            ];
            let frames = commands.map(|command| frame(Opcode::Text, true, command.to_string().as_bytes()));
            socket.client.send(frames.concat());
            let mut heard: Vec<Value> = Vec::new();
            while heard.iter().filter(|message| !message["id"].is_null()).count() < 3 {
                heard.push(socket.json());
            }
            let ended = heard.iter().position(|message| !message["unsubscribed"].is_null());
            let behind = &heard[ended.expect("it is answered")..];
            let is_late = |message: &Value| !message["subscribed"].is_null() || !message["push"].is_null();
            assert!(!behind.iter().any(is_late), "{shards} shards: {heard:?}");
        }
    }
}

#[test]
fn events_that_need_no_order_keep_that_of_each_room_and_of_everything_else() {
    play(5, |server, backend, room| {
        let mut player = Player::enter(server);
        let rooms: Vec<_> = (0..8).map(|number| format!("{room}-{number}")).collect();
        rooms.iter().for_each(|room| drop(player.ask(json!(["join", room]))));
        let mut asked: Vec<_> = (0..80)
            .map(|number| {
                let in_room = json!({"rooms":[rooms[number % 8]], "ordered":false, "args":[number]});
                emit(&in_room, "e")
            })
            .collect();
        asked.push(emit(&json!({"rooms":[player.sid]}), "end"));
        backend.ask(&asked);
        let heard = player.hear_until(r#"42["end"]"#);
        let number =
            |packet: &String| packet[r#"42["e","#.len()..packet.len() - 1].parse::<usize>().expect("one");
        let numbers: Vec<_> = heard.iter().map(number).collect();
        for at in 0..8 {
            let of_room: Vec<_> = numbers.iter().copied().filter(|number| number % 8 == at).collect();
            assert_eq!(of_room, (at..80).step_by(8).collect::<Vec<_>>(), "{room}");
        }
    });
}

#[test]
fn bursts_to_many_rooms_from_several_backends_keep_the_order_of_each_backend_and_of_each_room() {
    const EVENTS: usize = 200;
    const BACKENDS: usize = 3;
    let rooms: Vec<_> = (0..8).map(|number| format!("r{number}")).collect();
    for shards in SHARDS {
        let server = Server::with_shards(shards, OPEN);
        let mut players: Vec<_> = (0..5).map(|_| Player::enter(&server)).collect();
        for player in &mut players {
            rooms.iter().for_each(|room| drop(player.ask(json!(["join", room]))));
        }
        let mut backends: Vec<_> = (0..BACKENDS).map(|_| server.connect()).collect();
        for round in 0..4 {
            for (who, backend) in backends.iter_mut().enumerate() {
                let event = |number: usize| {
                    let in_room =
                        json!({"rooms":[rooms[(number * (who + 1)) % rooms.len()]], "args":[who, number]});
                    emit(&in_room, "e")
                };
                let asked = (0..EVENTS).map(event).chain([emit(&json!({}), "end")]);
                let requests: String = asked.map(|(path, body)| request(path, &body)).collect();
                backend.send(requests);
            }
            for backend in &mut backends {
                (0..=EVENTS).for_each(|_| assert_eq!(backend.response().status, 202));
            }
            let mut in_rooms = Vec::new();
            for player in &mut players {
                let heard: Vec<_> = (0..BACKENDS).flat_map(|_| player.hear_until(r#"42["end"]"#)).collect();
                let heard: Vec<(String, usize, usize)> = heard
                    .iter()
                    .map(|packet| serde_json::from_str(&packet[2..]).expect("an event"))
                    .collect();
                for who in 0..BACKENDS {
                    let numbers = heard.iter().filter(|event| event.1 == who).map(|event| event.2);
                    assert!(numbers.eq(0..EVENTS), "{shards} shards, {round}: {heard:?}");
                }
                let room_of = |event: &(String, usize, usize)| (event.2 * (event.1 + 1)) % rooms.len();
                let of_room =
                    |room| heard.iter().filter(|event| room_of(event) == room).cloned().collect::<Vec<_>>();
                in_rooms.push((0..rooms.len()).map(of_room).collect::<Vec<_>>());
            }
            assert!(
                in_rooms.windows(2).all(|two| two[0] == two[1]),
                "{shards} shards, {round}: {in_rooms:?}"
            );
        }
    }
}

#[test]
fn what_stands_behind_a_burst_comes_behind_all_of_it() {
    play(5, |server, backend, room| {
        let mut player = Player::enter(server);
        let rooms: Vec<_> = (0..6).map(|number| format!("{room}-{number}")).collect();
        rooms.iter().for_each(|room| drop(player.ask(json!(["join", room]))));
        let in_room = |number: usize| json!({"rooms":[rooms[number % rooms.len()]], "args":[number]});
        let mut asked: Vec<_> = (0..60).map(|number| emit(&in_room(number), "e")).collect();
        asked.push(sockets(&json!({"rooms":[player.sid]}), "leave", &json!(rooms)));
        asked.extend((0..20).map(|number| emit(&in_room(number), "late")));
        asked.push(emit(&json!({"rooms":[player.sid]}), "end"));
        backend.ask(&asked);
        let expected: Vec<_> = (0..60).map(|number| format!(r#"42["e",{number}]"#)).collect();
        assert_eq!(player.hear_until(r#"42["end"]"#), expected, "{room}");
        assert_eq!(player.hear_all(), [""; 0]);
    });
}
