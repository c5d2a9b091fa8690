//! The keeper: a small parent that owns the listening sockets and the signals, and a child that serves.
//!
//! ```text
//!     shell, systemd, container            ┌────────────► server: shards, clients
//!        │ signals     ▲ exit status       │ sockets,      │
//!        ▼             │                   │ signals       │ serving, leaving
//!      keeper: sockets, one thread ────────┘◄──────────────┘
//! ```
//!
//! A server that crashes comes back on the same sockets, after a delay that grows; whoever connects meanwhile waits in their
//! queues. The keeper has the process's id, stays in the foreground, and ends with the server's status. It reads the
//! configuration once, holds no client and has neither a thread nor an executor: there is little in it that could fail. As
//! process 1 of a container it reaps whatever is left to it.
//!
//! Both are one program: the keeper starts itself once more, with its own arguments, also when its file has been replaced. At
//! SIGUSR2 it starts what stands there now, and lets that go on with what the server before it leaves (`upgrade.rs`).
//!
//! Invariant: at most one server serves, and none outlives its keeper.

mod child;
mod crashes;
mod doorbell;
mod handed;
mod holder;
mod kept;
mod last_good;
mod link;
mod upgrade;

pub use kept::Kept;
pub(super) use kept::{Line, Succession};
pub use last_good::LastGood;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::WaitOptions,
};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use tracing::{error, info, warn};

use super::{ServeError, signals};
use crate::{
    auth::{Revocation, Revoked},
    config::Config,
    limits::{KEEPER_CRASHES_MAX, KEEPER_CRASHES_MS, KEEPER_FORCE_MS, KEEPER_OVERDUE_MS},
};
use child::{Beginning, Child, Program};
use crashes::{Crashes, Ended, Next, Past};
use doorbell::Doorbell;
use handed::Held;
use holder::Holder;
use link::{ToKeeper, ToServer};
use upgrade::Upgrade;

/// Keeps a server: binds the addresses of the configuration, starts this program again with the same arguments, and goes on
/// doing so whenever it crashes. Returns with the status to end the process with.
///
/// The program that is started finds what it was handed with [`Kept::take`] and serves with it
/// ([`crate::supervisor::Hooks::kept`]). So a program that embeds the server opts in like this, before it starts a thread:
///
/// ```no_run
/// use roadstead::{config::Config, supervisor::{self, Hooks, Kept}};
/// # fn handlers(_: roadstead::model::ShardId) -> Box<dyn roadstead::app::Handler> { loop {} }
/// let mut config = Config::default();
/// let Some(kept) = Kept::take()? else {
///     std::process::exit(supervisor::keep(&config)?.into());
/// };
/// kept.settle(&mut config);
/// supervisor::serve_with(config, handlers, Hooks { kept: Some(kept), ..Hooks::default() })?;
/// # Ok::<(), supervisor::ServeError>(())
/// ```
pub fn keep(config: &Config) -> Result<u8, ServeError> {
    config.check()?;
    let bell = Doorbell::hang().map_err(ServeError::Signals)?;
    kept::name_process(NAME);
    let held = Held::bind(config)?;
    let mut keeper = Keeper {
        bell,
        held,
        program: Program::of_this_process().map_err(ServeError::Keeper)?,
        server: None,
        upgrade: None,
        wants_upgrade: false,
        replaced_at: None,
        left: None,
        holder: None,
        revoked: Revoked::default(),
        configuration: None,
        upgrade_failed: None,
        before: None,
        serve_by: None,
        start_at: Instant::now(),
        crashes: Crashes::default(),
        has_served: false,
        ends_within: Duration::from_millis(config.ends_within_ms()),
        ending: None,
        forcing: None,
        kill_at: None,
        has_killed: false,
    };
    Ok(loop {
        if let Some(status) = keeper.step() {
            break status;
        }
    })
}

struct Keeper {
    bell: Doorbell,
    held: Held,
    /// What is started after a crash.
    program: Program,
    server: Option<Child>,
    upgrade: Option<Upgrade>,
    /// An upgrade was asked for before the server served.
    wants_upgrade: bool,
    /// When a server was replaced last of which a shard hung.
    replaced_at: Option<Instant>,
    /// What a server has left, until another one serves.
    left: Option<OwnedFd>,
    /// The server that has left it, while it holds connections that go on.
    holder: Option<Holder>,
    /// Who is shut out, so that a server that follows one that has left nothing knows.
    revoked: Revoked,
    /// What stood in the configuration file when a server last read it without a mistake.
    configuration: Option<OwnedFd>,
    /// Why the last upgrade has failed, until another one begins.
    upgrade_failed: Option<String>,
    /// The program before an upgrade, until the new one serves.
    before: Option<Program>,
    /// When the new one is given up.
    serve_by: Option<Instant>,
    /// When to start one, if there is none.
    start_at: Instant,
    crashes: Crashes,
    /// Whether any has ever served.
    has_served: bool,
    /// How long a server takes to end, as it has said last.
    ends_within: Duration,
    /// The first signal that asked for the end.
    ending: Option<i32>,
    /// The second.
    forcing: Option<i32>,
    /// When a server is killed that was asked to end.
    kill_at: Option<Instant>,
    /// It has been.
    has_killed: bool,
}

/// What stands behind the name of a keeper's process.
const NAME: &str = "-keep";

impl Keeper {
    /// Does what there is to do, and waits for more; the status to end with when that is all.
    fn step(&mut self) -> Option<u8> {
        if self.server.is_none() && self.start_at <= Instant::now() {
            let waits = self.left.is_some() || !self.revoked.is_empty();
            let beginning = Beginning { is_again: self.has_served, waits };
            let configuration = self.configuration.as_ref().map(AsFd::as_fd);
            let failed = self.upgrade_failed.as_deref();
            match self.program.start(&self.held, beginning, configuration, failed) {
                Ok(server) => self.server = Some(server),
                Err(error) => {
                    error!("no server can be started: {error}");
                    let next = self.crashes.note(Instant::now());
                    return self.go_on(next);
                }
            }
        }
        if let Err(error) = self.wait() {
            error!("the keeper cannot wait for its server: {error}");
            return Some(1);
        }
        for signal in self.bell.answer() {
            if let Some(status) = self.handle_signal(signal) {
                return Some(status);
            }
        }
        self.hear();
        self.hear_successor();
        self.pass_time(Instant::now());
        self.reap()
    }

    /// Waits for a signal, a word of a child, or the time to do something.
    fn wait(&self) -> io::Result<()> {
        let start = self.server.is_none().then_some(self.start_at);
        let upgrade = self.upgrade.as_ref().map(Upgrade::until);
        let until = [start, self.kill_at, self.serve_by, upgrade].into_iter().flatten().min();
        let time = until.map(|at| at.saturating_duration_since(Instant::now()));
        let time = time.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let server = self.server.as_ref().and_then(Child::source);
        let successor = self.upgrade.as_ref().and_then(Upgrade::source);
        let sources = [Some(self.bell.as_fd()), server, successor];
        let mut sources: Vec<_> =
            sources.iter().flatten().map(|source| PollFd::new(source, PollFlags::IN)).collect();
        match rustix::event::poll(&mut sources, time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The status to end with at once, if it comes to that.
    fn handle_signal(&mut self, signal: i32) -> Option<u8> {
        match signal {
            SIGCHLD => {}
            SIGTERM | SIGINT if self.server.is_none() => {
                info!("ending after {} while no server runs", signals::name(signal));
                return Some(0);
            }
            SIGTERM | SIGINT => self.end(signal),
            SIGUSR2 => self.begin_upgrade(),
            SIGHUP | SIGUSR1 => self.pass_on(signal, false),
            other => warn!("signal {other} means nothing to a keeper"),
        }
        None
    }

    /// Somebody asks for the end, once or again.
    fn end(&mut self, signal: i32) {
        match (self.ending, self.forcing) {
            (None, _) => {
                self.ending = Some(signal);
                notify(&[NotifyState::Stopping]);
                self.drop_upgrade();
                // It ends also when its server does nothing any more, not even look at the time.
                let time = self.ends_within + Duration::from_millis(KEEPER_OVERDUE_MS);
                self.kill_at = Some(Instant::now() + time);
                self.pass_on(signal, false);
            }
            (Some(_), None) => {
                self.forcing = Some(signal);
                self.kill_at = Some(Instant::now() + Duration::from_millis(KEEPER_FORCE_MS));
                self.pass_on(signal, true);
            }
            (Some(_), Some(_)) => self.kill(),
        }
    }

    fn pass_on(&self, signal: i32, is_second: bool) {
        if let Some(server) = &self.server {
            server.tell(&ToServer::Signal { signal, is_second }, &[]);
        }
    }

    fn kill(&mut self) {
        self.kill_at = None;
        if let Some(server) = &self.server {
            self.has_killed = true;
            warn!(pid = server.id(), "the server does not end; it is killed");
            server.kill();
        }
    }

    fn pass_time(&mut self, now: Instant) {
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill();
        }
        self.pass_upgrade_time(now);
    }

    /// Takes in what the server has said.
    fn hear(&mut self) {
        while let Some((said, beside)) = self.server.as_mut().and_then(Child::next) {
            match said {
                ToKeeper::Serving => {
                    self.has_served = true;
                    if let Some(server) = &mut self.server {
                        server.is_serving = true;
                    }
                    (self.left, self.serve_by) = (None, None);
                    self.release_holder();
                    if self.before.take().is_some() {
                        info!("the new version serves");
                    }
                    notify(&[NotifyState::Ready]);
                    if std::mem::take(&mut self.wants_upgrade) {
                        self.begin_upgrade();
                    }
                }
                ToKeeper::Leaving => {
                    if let Some(server) = &mut self.server {
                        server.is_leaving = true;
                    }
                }
                ToKeeper::Ready { .. } => self.let_begin(),
                ToKeeper::Upgrade => self.begin_upgrade(),
                ToKeeper::Replace => self.begin_replacement(Instant::now()),
                ToKeeper::Refuses => self.give_up_upgrade("what it reads is not written by this version"),
                ToKeeper::Left => self.left = beside.into_iter().next(),
                ToKeeper::Carries { reads } => {
                    if let Some(server) = &mut self.server {
                        server.carries = Some(reads);
                    }
                }
                ToKeeper::HearsOfUpgrades => {
                    if let Some(server) = &mut self.server {
                        server.hears_of_upgrades = true;
                    }
                }
                ToKeeper::Holds(shards) => {
                    self.left = beside.into_iter().next();
                    self.retire(shards);
                }
                ToKeeper::ShutOut(revocation) => self.shut_out(revocation),
                ToKeeper::EndsWithin(time) => self.ends_within = time,
                ToKeeper::Configured => self.configuration = beside.into_iter().next(),
            }
        }
    }

    /// Remembers who is shut out.
    fn shut_out(&mut self, revocation: Revocation) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if !self.revoked.add(revocation, now.as_secs()) {
            warn!("the list of who is shut out is full: after a crash they may come back");
        }
    }

    /// Takes in who has ended; the status to end with, if that is all.
    fn reap(&mut self) -> Option<u8> {
        let mut of_server = None;
        // Also those of others that were left to process 1.
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if self.server.as_ref().is_some_and(|server| server.is(pid)) {
                of_server = Ended::of(status);
            } else if let Some(ended) = Ended::of(status) {
                self.lose_holder(pid);
                self.lose_successor(pid, ended);
            }
        }
        let ended = of_server?;
        // What it said last.
        self.hear();
        let server = self.server.take()?;
        if let (Ended::Killed(_), Some(signal)) = (ended, self.forcing) {
            return Some(Ended::Killed(signal).code());
        }
        if matches!(ended, Ended::Killed(_)) && self.has_killed {
            // As where a shard does not end.
            return Some(1);
        }
        if self.ending.is_none() && self.succeed(server.id(), ended) {
            return None;
        }
        let past = Past { is_asked: self.ending.is_some() || server.is_leaving, has_served: self.has_served };
        let next = self.crashes.judge(ended, past, Instant::now());
        if let Next::Again(delay) = next {
            error!(pid = server.id(), "the server {ended}; another one starts in {} ms", delay.as_millis());
        } else if next == Next::GiveUp {
            error!(pid = server.id(), "the server {ended}");
        }
        self.go_on(next)
    }

    fn go_on(&mut self, next: Next) -> Option<u8> {
        match next {
            Next::End(status) => Some(status),
            Next::Again(delay) => {
                self.start_at = Instant::now() + delay;
                None
            }
            Next::GiveUp => {
                error!(
                    "the server has crashed {KEEPER_CRASHES_MAX} times within {} s; ending. What it said before each time tells \
                     why",
                    KEEPER_CRASHES_MS / 1000
                );
                Some(1)
            }
        }
    }
}

/// Tells systemd that the service is there, if it wants to know (`Type=notify`); a keeper does that by itself.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd, if it wants to know (sd_notify(3)): this process is the main one of the service.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("systemd is not told: {error}");
    }
}
