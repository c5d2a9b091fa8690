//! What a channel's owner is asked about it, and what it tells: who subscribes, enters, changes or reads.

use crate::model::{ConnectionId, Position, PresencePage, SharedPublication, SharedPublications, StateKey};

/// What a subscriber asks a channel's owner for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinAsked {
    /// The position it has already seen.
    pub since: Option<Position>,
    /// At most so many bytes of what it missed; with 0 it is not shown anything yet.
    pub bytes_max: u64,
    /// Whether it is told the state.
    pub state: StateWanted,
    /// Whether it is told who is there.
    pub presence: bool,
}

/// Whether a subscriber is told a channel's state, behind what it missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateWanted {
    /// It is not.
    #[default]
    No,
    /// It is if it missed something that is lost.
    IfLost,
    /// It is.
    Yes,
}

impl JoinAsked {
    /// Whether it is to be shown what an owner has to gather.
    pub fn is_shown(&self) -> bool {
        self.state != StateWanted::No || self.presence
    }

    /// Of one that has missed nothing and wants nothing but what comes.
    pub const NOTHING: Self = Self { since: None, bytes_max: 0, state: StateWanted::No, presence: false };
}

/// What a subscriber is told by a channel's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Everything up to here it has or is told now.
    pub position: Position,
    /// The channel's position now: the same, unless there is more to catch up with.
    pub now: Position,
    /// The first of what it missed, oldest first.
    pub missed: Vec<SharedPublication>,
    /// How many publications it missed beyond these.
    pub rest: u32,
    /// Whether `missed` and the rest are all of it.
    pub recovered: bool,
    /// The channel's state at `position`, key by key, if it is to be told that.
    pub state: Option<SharedPublications>,
    /// Who is there, or the first of them, if it is to be told that.
    pub presence: Option<Box<PresencePage>>,
    /// The state, or who is there, is still to be shown, when it asks again.
    pub is_withheld: bool,
}

impl Welcome {
    /// To one that has missed nothing.
    pub fn to(position: Position) -> Self {
        Self {
            position,
            now: position,
            missed: Vec::new(),
            rest: 0,
            recovered: true,
            state: None,
            presence: None,
            is_withheld: false,
        }
    }

    /// Whether there is nothing beyond this that it missed or is to be shown.
    pub fn is_all(&self) -> bool {
        self.rest == 0 && !self.is_withheld
    }
}

/// A page of a channel's history.
#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    /// The channel's position now; `None` when the channel does not exist.
    pub position: Option<Position>,
    /// The publications, oldest first.
    pub publications: Vec<SharedPublication>,
    /// Whether the page continues `since` without a gap.
    pub recovered: bool,
    /// Whether more is kept than is on the page.
    pub has_more: bool,
}

/// Which keys of a channel's state are asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum StateQuery {
    /// This one.
    Key(StateKey),
    /// So many, in their order.
    Page {
        /// Only those behind this one.
        after: Option<StateKey>,
        /// At most this many.
        limit: u32,
    },
}

/// Some of a channel's state.
#[derive(Clone, Debug, Default)]
pub struct StatePage {
    /// The channel's position now; `None` when the channel does not exist.
    pub position: Option<Position>,
    /// What the keys hold: the publications that last changed them, in the order of the keys.
    pub keys: SharedPublications,
    /// Whether there are more keys behind these.
    pub has_more: bool,
}

/// A connection's part in who is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// For whom.
    pub id: StateKey,
    /// What others may know of it, as JSON; empty for nothing.
    pub info: Box<str>,
    /// The connection, of the shard that says so.
    pub connection: ConnectionId,
    /// For whom else it may be there; once it has entered, it is no more.
    pub before: Vec<StateKey>,
    /// The shard's own number for it, handed back in `Entered`.
    pub number: u32,
}

impl Entry {
    /// Bytes of memory it keeps.
    pub(super) fn bytes(&self) -> usize {
        let names = self.before.iter().chain([&self.id]);
        size_of::<Self>() + self.info.len() + names.map(name_bytes).sum::<usize>()
    }
}

/// Bytes of memory that a name takes while something is on its way.
pub(super) fn name_bytes(name: &StateKey) -> usize {
    size_of::<StateKey>() + name.as_str().len()
}
