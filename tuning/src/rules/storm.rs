//! Queues that a burst of connections goes through before the program sees it.

use crate::{
    host::Reading,
    setting::{Demand, Rule, Scene, Source, Spot, Want, demand::grouped},
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
        want: |_| Want::new(Demand::AtMost(0), "accept-queue overflows since boot"),
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
        want: |_| Want::new(Demand::AtMost(0), "packets dropped from a CPU's input queue since boot"),
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
    let path = "/proc/net/netstat";
    let reading = scene.host.read_raw(path).and_then(|text| {
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
        let (Some(names), Some(values)) = (rows.next(), rows.next()) else {
            return Err("no rows TcpExt".to_owned());
        };
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let overflows = pairs.find(|(name, _)| *name == "ListenOverflows");
        overflows.map(|(_, count)| count.to_owned()).ok_or_else(|| "no counter ListenOverflows".to_owned())
    });
    vec![Spot::new(path, reading)]
}

/// One row per CPU; the second field counts what did not fit into `net.core.netdev_max_backlog`.
fn read_softnet_drops(scene: &Scene<'_>) -> Vec<Spot> {
    let path = "/proc/net/softnet_stat";
    let reading = scene.host.read_raw(path).and_then(|text| {
        let mut dropped = 0;
        for row in text.lines() {
            let field = row.split_whitespace().nth(1).ok_or_else(|| format!("row `{row}` is short"))?;
            dropped += u64::from_str_radix(field, 16).map_err(|_| format!("`{field}` is not hexadecimal"))?;
        }
        Ok(dropped.to_string())
    });
    vec![Spot::new(path, reading)]
}

#[cfg(test)]
mod tests {
    use super::backlog_for;

    #[test]
    fn the_backlog_stays_between_the_default_and_sixteen_bits() {
        assert_eq!(backlog_for(1_000, 2), 4_096);
        assert_eq!(backlog_for(1_000_000, 8), 8_192);
        assert_eq!(backlog_for(1_000_000, 4), 16_384);
        assert_eq!(backlog_for(100_000_000, 2), 65_535);
    }
}
