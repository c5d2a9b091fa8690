//! The three ways to follow a channel, and publishing with one request, on whichever shards the clients landed.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    server::Server,
    socket::{Incoming, WebSocket},
    stream::EventStream,
};

/// Followers of each kind; enough that no shard of `shards` is left without.
fn followers(shards: u16) -> usize {
    usize::from(shards) * 8
}

fn everybody_gets_hello(shards: u16) {
    let server = Server::with_shards(shards, &[]);
    let count = followers(shards);
    let mut streams: Vec<_> =
        (0..count).map(|_| EventStream::open(server.connect(), "news", "", "")).collect();
    let mut sockets: Vec<_> = (0..count).map(|_| server.websocket("/channels/news")).collect();
    let mut polls: Vec<_> = (0..count).map(|_| server.connect()).collect();
    polls.iter_mut().for_each(|poll| poll.ask("GET", "/channels/news?timeout=25", "", b""));
    server.await_subscribers("news", 3 * count as u64);

    let offset = server.publish("news", "hello");
    let position = server.position("news");
    assert_eq!(offset, 1);
    for stream in &mut streams {
        let event = stream.event();
        assert_eq!((event.data.as_deref(), event.id.as_deref()), (Some("hello"), Some(&position[..])));
    }
    for socket in &mut sockets {
        assert_eq!(socket.next(), Incoming::Text("hello".into()));
    }
    for poll in &mut polls {
        let answer = poll.response().json();
        assert_eq!(answer["publications"][0]["data"], "hello");
        assert_eq!((&answer["position"], &answer["recovered"]), (&position[..].into(), &true.into()));
    }
    let accepted: Vec<_> = server.shards().iter().map(|shard| shard["accepted_total"].as_u64()).collect();
    assert_eq!(accepted.len(), usize::from(shards));
    assert!(accepted.iter().all(|count| count.is_some_and(|count| count > 0)), "{accepted:?}");
}

#[test]
fn hello_reaches_every_transport_over_two_shards() {
    everybody_gets_hello(2);
}

#[test]
fn hello_reaches_every_transport_over_eight_shards() {
    everybody_gets_hello(8);
}

#[test]
fn what_a_websocket_sends_is_published_and_comes_back_to_it_as_well() {
    let server = Server::start(&[]);
    let mut stream = EventStream::open(server.connect(), "room", "", "");
    let mut socket = server.websocket("/channels/room");
    server.await_subscribers("room", 2);
    socket.send_text("grüße");
    assert_eq!(socket.next(), Incoming::Text("grüße".into()));
    assert_eq!(stream.data(), "grüße");
}

#[test]
fn bytes_that_are_no_text_arrive_unchanged_over_every_transport() {
    let server = Server::start(&[]);
    let bytes: Vec<u8> = (0..=255).collect();
    let mut stream = EventStream::open(server.connect(), "bin", "", "");
    let mut socket = server.websocket("/channels/bin");
    let mut poll = server.connect();
    poll.ask("GET", "/channels/bin", "", b"");
    server.await_subscribers("bin", 3);
    let mut publisher = server.connect();
    let published =
        publisher.request("POST", "/channels/bin", "Content-Type: application/octet-stream\r\n", &bytes);
    assert_eq!(published.status, 200);

    assert_eq!(socket.next(), Incoming::Binary(bytes.clone()));
    let encoded = poll.response().json()["publications"][0]["data_base64"].clone();
    let encoded = encoded.as_str().expect("bytes travel in base64").to_owned();
    assert_eq!(STANDARD.decode(&encoded), Ok(bytes));
    let event = stream.event();
    assert_eq!((event.name.as_deref(), event.data), (Some("base64"), Some(encoded)));
}

#[test]
fn an_event_stream_keeps_lines_and_begins_with_a_jittered_retry() {
    let server =
        Server::start(&["limits.event_stream_retry_ms=1000", "limits.event_stream_keep_alive_ms=60"]);
    let mut retries = Vec::new();
    for _ in 0..8 {
        let mut stream = EventStream::open(server.connect(), "lines", "", "");
        retries.push(stream.block().and_then(|block| block.retry).expect("a stream begins with retry"));
        // Where it begins, and a comment, which is a block without anything.
        let blocks = [stream.block().expect("a block"), stream.block().expect("another")];
        assert!(
            blocks.iter().any(|block| block.id.as_ref().is_some_and(|id| id.ends_with(":0"))),
            "{blocks:?}"
        );
        assert!(blocks.contains(&Default::default()), "{blocks:?}");
    }
    assert!(retries.iter().all(|ms| (500..=1500).contains(ms)), "{retries:?}");
    assert!(retries.iter().any(|ms| *ms != retries[0]), "all alike: {retries:?}");

    let mut stream = EventStream::open(server.connect(), "lines", "", "");
    server.await_subscribers("lines", 1);
    server.publish("lines", "one\ntwo\r\n\n é");
    assert_eq!(stream.data(), "one\ntwo\n\n é");
}

#[test]
fn an_unanswered_poll_ends_empty_at_its_timeout_and_its_connection_lives_on() {
    let server = Server::start(&["limits.long_poll_timeout_max_ms=150"]);
    let mut client = server.connect();
    for timeout in ["0", "0.05", "25"] {
        let answer = client.request("GET", &format!("/channels/quiet?timeout={timeout}"), "", b"").json();
        assert_eq!(answer["publications"], serde_json::json!([]));
        assert_eq!((&answer["offset"], &answer["recovered"]), (&0.into(), &true.into()));
    }
    assert_eq!(client.request("GET", "/channels/quiet?timeout=-1", "", b"").error_code(), "timeout_invalid");
}

#[test]
fn a_poll_that_does_not_wait_is_answered_whichever_shard_owns_its_channel() {
    let server = Server::with_shards(8, &[]);
    let mut client = server.connect();
    for number in 0..200 {
        let answer = client.request("GET", &format!("/channels/c{number}?timeout=0"), "", b"");
        assert_eq!(answer.status, 200, "c{number}: {}", answer.text());
    }
}

#[test]
fn requests_sent_behind_a_waiting_poll_are_answered_after_it() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("GET", "/channels/later?timeout=25", "", b"");
    client.ask("GET", "/hello", "", b"");
    server.await_subscribers("later", 1);
    server.publish("later", "now");
    assert_eq!(client.response().json()["publications"][0]["data"], "now");
    assert_eq!(client.response().status, 200);
}

#[test]
fn frames_sent_with_the_handshake_are_not_lost() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let handshake = crate::socket::handshake_fields();
    let head = format!("GET /channels/early HTTP/1.1\r\nHost: localhost\r\n{handshake}\r\n");
    let frame = crate::socket::frame(roadstead::wire::websocket::Opcode::Text, true, b"early");
    let mut follower = server.websocket("/channels/early");
    server.await_subscribers("early", 1);
    client.send([head.as_bytes(), &frame].concat());
    assert_eq!(client.response_head().status, 101);
    assert_eq!(follower.next(), Incoming::Text("early".into()));
}

#[test]
fn the_demo_page_is_one_file_and_says_how_many_are_connected() {
    let server = Server::start(&[]);
    let page = server.get("/");
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("<title>"));
    let _sockets: Vec<WebSocket> = (0..6).map(|_| server.websocket("/channels/x")).collect();
    let stats = server.get("/demo/stats").json();
    assert_eq!((&stats["connections"], &stats["shards"]), (&7.into(), &2.into()));
    let off = Server::start(&["demo.enabled=false", "diagnostics.enabled=false"]);
    for target in ["/", "/demo/stats", "/hello", "/echo"] {
        assert_eq!(off.get(target).status, 404, "{target}");
    }
}

#[test]
fn the_admin_pages_tell_about_every_shard_and_hide_secrets() {
    let server = Server::start(&["publish.keys=s3cretkey"]);
    assert_eq!(server.admin("/healthz").status, 200);
    assert_eq!(server.admin("/readyz").status, 200);
    let config = server.admin("/config");
    assert_eq!(config.json()["server"]["shards"], 2);
    assert!(!config.text().contains("s3cretkey"), "{}", config.text());
    let shards = server.shards();
    assert_eq!(shards.len(), 2);
    for field in [
        "connections",
        "turns_total",
        "busy_us_total",
        "received_bytes_total",
        "mesh_depth",
        "connection_bytes",
    ] {
        assert!(shards.iter().all(|shard| shard[field].is_u64()), "{field}");
    }
    let metrics = server.admin("/metrics");
    assert_eq!(metrics.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let metrics = server.connect_admin().request("GET", "/metrics", accept, b"");
    assert!(
        metrics.field("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    assert!(metrics.text().ends_with("# EOF\n"));
    assert!(server.metric("roadstead_accepted_total", "shard=\"") > 0.0);
    for (target, on_public) in [("/metrics", 404), ("/hello", 200)] {
        assert_eq!(server.get(target).status, on_public, "{target}");
    }
    assert_eq!(server.admin("/hello").status, 404);
}

#[test]
fn one_connection_can_poll_publish_and_ask_in_turn() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for round in 1..=20 {
        assert_eq!(client.publish("turn", format!("{round}")), round);
        let answer = client.request("GET", &format!("/channels/turn/history?limit={round}"), "", b"").json();
        assert_eq!(answer["offset"], round);
    }
}

#[test]
fn the_manual_is_read_on_the_admin_listener_and_where_the_demo_is() {
    let server = Server::start(&[]);
    assert_eq!(
        (server.get("/manual").status, server.get("/manual").field("location")),
        (308, Some("manual/"))
    );
    for target in ["/manual/", "/manual/channels", "/manual/ws"] {
        let page = server.get(target);
        assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
        assert_eq!(page.text(), server.admin(target).text());
        assert!(page.text().contains("<h1>"), "{target}");
    }
    assert_eq!(server.get("/manual/nothing").error_code(), "not_found");
    assert!(server.get("/").text().contains("href=\"manual/\""));
    let off = Server::start(&["demo.enabled=false"]);
    assert_eq!((off.get("/manual/").status, off.admin("/manual/").status), (404, 200));
}
