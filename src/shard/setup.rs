//! What a shard is given to start with, and why it may not start or may end. Starting one is [`super::thread`]'s.

use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::redirect::Redirect;
use crate::{
    app::{ListenerHosts, Outside, Proxies, socketio::Settings},
    auth::{AccessRules, Pattern, Revocation},
    backend::{Desk, Notices},
    broker::{Broker, cluster::Cluster},
    hub::Keeping,
    limits::{ACCEPTS_PER_LISTENER, Limits, REFUSAL_SLOTS},
    live::Tokens,
    mesh::{AddressCounts, ControlReceiver, Legacy, Links, Pulse, UserCounts},
    model::{AccessSettings, Restored, Retention, ShardId},
    ring::RingError,
    storage::Keeper,
    tls::Terms,
    wire::{http1::CodingSettings, websocket::CompressionSettings},
};

/// Everything one shard needs.
pub struct ShardSetup {
    /// Which shard this is.
    pub shard: ShardId,
    /// How many there are.
    pub shards: u16,
    /// The core to pin it to.
    pub core: usize,
    /// Its share of the connections the process admits.
    pub connections_max: u32,
    /// The most it can admit when other shards lend it their room.
    pub connections_limit: u32,
    /// Where it shows that it lives.
    pub pulse: Arc<Pulse>,
    /// How many connections each address has on all shards.
    pub address_counts: Arc<AddressCounts>,
    /// How many Engine.IO sessions of each address poll, on all shards.
    pub handshake_counts: Arc<AddressCounts>,
    /// The limits in force.
    pub limits: Limits,
    /// Which tokens are good.
    pub tokens: Tokens,
    /// How many connections each user has on all shards.
    pub user_counts: Arc<UserCounts>,
    /// Where it asks the operator's backend, if there is one.
    pub desk: Option<Desk>,
    /// Where it leaves notices to that, if it wants any.
    pub notices: Option<Notices>,
    /// Which channels are kept for longer or shorter than the others.
    pub retentions: Vec<(Pattern, Retention)>,
    /// Who may do what, for programs that ask.
    pub rules: Arc<AccessRules>,
    /// WebSocket messages up to this size on diagnostic sessions.
    pub diagnostic_message_bytes_max: u64,
    /// What is compressed of what it sends.
    pub forms: Forms,
    /// How TLS is spoken, if some listener speaks it.
    pub tls: Option<TlsSetup>,
    /// Asks for what is not done by a shard.
    pub errand: RunErrand,
    /// Its listening sockets.
    pub listeners: Vec<Listener>,
    /// How long draining may take, in milliseconds.
    pub drain_ms: u32,
    /// How long it looks for work before it sleeps.
    pub spin: Duration,
    /// The process's zero of the monotonic clock.
    pub started: Instant,
    /// Its links to the other shards.
    pub links: Links,
    /// Its commands.
    pub control: ControlReceiver,
    /// What it logs of clients.
    pub access: AccessSettings,
    /// What threads of the application want of it.
    pub outside: Outside,
    /// Under which names the server is found.
    pub hosts: ListenerHosts,
    /// Proxies whose word is taken about who their clients are.
    pub proxies: Proxies,
    /// How Socket.IO is served, if the handler serves it.
    pub socketio: Settings,
    /// Seeds the epochs of channels; different for every start of the process.
    pub epoch_seed: u64,
    /// Keys the hash of channel names; drawn at random when the process starts, and the same for all its shards.
    pub hash_seed: u64,
    /// How often it may fail and begin anew within a minute.
    pub restarts_max: u32,
    /// What outlives the process, if something does.
    pub storage: Option<StorageSetup>,
    /// What another process has left to this shard.
    pub left: Legacy,
    /// What joins the process with others, if something does.
    pub broker: Option<Broker>,
    /// What makes the process a member of a Socket.IO cluster, if it is one.
    pub cluster: Option<Cluster>,
}

/// What outlives the process.
pub struct StorageSetup {
    /// Where it is left to be written.
    pub keeper: Keeper,
    /// Which channels do, and how.
    pub keeping: Keeping,
    /// Those of this shard that were found on disk.
    pub found: Vec<Restored>,
}

/// What is compressed of what a shard sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forms {
    /// Messages of WebSockets.
    pub messages: CompressionSettings,
    /// Answers over HTTP.
    pub answers: CodingSettings,
}

/// How TLS is spoken.
pub struct TlsSetup {
    /// With which certificates.
    pub terms: Terms,
    /// Handshakes that may have begun at once.
    pub handshakes_max: u32,
    /// Time a handshake may take, in milliseconds.
    pub handshake_timeout_ms: u32,
    /// Where clients are sent that come without it.
    pub redirect: Redirect,
}

/// What an operator asks of a shard that is done elsewhere, later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Read the configuration again.
    Reload,
    /// Let a new version take this one's place.
    Upgrade,
    /// Remember that somebody is shut out, should this process crash.
    ShutOut(Revocation),
}

/// Asks for it.
pub type RunErrand = Box<dyn Fn(Errand) + Send>;

/// A bound, listening socket.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: Arc<OwnedFd>,
    /// What is served on it.
    pub role: Role,
    /// Its address, for people.
    pub address: String,
    /// Whether clients speak TLS on it.
    pub speaks_tls: bool,
    /// Whether it was there before the process, and stays behind it.
    pub is_passed: bool,
}

/// What is served on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Clients.
    Public,
    /// Operators.
    Admin,
    /// Clients that are sent to a listener with TLS.
    Redirect,
}

/// Why a shard did not start.
#[derive(Debug)]
pub enum StartError {
    /// Its executor could not be made.
    Executor(String),
    /// Its ring could not be made.
    Ring(RingError),
}

/// Why a shard ended that should not have.
#[derive(Debug)]
pub enum ShardError {
    /// Its ring failed.
    Ring(RingError),
    /// It could not sleep on its executor.
    Sleep(io::Error),
    /// It failed too often to begin anew, or could not: the last mistake.
    Failed(ShardId, String),
    /// Its thread panicked.
    Panicked(ShardId),
}

/// Slots a shard's descriptor table must have to admit `connections` connections on `listeners` listeners.
pub fn descriptors_needed(connections: u32, listeners: u32) -> u32 {
    connections + REFUSAL_SLOTS + ACCEPTS_PER_LISTENER * listeners
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Executor(error) => write!(f, "starting the executor: {error}"),
            Self::Ring(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for ShardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(error) => error.fmt(f),
            Self::Sleep(error) => write!(f, "sleeping on the executor: {error}"),
            Self::Failed(shard, what) => write!(f, "shard {shard} failed too often to begin anew: {what}"),
            Self::Panicked(shard) => write!(f, "shard {shard} panicked"),
        }
    }
}

impl std::error::Error for ShardError {}
