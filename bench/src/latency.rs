//! Latencies: recorded in nanoseconds, kept from 1 µs to 1 h with three significant digits.

use hdrhistogram::Histogram;
use serde::Serialize;

/// A latency recorder.
pub struct Latencies(Histogram<u64>);

/// What is told of a run's latencies, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Number of values.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// Largest.
    pub max_us: u64,
}

/// Largest value kept, one hour; what is longer counts as that.
const MAX_US: u64 = 3_600_000_000;

impl Latencies {
    /// An empty recorder.
    pub fn new() -> Self {
        Self(
            Histogram::new_with_bounds(1, MAX_US, 3).expect("1 µs to 1 h with three digits is a valid range"),
        )
    }

    /// Records one latency; below a microsecond counts as one.
    #[inline]
    pub fn record_ns(&mut self, latency_ns: u64) {
        self.0.saturating_record((latency_ns / 1000).max(1));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The summary so far.
    pub fn summary(&self) -> LatencySummary {
        let at = |quantile| self.0.value_at_quantile(quantile);
        LatencySummary {
            count: self.0.len(),
            mean_us: self.0.mean(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_hold_three_digits_and_both_ends_saturate() {
        let mut latencies = Latencies::new();
        for milliseconds in 1..=1000u64 {
            latencies.record_ns(milliseconds * 1_000_000);
        }
        let summary = latencies.summary();
        assert!(summary.p50_us.abs_diff(500_000) <= 500, "{summary:?}");
        assert!(summary.p99_us.abs_diff(990_000) <= 990, "{summary:?}");
        latencies.clear();
        latencies.record_ns(0);
        latencies.record_ns(u64::MAX);
        let summary = latencies.summary();
        assert_eq!((summary.count, summary.p50_us), (2, 1));
        assert!(summary.max_us.abs_diff(MAX_US) <= MAX_US / 1000);
    }
}
