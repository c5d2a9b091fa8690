//! Many packets as the body of one polling request or answer, joined by U+001E. One packet is in `packet.rs`.
//!
//! ```text
//!   4hello ␞ 2 ␞ bAQIDBA==      Text("hello"), Ping(""), Binary([1, 2, 3, 4])
//! ```
//!
//! Nothing marks where a packet's data ends but the separator, so data must not hold it. Socket.IO's never does: JSON
//! escapes control characters, and `wire::socketio` takes no namespace with one.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{EngineError, Packet, decode_text};
use crate::wire::websocket::{self, Opcode, frame_header};

/// What stands between two packets.
pub const PAYLOAD_SEPARATOR: u8 = 0x1e;

/// The packets of a polling request's body, read one after another.
#[derive(Clone, Debug)]
pub struct Payload<'a> {
    /// What has not been read; `None` behind the last packet.
    rest: Option<&'a str>,
}

impl<'a> Payload<'a> {
    /// Takes a body. One with too many packets is refused before any of them takes effect.
    pub fn new(body: &'a [u8], packets_max: usize) -> Result<Self, EngineError> {
        let text = simdutf8::basic::from_utf8(body).map_err(|_| EngineError::NotUtf8)?;
        if memchr::memchr_iter(PAYLOAD_SEPARATOR, body).count() >= packets_max {
            return Err(EngineError::PacketsTooMany);
        }
        Ok(Self { rest: Some(text) })
    }

    /// Goes on with what [`Self::rest`] gave.
    pub fn resume(rest: &'a str) -> Self {
        Self { rest: Some(rest) }
    }

    /// What has not been read; `None` behind the last packet.
    pub fn rest(&self) -> Option<&'a str> {
        self.rest
    }

    /// Reads the next packet; `scratch` receives the bytes of a binary one. Nothing follows an error.
    pub fn decode_next<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Option<Result<Packet<'s>, EngineError>>
    where
        'a: 's,
    {
        let rest = self.rest?;
        let (text, behind) = match memchr::memchr(PAYLOAD_SEPARATOR, rest.as_bytes()) {
            Some(end) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        let packet = decode_text(text, scratch);
        self.rest = if packet.is_ok() { behind } else { None };
        Some(packet)
    }
}

/// Appends a packet to `payload`, which holds packets of one body and nothing else.
pub fn encode_into_payload(payload: &mut Vec<u8>, packet: Packet<'_>) {
    if !payload.is_empty() {
        payload.push(PAYLOAD_SEPARATOR);
    }
    packet.encode_text(payload);
}

/// Appends the packets of a payload as a server's WebSocket frames: what waited for a poll when the client went over
/// to a WebSocket. After an error nothing is appended.
///
/// With `is_base64` bytes stay text, for clients that asked for `b64`.
pub fn reframe_payload(out: &mut Vec<u8>, payload: &str, is_base64: bool) -> Result<(), EngineError> {
    let start = out.len();
    out.reserve(payload.len());
    let result =
        payload.split(char::from(PAYLOAD_SEPARATOR)).try_for_each(|text| match text.strip_prefix('b') {
            Some(base64) if !is_base64 => encode_base64_frame(out, base64),
            _ => {
                if !text.starts_with('b') {
                    Packet::decode_plain(text)?;
                }
                websocket::encode_frame(out, Opcode::Text, true, text.as_bytes());
                Ok(())
            }
        });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends what `base64` holds as a binary frame, without a copy between.
fn encode_base64_frame(out: &mut Vec<u8>, base64: &str) -> Result<(), EngineError> {
    let padding = base64.bytes().rev().take_while(|byte| *byte == b'=').count();
    let bytes = (base64.len() / 4 * 3).checked_sub(padding).ok_or(EngineError::Base64)?;
    let (header, length) = frame_header(bytes, Opcode::Binary, true);
    out.extend_from_slice(&header[..length]);
    let start = out.len();
    out.resize(start + bytes, 0);
    match STANDARD.decode_slice(base64, &mut out[start..]) {
        Ok(written) if written == bytes => Ok(()),
        Ok(_) | Err(_) => Err(EngineError::Base64),
    }
}
