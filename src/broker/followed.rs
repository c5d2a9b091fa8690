//! Channels that are followed: which, from where on, and when each is looked at next.
//!
//! One connection carries both the question what is kept of a channel and what is pushed of it. So what is pushed before the
//! answer stands in the answer, and is dropped; what comes behind it is the next of the stream.
//!
//! ```text
//!   somebody waits ─► Wanted ─┐ first
//!                             ├─► Asked ─► Told ─► the connection is lost ─► Again
//!   followed before ─► Again ─┘
//! ```

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
    /// Channels that somebody waits for and that are still to be asked about; one that is at another stage by now is passed over.
    wanted: VecDeque<ChannelName>,
    /// The same of those that were followed before, for which nobody is known to wait: they come behind the others.
    again: VecDeque<ChannelName>,
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
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is to be asked about, for somebody waits for it.
    Wanted,
    /// It is to be asked about when nobody waits.
    Again,
    Asked,
    /// What is pushed is passed on.
    Told,
}

impl Followed {
    /// Follows a channel, or asks again about one that is.
    pub(super) fn follow(&mut self, channel: ChannelName, epoch_min: u64) {
        self.numbers += 1;
        let following = Following { number: self.numbers, epoch_min, stage: Stage::Wanted };
        self.all.insert(channel.clone(), following);
        self.wanted.push_back(channel);
    }

    /// Somebody waits for a channel that is followed.
    pub(super) fn hurry(&mut self, channel: ChannelName) {
        if let Some(following) = self.all.get_mut(&channel)
            && following.stage == Stage::Again
        {
            following.stage = Stage::Wanted;
            self.wanted.push_back(channel);
        }
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
        self.wanted.clear();
        self.again.clear();
        for (channel, following) in &mut self.all {
            if following.stage == Stage::Wanted {
                self.wanted.push_back(channel.clone());
            } else {
                following.stage = Stage::Again;
                self.again.push_back(channel.clone());
            }
        }
    }

    /// Asks about channels, so many at a time: first about those that somebody waits for.
    pub(super) fn ask(&mut self, wire: &mut Wire, around: &Around<'_>) {
        let mut next = Vec::new();
        while self.asked + next.len() < BROKER_FOLLOWING_MAX
            && let Some(channel) = self.wanted.pop_front().or_else(|| self.again.pop_front())
        {
            if let Some(following) = self.all.get_mut(&channel)
                && matches!(following.stage, Stage::Wanted | Stage::Again)
            {
                following.stage = Stage::Asked;
                next.push((Stream::of(around.terms, &channel), channel, *following));
            }
        }
        if next.is_empty() {
            return;
        }
        let topics = next.iter().map(|(stream, ..)| stream.topic().as_bytes());
        wire.say(&[&b"SUBSCRIBE"[..]].into_iter().chain(topics).collect::<Vec<_>>());
        self.asked += next.len();
        for (stream, channel, Following { number, epoch_min, .. }) in next {
            let awaited = Awaited::Follow(channel, number);
            stream.ask(wire, around, (epoch_min, stream.entries_max()), &[], awaited);
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
            (following.stage, following.epoch_min) = (Stage::Told, 0);
            self.round.push_back((channel.clone(), following.number));
        }
    }

    /// A channel could not be followed; it is asked about again.
    pub(super) fn put_off(&mut self, channel: ChannelName) {
        if let Some(following) = self.all.get_mut(&channel) {
            following.stage = Stage::Again;
            self.later.push(channel);
        }
    }

    /// A channel of which what is pushed is passed on.
    pub(super) fn told(&self, channel: &str) -> Option<&ChannelName> {
        let (name, following) = self.all.get_key_value(channel)?;
        (following.stage == Stage::Told).then_some(name)
    }

    /// Looks where channels are, each once in a while.
    pub(super) fn check(&mut self, wire: &mut Wire, around: &Around<'_>) {
        let passed_ms = around.now_ms.saturating_sub(self.checked_ms);
        if passed_ms < 1000 {
            return;
        }
        self.checked_ms = around.now_ms;
        self.again.extend(self.later.drain(..));
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
        let is_it = |following: &Following| following.number == number && following.stage == Stage::Told;
        self.all.get(channel).is_some_and(is_it)
    }
}
