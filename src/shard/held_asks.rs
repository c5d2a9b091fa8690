//! What waits until something its issuer asked before has taken effect: in the order asked for each issuer, and for each channel
//! what the application publishes there, for whomever.
//!
//! ```text
//!   issuer a   [ 1: to x ][ 4: to y ]         may be next: 1 and 2; 3 is behind 1 for its channel, 4 behind 1 for its issuer
//!   issuer b   [ 2 ][ 5 ]
//!   issuer c   [ 3: to x ]
//! ```
//!
//! Only what stands first for its issuer is looked at, however much stands behind it.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use crate::{limits::ASKS_READ_MAX, model::Issuer};

/// What is held, by issuer.
pub(super) struct HeldAsks<T> {
    queues: FxHashMap<Issuer, VecDeque<Held<T>>>,
    /// Whose the first of each queue is, by its number.
    first: BTreeMap<u64, Issuer>,
    /// The numbers of what the application publishes to a channel, by its key, oldest first.
    channels: FxHashMap<u32, VecDeque<u64>>,
    count: usize,
    bytes: usize,
    /// How many have come.
    numbered: u64,
}

/// Something that is held.
pub(super) struct Held<T> {
    number: u64,
    channel: Option<u32>,
    bytes: usize,
    pub(super) ask: T,
}

impl<T> Default for HeldAsks<T> {
    fn default() -> Self {
        let (queues, first, channels) = (FxHashMap::default(), BTreeMap::new(), FxHashMap::default());
        Self { queues, first, channels, count: 0, bytes: 0, numbered: 0 }
    }
}

impl<T> HeldAsks<T> {
    /// Holds something of so many bytes, which the application publishes to the channel of this key if it does.
    pub(super) fn push(&mut self, issuer: Issuer, channel: Option<u32>, bytes: usize, ask: T) {
        self.numbered += 1;
        let (number, queue) = (self.numbered, self.queues.entry(issuer).or_default());
        if queue.is_empty() {
            self.first.insert(number, issuer);
        }
        queue.push_back(Held { number, channel, bytes, ask });
        if let Some(channel) = channel {
            self.channels.entry(channel).or_default().push_back(number);
        }
        self.count += 1;
        self.bytes += bytes;
    }

    /// Lends the first of an issuer, for [`Self::give_back`] or [`Self::let_go`] before anything else.
    pub(super) fn lend(&mut self, issuer: Issuer) -> Option<Held<T>> {
        self.queues.get_mut(&issuer)?.pop_front()
    }

    /// It waits on.
    pub(super) fn give_back(&mut self, issuer: Issuer, held: Held<T>) {
        self.queues.entry(issuer).or_default().push_front(held);
    }

    /// It waits no more.
    pub(super) fn let_go(&mut self, issuer: Issuer, held: Held<T>) -> T {
        let Held { number, channel, bytes, ask } = held;
        self.first.remove(&number);
        match self.queues.get(&issuer).and_then(|queue| queue.front()) {
            Some(next) => _ = self.first.insert(next.number, issuer),
            None => _ = self.queues.remove(&issuer),
        }
        if let Some(channel) = channel
            && let Some(numbers) = self.channels.get_mut(&channel)
        {
            match numbers.front() == Some(&number) {
                true => _ = numbers.pop_front(),
                // It goes out of its order.
                false => numbers.retain(|one| *one != number),
            }
            if numbers.is_empty() {
                self.channels.remove(&channel);
            }
        }
        self.count -= 1;
        self.bytes -= bytes;
        ask
    }

    /// If there are more than so many, or more than so many bytes of more than one, takes the oldest: of this issuer, if it has
    /// much, so that those who ask for little do not lose by it, else of all.
    pub(super) fn take_surplus(
        &mut self,
        issuer: Issuer,
        count_max: usize,
        bytes_max: usize,
    ) -> Option<(Issuer, T)> {
        let is_too_much = self.count > count_max || (self.count > 1 && self.bytes > bytes_max);
        let oldest = self.first.values().next().copied().filter(|_| is_too_much)?;
        let issuer = if self.count_of(issuer) > ASKS_READ_MAX { issuer } else { oldest };
        let held = self.lend(issuer)?;
        Some((issuer, self.let_go(issuer, held)))
    }

    /// Whether something that the application publishes to the same channel stands before this, which it publishes as well.
    pub(super) fn is_behind(&self, held: &Held<T>) -> bool {
        let first = held.channel.and_then(|channel| self.channels.get(&channel)?.front());
        first.is_some_and(|first| *first < held.number)
    }

    /// Whose there is something, those first whose oldest is older.
    pub(super) fn issuers(&self) -> Vec<Issuer> {
        self.first.values().copied().collect()
    }

    /// How many there are of an issuer.
    pub(super) fn count_of(&self, issuer: Issuer) -> usize {
        self.queues.get(&issuer).map_or(0, VecDeque::len)
    }

    /// Whether the application publishes something to the channel of this key.
    pub(super) fn has_of(&self, channel: u32) -> bool {
        self.channels.contains_key(&channel)
    }

    /// Whether it publishes nothing to any.
    pub(super) fn has_no_channel(&self) -> bool {
        self.channels.is_empty()
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ConnectionId;

    fn issuer(index: u32) -> Issuer {
        Issuer::Client(ConnectionId { index, generation: 1 })
    }

    /// Lets everything go that may, and tells in which order; some wait.
    fn release(held: &mut HeldAsks<u32>, waits: &[u32]) -> Vec<u32> {
        let mut gone = Vec::new();
        for issuer in held.issuers() {
            while let Some(one) = held.lend(issuer) {
                if held.is_behind(&one) || waits.contains(&one.ask) {
                    held.give_back(issuer, one);
                    break;
                }
                gone.push(held.let_go(issuer, one));
            }
        }
        gone
    }

    #[test]
    fn nothing_passes_what_stands_before_it_for_its_issuer_or_its_channel() {
        let mut held = HeldAsks::default();
        let [a, b, c] = [1, 2, 3].map(issuer);
        for (of, channel, ask) in
            [(a, Some(7), 1), (b, None, 2), (c, Some(7), 3), (a, Some(8), 4), (b, Some(8), 5)]
        {
            held.push(of, channel, 10, ask);
        }
        assert_eq!((held.count_of(a), held.count_of(c), held.has_of(8), held.has_of(9)), (2, 1, true, false));
        assert_eq!(held.issuers(), [a, b, c]);
        assert_eq!(release(&mut held, &[1]), [2]);
        assert_eq!(held.issuers(), [a, c, b]);
        assert_eq!(release(&mut held, &[4]), [1, 3]);
        assert!(!held.has_of(7) && held.has_of(8));
        assert_eq!(release(&mut held, &[]), [4, 5]);
        assert!(held.is_empty() && held.has_no_channel() && held.issuers().is_empty());
    }

    #[test]
    fn of_too_many_or_too_many_bytes_the_oldest_goes_and_one_always_stays() {
        let mut held = HeldAsks::default();
        let [a, b] = [1, 2].map(issuer);
        for (of, ask) in [(a, 1), (b, 2), (a, 3)] {
            held.push(of, Some(1), 100, ask);
        }
        assert_eq!(held.take_surplus(b, 3, 300), None);
        assert_eq!(held.take_surplus(b, 2, 300), Some((a, 1)));
        assert_eq!(held.take_surplus(b, 3, 199), Some((b, 2)));
        assert_eq!(held.take_surplus(b, 3, 0), None);
        assert_eq!(held.count_of(a), 1);
    }

    #[test]
    fn who_asks_for_much_pays_for_it_and_not_whoever_asked_first() {
        let (mut held, [a, b]) = (HeldAsks::default(), [1, 2].map(issuer));
        held.push(a, None, 1, 0);
        (1..=ASKS_READ_MAX as u32).for_each(|ask| held.push(b, None, 1, ask));
        assert_eq!(held.take_surplus(b, ASKS_READ_MAX, usize::MAX), Some((a, 0)), "that is not much");
        held.push(a, None, 1, 0);
        held.push(b, None, 1, u32::MAX);
        assert_eq!(held.take_surplus(b, ASKS_READ_MAX, usize::MAX), Some((b, 1)));
    }
}
