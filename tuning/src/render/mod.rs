//! Artefacts to paste or ship: the same values as `tune apply` would reach, in the language of other tools.
//!
//! Rendering reads the host, so that no artefact lowers what this host already has; it writes nothing.

mod containers;
mod network_card;
mod unit;

use crate::{
    rules,
    setting::{self, Apply, Demand, Layer, Scene, demand::grouped},
    verdict::{self, Remedy, Severity},
};

/// What can be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Artefact {
    /// A file for /etc/sysctl.d
    Sysctl,
    /// A hardened unit for `roadstead serve`
    Systemd,
    /// User data for a cloud instance
    CloudInit,
    /// Commands for the network card
    Ethtool,
    /// Flags for `docker run`, and a seccomp profile's change
    Docker,
    /// A pod with its sysctls, limits and what its node needs
    Kubernetes,
}

/// A value to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The setting's id.
    pub id: &'static str,
    /// One sentence.
    pub why: &'static str,
    /// The file that takes it.
    pub path: String,
    /// The value.
    pub value: String,
    /// Whether a network namespace has its own.
    pub is_per_namespace: bool,
}

impl Assignment {
    /// `net.core.somaxconn`; `None` for a file outside of `/proc/sys`.
    pub fn sysctl_name(&self) -> Option<String> {
        sysctl_name(&self.path)
    }

    /// The module that brings the file along, where it may be loaded later than the values are set.
    pub fn module(&self) -> Option<&'static str> {
        self.path.starts_with("/proc/sys/net/netfilter/nf_conntrack").then_some("nf_conntrack")
    }
}

fn sysctl_name(path: &str) -> Option<String> {
    path.strip_prefix("/proc/sys/").map(|name| name.replace('/', "."))
}

/// Renders an artefact for the scene's goal.
pub fn render(artefact: Artefact, scene: &Scene<'_>) -> String {
    match artefact {
        Artefact::Sysctl => sysctl(scene),
        Artefact::Systemd => unit::service(scene),
        Artefact::CloudInit => unit::cloud_init(scene),
        Artefact::Ethtool => network_card::commands(scene),
        Artefact::Docker => containers::docker(scene),
        Artefact::Kubernetes => containers::kubernetes(scene),
    }
}

/// Every value of a file that counts for the goal and is not the kernel's own: what is wanted where something falls
/// short, and what somebody, or an apply, has set already. Where settings are named, theirs alone, whether they count
/// or not.
pub fn assignments(scene: &Scene<'_>, only: &[String]) -> Vec<Assignment> {
    let mut assignments = Vec::new();
    for setting in setting::all() {
        let text = &setting.text;
        let is_file = text.apply == Apply::Runtime && text.layer != Layer::Rlimit;
        let is_named = only.iter().any(|id| id == text.id);
        let is_due = if only.is_empty() { verdict::counts(&setting, scene) } else { is_named };
        if !is_file || !is_due || setting.want(scene).demand == Demand::Nothing {
            continue;
        }
        let finding = verdict::judge(&setting, scene);
        let may_choose = is_named && setting.want(scene).demand.is_choice();
        if finding.remedy == Remedy::Ask && !may_choose {
            continue;
        }
        for place in finding.places {
            let set = place.current.filter(|_| place.is_set);
            if let Some(value) = place.replacement.or(set) {
                let is_per_namespace = text.scope == setting::Scope::Network;
                assignments.push(Assignment {
                    id: text.id,
                    why: text.why,
                    path: place.place,
                    value,
                    is_per_namespace,
                });
            }
        }
    }
    assignments
}

/// A line for each value that counts and cannot be seen from here, such as a host's from its container. It is a comment:
/// nobody knows whether the value would lower what is there.
fn unseen(scene: &Scene<'_>) -> String {
    let mut text = String::new();
    for setting in setting::all() {
        let finding = verdict::judge(&setting, scene);
        let Some(name) = sysctl_name(setting.text.reads) else { continue };
        if finding.severity == Severity::Unseen && setting.text.apply == Apply::Runtime {
            let wanted = setting.want(scene).demand.text();
            text +=
                &format!("# {}: not seen from here; where it is less: {name} = {wanted}\n", setting.text.id);
        }
    }
    text
}

/// A file for sysctl.d.
pub fn sysctl(scene: &Scene<'_>) -> String {
    let mut text = heading(scene, "/etc/sysctl.d/90-roadstead.conf");
    for assignment in assignments(scene, &[]) {
        if let Some(name) = assignment.sysctl_name() {
            text += &format!("\n# {}: {}\n{name} = {}\n", assignment.id, assignment.why, assignment.value);
        }
    }
    text + &unseen(scene)
}

/// A limit for the service's control group. Kernel memory is charged there too; half as much again is left to queues
/// and the program's heap, and 512 MiB to what does not grow with connections.
fn memory_mib(target: u64) -> u64 {
    let idle_bytes = target * (rules::KERNEL_BYTES + rules::POLL_BYTES + rules::USER_BYTES);
    idle_bytes * 3 / 2 / (1 << 20) + 512
}

fn heading(scene: &Scene<'_>, file: &str) -> String {
    format!(
        "# {file}: {} connections, profile {}.\n# Made by `roadstead tune render`; `roadstead tune explain ID` says more of each value.\n",
        grouped(scene.goal.target),
        scene.goal.profile.name(),
    )
}
