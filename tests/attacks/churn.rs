//! Clients that do anything at random: they come, speak, follow, ask, flood, send half of things, do not read, and vanish.
//! Memory does not grow with time, and at the end nothing of them is left.
//!
//! A minute, unless `CHURN_SECONDS` says how long:
//!
//! ```text
//! CHURN_SECONDS=1200 cargo test --release --test attacks churn -- --nocapture
//! ```

use std::time::{Duration, Instant};

use fastrand::Rng;
use roadstead::wire::websocket::Opcode;
use serde_json::json;

use crate::{
    client::Client,
    row::Attack,
    server::{Server, await_that},
    socket::{WebSocket, frame, handshake_fields},
    sums::memory_sum,
};

const VISITORS: u64 = 6;
/// Clients that each of them leaves lying until it has more.
const LEFT_LYING_MAX: usize = 12;
const CHANNELS: usize = 40;
/// What of the stated sum these settings bound: what is fixed is far from being met.
const PARTS: [&str; 6] = [
    "limits.history_bytes_max",
    "limits.state_bytes_max",
    "limits.send_bytes_max",
    "limits.partial_input_bytes_max",
    "limits.channels_max",
    "socketio.connection_state_recovery_bytes_max",
];
/// How often memory is looked at.
const LOOKS: u32 = 12;

const SETTINGS: [&str; 14] = [
    "limits.channels_max=10000",
    "diagnostics.message_bytes_max=1000000",
    "limits.state_bytes_max=1000000",
    "limits.history_bytes_max=8000000",
    "limits.history_age_max_ms=3000",
    "limits.send_bytes_max=24000000",
    "limits.send_queue_bytes_max=400000",
    "limits.partial_input_bytes_max=8000000",
    "limits.connections_per_address_max=900",
    "socketio.namespaces=/,/n*",
    "socketio.connection_state_recovery_ms=1500",
    "socketio.connection_state_recovery_bytes_max=4000000",
    "socketio.ping_interval_ms=1000",
    "socketio.ping_timeout_ms=1500",
];

/// How long it lasts.
fn time() -> Duration {
    let seconds = std::env::var("CHURN_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(60))
}

/// One who visits again and again.
struct Visitor<'a> {
    server: &'a Server,
    random: Rng,
    /// Connections that are left as they are.
    lying: Vec<Client>,
    /// A Socket.IO client that may come back.
    pid: Option<String>,
}

impl Visitor<'_> {
    fn channel(&mut self) -> String {
        format!("churn-{}", self.random.usize(..CHANNELS))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let most = [10, 1_000, 50_000][self.random.usize(..3)];
        vec![self.random.alphanumeric() as u8; self.random.usize(..most)]
    }

    fn connect(&mut self) -> Client {
        match self.random.u8(..4) {
            0 => Client::narrow(self.server.address()),
            _ => self.server.connect(),
        }
    }

    /// One visit, of whatever kind. Whatever the server answers is right: it may refuse, and end who is slow.
    fn visit(&mut self) {
        let client = match self.random.u8(..8) {
            0 => self.begin(),
            1 => self.publish(),
            2 => self.ask(),
            3 => self.follow(),
            4 => self.command(),
            5 => self.flood(),
            6 => self.poll_socketio(),
            _ => self.speak_socketio(),
        };
        self.part(client);
    }

    /// The end: in order, torn down, or none yet.
    fn part(&mut self, mut client: Client) {
        match self.random.u8(..4) {
            0 => drop(client),
            1 => client.reset(),
            2 => {
                client.tcp().shutdown(std::net::Shutdown::Write).ok();
                client.tcp().set_read_timeout(Some(Duration::from_millis(2))).ok();
                client.receive().ok();
            }
            _ => {
                self.lying.push(client);
                while self.lying.len() > LEFT_LYING_MAX {
                    self.lying.swap_remove(self.random.usize(..self.lying.len()));
                }
            }
        }
    }

    /// Begins anything and breaks it off anywhere.
    fn begin(&mut self) -> Client {
        let channel = self.channel();
        let handshake = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\n{}\r\n", handshake_fields());
        let subscribe = json!({"id":1,"subscribe":{"channel":channel}}).to_string();
        let body = "x".repeat(5_000);
        let post = format!(
            "POST /channels/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n{body}"
        );
        let whole = match self.random.u8(..5) {
            0 => post.into_bytes(),
            1 => {
                format!("GET /channels/{channel} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(5).into_bytes()
            }
            2 => [handshake.as_bytes(), &frame(Opcode::Text, true, subscribe.as_bytes()).repeat(20)].concat(),
            3 => [handshake.as_bytes(), &frame(Opcode::Text, false, body.as_bytes())].concat(),
            _ => b"\x16\x03\x01 not HTTP\r\n\r\n".to_vec(),
        };
        let mut client = self.connect();
        client.try_send(&whole[..self.random.usize(..=whole.len())]).ok();
        client
    }

    fn publish(&mut self) -> Client {
        let (mut client, channel, body) = (self.connect(), self.channel(), self.bytes());
        for _ in 0..self.random.u8(1..20) {
            try_ask(&mut client, "POST", &format!("/channels/{channel}"), "", &body);
        }
        for _ in 0..self.random.u8(..20) {
            client.tcp().set_read_timeout(Some(Duration::from_millis(20))).ok();
            client.receive().ok();
        }
        client
    }

    fn ask(&mut self) -> Client {
        let (mut client, channel) = (self.connect(), self.channel());
        let target = match self.random.u8(..5) {
            0 => "/channels?limit=1000".to_owned(),
            1 => format!("/channels/{channel}/history"),
            2 => format!("/channels/{channel}/info"),
            3 => format!("/channels/{channel}?timeout=1"),
            _ => "/nothing".to_owned(),
        };
        for _ in 0..self.random.u8(1..30) {
            try_ask(&mut client, "GET", &target, "", b"");
        }
        client.tcp().set_read_timeout(Some(Duration::from_millis(20))).ok();
        client.receive().ok();
        client
    }

    fn follow(&mut self) -> Client {
        let (mut client, channel) = (self.connect(), self.channel());
        let fields = match self.random.bool() {
            true => "Accept: text/event-stream\r\n".to_owned(),
            false => handshake_fields(),
        };
        try_ask(&mut client, "GET", &format!("/channels/{channel}"), &fields, b"");
        client.tcp().set_read_timeout(Some(Duration::from_millis(10))).ok();
        (0..self.random.u8(..10)).for_each(|_| drop(client.receive()));
        client
    }

    /// Subscribes and unsubscribes without waiting for the answers.
    fn command(&mut self) -> Client {
        let Some(mut socket) = self.open("/ws") else { return self.server.connect() };
        let mut commands = Vec::new();
        for id in 0..self.random.u16(1..200) {
            let channel = self.channel();
            let command = match self.random.u8(..5) {
                0 | 1 => json!({"id":id,"subscribe":{"channel":channel}}),
                2 | 3 => json!({"id":id,"unsubscribe":{"channel":channel}}),
                _ => {
                    json!({"id":id,"publish":{"channel":channel,"data":"x".repeat(self.random.usize(..2000))}})
                }
            };
            commands.extend(frame(Opcode::Text, true, command.to_string().as_bytes()));
        }
        socket.client.try_send(&commands).ok();
        self.read_some(socket)
    }

    fn flood(&mut self) -> Client {
        let Some(mut socket) = self.open("/echo") else { return self.server.connect() };
        let what = match self.random.bool() {
            true => frame(Opcode::Ping, true, &[7; 125]).repeat(2_000),
            false => frame(Opcode::Text, true, &[b'x'; 60_000]).repeat(10),
        };
        socket.client.tcp().set_write_timeout(Some(Duration::from_millis(50))).ok();
        socket.client.try_send(&what).ok();
        self.read_some(socket)
    }

    fn poll_socketio(&mut self) -> Client {
        let mut client = self.server.connect();
        let Some(opened) = self.exchange(&mut client, "GET", "/socket.io/?EIO=4&transport=polling", b"")
        else {
            return client;
        };
        let Some(sid) = opened.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split('"').next()) else {
            return client;
        };
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let packets = self.packets();
        for packet in packets.chunks(3) {
            self.exchange(&mut client, "POST", &path, packet.join("\u{1e}").as_bytes());
        }
        if self.random.bool() {
            self.exchange(&mut client, "GET", &path, b"");
        }
        if self.random.bool() {
            try_ask(&mut client, "GET", &path, "", b"");
        }
        client
    }

    fn speak_socketio(&mut self) -> Client {
        let Some(mut socket) = self.open("/socket.io/?EIO=4&transport=websocket") else {
            return self.server.connect();
        };
        let packets = self.packets();
        let frames: Vec<u8> =
            packets.iter().flat_map(|packet| frame(Opcode::Text, true, packet.as_bytes())).collect();
        socket.client.try_send(&frames).ok();
        let client = self.read_some(socket);
        let text = String::from_utf8_lossy(&client.received);
        let pid = text.split_once("\"pid\":\"").and_then(|(_, rest)| rest.split('"').next());
        self.pid = pid.map(str::to_owned).or(self.pid.take());
        client
    }

    /// What a Socket.IO client may say, with an entry at its head more often than not.
    fn packets(&mut self) -> Vec<String> {
        let enter = match (self.random.u8(..4), self.pid.take()) {
            (0, _) => "40/n1,".to_owned(),
            (1 | 2, Some(pid)) => format!("40{{\"pid\":\"{pid}\"}}"),
            _ => "40".to_owned(),
        };
        let mut packets = vec![enter];
        for ack in 0..self.random.u8(..30) {
            let room = self.channel();
            packets.push(match self.random.u8(..8) {
                0 | 1 => format!("42{ack}[\"join\",\"{room}\"]"),
                2 => format!("42{ack}[\"leave\",\"{room}\"]"),
                3 => {
                    format!("42[\"publish\",\"{room}\",\"e\",\"{}\"]", "x".repeat(self.random.usize(..3000)))
                }
                4 => format!("42{ack}[\"presence\",\"{room}\"]"),
                5 => format!("40/n{},", self.random.u8(..50)),
                6 => "41/n1,".to_owned(),
                _ => "451-[\"bytes\",{\"_placeholder\":true,\"num\":0}]".to_owned(),
            });
        }
        packets
    }

    fn open(&mut self, target: &str) -> Option<WebSocket> {
        let mut client = self.connect();
        try_ask(&mut client, "GET", target, &handshake_fields(), b"")?;
        // Who has too many connections is closed without a word.
        client.tcp().peek(&mut [0]).ok().filter(|count| *count > 0)?;
        WebSocket::answered(client).ok()
    }

    fn read_some(&mut self, socket: WebSocket) -> Client {
        let mut client = socket.client;
        client.tcp().set_read_timeout(Some(Duration::from_millis(10))).ok();
        (0..self.random.u8(..10)).for_each(|_| drop(client.receive()));
        client
    }

    /// A request and, if it comes, its answer.
    fn exchange(&mut self, client: &mut Client, method: &str, target: &str, body: &[u8]) -> Option<String> {
        try_ask(client, method, target, "", body)?;
        client.received.clear();
        client.tcp().set_read_timeout(Some(Duration::from_millis(200))).ok();
        client.receive().ok()?;
        Some(String::from_utf8_lossy(&client.received).into_owned())
    }
}

/// A request to a server that may have ended the connection.
fn try_ask(client: &mut Client, method: &str, target: &str, fields: &str, body: &[u8]) -> Option<()> {
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{fields}\r\n");
    client.try_send([head.as_bytes(), body].concat()).ok()
}

#[test]
fn churn_of_every_kind_takes_no_more_memory_with_time_and_leaves_nothing_behind() {
    let (time, seed) = (time(), fastrand::u64(..));
    println!("seed {seed}");
    let server = Server::with_shards(2, &SETTINGS);
    let attack = Attack::begin(&server, "anything at random", format!("{} s", time.as_secs()));
    let until = Instant::now() + time;
    let mut sizes = Vec::new();
    let visits: u64 = std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..VISITORS)
            .map(|number| {
                let (server, random) = (&server, Rng::with_seed(seed.wrapping_add(number)));
                scope.spawn(move || {
                    let (mut visitor, mut visits) =
                        (Visitor { server, random, lying: Vec::new(), pid: None }, 0);
                    while Instant::now() < until {
                        visitor.visit();
                        visits += 1;
                    }
                    visits
                })
            })
            .collect();
        for look in 1..=LOOKS {
            let at = until - time / LOOKS * (LOOKS - look);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            sizes.push(server.resident_bytes());
        }
        visitors.into_iter().map(|visitor| visitor.join().expect("a visit goes somehow")).sum()
    });
    let sum = memory_sum(&SETTINGS, 2);
    attack.end(PARTS.iter().map(|part| sum.part(part)).sum());
    println!("{visits} visits; MiB: {:?}", sizes.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>());
    let (early, late) = sizes.split_at(LOOKS as usize / 2);
    let most = |sizes: &[u64]| sizes.iter().copied().max().unwrap_or_default();
    assert!(most(late) < most(early) + most(early) / 4, "it grows: {sizes:?}");

    let sum = |field: &str| server.shards().iter().filter_map(|shard| shard[field].as_u64()).sum::<u64>();
    await_that("all have gone", || server.connections() == 0);
    for field in ["engine_sessions", "sockets", "subscriptions", "partial_input_bytes"] {
        await_that(field, || sum(field) == 0);
    }
    await_that("nothing waits to be sent", || sum("send_queue_bytes") == 0);
    // And everybody is served as before.
    server.publish("after", "all is well");
    assert_eq!(server.get("/channels/after/history").json()["publications"][0]["data"], "all is well");
    server.stop();
}
