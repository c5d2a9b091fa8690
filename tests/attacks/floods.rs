//! Floods: very much of what is small, or the beginnings of it. Whoever sends it waits for itself, and no turn does more than so
//! much of it; [`Attack::end`](crate::row::Attack::end) sees to that.

use std::thread;

use roadstead::wire::websocket::Opcode;
use serde_json::json;

use crate::{
    certificate,
    client::Client,
    row::Attack,
    server::{Server, await_that},
    socket::{WebSocket, frame},
};

/// Clients of a flood that do not wait for each other.
const CLIENTS: usize = 8;

/// So many clients do the same at the same time.
fn all_at_once(server: &Server, clients: usize, act: impl Fn(Client) + Sync) {
    thread::scope(|scope| {
        let begun: Vec<_> = (0..clients).map(|_| scope.spawn(|| act(server.connect()))).collect();
        for one in begun {
            one.join().expect("it is answered");
        }
    });
}

#[test]
fn very_many_requests_one_behind_the_other_are_answered_bit_by_bit() {
    const AT_ONCE: usize = 500;
    const ROUNDS: usize = 10;
    let server = Server::with_shards(1, &[]);
    let size = format!("{CLIENTS} clients, {} each, {AT_ONCE} at once", AT_ONCE * ROUNDS);
    let attack = Attack::begin(&server, "requests", size);
    all_at_once(&server, CLIENTS, |mut client| {
        for _ in 0..ROUNDS {
            client.send(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(AT_ONCE));
            (0..AT_ONCE).for_each(|_| assert_eq!(client.response().status, 200));
        }
    });
    // What is kept of requests, and what waits of answers.
    attack.end(CLIENTS as u64 * (1 << 20));
}

#[test]
fn very_many_small_messages_are_heard_bit_by_bit_and_in_order() {
    const AT_ONCE: usize = 2_000;
    const ROUNDS: usize = 5;
    let server = Server::with_shards(1, &[]);
    let size = format!("{CLIENTS} clients, {} each, {AT_ONCE} at once", AT_ONCE * ROUNDS);
    let attack = Attack::begin(&server, "messages", size);
    all_at_once(&server, CLIENTS, |client| {
        let mut socket = WebSocket::open(client, "/echo", "");
        for round in 0..ROUNDS {
            let texts = (0..AT_ONCE).map(|number| (round * AT_ONCE + number).to_string());
            let frames: Vec<_> =
                texts.clone().map(|text| frame(Opcode::Text, true, text.as_bytes())).collect();
            socket.client.send(frames.concat());
            texts.for_each(|text| assert_eq!(socket.text(), text));
        }
    });
    attack.end(CLIENTS as u64 * (1 << 20));
}

#[test]
fn very_many_batches_of_publications_are_done_bit_by_bit() {
    const BATCHES: usize = 20;
    const PUBLICATIONS: usize = 200;
    let server = Server::with_shards(1, &[]);
    let size = format!("{CLIENTS} clients, {BATCHES} each of {PUBLICATIONS}");
    let attack = Attack::begin(&server, "batches of publications", size);
    let items: Vec<_> = (0..PUBLICATIONS).map(|_| json!({"channel":"all","data":1})).collect();
    let body = serde_json::to_vec(&json!({ "publications": items })).expect("JSON");
    all_at_once(&server, CLIENTS, |mut client| {
        (0..BATCHES).for_each(|_| client.ask("POST", "/publish", "", &body));
        (0..BATCHES).for_each(|_| assert_eq!(client.response().status, 200));
    });
    let last = server.publish("all", "2");
    assert_eq!(last, (CLIENTS * BATCHES * PUBLICATIONS + 1) as u64, "each has been done once");
    attack.end(CLIENTS as u64 * (2 << 20));
}

#[test]
fn lists_of_very_many_channels_are_made_bit_by_bit() {
    const CHANNELS: usize = 100_000;
    const LISTS: usize = 5;
    let server = Server::with_shards(1, &[]);
    let mut client = server.connect();
    for first in (0..CHANNELS).step_by(1_000) {
        let items: Vec<_> = (first..first + 1_000)
            .map(|number| json!({"channel":format!("c{number:06}"),"data":"x"}))
            .collect();
        let body = serde_json::to_vec(&json!({ "publications": items })).expect("JSON");
        assert_eq!(client.request("POST", "/publish", "", &body).status, 200);
    }
    let size = format!("{CLIENTS} clients, {LISTS} each of {CHANNELS}");
    let attack = Attack::begin(&server, "lists of channels", size);
    all_at_once(&server, CLIENTS, |mut client| {
        for _ in 0..LISTS {
            // While others have theirs made there may be no room for one more.
            let answer = client.request("GET", "/channels", "", b"");
            assert!([200, 503].contains(&answer.status), "{answer:?}");
        }
    });
    attack.end(CLIENTS as u64 * (1 << 20));
}

/// A client of Socket.IO in `/`.
fn enter(client: Client) -> WebSocket {
    let mut socket = WebSocket::open(client, "/socket.io/?EIO=4&transport=websocket", "");
    assert!(socket.text().starts_with("0{"));
    socket.send_text("40");
    assert!(socket.text().starts_with("40{"));
    socket
}

#[test]
fn very_many_questions_about_large_rooms_take_no_memory() {
    const SOCKETS: usize = 300;
    const QUESTIONS: usize = 400;
    let server = Server::with_shards(1, &["socketio.presence=count"]);
    let mut sockets: Vec<_> = (0..SOCKETS).map(|_| enter(server.connect())).collect();
    for socket in &mut sockets {
        socket.send_text(r#"420["join","crowd"]"#);
        assert_eq!(socket.text(), r#"430[{"room":"crowd"}]"#);
    }
    let size = format!("{QUESTIONS} about {SOCKETS} sockets");
    let attack = Attack::begin(&server, "questions about rooms", size);
    let asker = &mut sockets[0];
    let question = |number| {
        let text = format!(r#"42{number}["presence","crowd"]"#);
        frame(Opcode::Text, true, text.as_bytes())
    };
    asker.client.send((0..QUESTIONS).flat_map(question).collect::<Vec<_>>());
    for number in 0..QUESTIONS {
        assert_eq!(asker.text(), format!(r#"43{number}[{{"room":"crowd","count":{SOCKETS}}}]"#));
    }
    attack.end(4 << 20);
}

/// Opens an Engine.IO session that polls: its status, and the path of its requests.
fn handshake(client: &mut Client) -> (u16, String) {
    let response = client.request("GET", "/socket.io/?EIO=4&transport=polling", "", b"");
    let text = response.text();
    let sid = text.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
    (response.status, format!("/socket.io/?EIO=4&transport=polling&sid={sid}"))
}

#[test]
fn posts_of_very_many_packets_are_heard_bit_by_bit() {
    const POSTS: usize = 2;
    // As many as a post may have, of a program that is made for that.
    const PACKETS: usize = if cfg!(debug_assertions) { 8_000 } else { 65_000 };
    let server = Server::with_shards(1, &[]);
    let attack = Attack::begin(&server, "posts of packets", format!("{POSTS} of {PACKETS} packets"));
    all_at_once(&server, POSTS, |mut client| {
        let (_, path) = handshake(&mut client);
        assert_eq!(client.request("POST", &path, "", b"40").status, 200);
        assert!(client.request("GET", &path, "", b"").text().starts_with("40{"));
        let body = [r#"42["u"]"#; PACKETS].join("\x1e");
        assert_eq!(client.request("POST", &path, "", body.as_bytes()).status, 200);
    });
    assert!(server.metric("roadstead_messages_total", "") >= (POSTS * PACKETS) as f64, "all are heard");
    // Each body while it arrives, in a buffer that grows, and what is left of it.
    attack.end(POSTS as u64 * (3 << 20));
}

#[test]
fn sessions_without_end_take_no_more_than_those_an_address_may_have() {
    const SESSIONS_MAX: u64 = 200;
    const HANDSHAKES: usize = 1_000;
    let limit = format!("limits.connections_per_address_max={SESSIONS_MAX}");
    let server = Server::with_shards(1, &[&limit]);
    let size = format!("{CLIENTS} clients, {HANDSHAKES} each, {SESSIONS_MAX} may be");
    let attack = Attack::begin(&server, "handshakes of Engine.IO", size);
    all_at_once(&server, CLIENTS, |mut client| {
        for _ in 0..HANDSHAKES {
            assert!([200, 429].contains(&handshake(&mut client).0));
        }
    });
    let sessions = server.metric("roadstead_engine_sessions", "");
    assert!(sessions <= SESSIONS_MAX as f64, "{sessions} sessions");
    // Some kilobytes for each.
    attack.end(SESSIONS_MAX * (16 << 10));
}

#[test]
fn messages_that_are_never_whole_are_kept_within_the_budget() {
    const BUDGET: u64 = 16 << 20;
    const HALVES: usize = 100;
    const BYTES: usize = 900_000;
    let budget = format!("limits.partial_input_bytes_max={BUDGET}");
    let server = Server::with_shards(1, &[&budget, "diagnostics.message_bytes_max=1048576"]);
    let attack = Attack::begin(
        &server,
        "half messages",
        format!("{HALVES} of {BYTES} B, budget {} MiB", BUDGET >> 20),
    );
    let message = frame(Opcode::Binary, true, &vec![7; 1_000_000]);
    let mut sockets: Vec<_> = (0..HALVES).map(|_| server.websocket("/ws")).collect();
    for socket in &mut sockets {
        // To a server that may have had enough of it.
        socket.client.try_send(&message[..BYTES]).unwrap_or_default();
    }
    server.await_metric("roadstead_partial_input_dropped_total", "", HALVES as f64 / 2.0);
    attack.end(BUDGET);
}

#[test]
fn handshakes_of_tls_that_do_not_end_take_a_little_each() {
    const BEGUN: usize = 300;
    let server = sealing_server();
    let attack = Attack::begin(&server, "handshakes of TLS", format!("{BEGUN} hellos, never answered"));
    let clients: Vec<_> = (0..BEGUN)
        .map(|_| {
            let stream = std::net::TcpStream::connect(server.address()).expect("it listens");
            let mut client = Client::plainly_over(stream);
            client.send(hello());
            client
        })
        .collect();
    await_that("all have begun", || {
        server.metric("roadstead_tls_handshakes_in_progress", "") >= BEGUN as f64
    });
    attack.end(BEGUN as u64 * (32 << 10));
    drop(clients);
}

/// One shard that speaks TLS, and is patient.
pub fn sealing_server() -> Server {
    let mut command = Server::command(1, &["127.0.0.1:0"], &["tls.handshake_timeout_ms=60000"]);
    if !certificate::is_used_everywhere() {
        command.args(certificate::flags());
    }
    Server::launch(&mut command)
}

/// What a client of TLS sends first.
pub fn hello() -> Vec<u8> {
    let name = "localhost".try_into().expect("a name");
    let mut connection = rustls::ClientConnection::new(certificate::client(), name).expect("a client");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("a vector takes everything");
    bytes
}
