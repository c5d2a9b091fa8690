//! `roadstead-bench`: a load generator that can be trusted, for Roadstead and for any other server.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`target`] | what can be asked, and what is refused before anything runs |
//! | [`endpoint`] | where and how a client connects |
//! | [`scenario`] | the measurements, one file each |
//! | [`crew`] | connections spread over worker processes and source addresses |
//! | [`load`] | pace, start and end, the live line |
//! | [`engine`] | the client's event loop on the project's ring |
//! | [`protocol`] | what a client says and understands: sans-io |
//! | [`chart`] | results side by side as one page |
//! | [`floor`] | the bare programs servers are measured against |
//! | [`host`] | CPU and memory of processes, from `/proc`; the clock |
//! | [`latency`], [`ledger`], [`verdict`], [`report`] | what was found, and whether to believe it |

mod chart;
mod cli;
mod crew;
mod endpoint;
mod engine;
mod error;
mod floor;
mod host;
mod latency;
mod ledger;
mod load;
mod protocol;
mod report;
mod scenario;
mod target;
mod verdict;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command, FloorCommand, Output, Shared},
    error::{Doing, Result},
    latency::Latencies,
    report::{Report, files},
};

/// The exit status of a result that may not be believed.
const INVALID: u8 = 2;

fn main() -> ExitCode {
    match run(&cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(INVALID),
        Err(error) => {
            eprintln!("roadstead-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked; tells whether its result, if it has one, is valid.
fn run(cli: &Cli) -> Result<bool> {
    match &cli.command {
        Command::Floor(FloorCommand::Echo { listen, seconds, pause_ms, every_ms }) => {
            let pauses = floor::echo::Pauses::new(*pause_ms, *every_ms);
            floor::echo::run(*listen, *seconds, pauses).doing("echo")?;
            Ok(true)
        }
        Command::Floor(FloorCommand::Fanout { listen, bytes, seconds }) => {
            floor::fanout::run(*listen, *bytes as usize, *seconds).doing("fan out")?;
            Ok(true)
        }
        Command::Floor(FloorCommand::Http { listen, seconds }) => {
            floor::http::run(*listen, *seconds).doing("answer")?;
            Ok(true)
        }
        Command::Echo(args) => {
            tell(scenario::exchange::run(&args.plan()?)?, &args.load.shared, &args.load.output)
        }
        Command::Http(args) => {
            tell(scenario::exchange::run(&args.plan()?)?, &args.load.shared, &args.load.output)
        }
        Command::Fanout(args) => {
            tell(scenario::fanout::run(&args.plan()?)?, &args.load.shared, &args.load.output)
        }
        Command::Mixed(args) => tell(scenario::mixed::run(&args.plan()?)?, &args.shared, &args.output),
        Command::Connect(args) => tell(scenario::connect::run(&args.plan()?)?, &args.shared, &args.output),
        Command::Storm(args) => {
            let connect = &args.connect;
            tell(scenario::connect::run(&args.plan()?)?, &connect.shared, &connect.output)
        }
        Command::Report(args) => chart::write(&args.files, &args.output).map(|()| true),
        Command::Worker(args) => crew::worker::run(&args.duty()?).map(|()| true),
    }
}

fn tell((report, latencies): (impl Report, Latencies), shared: &Shared, output: &Output) -> Result<bool> {
    if let Some(path) = &output.hgrm {
        files::write_hgrm(path, &latencies).doing("write the file of --hgrm")?;
    }
    if let Some(path) = &output.hlog {
        files::write_hlog(path, &latencies).doing("write the file of --hlog")?;
    }
    report::print(&report, shared.json).doing("print the result")?;
    Ok(report.verdict().valid)
}
