//! `roadstead-bench`: a load generator that can be trusted, for Roadstead and for any other server.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`target`] | what can be asked, and what is refused before anything runs |
//! | [`scenario`] | the measurements, one file each |
//! | [`crew`] | connections spread over worker processes and source addresses |
//! | [`engine`] | the client's event loop; the only `unsafe` |
//! | [`protocol`] | what a client says and understands: sans-io |
//! | [`floor`] | the bare programs servers are measured against |
//! | [`host`] | CPU and memory of processes, from `/proc` |
//! | [`latency`], [`ledger`], [`report`] | what was found |

mod cli;
mod crew;
mod engine;
mod error;
mod floor;
mod host;
mod latency;
mod ledger;
mod protocol;
mod report;
mod scenario;
mod target;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{Cli, Command, FloorCommand},
    error::{Doing, Result},
};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roadstead-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Floor(FloorCommand::Echo { listen, seconds }) => {
            floor::echo::run(*listen, *seconds).doing("echo")
        }
        Command::Floor(FloorCommand::Fanout { listen, bytes, seconds }) => {
            floor::fanout::run(*listen, *bytes as usize, *seconds).doing("fan out")
        }
        Command::Echo(args) => {
            report::print(&scenario::echo::run(&args.plan()?)?, args.shared.json);
            Ok(())
        }
        Command::Connect(args) => {
            report::print(&scenario::connect::run(&args.plan()?)?, args.shared.json);
            Ok(())
        }
        Command::Fanout(args) => {
            report::print(&scenario::fanout::run(&args.plan()?)?, args.shared.json);
            Ok(())
        }
        Command::Worker(args) => crew::worker::run(&args.duty()?),
    }
}
