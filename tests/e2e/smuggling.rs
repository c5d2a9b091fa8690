//! Requests that two servers in a row could read differently: each is answered 400 (or 501) and the connection is
//! closed, so that nothing behind it is ever taken for a request (RFC 9112 §11.2).

use crate::server::Server;

const ALWAYS_400: &[(&str, &str)] = &[
    (
        "both lengths",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "both, the other way",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    ),
    (
        "two equal lengths",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    ),
    ("a list of lengths", "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 1\r\n\r\nx"),
    ("a signed length", "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\nx"),
    ("a negative length", "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\nx"),
    ("a hexadecimal length", "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x1\r\n\r\nx"),
    ("an empty length", "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: \r\n\r\nx"),
    (
        "chunked twice",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked not last",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked in HTTP/1.0",
        "POST /channels/s HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a bare carriage return", "GET /hello HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n"),
    ("a bare line feed", "GET /hello HTTP/1.1\nHost: a\n\n"),
    ("space before the colon", "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length : 1\r\n\r\nx"),
    ("a folded field", "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nX: y\r\n Content-Length: 1\r\n\r\nx"),
    ("a first line folded", "GET /hello HTTP/1.1\r\n Host: localhost\r\n\r\n"),
    ("a field without a colon", "GET /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length\r\n\r\n"),
    ("a NUL in a field", "GET /hello HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n"),
    ("two hosts", "GET /hello HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
    (
        "a signed chunk",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n",
    ),
    (
        "a chunk without its end",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    ),
    (
        "a chunk line with a bare line feed",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
    ),
    (
        "a chunk too large to count",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    ),
];

#[test]
fn an_ambiguous_request_is_refused_and_what_is_behind_it_never_read() {
    let server = Server::start(&[]);
    for (what, request) in ALWAYS_400 {
        let mut client = server.connect();
        client.send(format!(
            "{request}POST /channels/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
        ));
        let answer = client.response();
        let is_refused = matches!(answer.status, 400 | 413 | 501);
        assert!(is_refused && answer.field("connection") == Some("close"), "{what}: {}", answer.head);
        client.expect_end();
    }
    for channel in ["s", "smuggled"] {
        let info = server.get(&format!("/channels/{channel}/info")).json();
        assert_eq!(info["position"], serde_json::Value::Null, "something was published to {channel}");
    }
}

#[test]
fn the_sound_neighbours_are_taken() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for request in [
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\ncontent-length:1\r\n\r\nx",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nContent-Length:   01  \r\n\r\nx",
        "POST /channels/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "\r\n\r\nGET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        client.send(request);
        assert_eq!(client.response().status, 200, "{request:?}");
    }
}
