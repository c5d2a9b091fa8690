//! Who waits to be shown something of a channel until this node's copy of it is whole, and for how long.

use crate::{
    hub::{Hub, Output, channel::ChannelIndex, reads::Read, stream::Mirror},
    limits::{BROKER_WAIT_MS, READS_WAITING_MAX},
    mesh::Message,
    model::{BrokerAsk, PublishError, ShardId},
};

impl Hub {
    /// Refuses who has waited too long.
    pub(in crate::hub) fn pass_broker_time(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let Some(brokered) = self.brokered.as_deref_mut() else { return };
        let mut refused = Vec::new();
        let is_old = |(since_ms, ..): &mut (u64, ShardId, Read)| *since_ms + BROKER_WAIT_MS <= now_ms;
        brokered.held.retain(|_, held| {
            refused.extend(held.extract_if(.., is_old));
            !held.is_empty()
        });
        brokered.held_count -= refused.len();
        for (_, from, read) in refused {
            self.refuse_read(from, read, PublishError::BrokerUnavailable);
        }
    }

    /// Keeps a read until this copy is whole.
    pub(super) fn keep_waiting(&mut self, index: ChannelIndex, from: ShardId, read: Read) {
        let now_ms = self.now.monotonic_ms;
        let is_asked = self.stream_mut(index).mirror != Mirror::Unknown;
        if !is_asked {
            self.ask_again(index, 0);
        }
        let channel = &self.channels[index].name;
        let Some(brokered) = self.brokered.as_deref_mut() else { return };
        if brokered.held_count < READS_WAITING_MAX {
            brokered.held_count += 1;
            let held = brokered.held.entry(index).or_default();
            if is_asked && held.is_empty() {
                brokered.asks.push(BrokerAsk::Hurry { channel: channel.clone() });
            }
            return held.push((now_ms, from, read));
        }
        let error = if brokered.is_up() { PublishError::Busy } else { PublishError::BrokerUnavailable };
        self.refuse_read(from, read, error);
    }

    /// Who waits for a copy.
    pub(super) fn take_held(&mut self, index: ChannelIndex) -> Vec<(u64, ShardId, Read)> {
        let Some(brokered) = self.brokered.as_deref_mut() else { return Vec::new() };
        let held = brokered.held.remove(&index).unwrap_or_default();
        brokered.held_count -= held.len();
        held
    }

    /// Says that something is not shown.
    pub(super) fn refuse_read(&mut self, from: ShardId, read: Read, error: PublishError) {
        let is_here = from == self.settings.shard;
        match read {
            Read::Join { join, .. } if is_here => self.handle_joined(join, Err(error)),
            Read::Join { join, .. } => self.send(from, Message::Joined { join, result: Err(error) }),
            Read::History { ticket, .. } if is_here => {
                self.outputs.push_back(Output::Unread { ticket, error });
            }
            Read::History { ticket, .. } => self.send(from, Message::Unread { ticket, error }),
            Read::State { .. } | Read::Presence { .. } => {}
        }
    }
}
