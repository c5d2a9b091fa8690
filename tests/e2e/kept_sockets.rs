//! Clients of Socket.IO on WebSockets that stay connected when another version takes the place of the one that let them in: their
//! rooms are those they had, and they hear every event once.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use roadstead::wire::websocket::Opcode;
use serde_json::{Value, json};

use crate::{
    client,
    deflating::{self, Socket, deflate},
    kept_open_unsent::{HISTORY, both_ways, fill, large},
    server::{Server, await_that},
    socket::{Incoming, WebSocket, frame},
    tokens::{SECRET, make},
    upgrade::{Ending, Installed},
};

const TARGET: &str = "/socket.io/?EIO=4&transport=websocket";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
/// Long enough that no client is asked whether it is there.
const QUIET: &str = "socketio.ping_interval_ms=600000";
const ROOMS: usize = 4;
const CLIENTS: usize = 40;
const UPGRADES: usize = 3;

/// A client in `/`.
pub struct Client {
    pub socket: WebSocket,
    id: String,
    acks: u64,
}

impl Client {
    /// Enters, and these rooms.
    #[track_caller]
    pub fn enter(server: &Server, auth: &str, rooms: &[&str]) -> Self {
        Self::enter_over(server.connect(), auth, rooms)
    }

    /// The same, over a connection that there is.
    #[track_caller]
    pub fn enter_over(connection: client::Client, auth: &str, rooms: &[&str]) -> Self {
        let socket = WebSocket::open(connection, TARGET, "");
        let mut client = Self { socket, id: String::new(), acks: 0 };
        assert!(client.packet().starts_with("0{"));
        client.socket.send_text(&format!("40{auth}"));
        let text = client.packet();
        let entered: Value =
            serde_json::from_str(text.strip_prefix("40").expect("it may enter")).expect("JSON");
        client.id = entered["sid"].as_str().expect("an id").to_owned();
        for room in rooms {
            assert_eq!(client.ask(&json!(["join", room])), json!([{ "room": room }]));
        }
        client
    }

    /// The next packet, but for the question whether it is there, which it answers.
    #[track_caller]
    fn packet(&mut self) -> String {
        loop {
            match self.socket.text() {
                text if text == "2" => self.socket.send_text("3"),
                text => return text,
            }
        }
    }

    /// Says something that is acknowledged.
    #[track_caller]
    fn say(&mut self, event: &Value) {
        self.acks += 1;
        self.socket.send_text(&format!("42{}{event}", self.acks));
    }

    /// Says it, and gives what it is acknowledged with.
    #[track_caller]
    fn ask(&mut self, event: &Value) -> Value {
        self.say(event);
        let text = self.packet();
        let number = format!("43{}", self.acks);
        let answer = text.strip_prefix(&number).unwrap_or_else(|| panic!("{text} for {number}"));
        serde_json::from_str(answer).expect("JSON")
    }

    /// The next event, without the offset that it may carry.
    #[track_caller]
    pub fn event(&mut self) -> Value {
        let text = self.packet();
        let event = text.strip_prefix("42").unwrap_or_else(|| panic!("{text} instead of an event"));
        let mut event: Vec<Value> = serde_json::from_str(event).expect("JSON");
        event.truncate(2);
        event.into()
    }
}

fn room(number: usize) -> String {
    format!("room-{}", number % ROOMS)
}

/// A backend sends an event; those that it sends over one connection keep their order.
#[track_caller]
pub fn emit(backend: &mut client::Client, event: &Value) {
    let json = "Content-Type: application/json\r\n";
    let told = backend.request("POST", "/socket.io-api/emit", json, event.to_string().as_bytes());
    assert_eq!(told.status, 202, "{}", told.text());
}

/// Publishes a number to each room, again and again, and has whoever is there hear it, between ticks that are not waited for,
/// which rise.
fn publish_and_hear(
    server: &Server,
    clients: &mut [Client],
    ticking: &SyncSender<()>,
    is_over: &AtomicBool,
) -> u64 {
    let mut sender = Client::enter(server, "", &[]);
    let (mut number, mut ticks) = (0, vec![0; clients.len()]);
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        // The one before may be on its way.
        ticking.try_send(()).ok();
        for at in 0..ROOMS {
            let said = json!(["publish", room(at), "said", number]);
            sender.say(&said);
            let done = format!("43{}{}", sender.acks, json!([{ "room": room(at) }]));
            // It hears ticks as well.
            while sender.socket.text() != done {}
        }
        for (at, client) in clients.iter_mut().enumerate() {
            loop {
                let event = client.event();
                match event[0].as_str() {
                    Some("tick") => {
                        let tick = event[1].as_u64().expect("a number");
                        assert!(tick > ticks[at], "{tick} after {}", ticks[at]);
                        ticks[at] = tick;
                    }
                    _ => break assert_eq!(event, json!(["said", number]), "no gap, nothing twice"),
                }
            }
        }
    }
    assert!(ticks.iter().any(|tick| *tick > 0));
    number
}

/// Sends everybody numbers that rise and are not waited for, one whenever it is told to, over one connection.
fn tick(mut backend: client::Client, told: &Receiver<()>) {
    for (number, ()) in (1..).zip(told) {
        emit(&mut backend, &json!({"event": "tick", "args": [number], "volatile": true}));
    }
}

fn stay_connected(settings: &[&str]) {
    let installed = Installed::new();
    let server = installed.serve_both(&[&[QUIET, "limits.history_publications_max=1000"], settings].concat());
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let room = room(number);
            let rooms = [&*room, "quiet"];
            let rooms = if number % 2 == 0 { &rooms[..] } else { &rooms[..1] };
            // Half of those in each room speak TLS.
            match number / ROOMS % 2 {
                0 => Client::enter(&server, "", rooms),
                _ => Client::enter_over(installed.beside(), "", rooms),
            }
        })
        .collect();
    let mut asking: Vec<_> = (0..4).map(|_| Client::enter(&server, "", &["asking"])).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (server, is_over, clients) = (&server, &is_over, &mut clients[..]);
        let (tells, told) = sync_channel(1);
        let hearing = scope.spawn(move || publish_and_hear(server, clients, &tells, is_over));
        let ticking = scope.spawn(move || tick(server.connect(), &told));
        let asking: Vec<_> = asking
            .iter_mut()
            .map(|client| {
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        client.say(&json!(["join", "asking"]));
                        let done = format!("43{}{}", client.acks, json!([{"room": "asking"}]));
                        while client.socket.text() != done {}
                    }
                })
            })
            .collect();
        let ending = Ending(is_over);
        for _ in 0..UPGRADES {
            installed.install();
            server.succeeded();
        }
        drop(ending);
        assert!(hearing.join().expect("all is heard") > 0);
        ticking.join().expect("it ticks");
        asking.into_iter().for_each(|one| one.join().expect("each is answered"));
    });
    assert!(server.metric("roadstead_carried_total", "") >= (CLIENTS + 5) as f64);
    assert_eq!(server.metric("roadstead_carried_refused_total", ""), 0.0);
    // Who is in one room and not in another, and what each is called.
    let mut backend = server.connect();
    emit(&mut backend, &json!({"rooms": ["room-0"], "except": ["quiet"], "event": "loud"}));
    emit(&mut backend, &json!({"event": "done"}));
    for (number, client) in clients.iter_mut().enumerate() {
        let is_loud = number % ROOMS == 0 && number % 2 == 1;
        let mut heard = Vec::new();
        while heard.last() != Some(&json!("done")) {
            heard.push(client.event()[0].take());
        }
        heard.retain(|name| name != "tick");
        let expected = if is_loud { json!(["loud", "done"]) } else { json!(["done"]) };
        assert_eq!(Value::from(heard), expected, "{number}");
    }
    let listed = server.get("/socket.io-api/sockets?room=room-1").json();
    let listed: Vec<_> = listed["sockets"].as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    let there = clients.iter().skip(1).step_by(ROOMS);
    assert_eq!(listed.len(), CLIENTS / ROOMS);
    there.for_each(|client| assert!(listed.contains(&&json!(client.id)), "{}", client.id));
}

#[test]
fn clients_of_socketio_stay_connected_through_upgrades_and_hear_everything_once() {
    stay_connected(&[]);
}

#[test]
fn clients_of_socketio_that_may_come_back_stay_connected_as_well() {
    stay_connected(&["socketio.connection_state_recovery_ms=600000"]);
}

#[test]
fn half_a_binary_event_goes_with_its_client_and_so_does_a_poll_but_not_who_tries_a_websocket() {
    both_ways(&[QUIET], |_, server| half_an_event_and_a_poll(server));
}

fn half_an_event_and_a_poll(server: &Server) {
    let mut client = Client::enter(server, "", &["lobby"]);
    let mut namespaces = Client::enter(server, "", &["lobby"]);
    namespaces.socket.send_text("40/other,");
    assert!(namespaces.socket.text().starts_with("40/other,{"));
    let half = r#"451-7["publish","lobby","bytes",{"_placeholder":true,"num":0}]"#;
    client.socket.send_text(half);
    let bytes = frame(Opcode::Binary, true, b"bytes");
    client.socket.client.send(&bytes[..3]);
    let open = || {
        let opened = server.get(POLLING).text();
        let opened: Value = serde_json::from_str(&opened[1..]).expect("JSON");
        format!("&sid={}", opened["sid"].as_str().expect("an id"))
    };
    let [tries, polls] = [open(), open()];
    let mut tried = server.websocket(&format!("{TARGET}{tries}"));
    tried.send_text("2probe");
    assert_eq!(tried.text(), "3probe");
    let polls = format!("{POLLING}{polls}");
    let post = |text: &str| {
        assert_eq!(server.connect().request("POST", &polls, "", text.as_bytes()).status, 200);
    };
    post("40");
    assert!(server.get(&polls).text().starts_with("40{"));
    post(r#"421["join","lobby"]"#);
    assert_eq!(server.get(&polls).text(), r#"431[{"room":"lobby"}]"#);
    let mut parked = server.connect();
    parked.ask("GET", &polls, "", b"");
    await_that("all are there", || server.connections() == 4);
    // What came behind the events by which they entered is half of one.
    server.await_metric("roadstead_messages_total", "", 8.0);
    server.succeeded();
    assert!(tried.close_code().is_some());
    assert_eq!(server.get(&format!("{POLLING}{tries}")).status, 400, "nobody knows it");
    assert_eq!(parked.response().text(), "6");
    emit(&mut server.connect(), &json!({"rooms": ["lobby"], "event": "for all"}));
    assert_eq!(parked.request("GET", &polls, "", b"").text(), r#"42["for all"]"#);
    client.socket.client.send(&bytes[3..]);
    let mut heard = Vec::new();
    for socket in [&mut client.socket, &mut namespaces.socket] {
        heard.clear();
        assert_eq!(socket.text(), r#"42["for all"]"#);
        while heard.len() < 2 {
            match socket.next() {
                Incoming::Text(text) if text.starts_with("437") => {
                    assert_eq!(text, r#"437[{"room":"lobby"}]"#)
                }
                Incoming::Text(text) => heard.push(text.into_bytes()),
                Incoming::Binary(bytes) => heard.push(bytes),
                other => panic!("{other:?}"),
            }
        }
        assert!(heard[0].starts_with(br#"451-["bytes",{"_placeholder":true,"num":0}"#), "{heard:?}");
        assert_eq!(heard[1], b"bytes");
    }
    emit(&mut server.connect(), &json!({"namespace": "/other", "event": "here"}));
    assert_eq!(namespaces.socket.text(), r#"42/other,["here"]"#);
    assert_eq!(server.metric("roadstead_carried_total", ""), 2.0);
}

#[test]
fn a_client_of_socketio_keeps_its_token_and_its_key_and_who_has_lost_one_comes_back() {
    let installed = Installed::new();
    let keys = |keys: &str| installed.configure(&format!("[publish]\nkeys = [{keys}]\n"));
    keys(r#""one news", "two chat""#);
    let secret = format!("auth.hs256_keys={SECRET}");
    let server =
        installed.serve_plainly(&[QUIET, &secret, "read.open=true", "limits.connections_per_user_max=1"]);
    let token = make(&json!({"sub": "42", "jti": "t", "allow": {"subscribe": ["**"]}}));
    let shown = json!({ "token": token }).to_string();
    let mut held = Client::enter(&server, &shown, &["lobby"]);
    let mut keyed = Client::enter(&server, r#"{"key":"two"}"#, &[]);
    let mut gone = Client::enter(&server, r#"{"key":"one"}"#, &[]);
    // The keys stand in another order, and one is none any more.
    keys(r#""three news", "two chat""#);
    server.succeeded();
    assert_eq!(gone.socket.close_code(), Some(1001));
    assert_eq!(keyed.ask(&json!(["publish", "chat", "said", 1])), json!([{"room": "chat"}]));
    let refused = keyed.ask(&json!(["publish", "news", "said", 1]));
    assert_eq!(refused[0]["error"]["code"], json!("publish_forbidden"));
    let mut second = server.websocket(TARGET);
    assert!(second.text().starts_with("0{"));
    second.send_text(&format!("40{shown}"));
    assert!(second.text().starts_with("44{"), "it is counted among its user's");
    assert_eq!(held.ask(&json!(["join", "lobby"])), json!([{"room": "lobby"}]));
    let (json, body) = ("Content-Type: application/json\r\n", br#"{"token":"t"}"#);
    assert_eq!(server.connect_admin().request("POST", "/auth/revoke", json, body).status, 202);
    assert_eq!(held.socket.close_code(), Some(4009));
}

#[test]
fn the_next_version_goes_on_asking_clients_of_socketio_whether_they_are_there() {
    let installed = Installed::new();
    let server =
        installed.serve_plainly(&["socketio.ping_interval_ms=3000", "socketio.ping_timeout_ms=60000"]);
    let mut late = Client::enter(&server, "", &[]);
    let mut prompt = Client::enter(&server, "", &[]);
    for client in [&mut late, &mut prompt] {
        while client.socket.text() != "2" {}
    }
    prompt.socket.send_text("3");
    server.succeeded();
    // Who has been asked before is asked again when it has answered, and not in a minute.
    late.socket.send_text("3");
    for client in [&mut late, &mut prompt] {
        assert_eq!(client.socket.text(), "2");
    }
    assert_eq!(server.metric("roadstead_carried_total", ""), 2.0);
}

#[test]
fn who_has_not_read_stays_a_client_of_socketio_and_hears_all_that_waited_for_it() {
    both_ways(&[QUIET, HISTORY], |_, server| {
        let mut client = Client::enter_over(client::Client::narrow(server.address()), "", &["lobby"]);
        let count = fill(server, "lobby", 150_000.0);
        for version in 1..=2 {
            // What it says behind that is heard, and acknowledged behind what waits.
            client.say(&json!(["join", "other"]));
            server.succeeded();
            assert_eq!(server.metric("roadstead_carried_total", ""), 1.0, "{version}: {}", server.log());
            assert_eq!(server.publish("lobby", large(count + version)), (count + version) as u64);
        }
        let (mut number, mut acks) = (0, Vec::new());
        while number < count + 2 || acks.len() < 2 {
            let text = client.packet();
            match text.strip_prefix("43") {
                Some(ack) => acks.push(ack.to_owned()),
                None => {
                    number += 1;
                    assert!(text.contains(&format!("\"{} x", number)), "{number} of {count}");
                    assert!(text.len() > 50_000, "{number} of {count}");
                }
            }
        }
        assert_eq!(acks, [r#"2[{"room":"other"}]"#, r#"3[{"room":"other"}]"#]);
        assert_eq!(client.ask(&json!(["join", "last"])), json!([{"room": "last"}]));
    });
}

#[test]
fn a_client_of_socketio_that_compresses_goes_on_so_with_half_a_message() {
    for mode in ["shared", "channel", "dedicated"] {
        let installed = Installed::new();
        let compression = format!("websocket.compression={mode}");
        let server = installed.serve_both(&[QUIET, &compression]);
        let mut all = [server.connect(), installed.beside()]
            .map(|client| Socket::open_over(client, TARGET, &["permessage-deflate"]));
        for socket in &mut all {
            assert!(socket.agreed.is_some());
            assert!(socket.plain_or_deflated().starts_with("0{"));
            socket.send(Opcode::Text, true, b"40");
            assert!(socket.plain_or_deflated().starts_with("40{"));
        }
        let long = |number: usize| format!("{number} {}", "as it was ".repeat(100));
        for round in 1..=2 {
            let said = format!(r#"42{round}["join","{}"]"#, "lobby".repeat(10));
            let whole = deflating::frame(Opcode::Text, true, true, &deflate(said.as_bytes()));
            let (first, rest) = whole.split_at(whole.len() - round);
            all.iter_mut().for_each(|socket| socket.client.send(first));
            server.succeeded();
            assert_eq!(server.metric("roadstead_carried_total", ""), 2.0, "{mode}: {}", server.log());
            for socket in &mut all {
                socket.client.send(rest);
                let answer = socket.plain_or_deflated();
                assert!(answer.starts_with(&format!("43{round}[")), "{answer}");
            }
            emit(&mut server.connect(), &json!({"event": "said", "args": [long(round)]}));
            for socket in &mut all {
                assert_eq!(socket.deflated_text(), format!(r#"42["said","{}"]"#, long(round)));
            }
        }
    }
}
