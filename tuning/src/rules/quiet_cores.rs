//! What interrupts a core that should only serve: ticks, statistics, watchdogs, other programs, the card.

use crate::{
    host::overwriters,
    setting::{Demand, Rule, Scene, Source, Spot, Want},
};

/// From so many processors on, ticks at one moment meet at one lock.
const SKEWED_CPUS_MIN: u32 = 16;

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/overwriters.md"),
        read: Source::Made(|scene| vec![Spot::new("processes", overwriters::words(scene.host))]),
        want: |_| Want::new(Demand::OneOf(&["none"]), "no program that sets values again"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/irq-cores.md"),
        read: Source::Nowhere,
        want: |scene| Want::new(Demand::Nothing, irq_cores(scene)),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/isolation.md"),
        read: Source::Made(read_isolation),
        want: |_| Want::new(Demand::Nothing, "none, or the cores of the shards, named in `server.cpus`"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/timer-migration.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(0), "0: timers stay on the core that set them"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/nmi-watchdog.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(0), "0: no interrupt of the watchdog"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/stat-interval.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtLeast(10), "10 s between statistics of memory instead of 1"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/skew-tick.md"),
        read: Source::Made(read_skew),
        want: want_skew,
        holds: None,
    },
];

fn irq_cores(scene: &Scene<'_>) -> String {
    let cpus = scene.facts.cpus;
    let queues = scene.facts.nics.iter().map(|nic| nic.receive_queues).max().unwrap_or(1);
    if queues >= cpus {
        return format!("queue i and shard i on core i: {queues} queues, {cpus} cores");
    }
    format!(
        "{queues} queue(s) on the first core(s), shards on the other {}",
        cpus.saturating_sub(queues).max(1)
    )
}

fn read_isolation(scene: &Scene<'_>) -> Vec<Spot> {
    let read = |name: &str| {
        let path = format!("/sys/devices/system/cpu/{name}");
        // An empty list reads as nothing, and "(null)" stands for one in some kernels.
        let list = scene
            .host
            .read(&path)
            .and_then(|list| Ok(if list.is_empty() || list == "(null)" { "none".to_owned() } else { list }));
        Spot::new(path, list)
    };
    vec![read("isolated"), read("nohz_full")]
}

fn read_skew(scene: &Scene<'_>) -> Vec<Spot> {
    let path = "/proc/cmdline";
    let reading = scene.host.read(path).and_then(|line| {
        let value = line.split(' ').find_map(|word| word.strip_prefix("skew_tick="));
        Ok(value.unwrap_or("0").to_owned())
    });
    vec![Spot::new(path, reading)]
}

fn want_skew(scene: &Scene<'_>) -> Want {
    let cpus = scene.facts.cpus;
    if cpus < SKEWED_CPUS_MIN {
        return Want::new(Demand::Nothing, format!("{cpus} CPUs: of no effect below {SKEWED_CPUS_MIN}"));
    }
    Want::new(Demand::OneOf(&["1"]), format!("1: {cpus} CPUs tick at different moments"))
}
