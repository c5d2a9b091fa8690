//! What the kernel keeps for an idle connection, and for the request that waits on it.

use std::{io, thread, time::Duration};

use super::{Experiment, Measure, Trial, Trouble, arena};
use crate::{
    host::{Host, facts::meminfo},
    sys::ring::{ArmedRing, Arming},
};

const CONNECTIONS: usize = 4_000;

pub const EXPERIMENT: Experiment = Experiment {
    id: "receive-arming",
    question: "kernel memory of 4,000 idle connections, and of an io_uring request waiting on each",
    needs_root: true,
    run,
};

#[derive(Clone, Copy)]
enum What {
    Connection,
    Request(Arming),
}

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let arms = [
        ("multishot poll", What::Request(Arming::Poll)),
        ("receive with a buffer", What::Request(Arming::Receive)),
        ("multishot receive", What::Request(Arming::MultishotReceive)),
        ("the connection itself, one end", What::Connection),
    ];
    let samples = trial.alternate(&arms, weigh)?;
    Ok(vec![Measure::of("kernel bytes each, by /proc/meminfo Slab", &arms, &samples, |bytes| *bytes)])
}

fn weigh(what: What) -> io::Result<f64> {
    let count = arena::pairs_that_fit(CONNECTIONS)?;
    let before = slab()?;
    let pairs = arena::pairs(count)?;
    let opened = slab()?;
    match what {
        What::Connection => Ok((opened - before) / (2 * count) as f64),
        What::Request(arming) => {
            let mut ring = ArmedRing::arm(&arena::borrowed(pairs.iter().map(|(_, server)| server)), arming)?;
            let armed = slab()?;
            match ring.refused() {
                0 => Ok((armed - opened) / count as f64),
                refused => Err(io::Error::other(format!("{refused} requests were refused"))),
            }
        }
    }
}

/// Freed objects go back late; a moment's rest lets what the step before freed be counted as free.
fn slab() -> io::Result<f64> {
    thread::sleep(Duration::from_millis(100));
    meminfo(&Host::at("/"), "Slab:").map(|bytes| bytes as f64).ok_or(io::ErrorKind::NotFound.into())
}
