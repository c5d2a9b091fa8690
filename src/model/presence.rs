//! Who is present in a channel, as somebody is told.

use super::{Position, StateKey};

/// Some of who is present in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresencePage {
    /// The channel's position now; `None` when the channel does not exist.
    pub position: Option<Position>,
    /// How many users are there.
    pub users: u32,
    /// How many connections that belong to nobody.
    pub guests: u32,
    /// How many connections, of users and others.
    pub connections: u32,
    /// The members, in an order of their own.
    pub members: Vec<MemberReport>,
    /// Whether there are more behind these.
    pub has_more: bool,
}

impl PresencePage {
    /// Bytes of memory it keeps.
    pub fn bytes(&self) -> usize {
        let member = |one: &MemberReport| size_of::<MemberReport>() + one.id.as_str().len() + one.info.len();
        size_of::<Self>() + self.members.iter().map(member).sum::<usize>()
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// Who.
    pub id: StateKey,
    /// What others may know of it, as JSON; empty for nothing.
    pub info: Box<str>,
    /// How many connections it has; none while it may come back.
    pub connections: u32,
}
