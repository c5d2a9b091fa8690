//! What io_uring needs of the kernel, of limits and of filters.

use crate::{
    host::{Reading, RingProbe, limits},
    setting::{Demand, Rule, Scene, Source, Spot, Want},
};

/// Kernels before 5.12 charge rings against `RLIMIT_MEMLOCK`; a ring of 4096 by 16384 entries is half a megabyte.
const RING_BYTES_PER_SHARD: u64 = 1 << 20;
/// The memory that the executor of a shard registers with its rings, which every kernel charges.
const REGISTERED_BYTES_PER_SHARD: u64 = 64 << 10;
/// glommio refuses to start an executor below this.
pub const LOCKED_BYTES_MIN: u64 = 512 << 10;

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/kernel-version.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::Version(6, 1), "6.1, the first with DEFER_TASKRUN"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/io-uring-disabled.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(0), "0"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/io-uring-filter.md"),
        read: Source::Made(read_filter),
        want: |_| Want::new(Demand::OneOf(&["allowed", "no filter"]), "io_uring_setup answers"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/memlock.md"),
        read: Source::Made(read_memlock),
        want: want_memlock,
        holds: None,
    },
];

/// Trying is the only way to know; where we cannot try, whether a filter is loaded is a hint.
fn read_filter(scene: &Scene<'_>) -> Vec<Spot> {
    let path = format!("{}/status", scene.host.process_folder());
    let reading = match scene.host.ring_probe() {
        RingProbe::Works => Reading::Value("allowed".to_owned()),
        RingProbe::Denied => Reading::Value("EPERM".to_owned()),
        RingProbe::Absent => Reading::Value("ENOSYS".to_owned()),
        RingProbe::NotAsked => scene.host.read_raw(&path).and_then(|text| {
            let mode = text.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
            match mode {
                Some("0") => Ok("no filter".to_owned()),
                Some("1" | "2") => Ok("filtered".to_owned()),
                _ => Err("no row Seccomp".to_owned()),
            }
        }),
    };
    vec![Spot::new(path, reading)]
}

/// Locked memory that a process with a shard per CPU needs.
pub fn locked_bytes_for(scene: &Scene<'_>) -> u64 {
    let (per_shard, _) = locked_per_shard(scene);
    (u64::from(scene.facts.cpus) * per_shard).max(LOCKED_BYTES_MIN)
}

fn want_memlock(scene: &Scene<'_>) -> Want {
    let (_, words) = locked_per_shard(scene);
    let words = format!("{} shards × {words}; glommio asks for 512 KiB at least", scene.facts.cpus);
    Want::new(Demand::AtLeast(locked_bytes_for(scene)), words)
}

fn locked_per_shard(scene: &Scene<'_>) -> (u64, &'static str) {
    if scene.facts.kernel_is_at_least(5, 12) {
        (REGISTERED_BYTES_PER_SHARD, "64 KiB that the executor registers")
    } else {
        let words = "(64 KiB that the executor registers + 1 MiB of rings, before 5.12)";
        (REGISTERED_BYTES_PER_SHARD + RING_BYTES_PER_SHARD, words)
    }
}

fn read_memlock(scene: &Scene<'_>) -> Vec<Spot> {
    let folder = scene.host.process_folder();
    let limit = limits::limit(scene.host, &folder, "Max locked memory");
    vec![Spot::new(format!("{folder}/limits"), limit.and_then(|limit| Ok(limit.hard.to_string())))]
}
