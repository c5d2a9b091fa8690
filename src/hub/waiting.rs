//! What waits on this shard to be handed out, for whoever must not overtake it.

use super::{Hub, channel::ChannelIndex};
use crate::{
    limits::FANOUT_PER_TURN,
    model::{ChannelName, Position},
};

/// A publication that waits here to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    channel: ChannelIndex,
    position: Position,
}

impl Waiting {
    /// Whether it is handed out after another one, on the same channel.
    pub fn is_behind(&self, other: &Self) -> bool {
        self.channel == other.channel
    }
}

impl Hub {
    /// The last publication on a channel, if subscribers of this shard are still to get it.
    pub fn waiting(&self, name: &ChannelName) -> Option<Waiting> {
        let index = self.channels.find(name)?;
        self.waiting_at(index)
    }

    pub(super) fn waiting_at(&self, index: ChannelIndex) -> Option<Waiting> {
        let position = self.channels[index].audience.last_waiting()?;
        Some(Waiting { channel: index, position })
    }

    /// Whether a publication has been handed out to everybody on this shard.
    pub fn is_handed_out(&self, waiting: &Waiting) -> bool {
        let channel = self.channels.get(waiting.channel);
        channel.is_none_or(|channel| channel.audience.has_handed_out(waiting.position))
    }

    /// Whether this is the channel of a publication that waits.
    pub fn is_of(&self, waiting: &Waiting, name: &ChannelName) -> bool {
        self.channels.get(waiting.channel).is_some_and(|channel| channel.name == *name)
    }

    /// Whether what is published on a channel now may be handed out before what waits on others: its turn has come
    /// before theirs, or there is so much that they take turns.
    pub fn may_overtake(&self, name: &ChannelName) -> bool {
        let mut room = FANOUT_PER_TURN;
        for index in &self.fanout_queue {
            let audience = &self.channels[*index].audience;
            let Some(left) = room.checked_sub(audience.len()).filter(|_| !audience.is_sliced()) else {
                return true;
            };
            room = left;
        }
        let index = self.channels.find(name).filter(|index| self.channels[*index].is_in_fanout);
        index.is_some() && index != self.fanout_queue.back().copied()
    }

    /// All publications behind which nothing waits to be handed out.
    pub fn all_waiting(&self) -> Vec<Waiting> {
        self.fanout_queue.iter().filter_map(|index| self.waiting_at(*index)).collect()
    }

    /// A number for a channel: two channels may have the same, though hardly ever.
    pub fn channel_key(&self, name: &ChannelName) -> u32 {
        self.channels.hash(name).in_table()
    }

    /// Whether nothing waits to be handed out.
    pub fn has_handed_out_all(&self) -> bool {
        self.fanout_queue.is_empty()
    }
}
