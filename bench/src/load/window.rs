//! The measured part of a run: what happens before it warms up, what is sent after it is none of its business.

use std::{str::FromStr, time::Duration};

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
    /// What comes before measuring.
    pub warm_up: WarmUp,
    /// Measured time.
    pub measured: Duration,
}

/// How long a load goes on before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmUp {
    /// So long.
    For(Duration),
    /// Until it is steady, and at most so long.
    UntilSteady(Duration),
}

/// How long `auto` warms up at most.
const STEADY_TIMEOUT: Duration = Duration::from_secs(30);
/// The most that can be asked for.
const WARM_UP_SECONDS_MAX: f64 = 86_400.0;

impl Timing {
    /// The window of a run that counts from `from_ns` on.
    pub fn window_from(self, from_ns: u64) -> Window {
        Window { from_ns, to_ns: from_ns + self.measured.as_nanos() as u64 }
    }
}

impl FromStr for WarmUp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = |text: &str| {
            let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
            number.filter(|number| (0.0..=WARM_UP_SECONDS_MAX).contains(number)).map(Duration::from_secs_f64)
        };
        let parsed = match text.split_once(':') {
            Some(("auto", longest)) => seconds(longest).map(Self::UntilSteady),
            None if text == "auto" => Some(Self::UntilSteady(STEADY_TIMEOUT)),
            _ => seconds(text).map(Self::For),
        };
        parsed.ok_or_else(|| "seconds, auto, or auto:SECONDS, of at most 86400 seconds".to_owned())
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
        let timing = Timing { warm_up: WarmUp::For(Duration::ZERO), measured: Duration::from_nanos(50) };
        let mut window = timing.window_from(110);
        assert_eq!([109, 110, 159, 160].map(|at| window.holds(at)), [false, true, true, false]);
        window.cut(120);
        assert_eq!([119, 120].map(|at| window.holds(at)), [true, false]);
        window.cut(500);
        assert!(!window.holds(120));
        window.cut(0);
        assert!(window.holds(110));
    }

    #[test]
    fn a_warm_up_has_an_end_whatever_it_waits_for() {
        let parse = |text: &str| text.parse::<WarmUp>();
        assert_eq!(parse("0.5"), Ok(WarmUp::For(Duration::from_millis(500))));
        assert_eq!(parse("auto"), Ok(WarmUp::UntilSteady(STEADY_TIMEOUT)));
        assert_eq!(parse("auto:90s"), Ok(WarmUp::UntilSteady(Duration::from_secs(90))));
        for wrong in ["", "auto:", "auto:x", "-1", "86401", "auto:86401", "until steady", "5:auto"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
