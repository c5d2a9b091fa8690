//! Connections that one shard hands over to another, seen from the client: nothing shows but who answers.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use rlimit::Resource;
use roadstead::{
    app::{
        Answer, ChannelName, CloseReason, ConnectionId, Context, Handler, Message, Payload, Peer, Request,
        Response, ShardId, Verdict,
    },
    config::Config,
    supervisor::Server,
};

#[expect(dead_code, reason = "shared with tests/e2e, which uses the rest")]
#[path = "e2e/certificate.rs"]
mod certificate;
#[path = "e2e/tunnel.rs"]
mod tunnel;

const SHARDS: u16 = 3;

/// Answers `/at/N…` on shard N with what it has seen of the request.
struct Mover;

impl Handler for Mover {
    fn connect(&mut self, cx: &mut Context<'_>, _: &Peer<'_>, request: &Request<'_>) -> Verdict {
        match shard_named(request) {
            Some(shard) if shard != cx.shard => Verdict::HandOver(shard),
            _ => Verdict::accept(7),
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        let text = format!("{} {}", cx.shard, String::from_utf8_lossy(message.bytes()));
        cx.send(peer.connection, Message::Text(&text));
    }

    fn request(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, request: &Request<'_>) -> Answer {
        match (request.path(), shard_named(request)) {
            (_, Some(shard)) if shard != cx.shard => Answer::HandOver(shard),
            ("/round", _) => Answer::HandOver(ShardId((cx.shard.0 + 1) % cx.shards)),
            ("/self", _) => Answer::HandOver(cx.shard),
            ("/nowhere", _) => Answer::HandOver(ShardId(cx.shards)),
            ("/poll", _) => {
                let channel = ChannelName::new("news", 64).expect("a name");
                Answer::LongPoll { channel, since: None, timeout_ms: 60_000, fields: String::new() }
            }
            ("/publish", _) => {
                let channel = ChannelName::new("news", 64).expect("a name");
                cx.publish(channel, Payload::new(*b"it", None), None);
                Answer::Respond(Response::text(200, ""))
            }
            ("/leave", _) => {
                // Before anything else happens to the connection, and after it has begun to leave.
                let ConnectionId { index, generation } = peer.connection;
                cx.timer(0, u64::from(index) << 32 | u64::from(generation));
                Answer::HandOver(ShardId((cx.shard.0 + 1) % cx.shards))
            }
            ("/big", _) => Answer::Respond(Response::text(200, "x".repeat(BIG_BYTES))),
            _ => {
                let sum: u64 = request.body.iter().map(|byte| u64::from(*byte)).sum();
                let port = peer.address.expect("a TCP peer").port();
                Answer::Respond(Response::text(200, seen(cx.shard, request.target, sum, port)))
            }
        }
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u64) {
        let connection = ConnectionId { index: (timer >> 32) as u32, generation: timer as u32 };
        cx.close(connection, CloseReason::PolicyViolation);
    }
}

const BIG_BYTES: usize = 900_000;

fn shard_named(request: &Request<'_>) -> Option<ShardId> {
    let rest = request.path().strip_prefix("/at/")?;
    rest.split('/').next()?.parse().ok().map(ShardId)
}

fn seen(shard: ShardId, target: &str, sum: u64, port: u16) -> String {
    format!("shard {shard} has {target} with {sum} from {port}")
}

fn start(config: impl FnOnce(&mut Config)) -> Server {
    let abilities = roadstead::ring::probe().expect("a ring can be made here");
    assert!(abilities.exports, "connections move on Linux 6.8 or later only");
    let mut settings = Config::default();
    settings.server.listen = vec!["127.0.0.1:0".parse().expect("an address")];
    settings.server.admin = None;
    settings.server.shards = SHARDS;
    settings.server.drain_ms = 1;
    tunnel::secure(&mut settings);
    config(&mut settings);
    Server::start(&settings, |_| Box::new(Mover)).expect("a server starts here")
}

/// Ends the server, which must not wait for clients that are gone.
fn stop<T>(server: Server, clients: T) {
    drop(clients);
    let began = Instant::now();
    server.drain();
    server.wait().expect("no shard has failed");
    assert!(began.elapsed() < Duration::from_millis(1_800), "{:?}: it waited for somebody", began.elapsed());
}

/// One connection, and what has come and not been looked at.
struct Client {
    stream: TcpStream,
    port: u16,
    kept: Vec<u8>,
}

impl Client {
    fn new(server: &Server) -> Self {
        let stream = tunnel::connect(server).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        Self { port: tunnel::port(&stream), stream, kept: Vec::new() }
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("it reads");
    }

    /// Sends a GET and returns the answer's status and body.
    fn get(&mut self, target: &str) -> (u16, String) {
        self.send(get(target));
        self.answer()
    }

    /// The next answer's status and body.
    fn answer(&mut self) -> (u16, String) {
        let head_bytes = loop {
            match self.kept.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => assert!(self.read() > 0, "it ended: {:?}", String::from_utf8_lossy(&self.kept)),
            }
        };
        let head = String::from_utf8(self.kept[..head_bytes].to_vec()).expect("an ASCII head");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse::<usize>().expect("a number"));
        while self.kept.len() < head_bytes + length {
            assert!(self.read() > 0, "it ended within a body");
        }
        let body = self.kept[head_bytes..head_bytes + length].to_vec();
        self.kept.drain(..head_bytes + length);
        (head[9..12].parse().expect("a status"), String::from_utf8(body).expect("text"))
    }

    /// A short frame of a WebSocket.
    fn frame(&mut self) -> (u8, String) {
        while self.kept.len() < 2 || self.kept.len() < 2 + usize::from(self.kept[1]) {
            assert!(self.read() > 0, "it ended instead of sending a frame");
        }
        let frame: Vec<u8> = self.kept.drain(..2 + usize::from(self.kept[1])).collect();
        (frame[0] & 15, String::from_utf8(frame[2..].to_vec()).expect("text"))
    }

    /// The status of every answer until the connection ends.
    fn statuses_to_the_end(mut self) -> Vec<u16> {
        let mut statuses = Vec::new();
        while !self.kept.is_empty() || self.read() > 0 {
            statuses.push(self.answer().0);
        }
        statuses
    }

    /// Whether anything has come, or comes by then.
    fn has_come(&mut self, timeout: Duration) -> bool {
        self.stream.set_read_timeout(Some(timeout)).expect("a timeout can be set");
        let has_come = !self.kept.is_empty() || self.stream.peek(&mut [0]).is_ok();
        self.stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        has_come
    }

    /// Nothing comes any more.
    fn assert_ended(&mut self) {
        assert!(self.kept.is_empty(), "{:?} came as well", String::from_utf8_lossy(&self.kept));
        assert_eq!(self.read(), 0, "{:?} came instead of the end", String::from_utf8_lossy(&self.kept));
    }

    fn read(&mut self) -> usize {
        let mut buffer = [0; 65_536];
        loop {
            match self.stream.read(&mut buffer) {
                // A read with a timeout is not begun again after a signal (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => {
                    let length = read.expect("it answers");
                    self.kept.extend_from_slice(&buffer[..length]);
                    return length;
                }
            }
        }
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn a_connection_goes_wherever_its_requests_are_answered() {
    let server = start(|_| ());
    let mut client = Client::new(&server);
    let port = client.port();
    for round in 0..20u16 {
        let shard = ShardId((round * round + 1) % SHARDS);
        let target = format!("/at/{shard}/{round}?a=b");
        assert_eq!(client.get(&target), (200, seen(shard, &target, 0, port)));
    }
    stop(server, client);
}

#[test]
fn requests_sent_ahead_are_answered_in_order_by_whomever_they_are_for() {
    let server = start(|_| ());
    let mut client = Client::new(&server);
    let targets: Vec<_> = (0..200u32).map(|i| format!("/at/{}/{i}", (i / 7 * i) % 3)).collect();
    client.send(targets.iter().map(|target| get(target)).collect::<String>());
    for target in &targets {
        let shard = ShardId(target[4..5].parse().expect("a digit"));
        assert_eq!(client.answer(), (200, seen(shard, target, 0, client.port())));
    }
    stop(server, client);
}

#[test]
fn bodies_go_along_whatever_their_length_is_told_by() {
    let server = start(|_| ());
    let mut client = Client::new(&server);
    let port = client.port();
    let large: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    let sum = large.iter().map(|byte| u64::from(*byte)).sum();
    for round in 0..6 {
        let shard = ShardId(round % SHARDS);
        let head = format!("POST /at/{shard} HTTP/1.1\r\nHost: localhost\r\n");
        let (small, told) = (
            seen(shard, &format!("/at/{shard}"), 294, port),
            seen(shard, &format!("/at/{shard}"), sum, port),
        );
        client.send(format!("{head}Content-Length: 3\r\n\r\nabc"));
        client
            .send(format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nX: y\r\n\r\n"));
        assert_eq!(client.answer(), (200, small.clone()));
        assert_eq!(client.answer(), (200, small.clone()));
        client.send(format!("{head}Content-Length: 1000000\r\n\r\n"));
        client.send(&large);
        client.send(get("/here"));
        assert_eq!(client.answer(), (200, told));
        assert_eq!(client.answer(), (200, seen(shard, "/here", 0, port)));
        client.send(format!("{head}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
        assert_eq!(client.answer().0, 100);
        client.send("abc");
        assert_eq!(client.answer(), (200, small), "and no second 100");
    }
    stop(server, client);
}

#[test]
fn a_request_that_closes_the_connection_closes_it_where_it_is_answered() {
    let server = start(|_| ());
    for shard in (0..SHARDS).map(ShardId) {
        let mut client = Client::new(&server);
        let target = format!("/at/{shard}");
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert_eq!(client.answer(), (200, seen(shard, &target, 0, client.port())));
        client.assert_ended();
        let mut old = Client::new(&server);
        old.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert_eq!(old.answer().1, seen(shard, &target, 0, old.port()));
        old.assert_ended();
    }
    stop(server, ());
}

#[test]
fn a_client_that_has_ended_its_direction_is_answered_and_let_go() {
    let server = start(|_| ());
    for round in 0..30u16 {
        let mut client = Client::new(&server);
        let shards = [0, 1, 2].map(|step| ShardId((round + step) % SHARDS));
        client.send(shards.map(|shard| get(&format!("/at/{shard}"))).concat());
        client.stream.shutdown(Shutdown::Write).expect("shutdown");
        for shard in shards {
            assert_eq!(client.answer().1, seen(shard, &format!("/at/{shard}"), 0, client.port()));
        }
        client.assert_ended();
    }
    stop(server, ());
}

#[test]
fn answers_still_on_their_way_arrive_before_the_connection_moves() {
    let server = start(|_| ());
    let mut client = Client::new(&server);
    for shard in (0..SHARDS).map(ShardId) {
        client.send(get("/big") + &get("/big") + &get(&format!("/at/{shard}")) + &get("/big"));
    }
    // Nothing is read until the queues are full and connections wait to leave.
    std::thread::sleep(Duration::from_millis(100));
    for shard in (0..SHARDS).map(ShardId) {
        assert_eq!((client.answer().1.len(), client.answer().1.len()), (BIG_BYTES, BIG_BYTES));
        assert_eq!(client.answer().1, seen(shard, &format!("/at/{shard}"), 0, client.port()));
        assert_eq!(client.answer().1.len(), BIG_BYTES);
    }
    stop(server, client);
}

#[test]
fn what_is_being_received_when_a_connection_leaves_goes_along() {
    let server = start(|_| ());
    let (mut client, mut publisher) = (Client::new(&server), Client::new(&server));
    for round in 0..100u16 {
        // Behind a poll the client is read on. When it is answered, the connection leaves in the midst of that.
        let targets: Vec<_> = (0..400u16).map(|at| format!("/at/{}/{at}", (round + at / 100) % 3)).collect();
        client.send(get("/poll") + &get(&targets[0]));
        assert_eq!(publisher.get("/here").0, 200);
        publisher.send(get("/publish"));
        client.send(targets[1..].iter().map(|target| get(target)).collect::<String>());
        // The poll's owner may hear of the publication before it hears of the poll.
        while !client.has_come(Duration::from_millis(20)) {
            assert_eq!(publisher.answer().0, 200);
            publisher.send(get("/publish"));
        }
        assert_eq!(publisher.answer().0, 200);
        assert!(client.answer().1.contains("news"));
        for target in &targets {
            let shard = ShardId(target[4..5].parse().expect("a digit"));
            assert_eq!(client.answer(), (200, seen(shard, target, 0, client.port())));
        }
    }
    stop(server, (client, publisher));
}

#[test]
fn a_connection_that_waits_to_leave_is_told_when_the_server_goes_away() {
    let server = start(|config| config.limits.send_queue_bytes_max = 64 << 20);
    let mut clients: Vec<_> = (0..3).map(|_| Client::new(&server)).collect();
    for client in &mut clients {
        // More than the sockets hold.
        client.send(get("/big").repeat(30) + &get("/round"));
    }
    let mut idle: Vec<_> = (0..SHARDS).map(|_| Client::new(&server)).collect();
    for (client, shard) in idle.iter_mut().zip(0..SHARDS) {
        assert_eq!(client.get(&format!("/at/{shard}")).0, 200);
    }
    server.drain();
    let ending = std::thread::spawn(|| server.wait());
    idle.iter_mut().for_each(Client::assert_ended);
    drop(idle);
    let statuses: Vec<_> = clients.into_iter().map(Client::statuses_to_the_end).collect();
    ending.join().expect("no panic").expect("no shard has failed");
    assert!(statuses.iter().all(|statuses| statuses.ends_with(&[200, 503])), "{statuses:?}");
}

#[test]
fn a_connection_its_handler_closes_on_the_way_ends() {
    let server = start(|_| ());
    for _ in 0..50 {
        let mut client = Client::new(&server);
        client.send(get("/leave"));
        client.assert_ended();
    }
    stop(server, ());
}

#[test]
fn a_client_that_vanishes_on_the_way_leaves_nothing_behind() {
    let server = start(|_| ());
    for round in 0..300u16 {
        let mut client = Client::new(&server);
        let requests: String = (0..3).map(|step| get(&format!("/at/{}", (round + step) % SHARDS))).collect();
        client.send(requests);
        if round % 3 == 0 {
            client.answer();
        }
        if round % 2 == 0 {
            // Closing resets the connection.
            let socket = socket2::SockRef::from(&client.stream);
            socket.set_linger(Some(Duration::ZERO)).expect("linger");
        }
    }
    let mut client = Client::new(&server);
    (0..SHARDS).for_each(|shard| assert_eq!(client.get(&format!("/at/{shard}")).0, 200));
    stop(server, client);
}

#[test]
fn a_websocket_is_accepted_by_the_shard_it_is_handed_to_and_goes_on_there() {
    let server = start(|_| ());
    for shard in (0..SHARDS).map(ShardId) {
        let mut client = Client::new(&server);
        let early = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
        let handshake = format!(
            "GET /at/{shard} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.send([handshake.as_bytes(), &early].concat());
        assert_eq!(client.answer().0, 101);
        assert_eq!(client.frame(), (1, format!("{shard} hi")));
        client.send(early);
        assert_eq!(client.frame(), (1, format!("{shard} hi")));
    }
    stop(server, ());
}

#[test]
fn a_request_that_goes_round_is_stopped_and_the_next_one_counts_anew() {
    let server = start(|_| ());
    let mut client = Client::new(&server);
    for _ in 0..3 {
        assert_eq!(client.get("/round").0, 508);
        assert_eq!(client.get("/self").0, 500);
        assert_eq!(client.get("/nowhere").0, 500);
        let targets = [0, 1, 2, 0, 1, 2].map(|shard| format!("/at/{shard}"));
        client.send(targets.iter().map(|target| get(target)).collect::<String>());
        targets.iter().for_each(|_| assert_eq!(client.answer().0, 200));
    }
    stop(server, client);
}

#[test]
fn all_shards_hand_over_to_each_other_at_once() {
    let server = start(|_| ());
    std::thread::scope(|scope| {
        for thread in 0..4u16 {
            let mut clients: Vec<_> = (0..50).map(|_| Client::new(&server)).collect();
            scope.spawn(move || {
                for round in 0..20u16 {
                    let target =
                        |at: usize| format!("/at/{}/{thread}", (at as u16 + round * thread) % SHARDS);
                    for (at, client) in clients.iter_mut().enumerate() {
                        client.send(get(&target(at)));
                    }
                    for (at, client) in clients.iter_mut().enumerate() {
                        let shard = ShardId((at as u16 + round * thread) % SHARDS);
                        assert_eq!(client.answer(), (200, seen(shard, &target(at), 0, client.port())));
                    }
                }
            });
        }
    });
    stop(server, ());
}

#[test]
fn a_shard_that_is_full_answers_503_and_no_room_is_lost() {
    let server = start(|config| {
        config.limits.connections_max = 300;
    });
    // A share of 100, half of it again and 64.
    let per_shard = 214;
    for _ in 0..3 {
        let mut clients = Vec::new();
        while clients.len() < 280 {
            // Shards lend each other room meanwhile.
            let mut client = Client::new(&server);
            if client.get("/here").0 == 200 {
                clients.push(client);
            }
        }
        let answers: Vec<_> = clients.iter_mut().map(|client| client.get("/at/1").0).collect();
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), per_shard);
        assert_eq!(answers.iter().filter(|status| **status == 503).count(), clients.len() - per_shard);
        clients.iter_mut().zip(answers).filter(|(_, status)| *status == 503).for_each(|(client, _)| {
            client.assert_ended();
        });
        drop(clients);
        // Until every shard has seen them go.
        let began = Instant::now();
        while (0..SHARDS).any(|shard| Client::new(&server).get(&format!("/at/{shard}")).0 != 200) {
            assert!(began.elapsed() < Duration::from_secs(10), "the shards stay full");
        }
    }
    stop(server, ());
}

#[test]
fn an_address_has_its_connections_on_whatever_shard_it_likes_but_no_more() {
    let server = start(|config| config.limits.connections_per_address_max = 9);
    // They spread by a hash, and those that come to another shard move.
    let mut clients: Vec<_> = (0..9).map(|_| Client::new(&server)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/at/1").0, 200));
    let mut refused = Client::new(&server);
    assert_eq!(refused.get("/at/1").0, 429);
    refused.assert_ended();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/at/1").0, 200));
    stop(server, (clients, refused));
}

/// Runs a test again in a process of its own, whose descriptors nobody else opens and closes; whether this is it.
fn is_alone(test: &str) -> bool {
    if std::env::var_os("ROADSTEAD_TEST_ALONE").is_some() {
        return true;
    }
    let executable = std::env::current_exe().expect("a test has a file");
    let alone = Command::new(executable)
        .args(["--exact", test])
        .env("ROADSTEAD_TEST_ALONE", "1")
        .output()
        .expect("a test can be run");
    assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stdout));
    false
}

#[test]
fn a_thousand_moves_leave_no_descriptor_behind() {
    if !is_alone("a_thousand_moves_leave_no_descriptor_behind") {
        return;
    }
    let server = start(|_| ());
    let open = || std::fs::read_dir("/proc/self/fd").expect("procfs").count();
    let mut client = Client::new(&server);
    // Some descriptors the process opens when it first needs them.
    for round in 0..30 {
        client.get(&format!("/at/{}", round % SHARDS));
    }
    let before = open();
    for round in 1..=1000u16 {
        let shard = ShardId(round % SHARDS);
        assert_eq!(client.get(&format!("/at/{shard}")).0, 200);
        assert_eq!(open(), before, "after {round} moves");
    }
    for round in 0..100u16 {
        Client::new(&server).send(get(&format!("/at/{}", round % SHARDS)));
    }
    (0..SHARDS).for_each(|shard| assert_eq!(client.get(&format!("/at/{shard}")).0, 200));
    let began = Instant::now();
    while open() > before {
        assert!(began.elapsed() < Duration::from_secs(10), "{} descriptors are left", open() - before);
    }
    stop(server, client);
}

#[test]
fn without_a_descriptor_for_the_move_the_answer_is_503_and_the_next_client_is_served() {
    if !is_alone("without_a_descriptor_for_the_move_the_answer_is_503_and_the_next_client_is_served") {
        return;
    }
    let server = start(|_| ());
    let mut clients: Vec<_> = (0..12).map(|_| Client::new(&server)).collect();
    let homes: Vec<_> = clients.iter_mut().map(|client| client.get("/here").1).collect();
    let (soft, hard) = Resource::NOFILE.get().expect("the limit can be read");
    Resource::NOFILE.set(3, hard).expect("it can be lowered");
    for (at, (client, home)) in clients.iter_mut().zip(&homes).enumerate() {
        let shard = at as u16 % SHARDS;
        let stays = home.starts_with(&format!("shard {shard} "));
        client.send(get("/here") + &get(&format!("/at/{shard}")) + &get("/here"));
        assert_eq!(client.answer(), (200, home.clone()));
        assert_eq!(client.answer().0, if stays { 200 } else { 503 });
        match stays {
            true => assert_eq!(client.answer(), (200, home.clone())),
            false => client.assert_ended(),
        }
    }
    Resource::NOFILE.set(soft, hard).expect("it can be raised again");
    let mut client = Client::new(&server);
    (0..SHARDS).for_each(|shard| assert_eq!(client.get(&format!("/at/{shard}")).0, 200));
    stop(server, (client, clients));
}

#[test]
fn clients_on_the_way_while_the_server_drains_are_answered_or_let_go() {
    for _ in 0..20 {
        let server = start(|_| ());
        let mut clients: Vec<_> = (0..60).map(|_| Client::new(&server)).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/here").0, 200));
        for (at, client) in clients.iter_mut().enumerate() {
            client.send(get(&format!("/at/{}", at % 3)) + &get(&format!("/at/{}", (at + 1) % 3)));
        }
        let began = Instant::now();
        server.drain();
        let ending = std::thread::spawn(|| server.wait());
        let answers: Vec<_> = clients.into_iter().flat_map(Client::statuses_to_the_end).collect();
        assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
        ending.join().expect("no panic").expect("no shard has failed");
        assert!(began.elapsed() < Duration::from_millis(1_800), "it waited for somebody");
    }
}
