//! Every status that HTTP itself can answer, and what of it is counted.

use crate::server::Server;

/// Sends one request as it stands, and gives its status; tells whether the connection was closed behind it.
#[track_caller]
fn status(server: &Server, request: &str) -> (u16, bool) {
    let mut client = server.connect();
    client.send(request);
    let answer = client.response();
    if answer.status >= 400 {
        // Whoever of the server refuses, it has one shape.
        assert!(!answer.error_code().is_empty(), "{}", answer.head);
        assert_eq!(answer.field("content-type"), Some("application/json"));
    }
    let closes = answer.field("connection") == Some("close");
    if closes {
        client.expect_end();
    }
    (answer.status, closes)
}

#[test]
fn every_refusal_has_its_status_and_those_that_lose_the_framing_close() {
    let server = Server::start(&["limits.body_bytes_max=262144", "limits.head_fields_max=20"]);
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(9000));
    let long_head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(17_000));
    let many_fields = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(20));
    let cases: [(u16, bool, &str); 23] = [
        (400, true, "GET\r\n\r\n"),
        (400, true, "GET / HTTP/1.1\r\n\r\n"),
        (400, false, "GET /channels/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, false, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, false, "POST /channels/a/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"),
        (405, false, "POST /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"),
        (405, false, "DELETE /channels/a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (405, false, "GET /publish HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (411, true, "POST /channels/a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (413, true, "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 262145\r\n\r\n"),
        (
            413,
            true,
            "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n40001\r\n",
        ),
        (414, true, &long_line),
        (
            415,
            false,
            "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
        ),
        (
            417,
            true,
            "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\nContent-Length: 1\r\n\r\nx",
        ),
        (426, false, "GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (426, false, "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (431, true, &long_head),
        (431, true, &many_fields),
        (501, true, "BREW /coffee HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (
            501,
            true,
            "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ),
        (505, true, "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n"),
        (505, true, "GET / HTTP/0.9\r\nHost: localhost\r\n\r\n"),
        (505, true, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ];
    for (expected, closes, request) in cases {
        let shown: String = request.chars().take(80).collect();
        assert_eq!(status(&server, request), (expected, closes), "{shown:?}");
    }
    for (label, least) in [("413", 2.0), ("414", 1.0), ("417", 1.0), ("431", 2.0)] {
        let counted = server.metric("roadstead_request_limits_total", &format!("status=\"{label}\""));
        assert_eq!(counted, least, "{label}");
    }
}

#[test]
fn the_neighbours_of_every_size_limit_pass() {
    let settings =
        ["limits.body_bytes_max=5000", "limits.publication_bytes_max=5000", "limits.head_fields_max=20"];
    let server = Server::start(&settings);
    let body = "x".repeat(5000);
    let line = format!("GET /{} HTTP/1.1\r\n", "x".repeat(8192 - 16));
    let fields = "X: y\r\n".repeat(19);
    let head_rest = 16_384 - "GET /hello HTTP/1.1\r\nHost: localhost\r\nX: \r\n\r\n".len();
    for (expected, request) in [
        (200, format!("POST /channels/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n{body}")),
        (
            200,
            format!(
                "POST /channels/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n{body}\r\n0\r\n\r\n"
            ),
        ),
        (404, format!("{line}Host: localhost\r\n\r\n")),
        (200, format!("GET /hello HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")),
        (200, format!("GET /hello HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(head_rest))),
    ] {
        let shown: String = request.chars().take(60).collect();
        assert_eq!(status(&server, &request).0, expected, "{shown:?}");
    }
    assert_eq!(server.metric("roadstead_request_limits_total", ""), 0.0);
}

#[test]
fn a_handshake_that_is_none_is_refused_with_what_is_missing() {
    let server = Server::start(&[]);
    let ask = |change: &dyn Fn(String) -> String| {
        let mut client = server.connect();
        let fields = crate::socket::handshake_fields();
        client.send(change(format!("GET /echo HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")));
        client.response_head()
    };
    assert_eq!(ask(&|request| request).status, 101);
    let old = ask(&|request| request.replace("Version: 13", "Version: 8"));
    assert_eq!((old.status, old.field("sec-websocket-version")), (426, Some("13")));
    assert_eq!(old.field("upgrade"), Some("websocket"));
    for (what, with) in [
        ("Connection: Upgrade", "Connection: keep-alive"),
        ("Sec-WebSocket-Key: d", "Sec-WebSocket-Key: "),
        ("Sec-WebSocket-Key", "X-Key"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("GET /echo", "HEAD /echo"),
        ("GET /echo", "GET /hello"),
    ] {
        let status = ask(&|request| request.replace(what, with)).status;
        assert!(status == 400 || status == 426 && what == "HTTP/1.1", "{what} → {with}: {status}");
    }
    assert_eq!(ask(&|request| request.replace("GET /echo", "GET /nothing")).status, 404);
}
