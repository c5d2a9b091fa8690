//! When messages are sent.

use super::stages::Stages;

/// Open or closed loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many messages per second, on a schedule, whatever becomes of them.
    Open(f64),
    /// On a schedule whose rate changes; of its messages this share. The stages are made once, of the command line, and
    /// stay for as long as the process.
    Staged(&'static Stages, f64),
    /// The next message when the last is answered. It finds the highest rate and says little about latency.
    Closed,
}

/// One worker's schedule.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start_ns: u64,
    rate: Rate,
    sent: u64,
}

#[derive(Clone, Copy, Debug)]
enum Rate {
    /// Messages at equal distances.
    Even(f64),
    /// So many of each stage's messages.
    Staged(&'static Stages, f64),
}

/// The warning every closed loop carries.
pub const COORDINATED_OMISSION: &str = "closed loop: while the server pauses nothing is sent, so its pauses hardly show \
                                        in the percentiles (coordinated omission); for latency use --rate";

impl Pace {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open(_) | Self::Staged(..) => "open",
            Self::Closed => "closed",
        }
    }

    /// The rate asked for.
    pub fn asked(self) -> Option<f64> {
        match self {
            Self::Open(per_second) => Some(per_second),
            Self::Staged(stages, share) => Some(stages.mean() * share),
            Self::Closed => None,
        }
    }

    /// The part of one of `workers`.
    pub fn shared_by(self, workers: usize) -> Self {
        match self {
            Self::Open(per_second) => Self::Open(per_second / workers as f64),
            Self::Staged(stages, share) => Self::Staged(stages, share / workers as f64),
            Self::Closed => Self::Closed,
        }
    }

    /// The schedule that begins at `start_ns`; a closed loop has none.
    pub fn schedule(self, start_ns: u64) -> Option<Schedule> {
        let rate = match self {
            Self::Open(per_second) => Rate::Even(per_second),
            Self::Staged(stages, share) => Rate::Staged(stages, share),
            Self::Closed => return None,
        };
        Some(Schedule { start_ns, rate, sent: 0 })
    }
}

impl Schedule {
    /// When the next message is due. Counted from the start each time: rounding does not add up.
    #[inline]
    pub fn due_ns(&self) -> u64 {
        match self.rate {
            Rate::Even(per_second) => self.start_ns + (self.sent as f64 * 1e9 / per_second) as u64,
            Rate::Staged(stages, share) => {
                stages.due_ns(self.sent, share).map_or(u64::MAX, |due_ns| self.start_ns + due_ns)
            }
        }
    }

    /// The number of the next message.
    pub fn number(&self) -> u64 {
        self.sent
    }

    /// Goes on to the next message.
    #[inline]
    pub fn advance(&mut self) {
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_keeps_its_rate_over_hours() {
        let mut schedule = Pace::Open(3.0).schedule(1_000).unwrap();
        assert_eq!(schedule.due_ns(), 1_000);
        for _ in 0..3 * 3600 {
            schedule.advance();
        }
        assert_eq!(schedule.due_ns(), 1_000 + 3_600_000_000_000);
        assert!(Pace::Closed.schedule(0).is_none());
    }
}
