//! The id of an Engine.IO session: where the session lives, and the secret that shows it is the client's own.
//!
//! ```text
//!   shard (16) │ index (32) │ secret (72)        15 bytes, big-endian, as 20 characters of base64url
//!                           └ node (16) │ secret (56) where a broker joins several nodes
//! ```
//!
//! The shard is in the id so that whichever shard accepts a request of the session knows whom to hand it to; no table
//! is asked. The node is for the same reason. Ids of Socket.IO sockets, which are no secret, are in `socket_id.rs`.

use std::{fmt, ops::Deref, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{NodeId, ShardId};

const ID_BYTES: usize = 15;
/// 15 bytes fill 20 characters to the last bit: each id has one text, and no padding.
const TEXT_BYTES: usize = 20;

/// The id of an Engine.IO session. Whoever knows it is the client, so it is not shown in logs; and not compared by
/// `==`, for comparing the secret must take the same time whatever it is.
#[derive(Clone, Copy)]
pub struct SessionId([u8; ID_BYTES]);

/// An id as text, without a heap block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdText([u8; TEXT_BYTES]);

/// A text that is no id of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdError;

impl SessionId {
    /// The id of the session at `index` of `shard`. The secret must come from the system's random source.
    pub fn new(shard: ShardId, index: u32, secret: [u8; 9]) -> Self {
        let mut bytes = [0; ID_BYTES];
        bytes[..2].copy_from_slice(&shard.0.to_be_bytes());
        bytes[2..6].copy_from_slice(&index.to_be_bytes());
        bytes[6..].copy_from_slice(&secret);
        Self(bytes)
    }

    /// What stands behind the index in an id of this node: what was drawn, beginning with the node's name if it has one.
    pub fn secret_of(node: NodeId, mut drawn: [u8; 9]) -> [u8; 9] {
        if node != NodeId::NONE {
            drawn[..2].copy_from_slice(&node.0.to_be_bytes());
        }
        drawn
    }

    /// The node that owns the session, if whoever is shown the id is one that a broker joins with others. An id that a stranger
    /// made up may name one that does not exist.
    pub fn node(&self) -> NodeId {
        let [high, low, ..] = self.secret();
        NodeId(u16::from_be_bytes([high, low]))
    }

    /// The shard that owns the session. An id that a stranger made up may name one that does not exist.
    pub fn shard(&self) -> ShardId {
        let [high, low, ..] = self.0;
        ShardId(u16::from_be_bytes([high, low]))
    }

    /// The session's place on its shard; made up ids name any.
    pub fn index(&self) -> u32 {
        let [_, _, a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// What a stranger cannot guess. Compare in constant time.
    pub fn secret(&self) -> [u8; 9] {
        let [_, _, _, _, _, _, secret @ ..] = self.0;
        secret
    }

    /// The id as clients know it.
    pub fn text(&self) -> IdText {
        let mut text = [0; TEXT_BYTES];
        let written = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text);
        debug_assert_eq!(written.ok(), Some(TEXT_BYTES));
        IdText(text)
    }
}

impl Deref for IdText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }
}

impl FromStr for SessionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; ID_BYTES];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(ID_BYTES) => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err(IdError),
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, index) = (self.shard(), self.index());
        f.debug_struct("SessionId").field("shard", &shard).field("index", &index).finish_non_exhaustive()
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdText").finish_non_exhaustive()
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no id that this server gave")
    }
}

impl std::error::Error for IdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_was_made_of() {
        for (shard, index, secret) in
            [(0, 0, [0; 9]), (255, 0x0102_0304, *b"secret123"), (u16::MAX, u32::MAX, [0xff; 9])]
        {
            let id = SessionId::new(ShardId(shard), index, secret);
            let text = id.to_string();
            assert_eq!(text.len(), 20);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
            let read: SessionId = text.parse().expect("what was written");
            assert_eq!((read.shard(), read.index(), read.secret()), (ShardId(shard), index, secret));
            assert_eq!(read.to_string(), text);
        }
        assert_eq!(SessionId::new(ShardId(1), 2, [0xff; 9]).to_string(), "AAEAAAAC____________");
    }

    #[test]
    fn an_id_names_its_node_where_there_are_several_and_has_nine_bytes_drawn_where_not() {
        let (node, drawn) = (NodeId(0xabcd), [7; 9]);
        let id = SessionId::new(ShardId(1), 2, SessionId::secret_of(node, drawn));
        assert_eq!((id.node(), id.secret()[2..].to_vec()), (node, vec![7; 7]));
        assert_eq!(SessionId::secret_of(NodeId::NONE, drawn), drawn);
        assert!((0..1_000).all(|_| NodeId::draw() != NodeId::NONE));
    }

    #[test]
    fn a_text_of_another_length_or_alphabet_is_no_id() {
        for text in [
            "",
            "AAEAAAAC___________",
            "AAEAAAAC____________A",
            "AAEAAAAC________________",
            "AAEAAAAC/_______++++",
            "AAEAAAAC___________=",
            "AAEAAAAC___________ ",
            "__proto__",
        ] {
            assert_eq!(text.parse::<SessionId>().err(), Some(IdError), "{text:?}");
        }
    }

    #[test]
    fn the_secret_is_not_shown_in_logs() {
        let id = SessionId::new(ShardId(1), 2, *b"secret123");
        assert_eq!(format!("{id:?}"), "SessionId { shard: ShardId(1), index: 2, .. }");
        assert!(!format!("{:?}", id.text()).contains("c2Vjcm"), "{:?}", id.text());
    }
}
