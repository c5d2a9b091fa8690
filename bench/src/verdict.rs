//! Whether a result may be believed: a generator that was itself the bottleneck measures itself.

use serde::{Deserialize, Serialize};

use crate::{latency::LatencySummary, load::pace::Pace, report::CpuShare};

/// A share of a core above which a thread counts as saturated.
const SATURATED_CORES: f64 = 0.97;
/// A share of the time a generator may be kept from its core by other programs.
const CORE_WAIT_MAX: f64 = 0.10;
/// Sends later than this are looked at.
const LAG_P99_MIN_US: u64 = 1000;
/// A share of the asked rate below which it was not achieved.
const ACHIEVED_MIN: f64 = 0.99;

/// The verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the figures say something about the server.
    pub valid: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// What else should be known.
    pub warnings: Vec<String>,
    /// What would help a result that is not valid.
    #[serde(default)]
    pub advice: Vec<String>,
}

/// What held the rate back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bottleneck {
    /// The server kept its busiest core busy.
    Server,
    /// The generator kept its core busy and the server did not: the rate says nothing about the server.
    Generator,
    /// Both kept their cores busy.
    Both,
    /// Neither did, or the server's time is unknown.
    Neither,
}

/// What a verdict is made of.
pub struct Evidence<'a> {
    /// Open or closed loop.
    pub pace: Pace,
    /// Messages per second achieved.
    pub achieved: f64,
    /// Each generator thread.
    pub clients: &'a [CpuShare],
    /// The largest share of its time that a generator thread waited for a core.
    pub core_wait: f64,
    /// Cores used by the server's busiest thread.
    pub server_cores: Option<f64>,
    /// How late messages were sent.
    pub lag: LatencySummary,
    /// What was measured.
    pub latency: LatencySummary,
    /// Things that must not happen, and how often they did: each makes the result invalid.
    pub faults: &'a [(u64, &'a str)],
    /// Whether the run ended before its time.
    pub is_stopped: bool,
    /// Why nothing more could come of it, if that is what ended it.
    pub hopeless: Option<&'a str>,
}

impl Verdict {
    /// Adds the verdict on a part of the run, called `part`.
    pub fn add(&mut self, part: impl AsRef<str>, other: Self) {
        let part = part.as_ref();
        self.valid &= other.valid;
        self.reasons.extend(other.reasons.iter().map(|reason| format!("{part}{reason}")));
        self.warnings.extend(other.warnings.iter().map(|warning| format!("{part}{warning}")));
        self.advice.extend(other.advice);
        self.advice.sort_unstable();
        self.advice.dedup();
    }
}

impl Bottleneck {
    /// Judges by how busy the busiest thread of each side was.
    pub fn judge(client_cores: f64, server_cores: Option<f64>) -> Self {
        let is_busy = |cores| cores >= SATURATED_CORES;
        match (is_busy(client_cores), server_cores.is_some_and(is_busy)) {
            (true, true) => Self::Both,
            (true, false) => Self::Generator,
            (false, true) => Self::Server,
            (false, false) => Self::Neither,
        }
    }
}

impl Evidence<'_> {
    /// The busiest thread of each side.
    pub fn bottleneck(&self) -> Bottleneck {
        let busiest = self.clients.iter().map(|client| client.cores).fold(0.0, f64::max);
        Bottleneck::judge(busiest, self.server_cores)
    }

    /// The verdict.
    pub fn judge(&self) -> Verdict {
        let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
        let faults = self.faults.iter().filter(|(count, _)| *count > 0);
        reasons.extend(faults.map(|(count, what)| format!("{count} {what}")));
        let bottleneck = self.bottleneck();
        if bottleneck == Bottleneck::Generator {
            reasons.push(self.saturated());
        }
        if self.core_wait > CORE_WAIT_MAX {
            reasons.push(format!(
                "other programs kept the generator from its core for {:.0} % of the time",
                100.0 * self.core_wait
            ));
        }
        let (lag, latency) = (self.lag.tail_us(), self.latency.tail_us());
        let is_late = lag > LAG_P99_MIN_US && lag * 4 > latency;
        if is_late {
            let name = if self.lag.p99_us.is_some() { "p99" } else { "at most" };
            reasons.push(format!(
                "the generator sent late ({name} {lag} µs), which is a good part of the latency it found ({latency} µs)"
            ));
        }
        if let Some(why) = self.hopeless {
            reasons.push(format!("the run ended early: {why}"));
        } else if self.is_stopped {
            warnings.push("the run was stopped early: this is the result so far".to_owned());
        }
        let asked = self.pace.asked().unwrap_or_default();
        match self.pace {
            Pace::Closed => warnings.push(crate::load::pace::COORDINATED_OMISSION.to_owned()),
            Pace::Open(_) | Pace::Staged(..) if !self.is_stopped && self.achieved < ACHIEVED_MIN * asked => {
                warnings.push(format!(
                    "asked for {asked:.0}/s, achieved {:.0}/s: {}",
                    self.achieved,
                    match bottleneck {
                        Bottleneck::Server | Bottleneck::Both => "the server is overloaded",
                        Bottleneck::Generator | Bottleneck::Neither => "messages waited for their connection",
                    }
                ))
            }
            Pace::Open(_) | Pace::Staged(..) => {}
        }
        Verdict { valid: reasons.is_empty(), reasons, warnings, advice: self.advice(bottleneck, is_late) }
    }

    /// What would help: a generator that was disturbed or too small can be helped, a server that loses cannot.
    fn advice(&self, bottleneck: Bottleneck, is_late: bool) -> Vec<String> {
        let mut advice = Vec::new();
        if bottleneck == Bottleneck::Generator {
            advice
                .push("give the generator more cores with --workers, or ask for less with --rate".to_owned());
        }
        if self.core_wait > CORE_WAIT_MAX || is_late && bottleneck != Bottleneck::Generator {
            advice.push(
                "keep other programs off the generator's cores: end them, or put server and generator on cores of their own \
                 with taskset; --until-valid 5 waits for a quiet moment"
                    .to_owned(),
            );
        }
        advice
    }

    fn saturated(&self) -> String {
        let known = match self.server_cores {
            Some(cores) => format!("the server's busiest thread used {cores:.2} cores"),
            None => "what the server used is unknown: give --pid".to_owned(),
        };
        format!(
            "the generator was the bottleneck: its core was saturated, {known}; CPU per message still holds"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::host::cpu::CpuTime;

    fn judge(client: f64, server: Option<f64>, change: impl FnOnce(&mut Evidence<'_>)) -> Verdict {
        let time = CpuTime { user_us: (client * 1e6) as u64, system_us: 0 };
        let clients = [CpuShare::new(time, Duration::from_secs(1), 1000)];
        let latency = LatencySummary { p99_us: Some(8000), ..LatencySummary::default() };
        let mut evidence = Evidence {
            pace: Pace::Open(1000.0),
            achieved: 1000.0,
            clients: &clients,
            core_wait: 0.0,
            server_cores: server,
            lag: LatencySummary::default(),
            latency,
            faults: &[],
            is_stopped: false,
            hopeless: None,
        };
        change(&mut evidence);
        evidence.judge()
    }

    #[test]
    fn a_saturated_generator_is_invalid_unless_the_server_is_saturated_too() {
        assert!(judge(0.5, None, |_| {}).valid);
        assert!(!judge(0.99, Some(0.5), |_| {}).valid);
        assert!(!judge(0.99, None, |_| {}).valid);
        assert!(judge(0.99, Some(0.99), |_| {}).valid);
        assert!(judge(0.5, Some(0.99), |_| {}).valid);
    }

    #[test]
    fn late_sends_count_when_they_are_a_part_of_what_was_found() {
        let late = |p99_us| LatencySummary { p99_us: Some(p99_us), ..LatencySummary::default() };
        assert!(judge(0.5, None, |evidence| evidence.lag = late(1900)).valid);
        assert!(!judge(0.5, None, |evidence| evidence.lag = late(2100)).valid);
        let quick = |evidence: &mut Evidence<'_>| {
            evidence.latency.p99_us = Some(100);
            evidence.lag = late(900);
        };
        assert!(judge(0.5, None, quick).valid);
    }

    #[test]
    fn anything_lost_and_a_stolen_core_make_a_result_invalid() {
        assert_eq!(judge(0.5, None, |e| e.faults = &[(0, "lost"), (3, "wrong")]).reasons, ["3 wrong"]);
        let disturbed = judge(0.5, None, |e| e.core_wait = 0.11);
        assert!(!disturbed.valid && disturbed.advice[0].contains("--until-valid"));
        assert!(judge(0.99, Some(0.5), |_| {}).advice[0].contains("--workers"));
    }

    #[test]
    fn a_closed_loop_and_a_missed_rate_are_warned_of() {
        assert!(judge(0.5, None, |e| e.pace = Pace::Closed).warnings[0].contains("coordinated omission"));
        assert!(judge(0.5, Some(0.99), |e| e.achieved = 900.0).warnings[0].contains("overloaded"));
        assert!(judge(0.5, None, |e| e.achieved = 995.0).warnings.is_empty());
    }
}
