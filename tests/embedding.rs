//! A program's own handler against a running server: what it may do from within each of its callbacks.
//!
//! The callbacks here do on purpose what the shipped handler never does.

use std::{
    io::{ErrorKind, Read, Write},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use roadstead::{
    app::{
        Answer, ChannelName, CloseReason, ConnectionId, Context, HandleError, Handler, Message, Payload,
        Peer, Request, Response, Shown, Transport, Verdict, choose_protocol, offered_protocols,
    },
    auth::{Name, Right},
    supervisor::Server,
};

#[expect(dead_code, reason = "shared with tests/e2e, which uses the rest")]
#[path = "e2e/certificate.rs"]
mod certificate;
#[expect(dead_code, reason = "shared with tests/supervision, which uses the rest")]
#[path = "supervision/client.rs"]
mod client;
#[path = "embedding/rules.rs"]
mod rules;
#[expect(dead_code, reason = "shared with tests that use the rest")]
#[path = "e2e/tunnel.rs"]
mod tunnel;

use client::{config, connect, hear, offer, read_to_end, say, upgrade_with, websocket};

/// What handlers noted, for tests to look at.
type Notes = Arc<Mutex<Vec<String>>>;

fn start<H: Handler + 'static>(handler: impl Fn() -> H + Send + Sync + Clone + 'static) -> Server {
    Server::start(&config(1), move |_| Box::new(handler())).expect("a server starts here")
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

/// Speaks a protocol of its own in two versions, the newer rather than the older, and tells which.
struct Linguist;

impl Handler for Linguist {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, request: &Request<'_>) -> Verdict {
        let offered = offered_protocols(request);
        let spoken = ["game.v2", "game.v1"].into_iter().find(|name| offered.contains(name));
        match spoken.or_else(|| choose_protocol(&offered, &[])) {
            None if !offered.is_empty() => Verdict::Refuse(Response::text(400, "no such game")),
            name => Verdict::accept(7).speaking(name),
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _: Message<'_>) {
        cx.send(peer.connection, Message::Text("heard"));
    }
}

#[test]
fn a_program_chooses_the_subprotocol_that_its_clients_are_told() {
    let server = start(|| Linguist);
    let offering = |names: &str| {
        let field =
            if names.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {names}\r\n") };
        offer(connect(&server), "/", &field)
    };
    for (names, chosen) in [
        ("game.v1", Some("game.v1")),
        ("other, game.v1, game.v2", Some("game.v2")),
        ("bearer.abc", Some("bearer.abc")),
        ("bearer.abc, game.v1", Some("game.v1")),
        ("", None),
    ] {
        let (head, mut socket) = offering(names);
        assert!(head.starts_with("HTTP/1.1 101"), "{names}: {head}");
        let told: Vec<_> =
            head.lines().filter_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: ")).collect();
        assert_eq!(told, chosen.into_iter().collect::<Vec<_>>(), "{names}");
        say(&mut socket, "x");
        assert_eq!(hear(&mut socket), (1, b"heard".to_vec()), "{names}");
    }
    let (head, _) = offering("other");
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    stop(server);
}

/// Says how whoever speaks or asks has come.
struct Receptionist;

fn told(peer: &Peer<'_>) -> String {
    let address = peer.address.map(|address| address.ip().to_string()).unwrap_or_default();
    let hops: Vec<_> = peer.hops.iter().map(ToString::to_string).collect();
    format!("{address} {}://{} {}", peer.scheme(), peer.host.unwrap_or("?"), hops.join(" "))
}

impl Handler for Receptionist {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(7)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _: Message<'_>) {
        cx.send(peer.connection, Message::Text(&told(peer)));
    }

    fn request(&mut self, _: &mut Context<'_>, peer: &Peer<'_>, _: &Request<'_>) -> Answer {
        Answer::Respond(Response::text(200, told(peer)))
    }
}

#[test]
fn a_handler_knows_how_a_client_has_come_from_proxies_that_are_trusted_and_from_nobody_else() {
    const PASSED_ON: &str =
        "X-Forwarded-For: 6.6.6.6, 203.0.113.7, 127.0.0.8\r\nX-Forwarded-Proto: https\r\n";
    let scheme = if certificate::is_used_everywhere() { "https" } else { "http" };
    for (trusted, during, after) in [
        (
            "127.0.0.0/8",
            "203.0.113.7 https://localhost 127.0.0.8".to_owned(),
            "203.0.113.7 https://localhost 127.0.0.8".to_owned(),
        ),
        // Of a client that has come directly nothing is kept but its address.
        ("10.0.0.0/8", format!("127.0.0.1 {scheme}://localhost "), format!("127.0.0.1 {scheme}://? ")),
    ] {
        let mut config = config(1);
        config.proxy.trusted = vec![trusted.into()];
        let server = Server::start(&config, |_| Box::new(Receptionist)).expect("a server starts here");
        let mut stream = connect(&server);
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{PASSED_ON}\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let answer = read_to_end(stream);
        assert!(answer.ends_with(&format!("\r\n\r\n{during}")), "{answer}");
        let mut socket = upgrade_with(connect(&server), "/", PASSED_ON);
        say(&mut socket, "who am I?");
        assert_eq!(hear(&mut socket), (1, after.as_bytes().to_vec()));
        drop(socket);
        stop(server);
    }
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
                Answer::EventStream { channel, since: None, shown: Shown::default(), fields: String::new() }
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
        stream.write_all(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
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
        .write_all(b"GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
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
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
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

/// Tells who asks, as the token says.
struct Introducer;

impl Handler for Introducer {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(0)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _: Message<'_>) {
        let user = peer.token.map_or(Name::from("nobody"), |token| token.user());
        cx.send(peer.connection, Message::Text(&user));
    }

    fn request(&mut self, _: &mut Context<'_>, peer: &Peer<'_>, _: &Request<'_>) -> Answer {
        let text = peer.token.map_or("nobody".to_owned(), |token| {
            let may = token.claims.grant.allows(Right::Subscribe, "news");
            format!("{} {may} {}", token.user(), token.claims.meta.as_deref().unwrap_or("-"))
        });
        Answer::Respond(Response::text(200, text))
    }
}

#[test]
fn a_handler_sees_whose_token_was_shown_and_no_request_comes_with_a_wrong_one() {
    const KEY: &str = "a-secret-of-these-tests-that-is-long-enough";
    let mut config = config(1);
    config.auth.hs256_keys = vec![roadstead::config::Secret::new(KEY)];
    let server = Server::start(&config, |_| Box::new(Introducer)).expect("a server starts here");
    let now_s =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later").as_secs();
    let claims = serde_json::json!({
        "sub": "42", "exp": now_s + 60, "allow": {"subscribe": ["news"]}, "meta": {"plan": "free"},
    });
    let token = |key: &str| {
        let key = jsonwebtoken::EncodingKey::from_secret(key.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("it can sign")
    };
    for (fields, told) in [
        (String::new(), "\r\n\r\nnobody"),
        (format!("Authorization: Bearer {}\r\n", token(KEY)), "\r\n\r\n42 true {\"plan\":\"free\"}"),
        (format!("Authorization: Bearer {}\r\n", token(&KEY.to_uppercase())), "token_signature_wrong"),
    ] {
        let mut client = connect(&server);
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n");
        client.write_all(request.as_bytes()).expect("the server takes it");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("it closes");
        assert!(answer.contains(told), "{answer}");
    }
    stop(server);
}

/// Sets one timer after the other when told to, and says when the last has run out.
#[derive(Default)]
struct Ticker {
    client: Option<ConnectionId>,
}

const TICKS: u64 = 60;

impl Handler for Ticker {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(0)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, _: Message<'_>) {
        self.client = Some(peer.connection);
        cx.timer(1, TICKS);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        match (timer.checked_sub(1), self.client) {
            (Some(left), _) => cx.timer(1, left),
            (None, Some(client)) => cx.send(client, Message::Text("done")),
            (None, None) => {}
        }
    }
}

#[test]
fn timers_end_the_sleep_of_a_shard_on_which_nothing_else_happens() {
    let server = start(Ticker::default);
    let mut client = websocket(&server);
    say(&mut client, "tick");
    // But for its timers the shard would look once a second: so many would take a minute, and this waits for seconds.
    assert_eq!(hear(&mut client).1, b"done");
    stop(server);
}

/// Lets everybody follow one channel.
struct Follower;

impl Handler for Follower {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(0).following(news(), None)
    }
}

fn news() -> ChannelName {
    ChannelName::new("news", 64).expect("a name")
}

fn number(number: u32) -> Payload {
    Payload::new(number.to_string().into_bytes(), None)
}

#[test]
fn what_threads_publish_arrives_in_the_order_in_which_each_did_on_whatever_shard() {
    const EACH: u32 = 5_000;
    let server = Server::start(&config(2), |_| Box::new(Follower)).expect("a server starts here");
    let mut clients: Vec<_> = (0..4).map(|_| websocket(&server)).collect();
    let publish = |offset: u32| {
        let handle = server.handle();
        thread::spawn(move || {
            for count in 0..EACH {
                while let Err(error) = handle.clone().publish(news(), number(offset + count)) {
                    assert_eq!(error, HandleError::Full);
                    thread::yield_now();
                }
            }
        })
    };
    let threads = [publish(0), publish(1_000_000)];
    for client in &mut clients {
        let mut next = [0, 1_000_000];
        for _ in 0..2 * EACH {
            let heard = String::from_utf8(hear(client).1).expect("text");
            let heard: u32 = heard.parse().expect("a number");
            let next = &mut next[usize::from(heard >= 1_000_000)];
            assert_eq!(heard, *next);
            *next += 1;
        }
    }
    threads.into_iter().for_each(|thread| thread.join().expect("it has not panicked"));
    stop(server);
}

#[test]
fn a_function_of_another_thread_does_what_a_handler_can_and_one_that_panics_leaves_nothing() {
    let server = start(|| Follower);
    let mut client = websocket(&server);
    let handle = server.handle();
    let wrong = handle.run(|cx| {
        cx.publish(news(), number(1), None);
        panic!("a mistake of the application");
    });
    assert_eq!(wrong, Ok(()));
    assert_eq!(handle.run_socketio(|_| panic!("another one")), Ok(()));
    assert_eq!(handle.run(|cx| cx.publish(news(), number(2), None)), Ok(()));
    assert_eq!(handle.publish(news(), number(3)), Ok(()));
    assert_eq!([hear(&mut client).1, hear(&mut client).1], [b"2", b"3"]);
    stop(server);
}

#[test]
fn what_waits_for_a_shard_is_bounded_and_whoever_leaves_more_is_told() {
    let server = start(|| Follower);
    let mut client = websocket(&server);
    let handle = server.handle();
    let (go_on, wait) = mpsc::channel::<()>();
    let (began, has_begun) = mpsc::channel();
    let hold = handle.run(move |_| {
        began.send(()).expect("the test waits");
        wait.recv().expect("the test lets it go on");
    });
    assert_eq!(hold, Ok(()));
    has_begun.recv().expect("the shard takes it");
    let heavy = || Payload::bytes_of(vec![0; 9 * 1024 * 1024], None);
    assert_eq!(handle.publish(ChannelName::new("other", 64).expect("a name"), heavy()), Ok(()));
    assert_eq!(handle.publish(news(), heavy()), Err(HandleError::Full), "so many bytes");
    let mut taken = 0;
    let full = loop {
        match handle.publish(news(), number(taken)) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((full, taken), (HandleError::Full, 1_023), "so many calls");
    go_on.send(()).expect("the shard waits");
    // What was taken is done, and there is room again for what comes behind it.
    for expected in 0..taken {
        assert_eq!(hear(&mut client).1, expected.to_string().as_bytes());
    }
    assert_eq!(handle.publish(news(), number(taken)), Ok(()));
    assert_eq!(hear(&mut client).1, taken.to_string().as_bytes());
    stop(server);
    assert_eq!(handle.publish(news(), number(0)), Err(HandleError::Ended));
}

/// Lets whoever comes follow what the path names: several channels, none of them, or one.
struct Opener;

impl Handler for Opener {
    fn request(&mut self, _: &mut Context<'_>, _: &Peer<'_>, request: &Request<'_>) -> Answer {
        let name = |name: &str| ChannelName::new(name, 64).expect("a name");
        let fields = String::new();
        match request.path() {
            "/none" => Answer::EventStreams { channels: Vec::new(), shown: Shown::default(), fields },
            "/many" => {
                let channels = (0..100).map(|number| (name(&format!("c{number}")), None)).collect();
                Answer::EventStreams { channels, shown: Shown::default(), fields }
            }
            _ => Answer::EventStream { channel: name("room"), since: None, shown: Shown::default(), fields },
        }
    }

    fn connect(&mut self, cx: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        cx.publish(ChannelName::new("room", 64).expect("a name"), Payload::new(*b"hello", None), None);
        Verdict::accept(7)
    }
}

#[test]
fn a_stream_of_no_channels_leaves_nothing_to_who_comes_on_its_place() {
    let server = start(|| Opener);
    let open = |path: &str| {
        let mut stream = connect(&server);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        stream
    };
    let begin = |path: &str, until: &str| {
        let mut stream = open(path);
        await_text(&mut stream, until);
        stream
    };
    assert!(read_to_end(open("/many")).contains("retry:"), "more channels than may be are none");
    // One of them takes the slot of one before.
    for _ in 0..20 {
        drop(begin("/none", "retry:"));
        let mut stream = begin("/room", "id:");
        let socket = websocket(&server);
        await_text(&mut stream, "data: hello");
        drop((socket, stream));
    }
    stop(server);
}

/// Reads until this text has come.
#[track_caller]
fn await_text(stream: &mut std::net::TcpStream, text: &str) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&received).contains(text) {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => received.extend_from_slice(&buffer[..count]),
            // The kernel may let go of what this thread has tried of io_uring while it reads.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => panic!("{other:?} before {text:?}: {}", String::from_utf8_lossy(&received)),
        }
    }
}
