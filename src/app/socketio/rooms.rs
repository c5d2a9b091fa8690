//! What may stand where an application names rooms: one name or several, or the id of a socket.

use std::borrow::Cow;

use crate::model::{ChannelName, SocketId, room_channel};

/// One or several rooms. A socket's id, or its text, is the room in which that socket is alone.
pub trait Rooms {
    /// Calls `visit` with the name of each room.
    fn visit(&self, visit: &mut dyn FnMut(&str));
}

/// What a room's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// A room, and its channel.
    Channel(ChannelName),
    /// One socket.
    Socket(SocketId),
    /// No room has this name: it is empty, too long, or has control characters. So nobody is in it.
    Nowhere,
}

impl Room {
    pub(super) fn named(name: &str, namespace: &str) -> Self {
        match (SocketId::parse(name), room_channel(namespace, name)) {
            (Some(id), _) => Self::Socket(id),
            (None, Ok(channel)) => Self::Channel(channel),
            (None, Err(_)) => Self::Nowhere,
        }
    }
}

/// The channels of those rooms that sockets can be put into.
pub(super) fn channels(rooms: &impl Rooms, namespace: &str) -> Vec<ChannelName> {
    let mut channels = Vec::new();
    rooms.visit(&mut |name| match Room::named(name, namespace) {
        Room::Channel(channel) => channels.push(channel),
        Room::Socket(_) | Room::Nowhere => {}
    });
    channels
}

impl Rooms for str {
    fn visit(&self, visit: &mut dyn FnMut(&str)) {
        visit(self);
    }
}

impl Rooms for String {
    fn visit(&self, visit: &mut dyn FnMut(&str)) {
        visit(self);
    }
}

impl Rooms for Cow<'_, str> {
    fn visit(&self, visit: &mut dyn FnMut(&str)) {
        visit(self);
    }
}

impl Rooms for SocketId {
    fn visit(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.to_string());
    }
}

impl<T: Rooms> Rooms for [T] {
    fn visit(&self, visit: &mut dyn FnMut(&str)) {
        self.iter().for_each(|rooms| rooms.visit(visit));
    }
}

impl<T: Rooms, const N: usize> Rooms for [T; N] {
    fn visit(&self, visit: &mut dyn FnMut(&str)) {
        self.as_slice().visit(visit);
    }
}

impl<T: Rooms> Rooms for Vec<T> {
    fn visit(&self, visit: &mut dyn FnMut(&str)) {
        self.as_slice().visit(visit);
    }
}

impl<T: Rooms + ?Sized> Rooms for &T {
    fn visit(&self, visit: &mut dyn FnMut(&str)) {
        (**self).visit(visit);
    }
}
