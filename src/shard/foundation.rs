//! What a shard is made from, also when it begins anew: what of its setup stays, and its ends of what is outside of it.

use std::sync::Arc;

use super::{
    disk::Storage,
    joint::Joint,
    nodes::Nodes,
    setup::{ShardSetup, descriptors_needed},
};
use crate::{
    app::{Handler, socketio::Io},
    auth::{AccessRules, Pattern},
    broker::cluster::Cluster,
    hub::{Hub, HubSettings},
    limits::{
        ACCEPTS_PER_LISTENER, COMPLETION_ENTRIES, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, SUBMISSION_ENTRIES,
    },
    live::Live,
    mesh::{ControlReceiver, Pulse},
    model::Retention,
    ring::{Ring, RingError, RingSettings},
};

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
