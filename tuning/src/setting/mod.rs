//! A setting: the text that explains it, the formula that says how much, and the way to read it.
//!
//! The text is a file of `settings/`, the formula a function of `rules/`; both carry the same id. What comes of
//! comparing a reading with a formula is `verdict`, not here.

pub mod cpu_mask;
pub mod demand;
pub mod text;

use serde::Serialize;

use crate::host::{Facts, Host, Reading};
pub use cpu_mask::CpuMask;
pub use demand::{Demand, Want};
pub use text::{Absence, Apply, Evidence, Layer, Risk, Scope, Text};

/// What the box is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As many quiet connections as fit.
    Idle,
    /// Everybody reconnects at once.
    Storm,
    /// The slowest message counts.
    Latency,
    /// Bytes per second count.
    Throughput,
}

impl Profile {
    /// Every profile, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Storm, Self::Latency, Self::Throughput];

    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Storm => "storm",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
        }
    }
}

/// What somebody wants of the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Goal {
    /// Connections to hold.
    pub target: u64,
    /// What counts.
    pub profile: Profile,
    /// Of a hundred connections, how many are expected to have bytes queued at one time.
    pub stalled_percent: u64,
    /// The box also opens connections: a load generator or a proxy.
    pub is_client: bool,
}

impl Goal {
    /// The share of connections with queued bytes is not known beforehand; a tenth is a bad day of an idle service, a
    /// quarter a broadcast while clients are stalled.
    pub fn new(target: u64, profile: Profile) -> Self {
        let stalled_percent = match profile {
            Profile::Idle | Profile::Latency => 10,
            Profile::Storm | Profile::Throughput => 25,
        };
        Self { target, profile, stalled_percent, is_client: false }
    }
}

/// Everything a formula may look at.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The host.
    pub host: &'a Host,
    /// Its facts.
    pub facts: &'a Facts,
    /// What is wanted of it.
    pub goal: &'a Goal,
}

/// One place and what was read there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// A path, or words for something that is no file.
    pub place: String,
    /// What was there.
    pub reading: Reading,
    /// What is asked of this place, where that is not what the setting asks of all.
    pub demand: Option<Demand>,
}

impl Spot {
    /// A place and what was read there.
    pub fn new(place: impl Into<String>, reading: Reading) -> Self {
        Self { place: place.into(), reading, demand: None }
    }

    /// The same, with a demand of its own.
    #[must_use]
    pub fn asking(self, demand: Demand) -> Self {
        Self { demand: Some(demand), ..self }
    }
}

/// How a setting is read.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// The file or files that the text's `reads` names.
    Files,
    /// Some other way.
    Made(fn(&Scene<'_>) -> Vec<Spot>),
    /// It cannot be read from outside the program; the text is advice.
    Nowhere,
}

/// A setting's formula, beside its text.
#[derive(Clone, Copy)]
pub struct Rule {
    /// The file of `settings/`, compiled in.
    pub source: &'static str,
    /// How it is read.
    pub read: Source,
    /// What the goal asks of it on this host.
    pub want: fn(&Scene<'_>) -> Want,
    /// How many connections a value of it allows, where it bounds their number.
    pub holds: Option<fn(&Scene<'_>, &str) -> Option<u64>>,
}

/// A setting, ready to be judged.
#[derive(Clone)]
pub struct Setting {
    /// Its text.
    pub text: Text,
    /// Its formula.
    pub rule: Rule,
}

impl Setting {
    /// What the goal asks of it. What works for some goals against others asks nothing for a goal that it does nothing
    /// for: its text says so, and the number must not say otherwise.
    pub fn want(&self, scene: &Scene<'_>) -> Want {
        let want = (self.rule.want)(scene);
        match self.text.conflict {
            Some(conflict)
                if self.text.matters(scene.goal.profile) == 0 && want.demand != Demand::Nothing =>
            {
                Want::new(Demand::Nothing, format!("as it is. {conflict}"))
            }
            Some(_) | None => want,
        }
    }

    /// How many connections `value` of it allows, where it bounds their number.
    pub fn holds(&self, scene: &Scene<'_>, value: &str) -> Option<u64> {
        self.rule.holds.and_then(|holds| holds(scene, value))
    }

    /// Reads the setting on a host.
    pub fn read(&self, scene: &Scene<'_>) -> Vec<Spot> {
        match self.rule.read {
            Source::Nowhere => Vec::new(),
            Source::Made(read) => read(scene),
            Source::Files => {
                let pattern = self.text.reads;
                if !pattern.contains('*') {
                    return vec![Spot::new(pattern, scene.host.read(pattern))];
                }
                let paths = scene.host.expand(pattern);
                paths.into_iter().map(|path| Spot::new(path.clone(), scene.host.read(&path))).collect()
            }
        }
    }
}

/// Every setting, in the order of the guide.
pub fn all() -> Vec<Setting> {
    crate::rules::ALL
        .iter()
        .flat_map(|area| area.iter())
        .map(|rule| Setting { text: Text::parse(rule.source), rule: *rule })
        .collect()
}

/// How to raise the setting called `id` to a number: the one text that the tool, the guide and a server's refusal share.
///
/// # Panics
/// If there is no such setting, which a caller knows beforehand.
pub fn cure(id: &str, wanted: u64) -> String {
    let setting = find(id).unwrap_or_else(|| panic!("no setting `{id}`"));
    setting.text.cure_for(&wanted.to_string())
}

/// The setting called `id`.
pub fn find(id: &str) -> Option<Setting> {
    all().into_iter().find(|setting| setting.text.id == id)
}
