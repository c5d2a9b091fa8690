//! What a worker tells its coordinator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::host::cpu::ThreadUse;

/// Different failures told apart; more count as "other".
const KINDS_MAX: usize = 16;

/// Counts since the last order to open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Orders to open so far: tells counts of this wave from the last one's.
    pub wave: u64,
    /// Connections that are served now or were.
    pub served: u64,
    /// Connections that failed before they were served.
    pub failed: u64,
    /// Connections lost after they were served.
    pub lost: u64,
    /// Connections open now.
    pub open: u64,
    /// Stamped messages received.
    pub messages: u64,
    /// From the order until the last connection was served or failed; 0 before that.
    pub decided_us: u64,
    /// Why connections failed or were lost, and how many.
    pub failures: BTreeMap<String, u64>,
    /// Told once, with the last connection that is served or fails: it is long, and counts are told all the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
}

/// How opening went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Times until served, by the second: microseconds and count.
    pub times_us: Vec<Vec<(u64, u64)>>,
    /// What each worker used from the order until all was decided.
    pub used: Vec<ThreadUse>,
}

impl Status {
    /// Counts one more failure of this kind.
    pub fn count_failure(&mut self, why: String) {
        let known = self.failures.len() < KINDS_MAX || self.failures.contains_key(&why);
        *self.failures.entry(if known { why } else { "other".to_owned() }).or_default() += 1;
    }

    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Self) {
        self.wave += other.wave;
        self.served += other.served;
        self.failed += other.failed;
        self.lost += other.lost;
        self.open += other.open;
        self.messages += other.messages;
        self.decided_us = self.decided_us.max(other.decided_us);
        for (why, count) in &other.failures {
            *self.failures.entry(why.clone()).or_default() += count;
        }
    }
}

impl Decided {
    /// Adds what another worker told.
    pub fn add(&mut self, other: &Self) {
        self.used.extend(&other.used);
        if self.times_us.len() < other.times_us.len() {
            self.times_us.resize(other.times_us.len(), Vec::new());
        }
        for (mine, theirs) in self.times_us.iter_mut().zip(&other.times_us) {
            mine.extend(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_failure_are_bounded_but_every_failure_counts() {
        let mut status = Status::default();
        for number in 0..100 {
            status.count_failure(format!("kind {number}"));
            status.count_failure("kind 0".to_owned());
        }
        assert!(status.failures.len() <= KINDS_MAX + 1);
        assert_eq!(status.failures.values().sum::<u64>(), 200);
        assert_eq!(status.failures["kind 0"], 101);
    }

    #[test]
    fn a_status_survives_its_line() {
        let mut status = Status { wave: 2, served: 3, ..Status::default() };
        status.count_failure("a \"quoted\"\nreason".to_owned());
        let line = serde_json::to_string(&status).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Status>(&line).unwrap(), status);
    }
}
