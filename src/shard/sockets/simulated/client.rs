//! One client of Socket.IO on a WebSocket: it sends what it says in parts, reads when it likes, is cut, and comes back by what it
//! was told; every byte it is told is held against the oracle.

use std::{collections::VecDeque, io::Write, os::unix::net::UnixStream};

use serde_json::{Value, json};

use super::missed::{Oracle, ROOMS};
use crate::{
    shard::simulated::receive,
    wire::websocket::{Opcode, encode_frame_masked},
};

pub(super) struct Client {
    /// `None` while it is cut.
    pub(super) socket: Option<UnixStream>,
    unsent: Vec<u8>,
    received: Vec<u8>,
    stage: Stage,
    /// Which socket it was last, and the proof of it.
    pid: Option<String>,
    /// What that socket is called.
    pub(super) sid: Option<String>,
    /// Of the last event it has heard.
    offset: Option<String>,
    /// Its stay in each room, by the oracle's number; that in the first, which is everybody, lasts as long as its socket.
    stays: [Option<usize>; ROOMS],
    /// What it has asked to join or to leave, and has not been told of.
    asked: VecDeque<(u64, usize)>,
    asks: u64,
    /// What had been said when it said that it enters: how many had been heard by the witness, and how many bytes.
    before: (usize, usize),
}

/// How far its connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Opening,
    /// It has said that it enters.
    Entering,
    In,
}

/// What asks for a session on a WebSocket.
pub(super) const HANDSHAKE: &[u8] =
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
      Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Takes the answer to that, if it has come.
pub(super) fn take_welcome(received: &mut Vec<u8>) -> bool {
    let Some(end) = memchr::memmem::find(received, b"\r\n\r\n") else { return false };
    let head = String::from_utf8(received.drain(..end + 4).collect()).expect("text");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    true
}

/// Takes the next frame of a server that has wholly come: its opcode, and what is in it.
pub(super) fn take_frame(received: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let [first, second, ..] = received[..] else { return None };
    let (start, len) = match (second, &received[2..]) {
        (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        (127, long) if long.len() >= 8 => {
            (10, u64::from_be_bytes(long[..8].try_into().expect("eight")) as usize)
        }
        (126 | 127, _) => return None,
        (short, _) => (2, usize::from(short)),
    };
    if received.len() < start + len {
        return None;
    }
    Some((first & 15, received.drain(..start + len).skip(start).collect()))
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            socket: None,
            unsent: Vec::new(),
            received: Vec::new(),
            stage: Stage::Upgrading,
            pid: None,
            sid: None,
            offset: None,
            stays: [None; ROOMS],
            asked: VecDeque::new(),
            asks: 0,
            before: (0, 0),
        }
    }

    /// It connects, as for the first time or to come back.
    pub(super) fn connect(&mut self, socket: UnixStream) {
        self.socket = Some(socket);
        self.stage = Stage::Upgrading;
        (self.unsent, self.received) = (Vec::new(), Vec::new());
        self.unsent.extend_from_slice(HANDSHAKE);
    }

    /// Whether it is in, and everything it has asked for has been answered.
    pub(super) fn is_settled(&self) -> bool {
        self.socket.is_some() && self.stage == Stage::In && self.asked.is_empty()
    }

    /// Joins a room, or leaves it if it is in.
    pub(super) fn change(&mut self, room: usize, oracle: &mut Oracle) {
        if self.socket.is_none() || self.stage != Stage::In || self.asked.iter().any(|one| one.1 == room) {
            return;
        }
        match self.stays[room] {
            Some(stay) => oracle.begin_to_leave(stay),
            None => {
                let sid = self.sid.as_deref().expect("it is in");
                self.stays[room] = Some(oracle.begin_to_join(room, sid, oracle.witnessed(room)));
            }
        }
        self.ask(room, oracle);
    }

    /// Asks for what the oracle has been told that it asks.
    fn ask(&mut self, room: usize, oracle: &Oracle) {
        self.asks += 1;
        let event = if oracle.is_leaving(self.stays[room].expect("it asks")) { "leave" } else { "join" };
        self.asked.push_back((self.asks, room));
        self.say(&format!("42{}{}", self.asks, json!([event, format!("r{room}")])));
    }

    fn say(&mut self, packet: &str) {
        encode_frame_masked(&mut self.unsent, Opcode::Text, true, packet.as_bytes(), [0; 4]);
    }

    /// Sends so many bytes of what it says.
    pub(super) fn send(&mut self, bytes: usize) {
        let Some(socket) = &mut self.socket else { return };
        let len = bytes.min(self.unsent.len());
        if let Ok(sent) = socket.write(&self.unsent[..len]) {
            self.unsent.drain(..sent);
        }
    }

    /// Reads so many bytes, and hears what is whole among them; tells how many there were.
    pub(super) fn read(&mut self, bytes: usize, oracle: &mut Oracle) -> usize {
        let Some(socket) = &mut self.socket else { return 0 };
        let (read, is_cut) = receive(socket, &mut self.received, bytes);
        while !is_cut && self.socket.is_some() && self.hear_next(oracle) {}
        if is_cut {
            // What came before the end counts.
            while self.socket.is_some() && self.hear_next(oracle) {}
            self.cut(oracle);
        }
        read
    }

    /// Its connection is gone: what it has asked and not been told of may have been heard or not.
    pub(super) fn cut(&mut self, oracle: &mut Oracle) {
        if self.socket.take().is_some() {
            oracle.seen.cuts += 1;
        }
    }

    fn hear_next(&mut self, oracle: &mut Oracle) -> bool {
        if self.stage == Stage::Upgrading {
            if !take_welcome(&mut self.received) {
                return false;
            }
            self.stage = Stage::Opening;
        }
        match take_frame(&mut self.received) {
            None => return false,
            Some((1, data)) => self.hear(std::str::from_utf8(&data).expect("text"), oracle),
            Some((8, _)) => self.cut(oracle),
            Some((other, _)) => panic!("a frame with opcode {other}"),
        }
        true
    }

    fn hear(&mut self, packet: &str, oracle: &mut Oracle) {
        match (packet.as_bytes(), self.stage) {
            (b"2", _) => self.say("3"),
            ([b'0', ..], Stage::Opening) => {
                let claim = self.pid.as_ref().map(|pid| match &self.offset {
                    Some(offset) => json!({"pid": pid, "offset": offset}),
                    None => json!({ "pid": pid }),
                });
                let claim = claim.map_or_else(String::new, |claim| claim.to_string());
                self.say(&format!("40{claim}"));
                self.stage = Stage::Entering;
                self.before = (oracle.witnessed(0), oracle.bytes());
            }
            ([b'4', b'0', json @ ..], Stage::Entering) => {
                let told: Value = serde_json::from_slice(json).expect("JSON");
                let text = |name: &str| told[name].as_str().expect("it is told").to_owned();
                self.enter(text("sid"), text("pid"), oracle);
            }
            ([b'4', b'2', json @ ..], Stage::In) => {
                let event: Vec<Value> = serde_json::from_slice(json).expect("an event");
                self.hear_event(&event, oracle);
            }
            ([b'4', b'3', ack @ ..], Stage::In) => {
                let digits = ack.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number: u64 = packet[2..2 + digits].parse().expect("a number");
                self.hear_ack(number, oracle);
            }
            (_, stage) => panic!("{packet} while {stage:?}"),
        }
    }

    /// It is told that it is in: as the socket it was, or as another.
    fn enter(&mut self, sid: String, pid: String, oracle: &mut Oracle) {
        self.stage = Stage::In;
        if self.pid.as_ref() == Some(&pid) {
            assert_eq!(self.sid.as_ref(), Some(&sid), "who comes back is called as before");
            oracle.seen.recovered += 1;
            // What it had asked and not heard of, it asks again.
            for (_, room) in std::mem::take(&mut self.asked) {
                self.ask(room, oracle);
            }
            return;
        }
        if self.pid.is_some() {
            oracle.check_that_not_all_was_held(self.sid.as_deref().expect("it was in"));
        }
        for stay in std::mem::take(&mut self.stays).into_iter().flatten() {
            oracle.lose(stay);
        }
        self.asked.clear();
        let stay = oracle.begin_to_join(0, &sid, self.before.0);
        oracle.join(stay);
        self.stays[0] = Some(stay);
        oracle.enter(&sid, self.before.1);
        (self.sid, self.pid, self.offset) = (Some(sid), Some(pid), None);
    }

    fn hear_event(&mut self, event: &[Value], oracle: &mut Oracle) {
        let [name, room, number, filling, offset] = event else { panic!("{event:?}") };
        let (room, number) = (room.as_u64().expect("a number"), number.as_u64().expect("a number"));
        let sid = self.sid.as_deref().expect("it is in");
        oracle.check_filling(sid, number, filling.as_str().expect("text"));
        self.offset = Some(offset.as_str().expect("each says how far it is").to_owned());
        match name.as_str() {
            Some("said") => {
                let stay = self.stays[room as usize];
                oracle.hear(
                    stay.unwrap_or_else(|| panic!("{sid} hears {number} of {room}, where it is not")),
                    number,
                );
            }
            Some("told") => oracle.hear_alone(sid, room as usize, number),
            other => panic!("{other:?}"),
        }
    }

    fn hear_ack(&mut self, number: u64, oracle: &mut Oracle) {
        // Of what it asked before it was cut it may hear late; it has asked again.
        let Some(at) = self.asked.iter().position(|(asked, _)| *asked == number) else { return };
        let (_, room) = self.asked.remove(at).expect("it is there");
        let stay = self.stays[room].expect("it asked");
        match oracle.is_leaving(stay) {
            true => self.stays[room] = None,
            false => oracle.join(stay),
        }
    }
}
