//! `roadstead tune …`: the command line and its exit codes.
//!
//! 0: fine. 1: something falls short, or could not be changed. 2: it could not be checked or done at all.

mod change;
mod check;
mod count;
mod explain;
mod shell;

use std::{io::Write, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::{
    host::{Counters, Facts, Host, Subject},
    output::{say, sayln},
    prove,
    render::{self, Artefact, Origin},
    setting::{Goal, Profile, Scene},
    watch,
};

const FINE: u8 = 0;
const SHORT: u8 = 1;
const FAILED: u8 = 2;

/// Reads this host, explains what bounds its connections, applies settings, rolls them back and proves them.
#[derive(Debug, Subcommand)]
pub enum Tune {
    /// Says what this host can hold, what falls short of the target, and why.
    Check(check::Arguments),
    /// Says what a setting does, how much of it is wanted, and when not to change it.
    Explain(explain::Arguments),
    /// Changes what can be changed while the system runs, and writes a journal of it.
    Apply(change::ApplyArguments),
    /// Restores every value that still is what an apply set.
    Rollback(change::RollbackArguments),
    /// Says which limit is being hit while load runs, and what to do about it.
    Watch(watch::Arguments),
    /// Prints the same values for other tools.
    Render(RenderArguments),
    /// Shows a setting's effect on this host by experiment, in a network namespace of its own.
    Prove(prove::Arguments),
}

/// What is wanted of which host.
#[derive(Clone, Debug, Args)]
pub struct Aim {
    /// Connections to hold: 120000, 120k, 1M.
    #[arg(long, value_name = "CONNECTIONS", default_value = "120k", value_parser = count::target)]
    target: u64,
    /// What counts: many quiet connections, reconnect storms, tail latency, or bytes per second.
    #[arg(long, value_enum, default_value_t = Profile::Idle)]
    profile: Profile,
    /// Connections in a hundred that have bytes queued at one time; by default the profile says.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(1..=100))]
    stalled_percent: Option<u64>,
    /// This box opens connections too: a load generator or a proxy.
    #[arg(long)]
    client: bool,
    /// Judge by the limits of this process; by default the shell that this was called from.
    #[arg(long)]
    pid: Option<u32>,
    /// Look at the host whose file systems are mounted here.
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
}

/// `tune render`
#[derive(Debug, Args)]
pub struct RenderArguments {
    /// For which tool.
    artefact: Artefact,
    /// Write the artefact's files into this folder instead of printing them; it is made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The image that docker or kubernetes runs: docker builds one of its own unless told.
    #[arg(long, value_name = "NAME", value_parser = image_name)]
    image: Option<String>,
    /// Where an instance downloads the program: for cloud-init.
    #[arg(long, value_name = "URL", value_parser = plain_url)]
    binary: Option<String>,
    #[command(flatten)]
    aim: Aim,
}

/// An address that can stand between quotes in a script.
fn plain_url(text: &str) -> Result<String, String> {
    let is_plain = |sign: char| sign.is_ascii_graphic() && !matches!(sign, '\'' | '"' | '\\' | '`' | '$');
    if text.starts_with("https://") && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("an address is https://…, without quotes and spaces".to_owned())
    }
}

/// An image's name that can stand in YAML as it is.
fn image_name(text: &str) -> Result<String, String> {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "-._/:@".contains(sign);
    let is_whole = |end: Option<char>| end.is_some_and(|sign| sign.is_ascii_alphanumeric());
    if is_whole(text.chars().next()) && is_whole(text.chars().next_back()) && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("an image is called REGISTRY/NAME:TAG, of letters, digits and -._/:@".to_owned())
    }
}

/// Runs the command and returns the process's exit code.
pub fn run(tune: Tune) -> u8 {
    match tune {
        Tune::Check(arguments) => check::run(&arguments),
        Tune::Explain(arguments) => explain::run(&arguments),
        Tune::Apply(arguments) => change::apply(&arguments),
        Tune::Rollback(arguments) => change::rollback(&arguments),
        Tune::Render(arguments) => render(&arguments),
        Tune::Watch(arguments) => watch::run(&arguments),
        Tune::Prove(arguments) => prove::run(&arguments),
    }
}

fn render(arguments: &RenderArguments) -> u8 {
    let Some(sight) = Sight::of(&arguments.aim) else { return FAILED };
    let origin = Origin { image: arguments.image.as_deref(), binary: arguments.binary.as_deref() };
    let files = match render::render(arguments.artefact, &sight.scene(), origin) {
        Ok(files) => files,
        Err(reason) => {
            eprintln!("{reason}");
            return FAILED;
        }
    };
    let Some(folder) = &arguments.out else {
        if files.len() > 1 {
            eprintln!("{} files; --out FOLDER writes them", files.len());
        }
        for file in &files {
            if files.len() > 1 {
                sayln!("# ==> {} <==", file.name);
            }
            say!("{}", file.text);
        }
        return FINE;
    };
    if let Err(error) = std::fs::create_dir_all(folder) {
        eprintln!("{}: {error}", folder.display());
        return FAILED;
    }
    for file in &files {
        let path = folder.join(file.name);
        // Nothing that somebody has changed since is lost.
        let written =
            std::fs::File::create_new(&path).and_then(|mut new| new.write_all(file.text.as_bytes()));
        if let Err(error) = written {
            eprintln!("{}: {error}; nothing is written over", path.display());
            return FAILED;
        }
        sayln!("wrote {}", path.display());
    }
    FINE
}

/// A host, its facts and the goal, owned together for the length of a command.
struct Sight {
    host: Host,
    facts: Facts,
    goal: Goal,
}

impl Sight {
    /// Complains and returns `None` if there is no such host.
    fn of(aim: &Aim) -> Option<Self> {
        let is_live = aim.root.as_os_str() == "/";
        let mut host = if is_live { Host::live() } else { Host::at(&aim.root) };
        if host.names("/proc").is_empty() {
            eprintln!(
                "{} holds no /proc: nothing can be checked. Mount it, or name another --root.",
                aim.root.display()
            );
            return None;
        }
        if let Some(pid) = aim.pid {
            host = host.with_subject(Subject::Server(pid));
            if host.names(&host.process_folder()).is_empty() {
                eprintln!("there is no process {pid}");
                return None;
            }
        } else if let Some(pid) = is_live.then(|| shell::calling_shell(&host)).flatten() {
            host = host.with_subject(Subject::Shell(pid));
        }
        let facts = Facts::of(&host).with_overwriters(&host);
        let mut goal = Goal::new(aim.target, aim.profile);
        goal.is_client = aim.client;
        goal.stalled_percent = aim.stalled_percent.unwrap_or(goal.stalled_percent);
        Some(Self { host, facts, goal })
    }

    /// Lets some time pass, so that counters are judged by how much they grow in it.
    fn look_for(mut self, time: Duration) -> Self {
        if self.host.is_live() && !time.is_zero() {
            let earlier = Counters::read(&self.host);
            std::thread::sleep(time);
            self.host = self.host.with_earlier(earlier);
        }
        self
    }

    fn scene(&self) -> Scene<'_> {
        Scene { host: &self.host, facts: &self.facts, goal: &self.goal }
    }
}
