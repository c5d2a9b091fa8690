//! Why a connection to Redis is of no use, and which of its replies say so.

use std::fmt;

use crate::{
    model::BrokerLoss,
    wire::resp::{RespError, Value},
};

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
    /// It is a part of a Redis Cluster.
    Cluster,
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
            Self::Cluster => "cluster",
            _ => self.loss().label(),
        }
    }

    /// What it is to a connection that was of use.
    pub(super) fn loss(&self) -> BrokerLoss {
        match self {
            Self::Connect(_) | Self::Closed(_) => BrokerLoss::Closed,
            Self::Silent => BrokerLoss::Silent,
            Self::Mute => BrokerLoss::Mute,
            Self::Role(_) => BrokerLoss::Role,
            Self::Cluster | Self::Refused(_) => BrokerLoss::Refused,
            Self::Protocol(_) => BrokerLoss::Protocol,
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
            Self::Cluster => f.write_str(
                "it is a part of a Redis Cluster, which gives the keys of one script to several servers: name one Redis that is \
                 none, or several with spaces between, over which channels are spread",
            ),
            Self::Refused(what) => write!(f, "it says: {what}"),
            Self::Protocol(error) => write!(f, "it does not speak RESP3: {error}"),
        }
    }
}

/// What an answer says, if it is no error.
pub(super) fn answer(value: Value<'_>) -> Result<Value<'_>, Fault> {
    match value {
        Value::Error(error) => Err(Fault::Refused(text_of(error))),
        value => Ok(value),
    }
}

/// Whether an error is one of the server's as a whole, and not of what was asked.
pub(super) fn ends_it(error: &[u8]) -> Result<(), Fault> {
    let word = error.split(|byte| *byte == b' ').next().unwrap_or_default();
    match word {
        b"READONLY" => Err(Fault::Role("a replica".into())),
        b"LOADING" | b"MASTERDOWN" | b"NOAUTH" | b"MOVED" | b"ASK" | b"CLUSTERDOWN" | b"WRONGPASS" => {
            Err(Fault::Refused(text_of(error)))
        }
        _ => Ok(()),
    }
}

/// A reply to nothing that was asked: to what is answered by a push, when it is refused.
pub(super) fn unasked(value: Value<'_>) -> Fault {
    match value {
        Value::Error(error) => Fault::Refused(text_of(error)),
        _ => Fault::Refused("an answer to nothing".into()),
    }
}

/// Whether a server that has been greeted is one to speak with.
pub(super) fn greeted(value: Value<'_>) -> Result<(), Fault> {
    let role = answer(value)?.list().and_then(|items| items.get(b"role"));
    is_master(role.and_then(Value::text))
}

/// Whether a server that has been greeted has all keys, as the scripts want it.
pub(super) fn has_all_keys(value: Value<'_>) -> Result<(), Fault> {
    let mode = value.list().and_then(|items| items.get(b"mode"));
    match mode.and_then(Value::text) {
        Some(b"cluster") => Err(Fault::Cluster),
        Some(_) | None => Ok(()),
    }
}

/// Whether a server takes writes, by what it says that it is.
pub(super) fn is_master(role: Option<&[u8]>) -> Result<(), Fault> {
    match role {
        Some(b"master") => Ok(()),
        role => Err(Fault::Role(text_of(role.unwrap_or(b"a server without a role")))),
    }
}

/// What a server says, as text.
pub(super) fn text_of(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}
