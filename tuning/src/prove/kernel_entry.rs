//! What it costs to enter the kernel at all, mitigations included, and what is left of it when a ring's requests share one
//! entry.

use std::{hint::black_box, io, time::Instant};

use super::{Experiment, Measure, Reach, Trial, Trouble};
use crate::sys::ring::NopRing;

/// Requests that share one entry: a small batch of a busy shard.
const BATCH: usize = 64;
/// Entries in one slice, some hundred microseconds.
const ENTRIES: usize = 1_000;
/// The fastest slice counts: the others were interrupted.
const SLICES: usize = 200;

pub const EXPERIMENT: Experiment = Experiment {
    id: "kernel-entry",
    question: "the cheapest thing that can be asked of the kernel, alone and as one of 64 requests of a ring",
    reach: Reach::Namespace,
    run,
};

#[derive(Clone, Copy)]
enum Ask {
    Alone,
    Batched,
    Nothing,
}

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let arms = [
        ("getppid, an entry each", Ask::Alone),
        ("a ring's no-operation, 64 to an entry", Ask::Batched),
        ("clock_gettime, which does not enter", Ask::Nothing),
    ];
    let samples = trial.alternate(&arms, nanoseconds)?;
    Ok(vec![Measure::of("ns each, the fastest of 200 slices", &arms, &samples, |cost| *cost)])
}

fn nanoseconds(ask: Ask) -> io::Result<f64> {
    let mut ring = NopRing::new(BATCH)?;
    let mut fastest = f64::INFINITY;
    for _ in 0..SLICES {
        let begun = Instant::now();
        for _ in 0..ENTRIES / per_turn(ask) {
            match ask {
                Ask::Alone => drop(black_box(std::os::unix::process::parent_id())),
                Ask::Batched => ring.turn()?,
                Ask::Nothing => drop(black_box(Instant::now())),
            }
        }
        let asked = ENTRIES / per_turn(ask) * per_turn(ask);
        fastest = fastest.min(begun.elapsed().as_secs_f64() * 1e9 / asked as f64);
    }
    Ok(fastest)
}

fn per_turn(ask: Ask) -> usize {
    match ask {
        Ask::Batched => BATCH,
        Ask::Alone | Ask::Nothing => 1,
    }
}
