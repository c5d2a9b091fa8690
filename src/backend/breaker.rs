//! When a backend that fails is asked no more, so that nobody waits for what will not come.
//!
//! ```text
//!   closed ──(so many failures within so long)──► open ──(each second)──► one question ──good──► closed
//!                                                   ▲───────────────────────bad──┘
//! ```

use std::collections::VecDeque;

use crate::limits::{BREAKER_FAILURES, BREAKER_PROBE_MS, BREAKER_WITHIN_MS};

/// The state of one backend.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// When it failed of late; at most [`BREAKER_FAILURES`].
    failures: VecDeque<u64>,
    /// When it may be asked again, while it is not asked.
    probe_ms: Option<u64>,
}

impl Breaker {
    /// Whether it may be asked now.
    pub(super) fn may_ask(&mut self, now_ms: u64) -> bool {
        match self.probe_ms {
            None => true,
            Some(at_ms) if now_ms < at_ms => false,
            Some(_) => {
                // This one, and no other before it has answered or a second has passed.
                self.probe_ms = Some(now_ms + BREAKER_PROBE_MS);
                true
            }
        }
    }

    /// It has answered.
    pub(super) fn note_good(&mut self) -> bool {
        self.failures.clear();
        self.probe_ms.take().is_some()
    }

    /// It has not; tells whether that was once too often.
    pub(super) fn note_bad(&mut self, now_ms: u64) -> bool {
        if self.failures.len() == BREAKER_FAILURES {
            self.failures.pop_front();
        }
        self.failures.push_back(now_ms);
        let oldest_ms = self.failures.front().copied().unwrap_or(now_ms);
        let is_over = self.failures.len() == BREAKER_FAILURES && now_ms - oldest_ms <= BREAKER_WITHIN_MS;
        let was_open = self.probe_ms.is_some();
        if is_over || was_open {
            self.probe_ms = Some(now_ms + BREAKER_PROBE_MS);
        }
        is_over && !was_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_fails_too_often_is_asked_once_a_second_until_it_answers() {
        let mut breaker = Breaker::default();
        for number in 1..BREAKER_FAILURES as u64 {
            assert!(breaker.may_ask(number) && !breaker.note_bad(number));
        }
        assert!(breaker.may_ask(100) && breaker.note_bad(100), "once too often");
        assert!(!breaker.may_ask(101) && !breaker.may_ask(99 + BREAKER_PROBE_MS));
        let probe_ms = 100 + BREAKER_PROBE_MS;
        assert!(breaker.may_ask(probe_ms) && !breaker.may_ask(probe_ms), "one");
        assert!(!breaker.note_bad(probe_ms) && !breaker.may_ask(probe_ms + 1));
        assert!(breaker.may_ask(probe_ms + BREAKER_PROBE_MS) && breaker.note_good());
        assert!(breaker.may_ask(probe_ms + BREAKER_PROBE_MS) && !breaker.note_good());
    }

    #[test]
    fn failures_that_lie_apart_are_forgiven() {
        let mut breaker = Breaker::default();
        let apart_ms = BREAKER_WITHIN_MS / (BREAKER_FAILURES as u64 - 1) + 1;
        for number in 0..100 {
            assert!(breaker.may_ask(number * apart_ms) && !breaker.note_bad(number * apart_ms), "{number}");
        }
    }
}
