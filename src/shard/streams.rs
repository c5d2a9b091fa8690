//! One stream of compression for each channel: what its subscribers are sent builds on what they were sent before, and is
//! compressed once for all of them (`websocket.compression = "channel"`).
//!
//! A client's window is what it has inflated last. So a piece of a stream is for those whose window ends with the piece before
//! it, and for nobody else. Every [`STREAM_MESSAGES_MAX`] messages a stream begins anew, which everybody can read; in between
//! those who came later, or were sent something else that was compressed, get each message by itself:
//!
//! ```text
//!   stream     ├─1──2──3──4─┤├─5──6──7──…        1 and 5 begin anew
//!   from 1 on    1  2  3  4    5  6  7
//!   from 3 on          3' 4'   5  6  7           3' and 4' stand by themselves
//! ```
//!
//! Which piece a client's window ends with is a number for each connection, four bytes; pieces are numbered without regard to
//! their streams. So a connection may follow several channels, come and go, or be sent what it asked for: a piece goes out only
//! to those that the numbers prove to be able to read it. What leaves as it is changes no window.
//!
//! Invariant: the number of a connection is that of the piece which it was sent last of all that was compressed, or 0; and what
//! it has been sent of a stream is never dropped while it lives.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::{
    limits::{STREAM_MESSAGES_MAX, STREAMED_BYTES_MIN},
    model::{ChannelName, Position, Transport},
    ring::Encoded,
    wire::websocket::{Compressible, Deflater},
};

/// The streams of a shard, and who can read which.
pub(super) struct Streams {
    slots: Vec<Stream>,
    places: FxHashMap<(ChannelName, Transport), usize>,
    /// By connection: the piece that its window ends with, [`NOTHING`], or [`NEVER`].
    heard: Vec<u32>,
    /// Pieces made.
    pieces: u32,
    /// Fan-outs begun.
    begun: u64,
    /// What is being handed out, and by which stream it is compressed.
    current: Option<(Rc<Encoded>, usize)>,
    has_pieces: bool,
}

/// One channel's, for one transport.
struct Stream {
    key: (ChannelName, Transport),
    deflater: Deflater,
    /// Messages handed out since it began.
    messages: usize,
    /// Whether the next piece begins anew.
    is_due: bool,
    /// The piece that it ends with.
    latest: u32,
    /// When it was last used, in fan-outs.
    used: u64,
    piece: Option<Piece>,
}

/// What is being handed out, in as many turns as that takes.
struct Piece {
    first: Position,
    plain: Rc<Encoded>,
    made: Made,
}

/// What has become of it.
enum Made {
    /// Nothing: nobody has been met who can read it.
    Not,
    /// It leaves as it is.
    Plain,
    /// It is compressed, for those whose window ends with `before`.
    Piece { before: u32, number: u32, bytes: Rc<Encoded> },
}

/// The window ends with nothing that a stream could go on from.
const NOTHING: u32 = 0;
/// The client has asked that each message begin anew.
const NEVER: u32 = u32::MAX;

impl Streams {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            places: FxHashMap::default(),
            heard: Vec::new(),
            pieces: 0,
            begun: 0,
            current: None,
            has_pieces: false,
        }
    }

    /// A connection has agreed to compression; `may_follow` is whether messages may build on each other.
    pub(super) fn enter(&mut self, index: u32, may_follow: bool) {
        let index = index as usize;
        if self.heard.len() <= index {
            self.heard.resize(index + 1, NOTHING);
        }
        self.heard[index] = if may_follow { NOTHING } else { NEVER };
    }

    /// Whether messages for a connection may build on each other.
    pub(super) fn may_follow(&self, index: u32) -> bool {
        self.heard.get(index as usize).is_some_and(|heard| *heard != NEVER)
    }

    /// A connection is sent something else that is compressed.
    pub(super) fn interrupt(&mut self, index: u32) {
        if let Some(heard) = self.heard.get_mut(index as usize).filter(|heard| **heard != NEVER) {
            *heard = NOTHING;
        }
    }

    /// `plain` is going to be handed out to subscribers of a channel: so many messages, of which the first has this position.
    /// No more than `streams_max` channels have a stream at a time; that which was used the longest ago goes.
    pub(super) fn begin(
        &mut self,
        plain: &Rc<Encoded>,
        key: (&ChannelName, Transport),
        (first, messages): (Position, usize),
        streams_max: usize,
    ) {
        if self.heard.is_empty() || streams_max == 0 {
            return;
        }
        // Numbers begin anew long before they are used up.
        if self.pieces > NEVER / 2 {
            self.number_anew();
        }
        self.begun += 1;
        let slot = self.slot(key, streams_max);
        self.current = Some((Rc::clone(plain), slot));
        self.has_pieces = true;
        let stream = &mut self.slots[slot];
        stream.used = self.begun;
        let is_it = |piece: &Piece| piece.first == first && piece.plain.as_slice() == plain.as_slice();
        if stream.piece.as_ref().is_some_and(is_it) {
            return;
        }
        if stream.messages >= STREAM_MESSAGES_MAX {
            stream.is_due = true;
            stream.messages = 0;
        }
        stream.messages += messages;
        stream.piece = Some(Piece { first, plain: Rc::clone(plain), made: Made::Not });
    }

    /// What has begun has been handed out to everybody.
    pub(super) fn end(&mut self) {
        self.current = None;
        if std::mem::take(&mut self.has_pieces) {
            self.slots.iter_mut().for_each(|stream| stream.piece = None);
        }
    }

    /// `plain` as the stream says it, for a connection that can read that; `None` for any other. `deflate` compresses it, if
    /// that has not been done, or finds that it is to leave as it is.
    pub(super) fn piece_for(
        &mut self,
        index: u32,
        plain: &Rc<Encoded>,
        deflate: impl FnOnce(&mut Deflater) -> Option<Rc<Encoded>>,
    ) -> Option<Rc<Encoded>> {
        let (_, slot) = self.current.as_ref().filter(|(current, _)| Rc::ptr_eq(current, plain))?;
        let heard = self.heard.get_mut(index as usize).filter(|heard| **heard != NEVER)?;
        let stream = &mut self.slots[*slot];
        let piece = stream.piece.as_mut()?;
        if let Made::Not = piece.made {
            let goes_on = *heard != NOTHING && *heard == stream.latest;
            if !goes_on && !stream.is_due {
                return None;
            }
            if stream.is_due {
                stream.deflater.begin_anew();
            }
            piece.made = match deflate(&mut stream.deflater) {
                None => Made::Plain,
                Some(bytes) => {
                    let before = if std::mem::take(&mut stream.is_due) { NOTHING } else { stream.latest };
                    self.pieces += 1;
                    stream.latest = self.pieces;
                    Made::Piece { before, number: self.pieces, bytes }
                }
            };
        }
        match &piece.made {
            Made::Not | Made::Plain => Some(Rc::clone(plain)),
            Made::Piece { before, number, bytes } if *before == NOTHING || before == heard => {
                *heard = *number;
                Some(Rc::clone(bytes))
            }
            Made::Piece { .. } => None,
        }
    }

    /// The place of a channel's stream, made where there is none.
    fn slot(&mut self, (channel, transport): (&ChannelName, Transport), streams_max: usize) -> usize {
        let key = (channel.clone(), transport);
        if let Some(slot) = self.places.get(&key) {
            return *slot;
        }
        let stream = |deflater, key| Stream {
            key,
            deflater,
            messages: 0,
            is_due: true,
            latest: NOTHING,
            used: 0,
            piece: None,
        };
        let slot = match self.slots.len() < streams_max {
            true => {
                self.slots.push(stream(Deflater::new(true), key.clone()));
                self.slots.len() - 1
            }
            false => {
                let oldest = self.slots.iter().enumerate().min_by_key(|(_, stream)| stream.used);
                let slot = oldest.map_or(0, |(slot, _)| slot);
                let deflater = std::mem::replace(&mut self.slots[slot].deflater, Deflater::new(true));
                let before = std::mem::replace(&mut self.slots[slot], stream(deflater, key.clone()));
                self.places.remove(&before.key);
                slot
            }
        };
        self.places.insert(key, slot);
        slot
    }

    fn number_anew(&mut self) {
        self.pieces = NOTHING;
        self.heard.iter_mut().filter(|heard| **heard != NEVER).for_each(|heard| *heard = NOTHING);
        for stream in &mut self.slots {
            (stream.is_due, stream.latest, stream.piece) = (true, NOTHING, None);
        }
    }
}

/// What of a stream is compressed: smaller messages than elsewhere, for they gain from those before.
pub(super) fn streamed(sizes: Compressible) -> Compressible {
    Compressible { bytes_min: sizes.bytes_min.min(STREAMED_BYTES_MIN), ..sizes }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::websocket::{Opcode, encode_frame};

    const LINES: usize = 5;
    const ALL: Compressible = Compressible { bytes_min: 0, bytes_max: usize::MAX };

    /// A client of zlib alone, which keeps what it has inflated.
    struct Client {
        inflater: Decompress,
        may_follow: bool,
    }

    impl Client {
        fn new(may_follow: bool) -> Self {
            Self { inflater: Decompress::new(false), may_follow }
        }

        /// What one frame says. It is shorter than 126 bytes, or its length has two bytes.
        fn read(&mut self, frame: &[u8]) -> Vec<u8> {
            let payload = &frame[if frame[1] == 126 { 4 } else { 2 }..];
            if frame[0] & 0x40 == 0 {
                return payload.to_vec();
            }
            if !self.may_follow {
                self.inflater.reset(false);
            }
            let mut plain = Vec::with_capacity(4096);
            for piece in [payload, &[0, 0, 0xff, 0xff]] {
                let sync = FlushDecompress::Sync;
                self.inflater.decompress_vec(piece, &mut plain, sync).expect("it goes on from what it has");
            }
            plain
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Publish { channel: usize, words: Vec<u8>, lines: u8, again: u8 },
        Other { line: usize },
        Enter { line: usize, may_follow: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let words = prop::collection::vec(0_u8..6, 1..8);
        let publish = (0..3_usize, words, any::<u8>(), any::<u8>())
            .prop_map(|(channel, words, lines, again)| Step::Publish { channel, words, lines, again });
        let other = (0..LINES).prop_map(|line| Step::Other { line });
        let enter = (0..LINES, prop::bool::weighted(0.8))
            .prop_map(|(line, may_follow)| Step::Enter { line, may_follow });
        prop::collection::vec(prop_oneof![16 => publish, 1 => other, 1 => enter], 1..150)
    }

    struct Shard {
        streams: Streams,
        clients: Vec<Client>,
        channels: Vec<ChannelName>,
        offset: u64,
        sum: Rc<Cell<u64>>,
    }

    impl Shard {
        fn new() -> Self {
            let mut streams = Streams::new();
            (0..LINES as u32).for_each(|line| streams.enter(line, true));
            let channels = ["a", "b", "c"].map(|name| ChannelName::new(name, 255).expect("a name"));
            let clients = (0..LINES).map(|_| Client::new(true)).collect();
            Self { streams, clients, channels: channels.into(), offset: 0, sum: Rc::default() }
        }

        /// Hands a message out to these lines; those that got it compressed by the stream.
        fn publish(&mut self, channel: usize, text: &[u8], lines: &[u32]) -> Vec<u32> {
            let mut frame = Vec::new();
            encode_frame(&mut frame, Opcode::Binary, true, text);
            // Each turn brings an encoding of its own.
            let plain = Encoded::new(&frame, &self.sum);
            let first = Position { epoch: 1, offset: self.offset };
            self.streams.begin(&plain, (&self.channels[channel], Transport::WebSocket), (first, 1), 2);
            let mut followed = Vec::new();
            for line in lines {
                let sum = &self.sum;
                let piece = self.streams.piece_for(*line, &plain, |deflater| {
                    let mut out = Vec::new();
                    let (count, _) = deflater.deflate_frames(&frame, ALL, usize::MAX, &mut out);
                    (count > 0).then(|| Encoded::new(&out, sum))
                });
                let bytes = match piece {
                    Some(bytes) => {
                        followed.push(*line);
                        bytes.as_slice().to_vec()
                    }
                    None => self.by_itself(*line, &frame),
                };
                assert_eq!(self.clients[*line as usize].read(&bytes), text);
            }
            followed
        }

        /// A message compressed by itself.
        fn by_itself(&mut self, line: u32, frame: &[u8]) -> Vec<u8> {
            let mut out = Vec::new();
            if Deflater::new(false).deflate_frames(frame, ALL, usize::MAX, &mut out).0 > 0 {
                self.streams.interrupt(line);
            }
            out
        }
    }

    proptest! {
        #[test]
        fn whoever_gets_a_piece_of_a_stream_can_read_it(steps in steps()) {
            let mut shard = Shard::new();
            for step in steps {
                match step {
                    Step::Publish { channel, words, lines, again } => {
                        let text: Vec<u8> = words.iter().flat_map(|word| [b'a' + word; 20]).collect();
                        let chosen = |mask: u8| (0..LINES as u32).filter(move |line| mask >> line & 1 == 1);
                        let first: Vec<_> = chosen(lines).collect();
                        let rest: Vec<_> = chosen(again & !lines).collect();
                        shard.offset += 1;
                        shard.publish(channel, &text, &first);
                        shard.publish(channel, &text, &rest);
                        if again & 1 == 0 {
                            shard.streams.end();
                        }
                    }
                    Step::Other { line } => {
                        let mut frame = Vec::new();
                        encode_frame(&mut frame, Opcode::Binary, true, &[b'z'; 100]);
                        let bytes = shard.by_itself(line as u32, &frame);
                        prop_assert_eq!(shard.clients[line].read(&bytes), vec![b'z'; 100]);
                    }
                    Step::Enter { line, may_follow } => {
                        shard.streams.enter(line as u32, may_follow);
                        shard.clients[line] = Client::new(may_follow);
                    }
                }
            }
        }
    }

    #[test]
    fn who_comes_later_or_was_sent_something_else_follows_when_the_stream_begins_anew() {
        let mut shard = Shard::new();
        let mut followed = Vec::new();
        for number in 0..2 * STREAM_MESSAGES_MAX {
            if number == 5 {
                let mut frame = Vec::new();
                encode_frame(&mut frame, Opcode::Binary, true, &[b'z'; 100]);
                let bytes = shard.by_itself(1, &frame);
                assert_eq!(shard.clients[1].read(&bytes), [b'z'; 100]);
            }
            shard.offset += 1;
            let lines: &[u32] = if number < 3 { &[0, 1] } else { &[0, 1, 2] };
            let text = format!("message {number} of this channel");
            followed.push(shard.publish(0, text.as_bytes(), lines));
            shard.streams.end();
        }
        assert!(followed[..5].iter().all(|lines| *lines == [0, 1]), "{followed:?}");
        assert!(followed[5..STREAM_MESSAGES_MAX].iter().all(|lines| *lines == [0]), "{followed:?}");
        assert!(followed[STREAM_MESSAGES_MAX..].iter().all(|lines| *lines == [0, 1, 2]), "{followed:?}");
    }

    #[test]
    fn numbers_begin_anew_before_they_are_used_up() {
        let mut shard = Shard::new();
        shard.publish(0, b"before before before", &[0, 1]);
        shard.streams.pieces = NEVER - 2;
        for number in 0..40 {
            shard.offset += 1;
            let text = format!("after {number}, after {number}, after");
            let followed = shard.publish(0, text.as_bytes(), &[0, 1]);
            assert_eq!(followed, [0, 1], "{number}");
        }
    }
}
