//! What stands in the broker, and what it passes on: names of keys, entries of streams, frames of pushes.
//!
//! ```text
//!   entry   <epoch>-<offset>   d  body                  body   version │ node, 8 bytes │ number, 8 bytes │ publication
//!   entry   <epoch>-0          r  (empty)               the stream began here
//!   push    P<epoch> body      a publication            push   R<epoch>    the stream has begun anew
//!   push    M<epoch> <bytes>,<bytes>…;body body…        several of them
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
    /// Publications of this epoch: how long the body of each is, with commas between, and the bodies.
    Publications { epoch: u64, lengths: &'a [u8], bodies: &'a [u8] },
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
    pub(super) fn marks(&self) -> String {
        format!("{}:floor", self.prefix)
    }

    /// The key of the roll of nodes.
    pub(super) fn roll(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    /// The key of where nodes are.
    pub(super) fn whereabouts(&self) -> String {
        format!("{}:where", self.prefix)
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
    let epoch = read_number(push.get(1..end)?)?;
    let said = &push[end + 1..];
    match push[0] {
        b'P' => Some(Push::Publications { epoch, lengths: b"", bodies: said }),
        b'M' => {
            let end = said.iter().position(|byte| *byte == b';')?;
            let (lengths, bodies) = (&said[..end], &said[end + 1..]);
            let sum = split_lengths(lengths).try_fold(0, |sum: usize, length| sum.checked_add(length?));
            (!lengths.is_empty() && sum == Some(bodies.len())).then_some(Push::Publications {
                epoch,
                lengths,
                bodies,
            })
        }
        b'R' => Some(Push::Renewed { epoch }),
        _ => None,
    }
}

/// The bodies that a push brings.
pub(super) fn bodies_of<'a>(lengths: &'a [u8], bodies: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let (mut lengths, mut left, mut is_one) = (split_lengths(lengths), bodies, lengths.is_empty());
    std::iter::from_fn(move || {
        if std::mem::take(&mut is_one) {
            return Some(std::mem::take(&mut left));
        }
        let (body, rest) = left.split_at_checked(lengths.next()??)?;
        left = rest;
        Some(body)
    })
}

fn split_lengths(lengths: &[u8]) -> impl Iterator<Item = Option<usize>> {
    let each = lengths.split(|byte| *byte == b',').filter(move |_| !lengths.is_empty());
    each.map(|length| read_number(length).and_then(|length| length.try_into().ok()))
}

/// The kind of a push with these bodies, and what stands between its epoch and them.
pub(super) fn push_of(bodies: &[Vec<u8>]) -> (&'static str, String) {
    match bodies {
        [_] => ("P", String::new()),
        bodies => {
            let lengths: Vec<_> = bodies.iter().map(|body| body.len().to_string()).collect();
            ("M", lengths.join(",") + ";")
        }
    }
}

/// The beginning of a push of these bodies.
pub(super) fn push_head(epoch: u64, bodies: &[Vec<u8>]) -> String {
    let (kind, rest) = push_of(bodies);
    format!("{kind}{epoch} {rest}")
}

/// Reads the id of an entry.
pub(super) fn read_id(id: &[u8]) -> Option<Position> {
    let at = id.iter().position(|byte| *byte == b'-')?;
    Some(Position { epoch: read_number(&id[..at])?, offset: read_number(&id[at + 1..])? })
}

fn read_number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
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

    fn read(push: &[u8]) -> Option<(u64, Vec<&[u8]>)> {
        match read_push(push)? {
            Push::Publications { epoch, lengths, bodies } => {
                Some((epoch, bodies_of(lengths, bodies).collect()))
            }
            Push::Renewed { .. } => None,
        }
    }

    #[test]
    fn a_push_says_its_epoch_and_garbage_says_nothing() {
        assert_eq!(read(b"P12 a b"), Some((12, vec![&b"a b"[..]])));
        assert_eq!(read(b"P12 "), Some((12, vec![&b""[..]])));
        assert_eq!(read_push(b"R12 "), Some(Push::Renewed { epoch: 12 }));
        for garbage in [&b""[..], b" ", b"P", b"P12", b"P x", b"Px ", b"X12 ", b"P-1 ", b"\xff\xff "] {
            assert_eq!(read_push(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_push_of_several_is_taken_apart_where_it_says_and_is_garbage_where_that_is_wrong() {
        let bodies = [&b"a b"[..], b"", b"5,6;", b"last"].map(<[u8]>::to_vec);
        for count in 1..=bodies.len() {
            let bodies = &bodies[..count];
            let push = [push_head(12, bodies).as_bytes(), &bodies.concat()].concat();
            assert_eq!(read(&push), Some((12, bodies.iter().map(Vec::as_slice).collect())));
        }
        let lies = [
            "M12 1;",
            "M12 1;ab",
            "M12 1,1;a",
            "M12 ;a",
            "M12 ,;",
            "M12 x;a",
            "M12 1",
            "M12 -1;",
            "M12 ;",
            "M12 ",
        ];
        let large = format!("M12 {max},1;", max = u64::MAX);
        for lie in lies.into_iter().chain([&*large]) {
            assert_eq!(read_push(lie.as_bytes()), None, "{lie}");
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
