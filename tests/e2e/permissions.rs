//! Who may do what: every way in, with every right, for who brings nothing, the wrong thing and the right one. Nothing
//! is reached without its right.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::{
    client::Response,
    server::{Server, await_that},
    socket::WebSocket,
    tokens,
};

/// A file that is deleted with the value.
pub struct TemporaryFile(std::path::PathBuf);

/// One way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Command,
    WebSocket,
    EventStream,
    LongPoll,
    /// With others, which may be followed, in one stream or poll.
    EventStreams,
    LongPolls,
    Namespace,
    /// Without a WebSocket.
    PollingNamespace,
    Join,
    /// To be shown as a member by joining a room.
    JoinAsMember,
    History,
    Info,
    List,
    PresenceEvent,
    Post,
    Batch,
    PublishCommand,
    RawMessage,
    PublishEvent,
    Relay,
    Emit,
    State,
    Key,
    StateStream,
    /// Of several.
    StateStreams,
    StateCommand,
    SubscribeWithState,
    SetKey,
    RemoveKey,
    Count,
    SetCommand,
    AddCommand,
    Presence,
    PresenceCommand,
    SubscribeWithPresence,
    PresenceStream,
    PresenceStreams,
    EnterCommand,
    RemoveCommand,
}

/// What somebody brings.
#[derive(Clone, Debug, Default)]
pub struct Credential {
    /// With each request.
    pub fields: String,
    /// On entering a Socket.IO namespace.
    pub auth: Value,
}

/// Which way needs which right.
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
    (Way::JoinAsMember, "enter"),
    (Way::History, "history"),
    (Way::Info, "presence"),
    (Way::List, "presence"),
    (Way::PresenceEvent, "presence"),
    (Way::Post, "publish"),
    (Way::Batch, "publish"),
    (Way::PublishCommand, "publish"),
    (Way::RawMessage, "publish"),
    (Way::PublishEvent, "publish"),
    (Way::Relay, "publish"),
    (Way::Emit, "publish"),
    (Way::State, "state"),
    (Way::Key, "state"),
    (Way::StateStream, "state"),
    (Way::StateStreams, "state"),
    (Way::StateCommand, "state"),
    (Way::SubscribeWithState, "state"),
    (Way::SetKey, "set_state"),
    (Way::RemoveKey, "set_state"),
    (Way::Count, "set_state"),
    (Way::SetCommand, "set_state"),
    (Way::AddCommand, "set_state"),
    (Way::Presence, "presence"),
    (Way::PresenceCommand, "presence"),
    (Way::SubscribeWithPresence, "presence"),
    (Way::PresenceStream, "presence"),
    (Way::PresenceStreams, "presence"),
    (Way::RemoveCommand, "set_state"),
    (Way::EnterCommand, "enter"),
];

/// What of the HTTP API is tried by which ways.
const OPERATIONS: &[(&str, &str, &[Way])] = &[
    ("get", "/channels/{name}", &[Way::LongPoll, Way::EventStream, Way::StateStream, Way::PresenceStream]),
    ("get", "/channels/{name}", &[Way::WebSocket, Way::RawMessage]),
    ("get", "/events", &[Way::LongPolls, Way::EventStreams, Way::StateStreams, Way::PresenceStreams]),
    ("post", "/channels/{name}", &[Way::Post]),
    ("get", "/channels/{name}/history", &[Way::History]),
    ("get", "/channels/{name}/info", &[Way::Info]),
    ("get", "/channels/{name}/presence", &[Way::Presence]),
    ("get", "/channels/{name}/state", &[Way::State]),
    ("get", "/channels/{name}/state/{key}", &[Way::Key]),
    ("put", "/channels/{name}/state/{key}", &[Way::SetKey]),
    ("delete", "/channels/{name}/state/{key}", &[Way::RemoveKey]),
    ("post", "/channels/{name}/counters/{key}", &[Way::Count]),
    ("get", "/channels", &[Way::List]),
    ("post", "/publish", &[Way::Batch]),
    ("get", "/ws", &COMMANDS),
    ("post", "/socket.io-api/emit", &[Way::Emit]),
];

/// What of it is about no channel: for everybody, or tried by a test of its own.
const WITHOUT_CHANNEL: [&str; 15] = [
    "/hello",
    "/echo",
    "/",
    "/demo/chat",
    "/demo/lobby",
    "/demo/stats",
    "/demo/crowd",
    "/demo/crowd/open",
    "/demo/crowd/say",
    "/demo/crowd/close",
    "/manual/",
    "/manual/{page}",
    "/manual/openapi.json",
    "/socket.io/{file}",
    "/socket.io-api",
];

/// The ways that are a command of `/ws`.
const COMMANDS: [Way; 10] = [
    Way::RemoveCommand,
    Way::PresenceCommand,
    Way::SubscribeWithPresence,
    Way::EnterCommand,
    Way::Command,
    Way::PublishCommand,
    Way::StateCommand,
    Way::SubscribeWithState,
    Way::SetCommand,
    Way::AddCommand,
];

const RIGHTS: [&str; 7] = ["subscribe", "publish", "presence", "history", "state", "set_state", "enter"];

impl TemporaryFile {
    pub fn holding(name: &str, text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("roadstead-e2e-{process}-{number}-{name}"));
        std::fs::write(&path, text).expect("the temporary directory takes a file");
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("the temporary directory has a plain name")
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the file is still there");
    }
}

impl Credential {
    /// A publishing key.
    fn key(key: &str) -> Self {
        Self { fields: format!("Authorization: Bearer {key}\r\n"), auth: json!({ "key": key }) }
    }
}

impl Credential {
    /// A token of the user 42 that gives this.
    pub fn token(allow: &Value) -> Self {
        let token = tokens::make(&json!({ "allow": allow }));
        Self { fields: format!("Authorization: Bearer {token}\r\n"), auth: json!({ "token": token }) }
    }
}

/// A namespace for each right, in which it is the only one that has to be brought; with a Socket.IO namespace beside it.
fn namespaces() -> String {
    let mut text = String::new();
    for right in RIGHTS {
        for pattern in [format!("{right}:*"), format!("/{right}"), format!("/{right}#*")] {
            text += &format!("[[namespace]]\npattern = \"{pattern}\"\n");
            for other in RIGHTS {
                text += &format!("{other} = \"{}\"\n", if other == right { "allow" } else { "anyone" });
            }
        }
    }
    text + "[[namespace]]\npattern = \"/\"\nsubscribe = \"anyone\"\n"
}

/// A server with those namespaces and these lines in front of them.
pub fn server(name: &str, settings: &str) -> Server {
    let file = TemporaryFile::holding(&format!("{name}.toml"), &format!("{settings}\n{}", namespaces()));
    let mut command = Server::command(2, &["127.0.0.1:0"], &["socketio.relay=true", "socketio.members=true"]);
    Server::launch(command.args(["--config", file.path()]))
}

/// The channel that a way is tried with.
fn channel_of(way: Way, right: &str) -> String {
    match way {
        Way::Namespace | Way::PollingNamespace | Way::Relay => format!("/{right}"),
        // One in which nobody has been: a user who is away for a moment enters again without a word.
        Way::JoinAsMember => {
            static ROOMS: AtomicU32 = AtomicU32::new(0);
            format!("{right}:{}", ROOMS.fetch_add(1, Ordering::Relaxed))
        }
        _ => format!("{right}:x"),
    }
}

/// Tries one way; the code it was refused with.
#[track_caller]
pub fn attempt(server: &Server, way: Way, right: &str, who: &Credential) -> Result<(), String> {
    let name = channel_of(way, right);
    let target = format!("/channels/{name}");
    let ask = |method: &str, target: &str, fields: &str, body: &[u8]| {
        let fields = format!("{}{fields}", who.fields);
        refusal(&server.connect().request(method, target, &fields, body))
    };
    match way {
        Way::LongPolls => ask("GET", &format!("/events?channel=history:x&channel={name}&timeout=0"), "", b""),
        Way::LongPoll => ask("GET", &format!("{target}?timeout=0"), "", b""),
        Way::History => ask("GET", &format!("{target}/history"), "", b""),
        Way::Info => ask("GET", &format!("{target}/info"), "", b""),
        Way::Post => ask("POST", &target, "", b"x"),
        Way::List => {
            let answer = server.connect().request("GET", "/channels", &who.fields, b"");
            refusal(&answer)?;
            let is_listed = answer.json()["channels"]
                .as_array()
                .expect("a list")
                .iter()
                .any(|one| one["channel"] == *name);
            if is_listed { Ok(()) } else { Err("presence_forbidden".into()) }
        }
        Way::Batch => {
            // The first may always be published.
            let batch =
                json!({"publications":[{"channel":"history:x","data":"x"},{"channel":name,"data":"x"}]});
            let answer =
                server.connect().request("POST", "/publish", &who.fields, batch.to_string().as_bytes());
            match answer.status {
                200 => coded(&answer.json()["results"][1]),
                _ => refusal(&answer),
            }
        }
        Way::Presence => ask("GET", &format!("{target}/presence"), "", b""),
        Way::State => ask("GET", &format!("{target}/state"), "", b""),
        Way::Key => ask("GET", &format!("{target}/state/k"), "", b""),
        Way::SetKey => ask("PUT", &format!("{target}/state/k"), "", b"1"),
        Way::RemoveKey => ask("DELETE", &format!("{target}/state/k"), "", b""),
        Way::Count => ask("POST", &format!("{target}/counters/n"), "", b"{\"add\":1}"),
        Way::EventStream
        | Way::StateStream
        | Way::StateStreams
        | Way::EventStreams
        | Way::PresenceStream
        | Way::PresenceStreams => {
            let mut client = server.connect();
            let target = match way {
                Way::StateStream => format!("{target}?state=true"),
                Way::PresenceStream => format!("{target}?presence=true"),
                Way::PresenceStreams => {
                    format!("/events?channel=history:x&channel={name}&presence=true")
                }
                Way::StateStreams => format!("/events?channel=history:x&channel={name}&state=true"),
                Way::EventStreams => format!("/events?channel={name}&channel=history:x"),
                _ => target,
            };
            client.ask("GET", &target, &format!("{}Accept: text/event-stream\r\n", who.fields), b"");
            let head = client.response_head();
            if head.status == 200 {
                return Ok(());
            }
            let length = head.field("content-length").and_then(|length| length.parse().ok());
            let body = client.take(length.expect("a refusal tells its length"));
            refusal(&Response { body, ..head })
        }
        Way::WebSocket | Way::RawMessage => {
            let mut socket = match WebSocket::try_open(server.connect(), &target, &who.fields) {
                Ok(socket) => socket,
                Err(response) => return refusal(&response),
            };
            if way == Way::WebSocket {
                return Ok(());
            }
            await_that("the subscription has begun", || server.subscribers(&name) > 0);
            socket.send_text("x");
            match socket.next() {
                crate::socket::Incoming::Text(_) => Ok(()),
                _ => Err("publish_forbidden".into()),
            }
        }
        way if COMMANDS.contains(&way) => {
            let mut socket = WebSocket::open(server.connect(), "/ws", &who.fields);
            let command = match way {
                Way::Command => json!({"id":1,"subscribe":{"channel":name}}),
                Way::SubscribeWithState => json!({"id":1,"subscribe":{"channel":name,"state":true}}),
                Way::PresenceCommand => json!({"id":1,"presence":{"channel":name}}),
                Way::SubscribeWithPresence => {
                    json!({"id":1,"subscribe":{"channel":name,"presence":true}})
                }
                Way::EnterCommand => json!({"id":1,"enter":{"channel":name}}),
                Way::StateCommand => json!({"id":1,"state":{"channel":name}}),
                Way::SetCommand => json!({"id":1,"set":{"channel":name,"key":"k","data":"2"}}),
                Way::RemoveCommand => json!({"id":1,"remove":{"channel":name,"key":"k"}}),
                Way::AddCommand => json!({"id":1,"add":{"channel":name,"key":"n","add":1}}),
                _ => json!({"id":1,"publish":{"channel":name,"data":"x"}}),
            };
            coded(&socket.command(&command))
        }
        Way::Emit => {
            let body = json!({"rooms":[name],"event":"e"}).to_string();
            ask("POST", "/socket.io-api/emit", "", body.as_bytes())
        }
        Way::Namespace => enter(server, &name, who).map(drop),
        Way::PollingNamespace => enter_by_polling(server, &name, who),
        Way::Relay => coded(&say(&mut enter(server, &name, who)?, &name, json!(["any"]))),
        Way::Join => coded(&say(&mut enter(server, "/", who)?, "/", json!(["join", name]))),
        Way::JoinAsMember => {
            let mut socket = enter(server, "/", who)?;
            socket.send_text(&format!("427{}", json!(["join", name])));
            let mut is_member = false;
            loop {
                let text = socket.text();
                if text.starts_with("42[\"enter\"") {
                    is_member = true;
                } else if text.starts_with("42[\"published\"") {
                    return if is_member { Ok(()) } else { Err("enter_forbidden".into()) };
                } else if let Some(answer) = text.strip_prefix("437") {
                    coded(&serde_json::from_str::<Value>(answer).expect("JSON")[0])?;
                    // What is published comes behind its own entry, if that is told.
                    socket.send_text(&format!("42{}", json!(["publish", name, "published"])));
                }
            }
        }
        Way::PresenceEvent => coded(&say(&mut enter(server, "/", who)?, "/", json!(["presence", name]))),
        _ => coded(&say(&mut enter(server, "/", who)?, "/", json!(["publish", name, "e"]))),
    }
}

fn refusal(response: &Response) -> Result<(), String> {
    if response.status < 300 { Ok(()) } else { Err(response.error_code()) }
}

fn coded(value: &Value) -> Result<(), String> {
    value["error"]["code"].as_str().map_or(Ok(()), |code| Err(code.to_owned()))
}

/// Enters a Socket.IO namespace.
pub fn enter(server: &Server, namespace: &str, who: &Credential) -> Result<WebSocket, String> {
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket");
    assert!(socket.text().starts_with('0'), "the session is open");
    let auth = if who.auth.is_null() { String::new() } else { who.auth.to_string() };
    socket.send_text(&format!("40{namespace},{auth}"));
    entered(&socket.text()).map(|()| socket)
}

/// Enters one without a WebSocket.
fn enter_by_polling(server: &Server, namespace: &str, who: &Credential) -> Result<(), String> {
    let target = "/socket.io/?EIO=4&transport=polling";
    let open = server.get(target).text();
    let open: Value = serde_json::from_str(open.strip_prefix('0').expect("a session")).expect("JSON");
    let session = format!("{target}&sid={}", open["sid"].as_str().expect("an id"));
    let auth = if who.auth.is_null() { String::new() } else { who.auth.to_string() };
    let packet = format!("40{namespace},{auth}");
    let fields = "Content-Type: text/plain\r\n";
    assert_eq!(server.connect().request("POST", &session, fields, packet.as_bytes()).status, 200);
    entered(&server.get(&session).text())
}

/// What the answer to who enters a namespace says.
fn entered(packet: &str) -> Result<(), String> {
    let Some(error) = packet.strip_prefix("44") else {
        assert!(packet.starts_with("40"), "{packet}");
        return Ok(());
    };
    let json = &error[error.find('{').expect("an object")..];
    let error: Value = serde_json::from_str(json).expect("JSON");
    Err(error["data"]["code"].as_str().expect("a code").to_owned())
}

/// Sends an event; what is acknowledged.
fn say(socket: &mut WebSocket, namespace: &str, event: Value) -> Value {
    socket.send_text(&format!("42{namespace},7{event}"));
    loop {
        let text = socket.text();
        if text.starts_with("43") {
            let json = &text[text.find('[').expect("an array")..];
            return serde_json::from_str::<Value>(json).expect("JSON")[0].clone();
        }
    }
}

/// Lets every channel that is tried be there.
fn fill(server: &Server, key: &str) {
    let fields = format!("Authorization: Bearer {key}\r\n");
    for right in RIGHTS {
        let answer = server.connect().request("POST", &format!("/channels/{right}:x"), &fields, b"x");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = server.connect().request("PUT", &format!("/channels/{right}:x/state/k"), &fields, b"0");
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// Tries every way, and tells the ways in which it did not come out as it should.
#[track_caller]
fn try_every_way(server: &Server, who: impl Fn(&str) -> Option<(Credential, bool)>, what: &str) {
    let mut wrong = Vec::new();
    for (way, right) in WAYS {
        let Some((credential, may)) = who(right) else { continue };
        let outcome = attempt(server, *way, right, &credential);
        let is_right = match &outcome {
            Ok(()) => may,
            Err(code) => {
                let forbidden = format!("{right}_forbidden");
                !may && (*code == forbidden || (*right == "publish" && code == "key_missing"))
            }
        };
        if !is_right {
            wrong.push(format!("{way:?} with {what}: {outcome:?}, but may: {may}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_reached_without_its_right_and_a_key_gives_that_to_publish_to_its_channels() {
    let keys =
        "[publish]\nkeys = [\"all\", \"limited publish:* /publish state:* set_state:*\", \"other other:*\"]";
    let server = server("keys", keys);
    fill(&server, "all");
    try_every_way(&server, |_| Some((Credential::default(), false)), "nothing");
    let reading =
        |may: bool| move |right: &str| (!["publish", "state", "set_state"].contains(&right)).then_some(may);
    for key in ["all", "limited", "other"] {
        let who = |right: &str| {
            let may = reading(false)(right).unwrap_or(key != "other");
            Some((Credential::key(key), may))
        };
        try_every_way(&server, who, key);
    }
}

#[test]
fn a_token_gives_its_rights_on_its_channels_and_no_others() {
    let settings = format!("[publish]\nkeys = [\"all\"]\n[auth]\nhs256_keys = [\"{}\"]", tokens::SECRET);
    let server = server("tokens", &settings);
    fill(&server, "all");
    try_every_way(&server, |_| Some((Credential::default(), false)), "nothing");
    let right_one = |right: &str| {
        let allow = json!({ right: [format!("{right}:*"), format!("/{right}")] });
        Some((Credential::token(&allow), true))
    };
    try_every_way(&server, right_one, "the right");
    let every_other = |right: &str| {
        let mut allow = json!({ right: ["other:*", format!("{right}:y"), "x", right] });
        for other in RIGHTS.into_iter().filter(|other| *other != right) {
            allow[other] = json!(["**"]);
        }
        Some((Credential::token(&allow), false))
    };
    try_every_way(&server, every_other, "every other right, and this one elsewhere");
    let (wrong, mut taken) = (tokens::signed(&json!({}), &"another secret".repeat(3)), Vec::new());
    for (way, right) in WAYS {
        let fields = format!("Authorization: Bearer {wrong}\r\n");
        let who = Credential { fields, auth: json!({ "token": wrong }) };
        // On /ws a wrong token is refused before there is a WebSocket.
        let is_command = COMMANDS.contains(way);
        let outcome = match is_command {
            true => WebSocket::try_open(server.connect(), "/ws", &who.fields)
                .map(drop)
                .map_err(|one| one.error_code()),
            false => attempt(&server, *way, right, &who),
        };
        if outcome != Err("token_signature_wrong".into()) {
            taken.push(format!("{way:?}: {outcome:?}"));
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
}

#[test]
fn every_operation_of_the_http_api_that_is_about_a_channel_is_tried_without_its_right() {
    let api: Value = serde_json::from_str(include_str!("../../src/manual/openapi.json")).expect("JSON");
    let is_tried = |path: &str, method: &str| {
        let mut ways = OPERATIONS.iter().filter(|(of, at, _)| (*of, *at) == (method, path));
        ways.any(|(.., ways)| ways.iter().all(|way| WAYS.iter().any(|(one, _)| one == way)))
    };
    for (path, operations) in api["paths"].as_object().expect("paths") {
        let methods = operations.as_object().expect("operations").keys();
        for method in
            methods.filter(|name| ["get", "post", "put", "delete", "patch"].contains(&name.as_str()))
        {
            // Lists and moves of sockets take a right to every channel.
            let is_elsewhere = WITHOUT_CHANNEL.contains(&&**path) || path == "/socket.io-api/sockets";
            assert!(is_tried(path, method) != is_elsewhere, "{method} {path}: name the ways that try it");
        }
    }
}

#[test]
fn what_acts_on_the_sockets_of_others_takes_the_right_to_publish_everywhere() {
    let server = server("sockets", "[publish]\nkeys = [\"all\", \"limited publish:*\"]");
    let command = json!({"rooms":["r"],"join":["s"]}).to_string();
    for (method, body) in [("GET", ""), ("POST", &*command)] {
        for (key, status) in [("", 401), ("limited", 403), ("all", if body.is_empty() { 200 } else { 202 })] {
            let fields = if key.is_empty() { String::new() } else { Credential::key(key).fields };
            let answer = server.connect().request(method, "/socket.io-api/sockets", &fields, body.as_bytes());
            assert_eq!(answer.status, status, "{method} {key}: {}", answer.text());
        }
    }
}

#[test]
fn a_hashed_key_is_as_good_as_the_key_and_no_page_or_log_shows_either() {
    // `printf %s s3cret | sha256sum`
    let hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
    let server = server("hashed", &format!("[publish]\nkeys = [\"sha256:{hash}\"]"));
    let post = |key: &str| {
        server.connect().request("POST", "/channels/publish:x", &Credential::key(key).fields, b"x").status
    };
    assert_eq!((post("s3cret"), post("wrong"), post(hash)), (200, 403, 403));
    let config = server.admin("/config").text();
    assert!(config.contains("(hidden)") && !config.contains(hash), "{config}");
    assert!(!server.log().contains(hash) && !server.log().contains("s3cret"), "{}", server.log());
}

#[test]
fn rules_that_change_while_the_server_runs_hold_at_once() {
    let file = TemporaryFile::holding("live.toml", "[[namespace]]\npattern = \"a\"\nhistory = \"anyone\"\n");
    let mut command = Server::command(1, &["127.0.0.1:0"], &[]);
    let server = Server::launch(command.args(["--config", file.path()]));
    let status = || server.get("/channels/a/history").status;
    assert_eq!(status(), 200);
    std::fs::write(file.path(), "[[namespace]]\npattern = \"b\"\nhistory = \"anyone\"\n")
        .expect("it is ours");
    server.signal("HUP");
    await_that("the new rules hold", || status() == 401);
    assert!(server.log().contains("changed: namespace"), "{}", server.log());
}

#[test]
fn who_may_publish_and_not_read_neither_lists_sockets_nor_moves_any_into_rooms() {
    let server = Server::start(&["publish.open=true", "read.open=false"]);
    let mut client = server.connect();
    let join = json!({"rooms":["mine"],"join":["secret"]}).to_string();
    let json = "Content-Type: application/json\r\n";
    for (method, body) in [("GET", ""), ("POST", &join)] {
        let answer = client.request(method, "/socket.io-api/sockets", json, body.as_bytes());
        assert!([401, 403].contains(&answer.status), "{method}: {}", answer.text());
    }
    let emit = json!({"rooms":["secret"],"event":"e"}).to_string();
    assert_eq!(client.request("POST", "/socket.io-api/emit", json, emit.as_bytes()).status, 202);
}
