//! The frames of the link to a program: bytes in, frames out, and back. What they mean is in the manual (`link.md`) and
//! done elsewhere.
//!
//! ```text
//!   head, 28 bytes │ target │ sizes of attachments │ JSON │ attachments
//!                  └──────────────── bytes ───────────────────────────┘
//! ```
//!
//! Invariant: a frame that is decoded lies whole in the bytes it was decoded from, and its parts are in its body.

use std::fmt;

use crate::model::{Arguments, ShardId, SocketId};

/// Bytes of a head.
pub(super) const HEAD_BYTES: usize = 28;
/// Bytes of a body; a frame with more is refused.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The version of the protocol, and the oldest that is spoken as well.
pub(super) const PROTOCOL: u32 = 3;
pub(super) const PROTOCOL_OLDEST: u32 = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Hello = 1,
    Refused = 2,
    Listen = 3,
    Listening = 4,
    Ping = 5,
    Pong = 6,
    Stop = 7,
    Stopped = 8,
    Ask = 16,
    Find = 17,
    Connected = 18,
    Event = 19,
    Acked = 20,
    Disconnected = 21,
    Upgraded = 22,
    Paused = 23,
    Reply = 24,
    Ended = 25,
    Said = 26,
    Moved = 27,
    Namespace = 32,
    Ready = 33,
    Verdict = 34,
    Emit = 35,
    Broadcast = 36,
    Ack = 37,
    Join = 38,
    Leave = 39,
    Disconnect = 40,
    Data = 41,
    Pause = 42,
    Command = 43,
    Finds = 44,
    Members = 45,
    Answer = 46,
}

/// What stands in front of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) namespace: u16,
    pub(super) socket: SocketId,
    pub(super) number: u32,
    pub(super) extra: u32,
}

/// A frame, in the bytes it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) head: Head,
    attachments: u16,
    body: &'a [u8],
}

/// Sizes of attachments, JSON, attachments.
type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// What is wrong with what a program has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameError {
    /// Nothing is of this kind.
    Kind(u8),
    /// Its body is larger than it may be.
    TooLarge(u32),
    /// The parts of its body are longer than the body.
    Parts(Kind),
    /// Its JSON is not UTF-8.
    NotUtf8(Kind),
    /// Its JSON is not what belongs there.
    Json(Kind),
    /// It is not one that may come here, or now.
    Unexpected(Kind),
    /// The program has gone in its midst.
    Cut,
}

/// What the bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    NeedMore,
    Frame { frame: Frame<'a>, consumed: usize },
}

/// Takes the first frame. The node of its socket is none, for a frame names none.
pub(super) fn decode(bytes: &[u8]) -> Result<Step<'_>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(Step::NeedMore) };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let kind = Kind::of(head[4]).ok_or(FrameError::Kind(head[4]))?;
    let length = word(0);
    if length as usize > BODY_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    let Some(body) = rest.get(..length as usize) else { return Ok(Step::NeedMore) };
    let socket = SocketId::local(ShardId(half(8)), word(12), word(16));
    let head = Head { kind, flags: head[5], namespace: half(6), socket, number: word(20), extra: word(24) };
    let frame = Frame { head, attachments: half(10), body };
    Ok(Step::Frame { frame, consumed: HEAD_BYTES + length as usize })
}

/// Whole frames, one behind the other: what each is about, and all of its bytes.
pub(super) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (Head, &[u8])> {
    std::iter::from_fn(move || match decode(bytes) {
        Ok(Step::Frame { frame, consumed }) => {
            let (one, rest) = bytes.split_at(consumed);
            bytes = rest;
            Some((frame.head, one))
        }
        Ok(Step::NeedMore) | Err(_) => None,
    })
}

impl<'a> Frame<'a> {
    /// The JSON, which is text but not checked otherwise.
    pub(super) fn json(&self) -> Result<&'a str, FrameError> {
        let (_, json, _) = self.parts()?;
        self.text(json)
    }

    fn text(&self, json: &'a [u8]) -> Result<&'a str, FrameError> {
        simdutf8::basic::from_utf8(json).map_err(|_| FrameError::NotUtf8(self.head.kind))
    }

    /// The target of a broadcast.
    pub(super) fn target(&self) -> Result<&'a [u8], FrameError> {
        self.body.get(..self.head.extra as usize).ok_or(FrameError::Parts(self.head.kind))
    }

    /// The JSON and the attachments. An array at a glance; the program is trusted to write JSON.
    pub(super) fn arguments(&self) -> Result<Arguments, FrameError> {
        self.arguments_between('[', ']')
    }

    fn arguments_between(&self, first: char, last: char) -> Result<Arguments, FrameError> {
        let (sizes, json, mut rest) = self.parts()?;
        let json = self.text(json)?;
        if !(json.starts_with(first) && json.ends_with(last)) {
            return Err(FrameError::Json(self.head.kind));
        }
        let mut attachments = Vec::with_capacity(self.attachments.into());
        for size in sizes.as_chunks::<4>().0 {
            let (one, others) = rest.split_at(u32::from_le_bytes(*size) as usize);
            attachments.push(one.into());
            rest = others;
        }
        Ok(Arguments { json: json.into(), attachments: attachments.into() })
    }

    /// As [`Self::arguments`], of which the JSON is an object.
    pub(super) fn object(&self) -> Result<Arguments, FrameError> {
        self.arguments_between('{', '}')
    }

    /// The sizes of the attachments, the JSON, and the attachments, which are as long as the sizes say.
    fn parts(&self) -> Result<Parts<'a>, FrameError> {
        let error = FrameError::Parts(self.head.kind);
        let target = if self.head.kind == Kind::Broadcast { self.head.extra as usize } else { 0 };
        let body = self.body.get(target..).ok_or(error)?;
        let (sizes, rest) = body.split_at_checked(usize::from(self.attachments) * 4).ok_or(error)?;
        let sum =
            sizes.as_chunks::<4>().0.iter().map(|size| u32::from_le_bytes(*size) as usize).sum::<usize>();
        let json = rest.len().checked_sub(sum).ok_or(error)?;
        let (json, attachments) = rest.split_at(json);
        Ok((sizes, json, attachments))
    }
}

impl Head {
    /// Of a frame that says only what it is.
    pub(super) fn of(kind: Kind) -> Self {
        let socket = SocketId::local(ShardId(0), 0, 0);
        Self { kind, flags: 0, namespace: 0, socket, number: 0, extra: 0 }
    }

    /// Of a frame about a socket.
    pub(super) fn about(kind: Kind, socket: SocketId, namespace: u16) -> Self {
        Self { socket, namespace, ..Self::of(kind) }
    }

    /// Appends the frame. A body that is larger than may be is the caller's mistake.
    pub(super) fn encode(&self, out: &mut Vec<u8>, json: &str, attachments: &[Box<[u8]>]) {
        let sizes = attachments.iter().map(|one| 4 + one.len()).sum::<usize>();
        out.reserve(HEAD_BYTES + sizes + json.len());
        out.extend_from_slice(&((sizes + json.len()) as u32).to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, self.flags]);
        out.extend_from_slice(&self.namespace.to_le_bytes());
        out.extend_from_slice(&self.socket.shard.0.to_le_bytes());
        out.extend_from_slice(&(attachments.len() as u16).to_le_bytes());
        for word in [self.socket.index, self.socket.generation, self.number, self.extra] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for one in attachments {
            out.extend_from_slice(&(one.len() as u32).to_le_bytes());
        }
        out.extend_from_slice(json.as_bytes());
        for one in attachments {
            out.extend_from_slice(one);
        }
    }
}

impl Kind {
    const ALL: [Self; 35] = [
        Self::Hello,
        Self::Refused,
        Self::Listen,
        Self::Listening,
        Self::Ping,
        Self::Pong,
        Self::Stop,
        Self::Stopped,
        Self::Ask,
        Self::Find,
        Self::Connected,
        Self::Event,
        Self::Acked,
        Self::Disconnected,
        Self::Upgraded,
        Self::Paused,
        Self::Reply,
        Self::Ended,
        Self::Said,
        Self::Moved,
        Self::Namespace,
        Self::Ready,
        Self::Verdict,
        Self::Emit,
        Self::Broadcast,
        Self::Ack,
        Self::Join,
        Self::Leave,
        Self::Disconnect,
        Self::Data,
        Self::Pause,
        Self::Command,
        Self::Finds,
        Self::Members,
        Self::Answer,
    ];

    fn of(byte: u8) -> Option<Self> {
        // A table that the compiler makes, for this is looked up for every frame.
        const TABLE: [Option<Kind>; 64] = {
            let mut table = [None; 64];
            let mut at = 0;
            while at < Kind::ALL.len() {
                table[Kind::ALL[at] as usize] = Some(Kind::ALL[at]);
                at += 1;
            }
            table
        };
        TABLE.get(usize::from(byte)).copied().flatten()
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(byte) => write!(f, "no frame is of kind {byte}"),
            Self::TooLarge(bytes) => {
                write!(f, "a frame of {bytes} bytes; at most {BODY_BYTES_MAX} may follow a head")
            }
            Self::Parts(kind) => write!(f, "the parts of a {kind:?} are longer than it is"),
            Self::NotUtf8(kind) => write!(f, "the JSON of a {kind:?} is not UTF-8"),
            Self::Json(kind) => write!(f, "the JSON of a {kind:?} is not what belongs there"),
            Self::Unexpected(kind) => write!(f, "a {kind:?} may not come here, or not now"),
            Self::Cut => f.write_str("the program has gone within a frame"),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> SocketId {
        SocketId::local(ShardId(3), 70_000, 9)
    }

    /// Writes a frame, reads it back at every split point, and expects the same.
    fn check(head: Head, json: &str, attachments: &[Box<[u8]>]) {
        let mut bytes = Vec::new();
        head.encode(&mut bytes, json, attachments);
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(Step::NeedMore), "{end}");
        }
        bytes.extend_from_slice(b"and what follows");
        let Ok(Step::Frame { frame, consumed }) = decode(&bytes) else { panic!("a frame") };
        assert_eq!((frame.head, consumed), (head, bytes.len() - 16));
        assert_eq!(frame.json(), Ok(json));
        if json.starts_with('[') {
            let arguments = frame.arguments().expect("an array");
            assert_eq!((&*arguments.json, &*arguments.attachments), (json, attachments));
        }
    }

    #[test]
    fn a_frame_is_read_back_from_its_bytes() {
        check(Head::of(Kind::Ping), "", &[]);
        check(Head::about(Kind::Disconnected, socket(), 2), "\"transport close\"", &[]);
        let head = Head { flags: 2, number: 7, extra: 1, ..Head::about(Kind::Event, socket(), 65_535) };
        check(head, r#"["e",1]"#, &[]);
        let placeholder = r#"["e",{"_placeholder":true,"num":0}]"#;
        check(head, placeholder, &[Box::from([1, 2, 3]), Box::from([])]);
    }

    #[test]
    fn a_target_stands_before_the_rest() {
        let head = Head { extra: 14, ..Head::of(Kind::Broadcast) };
        let mut bytes = Vec::new();
        head.encode(&mut bytes, "{\"rooms\":[\"a\"]}[\"e\"]", &[]);
        let head = Head { extra: 15, ..head };
        bytes[24..28].copy_from_slice(&head.extra.to_le_bytes());
        let Ok(Step::Frame { frame, .. }) = decode(&bytes) else { panic!("a frame") };
        assert_eq!(frame.target(), Ok(&b"{\"rooms\":[\"a\"]}"[..]));
        assert_eq!(frame.json(), Ok("[\"e\"]"));
    }

    #[test]
    fn what_cannot_be_a_frame_says_why() {
        let mut bytes = Vec::new();
        Head::of(Kind::Emit).encode(&mut bytes, "[1]", &[]);
        let changed = |at: usize, to: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + to.len()].copy_from_slice(to);
            match decode(&bytes)? {
                Step::Frame { frame, .. } => frame.arguments().map(|_| ()),
                Step::NeedMore => panic!("it is whole"),
            }
        };
        assert_eq!(changed(0, &3u32.to_le_bytes()), Ok(()));
        assert_eq!(changed(4, &[0]), Err(FrameError::Kind(0)));
        assert_eq!(changed(4, &[15]), Err(FrameError::Kind(15)));
        assert_eq!(changed(4, &[200]), Err(FrameError::Kind(200)));
        let bytes_max = BODY_BYTES_MAX as u32;
        assert_eq!(changed(0, &(bytes_max + 1).to_le_bytes()), Err(FrameError::TooLarge(bytes_max + 1)));
        assert_eq!(changed(10, &[1, 0]), Err(FrameError::Parts(Kind::Emit)));
        assert_eq!(changed(29, &[0xff]), Err(FrameError::NotUtf8(Kind::Emit)));
        assert_eq!(changed(30, b"}"), Err(FrameError::Json(Kind::Emit)));
        let mut sizes = Vec::new();
        Head::of(Kind::Emit).encode(&mut sizes, "[]", &[Box::from([1])]);
        sizes[HEAD_BYTES..HEAD_BYTES + 4].copy_from_slice(&4u32.to_le_bytes());
        let Ok(Step::Frame { frame, .. }) = decode(&sizes) else { panic!("a frame") };
        assert_eq!(frame.arguments(), Err(FrameError::Parts(Kind::Emit)));
    }
}
