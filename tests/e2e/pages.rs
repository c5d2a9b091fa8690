//! What takes many bytes for few asked is written and sent a part in each turn, whoever asks for it at once.

use roadstead::limits::{
    HISTORY_PAGE_BYTES_MAX, LARGE_BYTES_PER_TURN, MADE_BYTES_PER_TURN, RECOVERY_PIECE_BYTES,
    SENT_BYTES_PER_TURN,
};
use serde_json::json;

use crate::{
    client::{Client, greet_all},
    permissions::TemporaryFile,
    server::{Server, await_that},
    socket::WebSocket,
    stream::EventStream,
    tokens,
};

/// The heads of messages, and what is said beside that is small.
const SMALL_BYTES: usize = 64 * 1024;

/// Fails if one turn of a shard has written or sent more than it may, and one answer of so many bytes; or less, which would
/// mean that these clients have not asked for too much.
#[track_caller]
fn check_turns(server: &Server, answer_bytes: usize) {
    for (work, may) in [("written_bytes", MADE_BYTES_PER_TURN), ("sent_bytes", SENT_BYTES_PER_TURN)] {
        let most = server.metric("roadstead_turn_items_max", work) as usize;
        assert!(most <= may + answer_bytes + SMALL_BYTES, "{most} {work} in one turn, which may have {may}");
    }
    let most = server.metric("roadstead_turn_items_max", "written_bytes") as usize;
    assert!(most >= MADE_BYTES_PER_TURN, "{most} bytes were asked for at once");
}

/// So many clients that the server knows.
fn clients(server: &Server, count: usize) -> Vec<Client> {
    let clients: Vec<_> = (0..count).map(|_| server.connect()).collect();
    await_that("all are known", || server.connections() >= count as u64);
    clients
}

/// A server with so many publications on one channel, and the position before them.
fn with_history(count: usize, data: &[u8]) -> (Server, String) {
    let server = Server::with_shards(1, &["limits.history_publications_max=1000"]);
    server.publish("h", "first");
    let position = server.position("h");
    let mut publisher = server.connect();
    for _ in 0..count {
        publisher.publish("h", data);
    }
    (server, position)
}

#[test]
fn pages_that_are_asked_for_at_once_are_written_a_few_in_a_turn() {
    const CLIENTS: usize = 24;
    const DATA_BYTES: usize = 100_000;
    // JSON makes six of each byte.
    let (server, position) = with_history(10, &[1; DATA_BYTES]);
    let mut clients = clients(&server, CLIENTS);
    let targets = ["/channels/h/history".to_owned(), format!("/channels/h?since={position}")];
    server.pause(|| {
        for (client, target) in clients.iter_mut().zip(targets.iter().cycle()) {
            client.ask("GET", target, "", b"");
        }
    });
    for client in &mut clients {
        let answer = client.response();
        assert_eq!((answer.status, answer.body.len() > 10 * 6 * DATA_BYTES), (200, true));
    }
    check_turns(&server, 6 * HISTORY_PAGE_BYTES_MAX as usize);
    let page = clients[0].request("GET", &targets[0], "", b"").json();
    assert_eq!(page["publications"][9]["data"].as_str().map(str::len), Some(DATA_BYTES));
}

#[test]
fn what_is_published_while_a_poll_waits_for_its_page_is_for_the_next_poll() {
    const CLIENTS: usize = 24;
    let (server, position) = with_history(10, &[b'x'; 100_000]);
    let (mut clients, mut publisher) = (clients(&server, CLIENTS), server.connect());
    server.pause(|| {
        for client in &mut clients {
            client.ask("GET", &format!("/channels/h?since={position}"), "", b"");
        }
        publisher.ask("POST", "/channels/h", "", b"later");
    });
    assert_eq!(publisher.response().status, 200);
    for client in &mut clients {
        let answer = client.response().json();
        let publications = answer["publications"].as_array().expect("a list");
        assert!(publications.len() >= 10 && publications[0]["offset"] == 2);
        // Those that came first have not seen it, and the next poll brings it.
        if publications.len() == 10 {
            let since = answer["position"].as_str().expect("a position");
            let answer = client.request("GET", &format!("/channels/h?since={since}"), "", b"").json();
            assert_eq!(answer["publications"][0]["data"], "later");
        }
    }
}

#[test]
fn a_poll_that_is_ended_while_it_waits_for_its_page_leaves_it_to_no_other() {
    const CLIENTS: usize = 24;
    let namespaces = "[[namespace]]\npattern = \"**\"\nsubscribe = \"anyone\"\npublish = \"anyone\"\npresence = \"anyone\"\n";
    let file = TemporaryFile::holding("pages.toml", namespaces);
    let keys = format!("auth.hs256_keys=[\"{}\"]", tokens::SECRET);
    let mut command = Server::command(1, &["127.0.0.1:0"], &[&keys]);
    let server = Server::launch(command.args(["--config", file.path()]));
    ["h", "small"].iter().for_each(|channel| _ = server.publish(channel, "first"));
    let since = |channel: &str| format!("/channels/{channel}?since={}", server.position(channel));
    let (large, small) = (since("h"), since("small"));
    let mut publisher = server.connect();
    (0..10).for_each(|_| _ = publisher.publish("h", [1; 100_000]));
    publisher.publish("small", "hello");
    let (mut others, mut client) = (clients(&server, CLIENTS), server.connect());
    let mut admin = server.connect_admin();
    // Over TLS first requests wait for their turn.
    greet_all(others.iter_mut().chain([&mut client]));
    let token = tokens::make(&json!({"sub": "42"}));
    server.pause(|| {
        others.iter_mut().for_each(|other| other.ask("GET", &large, "", b""));
        client.ask("GET", &large, &format!("Authorization: Bearer {token}\r\n"), b"");
        client.ask("GET", &small, "", b"");
    });
    // Each answer takes a turn, and there are more pages than that.
    assert_eq!(admin.request("GET", "/healthz", "", b"").status, 200);
    let json = "Content-Type: application/json\r\n";
    assert_eq!(admin.request("POST", "/auth/revoke", json, br#"{"user":"42"}"#).status, 202);
    let ended = client.response();
    // On a machine that has let this wait for long, it has its page already.
    let is_early = ended.status == 401 && ended.error_code() == "revoked";
    assert!(is_early || ended.json()["channel"] == "h", "{}", ended.status);
    let answer = client.response().json();
    assert_eq!(answer["channel"], "small");
    assert_eq!(answer["publications"][0]["data"], "hello");
    others.iter_mut().for_each(|other| assert_eq!(other.response().json()["channel"], "h"));
}

#[test]
fn subscribers_that_come_back_at_once_are_told_what_they_missed_a_few_in_a_turn() {
    const CLIENTS: usize = 60;
    const DATA_BYTES: usize = 15_000;
    let (server, position) = with_history(20, &[b'x'; DATA_BYTES]);
    let mut streams = clients(&server, CLIENTS);
    let mut sockets: Vec<_> = (0..CLIENTS).map(|_| server.websocket("/ws")).collect();
    let subscribe = json!({"id":1,"subscribe":{"channel":"h","since":position}}).to_string();
    server.pause(|| {
        let target = format!("/channels/h?since={position}");
        for client in &mut streams {
            client.ask("GET", &target, "Accept: text/event-stream\r\n", b"");
        }
        sockets.iter_mut().for_each(|socket| socket.send_text(&subscribe));
    });
    for mut client in streams {
        let head = client.response_head();
        let mut stream = EventStream { client, head };
        (0..20).for_each(|_| assert_eq!(stream.data().len(), DATA_BYTES));
    }
    for socket in &mut sockets {
        let reply = socket.json();
        assert_eq!(
            (&reply["subscribed"]["missed"], &reply["subscribed"]["recovered"]),
            (&json!(20), &json!(true))
        );
        let offsets = (0..20).map(|_| socket.push()["offset"].as_u64());
        assert!(offsets.eq((2..22).map(Some)));
    }
    check_turns(&server, 2 * (RECOVERY_PIECE_BYTES as usize + DATA_BYTES));
}

/// A client of Socket.IO that has been let in, and what it shows to come back.
fn enter(server: &Server) -> (WebSocket, String) {
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with("0{"));
    socket.send_text("40");
    let reply: serde_json::Value = serde_json::from_str(&socket.text()[2..]).expect("an object");
    (socket, reply["pid"].as_str().expect("a secret").to_owned())
}

#[test]
fn socketio_clients_that_come_back_at_once_are_told_what_they_missed_a_few_in_a_turn() {
    const CLIENTS: usize = 60;
    const DATA_BYTES: usize = 15_000;
    let server = Server::with_shards(1, &["socketio.connection_state_recovery_ms=120000"]);
    let pids: Vec<_> = (0..CLIENTS).map(|_| enter(&server).1).collect();
    await_that("they are away", || server.metric("roadstead_engine_sessions", "") == 0.0);
    let mut publisher = server.connect();
    (1..=20).for_each(|offset| assert_eq!(publisher.publish("%2F", [b'x'; DATA_BYTES]), offset));
    let open = |_: &String| {
        let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
        assert!(socket.text().starts_with("0{"));
        socket
    };
    let mut sockets: Vec<_> = pids.iter().map(open).collect();
    server.pause(|| {
        for (socket, pid) in sockets.iter_mut().zip(&pids) {
            socket.send_text(&format!("40{{\"pid\":\"{pid}\"}}"));
        }
    });
    for socket in &mut sockets {
        assert!(socket.text().starts_with("40{"));
        (0..20).for_each(|_| assert!(socket.text().len() > DATA_BYTES));
    }
    check_turns(&server, 2 * (RECOVERY_PIECE_BYTES as usize + DATA_BYTES));
}

#[test]
fn one_large_publication_for_many_is_sent_to_a_few_in_a_turn() {
    const FOLLOWERS: usize = 60;
    const DATA_BYTES: usize = 250_000;
    let server = Server::with_shards(1, &[]);
    let mut followers: Vec<_> = (0..FOLLOWERS).map(|_| server.websocket("/channels/p")).collect();
    server.await_subscribers("p", FOLLOWERS as u64);
    server.publish("p", vec![b'x'; DATA_BYTES]);
    for follower in &mut followers {
        assert_eq!(follower.text().len(), DATA_BYTES);
    }
    let most = server.metric("roadstead_turn_items_max", "sent_bytes") as usize;
    assert!(most > LARGE_BYTES_PER_TURN / 2, "{most} bytes were to be sent at once");
    assert!(most <= SENT_BYTES_PER_TURN + DATA_BYTES + SMALL_BYTES, "{most} bytes were sent in one turn");
}

#[test]
fn what_is_small_is_handed_out_while_a_large_publication_is() {
    const FOLLOWERS: usize = 60;
    const DATA_BYTES: usize = 250_000;
    let server = Server::with_shards(1, &[]);
    let mut followers: Vec<_> = (0..FOLLOWERS).map(|_| server.websocket("/channels/p")).collect();
    let mut last = server.websocket("/ws");
    for channel in ["p", "small"] {
        last.command(&json!({"id":1,"subscribe":{"channel":channel}}));
    }
    server.await_subscribers("p", FOLLOWERS as u64 + 1);
    let mut publishers = clients(&server, 2);
    let (before, data) = (server.metric("roadstead_received_bytes_total", ""), vec![b'x'; DATA_BYTES]);
    let head =
        format!("POST /channels/p HTTP/1.1\r\nHost: localhost\r\nContent-Length: {DATA_BYTES}\r\n\r\n");
    publishers[0].send([head.as_bytes(), &data[1..]].concat());
    await_that("all but the last byte is read", || {
        server.metric("roadstead_received_bytes_total", "") > before + DATA_BYTES as f64 - 1.0
    });
    // Both are published in one turn, the large one first.
    server.pause(|| {
        publishers[0].send(&data[..1]);
        publishers[1].ask("POST", "/channels/small", "", b"hello");
    });
    assert_eq!(last.push()["channel"], "small");
    assert_eq!(last.push()["data"].as_str().map(str::len), Some(DATA_BYTES));
    for follower in &mut followers {
        assert_eq!(follower.text().len(), DATA_BYTES);
    }
    publishers.iter_mut().for_each(|publisher| assert_eq!(publisher.response().status, 200));
}

#[test]
fn publishers_that_are_held_back_are_read_on_and_nothing_is_lost() {
    const FOLLOWERS: usize = 30;
    const PUBLISHERS: usize = 30;
    const DATA_BYTES: usize = 250_000;
    // However late this test reads, it is not what is too slow.
    let server = Server::with_shards(1, &["limits.send_queue_bytes_max=8000000"]);
    let mut followers: Vec<_> = (0..FOLLOWERS).map(|_| server.websocket("/channels/p")).collect();
    server.await_subscribers("p", FOLLOWERS as u64);
    let publishers = clients(&server, PUBLISHERS);
    std::thread::scope(|scope| {
        for mut publisher in publishers {
            scope.spawn(move || {
                publisher.publish("p", vec![b'x'; DATA_BYTES]);
                publisher.publish("p", "behind");
            });
        }
        for follower in &mut followers {
            scope.spawn(|| {
                let lens: Vec<_> = (0..2 * PUBLISHERS).map(|_| follower.text().len()).collect();
                assert_eq!(lens.iter().filter(|len| **len == DATA_BYTES).count(), PUBLISHERS);
            });
        }
    });
    assert_eq!(server.metric("roadstead_closed_total", "slow_consumer"), 0.0);
}
