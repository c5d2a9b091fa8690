//! What one subscriber has received: losses, duplicates and reordering, told apart by sequence number.
//!
//! In order, a ledger is one number. Only gaps cost memory, and of those at most [`GAPS_MAX`] are remembered; a
//! message of a forgotten gap stays counted as lost and, should it still come, counts as a duplicate.

use std::ops::AddAssign;

use serde::Serialize;

/// Gaps remembered per subscriber.
const GAPS_MAX: usize = 64;

/// One subscriber's ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    next: u64,
    #[expect(clippy::box_collection, reason = "a subscriber without gaps pays one pointer")]
    gaps: Option<Box<Vec<(u64, u64)>>>,
}

/// What became of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Received for the first time.
    pub delivered: u64,
    /// Received again.
    pub duplicates: u64,
    /// Received after a later one.
    pub reordered: u64,
}

impl Ledger {
    /// Enters message `sequence`.
    #[inline]
    pub fn enter(&mut self, sequence: u64, tally: &mut Tally) {
        if sequence == self.next {
            self.next += 1;
            tally.delivered += 1;
        } else {
            self.enter_out_of_order(sequence, tally);
        }
    }

    #[cold]
    fn enter_out_of_order(&mut self, sequence: u64, tally: &mut Tally) {
        if sequence > self.next {
            let gaps = self.gaps.get_or_insert_default();
            if gaps.len() == GAPS_MAX {
                gaps.remove(0);
            }
            gaps.push((self.next, sequence));
            self.next = sequence + 1;
            tally.delivered += 1;
        } else if self.fill(sequence) {
            tally.delivered += 1;
            tally.reordered += 1;
        } else {
            tally.duplicates += 1;
        }
    }

    /// Takes `sequence` out of the gap it falls into, if any.
    fn fill(&mut self, sequence: u64) -> bool {
        let Some(gaps) = &mut self.gaps else { return false };
        let Some(index) = gaps.iter().position(|(from, to)| (*from..*to).contains(&sequence)) else {
            return false;
        };
        let (from, to) = gaps.remove(index);
        gaps.extend([(from, sequence), (sequence + 1, to)].into_iter().filter(|(from, to)| from < to));
        true
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sequences: &[u64], delivered: u64, duplicates: u64, reordered: u64) {
        let (mut ledger, mut tally) = (Ledger::default(), Tally::default());
        for sequence in sequences {
            ledger.enter(*sequence, &mut tally);
        }
        assert_eq!(tally, Tally { delivered, duplicates, reordered }, "{sequences:?}");
    }

    #[test]
    fn every_kind_of_disorder_is_told_apart() {
        check(&[0, 1, 2, 3], 4, 0, 0);
        check(&[0, 3], 2, 0, 0);
        check(&[0, 0, 1, 1, 0], 2, 3, 0);
        check(&[0, 2, 1, 3], 4, 0, 1);
        check(&[0, 5, 3, 1, 2, 4, 6], 7, 0, 4);
        check(&[0, 5, 3, 3], 3, 1, 1);
    }

    #[test]
    fn gaps_are_bounded_and_a_forgotten_one_is_no_delivery() {
        let mut sequences: Vec<u64> = (0..=GAPS_MAX as u64 + 1).map(|n| n * 2).collect();
        let delivered = sequences.len() as u64;
        sequences.push(1);
        check(&sequences, delivered, 1, 0);
    }
}
