//! One end of a WebSocket: it sends what it says in parts, reads when it likes, and is cut when the other end has gone.

use std::{io::Write, os::unix::net::UnixStream};

use super::receive;
use crate::wire::websocket::{Decoder, Opcode, Role, Settings, Step, encode_frame_masked};

const SETTINGS: Settings =
    Settings { role: Role::Client, message_bytes_max: 64 << 20, fragments_max: 0, compression: false };
const MASK: [u8; 4] = [1, 2, 3, 4];

pub(in crate::shard) struct Dialogue {
    /// `None` once it has gone, or was cut.
    socket: Option<UnixStream>,
    unsent: Vec<u8>,
    received: Vec<u8>,
    decoder: Decoder,
    is_upgraded: bool,
    is_deaf: bool,
}

impl Dialogue {
    /// Asks to become a WebSocket.
    pub(in crate::shard) fn new(socket: UnixStream, target: &str) -> Self {
        let unsent = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        Self {
            socket: Some(socket),
            unsent: unsent.into_bytes(),
            received: Vec::new(),
            decoder: Decoder::default(),
            is_upgraded: false,
            is_deaf: false,
        }
    }

    /// Sends these bytes, and hears nothing.
    pub(in crate::shard) fn of_bytes(socket: UnixStream, unsent: Vec<u8>) -> Self {
        Self { unsent, is_deaf: true, ..Self::new(socket, "/") }
    }

    /// How many bytes of what it says have not been taken.
    pub(in crate::shard) fn unsent_len(&self) -> usize {
        self.unsent.len()
    }

    /// Whether it has become a WebSocket.
    pub(in crate::shard) fn is_upgraded(&self) -> bool {
        self.is_upgraded
    }

    /// Whether it has not been cut.
    pub(in crate::shard) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Says a text behind all that it has said.
    pub(in crate::shard) fn say(&mut self, text: &str) {
        self.say_frame(Opcode::Text, text.as_bytes());
    }

    /// Says a frame.
    pub(in crate::shard) fn say_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        encode_frame_masked(&mut self.unsent, opcode, true, payload, MASK);
    }

    /// Sends so many bytes of what it says, if they are taken.
    pub(in crate::shard) fn send(&mut self, bytes: usize) {
        let Some(socket) = &mut self.socket else { return };
        let len = bytes.min(self.unsent.len());
        if let Ok(sent) = socket.write(&self.unsent[..len]) {
            self.unsent.drain(..sent);
        }
    }

    /// Reads so many bytes; how many there were, and the texts that have become whole.
    pub(in crate::shard) fn read(&mut self, bytes: usize) -> (usize, Vec<String>) {
        let Some(socket) = &mut self.socket else { return (0, Vec::new()) };
        let (read, is_cut) = receive(socket, &mut self.received, bytes);
        if self.is_deaf {
            self.received.clear();
        }
        let (texts, is_closed) = self.decode();
        if is_cut || is_closed {
            self.socket = None;
        }
        (read, texts)
    }

    /// The texts that have arrived, and whether the other end has said its last word.
    fn decode(&mut self) -> (Vec<String>, bool) {
        let mut texts = Vec::new();
        if !self.is_upgraded {
            let Some(end) = memchr::memmem::find(&self.received, b"\r\n\r\n") else { return (texts, false) };
            let head: Vec<u8> = self.received.drain(..end + 4).collect();
            if !head.starts_with(b"HTTP/1.1 101 ") {
                assert!(head.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&head));
                return (texts, true);
            }
            self.is_upgraded = true;
        }
        let mut at = 0;
        let is_closed = loop {
            let step = self.decoder.decode(&mut self.received[at..], &SETTINGS);
            match step.expect("the server's frames are right") {
                Step::NeedMore => break false,
                Step::Message { is_text, data, consumed, .. } => {
                    assert!(is_text, "nobody has said anything else");
                    texts.push(String::from_utf8(data.to_vec()).expect("checked"));
                    at += consumed;
                }
                Step::Ping { consumed, .. } | Step::Pong { consumed, .. } => at += consumed,
                Step::Close { .. } => break true,
            }
        };
        // What is left of a frame is kept by the decoder.
        self.received.clear();
        (texts, is_closed)
    }
}
