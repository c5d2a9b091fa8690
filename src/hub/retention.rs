//! How long an owner keeps publications, and channels that nobody uses.
//!
//! Publications go when their channel has more than it may, when they are too old, and when all of the shard's
//! together are too large, oldest first. A channel that nobody subscribes to and that keeps nothing is *unused*:
//! only its position would be lost. It is forgotten when it has not been used for as long as history is kept, or
//! at once when its place is needed.

use std::collections::VecDeque;

use super::{
    Hub,
    channel::{ChannelIndex, Role},
    history,
};
use crate::model::{Durability, Record, SharedPublication};

/// Publications aged out by one tick; a publish ages out some as well, so that neither ever falls behind.
pub(super) const EXPIRED_PER_TICK_MAX: usize = 4096;
const EXPIRED_PER_PUBLISH_MAX: usize = 2;
/// Entries of the queue of unused channels looked at by one tick, and by one verb that needs a place.
pub(super) const UNUSED_PER_TICK_MAX: usize = 1024;
const UNUSED_PER_PLACE_MAX: usize = 64;

/// Channels that were unused when they were put here, in that order; each at most once. It is never longer than
/// the channels this shard owns.
#[derive(Debug, Default)]
pub(super) struct Unused {
    queue: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    channel: ChannelIndex,
    /// When the channel had last been used.
    used_ms: u64,
}

impl Hub {
    /// Keeps a publication, if it is small enough to be kept at all.
    pub(super) fn keep(&mut self, index: ChannelIndex, publication: SharedPublication) {
        self.expire(EXPIRED_PER_PUBLISH_MAX);
        let publications_max = self.settings.history_publications_max as usize;
        let bytes = history::bytes_of(&publication);
        if publications_max == 0 || bytes > self.settings.history_bytes_max {
            return;
        }
        let entry = self.ledger.push(index, bytes, self.now.monotonic_ms);
        let history = &mut self.stream_mut(index).history;
        history.push(publication, entry);
        if history.len() > publications_max {
            self.drop_oldest_of(index);
        }
        while self.ledger.bytes() > self.settings.history_bytes_max
            && let Some(oldest) = self.ledger.oldest(u64::MAX)
        {
            self.drop_oldest_of(oldest);
        }
    }

    /// Drops publications that are too old, so many at most; tells how many.
    pub(super) fn expire(&mut self, count_max: usize) -> usize {
        let Some(kept_before_ms) = self.now.monotonic_ms.checked_sub(self.settings.history_age_max_ms) else {
            return 0;
        };
        for dropped in 0..count_max {
            let Some(index) = self.ledger.oldest(kept_before_ms) else { return dropped };
            self.drop_oldest_of(index);
        }
        count_max
    }

    /// Lets go of a channel that may have become unused: a follower at once, an owner when its time has come.
    pub(super) fn release(&mut self, index: ChannelIndex) {
        let channel = &mut self.channels[index];
        if !channel.is_unused() {
            return;
        }
        match &mut channel.role {
            Role::Follower { .. } => self.channels.remove(index),
            Role::Owner(stream) if stream.is_in_unused => {}
            Role::Owner(stream) => {
                stream.is_in_unused = true;
                self.unused.queue.push_back(Entry { channel: index, used_ms: stream.used_ms });
            }
        }
    }

    /// Forgets channels that have been unused for long enough, so many at most; tells at how many it has looked.
    pub(super) fn forget_unused(&mut self) -> usize {
        for looked in 0..UNUSED_PER_TICK_MAX {
            let Some(entry) = self.unused.queue.front().copied() else {
                self.unused.queue.shrink_to(UNUSED_PER_TICK_MAX);
                return looked;
            };
            if self.now.monotonic_ms < entry.used_ms.saturating_add(self.settings.history_age_max_ms) {
                return looked;
            }
            self.unused.queue.pop_front();
            let used_ms = self.take_from_unused(entry.channel);
            if !self.channels[entry.channel].is_unused() {
                continue;
            }
            if used_ms > entry.used_ms || self.held.is_pending(entry.channel) {
                self.release(entry.channel);
            } else {
                self.forget_channel(entry.channel);
            }
        }
        UNUSED_PER_TICK_MAX
    }

    /// Forgets the channel that has been unused the longest, however short that is; tells whether there was one
    /// among the first few.
    pub(super) fn forget_one_unused(&mut self) -> bool {
        for _ in 0..UNUSED_PER_PLACE_MAX {
            let Some(entry) = self.unused.queue.pop_front() else { return false };
            self.take_from_unused(entry.channel);
            if self.held.is_pending(entry.channel) {
                self.release(entry.channel);
            } else if self.channels[entry.channel].is_unused() {
                self.forget_channel(entry.channel);
                return true;
            }
        }
        false
    }

    /// Notes that a channel has left the queue, and tells when it was last used.
    fn take_from_unused(&mut self, index: ChannelIndex) -> u64 {
        let stream = self.stream_mut(index);
        stream.is_in_unused = false;
        stream.used_ms
    }

    /// Forgets an unused channel, also on disk.
    fn forget_channel(&mut self, index: ChannelIndex) {
        let channel = self.channels[index].name.clone();
        self.record(index, Record::Forget { channel });
        self.channels.remove(index);
    }

    fn drop_oldest_of(&mut self, index: ChannelIndex) {
        let stream = self.stream_mut(index);
        let is_on_disk = stream.durability != Durability::Memory;
        let oldest = if is_on_disk { stream.history.oldest() } else { None };
        if let Some(publication) = oldest {
            let (channel, offset) = (publication.channel.clone(), publication.position.offset);
            self.record(index, Record::Trim { channel, offset });
        }
        let stream = self.stream_mut(index);
        let (entry, bytes) = stream.history.pop().expect("the ledger names channels that keep something");
        self.ledger.remove(entry, bytes);
        self.release(index);
    }
}
