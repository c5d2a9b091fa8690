//! One publication for many, and much of it for one.

use crate::{
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
