//! What shards that end leave to the process that goes on.

use crate::{
    auth::Revoked,
    model::{ChannelName, Restored, StateKey},
};

/// What one shard leaves, or what several have left together.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// The streams that it owned.
    pub streams: Vec<Restored>,
    /// Who was present in its channels, and may come back.
    pub present: Vec<LeftMembers>,
    /// Who is shut out, as every shard knows it.
    pub revoked: Revoked,
}

/// Who was present in a channel, and may come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMembers {
    /// The channel.
    pub channel: ChannelName,
    /// The members, and what others may know of each, as JSON.
    pub members: Vec<(StateKey, Box<str>)>,
}

impl Left {
    /// What all of these have left.
    pub fn together(all: impl IntoIterator<Item = Self>) -> Self {
        let mut together = Self::default();
        for Self { streams, present, revoked } in all {
            together.streams.extend(streams);
            together.present.extend(present);
            together.revoked.merge(&revoked);
        }
        together
    }

    /// Has none of those leave who may come back, of channels that were found on disk as well: there, whoever is present when the
    /// process ends has left.
    pub fn spare(&self, found: &mut [Restored]) {
        for LeftMembers { channel, members } in &self.present {
            for found in found.iter_mut().filter(|found| found.channel == *channel) {
                found.members.retain(|id| members.iter().all(|(spared, _)| spared != id));
            }
        }
    }
}
