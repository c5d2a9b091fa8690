//! Channels that are followed: which, from where on, and when each is looked at next.
//!
//! One connection carries both the question what is kept of a channel and what is pushed of it. So what is pushed before the
//! answer stands in the answer, and is dropped; what comes behind it is the next of the stream.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{
    link::Around,
    stream::Stream,
    wire::{Awaited, Wire},
};
use crate::{
    limits::{BROKER_CHECK_MS, BROKER_FOLLOWING_MAX},
    model::ChannelName,
};

/// Channels that are followed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    all: FxHashMap<ChannelName, Following>,
    /// Channels that are still to be asked about.
    wanted: VecDeque<ChannelName>,
    /// Channels that could not be followed and are asked about again a second later.
    later: Vec<ChannelName>,
    /// How many are being asked about.
    asked: usize,
    /// In the order in which they are looked at; one whose number is another by now stands elsewhere, if anywhere.
    round: VecDeque<(ChannelName, u64)>,
    numbers: u64,
    checked_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Following {
    /// Of the last question.
    number: u64,
    epoch_min: u64,
    /// What is pushed is passed on.
    is_told: bool,
}

impl Followed {
    /// Follows a channel, or asks again about one that is.
    pub(super) fn follow(&mut self, channel: ChannelName, epoch_min: u64) {
        self.numbers += 1;
        let following = Following { number: self.numbers, epoch_min, is_told: false };
        self.all.insert(channel.clone(), following);
        self.wanted.push_back(channel);
    }

    /// Follows a channel no more.
    pub(super) fn leave(&mut self, channel: &ChannelName, topic: &str, wire: Option<&mut Wire>) {
        if self.all.remove(channel).is_some()
            && let Some(wire) = wire
        {
            wire.say(&[b"UNSUBSCRIBE", topic.as_bytes()]);
        }
    }

    /// Follows nothing. What is still answered is of questions whose numbers are not used again.
    pub(super) fn begin_anew(&mut self) {
        let Self { asked, numbers, .. } = *self;
        *self = Self { asked, numbers, ..Self::default() };
    }

    /// Every channel.
    pub(super) fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.all.keys()
    }

    /// The connection is lost: all are to be asked about again.
    pub(super) fn lose(&mut self) {
        self.later.clear();
        self.round.clear();
        self.asked = 0;
        for following in self.all.values_mut() {
            following.is_told = false;
        }
        self.wanted = self.all.keys().cloned().collect();
    }

    /// Asks about channels, so many at a time.
    pub(super) fn ask(&mut self, wire: &mut Wire, around: &Around<'_>) {
        while self.asked < BROKER_FOLLOWING_MAX
            && let Some(channel) = self.wanted.pop_front()
        {
            let Some(Following { number, epoch_min, is_told: false }) = self.all.get(&channel).copied()
            else {
                continue;
            };
            let stream = Stream::of(around.terms, &channel);
            wire.say(&[b"SUBSCRIBE", stream.topic().as_bytes()]);
            let awaited = Awaited::Follow(channel, number);
            stream.ask(wire, around, (epoch_min, stream.entries_max()), &[], awaited);
            self.asked += 1;
        }
    }

    /// A question is answered; whether it is the last about this channel.
    pub(super) fn answered(&mut self, channel: &ChannelName, number: u64) -> bool {
        self.asked = self.asked.saturating_sub(1);
        self.all.get(channel).is_some_and(|following| following.number == number)
    }

    /// What is pushed of a channel is passed on from here on.
    pub(super) fn tell(&mut self, channel: &ChannelName) {
        if let Some(following) = self.all.get_mut(channel) {
            (following.is_told, following.epoch_min) = (true, 0);
            self.round.push_back((channel.clone(), following.number));
        }
    }

    /// A channel could not be followed; it is asked about again.
    pub(super) fn put_off(&mut self, channel: ChannelName) {
        self.later.push(channel);
    }

    /// A channel of which what is pushed is passed on.
    pub(super) fn told(&self, channel: &str) -> Option<&ChannelName> {
        let (name, following) = self.all.get_key_value(channel)?;
        following.is_told.then_some(name)
    }

    /// Looks where channels are, each once in a while.
    pub(super) fn check(&mut self, wire: &mut Wire, around: &Around<'_>) {
        let passed_ms = around.now_ms.saturating_sub(self.checked_ms);
        if passed_ms < 1000 {
            return;
        }
        self.checked_ms = around.now_ms;
        self.wanted.extend(self.later.drain(..));
        let share = self.round.len() as u64 * passed_ms.min(BROKER_CHECK_MS) / BROKER_CHECK_MS;
        for _ in 0..(share + 1).min(self.round.len() as u64) {
            let Some((channel, number)) = self.round.pop_front() else { return };
            if self.all.get(&channel).is_none_or(|following| following.number != number) {
                continue;
            }
            let awaited = Awaited::Check(channel.clone(), number);
            Stream::of(around.terms, &channel).ask(wire, around, (0, 0), &[], awaited);
            self.round.push_back((channel, number));
        }
    }

    /// Whether an answer about where a channel is still means something.
    pub(super) fn is_checked(&self, channel: &ChannelName, number: u64) -> bool {
        self.all.get(channel).is_some_and(|following| following.number == number && following.is_told)
    }
}
