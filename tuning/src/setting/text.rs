//! A setting's file: front matter for the tool, prose for the reader.
//!
//! ```text
//! ---
//! id: somaxconn
//! why: one sentence
//! ---
//! ## What the kernel does
//! …
//! ```
//!
//! The files are compiled in, so a malformed one is our own mistake: parsing asserts, and a test parses them all.

use serde::Serialize;

use super::{Profile, demand::grouped};

/// Where a setting lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum Layer {
    Sysctl,
    Rlimit,
    Cgroup,
    IoUring,
    Nic,
    Cpu,
    Boot,
    Cloud,
    Memory,
    Application,
}

/// How far a change reaches, and so who can make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One network namespace; a container that owns one can change it there.
    Network,
    /// The whole kernel; a container cannot change it.
    Host,
    /// One process and what it starts.
    Process,
}

/// Who can make the change, and when it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Apply {
    /// `tune apply` writes it while the system runs.
    Runtime,
    /// The kernel's command line, and a reboot.
    Boot,
    /// Somebody else: the program, the cloud, the container's owner, another tool.
    Elsewhere,
}

/// What may go wrong when it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum Risk {
    None,
    Low,
    Medium,
    High,
}

/// What the advice rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// An experiment of this package shows it.
    Measured,
    /// The kernel's documentation or source says so.
    Documented,
    /// It is copied from list to list; no experiment of ours shows it.
    Folklore,
}

/// What it means when the place to read does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nothing is wrong.
    Fine,
    /// The kernel cannot do it.
    Short,
    /// It exists, but not from here.
    Unseen,
}

/// A setting's file, parsed.
#[derive(Clone, Debug)]
pub struct Text {
    /// The file's name without its ending.
    pub id: &'static str,
    /// A heading.
    pub title: &'static str,
    /// One sentence: what goes wrong without it.
    pub why: &'static str,
    /// Where it lives.
    pub layer: Layer,
    /// How far a change reaches.
    pub scope: Scope,
    /// Who can change it.
    pub apply: Apply,
    /// A path whose parts may hold one `*`, or the name of a reading made of several.
    pub reads: &'static str,
    /// The kernel's default in words, and since when.
    pub default: &'static str,
    /// The kernel's default as it would be read, where it is the same everywhere.
    pub stock: Option<&'static str>,
    /// The formula in symbols.
    pub formula: &'static str,
    /// What its number counts, where that does not go without saying.
    pub unit: Option<&'static str>,
    /// What may go wrong.
    pub risk: Risk,
    /// What the advice rests on.
    pub evidence: Evidence,
    /// The experiment of `tune prove` that shows it.
    pub experiment: Option<&'static str>,
    /// What a missing place means, and the words for it.
    pub absence: (Absence, &'static str),
    /// How to change it where `tune apply` cannot; `{wanted}` stands for the value, `{kibibytes}` and `{mebibytes}` for it in those.
    pub cure: &'static str,
    /// Which goals it works against, if any.
    pub conflict: Option<&'static str>,
    /// The chapter of the guide.
    pub chapter: &'static str,
    /// How much it does for each profile, 0 to 3, in the order of [`Profile::ALL`].
    matters: [u8; 4],
    /// The prose.
    pub body: &'static str,
}

impl Text {
    /// How much this does for `profile`, 0 (nothing) to 3.
    pub fn matters(&self, profile: Profile) -> u8 {
        self.matters[profile as usize]
    }

    /// The cure with its number put in, as it is and in the units that some places want.
    pub fn cure_for(&self, wanted: &str) -> String {
        let in_units_of = |unit: u64| {
            let units = wanted.parse::<u64>().map(|bytes| bytes.div_ceil(unit).to_string());
            units.unwrap_or_else(|_| wanted.to_owned())
        };
        let cure = self.cure.replace("{kibibytes}", &in_units_of(1 << 10));
        cure.replace("{mebibytes}", &in_units_of(1 << 20)).replace("{wanted}", wanted)
    }

    /// A number as a person reads it: bytes in KiB or MiB, others in groups of three and with their unit.
    pub fn readable(&self, number: u64) -> String {
        match (self.unit, number) {
            (None, _) | (Some(_), u64::MAX) => grouped(number),
            (Some("bytes"), small) if small < 10 << 20 => format!("{} KiB", grouped(small >> 10)),
            (Some("bytes"), large) => format!("{} MiB", grouped(large >> 20)),
            (Some(unit), number) => format!("{} {unit}", grouped(number)),
        }
    }

    /// Parses a setting's file.
    ///
    /// # Panics
    /// If the file, which is part of this program, is malformed.
    pub fn parse(source: &'static str) -> Self {
        let rest = source.strip_prefix("---\n").expect("a setting's file opens with front matter");
        let (front, body) = rest.split_once("\n---\n").expect("front matter is closed");
        let field = |name: &str| {
            front.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let id = field("id").expect("a setting has an id");
        let need = |name: &str| field(name).unwrap_or_else(|| panic!("{id}: front matter lacks `{name}`"));
        Self {
            id,
            title: need("title"),
            why: need("why"),
            layer: layer(id, need("layer")),
            scope: scope(id, need("scope")),
            apply: apply(id, need("apply")),
            reads: need("reads"),
            default: need("default"),
            stock: field("stock"),
            formula: need("formula"),
            unit: field("unit"),
            risk: risk(id, need("risk")),
            evidence: evidence(id, need("evidence")),
            experiment: field("experiment"),
            absence: absence(id, need("missing")),
            cure: need("cure"),
            conflict: field("conflict"),
            chapter: need("chapter"),
            matters: matters(id, need("matters")),
            body: body.trim(),
        }
    }
}

fn layer(id: &str, word: &str) -> Layer {
    match word {
        "sysctl" => Layer::Sysctl,
        "rlimit" => Layer::Rlimit,
        "cgroup" => Layer::Cgroup,
        "io_uring" => Layer::IoUring,
        "nic" => Layer::Nic,
        "cpu" => Layer::Cpu,
        "boot" => Layer::Boot,
        "cloud" => Layer::Cloud,
        "memory" => Layer::Memory,
        "application" => Layer::Application,
        other => panic!("{id}: unknown layer `{other}`"),
    }
}

fn scope(id: &str, word: &str) -> Scope {
    match word {
        "network" => Scope::Network,
        "host" => Scope::Host,
        "process" => Scope::Process,
        other => panic!("{id}: unknown scope `{other}`"),
    }
}

fn apply(id: &str, word: &str) -> Apply {
    match word {
        "runtime" => Apply::Runtime,
        "boot" => Apply::Boot,
        "elsewhere" => Apply::Elsewhere,
        other => panic!("{id}: unknown apply `{other}`"),
    }
}

fn risk(id: &str, word: &str) -> Risk {
    match word {
        "none" => Risk::None,
        "low" => Risk::Low,
        "medium" => Risk::Medium,
        "high" => Risk::High,
        other => panic!("{id}: unknown risk `{other}`"),
    }
}

fn evidence(id: &str, word: &str) -> Evidence {
    match word {
        "measured" => Evidence::Measured,
        "documented" => Evidence::Documented,
        "folklore" => Evidence::Folklore,
        other => panic!("{id}: unknown evidence `{other}`"),
    }
}

fn absence(id: &str, words: &'static str) -> (Absence, &'static str) {
    let (kind, meaning) = words.split_once(", ").unwrap_or_else(|| panic!("{id}: `missing: {words}`"));
    match kind {
        "fine" => (Absence::Fine, meaning),
        "short" => (Absence::Short, meaning),
        "unseen" => (Absence::Unseen, meaning),
        other => panic!("{id}: unknown absence `{other}`"),
    }
}

fn matters(id: &str, words: &str) -> [u8; 4] {
    Profile::ALL.map(|profile| {
        let weight =
            words.split(", ").find_map(|part| part.strip_prefix(profile.name())?.trim().parse().ok());
        weight
            .filter(|weight| *weight <= 3)
            .unwrap_or_else(|| panic!("{id}: no weight for {}", profile.name()))
    })
}

impl Layer {
    /// The word of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sysctl => "sysctl",
            Self::Rlimit => "rlimit",
            Self::Cgroup => "cgroup",
            Self::IoUring => "io_uring",
            Self::Nic => "nic",
            Self::Cpu => "cpu",
            Self::Boot => "boot",
            Self::Cloud => "cloud",
            Self::Memory => "memory",
            Self::Application => "application",
        }
    }
}

impl Risk {
    /// The word of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl Evidence {
    /// The word of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Documented => "documented",
            Self::Folklore => "folklore",
        }
    }
}
