//! `roadstead status` and `roadstead top`: how a running server is, told by itself on its admin listener.

mod feed;
mod said;
mod seen;
mod status;
mod top;

use std::{fmt, io, path::PathBuf};

use clap::Args;

use self::{
    feed::Feed,
    seen::{State, View},
};
use crate::config::{Config, ConfigErrors, Endpoint, EndpointError, Secret, Sources};

const STATUS_HELP: &str = "\
Examples:
  roadstead status
  roadstead status --config /etc/roadstead.toml
  roadstead status --json | jq '[.shards[].connections] | add'

It looks at the server twice, a second apart, for what goes per second; its own connection is among those it tells of. Exit
codes: 0 all of it serves, 1 it is not ready (it ends, or its broker is away) or shards of it do not answer, or nobody answers,
2 bad usage or configuration.";

const TOP_HELP: &str = "\
Examples:
  roadstead top
  ROADSTEAD_SERVER__ADMIN_KEYS=SECRET roadstead top --admin 10.0.0.7:8081

Keys: q, Escape or Ctrl-C end it. A server that goes away is asked again each second.";

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub struct Whereabouts {
    /// Its admin listener: IP:PORT, NAME:PORT or unix:PATH [default: as the configuration says]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Read server.admin in this TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `roadstead status`
#[derive(Debug, Args)]
#[command(after_help = STATUS_HELP)]
pub struct Status {
    #[command(flatten)]
    server: Whereabouts,
    /// Print what the server says, as JSON
    #[arg(long)]
    json: bool,
}

/// `roadstead top`
#[derive(Debug, Args)]
#[command(after_help = TOP_HELP)]
pub struct Top {
    #[command(flatten)]
    server: Whereabouts,
}

/// Why a server could not be looked at.
#[derive(Debug)]
pub enum WatchFailure {
    /// The configuration cannot work.
    Config(ConfigErrors),
    /// This is no address.
    Address(String, EndpointError),
    /// The configuration says that there is no admin listener.
    NoAdmin,
    /// The admin listener speaks TLS.
    Tls(Endpoint),
    /// Nobody has answered there.
    Unreachable(Endpoint, io::Error),
    /// It has refused, with this status and these words.
    Refused(u16, String),
    /// It has ended, or says nothing any more.
    Lost(io::Error),
    /// It says what this program does not understand.
    Unreadable(serde_json::Error),
    /// There is no terminal.
    NoTerminal,
    /// The terminal does not do as it is told.
    Terminal(io::Error),
}

impl Status {
    /// The text, and whether all of the server serves.
    pub fn run(self) -> Result<(String, bool), WatchFailure> {
        let (at, key) = self.server.find()?;
        let mut feed = Feed::open(&at, key.as_deref())?;
        let (before, now) = (feed.next()?, feed.next()?);
        let view = View::between(&before.seen, &now.seen);
        let text = match self.json {
            true => now.text + "\n",
            false => status::text(&at.to_string(), &view, feed.troubles()),
        };
        Ok((text, view.state == State::Ready))
    }
}

impl Top {
    /// Shows the server until somebody ends it.
    pub fn run(self) -> Result<(), WatchFailure> {
        let (at, key) = self.server.find()?;
        top::run(at, key)
    }
}

impl Whereabouts {
    /// Where the admin listener is, and the key to it.
    fn find(&self) -> Result<(Endpoint, Option<String>), WatchFailure> {
        let file = self.config.clone();
        let sources = Sources { file, environment: Sources::process_environment(), overrides: Vec::new() };
        let config = Config::load(&sources).map_err(WatchFailure::Config)?;
        let named = self
            .admin
            .as_ref()
            .map(|text| text.parse().map_err(|error| WatchFailure::Address(text.clone(), error)));
        let is_named = named.is_some();
        let at = named.transpose()?.or_else(|| config.server.admin.clone()).ok_or(WatchFailure::NoAdmin)?;
        match !is_named && config.admin_speaks_tls() {
            true => Err(WatchFailure::Tls(at)),
            false => Ok((at, known_key(&config))),
        }
    }
}

/// A key to the admin listener, where the configuration has one that is not hashed.
fn known_key(config: &Config) -> Option<String> {
    let mut keys = config.server.admin_keys.iter().map(Secret::expose);
    keys.find(|key| !key.starts_with("sha256:")).map(str::to_owned)
}

impl WatchFailure {
    /// Whether it is what was asked that cannot be done, and not the server.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Address(..) | Self::NoAdmin | Self::Tls(_) | Self::NoTerminal)
    }
}

impl fmt::Display for WatchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::Address(text, error) => write!(f, "--admin {text}: {error}"),
            Self::NoAdmin => write!(
                f,
                "the server has no admin listener (server.admin is empty): say where one is with --admin ADDR"
            ),
            Self::Tls(at) => write!(
                f,
                "the admin listener {at} speaks TLS, which this command does not: give the server an admin listener \
                 without it (unix:PATH), or open https://{at}/dashboard in a browser"
            ),
            Self::Unreachable(at, error) => write!(
                f,
                "no server answers at {at}: {error}; is it running, and is this its admin listener (server.admin, \
                 --admin)?"
            ),
            Self::Refused(401 | 403, said) => write!(
                f,
                "the server wants one of its server.admin_keys, in the clear: name the file that has it with --config, \
                 or put it into the variable ROADSTEAD_SERVER__ADMIN_KEYS ({said})"
            ),
            Self::Refused(404, _) => {
                write!(
                    f,
                    "what answers there is no admin listener of this version: it has no /dashboard/live"
                )
            }
            Self::Refused(status, said) => write!(f, "the server refuses with {status}: {said}"),
            Self::Lost(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "the server has ended")
            }
            Self::Lost(error) => write!(f, "the server says nothing any more: {error}"),
            Self::Unreadable(error) => {
                write!(f, "the server says what this version does not understand: {error}")
            }
            Self::NoTerminal => write!(f, "this needs a terminal; `roadstead status` writes text anywhere"),
            Self::Terminal(error) => write!(f, "the terminal cannot be written to: {error}"),
        }
    }
}

impl std::error::Error for WatchFailure {}
