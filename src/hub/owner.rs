//! The hub as the owner of channels: it stamps publications, keeps them, and tells the shards that subscribe.

use super::{
    Hub, Output, Waiting,
    channel::{ChannelIndex, Role},
    reads::{self, Read},
    stream::Stream,
};
use crate::{
    limits::FANOUT_GATHERED_BYTES_MAX,
    mesh::{HistoryPage, JoinAsked, JoinId, Message, Welcome},
    model::{
        ChannelName, Durability, Now, Payload, Position, Publication, PublishError, ShardId,
        SharedPublication, Ticket,
    },
};

/// Epochs stay below this so that JavaScript holds them exactly.
const EPOCH_END: u64 = 1 << 53;
/// Announcements made by one tick.
const ANNOUNCED_PER_TICK_MAX: usize = 1024;

impl Hub {
    /// Publishes, here or at the channel's owner. With a ticket, [`Output::Published`] follows. What is still to be handed
    /// out here is returned.
    pub fn publish(
        &mut self,
        now: Now,
        channel: ChannelName,
        payload: Payload,
        ticket: Option<Ticket>,
    ) -> Option<Waiting> {
        self.now = now;
        let owner = self.owner_of(&channel);
        if owner != self.settings.shard {
            self.send(owner, Message::Publish { channel, payload, ticket });
            return None;
        }
        let is_stamped = self.handle_publish(now, owner, &channel, payload, ticket);
        is_stamped.then(|| self.waiting_for(&channel)).flatten()
    }

    /// Reads history, here or at the channel's owner; [`Output::History`] follows.
    pub fn read_history(
        &mut self,
        now: Now,
        ticket: Ticket,
        channel: &ChannelName,
        since: Option<Position>,
        limit: u32,
    ) {
        self.now = now;
        let owner = self.owner_of(channel);
        let channel = channel.clone();
        if owner == self.settings.shard {
            self.read(owner, Read::History { channel, since, limit, ticket });
        } else {
            self.read_elsewhere(owner, ticket, Message::ReadHistory { channel, since, limit, ticket });
        }
    }

    /// Publishes on a channel of this shard, for one that may be another; whether it has been, or has been refused, here.
    pub(super) fn handle_publish(
        &mut self,
        now: Now,
        from: ShardId,
        channel: &ChannelName,
        payload: Payload,
        ticket: Option<Ticket>,
    ) -> bool {
        if self.brokered.is_some() {
            self.hand_to_broker(from, channel.clone(), payload, ticket);
            return false;
        }
        let receipt = payload.receipt();
        if self.is_of_strangers(channel, &payload) {
            self.give_receipt_of(receipt, channel, false);
            return false;
        }
        let result = self.stamp(now, channel, payload);
        self.give_receipt_of(receipt, channel, result.is_ok());
        if let Some(ticket) = ticket {
            self.answer_of(channel, from, Message::Published { ticket, result }, result.is_err());
        }
        true
    }

    pub(super) fn handle_join(
        &mut self,
        from: ShardId,
        channel: &ChannelName,
        asked: JoinAsked,
        join: JoinId,
    ) -> u64 {
        let answer = self.welcome(channel, asked);
        if let Ok((index, welcome)) = &answer
            && welcome.is_all()
        {
            self.stream_mut(*index).add_shard(from);
            self.note_occupancy(*index);
        }
        let (index, result) = match answer {
            Ok((index, welcome)) => (Some(index), Ok(welcome)),
            Err(error) => (None, Err(error)),
        };
        let cost = result.as_ref().map_or(0, reads::cost_of_welcome);
        self.say_of(index, from, Message::Joined { join, result });
        cost
    }

    pub(super) fn handle_leave(&mut self, from: ShardId, channel: &ChannelName) {
        // A shard whose join was refused leaves a channel that does not exist.
        let Some(index) = self.channels.find(channel) else { return };
        let now_ms = self.now.monotonic_ms;
        let stream = self.stream_mut(index);
        stream.remove_shard(from);
        stream.used_ms = now_ms;
        self.note_occupancy(index);
        self.release(index);
    }

    /// Finds or makes an owned channel, and what a subscriber that joins it now is told.
    pub(super) fn welcome(
        &mut self,
        channel: &ChannelName,
        asked: JoinAsked,
    ) -> Result<(ChannelIndex, Welcome), PublishError> {
        let index = self.own(channel)?;
        let is_behind = asked.bytes_max == 0 && self.is_on_disk(channel, asked.since);
        let now_ms = self.now.monotonic_ms;
        let stream = self.stream_mut(index);
        stream.used_ms = now_ms;
        let welcome = match asked.since.filter(|_| is_behind) {
            Some(since) => stream.welcome_later(since),
            None => stream.welcome(asked),
        };
        Ok((index, welcome))
    }

    /// Tells shards that missed something where the channel is now.
    pub(super) fn announce(&mut self) {
        for _ in 0..ANNOUNCED_PER_TICK_MAX {
            let Some((to, index)) = self.behind.pop() else { return };
            let Some(channel) = self.channels.get(index) else { continue };
            if let Some(stream) = channel.stream() {
                let (channel, position) = (channel.name.clone(), stream.position);
                self.say_of(Some(index), to, Message::Announce { channel, position });
            }
        }
    }

    pub(super) fn page(&self, channel: &ChannelName, since: Option<Position>, limit: u32) -> HistoryPage {
        match self.stream_of(channel) {
            Some(stream) => stream.page(since, limit),
            None => HistoryPage { recovered: since.is_none(), ..HistoryPage::default() },
        }
    }

    /// Gives a publication its position, and sees to it that everybody gets it.
    fn stamp(&mut self, now: Now, name: &ChannelName, payload: Payload) -> Result<Position, PublishError> {
        let index = self.own_for_publication(name)?;
        if self.gathered_bytes() > FANOUT_GATHERED_BYTES_MAX && !self.channels[index].audience.is_empty() {
            self.publications_refused_total += 1;
            return Err(PublishError::Busy);
        }
        let publication = self.stamp_at(now, index, payload);
        self.tell_cluster(&publication.payload, || publication.clone());
        Ok(publication.position)
    }

    /// As [`Self::stamp`], for a channel that is owned.
    pub(super) fn stamp_at(&mut self, now: Now, index: ChannelIndex, payload: Payload) -> SharedPublication {
        self.publications_total += 1;
        let stream = self.stream_mut(index);
        stream.position.offset += 1;
        stream.used_ms = now.monotonic_ms;
        self.hand_on(index, now.unix_ms, payload)
    }

    /// Sees to it that everybody gets a publication, which stands where its channel is now.
    pub(super) fn hand_on(
        &mut self,
        index: ChannelIndex,
        unix_ms: u64,
        payload: Payload,
    ) -> SharedPublication {
        let Self { channels, outputs, busiest, .. } = self;
        let channel = &mut channels[index];
        // The channel's own copy of the name, so that kept publications share one.
        let name = channel.name.clone();
        busiest.count(&name, 1, 0);
        let stream = channel.stream_mut().expect("it was found as owned");
        let position = stream.position;
        let publication = SharedPublication::new(Publication { channel: name, position, unix_ms, payload });
        let durability = stream.durability;
        if durability != Durability::Synced {
            for to in stream.shards() {
                outputs.push_back(Output::Send { to, message: Message::Deliver(publication.clone()) });
            }
            self.newcomers.keep(index, &publication);
            // A count that other cores may hold as well is not touched for nobody.
            if !self.channels[index].audience.is_empty() {
                self.gather(index, publication.clone());
            }
        }
        if durability != Durability::Memory {
            self.record_publication(index, &publication);
        }
        if durability == Durability::Synced {
            self.hold_publication(index, &publication);
        }
        self.keep(index, publication.clone());
        self.release(index);
        publication
    }

    /// Finds an owned channel, or makes it if there is room.
    pub(super) fn own(&mut self, name: &ChannelName) -> Result<ChannelIndex, PublishError> {
        debug_assert_eq!(self.owner_of(name), self.settings.shard, "shards disagree about an owner");
        if let Some(index) = self.channels.find(name) {
            return Ok(index);
        }
        if self.channels.owned() >= self.settings.channels_max && !self.forget_one_unused() {
            return Err(PublishError::ChannelsFull);
        }
        let mut stream = match self.brokered {
            None => Stream::new(self.new_epoch(), self.now.monotonic_ms),
            Some(_) => self.new_mirror(),
        };
        (stream.durability, stream.rule) = (self.durability_of(name), self.ledgers.rule_of(name));
        self.tell_cluster_of_room(name, true);
        Ok(self.channels.insert(name.clone(), Role::Owner(stream)))
    }

    /// An epoch that no stream has had.
    pub(super) fn new_epoch(&mut self) -> u64 {
        self.epochs.u64(1..EPOCH_END)
    }

    /// As [`Self::own`], for a publication, which counts as refused where there is no room.
    pub(super) fn own_for_publication(&mut self, name: &ChannelName) -> Result<ChannelIndex, PublishError> {
        let owned = match self.has_no_storage_room(name) {
            true => Err(PublishError::StorageBusy),
            false => self.own(name),
        };
        owned.inspect_err(|_| self.publications_refused_total += 1)
    }

    /// The stream of a channel that this shard owns, if anybody has used it.
    pub(super) fn stream_of(&self, name: &ChannelName) -> Option<&Stream> {
        self.channels[self.channels.find(name)?].stream()
    }

    pub(super) fn stream_mut(&mut self, index: ChannelIndex) -> &mut Stream {
        self.channels[index].stream_mut().expect("asked of the channel's owner only")
    }
}
