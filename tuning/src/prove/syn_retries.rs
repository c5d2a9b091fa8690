//! When a connect to a full listener is tried again: a second apart since Linux 6.5, doubling before.

use std::{
    io,
    os::fd::AsFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{Experiment, Measure, Reach, Trial, Trouble, arena};
use crate::sys::net;

/// Retries that a round waits for, the third after three seconds or seven.
const RETRIES: usize = 3;
/// A round that has not seen them all by then shows what it has.
const PATIENCE: Duration = Duration::from_secs(9);
const LINEAR: &str = "net/ipv4/tcp_syn_linear_timeouts";

pub const EXPERIMENT: Experiment = Experiment {
    id: "syn-retries",
    question: "a client connects to a listener whose queue is full; when its kernel sends the SYN again",
    reach: Reach::Namespace,
    run,
};

fn run(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    if !Path::new("/proc/sys").join(LINEAR).exists() {
        return Err(Trouble::NotHere("this kernel has no tcp_syn_linear_timeouts (Linux 6.5)".to_owned()));
    }
    let arms = [("tcp_syn_linear_timeouts = 4 (default)", "4"), ("0, as before Linux 6.5", "0")];
    let samples = trial.alternate(&arms, retry_times)?;
    let names = ["first retry, s after the connect", "second retry, s", "third retry, s"];
    let measure = |(index, name)| Measure::of(name, &arms, &samples, |times: &[f64; RETRIES]| times[index]);
    Ok(names.into_iter().enumerate().map(measure).collect())
}

fn retry_times(linear: &'static str) -> io::Result<[f64; RETRIES]> {
    arena::set(LINEAR, linear)?;
    let (_listener, address) = arena::listener(0)?;
    // A queue of 0 holds one connection.
    let filler = arena::tcp()?;
    filler.connect(&address.into())?;
    let client = arena::tcp()?;
    client.set_nonblocking(true)?;
    let begun = Instant::now();
    match client.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let mut times = [PATIENCE.as_secs_f64(); RETRIES];
    let mut seen = 0;
    while seen < RETRIES && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(2));
        let sent = usize::from(net::retransmits_of(client.as_fd())?).min(RETRIES);
        times[seen..sent.max(seen)].fill(begun.elapsed().as_secs_f64());
        seen = sent.max(seen);
    }
    Ok(times)
}
