//! How connections are shared out among processes and source addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    engine::DESCRIPTORS_RESERVED,
    error::{Error, Result},
};

/// Connections from one source address to one target: a little less than the 28,232 ports of Linux's default
/// `net.ipv4.ip_local_port_range`, since other programs use some.
const PER_SOURCE_MAX: u64 = 25_000;
/// Connections from one loopback address, of which there are enough. The kernel tries ports at random until one is free,
/// and those of connections closed within the last minute are not: where most are taken it is the client that is slow.
const PER_LOOPBACK_SOURCE: u64 = 2_000;
/// The most worker processes.
const WORKERS_MAX: u64 = 256;

/// One worker's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Connections it opens.
    pub connections: u64,
    /// Addresses it opens them from, in turn; empty leaves the choice to the kernel.
    pub sources: Vec<IpAddr>,
}

/// What is to be shared out.
pub struct Demand<'a> {
    /// Connections in all.
    pub connections: u64,
    /// Processes asked for, if anybody asked.
    pub workers: Option<u64>,
    /// Source addresses asked for.
    pub sources: &'a [IpAddr],
    /// The server.
    pub target: SocketAddr,
    /// Connections one process's ring may hold.
    pub open_files_max: u64,
}

/// So many connections for each of so many machines, which choose their own addresses.
pub fn divide(connections: u64, machines: u64) -> Vec<Share> {
    let part = |index| connections / machines + u64::from(index < connections % machines);
    (0..machines).map(|index| Share { connections: part(index), sources: Vec::new() }).collect()
}

/// Shares the connections out, or says which flag makes it impossible.
pub fn share_out(demand: &Demand<'_>) -> Result<Vec<Share>> {
    let per_worker_max = demand.open_files_max.max(1);
    if demand.connections > per_worker_max * WORKERS_MAX {
        let needed = demand.connections.div_ceil(WORKERS_MAX) + DESCRIPTORS_RESERVED;
        return Err(Error::Argument {
            flag: "--connections",
            value: demand.connections.to_string(),
            accepted: format!(
                "at most {} here, in {WORKERS_MAX} processes of {per_worker_max}: the limit of open files says so. Raise \
                 it with `ulimit -n {needed}` (as root, or within `ulimit -Hn`)",
                per_worker_max * WORKERS_MAX
            ),
        });
    }
    let workers_min = demand.connections.div_ceil(per_worker_max).max(1);
    let workers = demand.workers.unwrap_or(workers_min);
    if workers < workers_min || workers > WORKERS_MAX.min(demand.connections.max(1)) {
        return Err(Error::Argument {
            flag: "--workers",
            value: workers.to_string(),
            accepted: format!(
                "{workers_min} to {} processes for {} connections, each process holding at most {per_worker_max}",
                WORKERS_MAX.min(demand.connections.max(1)),
                demand.connections
            ),
        });
    }
    let sources = sources(demand)?;
    let shares = (0..workers).map(|worker| Share {
        connections: demand.connections / workers + u64::from(worker < demand.connections % workers),
        sources: sources.clone(),
    });
    Ok(shares.collect())
}

/// The sources given, if they have ports enough; else, on loopback, an address per [`PER_LOOPBACK_SOURCE`] connections from
/// 127.0.0.2 on. None when one address, the kernel's choice, will do.
fn sources(demand: &Demand<'_>) -> Result<Vec<IpAddr>> {
    let needed = demand.connections.div_ceil(PER_SOURCE_MAX).max(1);
    if demand.sources.len() as u64 >= needed {
        return Ok(demand.sources.to_vec());
    }
    let on_loopback = matches!(demand.target.ip(), IpAddr::V4(address) if address.is_loopback());
    let wanted = if on_loopback { demand.connections.div_ceil(PER_LOOPBACK_SOURCE).max(1) } else { needed };
    if demand.sources.is_empty() && wanted == 1 {
        return Ok(Vec::new());
    }
    if demand.sources.is_empty() && on_loopback {
        let first = u32::from(Ipv4Addr::new(127, 0, 0, 2));
        return Ok((0..wanted as u32).map(|index| IpAddr::V4(Ipv4Addr::from(first + index))).collect());
    }
    Err(Error::Argument {
        flag: "--sources",
        value: demand.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        accepted: format!(
            "at least {needed} local addresses for {} connections, each having ports for {PER_SOURCE_MAX}",
            demand.connections
        ),
    })
}

impl Share {
    /// The address of the `index`th connection.
    pub fn source(&self, index: u64) -> Option<IpAddr> {
        let count = self.sources.len() as u64;
        (count > 0).then(|| self.sources[(index % count) as usize])
    }
}

/// The shares of threads in a sentence.
pub fn describe_threads(shares: &[Share]) -> String {
    describe(shares).replace("processes", "threads").replace("process", "thread")
}

/// The shares of processes in a sentence.
pub fn describe(shares: &[Share]) -> String {
    let sources: std::collections::BTreeSet<_> = shares.iter().flat_map(|share| &share.sources).collect();
    let processes = if shares.len() == 1 { "process" } else { "processes" };
    match (sources.first(), sources.last()) {
        (Some(first), Some(last)) => {
            format!("{} {processes}, {} source addresses {first} to {last}", shares.len(), sources.len())
        }
        _ => format!("{} {processes}, the kernel's choice of source address", shares.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(connections: u64, workers: Option<u64>) -> Result<Vec<Share>> {
        let target = "127.0.0.1:80".parse().unwrap();
        share_out(&Demand { connections, workers, sources: &[], target, open_files_max: 19_936 })
    }

    #[test]
    fn a_few_connections_need_one_process_and_no_address() {
        let shares = plan(2_000, None).unwrap();
        assert_eq!(shares, [Share { connections: 2_000, sources: vec![] }]);
        assert_eq!(shares[0].source(3), None);
    }

    #[test]
    fn many_connections_get_processes_and_addresses_enough() {
        for connections in [2_001, 19_936, 19_937, 100_000, 1_000_000] {
            let shares = plan(connections, None).unwrap();
            assert_eq!(shares.iter().map(|share| share.connections).sum::<u64>(), connections);
            let mut per_source = std::collections::HashMap::new();
            for share in &shares {
                assert!(share.connections <= 19_936);
                for index in 0..share.connections {
                    *per_source.entry(share.source(index)).or_insert(0) += 1;
                }
            }
            // Every worker begins with the first.
            assert!(per_source.values().all(|count| *count <= 2_100), "{connections}: {per_source:?}");
        }
    }

    #[test]
    fn too_few_processes_or_addresses_are_refused_by_flag() {
        let flag = |result: Result<_>| match result {
            Err(Error::Argument { flag, .. }) => flag,
            _ => "none",
        };
        assert_eq!(flag(plan(20_000, Some(1))), "--workers");
        assert_eq!(flag(plan(19_936 * WORKERS_MAX, None)), "none");
        let refusal = plan(19_936 * WORKERS_MAX + 1, None).unwrap_err().to_string();
        assert!(refusal.contains("--connections 5103617") && refusal.contains("ulimit -n"), "{refusal}");
        assert_eq!(flag(plan(19_936, Some(1))), "none");
        assert_eq!(flag(plan(1, Some(2))), "--workers");
        let target = "10.0.0.1:80".parse().unwrap();
        let demand =
            Demand { connections: 25_001, workers: None, sources: &[], target, open_files_max: 19_936 };
        assert_eq!(flag(share_out(&demand)), "--sources");
    }
}
