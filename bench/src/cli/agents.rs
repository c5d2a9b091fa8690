//! `agent`, and what has agents of other machines carry a load.

use std::{fs, net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::{
    agents::{TOKEN_CHARS_MIN, Token, link::Agents, serve::Agent},
    crew::assignment::Directions,
    error::{Doing, Error, Result},
    load::window::WarmUp,
};

/// The most agents of a run.
const AGENTS_MAX: usize = 64;

/// `agent`.
#[derive(Args)]
#[command(after_help = "Examples:
  openssl rand -hex 16 > token
  roadstead-bench agent --token-file token     on this machine alone
  roadstead-bench agent --token-file token --listen 10.0.0.5:7300     for a coordinator elsewhere
  roadstead-bench echo --url ws://10.0.0.1:8080/echo --rate 100000 --agents 10.0.0.5:7300,10.0.0.6:7300 --token-file token
  An agent runs workers of this program and nothing else. What is sent to it is not encrypted: headers may hold keys, so
  use a network of your own or a tunnel, such as ssh -L 7300:127.0.0.1:7300 HOST.")]
pub struct AgentArgs {
    /// Where to listen; port 0 takes a free one. The address is printed.
    #[arg(long, default_value = "127.0.0.1:7300")]
    listen: SocketAddr,
    /// What coordinators have to know.
    #[command(flatten)]
    token: TokenArgs,
    /// Load targets that are neither loopback nor private as well, when a coordinator says --i-own-this-target.
    #[arg(long)]
    i_own_these_targets: bool,
}

/// What both sides know.
#[derive(Args)]
pub struct TokenArgs {
    /// The token that agents and coordinator share: 16 characters at least.
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
    /// A file that holds it, and nothing else.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Other machines that carry the load.
#[derive(Args)]
pub struct AgentsArgs {
    /// Have the agents at these addresses carry the load, each an equal part; they started as `roadstead-bench agent`.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    agents: Vec<String>,
    /// What they know as well.
    #[command(flatten)]
    token: TokenArgs,
}

impl AgentArgs {
    /// Checks the arguments.
    pub fn agent(&self) -> Result<Agent> {
        let allows_foreign = self.i_own_these_targets;
        Ok(Agent { listen: self.listen, token: self.token.token()?, allows_foreign })
    }
}

impl TokenArgs {
    fn token(&self) -> Result<Token> {
        let text = match (&self.token, &self.token_file) {
            (Some(text), _) => Some(text.clone()),
            (None, Some(path)) => Some(fs::read_to_string(path).doing("read the file of --token-file")?),
            (None, None) => None,
        };
        let said = if text.is_some() { "…" } else { "(none)" };
        text.as_deref().and_then(Token::new).ok_or_else(|| {
            let accepted =
                format!("{TOKEN_CHARS_MIN} characters at least, or --token-file FILE that holds them");
            Error::Argument { flag: "--token", value: said.to_owned(), accepted }
        })
    }
}

impl AgentsArgs {
    /// The agents asked for, if any were, for so many connections.
    pub fn agents(&self, connections: u64) -> Result<Option<Agents>> {
        if self.agents.is_empty() {
            return Ok(None);
        }
        let refused = |accepted: String| {
            Err(Error::Argument { flag: "--agents", value: self.agents.join(","), accepted })
        };
        if self.agents.len() > AGENTS_MAX || self.agents.len() as u64 > connections {
            return refused(format!("at most {AGENTS_MAX} agents, and a connection for each at least"));
        }
        if let Some(wrong) = self.agents.iter().find(|address| !address.contains(':')) {
            return refused(format!("addresses with their ports, such as {wrong}:7300"));
        }
        Ok(Some(Agents { addresses: self.agents.clone(), token: self.token.token()? }))
    }

    /// Refuses agents where several clocks cannot be told apart from a slow server.
    pub fn refuse(&self, why: &str) -> Result<()> {
        if self.agents.is_empty() {
            return Ok(());
        }
        let (flag, value) = ("--agents", self.agents.join(","));
        Err(Error::Argument { flag, value, accepted: why.to_owned() })
    }
}

/// Refuses what each agent would decide for itself.
pub fn check_warm_up(warm_up: WarmUp) -> Result<()> {
    match warm_up {
        WarmUp::For(_) => Ok(()),
        WarmUp::UntilSteady(_) => Err(Error::Argument {
            flag: "--warm-up",
            value: "auto".to_owned(),
            accepted: "seconds where --agents carry the load: each would be steady at another time"
                .to_owned(),
        }),
    }
}

/// Refuses a socket file, which is of one machine.
pub fn refuse_socket_file(directions: &Directions) -> Result<()> {
    directions.line.unix_socket.as_ref().map_or(Ok(()), |path| {
        let (value, accepted) =
            (path.display().to_string(), "an address where --agents carry the load".to_owned());
        Err(Error::Argument { flag: "--unix-socket", value, accepted })
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn an_agent_is_this_machines_alone_unless_told_and_never_without_a_token() {
        let agent = |arguments: &[&str]| {
            let words = ["roadstead-bench", "agent"].iter().chain(arguments);
            let Command::Agent(args) = Cli::try_parse_from(words).unwrap().command else {
                panic!("no agent")
            };
            args.agent()
        };
        assert!(agent(&["--token", "0123456789abcdef"]).unwrap().listen.ip().is_loopback());
        assert!(agent(&[]).is_err() && agent(&["--token", "0123456789abcde"]).is_err());
    }
}
