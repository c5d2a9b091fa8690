//! One order for one WebSocket of many channels, at random: clients publish, subscribe and unsubscribe, many commands in one
//! segment, and the shards have their turns in any order. The handler does what `/ws` does with the same commands.
//!
//! What it holds against every client:
//!
//! * what it publishes to a channel stands there in the order in which it did;
//! * it is told what it publishes between subscribing and unsubscribing, before it is told that it has unsubscribed, and nothing
//!   that it publishes before or behind; when it asks to be closed, before that;
//! * of what others publish it is told everything behind the position at which it has subscribed, without a gap, and everybody
//!   is told the same at the same position.

use std::{collections::HashMap, io::Write, os::unix::net::UnixStream};

use super::{Common, ROUNDS_MAX, Replay, Shards, receive, seeds};
use crate::{
    app::{CloseReason, Context, Handler, Message, Payload, Peer, Reply, Request, Ticket, Verdict},
    model::{ChannelName, Position, Transport},
    wire::websocket::{Opcode, encode_frame_masked},
};

const SEEDS: u64 = 100;
const STEPS: usize = 40;
const CLIENTS_MAX: usize = 5;
const CHANNELS: usize = 4;
/// What a client has on its way, at most.
const SENT_BYTES: usize = 100_000;

/// Hears `p CHANNEL NUMBER`, `q CHANNEL NUMBER`, `s CHANNEL STAY`, `u CHANNEL STAY` and `x CHANNEL 0`: publish for a client, or as
/// the application does, subscribe, unsubscribe and close. Answers `p NUMBER POSITION`, `s STAY POSITION`, `n STAY` and `u STAY`.
struct Server;

impl Handler for Server {
    fn connect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, _: &Request<'_>) -> Verdict {
        Verdict::accept(0)
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, message: Message<'_>) {
        let text = std::str::from_utf8(message.bytes()).expect("text");
        let [verb, channel, number] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let (channel, token) = (name(channel), number.parse().expect("a number"));
        let ticket = Some(Ticket { connection: peer.connection, token });
        let payload = Payload::text_of(number, None);
        match verb {
            "p" => cx.relay(channel, payload, ticket),
            "q" => cx.publish(channel, payload, ticket),
            "s" => cx.subscribe(peer.connection, channel, None, Transport::Json, token),
            "x" => cx.close(peer.connection, CloseReason::Normal),
            _ => {
                cx.unsubscribe(peer.connection, channel);
                cx.send(peer.connection, Message::Text(&format!("u {token}")));
            }
        }
    }

    fn reply(&mut self, cx: &mut Context<'_>, peer: &Peer<'_>, token: u32, reply: Reply) {
        let said = match reply {
            Reply::Published(Ok(position)) => format!("p {token} {position}"),
            Reply::Subscribed { position, .. } => format!("s {token} {position}"),
            Reply::NotSubscribed { .. } => format!("n {token}"),
            other => panic!("{other:?}"),
        };
        cx.send(peer.connection, Message::Text(&said));
    }

    fn disconnect(&mut self, _: &mut Context<'_>, _: &Peer<'_>, reason: CloseReason) {
        assert_eq!(reason, CloseReason::Normal, "nobody else is to go");
    }
}

fn name(text: &str) -> ChannelName {
    ChannelName::new(text, 255).expect("a name")
}

/// The time between subscribing and unsubscribing.
#[derive(Debug)]
struct Stay {
    channel: usize,
    /// The numbers of what the client has published meanwhile.
    published: Vec<u32>,
    /// Where it began; `None` until that is told, or when it was withdrawn before.
    began: Option<Position>,
    heard: Vec<(Position, u32)>,
    has_ended: bool,
}

struct Client {
    socket: UnixStream,
    is_open: bool,
    is_leaving: bool,
    is_closed: bool,
    received: Vec<u8>,
    stays: Vec<Stay>,
    /// As it has asked, and as it has been told.
    asked: [Option<usize>; CHANNELS],
    told: [Option<usize>; CHANNELS],
    /// All that it has published, by channel.
    published: [Vec<u32>; CHANNELS],
}

struct World {
    rng: fastrand::Rng,
    shards: Shards,
    clients: Vec<Client>,
    number: u32,
    /// Where each publication is.
    positions: HashMap<u32, Position>,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let common = Common {
            shards: 1 + (seed % 4) as u16,
            hash_seed: rng.u64(..),
            ..Common::of_one(CLIENTS_MAX as u32)
        };
        let shards = Shards::new(&common, |_| Box::new(Server));
        let (clients, number, positions, log) = (Vec::new(), 0, HashMap::new(), Vec::new());
        let mut world = Self { rng, shards, clients, number, positions, log };
        for _ in 0..world.rng.usize(1..=CLIENTS_MAX) {
            let shard = world.rng.usize(..world.shards.all.len());
            let (socket, _) = world.shards.connect(shard, SENT_BYTES).expect("there is room");
            world.clients.push(Client::new(socket));
        }
        world.go_on_until("all are in", |world| world.clients.iter().all(|client| client.is_open));
        world
    }

    /// Gives turns and reads until it is so.
    fn go_on_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..ROUNDS_MAX {
            (0..self.shards.all.len()).for_each(|shard| self.shards.turn(shard));
            self.clients.iter_mut().for_each(|client| client.read(&mut self.positions));
            if is_so(self) {
                return;
            }
        }
        panic!("never {what}:\n{}", self.log.join("\n"));
    }

    fn play(&mut self) {
        for _ in 0..STEPS {
            let (client, count) = (self.rng.usize(..self.clients.len()), self.rng.usize(1..10));
            let commands: Vec<_> = (0..count).map(|_| self.command(client)).collect();
            self.log.push(format!("{client}: {}", commands.join(", ")));
            self.clients[client].say(&commands);
            for _ in 0..self.rng.usize(0..12) {
                let shard = self.rng.usize(..self.shards.all.len());
                self.shards.turn(shard);
            }
            if self.rng.bool() {
                self.clients[client].read(&mut self.positions);
            }
        }
        let number = self.number as usize;
        self.go_on_until("all is published", |world| world.positions.len() == number);
        self.go_on_until("all is told", |world| {
            !world.shards.are_busy() && world.clients.iter().all(|client| client.told == client.asked)
        });
        self.hear_all();
        self.leave();
        self.hear_all();
    }

    fn hear_all(&mut self) {
        let last = self.last();
        self.go_on_until("all is heard", |world| world.clients.iter().all(|client| client.has_heard(&last)));
    }

    /// Some clients publish where they are subscribed, and ask to be closed.
    fn leave(&mut self) {
        for client in 0..self.clients.len() {
            if self.rng.bool() {
                continue;
            }
            let asked = self.clients[client].asked;
            let follows = (0..CHANNELS).filter(|channel| asked[*channel].is_some());
            let mut commands: Vec<_> = follows.map(|channel| self.publication(client, channel)).collect();
            commands.push("x c0 0".to_owned());
            self.log.push(format!("{client}: {}", commands.join(", ")));
            self.clients[client].say(&commands);
            self.clients[client].is_leaving = true;
        }
        let has_gone = |client: &Client| client.is_closed || !client.is_leaving;
        self.go_on_until("they are closed", |world| world.clients.iter().all(has_gone));
    }

    fn command(&mut self, client: usize) -> String {
        let (channel, choice) = (self.rng.usize(..CHANNELS), self.rng.u8(..4));
        let one = &mut self.clients[client];
        match (choice, one.asked[channel]) {
            (0, None) => {
                let stay = one.stays.len();
                one.asked[channel] = Some(stay);
                one.stays.push(Stay::new(channel));
                format!("s c{channel} {stay}")
            }
            (1, Some(stay)) => {
                one.asked[channel] = None;
                one.stays[stay].has_ended = true;
                format!("u c{channel} {stay}")
            }
            _ => self.publication(client, channel),
        }
    }

    fn publication(&mut self, client: usize, channel: usize) -> String {
        self.number += 1;
        let client = &mut self.clients[client];
        client.published[channel].push(self.number);
        if let Some(stay) = client.asked[channel] {
            client.stays[stay].published.push(self.number);
        }
        format!("{} c{channel} {}", if self.rng.bool() { "p" } else { "q" }, self.number)
    }

    /// The last position of each channel.
    fn last(&self) -> [Option<Position>; CHANNELS] {
        let of_channel = |channel: usize| {
            let numbers = self.clients.iter().flat_map(|client| &client.published[channel]);
            numbers.map(|number| self.positions[number]).max_by_key(|position| position.offset)
        };
        std::array::from_fn(of_channel)
    }

    fn check(&self) -> usize {
        let log = || self.log.join("\n");
        for (place, client) in self.clients.iter().enumerate() {
            for published in &client.published {
                let offsets: Vec<_> = published.iter().map(|number| self.positions[number].offset).collect();
                assert!(offsets.is_sorted(), "{place}: {published:?} at {offsets:?}\n{}", log());
            }
            for stay in &client.stays {
                stay.check(&self.positions, &client.published[stay.channel], || {
                    format!("{place}\n{}", log())
                });
            }
        }
        self.clients.iter().flat_map(|client| &client.stays).map(|stay| stay.published.len()).sum()
    }
}

impl Stay {
    fn new(channel: usize) -> Self {
        Self { channel, published: Vec::new(), began: None, heard: Vec::new(), has_ended: false }
    }

    fn check(&self, positions: &HashMap<u32, Position>, mine: &[u32], at: impl Fn() -> String) {
        let mut next = self.began;
        for (position, number) in &self.heard {
            let next = next.as_mut().expect("it has begun");
            next.offset += 1;
            assert_eq!((position, &positions[number]), (&*next, &*next), "{number} of {self:?}, {}", at());
        }
        let heard = self.heard.iter().map(|(_, number)| *number);
        let heard: Vec<_> = heard.filter(|number| mine.contains(number)).collect();
        assert_eq!(heard, self.published, "{self:?}, {}", at());
    }
}

impl Client {
    fn new(mut socket: UnixStream) -> Self {
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        socket.write_all(request.as_bytes()).expect("there is room");
        socket.set_nonblocking(true).expect("it can be");
        Self {
            socket,
            is_open: false,
            is_leaving: false,
            is_closed: false,
            received: Vec::new(),
            stays: Vec::new(),
            asked: [None; CHANNELS],
            told: [None; CHANNELS],
            published: Default::default(),
        }
    }

    /// Sends commands in one segment.
    fn say(&mut self, commands: &[String]) {
        let mut bytes = Vec::new();
        for command in commands {
            encode_frame_masked(&mut bytes, Opcode::Text, true, command.as_bytes(), [0; 4]);
        }
        self.socket.write_all(&bytes).expect("there is room");
    }

    fn read(&mut self, positions: &mut HashMap<u32, Position>) {
        let (_, is_cut) = receive(&mut self.socket, &mut self.received, usize::MAX);
        assert!(!is_cut || self.is_leaving, "nobody else is cut");
        if !self.is_open {
            let Some(end) = memchr::memmem::find(&self.received, b"\r\n\r\n") else { return };
            self.received.drain(..end + 4);
            self.is_open = true;
        }
        while let Some(text) = self.take_text() {
            self.hear(&text, positions);
        }
    }

    fn take_text(&mut self) -> Option<String> {
        let [first, length, rest @ ..] = &self.received[..] else { return None };
        if *first == 0x88 {
            self.is_closed = true;
            return None;
        }
        assert_eq!((*first, length & 0x80), (0x81, 0), "a whole text");
        let (head, length) = match (length, rest) {
            (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            (126, _) => return None,
            (length, _) => (2, usize::from(*length)),
        };
        let is_whole = self.received.len() >= head + length;
        let text = is_whole.then(|| self.received.drain(..head + length).skip(head).collect::<Vec<_>>())?;
        Some(String::from_utf8(text).expect("text"))
    }

    fn hear(&mut self, text: &str, positions: &mut HashMap<u32, Position>) {
        if text.starts_with('{') {
            let push = &serde_json::from_str::<serde_json::Value>(text).expect("JSON")["push"];
            let channel: usize = push["channel"].as_str().expect("a name")[1..].parse().expect("a number");
            let offset = |name: &str| push[name].as_u64().expect("a number");
            let position = Position { epoch: offset("epoch"), offset: offset("offset") };
            let number = push["data"].as_str().expect("text").parse().expect("a number");
            let stay = self.told[channel].unwrap_or_else(|| panic!("{text} is none of its business"));
            positions.entry(number).or_insert(position);
            return self.stays[stay].heard.push((position, number));
        }
        let words: Vec<_> = text.split(' ').collect();
        let token: usize = words[1].parse().expect("a number");
        match words[..] {
            ["p", _, position] => {
                positions.insert(token as u32, position.parse().expect("a position"));
            }
            ["s", _, position] => {
                self.stays[token].began = Some(position.parse().expect("a position"));
                self.told[self.stays[token].channel] = Some(token);
            }
            ["n", _] => {}
            _ => self.told[self.stays[token].channel] = None,
        }
    }

    /// Whether it has heard everything of the channels in which it stays.
    fn has_heard(&self, last: &[Option<Position>; CHANNELS]) -> bool {
        let stays = self.stays.iter().filter(|stay| !stay.has_ended && !self.is_leaving);
        stays.map(|stay| (stay, last[stay.channel])).all(|(stay, last)| {
            let at = stay.heard.last().map(|(position, _)| *position).or(stay.began);
            last.is_none() || at == last
        })
    }
}

#[test]
fn commands_of_one_websocket_take_effect_in_the_order_sent() {
    let (seeds, are_all) = seeds(SEEDS);
    let mut heard = 0;
    for seed in seeds {
        let _replay = Replay(seed);
        let mut world = World::new(seed);
        world.play();
        heard += world.check();
    }
    assert!(!are_all || heard > 1_000, "{heard}");
}
