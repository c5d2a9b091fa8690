//! Which web pages may talk to the server.

use crate::{server::Server, socket::WebSocket};

#[test]
fn pages_of_this_machine_and_listed_ones_get_their_cors_fields() {
    let server = Server::start(&["cors.allowed_origins=https://app.example"]);
    let mut client = server.connect();
    for origin in ["https://app.example", "http://localhost:3000", "http://127.0.0.1:5173"] {
        let answer = client.request("GET", "/channels", &format!("Origin: {origin}\r\n"), b"");
        assert_eq!((answer.status, answer.field("access-control-allow-origin")), (200, Some(origin)));
        assert_eq!(answer.field("vary"), Some("Origin"));
        let fields = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
        let preflight = client.request("OPTIONS", "/channels/a", &fields, b"");
        assert_eq!((preflight.status, preflight.field("access-control-allow-origin")), (204, Some(origin)));
        for (field, word) in [
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "Authorization"),
            ("access-control-allow-headers", "Last-Event-ID"),
            ("access-control-max-age", "7200"),
        ] {
            assert!(preflight.field(field).is_some_and(|value| value.contains(word)), "{}", preflight.head);
        }
    }
}

#[test]
fn pages_from_elsewhere_can_neither_publish_nor_follow() {
    let server = Server::start(&[]);
    let evil = "Origin: https://evil.example\r\n";
    let mut client = server.connect();
    for (method, target) in
        [("POST", "/channels/a"), ("GET", "/channels/a?timeout=0"), ("OPTIONS", "/channels/a")]
    {
        let refused = client.request(method, target, evil, b"");
        assert_eq!(refused.status, 403, "{method}");
        assert_eq!(refused.field("access-control-allow-origin"), None);
    }
    for target in ["/channels/a", "/ws", "/echo"] {
        let refused = WebSocket::try_open(server.connect(), target, evil).err().expect("refused");
        assert_eq!((refused.status, refused.error_code().as_str()), (403, "origin_not_allowed"), "{target}");
    }
    assert_eq!(server.get("/channels/a/info").json()["offset"], serde_json::Value::Null);
    drop(WebSocket::open(server.connect(), "/ws", "Origin: http://localhost\r\n"));
}

#[test]
fn a_star_lets_every_page_in_and_event_streams_and_polls_say_so() {
    let server = Server::start(&["cors.allowed_origins=*"]);
    let fields = "Origin: https://any.example\r\n";
    let stream = crate::stream::EventStream::open(server.connect(), "a", "", fields);
    assert_eq!(stream.head.field("access-control-allow-origin"), Some("*"));
    let poll = server.connect().request("GET", "/channels/a?timeout=0", fields, b"");
    assert_eq!(poll.field("access-control-allow-origin"), Some("*"));
    assert!(poll.head.contains("Vary: Accept"), "{}", poll.head);
    let refused = server.connect().request("GET", "/channels/a?timeout=x", fields, b"");
    assert_eq!((refused.status, refused.field("access-control-allow-origin")), (400, Some("*")));
}

#[test]
fn an_origin_that_is_none_is_nobodys() {
    let server = Server::start(&["cors.allowed_origins=https://app.example"]);
    for origin in [
        "http://localhost:80@evil.example",
        "http://localhost@evil.example",
        "http://localhost:80/",
        "https://app.example@evil.example",
        "https://app.example/",
        "null",
    ] {
        let answer = server.connect().request("GET", "/channels", &format!("Origin: {origin}\r\n"), b"");
        assert_eq!((answer.status, answer.field("access-control-allow-origin")), (403, None), "{origin}");
        let polling = "/socket.io/?EIO=4&transport=polling";
        let answer = server.connect().request("GET", polling, &format!("Origin: {origin}\r\n"), b"");
        assert_eq!((answer.status, answer.field("access-control-allow-origin")), (403, None), "{origin}");
    }
    let answer = server.connect().request("GET", "/channels", "Origin: https://app.example:443\r\n", b"");
    assert_eq!(answer.status, 200, "a scheme's own port may be said");
}

#[test]
fn names_below_a_listed_one_and_pages_without_an_origin_can_be_let_in() {
    let server = Server::start(&["cors.allowed_origins=https://*.example.org,null"]);
    for (origin, status) in [
        ("https://a.example.org", 200),
        ("https://example.org", 403),
        ("http://a.example.org", 403),
        ("null", 200),
    ] {
        let answer = server.connect().request("GET", "/channels", &format!("Origin: {origin}\r\n"), b"");
        assert_eq!(answer.status, status, "{origin}");
        let allowed = answer.field("access-control-allow-origin");
        assert_eq!(allowed, (status == 200).then_some(origin));
    }
}

#[test]
fn an_allowed_page_may_read_every_refusal_and_another_only_those_before_its_origin() {
    let settings = [
        "cors.allowed_origins=https://app.example",
        "cors.credentials=true",
        "limits.body_bytes_max=1000",
        "limits.publication_bytes_max=1000",
        "limits.body_timeout_ms=200",
    ];
    let server = Server::start(&settings);
    let long = "x".repeat(20_000);
    let begin = |line: &str, origin: &str, more: &str| {
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://{origin}\r\n{more}\r\n")
    };
    // A method, what follows, and whether the origin had arrived.
    let cases = [
        (404, "GET /nothing", "".to_owned()),
        (405, "DELETE /channels/a", "".to_owned()),
        (411, "POST /publish", "".to_owned()),
        (413, "POST /publish", "Content-Length: 1001\r\n".to_owned()),
        (431, "GET /hello", format!("X: {long}\r\n")),
        (417, "POST /publish", "Expect: 200-ok\r\nContent-Length: 1\r\n".to_owned()),
        (501, "BREW /channels/a", "".to_owned()),
        (400, "POST /publish", "Content-Length: x\r\n".to_owned()),
        (408, "POST /publish", "Content-Length: 10\r\n".to_owned()),
    ];
    for (status, line, more) in &cases {
        for (origin, may) in [("app.example", true), ("evil.example", false)] {
            let mut client = server.connect();
            client.send(begin(line, origin, more));
            let answer = client.response();
            let is_judged = *status == 403 || answer.status == 403;
            assert!(answer.status == *status || (!may && is_judged), "{line}: {}", answer.head);
            let allowed = may.then(|| format!("https://{origin}"));
            assert_eq!(answer.field("access-control-allow-origin"), allowed.as_deref(), "{}", answer.head);
            let credentials = answer.field("access-control-allow-credentials");
            assert_eq!(credentials, may.then_some("true"), "{}", answer.head);
        }
    }
    // What comes before its origin every page may read.
    let mut client = server.connect();
    client.send(format!("GET /{long}"));
    let answer = client.response();
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (414, Some("*")));
}

#[test]
fn a_page_may_read_that_there_is_no_room_and_when_there_will_be() {
    for (limit, status) in [("limits.connections_max=2", 503), ("limits.connections_per_address_max=2", 429)]
    {
        let server = Server::with_shards(1, &[limit]);
        let held = [server.websocket("/ws"), server.websocket("/ws")];
        let answer = server.connect().response();
        assert_eq!(
            (answer.status, answer.field("access-control-allow-origin")),
            (status, Some("*")),
            "{limit}"
        );
        let exposed = answer.field("access-control-expose-headers");
        assert!(exposed.is_some_and(|names| names.contains("Retry-After")), "{}", answer.head);
        assert_eq!(answer.field("retry-after").is_some(), status == 503, "{}", answer.head);
        drop(held);
    }
}

#[test]
fn a_page_of_the_public_network_may_ask_whether_it_may_talk_to_a_private_one() {
    let server = Server::start(&["cors.allowed_origins=https://app.example"]);
    let asks = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Private-Network: true\r\n";
    for target in ["/channels/a", "/socket.io/?EIO=4&transport=polling"] {
        for (origin, allowed) in [("https://app.example", Some("true")), ("https://evil.example", None)] {
            let fields = format!("Origin: {origin}\r\n{asks}");
            let answer = server.connect().request("OPTIONS", target, &fields, b"");
            assert_eq!(answer.field("access-control-allow-private-network"), allowed, "{}", answer.head);
        }
    }
}
