//! The timeouts in flight, each earlier than the one before: those that were set first are the last to end.

use std::time::{Duration, Instant};

use io_uring::types::Timespec;

/// A new timeout is set only if it ends earlier than the next by more than this.
const SLACK: Duration = Duration::from_micros(500);

/// When the ring's timeouts end, the earliest last.
#[derive(Default)]
pub(super) struct Timeouts {
    ends: Vec<Instant>,
    /// What the kernel reads when the entry is submitted: before the next one is made.
    time: Box<Timespec>,
}

impl Timeouts {
    /// Sees to it that a timeout ends at `at`, which is in `after`, or before; gives the one that has to be set for it.
    pub(super) fn arm(&mut self, at: Instant, after: Duration) -> Option<&Timespec> {
        if self.ends.last().is_some_and(|end| *end <= at + SLACK) {
            return None;
        }
        self.ends.push(at);
        *self.time = Timespec::from(after);
        Some(&self.time)
    }

    /// The earliest has ended.
    pub(super) fn end(&mut self) {
        self.ends.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_set_only_when_none_ends_in_time() {
        let (mut timeouts, now) = (Timeouts::default(), Instant::now());
        let arm = |timeouts: &mut Timeouts, ms| {
            let after = Duration::from_millis(ms);
            timeouts.arm(now + after, after).is_some()
        };
        assert!(arm(&mut timeouts, 100));
        assert!(!arm(&mut timeouts, 100) && !arm(&mut timeouts, 200), "one that ends earlier will do");
        assert!(arm(&mut timeouts, 10));
        assert!(!arm(&mut timeouts, 50));
        timeouts.end();
        assert!(arm(&mut timeouts, 50), "the one that is left ends at 100");
    }
}
