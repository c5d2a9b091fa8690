//! The body of the fuzz target `engineio`, and the driver that the tests share with it.
//!
//! The properties: packets read from a payload make that very payload again, for there is one way to write each; and
//! as WebSocket frames, however these arrive, the payload holds the same packets. A query never fails, and an id in it
//! has one text.

use super::{
    EngineError, Packet, Payload, Query, decode_binary, decode_text, encode_frame, encode_into_payload,
    reframe_payload,
};
use crate::wire::websocket::{Decoder, Role, Settings, Step};

const PACKETS_MAX: usize = 8;

/// A packet that owns its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    Open(String),
    Close,
    Ping(String),
    Pong(String),
    Text(String),
    Binary(Vec<u8>),
    Upgrade,
    Noop,
}

/// Asserts the properties for `data`, read as a polling body and as a request's target.
pub fn fuzz(data: &[u8]) {
    if let Ok(target) = std::str::from_utf8(data)
        && let Some(Ok(sid)) = Query::decode(target).sid
    {
        let again = Query::decode(&format!("/?sid={sid}")).sid.and_then(Result::ok);
        assert_eq!(again.map(|again| again.to_string()), Some(sid.to_string()));
    }
    let (packets, end) = decode_payload(data, PACKETS_MAX);
    assert!(packets.len() <= PACKETS_MAX);
    let text = encode_payload(&packets);
    match end {
        Ok(()) => assert_eq!(text, data, "encoded again"),
        Err(error) => check_refusal(data, error),
    }
    if packets.is_empty() {
        return;
    }
    let text = String::from_utf8(text).expect("a payload is text");
    let mut frames = Vec::new();
    assert_eq!(reframe_payload(&mut frames, &text, false), Ok(()));
    let mut one_by_one = Vec::new();
    packets.iter().for_each(|packet| encode_frame(&mut one_by_one, packet.lend()));
    assert_eq!(frames, one_by_one, "frames");
    for piece in [1, 7, frames.len()] {
        assert_eq!(decode_frames(frames.chunks(piece)), packets, "in pieces of {piece}");
    }
}

/// What is refused as a polling body is not taken as frames either, and leaves nothing behind.
fn check_refusal(data: &[u8], error: EngineError) {
    let Ok(text) = std::str::from_utf8(data) else {
        assert_eq!(error, EngineError::NotUtf8);
        return;
    };
    if error != EngineError::PacketsTooMany {
        let mut frames = b"before".to_vec();
        assert_eq!(reframe_payload(&mut frames, text, false), Err(error));
        assert_eq!(frames, b"before");
    }
}

/// The packets of a polling body up to its end or first fault.
pub(super) fn decode_payload(body: &[u8], packets_max: usize) -> (Vec<Owned>, Result<(), EngineError>) {
    let (mut packets, mut scratch) = (Vec::new(), b"of before".to_vec());
    let mut payload = match Payload::new(body, packets_max) {
        Ok(payload) => payload,
        Err(error) => return (packets, Err(error)),
    };
    while let Some(packet) = payload.decode_next(&mut scratch) {
        match packet {
            Ok(packet) => packets.push(Owned::of(packet)),
            Err(error) => {
                assert!(payload.decode_next(&mut scratch).is_none(), "an error is the end");
                return (packets, Err(error));
            }
        }
    }
    (packets, Ok(()))
}

pub(super) fn encode_payload(packets: &[Owned]) -> Vec<u8> {
    let mut body = Vec::new();
    packets.iter().for_each(|packet| encode_into_payload(&mut body, packet.lend()));
    body
}

/// The packets of a server's frames, as a client reads them.
pub(super) fn decode_frames<'d>(pieces: impl IntoIterator<Item = &'d [u8]>) -> Vec<Owned> {
    let settings =
        Settings { role: Role::Client, message_bytes_max: 1 << 20, fragments_max: 1, compression: false };
    let (mut decoder, mut packets, mut scratch) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let (mut input, mut at) = (piece.to_vec(), 0);
        while let Step::Message { is_text, data, consumed, .. } =
            decoder.decode(&mut input[at..], &settings).expect("sound frames")
        {
            at += consumed;
            packets.push(match is_text {
                false => Owned::of(decode_binary(data)),
                true => {
                    let text = std::str::from_utf8(data).expect("a text message is UTF-8");
                    Owned::of(decode_text(text, &mut scratch).expect("a sound packet"))
                }
            });
        }
    }
    assert!(decoder.is_idle(), "half a frame is left");
    packets
}

impl Owned {
    pub fn of(packet: Packet<'_>) -> Self {
        match packet {
            Packet::Open(data) => Self::Open(data.to_owned()),
            Packet::Close => Self::Close,
            Packet::Ping(data) => Self::Ping(data.to_owned()),
            Packet::Pong(data) => Self::Pong(data.to_owned()),
            Packet::Text(data) => Self::Text(data.to_owned()),
            Packet::Binary(data) => Self::Binary(data.to_vec()),
            Packet::Upgrade => Self::Upgrade,
            Packet::Noop => Self::Noop,
        }
    }

    pub fn lend(&self) -> Packet<'_> {
        match self {
            Self::Open(data) => Packet::Open(data),
            Self::Close => Packet::Close,
            Self::Ping(data) => Packet::Ping(data),
            Self::Pong(data) => Packet::Pong(data),
            Self::Text(data) => Packet::Text(data),
            Self::Binary(data) => Packet::Binary(data),
            Self::Upgrade => Packet::Upgrade,
            Self::Noop => Packet::Noop,
        }
    }
}
