//! Latencies: recorded in nanoseconds, kept from 1 µs to 1 h with three significant digits, as a whole and by interval.
//!
//! Intervals that have passed are kept as the few values they held, so that a long run with several workers costs
//! kilobytes and not a histogram per second.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Largest value kept, one hour; what is longer counts as that.
const MAX_US: u64 = 3_600_000_000;
/// The most intervals a run is divided into.
const INTERVALS_MAX: u64 = 600;
/// The most values told of a percentile curve: six nines, a few points to each.
const CURVE_TICKS_PER_HALF: u32 = 5;

/// Records latencies as they come.
pub struct Recorder {
    start_ns: u64,
    interval_ns: u64,
    next_ns: u64,
    current: Histogram<u64>,
    found: Latencies,
}

/// The latencies of one worker or of all.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Values", into = "Values")]
pub struct Latencies {
    /// How long each interval is.
    pub interval: Duration,
    all: Histogram<u64>,
    intervals: Vec<Vec<(u64, u64)>>,
}

/// Latencies as one process tells them to another: the values of a histogram and their counts, which make the same
/// histogram there.
#[derive(Serialize, Deserialize)]
struct Values {
    interval: Duration,
    intervals: Vec<Vec<(u64, u64)>>,
}

/// A histogram as its values and counts.
pub mod values {
    use serde::{Deserializer, Serializer};

    use super::{Deserialize, Histogram, Serialize, histogram};

    /// Tells it.
    pub fn serialize<S: Serializer>(all: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
        let values = all.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value()));
        values.collect::<Vec<_>>().serialize(to)
    }

    /// Hears it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
        let mut all = histogram();
        for (value, count) in Vec::<(u64, u64)>::deserialize(from)? {
            all.saturating_record_n(value, count);
        }
        Ok(all)
    }
}

impl From<Values> for Latencies {
    fn from(values: Values) -> Self {
        Self { interval: values.interval, ..Self::from_intervals(values.intervals) }
    }
}

impl From<Latencies> for Values {
    fn from(latencies: Latencies) -> Self {
        Self { interval: latencies.interval, intervals: latencies.into_intervals() }
    }
}

/// What is told of a run's latencies, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Number of values.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile; none among fewer than ten values.
    pub p90_us: Option<u64>,
    /// 99th percentile; none among fewer than a hundred.
    pub p99_us: Option<u64>,
    /// 99.9th percentile; none among fewer than a thousand.
    pub p999_us: Option<u64>,
    /// Largest.
    pub max_us: u64,
}

/// One interval of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it began, in seconds since the measuring did.
    pub seconds: f64,
    /// Values per second in it.
    pub per_second: f64,
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Largest.
    pub max_us: u64,
}

/// An empty histogram of the range all of ours have.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_US, 3).expect("1 µs to 1 h with three digits is a valid range")
}

impl Recorder {
    /// A recorder for a run of this length that begins at `start_ns` of the monotonic clock.
    pub fn new(start_ns: u64, length: Duration) -> Self {
        let interval = Duration::from_secs((length.as_secs() / INTERVALS_MAX).max(1));
        let interval_ns = interval.as_nanos() as u64;
        Self {
            start_ns,
            interval_ns,
            next_ns: start_ns + interval_ns,
            current: histogram(),
            found: Latencies { interval, all: histogram(), intervals: Vec::new() },
        }
    }

    /// Records one latency, known at `now_ns`; below a microsecond counts as one.
    #[inline]
    pub fn record(&mut self, now_ns: u64, latency_ns: u64) {
        if now_ns >= self.next_ns {
            self.begin_interval(now_ns);
        }
        self.current.saturating_record((latency_ns / 1000).max(1));
    }

    /// The 99th percentile of the current interval.
    pub fn p99_us_now(&self) -> u64 {
        self.current.value_at_quantile(0.99)
    }

    /// Everything recorded.
    pub fn finish(mut self) -> Latencies {
        self.end_interval();
        self.found
    }

    #[cold]
    fn begin_interval(&mut self, now_ns: u64) {
        self.end_interval();
        let index = now_ns.saturating_sub(self.start_ns) / self.interval_ns;
        self.found.intervals.resize(index as usize, Vec::new());
        self.next_ns = self.start_ns + (index + 1) * self.interval_ns;
    }

    fn end_interval(&mut self) {
        let values = self.current.iter_recorded();
        let values = values.map(|value| (value.value_iterated_to(), value.count_at_value())).collect();
        self.found.intervals.push(values);
        self.found.all.add(&self.current).expect("both have the same range");
        self.current.clear();
    }
}

impl Latencies {
    /// Latencies nobody recorded.
    pub fn none() -> Self {
        Self { interval: Duration::from_secs(1), all: histogram(), intervals: Vec::new() }
    }

    /// Latencies that were told interval by interval, each of a second.
    pub fn from_intervals(intervals: Vec<Vec<(u64, u64)>>) -> Self {
        let mut found = Self { intervals, ..Self::none() };
        for (value, count) in found.intervals.iter().flatten() {
            found.all.saturating_record_n(*value, *count);
        }
        found
    }

    /// The values of each interval, to be told to another process.
    pub fn into_intervals(self) -> Vec<Vec<(u64, u64)>> {
        self.intervals
    }

    /// Adds those of a run that followed this one.
    pub fn append(&mut self, later: Self) {
        self.all.add(&later.all).expect("both have the same range");
        self.intervals.extend(later.intervals);
    }

    /// Adds another worker's of the same run.
    pub fn merge(&mut self, other: Self) {
        self.interval = other.interval;
        self.all.add(&other.all).expect("both have the same range");
        if self.intervals.len() < other.intervals.len() {
            self.intervals.resize(other.intervals.len(), Vec::new());
        }
        for (mine, theirs) in self.intervals.iter_mut().zip(other.intervals) {
            mine.extend(theirs);
        }
    }

    /// The whole run.
    pub fn all(&self) -> &Histogram<u64> {
        &self.all
    }

    /// Each interval.
    pub fn intervals(&self) -> impl Iterator<Item = Histogram<u64>> + '_ {
        self.intervals.iter().map(|values| {
            let mut interval = histogram();
            for (value, count) in values {
                interval.saturating_record_n(*value, *count);
            }
            interval
        })
    }

    /// What was known in this part of the run, in seconds, to the nearest interval.
    pub fn between(&self, from: f64, to: f64) -> Histogram<u64> {
        let mut found = histogram();
        for (index, interval) in self.intervals().enumerate() {
            let middle = (index as f64 + 0.5) * self.interval.as_secs_f64();
            if (from..to).contains(&middle) {
                found.add(&interval).expect("all have the same range");
            }
        }
        found
    }

    /// The summary.
    pub fn summary(&self) -> LatencySummary {
        summarize(&self.all)
    }

    /// The percentile curve: percentile and microseconds.
    pub fn curve(&self) -> Vec<(f64, u64)> {
        let points = self.all.iter_quantiles(CURVE_TICKS_PER_HALF);
        points.map(|point| (100.0 * point.quantile_iterated_to(), point.value_iterated_to())).collect()
    }

    /// The intervals' summaries.
    pub fn timeline(&self) -> Vec<Interval> {
        let seconds = self.interval.as_secs_f64();
        let summary = |(index, interval): (usize, Histogram<u64>)| Interval {
            seconds: index as f64 * seconds,
            per_second: interval.len() as f64 / seconds,
            p50_us: interval.value_at_quantile(0.5),
            p99_us: interval.value_at_quantile(0.99),
            max_us: interval.max(),
        };
        self.intervals().enumerate().map(summary).collect()
    }
}

/// The summary of any histogram of ours.
pub fn summarize(histogram: &Histogram<u64>) -> LatencySummary {
    // A percentile with no value beyond it is the largest value under another name.
    let at =
        |quantile, count_min| (histogram.len() >= count_min).then(|| histogram.value_at_quantile(quantile));
    LatencySummary {
        count: histogram.len(),
        mean_us: histogram.mean(),
        p50_us: histogram.value_at_quantile(0.5),
        p90_us: at(0.9, 10),
        p99_us: at(0.99, 100),
        p999_us: at(0.999, 1000),
        max_us: histogram.max(),
    }
}

impl LatencySummary {
    /// The slow end: the 99th percentile, or the largest of few values.
    pub fn tail_us(&self) -> u64 {
        self.p99_us.unwrap_or(self.max_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn percentiles_hold_three_digits_and_both_ends_saturate() {
        let mut recorder = Recorder::new(0, Duration::from_secs(5));
        for milliseconds in 1..=1000u64 {
            recorder.record(1, milliseconds * 1_000_000);
        }
        let summary = recorder.finish().summary();
        assert!(summary.p50_us.abs_diff(500_000) <= 500, "{summary:?}");
        assert!(summary.p99_us.unwrap().abs_diff(990_000) <= 990, "{summary:?}");
        let mut recorder = Recorder::new(0, Duration::from_secs(5));
        recorder.record(1, 0);
        recorder.record(1, u64::MAX);
        let summary = recorder.finish().summary();
        assert_eq!((summary.count, summary.p50_us), (2, 1));
        assert!(summary.max_us.abs_diff(MAX_US) <= MAX_US / 1000);
    }

    #[test]
    fn latencies_told_to_another_process_are_the_same_there_and_add_up() {
        let (mut one, mut two, mut both) = (
            Recorder::new(0, Duration::from_secs(2)),
            Recorder::new(0, Duration::from_secs(2)),
            Recorder::new(0, Duration::from_secs(2)),
        );
        for n in 0..20_000u64 {
            let (now_ns, latency_ns) = (n * 100_000, n * n * 7);
            both.record(now_ns, latency_ns);
            if n % 3 == 0 { one.record(now_ns, latency_ns) } else { two.record(now_ns, latency_ns) }
        }
        let told = |latencies: Latencies| {
            let line = serde_json::to_string(&latencies).unwrap();
            serde_json::from_str::<Latencies>(&line).unwrap()
        };
        let (mut merged, both) = (told(one.finish()), both.finish());
        merged.merge(told(two.finish()));
        assert_eq!(merged.all(), both.all());
        assert!(merged.intervals().eq(both.intervals()));
    }

    #[test]
    fn a_percentile_needs_a_value_beyond_it() {
        let percentiles = |count: u64| {
            let mut recorder = Recorder::new(0, Duration::from_secs(5));
            (0..count).for_each(|n| recorder.record(1, n * 1000));
            let summary = recorder.finish().summary();
            [summary.p90_us, summary.p99_us, summary.p999_us].map(|percentile| percentile.is_some())
        };
        assert_eq!(percentiles(1), [false; 3]);
        assert_eq!(percentiles(9), [false; 3]);
        assert_eq!(percentiles(10), [true, false, false]);
        assert_eq!(percentiles(99), [true, false, false]);
        assert_eq!(percentiles(100), [true, true, false]);
        assert_eq!(percentiles(999), [true, true, false]);
        assert_eq!(percentiles(1000), [true; 3]);
    }

    #[test]
    fn intervals_of_two_workers_fall_together_even_where_one_was_silent() {
        let (mut one, mut two) =
            (Recorder::new(0, Duration::from_secs(5)), Recorder::new(0, Duration::from_secs(5)));
        one.record(SECOND / 2, 10_000);
        one.record(3 * SECOND, 30_000);
        two.record(SECOND - 1, 20_000);
        two.record(SECOND, 20_000);
        let mut all = one.finish();
        all.merge(two.finish());
        let counts: Vec<f64> = all.timeline().iter().map(|interval| interval.per_second).collect();
        assert_eq!(counts, [2.0, 1.0, 0.0, 1.0]);
        assert_eq!(all.summary().count, 4);
    }
}
