//! The measured part of a run: what happens before it warms up, what is sent after it is none of its business.

use std::time::Duration;

/// From when to when messages count, by the time they were meant to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first nanosecond that counts.
    pub from_ns: u64,
    /// The first that does not.
    pub to_ns: u64,
}

impl Window {
    /// The window of a run that starts at `start_ns`.
    pub fn new(start_ns: u64, warm_up: Duration, measured: Duration) -> Self {
        let from_ns = start_ns + warm_up.as_nanos() as u64;
        Self { from_ns, to_ns: from_ns + measured.as_nanos() as u64 }
    }

    /// Whether a message meant for this time counts.
    #[inline]
    pub fn holds(&self, at_ns: u64) -> bool {
        (self.from_ns..self.to_ns).contains(&at_ns)
    }

    /// Ends it early.
    pub fn cut(&mut self, at_ns: u64) {
        self.to_ns = self.to_ns.min(at_ns.max(self.from_ns + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_its_first_moment_and_not_its_end_even_when_cut() {
        let mut window = Window::new(100, Duration::from_nanos(10), Duration::from_nanos(50));
        assert_eq!([109, 110, 159, 160].map(|at| window.holds(at)), [false, true, true, false]);
        window.cut(120);
        assert_eq!([119, 120].map(|at| window.holds(at)), [true, false]);
        window.cut(500);
        assert!(!window.holds(120));
        window.cut(0);
        assert!(window.holds(110));
    }
}
