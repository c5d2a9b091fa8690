//! Queues that a burst of connections goes through before the program sees it.

use crate::{
    host::{Counters, Reading, counters},
    setting::{
        Demand, Rule, Scene, Source, Spot, Want,
        demand::{GROWN_IN, grouped},
    },
};

/// One connection in sixteen may arrive while a shard is busy with something else.
const BURST_DIVISOR: u64 = 16;
/// The kernel's own default since 5.4 is a floor nobody regrets.
const BACKLOG_MIN: u64 = 4_096;
/// Kernels before 5.0 kept the backlog in 16 bits.
const BACKLOG_MAX: u64 = 65_535;

/// The backlog that each of `shards` listeners needs for a storm of `target` connections.
pub fn backlog_for(target: u64, shards: u64) -> u64 {
    super::power_of_two(target / BURST_DIVISOR / shards.max(1)).clamp(BACKLOG_MIN, BACKLOG_MAX)
}

/// What the accept queues of `shards` listeners lack for `target` connections, if anything: the queue that each needs,
/// where the kernel's bound is below it. What a program asks for beyond its need may be capped without harm.
pub fn backlog_shortfall(target: u64, shards: u64, somaxconn: u64) -> Option<u64> {
    let needed = backlog_for(target, shards);
    (somaxconn < needed).then_some(needed)
}

pub const RULES: &[Rule] = &[
    Rule {
        source: include_str!("../../settings/somaxconn.md"),
        read: Source::Files,
        want: want_backlog,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/listen-backlog.md"),
        read: Source::Made(read_listen_overflows),
        want: |_| Want::new(Demand::NoGrowth, "connections that found an accept queue full, now"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/syn-backlog.md"),
        read: Source::Files,
        want: want_backlog,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/syncookies.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtLeast(1), "1: only when the queue is full"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/abort-on-overflow.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtMost(0), "0: drop, and let the client try again"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/migrate-req.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtLeast(1), "1"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/ehash.md"),
        read: Source::Made(read_buckets),
        want: want_buckets,
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/conntrack.md"),
        read: Source::Made(read_conntrack),
        want: want_conntrack,
        holds: Some(|_, value| value.parse::<u64>().ok().map(|most| most / 2)),
    },
    Rule {
        source: include_str!("../../settings/softnet.md"),
        read: Source::Made(read_softnet_drops),
        want: |_| Want::new(Demand::NoGrowth, "packets that did not fit into a CPU's input queue, now"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/timestamps.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtLeast(1), "1"),
        holds: None,
    },
    Rule {
        source: include_str!("../../settings/neighbours.md"),
        read: Source::Files,
        want: |_| Want::new(Demand::AtLeast(1_024), "1024; more only for clients on the same link"),
        holds: None,
    },
];

fn want_backlog(scene: &Scene<'_>) -> Want {
    let (target, shards) = (scene.goal.target, u64::from(scene.facts.cpus));
    let formula = format!(
        "next power of two ≥ {} / {BURST_DIVISOR} / {shards} shards, {BACKLOG_MIN} to {BACKLOG_MAX}",
        grouped(target),
    );
    Want::new(Demand::AtLeast(backlog_for(target, shards)), formula)
}

/// Four connections to a bucket cost one or two cache misses more than one does.
fn want_buckets(scene: &Scene<'_>) -> Want {
    let formula = format!("{} / 4 per bucket, as a power of two", grouped(scene.goal.target));
    Want::new(Demand::AtLeast(super::power_of_two(scene.goal.target / 4)), formula)
}

fn want_conntrack(scene: &Scene<'_>) -> Want {
    let formula = format!("{} × 2, for entries that outlive their connection", grouped(scene.goal.target));
    Want::new(Demand::AtLeast(scene.goal.target * 2), formula)
}

/// A namespace without a table of its own shows the number with a minus.
fn read_buckets(scene: &Scene<'_>) -> Vec<Spot> {
    let path = "/proc/sys/net/ipv4/tcp_ehash_entries";
    let reading = scene.host.read(path).and_then(|text| Ok(text.trim_start_matches('-').to_owned()));
    vec![Spot::new(path, reading)]
}

/// A table in which nothing is counted while sockets exist is not consulted: no rule of this host asks for it.
fn read_conntrack(scene: &Scene<'_>) -> Vec<Spot> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    let tracked = scene.host.number("/proc/sys/net/netfilter/nf_conntrack_count");
    let reading = match (scene.host.read(path), tracked) {
        (Reading::Value(_), Reading::Value(0)) => Reading::Missing,
        (reading, _) => reading,
    };
    vec![Spot::new(path, reading)]
}

fn read_listen_overflows(scene: &Scene<'_>) -> Vec<Spot> {
    vec![growth(scene, "netstat", "TcpExt.ListenOverflows")]
}

fn read_softnet_drops(scene: &Scene<'_>) -> Vec<Spot> {
    vec![growth(scene, "softnet_stat", "softnet.dropped")]
}

/// How much a counter has grown since the host was first looked at; where it was looked at once, only what it is.
fn growth(scene: &Scene<'_>, file: &str, name: &str) -> Spot {
    let path = counters::net_path(scene.host, file);
    let reading = scene.host.read_raw(&path).and_then(|_| {
        let now = Counters::read(scene.host);
        let total = now.get(name).ok_or_else(|| format!("no counter {name}"))?;
        Ok(match scene.host.earlier() {
            Some(earlier) => {
                let (growth, seconds) = (now.growth_since(earlier, name), now.seconds_since(earlier));
                format!("{growth}{GROWN_IN}{seconds:.0} s, {total} since boot")
            }
            None => format!("{total} since boot"),
        })
    });
    Spot::new(path, reading)
}

#[cfg(test)]
mod tests {
    use super::{backlog_for, backlog_shortfall};

    #[test]
    fn the_kernels_default_is_enough_until_a_storm_needs_more() {
        assert_eq!(backlog_shortfall(120_000, 2, 4_096), None);
        assert_eq!(backlog_shortfall(120_000, 2, 4_095), Some(4_096));
        assert_eq!(backlog_shortfall(1_000_000, 8, 4_096), Some(8_192));
        assert_eq!(backlog_shortfall(1_000_000, 8, 8_192), None);
    }

    #[test]
    fn the_backlog_stays_between_the_default_and_sixteen_bits() {
        assert_eq!(backlog_for(1_000, 2), 4_096);
        assert_eq!(backlog_for(1_000_000, 8), 8_192);
        assert_eq!(backlog_for(1_000_000, 4), 16_384);
        assert_eq!(backlog_for(100_000_000, 2), 65_535);
    }
}
