//! The processor: clocks, sleep and shares of it.

use crate::{
    host::{Reading, cgroup},
    setting::{Demand, Rule, Scene, Source, Spot, Want},
};

/// Waking from a deeper sleep than this shows in a 99.9th percentile of tens of microseconds.
const WAKE_MICROSECONDS: u64 = 50;

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/cpu-quota.md"),
        read: Source::Made(read_quota),
        want: |scene| {
            let cpus = u64::from(scene.facts.cpus);
            Want::new(Demand::AtLeast(cpus * 100), format!("{cpus} shards × 100 % of a CPU"))
        },
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/governor.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::OneOf(&["performance", "schedutil"]), "performance"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/c-states.md"),
        read: Source::Made(read_deepest_sleep),
        want: |_| Want::new(Demand::AtMost(WAKE_MICROSECONDS), "µs to wake from the deepest state allowed"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/clocksource.md"),
        read: Source::Files,
        want: |_| {
            let quick = &["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];
            Want::new(Demand::OneOf(quick), "one that is read without a system call")
        },
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/numa-balancing.md"),
        read: Source::Files,
        want: want_numa,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/mitigations.md"),
        read: Source::Made(read_mitigations),
        want: |_| Want::new(Demand::Nothing, "mitigations in force; never changed from here"),
        holds: None,
    },
];

fn want_numa(scene: &Scene<'_>) -> Want {
    if scene.facts.numa_nodes < 2 {
        return Want::new(Demand::Nothing, "one node: of no effect");
    }
    Want::new(Demand::AtMost(0), format!("0: {} nodes, and shards are pinned", scene.facts.numa_nodes))
}

/// The least quota on the way up, in per cent of one CPU.
fn read_quota(scene: &Scene<'_>) -> Vec<Spot> {
    let mut least: Option<(u64, Spot)> = None;
    for bound in cgroup::bounds(scene.host, "cpu", "cpu.max", "cpu.cfs_quota_us") {
        let period = scene.host.number(&bound.path.replace("cfs_quota_us", "cfs_period_us"));
        let legacy_period = period.value().copied().unwrap_or(100_000);
        let (order, reading) = match quota_percent(&bound.text, legacy_period) {
            Ok(u64::MAX) => (u64::MAX, Reading::Value("unlimited".to_owned())),
            Ok(percent) => (percent, Reading::Value(percent.to_string())),
            Err(reason) => (0, Reading::Unreadable(reason)),
        };
        if least.as_ref().is_none_or(|(percent, _)| order < *percent) {
            least = Some((order, Spot::new(bound.path, reading)));
        }
    }
    vec![least.map_or_else(|| Spot::new("cpu.max", Reading::Missing), |(_, spot)| spot)]
}

/// Version 2 writes `200000 100000` or `max 100000`; version 1 a quota alone, −1 for none.
fn quota_percent(text: &str, legacy_period: u64) -> Result<u64, String> {
    let (quota, period) = text.split_once(' ').unwrap_or((text, ""));
    if quota == "max" || quota == "-1" {
        return Ok(u64::MAX);
    }
    let period = period.parse().unwrap_or(legacy_period).max(1);
    quota.parse::<u64>().map(|quota| quota * 100 / period).map_err(|_| format!("`{text}` is no quota"))
}

fn read_deepest_sleep(scene: &Scene<'_>) -> Vec<Spot> {
    let mut deepest: Option<u64> = None;
    let folder = "/sys/devices/system/cpu/cpu0/cpuidle";
    for path in scene.host.expand(&format!("{folder}/state*/latency")) {
        let disabled = scene.host.number(&path.replace("/latency", "/disable"));
        match scene.host.number(&path) {
            _ if disabled == Reading::Value(1) => {}
            Reading::Value(latency) => deepest = deepest.max(Some(latency)),
            Reading::Missing => {}
            Reading::Unreadable(reason) => return vec![Spot::new(path, Reading::Unreadable(reason))],
        }
    }
    let reading = deepest.map_or(Reading::Missing, |latency| Reading::Value(latency.to_string()));
    vec![Spot::new(folder, reading)]
}

fn read_mitigations(scene: &Scene<'_>) -> Vec<Spot> {
    let folder = "/sys/devices/system/cpu/vulnerabilities";
    let names = scene.host.names(folder);
    let mut in_force = 0;
    for name in &names {
        match scene.host.read(&format!("{folder}/{name}")) {
            Reading::Value(text) => in_force += u64::from(text.starts_with("Mitigation")),
            Reading::Missing => {}
            Reading::Unreadable(reason) => return vec![Spot::new(folder, Reading::Unreadable(reason))],
        }
    }
    let reading = if names.is_empty() { Reading::Missing } else { Reading::Value(in_force.to_string()) };
    vec![Spot::new(folder, reading)]
}

#[cfg(test)]
mod tests {
    use super::quota_percent;

    #[test]
    fn both_versions_quotas_are_read_as_per_cent_of_a_cpu() {
        assert_eq!(quota_percent("200000 100000", 1), Ok(200));
        assert_eq!(quota_percent("50000", 100_000), Ok(50));
        assert_eq!(quota_percent("max 100000", 1), Ok(u64::MAX));
        assert_eq!(quota_percent("-1", 100_000), Ok(u64::MAX));
        assert!(quota_percent("many", 1).is_err());
    }
}
