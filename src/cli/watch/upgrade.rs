//! `roadstead upgrade`: asks a running server to let the program that stands where its own stood go on, and waits until it does.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use super::{Feed, WatchFailure, Whereabouts, feed::post, status::shown};
use crate::limits::{UPGRADE_PASS_MS, UPGRADE_READY_MS};

const UPGRADE_HELP: &str = "\
Examples:
  roadstead upgrade
  roadstead upgrade --config /etc/roadstead.toml

The server's keeper starts the program that stands now where the one it runs stood. That checks its configuration and goes on
with the channels of the old one; clients are told to come back. `roadstead help restarting` tells what goes over.

One upgrade is under way at a time: another one that is asked for meanwhile is refused at once, and changes nothing.

Exit codes: 0 another process serves, of the version that is printed, 1 none does (the old one serves on, and the reason is printed,
or the server's log tells it), one is under way, or nobody answers, 2 bad usage or configuration.";

/// How long an upgrade may take.
const PATIENCE: Duration = Duration::from_millis(UPGRADE_READY_MS + 2 * UPGRADE_PASS_MS);
/// How long the old server answers, and an upgrade may be under way all the same.
const PATIENCE_WITH_OLD: Duration = Duration::from_millis(UPGRADE_READY_MS + 5_000);
const PERIOD: Duration = Duration::from_millis(200);

/// `roadstead upgrade`
#[derive(Debug, Args)]
#[command(after_help = UPGRADE_HELP)]
pub struct Upgrade {
    #[command(flatten)]
    server: Whereabouts,
}

impl Upgrade {
    /// What became of it.
    pub fn run(self) -> Result<String, WatchFailure> {
        let place = self.server.find()?;
        let look = || Feed::open(&place)?.next();
        look()?;
        let asked = Instant::now();
        post(&place, "/upgrade")?;
        while asked.elapsed() < PATIENCE {
            thread::sleep(PERIOD);
            // Nobody answers while one goes and the other comes.
            let Ok(look) = look() else { continue };
            let since = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
            // Whoever was asked has been up for longer.
            let Some(program) = look.seen.program() else { continue };
            // The old version, that of before or begun again.
            if let Some(reason) = &program.upgrade_failed {
                return Err(WatchFailure::UpgradeFailed(shown(reason)));
            }
            if program.uptime_ms < since {
                return Ok(format!("roadstead {} serves at {place}\n", program.version));
            }
            if asked.elapsed() > PATIENCE_WITH_OLD {
                break;
            }
        }
        Err(WatchFailure::NotUpgraded)
    }
}
