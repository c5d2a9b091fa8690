//! The operator's rules in programs: a handler and a Socket.IO application that put them in force for what is their own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use roadstead::{
    app::{
        Answer, ChannelName, Context, Handler, Payload, Peer, Request, Response, Right, Verdict,
        socketio::{Ack, Io, Socket, application},
    },
    config::{Config, Namespace, Rule, Secret},
    supervisor::Server,
};

use super::{
    client::{await_that, config, connect, hear_text, say, upgrade_with},
    stop,
};

const SECRET: &str = "a-secret-of-these-tests-that-is-long-enough";

/// A backend that lets whoever asks do something with channels whose names end so.
fn backend(end: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer_all(stream, end));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, end: &str) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let asked: serde_json::Value = serde_json::from_slice(&body).ok()?;
        let answer = match asked["channel"].as_str()?.ends_with(end) {
            true => r#"{"allow":true}"#,
            false => r#"{"deny":{"code":"not_yours","message":"It is not yours."}}"#,
        };
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()).ok()?;
    }
}

/// A namespace whose channels may be followed and published to by whom this says.
fn namespace(pattern: &str, rule: Rule) -> Namespace {
    Namespace { pattern: pattern.into(), subscribe: rule, publish: rule, ..Namespace::default() }
}

fn rules() -> Config {
    let mut config = config(1);
    let backend = backend(":yes");
    (config.hooks.subscribe, config.hooks.publish) =
        (format!("http://{backend}/"), format!("http://{backend}/"));
    config.auth.hs256_keys = vec![Secret::new(SECRET)];
    config.publish.keys = vec![Secret::new("secret jobs:* /free#jobs")];
    config.namespace = vec![
        namespace("open", Rule::Anyone),
        namespace("user:{sub}", Rule::Token),
        namespace("room:*", Rule::Hook),
        namespace("/shop", Rule::Token),
        namespace("/shop#user:{sub}", Rule::Token),
        namespace("/shop#room:*", Rule::Hook),
        namespace("/free", Rule::Anyone),
    ];
    config
}

/// `Authorization` of this user, or with a key.
fn bearer(credential: &str) -> String {
    format!("Authorization: Bearer {credential}\r\n")
}

fn user(name: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
    let claims = serde_json::json!({"sub": name, "exp": now.as_secs() + 600});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    bearer(&jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("it can sign"))
}

/// Lets those follow and publish whom the rules let; the path is the channel.
struct Doorkeeper;

fn channel_of(request: &Request<'_>) -> ChannelName {
    ChannelName::new(request.path().trim_start_matches('/'), 64).expect("a name")
}

impl Handler for Doorkeeper {
    fn connect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Verdict {
        let channel = channel_of(request);
        match cx.may(peer, Right::Subscribe, &channel) {
            Ok(()) => Verdict::accept(0).following(channel, None),
            Err(missing) => missing.into(),
        }
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        let channel = channel_of(request);
        match cx.may_with_key(peer, request.bearer(), Right::Publish, &channel) {
            Ok(()) => {
                cx.publish(channel, Payload::new(request.body, None), None);
                Answer::Respond(Response::text(200, "published"))
            }
            Err(missing) => missing.into(),
        }
    }
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The status of the answer, and the code of a refusal.
fn ask(server: &Server, method: &str, path: &str, fields: &str) -> (String, String) {
    let mut client = connect(server);
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}");
    let is_upgrade = fields.contains("Upgrade");
    let end = if is_upgrade { "\r\n" } else { "Connection: close\r\nContent-Length: 1\r\n\r\nx" };
    client.write_all(format!("{head}{end}").as_bytes()).expect("it reads");
    let mut line = String::new();
    let mut reader = BufReader::new(client.try_clone().expect("it can be shared"));
    reader.read_line(&mut line).expect("an answer");
    let status = line.split(' ').nth(1).expect("a status").to_owned();
    if status == "101" {
        return (status, String::new());
    }
    let mut rest = String::new();
    if is_upgrade {
        client.shutdown(std::net::Shutdown::Write).expect("it is open");
    }
    reader.read_to_string(&mut rest).expect("an end");
    let code = rest.split_once("\"code\":\"").and_then(|(_, rest)| rest.split('"').next());
    (status, code.unwrap_or_default().to_owned())
}

#[test]
fn a_handler_lets_those_do_something_whom_the_rules_let_and_asks_the_backend_where_that_decides() {
    let config = rules();
    let server = Server::start(&config, |_| Box::new(Doorkeeper)).expect("a server starts here");
    let [of_42, of_43] = ["42", "43"].map(user);
    let ok = |status: &str| (status.to_owned(), String::new());
    let refused = |status: &str, code: &str| (status.to_owned(), code.to_owned());
    for (path, fields, follows, publishes) in [
        ("/open", "", ok("101"), ok("200")),
        ("/user:42", "", refused("401", "subscribe_forbidden"), refused("401", "publish_forbidden")),
        ("/user:42", &*of_42, ok("101"), ok("200")),
        ("/user:42", &of_43, refused("403", "subscribe_forbidden"), refused("403", "publish_forbidden")),
        ("/room:yes", "", ok("101"), ok("200")),
        ("/room:no", &of_42, refused("403", "not_yours"), refused("403", "not_yours")),
        ("/jobs:1", &of_42, refused("403", "subscribe_forbidden"), refused("403", "publish_forbidden")),
        ("/jobs:1", &bearer("secret"), refused("401", "subscribe_forbidden"), ok("200")),
        (
            "/jobs:1",
            &bearer("another"),
            refused("401", "subscribe_forbidden"),
            refused("401", "publish_forbidden"),
        ),
    ] {
        assert_eq!(ask(&server, "GET", path, &format!("{UPGRADE}{fields}")), follows, "{path} {fields}");
        assert_eq!(ask(&server, "POST", path, fields), publishes, "{path} {fields}");
    }
    // Other rules, while it runs.
    let mut other = config.clone();
    other.namespace[0].publish = Rule::Token;
    server.change(&other);
    await_that("the new rules are in force", || {
        ask(&server, "POST", "/open", "") == refused("401", "publish_forbidden")
    });
    assert_eq!(ask(&server, "POST", "/open", &of_42), ok("200"));
    stop(server);
}

/// Lets clients into rooms and namespaces by the rules.
fn shop(io: &Io) {
    let shop = io.of("/shop");
    shop.use_rules();
    shop.on_any(|socket, event| {
        let ack = event.ack(socket);
        let (room,) = event.arguments::<(String,)>().expect("the name of a room");
        match event.may(socket, Right::Subscribe, &room) {
            None => {}
            Some(Ok(())) => _ = (socket.join(room), ack.send(&"joined")),
            Some(Err(missing)) => ack.send(missing.code()),
        }
    });
    let free = io.of("/free");
    free.use_rules();
    free.on_with_ack("may", |socket: &Socket, room: String, ack: Ack| {
        let told = socket.may(Right::Publish, &room).map_err(|missing| missing.code().to_owned());
        ack.send(&told.err().unwrap_or("may".into()));
    });
}

/// A client of Socket.IO that has shown this.
fn client(server: &Server, fields: &str) -> TcpStream {
    let mut stream = upgrade_with(connect(server), "/socket.io/?EIO=4&transport=websocket", fields);
    assert!(hear_text(&mut stream).starts_with('0'));
    stream
}

#[test]
fn a_socketio_application_lets_those_in_whom_the_rules_let_and_asks_about_rooms() {
    let server = Server::start(&rules(), application(shop)).expect("a server starts here");
    let mut nobody = client(&server, "");
    say(&mut nobody, "40/shop,");
    let told = hear_text(&mut nobody);
    assert!(told.starts_with("44/shop,") && told.contains(r#""code":"subscribe_forbidden""#), "{told}");

    let mut of_42 = client(&server, &user("42"));
    say(&mut of_42, "40/shop,");
    assert!(hear_text(&mut of_42).starts_with("40/shop,"));
    for (number, (room, told)) in (1..).zip([
        ("user:42", "joined"),
        ("user:43", "subscribe_forbidden"),
        ("room:yes", "joined"),
        ("room:no", "not_yours"),
        ("elsewhere", "subscribe_forbidden"),
    ]) {
        say(&mut of_42, &format!("42/shop,{number}[\"join\",\"{room}\"]"));
        assert_eq!(hear_text(&mut of_42), format!("43/shop,{number}[\"{told}\"]"), "{room}");
    }

    // A key is said on entering.
    for (auth, told) in
        [("", "publish_forbidden"), (r#"{"key":"secret"}"#, "may"), (r#"{"key":"no"}"#, "publish_forbidden")]
    {
        let mut client = client(&server, "");
        say(&mut client, &format!("40/free,{auth}"));
        assert!(hear_text(&mut client).starts_with("40/free,"));
        say(&mut client, r#"42/free,1["may","jobs"]"#);
        assert_eq!(hear_text(&mut client), format!("43/free,1[\"{told}\"]"), "{auth}");
    }
    drop((nobody, of_42));
    stop(server);
}

#[test]
fn where_nothing_is_said_of_rules_a_program_is_as_open_as_the_server() {
    let server = Server::start(&config(1), |_| Box::new(Doorkeeper)).expect("a server starts here");
    assert_eq!(ask(&server, "POST", "/news", ""), ("200".to_owned(), String::new()));
    stop(server);
    let mut closed = config(1);
    closed.publish.open = roadstead::config::Switch::Off;
    let server = Server::start(&closed, |_| Box::new(Doorkeeper)).expect("a server starts here");
    let (status, code) = ask(&server, "POST", "/news", "");
    assert_eq!((&*status, &*code), ("401", "publish_forbidden"));
    stop(server);
}
