//! What every shard is asked, and answers for itself.

use super::{Look, ShardReport, Visible};
use crate::model::{ChannelName, Position, Transport};

/// A question every shard answers for itself.
#[derive(Clone, Debug)]
pub enum Question {
    /// What do you know of this channel?
    Channel(ChannelName),
    /// Which channels do you know? The first `limit` visible ones whose name starts with `prefix`.
    Channels {
        /// Start of the names wanted.
        prefix: Box<str>,
        /// At most this many.
        limit: u32,
        /// Only these.
        visible: Visible,
    },
    /// How are you?
    Shard,
    /// How are you, which channels keep you busy, and how have you been, if that is wanted? For somebody who watches.
    Look {
        /// The last hour as well.
        with_past: bool,
    },
}

/// One shard's answer to a [`Question`].
#[derive(Clone, Debug)]
pub enum Survey {
    /// Answers `Channel` (one or none) and `Channels`.
    Channels(Vec<ChannelReport>),
    /// Answers `Shard`.
    Shard(Box<ShardReport>),
    /// Answers `Look`.
    Look(Box<Look>),
}

/// What one shard knows of one channel. Reports of several shards are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelReport {
    /// The channel.
    pub channel: ChannelName,
    /// Subscribers on the answering shard, by [`Transport`] number.
    pub subscribers: [u32; Transport::ALL.len()],
    /// The channel's position; only its owner knows it.
    pub position: Option<Position>,
    /// Publications kept; 0 from any shard but the owner.
    pub history_publications: u32,
    /// Bytes kept; 0 from any shard but the owner.
    pub history_bytes: u64,
}
