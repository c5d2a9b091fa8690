//! What every measurement takes, and how a load is paced.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;

use super::{
    checks::{positive, seconds},
    manners::MannersArgs,
};
use crate::{
    crew::plan::{self, Demand, Share},
    endpoint::Endpoint,
    engine::open_files_max,
    error::{Doing, Error, Result},
    host::server::Server,
    load::{pace::Pace, window::Timing},
    protocol::subscriber::Transport,
    target::Target,
};

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
    /// Allow a target that is neither loopback nor private.
    #[arg(long)]
    pub i_own_this_target: bool,
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
    /// Measured time.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Time before measuring.
    #[arg(long, default_value_t = 0.5)]
    warm_up_seconds: f64,
}

/// Who holds the connections.
#[derive(Args)]
pub struct Threads {
    /// Threads to spread connections over, each with a ring and a core of its own; without it as few as hold them all.
    #[arg(long)]
    workers: Option<u64>,
    /// Local addresses to connect from, separated by commas; without it as many of 127.0.0.2… as are needed.
    #[arg(long, value_delimiter = ',')]
    sources: Vec<IpAddr>,
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
        let manners = self.manners.manners()?;
        if !manners.lines.is_empty() && !matches!(transport, Transport::Ws | Transport::Poll) {
            let message = "--first-message and a WebSocket to send it on".to_owned();
            return Err(Error::Argument { flag: "--url", value: url.to_string(), accepted: message });
        }
        let address = url.resolve(self.i_own_this_target)?;
        Ok(Endpoint { target: url.clone(), address, transport, manners: Arc::new(manners) })
    }

    /// The server to measure, started if asked.
    pub fn server(&self, address: SocketAddr) -> Result<Option<Server>> {
        match (self.pid, &self.spawn) {
            (Some(pid), _) => match Server::watch(pid) {
                Ok(server) => Ok(Some(server)),
                Err(error) => Err(Error::Argument {
                    flag: "--pid",
                    value: pid.to_string(),
                    accepted: format!("the id of a running process ({error})"),
                }),
            },
            (None, Some(command)) => Server::spawn(command, address).doing("start the server").map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl Pacing {
    /// Open loop unless asked otherwise; `usual` messages per second unless told.
    pub fn pace(&self, usual: f64) -> Result<Pace> {
        match (self.closed_loop, self.rate) {
            (true, _) => Ok(Pace::Closed),
            (false, Some(rate)) => positive("--rate", rate).map(Pace::Open),
            (false, None) => Ok(Pace::Open(usual)),
        }
    }

    /// Time before measuring, and measured time.
    pub fn timing(&self) -> Result<Timing> {
        let measured = seconds("--seconds", positive("--seconds", self.seconds)?)?;
        Ok(Timing { warm_up: seconds("--warm-up-seconds", self.warm_up_seconds)?, measured })
    }
}
