//! A member of a Socket.IO cluster, and what comes over its Redis. Real servers in JavaScript stand beside it in
//! `tests/clients/cluster`.

use crate::{
    redis::{Redis, Reply},
    server::{Server, await_that},
    socket::WebSocket,
};

/// A server that is a member.
fn member(redis: &Redis) -> Server {
    let url = format!("socketio.cluster_url=unix:{}", redis.socket());
    Server::start(&["socketio.cluster=redis-adapter", &url])
}

/// Waits until it is one of so many about a namespace.
fn await_members(redis: &Redis, namespace: &str, count: i64) {
    let channel = format!("socket.io-request#{namespace}#");
    let told = [Reply::Text(channel.clone()), Reply::Number(count)];
    await_that("so many are members", || {
        redis.ask(&["PUBSUB", "NUMSUB", &channel]) == Reply::List(told.to_vec())
    });
}

/// A client in a namespace.
pub fn enter(server: &Server, namespace: &str) -> WebSocket {
    let mut socket = WebSocket::open(server.connect(), "/socket.io/?EIO=4&transport=websocket", "");
    assert!(socket.text().starts_with("0{"));
    let head = if namespace == "/" { String::new() } else { format!("{namespace},") };
    socket.send_text(&format!("40{head}"));
    assert!(socket.text().starts_with("40"));
    socket
}

/// An event as an emitter tells it to a namespace, in msgpack.
fn event(name: &str, namespace: &str) -> Vec<u8> {
    let text = |text: &str| [&[0xa0 + text.len() as u8][..], text.as_bytes()].concat();
    let data = [&text("data")[..], &[0x91], &text(name)].concat();
    let packet = [&[0x83][..], &text("type"), &[2], &data, &text("nsp"), &text(namespace)].concat();
    [&[0x93][..], &text("emitter"), &packet, &[0x80]].concat()
}

fn emit(redis: &Redis, name: &str, namespace: &str) {
    let channel = format!("socket.io#{namespace}#");
    redis.ask_bytes(&[b"PUBLISH", channel.as_bytes(), &event(name, namespace)]);
}

#[test]
fn a_process_is_one_member_of_the_namespaces_that_are_in_use() {
    let redis = Redis::start();
    let server = member(&redis);
    await_members(&redis, "/", 1);
    let client = enter(&server, "/chat");
    await_members(&redis, "/chat", 1);
    let mut other = enter(&server, "/chat");
    drop(client);
    emit(&redis, "hello", "/chat");
    assert_eq!(other.text(), "42/chat,[\"hello\"]");
    await_members(&redis, "/chat", 1);
    drop(other);
    await_members(&redis, "/chat", 0);
    server.stop();
    await_members(&redis, "/", 0);
}

#[test]
fn what_makes_no_sense_on_the_bus_is_counted_and_ignored() {
    let redis = Redis::start();
    let server = member(&redis);
    await_members(&redis, "/", 1);
    let mut client = enter(&server, "/");
    let whole = event("hello", "/");
    let (deep, endless) = ([0x91; 10_000], [0xdd, 0xff, 0xff, 0xff, 0xff]);
    let large = vec![b'x'; 10 * 1024 * 1024];
    let cut = (0..whole.len()).map(|end| &whole[..end]);
    let mut garbage: Vec<&[u8]> = cut.collect();
    garbage.extend([&deep[..], &endless, &large, b"{}", b"garbage", &[0xc1]]);
    for said in &garbage {
        redis.ask_bytes(&[b"PUBLISH", b"socket.io#/#", said]);
        redis.ask_bytes(&[b"PUBLISH", b"socket.io#/#lobby#", said]);
        redis.ask_bytes(&[b"PUBLISH", b"socket.io-request#/#", said]);
    }
    let other: &[&[u8]] =
        &[b"[]", b"{\"type\":1e9}", b"{\"type\":2}", b"{\"type\":\"5\",\"requestId\":\"x\"}"];
    for said in other {
        redis.ask_bytes(&[b"PUBLISH", b"socket.io-request#/#", said]);
        redis.ask_bytes(&[b"PUBLISH", b"socket.io-response#/#", said]);
    }
    let count = (3 * garbage.len() + other.len()) as f64;
    server.await_metric("roadstead_cluster_ignored_total", "", count);
    emit(&redis, "hello", "/");
    assert_eq!(client.text(), "42[\"hello\"]");
    assert_eq!(server.metric("roadstead_cluster_ignored_total", ""), count);
    assert_eq!(server.metric("roadstead_cluster_heard_total", ""), 1.0);
}

#[test]
fn its_redis_may_come_later_and_go_meanwhile_and_what_is_published_then_is_not_told() {
    let mut redis = Redis::start();
    redis.kill();
    let server = member(&redis);
    let publish = || server.connect().request("POST", "/channels/lobby", "", b"hello").status;
    assert_eq!(publish(), 200);
    server.await_metric("roadstead_cluster_dropped_total", "", 1.0);
    redis.go_on();
    await_members(&redis, "/", 1);
    let mut client = enter(&server, "/");
    emit(&redis, "hello", "/");
    assert_eq!(client.text(), "42[\"hello\"]");
    assert_eq!(publish(), 200);
    server.await_metric("roadstead_cluster_told_total", "", 1.0);
    redis.kill();
    await_that("the loss is seen", || server.metric("roadstead_cluster_up", "") == 0.0);
    assert_eq!(publish(), 200);
    server.await_metric("roadstead_cluster_dropped_total", "", 2.0);
    assert!(server.log().contains("the Redis of the Socket.IO cluster is away"), "{}", server.log());
    redis.go_on();
    await_members(&redis, "/", 1);
    emit(&redis, "again", "/");
    assert_eq!(client.text(), "42[\"again\"]");
}

#[test]
fn rooms_that_only_others_know_make_no_channels_here() {
    let redis = Redis::start();
    let server = member(&redis);
    await_members(&redis, "/", 1);
    let mut client = enter(&server, "/");
    let channels = server.metric("roadstead_channels", "");
    for number in 0..100 {
        let room = format!("room-{number}");
        let channel = format!("socket.io#/#{room}#");
        let rooms = [&b"\x81\xa5rooms\x91"[..], &[0xa0 + room.len() as u8], room.as_bytes()].concat();
        let said = event("hello", "/");
        let said = [&said[..said.len() - 1], &rooms].concat();
        redis.ask_bytes(&[b"PUBLISH", channel.as_bytes(), &said]);
    }
    emit(&redis, "end", "/");
    assert_eq!(client.text(), "42[\"end\"]");
    server.await_metric("roadstead_cluster_heard_total", "", 101.0);
    assert_eq!(server.metric("roadstead_channels", ""), channels);
}
