//! How many connections this host holds as it is, and what stops it.
//!
//! The ceiling is the least of what the settings that bound a number of connections allow. What could not be read
//! does not count; it is named beside the number.

use std::fmt;

use serde::Serialize;

use crate::{
    host::{Facts, Host},
    setting::{self, Goal, Profile, Scene, demand::grouped},
    verdict::{self, Finding, Remedy, Severity},
};

/// The goal at which a start-up without a target looks.
const TARGET_ASSUMED: u64 = 10_000;
/// The one bound that is a hard wall known beforehand: above it a target is nonsense.
const WALL: &str = "nofile";

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

/// A target that cannot be, with the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for.
    pub target: u64,
    /// What there is.
    pub ceiling: Ceiling,
}

/// This host's ceiling for this process, judged for `target` connections.
pub fn ceiling(target: Option<u64>) -> Ceiling {
    let host = Host::live();
    let facts = Facts::of(&host);
    let goal = Goal::new(target.unwrap_or(TARGET_ASSUMED), Profile::Idle);
    of(&bounds(&Scene { host: &host, facts: &facts, goal: &goal }), false)
}

/// The ceiling for a server's one line at start-up; refuses a target above the hard limit on open files.
pub fn start_up(target: Option<u64>) -> Result<Ceiling, Refusal> {
    let host = Host::live();
    let facts = Facts::of(&host);
    let goal = Goal::new(target.unwrap_or(TARGET_ASSUMED), Profile::Idle);
    admit(target, &bounds(&Scene { host: &host, facts: &facts, goal: &goal }))
}

/// The least that `findings` allow, as they are or after `tune apply`.
pub fn of(findings: &[Finding], after_apply: bool) -> Ceiling {
    let holds = |finding: &Finding| if after_apply { finding.holds_after } else { finding.holds };
    let unseen =
        findings.iter().filter(|finding| finding.severity == Severity::Unseen && finding.holds.is_none());
    let unseen: Vec<&'static str> = unseen.map(|finding| finding.id).collect();
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

fn bounds(scene: &Scene<'_>) -> Vec<Finding> {
    let all = setting::all();
    let bounding = all.iter().filter(|setting| setting.rule.holds.is_some());
    bounding.map(|setting| verdict::judge(setting, scene)).collect()
}

fn admit(target: Option<u64>, findings: &[Finding]) -> Result<Ceiling, Refusal> {
    let wall: Vec<Finding> = findings.iter().filter(|finding| finding.id == WALL).cloned().collect();
    match target {
        Some(target) if of(&wall, false).connections < target => {
            Err(Refusal { target, ceiling: of(&wall, false) })
        }
        _ => Ok(of(findings, false)),
    }
}

fn cure(finding: &Finding) -> String {
    match &finding.remedy {
        Remedy::Elsewhere(words) => words.clone(),
        Remedy::Apply | Remedy::Ask | Remedy::None => {
            let text = setting::find(finding.id).map_or("", |setting| setting.text.cure);
            format!(
                "`roadstead tune apply`, or {}",
                text.replace("{wanted}", finding.wanted.trim_start_matches("≥ "))
            )
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

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ceiling = &self.ceiling;
        write!(
            out,
            "{} connections do not fit: {} is {}, which holds {}, and {} is needed; {}",
            grouped(self.target),
            ceiling.title,
            ceiling.current,
            grouped(ceiling.connections),
            grouped(crate::rules::descriptors_for(self.target)),
            ceiling.cure,
        )
    }
}

impl std::error::Error for Refusal {}
