//! Socket.IO's clients over an upgrade: each comes back as who it was, to its rooms and to what it missed, once and in order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::{
    server::Server,
    socket::{Incoming, WebSocket},
    tokens::{SECRET, make},
    upgrade::{Ending, Installed, again_and_again},
};

const KEEPING: &str = "socketio.connection_state_recovery_ms=600000";

/// A client in one namespace, as it is on the line.
struct Client {
    namespace: &'static str,
    /// What it says to prove itself.
    auth: Value,
    socket: Option<WebSocket>,
    sid: String,
    pid: String,
    /// What came behind the arguments of the last event.
    offset: Option<String>,
    heard: Vec<Value>,
}

impl Client {
    fn enter(server: &Server, namespace: &'static str, auth: Value) -> Self {
        let (socket, told) = Self::begin(server, namespace, &auth);
        let text = |name: &str| told[name].as_str().expect("a text").to_owned();
        let (sid, pid) = (text("sid"), text("pid"));
        Self { namespace, auth, socket: Some(socket), sid, pid, offset: None, heard: Vec::new() }
    }

    /// Comes back; whether as who it was.
    fn comes_back(&mut self, server: &Server) -> bool {
        let mut auth = self.auth.clone();
        (auth["pid"], auth["offset"]) = (json!(self.pid), json!(self.offset));
        let (socket, told) = Self::begin(server, self.namespace, &auth);
        let is_it = told["sid"] == json!(self.sid);
        assert_eq!(is_it, told["pid"] == json!(self.pid));
        self.socket = Some(socket);
        is_it
    }

    /// Its network is gone.
    fn cut(&mut self) {
        self.socket = None;
    }

    fn socket(&mut self) -> &mut WebSocket {
        self.socket.as_mut().expect("it is not cut off")
    }

    fn begin(server: &Server, namespace: &str, auth: &Value) -> (WebSocket, Value) {
        let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
        assert!(socket.text().starts_with('0'));
        let prefix = prefix(namespace);
        socket.send_text(&format!("40{prefix}{auth}"));
        let answer = socket.text();
        let json = answer.strip_prefix(&format!("40{prefix}"));
        let json = json.unwrap_or_else(|| panic!("{answer} instead of a welcome"));
        (socket, serde_json::from_str(json).expect("JSON"))
    }

    fn join(&mut self, room: &str) {
        let prefix = prefix(self.namespace);
        self.socket().send_text(&format!("42{prefix}0[\"join\",\"{room}\"]"));
        let answer = self.packet().expect("it is there");
        assert_eq!(answer, format!("43{prefix}0[{{\"room\":\"{room}\"}}]"));
    }

    /// The next packet of Socket.IO; `None` when the server has closed.
    fn packet(&mut self) -> Option<String> {
        loop {
            match self.socket().next() {
                Incoming::Text(text) if text == "2" => self.socket().send_text("3"),
                Incoming::Text(text) => return Some(text),
                Incoming::Close(..) => return None,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Hears one event; whether there was one.
    fn hear(&mut self) -> bool {
        let Some(packet) = self.packet() else { return false };
        let json = packet.strip_prefix(&format!("42{}", prefix(self.namespace)));
        let json = json.unwrap_or_else(|| panic!("{packet} instead of an event"));
        let mut event: Vec<Value> = serde_json::from_str(json).expect("an array");
        let offset = event.pop().expect("each event has an offset");
        self.offset = Some(offset.as_str().expect("an offset is a text").to_owned());
        self.heard.push(Value::Array(event));
        true
    }

    /// What it has heard under this name, once so much is there.
    fn heard_of(&mut self, name: &str, count: usize) -> Vec<Value> {
        let of = |heard: &[Value]| heard.iter().filter(|one| one[0] == name).cloned().collect::<Vec<_>>();
        while of(&self.heard).len() < count {
            assert!(self.hear(), "closed before {count} of {name} were heard");
        }
        of(&self.heard)
    }
}

fn prefix(namespace: &str) -> String {
    if namespace == "/" { String::new() } else { format!("{namespace},") }
}

fn emit(server: &Server, namespace: &str, room: &str, event: &str, number: u64) {
    let body = json!({"namespace": namespace, "rooms": [room], "event": event, "args": [number]});
    let json = "Content-Type: application/json\r\n";
    let answer = server.connect().request("POST", "/socket.io-api/emit", json, body.to_string().as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
}

fn events(name: &str, numbers: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    numbers.map(|number| json!([name, number])).collect()
}

#[test]
fn who_is_away_while_another_version_comes_is_who_it_was_and_gets_what_it_missed() {
    let installed = Installed::new();
    let server = installed.serve(&[KEEPING, "socketio.namespaces=/,/chat*"]);
    // Of either shard, and in a namespace that is made when somebody enters.
    let namespaces = ["/", "/", "/", "/chat-1", "/chat-1", "/chat-2"];
    let mut clients = namespaces.map(|namespace| Client::enter(&server, namespace, json!({})));
    for client in &mut clients {
        client.join("lobby");
        emit(&server, client.namespace, &client.sid, "direct", 0);
        assert_eq!(client.heard_of("direct", 1), events("direct", 0..=0));
    }
    let all = |number| {
        for namespace in ["/", "/chat-1", "/chat-2"] {
            emit(&server, namespace, "lobby", "room", number);
        }
    };
    let each = |clients: &[Client], number| {
        clients.iter().for_each(|one| emit(&server, one.namespace, &one.sid, "direct", number));
    };
    for round in 0..2 {
        let first = 2 * round;
        clients.iter_mut().for_each(|client| client.cut());
        all(first + 1);
        each(&clients, first + 1);
        server.succeeded();
        all(first + 2);
        each(&clients, first + 2);
        for client in &mut clients {
            assert!(client.comes_back(&server), "{} is new in round {round}", client.sid);
            let (rooms, directs) = (2 * (round as usize + 1), 2 * (round as usize + 1) + 1);
            assert_eq!(client.heard_of("room", rooms), events("room", 1..=first + 2));
            assert_eq!(client.heard_of("direct", directs), events("direct", 0..=first + 2));
        }
    }
    all(5);
    for client in &mut clients {
        assert_eq!(client.heard_of("room", 5), events("room", 1..=5), "it hears what is said now, once");
    }
    let forged = clients[0].pid.split_at(12).0.to_owned() + &"A".repeat(clients[0].pid.len() - 12);
    clients[0].pid = forged;
    assert!(!clients[0].comes_back(&server), "who cannot prove it is new");
}

#[test]
fn who_shows_a_token_is_its_user_still_and_not_when_that_has_been_shut_out() {
    let installed = Installed::new();
    let secret = format!("auth.hs256_keys={SECRET}");
    let server = installed.serve(&[KEEPING, &secret]);
    let token = |user: &str| {
        let allow = json!({"subscribe": ["/", "lobby"], "presence": ["lobby"]});
        json!({"token": make(&json!({"sub": user, "allow": allow}))})
    };
    let mut clients = ["41", "42"].map(|user| Client::enter(&server, "/", token(user)));
    clients.iter_mut().for_each(|client| client.join("lobby"));
    server.succeeded();
    let [one, other] = &mut clients;
    assert!(one.comes_back(&server) && other.comes_back(&server));
    // It may do what its token lets it do, and is ended with its user.
    one.join("lobby");
    let (json, body) = ("Content-Type: application/json\r\n", b"{\"user\":\"42\"}");
    assert_eq!(server.connect_admin().request("POST", "/auth/revoke", json, body).status, 202);
    assert_eq!(other.packet(), None);
    server.succeeded();
    assert!(one.comes_back(&server));
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with('0'));
    let mut auth = other.auth.clone();
    auth["pid"] = json!(other.pid);
    socket.send_text(&format!("40{auth}"));
    assert!(socket.text().contains("token_revoked"));
}

/// The number of the last event.
const LAST: u64 = 1 << 40;

/// All that was published to a channel.
fn all_of(server: &Server, channel: &str) -> Vec<Value> {
    let (mut all, mut since) =
        (Vec::new(), server.position(channel).split_once(':').expect("a position").0.to_owned() + ":0");
    loop {
        let page = server.get(&format!("/channels/{channel}/history?limit=1000&since={since}")).json();
        let publications = page["publications"].as_array().expect("a list");
        let Some(last) = publications.last() else { return all };
        since = format!("{}:{}", page["epoch"], last["offset"]);
        all.extend(publications.iter().map(|one| one["data"].clone()));
    }
}

/// Hears all of a room until the last, coming back whenever it has been told to go.
fn follow(server: &Server, client: &mut Client) {
    let is_over = |client: &Client| client.heard.last().is_some_and(|one| one[1] == LAST);
    while !is_over(client) {
        if !client.hear() {
            let is_it = again_and_again("it is let in", || client.comes_back(server));
            assert!(is_it, "it is new after {} events", client.heard.len());
        }
    }
}

#[test]
fn everybody_hears_everything_once_and_in_order_while_versions_follow_each_other() {
    let installed = Installed::new();
    let server = installed.serve(&[KEEPING, "limits.history_publications_max=100000"]);
    let mut clients: Vec<_> = (0..6).map(|_| Client::enter(&server, "/", json!({}))).collect();
    clients.iter_mut().for_each(|client| client.join("lobby"));
    let is_over = AtomicBool::new(false);
    let (server, is_over) = (&server, &is_over);
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for number in 0.. {
                let is_last = is_over.load(Ordering::Relaxed);
                let number = if is_last { LAST } else { number };
                again_and_again("it is said", || emit(server, "/", "lobby", "said", number));
                if is_last {
                    break;
                }
            }
        });
        let clients: Vec<_> =
            clients.iter_mut().map(|client| scope.spawn(|| follow(server, client))).collect();
        let ending = Ending(is_over);
        for _ in 0..3 {
            installed.install_forgetful();
            server.succeeded();
        }
        drop(ending);
        publisher.join().expect("it publishes");
        clients.into_iter().for_each(|client| client.join().expect("it follows"));
    });
    // One whose answer was lost is said again, so the last may stand there more than once.
    let all = all_of(server, "lobby");
    for Client { heard, sid, .. } in &clients {
        assert!(heard.len() > 3 && heard[..] == all[..heard.len()], "{sid}");
    }
}
