//! Tokens of Socket.IO clients: every way in which they come, those that are brought later, and how many clients a user has.

use roadstead::model::SessionId;
use serde_json::{Value, json};

use crate::{
    server::{Server, await_that},
    socket::{Incoming, WebSocket},
    tokens::{SECRET, make, now_s},
};

const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

fn server(settings: &[&str]) -> Server {
    let secret = format!("auth.hs256_keys={SECRET}");
    Server::start(&[&[&*secret], settings].concat())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A token that lets into the namespace `/` and the room `lobby`.
fn good(claims: &Value) -> String {
    let mut all = json!({"allow": {"subscribe": ["/", "lobby"]}});
    for (name, value) in claims.as_object().expect("an object") {
        all[name] = value.clone();
    }
    make(&all)
}

/// Opens a session with these fields, and asks to enter `/`, saying this: the socket, and the answer.
fn enter(server: &Server, target: &str, fields: &str, said: &str) -> (WebSocket, String) {
    let mut socket = WebSocket::open(server.connect(), target, fields);
    assert!(socket.text().starts_with('0'));
    socket.send_text(&format!("40{said}"));
    let answer = socket.text();
    (socket, answer)
}

/// Sends an event that is acknowledged: the acknowledgement. What comes before it is put aside.
fn ask(socket: &mut WebSocket, event: &Value, aside: &mut Vec<String>) -> Value {
    socket.send_text(&format!("427{event}"));
    loop {
        let text = socket.text();
        match text.strip_prefix("437") {
            Some(json) => return serde_json::from_str::<Value>(json).expect("an acknowledgement")[0].clone(),
            None => aside.push(text),
        }
    }
}

fn code(answer: &str) -> String {
    let json = answer.strip_prefix("44").unwrap_or_else(|| panic!("{answer} instead of a refusal"));
    serde_json::from_str::<Value>(json).expect("JSON")["data"]["code"].as_str().expect("a code").to_owned()
}

#[test]
fn a_client_enters_by_the_token_of_its_handshake_in_each_of_its_ways() {
    let settings = ["auth.cookie=true", "auth.token_in_url=true", "cors.allowed_origins=https://app.example"];
    let server = server(&settings);
    let token = good(&json!({}));
    let cookie = format!("Cookie: a=b; __Host-roadstead={token}\r\n");
    let from = |page: &str| format!("{cookie}Origin: {page}\r\n");
    for (target, fields, may) in [
        (WEBSOCKET.into(), String::new(), false),
        (WEBSOCKET.into(), bearer(&token), true),
        (WEBSOCKET.into(), cookie.clone(), true),
        (WEBSOCKET.into(), from("https://app.example"), true),
        (format!("{WEBSOCKET}&token={token}"), String::new(), true),
        (WEBSOCKET.into(), format!("Sec-WebSocket-Protocol: bearer.{token}\r\n"), true),
    ] {
        let (_socket, answer) = enter(&server, &target, &fields, "");
        assert_eq!(answer.starts_with("40{"), may, "{target} {fields}: {answer}");
        if !may {
            assert_eq!(code(&answer), "subscribe_forbidden");
        }
    }
    // A page that is let in by name uses its visitor's cookie, and none else does.
    let refused = WebSocket::try_open(server.connect(), WEBSOCKET, &from("https://evil.example"));
    assert_eq!(refused.err().map(|response| response.status), Some(403));

    let mut client = server.connect();
    let opened = client.request("GET", POLLING, &cookie, b"").text();
    let sid = opened.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a session");
    let session = format!("{POLLING}&sid={sid}");
    assert_eq!(client.request("POST", &session, "", b"40").status, 200);
    let answer = client.request("GET", &session, "", b"").text();
    assert!(answer.starts_with("40{"), "the session is its, whatever later requests bring: {answer}");
}

#[test]
fn what_a_client_says_counts_before_its_handshake_and_a_bad_token_of_that_lets_nobody_in() {
    let server = server(&["auth.cookie=true"]);
    let (token, wrong) = (good(&json!({})), crate::tokens::signed(&json!({}), &"x".repeat(40)));
    let said = |token: &str| json!({ "token": token }).to_string();
    let (_socket, answer) = enter(&server, WEBSOCKET, &bearer(&wrong), &said(&token));
    assert!(answer.starts_with("40{"), "{answer}");
    let (_socket, answer) = enter(&server, WEBSOCKET, &bearer(&token), &said(&wrong));
    assert_eq!(code(&answer), "token_signature_wrong");
    let (mut socket, answer) = enter(&server, WEBSOCKET, &bearer(&wrong), "");
    assert_eq!(code(&answer), "token_signature_wrong");
    socket.send_text(&format!("40{}", said(&token)));
    assert!(socket.text().starts_with("40{"), "it may try again with another");
    let long = bearer(&format!("eyJ{}.b.c", "a".repeat(9_000)));
    let (_socket, answer) = enter(&server, WEBSOCKET, &long, "");
    assert_eq!(code(&answer), "token_malformed");
    let old = good(&json!({"exp": now_s() - 100}));
    let (_socket, answer) = enter(&server, WEBSOCKET, &bearer(&old), "");
    assert_eq!(code(&answer), "token_expired");
}

#[test]
fn who_is_shut_out_enters_no_further_namespace_by_the_token_of_its_handshake() {
    let server = server(&["auth.refresh_s=60"]);
    let token = make(&json!({"allow": {"subscribe": ["/game"]}}));
    let (mut socket, answer) = enter(&server, WEBSOCKET, &bearer(&token), "");
    assert_eq!(code(&answer), "subscribe_forbidden", "nothing yet: {answer}");
    let fields = "Content-Type: application/json\r\n";
    let revoked = server.connect_admin().request("POST", "/auth/revoke", fields, br#"{"user":"42"}"#);
    assert_eq!(revoked.status, 202);
    await_that("it is refused", || {
        socket.send_text("40/game,");
        let answer = socket.text();
        assert!(answer.starts_with("44/game,"), "{answer}");
        answer.contains("token_revoked")
    });
}

#[test]
fn a_client_that_brings_another_token_in_time_stays_and_loses_what_that_does_not_give() {
    let server = server(&["auth.refresh_s=5"]);
    // It has run out by less than clocks may differ.
    let late = good(&json!({"exp": now_s()}));
    let said = json!({"token": late}).to_string();
    let (mut stays, _) = enter(&server, WEBSOCKET, "", &said);
    let (mut goes, _) = enter(&server, WEBSOCKET, &bearer(&late), "");
    let mut aside = Vec::new();
    assert_eq!(ask(&mut stays, &json!(["join", "lobby"]), &mut aside), json!({"room": "lobby"}));
    if aside.is_empty() {
        aside.push(stays.text());
    }
    assert_eq!(aside, [r#"42["token_expired",{"refresh_within_s":5}]"#]);
    let mut aside = Vec::new();
    for (token, code) in [
        (make(&json!({"sub": "43"})), "token_of_another_user"),
        (crate::tokens::signed(&json!({}), &"x".repeat(40)), "token_signature_wrong"),
        ("no token".into(), "token_malformed"),
    ] {
        let refused = ask(&mut stays, &json!(["refresh", token]), &mut aside);
        assert_eq!(refused["error"]["code"], code, "{refused}");
    }
    let fresh = now_s() + 600;
    let less = make(&json!({"allow": {"subscribe": ["/"]}, "exp": fresh}));
    let refreshed = ask(&mut stays, &json!(["refresh", less]), &mut aside);
    assert_eq!(refreshed, json!({"user": "42", "expires": fresh}));
    assert_eq!(aside, [""; 0]);
    assert_eq!(stays.text(), r#"42["ended",{"room":"lobby","code":"subscribe_forbidden"}]"#);
    let refused = ask(&mut stays, &json!(["join", "lobby"]), &mut aside);
    assert_eq!(refused["error"]["code"], "subscribe_forbidden");
    assert_eq!(goes.text(), r#"42["token_expired",{"refresh_within_s":5}]"#);
    while !matches!(goes.next(), Incoming::Close(..)) {}
    assert_eq!(
        ask(&mut stays, &json!(["join", "other"]), &mut aside)["error"]["code"],
        "subscribe_forbidden"
    );
    let nothing = make(&json!({}));
    assert_eq!(ask(&mut stays, &json!(["refresh", nothing]), &mut aside)["user"], "42");
    assert_eq!(stays.text(), "41", "it is put out of the namespace it has no right to");
}

#[test]
fn a_client_that_has_brought_another_token_enters_further_namespaces_by_it() {
    let server = server(&["auth.refresh_s=60"]);
    let allow = json!({"subscribe": ["/", "/game"]});
    let late = make(&json!({"allow": allow, "exp": now_s() + 1}));
    let (mut socket, _) = enter(&server, WEBSOCKET, &bearer(&late), "");
    let mut aside = Vec::new();
    let token = make(&json!({"allow": allow}));
    assert_eq!(ask(&mut socket, &json!(["refresh", token]), &mut aside)["user"], "42");
    await_that("the first has run out", || now_s() > server_expiry(&late));
    socket.send_text("40/game,");
    let answer = socket.text();
    assert!(answer.starts_with("40/game,"), "{answer}");
}

/// When a token runs out.
fn server_expiry(token: &str) -> u64 {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).expect("three parts");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64");
    serde_json::from_slice::<Value>(&payload).expect("JSON")["exp"].as_u64().expect("a time")
}

#[test]
fn a_client_of_socketio_counts_once_among_its_users_connections() {
    let server = server(&["limits.connections_per_user_max=2"]);
    let token = make(&json!({"allow": {"subscribe": ["**"]}}));
    let said = json!({"token": token}).to_string();
    let (mut first, answer) = enter(&server, WEBSOCKET, "", &said);
    assert!(answer.starts_with("40{"), "{answer}");
    first.send_text(&format!("40/game,{said}"));
    assert!(first.text().starts_with("40/game,"), "it is one, in however many namespaces");
    let _raw = WebSocket::open(server.connect(), "/channels/news", &bearer(&token));
    let (mut third, answer) = enter(&server, WEBSOCKET, &bearer(&token), "");
    assert_eq!(code(&answer), "user_connections_full");
    let other = make(&json!({"sub": "43", "allow": {"subscribe": ["/"]}}));
    third.send_text(&format!("40{}", json!({"token": other})));
    assert!(third.text().starts_with("40{"), "another user is let in");
    first.client.reset();
    await_that("there is room again", || enter(&server, WEBSOCKET, &bearer(&token), "").1.starts_with("40{"));
}

/// The id and its proof that a client was let in with, and the shard it is on.
fn pid_of(answer: &str) -> (String, u16) {
    let json = answer.strip_prefix("40").unwrap_or_else(|| panic!("{answer} lets nobody in"));
    let pid = serde_json::from_str::<Value>(json).expect("JSON")["pid"].as_str().expect("one").to_owned();
    let shard = pid.parse::<SessionId>().expect("an id").shard().0;
    (pid, shard)
}

/// A session on a shard, which its id tells.
fn open_on(server: &Server, shard: u16) -> WebSocket {
    open_on_with(server, shard, "")
}

/// The same, with these fields.
fn open_on_with(server: &Server, shard: u16, fields: &str) -> WebSocket {
    for _ in 0..200 {
        let mut socket = WebSocket::open(server.connect(), WEBSOCKET, fields);
        let told = socket.text();
        let sid = told.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a session");
        if sid.parse::<SessionId>().expect("an id").shard().0 == shard {
            return socket;
        }
    }
    panic!("no connection came to shard {shard}");
}

fn is_let_in(socket: &mut WebSocket, said: &Value) -> bool {
    socket.send_text(&format!("40{said}"));
    let answer = socket.text();
    assert!(answer.starts_with("40{") || code(&answer) == "user_connections_full", "{answer}");
    answer.starts_with("40{")
}

#[test]
fn a_client_of_socketio_that_comes_back_wherever_it_does_is_counted_once_and_given_back_at_its_end() {
    let server =
        server(&["limits.connections_per_user_max=2", "socketio.connection_state_recovery_ms=60000"]);
    let said = json!({"token": make(&json!({"allow": {"subscribe": ["/"]}}))});
    let enters = |server: &Server| is_let_in(&mut open_on(server, 0), &said);
    let mut stays = open_on(&server, 1);
    assert!(is_let_in(&mut stays, &said));
    for (is_noticed, other_shard) in [(true, false), (true, true), (false, false), (false, true)] {
        let (first, answer) = enter(&server, WEBSOCKET, "", &said.to_string());
        let (pid, home) = pid_of(&answer);
        assert!(!enters(&server), "there are two");
        let before = server.metric("roadstead_engine_sessions", "");
        // Otherwise it is there until the server hears of its return.
        let mut stale = Some(first);
        if is_noticed && let Some(first) = stale.take() {
            first.client.reset();
            await_that("it is away", || server.metric("roadstead_engine_sessions", "") < before);
        }
        let mut back = open_on(&server, if other_shard { 1 - home } else { home });
        back.send_text(&format!("40{}", json!({"token": said["token"], "pid": pid})));
        assert_eq!(pid_of(&back.text()), (pid, home), "it is itself again");
        assert!(!enters(&server), "it is counted again: {is_noticed} {other_shard}");
        back.send_text("41");
        drop(back);
        drop(stale);
        let mut second = open_on(&server, 0);
        await_that("it is counted no more", || is_let_in(&mut second, &said));
        assert!(!enters(&server), "it was counted once: {is_noticed} {other_shard}");
        let before = server.metric("roadstead_engine_sessions", "");
        second.send_text("41");
        second.client.reset();
        await_that("it has gone", || server.metric("roadstead_engine_sessions", "") < before);
    }
}

#[test]
fn a_client_that_polls_and_was_refused_before_it_comes_back_on_another_shard_is_counted_once() {
    let server =
        server(&["limits.connections_per_user_max=2", "socketio.connection_state_recovery_ms=60000"]);
    let said = json!({"token": make(&json!({"allow": {"subscribe": ["/"]}}))});
    let (first, answer) = enter(&server, WEBSOCKET, "", &said.to_string());
    let (pid, home) = pid_of(&answer);
    let before = server.metric("roadstead_engine_sessions", "");
    first.client.reset();
    await_that("it is away", || server.metric("roadstead_engine_sessions", "") < before);
    let (mut client, session) = (0..200)
        .find_map(|_| {
            let mut client = server.connect();
            let opened = client.request("GET", POLLING, "", b"").text();
            let sid = opened.split("\"sid\":\"").nth(1)?.split('"').next()?;
            let is_other = sid.parse::<SessionId>().expect("an id").shard().0 != home;
            is_other.then(|| (client, format!("{POLLING}&sid={sid}")))
        })
        .expect("a connection to the other shard");
    let refused = format!("40/secret,{said}");
    assert_eq!(client.request("POST", &session, "", refused.as_bytes()).status, 200);
    assert!(client.request("GET", &session, "", b"").text().contains("subscribe_forbidden"));
    let back = format!("40{}", json!({"token": said["token"], "pid": pid}));
    assert_eq!(client.request("POST", &session, "", back.as_bytes()).status, 200);
    let answer = client.request("GET", &session, "", b"").text();
    assert!(answer.contains(&pid), "{answer}");
    let mut other = open_on(&server, 0);
    assert!(is_let_in(&mut other, &said), "it is one");
    assert!(!is_let_in(&mut open_on(&server, 1), &said), "and with this there are two");
}

#[test]
fn the_token_of_a_handshake_goes_along_to_another_shard_whoever_refused_its_client_before() {
    let server = server(&["socketio.connection_state_recovery_ms=60000"]);
    let token = make(&json!({"allow": {"subscribe": ["/", "/game"]}}));
    let (mut first, answer) = enter(&server, WEBSOCKET, &bearer(&token), "");
    let (pid, home) = pid_of(&answer);
    // A token that has been looked at, and one that has not.
    for is_refused_before in [true, false] {
        let before = server.metric("roadstead_engine_sessions", "");
        first.client.reset();
        await_that("it is away", || server.metric("roadstead_engine_sessions", "") < before);
        let mut back = open_on_with(&server, 1 - home, &bearer(&token));
        if is_refused_before {
            back.send_text("40/secret,");
            assert!(back.text().contains("subscribe_forbidden"));
        }
        back.send_text(&format!("40{}", json!({ "pid": pid })));
        assert_eq!(pid_of(&back.text()), (pid.clone(), home), "it is itself again");
        back.send_text("40/game,");
        let answer = back.text();
        assert!(answer.starts_with("40/game,{"), "{is_refused_before}: {answer}");
        first = back;
    }
}
