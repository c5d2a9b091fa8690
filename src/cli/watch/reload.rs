//! `roadstead reload`: has a running server read its configuration again, and begin its program anew if it runs one.

use clap::Args;

use super::{WatchFailure, Whereabouts, feed::post};

const RELOAD_HELP: &str = "\
Examples:
  roadstead reload
  roadstead reload --config /etc/roadstead.toml

The server takes over what can change of its configuration and its certificates, as at SIGHUP. One that runs a program
(`roadstead run`) begins that anew: the old process finishes what it was given, the next one is told of all clients, and none of
them is disconnected. The server's log tells what becomes of it.

Exit codes: 0 the server does so, 1 nobody answers or it refuses, 2 bad usage or configuration.";

/// `roadstead reload`
#[derive(Debug, Args)]
#[command(after_help = RELOAD_HELP)]
pub struct Reload {
    #[command(flatten)]
    server: Whereabouts,
}

impl Reload {
    /// What is told when the server has been asked.
    pub fn run(self) -> Result<String, WatchFailure> {
        let place = self.server.find()?;
        post(&place, "/reload")?;
        Ok(format!(
            "the server at {place} reads its configuration again, and begins its program anew if it runs one; its log tells what \
             becomes of that\n"
        ))
    }
}
