//! The command line: what can be asked of the program `roadstead`, and what it says before it serves.
//!
//! Parsing only decides what is meant; `main.rs` does it.

mod banner;
mod crowd;
mod documents;
mod flags;
mod help;
mod run;
mod storage;
mod token;
mod watch;

pub use banner::{banner, program_banner};
pub use crowd::{Crowd, crowd_address};
pub use documents::{completions, man_pages};
pub use flags::ServeFlags;
pub use help::{UnknownTopic, help};
pub use run::Run;
pub use storage::{Export, Import, Inspect, StorageCommand, StorageFailure};
pub use token::{Explain, Make, TokenCommand, TokenFailure};
pub use watch::{Reload, Status, Top, Upgrade, WatchFailure, Whereabouts};

use std::{fmt, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    api::ClientScriptError,
    config::ConfigErrors,
    program::ProgramError,
    supervisor::{ExitReason, ServeError},
};

/// The program's arguments.
#[derive(Debug, Parser)]
#[command(
    name = "roadstead",
    version = VERSION,
    about = "Holds very many live connections on one Linux box: WebSocket, SSE, long-polling and HTTP over one set \
             of channels",
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeFlags,
}

/// What the program is asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or SIGINT; this is what happens without a command
    #[command(after_help = AFTER_HELP)]
    Serve(ServeFlags),
    /// Serve a program in Node.js that uses Socket.IO: it runs beside the server, which holds its clients
    Run(Run),
    /// Tell how a running server is
    Status(Status),
    /// Show a running server in this terminal: shards, channels, what goes wrong
    Top(Top),
    /// Have a running server read its configuration again, and begin its program anew if it runs one
    Reload(Reload),
    /// Put the program that stands now where a running server's stood in its place
    Upgrade(Upgrade),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make and explain tokens, by which clients say who they are and what they may do
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look into a store of channels, check it, make it smaller, write it out and read it in
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Read this host, explain what bounds its connections, change it, roll it back, prove it
    #[command(subcommand)]
    Tune(roadstead_tuning::cli::Tune),
    /// Print what a shell needs to complete this program's arguments
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command
    #[command(hide = true)]
    Man {
        /// The directory to write them into
        directory: PathBuf,
    },
    /// Open many connections to a server on this machine, for its demo
    #[command(hide = true)]
    Crowd(Crowd),
    /// Tell about a command, or print a page of the manual
    Help {
        /// A command, such as `config print`, or a page; without one this text
        topic: Vec<String>,
    },
}

/// What can be done with a configuration besides serving with it.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell what is wrong with a file, or that nothing is
    Check {
        /// The TOML file
        file: PathBuf,
    },
    /// Print every key with its default, unit and meaning, as a file --config takes
    Print,
}

/// The version, and for a release build the commit and its date.
const VERSION: &str = match env!("BUILD_COMMIT").is_empty() {
    true => env!("CARGO_PKG_VERSION"),
    false => concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ")"),
};

const AFTER_HELP: &str = "\
Examples:
  roadstead                                            serve this machine on 127.0.0.1:8080
  roadstead --listen 0.0.0.0:80 --open-reading --publish-key SECRET
                                                       serve everybody; publishing needs the key
  roadstead --listen unix:/run/roadstead.sock          behind a proxy on this machine
  roadstead --listen 0.0.0.0:443 --tls-cert fullchain.pem --tls-key privkey.pem   speak TLS
  roadstead run app.js                                 a Socket.IO program, whose connections are held here
  roadstead --shards 8 --connections 100000            more connections than the open-files limit
  roadstead --set limits.ping_interval_ms=10000        any key of `roadstead config print`
  roadstead config check /etc/roadstead.toml
  roadstead token make --user 42 --subscribe 'news:**' who somebody is, and what they may do
  roadstead top                                        a running server, live in this terminal
  roadstead reload                                     a changed configuration or program, clients stay
  roadstead upgrade                                    a new version in place of a running one
  roadstead tune check --target 120000                 what keeps this host from holding so many
  roadstead help start                                 the manual: start channels ws …

Every key can also be set by a variable: ROADSTEAD_LIMITS__CONNECTIONS_MAX=100000.
Flags win over variables, variables over the file.

A small process owns the listening sockets and starts another, which serves, again when it crashes; see
`roadstead help restarting`, and --no-keeper.

Signals: SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reads the configuration again and takes
over what can change (marked in `roadstead config print`), and begins the program of `roadstead run` anew; SIGUSR2
upgrades to the program that stands where this one stood; SIGUSR1 is ignored.

Exit codes: 0 ended as asked (drained), 1 failed at run time or a shard did not end, 2 bad usage or configuration,
130 or 143 ended at once by a second SIGINT or SIGTERM.";

/// Why the program ends with an error.
#[derive(Debug)]
pub enum Failure {
    /// The configuration cannot work.
    Config(ConfigErrors),
    /// There is no such command and no such page.
    Help(UnknownTopic),
    /// The Socket.IO client that is configured cannot be served.
    ClientScript(ClientScriptError),
    /// A man page could not be written.
    Man(std::io::Error),
    /// A crowd could not be opened.
    Crowd(std::io::Error),
    /// No token was made or explained.
    Token(TokenFailure),
    /// Nothing was done with a store.
    Storage(StorageFailure),
    /// No server could be looked at.
    Watch(WatchFailure),
    /// A program is not served.
    Program(ProgramError),
    /// The server did not start, or did not end as it should.
    Serve(ServeError),
}

impl Arguments {
    /// The arguments of this process. Wrong ones end it with exit code 2 and a usage text, `--help` with 0.
    pub fn of_process() -> Self {
        Self::parse()
    }

    /// What is asked for; serving, if nothing is.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

impl Failure {
    /// The code the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::ClientScript(_) | Self::Help(_) | Self::Token(_) => ExitCode::from(2),
            Self::Program(error) => ExitCode::from(error.exit_code()),
            Self::Serve(error) if error.is_configuration() => ExitCode::from(2),
            Self::Watch(failure) if failure.is_usage() => ExitCode::from(2),
            Self::Serve(_) | Self::Man(_) | Self::Crowd(_) | Self::Storage(_) | Self::Watch(_) => {
                ExitCode::FAILURE
            }
        }
    }
}

/// The code the process ends with after serving.
pub fn exit_code(reason: ExitReason) -> ExitCode {
    match reason {
        ExitReason::Drained | ExitReason::HandedOver => ExitCode::SUCCESS,
        // What a shell reports for a program that a signal has ended.
        ExitReason::Forced(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::Help(error) => error.fmt(f),
            Self::Man(error) => write!(f, "the man pages cannot be written: {error}"),
            Self::Crowd(error) => write!(f, "the connections cannot be opened: {error}"),
            Self::ClientScript(error) => error.fmt(f),
            Self::Token(failure) => failure.fmt(f),
            Self::Storage(failure) => failure.fmt(f),
            Self::Watch(failure) => failure.fmt(f),
            Self::Program(error) => error.fmt(f),
            Self::Serve(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

impl From<UnknownTopic> for Failure {
    fn from(error: UnknownTopic) -> Self {
        Self::Help(error)
    }
}

impl From<TokenFailure> for Failure {
    fn from(failure: TokenFailure) -> Self {
        Self::Token(failure)
    }
}

impl From<StorageFailure> for Failure {
    fn from(failure: StorageFailure) -> Self {
        Self::Storage(failure)
    }
}

impl From<WatchFailure> for Failure {
    fn from(failure: WatchFailure) -> Self {
        Self::Watch(failure)
    }
}

impl From<ProgramError> for Failure {
    fn from(error: ProgramError) -> Self {
        Self::Program(error)
    }
}

impl From<ClientScriptError> for Failure {
    fn from(error: ClientScriptError) -> Self {
        Self::ClientScript(error)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self::Serve(error)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command_for_tests().debug_assert();
    }

    #[test]
    fn without_a_command_the_flags_are_those_of_serve() {
        for arguments in [&["roadstead", "--shards", "3"][..], &["roadstead", "serve", "--shards", "3"][..]] {
            let Command::Serve(flags) = Arguments::parse_from(arguments).command() else {
                panic!("{arguments:?} serves")
            };
            assert_eq!(flags.shards, Some(3));
        }
    }

    #[test]
    fn a_forced_end_has_the_code_a_shell_gives_it() {
        assert_eq!(exit_code(ExitReason::Forced(2)), ExitCode::from(130));
        assert_eq!(exit_code(ExitReason::Forced(15)), ExitCode::from(143));
        assert_eq!(exit_code(ExitReason::Drained), ExitCode::from(0));
    }

    impl Arguments {
        fn command_for_tests() -> clap::Command {
            <Self as CommandFactory>::command()
        }
    }
}
