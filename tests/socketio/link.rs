//! A session over a WebSocket.

use std::time::Duration;

use serde_json::Value;

use crate::{
    client::Response,
    place::Place,
    polling::{is_read, open_packet},
    server::{Patience, await_that},
    socket::{Incoming, WebSocket, frame},
};
use roadstead::wire::websocket::Opcode;

/// A WebSocket that carries Engine.IO packets.
pub struct Link {
    socket: WebSocket,
}

impl Link {
    /// Shakes hands.
    #[track_caller]
    pub fn open(place: &Place, query: &str) -> Self {
        Self::try_open(place, query).unwrap_or_else(|response| panic!("refused: {response:?}"))
    }

    /// Shakes hands over a connection that takes little at a time.
    #[track_caller]
    pub fn narrow(place: &Place) -> Self {
        let target = place.target("EIO=4&transport=websocket");
        Self { socket: WebSocket::open(place.connect_narrow(), &target, "") }
    }

    /// Reads a little now and then until so much has come; whether it did before the connection ended.
    pub fn sip(&mut self, bytes: usize) -> bool {
        self.socket.client.sip(bytes)
    }

    /// Shakes hands, or gives the refusal.
    #[track_caller]
    pub fn try_open(place: &Place, query: &str) -> Result<Self, Response> {
        let socket = WebSocket::try_open(place.connect(), &place.target(query), "")?;
        Ok(Self { socket })
    }

    /// Takes the packet that opens the session; what it says.
    #[track_caller]
    pub fn opened(&mut self) -> Value {
        open_packet(&self.text())
    }

    /// Takes the packet that opens the session, and enters a namespace; what the server says of it.
    #[track_caller]
    pub fn enter(&mut self, connect: &str) -> String {
        self.opened();
        self.enter_again(connect)
    }

    /// Enters a namespace; what the server says of it.
    #[track_caller]
    pub fn enter_again(&mut self, connect: &str) -> String {
        self.send(connect);
        self.packet()
    }

    /// Sends a packet.
    #[track_caller]
    pub fn send(&mut self, packet: &str) {
        self.socket.send_text(packet);
    }

    /// Sends packets in one segment.
    #[track_caller]
    pub fn send_all(&mut self, packets: &[&str]) {
        let frames = packets.iter().map(|packet| frame(Opcode::Text, true, packet.as_bytes()));
        self.socket.client.send(frames.collect::<Vec<_>>().concat());
    }

    /// Asks to take over the session that the WebSocket was opened for; whether it may.
    #[track_caller]
    pub fn try_probe(&mut self) -> bool {
        self.send("2probe");
        match self.socket.next() {
            Incoming::Text(packet) if packet == "3probe" => true,
            Incoming::Close(..) => false,
            other => panic!("{other:?} instead of an answer to the probe"),
        }
    }

    /// Sends a packet again and again until the server reads no more, which it must before so many; how many it was sent
    /// whole. Nothing more can be sent then.
    #[track_caller]
    pub fn flood(&mut self, packet: &str, max: usize) -> usize {
        let packet = frame(Opcode::Text, true, packet.as_bytes());
        let client = &mut self.socket.client;
        client.tcp().set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
        let sent = (0..max).take_while(|_| client.try_send(&packet).is_ok()).count();
        assert!(sent < max, "the server reads whatever comes");
        sent
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.send_frame(Opcode::Binary, true, bytes);
    }

    /// Sends a part of a packet's frame, and waits until the server has it; the rest.
    #[track_caller]
    pub fn send_half(&mut self, packet: &str, part: usize) -> Vec<u8> {
        let mut frame = frame(Opcode::Text, true, packet.as_bytes());
        let rest = frame.split_off(part);
        self.send_raw(&frame);
        await_that("the server has read a part", || is_read(self.socket.client.tcp()));
        rest
    }

    /// Sends what is no packet, or several in one segment.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.client.send(bytes);
    }

    /// Checks that a packet comes back, from a place that echoes.
    #[track_caller]
    pub fn expect_echo(&mut self, packet: &str) {
        self.send(packet);
        assert_eq!(self.packet(), packet);
    }

    /// The next text, whatever it is.
    #[track_caller]
    pub fn text(&mut self) -> String {
        self.socket.text()
    }

    /// The next packet, a text; pings are answered.
    #[track_caller]
    pub fn packet(&mut self) -> String {
        let patience = Patience::begin();
        loop {
            patience.check("a packet comes");
            match self.text() {
                ping if ping == "2" => self.send("3"),
                packet => return packet,
            }
        }
    }

    /// The next packet, bytes; pings are answered.
    #[track_caller]
    pub fn bytes(&mut self) -> Vec<u8> {
        let patience = Patience::begin();
        loop {
            patience.check("bytes come");
            match self.socket.next() {
                Incoming::Text(ping) if ping == "2" => self.send("3"),
                Incoming::Binary(bytes) => return bytes,
                other => panic!("{other:?} instead of bytes"),
            }
        }
    }

    /// Checks that the server closes the WebSocket, in order and by itself; the texts it sent before.
    #[track_caller]
    pub fn expect_close(mut self) -> Vec<String> {
        let mut said = Vec::new();
        let patience = Patience::begin();
        loop {
            patience.check("the server closes");
            match self.socket.next() {
                Incoming::Text(packet) => said.push(packet),
                Incoming::Binary(_) => {}
                Incoming::Close(..) => break,
                other => panic!("{other:?} instead of the end"),
            }
        }
        // RFC 6455 §5.5.1: whoever is sent a closing frame answers it.
        self.socket.client.try_send(crate::socket::frame(Opcode::Close, true, b"")).unwrap_or_default();
        self.socket.client.receive_to_end();
        said
    }

    /// Breaks the connection without a word.
    pub fn drop_connection(self) {
        self.socket.client.reset();
    }
}
