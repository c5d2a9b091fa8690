//! How many connections this host holds as it is, and what stops it.
//!
//! The ceiling is the least of what the settings that bound a number of connections allow. What could not be read
//! does not count; it is named beside the number.

use std::fmt;

use serde::Serialize;

use crate::{
    host::{Facts, Host},
    rules,
    setting::{self, Goal, Profile, Scene, demand::grouped},
    verdict::{self, Finding, Remedy, Severity},
};

/// The bound that is this process's own.
const OPEN_FILES: &str = "nofile";

/// A host's ceiling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ceiling {
    /// Connections.
    pub connections: u64,
    /// The id of the setting that stops it.
    pub bound: &'static str,
    /// That setting's title.
    pub title: &'static str,
    /// Its value now.
    pub current: String,
    /// How to raise it.
    pub cure: String,
    /// Bounds that could not be read.
    pub unseen: Vec<&'static str>,
}

/// What bounds connections on this machine besides this process's open files, which a server counts itself, judged for
/// `target` of them.
pub fn beside_open_files(target: u64) -> Ceiling {
    let host = Host::live();
    let facts = Facts::of(&host);
    let goal = Goal::new(target, Profile::Idle);
    let scene = Scene { host: &host, facts: &facts, goal: &goal };
    let bounding = setting::all().into_iter().filter(|setting| setting.rule.holds.is_some());
    let bounding = bounding.filter(|setting| setting.text.id != OPEN_FILES);
    let findings: Vec<Finding> = bounding.map(|setting| verdict::judge(&setting, &scene)).collect();
    of(&findings, false)
}

/// How many connections memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// With the program's own memory, some queued data and a reserve for the rest of the system.
    pub connections: u64,
    /// The sockets alone, if there were nothing else on the machine.
    pub connections_most: u64,
    /// The memory.
    pub bytes: u64,
    /// Whose it is: `this machine`, or `this control group` where that has less.
    pub owner: &'static str,
    /// The setting that is about it.
    pub setting: &'static str,
}

impl MemoryBound {
    /// The memory that holds `target` connections as this one holds its own.
    pub fn bytes_for(&self, target: u64) -> u64 {
        let bytes = u128::from(target) * u128::from(self.bytes) / u128::from(self.connections.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// How many connections the memory of a machine holds, or that of our control group where it holds fewer; `None` where
/// neither can be read.
pub fn in_memory(host: &Host) -> Option<MemoryBound> {
    let facts = Facts::of(host);
    let goal = Goal::new(1, Profile::Idle);
    let scene = Scene { host, facts: &facts, goal: &goal };
    let bounds = [("memory", "this machine"), ("memory-max", "this control group")].map(|(id, owner)| {
        let finding = verdict::judge(&setting::find(id)?, &scene);
        let bytes = finding.places.first()?.current.as_ref()?.parse().ok()?;
        let connections_most = bytes / (rules::KERNEL_BYTES + rules::POLL_BYTES);
        Some(MemoryBound { connections: finding.holds?, connections_most, bytes, owner, setting: id })
    });
    bounds.into_iter().flatten().min_by_key(|bound| bound.connections)
}

/// The least that `findings` allow, as they are or after `tune apply`.
pub fn of(findings: &[Finding], after_apply: bool) -> Ceiling {
    let holds = |finding: &Finding| if after_apply { finding.holds_after } else { finding.holds };
    let is_bound =
        |finding: &&Finding| setting::find(finding.id).is_some_and(|found| found.rule.holds.is_some());
    let unseen = findings.iter().filter(|finding| finding.severity == Severity::Unseen);
    let unseen: Vec<&'static str> = unseen.filter(is_bound).map(|finding| finding.id).collect();
    match findings.iter().filter_map(|finding| Some((holds(finding)?, finding))).min_by_key(|(held, _)| *held)
    {
        Some((connections, finding)) => Ceiling {
            connections,
            bound: finding.id,
            title: finding.title,
            current: finding.current.clone(),
            cure: cure(finding),
            unseen,
        },
        None => Ceiling {
            connections: u64::MAX,
            bound: "",
            title: "nothing that can be seen from here",
            current: String::new(),
            cure: String::new(),
            unseen,
        },
    }
}

fn cure(finding: &Finding) -> String {
    match &finding.remedy {
        Remedy::Elsewhere(words) => words.clone(),
        // What is high enough for the target has no cure; the ceiling is told all the same.
        Remedy::Apply | Remedy::Ask | Remedy::None => {
            let wanted = finding.places.iter().find_map(|place| place.replacement.as_deref());
            let cure =
                wanted.zip(setting::find(finding.id)).map(|(wanted, found)| found.text.cure_for(wanted));
            cure.map_or_else(String::new, |cure| format!("`roadstead tune apply`, or {cure}"))
        }
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bound.is_empty() {
            return write!(out, "no bound on connections can be seen from here");
        }
        write!(out, "this host, as it is, can hold {} connections; ", grouped(self.connections))?;
        write!(out, "what stops it is {} = {}", self.title, self.current)?;
        if !self.unseen.is_empty() {
            write!(out, " (not seen: {})", self.unseen.join(", "))?;
        }
        Ok(())
    }
}
