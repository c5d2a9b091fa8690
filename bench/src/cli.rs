//! The command line: what can be asked, and what is refused before anything runs.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    crew::{
        plan::{Demand, Share, share_out},
        worker::Duty,
    },
    engine::open_files_max,
    error::{Doing, Error, Result},
    protocol::{stamp::STAMP_BYTES, subscriber::Transport},
    scenario::{connect::ConnectPlan, echo::EchoPlan, fanout::FanoutPlan},
    target::{Scheme, Target},
};

/// A load generator that can be trusted, for Roadstead and for any other server.
#[derive(Parser)]
#[command(name = "roadstead-bench", version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// The bare epoll programs every server is measured against.
    #[command(subcommand)]
    Floor(FloorCommand),
    /// Keep one message per connection under way; measure echoes/s, latency and CPU per echo.
    Echo(EchoArgs),
    /// Open many connections, hold them idle, measure rate, failures and memory.
    Connect(ConnectArgs),
    /// Publish to many subscribers; account for every delivery.
    Fanout(FanoutArgs),
    /// A process of `connect`; not for people.
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// The floor programs.
#[derive(Subcommand)]
pub enum FloorCommand {
    /// A TCP echo: epoll_wait, recv, send.
    Echo {
        /// Where to listen; port 0 takes a free one. The address is printed.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Seconds after which it ends.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
    },
    /// A fan-out: each message of a connection that sends goes to all others in a plain loop of send.
    Fanout {
        /// Where to listen; port 0 takes a free one. The address is printed.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Length of a message.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
        bytes: u32,
        /// Seconds after which it ends.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
    },
}

/// What every measurement takes.
#[derive(Args)]
pub struct Shared {
    /// The server's process id: its CPU and memory are measured too.
    #[arg(long)]
    pid: Option<u32>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Allow a target that is neither loopback nor private.
    #[arg(long)]
    i_own_this_target: bool,
}

/// `echo`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --connections 200 --bytes 32 --seconds 5 --pid $(pidof roadstead)
  roadstead-bench floor echo --listen 127.0.0.1:9000 &
  roadstead-bench echo --url tcp://127.0.0.1:9000")]
pub struct EchoArgs {
    /// ws://HOST:PORT/PATH, or tcp://HOST:PORT for an echo without a protocol.
    #[arg(long)]
    url: Target,
    /// Connections, each with one message under way.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    connections: u32,
    /// Payload of a message.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    bytes: u32,
    /// Measured time.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Time before measuring.
    #[arg(long, default_value_t = 0.5)]
    warm_up_seconds: f64,
    /// What every measurement takes.
    #[command(flatten)]
    pub shared: Shared,
}

/// `connect`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench connect --url ws://127.0.0.1:8080/channels/x --connections 15000 --pid $(pidof roadstead)
  roadstead-bench connect --url http://127.0.0.1:8080/channels/x --transport sse --connections 15000
  roadstead-bench connect --url ws://127.0.0.1:8080/channels/x --connections 100000 --hold 60 \\
      --publish http://127.0.0.1:8080/channels/x")]
pub struct ConnectArgs {
    /// ws://HOST:PORT/PATH, http://HOST:PORT/PATH (with --transport sse or poll), or tcp://HOST:PORT.
    #[arg(long)]
    url: Target,
    /// How to receive; without it the URL's scheme decides (http: sse).
    #[arg(long)]
    transport: Option<Transport>,
    /// Connections in all.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
    connections: u64,
    /// Processes to spread them over; without it as few as the open-files limit allows.
    #[arg(long)]
    workers: Option<u64>,
    /// Local addresses to connect from, separated by commas; without it as many of 127.0.0.2… as are needed.
    #[arg(long, value_delimiter = ',')]
    sources: Vec<IpAddr>,
    /// Seconds to hold the connections.
    #[arg(long, default_value_t = 2.0)]
    hold: f64,
    /// How often to connect and disconnect them all.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    waves: u32,
    /// Connections opened per second, all workers together; without it as fast as they are served.
    #[arg(long)]
    rate: Option<f64>,
    /// Connections on their way at once, per worker.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: u32,
    /// Seconds the server is given before memory is read.
    #[arg(long, default_value_t = 1.0)]
    settle_seconds: f64,
    /// Seconds connecting may take.
    #[arg(long, default_value_t = 120.0)]
    connect_timeout_seconds: f64,
    /// Publish one message here (http://…) at the end of the hold, and count who receives it.
    #[arg(long)]
    publish: Option<Target>,
    /// What every measurement takes.
    #[command(flatten)]
    pub shared: Shared,
}

/// `fanout`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench fanout --url ws://127.0.0.1:8080/channels/x --publish http://127.0.0.1:8080/channels/x \\
      --subscribers 2000 --rate 50
  roadstead-bench fanout --url ws://127.0.0.1:9001/ --publish ws://127.0.0.1:9001/ --burst 16
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
    /// Publications per second, on a schedule. Without it the loop is closed: the next when all have the last.
    #[arg(long)]
    rate: Option<f64>,
    /// Measured time.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Time before measuring.
    #[arg(long, default_value_t = 0.5)]
    warm_up_seconds: f64,
    /// What every measurement takes.
    #[command(flatten)]
    pub shared: Shared,
}

/// `worker`.
#[derive(Args)]
pub struct WorkerArgs {
    #[arg(long)]
    url: Target,
    #[arg(long)]
    transport: Transport,
    #[arg(long)]
    connections: u64,
    #[arg(long, value_delimiter = ',')]
    sources: Vec<IpAddr>,
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long)]
    in_flight: usize,
    #[arg(long)]
    i_own_this_target: bool,
}

impl EchoArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<EchoPlan> {
        if self.url.scheme == Scheme::Http {
            return Err(scheme_refused("--url", &self.url, "ws:// or tcp://"));
        }
        open_files_max().doing("raise the open-files limit")?;
        Ok(EchoPlan {
            address: self.url.resolve(self.shared.i_own_this_target)?,
            target: self.url.clone(),
            connections: self.connections as usize,
            message_bytes: self.bytes as usize,
            warm_up: seconds("--warm-up-seconds", self.warm_up_seconds)?,
            measured: seconds("--seconds", self.seconds)?,
            server_pid: self.shared.pid,
        })
    }
}

impl FanoutArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<FanoutPlan> {
        open_files_max().doing("raise the open-files limit")?;
        Ok(FanoutPlan {
            address: self.url.resolve(self.shared.i_own_this_target)?,
            transport: transport(&self.url, self.transport)?,
            target: self.url.clone(),
            publish_address: self.publish.resolve(self.shared.i_own_this_target)?,
            publish: self.publish.clone(),
            subscribers: self.subscribers as usize,
            message_bytes: self.bytes as usize,
            burst: self.burst as usize,
            rate: self.rate.map(|rate| positive("--rate", rate)).transpose()?,
            warm_up: seconds("--warm-up-seconds", self.warm_up_seconds)?,
            measured: seconds("--seconds", self.seconds)?,
            server_pid: self.shared.pid,
        })
    }
}

impl ConnectArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<ConnectPlan> {
        let target = self.url.resolve(self.shared.i_own_this_target)?;
        let transport = transport(&self.url, self.transport)?;
        let open_files_max = open_files_max().doing("raise the open-files limit")?;
        let (connections, workers, sources) = (self.connections, self.workers, self.sources.as_slice());
        let shares = share_out(&Demand { connections, workers, sources, target, open_files_max })?;
        let publish = match &self.publish {
            Some(publish) if publish.scheme != Scheme::Http => {
                return Err(scheme_refused("--publish", publish, "http://"));
            }
            Some(publish) => Some((publish.clone(), publish.resolve(self.shared.i_own_this_target)?)),
            None => None,
        };
        let rate = self.rate.map(|rate| positive("--rate", rate)).transpose()?;
        Ok(ConnectPlan {
            connections,
            worker_arguments: self.worker_arguments(transport, rate.map(|rate| rate / shares.len() as f64)),
            shares,
            waves: self.waves,
            hold: seconds("--hold", self.hold)?,
            settle: seconds("--settle-seconds", self.settle_seconds)?,
            connect_timeout: seconds("--connect-timeout-seconds", self.connect_timeout_seconds)?,
            publish,
            server_pid: self.shared.pid,
            progress: !self.shared.json,
        })
    }

    fn worker_arguments(&self, transport: Transport, rate: Option<f64>) -> Vec<String> {
        let transport = clap::ValueEnum::to_possible_value(&transport).expect("no transport is skipped");
        let mut arguments = vec![
            "--url".to_owned(),
            self.url.to_string(),
            "--transport".to_owned(),
            transport.get_name().to_owned(),
            "--in-flight".to_owned(),
            self.in_flight.to_string(),
        ];
        if let Some(rate) = rate {
            arguments.extend(["--rate".to_owned(), rate.to_string()]);
        }
        if self.shared.i_own_this_target {
            arguments.push("--i-own-this-target".to_owned());
        }
        arguments
    }
}

impl WorkerArgs {
    /// The arguments as a duty; the coordinator has checked them.
    pub fn duty(&self) -> Result<Duty> {
        open_files_max().doing("raise the open-files limit")?;
        Ok(Duty {
            address: self.url.resolve(self.i_own_this_target)?,
            target: self.url.clone(),
            transport: self.transport,
            share: Share { connections: self.connections, sources: self.sources.clone() },
            in_flight_max: self.in_flight,
            rate: self.rate,
        })
    }
}

/// The transport asked for, if the URL can carry it, or the scheme's usual one.
fn transport(target: &Target, asked: Option<Transport>) -> Result<Transport> {
    let (usual, possible, sentence): (_, &[Transport], _) = match target.scheme {
        Scheme::Tcp => (Transport::Tcp, &[Transport::Tcp], "tcp for a tcp:// URL"),
        Scheme::WebSocket => (Transport::Ws, &[Transport::Ws], "ws for a ws:// URL"),
        Scheme::Http => {
            (Transport::Sse, &[Transport::Sse, Transport::Poll], "sse or poll for an http:// URL")
        }
    };
    match asked {
        None => Ok(usual),
        Some(asked) if possible.contains(&asked) => Ok(asked),
        Some(asked) => Err(Error::Argument {
            flag: "--transport",
            value: format!("{asked:?}").to_lowercase(),
            accepted: sentence.to_owned(),
        }),
    }
}

fn scheme_refused(flag: &'static str, target: &Target, accepted: &str) -> Error {
    Error::Argument {
        flag,
        value: target.to_string(),
        accepted: format!("a URL that starts with {accepted}"),
    }
}

/// Every run ends by itself: at most a day.
fn seconds(flag: &'static str, value: f64) -> Result<Duration> {
    if (0.0..=86_400.0).contains(&value) {
        return Ok(Duration::from_secs_f64(value));
    }
    Err(Error::Argument { flag, value: value.to_string(), accepted: "0 to 86400 seconds".to_owned() })
}

fn positive(flag: &'static str, value: f64) -> Result<f64> {
    if value > 0.0 && value <= 1e9 {
        return Ok(value);
    }
    Err(Error::Argument { flag, value: value.to_string(), accepted: "more than 0, at most 1e9".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn flag_refused<T>(result: Result<T>) -> Option<&'static str> {
        match result {
            Err(Error::Argument { flag, .. }) => Some(flag),
            _ => None,
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_transport_must_suit_its_url() {
        let ask = |url: &str, asked| transport(&url.parse().unwrap(), asked);
        assert_eq!(ask("http://h/x", None).unwrap(), Transport::Sse);
        assert_eq!(ask("http://h/x", Some(Transport::Poll)).unwrap(), Transport::Poll);
        assert_eq!(ask("ws://h/x", None).unwrap(), Transport::Ws);
        assert_eq!(flag_refused(ask("ws://h/x", Some(Transport::Sse))), Some("--transport"));
    }

    #[test]
    fn times_and_rates_are_bounded() {
        assert_eq!(seconds("--hold", 86_400.0).unwrap(), Duration::from_secs(86_400));
        assert_eq!(flag_refused(seconds("--hold", 86_400.1)), Some("--hold"));
        assert_eq!(flag_refused(seconds("--hold", -0.1)), Some("--hold"));
        assert_eq!(flag_refused(seconds("--hold", f64::NAN)), Some("--hold"));
        assert_eq!(flag_refused(positive("--rate", 0.0)), Some("--rate"));
        assert_eq!(flag_refused(positive("--rate", f64::INFINITY)), Some("--rate"));
    }
}
