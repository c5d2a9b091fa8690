//! Tokens: how they come, when they run out, and how they are taken back.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::{
    client::{Client, greet_all},
    permissions::TemporaryFile,
    server::{Server, await_that, program},
    socket::{Incoming, WebSocket},
    stream::EventStream,
};

/// What servers of these tests sign with.
pub const SECRET: &str = "a-secret-of-these-tests-that-is-long-enough";

/// A good token of the user 42 with these claims.
pub fn make(claims: &Value) -> String {
    signed(claims, SECRET)
}

/// The same, signed with any secret.
pub fn signed(claims: &Value, secret: &str) -> String {
    let mut all = json!({"sub": "42", "iat": now_s(), "exp": now_s() + 600});
    for (name, value) in claims.as_object().expect("an object") {
        all[name] = value.clone();
    }
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &all, &key).expect("it can sign")
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs()
}

/// A server on which nobody has a right without a token.
fn server(settings: &[&str]) -> Server {
    let secret = format!("auth.hs256_keys={SECRET}");
    Server::start(&[&[&*secret], settings].concat())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn status(server: &Server, target: &str, fields: &str) -> u16 {
    server.connect().request("GET", target, fields, b"").status
}

#[test]
fn a_token_comes_in_each_of_its_ways_and_in_no_other() {
    let server = server(&[]);
    let token = make(&json!({"allow": {"subscribe": ["news"], "history": ["news"]}}));
    let target = "/channels/news/history";
    assert_eq!(status(&server, target, ""), 401);
    assert_eq!(status(&server, target, &bearer(&token)), 200);
    assert_eq!(status(&server, target, &format!("authorization: bearer {token}\r\n")), 200);
    assert_eq!(
        status(&server, &format!("{target}?token={token}"), ""),
        401,
        "not in the URL unless switched on"
    );
    assert_eq!(
        status(&server, target, &format!("Cookie: __Host-roadstead={token}\r\n")),
        401,
        "nor as a cookie"
    );

    let offered = format!("Sec-WebSocket-Protocol: roadstead.raw, bearer.{token}\r\n");
    let mut client = server.connect();
    let handshake = crate::socket::handshake_fields();
    client.ask("GET", "/channels/news", &format!("{handshake}{offered}"), b"");
    let head = client.response_head();
    assert_eq!(
        (head.status, head.field("sec-websocket-protocol")),
        (101, Some("roadstead.raw")),
        "{}",
        head.head
    );
    assert_eq!(status(&server, target, &offered), 401, "a subprotocol is a WebSocket's");

    let mut socket = server.websocket("/ws");
    let refused = socket.command(&json!({"id":1,"subscribe":{"channel":"news"}}));
    assert_eq!(refused["error"]["code"], "subscribe_forbidden");
    let connected = socket.command(&json!({"id":2,"connect":{"token":token}}));
    assert_eq!(connected["connected"]["user"], "42", "{connected}");
    let reply = socket.command(&json!({"id":3,"subscribe":{"channel":"news"}}));
    assert_eq!(reply["subscribed"]["channel"], "news");
    let refused = socket.command(&json!({"id":4,"subscribe":{"channel":"other"}}));
    assert_eq!(refused["error"]["code"], "subscribe_forbidden");
}

#[test]
fn a_cookie_counts_for_pages_that_are_let_in_by_name_and_for_no_other() {
    for (allowed, page, may) in [
        ("https://app.example", "https://app.example", true),
        ("https://app.example", "https://evil.example", false),
        // Whoever lets every page in does not let every page use its visitor's cookie.
        ("*", "https://evil.example", false),
        ("https://app.example", "null", false),
    ] {
        let allowed = format!("cors.allowed_origins={allowed}");
        let server = server(&["auth.cookie=true", &allowed, "auth.token_in_url=true"]);
        let token =
            make(&json!({"allow": {"history": ["news"], "publish": ["news"], "subscribe": ["news"]}}));
        let fields = format!("Cookie: a=b; __Host-roadstead={token}\r\nOrigin: {page}\r\n");
        let ask = |method: &str, target: &str, fields: &str| {
            server.connect().request(method, target, fields, b"").status
        };
        assert_eq!(ask("GET", "/channels/news/history", &fields) == 200, may, "{allowed} {page}");
        assert_eq!(ask("POST", "/channels/news", &fields) == 200, may, "{allowed} {page}");
        let opened = WebSocket::try_open(server.connect(), "/channels/news", &fields);
        assert_eq!(opened.is_ok(), may, "{allowed} {page}");
        let bare = format!("Cookie: __Host-roadstead={token}\r\n");
        assert_eq!(ask("GET", "/channels/news/history", &bare), 200, "no page's script sends this");
        assert_eq!(ask("POST", "/channels/news", &bare), 401);
        let picture = format!("{bare}Sec-Fetch-Site: cross-site\r\n");
        assert_eq!(
            ask("GET", "/channels/news/history", &picture),
            401,
            "a page of another site shows a picture"
        );
        assert_eq!(ask("GET", &format!("/channels/news/history?token={token}"), ""), 200);
    }
}

#[test]
fn what_a_user_has_by_the_rules_alone_is_its_own() {
    let file = TemporaryFile::holding(
        "subject.toml",
        "[[namespace]]\npattern = \"user:{sub}\"\nhistory = \"token\"\n\
         [[namespace]]\npattern = \"all:*\"\nhistory = \"token\"\n\
         [[namespace]]\npattern = \"**\"\nhistory = \"anyone\"\n",
    );
    let mut command = Server::command(1, &["127.0.0.1:0"], &[&format!("auth.hs256_keys={SECRET}")]);
    let server = Server::launch(command.args(["--config", file.path()]));
    let fields = bearer(&make(&json!({})));
    for (channel, without, with) in
        [("user:42", 401, 200), ("user:43", 401, 403), ("all:x", 401, 200), ("other", 200, 200)]
    {
        let target = format!("/channels/{channel}/history");
        assert_eq!(
            (status(&server, &target, ""), status(&server, &target, &fields)),
            (without, with),
            "{channel}"
        );
    }
}

#[test]
fn commands_behind_a_token_wait_for_it_and_a_wrong_one_ends_the_websocket() {
    let server = server(&[]);
    let token = make(&json!({"allow": {"subscribe": ["news"]}}));
    let mut socket = server.websocket("/ws");
    socket.send_text(&json!({"id":1,"connect":{"token":token}}).to_string());
    socket.send_text(r#"{"id":2,"subscribe":{"channel":"news"}}"#);
    assert_eq!(socket.json()["connected"]["user"], "42");
    assert_eq!(socket.json()["subscribed"]["channel"], "news");
    let other = make(&json!({"sub": "43"}));
    let refused = socket.command(&json!({"id":3,"refresh":{"token":other}}));
    assert_eq!(refused["error"]["code"], "token_of_another_user");
    assert_eq!(socket.close_code(), Some(4008));

    let mut socket = server.websocket("/ws");
    let wrong = signed(&json!({}), &"x".repeat(40));
    let refused = socket.command(&json!({"id":1,"connect":{"token":wrong}}));
    assert_eq!(refused["error"]["code"], "token_signature_wrong");
    assert_eq!(socket.close_code(), Some(4008));
    let refused = server.connect().request("GET", "/channels/news/history", &bearer(&wrong), b"");
    assert_eq!((refused.status, refused.error_code().as_str()), (401, "token_signature_wrong"));
    assert!(refused.field("www-authenticate").is_some_and(|value| value.contains("invalid_token")));
}

#[test]
fn a_token_that_gives_less_ends_what_it_does_not_give() {
    let server = server(&[]);
    let mut socket = server.websocket("/ws");
    let token = make(&json!({"allow": {"subscribe": ["a", "b"]}}));
    socket.command(&json!({"id":1,"connect":{"token":token}}));
    for channel in ["a", "b"] {
        assert!(socket.command(&json!({"id":2,"subscribe":{"channel":channel}})).get("subscribed").is_some());
    }
    let less = make(&json!({"allow": {"subscribe": ["b"]}}));
    let refreshed = socket.command(&json!({"id":3,"refresh":{"token":less}}));
    assert_eq!(refreshed["refreshed"]["user"], "42", "{refreshed}");
    assert_eq!(socket.json(), json!({"ended":{"channel":"a","code":"subscribe_forbidden"}}));
    let publisher = bearer(&make(&json!({"allow": {"publish": ["**"]}})));
    for channel in ["a", "b"] {
        let answer = server.connect().request("POST", &format!("/channels/{channel}"), &publisher, b"x");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(socket.push()["channel"], "b", "nothing comes from a any more");
}

#[test]
fn who_brings_no_other_token_in_time_is_closed_and_who_does_stays() {
    let server = server(&["auth.refresh_s=2"]);
    let allow = json!({"subscribe": ["news"]});
    // It has run out by less than clocks may differ.
    let late = make(&json!({"allow": allow, "exp": now_s()}));
    let mut stays = WebSocket::open(server.connect(), "/ws", &bearer(&late));
    let mut goes = WebSocket::open(server.connect(), "/channels/news", &bearer(&late));
    let mut stream = EventStream::open(server.connect(), "news", "", &bearer(&late));
    assert_eq!(stays.json(), json!({"expired":{"refresh_within_s":2}}));
    let token = make(&json!({"allow": allow}));
    let refreshed = stays.command(&json!({"id":1,"refresh":{"token":token}}));
    assert_eq!(refreshed["refreshed"]["user"], "42", "{refreshed}");
    assert_eq!(goes.close_code(), Some(4007));
    stream.rest();
    assert_eq!(stays.command(&json!({"id":2,"ping":{}})), json!({"id":2,"pong":{}}));
    assert_eq!(server.metric("roadstead_closed_total", "token_expired"), 2.0);
}

#[test]
fn who_is_shut_out_goes_on_every_shard_and_does_not_come_back_by_that_token() {
    let server = Server::with_shards(2, &[&format!("auth.hs256_keys={SECRET}")]);
    let allow = json!({"subscribe": ["**"], "history": ["**"]});
    let (own, other) =
        (make(&json!({"allow": allow})), make(&json!({"allow": allow, "sub": "43", "jti": "t1"})));
    let open = |token: &str| -> Vec<WebSocket> {
        (0..8).map(|_| WebSocket::open(server.connect(), "/ws", &bearer(token))).collect()
    };
    let (mut first, mut second) = (open(&own), open(&other));
    let mut client = enter(&server, &own);
    let revoke = |body: Value, fields: &str| {
        let fields = format!("Content-Type: application/json\r\n{fields}");
        let mut admin = server.connect_admin();
        admin.request("POST", "/auth/revoke", &fields, body.to_string().as_bytes()).status
    };
    assert_eq!(
        revoke(json!({"user": "42"}), "Origin: https://evil.example\r\n"),
        403,
        "no page asks for this"
    );
    assert_eq!(revoke(json!({"user": "42", "token": "t1"}), ""), 400);
    assert_eq!(revoke(json!({}), ""), 400);
    assert_eq!(server.admin("/auth/revoke").status, 405);
    assert_eq!(revoke(json!({"user": "42"}), ""), 202);
    for socket in &mut first {
        assert_eq!(socket.close_code(), Some(4009));
    }
    assert!(matches!(client.next(), Incoming::Close(..) | Incoming::Text(_)), "Socket.IO's client, too");
    await_that("every shard refuses it", || {
        (0..8).all(|_| status(&server, "/channels/a/history", &bearer(&own)) == 401)
    });
    for socket in &mut second {
        assert_eq!(socket.command(&json!({"id":1,"ping":{}})), json!({"id":1,"pong":{}}));
    }
    assert_eq!(revoke(json!({"token": "t1"}), ""), 202);
    for socket in &mut second {
        assert_eq!(socket.close_code(), Some(4009));
    }
    assert_eq!(
        status(&server, "/channels/a/history", &bearer(&make(&json!({"allow": allow, "sub": "43"})))),
        200
    );
}

/// Enters the namespace `/` with a token that lets in.
fn enter(server: &Server, token: &str) -> WebSocket {
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with('0'));
    socket.send_text(&format!("40{}", json!({ "token": token })));
    let answer = socket.text();
    assert!(answer.starts_with("40"), "{answer}");
    socket
}

#[test]
fn a_user_has_so_many_connections_on_all_shards_together() {
    let server = server(&["limits.connections_per_user_max=3"]);
    let token = make(&json!({"allow": {"subscribe": ["news"]}}));
    let open = || WebSocket::try_open(server.connect(), "/channels/news", &bearer(&token));
    let mut sockets: Vec<_> =
        (0..3).map(|_| open().map_err(|one| one.text()).expect("one of three")).collect();
    let refused = open().err().expect("the fourth");
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "user_connections_full"));
    let mut commands = server.websocket("/ws");
    let refused = commands.command(&json!({"id":1,"connect":{"token":token}}));
    assert_eq!(refused["error"]["code"], "user_connections_full");
    let other = make(&json!({"sub": "43"}));
    assert!(commands.command(&json!({"id":2,"connect":{"token":other}})).get("connected").is_some());
    drop(sockets.pop());
    let mut again = None;
    await_that("there is room again", || {
        again = open().ok();
        again.is_some()
    });
}

#[test]
fn a_storm_of_wrong_tokens_does_not_starve_who_is_in() {
    let file = TemporaryFile::holding("es256.pem", PUBLIC_KEY);
    let text = format!(
        "[auth]\nhs256_keys = [\"{SECRET}\"]\naudience = \"roadstead\"\n\
         [[token_key]]\nissuer = \"https://login.example\"\nalgorithm = \"ES256\"\nfile = \"{}\"\n\
         user_prefix = \"login-\"\n",
        file.path()
    );
    let config = TemporaryFile::holding("storm.toml", &text);
    let mut command = Server::command(1, &["127.0.0.1:0"], &[]);
    let server = Server::launch(command.args(["--config", config.path()]));
    let good = make(&json!({"aud": "roadstead", "allow": {"history": ["a"]}}));
    let mut socket = WebSocket::open(server.connect(), "/ws", &bearer(&good));
    // A signature of the right length by nobody.
    let head = json!({"alg": "ES256"}).to_string();
    let claims = json!({"iss": "https://login.example", "sub": "1", "exp": now_s() + 60}).to_string();
    let part = |text: &str| base64_url(text.as_bytes());
    let wrong = format!("{}.{}.{}", part(&head), part(&claims), base64_url(&[7; 64]));
    let fields = bearer(&wrong);
    let mut storm: Vec<_> = (0..100).map(|_| server.connect()).collect();
    let mut refused = 0;
    for _ in 0..10 {
        server.pause(|| {
            for client in &mut storm {
                (0..4).for_each(|_| client.ask("GET", "/channels/a/history", &fields, b""));
            }
            socket.send_text(r#"{"id":1,"ping":{}}"#);
        });
        assert_eq!(socket.json(), json!({"id":1,"pong":{}}));
        for client in &mut storm {
            for _ in 0..4 {
                let answer = client.response();
                assert_eq!((answer.status, answer.error_code().as_str()), (401, "token_signature_wrong"));
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 4000, "each has its answer, in order");
    assert_eq!(server.metric("roadstead_tokens_refused_total", "code=\"token_signature_wrong\""), 4000.0);
    assert_eq!(status(&server, "/channels/a/history", &bearer(&good)), 200);
}

#[test]
fn one_address_with_many_expensive_tokens_keeps_no_other_waiting() {
    let pair = rcgen::KeyPair::generate().expect("a key on P-256");
    let file = TemporaryFile::holding("fair.pem", &pair.public_key_pem());
    let text = format!(
        "[auth]\nhs256_keys = [\"{SECRET}\"]\naudience = \"roadstead\"\n[proxy]\ntrusted = [\"127.0.0.0/8\"]\n\
         [[token_key]]\nissuer = \"i\"\nalgorithm = \"ES256\"\nfile = \"{}\"\nuser_prefix = \"i-\"\n",
        file.path()
    );
    let config = TemporaryFile::holding("fair.toml", &text);
    let mut command = Server::command(1, &["127.0.0.1:0"], &[]);
    let server = Server::launch(command.args(["--config", config.path()]));
    let allow = json!({"publish": ["a"]});
    let claims = json!({"iss": "i", "aud": "roadstead", "sub": "1", "exp": now_s() + 600, "allow": allow});
    let key = EncodingKey::from_ec_der(pair.serialized_der());
    let costly = jsonwebtoken::encode(&Header::new(jsonwebtoken::Algorithm::ES256), &claims, &key);
    let costly = format!("X-Forwarded-For: 203.0.113.1\r\n{}", bearer(&costly.expect("it can sign")));
    let own = make(&json!({"aud": "roadstead", "allow": allow}));
    let own = format!("X-Forwarded-For: 203.0.113.2\r\n{}", bearer(&own));
    let mut storm: Vec<_> = (0..200).map(|_| server.connect()).collect();
    let mut client = server.connect();
    // Whoever is accepted only afterwards would be read after them all, and over TLS first requests wait for their turn.
    greet_all(storm.iter_mut().chain([&mut client]));
    server.pause(|| {
        storm.iter_mut().for_each(|one| one.ask("POST", "/channels/a", &costly, b"x"));
        client.ask("POST", "/channels/a", &own, b"x");
    });
    // Each publication's offset tells when its token had its turn.
    let offset = |client: &mut Client| {
        let answer = client.response();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["offset"].as_u64().expect("an offset")
    };
    let place = offset(&mut client);
    assert!(place < 100, "it was looked at as number {place} of 201");
    storm.iter_mut().for_each(|client| assert!(offset(client) <= 201));
}

/// The key of a well-known example.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n\
    q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n\
    -----END PUBLIC KEY-----\n";

fn base64_url(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn keys_that_change_count_at_once_and_files_that_cannot_be_read_change_nothing() {
    let file = TemporaryFile::holding("secret.key", SECRET);
    let text = format!("[[token_key]]\nissuer = \"i\"\nalgorithm = \"HS256\"\nfile = \"{}\"\n", file.path());
    let config = TemporaryFile::holding("rotate.toml", &text);
    let mut command = Server::command(1, &["127.0.0.1:0"], &[]);
    let server = Server::launch(command.args(["--config", config.path()]));
    let next = "another-secret-of-these-tests-that-is-long-too";
    let claims = json!({"iss": "i", "allow": {"history": ["a"]}});
    let may = |secret: &str| status(&server, "/channels/a/history", &bearer(&signed(&claims, secret))) == 200;
    assert!(may(SECRET) && !may(next));
    std::fs::write(file.path(), "too short").expect("it is ours");
    server.signal("HUP");
    await_that("it is refused", || server.log().contains("nothing has changed"));
    assert!(may(SECRET), "the last good one counts");
    std::fs::write(file.path(), next).expect("it is ours");
    server.signal("HUP");
    await_that("the new key counts", || may(next));
    assert!(!may(SECRET));
    for secret in [SECRET, next] {
        assert!(!server.log().contains(secret) && !server.admin("/config").text().contains(secret));
    }
}

#[test]
fn beyond_loopback_the_admin_listener_asks_for_a_key() {
    for (keys, key, status) in
        [("", "", 401), ("", "k", 403), ("k", "k", 200), ("k", "l", 403), ("k", "", 401)]
    {
        let mut command = program();
        command.args(["--shards", "1", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"]);
        let server = Server::launch(command.args(["--set", &format!("server.admin_keys={keys}")]));
        let mut admin = Client::connect(([127, 0, 0, 1], server.admin_address().port()).into());
        let fields = if key.is_empty() { String::new() } else { bearer(key) };
        for target in ["/config", "/shards"] {
            assert_eq!(admin.request("GET", target, &fields, b"").status, status, "{keys} {key} {target}");
        }
        for target in ["/metrics", "/healthz", "/readyz", "/dashboard"] {
            assert_eq!(admin.request("GET", target, "", b"").status, 200, "{target}");
        }
        let mut watcher = Client::connect(([127, 0, 0, 1], server.admin_address().port()).into());
        watcher.ask("GET", "/dashboard/live", &fields, b"");
        assert_eq!(watcher.response_head().status, status, "{keys} {key}");
        drop(watcher);
        let revoked = admin.request("POST", "/auth/revoke", &fields, br#"{"user":"42"}"#).status;
        assert_eq!(revoked, if status == 200 { 202 } else { status });
        drop(admin);
        // The rig asks as nobody.
        server.stop();
    }
}
