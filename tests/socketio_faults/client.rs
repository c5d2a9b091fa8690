//! A raw client of Engine.IO and Socket.IO that does nothing by itself: what it sends, and when, is the test's business.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use roadstead::supervisor::Server;
use serde_json::Value;

use crate::tunnel;

/// How long anything may take that should happen soon; generous, for test machines are busy.
pub const SOON: Duration = Duration::from_secs(10);

/// One connection, and what has come and not been looked at.
pub struct Connection {
    pub stream: TcpStream,
    kept: Vec<u8>,
}

/// An answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// A client of Socket.IO on a WebSocket.
pub struct WebSocket {
    pub connection: Connection,
    pub sid: String,
}

impl Connection {
    pub fn new(server: &Server) -> Self {
        Self::to(&server.listening().public[0].to_string())
    }

    pub fn to(address: &str) -> Self {
        Self::over(tunnel::connect_to(address).expect("it listens"))
    }

    pub fn admin(address: &str) -> Self {
        Self::over(TcpStream::connect(address).expect("it listens"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        Self { stream, kept: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("it reads");
    }

    /// Sends, unless the connection has ended.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> Option<()> {
        self.stream.write_all(bytes.as_ref()).ok()
    }

    /// Makes the connection end without a goodbye once it is dropped.
    pub fn reset_when_closed(&self) {
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(&self.stream).set_linger(linger).expect("an option can be set");
    }

    /// Puts bytes before all that has not been looked at.
    pub fn put_back(&mut self, parts: impl Iterator<Item = Vec<u8>>) {
        let mut kept: Vec<u8> = parts.flatten().collect();
        kept.append(&mut self.kept);
        self.kept = kept;
    }

    pub fn get(&mut self, target: &str) -> Answer {
        self.send(get(target));
        self.answer()
    }

    pub fn post(&mut self, target: &str, body: &str) -> Answer {
        self.send(post(target, body));
        self.answer()
    }

    /// The next answer.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    /// The next answer, unless the connection ends or nothing comes.
    pub fn try_answer(&mut self) -> Option<Answer> {
        let head_bytes = loop {
            match self.kept.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if !self.read() => return None,
                None => {}
            }
        };
        let head = String::from_utf8(self.kept[..head_bytes].to_vec()).expect("an ASCII head");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.map_or(0, |length| length.parse::<usize>().expect("a number"));
        while self.kept.len() < head_bytes + length {
            if !self.read() {
                return None;
            }
        }
        let body = self.kept[head_bytes..head_bytes + length].to_vec();
        self.kept.drain(..head_bytes + length);
        let status = head[9..12].parse().expect("a status");
        Some(Answer { status, body: String::from_utf8(body).expect("text") })
    }

    /// The next frame of a WebSocket: its opcode and data; `None` when the connection has ended or nothing comes.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, start, end)) = frame_at(&self.kept) {
                let data = self.kept[start..end].to_vec();
                self.kept.drain(..end);
                return Some((opcode, data));
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// Reads on; whether anything came.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16_384];
        loop {
            match self.stream.read(&mut buffer) {
                // A read with a timeout is not begun again after a signal (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return false,
                Ok(length) => {
                    self.kept.extend_from_slice(&buffer[..length]);
                    return true;
                }
            }
        }
    }
}

impl WebSocket {
    /// Opens a session and hears the open packet.
    pub fn open(server: &Server) -> Self {
        Self::on(Connection::new(server))
    }

    pub fn on(mut connection: Connection) -> Self {
        connection.send(upgrade("/socket.io/?EIO=4&transport=websocket"));
        assert_eq!(connection.answer().status, 101);
        let mut websocket = Self { connection, sid: String::new() };
        let open = websocket.hear();
        websocket.sid = member(&open[1..], "sid");
        websocket
    }

    /// Enters a namespace with these JSON members; gives the answer.
    pub fn enter(&mut self, auth: &str) -> String {
        self.say(&format!("40{auth}"));
        self.hear()
    }

    pub fn say(&mut self, text: &str) {
        self.connection.send(frame(text));
    }

    /// The next message that is no ping; pings are answered.
    pub fn hear(&mut self) -> String {
        self.try_hear().expect("a message")
    }

    pub fn try_hear(&mut self) -> Option<String> {
        loop {
            match self.connection.frame()? {
                (1, data) if data == b"2" => self.say("3"),
                (1, data) => return Some(String::from_utf8(data).expect("text")),
                (8, _) => return None,
                (opcode, _) => panic!("a frame with opcode {opcode}"),
            }
        }
    }
}

/// Opens a session that polls; gives its target.
pub fn open_polling(connection: &mut Connection) -> String {
    let open = connection.get("/socket.io/?EIO=4&transport=polling");
    assert_eq!(open.status, 200, "{open:?}");
    format!("/socket.io/?EIO=4&transport=polling&sid={}", member(&open.body[1..], "sid"))
}

/// A member of the JSON object a text begins with.
pub fn member(text: &str, name: &str) -> String {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next().and_then(Result::ok).unwrap_or_else(|| panic!("{text} is no JSON"));
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

pub fn post(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub fn upgrade(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A text message, masked with zeros.
pub fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(long).expect("a short text").to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The opcode of the frame that `bytes` begin with, and where its data is; `None` while it is not whole.
fn frame_at(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, second, ..] = *bytes else { return None };
    let (start, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= start + length).then_some((first & 15, start, start + length))
}
