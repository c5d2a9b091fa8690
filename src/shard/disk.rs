//! A shard's part of what is kept on disk: it stands between the hub and the thread that writes. When it is looked at is
//! [`super::storage`]'s.
//!
//! Invariant: what the hub has had written is left in the order in which it was done, and the hub is told of nothing that is not
//! on disk.

use crate::{
    auth::Revocation,
    hub::{Hub, Keeping},
    mesh::ShardReport,
    model::{ChannelName, Now, PageAsked, Restored, ShardId},
    storage::{FoundPage, Keeper},
};

/// A shard's part of what is kept on disk.
pub(super) struct Storage {
    keeper: Keeper,
    keeping: Keeping,
    /// How many records were on disk when that was last looked at.
    seen: u64,
}

impl Storage {
    /// Of a shard that begins: from now on its hub has written what is to be kept.
    pub(super) fn begin(keeper: Keeper, keeping: Keeping, hub: &mut Hub) -> Self {
        hub.keep_on_disk(keeping.clone(), keeper.left());
        Self { keeper, keeping, seen: 0 }
    }

    /// The shard, which is this one, begins anew with this hub: what is on disk of its channels. Of what the one before it had said
    /// last, nobody knows whether it had left it to be written.
    pub(super) fn begin_anew(&self, hub: &mut Hub, me: ShardId) -> Vec<Restored> {
        let owners = hub.owners();
        let found = self.keeper.read_again(move |channel: &ChannelName| owners.of(channel) == me);
        hub.keep_on_disk(self.keeping.clone(), self.keeper.left());
        found
    }

    /// Tells the hub what is on disk, what has been read from there, and whether there is room for more.
    pub(super) fn look(&mut self, hub: &mut Hub, now: Now) {
        self.seen = self.keeper.written();
        hub.set_written(self.seen);
        hub.set_storage_room(self.keeper.has_room(), self.keeper.is_failing());
        while let Some(FoundPage { asked, publications }) = self.keeper.take_page() {
            hub.handle_page(now, &asked, publications);
        }
    }

    /// Whether a look would find something.
    pub(super) fn has_news(&self) -> bool {
        self.keeper.written() != self.seen || self.keeper.has_page()
    }

    /// Leaves what the hub wants written.
    pub(super) fn leave(&self, hub: &mut Hub) {
        let records: Vec<_> = std::iter::from_fn(|| hub.poll_record()).collect();
        if !records.is_empty() {
            self.keeper.leave(records);
        }
    }

    /// Writes into a shard's report what waits, and into that of the first what has been tried for all.
    pub(super) fn count(&self, report: &mut ShardReport) {
        report.storage_queue_bytes = self.keeper.queued_bytes() as u64;
        if report.shard == 0 {
            (report.storage_commits_total, report.storage_failures_total) = self.keeper.tried();
        }
    }

    /// Has history read that memory has let go of.
    pub(super) fn ask(&self, asked: PageAsked) {
        self.keeper.ask(asked);
    }

    /// Has written down that somebody is shut out.
    pub(super) fn shut_out(&self, revocation: Revocation) {
        self.keeper.shut_out(revocation);
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
