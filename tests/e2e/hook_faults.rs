//! What one client, one hook or one issuer could do to the others where a backend decides, and cannot; and what was decided
//! before somebody was shut out or brought another token.

use serde_json::json;

use crate::{
    backend::{Backend, Reaction},
    hooks::{ONE_SHARD, allow, deciding, poll, server},
    permissions::Credential,
    server::await_that,
    socket::{WebSocket, handshake_fields},
    tokens,
};

const HELD: fn() -> Reaction = || Reaction::Held(json!({"allow": true}));

#[test]
fn what_is_no_ruling_about_one_question_keeps_nobody_else_out() {
    for nonsense in [
        Reaction::Status(404, String::new()),
        Reaction::Status(422, "{}".into()),
        Reaction::Status(200, "no".into()),
        Reaction::Status(301, String::new()),
    ] {
        let backend = Backend::start(move |asked| match asked.json()["channel"].as_str() {
            Some("room:bad") => nonsense.clone(),
            _ => allow(),
        });
        let server = deciding("nonsense", &backend, &[ONE_SHARD]);
        for _ in 0..30 {
            assert_eq!(poll(&server, "room:bad", ""), Err("hook_failed".into()));
        }
        assert_eq!(poll(&server, "room:7", ""), Ok(()));
        assert_eq!(server.metric("roadstead_hooks_total", "result=\"not_asked\""), 0.0);
        let told = server.log().matches("hooks.subscribe answers with status").count();
        assert_eq!(told, 1, "{}", server.log());
    }
}

#[test]
fn what_is_too_large_or_too_often_is_refused_before_a_backend_is_asked() {
    let backend = Backend::start(|_| allow());
    let small = "limits.publication_bytes_max=100";
    let slow = "limits.publications_per_key_per_second_max=1";
    let server = deciding("before", &backend, &[small, slow]);
    let large = "x".repeat(101);
    let post = |data: &str, fields: &str| {
        server.connect().request("POST", "/channels/room:7", fields, data.as_bytes()).status
    };
    assert_eq!(post(&large, ""), 413);
    assert_eq!(post("x", "Content-Encoding: gzip\r\n"), 415);
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    let command = |data: &str| json!({"id": 1, "publish": {"channel": "room:7", "data": data}});
    assert_eq!(socket.command(&command(&large))["error"]["code"], "publication_too_large");
    let mut raw = WebSocket::open(server.connect(), "/channels/room:7", "");
    let asked = backend.calls();
    assert_eq!(asked, 1, "about following");
    raw.send_text(&large);
    assert_eq!(raw.close_code(), Some(1009));
    assert_eq!(backend.calls(), asked);
    // Each question is a publication of the rate, and no publication is two.
    let mut published = 0;
    while post("x", "") == 200 {
        published += 1;
    }
    assert!(published > 0);
    assert_eq!(backend.calls(), asked + published);
    while socket.command(&command("x"))["published"].is_object() {}
    assert_eq!(server.position("room:7").split(':').nth(1), Some(&*(backend.calls() - asked).to_string()));
}

#[test]
fn what_is_wrong_with_a_wish_to_follow_is_told_before_a_backend_is_asked() {
    let backend = Backend::start(|_| allow());
    let server = deciding("wish", &backend, &[]);
    for (target, status) in [("since=x", 400), ("timeout=x", 400)] {
        let answer = server.connect().request("GET", &format!("/channels/room:7?{target}"), "", b"");
        assert_eq!(answer.status, status, "{target}");
    }
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    let subscribe = json!({"id": 1, "subscribe": {"channel": "room:7", "state": true}});
    assert_eq!(socket.command(&subscribe)["error"]["code"], "state_forbidden");
    assert_eq!(backend.calls(), 0);
}

#[test]
fn what_waits_behind_a_question_is_bounded_in_number_as_well() {
    let backend = Backend::start(|_| HELD());
    let server = deciding("behind", &backend, &[]);
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    socket.send_text("{\"id\":1,\"subscribe\":{\"channel\":\"room:7\"}}");
    (0..1_000).for_each(|_| socket.send_text(""));
    assert_eq!(socket.close_code(), Some(1013));
}

#[test]
fn a_question_counts_with_what_is_kept_for_its_asker() {
    let backend = Backend::start(|_| HELD());
    let server = deciding("kept", &backend, &[ONE_SHARD]);
    let body = vec![b' '; 1_000_000];
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.ask("GET", "/channels/room:7?timeout=0", "", &body);
    }
    await_that("some are refused", || server.metric("roadstead_hooks_total", "result=\"busy\"") == 4.0);
    assert_eq!(server.metric("roadstead_hooks_waiting", ""), 16.0);
}

#[test]
fn a_subscription_by_token_ends_with_the_right_where_a_backend_decides_and_one_by_the_backend_stays() {
    let backend = Backend::start(|_| allow());
    let secret = format!("auth.hs256_keys={}", tokens::SECRET);
    let server = deciding("lost", &backend, &[&secret]);
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    let token = tokens::make(&json!({"allow": {"subscribe": ["room:*"]}}));
    assert!(socket.command(&json!({"id": 1, "connect": {"token": token}}))["connected"].is_object());
    let subscribe = |id: u32, channel: &str| json!({"id": id, "subscribe": {"channel": channel}});
    assert!(socket.command(&subscribe(2, "room:7"))["subscribed"].is_object());
    assert_eq!(backend.calls(), 0);
    assert!(socket.command(&subscribe(3, "hall:7"))["subscribed"].is_object());
    assert_eq!(backend.calls(), 1);
    // One behind the other: neither has begun when the token has changed.
    socket.send_text(&subscribe(4, "room:8").to_string());
    let less = tokens::make(&json!({}));
    socket.send_text(&json!({"id": 5, "refresh": {"token": less}}).to_string());
    await_that("both have ended", || server.subscribers("room:7") + server.subscribers("room:8") == 0);
    assert_eq!(server.subscribers("hall:7"), 1, "the backend's word is as good as it was");
    let told: Vec<_> = (0..4).map(|_| socket.json()).collect();
    let ended: Vec<_> = told.iter().filter_map(|one| one["ended"]["channel"].as_str()).collect();
    assert!(ended.contains(&"room:7") && !ended.contains(&"hall:7"), "{told:?}");
    // It may come back by the backend's word, and then that counts.
    assert!(socket.command(&subscribe(6, "room:7"))["subscribed"].is_object());
    assert_eq!(backend.calls(), 2);
    assert!(socket.command(&json!({"id": 7, "refresh": {"token": less}}))["refreshed"].is_object());
    assert_eq!(server.subscribers("room:7"), 1);
}

#[test]
fn who_is_shut_out_while_the_backend_is_asked_stays_out_and_nothing_of_that_is_remembered() {
    let who = json!({"allow": true, "user": "42", "remember_s": 600});
    let backend = Backend::start(move |_| Reaction::Held(who.clone()));
    let hooks = ["connect", "subscribe", "publish"].map(|hook| backend.setting(hook));
    let server = server("shut-out", &hooks.into_iter().chain([ONE_SHARD.into()]).collect::<Vec<_>>());
    let fields = format!("{}Cookie: session=a\r\n", handshake_fields());
    let mut client = server.connect();
    client.ask("GET", "/ws", &fields, b"");
    let mut engine =
        WebSocket::open(server.connect(), "/socket.io/?EIO=4&transport=websocket", "Cookie: b\r\n");
    assert!(engine.text().starts_with("0{"));
    engine.send_text("40");
    (0..2).for_each(|_| drop(backend.asked()));
    let json = "Content-Type: application/json\r\n";
    let revoked = server.connect_admin().request("POST", "/auth/revoke", json, b"{\"user\":\"42\"}");
    assert_eq!(revoked.status, 202);
    (0..2).for_each(|_| backend.release());
    let answer = client.response();
    assert_eq!((answer.status, &*answer.error_code()), (401, "token_revoked"));
    let told = engine.text();
    assert!(told.starts_with("44{") && told.contains("token_revoked"), "{told}");
    let mut client = server.connect();
    client.ask("GET", "/ws", &fields, b"");
    backend.asked();
    backend.release();
    assert_eq!(backend.calls(), 3, "it is asked again");
}

#[test]
fn a_hook_whose_backend_is_slow_keeps_no_other_waiting() {
    let backend = Backend::start(|asked| match asked.path() {
        "/publish" => HELD(),
        _ => allow(),
    });
    for in_flight_max in [2, 8] {
        let bound = format!("hooks.in_flight_max={in_flight_max}");
        let server = deciding("slow", &backend, &[&bound, "hooks.timeout_ms=20000"]);
        let mut slow: Vec<_> = (0..20).map(|_| server.connect()).collect();
        slow.iter_mut().for_each(|client| client.ask("POST", "/channels/room:7", "", b"x"));
        await_that("they wait", || server.metric("roadstead_hooks_waiting", "") == 20.0);
        assert_eq!(poll(&server, "room:7", ""), Ok(()));
        slow.into_iter().for_each(|client| client.reset());
        (0..20).for_each(|_| backend.release());
    }
}

#[test]
fn an_address_that_asks_much_keeps_no_other_waiting() {
    let backend = Backend::start(|_| HELD());
    let trusted = "proxy.trusted=127.0.0.0/8";
    let settings = [ONE_SHARD, trusted, "hooks.in_flight_max=1", "hooks.timeout_ms=20000"];
    let server = deciding("fair", &backend, &settings);
    let from = |last: u32| format!("X-Forwarded-For: 203.0.113.{last}\r\n");
    let mut storm: Vec<_> = (0..20).map(|_| server.connect()).collect();
    storm.iter_mut().for_each(|client| client.ask("POST", "/channels/room:7", &from(1), b"x"));
    await_that("they wait", || server.metric("roadstead_hooks_waiting", "") == 20.0);
    let mut other = server.connect();
    other.ask("POST", "/channels/room:7", &from(2), b"x");
    await_that("it waits, too", || server.metric("roadstead_hooks_waiting", "") == 21.0);
    let mut asked_before = 0;
    while backend.asked().json()["address"] != "203.0.113.2" {
        asked_before += 1;
        backend.release();
    }
    assert!(asked_before <= 2, "{asked_before} were asked about before it");
    backend.release();
    assert_eq!(other.response().status, 200);
    (0..20).for_each(|_| backend.release());
    storm.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
}

#[test]
fn a_backend_is_told_the_cookie_for_each_namespace_that_is_entered() {
    let backend = Backend::start(|_| allow());
    let hooks = ["connect", "subscribe", "publish"].map(|hook| backend.setting(hook));
    let server = server("cookies", &hooks);
    let fields = "Cookie: session=a\r\nX-Other: b\r\n";
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut socket = WebSocket::open(server.connect(), target, fields);
    assert!(socket.text().starts_with("0{"));
    for namespace in ["", "/game,", "/chat,"] {
        socket.send_text(&format!("40{namespace}"));
        assert!(socket.text().starts_with(&format!("40{namespace}")));
    }
    let asked: Vec<_> = (0..backend.calls()).map(|_| backend.asked().json()).collect();
    assert_eq!(asked.len(), 5, "who it is thrice, and about two namespaces");
    for question in asked {
        assert_eq!(question["headers"], json!({"cookie": "session=a"}), "{question}");
    }
}

#[test]
fn a_token_that_gives_less_than_the_backend_is_asked_about_and_a_storm_of_those_that_suffice_is_not() {
    const HERD: usize = 500;
    let backend = Backend::start(|_| allow());
    let secret = format!("auth.hs256_keys={}", tokens::SECRET);
    let server = deciding("storm", &backend, &[&secret, "hooks.in_flight_max=4"]);
    let fields = Credential::token(&json!({"subscribe": ["room:*"]})).fields;
    let open = |target: &str| WebSocket::open(server.connect(), target, &fields);
    let herd: Vec<_> = (0..HERD).map(|_| open("/channels/room:7")).collect();
    assert_eq!((herd.len(), backend.calls()), (HERD, 0));
    drop(herd);
    let mut clients: Vec<_> = (0..HERD / 5).map(|_| server.connect()).collect();
    let fields = format!("{}{fields}", handshake_fields());
    clients.iter_mut().for_each(|client| client.ask("GET", "/channels/hall:7", &fields, b""));
    for client in &mut clients {
        assert_eq!(client.response_head().status, 101);
    }
    assert_eq!(backend.calls(), HERD / 5);
    assert!(backend.in_flight_max() <= 4, "{}", backend.in_flight_max());
}
