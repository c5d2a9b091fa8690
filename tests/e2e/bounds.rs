//! What the channels of a namespace keep and take where that is not as everywhere; and how often each may publish.

use serde_json::{Value, json};

use crate::{
    permissions::TemporaryFile,
    server::{Server, await_that},
    socket::WebSocket,
    tokens::{SECRET, make},
};

const NAMESPACES: &str = "
[[namespace]]
pattern = \"small:*\"
subscribe = \"anyone\"
publish = \"anyone\"
history = \"anyone\"
set_state = \"anyone\"
history_publications_max = 2
publication_bytes_max = 10
publications_per_second_max = 2
[[namespace]]
pattern = \"/\"
subscribe = \"anyone\"
[[namespace]]
pattern = \"**\"
subscribe = \"anyone\"
publish = \"anyone\"
history = \"anyone\"
";

fn server(file: &TemporaryFile, settings: &[&str]) -> Server {
    let secret = format!("auth.hs256_keys={SECRET}");
    let common = ["publish.clients=true", "publish.keys=k", "proxy.trusted=127.0.0.0/8", &*secret];
    let mut command = Server::command(2, &["127.0.0.1:0"], &[&common[..], settings].concat());
    Server::launch(command.args(["--config", file.path()]))
}

/// The field of a client whose address ends like this.
fn from(last: u32) -> String {
    format!("X-Forwarded-For: 203.0.113.{last}\r\n")
}

fn post(server: &Server, channel: &str, fields: &str, body: &str) -> (u16, String) {
    let answer = server.connect().request("POST", &format!("/channels/{channel}"), fields, body.as_bytes());
    (answer.status, if answer.status == 200 { String::new() } else { answer.error_code() })
}

fn kept(server: &Server, channel: &str) -> usize {
    let page = server.connect().request("GET", &format!("/channels/{channel}/history"), "", b"");
    page.json()["publications"].as_array().expect("a list").len()
}

#[test]
fn a_namespace_keeps_and_takes_what_it_says_by_every_way_in() {
    let file = TemporaryFile::holding("bounds.toml", NAMESPACES);
    let server = server(&file, &[]);
    for number in 1..=4 {
        assert_eq!(post(&server, "small:a", &from(number), "0123456789").0, 200);
        assert_eq!(post(&server, "other", &from(number), "0123456789a").0, 200);
    }
    assert_eq!((kept(&server, "small:a"), kept(&server, "other")), (2, 4));
    let (long, too_large) = ("0123456789a", "publication_too_large");
    assert_eq!(post(&server, "small:a", "", long), (413, too_large.into()));
    let json = "Content-Type: application/json\r\n";
    let batch =
        json!({"publications": [{"channel": "small:a", "data": long}, {"channel": "other", "data": long}]});
    let answer = server.connect().request("POST", "/publish", json, batch.to_string().as_bytes()).json();
    assert_eq!(answer["results"][0]["error"]["code"], too_large, "{answer}");
    assert_eq!(answer["results"][1].get("error"), None, "{answer}");
    let put = server.connect().request("PUT", "/channels/small:a/state/k", "", long.as_bytes());
    assert_eq!((put.status, put.error_code().as_str()), (413, too_large));
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    let command = |channel: &str| json!({"id": 1, "publish": {"channel": channel, "data": long}});
    assert_eq!(socket.command(&command("small:a"))["error"]["code"], too_large);
    assert!(socket.command(&command("other")).get("published").is_some());
    let mut raw = WebSocket::open(server.connect(), "/channels/small:a", "");
    raw.send_text(long);
    assert_eq!(raw.close_code(), Some(1009));
    let emit = json!({"rooms": ["other", "small:a"], "event": "a long name", "args": []});
    let key = format!("{json}Authorization: Bearer k\r\n");
    let emitted = server.connect().request("POST", "/socket.io-api/emit", &key, emit.to_string().as_bytes());
    assert_eq!((emitted.status, emitted.error_code().as_str()), (413, too_large));
    let event = |room: &str| json!(["publish", room, "a long name"]);
    let mut client = enter(&server);
    assert_eq!(ask(&mut client, &event("small:a"))["error"]["code"], too_large);
    assert_eq!(ask(&mut client, &event("other")), json!({"room": "other"}));
}

/// Enters the namespace `/` of Socket.IO.
fn enter(server: &Server) -> WebSocket {
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with('0'));
    socket.send_text("40");
    assert!(socket.text().starts_with("40{"));
    socket
}

fn ask(socket: &mut WebSocket, event: &Value) -> Value {
    socket.send_text(&format!("421{event}"));
    let text = socket.text();
    let json = text.strip_prefix("431").unwrap_or_else(|| panic!("{text} instead of an acknowledgement"));
    serde_json::from_str::<Value>(json).expect("JSON")[0].clone()
}

#[test]
fn each_key_each_user_and_each_address_without_either_has_a_rate_of_its_own_on_all_shards() {
    let file = TemporaryFile::holding("rates.toml", NAMESPACES);
    let server = server(&file, &["limits.publications_per_key_per_second_max=4"]);
    let user = |sub: &str| format!("Authorization: Bearer {}\r\n", make(&json!({ "sub": sub })));
    let key = "Authorization: Bearer k\r\n".to_owned();
    // Who comes through the proxy with the same address, and shows who it is, is not counted by that.
    let publishers = [from(1), from(2), user("42") + &from(1), user("43") + &from(1), key + &from(1)];
    for fields in publishers {
        assert_eq!(burst(&server, "other", &fields), 4, "{fields}");
    }
}

/// Publishes six times in one turn, in which no time passes: how many were taken.
fn burst(server: &Server, channel: &str, fields: &str) -> usize {
    let mut client = server.connect();
    let target = format!("/channels/{channel}");
    server.pause(|| (0..6).for_each(|_| client.ask("POST", &target, fields, b"x")));
    let statuses: Vec<_> = (0..6).map(|_| client.response().status).collect();
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

#[test]
fn a_namespaces_own_rate_holds_for_its_channels_together_and_for_no_other() {
    let file = TemporaryFile::holding("own-rates.toml", NAMESPACES);
    let server = server(&file, &[]);
    assert_eq!((burst(&server, "small:a", ""), burst(&server, "other", "")), (2, 6));
    let mut socketio = enter(&server);
    let refused = (0..50).map(|_| ask(&mut socketio, &json!(["publish", "small:b", "e"])));
    let refused = refused.map(|answer| answer["error"]["code"].clone()).find(|code| !code.is_null());
    assert_eq!(refused, Some(json!("rate_limited")), "a client of Socket.IO has its address, too");
}

#[test]
fn what_a_namespace_keeps_changes_while_the_server_runs() {
    let file = TemporaryFile::holding("kept.toml", NAMESPACES);
    let server = server(&file, &[]);
    for number in 1..=4 {
        assert_eq!(post(&server, "small:a", &from(number), "x").0, 200);
        assert_eq!(post(&server, "other", &from(number), "x").0, 200);
    }
    assert_eq!((kept(&server, "small:a"), kept(&server, "other")), (2, 4));
    let changed = NAMESPACES
        .replace("history_publications_max = 2", "history_publications_max = 3")
        .replace("pattern = \"**\"", "pattern = \"**\"\nhistory_publications_max = 1");
    std::fs::write(file.path(), changed).expect("it is ours");
    server.signal("HUP");
    let mut number = 4;
    await_that("each keeps what it says now", || {
        number += 1;
        let posted = ["small:a", "other"].map(|channel| post(&server, channel, &from(number), "x").0);
        assert_eq!(posted, [200, 200]);
        (kept(&server, "small:a"), kept(&server, "other")) == (3, 1)
    });
    assert!(server.log().contains("changed: namespace"), "{}", server.log());
}

#[test]
fn what_is_more_than_everywhere_is_refused_at_the_start_with_its_cure() {
    for (line, told) in [
        ("publication_bytes_max = 1000000", "no more than limits.publication_bytes_max"),
        ("publication_bytes_max = 0", "publication_bytes_max is at least 1"),
        ("publications_per_second_max = 0", "publications_per_second_max is at least 1"),
        ("history_age_max_ms = 1", "history_age_max_ms is at least 20"),
    ] {
        let text = format!("[[namespace]]\npattern = \"a\"\n{line}\n");
        let file = TemporaryFile::holding("excess.toml", &text);
        let mut command = Server::command(1, &["127.0.0.1:0"], &[]);
        let output = command.args(["--config", file.path()]).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(told), "{line}: {error}");
    }
}
