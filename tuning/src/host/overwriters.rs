//! Programs that will set a value again, whatever is written now: tuned, bpftune, the agents of clouds and clusters.
//!
//! Files that do so at boot are `change::boot_order`.

use super::{Host, Reading};

/// One of them, found on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwriter {
    /// The program, and which part of it.
    pub name: String,
    /// The files that it sets: whole paths, or beginnings that end in `/`.
    pub places: Vec<String>,
    /// When it does.
    pub when: &'static str,
}

/// A program that is known to set values, by the name of its process, which the kernel cuts after 15 bytes.
struct Known {
    process: &'static str,
    name: &'static str,
    places: &'static [&'static str],
    when: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        process: "bpftune",
        name: "bpftune",
        places: &[
            "/proc/sys/net/ipv4/tcp_rmem",
            "/proc/sys/net/ipv4/tcp_wmem",
            "/proc/sys/net/ipv4/tcp_mem",
            "/proc/sys/net/ipv4/tcp_max_orphans",
            "/proc/sys/net/ipv4/tcp_congestion_control",
            "/proc/sys/net/core/netdev_max_backlog",
            "/proc/sys/net/ipv4/neigh/default/",
        ],
        when: "while it runs, by what it observes",
    },
    Known {
        process: "kube-proxy",
        name: "kube-proxy",
        places: &["/proc/sys/net/netfilter/nf_conntrack_max"],
        when: "when it starts, to --conntrack-max-per-core for each CPU",
    },
    Known {
        process: "google_guest_ag",
        name: "Google's guest agent",
        places: &["/proc/irq/", "/sys/class/net/"],
        when: "at boot, when it spreads queues over CPUs (google_set_multiqueue)",
    },
    Known {
        process: "irqbalance",
        name: "irqbalance",
        places: &["/proc/irq/"],
        when: "every ten seconds, by load",
    },
    Known {
        process: "power-profiles-",
        name: "power-profiles-daemon",
        places: &["/sys/devices/system/cpu/"],
        when: "whenever the power profile changes",
    },
    Known {
        process: "auto-cpufreq",
        name: "auto-cpufreq",
        places: &["/sys/devices/system/cpu/"],
        when: "while it runs",
    },
];
/// Places of tuned's profiles, first found wins.
const TUNED_FOLDERS: [&str; 4] =
    ["/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned"];
/// Profiles that include one another are followed as far as this.
const INCLUDES_MAX: usize = 8;

impl Overwriter {
    /// Whether it sets the file at `place`.
    pub fn sets(&self, place: &str) -> bool {
        self.places
            .iter()
            .any(|known| if known.ends_with('/') { place.starts_with(known) } else { place == known })
    }
}

/// Every one that runs on this host.
pub fn find(host: &Host) -> Vec<Overwriter> {
    let running = running(host);
    let runs = |process: &str| running.iter().any(|name| name == process);
    let known = KNOWN.iter().filter(|known| runs(known.process)).map(|known| Overwriter {
        name: known.name.to_owned(),
        places: known.places.iter().map(|place| (*place).to_owned()).collect(),
        when: known.when,
    });
    let mut found: Vec<Overwriter> = known.collect();
    if runs("tuned") {
        found.extend(tuned(host));
    }
    found
}

/// The names of all processes.
fn running(host: &Host) -> Vec<String> {
    let processes = host.names("/proc");
    let processes = processes.iter().filter(|name| name.starts_with(|sign: char| sign.is_ascii_digit()));
    processes.filter_map(|process| host.read(&format!("/proc/{process}/comm")).value().cloned()).collect()
}

/// What the active profile of tuned sets, with what it includes.
fn tuned(host: &Host) -> Option<Overwriter> {
    let active = host.read("/etc/tuned/active_profile").value().cloned()?;
    let mut places = Vec::new();
    let mut due: Vec<String> = active.split(' ').map(str::to_owned).collect();
    for _ in 0..INCLUDES_MAX {
        let Some(profile) = due.pop() else { break };
        for line in profile_lines(host, &profile) {
            match line {
                Line::Include(names) => due.extend(names),
                Line::Sysctl(key) => places.push(format!("/proc/sys/{}", key.replace('.', "/"))),
                Line::Other(place) => places.push(place),
            }
        }
    }
    let name = format!("tuned with its profile {active}");
    Some(Overwriter { name, places, when: "when it starts and whenever the profile changes" })
}

enum Line {
    Include(Vec<String>),
    Sysctl(String),
    Other(String),
}

fn profile_lines(host: &Host, profile: &str) -> Vec<Line> {
    let texts = TUNED_FOLDERS.iter().map(|folder| host.read_raw(&format!("{folder}/{profile}/tuned.conf")));
    let Some(text) = texts.filter_map(|reading| reading.value().cloned()).next() else { return Vec::new() };
    let mut section = "";
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with(['#', ';'])) {
            let (key, value) = (key.trim(), value.trim());
            match (section, key) {
                ("main", "include") => {
                    lines.push(Line::Include(value.split([',', ' ']).map(str::to_owned).collect()));
                }
                ("sysctl", _) => lines.push(Line::Sysctl(key.to_owned())),
                ("cpu", _) => lines.push(Line::Other("/sys/devices/system/cpu/".to_owned())),
                ("vm", "transparent_hugepages") => {
                    lines.push(Line::Other("/sys/kernel/mm/transparent_hugepage/enabled".to_owned()));
                }
                (_, _) => {}
            }
        }
    }
    lines
}

/// What runs here and sets values, in words; `none` where nothing does.
pub fn words(host: &Host) -> Reading {
    if host.names("/proc").is_empty() {
        return Reading::Missing;
    }
    let names: Vec<String> = find(host).into_iter().map(|found| found.name).collect();
    Reading::Value(if names.is_empty() { "none".to_owned() } else { names.join(", ") })
}
