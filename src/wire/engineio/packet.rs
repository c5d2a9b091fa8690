//! One packet, both ways: as a WebSocket message it stands alone. Many of them as a body are in `payload.rs`.
//!
//! ```text
//!   text    │ type, one character │ data
//!   text    │ b                   │ base64 of a binary message    where only text can pass
//!   binary  │ a binary message, and nothing else
//! ```

use base64::{Engine, engine::general_purpose::STANDARD};

use super::EngineError;
use crate::wire::{
    json::push_base64,
    websocket::{self, Opcode, frame_header},
};

/// One packet. Both ends may send each of them; which make sense when is the session's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The server's first packet: the JSON of a [`super::Handshake`].
    Open(&'a str),
    /// The session ends.
    Close,
    /// A heartbeat; `probe` when a new transport is tried.
    Ping(&'a str),
    /// Answers a ping, with its data.
    Pong(&'a str),
    /// A message of text.
    Text(&'a str),
    /// A message of bytes.
    Binary(&'a [u8]),
    /// The client goes on over the transport this came by.
    Upgrade,
    /// Nothing, but it lets a poll return.
    Noop,
}

/// A packet as bytes on the wire.
enum Form<'a> {
    Text { kind: u8, data: &'a str },
    Binary(&'a [u8]),
}

/// Reads a WebSocket text message. `scratch` receives the bytes of a binary packet that came as base64, which a client
/// that was told to send no binary (`b64`) does.
pub fn decode_text<'a>(text: &'a str, scratch: &'a mut Vec<u8>) -> Result<Packet<'a>, EngineError> {
    let Some(base64) = text.strip_prefix('b') else {
        return Packet::decode_plain(text);
    };
    scratch.clear();
    STANDARD.decode_vec(base64, scratch).map_err(|_| EngineError::Base64)?;
    Ok(Packet::Binary(scratch))
}

/// Reads a WebSocket binary message, which is a binary packet whatever its bytes.
pub fn decode_binary(data: &[u8]) -> Packet<'_> {
    Packet::Binary(data)
}

/// Appends a packet as a server's WebSocket frame. A client with `b64` must get binary packets otherwise: written by
/// [`super::encode_into_payload`] and framed as text.
#[inline]
pub fn encode_frame(out: &mut Vec<u8>, packet: Packet<'_>) {
    encode_frame_as(out, packet, false);
}

/// As [`encode_frame`], and with `is_base64` bytes as text, for clients that asked for `b64`.
pub fn encode_frame_as(out: &mut Vec<u8>, packet: Packet<'_>, is_base64: bool) {
    if let (true, Packet::Binary(_)) = (is_base64, packet) {
        let mut text = Vec::new();
        packet.encode_text(&mut text);
        return websocket::encode_frame(out, Opcode::Text, true, &text);
    }
    match packet.form() {
        Form::Binary(data) => websocket::encode_frame(out, Opcode::Binary, true, data),
        Form::Text { kind, data } => {
            let (header, length) = frame_header(1 + data.len(), Opcode::Text, true);
            out.reserve(length + 1 + data.len());
            out.extend_from_slice(&header[..length]);
            out.push(kind);
            out.extend_from_slice(data.as_bytes());
        }
    }
}

impl<'a> Packet<'a> {
    /// Appends the packet as text.
    pub(super) fn encode_text(self, out: &mut Vec<u8>) {
        match self.form() {
            Form::Binary(data) => {
                out.push(b'b');
                push_base64(out, data);
            }
            Form::Text { kind, data } => {
                out.push(kind);
                out.extend_from_slice(data.as_bytes());
            }
        }
    }

    /// Reads a packet that came as text and is not base64.
    pub(super) fn decode_plain(text: &'a str) -> Result<Self, EngineError> {
        let kind = *text.as_bytes().first().ok_or(EngineError::Empty)?;
        let data = text.get(1..).ok_or(EngineError::PacketType)?;
        let alone = |packet| if data.is_empty() { Ok(packet) } else { Err(EngineError::DataUnexpected) };
        match kind {
            b'0' => Ok(Self::Open(data)),
            b'1' => alone(Self::Close),
            b'2' => Ok(Self::Ping(data)),
            b'3' => Ok(Self::Pong(data)),
            b'4' => Ok(Self::Text(data)),
            b'5' => alone(Self::Upgrade),
            b'6' => alone(Self::Noop),
            _ => Err(EngineError::PacketType),
        }
    }

    fn form(self) -> Form<'a> {
        let (kind, data) = match self {
            Self::Binary(data) => return Form::Binary(data),
            Self::Open(data) => (b'0', data),
            Self::Close => (b'1', ""),
            Self::Ping(data) => (b'2', data),
            Self::Pong(data) => (b'3', data),
            Self::Text(data) => (b'4', data),
            Self::Upgrade => (b'5', ""),
            Self::Noop => (b'6', ""),
        };
        Form::Text { kind, data }
    }
}
