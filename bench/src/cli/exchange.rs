//! `echo` and `http`.

use std::{fs, net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::{
    Load,
    agents::{check_warm_up, refuse_socket_file},
    checks::{content, scheme_refused, transport},
    shared::Threads,
};
use crate::{
    crew::{assignment::Directions, plan::divide},
    error::{Doing, Error, Result},
    host::server::Server,
    protocol::{subscriber::Transport, template::Request},
    scenario::exchange::{Exchange, ExchangePlan, remote::Remote},
    target::{Scheme, Target},
};

/// Messages per second without --rate: little enough for any server.
const RATE_USUAL: f64 = 1000.0;

/// What messages are made of, if nothing else is asked for.
const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

/// `echo`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --rate 50000 --pid $(pidof roadstead)
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --closed-loop     the highest rate, not the latency
  roadstead-bench echo --url tcp://127.0.0.1:9000 --closed-loop \\
      --spawn 'roadstead-bench floor echo --listen 127.0.0.1:9000'      the bare epoll floor
  roadstead-bench echo --url http://127.0.0.1:3000/socket.io/ --transport socketio --rate 5000
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --objective 'p99<20ms'     the highest rate that keeps it
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --against ws://127.0.0.1:9001/ --rate 20000
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --rate 5000 --fail-if 'p99>20ms,lost>0'     for CI
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --compression --bytes 1000 --content @sample.json
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --stages 1k@10s,1k..20k@30s,1k@10s
  roadstead-bench echo --url 'ws://127.0.0.1:9001/user/⟨n⟩' --rate 5000 --hgrm echo.hgrm --hlog echo.hlog")]
pub struct EchoArgs {
    /// ws:// or wss://HOST:PORT/PATH, or tcp:// or tls://HOST:PORT for an echo without a protocol; ⟨n⟩ is the
    /// connection's number.
    #[arg(long)]
    url: Target,
    /// socketio, with a URL such as http://HOST:PORT/socket.io/: events named `echo`, acknowledged with their argument.
    #[arg(long, value_parser = echoing_transports())]
    transport: Option<Transport>,
    /// What messages are made of, @FILE for a file's; it is repeated or cut to --bytes.
    #[arg(long, value_name = "TEXT")]
    content: Option<String>,
    /// Payload of a message.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    bytes: u32,
    /// Connections in all.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
    connections: u64,
    /// What every load takes.
    #[command(flatten)]
    pub load: Load,
}

/// `http`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench http --url http://127.0.0.1:8080/hello --rate 20000
  roadstead-bench http --url http://127.0.0.1:8080/hello --connections 64 --closed-loop
  roadstead-bench http --url http://127.0.0.1:8080/channels/x --post-bytes 64 --rate 5000     publish calls
  roadstead-bench http --url http://127.0.0.1:3000/ --paths paths.txt -H 'Authorization: Bearer KEY' --rate 500
  roadstead-bench http --url http://127.0.0.1:3000/orders --body '{\"id\":⟨n⟩}' \\
      -H 'Content-Type: application/json' --ok-status 201")]
pub struct HttpArgs {
    /// http:// or https://HOST:PORT/PATH.
    #[arg(long)]
    url: Target,
    /// POST a body of so many bytes instead of GET: a publish call.
    #[arg(long, conflicts_with = "body", value_parser = clap::value_parser!(u32).range(0..=16_777_216))]
    post_bytes: Option<u32>,
    /// The method, if it is not GET, or POST with a body.
    #[arg(long)]
    method: Option<String>,
    /// The body, @FILE for a file's. ⟨n⟩ becomes the request's number, {stamp} a mark that `fanout` and `connect`
    /// recognise.
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// A file of paths, one a line, requested in turn instead of the URL's; ⟨n⟩ becomes the request's number.
    #[arg(long, value_name = "FILE")]
    paths: Option<PathBuf>,
    /// Statuses that count as right, separated by commas: 200-299,304.
    #[arg(long, value_name = "STATUSES", default_value = "200-299", value_delimiter = ',', value_parser = statuses)]
    ok_status: Vec<RangeInclusive<u16>>,
    /// Connections in all.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
    connections: u64,
    /// What every load takes.
    #[command(flatten)]
    pub load: Load,
}

/// The transports over which a message can come back.
fn echoing_transports() -> impl TypedValueParser<Value = Transport> {
    PossibleValuesParser::new(["ws", "tcp", "socketio"])
        .map(|name| Transport::from_str(&name, false).expect("each of them is a transport"))
}

impl EchoArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<ExchangePlan> {
        let transport = transport(&self.url, self.transport)?;
        if !matches!(transport, Transport::Ws | Transport::Tcp | Transport::SocketIo) {
            return Err(scheme_refused(
                "--url",
                &self.url,
                "ws:// or tcp://, or http:// and --transport socketio",
            ));
        }
        let directions = self.load.shared.directions(&self.url, transport)?;
        self.plan_of(directions, |address| self.load.shared.server(address))
    }

    /// The same for the server of `--against`.
    pub fn rival(&self) -> Result<Option<ExchangePlan>> {
        let Some(url) = &self.load.trial.rounds.against else { return Ok(None) };
        let directions = self.load.shared.directions(url, transport(url, self.transport)?)?;
        self.plan_of(directions, |_| self.load.trial.rounds.rival()).map(Some)
    }

    fn plan_of(
        &self,
        directions: Directions,
        server: impl Fn(SocketAddr) -> Result<Option<Server>>,
    ) -> Result<ExchangePlan> {
        let message = content(self.content.as_deref(), ALPHABET, self.bytes as usize)?;
        let exchange = Exchange::Echo { message };
        plan(directions, server, exchange, self.connections, &self.load)
    }
}

impl HttpArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<ExchangePlan> {
        if self.url.scheme != Scheme::Http {
            return Err(scheme_refused("--url", &self.url, "http://"));
        }
        self.load.shared.manners.refuse_compression_of(&self.url, Transport::Poll)?;
        let directions = self.load.shared.directions(&self.url, Transport::Poll)?;
        self.plan_of(directions, |address| self.load.shared.server(address))
    }

    /// The same for the server of `--against`.
    pub fn rival(&self) -> Result<Option<ExchangePlan>> {
        let Some(url) = &self.load.trial.rounds.against else { return Ok(None) };
        if url.scheme != Scheme::Http {
            return Err(scheme_refused("--against", url, "http://"));
        }
        let directions = self.load.shared.directions(url, Transport::Poll)?;
        self.plan_of(directions, |_| self.load.trial.rounds.rival()).map(Some)
    }

    fn plan_of(
        &self,
        directions: Directions,
        server: impl Fn(SocketAddr) -> Result<Option<Server>>,
    ) -> Result<ExchangePlan> {
        let exchange = Exchange::Http(self.request()?);
        let plan = plan(directions, server, exchange, self.connections, &self.load)?;
        Ok(ExchangePlan { right_statuses: self.ok_status.clone(), ..plan })
    }
}

impl HttpArgs {
    fn request(&self) -> Result<Request> {
        let body = match (&self.body, self.post_bytes) {
            (Some(body), _) => Some(match body.strip_prefix('@') {
                Some(path) => fs::read_to_string(path).doing("read the file of --body")?,
                None => body.clone(),
            }),
            (None, bytes) => bytes.map(|bytes| "x".repeat(bytes as usize)),
        };
        let refused = |flag, value: &str, accepted: &str| Error::Argument {
            flag,
            value: value.to_owned(),
            accepted: accepted.to_owned(),
        };
        if let Some(method) =
            self.method.as_ref().filter(|method| !method.bytes().all(|byte| byte.is_ascii_alphabetic()))
        {
            return Err(refused("--method", method, "letters, such as PUT"));
        }
        // An answer to HEAD has no body whatever its head says: reading it needs to know the question.
        if self.method.as_ref().is_some_and(|method| method.eq_ignore_ascii_case("HEAD")) {
            return Err(refused("--method", "HEAD", "a method whose answers have the bodies they tell of"));
        }
        let text = match &self.paths {
            Some(path) => fs::read_to_string(path).doing("read the file of --paths")?,
            None => String::new(),
        };
        let paths: Vec<_> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let is_path = |path: &String| path.starts_with('/') && !path.bytes().any(|byte| byte <= b' ');
        if let Some(wrong) = paths.iter().find(|path| !is_path(path)) {
            return Err(refused("--paths", wrong, "lines that begin with / and hold no spaces"));
        }
        if self.paths.is_some() && paths.is_empty() {
            return Err(refused("--paths", "FILE", "a file with at least one path"));
        }
        Ok(Request { method: self.method.as_ref().map(|method| method.to_ascii_uppercase()), paths, body })
    }
}

/// `200`, or `200-299`.
fn statuses(text: &str) -> std::result::Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err("a status of 100 to 599, or two with a hyphen between: 200-299".to_owned()),
    }
}

fn plan(
    directions: Directions,
    server: impl Fn(SocketAddr) -> Result<Option<Server>>,
    exchange: Exchange,
    connections: u64,
    load: &Load,
) -> Result<ExchangePlan> {
    let (endpoint, timing) = (directions.endpoint()?, load.pacing.timing()?);
    let agents = load.agents.agents(connections)?;
    let shares = match &agents {
        None => load.threads.share_out(connections, endpoint.address)?,
        Some(agents) => {
            check_warm_up(timing.warm_up)?;
            refuse_socket_file(&directions)?;
            divide(connections, agents.addresses.len() as u64)
        }
    };
    let Threads { workers, sources } = &load.threads;
    let remote =
        agents.map(|agents| Remote { agents, directions, workers: *workers, sources: sources.clone() });
    Ok(ExchangePlan {
        exchange,
        right_statuses: Vec::new(),
        pace: load.pacing.pace(RATE_USUAL)?,
        timing,
        shares,
        server: server(endpoint.address)?,
        remote,
        endpoint,
    })
}
