//! `mixed`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{
    Output, Shared,
    checks::transport,
    shared::{Rounds, Threads},
};
use crate::{
    error::{Error, Result},
    host::server::Server,
    load::window::{Timing, WarmUp},
    scenario::mixed::{GroupPlan, MixedPlan, description::Description},
};

/// `mixed`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench mixed bench/scenarios/chat.toml --pid $(pidof roadstead)
  roadstead-bench mixed bench/scenarios/echo-population.toml --url ws://127.0.0.1:9001/
  roadstead-bench mixed bench/scenarios/echo-population.toml --against ws://127.0.0.1:9001/
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
    /// Time before measuring, instead of the file's; `auto` is until the load is steady, for half a minute at most, or for
    /// as long as auto:SECONDS says.
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<WarmUp>,
    /// Who holds the connections.
    #[command(flatten)]
    threads: Threads,
    /// How often.
    #[command(flatten)]
    pub rounds: Rounds,
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
        let description = self.description(self.url.as_deref())?;
        self.plan_of(description, |address| self.shared.server(address))
    }

    /// The same for the server of `--against`.
    pub fn rival(&self) -> Result<Option<MixedPlan>> {
        let Some(url) = &self.rounds.against else { return Ok(None) };
        let description = self.description(Some(&url.to_string()))?;
        if let Some(group) = description.group.iter().find(|group| group.url.is_some()) {
            return Err(Error::Argument {
                flag: "--against",
                value: url.to_string(),
                accepted: format!(
                    "a population that connects where it is told: its group {} has a url of its own, which would be the \
                     same on both sides",
                    group.name
                ),
            });
        }
        self.plan_of(description, |_| self.rounds.rival()).map(Some)
    }

    fn description(&self, url: Option<&str>) -> Result<Description> {
        let mut description = Description::read(&self.file)?;
        if let Some(url) = url {
            url.clone_into(&mut description.url);
        }
        if let Some(seconds) = self.seconds {
            description.seconds = seconds;
        }
        description.check()?;
        Ok(description)
    }

    fn plan_of(
        &self,
        description: Description,
        server: impl Fn(SocketAddr) -> Result<Option<Server>>,
    ) -> Result<MixedPlan> {
        let mut groups = Vec::new();
        for (group, count) in description.group.iter().zip(description.counts()) {
            let target = group.target(&description.url)?;
            let endpoint = self.shared.endpoint(&target, transport(&target, group.transport)?)?;
            groups.push(GroupPlan { count, endpoint });
        }
        let address = groups[0].endpoint.address;
        let shares = self.threads.share_out(description.connections, address)?;
        let Timing { warm_up, measured } = description.timing();
        let timing = Timing { warm_up: self.warm_up.unwrap_or(warm_up), measured };
        Ok(MixedPlan { timing, server: server(address)?, description, groups, shares })
    }
}
