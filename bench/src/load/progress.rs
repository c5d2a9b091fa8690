//! The live line: what a person sees while a run lasts. Once a second at most, and only on a terminal.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

const INTERVAL: Duration = Duration::from_secs(1);

/// Writes the line.
pub struct Progress {
    is_shown: bool,
    due: Instant,
    last: (Instant, u64),
}

impl Progress {
    /// A line on the standard error, if that is a terminal.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { is_shown: std::io::stderr().is_terminal(), due: now + INTERVAL, last: (now, 0) }
    }

    /// Shows `line` if it is time; it is given the messages per second since the last line, of which there have been
    /// `count` in all.
    pub fn tell(&mut self, count: u64, line: impl FnOnce(f64) -> String) {
        let now = Instant::now();
        if !self.is_shown || now < self.due {
            return;
        }
        let per_second = count.saturating_sub(self.last.1) as f64 / (now - self.last.0).as_secs_f64();
        self.last = (now, count);
        self.due = now + INTERVAL;
        eprint!("\r\x1b[K{}", line(per_second));
        // A terminal that cannot be written to is no reason to end a measurement.
        drop(std::io::stderr().flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
