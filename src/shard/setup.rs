//! Starting a shard: its thread, its executor, its ring.

use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    time::{Duration, Instant},
};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use serde::{Deserialize, Serialize};

use super::{
    broker::Joint,
    nodes::Nodes,
    redirect::Redirect,
    restart::Restarts,
    storage::Storage,
    turn::{End, Shard},
};
use crate::{
    app::{
        Handler, ListenerHosts, Outside, Proxies,
        guard::show_at,
        socketio::{Io, Settings},
    },
    auth::{AccessRules, Pattern, Revocation},
    backend::{Desk, Notices},
    broker::{Broker, cluster::Cluster},
    hub::{Hub, HubSettings, Keeping},
    limits::{
        ACCEPTS_PER_LISTENER, COMPLETION_ENTRIES, Limits, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS,
        REFUSAL_SLOTS, SUBMISSION_ENTRIES,
    },
    live::{Live, Tokens},
    mesh::{AddressCounts, ControlReceiver, Legacy, Links, Pulse, UserCounts},
    model::{AccessSettings, Restored, Retention, ShardId},
    ring::{Ring, RingError, RingSettings},
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

/// What a shard is made from, also when it begins anew.
pub(super) struct Foundation {
    pub(super) connections_limit: u32,
    listeners: u32,
    pub(super) epoch_seed: u64,
    pub(super) hash_seed: u64,
    /// What the operator has changed last while the server ran.
    pub(super) live: Option<Arc<Live>>,
    /// Its part of what is kept on disk.
    pub(super) storage: Option<Storage>,
    retentions: Vec<(Pattern, Retention)>,
    /// Who may do what, as it is in force.
    pub(super) rules: Arc<AccessRules>,
    /// Its end of the broker.
    pub(super) broker: Option<Joint>,
    /// Its end of the Socket.IO cluster.
    pub(super) cluster: Option<Cluster>,
    /// What it asks other nodes, and they it.
    pub(super) nodes: Nodes,
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

/// A running shard.
pub struct ShardThread {
    shard: ShardId,
    thread: ExecutorJoinHandle<Result<(), ShardError>>,
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

/// Starts a shard on a thread of its own, pinned to its core, and waits until its ring stands.
pub fn spawn(
    setup: ShardSetup,
    handler: impl Fn() -> Box<dyn Handler> + Send + 'static,
) -> Result<ShardThread, StartError> {
    let shard = setup.shard;
    let (ready, started) = channel();
    let thread = LocalExecutorBuilder::new(Placement::Fixed(setup.core))
        .name(&format!("shard-{shard}"))
        .io_memory(64 * 1024)
        .spawn(move || run(setup, handler, ready))
        .map_err(|error| StartError::Executor(error.to_string()))?;
    match started.recv() {
        Ok(Ok(())) => Ok(ShardThread { shard, thread }),
        Ok(Err(error)) => Err(StartError::Ring(error)),
        Err(_) => Err(StartError::Executor("the shard's thread ended before it started".into())),
    }
}

async fn run(
    mut setup: ShardSetup,
    handler: impl Fn() -> Box<dyn Handler>,
    ready: Sender<Result<(), RingError>>,
) -> Result<(), ShardError> {
    let foundation = Foundation::of(&setup);
    show_at(&setup.pulse);
    let ring = match foundation.make_ring(&setup.control, &setup.pulse) {
        Ok(ring) => ring,
        Err(error) => {
            // The supervisor waits for this answer; it is gone only when the process ends.
            ready.send(Err(error)).ok();
            return Ok(());
        }
    };
    let hub = foundation.make_hub(&setup, 0);
    ready.send(Ok(())).ok();
    let mesh = std::mem::take(&mut setup.links).connect();
    let (id, mut restarts) = (setup.shard, Restarts::new(setup.restarts_max));
    let (mut storage, broker) = (setup.storage.take(), setup.broker.take());
    let cluster = setup.cluster.take();
    let left = std::mem::take(&mut setup.left);
    if let Some(storage) = &mut storage {
        left.spare(&mut storage.found);
    }
    let mut shard = Shard::new(setup, (ring, hub, mesh), handler(), foundation);
    shard.sockets.name_as_nobody_before();
    shard.begin_storage(storage);
    shard.begin_broker(broker);
    shard.begin_cluster(cluster);
    shard.succeed(left);
    let mut is_anew = false;
    loop {
        let panicked = match shard.run(is_anew).await {
            Ok(()) => return Ok(()),
            Err(End::Failed(error)) => return Err(error),
            Err(End::Panicked(panicked)) => panicked,
        };
        if !restarts.may_again(Instant::now()) {
            return Err(ShardError::Failed(id, panicked.what));
        }
        shard = shard.begin_anew(&panicked, &handler)?;
        is_anew = true;
    }
}

impl Foundation {
    /// Of a shard that begins for the first time.
    pub(super) fn of(setup: &ShardSetup) -> Self {
        Self {
            connections_limit: setup.connections_limit,
            listeners: setup.listeners.len() as u32,
            epoch_seed: setup.epoch_seed,
            hash_seed: setup.hash_seed,
            live: None,
            storage: None,
            retentions: setup.retentions.clone(),
            rules: Arc::clone(&setup.rules),
            broker: None,
            cluster: None,
            nodes: Nodes::default(),
        }
    }

    /// Slots of the descriptor table, and the most connections that are numbered.
    pub(super) fn descriptors(&self) -> u32 {
        descriptors_needed(self.connections_limit, self.listeners)
    }

    /// Makes a ring on this thread.
    pub(super) fn make_ring(&self, control: &ControlReceiver, pulse: &Pulse) -> Result<Ring, RingError> {
        let mut ring = Ring::new(RingSettings {
            submission_entries: SUBMISSION_ENTRIES,
            completion_entries: COMPLETION_ENTRIES,
            descriptors: self.descriptors(),
            accepts: ACCEPTS_PER_LISTENER * self.listeners,
            receive_buffers: RECEIVE_BUFFERS,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
        })?;
        ring.answer(control.doorbell().clone());
        ring.attend(Arc::clone(pulse.attendance()), self.descriptors());
        Ok(ring)
    }

    /// Lets a handler say what it serves over Socket.IO, under the operator's rules; whether that is anything.
    pub(super) fn bind(&self, handler: &mut dyn Handler, io: &Io) -> bool {
        io.obey(&self.rules);
        handler.socketio(io)
    }

    /// An empty hub, whose epochs are other ones than those of any hub of this process.
    pub(super) fn make_hub(&self, setup: &ShardSetup, restarts: u64) -> Hub {
        let ShardSetup { limits, shard, shards, .. } = setup;
        let seed = self.epoch_seed.wrapping_add(u64::from(shard.0)).wrapping_add(restarts << 16);
        let descriptors = self.descriptors();
        let mut hub =
            Hub::new(HubSettings::of_shard(limits, *shard, *shards, descriptors, seed, self.hash_seed));
        hub.change_retention(self.retentions.clone());
        if let Some(notices) = &setup.notices {
            hub.tell_of(notices.kinds(), notices.vacated_after_ms());
        }
        hub
    }
}

impl ShardThread {
    /// Waits until the shard has ended.
    pub fn join(self) -> Result<(), ShardError> {
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(ShardError::Panicked(self.shard)),
        }
    }
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
