//! A rate that changes: ramps, steps and spikes.
//!
//! ```text
//!   1k@10s,1k..20k@30s,20k@10s      ten seconds of 1,000/s, half a minute up to 20,000/s, ten seconds of that
//! ```

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The most stages of a run.
const STAGES_MAX: usize = 64;

/// One stage: from a rate to a rate, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Messages per second at its start.
    pub from: f64,
    /// Messages per second at its end.
    pub to: f64,
    /// How long it takes.
    pub seconds: f64,
}

/// Stages, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages(Vec<Stage>);

impl Stages {
    /// These, if they are any.
    pub fn new(stages: Vec<Stage>) -> Option<Self> {
        (!stages.is_empty() && stages.len() <= STAGES_MAX).then_some(Self(stages))
    }

    /// Each of them.
    pub fn all(&self) -> &[Stage] {
        &self.0
    }

    /// How long they take together.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.0.iter().map(|stage| stage.seconds).sum())
    }

    /// The mean rate.
    pub fn mean(&self) -> f64 {
        self.0.iter().map(Stage::messages).sum::<f64>() / self.length().as_secs_f64()
    }

    /// When the message of this number is due, in nanoseconds from the start; `None` when there are not so many. Of all
    /// messages, `share` is sent here.
    pub fn due_ns(&self, number: u64, share: f64) -> Option<u64> {
        let (mut left, mut start) = (number as f64 / share, 0.0);
        for stage in &self.0 {
            let messages = stage.messages();
            if left < messages {
                return Some(((start + stage.seconds_until(left)) * 1e9) as u64);
            }
            left -= messages;
            start += stage.seconds;
        }
        None
    }
}

impl Stage {
    fn messages(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.seconds
    }

    /// When so many messages have been due: the rate rises evenly, so that they grow with the square of the time.
    fn seconds_until(&self, messages: f64) -> f64 {
        let rise = (self.to - self.from) / self.seconds;
        // The root that also holds for no rise: 2n / (r + √(r² + 2·rise·n)).
        2.0 * messages
            / (self.from + (self.from * self.from + 2.0 * rise * messages).max(0.0).sqrt())
                .max(f64::MIN_POSITIVE)
    }
}

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stages: Option<Vec<Stage>> = text.split(',').map(parse).collect();
        stages
            .filter(|stages| stages.len() <= STAGES_MAX)
            .filter(|stages| stages.iter().any(|stage| stage.messages() >= 1.0))
            .map(Self)
            .ok_or_else(|| {
                format!("up to {STAGES_MAX} stages such as 1000@10s or 1k..20k@30s, separated by commas, with a message at least")
            })
    }
}

fn parse(text: &str) -> Option<Stage> {
    let (rates, time) = text.trim().split_once('@')?;
    let (from, to) = rates.split_once("..").unwrap_or((rates, rates));
    let seconds = match (time.strip_suffix('s'), time.strip_suffix('m')) {
        (Some(seconds), _) => seconds.parse::<f64>().ok()?,
        (None, Some(minutes)) => minutes.parse::<f64>().ok()? * 60.0,
        (None, None) => return None,
    };
    let is_sound = (1.0..=86_400.0).contains(&seconds);
    is_sound.then_some(Stage { from: rate(from)?, to: rate(to)?, seconds })
}

fn rate(text: &str) -> Option<f64> {
    let (number, factor) = match text.strip_suffix('k') {
        Some(number) => (number, 1e3),
        None => (text, 1.0),
    };
    number.parse::<f64>().ok().map(|number| number * factor).filter(|rate| (0.0..=1e9).contains(rate))
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s", self.from)?;
        if self.from == self.to { Ok(()) } else { write!(f, " to {:.0}/s", self.to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_as_the_rate_says_at_each_moment() {
        let stages: Stages = "100@2s,100..300@4s,0@1s,50@2s".parse().unwrap();
        assert_eq!(stages.length(), Duration::from_secs(9));
        let due: Vec<u64> = (0..).map_while(|number| stages.due_ns(number, 1.0)).collect();
        assert_eq!(due.len(), 200 + 800 + 100);
        assert!(due.is_sorted());
        let within =
            |from: f64, to: f64| due.iter().filter(|ns| (from..to).contains(&(**ns as f64 / 1e9))).count();
        assert_eq!(within(0.0, 1.0), 100);
        assert!(within(2.0, 3.0).abs_diff(125) <= 1 && within(5.0, 6.0).abs_diff(275) <= 1);
        assert_eq!((within(6.0, 7.0), within(7.0, 8.0)), (0, 50));
        // Two workers send every message between them.
        let halves = (0..).map_while(|number| stages.due_ns(number, 0.5)).count();
        assert_eq!(halves, 550);
    }

    #[test]
    fn what_is_no_stage_is_refused() {
        for text in ["", "100", "100@", "100@5", "x@5s", "1..@5s", "-1@5s", "0@5s", "1@0.5s", "1@5s,"] {
            assert!(text.parse::<Stages>().is_err(), "{text}");
        }
        assert_eq!(
            "1.5k..2k@1m".parse::<Stages>().unwrap().0,
            [Stage { from: 1500.0, to: 2000.0, seconds: 60.0 }]
        );
    }
}
