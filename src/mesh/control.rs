//! What the supervisor tells a shard.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
};

use super::{Left, Moves};
use crate::{
    live::Live,
    model::{ShardId, ShardSet},
    ring::{Doorbell, Stash},
    tls::Terms,
};

/// An order to a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// From now on these settings are in force.
    Change(Arc<Live>),
    /// From now on TLS is spoken on these terms.
    Terms(Terms),
    /// These shards do no turns: give up what waits for them. Told every second while there are any, and once when
    /// there are none any more.
    Silent(ShardSet),
    /// Serve connections that have come to a shard which does no turns: each shard that is told a part of them.
    Serve(Queued),
    /// Look who waits to be accepted: the kernel tells one of those that accept at a socket, and that may have been a shard of the
    /// process before which hung.
    LookWhoWaits,
    /// Whether the process takes nearly as much memory as it may, so that newcomers are refused.
    Memory {
        /// It does.
        is_scarce: bool,
    },
    /// Say that the server will end, and go on serving.
    Leave,
    /// Stop accepting, tell every client to go, and end.
    Drain,
    /// The same for another process that goes on: what listens goes on listening, and what the shard keeps is left to it, with
    /// the connections that it can go on with.
    HandOver(Heir),
    /// Let live connections go to another shard, as far as they may.
    Move(Moves),
    /// Fail, as if a mistake in the server had been met: see [`crate::supervisor::Server::fail_shard`].
    Fail(Failure),
    /// End at once.
    Stop,
}

/// Connections that have waited to be accepted by a shard that does no turns.
#[derive(Clone, Debug)]
pub struct Queued {
    all: Arc<Mutex<Vec<QueuedConnection>>>,
    /// How many each shard takes at most.
    share: usize,
}

/// One of them.
#[derive(Debug)]
pub struct QueuedConnection {
    /// To which of the shard's listeners it has come; each shard has the same in the same order.
    pub listener: usize,
    /// Its socket.
    pub socket: OwnedFd,
    /// Its client's address.
    pub address: Option<SocketAddr>,
}

impl Queued {
    /// All of them, for so many shards.
    pub fn new(all: Vec<QueuedConnection>, shards: usize) -> Self {
        let share = all.len().div_ceil(shards.max(1));
        Self { all: Arc::new(Mutex::new(all)), share }
    }

    /// Takes a shard's part.
    pub fn take(&self) -> Vec<QueuedConnection> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.len().saturating_sub(self.share);
        all.split_off(kept)
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.all, &other.all)
    }
}

/// Where a shard that is told to fail does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// In its turn: it can still tell its clients.
    InTurn,
    /// In its ring: it can tell nobody.
    InRing,
}

/// Who is left what shards that end keep.
#[derive(Clone, Debug)]
pub struct Heir {
    /// Takes what each shard keeps.
    pub left: Sender<Left>,
    /// Takes the connections that go on; without it all are told to come back.
    pub stashes: Option<Sender<(ShardId, Stash)>>,
}

impl PartialEq for Heir {
    /// There is one in a process.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The supervisor's end. Sends a handful of commands in a process's life, so the queue has no bound.
#[derive(Clone, Debug)]
pub struct ControlSender {
    commands: Sender<Command>,
    doorbell: Doorbell,
}

/// The shard's end.
#[derive(Debug)]
pub struct ControlReceiver {
    commands: Receiver<Command>,
    doorbell: Doorbell,
}

/// Makes the two ends for one shard.
pub fn control() -> io::Result<(ControlSender, ControlReceiver)> {
    let doorbell = Doorbell::new()?;
    let (sender, commands) = channel();
    Ok((
        ControlSender { commands: sender, doorbell: doorbell.clone() },
        ControlReceiver { commands, doorbell },
    ))
}

impl ControlSender {
    /// Sends a command and wakes the shard. One that has ended does not hear it.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.doorbell.ring();
        }
    }
}

impl ControlReceiver {
    /// The next command, if there is one.
    pub fn next(&self) -> Option<Command> {
        self.commands.try_recv().ok()
    }

    /// The bell that rings with each command, and with what other shards send.
    pub fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }
}
