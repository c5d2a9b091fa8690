//! What a backend is told of that has happened: who has come and gone, which channels are followed, and who is in them. How it
//! is told is the business of `backend/`.

use std::net::IpAddr;

use super::{ChannelName, StateKey};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Somebody has come who stays.
    Connected(Box<Visitor>),
    /// It has gone, for the reason with this label.
    Disconnected(Box<Visitor>, &'static str),
    /// Somebody follows a channel that nobody followed.
    Occupied(ChannelName),
    /// Nobody follows it any more.
    Vacated(ChannelName),
    /// A member has entered a channel, and says this of itself.
    MemberAdded(ChannelName, StateKey, Box<str>),
    /// It has left.
    MemberRemoved(ChannelName, StateKey),
    /// The process serves, with so many shards.
    NodeStarted(u16),
    /// It serves nobody new, and ends.
    NodeDraining,
    /// Another node of this name has ended without a word, or cannot be reached.
    NodeLost(Box<str>),
    /// The shard has failed for so many times now, and has begun anew: its clients are gone, untold.
    ShardRestarted(u64),
}

/// Who has come or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// Its connection, or its socket, as a name.
    pub client: Box<str>,
    /// How it is connected.
    pub transport: &'static str,
    /// The namespace of Socket.IO that it is in.
    pub namespace: Option<Box<str>>,
    /// Whose token it has shown.
    pub user: Option<Box<str>>,
    /// Its address.
    pub address: Option<IpAddr>,
}

/// A kind of notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// [`Notice::Connected`].
    Connected,
    /// [`Notice::Disconnected`].
    Disconnected,
    /// [`Notice::Occupied`].
    Occupied,
    /// [`Notice::Vacated`].
    Vacated,
    /// [`Notice::MemberAdded`].
    MemberAdded,
    /// [`Notice::MemberRemoved`].
    MemberRemoved,
    /// [`Notice::NodeStarted`], [`Notice::NodeDraining`], [`Notice::NodeLost`], [`Notice::ShardRestarted`].
    Node,
}

/// Some kinds of notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoticeKinds(u8);

impl NoticeKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Connected,
        Self::Disconnected,
        Self::Occupied,
        Self::Vacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::Node,
    ];

    /// As the configuration names them, in the same order.
    pub const NAMES: &[&str] = &[
        "connected",
        "disconnected",
        "channel_occupied",
        "channel_vacated",
        "member_added",
        "member_removed",
        "node",
    ];

    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl Notice {
    /// Of which kind it is.
    pub fn kind(&self) -> NoticeKind {
        match self {
            Self::Connected(_) => NoticeKind::Connected,
            Self::Disconnected(..) => NoticeKind::Disconnected,
            Self::Occupied(_) => NoticeKind::Occupied,
            Self::Vacated(_) => NoticeKind::Vacated,
            Self::MemberAdded(..) => NoticeKind::MemberAdded,
            Self::MemberRemoved(..) => NoticeKind::MemberRemoved,
            Self::NodeStarted(_) | Self::NodeDraining | Self::NodeLost(_) | Self::ShardRestarted(_) => {
                NoticeKind::Node
            }
        }
    }
}

impl NoticeKinds {
    /// Whether this kind is among them.
    pub fn has(self, kind: NoticeKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }
}

impl FromIterator<NoticeKind> for NoticeKinds {
    fn from_iter<I: IntoIterator<Item = NoticeKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | 1 << kind as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_they_were_made_of() {
        let kinds: NoticeKinds = [NoticeKind::Vacated, NoticeKind::Node].into_iter().collect();
        for kind in NoticeKind::ALL {
            let is_one = matches!(kind, NoticeKind::Vacated | NoticeKind::Node);
            assert_eq!(kinds.has(kind), is_one, "{}", kind.name());
            assert!(!NoticeKinds::default().has(kind));
        }
    }
}
