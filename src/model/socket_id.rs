//! The public name of a Socket.IO socket, which tells where it is.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ConnectionId, NodeId, ShardId};

/// A Socket.IO socket: one client in one namespace. Shown as 20 characters; everybody may know it, so it proves
/// nothing. Whoever holds one finds the socket without a table: the node, the shard and the index stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    /// The node that it is on, where a broker joins several.
    pub node: NodeId,
    /// The shard that holds it.
    pub shard: ShardId,
    /// Its place in that shard's table of sockets.
    pub index: u32,
    /// Counts the sockets that have had this place.
    pub generation: u32,
}

/// Tells a socket's id from the name of a room that happens to have as many characters. In the first two bytes a node that has a
/// name has that instead.
const TAG: [u8; 5] = [0x4c, 0xd7, 0x1b, 0x92, 0xae];

// The node takes the place of padding.
const _: () = assert!(size_of::<SocketId>() == 12);
const _: () = assert!(u16::from_be_bytes([TAG[0], TAG[1]]) == NodeId::UNNAMED);

/// Subscribers with this bit in their index are Socket.IO sockets, the others connections.
const SOCKET_BIT: u32 = 1 << 31;

impl SocketId {
    /// One on a node that no broker joins with others.
    pub const fn local(shard: ShardId, index: u32, generation: u32) -> Self {
        Self { node: NodeId::NONE, shard, index, generation }
    }

    /// Reads the 20 characters that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 15];
        if text.len() != 20
            || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != 15
            || bytes[12..] != TAG[2..]
        {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let node = match [bytes[10], bytes[11]] {
            [first, second] if [first, second] == TAG[..2] => NodeId::NONE,
            // So that each has one text.
            [0, 0] => return None,
            node => NodeId(u16::from_be_bytes(node)),
        };
        Some(Self {
            node,
            shard: ShardId(u16::from_be_bytes([bytes[0], bytes[1]])),
            index: word(2),
            generation: word(6),
        })
    }

    /// How the ids of a node's sockets end, of which each has 15 bytes before they are written as text.
    pub fn end_of(node: NodeId) -> [u8; 5] {
        let mut end = TAG;
        if node != NodeId::NONE {
            end[..2].copy_from_slice(&node.0.to_be_bytes());
        }
        end
    }

    /// What the socket subscribes as on its shard.
    pub fn subscriber(self) -> ConnectionId {
        ConnectionId { index: self.index | SOCKET_BIT, generation: self.generation }
    }

    /// The place of the socket that subscribes under this index; `None` for a connection's.
    pub fn index_of(subscriber: u32) -> Option<u32> {
        (subscriber & SOCKET_BIT != 0).then_some(subscriber & !SOCKET_BIT)
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 15];
        bytes[..2].copy_from_slice(&self.shard.0.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.index.to_be_bytes());
        bytes[6..10].copy_from_slice(&self.generation.to_be_bytes());
        bytes[10..].copy_from_slice(&Self::end_of(self.node));
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl Serialize for SocketId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SocketId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let unexpected = || de::Error::invalid_value(de::Unexpected::Str(&text), &"the id of a socket");
        Self::parse(&text).ok_or_else(unexpected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_id_is_read_back_from_its_text_and_nothing_else_is_taken_for_one() {
        let id = SocketId::local(ShardId(7), 123_456, 3);
        let text = id.to_string();
        assert_eq!((text.len(), SocketId::parse(&text)), (20, Some(id)));
        for room in ["", "lobby", "abcdefghijklmnopqrst", &text[1..], &format!("{text}A")] {
            assert_eq!(SocketId::parse(room), None, "{room}");
        }
    }

    #[test]
    fn a_socket_id_names_its_node_and_is_written_as_ever_where_that_has_no_name() {
        let local = SocketId::local(ShardId(7), 123_456, 3);
        assert_eq!(local.to_string(), "AAcAAeJAAAAAA0zXG5Ku");
        for node in [1, 0x4cd6, 0x4cd8, u16::MAX] {
            let id = SocketId { node: NodeId(node), ..local };
            assert_eq!(SocketId::parse(&id.to_string()), Some(id));
            assert_ne!(id.to_string(), local.to_string());
        }
        assert_eq!(SocketId::parse("AAcAAeJAAAAAAwAAG5Ku"), None, "each has one text");
    }

    #[test]
    fn a_socket_id_is_its_text_in_json() {
        let id = SocketId::local(ShardId(7), 123_456, 3);
        let json = serde_json::to_string(&id).expect("it serializes");
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<SocketId>(&json).expect("it is read back"), id);
        for other in ["\"lobby\"", "7", "null"] {
            serde_json::from_str::<SocketId>(other).expect_err(other);
        }
    }

    #[test]
    fn a_socket_subscribes_under_an_index_no_connection_has() {
        let id = SocketId::local(ShardId(0), 5, 1);
        assert_eq!(SocketId::index_of(id.subscriber().index), Some(5));
        assert_eq!(SocketId::index_of(5), None);
    }
}
