//! The command line: what can be asked, and what is refused before anything runs.

mod agents;
mod checks;
mod crowd;
mod exchange;
mod fanout;
mod line;
mod manners;
mod mixed;
mod shared;

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

pub use self::{
    agents::AgentArgs,
    crowd::{ConnectArgs, StormArgs},
    exchange::{EchoArgs, HttpArgs},
    fanout::FanoutArgs,
    mixed::MixedArgs,
    shared::{Load, Output, Shared},
};

/// A load generator that can be trusted, for Roadstead and for any other server.
///
/// Messages go out on a schedule and latency counts from the time a message was meant to be sent. When the generator
/// itself was the bottleneck, or anything was lost, the result says INVALID and the exit status is 2.
#[derive(Parser)]
#[command(
    name = "roadstead-bench",
    version,
    max_term_width = 110,
    after_help = "Examples:
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --rate 20000
  roadstead-bench fanout --url ws://127.0.0.1:9001/ --publish ws://127.0.0.1:9001/ --rate 20
  roadstead-bench COMMAND --help     for the examples of each"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Open many connections, hold them idle, measure rate, failures and memory.
    Connect(ConnectArgs),
    /// Let all connections come back at once; measure how long each waits until it is served.
    Storm(StormArgs),
    /// Send messages that come back; measure rate, latency and CPU per echo.
    Echo(EchoArgs),
    /// Make requests on keep-alive connections.
    Http(HttpArgs),
    /// Publish to many subscribers; account for every delivery.
    Fanout(FanoutArgs),
    /// Run a population described in a TOML file: some idle, some chatting, some coming and going.
    Mixed(MixedArgs),
    /// Lay results side by side in one self-contained HTML page.
    Report(ReportArgs),
    /// Carry parts of loads that a coordinator on another machine starts with --agents.
    Agent(AgentArgs),
    /// The bare epoll programs every server is measured against.
    #[command(subcommand)]
    Floor(FloorCommand),
    /// A process that does what its standard input says; not for people.
    #[command(hide = true)]
    Worker,
}

/// `report`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench echo --url ws://127.0.0.1:8080/echo --rate 20000 --json > ours.json
  roadstead-bench echo --url ws://127.0.0.1:9001/ --rate 20000 --json > theirs.json
  roadstead-bench report ours.json theirs.json -o report.html")]
pub struct ReportArgs {
    /// Results that were printed with --json; at most 8. A run is called after its file.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The page to write.
    #[arg(short, long, default_value = "report.html")]
    pub output: PathBuf,
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
        /// Milliseconds to stand still every --every-ms: a server with a known fault, to check a load generator with.
        #[arg(long, hide = true, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
        pause_ms: u64,
        /// How often to stand still.
        #[arg(long, hide = true, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
        every_ms: u64,
    },
    /// TLS handshakes in memory: CPU time of the server's half of a whole one, as JSON.
    Handshakes {
        /// The server's certificate chain, PEM.
        #[arg(long)]
        certificate: PathBuf,
        /// Its key, PEM.
        #[arg(long)]
        key: PathBuf,
        /// For how long.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// A canned answer to every HTTP request, a canned 101 to every request for a WebSocket.
    Http {
        /// Where to listen; port 0 takes a free one. The address is printed.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Seconds after which it ends.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
    },
    /// A relay: what a connection sends goes to all others, by the thread that has received it or by a second one.
    Relay {
        /// Where to listen; port 0 takes a free one. The address is printed.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Hand each message to a second thread on the next core, which has to be woken, and which sends it.
        #[arg(long)]
        handed: bool,
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

/// The command line, or its end: help and complaints.
pub fn parse() -> Cli {
    match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            let help = error.render();
            let is_terminal = std::io::stdout().is_terminal();
            print!("{}", with_numbers(&if is_terminal { help.ansi().to_string() } else { help.to_string() }));
            std::process::exit(0)
        }
        Err(error) => error.exit(),
    }
}

/// Help with the `{n}` that clap would take for the end of a line: it is written `⟨n⟩` in this folder.
fn with_numbers(help: &str) -> String {
    help.replace("⟨n⟩", "{n}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_breaks_no_number_and_offers_no_transport_that_is_refused() {
        let help = |name: &str| {
            let mut command = Cli::command();
            let found = command.find_subcommand_mut(name).unwrap();
            let help = with_numbers(&found.render_long_help().to_string());
            help.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let echo = help("echo");
        assert!(echo.contains("{n} is the connection's number") && echo.contains("/user/{n}'"), "{echo}");
        assert!(echo.contains("[possible values: ws, tcp, socketio]"), "{echo}");
        for command in Cli::command().get_subcommands() {
            let help = help(command.get_name());
            assert!(!help.contains('⟨'), "{help}");
        }
    }
}
