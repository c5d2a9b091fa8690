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
