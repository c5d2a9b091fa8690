//! Artefacts to paste or ship: the same values as `tune apply` would reach, in the language of other tools.
//!
//! Rendering reads the host, so that no artefact lowers what this host already has; it writes nothing but the files it
//! is asked for. What is rendered is whole: a server that is started by it listens, can be reached, and is asked
//! whether it is well.

mod docker;
mod kubernetes;
mod network_card;
mod seccomp;
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
    /// User data for a cloud instance; takes --binary
    CloudInit,
    /// Commands for the network card
    Ethtool,
    /// A Compose file, the seccomp profile, and the image's Dockerfile unless --image names one: for --out
    Docker,
    /// Everything for `kubectl apply`: what the node needs, the server, its service; takes --image
    Kubernetes,
}

/// Where an artefact gets the program from, since nobody publishes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The image's name, as whoever built and pushed it called it.
    pub image: Option<&'a str>,
    /// Where an instance downloads the program.
    pub binary: Option<&'a str>,
}

/// A file of an artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: String,
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
    /// Whether more is better, so that another host's greater value must stay.
    pub only_raises: bool,
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

/// Renders an artefact for the scene's goal; the error says what has to be told besides.
pub fn render(artefact: Artefact, scene: &Scene<'_>, origin: Origin<'_>) -> Result<Vec<File>, &'static str> {
    let one = |name, text| vec![File { name, text }];
    let (takes_image, takes_binary) = match artefact {
        Artefact::Docker | Artefact::Kubernetes => (true, false),
        Artefact::CloudInit => (false, true),
        Artefact::Sysctl | Artefact::Systemd | Artefact::Ethtool => (false, false),
    };
    if origin.image.is_some() && !takes_image {
        return Err(IMAGE_UNUSED);
    }
    if origin.binary.is_some() && !takes_binary {
        return Err(BINARY_UNUSED);
    }
    Ok(match artefact {
        Artefact::Sysctl => one("90-roadstead.conf", sysctl(scene)),
        Artefact::Systemd => one("roadstead.service", unit::service(scene)),
        Artefact::CloudInit => {
            one("user-data.yaml", unit::cloud_init(scene, origin.binary.ok_or(NO_BINARY)?))
        }
        Artefact::Ethtool => one("network-card.sh", network_card::commands(scene)),
        Artefact::Docker => docker::files(scene, origin.image),
        Artefact::Kubernetes => {
            one("roadstead.yaml", kubernetes::manifest(scene, origin.image.ok_or(NO_IMAGE)?))
        }
    })
}

const IMAGE_UNUSED: &str = "\
--image is for docker and kubernetes; nothing else runs an image";
const BINARY_UNUSED: &str = "\
--binary is for cloud-init; a unit starts the program in /usr/local/bin, and an image has it";
const NO_BINARY: &str = "\
an instance has to get the program from somewhere, and nobody publishes it: put what `cargo build --release` made where \
your instances reach it, and name it with --binary https://…";
const NO_IMAGE: &str = "\
no registry has an image: build one with what `render docker --out .` writes into a checkout, push it, and name it with \
--image REGISTRY/roadstead:TAG";

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
        let demand = setting.want(scene).demand;
        if !is_file || !is_due || demand == Demand::Nothing {
            continue;
        }
        let finding = verdict::judge(&setting, scene);
        let may_choose = is_named && demand.is_choice();
        if finding.remedy == Remedy::Ask && !may_choose {
            continue;
        }
        for place in finding.places {
            let set = place.current.filter(|_| place.is_set);
            if let Some(value) = place.replacement.or(set) {
                assignments.push(Assignment {
                    id: text.id,
                    why: text.why,
                    path: place.place,
                    value,
                    is_per_namespace: text.scope == setting::Scope::Network,
                    only_raises: demand.only_raises(),
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
    let assignments = assignments(scene, &[]);
    let named: Vec<(String, &Assignment)> =
        assignments.iter().filter_map(|one| Some((one.sysctl_name()?, one))).collect();
    if named.is_empty() {
        text += "# Nothing falls short here, and nobody has set anything: no value needs to be set.\n";
    }
    for (name, assignment) in named {
        text += &format!("\n# {}: {}\n{name} = {}\n", assignment.id, assignment.why, assignment.value);
        if let Some(module) = assignment.module() {
            text += &format!(
                "# At boot this needs the module first: echo {module} > /etc/modules-load.d/90-roadstead.conf\n"
            );
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

/// Over how long a stopping server tells its clients to go: short enough for a person who waits for the restart.
const DRAIN_MS: u64 = 30_000;
/// What a stop may take: the drain, and what it may take beyond before it is killed.
const STOP_SECONDS: u64 = DRAIN_MS / 1_000 + 15;

fn heading(scene: &Scene<'_>, file: &str) -> String {
    format!(
        "# {file}: {} connections, profile {}.\n# Made by `roadstead tune render`; `roadstead tune explain ID` says more of each value.\n",
        grouped(scene.goal.target),
        scene.goal.profile.name(),
    )
}

/// Lines moved to the right, as a block of YAML.
fn indented(text: &str, columns: usize) -> String {
    let indent = " ".repeat(columns);
    text.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{indent}{line}\n") })
        .collect()
}
