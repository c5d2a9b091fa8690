//! What has been published, and what clients say they have seen of it: each place of a channel holds one publication, and each
//! publication is in one place.

use std::{collections::HashMap, ops::AddAssign};

use crate::model::Position;

/// The filling of the largest publication.
pub(super) const PUBLICATION_BYTES_MAX: usize = 90_000;

#[derive(Default)]
pub(super) struct Oracle {
    channels: Vec<Channel>,
    /// Where anybody has seen each publication.
    places: HashMap<u64, (usize, u64)>,
    numbers: u64,
    kept_max: u64,
    pub(super) seen: Seen,
}

#[derive(Default)]
struct Channel {
    published: u64,
    told: u64,
    epoch: Option<u64>,
    /// What anybody has seen at each place.
    numbers: HashMap<u64, u64>,
}

/// What has happened, in all seeds together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) publications: u64,
    /// What was told of them, in whatever way.
    pub(super) told: u64,
    pub(super) resets: u64,
    pub(super) pages: u64,
    pub(super) polls: u64,
    /// Pages and answers that say that something before them is lost.
    pub(super) gaps: u64,
    /// Pages that were to be asked for again.
    pub(super) unread: u64,
    /// Clients that were cut.
    pub(super) cuts: u64,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.publications += other.publications;
        self.told += other.told;
        self.resets += other.resets;
        self.pages += other.pages;
        self.polls += other.polls;
        self.gaps += other.gaps;
        self.unread += other.unread;
        self.cuts += other.cuts;
    }
}

impl Oracle {
    pub(super) fn new(channels: usize, kept_max: u32) -> Self {
        let channels = (0..channels).map(|_| Channel::default()).collect();
        Self { channels, kept_max: kept_max.into(), ..Self::default() }
    }

    /// The text of the next publication of a channel.
    pub(super) fn publish(&mut self, channel: usize, bytes: usize) -> String {
        self.channels[channel].published += 1;
        self.numbers += 1;
        self.seen.publications += 1;
        format!("{}:{}", self.numbers, "x".repeat(bytes))
    }

    /// How many have been published.
    pub(super) fn published(&self, channel: usize) -> u64 {
        self.channels[channel].published
    }

    /// Up to where anybody has been told.
    pub(super) fn told_up_to(&self, channel: usize) -> u64 {
        self.channels[channel].told
    }

    /// The epoch of a channel, once anybody has been told.
    pub(super) fn epoch(&self, channel: usize) -> Option<u64> {
        self.channels[channel].epoch
    }

    /// Somebody is told a position.
    pub(super) fn note(&mut self, channel: usize, position: Position) {
        let epoch = self.channels[channel].epoch.get_or_insert(position.epoch);
        assert_eq!(*epoch, position.epoch, "nothing was lost");
        let channel = &mut self.channels[channel];
        assert!(position.offset <= channel.published, "so much was not published");
        channel.told = channel.told.max(position.offset);
    }

    /// Somebody is told a publication.
    pub(super) fn saw(&mut self, channel: usize, position: Position, text: &str) {
        self.note(channel, position);
        self.seen.told += 1;
        let (number, filling) = text.split_once(':').expect("a whole text");
        assert!(filling.bytes().all(|byte| byte == b'x'), "a whole text");
        let number = number.parse().expect("a number");
        let place = (channel, position.offset);
        assert_eq!(*self.places.entry(number).or_insert(place), place, "it is in one place");
        let at = self.channels[channel].numbers.entry(position.offset).or_insert(number);
        assert_eq!(*at, number, "everybody is told the same");
    }

    /// Somebody is told that what it has not seen up to here is lost: as much may have come since as is kept.
    pub(super) fn lost(&self, channel: usize, up_to: u64) {
        let published = self.channels[channel].published;
        assert!(up_to + self.kept_max <= published, "{up_to} of {published} is kept");
    }
}
