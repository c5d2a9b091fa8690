//! `connect` and `storm`.

use std::net::{IpAddr, SocketAddr};

use clap::Args;

use super::{
    Output, Shared,
    agents::{AgentsArgs, refuse_socket_file},
    checks::{positive, scheme_refused, seconds, transport},
    shared::{Rounds, rival_publish},
};
use crate::{
    crew::{
        Hands,
        assignment::Hold,
        plan::{Demand, Share, share_out},
    },
    engine::open_files_max,
    error::{Doing, Result},
    host::server::Server,
    protocol::subscriber::Transport,
    scenario::connect::ConnectPlan,
    target::{Scheme, Target},
};

/// `connect`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench connect --url ws://127.0.0.1:8080/channels/x --connections 15000 --pid $(pidof roadstead)
  roadstead-bench connect --url http://127.0.0.1:8080/channels/x --transport sse --connections 15000
  roadstead-bench connect --url http://127.0.0.1:3000/socket.io/ --transport socketio-polling
  roadstead-bench connect --url ws://127.0.0.1:8080/channels/x --connections 100000 --hold 60 \\
      --publish http://127.0.0.1:8080/channels/x")]
pub struct ConnectArgs {
    /// ws:// or wss://HOST:PORT/PATH, http:// or https://HOST:PORT/PATH (with --transport), or tcp://HOST:PORT. In a URL for Socket.IO,
    /// `namespace` and `room` are what the client enters and joins.
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
    /// Where that goes on the server of --against.
    #[arg(long, value_name = "URL", requires = "against")]
    against_publish: Option<Target>,
    /// Other machines that hold them.
    #[command(flatten)]
    agents: AgentsArgs,
    /// How often.
    #[command(flatten)]
    pub rounds: Rounds,
    /// Where the times until served are written besides.
    #[command(flatten)]
    pub output: Output,
    /// What every measurement takes.
    #[command(flatten)]
    pub shared: Shared,
}

/// `storm`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench storm --url ws://127.0.0.1:8080/channels/x --connections 8000 --pid $(pidof roadstead)
  roadstead-bench storm --url http://127.0.0.1:8080/channels/x --connections 8000 --waves 4
  The first wave connects some at a time; from the second on all come at once. Times count from the storm's start.")]
pub struct StormArgs {
    /// What `connect` takes; the first wave is the calm before the storm.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

impl StormArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<ConnectPlan> {
        self.connect.plan().map(storming)
    }

    /// The same for the server of `--against`.
    pub fn rival(&self) -> Result<Option<ConnectPlan>> {
        Ok(self.connect.rival()?.map(storming))
    }
}

fn storming(plan: ConnectPlan) -> ConnectPlan {
    ConnectPlan { storm: true, waves: plan.waves.max(2), ..plan }
}

impl ConnectArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<ConnectPlan> {
        let server = |address| self.shared.server(address);
        self.plan_of(&self.url, self.publish.as_ref(), server)
    }

    /// The same for the server of `--against`.
    pub fn rival(&self) -> Result<Option<ConnectPlan>> {
        let Some(url) = &self.rounds.against else { return Ok(None) };
        let publish = rival_publish(self.publish.as_ref(), url, self.against_publish.as_ref())?;
        self.plan_of(url, publish, |_| self.rounds.rival()).map(Some)
    }

    fn plan_of(
        &self,
        url: &Target,
        publish: Option<&Target>,
        server: impl Fn(SocketAddr) -> Result<Option<Server>>,
    ) -> Result<ConnectPlan> {
        let transport = transport(url, self.transport)?;
        self.shared.manners.refuse_compression_of(url, transport)?;
        let directions = self.shared.directions(url, transport)?;
        let target = directions.endpoint()?.address;
        let (connections, workers, sources) = (self.connections, self.workers, self.sources.as_slice());
        let hands = match self.agents.agents(connections)? {
            Some(agents) => {
                refuse_socket_file(&directions)?;
                Hands::There { agents, connections, workers, sources: sources.to_vec() }
            }
            None => {
                let open_files_max = open_files_max().doing("raise the open-files limit")?;
                Hands::Here(share_out(&Demand { connections, workers, sources, target, open_files_max })?)
            }
        };
        let publish = match publish {
            Some(publish) if publish.scheme != Scheme::Http => {
                return Err(scheme_refused("--publish", publish, "http://"));
            }
            Some(publish) => Some(self.shared.endpoint(publish, Transport::Poll)?),
            None => None,
        };
        let rate = self.rate.map(|rate| positive("--rate", rate)).transpose()?;
        Ok(ConnectPlan {
            url: url.to_string(),
            connections,
            hands,
            hold_as: Hold {
                directions,
                share: Share { connections: 0, sources: Vec::new() },
                in_flight_max: self.in_flight as usize,
                rate,
            },
            target,
            waves: self.waves,
            hold: seconds("--hold", self.hold)?,
            settle: seconds("--settle-seconds", self.settle_seconds)?,
            connect_timeout: seconds("--connect-timeout-seconds", self.connect_timeout_seconds)?,
            publish,
            rate,
            storm: false,
            server: server(target)?,
        })
    }
}
