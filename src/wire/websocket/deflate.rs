//! What permessage-deflate does to messages (RFC 7692 §6 and §7.2), both ways. Who may do so is agreed on in
//! `extension.rs`.
//!
//! ```text
//!   frames of whole messages ─► Deflater ─► the same messages, compressed where that makes them smaller
//!   a compressed message ─────► Inflater ─► the message, no longer than it may be
//! ```
//!
//! A server's frame is a whole message here. Control frames are never compressed (§6.1); and any message may go as it is.
//!
//! Invariant: an inflater holds no more than the limit and one step more, whatever it is fed.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{FRAME_HEADER_BYTES_MAX, Opcode, WsError, frame::COMPRESSED, frame_header};
use crate::limits::STREAMS_PER_MESSAGE_MAX;

/// What ends a compressed message and is not sent (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Bits of the window of everything that is compressed: 4 KiB, beyond which messages of JSON gain little and a compressor
/// takes much more memory.
pub const WINDOW_BITS: u8 = 12;
/// How hard is tried: of zlib's levels, the first that finds what a JSON message repeats.
const LEVEL: u32 = 2;
/// Memory kept from one message to the next.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Room made for a message at first, while nothing is known of its size.
const STEP_BYTES: usize = 4 * 1024;

/// Compresses messages. Takes no memory before the first.
#[derive(Debug)]
pub struct Deflater {
    stream: Option<Compress>,
    /// Whether each message builds on those before.
    keeps_context: bool,
    payload: Vec<u8>,
}

/// Reads compressed messages, each of which begins anew. Takes no memory before the first.
#[derive(Debug, Default)]
pub struct Inflater {
    stream: Option<Decompress>,
    plain: Vec<u8>,
}

/// The sizes of messages that are compressed: smaller ones gain nothing, larger ones take too long at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compressible {
    /// The least payload.
    pub bytes_min: usize,
    /// The most.
    pub bytes_max: usize,
}

impl Deflater {
    /// A compressor for one connection, whose messages may build on each other, or for many, whose do not.
    pub fn new(keeps_context: bool) -> Self {
        Self { stream: None, keeps_context, payload: Vec::new() }
    }

    /// Appends `frames`, whole frames of a server each of which is a message or a control frame, and compresses what
    /// becomes smaller; tells how many messages did, and how many bytes were tried.
    pub fn deflate_frames(&mut self, frames: &[u8], sizes: Compressible, out: &mut Vec<u8>) -> (u32, usize) {
        let (mut rest, mut deflated, mut tried) = (frames, 0, 0);
        while let Some((header_bytes, payload_bytes)) = measured(rest) {
            let (frame, behind) = rest.split_at(header_bytes + payload_bytes);
            rest = behind;
            let payload = &frame[header_bytes..];
            // An empty message is as small as it gets, and gives a stream that has just been flushed nothing to write.
            if !is_message(frame)
                || payload_bytes == 0
                || !(sizes.bytes_min..=sizes.bytes_max).contains(&payload_bytes)
            {
                out.extend_from_slice(frame);
                continue;
            }
            tried += payload_bytes;
            self.deflate(payload);
            // What a kept context has taken in has to be sent.
            if self.payload.len() >= payload_bytes && !self.keeps_context {
                out.extend_from_slice(frame);
                continue;
            }
            deflated += 1;
            let opcode = if frame[0] & 0x0f == Opcode::Text as u8 { Opcode::Text } else { Opcode::Binary };
            let (mut header, length) = frame_header(self.payload.len(), opcode, true);
            header[0] |= COMPRESSED;
            out.extend_from_slice(&header[..length]);
            out.extend_from_slice(&self.payload);
        }
        debug_assert!(rest.is_empty(), "whole frames");
        self.payload.clear();
        self.payload.shrink_to(KEPT_BYTES_MAX);
        (deflated, tried)
    }

    /// Compresses one message (§7.2.1).
    fn deflate(&mut self, message: &[u8]) {
        let stream = self.stream.get_or_insert_with(|| {
            Compress::new_with_window_bits(Compression::new(LEVEL), false, WINDOW_BITS)
        });
        if !self.keeps_context {
            stream.reset();
        }
        let out = &mut self.payload;
        out.clear();
        out.reserve(message.len() + 64);
        let begun = stream.total_in();
        loop {
            let rest = &message[(stream.total_in() - begun) as usize..];
            stream.compress_vec(rest, out, FlushCompress::Sync).expect("a vector takes all");
            if out.len() < out.capacity() {
                break;
            }
            out.reserve(out.len());
        }
        debug_assert!(out.ends_with(&TAIL), "a flushed stream ends with an empty block");
        out.truncate(out.len() - TAIL.len());
    }
}

impl Inflater {
    /// What a compressed message says (§7.2.2), if that is no more than `bytes_max`. Lent until the next call.
    pub fn inflate(&mut self, payload: &[u8], bytes_max: u64) -> Result<&[u8], WsError> {
        self.forget();
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        stream.reset(false);
        let (plain, mut streams) = (&mut self.plain, 0);
        for piece in [payload, &TAIL] {
            let mut rest = piece;
            loop {
                if plain.len() == plain.capacity() {
                    let left = bytes_max.saturating_add(1).saturating_sub(plain.len() as u64);
                    plain.reserve_exact((plain.len().max(STEP_BYTES) as u64).min(left) as usize);
                }
                let (taken, given) = (stream.total_in(), plain.len());
                let status = stream
                    .decompress_vec(rest, plain, FlushDecompress::Sync)
                    .map_err(|_| WsError::CompressedData)?;
                let taken = (stream.total_in() - taken) as usize;
                rest = &rest[taken..];
                if plain.len() as u64 > bytes_max {
                    return Err(WsError::MessageTooBig);
                }
                if status == Status::StreamEnd {
                    // A block may be the last of its stream and not of its message (§7.2.3.4).
                    stream.reset(false);
                    streams += 1;
                    if rest.is_empty() {
                        return Ok(&self.plain);
                    }
                    if streams >= STREAMS_PER_MESSAGE_MAX {
                        return Err(WsError::CompressedData);
                    }
                    continue;
                }
                // Where room was left, nothing more comes of what was taken.
                if rest.is_empty() && plain.len() < plain.capacity() {
                    break;
                }
                if taken == 0 && plain.len() == given {
                    return Err(WsError::CompressedData);
                }
            }
        }
        Ok(&self.plain)
    }

    /// Gives back what a long message took.
    pub fn forget(&mut self) {
        self.plain.clear();
        self.plain.shrink_to(KEPT_BYTES_MAX);
    }
}

/// How long the header and the payload of the frame at the start of `frames` are.
fn measured(frames: &[u8]) -> Option<(usize, usize)> {
    let &[_, short, ref rest @ ..] = frames else { return None };
    Some(match short {
        126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?) as usize),
        short => (2, short.into()),
    })
}

/// Whether a frame is a message by itself.
fn is_message(frame: &[u8]) -> bool {
    matches!(frame[0], 0x81 | 0x82)
}

const _: () = assert!(FRAME_HEADER_BYTES_MAX >= 10);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::websocket::{encode_close, encode_frame};

    const ALL: Compressible = Compressible { bytes_min: 0, bytes_max: usize::MAX };

    fn inflate(payload: &[u8], bytes_max: u64) -> Result<Vec<u8>, WsError> {
        Inflater::default().inflate(payload, bytes_max).map(<[u8]>::to_vec)
    }

    /// The frames of `bytes`, each with its first byte and its payload as it was meant.
    fn read(mut bytes: &[u8], inflater: &mut impl FnMut(&[u8]) -> Vec<u8>) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        while let Some((header, payload)) = measured(bytes) {
            let (frame, rest) = bytes.split_at(header + payload);
            let plain = match frame[0] & COMPRESSED != 0 {
                true => inflater(&frame[header..]),
                false => frame[header..].to_vec(),
            };
            found.push((frame[0], plain));
            bytes = rest;
        }
        found
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // §7.2.3.1 to §7.2.3.6.
        for (payload, message) in [
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], &b"Hello"[..]),
            (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], b"Hello"),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello"),
            (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            (&[0x00], b""),
            // A stream that ends with its message, and two of them.
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            (
                &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
                b"HelloHello",
            ),
        ] {
            assert_eq!(inflate(payload, 100).as_deref(), Ok(message), "{payload:x?}");
        }
        // §7.2.3.2: the second message of a client that kept its context, which it may not here.
        let building_on = [0xf2, 0x00, 0x11, 0x00, 0x00];
        assert_eq!(inflate(&building_on, 100), Err(WsError::CompressedData));
    }

    #[test]
    fn a_message_is_made_of_few_streams() {
        let of = |count| inflate(&[0x03, 0x00].repeat(count), 100);
        assert_eq!(of(STREAMS_PER_MESSAGE_MAX), Ok(Vec::new()));
        assert_eq!(of(STREAMS_PER_MESSAGE_MAX + 1), Err(WsError::CompressedData));
    }

    #[test]
    fn what_is_no_deflate_is_told() {
        for garbage in [&b"\xff\xff\xff"[..], b"\x07", b"\x06", b"\x00\x05\x00\x05\x00Hello"] {
            assert_eq!(inflate(garbage, 100), Err(WsError::CompressedData), "{garbage:x?}");
        }
    }

    #[test]
    fn a_message_is_as_long_as_it_may_be_and_a_bomb_is_stopped_while_it_goes_off() {
        let bomb = |bytes: usize| {
            let mut frame = Vec::new();
            encode_frame(&mut frame, Opcode::Binary, true, &vec![0; bytes]);
            let mut out = Vec::new();
            assert_eq!(Deflater::new(false).deflate_frames(&frame, ALL, &mut out).0, 1);
            let (header, _) = measured(&out).expect("a frame");
            out[header..].to_vec()
        };
        for bytes in [100, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 100_000] {
            assert_eq!(inflate(&bomb(bytes), bytes as u64 - 1), Err(WsError::MessageTooBig), "{bytes}");
            assert_eq!(inflate(&bomb(bytes), bytes as u64), Ok(vec![0; bytes]));
        }
        let (mut inflater, huge) = (Inflater::default(), bomb(8 << 20));
        assert_eq!(inflater.inflate(&huge, 10_000), Err(WsError::MessageTooBig));
        assert!(inflater.plain.capacity() <= 20_000, "{}", inflater.plain.capacity());
        inflater.inflate(&bomb(1 << 20), 1 << 20).expect("it goes on with the next");
        inflater.forget();
        assert!(inflater.plain.capacity() <= KEPT_BYTES_MAX);
    }

    #[test]
    fn messages_within_the_sizes_are_compressed_and_what_gains_nothing_or_is_control_is_not() {
        let sizes = Compressible { bytes_min: 100, bytes_max: 1000 };
        let mut frames = Vec::new();
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..500).map(|_| random.u8(..)).collect();
        for (opcode, payload) in [
            (Opcode::Text, "x".repeat(99).into_bytes()),
            (Opcode::Text, "x".repeat(100).into_bytes()),
            (Opcode::Ping, vec![b'x'; 125]),
            (Opcode::Binary, vec![b'x'; 1000]),
            (Opcode::Binary, vec![b'x'; 1001]),
            (Opcode::Binary, noise),
        ] {
            encode_frame(&mut frames, opcode, true, &payload);
        }
        encode_close(&mut frames, 1000, &"x".repeat(120));
        let (mut out, mut inflater) = (Vec::new(), Inflater::default());
        assert_eq!(Deflater::new(false).deflate_frames(&frames, sizes, &mut out), (2, 1600));
        let firsts: Vec<_> = read(&out, &mut |_| Vec::new()).into_iter().map(|(first, _)| first).collect();
        assert_eq!(firsts, [0x81, 0xc1, 0x89, 0xc2, 0x82, 0x82, 0x88]);
        let plain = |bytes: &[u8], inflater: &mut Inflater| {
            read(bytes, &mut |payload| inflater.inflate(payload, 2000).unwrap().to_vec())
                .into_iter()
                .map(|(_, payload)| payload)
                .collect::<Vec<_>>()
        };
        assert_eq!(plain(&out, &mut inflater), plain(&frames, &mut inflater));
    }

    #[test]
    fn an_empty_message_leaves_as_it_is_also_where_a_context_is_kept() {
        let mut frames = Vec::new();
        for text in ["x".repeat(100), String::new(), "y".repeat(100)] {
            encode_frame(&mut frames, Opcode::Text, true, text.as_bytes());
        }
        for keeps_context in [false, true] {
            let mut out = Vec::new();
            assert_eq!(Deflater::new(keeps_context).deflate_frames(&frames, ALL, &mut out), (2, 200));
            let firsts: Vec<_> =
                read(&out, &mut |_| Vec::new()).into_iter().map(|(first, _)| first).collect();
            assert_eq!(firsts, [0xc1, 0x81, 0xc1]);
        }
    }

    #[test]
    fn a_context_that_is_kept_makes_the_same_again_tiny() {
        let mut frame = Vec::new();
        let text: String = (0..40).map(|n| format!("{{\"n\":{n},\"k\":{}}}", n * 7919)).collect();
        encode_frame(&mut frame, Opcode::Text, true, text.as_bytes());
        let size = |deflater: &mut Deflater| {
            let mut out = Vec::new();
            deflater.deflate_frames(&frame, ALL, &mut out);
            out.len()
        };
        let (mut own, mut shared) = (Deflater::new(true), Deflater::new(false));
        let (first, second) = (size(&mut own), size(&mut own));
        assert!(second < first / 4, "{first} {second}");
        assert_eq!((size(&mut shared), size(&mut shared)), (first, first));
    }

    proptest! {
        #[test]
        fn whatever_is_compressed_is_read_as_it_was(
            messages in prop::collection::vec(prop::collection::vec(0_u8..4, 0..6000), 1..5),
            keeps_context: bool,
        ) {
            let (mut deflater, mut frames) = (Deflater::new(keeps_context), Vec::new());
            for message in &messages {
                encode_frame(&mut frames, Opcode::Binary, true, message);
            }
            let mut out = Vec::new();
            deflater.deflate_frames(&frames, ALL, &mut out);
            let mut kept = Decompress::new(false);
            let found = read(&out, &mut |payload| {
                if !keeps_context {
                    return inflate(payload, 6000).expect("it is right");
                }
                let mut plain = Vec::with_capacity(8000);
                for piece in [payload, &TAIL] {
                    kept.decompress_vec(piece, &mut plain, FlushDecompress::Sync).expect("it is right");
                }
                plain
            });
            let found: Vec<_> = found.into_iter().map(|(_, payload)| payload).collect();
            prop_assert_eq!(found, messages);
        }
    }
}
