//! Why a server did not start, or did not end as it should.

use std::{fmt, io};

use super::{CeilingError, CoresError, LimitsError, RingRefusal, SocketError};
use crate::{
    backend::StartError as BackendError,
    config::ConfigErrors,
    model::ShardId,
    shard::{ShardError, StartError},
    storage::{StoreError, WriterError},
    tls::TermsError,
};

/// Why a server did not start, or did not end as it should. Each says what to do about it.
#[derive(Debug)]
pub enum ServeError {
    /// The configuration cannot work.
    Config(ConfigErrors),
    /// The kernel does not give what the rings need.
    Ring(RingRefusal),
    /// The process's resource limits could not be read or raised, or locked memory is too small.
    Limits(LimitsError),
    /// The cores asked for are not there.
    Cores(CoresError),
    /// More connections are asked for than can be held.
    Ceiling(CeilingError),
    /// An address cannot be listened on.
    Socket(SocketError),
    /// TLS cannot be spoken with these files.
    Tls(Vec<TermsError>),
    /// The operator's backend cannot be called.
    Backend(BackendError),
    /// The broker, or a Socket.IO cluster, cannot be spoken with.
    Broker(BackendError),
    /// What outlives the process cannot be read or written.
    Storage(StoreError),
    /// Nobody writes.
    Writer(WriterError),
    /// The signals could not be taken.
    Signals(io::Error),
    /// What a keeper hands to its server did not arrive.
    Keeper(io::Error),
    /// The thread that watches over the shards did not start.
    Supervisor(io::Error),
    /// The doorbell of a shard could not be made.
    Control {
        /// The shard.
        shard: ShardId,
        /// Why.
        error: io::Error,
    },
    /// A shard did not start.
    Start {
        /// The shard.
        shard: ShardId,
        /// Why.
        error: StartError,
    },
    /// The thread that waits for a shard's end did not start.
    Waiter {
        /// The shard.
        shard: ShardId,
        /// Why.
        error: io::Error,
    },
    /// A shard died.
    Shard {
        /// The shard.
        shard: ShardId,
        /// Why.
        error: ShardError,
    },
    /// A shard ended though nobody had asked it to.
    EndedUnasked(ShardId),
    /// These shards had not drained when they should have.
    Overdue(Vec<ShardId>),
}

impl ServeError {
    /// Whether the settings have to change, rather than the machine.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_)
            | Self::Cores(_)
            | Self::Ceiling(_)
            | Self::Tls(_)
            | Self::Backend(_)
            | Self::Broker(_) => true,
            Self::Ring(_)
            | Self::Limits(_)
            | Self::Socket(_)
            | Self::Storage(_)
            | Self::Writer(_)
            | Self::Signals(_)
            | Self::Keeper(_)
            | Self::Supervisor(_)
            | Self::Control { .. }
            | Self::Start { .. }
            | Self::Waiter { .. }
            | Self::Shard { .. }
            | Self::EndedUnasked(_)
            | Self::Overdue(_) => false,
        }
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::Ring(refusal) => refusal.fmt(f),
            Self::Limits(error) => error.fmt(f),
            Self::Cores(error) => error.fmt(f),
            Self::Ceiling(error) => error.fmt(f),
            Self::Tls(errors) => {
                let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&told.join("\n"))
            }
            Self::Socket(error) => error.fmt(f),
            Self::Backend(BackendError::Thread(error)) => {
                write!(f, "starting the thread that calls backends: {error}")
            }
            Self::Broker(BackendError::Thread(error)) => {
                write!(f, "a thread that speaks with Redis did not start: {error}")
            }
            Self::Backend(error) | Self::Broker(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
            Self::Writer(error) => error.fmt(f),
            Self::Signals(error) => {
                write!(f, "cannot take the signals SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2: {error}")
            }
            Self::Keeper(error) => write!(f, "the keeper has handed over no listening sockets: {error}"),
            Self::Supervisor(error) => write!(f, "the supervisor's thread did not start: {error}"),
            Self::Control { shard, error } => {
                write!(f, "shard {shard}: its eventfd could not be made: {error}")
            }
            Self::Start { shard, error } => write!(f, "shard {shard} did not start: {error}"),
            Self::Waiter { shard, error } => {
                write!(f, "shard {shard}: the thread that waits for its end did not start: {error}")
            }
            Self::Shard { shard, error } => write!(f, "shard {shard} died: {error}"),
            Self::EndedUnasked(shard) => write!(f, "shard {shard} ended though nobody had asked it to"),
            Self::Overdue(shards) => {
                let shards: Vec<_> = shards.iter().map(ShardId::to_string).collect();
                let shards = shards.join(", ");
                write!(
                    f,
                    "shard {shards} had not ended in time after draining: a handler of it may hang, or loop"
                )
            }
        }
    }
}

impl std::error::Error for ServeError {}

impl From<ConfigErrors> for ServeError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

impl From<RingRefusal> for ServeError {
    fn from(refusal: RingRefusal) -> Self {
        Self::Ring(refusal)
    }
}

impl From<LimitsError> for ServeError {
    fn from(error: LimitsError) -> Self {
        Self::Limits(error)
    }
}

impl From<CoresError> for ServeError {
    fn from(error: CoresError) -> Self {
        Self::Cores(error)
    }
}

impl From<CeilingError> for ServeError {
    fn from(error: CeilingError) -> Self {
        Self::Ceiling(error)
    }
}

impl From<SocketError> for ServeError {
    fn from(error: SocketError) -> Self {
        Self::Socket(error)
    }
}
