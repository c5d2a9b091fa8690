//! Subscribers that are expected from another shard of the process, which follow their channels on without history.
//!
//! What a channel brings here from some position on is kept for them until they have come; up to that position, at least, the
//! other shard tells them. Where they are by then, in each channel, they bring along: what they have been told of what is kept is
//! left out.
//!
//! ```text
//!   told there     … 5 6 7 8 9 │ comes, told up to 9
//!   kept here          7 8 9 10 11 │ is told 10 and 11, and is in the audience
//!                    ▲ begins behind 6
//! ```
//!
//! While somebody is expected, a channel is followed as if somebody waited to subscribe. Invariant: a channel stands here while
//! somebody is expected in it, and what is kept of it follows each other without a gap, or is none.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{
    Hub, Output,
    channel::{ChannelIndex, Role},
    joins::OnBehalf,
    membership::Member,
    portions::cost,
};
use crate::{
    limits::{NEWCOMERS_KEPT_BYTES, NEWCOMERS_KEPT_BYTES_MAX},
    mesh::{JoinAsked, JoinId, Subscription, Welcome},
    model::{
        ChannelName, ConnectionId, Durability, Now, Position, PublishError, SharedPublication, Transport,
    },
};

/// Who is expected, and what is kept for them.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    expected: FxHashMap<u64, SmallVec<[Expected; 1]>>,
    channels: FxHashMap<ChannelIndex, Kept>,
    bytes: usize,
}

/// A channel in which somebody is expected.
#[derive(Clone, Copy, Debug)]
struct Expected {
    channel: ChannelIndex,
    /// What is behind this is kept; `None` while the channel's owner is asked.
    begins: Option<Position>,
}

/// What is kept of a channel.
#[derive(Debug, Default)]
struct Kept {
    publications: VecDeque<SharedPublication>,
    bytes: usize,
    /// How many are expected.
    newcomers: u32,
    /// The question to its owner.
    question: Option<JoinId>,
}

/// Whether a newcomer follows a channel on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// It does, and is told what it has not been.
    On,
    /// It has been told what has not come here: it is to be asked again.
    NotYet,
    /// It cannot: something that it has not been told is not there.
    Lost,
}

impl Newcomers {
    /// Keeps a publication, if somebody is expected in its channel.
    pub(super) fn keep(&mut self, channel: ChannelIndex, publication: &SharedPublication) {
        let Some(kept) = self.channels.get_mut(&channel) else { return };
        let bytes = cost(publication);
        if self.bytes + bytes > NEWCOMERS_KEPT_BYTES_MAX {
            kept.publications.clear();
            self.bytes -= std::mem::take(&mut kept.bytes);
            return;
        }
        kept.publications.push_back(publication.clone());
        kept.bytes += bytes;
        self.bytes += bytes;
    }

    /// Nobody is expected any more with what is kept of a channel up to the first that anybody needs.
    fn trim(&mut self, channel: ChannelIndex) {
        let all = self.expected.values().flatten().filter(|one| one.channel == channel);
        let Some(first) = all.filter_map(|one| one.begins).map(|begins| begins.offset).min() else { return };
        let Some(kept) = self.channels.get_mut(&channel) else { return };
        let count = kept.publications.iter().take_while(|one| one.position.offset <= first).count();
        let bytes: usize = kept.publications.drain(..count).map(|one| cost(&one)).sum();
        kept.bytes -= bytes;
        self.bytes -= bytes;
    }

    /// What is kept of a channel between two positions, if all of it is.
    fn between(
        &self,
        channel: ChannelIndex,
        told: Position,
        now: Position,
    ) -> Option<Vec<SharedPublication>> {
        if told == now {
            return Some(Vec::new());
        }
        let kept = &self.channels.get(&channel)?.publications;
        let first = kept
            .iter()
            .position(|one| one.position.epoch == told.epoch && one.position.offset == told.offset + 1)?;
        let missed: Vec<_> = kept.iter().skip(first).cloned().collect();
        let follows = |(one, offset): (&SharedPublication, u64)| one.position == Position { offset, ..told };
        let is_all = missed.iter().zip(told.offset + 1..).all(follows);
        (is_all && missed.last().is_some_and(|last| last.position == now)).then_some(missed)
    }
}

impl Hub {
    /// Somebody is expected, under a number that nobody else is, who follows these channels; whether it may come. When it can is
    /// told by [`Self::newcomer_begins`].
    pub fn expect_newcomer(&mut self, now: Now, number: u64, channels: &[ChannelName]) -> bool {
        self.now = now;
        let is_other = |name: &ChannelName| self.durability_of(name) == Durability::Synced;
        if self.brokered.is_some() || self.joins.are_too_many() || channels.iter().any(is_other) {
            return false;
        }
        self.newcomers.expected.insert(number, SmallVec::new());
        for name in channels {
            let Some(index) = self.anchor(name) else {
                self.expect_newcomer_no_more(now, number);
                return false;
            };
            let begins = self.channels[index].position();
            if let Some(all) = self.newcomers.expected.get_mut(&number) {
                all.push(Expected { channel: index, begins });
            }
        }
        true
    }

    /// Has a channel followed, and keeps what it brings.
    fn anchor(&mut self, name: &ChannelName) -> Option<ChannelIndex> {
        let owner = self.owner_of(name);
        let index = match (self.channels.find(name), owner == self.settings.shard) {
            (Some(index), _) => index,
            (None, true) => self.own(name).ok()?,
            (None, false) => self.channels.insert(name.clone(), Role::Follower { owner, position: None }),
        };
        let is_known = self.channels[index].position().is_some();
        let kept = self.newcomers.channels.entry(index).or_default();
        kept.newcomers += 1;
        self.channels[index].joins_pending += 1;
        if !is_known && kept.question.is_none() {
            let question = self.joins.begin_own(index, OnBehalf::Newcomers);
            kept.question = Some(question);
            self.ask_owner(owner, index, JoinAsked::NOTHING, question);
        }
        Some(index)
    }

    /// The owner of a channel in which somebody is expected has answered.
    pub(super) fn handle_newcomers_joined(
        &mut self,
        index: ChannelIndex,
        result: Result<Welcome, PublishError>,
    ) {
        let Some(kept) = self.newcomers.channels.get_mut(&index) else { return };
        kept.question = None;
        // Without a position nobody of them comes, and the shard gives them up in time.
        let Ok(welcome) = result else { return };
        if let Role::Follower { position, .. } = &mut self.channels[index].role {
            *position = Some(welcome.position);
        }
        let all = self.newcomers.expected.values_mut().flatten();
        all.filter(|one| one.channel == index && one.begins.is_none())
            .for_each(|one| one.begins = Some(welcome.position));
    }

    /// Where whoever is expected has to have been told of each of its channels before it comes; `None` while that is not known.
    pub fn newcomer_begins(&self, number: u64) -> Option<Box<[Position]>> {
        self.newcomers.expected.get(&number)?.iter().map(|one| one.begins).collect()
    }

    /// Whether so much is kept that those who have not set out are not to come.
    pub fn keeps_much_for_newcomers(&self) -> bool {
        self.newcomers.bytes > NEWCOMERS_KEPT_BYTES
    }

    /// A newcomer follows one of its channels on from where it has been told.
    pub fn follow_newcomer(&mut self, now: Now, connection: ConnectionId, one: &Subscription) -> Following {
        self.now = now;
        let Subscription { channel, transport, position: told, shown } = one;
        let Some(index) = self.channels.find(channel) else { return Following::Lost };
        let Some(position) = self.channels[index].position() else { return Following::NotYet };
        if position.epoch != told.epoch {
            return Following::Lost;
        }
        // What is held back until something else has been handed out, it may not be told before.
        if position.offset < told.offset || self.channels[index].audience.held_back().is_some() {
            return Following::NotYet;
        }
        let Some(missed) = self.newcomers.between(index, *told, position) else { return Following::Lost };
        let seat = self.channels[index].audience.admit(connection.index, *transport, position);
        let seat = if *transport == Transport::Json { seat.showing(*shown) } else { seat };
        self.memberships.insert(connection, Member { channel: index, seat });
        self.note_occupancy(index);
        if !missed.is_empty() {
            let (channel, transport, token) = (channel.clone(), *transport, None);
            let welcome = Welcome { missed, ..Welcome::to(position) };
            let joined = Output::Joined { connection, transport, token, channel, welcome, is_further: true };
            self.outputs.push_back(joined);
        }
        Following::On
    }

    /// Whoever was expected has come, or does not come.
    pub fn expect_newcomer_no_more(&mut self, now: Now, number: u64) {
        self.now = now;
        for Expected { channel: index, .. } in self.newcomers.expected.remove(&number).unwrap_or_default() {
            self.channels[index].joins_pending -= 1;
            let Some(kept) = self.newcomers.channels.get_mut(&index) else { continue };
            kept.newcomers -= 1;
            if kept.newcomers > 0 {
                self.newcomers.trim(index);
                continue;
            }
            let Some(kept) = self.newcomers.channels.remove(&index) else { continue };
            self.newcomers.bytes -= kept.bytes;
            if let Some(question) = kept.question {
                let owner = self.owner_of(&self.channels[index].name);
                self.joins.cancel_own(question, owner);
            }
            self.leave_if_last(index);
        }
    }
}

#[cfg(test)]
mod tests;
