//! The process around the shards: limits, cores, sockets, signals; starting all of it and ending all of it.
//!
//! Not here: what a shard does (`shard/`), and what the command line looks like (`cli/`). The supervisor's thread
//! serves nobody: it waits for a signal, for a shard's end, or for one that does no turns. All of this may be the child of a
//! process that starts it again when it crashes (`keeper/`).

mod balance;
mod ceiling;
mod certificates;
mod cores;
mod error;
mod fleet;
mod keeper;
mod memory;
mod passed;
mod preflight;
mod pulses;
mod reload;
mod rlimits;
mod signals;
mod sockets;
mod steering;
mod storage;
mod watch;

pub use crate::mesh::Failure;
pub use ceiling::{Ceiling, CeilingError, SetBy};
pub use cores::CoresError;
pub use error::ServeError;
pub use keeper::{Kept, LastGood, keep, notify_ready};
pub use preflight::{RingCause, RingRefusal};
pub use reload::Reread;
pub use rlimits::LimitsError;
pub use sockets::{SocketError, SocketStep};

use std::{
    collections::BTreeSet,
    io,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use certificates::Certificates;
use keeper::{Line, Succession};
use memory::Memory;
use passed::Passed;

use crate::{
    app::{Handle, Handler, guard::tell_panics_by_the_log},
    config::{Config, Endpoint},
    limits::DRAIN_OVERDUE_MS,
    mesh::{Arrived, Carriage, Command, ControlSender, Heir, Left, Moves, Start},
    model::ShardId,
    ring::Stash,
    storage::Writer,
};

/// Why a server ended that ended as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// A signal asked for it, and every client was told.
    Drained,
    /// Another process goes on, and every client was told.
    HandedOver,
    /// A second signal asked to end at once; its number. Shards may still be at work: leave the process.
    Forced(i32),
}

/// What a server that has just begun to serve can say about itself.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The core of each shard, by the shard's number.
    pub cores: Vec<usize>,
    /// Where clients connect, with the ports the kernel gave for port 0.
    pub public: Vec<Endpoint>,
    /// Where metrics are served.
    pub admin: Option<Endpoint>,
    /// Where clients are sent to those addresses that speak TLS.
    pub redirect: Vec<Endpoint>,
    /// How many connections the process holds.
    pub ceiling: Ceiling,
}

/// A server that runs, for programs that end it themselves. Dropping it does not end it; the process's end does.
pub struct Server {
    listening: Listening,
    events: mpsc::Sender<watch::Event>,
    watch: JoinHandle<(Outcome, BTreeSet<ShardId>)>,
    controls: Vec<ControlSender>,
    handles: Vec<Handle>,
    /// Handles given out.
    given: AtomicUsize,
    writer: Option<Writer>,
    /// What shards that have ended have left for another process to go on with.
    left: Option<Leavings>,
    /// The shards serve when this is dropped.
    go: Vec<mpsc::Sender<()>>,
    /// Ends when the backend has been told all there is; and how long that may take once the shards have ended.
    told: Option<(mpsc::Receiver<()>, Duration)>,
    /// Files of Unix sockets, removed with the server.
    _files: Vec<sockets::SocketFile>,
}

/// What a program adds to a server that serves until a signal ends it.
#[derive(Default)]
pub struct Hooks<'a> {
    /// Called once every shard listens.
    pub announce: Option<Announce<'a>>,
    /// Called at SIGHUP. What may change while the server runs is changed, on every shard
    /// ([`Handler::settings_changed`]); the rest is named as waiting for a restart. A configuration that cannot work
    /// changes nothing. Without it the signal is ignored.
    pub reread: Option<Reread>,
    /// Called once every shard has ended for another process to go on, before that is given what they leave.
    pub ended: Option<Box<dyn FnOnce() + 'a>>,
    /// What a keeper has handed to this process; `announce` is called by each server of a keeper ([`Kept::is_again`]).
    pub kept: Option<Kept>,
}

/// Tells what a server that has just begun to serve is like.
pub type Announce<'a> = Box<dyn FnOnce(&Config, &Listening) + 'a>;

/// Reads and checks the certificates of a configuration, and logs what an operator should look at.
pub fn check_certificates(config: &Config) -> Result<(), ServeError> {
    Certificates::load(&config.tls).map(drop).map_err(ServeError::Tls)
}

/// How many shards a configuration starts on this machine. Where it names cores that this one lacks, as many as it names.
pub fn shards(config: &Config) -> u16 {
    cores::count(config.server.shards, &config.server.cpus)
}

/// Serves until a signal ends it: SIGTERM or SIGINT drains, a second one ends at once. SIGHUP, SIGUSR1 and SIGUSR2 are
/// taken and logged, and end nothing.
///
/// `handler` makes one handler per shard, on that shard's own thread, and another for a shard that failed and begins anew.
/// Nothing is written to standard output;
/// start logging with [`crate::telemetry::logging::start`] or a subscriber of your own. The signals stay with this
/// crate when the function has returned. [`crate::app`] has an example.
pub fn serve<H>(config: Config, handler: H) -> Result<ExitReason, ServeError>
where
    H: Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static,
{
    serve_with(config, handler, Hooks::default())
}

/// As [`serve`], and calls `hooks` when their time comes.
pub fn serve_with<H>(config: Config, handler: H, hooks: Hooks<'_>) -> Result<ExitReason, ServeError>
where
    H: Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static,
{
    if !config.server.core_dumps.resolve(!config.tls.is_enabled()) {
        rlimits::forbid_cores();
    }
    let (events, inbox) = mpsc::channel();
    let mut config = config;
    let parts = hooks.kept.map(|kept| {
        kept.settle(&mut config);
        kept.part(config.server.backlog)
    });
    let (sockets, line) = parts.unzip();
    let another = line.as_ref().map(Line::try_clone).transpose().map_err(ServeError::Keeper)?;
    let asked = another.map(|line| move || line.tell_leaving());
    let _signals = signals::forward(events.clone(), asked).map_err(ServeError::Signals)?;
    let another = line.as_ref().map(Line::try_clone).transpose().map_err(ServeError::Keeper)?;
    let tell_keeper = another.map(|line| Box::new(move |what| line.tell_keeper(what)) as watch::TellKeeper);
    let await_turn =
        || line.as_ref().map_or(Ok(Succession::default()), Line::await_turn).map_err(ServeError::Keeper);
    let given = Given { reread: hooks.reread, sockets, await_turn: Box::new(await_turn), tell_keeper };
    let mut server = Server::start_with(&config, handler, given, events.clone(), inbox)?;
    let left = server.left.take();
    if let Some(announce) = hooks.announce {
        announce(&config, &server.listening);
    }
    let go = std::mem::take(&mut server.go);
    let Some(line) = line else { return server.wait() };
    let asked = line.pass_on(events).map_err(ServeError::Keeper)?;
    line.tell_serving();
    // From now on the process before does not come back.
    drop(go);
    let outcome = server.wait();
    if let (Ok(ExitReason::HandedOver), Some((left, stashes))) = (&outcome, left) {
        let (left, stashes) = (Left::together(left.try_iter()), stashes.try_iter().collect());
        hooks.ended.into_iter().for_each(|ended| ended());
        line.leave(&left, stashes, &asked).map_err(ServeError::Keeper)?;
    }
    outcome
}

/// What a server is given before it starts.
struct Given<'a> {
    reread: Option<Reread>,
    /// Bound already.
    sockets: Option<sockets::Sockets>,
    /// Waits, with everything checked, until nobody else serves; what was left.
    await_turn: Box<dyn FnOnce() -> Result<Succession, ServeError> + 'a>,
    tell_keeper: Option<watch::TellKeeper>,
}

impl Server {
    /// Starts every shard and returns once all of them listen. Takes no signals.
    pub fn start<H>(config: &Config, handler: H) -> Result<Self, ServeError>
    where
        H: Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static,
    {
        let (events, inbox) = mpsc::channel();
        let await_turn = Box::new(|| Ok(Succession::default()));
        let given = Given { reread: None, sockets: None, await_turn, tell_keeper: None };
        Self::start_with(config, handler, given, events, inbox)
    }

    fn start_with<H>(
        config: &Config,
        handler: H,
        given: Given<'_>,
        events: mpsc::Sender<watch::Event>,
        inbox: mpsc::Receiver<watch::Event>,
    ) -> Result<Self, ServeError>
    where
        H: Fn(ShardId) -> Box<dyn Handler> + Clone + Send + Sync + 'static,
    {
        let started = Instant::now();
        tell_panics_by_the_log();
        config.check()?;
        let abilities = preflight::check()?;
        let limits = rlimits::raise()?;
        let cores = cores::assign(config.server.shards, &config.server.cpus)?;
        let shards = u16::try_from(cores.len()).expect("a checked configuration asks for no more");
        config.check_shares(shards)?;
        let listeners_count = (config.server.listen.len() + config.tls.redirect.len()) as u64;
        let ceiling = ceiling::compute(config.limits.connections_max, shards, listeners_count, &limits)?;
        rlimits::warn_of_less(ceiling.connections);
        sockets::warn_of_short_backlog(config.server.backlog, ceiling.connections, shards);
        let (certificates, terms) = Certificates::load(&config.tls).map_err(ServeError::Tls)?.unzip();
        let sockets = match given.sockets {
            Some(sockets) => sockets,
            None => sockets::bind(config, shards, Passed::from_environment())?,
        };
        let (public, admin, redirect) = (sockets.public, sockets.admin, sockets.redirect);
        let listening = Listening { cores, public, admin, redirect, ceiling };
        let Succession { left, carriages } = (given.await_turn)()?;
        let (starts, arrivals, go) = carriages.map(|ways| starts(shards, ways)).unwrap_or_default();
        let ground = fleet::Ground { listeners: sockets.listeners, left, starts };
        let mut fleet = fleet::start(config, &listening, ground, terms, started, handler, &events)?;
        arrivals.iter().for_each(log_arrivals);
        log_start(&listening);
        if shards > 1 && !abilities.exports {
            info!("{}", preflight::NO_EXPORTS);
        }
        let (controls, handles, writer) = (fleet.controls(), fleet.take_handles(), fleet.take_writer());
        // A little more than the backend's thread takes for itself.
        let time = Duration::from_millis(config.drain_of_notices_ms() + DRAIN_OVERDUE_MS);
        let told = fleet.take_told().map(|told| (told, time));
        let settings = reload::Settings::new(config.clone(), shards, given.reread, certificates);
        let ((heir, left), (stashes, stashed)) = (mpsc::channel(), mpsc::channel());
        let heir = Heir { left: heir, stashes: Some(stashes) };
        let watch =
            supervise(fleet, settings, (heir, given.tell_keeper), inbox).map_err(ServeError::Supervisor)?;
        let left = Some((left, stashed));
        let (given, _files) = (AtomicUsize::new(0), sockets.files);
        Ok(Self { listening, events, watch, controls, handles, given, writer, left, go, told, _files })
    }

    /// Where the server listens, and how much it holds.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// A way into the server for any thread, one shard after the other. Clones lead to the same shard.
    pub fn handle(&self) -> Handle {
        let given = self.given.fetch_add(1, Ordering::Relaxed);
        self.handles[given % self.handles.len()].clone()
    }

    /// Tells every client to go within `server.drain_ms`, after `server.lame_duck_ms`; [`Self::wait`] returns when
    /// they have.
    pub fn drain(&self) {
        // A server that has ended has nobody left to tell.
        drop(self.events.send(watch::Event::Drain));
    }

    /// Takes over what may change while the server runs; the log says what that is, and what needs a restart.
    pub fn change(&self, config: &Config) {
        drop(self.events.send(watch::Event::Change(Box::new(config.clone()))));
    }

    /// Has a shard fail as a mistake in the server would have it: a drill, to see what clients make of it. It begins anew
    /// on its thread, as `server.shard_restarts_max` allows; its clients are told to come back, or with
    /// [`Failure::InRing`] only closed. Does nothing when there is no such shard.
    pub fn fail_shard(&self, shard: ShardId, failure: Failure) {
        if let Some(control) = self.controls.get(usize::from(shard.0)) {
            control.send(Command::Fail(failure));
        }
    }

    /// Has so many live connections go from a shard to another, as far as they may: what `server.balance` does by itself, as a
    /// drill. Does nothing when there are no such shards.
    pub fn move_connections(&self, from: ShardId, to: ShardId, count: u32) {
        if let Some(control) = self.controls.get(usize::from(from.0)).filter(|_| from != to) {
            control.send(Command::Move(Moves { to, count }));
        }
    }

    /// Waits until the server has ended.
    pub fn wait(self) -> Result<ExitReason, ServeError> {
        let (outcome, left_behind) = self.watch.join().expect("the supervisor's thread does not panic");
        let is_in_order = matches!(outcome, Ok(ExitReason::Drained | ExitReason::HandedOver));
        if let (true, Some(writer)) = (is_in_order, self.writer) {
            writer.end(left_behind.is_empty()).map_err(ServeError::Storage)?;
        }
        if let (true, Some((told, time))) = (is_in_order, self.told) {
            // Its end shows as nobody being there to say anything.
            told.recv_timeout(time).ok();
        }
        info!("stopped");
        outcome
    }
}

/// What shards that have ended have left, and the sockets of connections that go on.
type Leavings = (mpsc::Receiver<Left>, mpsc::Receiver<(ShardId, Stash)>);

/// What each of so many shards waits for, what tells that they have it, and what lets them begin when it is dropped.
type Starts = (Vec<Start>, Option<mpsc::Receiver<Arrived>>, Vec<mpsc::Sender<()>>);

/// Lets shards that go on with connections begin together.
fn starts(shards: u16, mut carriages: Vec<(ShardId, Carriage)>) -> Starts {
    let (arrived, arrivals) = mpsc::channel();
    let of_shard = |id| {
        let at = carriages.iter().position(|(shard, _)| *shard == ShardId(id));
        let carriage = at.map(|at| carriages.swap_remove(at).1);
        let (sender, go) = mpsc::channel();
        (Start { carriage, arrived: arrived.clone(), go }, sender)
    };
    let (starts, go) = (0..shards).map(of_shard).unzip();
    (starts, Some(arrivals), go)
}

/// Waits until every shard has what it goes on with, and tells what that is.
fn log_arrivals(arrivals: &mpsc::Receiver<Arrived>) {
    let all: Vec<_> = arrivals.iter().collect();
    let (carried, refused): (u32, u32) =
        (all.iter().map(|one| one.carried).sum(), all.iter().map(|one| one.refused).sum());
    let told: u64 = all.iter().map(|one| one.told).sum();
    info!(carried, refused, told, "connections go on; the others were told to come back");
}

/// What becomes of a server.
type Outcome = Result<ExitReason, ServeError>;

/// Begins to watch over the shards, on a thread that does nothing else. It ends with the shards that have not.
fn supervise(
    fleet: fleet::Fleet,
    settings: reload::Settings,
    (heir, tell_keeper): (Heir, Option<watch::TellKeeper>),
    inbox: mpsc::Receiver<watch::Event>,
) -> io::Result<JoinHandle<(Outcome, BTreeSet<ShardId>)>> {
    let watch = move || {
        let (running, pulses) = (fleet.ids().collect(), fleet.pulses(&settings));
        let order = |order| fleet.order(order);
        let (memory, heir, replacing) = (Memory::default(), Some(heir), None);
        let mut watch =
            watch::Watch { running, settings, pulses, memory, heir, tell_keeper, replacing, order };
        (watch.until_ended(&inbox), watch.running)
    };
    thread::Builder::new().name("supervisor".to_owned()).spawn(watch)
}

fn log_start(listening: &Listening) {
    let addresses: Vec<_> = listening.public.iter().map(Endpoint::to_string).collect();
    info!(
        shards = listening.cores.len(),
        addresses = addresses.join(" "),
        admin = listening.admin.as_ref().map(Endpoint::to_string),
        connections_max = listening.ceiling.connections,
        "listening"
    );
    if let Some(admin) = listening.admin.as_ref().filter(|admin| !admin.is_local()) {
        warn!(
            "the admin listener can be reached beyond this machine, at {admin}; all but metrics and health takes a key"
        );
    }
}
