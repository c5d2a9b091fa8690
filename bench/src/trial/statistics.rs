//! Medians, spreads, and whether two handfuls of rounds differ by more than chance.

use serde::Serialize;

/// The middle and the ends of several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

/// The most rounds of a side whose orders are counted one by one; that is 184,756 of them.
const EXACT_ROUNDS_MAX: usize = 10;

impl Spread {
    /// The spread of these; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }
}

/// The chance that two equal servers would differ in rank by so much or more (Mann and Whitney's test, two-sided, all
/// orders counted). Later rounds than the tenth of each side are left out.
pub fn chance(ours: &[f64], theirs: &[f64]) -> f64 {
    let (ours, theirs) =
        (&ours[..ours.len().min(EXACT_ROUNDS_MAX)], &theirs[..theirs.len().min(EXACT_ROUNDS_MAX)]);
    let all: Vec<f64> = ours.iter().chain(theirs).copied().collect();
    // Twice the rank, so that ties keep whole numbers.
    let rank = |value: f64| -> u64 {
        let below = all.iter().filter(|other| **other < value).count() as u64;
        let equal = all.iter().filter(|other| **other == value).count() as u64;
        2 * below + equal + 1
    };
    let ranks: Vec<u64> = all.iter().map(|value| rank(*value)).collect();
    let expected = ours.len() as u64 * (all.len() as u64 + 1);
    let found = ranks[..ours.len()].iter().sum::<u64>().abs_diff(expected);
    let (mut extreme, mut count) = (0_u64, 0_u64);
    for chosen in 0_u32..1 << all.len() {
        if chosen.count_ones() as usize == ours.len() {
            let sum: u64 = ranks
                .iter()
                .enumerate()
                .filter(|(index, _)| chosen >> index & 1 == 1)
                .map(|(_, rank)| rank)
                .sum();
            count += 1;
            extreme += u64::from(sum.abs_diff(expected) >= found);
        }
    }
    extreme as f64 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn the_chance_is_the_share_of_orders_that_look_so_or_more_so() {
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        // Of the 252 orders of five and five, two have all of one side below the other.
        close(chance(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]), 2.0 / 252.0);
        close(chance(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 0.1);
        close(chance(&[1.0, 1.0], &[1.0, 1.0]), 1.0);
        assert!(chance(&[1.0, 4.0, 5.0, 8.0], &[2.0, 3.0, 6.0, 7.0]) > 0.5);
    }
}
