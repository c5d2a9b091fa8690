//! Why a run could not be made, sorted by who is at fault.

use std::{collections::BTreeMap, fmt, io};

use crate::{protocol::subscriber::SubscribeError, target::ResolveError};

/// Why there is no result.
#[derive(Debug)]
pub enum Error {
    /// An argument cannot be used: flag, value, what is accepted.
    Argument {
        /// The flag.
        flag: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        accepted: String,
    },
    /// The target cannot be used.
    Target(ResolveError),
    /// The operating system refused: what we were doing, and its error.
    System(&'static str, io::Error),
    /// The server did not do its part.
    Server(ServerFault),
    /// Another machine did not do its part.
    Agent {
        /// Where it is.
        agent: String,
        /// What it says, or what became of it.
        why: String,
    },
    /// A worker process of ours ended early.
    Worker,
    /// Somebody ended the run before it had a result.
    Stopped,
}

/// What a server did that ends a run.
#[derive(Debug)]
pub enum ServerFault {
    /// Fewer connections than asked were served in time.
    NotServed {
        /// Served.
        served: usize,
        /// Asked for.
        asked: usize,
        /// What the first that was not said about it.
        why: Option<String>,
        /// How that may be mended.
        cure: Option<String>,
    },
    /// All connections were lost during the run: what the first was lost to.
    AllLost(Option<String>),
    /// Not one message came back or arrived in the measured time: what happened instead, and how often.
    Silent(Causes),
    /// Nothing could succeed: why, and what happened instead, and how often.
    Fruitless(String, Causes),
    /// A publication was not accepted.
    PublishRefused(SubscribeError),
}

/// What went wrong, and how often.
pub type Causes = BTreeMap<String, u64>;

/// The result of something that ends the run when it fails.
pub type Result<T> = std::result::Result<T, Error>;

/// Names what was being done when the operating system refused.
pub trait Doing<T> {
    /// Names it.
    fn doing(self, what: &'static str) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &'static str) -> Result<T> {
        self.map_err(|error| Error::System(what, error))
    }
}

impl From<ResolveError> for Error {
    fn from(error: ResolveError) -> Self {
        Self::Target(error)
    }
}

impl From<ServerFault> for Error {
    fn from(fault: ServerFault) -> Self {
        Self::Server(fault)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument { flag, value, accepted } => write!(f, "{flag} {value}: it takes {accepted}"),
            Self::Target(error) => error.fmt(f),
            Self::System(what, error) => write!(f, "cannot {what}: {error}"),
            Self::Server(fault) => fault.fmt(f),
            Self::Agent { agent, why } => write!(f, "the agent {agent}: {why}"),
            Self::Worker => f.write_str("a worker process ended before the run had"),
            Self::Stopped => f.write_str("the run was stopped before anything was measured"),
        }
    }
}

impl fmt::Display for ServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed { served, asked, why, cure } => {
                write!(f, "only {served} of {asked} connections were served")?;
                match why {
                    Some(why) => write!(f, ", then one failed: {why}")?,
                    None => f.write_str(" in time")?,
                }
                cure.as_ref().map_or(Ok(()), |cure| write!(f, "\n  {cure}"))
            }
            Self::AllLost(why) => {
                write!(f, "every connection was lost: {}", why.as_deref().unwrap_or("closed by the server"))
            }
            Self::Silent(causes) => {
                f.write_str("not one message arrived in the measured time")?;
                write_causes(f, causes)
            }
            Self::Fruitless(why, causes) => {
                f.write_str(why)?;
                write_causes(f, causes)
            }
            Self::PublishRefused(error) => write!(f, "the publication was not accepted: {error}"),
        }
    }
}

fn write_causes(f: &mut fmt::Formatter<'_>, causes: &Causes) -> fmt::Result {
    causes.iter().try_for_each(|(why, count)| write!(f, "\n  {count} × {why}"))
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "the server answered {refusal}"),
            Self::Frames(error) => write!(f, "the server's frames are wrong: {error}"),
            Self::Extension(answer) => {
                write!(f, "the server answered extensions that were not offered so: {answer}")
            }
            Self::Compression => f.write_str("the server sent a compressed message that cannot be read"),
            Self::NotAdmitted => f.write_str("the server did not let the client into the namespace"),
            Self::Garbled => f.write_str("the server does not speak this protocol"),
        }
    }
}

impl std::error::Error for Error {}
