//! Programs in another process whose clients Roadstead holds: `roadstead run app.js`.
//!
//! ```text
//!   clients ─► shards ── link, one Unix socket each ─► the program (Node.js, with the module in `src/node/`)
//!                 └───── HTTP, a Unix socket ────────► its own HTTP server
//!   this process's thread `program` ── control link ─► starts it, hears what it wants to listen on, begins it anew
//! ```
//!
//! The frames of the links are in `frame.rs`, and what they mean in the manual (`src/manual/link.md`). What waits for the
//! program, and how another one is told of everybody, is in `outbox.rs`, `told.rs` and `retelling.rs`; what is asked by it in
//! `ops.rs`, and what it is asked in `asking.rs`; how namespaces come and go in `naming.rs`; its process in `node.rs` and
//! `control.rs`, and several of them in `workers.rs` and `share.rs`. Nothing of this is in the way of a server that runs no program.
//!
//! Invariant: a program that ends, hangs or lies ends no connection by that, and a shard waits for none.

mod asking;
mod channels;
mod control;
mod exchange;
mod folder;
mod frame;
mod greeting;
mod handler;
mod http;
mod introduction;
mod link;
mod members;
mod naming;
mod node;
mod ops;
mod options;
mod outbox;
mod retelling;
mod said;
mod share;
mod shared;
mod spaces;
mod told;
mod watching;
mod workers;

pub use node::{Node, NodeError};
pub use options::OptionRefused;

use std::{fmt, io, path::Path, process::ExitStatus, sync::Arc};

use serde::Serialize;

use link::Named;
use options::Listen;
use workers::Workers;

use crate::{
    api,
    app::{Handler, ShardId},
    config::{Config, ConfigErrors, Endpoint, Override, Sources},
    supervisor::{Listening, Reread},
};

/// A program that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Program {
    workers: Arc<Workers>,
    listen: Listen,
}

/// Why a program is not served.
#[derive(Debug)]
pub enum ProgramError {
    /// It cannot be run.
    Node(NodeError),
    /// The folder of the link cannot be made.
    Folder(io::Error),
    /// A thread did not start.
    Thread(io::Error),
    /// Its files cannot be watched.
    Watch(io::Error),
    /// It has ended before it wanted to be served; what it had to say stands above.
    Ended(ExitStatus),
    /// It does not fit this server.
    Refused(String),
    /// An option cannot be had.
    Option(OptionRefused),
}

/// What a program that wants to listen is answered.
#[derive(Serialize)]
struct ListeningAnswer {
    port: u16,
    address: String,
    shards: usize,
}

impl Program {
    /// Starts so many processes of a program, and waits until the first wants to be served; the others begin when the server listens.
    ///
    /// # Panics
    ///
    /// When there is to be none.
    pub fn start(node: &Node, workers: u16) -> Result<Self, ProgramError> {
        node.check().map_err(ProgramError::Node)?;
        let (workers, listen) = Workers::start(node, workers)?;
        Ok(Self { workers, listen })
    }

    /// Whether a server with this configuration can have a keeper, which binds the addresses before there is a program: if the operator
    /// says where to listen.
    pub fn can_be_kept(sources: &Sources) -> Result<bool, ConfigErrors> {
        options::operator_says_where(sources)
    }

    /// The operator's configuration with what the program asks for, where the operator does not say otherwise.
    pub fn configure(&self, sources: Sources) -> Result<Result<Config, ConfigErrors>, ProgramError> {
        let base = self.settings()?;
        Ok(load(base, &sources))
    }

    /// What is to be done when the operator wants the configuration read again: the program begins anew, and so are what it
    /// asks for and what the operator says, as `read` finds it; `good` is told of what can work.
    pub fn reread(
        &self,
        read: impl Fn() -> Result<Sources, ConfigErrors> + Send + 'static,
        good: impl Fn(&Sources) + Send + 'static,
    ) -> Result<Reread, ProgramError> {
        let (base, workers) = (self.settings()?, Arc::clone(&self.workers));
        Ok(Box::new(move || -> Result<Config, ConfigErrors> {
            workers.begin_anew();
            let sources = read()?;
            let config = load(base.clone(), &sources)?;
            good(&sources);
            Ok(config)
        }))
    }

    /// Has the program begin anew whenever one of its files changes.
    pub fn watch(&self, node: &Node) -> io::Result<()> {
        let workers = Arc::clone(&self.workers);
        watching::watch(&node.program, move || workers.begin_anew())
    }

    fn settings(&self) -> Result<Vec<Override>, ProgramError> {
        let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
        self.listen.settings(has_ipv6).map_err(ProgramError::Option)
    }

    /// One handler per shard. `serves_channels` tells whether the paths of channels are the server's, and not the program's.
    pub fn handlers(
        &self,
        server: api::Settings,
        serves_channels: bool,
    ) -> impl Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static {
        handler::handlers(handler::Settings {
            workers: Arc::clone(&self.workers),
            named: Arc::new(Named { namespaces: self.listen.namespaces.clone(), finds: self.listen.finds }),
            server: api::Settings { socketio: None, ..server },
            serves_channels,
        })
    }

    /// Ends the program, if that has not been done.
    pub fn end(&self) {
        self.workers.end();
    }

    /// Tells the program that the server listens.
    pub fn tell_listening(&self, listening: &Listening) {
        let first = listening.public.iter().find_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        });
        let (address, port) =
            first.map_or_else(Default::default, |address| (address.ip().to_string(), address.port()));
        let answer = ListeningAnswer { port, address, shards: listening.cores.len() };
        let answer = serde_json::to_string(&answer).expect("it serializes");
        self.workers.tell_listening(&answer, listening.cores.len());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads the configuration, with what the program asks for beneath it.
fn load(base: Vec<Override>, sources: &Sources) -> Result<Config, ConfigErrors> {
    Config::load(&Sources { base, ..sources.clone() })
}

impl ProgramError {
    /// The code to end with: that of the program, if it has one.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Ended(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
            Self::Node(_) | Self::Option(_) | Self::Refused(_) => 2,
            Self::Folder(_) | Self::Thread(_) | Self::Watch(_) => 1,
        }
    }
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(error) => error.fmt(f),
            Self::Folder(error) => write!(f, "the folder of the link cannot be made: {error}"),
            Self::Thread(error) => write!(f, "a thread did not start: {error}"),
            Self::Watch(error) => write!(
                f,
                "the files of the program cannot be watched: {error}; the kernel's bounds are \
                 fs.inotify.max_user_instances and fs.inotify.max_user_watches"
            ),
            Self::Ended(status) => write!(
                f,
                "the program has ended ({status}) before its Socket.IO server wanted to listen: call listen on the HTTP \
                 server that it is attached to, or give it a port"
            ),
            Self::Refused(text) => f.write_str(text),
            Self::Option(refused) => refused.fmt(f),
        }
    }
}

impl std::error::Error for ProgramError {}
