//! What the kernel keeps for an idle connection, and for the request that waits on it.

use std::{fs, io, thread, time::Duration};

use super::{Experiment, Measure, Reach, Trial, Trouble, arena};
use crate::sys::ring::{ArmedRing, Arming};

const CONNECTIONS: usize = 4_000;
/// The sum stands when it moves by less than this, four bytes a connection, in one step.
const SETTLED_BYTES: f64 = 16_384.0;
const SETTLING_STEP: Duration = Duration::from_millis(100);
const SETTLING_STEPS: u32 = 10;

pub const EXPERIMENT: Experiment = Experiment {
    id: "receive-arming",
    question: "kernel memory of 4,000 idle connections, and of an io_uring request waiting on each",
    reach: Reach::Namespace,
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
    Ok(vec![Measure::of("kernel bytes each, objects of /proc/slabinfo", &arms, &samples, |bytes| *bytes)])
}

fn weigh(what: What) -> io::Result<f64> {
    let count = arena::pairs_that_fit(CONNECTIONS)?;
    let before = settled_bytes()?;
    let pairs = arena::pairs(count)?;
    let opened = settled_bytes()?;
    match what {
        What::Connection => Ok((opened - before) / (2 * count) as f64),
        What::Request(arming) => {
            let mut ring = ArmedRing::arm(&arena::borrowed(pairs.iter().map(|(_, server)| server)), arming)?;
            let armed = settled_bytes()?;
            match ring.refused() {
                0 => Ok((armed - opened) / count as f64),
                refused => Err(io::Error::other(format!("{refused} requests were refused"))),
            }
        }
    }
}

/// Freed objects go back late, those of a closed ring later still: waits until the sum stands.
fn settled_bytes() -> io::Result<f64> {
    let mut last = object_bytes()?;
    for _ in 0..SETTLING_STEPS {
        thread::sleep(SETTLING_STEP);
        let now = object_bytes()?;
        if (last - now).abs() < SETTLED_BYTES {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

/// All objects of the kernel's slabs: not the slabs themselves, because those that were emptied before take new objects
/// without growing.
fn object_bytes() -> io::Result<f64> {
    let table = fs::read_to_string("/proc/slabinfo")?;
    let bytes = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let active = fields.next()?.parse::<f64>().ok()?;
        let size = fields.nth(1)?.parse::<f64>().ok()?;
        Some(active * size)
    };
    // Two lines of headings hold no numbers.
    Ok(table.lines().filter_map(bytes).sum())
}
