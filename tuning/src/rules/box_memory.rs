//! The box's memory arithmetic, and the control group's.

use crate::{
    host::{Reading, cgroup, facts::meminfo},
    setting::{
        Demand, Rule, Scene, Source, Spot, Want,
        demand::{grouped, number},
    },
};

/// What the kernel keeps per idle server-side connection: TCP 2368, inode 832, dentry 192, file 192, slab overhead.
/// Measured on Linux 6.18 by `tune prove receive-arming`.
pub const KERNEL_BYTES: u64 = 3_940;
/// One armed multishot poll.
pub const POLL_BYTES: u64 = 256;
/// What the server itself keeps per idle connection, allowed for.
pub const USER_BYTES: u64 = 512;
/// Left to the rest of the system: never less than this.
const RESERVE_MIN: u64 = 512 << 20;
/// Or one part in sixteen of the memory.
const RESERVE_DIVISOR: u64 = 16;
/// A control group's limit above this is no limit (version 1 prints a number near 2⁶³).
const UNLIMITED: u64 = 1 << 60;

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/memory.md"),
        read: Source::Made(|scene| vec![read_memory(scene)]),
        want: |scene| want_bytes(scene, reserve(scene)),
        holds: Some(|scene, value| holds_in(scene, value, reserve(scene))),
    },
    Rule {
        source: include_str!("../../settings/memory-max.md"),
        read: Source::Made(read_memory_max),
        want: |scene| want_bytes(scene, 0),
        holds: Some(|scene, value| holds_in(scene, value, 0)),
    },
];

/// Bytes that one connection takes, the share that has a page of queued data included.
fn bytes_per_connection(scene: &Scene<'_>) -> u64 {
    let queued = scene.facts.page_bytes * scene.goal.stalled_percent * 5 / 400;
    KERNEL_BYTES + POLL_BYTES + USER_BYTES + queued
}

fn reserve(scene: &Scene<'_>) -> u64 {
    (scene.facts.memory_bytes.unwrap_or(0) / RESERVE_DIVISOR).max(RESERVE_MIN)
}

fn want_bytes(scene: &Scene<'_>, reserve: u64) -> Want {
    let per_connection = bytes_per_connection(scene);
    let queued = per_connection - KERNEL_BYTES - POLL_BYTES - USER_BYTES;
    let formula = format!(
        "{} × ({KERNEL_BYTES} kernel + {POLL_BYTES} poll + {USER_BYTES} user + {queued} queued) + {} MB reserve",
        grouped(scene.goal.target),
        reserve >> 20,
    );
    Want::new(Demand::AtLeast(scene.goal.target * per_connection + reserve), formula)
}

fn holds_in(scene: &Scene<'_>, value: &str, reserve: u64) -> Option<u64> {
    let bytes = number(value).ok()?;
    (bytes < UNLIMITED).then(|| bytes.saturating_sub(reserve) / bytes_per_connection(scene))
}

fn read_memory(scene: &Scene<'_>) -> Spot {
    let reading = match meminfo(scene.host, "MemTotal:") {
        Some(bytes) => Reading::Value(bytes.to_string()),
        None => match scene.host.read_raw("/proc/meminfo") {
            Reading::Value(_) => Reading::Unreadable("no row MemTotal".to_owned()),
            other => other,
        },
    };
    Spot::new("/proc/meminfo", reading)
}

/// The least limit on the way up is the one that kills.
fn read_memory_max(scene: &Scene<'_>) -> Vec<Spot> {
    let bounds = cgroup::bounds(scene.host, "memory", "memory.max", "memory.limit_in_bytes");
    let spots: Vec<(u64, Spot)> = bounds
        .into_iter()
        .map(|bound| match number(&bound.text) {
            Ok(bytes) if bytes >= UNLIMITED => {
                (u64::MAX, Spot::new(bound.path, Reading::Value("max".to_owned())))
            }
            Ok(bytes) => (bytes, Spot::new(bound.path, Reading::Value(bound.text))),
            Err(reason) => (0, Spot::new(bound.path, Reading::Unreadable(reason))),
        })
        .collect();
    let least = spots.into_iter().min_by_key(|(bytes, _)| *bytes).map(|(_, spot)| spot);
    vec![least.unwrap_or_else(|| Spot::new("memory.max", unseen_group(scene)))]
}

fn unseen_group(scene: &Scene<'_>) -> Reading {
    match scene.host.read_raw(&format!("{}/cgroup", scene.host.process_folder())) {
        Reading::Unreadable(reason) => Reading::Unreadable(reason),
        Reading::Value(_) | Reading::Missing => Reading::Missing,
    }
}
