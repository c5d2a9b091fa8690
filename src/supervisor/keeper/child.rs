//! A process that the keeper has started: the server, or the one that is to follow it.

use std::{
    env,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
};

use rustix::process::{Pid, Signal};
use tracing::{error, warn};

use super::{
    handed::Held,
    kept::{CARRIES_VARIABLE, FAILED_VARIABLE, KEEPER_VARIABLE, REPLACES_VARIABLE, TELLS_VARIABLE},
    link::{Link, ToKeeper, ToServer},
};

/// The file of a program, which stays what it was when another takes its name.
pub(super) struct Program(File);

/// How a child begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    /// Another has served before it.
    pub(super) is_again: bool,
    /// It says when it could serve, and waits to be told.
    pub(super) waits: bool,
}

/// A child, until it has been reaped.
pub(super) struct Child {
    process: Process,
    /// Until the child has closed its end.
    link: Option<Link>,
    /// Whether every shard of it listens.
    pub(super) is_serving: bool,
    /// Whether it was asked to end.
    pub(super) is_leaving: bool,
    /// The version in which it takes connections over and leaves them, if it does.
    pub(super) carries: Option<u16>,
    /// Whether it is told what becomes of upgrades.
    pub(super) hears_of_upgrades: bool,
}

impl Program {
    /// The one that this process runs.
    pub(super) fn of_this_process() -> io::Result<Self> {
        File::open("/proc/self/exe").map(Self)
    }

    /// Another handle of it.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// What stands now where this process's program stood.
    pub(super) fn of_same_name() -> io::Result<Self> {
        let path = env::current_exe()?;
        // The kernel says so of a file that was replaced.
        let path = match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
            Some(path) => PathBuf::from(path),
            None => path,
        };
        let named = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
        File::open(&path).map(Self).map_err(named)
    }

    /// Starts it with this process's arguments, and hands it the sockets, and what it goes on with should its configuration file
    /// have become wrong; it is told why the last upgrade has failed.
    pub(super) fn start(
        &self,
        held: &Held,
        beginning: Beginning,
        configuration: Option<BorrowedFd<'_>>,
        failed: Option<&str>,
    ) -> io::Result<Child> {
        let (link, other) = Link::pair()?;
        // What it has to know is there before it can ask.
        held.hand(&link, beginning, configuration)?;
        let mut words = env::args_os();
        let mut command = Command::new(Path::new("/proc/self/fd").join(self.0.as_raw_fd().to_string()));
        if let Some(name) = words.next() {
            command.arg0(name);
        }
        command.args(words).stdin(Stdio::from(OwnedFd::from(other)));
        command.env(KEEPER_VARIABLE, std::process::id().to_string());
        command.env(CARRIES_VARIABLE, "1").env(REPLACES_VARIABLE, "1").env(TELLS_VARIABLE, "1");
        match failed {
            Some(reason) => command.env(FAILED_VARIABLE, reason),
            None => command.env_remove(FAILED_VARIABLE),
        };
        // What systemd has passed is with the keeper, which also tells it how the server is.
        for variable in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"] {
            command.env_remove(variable);
        }
        let process = command.spawn()?;
        Ok(Child {
            process,
            link: Some(link),
            is_serving: false,
            is_leaving: false,
            carries: None,
            hears_of_upgrades: false,
        })
    }
}

impl Child {
    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it is this process.
    pub(super) fn is(&self, pid: Pid) -> bool {
        Pid::from_child(&self.process) == pid
    }

    /// Readable when it has said something.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(AsFd::as_fd)
    }

    /// Tells it, if it listens.
    pub(super) fn tell(&self, what: &ToServer, beside: &[BorrowedFd<'_>]) {
        if let Some(link) = &self.link
            && let Err(error) = link.send(what, beside)
        {
            warn!(pid = self.id(), "the server is not told {what:?}: {error}");
        }
    }

    /// What it has said next, and with what beside it.
    pub(super) fn next(&mut self) -> Option<(ToKeeper, Vec<OwnedFd>)> {
        match self.link.as_ref()?.try_recv() {
            Ok(Some(said)) => return Some(said),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) => self.link = None,
            Err(error) => {
                warn!("what the server says is not understood: {error}");
                self.link = None;
            }
        }
        None
    }

    /// Says nothing to it any more, and hears nothing.
    pub(super) fn hang_up(&mut self) {
        self.link = None;
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        if let Err(error) = rustix::process::kill_process(Pid::from_child(&self.process), Signal::KILL) {
            error!(pid = self.id(), "the server cannot be killed: {error}");
        }
    }
}
