//! A population described in a TOML file: who is connected, who talks, who comes and goes.

use std::{fs, path::Path, time::Duration};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    load::window::{Timing, WarmUp},
    protocol::{stamp::STAMP_BYTES, subscriber::Transport},
    target::{Scheme, Target},
};

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Where everybody connects who does not say otherwise.
    pub url: String,
    /// Connections in all.
    pub connections: u64,
    /// Measured time.
    pub seconds: f64,
    /// Time before measuring.
    #[serde(default)]
    pub warm_up_seconds: f64,
    /// Connections closed and opened again, per second.
    #[serde(default)]
    pub churn_per_second: f64,
    /// Whether a message comes back to its sender, as an echo or as a member of its own room: one that does not is lost.
    #[serde(default = "yes")]
    pub messages_return: bool,
    /// The parts of the population.
    pub group: Vec<Group>,
}

/// A part of the population.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name, for the result.
    pub name: String,
    /// Its share of all connections.
    pub percent: f64,
    /// Where it connects instead.
    pub url: Option<String>,
    /// How it receives, if the URL leaves a choice.
    pub transport: Option<Transport>,
    /// Messages each of its connections sends per second.
    #[serde(default)]
    pub messages_per_second: f64,
    /// Payload of a message.
    #[serde(default = "usual_bytes")]
    pub bytes: usize,
}

fn yes() -> bool {
    true
}

fn usual_bytes() -> usize {
    64
}

impl Description {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| refused("FILE", path.display(), error))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let description: Self = toml::from_str(text)
            .map_err(|error| refused("FILE", "", format!("a scenario as in bench/scenarios: {error}")))?;
        description.check()?;
        Ok(description)
    }

    /// Checks every value; the file's are checked as it is read.
    pub fn check(&self) -> Result<()> {
        if !(1..=4_000_000).contains(&self.connections) {
            return Err(refused("connections", self.connections, "1 to 4000000"));
        }
        if !(self.seconds > 0.0 && self.seconds <= 86_400.0) {
            return Err(refused("seconds", self.seconds, "more than 0, at most 86400"));
        }
        if !(0.0..=86_400.0).contains(&self.warm_up_seconds) {
            return Err(refused("warm_up_seconds", self.warm_up_seconds, "0 to 86400"));
        }
        if !(0.0..=100_000.0).contains(&self.churn_per_second) {
            return Err(refused("churn_per_second", self.churn_per_second, "0 to 100000"));
        }
        let percent: f64 = self.group.iter().map(|group| group.percent).sum();
        if (percent - 100.0).abs() > 0.01 || self.group.iter().any(|group| group.percent < 0.0) {
            return Err(refused("group.percent", percent, "shares that make 100 together"));
        }
        self.group.iter().try_for_each(|group| group.check(&self.url))
    }

    /// How long it is run.
    pub fn timing(&self) -> Timing {
        let [warm_up, measured] = [self.warm_up_seconds, self.seconds].map(Duration::from_secs_f64);
        Timing { warm_up: WarmUp::For(warm_up), measured }
    }

    /// How many connections each group has; rounding goes to the first.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts: Vec<u64> =
            self.group.iter().map(|group| (self.connections as f64 * group.percent / 100.0) as u64).collect();
        counts[0] += self.connections - counts.iter().sum::<u64>();
        counts
    }
}

impl Group {
    /// Where it connects.
    pub fn target(&self, usual: &str) -> Result<Target> {
        let url = self.url.as_deref().unwrap_or(usual);
        url.parse().map_err(|error| refused("url", url, error))
    }

    fn check(&self, usual: &str) -> Result<()> {
        let target = self.target(usual)?;
        if !(0.0..=1e6).contains(&self.messages_per_second) {
            return Err(refused("group.messages_per_second", self.messages_per_second, "0 to 1000000"));
        }
        if self.messages_per_second > 0.0 && target.scheme != Scheme::WebSocket {
            return Err(refused("group.url", &target, "a ws:// URL for a group that sends messages"));
        }
        if !(STAMP_BYTES..=1 << 20).contains(&self.bytes) {
            return Err(refused("group.bytes", self.bytes, format!("{STAMP_BYTES} to 1048576")));
        }
        Ok(())
    }
}

fn refused(flag: &'static str, value: impl std::fmt::Display, accepted: impl std::fmt::Display) -> Error {
    Error::Argument { flag, value: value.to_string(), accepted: accepted.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: (&str, &str)) -> Option<String> {
        let text = "url = \"ws://127.0.0.1:1/\"\nconnections = 10\nseconds = 1\n\
                    [[group]]\nname = \"a\"\npercent = 75\n\
                    [[group]]\nname = \"b\"\npercent = 25\nmessages_per_second = 2\n";
        Description::parse(&text.replace(change.0, change.1)).err().map(|error| error.to_string())
    }

    #[test]
    fn each_mistake_is_named_with_what_is_accepted() {
        assert_eq!(fault(("", "")), None);
        for (from, to, word) in [
            ("= 75", "= 70", "group.percent 95"),
            ("connections = 10", "connections = 0", "connections 0"),
            ("seconds = 1", "seconds = 0", "more than 0"),
            ("ws://", "tcp://", "ws:// URL"),
            ("percent = 25", "percent = 25\nbytes = 35", "36 to 1048576"),
            ("seconds = 1", "seconds = 1\nsurprise = 1", "surprise"),
        ] {
            let message = fault((from, to)).unwrap_or_default();
            assert!(message.contains(word), "{to}: {message}");
        }
    }

    #[test]
    fn nobody_is_lost_in_rounding() {
        let text = "url = \"ws://127.0.0.1:1/\"\nconnections = 10\nseconds = 1\n\
                    [[group]]\nname = \"a\"\npercent = 66.67\n[[group]]\nname = \"b\"\npercent = 33.33\n";
        assert_eq!(Description::parse(text).unwrap().counts(), [7, 3]);
    }

    #[test]
    fn the_scenarios_that_come_with_the_tool_are_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 3, "{files:?}");
        for path in files {
            assert!(
                Description::read(&path).is_ok(),
                "{}: {:?}",
                path.display(),
                Description::read(&path).err()
            );
        }
    }
}
