//! `roadstead run`: channels of the server for the program, and a program in another language than JavaScript.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    program::{Player, command, run},
    reloads::reload,
    server::Server,
    socket::WebSocket,
    storage::Folder,
    stream::EventStream,
};

/// Has the program ask something of a channel: `[error, answer]`.
#[track_caller]
fn channel(player: &mut Player, method: &str, arguments: &Value) -> Value {
    player.ask(&json!(["channel", method, arguments]))
}

#[track_caller]
fn answer(player: &mut Player, method: &str, arguments: &Value) -> Value {
    let told = channel(player, method, arguments);
    assert_eq!(told[0], Value::Null, "{method} {arguments}: {told}");
    told[1].clone()
}

#[test]
fn what_a_program_publishes_reaches_clients_of_every_kind() {
    let server = run(2, &["read.open=true"]);
    let mut player = Player::enter(&server);
    let mut socket = server.websocket("/ws");
    socket.command(&json!({"id": 1, "subscribe": {"channel": "news"}}));
    let mut stream = EventStream::open(server.connect(), "news", "", "");
    let mut poll = server.connect();
    let first = answer(&mut player, "publish", &json!(["news", "begun"]));
    assert_eq!(socket.push()["data"], "begun");
    assert_eq!(stream.data(), "begun");
    let since = format!("{}:{}", first["epoch"], first["offset"]);
    poll.ask("GET", &format!("/channels/news?since={since}&timeout=20"), "Accept: application/json\r\n", b"");
    answer(&mut player, "publish", &json!(["news", {"a": [null]}, {"event": "told"}]));
    let push = socket.push();
    assert_eq!((&push["data"], &push["event"]), (&json!({"a": [null]}), &json!("told")));
    assert_eq!(stream.data(), r#"{"a":[null]}"#);
    let polled = poll.response();
    assert!(polled.text().contains(r#"{"a":[null]}"#), "{}", polled.text());
    // Whoever reads may not publish by that, and what is no channel's is the program's.
    assert_eq!(server.connect().request("POST", "/channels/news", "", b"x").status, 401);
    assert_eq!(server.get("/hello").status, 200);
}

#[test]
fn a_program_reads_what_channels_hold_and_changes_it() {
    let server = run(2, &["read.open=true", "publish.open=true"]);
    let mut player = Player::enter(&server);
    for number in 0..3 {
        answer(&mut player, "publish", &json!(["log", number]));
    }
    let page = answer(&mut player, "history", &json!(["log"]));
    let data = |page: &Value| -> Vec<Value> {
        let publications = page["publications"].as_array().expect("a list");
        publications.iter().map(|one| one["data"].clone()).collect()
    };
    assert_eq!(data(&page), [0, 1, 2].map(Value::from), "{page}");
    let since = json!({"epoch": page["epoch"], "offset": page["publications"][0]["offset"]});
    let page = answer(&mut player, "history", &json!(["log", {"since": since, "limit": 1}]));
    assert_eq!((data(&page), &page["more"]), (vec![json!(1)], &json!(true)));
    let set = answer(&mut player, "set", &json!(["room", "topic", {"text": "tea"}]));
    assert!(set["offset"].is_u64(), "{set}");
    let topic = answer(&mut player, "get", &json!(["room", "topic"]));
    assert_eq!(topic["data"], json!({"text": "tea"}));
    let taken = channel(&mut player, "set", &json!(["room", "topic", "coffee", {"ifNoneMatch": "*"}]));
    assert_eq!(taken[0], "condition_failed", "{taken}");
    let changed = json!(["room", "topic", null, {"ifMatch": topic["etag"], "ttl": 60_000}]);
    answer(&mut player, "set", &changed);
    assert_eq!(answer(&mut player, "get", &json!(["room", "topic"]))["data"], Value::Null);
    assert_eq!(answer(&mut player, "add", &json!(["room", "visits"])), 1);
    assert_eq!(answer(&mut player, "add", &json!(["room", "visits", 41])), 42);
    let keys = answer(&mut player, "state", &json!(["room"]))["keys"].clone();
    let names: Vec<_> = keys.as_array().expect("a list").iter().map(|key| &key["key"]).collect();
    assert_eq!(names, ["topic", "visits"]);
    answer(&mut player, "remove", &json!(["room", "topic"]));
    assert_eq!(channel(&mut player, "get", &json!(["room", "topic"])), json!([null]));
    let mut socket = WebSocket::open(server.connect(), "/ws", "");
    socket.command(&json!({"id": 1, "subscribe": {"channel": "room"}}));
    socket.command(&json!({"id": 2, "enter": {"channel": "room", "info": {"name": "ann"}}}));
    let there = answer(&mut player, "presence", &json!(["room"]));
    assert_eq!((&there["guests"], &there["members"][0]["info"]), (&json!(1), &json!({"name": "ann"})));
}

#[test]
fn what_a_program_may_not_ask_of_channels_is_refused_with_a_code() {
    let server = run(1, &["limits.publication_bytes_max=1000"]);
    let mut player = Player::enter(&server);
    for (method, arguments, code) in [
        ("publish", json!(["", "x"]), "channel_name_invalid"),
        ("publish", json!(["a"]), "arguments_invalid"),
        ("publish", json!(["a", "x".repeat(1001)]), "publication_too_large"),
        ("history", json!(["a", {"limit": 0}]), "limit_invalid"),
        ("history", json!(["a", {"since": "x"}]), "position_invalid"),
        ("set", json!(["a", "", 1]), "state_key_invalid"),
        ("remove", json!(["a", "none"]), "state_key_unknown"),
    ] {
        assert_eq!(channel(&mut player, method, &arguments)[0], code, "{method} {arguments}");
    }
    // Where nobody may use channels their paths are the program's.
    assert_eq!(server.get("/channels/a").text(), "not here");
}

#[test]
fn middleware_of_http_sees_the_request_that_opened_a_connection_also_in_the_next_program() {
    let folder = Folder::new("sessions");
    folder.write(
        "const { Server } = require('socket.io');\nconst io = new Server(0);\n\
         io.engine.use((request, response, next) => { request.session = { id: request.headers.cookie }; next(); });\n\
         io.engine.use((request, response, next) => request.session.id ? next() : response.writeHead(401).end());\n\
         io.on('connection', (socket) => socket.emit('session', process.pid, socket.request.session.id));\n",
    );
    let server = folder.serve(&[]);
    let open = |fields: &str| {
        let target = "/socket.io/?EIO=4&transport=websocket";
        let mut socket = WebSocket::open(server.connect(), target, fields);
        assert!(socket.text().starts_with("0{"));
        socket.send_text("40");
        socket
    };
    let refused = open("").text();
    assert_eq!(refused, r#"44{"message":"Unauthorized","data":{"status":401}}"#);
    let mut socket = open("Cookie: ann\r\n");
    assert!(socket.text().starts_with("40{"));
    let session = |socket: &mut WebSocket| -> Value {
        serde_json::from_str(socket.text().strip_prefix("42").expect("an event")).expect("JSON")
    };
    let first = session(&mut socket);
    assert_eq!(first[2], "ann");
    reload(&server);
    let second = session(&mut socket);
    assert_ne!(first[1], second[1]);
    assert_eq!(second[2], "ann");
}

/// What the program in Python says to whom it is told of: whether again, and what that one has said of itself.
#[track_caller]
fn greeting(player: &mut Player) -> [Value; 2] {
    let event = player.event_named("hello");
    [event[2].clone(), event[3].clone()]
}

fn python() -> Server {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/link.py");
    let mut command = command(2, &["server.listen=127.0.0.1:0"]);
    Server::launch(command.args(["--exec", "python3", "--"]).arg(program))
}

#[test]
fn a_program_in_python_serves_clients_by_what_the_manual_says_of_the_link() {
    let server = python();
    let mut players: Vec<_> = (0..4)
        .map(|place| {
            let mut player = Player::open(&server, "", &json!({"place": place}));
            assert_eq!(greeting(&mut player), [json!(false), json!({"place": place})]);
            player
        })
        .collect();
    assert_eq!(players[0].ask(&json!(["echo", 1, {"a": "\u{e4}"}])), json!([1, {"a": "\u{e4}"}]));
    let asked = players[1].begin_to_ask(&json!(["ask", "x"]));
    let question = players[1].text();
    let number = question.strip_prefix("42").and_then(|text| text.strip_suffix(r#"["question", "x"]"#));
    let number = number.unwrap_or_else(|| panic!("a question: {question}")).to_owned();
    players[1].send(&format!("43{number}[\"yes\"]"));
    assert_eq!(players[1].answer(asked), json!(["yes"]));
    for player in &mut players[..3] {
        player.ask(&json!(["join", "room"]));
    }
    players[3].ask(&json!(["tell", "room", "hot"]));
    for player in &mut players[..3] {
        assert_eq!(player.event(), json!(["told", "hot"]));
    }
    assert_eq!(players[0].ask(&json!(["count"])), json!([1]));
    assert_eq!(players[2].ask(&json!(["count"])), json!([2]));
    // Another process of it takes its place, and is told of everybody.
    server.signal("HUP");
    for (place, player) in players.iter_mut().enumerate() {
        assert_eq!(greeting(player), [json!(true), json!({"place": place})]);
        assert_eq!(player.ask(&json!(["echo", place])), json!([place]));
    }
    assert!(!server.log().contains("has not finished within"), "{}", server.log());
}
