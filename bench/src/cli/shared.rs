//! What every measurement takes, and how a load is paced.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;

use super::{
    agents::AgentsArgs,
    checks::{positive, seconds},
    line::LineArgs,
    manners::{MannersArgs, OFFER},
};
use crate::{
    crew::{
        assignment::Directions,
        plan::{self, Demand, Share},
    },
    endpoint::Endpoint,
    engine::open_files_max,
    error::{Doing, Error, Result},
    host::server::Server,
    load::{
        pace::Pace,
        stages::Stages,
        window::{Timing, WarmUp},
    },
    protocol::{deflate::Offered, subscriber::Transport},
    target::Target,
    trial::{Trial, condition::Condition},
};

/// Rounds of each side where two servers are compared: the fewest in which chance can be told from a difference well.
const ROUNDS_OF_TWO: u32 = 5;

/// What every measurement takes.
#[derive(Args)]
pub struct Shared {
    /// The server's process id: CPU and memory of it and its children are measured too.
    #[arg(long, conflicts_with = "spawn")]
    pid: Option<u32>,
    /// Start the server with this shell command, wait until it listens, and end it afterwards; measured as with --pid.
    #[arg(long, value_name = "COMMAND")]
    spawn: Option<String>,
    /// Print the result as one line of JSON, for `roadstead-bench report` and for scripts.
    #[arg(long)]
    pub json: bool,
    /// End with status 3 when this holds: 'p99>20ms', 'rate<5000', 'lost>0', 'cpu>15us'; may be given several times.
    #[arg(long, value_name = "CONDITION", value_delimiter = ',')]
    pub fail_if: Vec<Condition>,
    /// Allow a target that is neither loopback nor private.
    #[arg(long)]
    pub i_own_this_target: bool,
    /// How connections are made.
    #[command(flatten)]
    pub line: LineArgs,
    /// What clients add.
    #[command(flatten)]
    pub manners: MannersArgs,
}

/// Where latencies are written besides.
#[derive(Args)]
pub struct Output {
    /// Write the percentile distribution here, in HdrHistogram's text format.
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Write a log of one histogram per interval here, in HdrHistogram's format.
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// Write the time series here, as comma-separated values.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write the figures here, as an OpenMetrics file.
    #[arg(long, value_name = "FILE")]
    pub openmetrics: Option<PathBuf>,
}

/// What every load takes.
#[derive(Args)]
pub struct Load {
    /// Who holds the connections.
    #[command(flatten)]
    pub threads: Threads,
    /// How it is paced.
    #[command(flatten)]
    pub pacing: Pacing,
    /// Other machines that carry it.
    #[command(flatten)]
    pub agents: AgentsArgs,
    /// How often it is run.
    #[command(flatten)]
    pub trial: TrialArgs,
    /// Where latencies are written besides.
    #[command(flatten)]
    pub output: Output,
    /// What every measurement takes.
    #[command(flatten)]
    pub shared: Shared,
}

/// How a load is paced, and for how long.
#[derive(Args)]
pub struct Pacing {
    /// Messages per second in all, on a schedule: latency counts from the time each was meant to be sent.
    #[arg(long, conflicts_with = "closed_loop")]
    rate: Option<f64>,
    /// Send the next when the last is answered: finds the highest rate, and hides the server's pauses.
    #[arg(long)]
    closed_loop: bool,
    /// A rate that changes, instead of --rate and --seconds: 1k@10s,1k..20k@30s,20k@10s are ten seconds of 1,000/s, half
    /// a minute up to 20,000/s, and ten seconds of that.
    #[arg(long, value_name = "STAGES", conflicts_with_all = ["closed_loop", "rate", "seconds", "warm_up"])]
    stages: Option<Stages>,
    /// Measured time.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Time before measuring in seconds, or `auto` to warm up until rate and median are steady: for half a minute at most,
    /// or for as long as auto:SECONDS says.
    #[arg(long, value_name = "SECONDS", visible_alias = "warm-up-seconds", default_value = "0.5")]
    warm_up: WarmUp,
}

/// How often a load is run, and to what end.
#[derive(Args)]
pub struct TrialArgs {
    /// How often.
    #[command(flatten)]
    pub rounds: Rounds,
    /// Search for the highest rate at which this holds, from --rate on: 'p99<20ms'.
    #[arg(long, value_name = "CONDITION", conflicts_with_all = ["closed_loop", "stages", "repeat", "against"])]
    objective: Option<Condition>,
}

/// How often something is measured, and beside what.
#[derive(Args)]
pub struct Rounds {
    /// Rounds: medians and spread are told. With --against 5, else 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: Option<u32>,
    /// Run again, up to so many times, until the result is valid.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    until_valid: u32,
    /// Measure this URL in turn with the other (A B A B), and tell how they differ and how sure that is.
    #[arg(long, value_name = "URL")]
    pub against: Option<Target>,
    /// The process id of the server of --against.
    #[arg(long, value_name = "PID", requires = "against")]
    against_pid: Option<u32>,
}

impl TrialArgs {
    /// What is to be done.
    pub fn trial(&self) -> Trial {
        Trial { objective: self.objective.clone(), ..self.rounds.trial() }
    }
}

impl Rounds {
    /// What is to be done.
    pub fn trial(&self) -> Trial {
        let rounds = self.repeat.unwrap_or(if self.against.is_some() { ROUNDS_OF_TWO } else { 1 });
        Trial { rounds, tries: self.until_valid, objective: None }
    }

    /// The server of --against, if its process is known.
    pub fn rival(&self) -> Result<Option<Server>> {
        self.against_pid.map(|pid| watch("--against-pid", pid)).transpose()
    }
}

/// Where publications go on the server of --against: that is not to be guessed.
pub fn rival_publish<'a>(
    publish: Option<&Target>,
    against: &Target,
    given: Option<&'a Target>,
) -> Result<Option<&'a Target>> {
    match (publish, given) {
        (Some(_), None) => Err(Error::Argument {
            flag: "--against",
            value: against.to_string(),
            accepted: "a server to publish at as well: say where with --against-publish URL".to_owned(),
        }),
        (None, Some(given)) => Err(Error::Argument {
            flag: "--against-publish",
            value: given.to_string(),
            accepted: "a --publish to go with: both sides are measured alike".to_owned(),
        }),
        (_, given) => Ok(given),
    }
}

/// Who holds the connections.
#[derive(Args)]
pub struct Threads {
    /// Threads to spread connections over, each with a ring and a core of its own; without it as few as hold them all.
    #[arg(long)]
    pub workers: Option<u64>,
    /// Local addresses to connect from, separated by commas; without it as many of 127.0.0.2… as are needed.
    #[arg(long, value_delimiter = ',')]
    pub sources: Vec<IpAddr>,
}

impl Threads {
    /// So many connections to `target`, shared out among the threads.
    pub fn share_out(&self, connections: u64, target: SocketAddr) -> Result<Vec<Share>> {
        let open_files_max = open_files_max().doing("raise the open-files limit")?;
        let (workers, sources) = (self.workers, self.sources.as_slice());
        plan::share_out(&Demand { connections, workers, sources, target, open_files_max })
    }
}

impl Shared {
    /// Where a URL leads, and how its clients receive.
    pub fn endpoint(&self, url: &Target, transport: Transport) -> Result<Endpoint> {
        self.directions(url, transport)?.endpoint()
    }

    /// The same before it is resolved.
    pub fn directions(&self, url: &Target, transport: Transport) -> Result<Directions> {
        let mut manners = self.manners.manners()?;
        if transport != Transport::Ws {
            // A publication is a request beside WebSockets.
            if transport != Transport::Poll {
                self.manners.refuse_compression_of(url, transport)?;
            }
            // Only a WebSocket's handshake has extensions.
            manners.headers.retain(|(name, _)| name != OFFER);
            manners.compression = Offered::Nothing;
        }
        if !manners.lines.is_empty() && !matches!(transport, Transport::Ws | Transport::Poll) {
            let message = "--first-message and a WebSocket to send it on".to_owned();
            return Err(Error::Argument { flag: "--url", value: url.to_string(), accepted: message });
        }
        Ok(Directions {
            url: url.to_string(),
            owned: self.i_own_this_target,
            transport,
            manners,
            line: self.line.line()?,
        })
    }

    /// The server to measure, started if asked.
    pub fn server(&self, address: SocketAddr) -> Result<Option<Server>> {
        match (self.pid, &self.spawn) {
            (Some(pid), _) => watch("--pid", pid).map(Some),
            (None, Some(command)) => Server::spawn(command, address).doing("start the server").map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn watch(flag: &'static str, pid: u32) -> Result<Server> {
    let accepted = |error| format!("the id of a running process ({error})");
    Server::watch(pid).map_err(|error| Error::Argument {
        flag,
        value: pid.to_string(),
        accepted: accepted(error),
    })
}

impl Pacing {
    /// Open loop unless asked otherwise; `usual` messages per second unless told.
    pub fn pace(&self, usual: f64) -> Result<Pace> {
        if let Some(stages) = &self.stages {
            return Ok(Pace::Staged(Box::leak(Box::new(stages.clone())), 1.0));
        }
        match (self.closed_loop, self.rate) {
            (true, _) => Ok(Pace::Closed),
            (false, Some(rate)) => positive("--rate", rate).map(Pace::Open),
            (false, None) => Ok(Pace::Open(usual)),
        }
    }

    /// Time before measuring, and measured time.
    pub fn timing(&self) -> Result<Timing> {
        if let Some(stages) = &self.stages {
            return Ok(Timing { warm_up: WarmUp::For(Duration::ZERO), measured: stages.length() });
        }
        let measured = seconds("--seconds", positive("--seconds", self.seconds)?)?;
        Ok(Timing { warm_up: self.warm_up, measured })
    }
}
