//! A panic in a call of the application ends one client.

use std::{cell::Cell, net::TcpStream, time::Duration};

use roadstead::{
    api::{self, ChannelServer},
    app::{
        Answer, CloseReason, Context, Handler, Message, Peer, Reply, Request, Response, Verdict,
        socketio::{Io, RawSession, Socket},
    },
    mesh::Question,
    model::Ticket,
    supervisor::Server,
};

use crate::client::{
    ask, await_that, config, connect, hear_close, hear_text, read_to_end, say, try_ask_admin, upgrade,
    websocket_at,
};

/// Panics wherever a client says so; serves metrics as the shipped server does.
struct Fragile {
    server: ChannelServer,
    disconnects: u32,
}

fn panic_if(is_told_to: bool) {
    assert!(!is_told_to, "told to fail");
}

impl Handler for Fragile {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, request: &Request<'_>) -> Verdict {
        panic_if(request.path() == "/connect");
        Verdict::accept(if request.path() == "/disconnect" { 2 } else { 1 })
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        if peer.is_admin {
            return self.server.request(cx, peer, request);
        }
        // A call that panics has asked for nothing.
        cx.timer(0, 7);
        panic_if(request.path() == "/request");
        if request.path() == "/reply" {
            cx.ask(Ticket { connection: peer.connection, token: 1 }, Question::Shard);
            return Answer::Later { tag: 3 };
        }
        Answer::Respond(Response::text(200, format!("{} gone", self.disconnects)))
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        cx.send(peer.connection, message);
        match message {
            Message::Text("timer") => cx.timer(0, 1),
            Message::Text("reply") => {
                cx.ask(Ticket { connection: peer.connection, token: 1 }, Question::Shard);
            }
            other => panic_if(other == Message::Text("message")),
        }
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        panic_if(!peer.is_admin);
        self.server.reply(cx, peer, token, reply);
    }

    fn disconnect(&mut self, _: &mut Context<'_>, peer: &Peer<'_>, reason: CloseReason) {
        self.disconnects += 1;
        panic_if(peer.tag == 2);
        assert!(peer.is_admin || reason != CloseReason::ProtocolError);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        panic_if(timer == 1);
        self.server.timer(cx, timer);
    }
}

/// One shard with an admin listener.
fn start() -> Server {
    let mut config = config(1);
    config.server.admin = config.server.listen.first().cloned();
    let settings = api::Settings::from_config(&config).expect("good settings");
    let handler = move |_| -> Box<dyn Handler> {
        Box::new(Fragile { server: ChannelServer::new(settings.clone()), disconnects: 0 })
    };
    Server::start(&config, handler).expect("a server starts here")
}

/// How many calls have panicked, as the metrics say.
fn panics(server: &Server) -> u32 {
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let text = try_ask_admin(server, request, Duration::from_secs(20)).expect("it answers");
    let name = "roadstead_handler_panics_total{shard=\"0\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric is there");
    line.parse().expect("a number")
}

fn get(server: &Server, path: &str) -> String {
    ask(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

#[test]
fn a_call_that_panics_ends_the_connection_it_was_about_and_no_other() {
    let server = start();
    let mut other = websocket_at(&server, "/");
    let mut still_there = |what: &str| {
        say(&mut other, what);
        assert_eq!(hear_text(&mut other), what);
    };
    let expected = Cell::new(0);
    let counts = |server: &Server| {
        expected.set(expected.get() + 1);
        // The end of a connection is told the handler, which may panic at that, when the client has gone already.
        await_that("it is counted", || panics(server) >= expected.get());
        assert_eq!(panics(server), expected.get());
    };

    for path in ["/request", "/reply"] {
        let answer = get(&server, path);
        assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("Connection: close"), "{answer}");
        still_there(path);
        counts(&server);
    }
    let mut refused = connect(&server);
    std::io::Write::write_all(
        &mut refused,
        b"GET /connect HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .expect("it reads");
    assert!(read_to_end(refused).starts_with("HTTP/1.1 500"));
    counts(&server);

    let mut socket = websocket_at(&server, "/");
    say(&mut socket, "message");
    assert_eq!(hear_close(&mut socket), 1011, "and what the call had sent by then is not sent");
    still_there("after a message");
    counts(&server);
    let mut socket = websocket_at(&server, "/");
    say(&mut socket, "reply");
    assert_eq!(hear_text(&mut socket), "reply");
    assert_eq!(hear_close(&mut socket), 1011);
    counts(&server);

    drop(websocket_at(&server, "/disconnect"));
    counts(&server);
    still_there("timer");
    counts(&server);
    still_there("after a timer");
    server.drain();
    server.wait().expect("no shard has failed");
}

/// A Socket.IO client in the namespace `/`.
fn socketio(server: &Server) -> TcpStream {
    let mut stream = upgrade(connect(server), "/socket.io/?EIO=4&transport=websocket");
    assert!(hear_text(&mut stream).starts_with("0{"));
    say(&mut stream, "40");
    let entered = hear_text(&mut stream);
    assert!(entered.starts_with("40{"), "{entered}");
    stream
}

#[test]
fn a_socketio_client_whose_call_panics_is_disconnected_and_no_other() {
    let config = config(1);
    let register = |io: &Io| {
        let shared = io.clone();
        io.use_middleware(|candidate| {
            panic_if(candidate.auth::<Option<String>>().is_ok_and(|auth| auth.is_some()));
            Ok(())
        });
        io.on_connect(move |socket: Socket| {
            socket.on("listener", |_: &Socket, (): ()| panic_if(true));
            socket.on("task", |socket: &Socket, (): ()| socket.spawn(async { panic_if(true) }));
            socket.on("echo", |socket: &Socket, data: u32| socket.emit("echo", &data));
            let io = shared.clone();
            socket.on("timer", move |_: &Socket, (): ()| {
                io.after(std::time::Duration::ZERO, || panic_if(true)).detach();
            });
            let io = shared.clone();
            socket.on("orphan", move |_: &Socket, (): ()| io.spawn_local(async { panic_if(true) }));
            socket.on_disconnect(|_, _| panic_if(true));
        });
    };
    let handlers = api::program(&config, "", register).expect("a program");
    let server = Server::start(&config, handlers).expect("a server starts here");
    let mut other = socketio(&server);
    let mut still_there = |number: u32| {
        say(&mut other, &format!("42[\"echo\",{number}]"));
        assert_eq!(hear_text(&mut other), format!("42[\"echo\",{number}]"));
    };
    for event in ["listener", "task"] {
        let mut socket = socketio(&server);
        say(&mut socket, &format!("42[\"{event}\"]"));
        assert_eq!(hear_text(&mut socket), "41", "{event}");
        still_there(1);
    }
    for event in ["timer", "orphan"] {
        let mut socket = socketio(&server);
        say(&mut socket, &format!("42[\"{event}\"]"));
        say(&mut socket, "42[\"echo\",7]");
        assert_eq!(hear_text(&mut socket), "42[\"echo\",7]", "a {event} is nobody's");
        still_there(2);
    }
    server.drain();
    server.wait().expect("no shard has failed");
}

#[test]
fn a_raw_session_whose_listener_panics_is_closed() {
    let config = config(1);
    let register = |io: &Io| {
        io.engine().on_message(|session: &RawSession, message| {
            panic_if(message == Message::Text("fail"));
            session.send(message);
        });
    };
    let handlers = api::program(&config, "", register).expect("a program");
    let server = Server::start(&config, handlers).expect("a server starts here");
    let open = || {
        let mut stream = upgrade(connect(&server), "/socket.io/?EIO=4&transport=websocket");
        assert!(hear_text(&mut stream).starts_with("0{"));
        stream
    };
    let (mut failing, mut other) = (open(), open());
    say(&mut failing, "4fail");
    hear_close(&mut failing);
    say(&mut other, "4hello");
    assert_eq!(hear_text(&mut other), "4hello");
    server.drain();
    server.wait().expect("no shard has failed");
}
