//! `tune watch`: looks at the limits while load runs, and says which one is hit now, and what to do about it.
//!
//! ```text
//!   Counters ─┐ differences                    ┌─► screen: one page, redrawn
//!             ├─► signals ─► course (worst, ───┼─► lines, where nobody looks at a terminal
//!   levels ───┘              totals)           └─► JSON, one object a sample
//! ```
//!
//! What a limit should be is not asked here: that is `check`.

mod listeners;
pub mod screen;
pub mod signals;

use std::{
    io::{self, IsTerminal},
    process::{Child, Command},
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
    host::{Counters, Host},
    output::sayln,
    sys::signal::Interrupts,
};
use screen::Look;
use signals::{Course, Signal, State};

/// The shortest pause between two looks, in seconds.
const INTERVAL_MIN: f64 = 0.05;
/// The longest.
const INTERVAL_MAX: f64 = 3_600.0;

/// `tune watch`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// For how many seconds to watch; without it, until Ctrl-C or the end of COMMAND.
    #[arg(long, value_name = "SECONDS", value_parser = interval)]
    seconds: Option<Duration>,
    /// Print an object of JSON on a line for each look, and one for the whole at the end.
    #[arg(long)]
    json: bool,
    /// Count the descriptors of this process, and look from its network namespace and control group.
    #[arg(long)]
    pid: Option<u32>,
    /// Look at the host whose file systems are mounted here.
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: std::path::PathBuf,
    /// The load: it is started, and watched until it ends.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (INTERVAL_MIN..=INTERVAL_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!("`{text}` is not between {INTERVAL_MIN} and {INTERVAL_MAX} seconds")),
    }
}

/// Watches, and returns 0 if no limit was hit, 1 if one was, 2 if nothing could be watched.
pub fn run(arguments: &Arguments) -> u8 {
    let host = if arguments.root.as_os_str() == "/" { Host::live() } else { Host::at(&arguments.root) };
    let host = match arguments.pid {
        Some(pid) => host.with_subject(crate::host::Subject::Server(pid)),
        None => host,
    };
    if host.names(&host.process_folder()).is_empty() {
        eprintln!("{} is not there: nothing can be watched", host.path(&host.process_folder()).display());
        return 2;
    }
    // Before the signals are held back, which a child would inherit.
    let mut load = match start(&arguments.command) {
        Ok(load) => load,
        Err(error) => {
            eprintln!("{}: {error}", arguments.command.join(" "));
            return 2;
        }
    };
    let interrupts = match Interrupts::hold() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            eprintln!("signals cannot be held back: {error}");
            return 2;
        }
    };
    let course = watch(&host, arguments, &mut load, &interrupts);
    if let Some(mut load) = load {
        // Ctrl-C at a terminal has reached it as well; whoever ends the watch otherwise leaves it running.
        if let Ok(Some(status)) = load.try_wait() {
            eprintln!("the load ended: {status}");
        }
    }
    if course.signals().is_empty() {
        eprintln!("none of the counters can be read here: nothing was watched");
        return 2;
    }
    if arguments.json {
        sayln!("{}", screen::json_of_all(&course))
    } else {
        sayln!("{}", screen::summary(&course))
    }
    u8::from(course.was_hit())
}

fn start(command: &[String]) -> io::Result<Option<Child>> {
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    Command::new(program).args(arguments).spawn().map(Some)
}

fn watch(host: &Host, arguments: &Arguments, load: &mut Option<Child>, interrupts: &Interrupts) -> Course {
    let began = Instant::now();
    let mut look = match (arguments.json, io::stdout().is_terminal()) {
        (true, _) => Look::Json,
        (false, true) => Look::screen(host),
        (false, false) => Look::lines(),
    };
    let mut course = Course::default();
    let mut earlier = Counters::read(host);
    loop {
        let left = arguments.seconds.map(|most| most.saturating_sub(began.elapsed()));
        let pause = left.map_or(arguments.interval, |left| left.min(arguments.interval));
        let is_interrupted = interrupts.arrive_within(pause);
        let has_ended = load.as_mut().is_some_and(|load| !matches!(load.try_wait(), Ok(None)));
        let now = Counters::read(host);
        let signals: Vec<Signal> = signals::all(host, &earlier, &now);
        course.add(&signals, now.seconds_since(&earlier));
        look.show(&signals, &course);
        earlier = now;
        let is_over = arguments.seconds.is_some_and(|most| began.elapsed() >= most);
        if is_interrupted || has_ended || is_over {
            return course;
        }
    }
}

impl Course {
    /// Whether a limit was hit at any look.
    pub fn was_hit(&self) -> bool {
        self.signals().iter().any(|tracked| tracked.worst == State::Hit)
    }
}
