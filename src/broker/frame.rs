//! What stands in the broker, and what it passes on: names of keys, entries of streams, frames of pushes.
//!
//! ```text
//!   entry   <epoch>-<offset>   d  body                  body   version │ node, 8 bytes │ number, 8 bytes │ publication
//!   entry   <epoch>-0          r  (empty)               the stream began here
//!   push    P<epoch> body      a publication            push   R<epoch>    the stream has begun anew
//! ```
//!
//! A push carries no offset: it is the next of its epoch, for whoever follows the stream has been told where it is, and
//! what is pushed comes in the order in which it was appended.

use crate::{
    model::{ChannelName, Position, Publication, SharedPublication},
    storage::codec,
};

/// The version of bodies: what another version wrote is not read.
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 17;

/// Names in the broker; what begins with the prefix is ours.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: Box<str>,
}

/// A push.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Push<'a> {
    /// A publication of this epoch.
    Publication { epoch: u64, body: &'a [u8] },
    /// The stream has begun anew.
    Renewed { epoch: u64 },
}

/// What a body says.
#[derive(Debug)]
pub(super) struct Body {
    /// Who asked for it.
    pub(super) node: u64,
    /// Under which number.
    pub(super) number: u64,
    /// The publication, without its offset.
    pub(super) publication: Publication,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The key of a channel's stream.
    pub(super) fn stream(&self, channel: &ChannelName) -> String {
        format!("{}:s:{}", self.prefix, channel.as_str())
    }

    /// Where a channel's publications are pushed.
    pub(super) fn topic(&self, channel: &ChannelName) -> String {
        format!("{}:c:{}", self.prefix, channel.as_str())
    }

    /// The channel whose publications are pushed there.
    pub(super) fn channel<'a>(&self, topic: &'a [u8]) -> Option<&'a str> {
        let name = topic.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":c:")?;
        std::str::from_utf8(name).ok()
    }

    /// The key of what holds for all streams of a server.
    pub(super) fn floor(&self) -> String {
        format!("{}:floor", self.prefix)
    }

    /// The key of the roll of nodes.
    pub(super) fn roll(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    /// Where somebody pushes to itself, to know that it is told.
    pub(super) fn probe(&self, who: &str) -> String {
        format!("{}:p:{who}", self.prefix)
    }
}

/// Writes the body of a publication.
pub(super) fn encode(node: u64, number: u64, publication: &Publication) -> Vec<u8> {
    let publication = codec::encode(publication);
    let mut body = Vec::with_capacity(HEAD_BYTES + publication.len());
    body.push(VERSION);
    body.extend_from_slice(&node.to_be_bytes());
    body.extend_from_slice(&number.to_be_bytes());
    body.extend_from_slice(&publication);
    body
}

/// Reads a body; `None` when it is none.
pub(super) fn decode(channel: &ChannelName, epoch: u64, body: &[u8]) -> Option<Body> {
    let (head, publication) = body.split_at_checked(HEAD_BYTES)?;
    let word = |at: usize| head[at..at + 8].try_into().map(u64::from_be_bytes).ok();
    let (VERSION, node, number) = (head[0], word(1)?, word(9)?) else { return None };
    let publication = codec::decode(channel, epoch, publication)?;
    Some(Body { node, number, publication: SharedPublication::into_inner(publication)? })
}

/// Reads a push; `None` when it is none.
pub(super) fn read_push(push: &[u8]) -> Option<Push<'_>> {
    let end = push.iter().position(|byte| *byte == b' ')?;
    let epoch = std::str::from_utf8(push.get(1..end)?).ok()?.parse().ok()?;
    match push[0] {
        b'P' => Some(Push::Publication { epoch, body: &push[end + 1..] }),
        b'R' => Some(Push::Renewed { epoch }),
        _ => None,
    }
}

/// The beginning of a push that is a publication.
pub(super) fn push_head(epoch: u64) -> String {
    format!("P{epoch} ")
}

/// Reads the id of an entry.
pub(super) fn read_id(id: &[u8]) -> Option<Position> {
    let (epoch, offset) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some(Position { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Payload;

    fn news() -> ChannelName {
        ChannelName::new("news", 255).expect("a name")
    }

    #[test]
    fn a_body_is_read_as_it_was_written_and_not_when_something_is_missing() {
        let payload = Payload::new(*b"hello", Some("text/plain")).with_event(Some("e"));
        let position = Position { epoch: 7, offset: 0 };
        let publication = Publication { channel: news(), position, unix_ms: 5, payload };
        let bytes = encode(1 << 63, 9, &publication);
        let body = decode(&news(), 7, &bytes).expect("a body");
        assert_eq!((body.node, body.number, &body.publication), (1 << 63, 9, &publication));
        for cut in 0..bytes.len() {
            let read = decode(&news(), 7, &bytes[..cut]);
            assert!(read.is_none_or(|read| read.publication != publication), "{cut} bytes");
        }
        assert!(decode(&news(), 7, &[&[VERSION + 1], &bytes[1..]].concat()).is_none());
    }

    #[test]
    fn a_push_says_its_epoch_and_garbage_says_nothing() {
        assert_eq!(read_push(b"P12 a b"), Some(Push::Publication { epoch: 12, body: b"a b" }));
        assert_eq!(read_push(push_head(12).as_bytes()), Some(Push::Publication { epoch: 12, body: b"" }));
        assert_eq!(read_push(b"R12 "), Some(Push::Renewed { epoch: 12 }));
        for garbage in [&b""[..], b" ", b"P", b"P12", b"P x", b"Px ", b"X12 ", b"P-1 ", b"\xff\xff "] {
            assert_eq!(read_push(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn names_are_told_apart_by_their_prefix() {
        let names = Names::new("rs");
        assert_eq!(names.channel(names.topic(&news()).as_bytes()), Some("news"));
        for other in ["rs:c", "rs:s:news", "other:c:news", "rs:p:1:0"] {
            assert_eq!(names.channel(other.as_bytes()), None, "{other}");
        }
        assert_eq!(read_id(b"12-3"), Some(Position { epoch: 12, offset: 3 }));
        assert_eq!((read_id(b"12"), read_id(b"-1"), read_id(b"a-1")), (None, None, None));
    }
}
