//! What WebSockets have said, and what they say they have heard: each place of a channel holds one publication, and each
//! publication is in one place, whole.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::AddAssign,
};

/// Where something stands: epoch and offset.
pub(super) type Place = (u64, u64);

/// What was said.
struct Said {
    channel: usize,
    /// By whom.
    issuer: u64,
    bytes: usize,
    place: Option<Place>,
}

#[derive(Default)]
pub(super) struct Spoken {
    said: Vec<Said>,
    /// What stands at each place of each channel.
    placed: HashMap<(usize, Place), usize>,
    /// Epochs of each channel.
    epochs: BTreeMap<usize, Vec<u64>>,
    /// How often a shard has failed.
    pub(super) failures: usize,
    /// What full links have dropped.
    pub(super) dropped: u64,
    /// What a shard's clients were not told of a channel, though it is kept.
    missed: HashSet<(usize, usize, Place)>,
    kept_max: u64,
    pub(super) seen: Seen,
}

/// What has happened, in all seeds together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) said: u64,
    pub(super) heard: u64,
    pub(super) heard_raw: u64,
    pub(super) subscribed: u64,
    pub(super) recovered: u64,
    /// Comings back from where something is lost, and words of that to those who are there.
    pub(super) gaps: u64,
    /// Of what full links have dropped.
    pub(super) missed: u64,
    pub(super) refused: u64,
    pub(super) cuts: u64,
    pub(super) failures: u64,
    /// Turns that began with full links.
    pub(super) full_links: u64,
    /// What was given up for want of memory, of what had begun and not ended.
    pub(super) given_up: u64,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.said += other.said;
        self.heard += other.heard;
        self.heard_raw += other.heard_raw;
        self.subscribed += other.subscribed;
        self.recovered += other.recovered;
        self.gaps += other.gaps;
        self.missed += other.missed;
        self.refused += other.refused;
        self.cuts += other.cuts;
        self.failures += other.failures;
        self.full_links += other.full_links;
        self.given_up += other.given_up;
    }
}

impl Spoken {
    pub(super) fn new(kept_max: u32) -> Self {
        Self { kept_max: kept_max.into(), ..Self::default() }
    }

    /// Somebody says something in a channel; its text.
    pub(super) fn say(&mut self, issuer: u64, channel: usize, bytes: usize) -> String {
        self.seen.said += 1;
        self.said.push(Said { channel, issuer, bytes, place: None });
        format!("{}:{}", self.said.len() - 1, "x".repeat(bytes))
    }

    /// The number of what a text says, which must be whole.
    pub(super) fn number(&self, channel: usize, text: &str) -> usize {
        let (number, filling) = text.split_once(':').expect("a whole text");
        let number = number.parse().expect("a number");
        let said: &Said = self.said.get(number).expect("it was said");
        let is_whole = filling.len() == said.bytes && filling.bytes().all(|byte| byte == b'x');
        assert!(
            is_whole && said.channel == channel,
            "{number}, of {} bytes, is not what was said",
            filling.len()
        );
        number
    }

    /// It stands there.
    pub(super) fn place(&mut self, channel: usize, place: Place, number: usize) {
        self.know(channel, place.0);
        let at = *self.said[number].place.get_or_insert(place);
        assert_eq!(at, place, "{number} is in one place");
        let there = *self.placed.entry((channel, place)).or_insert(number);
        assert_eq!(there, number, "everybody is told the same of {place:?}");
    }

    /// Somebody is told of an epoch.
    pub(super) fn know(&mut self, channel: usize, epoch: u64) {
        let epochs = self.epochs.entry(channel).or_default();
        if !epochs.contains(&epoch) {
            epochs.push(epoch);
        }
        assert!(epochs.len() <= 1 + self.failures, "an epoch ends with its shard: {epochs:?}");
    }

    /// Somebody is told that what it has not heard up to here is lost: as much may have come since as is kept, unless the
    /// shard that kept it has failed.
    pub(super) fn lost(&mut self, channel: usize, up_to: u64) {
        self.seen.gaps += 1;
        assert!(self.may_be_let_go(channel, up_to), "{up_to} is kept");
    }

    /// Somebody on a shard is told the next thing of a channel, and nothing of what is between: full links have dropped that on
    /// its way to the shard.
    pub(super) fn miss(&mut self, (shard, channel): (usize, usize), before: Place, next: u64) {
        assert!(before.1 < next, "what comes next is behind {before:?}: {next}");
        for offset in before.1 + 1..next {
            self.seen.missed += u64::from(self.missed.insert((shard, channel, (before.0, offset))));
        }
        let missed = self.missed.len() as u64;
        assert!(missed <= self.dropped, "{missed} are missing, {} were dropped, before {next}", self.dropped);
    }

    /// Whether a channel lets go of what is up to there, as far as it is known how much has been said there since.
    pub(super) fn may_be_let_go(&self, channel: usize, up_to: u64) -> bool {
        let said = self.said.iter().filter(|said| said.channel == channel).count() as u64;
        self.failures > 0 || up_to + self.kept_max <= said
    }

    /// Where something stands that was heard without its place.
    pub(super) fn place_of(&self, number: usize) -> Option<Place> {
        self.said[number].place
    }

    /// Where what was said last in a channel stands, of what anybody knows where it does.
    pub(super) fn last(&self, channel: usize) -> Option<Place> {
        self.said.iter().rev().filter(|said| said.channel == channel).find_map(|said| said.place)
    }

    /// What one client has said in one channel stands there in that order.
    pub(super) fn check_order(&self) {
        let mut last: HashMap<(u64, usize), Place> = HashMap::new();
        for (number, said) in self.said.iter().enumerate() {
            let Some(place) = said.place else { continue };
            if let Some(before) = last.insert((said.issuer, said.channel), place) {
                let is_behind = before.0 != place.0 || before.1 < place.1;
                assert!(is_behind, "{number} of {} is before what it has said before", said.issuer);
            }
        }
    }
}
