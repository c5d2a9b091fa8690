//! The application that the tests of npm's socket.io-client talk to, as their `test/support/server.ts` has it.

use roadstead::app::socketio::{Binary, ConnectError, Handshake, Io, NO_ARGUMENTS, Namespace, Socket};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::anything::{All, Any};

/// What is said to a client of the request that opened its session.
#[derive(Serialize)]
struct Told {
    query: Map<String, Value>,
    auth: Any,
}

pub fn register(io: &Io) {
    for name in ["/timeout_socket", "/valid", "/asd"] {
        io.of(name);
    }
    io.of("/foo").on_with_ack("getId", |socket, _: All, ack| ack.send(&socket.id().to_string()));
    io.of("/abc").on_connect(|socket| socket.emit("handshake", &(told(&socket),)));
    io.of("/no").use_middleware(|_| Err(ConnectError::new("Auth failed (custom namespace)")));
    io.use_middleware(|candidate| match candidate.handshake().and_then(|one| one.query("fail")) {
        Some(_) => Err(ConnectError::new("Auth failed (main namespace)")),
        None => Ok(()),
    });
    register_talk(io);
    register_bytes(io);
}

fn register_talk(io: &Namespace) {
    io.on_connect(|socket| {
        let kept = socket.clone();
        socket.on_with_ack("getHandshake", move |_, _: All, ack| ack.send(&(told(&kept),)));
    });
    io.on("hi", |socket, _: All| socket.emit("hi", &NO_ARGUMENTS));
    io.on_with_ack("echo", |_, mut arguments: All, ack| {
        arguments.0.truncate(1);
        ack.send(&arguments);
    });
    io.on("ack", |socket, _: All| {
        let asker = socket.clone();
        socket.emit_with_callback("ack", &NO_ARGUMENTS, move |answer: Result<(u32, Value), _>| {
            if answer.is_ok_and(|(number, said)| number == 5 && said["test"] == true) {
                asker.emit("got it", &NO_ARGUMENTS);
            }
        });
    });
    io.on_with_ack("getAckDate", |_, _: All, ack| ack.send(DATE));
    io.on("getDate", |socket, _: All| socket.emit("takeDate", DATE));
    io.on("getDateObj", |socket, _: All| socket.emit("takeDateObj", &(json!({ "date": DATE }),)));
    io.on("getUtf8", |socket, _: All| {
        for text in ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"]
        {
            socket.emit("takeUtf8", text);
        }
    });
    io.on("false", |socket, _: All| socket.emit("false", &false));
    io.on_with_ack("getId", |socket, _: All, ack| ack.send(&socket.id().to_string()));
}

fn register_bytes(io: &Namespace) {
    let bytes = || (Binary(b"asdfasdf".to_vec()),);
    io.on("doge", move |socket, _: All| socket.emit("doge", &bytes()));
    io.on("getbin", move |socket, _: All| socket.emit("takebin", &bytes()));
    io.on("buffa", |socket, arguments: All| {
        if let [Any::Bytes(_)] = arguments.0[..] {
            socket.emit("buffack", &NO_ARGUMENTS);
        }
    });
    io.on("jsonbuff", |socket, arguments: All| {
        let is_bytes = |(name, value): &(String, Any)| name == "message" && matches!(value, Any::Bytes(_));
        if let [Any::Object(members)] = &arguments.0[..]
            && members.iter().any(is_bytes)
        {
            socket.emit("jsonbuff-ack", &NO_ARGUMENTS);
        }
    });
    io.on("abuff2", |socket, _: All| socket.emit("abuff2-ack", &NO_ARGUMENTS));
}

const DATE: &str = "2011-09-14T06:02:01.123Z";

fn told(socket: &Socket) -> Told {
    let target = socket.handshake().map_or("", |handshake: &Handshake| &handshake.target);
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pairs = form_urlencoded::parse(query.as_bytes());
    Told {
        query: pairs.map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect(),
        auth: socket.auth::<Option<Any>>().ok().flatten().unwrap_or_else(Any::empty_object),
    }
}
