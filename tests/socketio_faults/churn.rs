//! Clients that come, speak, vanish and come back at random, over four shards: whatever they do, each hears every event
//! of its rooms once and in order while it is in them, and nothing is left of them at the end.
//!
//! The server numbers what it publishes, by room and by the shard that did: a member of a room hears consecutive numbers
//! of each shard, also across an absence from which it recovered.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use roadstead::app::socketio::Io;

use crate::{
    client::{Connection, WebSocket, frame, get, member, open_polling, upgrade},
    gauge, start, stop, wait_until,
};

const ROOMS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// A client that is away for less comes back as the one it was.
const AWAY_MAX: Duration = Duration::from_millis(2_000);

/// What carries a session.
enum Carrier {
    WebSocket(Connection),
    Polling { gets: Connection, posts: Connection, target: String, waiting: VecDeque<String> },
}

/// One client, and what it may expect.
struct Client {
    carrier: Option<Carrier>,
    pid: String,
    offset: Option<String>,
    left: Instant,
    /// The rooms it is in: the number that comes next, by shard; not yet known before the first.
    rooms: HashMap<&'static str, HashMap<u64, u64>>,
    /// A room it was joining or leaving when it vanished.
    unsure: Option<&'static str>,
    asked: u64,
}

/// What came of waiting: the connection may be lost at any time.
type Heard<T> = Result<T, Lost>;

struct Lost;

impl Carrier {
    fn open(address: &str, random: &mut fastrand::Rng) -> Self {
        let mut gets = Connection::to(address);
        if random.bool() {
            return Self::WebSocket(WebSocket::on(gets).connection);
        }
        let target = open_polling(&mut gets);
        let posts = Connection::to(address);
        Self::Polling { gets, posts, target, waiting: VecDeque::new() }
    }

    /// Goes over from polling, with a poll under way.
    fn upgrade(&mut self, address: &str) -> Heard<()> {
        let Self::Polling { gets, target, waiting, .. } = self else { return Ok(()) };
        gets.send(get(target));
        let mut websocket = Connection::to(address);
        websocket.send(upgrade(&target.replace("polling", "websocket")));
        websocket.try_answer().filter(|answer| answer.status == 101).ok_or(Lost)?;
        websocket.send(frame("2probe"));
        if websocket.frame() != Some((1, b"3probe".to_vec())) {
            return Err(Lost);
        }
        let released = gets.try_answer().filter(|answer| answer.status == 200).ok_or(Lost)?;
        let mut waiting = std::mem::take(waiting);
        waiting.extend(released.body.split('\u{1e}').map(String::from));
        websocket.send(frame("5"));
        // What polls brought is said first; a WebSocket needs no list of its own for it.
        websocket.put_back(waiting.iter().map(|text| frame_unmasked(text)));
        *self = Self::WebSocket(websocket);
        Ok(())
    }

    fn say(&mut self, text: &str) -> Heard<()> {
        match self {
            Self::WebSocket(websocket) => websocket.try_send(frame(text)).ok_or(Lost),
            Self::Polling { posts, target, .. } => {
                posts.try_send(crate::client::post(target, text)).ok_or(Lost)?;
                posts.try_answer().filter(|answer| answer.status == 200).map(drop).ok_or(Lost)
            }
        }
    }

    /// The next packet that is for Socket.IO.
    fn hear(&mut self) -> Heard<String> {
        loop {
            let text = match self {
                Self::WebSocket(websocket) => match websocket.frame() {
                    Some((1, data)) => String::from_utf8(data).expect("text"),
                    _ => return Err(Lost),
                },
                Self::Polling { gets, target, waiting, .. } => match waiting.pop_front() {
                    Some(text) => text,
                    None => {
                        gets.try_send(get(target)).ok_or(Lost)?;
                        let answer = gets.try_answer().filter(|answer| answer.status == 200).ok_or(Lost)?;
                        waiting.extend(answer.body.split('\u{1e}').map(String::from));
                        continue;
                    }
                },
            };
            match text.as_str() {
                "2" => self.say("3")?,
                "6" => {}
                "1" => return Err(Lost),
                _ => return Ok(text),
            }
        }
    }

    /// Ends every connection in one of three ways; what is only left lying goes to the graveyard.
    fn vanish(self, random: &mut fastrand::Rng, graveyard: &mut Vec<Connection>) {
        let connections = match self {
            Self::WebSocket(websocket) => vec![websocket],
            Self::Polling { gets, posts, .. } => vec![gets, posts],
        };
        match random.u8(0..3) {
            0 => graveyard.extend(connections),
            1 => drop(connections),
            _ => connections.iter().for_each(Connection::reset_when_closed),
        }
    }
}

impl Client {
    fn new() -> Self {
        Self {
            carrier: None,
            pid: String::new(),
            offset: None,
            left: Instant::now(),
            rooms: HashMap::new(),
            unsure: None,
            asked: 0,
        }
    }

    fn step(&mut self, address: &str, random: &mut fastrand::Rng, graveyard: &mut Vec<Connection>) {
        let done = match self.carrier {
            None => self.come(address, random),
            Some(_) => self.act(address, random, graveyard),
        };
        if done.is_err() {
            self.carrier = None;
            self.left = Instant::now();
        }
    }

    /// Comes, or comes back.
    fn come(&mut self, address: &str, random: &mut fastrand::Rng) -> Heard<()> {
        let carrier = self.carrier.insert(Carrier::open(address, random));
        let auth = match (self.pid.as_str(), &self.offset) {
            ("", _) => String::new(),
            (pid, None) => format!("{{\"pid\":\"{pid}\"}}"),
            (pid, Some(offset)) => format!("{{\"pid\":\"{pid}\",\"offset\":\"{offset}\"}}"),
        };
        carrier.say(&format!("40{auth}"))?;
        let entered = carrier.hear()?;
        let pid = member(&entered[2..], "pid");
        if pid != self.pid {
            assert!(self.pid.is_empty() || self.left.elapsed() > AWAY_MAX, "it came back in time");
            *self = Self { carrier: self.carrier.take(), pid, ..Self::new() };
        }
        if random.bool() {
            self.carrier.as_mut().expect("just made").upgrade(address)?;
        }
        Ok(())
    }

    fn act(
        &mut self,
        address: &str,
        random: &mut fastrand::Rng,
        graveyard: &mut Vec<Connection>,
    ) -> Heard<()> {
        let room = ROOMS[random.usize(..ROOMS.len())];
        match random.u8(0..10) {
            0 | 1 => {
                let change = if random.bool() { "join" } else { "leave" };
                self.unsure = self.unsure.or(Some(room));
                if self.unsure != Some(room) {
                    return Ok(());
                }
                // Until the answer it may be in or out, and have been out between.
                self.rooms.remove(room);
                let ack = self.ask(&format!("[\"{change}\",\"{room}\"]"))?;
                if random.u8(0..4) > 0 {
                    self.await_ack(ack, "[]")?;
                    self.unsure = None;
                    match change {
                        "join" => drop(self.rooms.entry(room).or_default()),
                        _ => drop(self.rooms.remove(room)),
                    }
                    return Ok(());
                }
            }
            2..=6 => return self.carrier().say(&format!("42[\"say\",\"{room}\"]")),
            7 | 8 => {
                let number = random.u32(..);
                let ack = self.ask(&format!("[\"echo\",{number}]"))?;
                return self.await_ack(ack, &format!("[{number}]"));
            }
            _ => {}
        }
        let carrier = self.carrier.take().expect("it is here");
        carrier.vanish(random, graveyard);
        self.left = Instant::now();
        if random.u8(0..4) == 0 {
            self.come(address, random)?;
        }
        Ok(())
    }

    fn carrier(&mut self) -> &mut Carrier {
        self.carrier.as_mut().expect("it is here")
    }

    fn ask(&mut self, event: &str) -> Heard<u64> {
        self.asked += 1;
        let ack = self.asked;
        self.carrier().say(&format!("42{ack}{event}"))?;
        Ok(ack)
    }

    fn await_ack(&mut self, ack: u64, expected: &str) -> Heard<()> {
        loop {
            let packet = self.carrier().hear()?;
            if let Some(event) = packet.strip_prefix("42") {
                self.check(event);
            } else if let Some(answer) = packet.strip_prefix("43") {
                // What it asked before it went may be answered when it is back: it waited for what was asked before it.
                let number = answer.split('[').next().and_then(|number| number.parse::<u64>().ok());
                if number.is_some_and(|number| number < ack) {
                    continue;
                }
                assert_eq!(answer, format!("{ack}{expected}"), "one question at a time");
                return Ok(());
            } else {
                panic!("{packet} came");
            }
        }
    }

    /// An event has come: it must be the one that was due.
    fn check(&mut self, event: &str) {
        let said: (String, String, u64, u64, String) = serde_json::from_str(event).expect("as it was sent");
        let (_, room, shard, number, offset) = said;
        self.offset = Some(offset);
        if self.unsure == Some(room.as_str()) {
            return drop(self.rooms.remove(room.as_str()));
        }
        let due = self.rooms.get_mut(room.as_str()).unwrap_or_else(|| panic!("not in {room}: {event}"));
        if let Some(due) = due.insert(shard, number + 1) {
            assert_eq!(number, due, "in {room} of shard {shard}: {event}");
        }
    }
}

/// A text message as a server sends it.
fn frame_unmasked(text: &str) -> Vec<u8> {
    let mut bytes = frame(text);
    let head = if text.len() < 126 { 2 } else { 4 };
    bytes[1] &= 0x7f;
    bytes.drain(head..head + 4);
    bytes
}

fn numbering(io: &Io) {
    let numbers = std::cell::RefCell::new(HashMap::<String, u64>::new());
    let shard = io.shard().0;
    io.on_with_ack("join", |socket, room: String, ack| {
        socket.join(room.as_str());
        ack.send(&[(); 0]);
    });
    io.on_with_ack("leave", |socket, room: String, ack| {
        socket.leave(room.as_str());
        ack.send(&[(); 0]);
    });
    io.on_with_ack("echo", |_, number: u32, ack| ack.send(&number));
    io.on("say", move |socket, room: String| {
        let mut numbers = numbers.borrow_mut();
        let number = numbers.entry(room.clone()).or_default();
        *number += 1;
        socket.namespace().to(room.as_str()).emit("said", &(&room, shard, *number));
    });
}

#[test]
fn whatever_clients_do_each_hears_its_rooms_exactly_and_nothing_is_left() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let server = start(
        |config| {
            config.server.shards = 4;
            config.socketio.connection_state_recovery_ms = 3_000;
            config.socketio.ping_interval_ms = 1_000;
            config.socketio.ping_timeout_ms = 1_500;
        },
        numbering,
    );
    let address = server.listening().public[0].to_string();
    let until = Instant::now() + Duration::from_secs(4);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let address = &address;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed + thread);
                let mut clients: Vec<_> = (0..8).map(|_| Client::new()).collect();
                let mut graveyard = Vec::new();
                while Instant::now() < until {
                    let client = random.usize(..clients.len());
                    clients[client].step(address, &mut random, &mut graveyard);
                }
            });
        }
    });
    for name in ["engine_sessions", "sockets", "subscriptions", "send_queue_bytes"] {
        wait_until(name, || gauge(&server, name) == 0);
    }
    wait_until("connections", || gauge(&server, "connections") == 1);
    stop(server);
}
