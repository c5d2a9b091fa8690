//! Whether a load is steady: a server that has just started compiles its code, grows its tables and fills its caches, and
//! what it does meanwhile is not what it does for the rest of its days.
//!
//! Each thread looks at its own replies. A *look* takes half a second, or as long as it takes until there are enough of
//! them; the load is steady when the rates and the medians of the last few looks lie close together.
//!
//! ```text
//!   start ─► look ─► look ─► look ─► look ─► look ─►        rate  and median within 10 %
//!                    └──────── the last four ──────┘
//! ```

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::latency::histogram;

/// How long a look takes at least.
const LOOK_NS: u64 = 500_000_000;
/// Replies a look needs: the median of fewer says little.
const LOOK_REPLIES_MIN: u64 = 50;
/// Looks that have to agree.
const LOOKS: usize = 4;
/// How far from each other they may lie, as a share of the smallest.
const SPREAD_MAX: f64 = 0.10;
/// A difference of medians that a clock and a scheduler make by themselves.
const MEDIAN_US_NEAR: u64 = 10;

/// One thread's looks.
pub struct Steadiness {
    since_ns: u64,
    current: Histogram<u64>,
    looks: VecDeque<Look>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    per_second: f64,
    p50_us: u64,
}

impl Steadiness {
    /// Nothing seen yet.
    pub fn new(now_ns: u64) -> Self {
        Self { since_ns: now_ns, current: histogram(), looks: VecDeque::with_capacity(LOOKS) }
    }

    /// Takes in a reply; `true` when a look has ended with it.
    #[inline]
    pub fn record(&mut self, now_ns: u64, latency_ns: u64) -> bool {
        self.current.saturating_record((latency_ns / 1000).max(1));
        now_ns >= self.since_ns + LOOK_NS && self.end_look(now_ns)
    }

    #[cold]
    fn end_look(&mut self, now_ns: u64) -> bool {
        if self.current.len() < LOOK_REPLIES_MIN {
            return false;
        }
        if self.looks.len() == LOOKS {
            self.looks.pop_front();
        }
        let seconds = (now_ns - self.since_ns) as f64 / 1e9;
        self.looks.push_back(Look {
            per_second: self.current.len() as f64 / seconds,
            p50_us: self.current.value_at_quantile(0.5),
        });
        self.current.clear();
        self.since_ns = now_ns;
        true
    }

    /// Whether the last looks agree.
    pub fn is_steady(&self) -> bool {
        let ((rate_low, rate_high), (p50_low, p50_high)) = self.bounds();
        self.looks.len() == LOOKS
            && rate_high <= rate_low * (1.0 + SPREAD_MAX)
            && (p50_high - p50_low <= MEDIAN_US_NEAR
                || p50_high as f64 <= p50_low as f64 * (1.0 + SPREAD_MAX))
    }

    /// What the last looks saw.
    pub fn describe(&self) -> String {
        let ((rate_low, rate_high), (p50_low, p50_high)) = self.bounds();
        format!(
            "the last {} looks of a thread saw {rate_low:.0} to {rate_high:.0}/s with a p50 of {p50_low} to {p50_high} µs",
            self.looks.len()
        )
    }

    fn bounds(&self) -> ((f64, f64), (u64, u64)) {
        let rates = self.looks.iter().map(|look| look.per_second);
        let medians = self.looks.iter().map(|look| look.p50_us);
        (
            (rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max)),
            (medians.clone().min().unwrap_or_default(), medians.max().unwrap_or_default()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half seconds of so many replies, each of so many microseconds; after which of them the load was steady.
    fn steady_after(half_seconds: &[(u64, u64)]) -> Option<usize> {
        let mut steadiness = Steadiness::new(0);
        for (index, (count, latency_us)) in half_seconds.iter().enumerate() {
            for number in 1..=*count {
                let now_ns = index as u64 * LOOK_NS + number * LOOK_NS / count;
                steadiness.record(now_ns, latency_us * 1000);
            }
            if steadiness.is_steady() {
                return Some(index + 1);
            }
        }
        None
    }

    #[test]
    fn a_load_is_steady_when_four_looks_in_a_row_agree() {
        assert_eq!(steady_after(&[(1000, 200); 6]), Some(4));
        assert_eq!(steady_after(&[(1000, 200); 3]), None);
        // Slow at first, as servers are that compile while they run.
        assert_eq!(
            steady_after(&[
                (500, 900),
                (800, 500),
                (1000, 300),
                (1000, 200),
                (1000, 200),
                (1000, 200),
                (1000, 200)
            ]),
            Some(7)
        );
        assert_eq!(steady_after(&[(1000, 200), (1089, 200), (1000, 200), (1089, 200)]), Some(4));
        assert_eq!(steady_after(&[(1000, 200), (1150, 200)].repeat(9)), None);
        assert_eq!(steady_after(&[(1000, 200), (1000, 225)].repeat(9)), None);
        assert_eq!(steady_after(&[(1000, 30), (1000, 39)].repeat(9)), Some(4));
    }

    #[test]
    fn a_slow_load_is_looked_at_longer_and_silence_is_not_steady() {
        // Twenty in half a second: a look takes two and a half of those.
        assert_eq!(steady_after(&[(20, 200); 30]), Some(10));
        assert_eq!(steady_after(&[]), None);
        assert!(!Steadiness::new(0).is_steady());
    }
}
