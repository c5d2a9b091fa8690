//! Descriptor limits: every connection is one.

use crate::{
    host::{Subject, limits},
    setting::{
        Demand, Rule, Scene, Source, Spot, Want,
        demand::{grouped, number},
    },
};

/// Listeners, rings, logs, and connections that are refused or still closing: never fewer than this.
const SLACK_MIN: u64 = 1024;
/// One descriptor in sixteen is left for sockets that are closing while their successors arrive.
const SLACK_DIVISOR: u64 = 16;
/// Standard streams, signal pipe, reading `/proc` for metrics, libraries' own; rounded up.
const RESERVE_OF_PROCESS: u64 = 64;
/// Descriptors of a shard: the executor's three rings and their eventfds, ours, the mesh's wakers; rounded up.
const RESERVE_PER_SHARD: u64 = 16;
/// Slots of one ring in which connections wait to be taken in or refused.
const RESERVE_MIN: u64 = 128;
/// Descriptors of everything else on the box, for the system-wide bound.
const OTHERS: u64 = 65_536;
/// Of a box so small that this is all it has, one file in sixteen.
const OTHERS_DIVISOR: u64 = 16;

/// Descriptors that a process needs for `target` connections.
pub fn descriptors_for(target: u64) -> u64 {
    target.saturating_add((target / SLACK_DIVISOR).max(SLACK_MIN))
}

/// Descriptors that a server with a ring per shard opens beside connections: never fewer than what one ring keeps to
/// accept and to refuse, which are 128.
pub fn descriptors_reserved(shards: u64, listeners: u64) -> u64 {
    (RESERVE_OF_PROCESS + shards * (RESERVE_PER_SHARD + listeners)).max(RESERVE_MIN)
}

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/nofile.md"),
        read: Source::Made(read_nofile),
        want: want_descriptors,
        holds: Some(holds_in_limit),
    },
    Rule {
        source: include_str!("../../settings/nr-open.md"),
        read: Source::Files,
        want: want_descriptors,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/file-max.md"),
        read: Source::Files,
        want: want_file_max,
        holds: Some(holds_in_file_max),
    },
    Rule {
        source: include_str!("../../settings/init-nofile.md"),
        read: Source::Made(read_init_nofile),
        want: want_descriptors,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/limits-conf.md"),
        read: Source::Made(read_limits_conf),
        want: |_| Want::new(Demand::OneOf(&["none"]), "no line that sets nofile: no service reads it"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/fd-table.md"),
        read: Source::Made(read_table_size),
        want: want_table_size,
        holds: None,
    },
];

fn want_descriptors(scene: &Scene<'_>) -> Want {
    let target = scene.goal.target;
    let needed = descriptors_for(target);
    let slack = needed - target;
    Want::new(Demand::AtLeast(needed), format!("{} + {} slack", grouped(target), grouped(slack)))
}

fn want_file_max(scene: &Scene<'_>) -> Want {
    let (needed, ends) = (descriptors_for(scene.goal.target), ends(scene));
    let both = if ends == 2 { " × 2 for the ends that this box opens" } else { "" };
    let formula = format!("{}{both} + {} of the rest", grouped(needed), grouped(OTHERS));
    Want::new(Demand::AtLeast(needed * ends + OTHERS), formula)
}

/// Open files of one connection on this box: a proxy, or a load generator beside its server, has two.
fn ends(scene: &Scene<'_>) -> u64 {
    1 + u64::from(scene.goal.is_client)
}

fn want_table_size(scene: &Scene<'_>) -> Want {
    let needed = super::power_of_two(descriptors_for(scene.goal.target));
    let formula = format!("next power of two ≥ {}", grouped(descriptors_for(scene.goal.target)));
    Want::new(Demand::AtLeast(needed), formula)
}

/// A server raises its soft limit itself, so the hard one is what bounds it.
fn read_nofile(scene: &Scene<'_>) -> Vec<Spot> {
    hard_limit(scene, &scene.host.process_folder())
}

fn read_init_nofile(scene: &Scene<'_>) -> Vec<Spot> {
    hard_limit(scene, "/proc/1")
}

fn hard_limit(scene: &Scene<'_>, folder: &str) -> Vec<Spot> {
    let limit = limits::limit(scene.host, folder, "Max open files");
    vec![Spot::new(format!("{folder}/limits"), limit.and_then(|limit| Ok(limit.hard.to_string())))]
}

fn read_limits_conf(scene: &Scene<'_>) -> Vec<Spot> {
    let mut files = vec!["/etc/security/limits.conf".to_owned()];
    files.extend(scene.host.expand("/etc/security/limits.d/*.conf"));
    let count = |text: String| {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let setting = lines.filter(|line| line.split_whitespace().any(|word| word == "nofile"));
        Ok(match setting.count() {
            0 => "none".to_owned(),
            1 => "1 line".to_owned(),
            count => format!("{count} lines"),
        })
    };
    files
        .into_iter()
        .map(|path| Spot::new(path.clone(), scene.host.read_raw(&path).and_then(count)))
        .collect()
}

/// Only a server's table says anything; ours is that of a tool about to exit.
fn read_table_size(scene: &Scene<'_>) -> Vec<Spot> {
    if !matches!(scene.host.subject(), Subject::Server(_)) {
        return Vec::new();
    }
    let path = format!("{}/status", scene.host.process_folder());
    let size = scene.host.read_raw(&path).and_then(|text| {
        let row = text.lines().find_map(|line| line.strip_prefix("FDSize:"));
        row.map(|size| size.trim().to_owned()).ok_or_else(|| "no row FDSize".to_owned())
    });
    vec![Spot::new(path, size)]
}

/// What fits, without slack; with one shard per CPU and one listener, as `roadstead serve` counts it.
fn holds_in_limit(scene: &Scene<'_>, value: &str) -> Option<u64> {
    let reserve = descriptors_reserved(scene.facts.cpus.into(), 1);
    number(value).ok().map(|most| if most == u64::MAX { most } else { most.saturating_sub(reserve) })
}

fn holds_in_file_max(scene: &Scene<'_>, value: &str) -> Option<u64> {
    let most = number(value).ok()?;
    let others = OTHERS.min(most / OTHERS_DIVISOR);
    holds_in_limit(scene, &((most - others) / ends(scene)).to_string())
}

#[cfg(test)]
mod tests {
    use super::{descriptors_for, descriptors_reserved};

    #[test]
    fn a_million_connections_need_more_than_the_default_nr_open() {
        assert!(descriptors_for(1_000_000) > 1_048_576);
        assert!(descriptors_for(980_000) < 1_048_576);
    }

    #[test]
    fn the_slack_that_is_wanted_covers_what_is_reserved() {
        assert_eq!(descriptors_reserved(2, 1), 128);
        assert_eq!(descriptors_reserved(4, 1), 132);
        for (target, shards) in [(1, 1), (1_000, 32), (1_000_000, 256)] {
            assert!(
                descriptors_for(target) - target >= descriptors_reserved(shards, 2),
                "{target} on {shards}"
            );
        }
    }
}
