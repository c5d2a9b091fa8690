//! Growing a descriptor table that threads share: each doubling stops its caller, unless it was grown beforehand.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{Experiment, Measure, Reach, Trial, Trouble, arena};
use crate::sys;

const DESCRIPTORS: usize = 16_000;
/// A duplication that takes longer than this has waited for something.
const STALL: Duration = Duration::from_millis(1);

pub const EXPERIMENT: Experiment = Experiment {
    id: "fd-table",
    question: "opening 16,000 descriptors in a table shared by two threads, one after another",
    reach: Reach::Namespace,
    run,
};

struct Stalls {
    slowest_ms: f64,
    count: f64,
    total_ms: f64,
}

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let arms = [("the table grows as it fills", false), ("F_DUPFD to the end first", true)];
    let samples = trial.alternate(&arms, open_many)?;
    Ok(vec![
        Measure::of("slowest single call, ms", &arms, &samples, |stalls| stalls.slowest_ms),
        Measure::of("calls above 1 ms", &arms, &samples, |stalls| stalls.count),
        Measure::of("all calls together, ms", &arms, &samples, |stalls| stalls.total_ms),
    ])
}

fn open_many(is_grown_first: bool) -> io::Result<Stalls> {
    let count = DESCRIPTORS.min(arena::descriptors()?);
    // A table of our own, so that every round begins with a small one, shared with a thread that only waits.
    sys::unshare_files()?;
    let (release, wait) = mpsc::channel::<()>();
    let sharer = thread::spawn(move || wait.recv());
    let file = std::fs::File::open("/dev/null")?;
    if is_grown_first {
        drop(sys::duplicate_above(file.as_fd(), i32::try_from(count).unwrap_or(i32::MAX))?);
    }
    let mut slowest = Duration::ZERO;
    let mut stalls = 0;
    let begun = Instant::now();
    let mut kept: Vec<OwnedFd> = Vec::with_capacity(count);
    for _ in 0..count {
        let call = Instant::now();
        kept.push(sys::duplicate_above(file.as_fd(), 0)?);
        let took = call.elapsed();
        slowest = slowest.max(took);
        stalls += usize::from(took > STALL);
    }
    let total = begun.elapsed();
    drop(release);
    // The sharer ends with an error of its channel, which is how it learns that we are done.
    drop(sharer.join());
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
    Ok(Stalls { slowest_ms: milliseconds(slowest), count: stalls as f64, total_ms: milliseconds(total) })
}
