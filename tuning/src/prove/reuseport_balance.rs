//! How evenly connections fall on listeners of one port, by hash and by CPU.

use std::{io, os::fd::AsFd};

use super::{Experiment, Measure, Reach, Trial, Trouble, arena};
use crate::sys::{self, net};

const CONNECTIONS: usize = 8_000;

pub const EXPERIMENT: Experiment = Experiment {
    id: "reuseport-balance",
    question: "8,000 connections from one client over SO_REUSEPORT listeners; how far the fullest is above the mean",
    reach: Reach::Namespace,
    run,
};

#[derive(Clone, Copy)]
struct Group {
    listeners: usize,
    is_steered: bool,
}

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let arms = [
        ("2 listeners, by hash", Group { listeners: 2, is_steered: false }),
        ("8 listeners, by hash", Group { listeners: 8, is_steered: false }),
        ("64 listeners, by hash", Group { listeners: 64, is_steered: false }),
        ("2 listeners, by CPU, client on one CPU", Group { listeners: 2, is_steered: true }),
    ];
    let samples = trial.alternate(&arms, connect)?;
    Ok(vec![Measure::of("fullest listener above the mean, %", &arms, &samples, |excess| *excess)])
}

fn connect(group: Group) -> io::Result<f64> {
    arena::set("net/core/somaxconn", "65535")?;
    arena::set("net/ipv4/ip_local_port_range", "1024 65535")?;
    let connections = arena::pairs_that_fit(CONNECTIONS)?;
    let (listeners, address) = arena::listeners(group.listeners, 65_535)?;
    if group.is_steered {
        net::steer_by_cpu(listeners[0].as_fd())?;
    }
    // Over loopback the client's CPU handles the SYN, as one receive queue's CPU does for a card.
    sys::pin_to(0)?;
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let client = arena::tcp()?;
        client.connect(&address.into())?;
        clients.push(client);
    }
    let counts: Vec<usize> = listeners.iter().map(arena::queued).collect::<io::Result<_>>()?;
    let mean = connections as f64 / group.listeners as f64;
    let fullest = counts.into_iter().max().unwrap_or(0) as f64;
    Ok((fullest / mean - 1.0) * 100.0)
}
