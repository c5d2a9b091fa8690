//! `tune prove`: bounded experiments that show a setting's effect on this host.
//!
//! Every round runs in a thread with a network namespace of its own, so nothing outside changes and nothing is left
//! behind; an experiment that cannot do with that says so and asks for leave (`--host-wide`). Arms take turns, so that a slow moment of the host hits all of them. A difference is claimed only if
//! every round of one arm lies beyond every round of the other; else the table says that there is none.

mod accept_queue;
mod arena;
mod copied_lines;
mod descriptor_table;
mod host_value;
mod kernel_entry;
mod listen_backlog;
mod local_ports;
mod migrate_request;
mod receive_arming;
mod reuseport_balance;
mod spread;
mod stalled_memory;
mod syn_retries;
mod tcp_memory;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use clap::Args;

use crate::output::{say, sayln};

pub use arena::in_namespace;
pub use spread::{Arm, Measure};

/// What `tune prove --all --markdown` printed on the machine that the guide tells of, and what the experiment that must
/// not run there printed in the emulated machine of `bench/lab`.
const FIGURES: [&str; 2] = [include_str!("../../figures.md"), include_str!("../../figures-lab.md")];
/// No experiment measures for longer; closing what its last round has opened may take the rest of a minute.
const LONGEST: Duration = Duration::from_secs(57);
/// Rounds per arm, where time allows.
const ROUNDS: u32 = 5;

/// `tune prove`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The experiment, or the setting that it is about; without one, all of them are listed.
    id: Option<String>,
    /// Run every experiment that changes nothing outside of itself, one after another: three minutes on a quiet box, ten
    /// at most.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Print Markdown, as the figures of the guide are.
    #[arg(long)]
    markdown: bool,
    /// Let an experiment change a value of the whole kernel for the length of its rounds: on a machine of your own.
    #[arg(long)]
    host_wide: bool,
    /// Rounds per arm.
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
}

/// One experiment.
pub struct Experiment {
    /// Its name on the command line.
    pub id: &'static str,
    /// What is compared, under which load.
    pub question: &'static str,
    /// What it changes.
    pub reach: Reach,
    run: fn(&mut Trial<'_>) -> Result<Vec<Measure>, Trouble>,
}

/// What an experiment changes. Either takes root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its own network namespace, which ends with it.
    Namespace,
    /// A value of the whole kernel, for the length of each round.
    Host,
}

/// Every experiment.
pub const EXPERIMENTS: &[Experiment] = &[
    accept_queue::EXPERIMENT,
    listen_backlog::EXPERIMENT,
    syn_retries::EXPERIMENT,
    stalled_memory::EXPERIMENT,
    tcp_memory::EXPERIMENT,
    local_ports::EXPERIMENT,
    migrate_request::EXPERIMENT,
    descriptor_table::EXPERIMENT,
    reuseport_balance::EXPERIMENT,
    receive_arming::EXPERIMENT,
    kernel_entry::EXPERIMENT,
    copied_lines::LIMITS_CONF,
    copied_lines::TW_RECYCLE,
];

/// Why an experiment has no result.
#[derive(Debug)]
pub enum Trouble {
    /// The world refused something.
    Refused(&'static str, io::Error),
    /// This host cannot show it.
    NotHere(String),
    /// It changes the whole host, and nobody gave leave.
    HostWide(&'static str),
    /// A round did not end in time.
    TimeUp,
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(what, error) => write!(out, "{what}: {error}"),
            Self::NotHere(reason) => write!(out, "{reason}"),
            Self::HostWide(id) => write!(
                out,
                "it changes a value of the whole kernel, which every program on this box feels for some seconds; \
                 `prove {id} --host-wide` does it on a machine of your own, and `bench/lab/run --exec \
                 'roadstead tune prove {id} --host-wide'` in an emulated one"
            ),
            Self::TimeUp => write!(out, "a round did not end within {} s", LONGEST.as_secs()),
        }
    }
}

/// The frame of one experiment: its rounds, its time and its progress.
pub struct Trial<'a> {
    began: Instant,
    rounds: u32,
    tell: &'a mut dyn FnMut(u32, &str),
}

impl Trial<'_> {
    /// Runs every arm in turn, round after round, each in a namespace of its own; returns the samples of each arm.
    pub fn alternate<A, T>(
        &mut self,
        arms: &[(&'static str, A)],
        run: fn(A) -> io::Result<T>,
    ) -> Result<Vec<Vec<T>>, Trouble>
    where
        A: Copy + Send + 'static,
        T: Send + 'static,
    {
        self.alternate_with(arms, |arm, left| arena::in_namespace(left, move || run(arm)))
    }

    /// The same for rounds that are more than what happens in their namespace; they are told how long they may take.
    pub fn alternate_with<A: Copy, T>(
        &mut self,
        arms: &[(&'static str, A)],
        run: impl Fn(A, Duration) -> Result<T, Trouble>,
    ) -> Result<Vec<Vec<T>>, Trouble> {
        let mut all: Vec<Vec<T>> = arms.iter().map(|_| Vec::new()).collect();
        let mut longest_round = Duration::ZERO;
        for round in 0..self.rounds {
            let round_began = Instant::now();
            // A round that would not end in time is not begun; a fifth more is allowed for than the longest took.
            if round > 0 && self.began.elapsed() + longest_round * 6 / 5 > LONGEST {
                break;
            }
            for (index, (name, arm)) in arms.iter().enumerate() {
                (self.tell)(round + 1, name);
                let left = LONGEST.saturating_sub(self.began.elapsed());
                match run(*arm, left) {
                    Ok(sample) => all[index].push(sample),
                    Err(Trouble::TimeUp) if round > 0 => return Ok(complete(&mut all, round)),
                    Err(trouble) => return Err(trouble),
                }
            }
            longest_round = longest_round.max(round_began.elapsed());
        }
        Ok(all)
    }
}

/// The rounds that every arm has finished. On a busy box a round may take much longer than those before it; what they
/// have shown stands.
fn complete<T>(samples: &mut [Vec<T>], rounds: u32) -> Vec<Vec<T>> {
    samples.iter_mut().map(|samples| samples.drain(..rounds as usize).collect()).collect()
}

/// Runs an experiment for the command line and returns its exit code.
pub fn run(arguments: &Arguments) -> u8 {
    let Some(id) = &arguments.id else {
        if arguments.all {
            return run_all(arguments);
        }
        for experiment in EXPERIMENTS {
            let leave = if experiment.reach == Reach::Host { " (--host-wide)" } else { "" };
            sayln!("{:<20} {}{leave}", experiment.id, experiment.question);
        }
        return 0;
    };
    let of_setting = crate::setting::find(id).and_then(|setting| setting.text.experiment);
    let named = |name: &str| EXPERIMENTS.iter().find(|experiment| experiment.id == name);
    let Some(experiment) = named(id).or_else(|| named(of_setting?)) else {
        eprintln!("there is no experiment `{id}`; `roadstead tune prove` lists them");
        return 2;
    };
    if arguments.markdown {
        let leave = if arguments.host_wide { " --host-wide" } else { "" };
        print_heading(&format!("{}{leave}", experiment.id));
    }
    if report(experiment, arguments) { 0 } else { 2 }
}

const VERDICT: &str = "\
The first arm is what the others are compared with. An arm differs only if each of its rounds lies beyond each round of
the first; with five rounds, chance alone does that once in 126 times.";

/// Every experiment, with what a reader needs to judge the figures by.
fn run_all(arguments: &Arguments) -> u8 {
    print_heading("--all");
    let due = |experiment: &&Experiment| arguments.host_wide || experiment.reach == Reach::Namespace;
    let due = EXPERIMENTS.iter().filter(due);
    let done: Vec<bool> = due.map(|experiment| report(experiment, arguments)).collect();
    // What this host cannot show is said where it stands, and is no failure of the others.
    if done.contains(&true) { 0 } else { 2 }
}

fn print_heading(which: &str) {
    let host = crate::host::Host::at("/");
    let facts = crate::host::Facts::of(&host);
    let load = host.read("/proc/loadavg").value().cloned().unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let is_quiet = load.parse::<f64>().is_ok_and(|load| load < 0.3);
    let state = if is_quiet { "quiet" } else { "not quiet, so spreads are wider than the settings' own" };
    sayln!("# Figures of `roadstead tune prove {which} --markdown`\n");
    sayln!("Linux {}, {} CPUs, load {load} before the first round: {state}.\n", facts.release, facts.cpus);
    sayln!("{VERDICT}");
}

/// Prints an experiment's tables, or why there are none.
fn report(experiment: &Experiment, arguments: &Arguments) -> bool {
    if arguments.markdown {
        sayln!("\n## `prove {}`\n\n{}", experiment.id, experiment.question);
    } else {
        sayln!("{}: {}", experiment.id, experiment.question);
    }
    match measure(experiment, arguments.rounds, arguments.host_wide) {
        Ok(measures) => {
            for measure in measures {
                if arguments.markdown { say!("\n{}", measure.markdown()) } else { say!("{measure}") }
            }
            true
        }
        Err(trouble) if arguments.all => {
            sayln!("\nNo result: {trouble}.");
            false
        }
        Err(trouble) => {
            eprintln!("no result: {trouble}");
            false
        }
    }
}

/// The tables that were recorded of an experiment, with what it compares, and the line that names the machine.
pub fn recorded(id: &str) -> Option<(&'static str, &'static str)> {
    let heading = format!("\n## `prove {id}`\n");
    let mut found =
        FIGURES.into_iter().filter_map(|figures| Some((figures, figures.split_once(&heading)?.1)));
    let (figures, rest) = found.next()?;
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let machine = figures.lines().find(|line| line.starts_with("Linux ")).unwrap_or_default();
    Some((machine, section.trim()))
}

/// Runs an experiment; progress goes to the terminal's error stream.
pub fn measure(experiment: &Experiment, rounds: u32, host_wide: bool) -> Result<Vec<Measure>, Trouble> {
    if experiment.reach == Reach::Host && !host_wide {
        return Err(Trouble::HostWide(experiment.id));
    }
    let is_watched = io::stderr().is_terminal();
    let mut tell = |round: u32, arm: &str| {
        if is_watched {
            eprint!("\r\x1b[K  round {round} of {rounds}: {arm}");
            // Progress is a courtesy; an error stream that is gone is no reason to stop.
            io::stderr().flush().ok();
        }
    };
    let mut trial = Trial { began: Instant::now(), rounds, tell: &mut tell };
    let result = (experiment.run)(&mut trial);
    if is_watched {
        eprint!("\r\x1b[K");
    }
    result
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        time::{Duration, Instant},
    };

    use super::{Trial, Trouble};

    /// Two arms whose measurements take until the time is up at the `last`.
    fn rounds_until(last: u32) -> Result<Vec<Vec<u32>>, Trouble> {
        let count = Cell::new(0);
        let mut tell = |_: u32, _: &str| {};
        let mut trial = Trial { began: Instant::now(), rounds: 5, tell: &mut tell };
        trial.alternate_with(&[("one", ()), ("other", ())], |(), left| {
            assert!(left <= Duration::from_secs(60));
            count.set(count.get() + 1);
            if count.get() < last { Ok(count.get()) } else { Err(Trouble::TimeUp) }
        })
    }

    #[test]
    fn when_time_is_up_the_rounds_that_every_arm_has_finished_stand() {
        assert_eq!(rounds_until(6).unwrap(), [[1, 3], [2, 4]]);
        assert_eq!(rounds_until(5).unwrap(), [[1, 3], [2, 4]]);
        assert_eq!(rounds_until(100).unwrap()[1], [2, 4, 6, 8, 10]);
    }

    #[test]
    fn when_time_is_up_in_the_first_round_there_is_no_result() {
        assert!(matches!(rounds_until(2), Err(Trouble::TimeUp)));
    }
}
