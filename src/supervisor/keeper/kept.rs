//! The server's side: what it was handed, and what it says of itself.
//!
//! A server is kept if the variable [`KEEPER_VARIABLE`] names its parent, which is the other end of its standard input.
//! It ends with its keeper: the kernel sees to that.

use std::{
    cell::RefCell,
    ffi::CString,
    fmt, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::parent_id,
    },
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{info, warn};

use super::{
    handed::Handed,
    last_good::LastGood,
    link::{Link, ToKeeper, ToServer},
};
use crate::{
    config::Config,
    limits::KEEPER_DESCRIPTORS_MAX,
    mesh::{Carriage, Left},
    model::ShardId,
    ring::Stash,
    storage::snapshot::{self, CONNECTIONS_VERSION, SNAPSHOT_VERSION},
    supervisor::{
        ServeError,
        sockets::Sockets,
        watch::{Event, ForKeeper},
    },
    telemetry::upgrading,
};

/// Names the keeper's process to the server it starts.
pub(super) const KEEPER_VARIABLE: &str = "_ROADSTEAD_KEEPER";

/// Tells a server that its keeper knows of connections that go on in another process.
pub(super) const CARRIES_VARIABLE: &str = "_ROADSTEAD_KEEPER_CARRIES";

/// Tells a server that its keeper puts another process in its place when a shard of it hangs.
pub(super) const REPLACES_VARIABLE: &str = "_ROADSTEAD_KEEPER_REPLACES";

/// Tells a server that its keeper tells what becomes of upgrades.
pub(super) const TELLS_VARIABLE: &str = "_ROADSTEAD_KEEPER_TELLS";

/// Tells it why the last one has failed.
pub(super) const FAILED_VARIABLE: &str = "_ROADSTEAD_UPGRADE_FAILED";

/// What a server was handed by its keeper.
pub struct Kept {
    link: Link,
    handed: Handed,
    descriptors: Vec<OwnedFd>,
    configuration: Option<OwnedFd>,
}

impl Kept {
    /// What this process was handed, if a keeper has started it.
    pub fn take() -> Result<Option<Self>, ServeError> {
        let keeper = std::env::var(KEEPER_VARIABLE).ok().and_then(|text| text.parse().ok());
        match keeper {
            // Else the variable came down from further above.
            Some(keeper) if keeper == parent_id() || Link::is_standard_input() => {
                Self::take_from(keeper).map(Some).map_err(ServeError::Keeper)
            }
            Some(_) | None => Ok(None),
        }
    }

    fn take_from(keeper: u32) -> io::Result<Self> {
        let gone = || io::Error::other("it has gone");
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have gone before.
        if parent_id() != keeper {
            return Err(gone());
        }
        name_process("");
        let link = Link::of_standard_input()?;
        let Some((ToServer::Listen(handed), mut beside)) = link.recv()? else { return Err(gone()) };
        let mut descriptors = Vec::new();
        while descriptors.len() < handed.descriptors() {
            let missing = handed.descriptors() - descriptors.len();
            let Some((ToServer::Descriptors, more)) = link.recv()? else { return Err(gone()) };
            // The kernel leaves out what there is no room for.
            if more.len() < missing.min(KEEPER_DESCRIPTORS_MAX) {
                return Err(io::Error::other("a listening socket was lost: the open-files limit is too low"));
            }
            descriptors.extend(more);
        }
        Ok(Self { link, handed, descriptors, configuration: beside.pop() })
    }

    /// Has a configuration say what the keeper's sockets were bound for, which only a restart of the keeper changes.
    pub fn settle(&self, config: &mut Config) {
        self.handed.settle(config);
    }

    /// What the keeper remembers of the configuration file; taken once.
    pub fn last_good(&mut self) -> Result<LastGood, ServeError> {
        let link = self.link.try_clone().map_err(ServeError::Keeper)?;
        LastGood::new(link, self.configuration.take()).map_err(ServeError::Keeper)
    }

    /// Whether another server has served before this one.
    pub fn is_again(&self) -> bool {
        self.handed.is_again
    }

    /// The sockets to listen on, and what goes on between the two.
    pub(in crate::supervisor) fn part(self, backlog: u32) -> (Sockets, Line) {
        let line = Line { link: self.link, waits: self.handed.waits, early: RefCell::default() };
        if std::env::var_os(CARRIES_VARIABLE).is_some() {
            line.tell(ToKeeper::Carries { reads: CONNECTIONS_VERSION });
        }
        if std::env::var_os(TELLS_VARIABLE).is_some() {
            upgrading::is_told(std::env::var(FAILED_VARIABLE).ok().as_deref());
            line.tell(ToKeeper::HearsOfUpgrades);
        }
        (self.handed.sockets(self.descriptors, backlog), line)
    }
}

/// What a server goes on with that waits for its turn.
#[derive(Default)]
pub(in crate::supervisor) struct Succession {
    /// What was left.
    pub(in crate::supervisor) left: Left,
    /// The ways to connections of shards, when a process has served before that is to be followed at once.
    pub(in crate::supervisor) carriages: Option<Vec<(ShardId, Carriage)>>,
}

/// Who asks for the connections of which shard.
pub(in crate::supervisor) type Asking = (ShardId, Carriage);

/// A line to the keeper.
pub(in crate::supervisor) struct Line {
    link: Link,
    /// Whether the server has to wait until it is told to begin.
    waits: bool,
    /// What was said meanwhile.
    early: RefCell<Vec<ToServer>>,
}

impl Line {
    /// Another handle of it.
    pub(in crate::supervisor) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { link: self.link.try_clone()?, waits: self.waits, early: RefCell::default() })
    }

    /// Tells the keeper.
    fn tell(&self, what: ToKeeper) {
        if let Err(error) = self.link.send(&what, &[]) {
            warn!("the keeper is not told {what:?}: {error}");
        }
    }

    /// Every shard listens.
    pub(in crate::supervisor) fn tell_serving(&self) {
        self.tell(ToKeeper::Serving);
    }

    /// Waits until the server before this one has left what it had, if it has to; what that was.
    pub(in crate::supervisor) fn await_turn(&self) -> io::Result<Succession> {
        if !self.waits {
            return Ok(Succession::default());
        }
        let mut carriages = Vec::new();
        self.tell(ToKeeper::Ready { reads: SNAPSHOT_VERSION });
        loop {
            match self.link.recv()? {
                Some((ToServer::Begin, mut beside)) => {
                    let left = beside.pop().map(snapshot::read_file).transpose().map_err(io::Error::other)?;
                    return Ok(Succession { left: left.unwrap_or_default(), carriages: Some(carriages) });
                }
                Some((ToServer::Take(shard), mut beside)) => {
                    carriages.extend(beside.pop().map(|socket| (ShardId(shard), Carriage::new(socket))));
                }
                // Whoever asks for the end meanwhile is heard when the server serves.
                Some((said, _)) => self.early.borrow_mut().push(said),
                None => return Err(io::Error::other("it did not say when to begin")),
            }
        }
    }

    /// Leaves what there is to the server that goes on, and stays as long as the keeper wants for whoever asks for connections.
    pub(in crate::supervisor) fn leave(
        &self,
        left: &Left,
        stashes: Vec<(ShardId, Stash)>,
        asked: &mpsc::Receiver<Asking>,
    ) -> io::Result<()> {
        let file = snapshot::write_file(left).map_err(io::Error::other)?;
        let connections: usize = left.connections.iter().map(|one| one.all.len()).sum();
        info!(streams = left.streams.len(), connections, "left to the process that goes on");
        if stashes.is_empty() {
            return self.link.send(&ToKeeper::Left, &[file.as_fd()]);
        }
        let shards = stashes.iter().map(|(shard, _)| shard.0).collect();
        self.link.send(&ToKeeper::Holds(shards), &[file.as_fd()])?;
        let stashes: Vec<_> =
            stashes.into_iter().map(|(shard, stash)| (shard, Arc::new(Mutex::new(stash)))).collect();
        for (shard, carriage) in asked {
            let Some((_, stash)) = stashes.iter().find(|(of, _)| *of == shard) else { continue };
            let stash = Arc::clone(stash);
            // Each shard asks by itself. One that asks again has lost what it had.
            let give = move || {
                let mut stash = stash.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = carriage.give(&mut stash) {
                    warn!(%shard, "connections are not given: {error}");
                }
            };
            thread::Builder::new().name(format!("give-{shard}")).spawn(give)?;
        }
        Ok(())
    }

    /// Tells it what the server wants of it.
    pub(in crate::supervisor) fn tell_keeper(&self, what: ForKeeper) {
        self.tell(match what {
            ForKeeper::Upgrade => ToKeeper::Upgrade,
            ForKeeper::Replace if std::env::var_os(REPLACES_VARIABLE).is_some() => ToKeeper::Replace,
            ForKeeper::Replace => {
                return warn!(
                    "the keeper is of a version that does not put another process in place of this one"
                );
            }
            ForKeeper::EndsWithin(time) => ToKeeper::EndsWithin(time),
            ForKeeper::ShutOut(revocation) => {
                // An operator may shut out many at once, and each is to arrive.
                self.link.await_room();
                ToKeeper::ShutOut(revocation)
            }
        });
    }

    /// The server was asked to end.
    pub(in crate::supervisor) fn tell_leaving(&self) {
        self.tell(ToKeeper::Leaving);
    }

    /// Passes on what the keeper says, on a thread of its own; and who asks for connections.
    pub(in crate::supervisor) fn pass_on(
        &self,
        events: mpsc::Sender<Event>,
    ) -> io::Result<mpsc::Receiver<Asking>> {
        let (line, early) = (self.try_clone()?, self.early.take());
        let (asking, asked) = mpsc::channel();
        let listen = move || {
            // With the keeper this process ends.
            let later = std::iter::from_fn(|| line.link.recv().ok().flatten());
            let early = early.into_iter().map(|said| (said, Vec::new()));
            for (said, mut beside) in early.chain(later) {
                let event = match said {
                    // The keeper counts, for what is sent to a whole group comes here as well.
                    ToServer::Signal { signal: signal @ (SIGTERM | SIGINT), is_second: false } => {
                        Event::Asked(signal)
                    }
                    ToServer::Signal { signal, .. } => Event::Signal(signal),
                    ToServer::HandOver { reads: SNAPSHOT_VERSION } => Event::HandOver { carries: false },
                    ToServer::HandOverAll { reads: SNAPSHOT_VERSION, carries } => {
                        Event::HandOver { carries: carries == CONNECTIONS_VERSION }
                    }
                    ToServer::HandOver { .. } | ToServer::HandOverAll { .. } => {
                        line.tell(ToKeeper::Refuses);
                        continue;
                    }
                    ToServer::Give(shard) => {
                        let carriage = beside.pop().map(|socket| (ShardId(shard), Carriage::new(socket)));
                        // Nobody gives any more that was told to end meanwhile.
                        carriage.into_iter().for_each(|one| drop(asking.send(one)));
                        continue;
                    }
                    ToServer::UpgradeBegins => {
                        upgrading::begin();
                        continue;
                    }
                    ToServer::UpgradeFailed(reason) => {
                        upgrading::fail(&reason);
                        continue;
                    }
                    ToServer::Listen(_) | ToServer::Descriptors | ToServer::Begin | ToServer::Take(_) => {
                        continue;
                    }
                };
                if events.send(event).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("keeper".to_owned()).spawn(listen)?;
        Ok(asked)
    }
}

/// The process is called as its program is, not by the link in `/proc` through which it was started, and with this behind it: so
/// that `ps`, `top` and `pgrep` tell the two from each other. The kernel keeps 15 bytes of it.
pub(super) fn name_process(behind: &str) {
    let called = std::env::args_os().next();
    let name = called.as_deref().map(Path::new).and_then(Path::file_name);
    let name = name.map(|name| [name.as_encoded_bytes(), behind.as_bytes()].concat());
    let name = name.and_then(|name| CString::new(name).ok());
    if let Some(name) = name
        && let Err(error) = rustix::thread::set_name(&name)
    {
        warn!("the process keeps the name of its file: {error}");
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("handed", &self.handed).finish_non_exhaustive()
    }
}
