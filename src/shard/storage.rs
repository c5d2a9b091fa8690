//! What outlives the process, as the shard sees it: it hands the hub's records to whoever writes, at the end of each turn, and
//! tells the hub whether there is room for more.

use super::{disk::Storage, setup::StorageSetup, turn::Shard};
use crate::{
    auth::Revocation,
    mesh::{Legacy, Start},
    model::{PageAsked, Restored},
};

impl Shard {
    /// Goes on with what was found on disk.
    pub(super) fn begin_storage(&mut self, setup: Option<StorageSetup>) {
        let Some(StorageSetup { keeper, keeping, found }) = setup else { return };
        self.foundation.storage = Some(Storage::begin(keeper, keeping, &mut self.hub));
        self.restore(found);
    }

    /// Goes on with what another process has left, as soon as all shards have what they go on with.
    pub(super) fn succeed(&mut self, left: Legacy) {
        self.read_clock();
        self.gate.inherit(left.revoked);
        for stream in left.streams {
            self.hub.succeed(self.now, stream);
        }
        for members in left.present {
            self.hub.succeed_members(self.now, members);
        }
        for (channel, shard) in left.followers {
            self.hub.succeed_follower(&channel, shard);
        }
        let carriage = left.start.as_ref().and_then(|start| start.carriage.as_ref());
        let mut taken = self.succeed_connections(left.connections, carriage);
        let seated = self.succeed_sockets(left.sockets, taken.take_arrivals());
        taken.note_seated(seated);
        self.leave_unfollowed(&taken);
        if let Some(Start { arrived, go, .. }) = left.start {
            // Whoever started this shard counts what it is told, if it still can.
            arrived.send(taken.arrived()).ok();
            drop(arrived);
            // Closed is what says go.
            go.recv().ok();
        }
        self.begin_with(taken);
    }

    /// A shard that begins anew goes on with what the one before it has left.
    pub(super) fn begin_storage_anew(&mut self) {
        let Some(storage) = &self.foundation.storage else { return };
        let found = storage.begin_anew(&mut self.hub, self.id);
        self.restore(found);
    }

    fn restore(&mut self, found: Vec<Restored>) {
        self.read_clock();
        for restored in found {
            let channel = restored.channel.clone();
            if !self.hub.restore(self.now, restored) {
                tracing::warn!(
                    shard = self.id.0,
                    channel = channel.as_str(),
                    "a channel on disk is not gone on with: no pattern names it any more"
                );
            }
        }
        self.leave_records();
    }

    /// Tells the hub what is on disk, and whether there is room for more to be written.
    pub(super) fn look_at_storage(&mut self) {
        let Some(storage) = &mut self.foundation.storage else { return };
        storage.count(&mut self.report);
        storage.look(&mut self.hub, self.now);
    }

    /// Has history read that memory has let go of.
    pub(super) fn read_from_disk(&mut self, asked: PageAsked) {
        self.leave_records();
        match &self.foundation.storage {
            Some(storage) => storage.ask(asked),
            None => self.hub.handle_page(self.now, &asked, Vec::new()),
        }
    }

    /// Whether something has come to disk since that was last looked at.
    pub(super) fn has_storage_news(&self) -> bool {
        self.foundation.storage.as_ref().is_some_and(Storage::has_news)
    }

    /// Leaves what the turn has brought to be written.
    pub(super) fn leave_records(&mut self) {
        if let Some(storage) = &self.foundation.storage {
            storage.leave(&mut self.hub);
        }
    }

    /// Has written down that somebody is shut out, where something outlives the process.
    pub(super) fn keep_shut_out(&self, revocation: &Revocation) {
        if let Some(storage) = &self.foundation.storage {
            storage.shut_out(revocation.clone());
        }
    }

    /// The shard ends in order.
    pub(super) fn end_storage(&mut self) {
        if self.foundation.storage.is_some() {
            self.hub.end_streams(self.now);
            self.leave_records();
            self.foundation.storage = None;
        }
    }
}
