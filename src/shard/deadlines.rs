//! Deadlines that all last equally long, most of which have become idle by the time they pass.
//!
//! Set in order, they pass in order: a queue is enough, and nobody has to find one to clear it. Who takes one that has
//! passed asks whether it still means anything. Deadlines that differ, or are moved often, are the wheel's.
//!
//! Invariant: a queue is no longer than twice what the deadlines are for, but for a few.

use std::collections::VecDeque;

/// So many deadlines that have become idle are no reason to look for them.
const SPARE: usize = 64;

/// What is to happen, and when.
#[derive(Debug)]
pub(super) struct Deadlines<T> {
    queue: VecDeque<(u64, T)>,
    /// Where looking for one that is wanted goes on.
    looked: usize,
}

impl<T> Default for Deadlines<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), looked: 0 }
    }
}

impl<T> Deadlines<T> {
    /// Adds a deadline. How many come and become idle is for the clients to choose, so the idle ones go once they are
    /// the most; no more than `live_max` can be others.
    pub(super) fn push(&mut self, at_ms: u64, what: T, live_max: u32, is_live: impl Fn(&T) -> bool) {
        self.queue.push_back((at_ms, what));
        if self.queue.len() >= 2 * live_max as usize + SPARE {
            self.queue.retain(|(_, what)| is_live(what));
        }
    }

    /// Takes out one that has passed.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<T> {
        let due = self.next_ms().filter(|at_ms| *at_ms <= now_ms).and_then(|_| self.queue.pop_front());
        if self.queue.is_empty() && self.queue.capacity() > SPARE {
            // A storm of them is over.
            self.queue.shrink_to(SPARE);
        }
        due.map(|(_, what)| what)
    }

    /// Takes one out before its time that is wanted, an old one if there is one among the first. Of many it looks at so many
    /// a time, and goes on behind them the next time.
    pub(super) fn take_wanted(&mut self, looked_max: usize, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let first = looked_max / 2;
        let begin = if self.looked < self.queue.len() { self.looked.max(first) } else { first };
        let places = (0..first).chain(begin..begin + first).take_while(|at| *at < self.queue.len());
        let found = { places }.find(|at| is_wanted(&self.queue[*at].1));
        self.looked = found.unwrap_or(begin + first);
        self.queue.remove(found?).map(|(_, what)| what)
    }

    /// When the next one passes.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.queue.front().map(|(at_ms, _)| *at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_pass_in_order_and_not_before_their_time() {
        let mut deadlines = Deadlines::default();
        assert_eq!((deadlines.next_ms(), deadlines.pop_due(u64::MAX)), (None, None));
        for (at_ms, what) in [(10, 'a'), (10, 'b'), (11, 'c')] {
            deadlines.push(at_ms, what, 3, |_| true);
        }
        assert_eq!((deadlines.next_ms(), deadlines.pop_due(9)), (Some(10), None));
        assert_eq!([10; 3].map(|now_ms| deadlines.pop_due(now_ms)), [Some('a'), Some('b'), None]);
        assert_eq!((deadlines.next_ms(), deadlines.pop_due(12)), (Some(11), Some('c')));
    }

    #[test]
    fn idle_deadlines_go_once_they_are_the_most_and_live_ones_stay() {
        const LIVE: u32 = 10;
        let mut deadlines = Deadlines::default();
        let most = 2 * LIVE + SPARE as u32;
        let push = |deadlines: &mut Deadlines<u32>, what| {
            deadlines.push(u64::from(what), what, LIVE, |what| *what < LIVE);
        };
        (0..most - 1).for_each(|what| push(&mut deadlines, what));
        assert_eq!(deadlines.queue.len() as u32, most - 1, "not yet");
        push(&mut deadlines, most - 1);
        assert_eq!(deadlines.queue.len() as u32, LIVE);
        assert!((0..LIVE).all(|what| deadlines.pop_due(u64::MAX) == Some(what)));
    }

    #[test]
    fn one_that_is_wanted_is_found_among_many_that_are_not_by_looking_at_a_few_at_a_time() {
        let mut deadlines = Deadlines::default();
        (0..10_000).for_each(|what| deadlines.push(1, what, 10_000, |_| true));
        let find = |deadlines: &mut Deadlines<i32>, wanted: i32| {
            (1..=20).find(|_| deadlines.take_wanted(1_000, |what| *what == wanted) == Some(wanted))
        };
        assert_eq!(find(&mut deadlines, 3), Some(1), "one of the oldest");
        assert!(find(&mut deadlines, 9_999).is_some());
        assert!(find(&mut deadlines, 500).is_some() && find(&mut deadlines, 5_000).is_some());
        assert_eq!(find(&mut deadlines, 3), None);
        assert_eq!(deadlines.queue.len(), 9_996);
    }

    #[test]
    fn the_memory_of_a_storm_is_given_back() {
        let mut deadlines = Deadlines::default();
        (0..10_000).for_each(|what| deadlines.push(1, what, 10_000, |_| true));
        while deadlines.pop_due(1).is_some() {}
        assert!(deadlines.queue.capacity() <= 2 * SPARE, "{}", deadlines.queue.capacity());
    }
}
