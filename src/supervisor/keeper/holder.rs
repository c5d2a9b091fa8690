//! The server before, which has left what it had and stays for its connections: until another one serves it holds them, and gives
//! them to whoever is to go on with them.
//!
//! ```text
//!   old: Holds ─► holder ── Give ──┐                   ┌─ Serving ─► the holder is ended
//!                 keeper ── Take ──┴─► new: takes all ─┤
//!                                                      └─ ends, hangs ─► the old program begins again, and takes all
//! ```
//!
//! A connection's socket is open as long as one of the two has it. So a new version that fails before it serves costs nobody a
//! connection: it has read nothing and said nothing.

use std::os::fd::AsFd;

use rustix::process::Pid;
use tracing::warn;

use super::{Keeper, child::Child, crashes::Ended, link::ToServer};
use crate::mesh::Carriage;

/// It, and the shards that have connections.
pub(super) struct Holder {
    server: Child,
    shards: Vec<u16>,
}

impl Holder {
    /// Has each shard of a server that is to begin get what that of the same number has held.
    pub(super) fn give_to(&self, server: &Child) {
        for shard in &self.shards {
            match Carriage::pair() {
                Ok((giving, taking)) => {
                    self.server.tell(&ToServer::Give(*shard), &[giving.as_fd()]);
                    server.tell(&ToServer::Take(*shard), &[taking.as_fd()]);
                }
                Err(error) => warn!(shard, "connections are lost: {error}"),
            }
        }
    }
}

impl Keeper {
    /// The server has left what it had, and serves no more.
    pub(super) fn retire(&mut self, shards: Vec<u16>) {
        let Some(mut server) = self.server.take() else { return };
        if self.ending.is_some() || self.upgrade.is_none() {
            // Nobody goes on: it ends, and that is the end.
            server.hang_up();
            self.server = Some(server);
            return;
        }
        let before = server.id();
        self.holder = Some(Holder { server, shards });
        self.succeed(before, Ended::Exited(0));
    }

    /// Another server has all that there is to be had.
    pub(super) fn release_holder(&mut self) {
        if let Some(Holder { server, .. }) = self.holder.take() {
            server.kill();
        }
    }

    /// A child has ended; should it be the holder, what it held and nobody has is lost.
    pub(super) fn lose_holder(&mut self, pid: Pid) {
        if self.holder.take_if(|holder| holder.server.is(pid)).is_some() {
            warn!("the version before has ended early: connections that the new one has not got are lost");
        }
    }
}
