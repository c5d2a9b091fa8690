//! The bodies of the fuzz targets `websocket` and `deflate`, and the driver that the decoder's tests share with it.
//!
//! The properties: what is decoded depends on the bytes alone, not on how they arrive; no more is kept than the
//! limits allow; and what was decoded, encoded again by the other end, decodes to the same.

use super::{
    Compressible, Decoder, Deflater, Inflater, Opcode, Role, Settings, Step, WsError, encode_frame,
    encode_frame_masked,
};
use crate::limits::INFLATED_BYTES_PER_BLOCK;

/// A step that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Everything a decoder said about some bytes: whether it ended idle, or in what error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transcript {
    pub steps: Vec<Owned>,
    pub end: Result<bool, WsError>,
}

/// Asserts the properties for `data`, read as a client's frames and as a server's.
pub fn fuzz(data: &[u8]) {
    for role in [Role::Server, Role::Client] {
        let settings = Settings { role, message_bytes_max: 300, fragments_max: 4, compression: false };
        let whole = transcribe([data], &settings);
        assert_eq!(whole, transcribe(data.chunks(1), &settings), "byte by byte");
        assert_eq!(whole, transcribe(data.chunks(7), &settings), "in pieces of 7");
        let at = data.first().map_or(0, |byte| usize::from(*byte) % data.len());
        assert_eq!(whole, transcribe([&data[..at], &data[at..]], &settings), "split at {at}");
        let again = transcribe([&encode(&whole.steps, role)[..]], &settings);
        assert_eq!(again, Transcript { steps: whole.steps, end: Ok(true) }, "encoded again");
    }
}

/// Asserts that `data`, read as a compressed message, comes to no more than it may; and that `data`, and whatever it comes to,
/// is read as it was once it has been compressed.
pub fn fuzz_deflate(data: &[u8]) {
    const BYTES_MAX: u64 = 1_000;
    let mut inflater = Inflater::default();
    let inflated = inflate(&mut inflater, data, BYTES_MAX, usize::MAX);
    if let Ok(plain) = &inflated {
        assert!(plain.len() as u64 <= BYTES_MAX);
        assert_eq!(deflated(&mut inflater, plain), *plain);
    }
    assert_eq!(deflated(&mut inflater, data), data);
    assert_eq!(inflate(&mut inflater, data, BYTES_MAX, usize::MAX), inflated, "once more");
    for at_once in [1, INFLATED_BYTES_PER_BLOCK + 1, 3 * INFLATED_BYTES_PER_BLOCK] {
        assert_eq!(inflate(&mut inflater, data, BYTES_MAX, at_once), inflated, "bit by bit");
    }
}

/// What a compressed message comes to when no more than `at_once` is spent at a time.
fn inflate(inflater: &mut Inflater, data: &[u8], bytes_max: u64, at_once: usize) -> Result<Vec<u8>, WsError> {
    // Each call takes or gives something, but for a few steps; blocks of no length take ten bits.
    for _ in 0..16 * data.len() as u64 + bytes_max + 100 {
        let mut left = at_once;
        if let Some(plain) = inflater.inflate(data, bytes_max, &mut left)? {
            return Ok(plain.to_vec());
        }
        assert_eq!(left, 0, "it stops when all is spent");
    }
    panic!("it does not come to an end");
}

/// What a message is read as that left compressed.
fn deflated(inflater: &mut Inflater, message: &[u8]) -> Vec<u8> {
    let sizes = Compressible { bytes_min: 0, bytes_max: usize::MAX };
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    encode_frame(&mut frame, Opcode::Binary, true, message);
    match Deflater::new(false).deflate_frames(&frame, sizes, usize::MAX, &mut out) {
        (0, _) => {
            assert_eq!(out, frame);
            message.to_vec()
        }
        _ => {
            let header_bytes = match out[1] {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            inflate(inflater, &out[header_bytes..], message.len() as u64, usize::MAX)
                .expect("it was just made")
        }
    }
}

/// Feeds `pieces` to a new decoder. Stops behind a close frame, as a session does.
pub(super) fn transcribe<'d>(pieces: impl IntoIterator<Item = &'d [u8]>, settings: &Settings) -> Transcript {
    let (mut decoder, mut steps) = (Decoder::default(), Vec::new());
    for piece in pieces {
        match feed(&mut decoder, piece, settings, &mut steps) {
            Ok(false) => {}
            Ok(true) => return Transcript { steps, end: Ok(true) },
            Err(error) => return Transcript { steps, end: Err(error) },
        }
        // A message, and beside it a control frame.
        let kept_max = settings.message_bytes_max as usize + 125;
        assert!(decoder.buffered_bytes() <= kept_max, "keeps {} bytes", decoder.buffered_bytes());
    }
    Transcript { steps, end: Ok(decoder.is_idle()) }
}

/// True when the peer closed.
fn feed(
    decoder: &mut Decoder,
    piece: &[u8],
    settings: &Settings,
    steps: &mut Vec<Owned>,
) -> Result<bool, WsError> {
    let (mut input, mut at) = (piece.to_vec(), 0);
    loop {
        let (owned, taken) = match decoder.decode(&mut input[at..], settings)? {
            Step::NeedMore => return Ok(false),
            Step::Message { is_text: true, data, consumed, .. } => {
                let text = std::str::from_utf8(data).expect("a text message is UTF-8");
                (Owned::Text(text.to_owned()), consumed)
            }
            Step::Message { is_text: false, data, consumed, .. } => (Owned::Binary(data.to_vec()), consumed),
            Step::Ping { data, consumed } => (Owned::Ping(data.to_vec()), consumed),
            Step::Pong { data, consumed } => (Owned::Pong(data.to_vec()), consumed),
            Step::Close { code, reason, consumed } => (Owned::Close(code, reason.to_owned()), consumed),
        };
        at += taken;
        let is_close = matches!(owned, Owned::Close(..));
        steps.push(owned);
        if is_close {
            return Ok(true);
        }
    }
}

/// Encodes steps as the peer of `role` sends them.
pub(super) fn encode(steps: &[Owned], role: Role) -> Vec<u8> {
    let mut out = Vec::new();
    for step in steps {
        let (opcode, payload) = match step {
            Owned::Text(text) => (Opcode::Text, text.clone().into_bytes()),
            Owned::Binary(data) => (Opcode::Binary, data.clone()),
            Owned::Ping(data) => (Opcode::Ping, data.clone()),
            Owned::Pong(data) => (Opcode::Pong, data.clone()),
            Owned::Close(code, reason) => {
                let code = code.iter().flat_map(|code| code.to_be_bytes());
                (Opcode::Close, code.chain(reason.bytes()).collect())
            }
        };
        match role {
            Role::Server => encode_frame_masked(&mut out, opcode, true, &payload, [1, 0x80, 0xff, 0]),
            Role::Client => encode_frame(&mut out, opcode, true, &payload),
        }
    }
    out
}
