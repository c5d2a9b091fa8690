//! A new version in place of the old: the program that stands now where this one stood, with what the server has.
//!
//! ```text
//!   SIGUSR2 ─► start the new ─► it checks its configuration,  ─► old: tells its clients ─► left, as a  ─► new begins,
//!              beside the old    ring, certificates: "ready"      to come back, ends        snapshot       on the same sockets
//!                  │                      │                           │                                       │
//!   fails:         └── the old one serves on, untouched               └── crashes: new    begins without       └── the old program
//!                                                                        (new epochs)                              begins, with it
//! ```
//!
//! Whatever the old server has acknowledged stands in the snapshot, for it is taken when nobody is left that could publish: so
//! nothing has to be kept back or passed on meanwhile. Clients that come back wait in the queues of the listening sockets, which
//! are never closed, until the new server accepts them. Those that both versions can go on with keep their connections: the old
//! server stays for them until the new one serves (`holder.rs`).

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustix::process::Pid;
use tracing::{error, info, warn};

use super::{
    Keeper,
    child::{Beginning, Child, Program},
    crashes::Ended,
    link::{ToKeeper, ToServer},
};
use crate::{
    limits::{UPGRADE_PASS_MS, UPGRADE_READY_MS},
    mesh::Left,
    storage::snapshot,
};

/// Servers of which a shard hangs are replaced no more often than this.
const REPLACED_AGAIN: Duration = Duration::from_secs(300);

/// An upgrade, from its beginning until the old server has ended.
pub(super) struct Upgrade {
    program: Program,
    /// The new server; `None` when it has ended after the old one was told.
    next: Option<Child>,
    /// Whether the old one has been told to leave.
    is_told: bool,
    until: Instant,
}

impl Upgrade {
    /// When it is given up.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Readable when the new server has said something.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.next.as_ref().and_then(Child::source)
    }
}

impl Keeper {
    /// Starts the new version beside the old.
    pub(super) fn begin_upgrade(&mut self) {
        if self.upgrade.is_some() || self.ending.is_some() {
            warn!("no upgrade begins now: the server ends, or one is under way");
            return;
        }
        if !self.server.as_ref().is_some_and(|server| server.is_serving) {
            info!("an upgrade begins as soon as the server serves");
            self.wants_upgrade = true;
            return;
        }
        self.begin_with(Program::of_same_name());
    }

    /// Starts the same program beside a server of which a shard hangs: it goes on with what the other shards have. As often as it
    /// makes sense: one that hangs again at once would cost everybody else more than it brings.
    pub(super) fn begin_replacement(&mut self, now: Instant) {
        if self.replaced_at.is_some_and(|at| now.duration_since(at) < REPLACED_AGAIN) {
            warn!("a shard hangs again; no other process is put in place of this one so soon");
        } else if self.upgrade.is_none() && self.ending.is_none() {
            warn!("a shard of the server hangs: another process is put in its place");
            self.replaced_at = Some(now);
            self.begin_with(self.program.try_clone());
        }
    }

    fn begin_with(&mut self, program: io::Result<Program>) {
        let beginning = Beginning { is_again: true, waits: true };
        let started = program.and_then(|program| {
            let next = program.start(&self.held, beginning, None, None)?;
            Ok((program, next))
        });
        match started {
            Ok((program, next)) => {
                info!(pid = next.id(), "an upgrade begins: the new version makes itself ready");
                let until = Instant::now() + Duration::from_millis(UPGRADE_READY_MS);
                self.upgrade = Some(Upgrade { program, next: Some(next), is_told: false, until });
                self.upgrade_failed = None;
                self.tell_of_upgrade(&ToServer::UpgradeBegins);
            }
            Err(error) => self.fail_upgrade(&error.to_string()),
        }
    }

    /// Takes in what the new server has said.
    pub(super) fn hear_successor(&mut self) {
        let next = |upgrade: &mut Upgrade| upgrade.next.as_mut().and_then(Child::next);
        while let Some((said, _)) = self.upgrade.as_mut().and_then(next) {
            let (Some(upgrade), Some(server)) = (&mut self.upgrade, &self.server) else { continue };
            match (said, &mut upgrade.next) {
                (ToKeeper::Carries { reads }, Some(next)) => next.carries = Some(reads),
                (ToKeeper::HearsOfUpgrades, Some(next)) => next.hears_of_upgrades = true,
                (ToKeeper::Ready { reads }, next) => {
                    upgrade.is_told = true;
                    upgrade.until = Instant::now() + Duration::from_millis(UPGRADE_PASS_MS);
                    let carries =
                        next.as_ref().and_then(|next| next.carries).filter(|_| server.carries.is_some());
                    server.tell(
                        &carries.map_or(ToServer::HandOver { reads }, |carries| ToServer::HandOverAll {
                            reads,
                            carries,
                        }),
                        &[],
                    );
                }
                _ => {}
            }
        }
    }

    /// A child has ended that is not the server.
    pub(super) fn lose_successor(&mut self, pid: Pid, ended: Ended) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if !upgrade.next.as_ref().is_some_and(|next| next.is(pid)) {
            return;
        }
        upgrade.next = None;
        let reason = format!("the new version {ended} before it served");
        if upgrade.is_told {
            error!("{reason}; the old one begins again with what it leaves");
            self.upgrade_failed = Some(reason);
        } else {
            self.upgrade = None;
            self.fail_upgrade(&reason);
        }
    }

    /// Ends the new server; the old one serves on.
    pub(super) fn give_up_upgrade(&mut self, why: &str) {
        if self.upgrade.is_some() {
            self.fail_upgrade(why);
        }
        self.drop_upgrade();
    }

    /// The upgrade has come to nothing, and whoever asked for it is told.
    fn fail_upgrade(&mut self, why: &str) {
        error!("the upgrade has failed, and the old version serves on: {why}");
        self.upgrade_failed = Some(why.to_owned());
        self.tell_of_upgrade(&ToServer::UpgradeFailed(why.to_owned()));
    }

    fn tell_of_upgrade(&self, what: &ToServer) {
        if let Some(server) = self.server.as_ref().filter(|server| server.hears_of_upgrades) {
            server.tell(what, &[]);
        }
    }

    /// Ends the new server, if there is one.
    pub(super) fn drop_upgrade(&mut self) {
        if let Some(Upgrade { next: Some(next), .. }) = self.upgrade.take() {
            next.kill();
        }
    }

    pub(super) fn pass_upgrade_time(&mut self, now: Instant) {
        if self.serve_by.take_if(|at| *at <= now).is_some() {
            // What was left goes to the old program then.
            let why = "the new version does not come to serve";
            self.upgrade_failed = Some(why.to_owned());
            self.kill_hung(why);
        }
        match &mut self.upgrade {
            Some(upgrade) if upgrade.until <= now && !upgrade.is_told => {
                self.give_up_upgrade("the new one did not say in time that it is ready");
            }
            // What it holds cannot be had.
            Some(upgrade) if upgrade.until <= now => {
                upgrade.until = now + Duration::from_millis(UPGRADE_PASS_MS);
                self.kill_hung("the server does not leave what it has");
            }
            Some(_) | None => {}
        }
    }

    /// Ends the server, which is followed by another then.
    fn kill_hung(&self, why: &str) {
        if let Some(server) = &self.server {
            error!(pid = server.id(), "{why}; it is killed");
            server.kill();
        }
    }

    /// The server that has ended is followed by the new one, or by the old program with what was left; whether it is followed
    /// at once.
    pub(super) fn succeed(&mut self, before: u32, ended: Ended) -> bool {
        let Some(Upgrade { program, next, is_told, .. }) = self.upgrade.take() else {
            // The new one was told to begin, and has ended: what was left is not lost with it.
            if let Some(old) = self.before.take() {
                let reason = format!("the new version {ended} before it served");
                error!("{reason}; the old one begins again with what was left");
                self.upgrade_failed.get_or_insert(reason);
                self.program = old;
                self.serve_by = None;
                self.start_at = Instant::now();
                return true;
            }
            return false;
        };
        if !is_told {
            next.iter().for_each(Child::kill);
            self.upgrade_failed =
                Some(format!("the old version {ended} while the new one made itself ready"));
            return false;
        }
        if self.left.is_none() {
            error!(pid = before, "the server {ended} before it had left anything: channels begin anew");
        }
        match next {
            Some(next) => {
                self.before = Some(std::mem::replace(&mut self.program, program));
                self.server = Some(next);
                self.serve_by = Some(Instant::now() + Duration::from_millis(UPGRADE_PASS_MS));
                self.let_begin();
            }
            None => self.start_at = Instant::now(),
        }
        true
    }

    /// Tells the server that it may begin, with what was left; where nothing was, it is told who is shut out.
    pub(super) fn let_begin(&self) {
        let known = if self.left.is_none() { self.write_revoked() } else { None };
        let left = self.left.as_ref().map(AsFd::as_fd).or(known.as_ref().map(AsFd::as_fd));
        if let Some(server) = &self.server {
            if let Some(holder) = self.holder.as_ref().filter(|_| server.carries.is_some()) {
                holder.give_to(server);
            }
            server.tell(&ToServer::Begin, left.as_slice());
        }
    }

    fn write_revoked(&self) -> Option<File> {
        if self.revoked.is_empty() {
            return None;
        }
        let left = Left { revoked: self.revoked.clone(), ..Left::default() };
        let written = snapshot::write_file(&left);
        written.inspect_err(|error| error!("the server is not told who is shut out: {error}")).ok()
    }
}
