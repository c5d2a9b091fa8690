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
//! What a message costs to inflate is not told by its length, on neither side: a kilobyte may come to a megabyte, and a megabyte
//! of empty blocks, each with a table of its own, to nothing at all. So a message is inflated step by step, no more than one
//! block and so much output each, and each step is paid for out of what its caller may spend; one that costs more goes on
//! later.
//!
//! Invariant: an inflater holds no more than the limit and one step more, whatever it is fed; and no call does more than it was
//! paid for, and one step.

use flate2::{Compress, Compression, FlushCompress};
use zlib_rs::{Inflate, InflateFlush, Status};

use super::{FRAME_HEADER_BYTES_MAX, Opcode, WsError, frame::COMPRESSED, frame_header};
use crate::limits::{INFLATED_BYTES_PER_BLOCK, STREAMS_PER_MESSAGE_MAX};

/// What ends a compressed message and is not sent (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Bits of the window of everything that is compressed: 4 KiB, beyond which messages of JSON gain little and a compressor
/// takes much more memory.
pub const WINDOW_BITS: u8 = 12;
/// How hard is tried: of zlib's levels, the first that finds what a JSON message repeats.
const LEVEL: u32 = 2;
/// Memory kept from one message to the next.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Room made for a message at first, while nothing is known of its size, and the most that one step fills.
const STEP_BYTES: usize = 4 * 1024;
const STEP_BYTES_MAX: usize = 64 * 1024;
/// How far a message may reach back (§7.1.2).
const INFLATED_WINDOW_BITS: u8 = 15;
/// Steps in a row that take nothing and give nothing. A reader of bits has some in hand, and a block of ten of them is one.
const IDLE_STEPS_MAX: u32 = 8;

/// Compresses messages. Takes no memory before the first.
#[derive(Debug)]
pub struct Deflater {
    stream: Option<Compress>,
    /// Whether each message builds on those before.
    keeps_context: bool,
    payload: Vec<u8>,
}

/// Reads compressed messages, each of which begins anew. Takes no memory before the first.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Inflate>,
    /// Room, and how much of it the message fills.
    plain: Vec<u8>,
    given: usize,
    /// How much has been taken of the message, and of the tail that belongs behind it.
    taken: usize,
    streams: usize,
    idle_steps: u32,
    is_under_way: bool,
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
    /// becomes smaller, until `bytes_max` have been tried; tells how many messages did, and how many bytes were tried, no more
    /// than one message beyond that.
    pub fn deflate_frames(
        &mut self,
        frames: &[u8],
        sizes: Compressible,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> (u32, usize) {
        let (mut rest, mut deflated, mut tried) = (frames, 0, 0);
        while let Some((header_bytes, payload_bytes)) = measured(rest) {
            let (frame, behind) = rest.split_at(header_bytes + payload_bytes);
            rest = behind;
            let payload = &frame[header_bytes..];
            // An empty message is as small as it gets, and gives a stream that has just been flushed nothing to write.
            if !is_message(frame)
                || payload_bytes == 0
                || tried >= bytes_max
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

    /// The next message builds on none before it.
    pub fn begin_anew(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.reset();
        }
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
    /// What a compressed message says (§7.2.2), if that is no more than `bytes_max`; lent until the next call. `None` once
    /// `left` has been spent: then it goes on when it is called with the same message again. What a step costs is the bytes
    /// that it gives, and [`INFLATED_BYTES_PER_BLOCK`].
    pub fn inflate(
        &mut self,
        payload: &[u8],
        bytes_max: u64,
        left: &mut usize,
    ) -> Result<Option<&[u8]>, WsError> {
        if !std::mem::replace(&mut self.is_under_way, true) {
            self.begin();
        }
        while *left > 0 {
            let before = self.given;
            let step = self.step(payload, bytes_max);
            *left = left.saturating_sub(INFLATED_BYTES_PER_BLOCK + self.given - before);
            match step {
                Ok(false) => {}
                Ok(true) => {
                    self.is_under_way = false;
                    return Ok(Some(&self.plain[..self.given]));
                }
                Err(error) => {
                    self.is_under_way = false;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Memory taken by a message that is under way.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + INFLATER_BYTES + self.plain.capacity()
    }

    /// Gives back what a long message took. One that was under way is none any more.
    pub fn forget(&mut self) {
        self.is_under_way = false;
        self.plain.truncate(KEPT_BYTES_MAX);
        self.plain.shrink_to(KEPT_BYTES_MAX);
    }

    fn begin(&mut self) {
        (self.given, self.taken, self.streams, self.idle_steps) = (0, 0, 0, 0);
        self.stream.get_or_insert_with(|| Inflate::new(false, INFLATED_WINDOW_BITS)).reset(false);
    }

    /// One block, or as much of it as there is room for; tells whether it was the last.
    fn step(&mut self, payload: &[u8], bytes_max: u64) -> Result<bool, WsError> {
        let is_tail = self.taken >= payload.len();
        let rest = if is_tail { &TAIL[self.taken - payload.len()..] } else { &payload[self.taken..] };
        let room = self.make_room(bytes_max);
        let stream = self.stream.as_mut().expect("a message has begun");
        // Of four bytes there is no more than a few blocks, and behind them none.
        let flush = if is_tail { InflateFlush::SyncFlush } else { InflateFlush::Block };
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress(rest, &mut self.plain[self.given..self.given + room], flush)
            .map_err(|_| WsError::CompressedData)?;
        let taken = (stream.total_in() - before_in) as usize;
        let given = (stream.total_out() - before_out) as usize;
        self.taken += taken;
        self.given += given;
        if self.given as u64 > bytes_max {
            return Err(WsError::MessageTooBig);
        }
        if status == Status::StreamEnd {
            // A block may be the last of its stream and not of its message (§7.2.3.4).
            stream.reset(false);
            self.streams += 1;
            let is_whole = taken == rest.len() || self.taken == payload.len();
            if !is_whole && self.streams >= STREAMS_PER_MESSAGE_MAX {
                return Err(WsError::CompressedData);
            }
            return Ok(is_whole);
        }
        self.idle_steps = if taken + given > 0 { 0 } else { self.idle_steps + 1 };
        // Where room was left, nothing more comes of what was taken.
        let is_whole = is_tail && taken == rest.len() && given < room;
        if !is_whole && self.idle_steps >= IDLE_STEPS_MAX {
            return Err(WsError::CompressedData);
        }
        Ok(is_whole)
    }

    /// Makes room for one step: as much again as there is already, and no more than one byte beyond what may be.
    fn make_room(&mut self, bytes_max: u64) -> usize {
        let left = bytes_max.saturating_add(1).saturating_sub(self.given as u64);
        let room = self.given.clamp(STEP_BYTES, STEP_BYTES_MAX).min(left as usize);
        let wanted = self.given + room;
        if self.plain.len() < wanted {
            let grown = (self.plain.len() as u64 * 2).min(bytes_max.saturating_add(1)) as usize;
            self.plain.reserve_exact(grown.max(wanted) - self.plain.len());
            self.plain.resize(wanted, 0);
        }
        room
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

/// What an inflater takes before the first byte: its tables, and a window.
const INFLATER_BYTES: usize = 48 * 1024;

const _: () = assert!(FRAME_HEADER_BYTES_MAX >= 10);

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::websocket::{encode_close, encode_frame};

    const ALL: Compressible = Compressible { bytes_min: 0, bytes_max: usize::MAX };

    fn inflate(payload: &[u8], bytes_max: u64) -> Result<Vec<u8>, WsError> {
        inflate_with(&mut Inflater::default(), payload, bytes_max)
    }

    fn inflate_with(inflater: &mut Inflater, payload: &[u8], bytes_max: u64) -> Result<Vec<u8>, WsError> {
        let plain = inflater.inflate(payload, bytes_max, &mut usize::MAX.clone());
        plain.map(|plain| plain.expect("nothing bounds it").to_vec())
    }

    /// So many blocks, each with tables of its own and nothing in it.
    fn empty_blocks(count: usize) -> Vec<u8> {
        let (mut bytes, mut filled) = (Vec::new(), 0);
        let mut write = |values: &[(u32, u32)]| {
            for (value, bits) in values {
                for bit in 0..*bits {
                    if filled % 8 == 0 {
                        bytes.push(0);
                    }
                    *bytes.last_mut().expect("a byte") |= (((value >> bit) & 1) as u8) << (filled % 8);
                    filled += 1;
                }
            }
        };
        for _ in 0..count {
            // RFC 1951 §3.2.7: a dynamic block of 257 literals, one distance and 18 lengths of codes, of which those of 18 and
            // of 1 are one bit.
            write(&[(0b100, 3), (0, 5), (0, 5), (14, 4)]);
            for place in 0..18 {
                write(&[(u32::from(place == 2 || place == 17), 3)]);
            }
            // 256 literals that do not occur, the end of the block, and a distance; and that end.
            write(&[(1, 1), (138 - 11, 7), (1, 1), (118 - 11, 7), (0, 1), (0, 1), (0, 1)]);
        }
        // The head of an empty stored block.
        write(&[(0, 3)]);
        bytes
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
    fn what_is_inflated_is_paid_for_by_its_output_and_by_its_blocks_and_goes_on_where_it_stopped() {
        const LEFT: usize = 64 * 1024;
        let zeros: Vec<u8> = {
            let (mut out, mut frame) = (Vec::new(), Vec::new());
            encode_frame(&mut frame, Opcode::Binary, true, &vec![0; 1 << 20]);
            Deflater::new(false).deflate_frames(&frame, ALL, usize::MAX, &mut out);
            out[measured(&out).expect("a frame").0..].to_vec()
        };
        for (payload, len, calls_min) in [
            (zeros, 1 << 20, (1 << 20) / LEFT),
            (empty_blocks(10_000), 0, 10_000 * INFLATED_BYTES_PER_BLOCK / LEFT),
        ] {
            let (mut inflater, mut calls) = (Inflater::default(), 1);
            loop {
                let mut left = LEFT;
                let given = inflater.given;
                let plain = inflater.inflate(&payload, 1 << 20, &mut left).expect("it is right");
                if let Some(plain) = plain {
                    assert_eq!(plain, vec![0; len]);
                    break;
                }
                assert_eq!(left, 0);
                assert!(inflater.given - given.min(inflater.given) <= LEFT + STEP_BYTES_MAX);
                calls += 1;
            }
            assert!((calls_min..=2 * calls_min).contains(&calls), "{calls} calls for {len} bytes");
        }
    }

    #[test]
    fn what_fails_is_paid_for_as_well() {
        let mut payload = empty_blocks(100);
        payload.extend([0xff; 8]);
        let mut left = usize::MAX;
        assert_eq!(Inflater::default().inflate(&payload, 100, &mut left), Err(WsError::CompressedData));
        assert!(usize::MAX - left >= 100 * INFLATED_BYTES_PER_BLOCK);
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
            assert_eq!(Deflater::new(false).deflate_frames(&frame, ALL, usize::MAX, &mut out).0, 1);
            let (header, _) = measured(&out).expect("a frame");
            out[header..].to_vec()
        };
        for bytes in [100, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 100_000] {
            assert_eq!(inflate(&bomb(bytes), bytes as u64 - 1), Err(WsError::MessageTooBig), "{bytes}");
            assert_eq!(inflate(&bomb(bytes), bytes as u64), Ok(vec![0; bytes]));
        }
        let (mut inflater, huge) = (Inflater::default(), bomb(8 << 20));
        assert_eq!(inflate_with(&mut inflater, &huge, 10_000), Err(WsError::MessageTooBig));
        assert!(inflater.plain.capacity() <= 20_000, "{}", inflater.plain.capacity());
        inflate_with(&mut inflater, &bomb(1 << 20), 1 << 20).expect("it goes on with the next");
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
        assert_eq!(Deflater::new(false).deflate_frames(&frames, sizes, usize::MAX, &mut out), (2, 1600));
        let firsts: Vec<_> = read(&out, &mut |_| Vec::new()).into_iter().map(|(first, _)| first).collect();
        assert_eq!(firsts, [0x81, 0xc1, 0x89, 0xc2, 0x82, 0x82, 0x88]);
        let plain = |bytes: &[u8], inflater: &mut Inflater| {
            read(bytes, &mut |payload| inflate_with(inflater, payload, 2000).unwrap())
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
            assert_eq!(
                Deflater::new(keeps_context).deflate_frames(&frames, ALL, usize::MAX, &mut out),
                (2, 200)
            );
            let firsts: Vec<_> =
                read(&out, &mut |_| Vec::new()).into_iter().map(|(first, _)| first).collect();
            assert_eq!(firsts, [0xc1, 0x81, 0xc1]);
        }
    }

    #[test]
    fn many_messages_are_compressed_until_so_many_bytes_have_been_tried_and_the_rest_leave_as_they_are() {
        let mut frames = Vec::new();
        (0..10).for_each(|_| encode_frame(&mut frames, Opcode::Text, true, &[b'x'; 1000]));
        for keeps_context in [false, true] {
            for (bytes_max, deflated) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (9999, 10), (usize::MAX, 10)]
            {
                let (mut deflater, mut out) = (Deflater::new(keeps_context), Vec::new());
                let (count, tried) = deflater.deflate_frames(&frames, ALL, bytes_max, &mut out);
                assert_eq!((count, tried), (deflated, 1000 * deflated as usize), "{bytes_max}");
                let firsts = read(&out, &mut |_| Vec::new());
                assert_eq!(firsts.iter().filter(|(first, _)| *first == 0xc1).count(), deflated as usize);
                assert_eq!(firsts.len(), 10);
            }
        }
    }

    #[test]
    fn a_context_that_is_kept_makes_the_same_again_tiny() {
        let mut frame = Vec::new();
        let text: String = (0..40).map(|n| format!("{{\"n\":{n},\"k\":{}}}", n * 7919)).collect();
        encode_frame(&mut frame, Opcode::Text, true, text.as_bytes());
        let size = |deflater: &mut Deflater| {
            let mut out = Vec::new();
            deflater.deflate_frames(&frame, ALL, usize::MAX, &mut out);
            out.len()
        };
        let (mut own, mut shared) = (Deflater::new(true), Deflater::new(false));
        let (first, second) = (size(&mut own), size(&mut own));
        assert!(second < first / 4, "{first} {second}");
        assert_eq!((size(&mut shared), size(&mut shared)), (first, first));
    }

    proptest! {
        #[test]
        fn what_it_comes_to_does_not_depend_on_how_often_it_stops(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            left in 1_usize..5000,
        ) {
            let mut inflater = Inflater::default();
            let bit_by_bit = loop {
                match inflater.inflate(&payload, 1000, &mut left.clone()) {
                    Ok(None) => {}
                    Ok(Some(plain)) => break Ok(plain.to_vec()),
                    Err(error) => break Err(error),
                }
            };
            prop_assert_eq!(bit_by_bit, inflate(&payload, 1000));
        }

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
            deflater.deflate_frames(&frames, ALL, usize::MAX, &mut out);
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
