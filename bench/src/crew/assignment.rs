//! What a worker process is told to do: one line of JSON, on whichever machine it runs. Nothing in it is a command or names
//! a file of that machine, but for the socket file of a worker that its own coordinator has started.

use serde::{Deserialize, Serialize};

use super::plan::Share;
use crate::{
    endpoint::{Endpoint, Line},
    error::{Error, Result},
    protocol::{manners::Manners, subscriber::Transport},
    scenario::exchange::remote::Task,
    target::Target,
};

/// One worker's job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Assignment {
    /// To open connections and hold them, as it is ordered.
    Hold(Box<Hold>),
    /// To exchange messages when it is told to go.
    Exchange(Box<Task>),
}

/// Connections to be held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// Where to connect.
    pub directions: Directions,
    /// How many, and from where.
    pub share: Share,
    /// Connections on their way at once.
    pub in_flight_max: usize,
    /// Connections opened per second, at most.
    pub rate: Option<f64>,
}

/// Where and how clients connect, before anything is resolved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Directions {
    /// The URL.
    pub url: String,
    /// Whether somebody said that the target is theirs.
    pub owned: bool,
    /// How clients receive.
    pub transport: Transport,
    /// What they add.
    pub manners: Manners,
    /// How connections are made.
    pub line: Line,
}

impl Assignment {
    /// Where it leads.
    pub fn directions(&self) -> &Directions {
        match self {
            Self::Hold(hold) => &hold.directions,
            Self::Exchange(task) => &task.directions,
        }
    }
}

impl Directions {
    /// The URL, resolved, when it is ours to load.
    pub fn endpoint(&self) -> Result<Endpoint> {
        let target: Target = self.url.parse().map_err(|error| Error::Argument {
            flag: "--url",
            value: self.url.clone(),
            accepted: format!("a URL ({error})"),
        })?;
        let address = self.line.address(&target, self.owned)?;
        self.line.lead_to(Endpoint {
            target,
            address,
            transport: self.transport,
            manners: self.manners.clone().into(),
            unix: None,
            tls: None,
        })
    }
}
