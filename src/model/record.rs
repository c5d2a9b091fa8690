//! What an owner has kept on disk, and what it finds there again.

use super::{ChannelName, Position, SharedPublication, StateKey};

/// How long what a channel keeps outlives its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// It does not.
    #[default]
    Memory,
    /// It is written behind what is acknowledged: what was acknowledged last may be lost with the process.
    Written,
    /// Nobody is told of it before it is on disk: what was acknowledged is there again, whatever became of the process.
    Synced,
}

/// One thing to be written.
#[derive(Clone, Debug)]
pub enum Record {
    /// A publication, which changes the state if it is a change of that.
    Publication {
        /// The publication.
        publication: SharedPublication,
        /// It stands in the history.
        is_kept: bool,
        /// Nobody is told of it before it is on disk.
        is_synced: bool,
    },
    /// A counter has counted since it was last told of, and whoever counted waits for this to be on disk.
    Count {
        /// The channel.
        channel: ChannelName,
        /// The counter.
        key: StateKey,
        /// What it has counted.
        value: i64,
    },
    /// A publication stands in the history no more.
    Trim {
        /// The channel.
        channel: ChannelName,
        /// The offset.
        offset: u64,
    },
    /// A channel goes on under another epoch, with all that is kept of it.
    Renew {
        /// The channel.
        channel: ChannelName,
        /// Where it is now.
        position: Position,
    },
    /// Nothing is left of a channel.
    Forget {
        /// The channel.
        channel: ChannelName,
    },
}

/// Some of a channel's history on disk that is wanted.
#[derive(Clone, Debug)]
pub struct PageAsked {
    /// By what the asker knows the answer.
    pub number: u64,
    /// The channel.
    pub channel: ChannelName,
    /// Its epoch.
    pub epoch: u64,
    /// Only what is behind this.
    pub after: u64,
    /// At most so many.
    pub limit: u32,
    /// At most so many bytes, but at least one if there is any.
    pub bytes_max: u64,
}

/// A channel as it was found on disk.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The channel.
    pub channel: ChannelName,
    /// Where it was.
    pub position: Position,
    /// Its history, oldest first.
    pub history: Vec<SharedPublication>,
    /// What its keys hold: what last changed each, and how far it has counted since.
    pub state: Vec<(SharedPublication, Option<i64>)>,
    /// Who was there when the process ended.
    pub members: Vec<StateKey>,
    /// Whether that is all there was, so that the epoch goes on.
    pub is_whole: bool,
}

impl Record {
    /// Bytes of memory that it keeps until it is written.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Publication { publication, .. } => publication.payload.bytes(),
                Self::Count { .. } | Self::Trim { .. } | Self::Renew { .. } | Self::Forget { .. } => 0,
            }
    }

    /// Whether somebody waits for it to be on disk.
    pub fn is_waited_for(&self) -> bool {
        match self {
            Self::Publication { is_synced, .. } => *is_synced,
            Self::Count { .. } => true,
            Self::Trim { .. } | Self::Renew { .. } | Self::Forget { .. } => false,
        }
    }
}
