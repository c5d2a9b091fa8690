//! What waits on this shard to be handed out, for whoever must not overtake it.

use super::{Hub, channel::ChannelIndex};
use crate::{
    limits::FANOUT_PORTION_BYTES,
    model::{ChannelName, Durability, Position},
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

impl Waiting {
    pub(super) fn at(channel: ChannelIndex, position: Position) -> Self {
        Self { channel, position }
    }
}

impl Hub {
    /// The last publication on a channel, if subscribers of this shard are still to get it.
    pub fn waiting(&self, name: &ChannelName) -> Option<Waiting> {
        let index = self.channels.find(name)?;
        self.waiting_at(index)
    }

    /// As [`Self::waiting`], of a channel that has just been published to.
    pub(super) fn waiting_for(&self, name: &ChannelName) -> Option<Waiting> {
        if self.has_told_all() { None } else { self.waiting(name) }
    }

    fn waiting_at(&self, index: ChannelIndex) -> Option<Waiting> {
        if let Some(held) = self.last_held(index) {
            return Some(held);
        }
        self.channels[index].audience.last_waiting().map(|position| Waiting::at(index, position))
    }

    /// Whether a publication has been handed out to everybody on this shard.
    pub fn is_handed_out(&self, waiting: &Waiting) -> bool {
        let channel = self.channels.get(waiting.channel);
        !self.is_held(waiting.channel, waiting.position)
            && channel.is_none_or(|channel| channel.audience.has_handed_out(waiting.position))
    }

    /// Whether this is the channel of a publication that waits.
    pub fn is_of(&self, waiting: &Waiting, name: &ChannelName) -> bool {
        self.channels.get(waiting.channel).is_some_and(|channel| channel.name == *name)
    }

    /// The number of its channel ([`Self::channel_key`]).
    pub fn waiting_key(&self, waiting: &Waiting) -> u32 {
        self.channel_key(&self.channels[waiting.channel].name)
    }

    /// Whether what is published on a channel now may be handed out before what waits on others: its turn has come
    /// before theirs, or there is so much that they take turns. What comes behind it on theirs changes nothing: what waits
    /// now is a part of each one's next portion.
    pub fn may_overtake(&self, name: &ChannelName) -> bool {
        // What is held back is told in order.
        if !self.held.is_empty() && self.durability_of(name) != Durability::Synced {
            return true;
        }
        if self.holds_back() {
            return true;
        }
        let index = self.channels.find(name).filter(|index| self.channels[*index].is_in_fanout);
        if index.is_some() && index != self.fanout_queue.back().copied() {
            return true;
        }
        // What a turn has no more room for is given to some, and to the others behind what comes next.
        let mut room = self.room;
        for index in &self.fanout_queue {
            let audience = &self.channels[*index].audience;
            let is_next = !audience.is_sliced()
                && !audience.has_been_served(self.turn)
                && audience.gathered_bytes() <= FANOUT_PORTION_BYTES;
            let Some(left) = room.checked_sub(audience.len()).filter(|_| is_next) else {
                return true;
            };
            room = left;
        }
        false
    }

    /// All publications behind which nothing waits to be handed out.
    pub fn all_waiting(&self) -> Vec<Waiting> {
        let last = |index: &ChannelIndex| {
            let position = self.channels[*index].audience.last_waiting()?;
            Some(Waiting::at(*index, position))
        };
        let held: Vec<_> = self.receipts.held().collect();
        self.fanout_queue.iter().chain(&held).filter_map(last).collect()
    }

    /// A number for a channel: two channels may have the same, though hardly ever.
    pub fn channel_key(&self, name: &ChannelName) -> u32 {
        self.channels.hash(name).in_table()
    }

    /// Whether nothing waits to be handed out but what is held back.
    pub fn has_handed_out_all(&self) -> bool {
        self.fanout_queue.is_empty()
    }

    /// Whether nothing waits to be handed out, and nothing for the disk.
    pub fn has_told_all(&self) -> bool {
        self.fanout_queue.is_empty() && self.held.is_empty() && !self.holds_back()
    }
}
