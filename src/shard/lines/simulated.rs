//! A small world of lines over a real ring, with a seed instead of chance: whoever is told something is told it in order and
//! whole, clients stall, read a little, or vanish, and the oracle reads every byte that arrives.
//!
//! ```text
//!   say, push, deliver, step ─► door ─► queue ─► flush ─► ring ─► socket ─► client ─► oracle
//! ```
//!
//! What it holds against the bytes of each client:
//!
//! * they are whole units in the order in which they were said, and only publications are missing, just as many as were said
//!   to be dropped;
//! * an event's `id` says what that client has read of each channel, and nothing else;
//! * no more waits than may, and when all has been read nothing is held.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{ErrorKind, Read},
    os::{fd::AsFd, unix::net::UnixStream},
};

use super::*;
use crate::{
    limits::SlowConsumer,
    model::Position,
    ring::{Completion, RingSettings},
    session::Session,
    shard::simulated::{Replay, seeds},
};

const QUEUE_BYTES_MAX: usize = 30_000;
const CONNECTIONS: u32 = 6;
const CHANNELS: usize = 3;
const SEEDS: u64 = 60;
const STEPS: u32 = 400;

/// Something that was said to a client.
struct Unit {
    text: String,
    /// The channel and offset of an event.
    event: Option<(usize, u64)>,
    is_droppable: bool,
}

/// One client, and what it was told.
struct Client {
    socket: Option<UnixStream>,
    received: Vec<u8>,
    told: VecDeque<Unit>,
    /// Where it is in each channel, by the events that it has read.
    read: [Option<u64>; CHANNELS],
    skipped: u64,
    dropped: u64,
    is_slow: bool,
}

struct World {
    rng: fastrand::Rng,
    lines: Lines,
    clients: Vec<Client>,
    number: u64,
    offsets: [u64; CHANNELS],
    seen: Seen,
}

/// What has happened in all seeds together.
#[derive(Debug, Default)]
struct Seen {
    units: u64,
    events: u64,
    dropped: u64,
    slow: u64,
    vanished: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ring = Ring::new(RingSettings {
            submission_entries: 64,
            completion_entries: 256,
            descriptors: CONNECTIONS,
            accepts: 1,
            receive_buffers: 2,
            receive_buffer_bytes: 4096,
        });
        let send_bytes_max = [200_000, 1 << 30][rng.usize(..2)];
        let limits =
            Limits { send_queue_bytes_max: QUEUE_BYTES_MAX as u32, send_bytes_max, ..Limits::default() };
        let forms = (Secrets::default(), Forms::default());
        let mut lines = Lines::new(ring.expect("io_uring"), CONNECTIONS, &limits, 1, forms);
        let clients = (0..CONNECTIONS).map(|_| {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            socket2::SockRef::from(&ours).set_send_buffer_size(rng.usize(1..20_000)).expect("it can be");
            theirs.set_nonblocking(true).expect("it can be");
            let index = lines.slab.reserve().expect("a slot");
            lines.ring.adopt(index, ours.as_fd()).expect("it is taken");
            lines.slab.at(index).flags.set(Flags::OPEN);
            lines.slab.at(index).session = Session::EventStream;
            lines.places.begin(index, [None; CHANNELS].into_iter());
            Client {
                socket: Some(theirs),
                received: Vec::new(),
                told: VecDeque::new(),
                read: [None; CHANNELS],
                skipped: 0,
                dropped: 0,
                is_slow: false,
            }
        });
        let clients = clients.collect();
        Self { rng, lines, clients, number: 0, offsets: [0; CHANNELS], seen: Seen::default() }
    }

    /// The next unit's text: its number, and bytes enough.
    fn text(&mut self) -> String {
        self.number += 1;
        let len = match self.rng.u8(..10) {
            0 => self.rng.usize(8_000..25_000),
            1..4 => self.rng.usize(500..4_000),
            _ => self.rng.usize(..100),
        };
        format!("{}:{}\n", self.number, "x".repeat(len))
    }

    fn any_live(&mut self) -> Option<u32> {
        let index = self.rng.u32(..CONNECTIONS);
        let client = &self.clients[index as usize];
        (!client.is_slow && client.socket.is_some()).then_some(index)
    }

    fn step(&mut self) {
        match self.rng.u8(..20) {
            0..4 => self.say(),
            4..7 => self.broadcast(),
            7..11 => self.publish(),
            11..15 => self.turn(),
            15..19 => self.read_some(),
            _ if self.rng.u8(..20) == 0 => self.vanish(),
            _ => {}
        }
        self.check_bounds();
    }

    /// Something for one client, in one of the ways to say it.
    fn say(&mut self) {
        let (Some(index), text) = (self.any_live(), self.text()) else { return };
        let classes = [Class::Answer, Class::Control, Class::Recovery];
        let (class, bytes) = (classes[self.rng.usize(..3)], text.clone().into_bytes());
        let room = match self.rng.u8(..3) {
            0 => self.lines.say(index, class, |out| out.extend_from_slice(&bytes)),
            1 => self.lines.push(index, class, SendBytes::Shared(bytes.into())),
            _ => {
                let bytes = SendBytes::Encoded(self.lines.outbox.encoded(&bytes));
                self.lines.push(index, class, bytes)
            }
        };
        if room != Room::Slow {
            self.note(index, Unit { text, event: None, is_droppable: false });
        }
        self.end_slow();
    }

    /// A publication for several, of one channel.
    fn broadcast(&mut self) {
        let text = self.text();
        let encoding = self.lines.outbox.encoded(text.as_bytes());
        let slow_consumer = self.slow_consumer();
        let broadcast = Broadcast { bytes: &encoding, publications: 1, slow_consumer };
        for index in 0..CONNECTIONS {
            if self.rng.bool() && self.is_live(index) {
                let delivery = self.lines.deliver(index, &broadcast);
                let unit = Unit { text: text.clone(), event: None, is_droppable: true };
                self.note_delivery(index, delivery, unit);
            }
        }
        self.end_slow();
    }

    /// An event of a channel for the streams of several.
    fn publish(&mut self) {
        let (channel, text) = (self.rng.usize(..CHANNELS), self.text());
        self.offsets[channel] += 1;
        let position = Position { epoch: 7, offset: self.offsets[channel] };
        let encoding = self.lines.outbox.encoded_moving(text.as_bytes(), position);
        let slow_consumer = self.slow_consumer();
        for index in 0..CONNECTIONS {
            if !self.is_live(index) {
                continue;
            }
            let step = self.lines.places.of(index).map(|place| place.step(channel));
            let frame = Frame { bytes: SendBytes::Encoded(encoding.clone()), publications: 1, step };
            let delivery = self.lines.queue_publications(index, frame, slow_consumer);
            let event = Some((channel, position.offset));
            self.note_delivery(index, delivery, Unit { text: text.clone(), event, is_droppable: true });
        }
        self.end_slow();
    }

    fn slow_consumer(&mut self) -> SlowConsumer {
        if self.rng.u8(..50) == 0 { SlowConsumer::Close } else { SlowConsumer::DropOldest }
    }

    fn is_live(&self, index: u32) -> bool {
        let client = &self.clients[index as usize];
        !client.is_slow && client.socket.is_some()
    }

    fn note_delivery(&mut self, index: u32, delivery: Delivery, unit: Unit) {
        let client = &mut self.clients[index as usize];
        if let Delivery::Dropped(count) = delivery {
            client.dropped += u64::from(count);
            self.seen.dropped += u64::from(count);
        }
        // One that was dropped itself is found to be missing as those before it are.
        if delivery != Delivery::Slow {
            self.note(index, unit);
        }
    }

    fn note(&mut self, index: u32, unit: Unit) {
        self.seen.units += 1;
        self.seen.events += u64::from(unit.event.is_some());
        self.clients[index as usize].told.push_back(unit);
    }

    /// Ends those that were found slow, as a shard does.
    fn end_slow(&mut self) {
        for index in 0..CONNECTIONS {
            if !self.clients[index as usize].is_slow && self.lines.slab.look(index).flags.has(Flags::SLOW) {
                self.clients[index as usize].is_slow = true;
                self.seen.slow += 1;
                self.lines.abort(index);
            }
        }
    }

    fn turn(&mut self) {
        self.lines.flush();
        self.lines.ring.enter(0).expect("it enters");
        let mut completions = Vec::new();
        self.lines.ring.reap(&mut completions, usize::MAX);
        for completion in completions {
            if let Completion::Sent { index, result, bytes } = completion {
                match result {
                    Ok(_) => _ = self.lines.handle_sent(index, bytes),
                    Err(_) => {
                        self.lines.handle_send_failed(index, bytes);
                        self.lines.abort(index);
                        self.clients[index as usize].socket = None;
                    }
                }
            }
        }
    }

    fn read_some(&mut self) {
        let (index, bytes) = (self.rng.usize(..CONNECTIONS as usize), self.rng.usize(..30_000));
        self.clients[index].read(bytes);
    }

    fn vanish(&mut self) {
        if let Some(index) = self.any_live() {
            self.clients[index as usize].socket = None;
            self.seen.vanished += 1;
        }
    }

    fn check_bounds(&self) {
        for index in 0..CONNECTIONS {
            let waiting = self.lines.queued(index);
            // What was asked for, and as much again, and the last of it, which may be as large as any.
            assert!(waiting <= 2 * QUEUE_BYTES_MAX + 2 * 26_000, "{waiting} bytes wait for {index}");
        }
    }

    /// Everybody reads until nothing is left.
    fn end(mut self) -> Seen {
        let mut idle = 0;
        while idle < 20 {
            self.turn();
            let read: usize = self.clients.iter_mut().map(|client| client.read(usize::MAX)).sum();
            let is_silent = (0..CONNECTIONS).all(|index| !self.is_live(index) || self.lines.is_silent(index));
            idle = if read == 0 && is_silent && !self.lines.has_more() { idle + 1 } else { 0 };
        }
        for index in 0..CONNECTIONS {
            if self.is_live(index) {
                let client = &mut self.clients[index as usize];
                assert!(client.received.is_empty(), "a unit is torn");
                let missing =
                    client.told.drain(..).inspect(|unit| assert!(unit.is_droppable, "{}", unit.text));
                client.skipped += missing.count() as u64;
                assert_eq!(client.skipped, client.dropped, "what is missing was said to be dropped");
            }
        }
        (0..CONNECTIONS).for_each(|index| self.lines.abort(index));
        for _ in 0..20 {
            self.turn();
        }
        assert_eq!(self.lines.outbox.total_bytes(), 0, "nothing is held when nobody is left");
        self.seen
    }
}

impl Client {
    /// Reads so many bytes and looks at the units among them; tells how many there were.
    fn read(&mut self, bytes: usize) -> usize {
        let Some(socket) = &mut self.socket else { return 0 };
        let (mut buffer, mut read) = ([0; 4096], 0);
        while read < bytes {
            let len = buffer.len().min(bytes - read);
            match socket.read(&mut buffer[..len]) {
                Ok(0) => break,
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    read += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => break,
            }
        }
        self.look();
        read
    }

    fn look(&mut self) {
        while let Some((line, id)) = self.next_unit() {
            let unit = loop {
                let unit = self.told.pop_front().expect("it was said");
                if unit.text == line {
                    break unit;
                }
                assert!(unit.is_droppable, "{} is missing before {line}", unit.text);
                self.skipped += 1;
            };
            match (unit.event, id) {
                (Some((channel, offset)), Some(id)) => {
                    self.read[channel] = Some(offset);
                    assert_eq!(id, self.place(), "of what it has read");
                }
                (None, None) => {}
                other => panic!("an id belongs to an event: {other:?}"),
            }
        }
    }

    /// The next unit that has arrived whole, and the id before it.
    fn next_unit(&mut self) -> Option<(String, Option<String>)> {
        let end = |from: &[u8]| memchr::memchr(b'\n', from).map(|at| at + 1);
        let mut first = end(&self.received)?;
        let mut id = None;
        if let Some(text) = self.received[..first].strip_prefix(b"id: ") {
            id = Some(String::from_utf8(text[..text.len() - 1].to_vec()).expect("text"));
            let second = end(&self.received[first..])?;
            self.received.drain(..first);
            first = second;
        }
        Some((String::from_utf8(self.received.drain(..first).collect()).expect("text"), id))
    }

    fn place(&self) -> String {
        let mut text = String::new();
        for (channel, offset) in self.read.iter().enumerate() {
            let comma = if channel > 0 { "," } else { "" };
            match offset {
                Some(offset) => write!(text, "{comma}7:{offset}").expect("a string"),
                None => write!(text, "{comma}-").expect("a string"),
            }
        }
        text
    }
}

#[test]
fn whatever_clients_do_each_reads_whole_units_in_order_and_only_what_was_dropped_is_missing() {
    let (seeds, are_all) = seeds(SEEDS);
    let mut all = Seen::default();
    for seed in seeds {
        let _replay = Replay(seed);
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        let seen = world.end();
        all.units += seen.units;
        all.events += seen.events;
        all.dropped += seen.dropped;
        all.slow += seen.slow;
        all.vanished += seen.vanished;
    }
    if are_all {
        let Seen { units, events, dropped, slow, vanished } = all;
        assert!(units > 10_000 && events > 5_000, "{units} units, {events} events");
        assert!(
            dropped > 100 && slow > 10 && vanished > 10,
            "{dropped} dropped, {slow} slow, {vanished} gone"
        );
    }
}
