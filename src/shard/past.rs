//! How the shard has been for an hour: a ring of samples, so that whoever opens the dashboard when something is wrong sees
//! how it began.
//!
//! They are kept here and not in the page, which is opened too late for that. A sample is taken at the end of a turn, and
//! a shard that sleeps does one each second: nobody is woken for it. The ring has [`SAMPLES_MAX`] places.

use std::collections::VecDeque;

use crate::{
    limits::{SAMPLE_MS, SAMPLES_MAX},
    mesh::{Sample, ShardReport, Trouble},
    model::Now,
};

/// The samples, and what had been counted when the last one was taken.
#[derive(Debug, Default)]
pub(super) struct Past {
    samples: VecDeque<Sample>,
    begun: Option<Begun>,
}

/// Where the sample under way began.
#[derive(Clone, Copy, Debug)]
struct Begun {
    monotonic_ms: u64,
    publications: u64,
    deliveries: u64,
    busy_us: u64,
    troubles: [u64; Trouble::COUNT],
}

impl Begun {
    fn at(now: Now, report: &ShardReport) -> Self {
        Self {
            monotonic_ms: now.monotonic_ms,
            publications: report.publications_total,
            deliveries: report.deliveries_total,
            busy_us: report.busy_us_total,
            troubles: Trouble::ALL.map(|trouble| trouble.count(report)),
        }
    }
}

impl Past {
    /// Whether it is time for a sample: all shards take theirs at the same time, as far as they do turns.
    pub(super) fn is_due(&self, now: Now) -> bool {
        let has_passed = |begun: Begun| now.monotonic_ms / SAMPLE_MS > begun.monotonic_ms / SAMPLE_MS;
        self.begun.is_none_or(has_passed)
    }

    /// Takes a sample of what has happened since the last one.
    pub(super) fn note(&mut self, now: Now, report: &ShardReport) {
        let here = Begun::at(now, report);
        let Some(begun) = self.begun.replace(here) else { return };
        let since = |now: u64, then: u64| u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX);
        let ms = now.monotonic_ms.saturating_sub(begun.monotonic_ms).max(1);
        let busy_us = here.busy_us.saturating_sub(begun.busy_us);
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            unix_ms: now.unix_ms,
            connections: report.connections,
            publications: since(here.publications, begun.publications),
            deliveries: since(here.deliveries, begun.deliveries),
            busy_permille: u32::try_from(busy_us / ms).unwrap_or(u32::MAX).min(1000),
            troubles: std::array::from_fn(|number| since(here.troubles[number], begun.troubles[number])),
        });
    }

    /// The samples, the oldest first.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64) -> Now {
        Now { monotonic_ms, unix_ms: 1_000_000 + monotonic_ms }
    }

    #[test]
    fn a_sample_says_what_has_happened_since_the_last_one() {
        let mut past = Past::default();
        assert!(past.is_due(at(3)));
        past.note(at(3), &ShardReport { deliveries_total: 5, ..ShardReport::default() });
        assert!(!past.is_due(at(SAMPLE_MS - 1)) && past.is_due(at(SAMPLE_MS)));
        assert_eq!(past.samples(), [], "the first look is where the first sample begins");
        let report = ShardReport {
            connections: 7,
            deliveries_total: 25,
            publications_total: 2,
            busy_us_total: 9_997 * 1000 / 4,
            rate_limited_total: 3,
            ..ShardReport::default()
        };
        past.note(at(SAMPLE_MS), &report);
        let [sample] = past.samples()[..] else { panic!("one sample") };
        assert_eq!((sample.connections, sample.deliveries, sample.publications), (7, 20, 2));
        assert_eq!((sample.unix_ms, sample.busy_permille), (1_010_000, 250));
        assert_eq!(sample.troubles[Trouble::RateLimited as usize], 3);
        assert_eq!(sample.troubles.iter().sum::<u32>(), 3);
    }

    #[test]
    fn the_oldest_goes_when_the_ring_is_full() {
        let mut past = Past::default();
        for number in 0..SAMPLES_MAX as u64 + 6 {
            past.note(at(number * SAMPLE_MS), &ShardReport::default());
        }
        let samples = past.samples();
        assert_eq!(samples.len(), SAMPLES_MAX);
        assert_eq!(samples[0].unix_ms, 1_000_000 + 6 * SAMPLE_MS);
    }
}
