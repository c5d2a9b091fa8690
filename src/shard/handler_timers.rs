//! The timers that the application's handler sets.

use std::{cmp::Reverse, collections::BinaryHeap};

/// The timers of the handler. Those due together run in the order in which they were set.
#[derive(Default)]
pub(super) struct HandlerTimers {
    /// When each is due, how many had been set before it, and its name.
    heap: BinaryHeap<Reverse<(u64, u64, u64)>>,
    set: u64,
}

impl HandlerTimers {
    /// Sets one.
    pub(super) fn set(&mut self, due_ms: u64, timer: u64) {
        self.heap.push(Reverse((due_ms, self.set, timer)));
        self.set += 1;
    }

    /// Takes the next that is due.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<u64> {
        let is_due = self.next_ms().is_some_and(|due_ms| due_ms <= now_ms);
        if is_due { self.heap.pop().map(|Reverse((_, _, timer))| timer) } else { None }
    }

    /// When the next is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((due_ms, ..))| *due_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_run_when_they_are_due_and_those_due_together_as_they_were_set() {
        let mut timers = HandlerTimers::default();
        assert_eq!((timers.next_ms(), timers.take_due(u64::MAX)), (None, None));
        for (due_ms, timer) in [(50, 9), (20, 8), (50, 1), (20, 8), (50, 5)] {
            timers.set(due_ms, timer);
        }
        assert_eq!((timers.next_ms(), timers.take_due(19)), (Some(20), None));
        let mut due = |now_ms| std::iter::from_fn(|| timers.take_due(now_ms)).collect::<Vec<_>>();
        assert_eq!(due(49), [8, 8], "a name may be set twice");
        assert_eq!(due(50), [9, 1, 5]);
        assert_eq!(timers.next_ms(), None);
    }
}
