//! What the operator's backend decides: every way in, every answer, and every way in which a backend can fail. Nothing is
//! reached that it has not allowed.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::json;

use crate::{
    backend::{Asked, Backend, Reaction, signing_keys},
    certificate::Certificate,
    permissions::{Credential, TemporaryFile, Way, attempt},
    server::{Server, await_that, program},
    socket::{Incoming, WebSocket},
    stream::EventStream,
    tokens,
};

/// What belongs to users, where there are any.
const USERS: &str = "[[namespace]]\npattern = \"user:{sub}\"\nsubscribe = \"token\"\n";

/// Namespaces in which a backend decides on everything it can.
const NAMESPACES: &str = "[[namespace]]\npattern = \"/\"\nsubscribe = \"anyone\"\n\
    [[namespace]]\npattern = \"**\"\nsubscribe = \"hook\"\npublish = \"hook\"\npresence = \"anyone\"\nhistory = \"anyone\"\n";

/// Where it matters which shard is asked.
pub const ONE_SHARD: &str = "server.shards=1";

pub fn server(name: &str, settings: &[String]) -> Server {
    let knows_users = settings.iter().any(|setting| setting.starts_with("hooks.connect="));
    let namespaces = if knows_users { format!("{USERS}{NAMESPACES}") } else { NAMESPACES.to_owned() };
    let file = TemporaryFile::holding(&format!("hooks-{name}.toml"), &namespaces);
    let settings: Vec<_> = settings.iter().map(String::as_str).chain(["socketio.relay=true"]).collect();
    let shards = if settings.contains(&ONE_SHARD) { 1 } else { 2 };
    let mut command = Server::command(shards, &["127.0.0.1:0"], &settings);
    Server::launch(command.args(["--config", file.path()]))
}

/// A server of which this backend decides on channels.
pub fn deciding(name: &str, backend: &Backend, settings: &[&str]) -> Server {
    let hooks = [backend.setting("subscribe"), backend.setting("publish")];
    server(name, &hooks.into_iter().chain(settings.iter().map(|one| one.to_string())).collect::<Vec<_>>())
}

pub fn allow() -> Reaction {
    Reaction::Json(json!({"allow": true}))
}

/// How a poll of a channel is refused, if it is.
#[track_caller]
pub fn poll(server: &Server, channel: &str, fields: &str) -> Result<(), String> {
    let answer = server.connect().request("GET", &format!("/channels/{channel}?timeout=0"), fields, b"");
    if answer.status == 200 { Ok(()) } else { Err(answer.error_code()) }
}

const WAYS: &[(Way, &str)] = &[
    (Way::Command, "subscribe"),
    (Way::WebSocket, "subscribe"),
    (Way::EventStream, "subscribe"),
    (Way::LongPoll, "subscribe"),
    (Way::EventStreams, "subscribe"),
    (Way::LongPolls, "subscribe"),
    (Way::Namespace, "subscribe"),
    (Way::PollingNamespace, "subscribe"),
    (Way::Join, "subscribe"),
    (Way::Post, "publish"),
    (Way::PublishCommand, "publish"),
    (Way::RawMessage, "publish"),
    (Way::Emit, "publish"),
    (Way::Batch, "publish"),
    (Way::PublishEvent, "publish"),
    (Way::Relay, "publish"),
];

#[test]
fn every_way_in_is_open_when_the_backend_allows_it_and_closed_when_it_does_not() {
    for (name, reaction, code) in [
        ("allow", allow(), None),
        (
            "deny",
            Reaction::Json(json!({"deny": {"code": "no_member", "message": "You are none."}})),
            Some("no_member"),
        ),
        ("fail", Reaction::Status(500, "oops".into()), Some("hook_failed")),
    ] {
        // Who follows is let in, so that what is published can be seen, and who relays into the namespace.
        let follows = move |asked: &Asked| {
            let channel = &asked.json()["channel"];
            (channel == "publish:x" || channel == "/publish") && asked.path() == "/subscribe"
        };
        let backend = Backend::start(move |asked| if follows(asked) { allow() } else { reaction.clone() });
        let server = deciding(name, &backend, &[]);
        let mut wrong = Vec::new();
        for (way, right) in WAYS {
            let outcome = attempt(&server, *way, right, &Credential::default());
            // These have no room for a code.
            let has_code = !matches!(way, Way::EventStream | Way::EventStreams | Way::RawMessage);
            let is_right = match (&outcome, code) {
                (Ok(()), None) => true,
                (Err(told), Some(code)) => !has_code || told == code,
                _ => false,
            };
            if !is_right {
                wrong.push(format!("{way:?} with {name}: {outcome:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn whose_token_gives_the_right_is_not_asked_about_and_whose_does_not_is() {
    let backend = Backend::start(|_| allow());
    let secret = format!("auth.hs256_keys={}", tokens::SECRET);
    let server = deciding("token", &backend, &[&secret]);
    let fields = Credential::token(&json!({"subscribe": ["room:*"], "publish": ["room:*"]})).fields;
    for _ in 0..20 {
        assert_eq!(poll(&server, "room:7", &fields), Ok(()));
    }
    assert_eq!(server.connect().request("POST", "/channels/room:7", &fields, b"x").status, 200);
    assert_eq!(backend.calls(), 0);
    assert_eq!(poll(&server, "hall:7", &fields), Ok(()));
    let asked = backend.asked();
    let mut json = asked.json();
    // Which connection it is, and how it speaks.
    for name in ["client", "scheme", "host"] {
        assert!(json.as_object_mut().expect("one").remove(name).is_some(), "{name}");
    }
    assert_eq!(json, json!({"ask": "subscribe", "user": "42", "address": "127.0.0.1", "channel": "hall:7"}));
    // A token brought later ends nothing that the backend has allowed.
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    assert!(socket.command(&json!({"id": 1, "subscribe": {"channel": "hall:8"}}))["subscribed"].is_object());
    let token = tokens::make(&json!({}));
    assert!(socket.command(&json!({"id": 2, "connect": {"token": token}}))["connected"].is_object());
    assert_eq!(server.connect().request("POST", "/channels/hall:8", &fields, b"x").status, 200);
    assert_eq!(socket.push()["channel"], "hall:8");
}

#[test]
fn a_backend_is_told_what_is_published_and_the_header_fields_it_shall_know() {
    let backend = Backend::start(|_| allow());
    let server = deciding("told", &backend, &[]);
    let fields = "Cookie: a=b\r\nX-Other: c\r\nContent-Type: application/json\r\n";
    let answer = server.connect().request("POST", "/channels/room:7?event=e", fields, b"{\"n\":1}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = backend.asked().json();
    assert_eq!((&json["ask"], &json["channel"]), (&json!("publish"), &json!("room:7")));
    assert_eq!((&json["data"], &json["event"]), (&json!({"n": 1}), &json!("e")));
    assert_eq!(json["headers"], json!({"cookie": "a=b"}));
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    let published = socket.command(&json!({"id": 1, "publish": {"channel": "room:7", "data": "text"}}));
    assert_eq!(published["published"]["offset"], 2, "{published}");
    assert_eq!(backend.asked().json()["data"], "text");
}

/// Answers to every question that allow nothing, each in its own way.
fn attacks() -> Vec<(&'static str, Reaction)> {
    let bytes = |text: &str| Reaction::Bytes(text.as_bytes().to_vec());
    vec![
        ("500", Reaction::Status(500, "{\"allow\":true}".into())),
        ("404", Reaction::Status(404, "{\"allow\":true}".into())),
        ("closed", bytes("")),
        ("half a head", bytes("HTTP/1.1 200 OK\r\nContent-Le")),
        ("half an answer", bytes("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"allow\":true}")),
        ("half a chunk", bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n{\"allow\":true}")),
        ("endless", Reaction::Endless),
        ("not HTTP", bytes("{\"allow\":true}")),
        ("another protocol", bytes("HTTP/1.1 101 X\r\n\r\n{\"allow\":true}")),
        ("no JSON", Reaction::Status(200, "allow".into())),
        ("nothing said", Reaction::Json(json!({}))),
        ("another type", Reaction::Json(json!({"allow": "true"}))),
        ("both", Reaction::Json(json!({"allow": true, "deny": {}}))),
        ("slow", Reaction::Nothing),
    ]
}

#[test]
fn a_backend_that_does_not_answer_as_it_should_lets_nobody_in() {
    for (name, reaction) in attacks() {
        let backend = Backend::start(move |_| reaction.clone());
        let server = deciding("attack", &backend, &["hooks.timeout_ms=300"]);
        let mut client = server.connect();
        let answer = client.request("GET", "/channels/room:7?timeout=0", "", b"");
        assert_eq!((answer.status, &*answer.error_code()), (503, "hook_failed"), "{name}");
        assert_eq!(answer.field("retry-after"), Some("1"), "{name}");
        // The connection goes on, and so does the server.
        assert_eq!(client.request("GET", "/channels/room:7/history", "", b"").status, 200, "{name}");
        let failed = server.metric("roadstead_hooks_total", "result=\"allowed\"");
        assert_eq!(failed, 0.0, "{name}");
    }
}

#[test]
fn a_redirect_is_followed_by_nobody() {
    let elsewhere = Backend::start(|_| allow());
    let location = format!("http://{}/", elsewhere.address.expect("a port"));
    for status in [301, 302, 303, 307, 308] {
        let head = format!("HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 14\r\n\r\n");
        let bytes = (head + "{\"allow\":true}").into_bytes();
        let backend = Backend::start(move |_| Reaction::Bytes(bytes.clone()));
        let server = deciding("redirect", &backend, &[]);
        assert_eq!(poll(&server, "room:7", ""), Err("hook_failed".into()), "{status}");
    }
    assert_eq!((elsewhere.calls(), elsewhere.connections()), (0, 0));
}

#[test]
fn a_backend_that_is_not_there_lets_nobody_in() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("it is bound")
    };
    let server = server(
        "absent",
        &[format!("hooks.subscribe=http://{address}/"), "hooks.publish=http://localhost:1/".into()],
    );
    assert_eq!(poll(&server, "room:7", ""), Err("hook_failed".into()));
    assert_eq!(server.connect().request("POST", "/channels/room:7", "", b"x").error_code(), "hook_failed");
    assert!(server.metric("roadstead_hooks_total", "result=\"unreachable\"") >= 2.0);
}

#[test]
fn connections_are_kept_and_one_that_was_closed_meanwhile_costs_a_call_and_no_client() {
    let backend = Backend::start(|_| allow());
    let kept = deciding("kept", &backend, &[]);
    let mut client = kept.connect();
    for _ in 0..10 {
        assert_eq!(client.request("GET", "/channels/room:7?timeout=0", "", b"").status, 200);
    }
    assert_eq!((backend.calls(), backend.connections()), (10, 1));
    let closing = Backend::start(|_| Reaction::JsonAndEnd(json!({"allow": true})));
    let server = deciding("closing", &closing, &[]);
    let mut client = server.connect();
    for _ in 0..10 {
        assert_eq!(client.request("GET", "/channels/room:7?timeout=0", "", b"").status, 200);
    }
    assert_eq!((closing.calls(), closing.connections()), (10, 10));
}

#[test]
fn a_backend_that_fails_too_often_is_left_alone_until_it_answers_again() {
    let heals = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_well = Arc::clone(&heals);
    let backend = Backend::start(move |_| match is_well.load(std::sync::atomic::Ordering::SeqCst) {
        true => allow(),
        false => Reaction::Status(500, String::new()),
    });
    let server = deciding("breaker", &backend, &[]);
    let open = || server.metric("roadstead_hooks_total", "result=\"not_asked\"") > 0.0;
    await_that("it is not asked any more", || poll(&server, "room:7", "").is_err() && open());
    let before = backend.calls();
    for _ in 0..20 {
        assert_eq!(poll(&server, "room:7", ""), Err("hook_failed".into()));
    }
    assert!(backend.calls() < before + 20, "it is asked now and then");
    assert!(server.log().contains("hooks.subscribe fails"), "{}", server.log());
    heals.store(true, std::sync::atomic::Ordering::SeqCst);
    await_that("it is asked again", || poll(&server, "room:7", "").is_ok());
}

#[test]
fn a_herd_is_asked_about_a_few_at_a_time_and_everybody_gets_an_answer() {
    let backend = Backend::start(|_| allow());
    let server = deciding("herd", &backend, &["hooks.in_flight_max=3"]);
    let mut herd: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for (client, number) in herd.iter_mut().zip(0..) {
        client.ask("GET", &format!("/channels/room:{number}?timeout=0"), "", b"");
    }
    for mut client in herd {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(backend.calls(), 200);
    assert!(backend.in_flight_max() <= 3, "{}", backend.in_flight_max());
}

#[test]
fn what_the_backend_says_may_be_remembered_is_not_asked_again_and_is_nobody_elses() {
    let backend = Backend::start(|_| Reaction::Json(json!({"allow": true, "remember_s": 600})));
    let server = deciding("remembered", &backend, &[ONE_SHARD]);
    for _ in 0..5 {
        assert_eq!(poll(&server, "room:7", "Cookie: a\r\n"), Ok(()));
    }
    assert_eq!(backend.calls(), 1);
    assert_eq!(server.metric("roadstead_hooks_total", "result=\"remembered\""), 4.0);
    for (channel, fields) in
        [("room:8", "Cookie: a\r\n"), ("room:7", "Cookie: b\r\n"), ("room:7", ""), ("room:7", "")]
    {
        assert_eq!(poll(&server, channel, fields), Ok(()));
    }
    assert_eq!(backend.calls(), 5, "who is nobody in particular is asked about each time");
    for _ in 0..2 {
        assert_eq!(server.connect().request("POST", "/channels/room:7", "Cookie: a\r\n", b"x").status, 200);
    }
    assert_eq!(backend.calls(), 7, "each publication is another");
}

#[test]
fn commands_behind_one_that_waits_take_effect_behind_it() {
    let backend = Backend::start(|_| Reaction::Held(json!({"allow": true})));
    let server = deciding("order", &backend, &[]);
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    socket.send_text("{\"id\":1,\"subscribe\":{\"channel\":\"room:7\"}}");
    socket.send_text("{\"id\":2,\"ping\":{}}");
    socket.send_text("{\"id\":3,\"unsubscribe\":{\"channel\":\"room:7\"}}");
    backend.asked();
    // Others are not kept waiting.
    assert_eq!(server.get("/channels/room:7/info").status, 200);
    backend.release();
    let answered: Vec<_> = (0..3).map(|_| socket.json()).collect();
    let ids: Vec<_> = answered.iter().map(|answer| answer["id"].as_u64()).collect();
    assert!(answered[0]["subscribed"].is_object() || ids.contains(&Some(1)), "{answered:?}");
    assert_eq!(server.subscribers("room:7"), 0, "the last word counts");
}

#[test]
fn what_was_said_of_a_message_is_not_said_of_those_behind_a_new_token() {
    let backend = Backend::start(|_| Reaction::Held(json!({"allow": true})));
    let secret = format!("auth.hs256_keys={}", tokens::SECRET);
    let server = deciding("refresh", &backend, &[&secret]);
    let token = tokens::make(&json!({}));
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    assert!(socket.command(&json!({"id": 1, "connect": {"token": token}}))["connected"].is_object());
    let publish = |id: u32| json!({"id": id, "publish": {"channel": "room:7", "data": "x"}}).to_string();
    socket.send_text(&publish(2));
    socket.send_text(&json!({"id": 3, "refresh": {"token": token}}).to_string());
    socket.send_text(&publish(4));
    socket.send_text(&publish(5));
    for _ in 0..3 {
        backend.asked();
        backend.release();
    }
    let mut answered: Vec<_> = (0..4).map(|_| socket.json()["id"].as_u64()).collect();
    answered.sort();
    assert_eq!((answered, backend.calls()), (vec![Some(2), Some(3), Some(4), Some(5)], 3));
}

#[test]
fn nothing_is_heard_behind_a_message_for_which_its_sender_is_closed() {
    let backend = Backend::start(|_| Reaction::Held(json!({"allow": true})));
    let server = deciding("closed", &backend, &["limits.publication_bytes_max=100"]);
    backend.release();
    let mut socket = WebSocket::open(server.connect(), "/channels/room:7", "");
    backend.asked();
    for message in ["x", &"x".repeat(101), "behind"] {
        socket.send_text(message);
    }
    backend.asked();
    backend.release();
    assert_eq!(socket.close_code(), Some(1009));
    // What may have been asked about it would have been before this.
    backend.release();
    assert_eq!(poll(&server, "room:8", ""), Ok(()));
    assert_eq!(backend.calls(), 3, "the channel, the first message, and another client");
}

#[test]
fn a_client_that_goes_while_it_is_asked_about_leaves_nothing_behind() {
    let backend = Backend::start(|_| Reaction::Held(json!({"allow": true})));
    let server = deciding("gone", &backend, &[]);
    let mut poll = server.connect();
    poll.ask("GET", "/channels/room:7?timeout=0", "", b"");
    backend.asked();
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    socket.send_text("{\"id\":1,\"subscribe\":{\"channel\":\"room:7\"}}");
    backend.asked();
    assert_eq!(server.metric("roadstead_hooks_waiting", ""), 2.0);
    poll.reset();
    socket.client.reset();
    await_that("both have gone", || server.connections() == 0);
    (0..2).for_each(|_| backend.release());
    await_that("nothing waits", || server.metric("roadstead_hooks_waiting", "") == 0.0);
    assert_eq!(server.subscribers("room:7"), 0);
}

#[test]
fn a_backend_says_who_somebody_is_by_its_cookie() {
    let backend = Backend::start(|asked| {
        assert_eq!(asked.path(), "/connect");
        match asked.json()["headers"]["cookie"].as_str() {
            Some("session=good") => Reaction::Json(json!({
                "allow": true, "user": "42", "rights": {"subscribe": ["news:*"]}
            })),
            Some("session=none") => Reaction::Json(json!({"allow": true})),
            _ => Reaction::Json(json!({"deny": {"code": "log_in", "message": "Log in first."}})),
        }
    });
    let server = server(
        "connect",
        &[backend.setting("connect"), backend.setting("subscribe"), backend.setting("publish")],
    );
    let cookie = |value: &str| format!("Cookie: session={value}\r\n");
    let mut stream = EventStream::open(server.connect(), "user:42", "", &cookie("good"));
    let open = |target: &str, value: &str| {
        WebSocket::try_open(server.connect(), target, &cookie(value))
            .map(drop)
            .map_err(|one| one.error_code())
    };
    assert_eq!(open("/channels/user:42", "good"), Ok(()));
    assert_eq!(open("/channels/news:a", "good"), Ok(()), "a right that the backend has given");
    assert_eq!(open("/channels/user:43", "good"), Err("subscribe_forbidden".into()));
    assert_eq!(open("/channels/user:42", "none"), Err("subscribe_forbidden".into()));
    assert_eq!(open("/ws", "bad"), Err("log_in".into()));
    assert_eq!(open("/ws?key=x", "bad"), Err("log_in".into()), "anybody can make up a key");
    for (target, accept) in [("?key=x", "text/event-stream"), ("", "text/html, text/event-stream;q=0.9")] {
        let fields = format!("Accept: {accept}\r\n{}", cookie("bad"));
        let answer = server.connect().request("GET", &format!("/channels/news:a{target}"), &fields, b"");
        assert_eq!(answer.error_code(), "log_in");
    }
    let mut socket = WebSocket::open(server.connect(), "/ws", &cookie("good"));
    let mut subscribe = |channel: &str| socket.command(&json!({"id": 1, "subscribe": {"channel": channel}}));
    assert!(subscribe("user:42")["subscribed"].is_object());
    assert_eq!(subscribe("user:43")["error"]["code"], "subscribe_forbidden");
    // Shutting the user out ends what it has.
    let body = b"{\"user\":\"42\"}";
    let json = "Content-Type: application/json\r\n";
    assert_eq!(server.connect_admin().request("POST", "/auth/revoke", json, body).status, 202);
    assert_eq!(socket.close_code(), Some(4009));
    stream.client.receive_to_end();
}

#[test]
fn a_long_poll_is_a_connection_and_another_request_is_asked_about_when_nobody_may_have_it() {
    let backend = Backend::start(|asked| match asked.json()["headers"]["cookie"].as_str() {
        Some("session=good") => Reaction::Json(json!({"allow": true, "user": "42"})),
        Some("session=none") => Reaction::Json(json!({"allow": true})),
        _ => Reaction::Json(json!({"deny": {"code": "log_in", "message": "Log in first."}})),
    });
    let rules = "[publish]\nkeys = [\"secret\"]\n\
        [[namespace]]\npattern = \"user:{sub}\"\nsubscribe = \"token\"\npublish = \"token\"\nhistory = \"token\"\n\
        presence = \"token\"\n[[namespace]]\npattern = \"**\"\nsubscribe = \"anyone\"\nhistory = \"anyone\"\n";
    let file = TemporaryFile::holding("hooks-polls.toml", rules);
    let mut command = Server::command(1, &["127.0.0.1:0"], &[&backend.setting("connect")]);
    let server = Server::launch(command.args(["--config", file.path()]));
    let ask = |method: &str, target: &str, fields: &str, body: &[u8]| {
        let answer = server.connect().request(method, target, fields, body);
        if answer.status < 300 { Ok(answer) } else { Err(answer.error_code()) }
    };
    let get = |target: &str, value: &str| {
        ask("GET", target, &format!("Cookie: session={value}\r\n"), b"").map(drop)
    };
    // Whoever polls is asked about, on one channel or several.
    assert_eq!(get("/channels/user:42?timeout=0", "good"), Ok(()));
    assert_eq!(get("/channels/user:43?timeout=0", "good"), Err("subscribe_forbidden".into()));
    assert_eq!(get("/channels/user:42?timeout=0", "none"), Err("subscribe_forbidden".into()));
    assert_eq!(get("/channels/open?timeout=0", "bad"), Err("log_in".into()));
    assert_eq!(get("/events?channel=open&timeout=0", "bad"), Err("log_in".into()));
    assert_eq!(get("/events?channel=open&channel=user:42&timeout=0", "good"), Ok(()));
    assert_eq!(backend.calls(), 6);
    // What anybody may have nobody is asked about.
    assert_eq!(get("/channels/open/history", "bad"), Ok(()));
    assert_eq!(backend.calls(), 6);
    // What needs somebody is.
    assert_eq!(get("/channels/user:42/history", "good"), Ok(()));
    assert_eq!(get("/channels/user:43/history", "good"), Err("history_forbidden".into()));
    assert_eq!(get("/channels/user:42/history", "none"), Err("history_forbidden".into()));
    assert_eq!(get("/channels/user:42/history", "bad"), Err("log_in".into()));
    let good = "Cookie: session=good\r\n";
    assert!(ask("POST", "/channels/user:42", good, b"x").is_ok());
    assert_eq!(ask("POST", "/channels/user:43", good, b"x").map(drop), Err("publish_forbidden".into()));
    let batch = json!({"publications": [{"channel": "user:42", "data": "y"}]}).to_string();
    let answer = ask("POST", "/publish", good, batch.as_bytes()).expect("it may");
    assert!(answer.json()["results"][0]["offset"].is_u64(), "{}", answer.text());
    let listed = ask("GET", "/channels", good, b"").expect("a list").json();
    assert_eq!(listed["channels"][0]["channel"], "user:42", "{listed}");
    assert_eq!(backend.calls(), 14);
    // Who has a key is a program.
    let key = "Authorization: Bearer secret\r\n";
    assert!(ask("POST", "/channels/user:42", key, b"x").is_ok());
    assert_eq!(ask("GET", "/channels/user:42/history", key, b"").map(drop), Err("history_forbidden".into()));
    assert_eq!(ask("GET", "/channels/open?timeout=0", key, b"").map(drop), Ok(()));
    assert_eq!(backend.calls(), 14);
}

#[test]
fn a_socketio_client_is_somebody_by_what_it_says_of_itself() {
    let backend = Backend::start(|asked| match asked.json()["auth"]["ticket"].as_str() {
        Some("good") => {
            Reaction::Json(json!({"allow": true, "user": "42", "rights": {"subscribe": ["/game"]}}))
        }
        Some("none") => Reaction::Json(json!({"allow": true})),
        _ => Reaction::Json(json!({"deny": {"code": "no_ticket", "message": "Buy one."}})),
    });
    let server = server(
        "entry",
        &[backend.setting("connect"), backend.setting("subscribe"), backend.setting("publish")],
    );
    let enter = |namespace: &str, ticket: &str| {
        let who = Credential { fields: String::new(), auth: json!({"ticket": ticket}) };
        crate::permissions::enter(&server, namespace, &who).map(drop)
    };
    assert_eq!(enter("/game", "good"), Ok(()));
    assert_eq!(enter("/", "none"), Ok(()));
    assert_eq!(enter("/game", "bad"), Err("no_ticket".into()));
    assert_eq!(enter("/game", "none"), Err("no_ticket".into()), "and its subscription is asked about");
}

#[test]
fn one_socketio_client_waits_for_a_few_namespaces_at_a_time() {
    let backend = Backend::start(|_| Reaction::Held(json!({"allow": true})));
    let hooks = ["connect", "subscribe", "publish"].map(|hook| backend.setting(hook));
    let server = server("entries", &hooks.into_iter().chain([ONE_SHARD.into()]).collect::<Vec<_>>());
    let mut socket = WebSocket::open(server.connect(), "/socket.io/?EIO=4&transport=websocket", "");
    assert!(socket.text().starts_with("0{"));
    (0..20).for_each(|number| socket.send_text(&format!("40/n{number},")));
    let refused: Vec<_> = (0..4).map(|_| socket.text()).collect();
    assert!(refused.iter().all(|text| text.starts_with("44/n")), "{refused:?}");
    assert_eq!(server.metric("roadstead_hooks_waiting", ""), 16.0);
    drop(socket);
    (0..16).for_each(|_| {
        backend.asked();
        backend.release();
    });
    await_that("nothing waits", || server.metric("roadstead_hooks_waiting", "") == 0.0);
}

#[test]
fn a_socketio_client_that_says_again_that_it_enters_is_asked_about_once_and_answered_once() {
    let backend = Backend::start(|asked| match asked.json()["auth"]["ticket"].as_str() {
        Some("bad") => Reaction::Held(json!({"deny": {"code": "no_ticket", "message": "Buy one."}})),
        _ => Reaction::Held(json!({"allow": true, "user": "42", "rights": {"subscribe": ["**"]}})),
    });
    let hooks = ["connect", "subscribe", "publish"].map(|hook| backend.setting(hook));
    let server = server("again", &hooks.into_iter().chain([ONE_SHARD.into()]).collect::<Vec<_>>());
    let mut socket = WebSocket::open(server.connect(), "/socket.io/?EIO=4&transport=websocket", "");
    assert!(socket.text().starts_with("0{"));
    (0..3).for_each(|_| socket.send_text(r#"40{"ticket":"good"}"#));
    server.await_metric("roadstead_messages_total", "", 3.0);
    backend.release();
    assert!(socket.text().starts_with("40{"));
    socket.send_text(r#"40/other,{"ticket":"bad"}"#);
    socket.send_text(r#"40/other,{"ticket":"good"}"#);
    server.await_metric("roadstead_messages_total", "", 5.0);
    let asked = |ticket: &str| assert_eq!(backend.asked().json()["auth"]["ticket"], ticket);
    asked("good");
    asked("bad");
    backend.release();
    asked("good");
    backend.release();
    let answer = socket.text();
    assert!(answer.starts_with("40/other,{"), "what it said last counts, and nothing else is told: {answer}");
    assert_eq!(backend.calls(), 3);
}

#[test]
fn calls_are_signed_by_each_key_and_only_who_has_none_of_them_cannot_tell() {
    let backend = Backend::start(|_| allow());
    let server = deciding("signed", &backend, &[&format!("hooks.signing_keys={}", signing_keys())]);
    assert_eq!(poll(&server, "room:7", ""), Ok(()));
    let asked = backend.asked();
    asked.check_signatures();
    let config = server.admin("/config").text();
    assert!(!config.contains("whsec_") && !server.log().contains("whsec_"), "{config}");
}

#[test]
fn a_backend_may_listen_on_a_unix_socket_or_speak_tls_that_is_trusted() {
    let path = std::env::temp_dir().join(format!("roadstead-e2e-{}-hook.sock", std::process::id()));
    let path = path.to_str().expect("a plain name");
    let backend = Backend::start_unix(path, |_| allow());
    let unix = server(
        "unix",
        &[format!("hooks.subscribe=unix:{path}:/a?b"), "hooks.publish=http://localhost:1/".into()],
    );
    assert_eq!(poll(&unix, "room:7", ""), Ok(()));
    assert_eq!(backend.asked().path(), "/a?b");
    std::fs::remove_file(path).expect("the socket is there");

    let certificate = Certificate::new("localhost");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der()], key)
        .expect("a certificate and its key");
    let backend = Backend::start_tls(Arc::new(config), |_| allow());
    let port = backend.address.expect("it has a port").port();
    let ask = |ca: &Certificate, host: &str| {
        let hook = format!("hooks.subscribe=https://{host}:{port}/");
        let ca = format!("hooks.ca_file={}", ca.chain.display());
        let server = server("tls", &[hook, "hooks.publish=http://localhost:1/".into(), ca]);
        poll(&server, "room:7", "")
    };
    assert_eq!(ask(&certificate, "localhost"), Ok(()));
    assert_eq!(ask(&certificate, "127.0.0.1"), Err("hook_failed".into()), "another name");
    assert_eq!(
        ask(&Certificate::new("localhost"), "localhost"),
        Err("hook_failed".into()),
        "another authority"
    );
}

#[test]
fn what_cannot_work_is_refused_at_the_start_with_its_cure() {
    let refused = |text: &str| {
        let file = TemporaryFile::holding("hooks-refused.toml", text);
        let output = program().args(["config", "check", file.path()]).output().expect("it ends");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let hook = "[[namespace]]\npattern = \"a\"\nsubscribe = \"hook\"\n";
    let told = refused(hook);
    assert!(told.contains("[[namespace]] number 1 leaves subscribe to a backend"), "{told}");
    let told = refused("[hooks]\nconnect = \"app.example\"\n");
    assert!(told.contains("hooks.connect: a backend's address is http://HOST:PORT/PATH"), "{told}");
}

#[test]
fn a_raw_websocket_is_closed_whose_message_the_backend_denies() {
    let backend = Backend::start(|asked| match asked.json()["data"].as_str() {
        Some("bad") => Reaction::Json(json!({"allow": false})),
        _ => allow(),
    });
    let server = deciding("raw", &backend, &[]);
    let mut socket = WebSocket::open(server.connect(), "/channels/room:7", "");
    await_that("it follows", || server.subscribers("room:7") == 1);
    for text in ["good", "good, too"] {
        socket.send_text(text);
        assert_eq!(socket.next(), Incoming::Text(text.into()));
    }
    socket.send_text("bad");
    socket.send_text("never");
    assert_eq!(socket.close_code(), Some(1008));
    assert_eq!(server.position("room:7").split(':').nth(1), Some("2"));
}
