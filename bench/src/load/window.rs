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

/// How long a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time before measuring.
    pub warm_up: Duration,
    /// Measured time.
    pub measured: Duration,
}

impl Timing {
    /// The window of a run that starts at `start_ns`.
    pub fn window(self, start_ns: u64) -> Window {
        let from_ns = start_ns + self.warm_up.as_nanos() as u64;
        Window { from_ns, to_ns: from_ns + self.measured.as_nanos() as u64 }
    }
}

impl Window {
    /// The window of a run that has not started: it holds nothing.
    pub const NEVER: Self = Self { from_ns: u64::MAX, to_ns: u64::MAX };

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
        let timing = Timing { warm_up: Duration::from_nanos(10), measured: Duration::from_nanos(50) };
        let mut window = timing.window(100);
        assert_eq!([109, 110, 159, 160].map(|at| window.holds(at)), [false, true, true, false]);
        window.cut(120);
        assert_eq!([119, 120].map(|at| window.holds(at)), [true, false]);
        window.cut(500);
        assert!(!window.holds(120));
        window.cut(0);
        assert!(window.holds(110));
    }
}
