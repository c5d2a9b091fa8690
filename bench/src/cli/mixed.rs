//! `mixed`.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Shared, checks::transport};
use crate::{
    engine::open_files_max,
    error::{Doing, Result},
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
        open_files_max().doing("raise the open-files limit")?;
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
            groups.push(GroupPlan {
                count,
                address: target.resolve(self.shared.i_own_this_target)?,
                transport: transport(&target, group.transport)?,
                target,
            });
        }
        let server = self.shared.server(groups[0].address)?;
        Ok(MixedPlan { description, groups, server })
    }
}
