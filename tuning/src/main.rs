//! `roadstead-tune`: the tuning tool on its own, for hosts that do not run Roadstead.

use std::process::ExitCode;

use clap::Parser;
use roadstead_tuning::cli::{self, Tune};

/// Reads this host, explains what bounds its connections, applies settings and rolls them back.
#[derive(Parser)]
#[command(name = "roadstead-tune", version)]
struct Arguments {
    #[command(subcommand)]
    tune: Tune,
}

fn main() -> ExitCode {
    ExitCode::from(cli::run(Arguments::parse().tune))
}
