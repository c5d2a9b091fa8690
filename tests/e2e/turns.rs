//! What is long is done bit by bit: no turn of a shard does more than so much of it, whatever one client asks.

use roadstead::{
    limits::{
        CHANNEL_LISTS_MAX, CHANNELS_PER_TURN, HEARD_PER_TURN_MAX, PACKETS_AT_ONCE, PACKETS_PER_TURN,
        PUBLICATIONS_AT_ONCE, RECEIVE_BUFFERS, SOCKETS_PER_TURN,
    },
    wire::websocket::Opcode,
};
use serde_json::json;

use crate::{
    server::{Server, await_that},
    socket::{WebSocket, frame},
};

/// Publishes to so many channels.
fn fill(server: &Server, channels: usize) {
    let mut client = server.connect();
    for first in (0..channels).step_by(1_000) {
        let items: Vec<_> = (first..channels.min(first + 1_000))
            .map(|number| json!({"channel":format!("c{number:06}"),"data":"x"}))
            .collect();
        let body = serde_json::to_vec(&json!({"publications":items})).expect("JSON");
        assert_eq!(client.request("POST", "/publish", "", &body).status, 200);
    }
}

/// The most pieces of a kind of work that one turn of one shard has done.
fn most(server: &Server, work: &str) -> f64 {
    server.metric("roadstead_turn_items_max", work)
}

#[test]
fn a_list_of_many_channels_is_made_bit_by_bit_and_is_whole() {
    const COUNT: usize = 20_000;
    let server = Server::with_shards(1, &[]);
    fill(&server, COUNT);
    let list = server.get("/channels?prefix=c0199&limit=100").json();
    assert_eq!((list["channels"].as_array().map(Vec::len), &list["complete"]), (Some(100), &json!(true)));
    assert_eq!(list["channels"][99]["channel"], "c019999");
    let first = server.get("/channels?limit=2").json();
    assert_eq!((&first["channels"][1]["channel"], &first["complete"]), (&json!("c000001"), &json!(false)));
    let most = most(&server, "channels");
    assert!(most > 0.0 && most <= CHANNELS_PER_TURN as f64, "{most} channels were looked at in one turn");
}

#[test]
fn a_batch_of_many_publications_is_done_bit_by_bit_and_in_order() {
    const COUNT: usize = 1_000;
    let server = Server::with_shards(1, &[]);
    let mut client = server.connect();
    let items: Vec<_> = (0..COUNT).map(|number| json!({"channel":"all","data":number})).collect();
    let body = serde_json::to_vec(&json!({"publications":items})).expect("JSON");
    let results = client.request("POST", "/publish", "", &body).json();
    let offsets = results["results"].as_array().expect("a list").iter().map(|one| one["offset"].as_u64());
    assert!(offsets.eq((1..=COUNT as u64).map(Some)), "{results}");
    let most = most(&server, "publications");
    assert!(most > 0.0 && most <= PUBLICATIONS_AT_ONCE as f64, "{most} publications were done in one turn");
}

#[test]
fn lists_beyond_those_being_made_are_refused_and_the_next_is_made() {
    let server = Server::with_shards(1, &[]);
    fill(&server, 50_000);
    let list = b"GET /channels HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let count = 8 * CHANNEL_LISTS_MAX;
    // One answer cannot overtake another, so a connection waits for one list at most.
    let mut clients: Vec<_> = (0..count).map(|_| server.connect()).collect();
    await_that("all are open", || server.connections() == u64::from(count));
    clients.iter_mut().for_each(|client| client.send(list));
    let answers: Vec<_> = clients.iter_mut().map(|client| client.response()).collect();
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!made.is_empty() && !refused.is_empty(), "{} made, {} refused", made.len(), refused.len());
    for answer in refused {
        assert_eq!((answer.status, answer.error_code().as_str()), (503, "lists_full"));
        assert_eq!(answer.field("retry-after"), Some("1"));
    }
    assert_eq!(clients[0].request("GET", "/channels", "", b"").status, 200);
}

#[test]
fn requests_and_messages_that_come_at_once_are_heard_bit_by_bit_and_all_of_them() {
    const COUNT: usize = 5_000;
    let server = Server::with_shards(1, &[]);
    let mut client = server.connect();
    let sending = client.send_beside(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(COUNT));
    (0..COUNT).for_each(|_| assert_eq!(client.response().status, 200));
    sending.join().expect("all is sent");
    let mut socket = server.websocket("/echo");
    let message = |number: usize| frame(Opcode::Text, true, number.to_string().as_bytes());
    let sending = socket.client.send_beside((0..COUNT).flat_map(message).collect::<Vec<_>>());
    (0..COUNT).for_each(|number| assert_eq!(socket.text(), number.to_string()));
    sending.join().expect("all is sent");
    let most = most(&server, "heard");
    assert!(most > 0.0 && most <= HEARD_PER_TURN_MAX as f64, "{most} pieces were heard in one turn");
}

#[test]
fn a_message_that_finds_its_shard_asleep_takes_one_turn() {
    let server = Server::with_shards(1, &[]);
    let mut socket = server.websocket("/echo");
    let turns = || server.shards()[0]["turns_total"].as_u64().expect("a counter");
    const MESSAGES: u64 = 500;
    let before = turns();
    for _ in 0..MESSAGES {
        socket.send_text("echo");
        assert_eq!(socket.text(), "echo");
    }
    // The socket is found readable, read and answered in one; what was sent is known to have been at the next message.
    // A fifth more for deadlines and for the questions asked here.
    let taken = turns() - before;
    assert!(taken <= MESSAGES * 12 / 10, "{taken} turns for {MESSAGES} messages");
}

#[test]
fn more_requests_at_once_than_there_are_receive_buffers_are_all_answered_and_counted() {
    // Whoever connects first has to wait for the others.
    let server = Server::with_shards(1, &["limits.head_timeout_ms=60000"]);
    // The kernel reports twenty first, and from turn to turn twice as many.
    let mut clients: Vec<_> = (0..4 * RECEIVE_BUFFERS).map(|_| server.connect()).collect();
    // Each is known to the shard once it has answered.
    for client in &mut clients {
        assert_eq!(client.request("GET", "/hello", "", b"").status, 200);
    }
    server.pause(|| clients.iter_mut().for_each(|client| client.ask("GET", "/hello", "", b"")));
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert!(server.metric("roadstead_receive_buffers_exhausted_total", "") > 0.0);
}

/// A client of Socket.IO in `/`.
fn enter(server: &Server) -> WebSocket {
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with("0{"));
    socket.send_text("40");
    assert!(socket.text().starts_with("40{"));
    socket
}

#[test]
fn a_post_of_very_many_packets_is_heard_bit_by_bit() {
    const COUNT: usize = 20_000;
    const PATH: &str = "/socket.io/?EIO=4&transport=polling";
    let server = Server::with_shards(1, &[]);
    let mut client = server.connect();
    let open = client.request("GET", PATH, "", b"").text();
    let open: serde_json::Value = serde_json::from_str(&open[1..]).expect("a session is opened with JSON");
    let target = format!("{PATH}&sid={}", open["sid"].as_str().expect("an id"));
    assert_eq!(client.request("POST", &target, "", b"40").status, 200);
    assert!(client.request("GET", &target, "", b"").text().starts_with("40{"));
    let body = [r#"42["unheard"]"#; COUNT].join("\x1e");
    let answer = client.request("POST", &target, "", body.as_bytes());
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert!(server.metric("roadstead_messages_total", "") >= COUNT as f64, "all have been heard");
    let most = most(&server, "messages");
    let bound = PACKETS_PER_TURN + PACKETS_AT_ONCE;
    assert!(most > 0.0 && most <= bound as f64, "{most} packets were heard in one turn");
}

#[test]
fn many_questions_about_large_rooms_are_answered_bit_by_bit_and_rightly() {
    const SOCKETS: usize = 200;
    const QUESTIONS: usize = 500;
    let server = Server::with_shards(1, &["socketio.presence=count"]);
    let mut sockets: Vec<_> = (0..SOCKETS).map(|_| enter(&server)).collect();
    for socket in &mut sockets {
        socket.send_text(r#"420["join","crowd"]"#);
        assert_eq!(socket.text(), r#"430[{"room":"crowd"}]"#);
    }
    let asker = &mut sockets[0];
    let mut bytes = Vec::new();
    for number in 0..QUESTIONS {
        let question = format!(r#"42{number}["presence","crowd"]"#);
        bytes.extend(frame(Opcode::Text, true, question.as_bytes()));
    }
    asker.client.send(bytes);
    for number in 0..QUESTIONS {
        assert_eq!(asker.text(), format!(r#"43{number}[{{"room":"crowd","count":{SOCKETS}}}]"#));
    }
    let most = most(&server, "sockets");
    let bound = SOCKETS_PER_TURN + 8;
    assert!(most > 0.0 && most <= bound as f64, "{most} looks at sockets were taken in one turn");
}

#[test]
fn a_command_to_very_many_sockets_reaches_each_bit_by_bit() {
    const SOCKETS: usize = 1_000;
    let server = Server::with_shards(1, &["publish.open=true"]);
    let mut sockets: Vec<_> = (0..SOCKETS).map(|_| enter(&server)).collect();
    let mut client = server.connect();
    let join = json!({"join":["a","b","c","d"]}).to_string();
    let fields = "Content-Type: application/json\r\n";
    assert_eq!(client.request("POST", "/socket.io-api/sockets", fields, join.as_bytes()).status, 202);
    let rooms = ["a", "b", "c", "d"];
    for room in rooms {
        server.await_subscribers(room, SOCKETS as u64);
    }
    let close = json!({"rooms":rooms,"disconnect":true}).to_string();
    assert_eq!(client.request("POST", "/socket.io-api/sockets", fields, close.as_bytes()).status, 202);
    for socket in &mut sockets {
        assert_eq!(socket.text(), "41");
    }
    let most = most(&server, "sockets");
    let bound = SOCKETS_PER_TURN + 32;
    assert!(most > 0.0 && most <= bound as f64, "{most} looks at sockets were taken in one turn");
}
