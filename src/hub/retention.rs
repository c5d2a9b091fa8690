//! How long an owner keeps publications, and channels that nobody uses; what is said of a namespace.
//!
//! Publications go when their channel has more than it may, when they are too old, and when all of the shard's
//! together are too large, oldest first. A channel that nobody subscribes to and that keeps nothing is *unused*:
//! only its position would be lost. It is forgotten when it has not been used for as long as history is kept, or
//! at once when its place is needed.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{
    Hub,
    channel::{Channel, ChannelIndex, Role},
    history,
    ledgers::{Ledgers, RuleNumber},
};
use crate::{
    auth::Pattern,
    model::{ChannelName, Durability, Record, Retention, SharedPublication},
};

/// Publications aged out by one tick; a publish ages out some as well, so that neither ever falls behind.
pub(super) const EXPIRED_PER_TICK_MAX: usize = 4096;
const EXPIRED_PER_PUBLISH_MAX: usize = 2;
/// Publications of a channel that go for one that comes, where it keeps more than it may.
const DROPPED_PER_PUBLISH_MAX: usize = 2;
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
    /// From now on these channels are kept for as long as this says, and not as long as the others. What is kept already counts
    /// from when it was kept.
    pub fn change_retention(&mut self, rules: Vec<(Pattern, Retention)>) {
        if self.ledgers.rules() == rules {
            return;
        }
        let before = std::mem::replace(&mut self.ledgers, Ledgers::new(rules));
        for index in 0..self.channels.end() {
            let rule = self.channels.get(index).map_or(0, |channel| self.ledgers.rule_of(&channel.name));
            if let Some(stream) = self.channels.get_mut(index).and_then(Channel::stream_mut) {
                stream.rule = rule;
            }
        }
        // Each channel's oldest comes first.
        let mut entered = FxHashMap::<ChannelIndex, usize>::default();
        for (kept_ms, index) in before.entries() {
            let at = entered.entry(index).or_default();
            let ledgers = &mut self.ledgers;
            let stream = self.channels[index].stream_mut().expect("the ledger names channels of this owner");
            let rule = stream.rule;
            stream.history.enter_again(*at, |bytes| ledgers.push(rule, index, bytes, kept_ms));
            *at += 1;
        }
    }

    /// Keeps a publication, if it is small enough to be kept at all.
    pub(super) fn keep(&mut self, index: ChannelIndex, publication: SharedPublication) {
        self.expire(EXPIRED_PER_PUBLISH_MAX);
        let publications_max = self.publications_max(index);
        let bytes = history::bytes_of(&publication);
        if publications_max == 0 || bytes > self.settings.history_bytes_max {
            return;
        }
        let rule = self.stream_mut(index).rule;
        let entry = self.ledgers.push(rule, index, bytes, self.now.monotonic_ms);
        self.stream_mut(index).history.push(publication, entry);
        // Where fewer are kept than before, each publication brings it nearer.
        for _ in 0..DROPPED_PER_PUBLISH_MAX {
            if self.stream_mut(index).history.len() > publications_max {
                self.drop_oldest_of(index);
            }
        }
        while self.ledgers.bytes() > self.settings.history_bytes_max
            && let Some(oldest) = self.ledgers.oldest_of_all()
        {
            self.drop_oldest_of(oldest);
        }
    }

    /// What is said of a channel's namespace; its place is known, if it has one.
    pub(super) fn retention_of(&self, channel: &ChannelName, index: Option<ChannelIndex>) -> Retention {
        let rule = match index.and_then(|index| self.channels[index].stream()) {
            Some(stream) => stream.rule,
            None => self.ledgers.rule_of(channel),
        };
        self.ledgers.retention(rule)
    }

    /// How many publications of a channel are kept.
    pub(super) fn publications_max(&mut self, index: ChannelIndex) -> usize {
        let rule = self.stream_mut(index).rule;
        let own = self.ledgers.retention(rule).publications_max;
        own.unwrap_or(self.settings.history_publications_max) as usize
    }

    /// How long publications of this rule's channels are kept.
    pub(super) fn age_max_ms(&self, rule: RuleNumber) -> u64 {
        let own_ms = self.ledgers.retention(rule).age_max_ms.map(u64::from);
        own_ms.unwrap_or(self.settings.history_age_max_ms)
    }

    /// Drops publications that are too old, so many at most; tells how many.
    pub(super) fn expire(&mut self, count_max: usize) -> usize {
        let mut dropped = 0;
        for rule in self.ledgers.numbers() {
            let age_max_ms = self.age_max_ms(rule);
            let Some(kept_before_ms) = self.now.monotonic_ms.checked_sub(age_max_ms) else { continue };
            while dropped < count_max
                && let Some(index) = self.ledgers.oldest(rule, kept_before_ms)
            {
                self.drop_oldest_of(index);
                dropped += 1;
            }
        }
        dropped
    }

    /// Lets go of a channel that may have become unused: a follower at once, an owner when its time has come.
    pub(super) fn release(&mut self, index: ChannelIndex) {
        if !self.channels[index].is_unused() || self.is_archived(index) {
            return;
        }
        let channel = &mut self.channels[index];
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
                if self.unused.queue.capacity() > UNUSED_PER_TICK_MAX {
                    self.unused.queue.shrink_to(UNUSED_PER_TICK_MAX);
                }
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
        self.tell_cluster_of_room(&channel, false);
        self.record(index, Record::Forget { channel });
        if self.brokered.is_some() {
            self.leave_broker(index);
        }
        self.channels.remove(index);
    }

    fn drop_oldest_of(&mut self, index: ChannelIndex) {
        let has_archive = self.archive.is_kept;
        let stream = self.stream_mut(index);
        let is_on_disk = stream.durability != Durability::Memory;
        // The disk lets go of what it keeps beyond memory by itself.
        let oldest = if is_on_disk && !has_archive { stream.history.oldest() } else { None };
        if let Some(publication) = oldest {
            let (channel, offset) = (publication.channel.clone(), publication.position.offset);
            self.record(index, Record::Trim { channel, offset });
        }
        let stream = self.stream_mut(index);
        let rule = stream.rule;
        let (entry, bytes) = stream.history.pop().expect("the ledger names channels that keep something");
        self.ledgers.remove(rule, entry, bytes);
        self.release(index);
    }
}
