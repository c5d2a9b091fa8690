//! A program's own handler against a running server: what it may do from within each of its callbacks.
//!
//! The callbacks here do on purpose what the shipped handler never does.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use roadstead::{
    app::{
        Answer, ChannelName, CloseReason, ConnectionId, Context, Handler, Message, Payload, Peer, Request,
        Response, Transport, Verdict,
    },
    config::Config,
    supervisor::Server,
};

/// What handlers noted, for tests to look at.
type Notes = Arc<Mutex<Vec<String>>>;

fn start<H: Handler + 'static>(handler: impl Fn() -> H + Send + Sync + Clone + 'static) -> Server {
    Server::start(&config(1), move |_| Box::new(handler())).expect("a server starts here")
}

fn config(shards: u16) -> Config {
    let mut config = Config::default();
    config.server.listen = vec!["127.0.0.1:0".parse().expect("an address")];
    config.server.admin = None;
    config.server.shards = shards;
    config
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.listening().public[0].to_string()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
    stream
}

/// A WebSocket after its handshake.
fn websocket(server: &Server) -> TcpStream {
    let mut stream = connect(server);
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it answers");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

/// Sends a short text, masked with zeros.
fn say(stream: &mut TcpStream, text: &str) {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    stream.write_all(&frame).expect("it reads");
}

/// The next frame: its opcode and what it holds.
fn hear(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut data = vec![0; usize::from(head[1])];
    stream.read_exact(&mut data).expect("its data");
    (head[0] & 15, data)
}

fn read_to_end(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an end");
    text
}

fn stop(server: Server) {
    server.drain();
    server.wait().expect("no shard has failed");
}

/// Kicks everybody else when told to, and says so to all who are left whenever somebody has gone.
#[derive(Default)]
struct Kicker {
    here: Vec<ConnectionId>,
}

impl Handler for Kicker {
    fn connect(&mut self, _: &mut Context<'_>, peer: &Peer<'_>, _: &Request<'_>) -> Verdict {
        self.here.push(peer.connection);
        Verdict::accept(7)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _: Message<'_>) {
        for other in self.here.iter().filter(|other| **other != peer.connection) {
            cx.close(*other, CloseReason::PolicyViolation);
        }
        cx.send(peer.connection, Message::Text("all kicked"));
    }

    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _: CloseReason) {
        self.here.retain(|other| *other != peer.connection);
        for other in &self.here {
            cx.send(*other, Message::Text("one gone"));
        }
    }
}

#[test]
fn what_a_handler_sends_arrives_as_it_was_though_its_calls_nest() {
    let server = start(Kicker::default);
    let (mut kicked, mut kicker) = (websocket(&server), websocket(&server));
    say(&mut kicker, "kick");
    assert_eq!(hear(&mut kicker), (1, b"one gone".to_vec()));
    assert_eq!(hear(&mut kicker), (1, b"all kicked".to_vec()));
    assert_eq!(hear(&mut kicked).0, 8);
    stop(server);
}

/// Closes whoever speaks or asks, and then still wants things of the connection.
struct Leaver {
    notes: Notes,
}

impl Handler for Leaver {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(7)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _: Message<'_>) {
        let name = ChannelName::new("room", 64).expect("a name");
        cx.subscribe(peer.connection, name.clone(), None, Transport::Json, 1);
        cx.close(peer.connection, CloseReason::Normal);
        cx.subscribe(peer.connection, name.clone(), None, Transport::Json, 2);
        cx.publish(name, Payload::new(*b"late", None), None);
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        self.notes.lock().expect("no panic").push(request.path().to_owned());
        cx.close(peer.connection, CloseReason::Normal);
        match request.path() {
            "/stream" => {
                let channel = ChannelName::new("room", 64).expect("a name");
                Answer::EventStream { channel, since: None, fields: String::new() }
            }
            _ => Answer::Respond(Response::text(200, "bye")),
        }
    }

    fn reply(&mut self, _: &mut Context<'_>, _: &Peer<'_>, token: u32, _: roadstead::app::Reply) {
        self.notes.lock().expect("no panic").push(format!("reply {token}"));
    }

    fn disconnect(&mut self, _: &mut Context<'_>, peer: &Peer<'_>, _: CloseReason) {
        self.notes.lock().expect("no panic").push(format!("disconnect {}", peer.tag));
    }
}

#[test]
fn a_connection_its_handler_has_closed_gets_no_subscription_and_no_reply() {
    let notes = Notes::default();
    let noted = Arc::clone(&notes);
    let server = start(move || Leaver { notes: Arc::clone(&noted) });
    // Each takes the slot of the one before; a subscription left behind would be met there.
    for _ in 0..3 {
        let mut socket = websocket(&server);
        say(&mut socket, "x");
        assert_eq!(hear(&mut socket).0, 8, "nothing comes before the closing frame");
        assert_eq!(read_to_end(socket), "", "nothing comes behind it");
    }
    assert_eq!(*notes.lock().expect("no panic"), ["disconnect 7"; 3]);
    for _ in 0..3 {
        let mut stream = connect(&server);
        stream.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
        assert!(!read_to_end(stream).contains("late"));
    }
    stop(server);
}

#[test]
fn requests_behind_the_one_at_which_its_handler_closed_are_not_handled() {
    let notes = Notes::default();
    let noted = Arc::clone(&notes);
    let server = start(move || Leaver { notes: Arc::clone(&noted) });
    let mut stream = connect(&server);
    let began = Instant::now();
    stream
        .write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it reads");
    assert_eq!(read_to_end(stream).matches("bye").count(), 1);
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(*notes.lock().expect("no panic"), ["/1"]);
    stop(server);
}

/// Puts every request off and answers it in the same call.
struct AtOnce;

impl Handler for AtOnce {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(0)
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _: &Request<'_>) -> Answer {
        cx.respond(peer.connection, Response::text(200, "x"));
        Answer::Later { tag: 1 }
    }
}

#[test]
fn requests_put_off_and_answered_in_the_same_call_may_come_in_any_number() {
    let server = start(|| AtOnce);
    let mut stream = connect(&server);
    let count = 20_000;
    let mut writer = stream.try_clone().expect("sockets can be shared");
    let sending = std::thread::spawn(move || {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        writer.write_all(&request.repeat(count)).expect("it reads");
    });
    let (mut answers, mut buffer) = (0, vec![0; 65_536]);
    while answers < count {
        let length = match stream.read(&mut buffer) {
            // A read with a timeout is not begun again after a signal (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.expect("it answers"),
        };
        assert!(length > 0, "ended after {answers} answers");
        answers += buffer[..length].iter().filter(|byte| **byte == b'x').count();
    }
    sending.join().expect("everything was sent");
    server.drain();
    server.wait().expect("it ends well");
}

/// Loops for ever when a client says so, or until the test has seen enough.
struct Looper {
    is_over: Arc<AtomicBool>,
}

impl Handler for Looper {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(0)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        if message.bytes() == b"shard?" {
            return cx.send(peer.connection, Message::Text(&cx.shard.to_string()));
        }
        while !self.is_over.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_shard_that_hangs_does_not_keep_the_server_from_ending() {
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_over);
    let mut config = config(2);
    config.server.drain_ms = 0;
    let server =
        Server::start(&config, move |_| Box::new(Looper { is_over: Arc::clone(&seen) })).expect("it starts");
    let mut hanging = websocket(&server);
    say(&mut hanging, "shard?");
    let shard = String::from_utf8(hear(&mut hanging).1).expect("a number");
    say(&mut hanging, "hang");
    server.drain();
    let told = server.wait().expect_err("one shard hangs").to_string();
    assert!(told.starts_with(&format!("shard {shard} had not ended in time")), "{told}");
    is_over.store(true, Ordering::Relaxed);
}
