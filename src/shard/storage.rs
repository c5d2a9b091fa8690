//! What outlives the process, as the shard sees it: it hands the hub's records to whoever writes, at the end of each turn, and
//! tells the hub whether there is room for more.

use super::{setup::StorageSetup, turn::Shard};
use crate::{
    auth::Revocation,
    hub::{Hub, Keeping},
    mesh::{Legacy, ShardReport, Start},
    model::{ChannelName, Now, PageAsked, Restored, ShardId},
    storage::{FoundPage, Keeper},
};

/// A shard's part of what is kept on disk.
///
/// Invariant: what the hub has had written is left in the order in which it was done, and the hub is told of nothing that is not
/// on disk.
pub(super) struct Storage {
    keeper: Keeper,
    keeping: Keeping,
    /// How many records were on disk when that was last looked at.
    seen: u64,
}

impl Storage {
    /// Of a shard that begins: from now on its hub has written what is to be kept.
    fn begin(keeper: Keeper, keeping: Keeping, hub: &mut Hub) -> Self {
        hub.keep_on_disk(keeping.clone(), keeper.left());
        Self { keeper, keeping, seen: 0 }
    }

    /// The shard, which is this one, begins anew with this hub: what is on disk of its channels. Of what the one before it had said
    /// last, nobody knows whether it had left it to be written.
    fn begin_anew(&self, hub: &mut Hub, me: ShardId) -> Vec<Restored> {
        let owners = hub.owners();
        let found = self.keeper.read_again(move |channel: &ChannelName| owners.of(channel) == me);
        hub.keep_on_disk(self.keeping.clone(), self.keeper.left());
        found
    }

    /// Tells the hub what is on disk, what has been read from there, and whether there is room for more.
    fn look(&mut self, hub: &mut Hub, now: Now) {
        self.seen = self.keeper.written();
        hub.set_written(self.seen);
        hub.set_storage_room(self.keeper.has_room(), self.keeper.is_failing());
        while let Some(FoundPage { asked, publications }) = self.keeper.take_page() {
            hub.handle_page(now, &asked, publications);
        }
    }

    /// Whether a look would find something.
    fn has_news(&self) -> bool {
        self.keeper.written() != self.seen || self.keeper.has_page()
    }

    /// Leaves what the hub wants written.
    fn leave(&self, hub: &mut Hub) {
        let records: Vec<_> = std::iter::from_fn(|| hub.poll_record()).collect();
        if !records.is_empty() {
            self.keeper.leave(records);
        }
    }

    /// Writes into a shard's report what waits, and into that of the first what has been tried for all.
    fn count(&self, report: &mut ShardReport) {
        report.storage_queue_bytes = self.keeper.queued_bytes() as u64;
        if report.shard == 0 {
            (report.storage_commits_total, report.storage_failures_total) = self.keeper.tried();
        }
    }
}

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
            Some(storage) => storage.keeper.ask(asked),
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
            storage.keeper.shut_out(revocation.clone());
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        auth::Pattern,
        hub::{HubSettings, Output},
        limits::Limits,
        model::{ConnectionId, Durability, Payload, Ticket},
        ring::Doorbell,
        storage::{Folder, await_that},
    };

    /// Nobody is told of anything before it is on disk.
    pub(in crate::shard) fn all_synced() -> Keeping {
        let pattern = Pattern::without_subject("*").expect("a pattern");
        Keeping { rules: vec![(pattern, Durability::Synced)], ..Keeping::default() }
    }

    fn hub() -> Hub {
        Hub::new(HubSettings::of_shard(&Limits::default(), ShardId(0), 1, 4, 1, 1))
    }

    fn publish(hub: &mut Hub, number: u32) {
        let channel = ChannelName::new("news", 255).expect("a name");
        let payload = Payload::new(number.to_string().into_bytes(), None);
        let ticket = Ticket { connection: ConnectionId { index: 1, generation: 1 }, token: number };
        hub.publish(Now::default(), channel, payload, Some(ticket));
    }

    /// Who has been answered that it has published, since that was last asked.
    fn answered(hub: &mut Hub) -> Vec<u32> {
        hub.continue_telling();
        let outputs = std::iter::from_fn(|| hub.poll_output());
        let told = |output| match output {
            Output::Published { ticket, result: Ok(_) } => Some(ticket.token),
            _ => None,
        };
        outputs.filter_map(told).collect()
    }

    #[test]
    fn the_hub_is_told_of_what_is_on_disk_at_the_next_look_and_of_nothing_before() {
        let folder = Folder::new("shard");
        let bell = Doorbell::new().expect("eventfd");
        let (writer, mut keepers) = folder.open().start(&[bell], &[]).expect("it starts");
        let mut hub = hub();
        let mut storage = Storage::begin(keepers.remove(0), all_synced(), &mut hub);
        (0..3).for_each(|number| publish(&mut hub, number));
        storage.look(&mut hub, Now::default());
        assert!(answered(&mut hub).is_empty() && !storage.has_news(), "nothing has been left");
        storage.leave(&mut hub);
        await_that("it is written", || storage.keeper.written() == 3);
        assert!(storage.has_news() && answered(&mut hub).is_empty(), "nobody has looked");
        storage.look(&mut hub, Now::default());
        assert_eq!((answered(&mut hub), storage.has_news()), (vec![0, 1, 2], false));
        let mut report = ShardReport { shard: 1, ..ShardReport::default() };
        storage.count(&mut report);
        assert_eq!((report.storage_queue_bytes, report.storage_commits_total), (0, 0), "it is not the first");
        report.shard = 0;
        storage.count(&mut report);
        assert!(report.storage_commits_total > 0);
        drop(storage);
        writer.end(true).expect("all is written");
    }

    #[test]
    fn a_hub_that_begins_anew_counts_what_it_has_written_behind_what_was_left_before() {
        let folder = Folder::new("shard-anew");
        let bell = Doorbell::new().expect("eventfd");
        let (writer, mut keepers) = folder.open().start(&[bell], &[]).expect("it starts");
        let mut before = hub();
        let mut storage = Storage::begin(keepers.remove(0), all_synced(), &mut before);
        (0..2).for_each(|number| publish(&mut before, number));
        storage.leave(&mut before);
        let mut after = hub();
        let found = storage.begin_anew(&mut after, ShardId(0));
        assert_eq!(found.iter().map(|one| one.position.offset).collect::<Vec<_>>(), [2]);
        storage.look(&mut after, Now::default());
        publish(&mut after, 7);
        assert!(answered(&mut after).is_empty(), "what was left before is not this");
        storage.leave(&mut after);
        await_that("it is written", || storage.has_news());
        storage.look(&mut after, Now::default());
        assert_eq!(answered(&mut after), [7]);
        drop(storage);
        writer.end(true).expect("all is written");
    }
}
