//! A handler that never returns: its shard hangs. The others say so, refuse what is for it, and serve the rest; nobody
//! waits for it at the end.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use roadstead::{
    api::{self, ChannelServer},
    app::{
        Answer, ChannelName, CloseReason, Context, Handler, Message, Peer, Reply, Request, Response, ShardId,
        Verdict, socketio::Io,
    },
    supervisor::Server,
};

use crate::client::{
    ask, await_that, config, connect, connect_to, hear_text, say, try_ask_admin, upgrade, websocket_at,
};

/// The shipped server, which loops when a client of `/loop` says so, until the test has seen enough.
struct Looper {
    server: ChannelServer,
    looping: Arc<Looping>,
}

/// Whether it does, and whether the test has.
#[derive(Default)]
struct Looping {
    has_begun: AtomicBool,
    is_over: AtomicBool,
}

impl Looping {
    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

const LOOPS: u32 = u32::MAX;

impl Handler for Looper {
    fn connect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Verdict {
        match request.path() {
            "/loop" => Verdict::accept(LOOPS),
            _ => self.server.connect(cx, peer, request),
        }
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        match request.path() {
            "/which" => Answer::Respond(Response::text(200, cx.shard.to_string())),
            _ => self.server.request(cx, peer, request),
        }
    }

    fn socketio(&mut self, io: &Io) -> bool {
        self.server.socketio(io)
    }

    fn shard_failed(&mut self, cx: &mut Context<'_>, shard: ShardId, owned: &dyn Fn(&ChannelName) -> bool) {
        self.server.shard_failed(cx, shard, owned);
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        match (peer.tag, message) {
            (LOOPS, Message::Text("shard?")) => {
                cx.send(peer.connection, Message::Text(&cx.shard.to_string()));
            }
            (LOOPS, _) => {
                self.looping.has_begun.store(true, Ordering::Relaxed);
                while !self.looping.is_over.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            }
            _ => self.server.message(cx, peer, message),
        }
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        self.server.reply(cx, peer, token, reply);
    }

    fn disconnect(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, reason: CloseReason) {
        self.server.disconnect(cx, peer, reason);
    }

    fn shards_silent(&mut self, cx: &mut Context<'_>, silent: &[ShardId]) {
        self.server.shards_silent(cx, silent);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        self.server.timer(cx, timer);
    }
}

/// Two shards and what lets a hanging one go on.
fn start(drain_ms: u32) -> (Server, Arc<Looping>) {
    let looping = Arc::<Looping>::default();
    let seen = Arc::clone(&looping);
    let mut config = config(2);
    config.server.drain_ms = drain_ms;
    config.socketio.namespaces = vec!["/n*".to_owned()];
    config.server.admin = config.server.listen.first().cloned();
    let settings = api::Settings::from_config(&config).expect("good settings");
    let handler = move |_| -> Box<dyn Handler> {
        Box::new(Looper { server: ChannelServer::new(settings.clone()), looping: Arc::clone(&seen) })
    };
    (Server::start(&config, handler).expect("it starts"), looping)
}

/// Has a shard hang; which, and the client that did it.
fn hang(server: &Server) -> (String, TcpStream) {
    let mut client = websocket_at(server, "/loop");
    say(&mut client, "shard?");
    let shard = hear_text(&mut client);
    say(&mut client, "hang");
    (shard, client)
}

fn admin(server: &Server, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    // Until the shard is known to hang, the kernel gives it its share of these, too.
    try_ask_admin(server, &request, Duration::from_millis(500)).ok()
}

fn publish(server: &Server, channel: u32) -> String {
    ask(
        server,
        &format!(
            "POST /channels/c{channel} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: 1\r\n\r\nx"
        ),
    )
}

fn read(server: &Server, channel: u32) -> String {
    let end = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    ask(server, &format!("GET /channels/c{channel}/state {end}"))
}

#[test]
fn a_shard_that_hangs_does_not_keep_the_server_from_ending() {
    let (server, looping) = start(0);
    let (shard, _client) = hang(&server);
    server.drain();
    let told = server.wait().expect_err("one shard hangs").to_string();
    assert!(told.starts_with(&format!("shard {shard} had not ended in time")), "{told}");
    looping.end();
}

#[test]
fn a_drain_is_over_when_only_a_shard_that_hangs_is_left_however_long_it_may_take() {
    const DRAIN_MS: u32 = 600_000;
    let (server, looping) = start(DRAIN_MS);
    let (shard, client) = hang(&server);
    // Its clients have been taken off it.
    await_end(client);
    let began = Instant::now();
    server.drain();
    let told = server.wait().expect_err("one shard hangs").to_string();
    assert!(told.starts_with(&format!("shard {shard} had not ended in time")), "{told}");
    assert!(began.elapsed() < Duration::from_millis(DRAIN_MS.into()), "that was not waited for");
    looping.end();
}

#[test]
fn a_shard_that_hangs_is_told_of_and_what_is_for_it_is_refused_until_it_goes_on() {
    let (server, looping) = start(0);
    let (shard, _client) = hang(&server);
    let says = |answer: Option<String>, status: &str, text: &str| {
        answer.is_some_and(|answer| answer.contains(status) && answer.contains(text))
    };
    let told = format!("no turn is done by shard {shard}\n");
    await_that("it is told", || says(admin(&server, "/healthz"), "503", &told));
    assert!(says(admin(&server, "/readyz"), "503", &told));

    // Everybody who comes now comes to the other shard.
    let answers: Vec<_> = (0..16).map(|channel| publish(&server, channel)).collect();
    let count = |status: &str| answers.iter().filter(|answer| answer.contains(status)).count();
    assert_eq!(count("HTTP/1.1 200") + count("HTTP/1.1 503"), 16, "{answers:?}");
    assert!(count("HTTP/1.1 200") > 0 && count("HTTP/1.1 503") > 0, "{answers:?}");

    // What is to be read is refused at once, and keeps nothing on the way.
    let reads: Vec<_> = (0..16).map(|channel| read(&server, channel)).collect();
    let refused = reads.iter().filter(|answer| answer.contains("\"code\":\"busy\"")).count();
    assert_eq!(count("HTTP/1.1 503"), refused, "{reads:?}");

    looping.end();
    await_that("all is well again", || says(admin(&server, "/healthz"), "200", "ok"));
    await_that("every shard says so", || (0..8).all(|_| says(admin(&server, "/readyz"), "200", "ready")));
    (0..16).for_each(|channel| assert!(publish(&server, channel).starts_with("HTTP/1.1 200")));
    server.drain();
    server.wait().expect("no shard hangs any more");
}

#[test]
fn who_has_come_to_a_shard_that_hangs_is_served_by_the_others() {
    let (server, looping) = start(0);
    let (shard, _client) = hang(&server);
    await_that("it hangs", || looping.has_begun.load(Ordering::Relaxed));
    // The kernel gives each shard some of them; nobody knows yet that one hangs.
    let waiting: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = connect(&server);
            write!(stream, "GET /which HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .expect("the queue takes it");
            stream
        })
        .collect();
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is not reset");
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with(&shard), "{answer}");
    }
    looping.end();
    server.drain();
    drop(server.wait());
}

type Begin = fn(TcpStream, &str) -> TcpStream;

/// Every way to be served: begins it on a connection, for this channel, and says what its client then hears of a publication
/// `x`. A client of Socket.IO only enters.
const WAYS: [(Begin, &str); 4] = [
    (|stream, channel| upgrade(stream, &format!("/channels/{channel}")), "x"),
    (|stream, channel| follow(stream, channel, "Accept: text/event-stream\r\n"), "data: x"),
    (|stream, channel| follow(stream, channel, ""), "\"data\":\"x\""),
    (
        |stream, _| {
            let mut stream = upgrade(stream, "/socket.io/?EIO=4&transport=websocket");
            assert!(hear_text(&mut stream).starts_with("0{"));
            // The channel of a namespace has an owner as any other; one is found that does not hang.
            let mut enters = |number: u32| {
                say(&mut stream, &format!("40/n{number},"));
                hear_text(&mut stream).starts_with("40/n")
            };
            assert!((0..16).any(&mut enters));
            stream
        },
        "",
    ),
];

fn follow(mut stream: TcpStream, channel: &str, fields: &str) -> TcpStream {
    write!(stream, "GET /channels/{channel}?poll=1 HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
        .expect("it reads");
    stream
}

/// Reads until the client has heard this.
fn hear_until(stream: &mut TcpStream, text: &str) {
    let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&heard).contains(text) {
        let len = stream.read(&mut buffer).expect("it goes on");
        assert!(len > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&buffer[..len]);
    }
}

/// Reads until the connection has ended, in order or not.
fn await_end(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn the_clients_of_a_shard_that_hangs_are_taken_off_it_and_it_begins_anew_when_it_comes_back() {
    let (server, looping) = start(0);
    let mut hanging = websocket_at(&server, "/loop");
    say(&mut hanging, "shard?");
    let shard = ShardId(hear_text(&mut hanging).parse().expect("a number"));
    let clients: Vec<_> = WAYS.iter().map(|(way, _)| way(connect_to(&server, shard), "c0")).collect();
    say(&mut hanging, "hang");
    clients.into_iter().chain([hanging]).for_each(await_end);

    // They come back to the other shard, each in its way, and go on with what that has.
    let is_served = |channel: &u32| publish(&server, *channel).starts_with("HTTP/1.1 200");
    let channel = (0..16).find(is_served).expect("the other shard owns some");
    let mut back: Vec<_> =
        WAYS.iter().map(|(way, _)| way(connect(&server), &format!("c{channel}"))).collect();
    // The poll is there when it hears; the others were before it, or have been told that they are.
    await_that("the poll hears", || {
        assert!(is_served(&channel));
        let poll = &back[2];
        poll.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
        poll.peek(&mut [0]).is_ok_and(|len| len > 0)
    });
    assert!(is_served(&channel));
    for (stream, (_, heard)) in back.iter_mut().zip(WAYS) {
        hear_until(stream, heard);
    }

    looping.end();
    await_that("it has begun anew", || {
        let metrics = admin(&server, "/metrics").unwrap_or_default();
        metrics.contains(&format!("roadstead_shard_restarts_total{{shard=\"{shard}\"}} 1"))
    });
    (0..16).for_each(|channel| await_that("everything is served", || is_served(&channel)));
    drop(WAYS.map(|(way, _)| way(connect_to(&server, shard), "c0")));
    server.drain();
    server.wait().expect("no shard hangs any more");
}
