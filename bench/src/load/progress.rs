//! The live line: what a person sees while a run lasts. Once a second at most, and only on a terminal.

use std::{
    collections::VecDeque,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

const INTERVAL: Duration = Duration::from_secs(1);

/// Values of the curve beside the line.
const CURVE_MAX: usize = 40;
/// The eighths of a cell, for the curve.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Writes the line.
pub struct Progress {
    is_shown: bool,
    due: Instant,
    last: (Instant, u64),
    curve: VecDeque<u64>,
}

impl Progress {
    /// A line on the standard error, if that is a terminal.
    pub fn new() -> Self {
        let now = Instant::now();
        let curve = VecDeque::new();
        Self { is_shown: std::io::stderr().is_terminal(), due: now + INTERVAL, last: (now, 0), curve }
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

impl Progress {
    /// The same with the course of a value behind it, on a logarithmic scale: the highest latency is not lost among many
    /// low ones, and the low ones not beneath the highest.
    pub fn tell_with_tail(&mut self, count: u64, value: u64, line: impl FnOnce(f64) -> String) {
        if Instant::now() >= self.due && value > 0 {
            if self.curve.len() == CURVE_MAX {
                self.curve.pop_front();
            }
            self.curve.push_back(value);
        }
        let curve = curve(&self.curve);
        self.tell(count, |rate| format!("{} {curve}", line(rate)));
    }
}

fn curve(values: &VecDeque<u64>) -> String {
    let height = |value: u64| (value.max(1) as f64).ln();
    let low = values.iter().copied().min().map_or(0.0, height);
    // Less than twice the lowest is no movement.
    let room = (values.iter().copied().max().map_or(0.0, height) - low).max(f64::ln(2.0));
    let bar = |value: &u64| BARS[((height(*value) - low) / room * 7.0).round().clamp(0.0, 7.0) as usize];
    values.iter().map(bar).collect()
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_reaches_from_the_lowest_to_the_highest() {
        let text = |values: &[u64]| curve(&values.iter().copied().collect());
        assert_eq!(text(&[100, 1000, 10_000, 100]), "▁▄█▁");
        assert_eq!(text(&[100, 101, 100]), "▁▁▁");
        assert_eq!(text(&[0]), "▁");
        assert_eq!(text(&[]), "");
    }
}
