//! What Socket.IO sends: arguments with attachments, and what a publication says to Socket.IO clients alone.

use super::{ChannelName, SocketId};

/// The arguments of an event or of an acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// A JSON array, checked; an event's first item is its name. Binary values stand in it as placeholders
    /// (`{"_placeholder":true,"num":0}`) for the attachments.
    pub json: Box<str>,
    /// The binary values, by the number of their placeholder.
    pub attachments: Box<[Box<[u8]>]>,
}

impl Arguments {
    /// Bytes of memory they keep.
    pub fn bytes(&self) -> usize {
        self.json.len() + self.attachments.iter().map(|bytes| bytes.len()).sum::<usize>()
    }
}

/// What a publication says to Socket.IO clients beside its data, which every transport carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emission {
    /// The event with its attachments, when it has any; otherwise the publication's data is the event.
    pub arguments: Option<Arguments>,
    /// Not for this socket: the one that sent it.
    pub except_socket: Option<SocketId>,
    /// Not for sockets that are in any of these rooms; one named like a socket's id is that socket.
    pub except_rooms: Box<[ChannelName]>,
    /// Not for clients that cannot take it at once; never replayed.
    pub is_volatile: bool,
    /// How far it goes in a Socket.IO cluster; nothing where there is none.
    pub reach: Reach,
}

/// How far an event goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// To every member of the cluster.
    #[default]
    Everywhere,
    /// To this server alone, for its application says so.
    Here,
    /// To this server alone, for it comes from another member; and to rooms that are there, for those of all members are not to
    /// be kept by each.
    FromElsewhere,
}
