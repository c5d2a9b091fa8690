//! `roadstead-bench`: a load generator that can be trusted, for Roadstead and for any other server.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`target`] | what can be asked, and what is refused before anything runs |
//! | [`endpoint`] | where and how a client connects |
//! | [`scenario`] | the measurements, one file each |
//! | [`trial`] | several runs: rounds, two servers in turn, a search for the highest rate |
//! | [`crew`] | connections spread over worker processes and source addresses |
//! | [`agents`] | worker processes on other machines |
//! | [`mod@load`] | pace, start and end, the live line |
//! | [`engine`] | the client's event loop on the project's ring |
//! | [`protocol`] | what a client says and understands: sans-io |
//! | [`chart`] | results side by side as one page |
//! | [`floor`] | the bare programs servers are measured against |
//! | [`host`] | CPU and memory of processes, from `/proc`; the clock |
//! | [`latency`], [`ledger`], [`verdict`], [`report`] | what was found, and whether to believe it |

mod agents;
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
mod trial;
mod verdict;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command, ConnectArgs, FloorCommand, Load, Output, Shared},
    error::{Doing, Result},
    latency::Latencies,
    report::{Report, files, series},
    scenario::connect::ConnectPlan,
    trial::{Paced, Told},
};

/// The exit status of a result that may not be believed.
const INVALID: u8 = 2;
/// The exit status of a valid result that crosses a threshold of `--fail-if`.
const CROSSED: u8 = 3;

/// How a command ended that did not fail.
enum End {
    Done,
    Invalid,
    Crossed,
}

fn main() -> ExitCode {
    match run(&cli::parse()) {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Invalid) => ExitCode::from(INVALID),
        Ok(End::Crossed) => ExitCode::from(CROSSED),
        Err(error) => {
            eprintln!("roadstead-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked.
fn run(cli: &Cli) -> Result<End> {
    match &cli.command {
        Command::Floor(FloorCommand::Echo { listen, seconds, pause_ms, every_ms }) => {
            let pauses = floor::echo::Pauses::new(*pause_ms, *every_ms);
            floor::echo::run(*listen, *seconds, pauses).doing("echo")?;
            Ok(End::Done)
        }
        Command::Floor(FloorCommand::Fanout { listen, bytes, seconds }) => {
            floor::fanout::run(*listen, *bytes as usize, *seconds).doing("fan out")?;
            Ok(End::Done)
        }
        Command::Floor(FloorCommand::Handshakes { certificate, key, seconds }) => {
            let found = floor::handshakes::run(certificate, key, *seconds).doing("shake hands")?;
            println!("{}", serde_json::to_string(&found).expect("numbers are JSON"));
            Ok(End::Done)
        }
        Command::Floor(FloorCommand::Http { listen, seconds }) => {
            floor::http::run(*listen, *seconds).doing("answer")?;
            Ok(End::Done)
        }
        Command::Floor(FloorCommand::Relay { listen, handed, seconds }) => {
            floor::relay::run(*listen, *seconds, *handed).doing("relay")?;
            Ok(End::Done)
        }
        Command::Echo(args) => load(args.plan()?, args.rival()?, &args.load),
        Command::Http(args) => load(args.plan()?, args.rival()?, &args.load),
        Command::Fanout(args) => load(args.plan()?, args.rival()?, &args.load),
        Command::Mixed(args) => {
            let found = trial::in_rounds(&args.plan()?, args.rival()?.as_ref(), &args.rounds.trial())?;
            tell(found, &args.shared, &args.output)
        }
        Command::Connect(args) => crowd(&args.plan()?, args.rival()?.as_ref(), args),
        Command::Storm(args) => crowd(&args.plan()?, args.rival()?.as_ref(), &args.connect),
        Command::Report(args) => chart::write(&args.files, &args.output).map(|()| End::Done),
        Command::Agent(args) => {
            agents::serve::serve(args.agent()?).doing("serve as an agent")?;
            Ok(End::Done)
        }
        Command::Worker => crew::worker::run().map(|()| End::Done),
    }
}

/// Measures a load as often as asked.
fn load<P: Paced>(mut plan: P, rival: Option<P>, args: &Load) -> Result<End> {
    tell(trial::run(&mut plan, rival.as_ref(), &args.trial.trial())?, &args.shared, &args.output)
}

/// Measures connecting as often as asked.
fn crowd(plan: &ConnectPlan, rival: Option<&ConnectPlan>, args: &ConnectArgs) -> Result<End> {
    tell(trial::in_rounds(plan, rival, &args.rounds.trial())?, &args.shared, &args.output)
}

/// Prints a result and writes what was asked for besides.
fn tell((mut told, latencies): (Told, Latencies), shared: &Shared, output: &Output) -> Result<End> {
    let crossed = told.judge(&shared.fail_if);
    if let Some(path) = &output.hgrm {
        files::write_hgrm(path, &latencies).doing("write the file of --hgrm")?;
    }
    if let Some(path) = &output.hlog {
        files::write_hlog(path, &latencies).doing("write the file of --hlog")?;
    }
    if let Some(path) = &output.csv {
        series::write_csv(path, &latencies).doing("write the file of --csv")?;
    }
    if let Some(path) = &output.openmetrics {
        series::write_openmetrics(path, &told.value).doing("write the file of --openmetrics")?;
    }
    report::print(&told, shared.json).doing("print the result")?;
    Ok(match (told.verdict().valid, crossed) {
        (false, _) => End::Invalid,
        (true, true) => End::Crossed,
        (true, false) => End::Done,
    })
}
