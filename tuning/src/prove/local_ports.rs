//! Local ports: a connect past half of the range searches longer, and a bound address without
//! `IP_BIND_ADDRESS_NO_PORT` spends a port for all destinations.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd,
    time::Instant,
};

use socket2::Socket;

use super::{Arm, Experiment, Measure, Reach, Trial, Trouble, arena};
use crate::sys::net;

/// A range small enough to fill below the usual limits on open files.
const PORTS: usize = 8_000;
const FIRST_PORT: usize = 20_000;
/// The range of the second part, where two destinations shall share the ports.
const PORTS_SHARED: usize = 1_000;

pub const EXPERIMENT: Experiment = Experiment {
    id: "local-ports",
    question: "connecting from one address to one destination until a range of 8,000 ports is full; µs per connect",
    reach: Reach::Namespace,
    run,
};

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    // The short part first, so that a slow box has its result whatever is left for the long one.
    let binds = [("bind to address and port 0", false), ("the same with IP_BIND_ADDRESS_NO_PORT", true)];
    let counts = trial.alternate(&binds, connect_bound)?;
    let fills = trial.alternate(&[("filling the range", ())], fill)?;
    let sections: [(&'static str, usize, usize); 4] = [
        ("the first 40 % of the range", 0, 40),
        ("from 50 to 60 %", 50, 60),
        ("from 60 to 90 %", 60, 90),
        ("from 90 to 99 %", 90, 99),
    ];
    let arms = sections.map(|(name, from, to)| {
        let samples =
            fills[0].iter().map(|costs| mean(&costs[costs.len() * from / 100..costs.len() * to / 100]));
        Arm { name, samples: samples.collect() }
    });
    Ok(vec![
        Measure { name: "µs per connect", arms: arms.to_vec() },
        Measure::of("connections to two destinations, 1,000 ports", &binds, &counts, |count| *count),
    ])
}

/// The time of each connect until the range is full.
fn fill(_: ()) -> io::Result<Vec<f64>> {
    let ports = PORTS.min(arena::descriptors()?);
    prepare(ports)?;
    let (_listener, address) = arena::listener(65_535)?;
    let mut clients = Vec::with_capacity(ports);
    let mut costs = Vec::with_capacity(ports);
    loop {
        let client = arena::tcp()?;
        let begun = Instant::now();
        let result = client.connect(&address.into());
        let cost = begun.elapsed();
        match result {
            Ok(()) => costs.push(cost.as_secs_f64() * 1e6),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return Ok(costs),
            Err(error) => return Err(error),
        }
        clients.push(client);
    }
}

/// How many connections two destinations take before the ports run out.
fn connect_bound(defers: bool) -> io::Result<f64> {
    prepare(PORTS_SHARED)?;
    let destinations = [arena::listener(65_535)?, arena::listener(65_535)?];
    let mut clients = Vec::new();
    for (_, address) in &destinations {
        while let Some(client) = bound(defers, *address)? {
            clients.push(client);
        }
    }
    Ok(clients.len() as f64)
}

fn bound(defers: bool, to: SocketAddr) -> io::Result<Option<Socket>> {
    let client = arena::tcp()?;
    if defers {
        net::bind_without_port(client.as_fd())?;
    }
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match client.bind(&any_port.into()).and_then(|()| client.connect(&to.into())) {
        Ok(()) => Ok(Some(client)),
        Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Connections are never accepted: the queue is as long as the range, and no server's descriptor is spent.
fn prepare(ports: usize) -> io::Result<()> {
    arena::set("net/core/somaxconn", "65535")?;
    arena::set("net/ipv4/ip_local_port_range", &format!("{FIRST_PORT} {}", FIRST_PORT + ports - 1))
}

fn mean(costs: &[f64]) -> f64 {
    costs.iter().sum::<f64>() / costs.len().max(1) as f64
}
