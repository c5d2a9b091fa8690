//! Clients of a node that stay connected when another version takes its place, while other nodes publish on.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::json;

use crate::{
    kept_sockets::Client,
    nodes::{await_joined, follow, node, publish},
    redis::Redis,
    server::Server,
    stream::EventStream,
    upgrade::{Ending, Installed},
};

/// Long enough that no client is asked whether it is there.
const QUIET: &str = "limits.ping_interval_ms=600000";
const HISTORY: &str = "limits.history_publications_max=100000";

/// Publishes numbers until it is told to end, and then the last; how many those were.
fn publish_on(server: &Server, is_over: &AtomicBool) -> usize {
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        publish(server, "news", &number.to_string());
    }
    publish(server, "news", "last");
    number
}

#[test]
fn clients_stay_connected_and_hear_what_other_nodes_publish_meanwhile_once() {
    let redis = Redis::start();
    let installed = Installed::new();
    let server = installed.serve_configured(&[QUIET, HISTORY, &redis.setting()]);
    await_joined(&server);
    let other = node(&redis, &[HISTORY]);
    let mut raw: Vec<_> = (0..20).map(|_| server.websocket("/channels/news")).collect();
    let mut pushed: Vec<_> = (0..20).map(|_| follow(&server, "news")).collect();
    let mut streams: Vec<_> = (0..20).map(|_| EventStream::open(server.connect(), "news", "", "")).collect();
    server.await_subscribers("news", 60);
    let is_over = AtomicBool::new(false);
    let count = thread::scope(|scope| {
        let publishing = scope.spawn(|| publish_on(&other, &is_over));
        let ending = Ending(&is_over);
        for _ in 0..3 {
            server.succeeded();
            assert_eq!(server.metric("roadstead_carried_total", ""), 60.0, "{}", server.log());
            await_joined(&server);
        }
        drop(ending);
        publishing.join().expect("it publishes")
    });
    let all = (1..=count).map(|number| number.to_string()).chain(["last".to_owned()]);
    for (at, text) in all.enumerate() {
        raw.iter_mut().for_each(|socket| assert_eq!(socket.text(), text));
        for socket in &mut pushed {
            let push = socket.push();
            assert_eq!((&push["data"], &push["offset"]), (&json!(text), &json!(at + 1)));
        }
        streams.iter_mut().for_each(|stream| assert_eq!(stream.data(), text));
    }
}

#[test]
fn clients_of_socketio_come_back_where_nodes_are_joined() {
    let redis = Redis::start();
    let installed = Installed::new();
    let server = installed.serve_configured(&[QUIET, HISTORY, &redis.setting()]);
    await_joined(&server);
    let mut follower = server.websocket("/channels/news");
    let mut client = Client::enter(&server, "", &["news"]);
    server.await_subscribers("news", 2);
    server.succeeded();
    assert_eq!(client.socket.close_code(), Some(1001));
    assert_eq!(server.metric("roadstead_carried_total", ""), 1.0, "{}", server.log());
    await_joined(&server);
    publish(&server, "news", "on");
    assert_eq!(follower.text(), "on");
    Client::enter(&server, "", &["news"]);
}
