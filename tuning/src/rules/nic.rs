//! The network card: how many CPUs take its packets, and how many packets an interrupt stands for.

use crate::{
    host::{Reading, facts::listed},
    setting::{Demand, Rule, Scene, Source, Spot, Want},
};

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/nic-queues.md"),
        read: Source::Made(read_queues),
        want: |scene| {
            let cpus = u64::from(scene.facts.cpus);
            let formula = format!("one receive and one transmit queue for each of {cpus} CPUs");
            Want::new(Demand::AtLeast(cpus), formula)
        },
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/irq-affinity.md"),
        read: Source::Made(read_irq_cpus),
        want: want_irq_cpus,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/irqbalance.md"),
        read: Source::Made(read_irqbalance),
        want: |_| {
            Want::new(Demand::OneOf(&["not running"]), "not running where interrupts are placed by hand")
        },
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/rps.md"),
        read: Source::Made(read_receive_masks),
        want: want_rps,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/rfs.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(0), "0 while listeners are spread by SO_REUSEPORT"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/xps.md"),
        read: Source::Made(read_transmit_masks),
        want: |_| Want::new(Demand::SomeCpus(Vec::new()), "of queue i, each CPU whose number leaves i"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/coalescing.md"),
        read: Source::Made(read_gro_timeouts),
        want: |_| Want::new(Demand::Nothing, "ethtool -C; adaptive for throughput, 0 to 8 µs for latency"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/arfs.md"),
        read: Source::Nowhere,
        want: |_| Want::new(Demand::Nothing, "off while each shard has a listener of its own"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/busy-read.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(0), "0: it spins in read(2), which a ring does not call"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/busy-poll.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(0), "0: system-wide busy polling serves poll(2), not io_uring"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/congestion-control.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::Nothing, "cubic or bbr: a choice for lossy paths, not for density"),
        holds: None,
    },
];

fn want_irq_cpus(scene: &Scene<'_>) -> Want {
    let cpus = u64::from(scene.facts.cpus);
    let queues = scene.facts.nics.iter().map(|nic| u64::from(nic.receive_queues)).max().unwrap_or(1);
    let wanted = cpus.min(queues);
    Want::new(Demand::AtLeast(wanted), format!("least of {cpus} CPUs and {queues} receive queues"))
}

/// Spreading in software only replaces queues that a card does not have.
fn want_rps(scene: &Scene<'_>) -> Want {
    let cpus = scene.facts.cpus;
    let fewest = scene.facts.nics.iter().map(|nic| nic.receive_queues).min().unwrap_or(cpus);
    let formula = format!("{fewest} receive queue(s), {cpus} CPUs");
    if fewest >= cpus {
        return Want::new(Demand::Nothing, formula + ": not needed");
    }
    Want::new(Demand::Cpus(0..cpus), formula)
}

fn read_queues(scene: &Scene<'_>) -> Vec<Spot> {
    let mut spots = count_per_card(scene, "rx-*");
    spots.extend(count_per_card(scene, "tx-*"));
    spots
}

fn count_per_card(scene: &Scene<'_>, pattern: &str) -> Vec<Spot> {
    let names = scene.facts.nics.iter().map(|nic| &nic.name);
    names
        .map(|name| {
            let folder = format!("/sys/class/net/{name}/queues");
            let count = scene.host.expand(&format!("{folder}/{pattern}")).len();
            let reading =
                if count == 0 { unlisted(scene, &folder) } else { Reading::Value(count.to_string()) };
            Spot::new(format!("{folder}/{pattern}"), reading)
        })
        .collect()
}

/// A folder without queues is missing or is no folder we may list.
fn unlisted(scene: &Scene<'_>, folder: &str) -> Reading {
    match std::fs::read_dir(scene.host.path(folder)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Reading::Unreadable(error.to_string()),
        _ => Reading::Missing,
    }
}

/// The CPUs to which a card's interrupts go, counted; virtio cards hang their interrupts on the parent device.
fn read_irq_cpus(scene: &Scene<'_>) -> Vec<Spot> {
    let mut spots = Vec::new();
    for nic in &scene.facts.nics {
        let device = format!("/sys/class/net/{}/device", nic.name);
        let mut numbers = scene.host.names(&format!("{device}/msi_irqs"));
        if numbers.is_empty() {
            numbers = scene.host.names(&format!("{device}/../msi_irqs"));
        }
        let place = format!("interrupts of {}", nic.name);
        let mut cpus = Vec::new();
        let mut trouble = None;
        for number in numbers {
            match scene.host.read(&format!("/proc/irq/{number}/effective_affinity_list")) {
                Reading::Value(list) => cpus.extend(listed(&list)),
                Reading::Missing => {}
                Reading::Unreadable(reason) => trouble = Some(reason),
            }
        }
        cpus.sort_unstable();
        cpus.dedup();
        spots.push(Spot::new(
            place,
            match trouble {
                Some(reason) => Reading::Unreadable(reason),
                None if cpus.is_empty() => Reading::Missing,
                None => Reading::Value(cpus.len().to_string()),
            },
        ));
    }
    spots
}

fn read_irqbalance(scene: &Scene<'_>) -> Vec<Spot> {
    let mut found = Reading::Value("not running".to_owned());
    let processes = scene.host.names("/proc");
    for process in processes.iter().filter(|name| name.starts_with(|sign: char| sign.is_ascii_digit())) {
        match scene.host.read(&format!("/proc/{process}/comm")) {
            Reading::Value(name) if name == "irqbalance" => {
                return vec![Spot::new("process irqbalance", Reading::Value("running".to_owned()))];
            }
            Reading::Unreadable(reason) => found = Reading::Unreadable(reason),
            Reading::Value(_) | Reading::Missing => {}
        }
    }
    vec![Spot::new("process irqbalance", found)]
}

/// A card with a queue for each CPU needs no spreading, whatever the others need.
fn read_receive_masks(scene: &Scene<'_>) -> Vec<Spot> {
    let mut spots = Vec::new();
    for nic in &scene.facts.nics {
        let is_needed = nic.receive_queues < scene.facts.cpus;
        let demand = if is_needed { Demand::Cpus(0..scene.facts.cpus) } else { Demand::Nothing };
        for path in scene.host.expand(&format!("/sys/class/net/{}/queues/rx-*/rps_cpus", nic.name)) {
            spots.push(Spot::new(path.clone(), scene.host.read(&path)).asking(demand.clone()));
        }
    }
    spots
}

/// Queue *i* of *n* is for the CPUs *i*, *i* + *n*, …; a queue beyond the last CPU is for none.
fn read_transmit_masks(scene: &Scene<'_>) -> Vec<Spot> {
    let mut spots = Vec::new();
    for nic in &scene.facts.nics {
        let folder = format!("/sys/class/net/{}/queues", nic.name);
        let queues = scene.host.expand(&format!("{folder}/tx-*")).len();
        for index in 0..queues {
            let path = format!("{folder}/tx-{index}/xps_cpus");
            // The kernel refuses the file of a card's only queue with ENOENT.
            let reading = scene.host.read(&path);
            let cpus: Vec<u32> = (0..scene.facts.cpus).skip(index).step_by(queues).collect();
            let demand = if cpus.is_empty() { Demand::Nothing } else { Demand::SomeCpus(cpus) };
            spots.push(Spot::new(path, reading).asking(demand));
        }
    }
    spots
}

fn read_gro_timeouts(scene: &Scene<'_>) -> Vec<Spot> {
    let paths = scene.facts.nics.iter().map(|nic| format!("/sys/class/net/{}/gro_flush_timeout", nic.name));
    paths.map(|path| Spot::new(path.clone(), scene.host.read(&path))).collect()
}
