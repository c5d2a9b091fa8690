//! A blocking WebSocket client. It decodes with the crate's own codec, and answers nothing by itself.

use roadstead::wire::websocket::{Decoder, Opcode, Role, Settings, Step, encode_frame_masked};
use serde_json::Value;

use crate::{
    client::{Client, Response},
    server::Patience,
};

/// A WebSocket after its handshake.
pub struct WebSocket {
    /// The connection under it.
    pub client: Client,
    decoder: Decoder,
}

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A closing frame.
    Close(Option<u16>, String),
}

/// The key of RFC 6455 §1.3, and the answer to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const SETTINGS: Settings =
    Settings { role: Role::Client, message_bytes_max: 64 << 20, fragments_max: 0, compression: false };

/// The fields of a handshake.
pub fn handshake_fields() -> String {
    format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    )
}

impl WebSocket {
    /// Shakes hands; `fields` are further lines of the request.
    #[track_caller]
    pub fn open(client: Client, target: &str, fields: &str) -> Self {
        Self::try_open(client, target, fields).unwrap_or_else(|response| panic!("refused: {response:?}"))
    }

    /// Shakes hands, or gives the refusal.
    #[track_caller]
    pub fn try_open(mut client: Client, target: &str, fields: &str) -> Result<Self, Response> {
        client.ask("GET", target, &(handshake_fields() + fields), b"");
        Self::answered(client)
    }

    /// Hears what becomes of a handshake that has been asked for.
    #[track_caller]
    pub fn answered(mut client: Client) -> Result<Self, Response> {
        let mut response = client.response_head();
        if response.status != 101 {
            let length = response.field("content-length").map_or(0, |text| text.parse().expect("a length"));
            response.body = client.take(length);
            return Err(response);
        }
        assert_eq!(response.field("sec-websocket-accept"), Some(ACCEPT), "{}", response.head);
        Ok(Self { client, decoder: Decoder::default() })
    }

    /// Sends a text message.
    #[track_caller]
    pub fn send_text(&mut self, text: &str) {
        self.send_frame(Opcode::Text, true, text.as_bytes());
    }

    /// Sends one frame.
    #[track_caller]
    pub fn send_frame(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        self.client.send(frame(opcode, fin, payload));
    }

    /// Sends a command, and gives the reply.
    #[track_caller]
    pub fn command(&mut self, command: &Value) -> Value {
        self.send_text(&command.to_string());
        self.json()
    }

    /// The next thing the server sends.
    #[track_caller]
    pub fn next(&mut self) -> Incoming {
        loop {
            if let Some(incoming) = self.decode() {
                return incoming;
            }
            let count = self.client.receive().expect("the server sends something");
            assert_ne!(count, 0, "the server closed the connection without a closing frame");
        }
    }

    /// The next thing the server sends, if it does not end the connection.
    pub fn try_next(&mut self) -> std::io::Result<Option<Incoming>> {
        loop {
            if let Some(incoming) = self.decode() {
                return Ok(Some(incoming));
            }
            if self.client.receive()? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next message, a text; pings are passed over.
    #[track_caller]
    pub fn text(&mut self) -> String {
        let patience = Patience::begin();
        loop {
            patience.check("a text comes");
            match self.next() {
                Incoming::Text(text) => return text,
                Incoming::Ping(_) => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// The next message, a JSON object.
    #[track_caller]
    pub fn json(&mut self) -> Value {
        serde_json::from_str(&self.text()).expect("a message of /ws is JSON")
    }

    /// The next message, a push.
    #[track_caller]
    pub fn push(&mut self) -> Value {
        let message = self.json();
        message.get("push").unwrap_or_else(|| panic!("{message} instead of a push")).clone()
    }

    /// The code of the closing frame, whatever comes before it; the server closes the connection behind it.
    #[track_caller]
    pub fn close_code(&mut self) -> Option<u16> {
        let patience = Patience::begin();
        loop {
            patience.check("the server closes");
            if let Incoming::Close(code, _) = self.next() {
                self.client.expect_end();
                return code;
            }
        }
    }

    fn decode(&mut self) -> Option<Incoming> {
        let step =
            self.decoder.decode(&mut self.client.received, &SETTINGS).expect("the server's frames are right");
        let (incoming, consumed) = match step {
            Step::NeedMore => {
                self.client.received.clear();
                return None;
            }
            Step::Message { is_text: true, data, consumed, .. } => {
                (Incoming::Text(String::from_utf8(data.to_vec()).expect("checked")), consumed)
            }
            Step::Message { is_text: false, data, consumed, .. } => {
                (Incoming::Binary(data.to_vec()), consumed)
            }
            Step::Ping { data, consumed } => (Incoming::Ping(data.to_vec()), consumed),
            Step::Pong { data, consumed } => (Incoming::Pong(data.to_vec()), consumed),
            Step::Close { code, reason, consumed } => (Incoming::Close(code, reason.to_owned()), consumed),
        };
        self.client.received.drain(..consumed);
        Some(incoming)
    }
}

/// A client's frame.
pub fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame_masked(&mut bytes, opcode, fin, payload, MASK);
    bytes
}

/// The payload of a closing frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}
