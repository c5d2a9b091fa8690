//! `mixed`.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Shared, checks::transport, shared::Threads};
use crate::{
    error::Result,
    scenario::mixed::{GroupPlan, MixedPlan, description::Description},
};

/// `mixed`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench mixed bench/scenarios/chat.toml --pid $(pidof roadstead)
  roadstead-bench mixed bench/scenarios/echo-population.toml --url ws://127.0.0.1:9001/
  roadstead-bench mixed bench/scenarios/churn.toml --hlog churn.hlog
  The files in bench/scenarios say in comments what each setting means.")]
pub struct MixedArgs {
    /// The population, as a TOML file.
    file: PathBuf,
    /// Connect here instead of to the file's `url`; groups with a `url` of their own keep it.
    #[arg(long)]
    url: Option<String>,
    /// Measured time, instead of the file's.
    #[arg(long)]
    seconds: Option<f64>,
    /// Who holds the connections.
    #[command(flatten)]
    threads: Threads,
    /// Where latencies are written besides.
    #[command(flatten)]
    pub output: Output,
    /// What every measurement takes.
    #[command(flatten)]
    pub shared: Shared,
}

impl MixedArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<MixedPlan> {
        let mut description = Description::read(&self.file)?;
        if let Some(url) = &self.url {
            description.url.clone_from(url);
        }
        if let Some(seconds) = self.seconds {
            description.seconds = seconds;
        }
        description.check()?;
        let mut groups = Vec::new();
        for (group, count) in description.group.iter().zip(description.counts()) {
            let target = group.target(&description.url)?;
            let endpoint = self.shared.endpoint(&target, transport(&target, group.transport)?)?;
            groups.push(GroupPlan { count, endpoint });
        }
        let address = groups[0].endpoint.address;
        let shares = self.threads.share_out(description.connections, address)?;
        let server = self.shared.server(address)?;
        Ok(MixedPlan { description, groups, shares, server })
    }
}
