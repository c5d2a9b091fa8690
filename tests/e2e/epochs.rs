//! What is told of a channel whose stream is not there yet, is lost, or cannot go on: reading makes nothing, an epoch is never
//! given twice, and a message comes under one.

use serde_json::{Value, json};

use crate::{
    nodes::{come_back, follow, node, nodes, publish, until},
    redis::{Redis, Reply},
    server::{Server, await_that},
    socket::{Incoming, WebSocket},
    stream::EventStream,
};

/// The names of all keys but the one that holds for all channels.
fn streams(redis: &Redis) -> Vec<Reply> {
    let Reply::List(mut names) = redis.ask(&["KEYS", "*"]) else { panic!("it lists them") };
    // What is kept of all channels together, and who takes part.
    names.retain(|name| ["rs:floor", "rs:nodes"].iter().all(|other| *name != Reply::Text((*other).into())));
    names
}

/// Where a page says that its channel is.
fn position(page: &Value) -> String {
    format!("{}:{}", page["epoch"], page["offset"])
}

fn epoch_of(position: &str) -> u64 {
    position.split(':').next().and_then(|epoch| epoch.parse().ok()).expect("a number")
}

/// Reads up to the event of this data; the names and data of those before it.
fn events_until(stream: &mut EventStream, data: &str) -> Vec<(Option<String>, String)> {
    let mut before = Vec::new();
    loop {
        let event = stream.event();
        match event.data {
            Some(text) if text == data => return before,
            text => before.push((event.name, text.expect("it has data"))),
        }
    }
}

fn reset() -> (Option<String>, String) {
    (Some("reset".to_owned()), "{\"recovered\":false}".to_owned())
}

#[test]
fn what_is_only_read_leaves_nothing_in_redis_and_what_is_told_of_it_holds_when_it_begins() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let mut told = Vec::new();
    let mut followers = Vec::new();
    for server in [&a, &b] {
        let page = server.get("/channels/news/history").json();
        assert_eq!((&page["offset"], &page["publications"]), (&json!(0), &json!([])), "{page}");
        told.push(position(&page));
        for target in ["history?since=1:1", "info", "presence", "state"] {
            assert_eq!(server.get(&format!("/channels/news/{target}")).status, 200, "{target}");
        }
        let poll = server.connect().request("GET", "/channels/news?since=0:0&timeout=0", "", b"").json();
        told.push(position(&poll));
        let mut socket = server.websocket("/ws");
        let subscribed = socket.command(&json!({"id": 1, "subscribe": {"channel": "news"}}));
        told.push(position(&subscribed["subscribed"]));
        let stream = EventStream::open(server.connect(), "news", "", "");
        let plain = server.websocket("/channels/news");
        server.await_subscribers("news", 3 * (followers.len() as u64 + 1));
        followers.push((socket, stream, plain));
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    assert_eq!(streams(&redis), []);
    let first = publish(&a, "news", "one");
    assert_eq!(first, format!("{}:1", epoch_of(&told[0])));
    for (socket, stream, plain) in &mut followers {
        assert_eq!(position(&socket.push()), first, "nothing is told to be lost");
        assert_eq!(events_until(stream, "one"), []);
        assert_eq!(plain.text(), "one");
    }
    let c = node(&redis, &[]);
    for server in [&a, &b, &c] {
        assert_eq!(come_back(server, "news", &told[0]), (true, vec!["one".to_owned()]));
    }
}

#[test]
fn an_epoch_is_never_given_twice_however_often_a_stream_is_lost() {
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let (mut last, mut last_told) = (0, [0; 2]);
    let mut old = Vec::new();
    for round in 0..80 {
        let server = if round % 2 == 0 { &a } else { &b };
        // Every other time it is read before it begins again.
        if round % 4 < 2 {
            let page = node_page(server);
            // What the other node has published may still be on its way to this one.
            assert!(epoch_of(&position(&page)) >= last_told[round % 2], "{page}");
        }
        let now = publish(server, "news", &round.to_string());
        assert!(epoch_of(&now) > last, "{now} after {last}");
        assert_eq!(now.split_once(':').map(|(_, offset)| offset), Some("1"));
        last = epoch_of(&now);
        last_told[round % 2] = last;
        old.push(now);
        match round % 10 {
            9 => redis.ask(&["FLUSHALL"]),
            _ => redis.ask(&["DEL", "rs:s:news"]),
        };
    }
    publish(&a, "news", "end");
    await_that("both have found out", || {
        [&a, &b].into_iter().all(|server| old.iter().all(|position| !come_back(server, "news", position).0))
    });
}

fn node_page(server: &Server) -> Value {
    server.get("/channels/news/history").json()
}

#[test]
fn a_message_behind_a_lost_stream_comes_once_and_everybody_is_told_of_the_loss_before_it() {
    let redis = Redis::start();
    let recovery = "socketio.connection_state_recovery_ms=60000";
    let [a, b] = [(); 2].map(|()| node(&redis, &[recovery]));
    for how in [&["FLUSHALL"][..], &["DEL", "rs:s:news"]] {
        let before = publish(&a, "news", "before");
        let mut followers = [&a, &b].map(|server| {
            let since = format!("Last-Event-ID: {before}\r\n");
            let stream = EventStream::open(server.connect(), "news", "", &since);
            let several = EventStream::open_at(server.connect(), "/events?channel=news", "");
            let plain = server.websocket("/channels/news");
            let socketio = enter(server, "news");
            (follow(server, "news"), stream, several, plain, socketio)
        });
        for server in [&a, &b] {
            server.await_subscribers("news", 10);
        }
        redis.ask(how);
        let after = publish(&b, "news", "after");
        let end = publish(&a, "news", "end");
        assert_ne!(epoch_of(&before), epoch_of(&after), "{how:?}");
        assert_eq!(end, format!("{}:2", epoch_of(&after)), "{how:?}");
        for (commands, stream, several, plain, socketio) in &mut followers {
            let between = until(commands, "end");
            let seen: Vec<_> = between.iter().map(position).collect();
            assert_eq!(seen, std::slice::from_ref(&after), "{how:?}");
            let events = events_until(stream, "end");
            assert_eq!(events, [reset(), (None, "after".to_owned())], "{how:?}");
            let told = several.data();
            assert!(told.contains("\"recovered\":false"), "{told}");
            assert_eq!(plain.close_code(), Some(4004), "{how:?}");
            // It has no place to show a gap either: its client comes back, and is not told that it has recovered.
            assert_eq!(socketio.close_code(), Some(4004), "{how:?}");
        }
    }
}

/// A client of Socket.IO in a room.
fn enter(server: &Server, room: &str) -> WebSocket {
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with("0{"));
    socket.send_text("40");
    assert!(socket.text().starts_with("40{"));
    socket.send_text(&format!("421[\"join\",\"{room}\"]"));
    assert!(socket.text().starts_with("431["));
    socket
}

#[test]
fn a_stream_that_cannot_go_on_begins_anew_and_everybody_is_told() {
    const LAST: u64 = u64::MAX;
    let redis = Redis::start();
    let [a, b] = nodes(&redis);
    let add = |id: &str| {
        assert_eq!(redis.ask(&["XADD", "rs:s:news", id, "d", "x"]), Reply::Text(id.to_owned()));
    };
    let before = publish(&a, "news", "before");
    let mut followers = [follow(&a, "news"), follow(&b, "news")];
    add(&format!("{}-{LAST}", epoch_of(&before)));
    let after = publish(&b, "news", "after");
    assert_ne!(epoch_of(&before), epoch_of(&after));
    let another = publish(&a, "news", "another");
    assert_eq!(another, format!("{}:2", epoch_of(&after)));
    for socket in &mut followers {
        let seen: Vec<_> = until(socket, "another").iter().map(position).collect();
        assert_eq!(seen, std::slice::from_ref(&after));
    }
    // One that is put back as it was long ago.
    assert_eq!(redis.ask(&["DEL", "rs:s:news"]), Reply::Number(1));
    add("5-7");
    let restored = publish(&a, "news", "restored");
    assert_eq!(restored.split_once(':').map(|(_, offset)| offset), Some("1"));
    assert!(epoch_of(&restored) > epoch_of(&after), "{restored}");
    for socket in &mut followers {
        assert_eq!(until(socket, "restored"), Vec::<Value>::new());
    }
    // One of which nobody has heard, beyond every epoch.
    redis.ask(&["DEL", "rs:s:other"]);
    let huge = format!("{LAST}-{LAST}");
    assert_eq!(redis.ask(&["XADD", "rs:s:other", &huge, "d", "x"]), Reply::Text(huge.clone()));
    let page = b.get("/channels/other/history").json();
    assert_eq!(page["offset"], json!(0), "{page}");
    let first = publish(&a, "other", "first");
    assert_eq!(first, format!("{}:1", page["epoch"]));
    assert_eq!(come_back(&b, "other", &first), (true, vec![]));
}

/// The reason of the closing frame.
pub fn closed(socket: &mut WebSocket) -> (Option<u16>, String) {
    loop {
        if let Incoming::Close(code, reason) = socket.next() {
            return (code, reason);
        }
    }
}
