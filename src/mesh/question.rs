//! What every shard is asked, and answers for itself.

use std::collections::BTreeMap;

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
    /// Beside the shards' answers to `Channel` and `Channels`, where a broker joins nodes: what the others know.
    Nodes {
        /// Of one channel as often as there are nodes that know it.
        reports: Vec<ChannelReport>,
        /// How many nodes have not answered.
        missing: u32,
        /// Whether one has told of as many as it may, and may know more.
        is_cut: bool,
    },
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

impl ChannelReport {
    /// Adds another shard's report of the channel: subscribers add up, the rest only its owner knows.
    pub fn add_shard(&mut self, other: Self) {
        self.add_subscribers(&other);
        self.position = self.position.or(other.position);
        self.history_publications += other.history_publications;
        self.history_bytes += other.history_bytes;
    }

    /// Adds another node's: subscribers add up; of the rest each has a copy, and the one that is furthest counts.
    pub fn add_node(&mut self, other: Self) {
        self.add_subscribers(&other);
        let positions = self.position.into_iter().chain(other.position);
        self.position = positions.max_by_key(|position| (position.epoch, position.offset));
        self.history_publications = self.history_publications.max(other.history_publications);
        self.history_bytes = self.history_bytes.max(other.history_bytes);
    }

    /// Adds a report to those of other channels.
    pub fn gather(sums: &mut BTreeMap<ChannelName, Self>, report: Self, add: fn(&mut Self, Self)) {
        match sums.get_mut(&report.channel) {
            Some(sum) => add(sum, report),
            None => {
                sums.insert(report.channel.clone(), report);
            }
        }
    }

    fn add_subscribers(&mut self, other: &Self) {
        for (sum, part) in self.subscribers.iter_mut().zip(other.subscribers) {
            *sum = sum.saturating_add(part);
        }
    }
}
