//! `fanout`.

use clap::Args;

use super::{Output, Shared, checks::transport, shared::Pacing};
use crate::{
    engine::open_files_max,
    error::{Doing, Result},
    protocol::{stamp::STAMP_BYTES, subscriber::Transport},
    scenario::fanout::FanoutPlan,
    target::Target,
};

/// Publications per second without --rate.
const RATE_USUAL: f64 = 10.0;

/// `fanout`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench fanout --url ws://127.0.0.1:8080/channels/x --publish http://127.0.0.1:8080/channels/x \\
      --subscribers 2000 --rate 50
  roadstead-bench fanout --url ws://127.0.0.1:9001/ --publish ws://127.0.0.1:9001/ --closed-loop --burst 16
  A foreign server that sends what one WebSocket says to all others needs nothing but its URL, twice.")]
pub struct FanoutArgs {
    /// Where subscribers connect: ws://…, http://… (with --transport sse or poll), or tcp://… for `floor fanout`.
    #[arg(long)]
    url: Target,
    /// How to receive; without it the URL's scheme decides (http: sse).
    #[arg(long)]
    transport: Option<Transport>,
    /// Where publications go: http://… (one POST each), ws://… (one frame each), or tcp://… (bare).
    #[arg(long)]
    publish: Target,
    /// Subscribers.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    subscribers: u32,
    /// Payload of a publication; its stamp takes 36.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=1_048_576))]
    bytes: u32,
    /// Publications written together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    burst: u32,
    #[command(flatten)]
    pacing: Pacing,
    /// Where latencies are written besides.
    #[command(flatten)]
    pub output: Output,
    /// What every measurement takes.
    #[command(flatten)]
    pub shared: Shared,
}

impl FanoutArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<FanoutPlan> {
        open_files_max().doing("raise the open-files limit")?;
        let address = self.url.resolve(self.shared.i_own_this_target)?;
        let (warm_up, measured) = self.pacing.times()?;
        Ok(FanoutPlan {
            address,
            transport: transport(&self.url, self.transport)?,
            target: self.url.clone(),
            publish_address: self.publish.resolve(self.shared.i_own_this_target)?,
            publish: self.publish.clone(),
            subscribers: self.subscribers as usize,
            message_bytes: self.bytes as usize,
            burst: self.burst as usize,
            pace: self.pacing.pace(RATE_USUAL)?,
            warm_up,
            measured,
            server: self.shared.server(address)?,
        })
    }
}
