//! One publication for many, and much of it for one.

use crate::{
    certificate,
    client::Client,
    row::Attack,
    server::{Server, await_that},
    socket::WebSocket,
    stream::EventStream,
};

/// So many bytes of a publication that JSON makes six of each.
const CONTROL_BYTES: usize = 256 * 1024;

#[test]
fn one_publication_for_many_polls_is_kept_once() {
    const POLLS: u64 = 600;
    // What is sent to each and not taken by the kernel is the same.
    let server = Server::with_shards(1, &[]);
    let mut polls: Vec<_> = (0..POLLS).map(|_| server.connect()).collect();
    polls.iter_mut().for_each(|poll| poll.ask("GET", "/channels/p?timeout=60", "", b""));
    server.await_subscribers("p", POLLS);
    let attack = Attack::begin(&server, "a publication for polls", format!("{POLLS} of 1.5 MB"));
    server.publish("p", vec![1; CONTROL_BYTES]);
    server.await_subscribers("p", 0);
    attack.end(3 * 6 * CONTROL_BYTES as u64);
    for poll in &mut polls[..3] {
        let answer = poll.response();
        assert_eq!((answer.status, answer.body.len() > 6 * CONTROL_BYTES), (200, true));
        assert_eq!(answer.json()["publications"][0]["offset"], 1);
    }
}

#[test]
fn one_publication_for_many_streams_of_several_channels_is_kept_once() {
    const STREAMS: u64 = 300;
    let server = Server::with_shards(1, &[]);
    let open = |client| EventStream::open_at(client, "/events?channel=p&channel=q", "");
    let mut readers: Vec<_> = (0..3).map(|_| open(server.connect())).collect();
    let others: Vec<_> = (3..STREAMS).map(|_| open(Client::narrow(server.address()))).collect();
    ["p", "q"].iter().for_each(|channel| server.await_subscribers(channel, STREAMS));
    let attack =
        Attack::begin(&server, "a publication for streams of several", format!("{STREAMS} of 1.5 MB"));
    server.publish("p", vec![1; CONTROL_BYTES]);
    server.await_metric("roadstead_deliveries_total", "", STREAMS as f64);
    attack.end(3 * 6 * CONTROL_BYTES as u64);
    for reader in &mut readers {
        let event = reader.event();
        assert!(event.id.is_some() && event.data.is_some_and(|data| data.len() > 6 * CONTROL_BYTES));
    }
    drop(others);
}

/// Opens a Socket.IO session that polls and enters `/`: the path of its requests.
fn enter(client: &mut Client) -> String {
    let text = client.request("GET", "/socket.io/?EIO=4&transport=polling", "", b"").text();
    let sid = text.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split('"').next()).expect("an id");
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    assert_eq!(client.request("POST", &path, "", b"40").status, 200);
    assert!(client.request("GET", &path, "", b"").text().starts_with("40{"));
    path
}

#[test]
fn one_publication_for_many_socketio_clients_that_poll_is_kept_once() {
    const CLIENTS: usize = 600;
    let server = Server::with_shards(1, &[]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    let paths: Vec<_> = clients.iter_mut().map(enter).collect();
    // Half of them wait in a poll, and the other half poll later.
    for (client, path) in clients.iter_mut().zip(&paths).step_by(2) {
        client.ask("GET", path, "", b"");
    }
    let size = format!("{CLIENTS} of 256 KB");
    let attack = Attack::begin(&server, "a publication for Socket.IO clients that poll", size);
    server.publish("%2F", vec![b'x'; CONTROL_BYTES - 1000]);
    server.await_metric("roadstead_deliveries_total", "", CLIENTS as f64);
    attack.end(8 * CONTROL_BYTES as u64);
    for (client, path) in clients.iter_mut().zip(&paths).skip(1).step_by(2).take(3) {
        let answer = client.request("GET", path, "", b"");
        assert_eq!((answer.status, answer.text().starts_with("42[\"message\",\"xxx")), (200, true));
    }
    let answer = clients[0].response();
    assert!(answer.status == 200 && answer.body.len() > CONTROL_BYTES - 1000);
}

#[test]
fn an_event_that_leaves_some_out_is_kept_once_for_all_others() {
    const CLIENTS: usize = 600;
    let server = Server::with_shards(1, &[]);
    let enter = |client| {
        let mut socket = WebSocket::open(client, "/socket.io/?EIO=4&transport=websocket", "");
        assert!(socket.text().starts_with("0{"));
        socket.send_text("40");
        let entered = socket.text();
        let reply: serde_json::Value = serde_json::from_str(&entered[2..]).expect("it is in");
        (socket, reply["sid"].as_str().expect("an id").to_owned())
    };
    let (mut sender, sid) = enter(server.connect());
    let mut readers: Vec<_> = (0..3).map(|_| enter(server.connect()).0).collect();
    let others: Vec<_> = (0..CLIENTS).map(|_| enter(Client::narrow(server.address())).0).collect();
    let mut backend = server.connect();
    let mut emit = |body: serde_json::Value| {
        let json = "Content-Type: application/json\r\n";
        let answer = backend.request("POST", "/socket.io-api/emit", json, body.to_string().as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.text());
    };
    let text = "x".repeat(CONTROL_BYTES - 1000);
    let attack = Attack::begin(&server, "events that leave some out", format!("2 for {CLIENTS} of 256 KB"));
    // The first is for all but its sender, the second for whoever is in no such room.
    for except in [&*sid, "nobody"] {
        emit(serde_json::json!({"event": "e", "args": [except, text], "except": [except]}));
    }
    server.await_metric("roadstead_deliveries_total", "", (2 * (CLIENTS + 3) + 1) as f64);
    attack.end(8 * CONTROL_BYTES as u64);
    assert!(sender.text().starts_with("42[\"e\",\"nobody\""), "the first was not for it");
    for reader in &mut readers {
        assert!(reader.text().starts_with(&format!("42[\"e\",\"{sid}\",\"xxx")));
        assert!(reader.text().starts_with("42[\"e\",\"nobody\",\"xxx"));
    }
    drop(others);
}

#[test]
fn what_waits_for_clients_that_poll_and_do_not_take_it_away_is_bounded_for_all_together() {
    const CLIENTS: usize = 200;
    const BUDGET_BYTES: usize = 32 << 20;
    const ANSWER_BYTES: usize = 100_000;
    let server = Server::with_shards(
        1,
        &[&format!("limits.send_bytes_max={BUDGET_BYTES}"), "limits.history_bytes_max=1000000"],
    );
    let mut client = server.connect();
    let size = format!("{CLIENTS} of 500 KB");
    // What each says to itself comes back to it alone, and it does not poll.
    let paths: Vec<_> = (0..CLIENTS).map(|_| enter(&mut client)).collect();
    let attack = Attack::begin(&server, "events for clients that never poll", size);
    let text = "x".repeat(ANSWER_BYTES);
    for round in 0..5 {
        for (number, path) in paths.iter().enumerate() {
            let room = format!("own-{number}");
            if round == 0 {
                client.request("POST", path, "", format!("42[\"join\",\"{room}\"]").as_bytes());
            }
            client.request(
                "POST",
                path,
                "",
                format!("42[\"publish\",\"{room}\",\"e\",\"{text}\"]").as_bytes(),
            );
        }
    }
    attack.end(2 * BUDGET_BYTES as u64);
    assert!(
        server.metric("roadstead_engine_sessions", "") < CLIENTS as f64,
        "those with the most were ended"
    );
}

#[test]
fn one_publication_for_many_over_tls_is_sealed_for_a_few_at_a_time() {
    const FOLLOWERS: u64 = 400;
    const BYTES: usize = 250_000;
    let mut command = Server::command(1, &[], &[]);
    let server = Server::launch(command.args(["--listen", "127.0.0.1:0"]).args(certificate::flags()));
    let open = || WebSocket::open(server.connect(), "/channels/p", "");
    let mut followers: Vec<_> = (0..FOLLOWERS).map(|_| open()).collect();
    let mut publisher = server.connect();
    let info = |client: &mut Client| client.request("GET", "/channels/p/info", "", b"").json();
    await_that("all follow", || info(&mut publisher)["subscribers"] == FOLLOWERS);
    let attack = Attack::begin(&server, "a publication over TLS", format!("{FOLLOWERS} of {BYTES} B"));
    publisher.publish("p", vec![b'x'; BYTES]);
    for follower in &mut followers {
        assert_eq!(follower.text().len(), BYTES);
    }
    attack.end(8 << 20);
}

/// A server with one channel of 8 MB of history, and the position before it.
fn with_history() -> (Server, String) {
    let server = Server::with_shards(1, &["limits.history_publications_max=1000"]);
    server.publish("h", "first");
    let position = server.position("h");
    let mut publisher = server.connect();
    for _ in 0..HISTORY_PUBLICATIONS {
        publisher.publish("h", [b'x'; PUBLICATION_BYTES]);
    }
    (server, position)
}

const HISTORY_PUBLICATIONS: usize = 200;
const PUBLICATION_BYTES: usize = 40_000;
/// What one subscriber that catches up is sent at once, and what waits beside that piece before the next one.
const PIECE_BYTES: u64 = 2 * 64 * 1024 + PUBLICATION_BYTES as u64;

#[test]
fn history_is_not_copied_for_those_who_come_back_and_do_not_read() {
    const CLIENTS: usize = 40;
    let (server, position) = with_history();
    let attack = Attack::begin(&server, "8 MB of history missed, unread", format!("{} clients", 3 * CLIENTS));
    let since = format!("?since={position}");
    let narrow = || Client::narrow(server.address());
    let streams: Vec<_> = (0..CLIENTS).map(|_| EventStream::open(narrow(), "h", &since, "")).collect();
    let target = format!("/channels/h{since}");
    let sockets: Vec<_> = (0..CLIENTS).map(|_| WebSocket::open(narrow(), &target, "")).collect();
    let mut commands: Vec<_> = (0..CLIENTS).map(|_| WebSocket::open(narrow(), "/ws", "")).collect();
    for socket in &mut commands {
        let reply = socket.command(&serde_json::json!({"id":1,"subscribe":{"channel":"h","since":position}}));
        assert_eq!(reply["subscribed"]["missed"], HISTORY_PUBLICATIONS);
    }
    await_that("everybody is sent some", || server.metric("roadstead_send_queue_bytes", "") > 1e6);
    attack.end(3 * CLIENTS as u64 * PIECE_BYTES);
    // And whoever does read gets all of it, in order.
    let (mut stream, mut socket) =
        (EventStream::open(server.connect(), "h", &since, ""), server.websocket(&target));
    server.publish("h", "last");
    for _ in 0..HISTORY_PUBLICATIONS {
        assert_eq!((stream.data().len(), socket.text().len()), (PUBLICATION_BYTES, PUBLICATION_BYTES));
        assert!(commands[0].push()["data"].as_str().is_some_and(|data| data.len() == PUBLICATION_BYTES));
    }
    assert_eq!((stream.data(), socket.text()), ("last".into(), "last".into()));
    assert_eq!(commands[0].push()["data"], "last");
    drop((streams, sockets));
}

/// A Socket.IO client over a WebSocket that is let in, or back in: it, and what it shows to come back.
fn enter_websocket(client: Client, claim: &str) -> (WebSocket, String) {
    let mut socket = WebSocket::open(client, "/socket.io/?EIO=4&transport=websocket", "");
    assert!(socket.text().starts_with("0{"));
    socket.send_text(&format!("40{claim}"));
    let entered = socket.text();
    let reply: serde_json::Value = serde_json::from_str(&entered[2..]).expect("an object");
    (socket, reply["pid"].as_str().expect("a secret").to_owned())
}

#[test]
fn what_socketio_clients_missed_is_not_copied_for_those_who_come_back_and_do_not_read() {
    const CLIENTS: usize = 40;
    let server = Server::with_shards(1, &["socketio.connection_state_recovery_ms=120000"]);
    let pids: Vec<_> = (0..CLIENTS).map(|_| enter_websocket(server.connect(), "").1).collect();
    await_that("they are away", || server.metric("roadstead_engine_sessions", "") == 0.0);
    let mut publisher = server.connect();
    let mut publish = || publisher.publish("%2F", [b'x'; PUBLICATION_BYTES]);
    (1..=HISTORY_PUBLICATIONS as u64).for_each(|offset| assert_eq!(publish(), offset));
    let attack = Attack::begin(&server, "8 MB of Socket.IO missed, unread", format!("{CLIENTS} clients"));
    let back = |pid: &String| {
        let claim = format!("{{\"pid\":\"{pid}\"}}");
        let (socket, same) = enter_websocket(Client::narrow(server.address()), &claim);
        assert_eq!(same, *pid, "it is the one that left");
        socket
    };
    let mut sockets: Vec<_> = pids.iter().map(back).collect();
    await_that("everybody is sent some", || server.metric("roadstead_send_queue_bytes", "") > 1e6);
    (1..=3).for_each(|more| assert_eq!(publish(), HISTORY_PUBLICATIONS as u64 + more));
    attack.end(CLIENTS as u64 * PIECE_BYTES);
    for _ in 0..HISTORY_PUBLICATIONS + 3 {
        assert!(sockets[0].text().len() > PUBLICATION_BYTES);
    }
}

#[test]
fn pages_of_history_end_early_and_a_client_goes_on_where_they_end() {
    let (server, position) = with_history();
    let attack = Attack::begin(&server, "pages of 8 MB of history", "40 pages, 40 polls".into());
    let mut clients: Vec<_> = (0..80).map(|_| Client::narrow(server.address())).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        match at % 2 {
            0 => client.ask("GET", "/channels/h/history", "", b""),
            _ => client.ask("GET", &format!("/channels/h?since={position}"), "", b""),
        }
    }
    await_that("all are answered", || server.metric("roadstead_responses_total", "2xx") >= 80.0);
    // A page is made once more while its answer is written.
    attack.end((80 + 2) * (1 << 20));
    for (pages, member) in
        [("/channels/h/history?since=", "more"), ("/channels/h?timeout=0&since=", "recovered")]
    {
        let (mut seen, mut count) = (position.clone(), 0);
        let mut client = server.connect();
        loop {
            let page = client.request("GET", &format!("{pages}{seen}"), "", b"").json();
            let publications = page["publications"].as_array().expect("a list");
            let bytes: usize = publications.iter().filter_map(|one| one["data"].as_str()).map(str::len).sum();
            assert!(bytes <= 1 << 20, "{bytes} bytes");
            assert_eq!(page["recovered"], true);
            count += publications.len();
            let Some(last) = publications.last() else { break };
            seen = format!("{}:{}", page["epoch"], last["offset"]);
            if member == "more" {
                assert_eq!(page["more"], count < HISTORY_PUBLICATIONS);
            } else {
                assert_eq!(page["position"], seen, "the next poll goes on from there");
            }
        }
        assert_eq!(count, HISTORY_PUBLICATIONS, "{pages}");
    }
}
