//! Why a connection to the broker is of no use.

use std::fmt;

use crate::wire::resp::RespError;

/// Why the connection is of no use.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is none.
    Connect(std::io::Error),
    /// It has ended, or failed.
    Closed(Option<std::io::Error>),
    /// Nothing is answered.
    Silent,
    /// Nothing is pushed, although something should be.
    Mute,
    /// It takes no writes: it is a replica.
    Role(Box<str>),
    /// It does not do what was asked.
    Refused(Box<str>),
    /// It does not speak RESP3.
    Protocol(RespError),
}

impl Fault {
    /// One word for it.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Closed(_) => "closed",
            Self::Silent => "silent",
            Self::Mute => "mute",
            Self::Role(_) => "role",
            Self::Refused(_) => "refused",
            Self::Protocol(_) => "protocol",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "it cannot be reached: {error}"),
            Self::Closed(None) => f.write_str("it has closed the connection"),
            Self::Closed(Some(error)) => write!(f, "the connection has failed: {error}"),
            Self::Silent => f.write_str("it does not answer"),
            Self::Mute => f.write_str("it answers, and does not pass on what is published"),
            Self::Role(role) => write!(f, "it takes no writes, for it is {role}"),
            Self::Refused(what) => write!(f, "it says: {what}"),
            Self::Protocol(error) => write!(f, "it does not speak RESP3: {error}"),
        }
    }
}
