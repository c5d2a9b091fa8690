//! The listening sockets as a keeper holds them: bound once, and handed to one server after the other.
//!
//! What waits in their queues waits there while no server is. A server knows them by the order in which they are told of:
//! shard by shard, each with the same addresses.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    child::Beginning,
    link::{Link, ToServer},
};
use crate::{
    config::{Config, Endpoint},
    limits::KEEPER_DESCRIPTORS_MAX,
    shard::{Listener, Role},
    supervisor::{ServeError, cores, passed::Passed, sockets, sockets::Sockets},
};

/// What a server is told of the sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handed {
    /// How many shards have sockets.
    shards: u16,
    /// Where was asked to listen.
    asked: Addresses,
    /// Where that is, with the ports the kernel gave.
    bound: Addresses,
    /// The sockets of one shard.
    sockets: Vec<OfShard>,
    /// Whether another server has served on them before.
    pub(super) is_again: bool,
    /// Whether the server has to wait until it is told to begin.
    pub(super) waits: bool,
}

/// Addresses by whom they serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Addresses {
    public: Vec<Endpoint>,
    admin: Option<Endpoint>,
    redirect: Vec<Endpoint>,
}

/// One socket of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OfShard {
    role: Role,
    address: String,
    speaks_tls: bool,
    is_passed: bool,
}

/// The sockets, for as long as there is a keeper.
pub(super) struct Held {
    handed: Handed,
    descriptors: Vec<Arc<OwnedFd>>,
    /// Removed at the end.
    _files: Vec<sockets::SocketFile>,
}

impl Held {
    /// Binds every address of a configuration, for as many shards as it has.
    pub(super) fn bind(config: &Config) -> Result<Self, ServeError> {
        let cores = cores::assign(config.server.shards, &config.server.cpus)?;
        let shards = u16::try_from(cores.len()).expect("a checked configuration asks for no more");
        let bound = sockets::bind(config, shards, Passed::from_environment())?;
        let of_first = bound.listeners.first().into_iter().flatten().map(|one| OfShard {
            role: one.role,
            address: one.address.clone(),
            speaks_tls: one.speaks_tls,
            is_passed: one.is_passed,
        });
        let handed = Handed {
            shards,
            asked: Addresses::of(config),
            sockets: of_first.collect(),
            bound: Addresses { public: bound.public, admin: bound.admin, redirect: bound.redirect },
            is_again: false,
            waits: false,
        };
        let descriptors = bound.listeners.into_iter().flatten().map(|listener| listener.socket).collect();
        Ok(Self { handed, descriptors, _files: bound.files })
    }

    /// Hands them to a server.
    pub(super) fn hand(
        &self,
        link: &Link,
        beginning: Beginning,
        configuration: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let Beginning { is_again, waits } = beginning;
        let handed = Handed { is_again, waits, ..self.handed.clone() };
        link.send(&ToServer::Listen(handed), configuration.as_slice())?;
        let all: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(|one| one.as_fd()).collect();
        all.chunks(KEEPER_DESCRIPTORS_MAX).try_for_each(|some| link.send(&ToServer::Descriptors, some))
    }
}

impl Addresses {
    fn of(config: &Config) -> Self {
        Self {
            public: config.server.listen.clone(),
            admin: config.server.admin.clone(),
            redirect: config.tls.redirect.clone(),
        }
    }
}

impl Handed {
    /// How many descriptors there are.
    pub(super) fn descriptors(&self) -> usize {
        usize::from(self.shards) * self.sockets.len()
    }

    /// Has a configuration say what the sockets were bound for: the addresses and the shards of a keeper stay what they
    /// were when it started.
    pub(super) fn settle(&self, config: &mut Config) {
        if Addresses::of(config) != self.asked {
            warn!("a restart is needed to listen elsewhere: the sockets are those of the start");
            config.server.listen.clone_from(&self.asked.public);
            config.server.admin.clone_from(&self.asked.admin);
            config.tls.redirect.clone_from(&self.asked.redirect);
        }
        let shards = cores::assign(config.server.shards, &config.server.cpus).map(|cores| cores.len());
        if shards.is_ok_and(|shards| shards != usize::from(self.shards)) {
            warn!("a restart is needed for another number of shards: it stays {}", self.shards);
            config.server.shards = self.shards;
        }
    }

    /// The sockets as the shards take them.
    pub(super) fn sockets(self, descriptors: Vec<OwnedFd>, backlog: u32) -> Sockets {
        let mut descriptors = descriptors.into_iter().map(Arc::new);
        let listeners = (0..self.shards).map(|_| {
            let of_shard = self.sockets.iter().zip(descriptors.by_ref());
            of_shard.map(|(told, socket)| told.listener(socket, backlog)).collect()
        });
        let listeners = listeners.collect();
        let Addresses { public, admin, redirect } = self.bound;
        Sockets { listeners, public, admin, redirect, files: Vec::new() }
    }
}

impl OfShard {
    fn listener(&self, socket: Arc<OwnedFd>, backlog: u32) -> Listener {
        let Self { role, speaks_tls, is_passed, .. } = *self;
        if !is_passed {
            // The server before may have shut it down, because the shard hung.
            let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
            if let Err(error) = socket2::SockRef::from(&*socket).listen(backlog) {
                warn!("nobody is let in at {}: {error}", self.address);
            }
        }
        Listener { socket, role, address: self.address.clone(), speaks_tls, is_passed }
    }
}
