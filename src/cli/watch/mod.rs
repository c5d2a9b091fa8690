//! `roadstead status`, `roadstead top`, `roadstead reload` and `roadstead upgrade`: how a running server is, told by itself on its
//! admin listener, and what it is asked there.

mod feed;
mod place;
mod reload;
mod said;
mod seen;
mod status;
mod top;
mod upgrade;

pub use reload::Reload;
pub use upgrade::Upgrade;

use std::{fmt, io, path::PathBuf, sync::mpsc, thread, time::Duration};

use clap::Args;

use self::{
    feed::Feed,
    place::Place,
    seen::{State, View},
};
use crate::{
    backend::RootsError,
    config::{Config, ConfigErrors, EndpointError, Sources},
};

const STATUS_HELP: &str = "\
Examples:
  roadstead status
  roadstead status --config /etc/roadstead.toml
  roadstead status --admin https://box.example:8081 --ca-file ours.pem
  roadstead status --json | jq '[.shards[].connections] | add'

It looks at the server twice, a second apart, for what goes per second. Its own connection is not among those it tells of, but
for --json, which is what the server says. Exit codes: 0 all of it serves, 1 it is not ready (it ends, or its broker is away) or shards of it do not answer, or nobody answers,
2 bad usage or configuration.";

const TOP_HELP: &str = "\
Examples:
  roadstead top
  ROADSTEAD_SERVER__ADMIN_KEYS=SECRET roadstead top --admin 10.0.0.7:8081

Keys: q, Escape or Ctrl-C end it. A server that goes away is asked again each second.";

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub struct Whereabouts {
    /// Its admin listener: IP:PORT, NAME:PORT or unix:PATH, with https:// before it if it speaks TLS [default: as the
    /// configuration says]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Trust the authorities in this PEM file with the certificate of https:// [default: those of the system]
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub ca_file: Option<PathBuf>,
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
    /// Give up when all of it has taken so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
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
    /// A file of the configuration's certificates holds none.
    Certificate(PathBuf),
    /// Nobody can be trusted.
    Roots(RootsError),
    /// Trust is asked for where no TLS is spoken, or none can be.
    NotSecure,
    /// Nobody has answered there.
    Unreachable(String, io::Error),
    /// Who has answered there is not trusted.
    Distrusted(String, String),
    /// It has not told all in so many seconds.
    Late(u64),
    /// It has refused, with this status and these words.
    Refused(u16, String),
    /// It was asked for an upgrade, and is what it was.
    NotUpgraded,
    /// It was, and the old version serves on, for this reason.
    UpgradeFailed(String),
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
        let seconds = self.timeout;
        let (said, outcome) = mpsc::sync_channel(1);
        // Whatever takes long, such as a name server or who says a byte at a time, has no more time than all of it. The
        // thread ends with the process.
        thread::spawn(move || said.send(self.look()));
        match outcome.recv_timeout(Duration::from_secs(seconds)) {
            Ok(outcome) => outcome,
            Err(_) => Err(WatchFailure::Late(seconds)),
        }
    }

    fn look(&self) -> Result<(String, bool), WatchFailure> {
        let place = self.server.find()?;
        let mut feed = Feed::open(&place)?;
        let (before, now) = (feed.next()?, feed.next()?);
        let view = View::between(&before.seen, &now.seen);
        let text = match self.json {
            true => now.text + "\n",
            false => status::text(&place.to_string(), &view, feed.troubles()),
        };
        Ok((text, view.state == State::Ready))
    }
}

impl Top {
    /// Shows the server until somebody ends it.
    pub fn run(self) -> Result<(), WatchFailure> {
        top::run(self.server.find()?)
    }
}

impl Whereabouts {
    /// Where the admin listener is, and how it is talked to.
    fn find(&self) -> Result<Place, WatchFailure> {
        let file = self.config.clone();
        let sources = Sources { file, environment: Sources::process_environment(), ..Sources::default() };
        let config = Config::load(&sources).map_err(WatchFailure::Config)?;
        match &self.admin {
            Some(text) => Place::written(text, self.ca_file.as_deref(), &config),
            None => Place::configured(&config),
        }
    }
}

impl WatchFailure {
    /// Whether it is what was asked that cannot be done, and not the server.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::Address(..)
                | Self::NoAdmin
                | Self::Certificate(_)
                | Self::Roots(_)
                | Self::NotSecure
                | Self::NoTerminal
        )
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
            Self::Certificate(path) => write!(
                f,
                "tls.certificates: {} holds no certificate in PEM that could be read, by which to know the server",
                path.display()
            ),
            Self::Roots(error) => error.fmt(f),
            Self::NotSecure => {
                f.write_str("--ca-file is for a listener that speaks TLS: --admin https://NAME:PORT")
            }
            Self::Distrusted(at, error) => write!(
                f,
                "what answers at {at} is not trusted: {error}; name the file of its authorities with --ca-file, call it \
                 as its certificate does (--admin https://NAME:PORT), or read its own configuration (--config)"
            ),
            Self::Late(seconds) => {
                write!(f, "the server has not told all in {seconds} s; --timeout SECONDS waits longer")
            }
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
            Self::Refused(400, said) if said.contains("TLS") => {
                write!(f, "the listener speaks TLS: ask it with --admin https://NAME:PORT ({said})")
            }
            Self::Refused(status, said) => write!(f, "the server refuses with {status}: {said}"),
            Self::NotUpgraded => write!(
                f,
                "no new version serves: the server has no keeper (server.keeper; with `roadstead run` also --listen), or the upgrade has failed, and its log tells \
                 why"
            ),
            Self::UpgradeFailed(reason) => {
                write!(f, "the upgrade has failed, and the old version serves on: {reason}")
            }
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
