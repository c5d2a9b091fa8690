//! Lines about clients in the log.

use roadstead::wire::websocket::Opcode;
use serde_json::{Value, json};

use crate::{
    server::{Server, await_that},
    socket::{WebSocket, close_payload},
    stream::EventStream,
    tokens,
};

/// Lines about clients, in the order written.
fn lines(server: &Server) -> Vec<Value> {
    let about_client = |line: &Value| {
        ["request", "closed", "left out (log.access_per_second)"]
            .iter()
            .any(|message| line["message"] == *message)
    };
    let log = server.log();
    // The last line may not be whole.
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(about_client).collect()
}

/// Waits for so many lines.
#[track_caller]
fn await_lines(server: &Server, count: usize) -> Vec<Value> {
    await_that("the lines are written", || lines(server).len() >= count);
    lines(server)
}

/// Of a line, whether it has these members.
#[track_caller]
fn says(line: &Value, members: Value) {
    for (name, value) in members.as_object().expect("an object") {
        assert_eq!(line[name], *value, "{name} of {line}");
    }
}

fn start(settings: &[&str]) -> Server {
    let proxied = ["log.format=json", "proxy.trusted=127.0.0.0/8"];
    Server::with_shards(1, &[&proxied, settings].concat())
}

const FROM: &str = "X-Forwarded-For: 203.0.113.7\r\n";

#[test]
fn all_requests_and_sessions_have_a_line_with_the_clients_own_address() {
    let secret = format!("auth.hs256_keys={}", tokens::SECRET);
    let server =
        start(&["log.access=all", "log.level=error", "read.open=true", "publish.open=true", &secret]);
    let mut client = server.connect();
    assert_eq!(client.request("GET", "/channels/a/history?token=s3cret", FROM, b"").status, 200);
    assert_eq!(client.request("POST", "/channels/a", FROM, b"x").status, 200);
    assert_eq!(client.request("GET", "/nowhere", FROM, b"").status, 404);
    let token = tokens::make(&json!({"sub": "anna"}));
    let fields = format!("{FROM}Authorization: Bearer {token}\r\n");
    let mut socket = WebSocket::open(server.connect(), "/channels/a", &fields);
    drop(EventStream::open(server.connect(), "a", "", FROM));
    socket.send_frame(Opcode::Close, true, &close_payload(1000, ""));
    let all = await_lines(&server, 7);
    let find = |message: &str, name: &str, value: &str| {
        let mut found = all.iter().filter(|line| line["message"] == message && line[name] == value);
        let line = found.next().unwrap_or_else(|| panic!("no {message} of {value}: {all:#?}"));
        assert!(line["client"].as_str().is_some_and(|client| client.starts_with("203.0.113.7:")), "{line}");
        line.clone()
    };
    says(
        &find("request", "path", "/channels/a/history"),
        json!({"method": "GET", "status": 200, "shard": 0}),
    );
    says(&find("request", "method", "POST"), json!({"path": "/channels/a", "status": 200}));
    says(&find("request", "path", "/nowhere"), json!({"status": 404, "code": "not_found"}));
    says(&find("request", "user", "anna"), json!({"path": "/channels/a", "status": 101}));
    says(
        &find("closed", "transport", "websocket"),
        json!({"user": "anna", "reason": "normal", "code": 1000}),
    );
    says(&find("closed", "transport", "event_stream"), json!({"reason": "client_gone"}));
    assert!(!server.log().contains("s3cret"), "queries may hold secrets: {}", server.log());
}

#[test]
fn of_refusals_alone_there_are_lines_where_only_those_are_wanted_and_none_by_default() {
    let ask = |server: &Server| {
        let mut client = server.connect();
        assert_eq!(client.request("GET", "/channels/a/history", FROM, b"").status, 200);
        assert_eq!(client.request("DELETE", "/channels/a", FROM, b"").status, 405);
        let mut socket = WebSocket::open(server.connect(), "/channels/a", FROM);
        socket.send_frame(Opcode::Text, true, b"\xff");
        assert_eq!(socket.close_code(), Some(1007));
        drop(server.connect());
        let mut wrong = server.connect();
        wrong.send("nonsense\r\n\r\n");
        assert_eq!(wrong.response().status, 400);
    };
    let server = start(&["log.access=refusals"]);
    ask(&server);
    let all = await_lines(&server, 3);
    assert_eq!(all.len(), 3, "{all:#?}");
    says(&all[0], json!({"message": "request", "path": "/channels/a", "status": 405}));
    says(
        &all[1],
        json!({"message": "closed", "transport": "websocket", "reason": "invalid_utf8", "code": 1007}),
    );
    says(&all[2], json!({"message": "request", "status": 400}));
    assert!(all[2]["code"].is_string() && all[2]["path"].is_null(), "{}", all[2]);

    let server = start(&[]);
    ask(&server);
    assert_eq!(lines(&server), [] as [Value; 0]);
}

#[test]
fn a_flood_of_refusals_leaves_so_many_lines_a_second_and_tells_how_many_were_left_out() {
    let server = start(&["log.access=refusals", "log.access_per_second=5"]);
    let mut client = server.connect();
    const ASKED: u64 = 200;
    for _ in 0..ASKED {
        assert_eq!(client.request("GET", "/nowhere", FROM, b"").status, 404);
    }
    let counted = |lines: &[Value]| -> (u64, u64) {
        let left_out = lines.iter().filter_map(|line| line["lines"].as_u64()).sum();
        (lines.iter().filter(|line| line["path"] == "/nowhere").count() as u64, left_out)
    };
    // Those left out are told of with the first line of a later second.
    await_that("every refusal is accounted for", || {
        assert_eq!(client.request("DELETE", "/nowhere", "", b"").status, 404);
        let (written, left_out) = counted(&lines(&server));
        written + left_out >= ASKED && left_out > 0
    });
    let all = lines(&server);
    let mut seconds = std::collections::HashMap::<_, u32>::new();
    for line in all.iter().filter(|line| line["message"] == "request") {
        let timestamp = line["timestamp"].as_str().expect("a time");
        *seconds.entry(timestamp[..19].to_owned()).or_default() += 1;
    }
    // The shard looks at the clock once a turn and the logger with each line.
    assert!(seconds.values().all(|count| *count <= 10), "{seconds:?}");
}
