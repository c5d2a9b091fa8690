//! `echo` and `http`.

use clap::Args;

use super::{Output, Shared, checks::scheme_refused, shared::Pacing};
use crate::{
    crew::plan::{Demand, Share, share_out},
    engine::open_files_max,
    error::{Doing, Result},
    scenario::exchange::{Exchange, ExchangePlan},
    target::{Scheme, Target},
};

/// Messages per second without --rate: little enough for any server.
const RATE_USUAL: f64 = 1000.0;

/// `echo`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --rate 50000 --pid $(pidof roadstead)
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --closed-loop     the highest rate, not the latency
  roadstead-bench echo --url tcp://127.0.0.1:9000 --closed-loop \\
      --spawn 'roadstead-bench floor echo --listen 127.0.0.1:9000'      the bare epoll floor
  roadstead-bench echo --url 'ws://127.0.0.1:9001/user/{n}' --rate 5000 --hgrm echo.hgrm --hlog echo.hlog")]
pub struct EchoArgs {
    /// ws://HOST:PORT/PATH, or tcp://HOST:PORT for an echo without a protocol; {n} is the connection's number.
    #[arg(long)]
    url: Target,
    /// Payload of a message.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    bytes: u32,
    #[command(flatten)]
    spread: Spread,
    #[command(flatten)]
    pacing: Pacing,
    /// Where latencies are written besides.
    #[command(flatten)]
    pub output: Output,
    /// What every measurement takes.
    #[command(flatten)]
    pub shared: Shared,
}

/// `http`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench http --url http://127.0.0.1:8080/hello --rate 20000
  roadstead-bench http --url http://127.0.0.1:8080/hello --connections 64 --closed-loop
  roadstead-bench http --url http://127.0.0.1:8080/channels/x --post-bytes 64 --rate 5000     publish calls")]
pub struct HttpArgs {
    /// http://HOST:PORT/PATH.
    #[arg(long)]
    url: Target,
    /// POST a body of so many bytes instead of GET: a publish call.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=16_777_216))]
    post_bytes: Option<u32>,
    #[command(flatten)]
    spread: Spread,
    #[command(flatten)]
    pacing: Pacing,
    /// Where latencies are written besides.
    #[command(flatten)]
    pub output: Output,
    /// What every measurement takes.
    #[command(flatten)]
    pub shared: Shared,
}

/// How many connections, and who holds them.
#[derive(Args)]
struct Spread {
    /// Connections in all.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
    connections: u64,
    /// Threads to spread them over, each with a ring and a core of its own; without it as few as hold them all.
    #[arg(long)]
    workers: Option<u64>,
    /// Local addresses to connect from, separated by commas; without it as many of 127.0.0.2… as are needed.
    #[arg(long, value_delimiter = ',')]
    sources: Vec<std::net::IpAddr>,
}

impl EchoArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<ExchangePlan> {
        if self.url.scheme == Scheme::Http {
            return Err(scheme_refused("--url", &self.url, "ws:// or tcp://"));
        }
        let exchange = Exchange::Echo { bytes: self.bytes as usize };
        plan(&self.url, exchange, &self.spread, &self.pacing, &self.shared)
    }
}

impl HttpArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<ExchangePlan> {
        if self.url.scheme != Scheme::Http {
            return Err(scheme_refused("--url", &self.url, "http://"));
        }
        let exchange = Exchange::Http { post_bytes: self.post_bytes.map(|bytes| bytes as usize) };
        plan(&self.url, exchange, &self.spread, &self.pacing, &self.shared)
    }
}

fn plan(
    url: &Target,
    exchange: Exchange,
    spread: &Spread,
    pacing: &Pacing,
    shared: &Shared,
) -> Result<ExchangePlan> {
    let address = url.resolve(shared.i_own_this_target)?;
    let (warm_up, measured) = pacing.times()?;
    let pace = pacing.pace(RATE_USUAL)?;
    let shares: Vec<Share> = share_out(&Demand {
        connections: spread.connections,
        workers: spread.workers,
        sources: &spread.sources,
        target: address,
        open_files_max: open_files_max().doing("raise the open-files limit")?,
    })?;
    let server = shared.server(address)?;
    Ok(ExchangePlan { target: url.clone(), address, exchange, shares, pace, warm_up, measured, server })
}
