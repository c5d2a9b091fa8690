//! How Socket.IO's namespaces and rooms are named as channels, in both directions.
//!
//! | Socket.IO | channel |
//! |---|---|
//! | everybody in `/` | `/` |
//! | room `lobby` in `/` | `lobby` |
//! | everybody in `/game` | `/game` |
//! | room `lobby` in `/game` | `/game#lobby` |
//! | room `/x` in `/` | `/#/x` |
//!
//! A room named like a socket's id holds that socket and no other; nobody subscribes to its channel.

use super::{ChannelName, ChannelNameError, SocketId};

/// The channel of everybody in a namespace.
pub fn namespace_channel(namespace: &str) -> Result<ChannelName, ChannelNameError> {
    ChannelName::new(namespace, ChannelName::BYTES_MAX)
}

/// The channel of a room.
pub fn room_channel(namespace: &str, room: &str) -> Result<ChannelName, ChannelNameError> {
    if room.is_empty() {
        return Err(ChannelNameError::Empty);
    }
    match namespace == "/" && !room.starts_with('/') {
        true => ChannelName::new(room, ChannelName::BYTES_MAX),
        false => ChannelName::new(&format!("{namespace}#{room}"), ChannelName::BYTES_MAX),
    }
}

/// The namespace a channel belongs to, and the room in it; no room is everybody.
pub fn namespace_of(channel: &ChannelName) -> (&str, Option<&str>) {
    namespace_and_room(channel.as_str())
}

/// As [`namespace_of`], for a name that may be none of a channel.
pub fn namespace_and_room(name: &str) -> (&str, Option<&str>) {
    if !name.starts_with('/') {
        return ("/", Some(name));
    }
    match name.split_once('#') {
        Some((namespace, room)) => (namespace, Some(room)),
        None => (name, None),
    }
}

/// The socket that is alone in this room, if it is the room of one socket.
pub fn lone_socket(channel: &ChannelName) -> Option<SocketId> {
    namespace_of(channel).1.and_then(SocketId::parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;

    #[test]
    fn rooms_and_channels_name_each_other() {
        let cases = [
            ("/", "lobby", "lobby"),
            ("/", "/x", "/#/x"),
            ("/", "a#b", "a#b"),
            ("/game", "lobby", "/game#lobby"),
            ("/game", "a#b", "/game#a#b"),
        ];
        for (namespace, room, channel) in cases {
            let name = room_channel(namespace, room).expect("a name");
            assert_eq!(name.as_str(), channel);
            assert_eq!(namespace_of(&name), (namespace, Some(room)));
        }
        for namespace in ["/", "/game"] {
            let name = namespace_channel(namespace).expect("a name");
            assert_eq!(namespace_of(&name), (namespace, None));
        }
        assert_eq!(room_channel("/", ""), Err(ChannelNameError::Empty));
    }

    #[test]
    fn a_room_named_like_a_socket_is_that_sockets_own() {
        let id = SocketId::local(ShardId(3), 4, 5);
        for namespace in ["/", "/game"] {
            let lone = |room: &str| lone_socket(&room_channel(namespace, room).expect("a name"));
            assert_eq!((lone(&id.to_string()), lone("lobby")), (Some(id), None));
        }
        assert_eq!(lone_socket(&namespace_channel("/").expect("a name")), None);
    }
}
