//! What `tune apply` would change, and what it leaves and why.

use super::{
    journal::{LimitName, Target},
    start_ticks,
};
use crate::{
    host::{Host, Reading, Subject},
    setting::{self, Layer, Scene, Setting},
    verdict::{self, Finding, Place, Remedy, Severity},
};

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The setting's id.
    pub setting: &'static str,
    /// What is written to.
    pub target: Target,
    /// What it is now, settled.
    pub current: String,
    /// What is written.
    pub new: String,
}

/// The steps, and the shortfalls that are no step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are made: a limit comes after the ceiling that bounds it.
    pub steps: Vec<Step>,
    /// The id, and why it is left.
    pub left: Vec<(&'static str, String)>,
}

/// Plans for the settings in `only`, or for all that stop or hurt the goal.
pub fn plan(scene: &Scene<'_>, only: &[String]) -> Plan {
    let mut plan = Plan::default();
    for setting in setting::all() {
        let is_named = only.iter().any(|id| id == setting.text.id);
        if !only.is_empty() && !is_named {
            continue;
        }
        let finding = verdict::judge(&setting, scene);
        let is_due = matches!(finding.severity, Severity::Stops | Severity::Hurts) || is_named;
        match &finding.remedy {
            Remedy::Apply if is_due => plan.add(scene.host, &setting, &finding),
            Remedy::Ask if is_named && setting.want(scene).demand.is_choice() => {
                plan.add(scene.host, &setting, &finding)
            }
            Remedy::Ask if is_named => {
                plan.left.push((finding.id, "set by somebody, and not lowered".to_owned()))
            }
            Remedy::Ask if is_due => {
                let words = format!("set by somebody; `--only {}` if it shall change", finding.id);
                plan.left.push((finding.id, words));
            }
            Remedy::Elsewhere(words) if is_due => plan.left.push((finding.id, words.clone())),
            _ => {}
        }
    }
    plan.steps.sort_by_key(|step| matches!(step.target, Target::Limit { .. }));
    plan
}

impl Plan {
    fn add(&mut self, host: &Host, setting: &Setting, finding: &Finding) {
        for place in &finding.places {
            let Place { place, current: Some(current), replacement: Some(new), .. } = place else { continue };
            let step = if setting.text.layer == Layer::Rlimit {
                limit_step(host, setting, current, new)
            } else {
                let target = Target::File { path: place.clone() };
                Some(Step { setting: finding.id, target, current: current.clone(), new: new.clone() })
            };
            match step {
                Some(step) => self.steps.push(step),
                None => self.left.push((finding.id, "name a running process with --pid".to_owned())),
            }
        }
    }
}

/// A limit is set on a running process, which passes it on to what it starts.
fn limit_step(host: &Host, setting: &Setting, current: &str, new: &str) -> Option<Step> {
    let (Subject::Shell(pid) | Subject::Server(pid)) = host.subject() else { return None };
    let started = start_ticks(host, pid)?;
    let resource = if setting.text.id == "memlock" { LimitName::Memlock } else { LimitName::Nofile };
    let target = Target::Limit { pid, started, resource };
    // The soft limit stays: programs raise it themselves, and those that use select() must not have it raised.
    let Reading::Value(pair) = super::read(host, &target) else { return None };
    let (soft, _) = pair.split_once(':')?;
    Some(Step { setting: setting.text.id, target, current: current.to_owned(), new: format!("{soft}:{new}") })
}
