//! Clients of Socket.IO that misbehave, vanish or come back at the worst moment, and what the server makes of it.
//!
//! What well-behaved clients see is tested with real clients in `tests/run`.

mod churn;
mod client;
mod held;
mod recovery;

#[expect(dead_code, reason = "shared with tests/e2e, which uses the rest")]
#[path = "../e2e/certificate.rs"]
mod certificate;
#[expect(dead_code, reason = "shared with tests that use the rest")]
#[path = "../e2e/tunnel.rs"]
mod tunnel;

use std::{
    net::Shutdown,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use client::{Connection, SOON, WebSocket, get, open_polling, upgrade};
use roadstead::{
    api::{ChannelServer, Settings},
    app::{
        Answer, CloseReason, Context, Handler, Message, Peer, Reply, Request, Verdict,
        socketio::{Io, RawSession},
    },
    config::Config,
    supervisor::Server,
};

/// What applications noted, for tests to look at.
type Notes = Arc<Mutex<Vec<String>>>;

/// The shipped server with an application of its own in place of the one without code, or beside it.
struct WithAdmin<F> {
    server: ChannelServer,
    is_shipped: bool,
    register: F,
}

impl<F: Fn(&Io)> Handler for WithAdmin<F> {
    fn connect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Verdict {
        self.server.connect(cx, peer, request)
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        self.server.request(cx, peer, request)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        self.server.message(cx, peer, message);
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        self.server.reply(cx, peer, token, reply);
    }

    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, reason: CloseReason) {
        self.server.disconnect(cx, peer, reason);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        self.server.timer(cx, timer);
    }

    fn socketio(&mut self, io: &Io) -> bool {
        if self.is_shipped {
            self.server.socketio(io);
        }
        (self.register)(io);
        true
    }
}

fn start<F>(config: impl FnOnce(&mut Config), register: F) -> Server
where
    F: Fn(&Io) + Clone + Send + Sync + 'static,
{
    start_with(config, register, false)
}

/// The application without code is there as well.
fn start_shipped<F>(config: impl FnOnce(&mut Config), register: F) -> Server
where
    F: Fn(&Io) + Clone + Send + Sync + 'static,
{
    start_with(config, register, true)
}

fn start_with<F>(config: impl FnOnce(&mut Config), register: F, is_shipped: bool) -> Server
where
    F: Fn(&Io) + Clone + Send + Sync + 'static,
{
    let mut settings = Config::default();
    settings.server.listen = vec!["127.0.0.1:0".parse().expect("an address")];
    settings.server.admin = Some("127.0.0.1:0".parse().expect("an address"));
    settings.server.shards = 1;
    settings.server.drain_ms = 1;
    tunnel::secure(&mut settings);
    config(&mut settings);
    let api = Settings::from_config(&settings).expect("nothing is read");
    let handler = move |_| {
        let (server, register) = (ChannelServer::new(api.clone()), register.clone());
        Box::new(WithAdmin { server, is_shipped, register }) as Box<dyn Handler>
    };
    Server::start(&settings, handler).expect("a server starts here")
}

/// Lets clients join and leave rooms, speak in them, and end each other; notes who comes and goes.
fn rooms(notes: &Notes) -> impl Fn(&Io) + Clone + Send + Sync + 'static {
    let notes = Arc::clone(notes);
    move |io| {
        let (came, went, told) = (Arc::clone(&notes), Arc::clone(&notes), io.clone());
        io.on_connect(move |socket| {
            let how = if socket.recovered() { "again" } else { "new" };
            came.lock().expect("no panic").push(format!("connect {how}"));
        });
        io.on_disconnect(move |_, reason| {
            went.lock().expect("no panic").push(format!("disconnect {reason}"));
        });
        io.on_with_ack("join", |socket, room: String, ack| {
            socket.join(room.as_str());
            ack.send(&[(); 0]);
        });
        io.on_with_ack("leave", |socket, room: String, ack| {
            socket.leave(room.as_str());
            ack.send(&[(); 0]);
        });
        io.on("say", |socket, (room, text): (String, String)| {
            socket.namespace().to(room.as_str()).emit("said", &text);
        });
        io.on("shout", |socket, text: String| socket.namespace().volatile().emit("shouted", &text));
        io.on("end everybody", move |_, ()| told.disconnect_sockets(true));
    }
}

fn noted(notes: &Notes) -> Vec<String> {
    notes.lock().expect("no panic").clone()
}

/// A gauge or counter, summed over all shards.
fn gauge(server: &Server, name: &str) -> u64 {
    let address = server.listening().admin.as_ref().expect("an admin listener").to_string();
    let answer = Connection::admin(&address).get("/shards");
    let shards: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let shards = shards["shards"].as_array().or(shards.as_array()).expect("a list of shards");
    shards.iter().map(|shard| shard[name].as_u64().unwrap_or_else(|| panic!("{name} in {shard}"))).sum()
}

/// Waits until something is so.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stop(server: Server) {
    server.drain();
    server.wait().expect("no shard has failed");
}

#[test]
fn a_join_holds_once_it_is_acknowledged_whatever_shard_others_publish_from() {
    let server = start(|config| config.server.shards = 4, rooms(&Notes::default()));
    let mut clients: Vec<_> = (0..8).map(|_| WebSocket::open(&server)).collect();
    clients.iter_mut().for_each(|client| drop(client.enter("")));
    for round in 0..200 {
        let (joins, says) = (round % 8, (round + 3) % 8);
        clients[joins].say(&format!("420[\"join\",\"r{round}\"]"));
        assert_eq!(clients[joins].hear(), "430[]");
        clients[says].say(&format!("42[\"say\",\"r{round}\",\"{round}\"]"));
        assert_eq!(clients[joins].hear(), format!("42[\"said\",\"{round}\"]"));
    }
    stop(server);
}

#[test]
fn a_session_that_says_goodbye_can_enter_no_namespace_any_more() {
    let server = start(|_| {}, rooms(&Notes::default()));
    let mut client = Connection::new(&server);
    let target = open_polling(&mut client);
    assert_eq!(client.post(&target, "1").status, 200);
    assert_eq!(client.post(&target, "40").status, 400, "it has ended");
    let last = client.get(&target);
    assert_eq!((last.status, &*last.body), (200, "6"), "its last words are for a poll");
    assert_eq!(gauge(&server, "sockets"), 0);
    assert_eq!(gauge(&server, "engine_sessions"), 0);
    stop(server);
}

#[test]
fn a_poll_behind_the_one_that_learns_of_the_end_is_answered_too() {
    let server = start(|_| {}, rooms(&Notes::default()));
    let (mut polls, mut other) = (Connection::new(&server), Connection::new(&server));
    let target = open_polling(&mut polls);
    assert_eq!(other.post(&target, "40").status, 200);
    assert!(polls.get(&target).body.starts_with("40{"));
    polls.send([get(&target), get(&target)].concat());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(other.post(&target, "1").status, 200);
    assert_eq!(polls.answer().body, "6");
    assert_eq!(polls.answer().status, 400, "its session is over");
    stop(server);
}

#[test]
fn a_client_that_polls_and_closes_its_connection_is_gone_at_once() {
    let notes = Notes::default();
    for how in [Shutdown::Write, Shutdown::Both] {
        let server = start(|_| {}, rooms(&notes));
        let (mut polls, mut other) = (Connection::new(&server), Connection::new(&server));
        let target = open_polling(&mut polls);
        assert_eq!(other.post(&target, "40").status, 200);
        assert!(polls.get(&target).body.starts_with("40{"));
        polls.send(get(&target));
        std::thread::sleep(Duration::from_millis(50));
        polls.stream.shutdown(how).expect("it is open");
        wait_until("it is gone", || gauge(&server, "engine_sessions") == 0);
        assert_eq!(noted(&notes), ["connect new", "disconnect transport error"]);
        notes.lock().expect("no panic").clear();
        stop(server);
    }
}

#[test]
fn a_message_that_polls_cannot_carry_does_not_hurt_the_server_when_the_client_goes_over_to_a_websocket() {
    let server = start(
        |_| {},
        |io: &Io| {
            let all: std::rc::Rc<std::cell::RefCell<Vec<RawSession>>> = std::rc::Rc::default();
            let opened = std::rc::Rc::clone(&all);
            io.engine().on_open(move |session| opened.borrow_mut().push(session.clone()));
            io.engine().on_message(move |_, message| all.borrow().iter().for_each(|one| one.send(message)));
        },
    );
    let mut polls = Connection::new(&server);
    let target = open_polling(&mut polls);
    let mut speaker = WebSocket::open(&server);
    let mut probe = Connection::new(&server);
    probe.send(upgrade(&target.replace("polling", "websocket")));
    assert_eq!(probe.answer().status, 101);
    probe.send(client::frame("2probe"));
    assert_eq!(probe.frame(), Some((1, b"3probe".to_vec())));
    speaker.say("4one\u{1e}xother");
    assert_eq!(speaker.hear(), "4one\u{1e}xother");
    probe.send(client::frame("5"));
    speaker.say("4still here");
    assert_eq!(speaker.hear(), "4still here");
    stop(server);
}

#[test]
fn a_raw_session_that_does_not_read_what_it_makes_the_server_send_is_bounded_and_loses_none() {
    let server = start(
        |config| bound_queues(config, 100_000),
        |io: &Io| {
            io.engine().on_message(|session, message| session.send(message));
        },
    );
    let mut client = WebSocket::open(&server);
    let text = format!("4{}", "x".repeat(60_000));
    let message = client::frame(&text);
    client
        .connection
        .stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout can be set");
    let mut sent = 0;
    // Sixty megabytes fit into no socket's buffers.
    while sent < 1_000 && std::io::Write::write_all(&mut client.connection.stream, &message).is_ok() {
        sent += 1;
    }
    assert!(gauge(&server, "send_queue_bytes") < 1_000_000, "after {sent} messages");
    // It is not read while it does not read, so that what it was sent is not too much.
    for at in 0..sent {
        assert_eq!(client.connection.frame(), Some((1, text.clone().into_bytes())), "answer {at} of {sent}");
    }
    drop(client);
    stop(server);
}

fn bound_queues(config: &mut Config, bytes: u32) {
    config.limits.send_queue_bytes_max = bytes;
    config.limits.publication_bytes_max = bytes;
}
