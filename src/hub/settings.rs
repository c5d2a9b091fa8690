//! What one shard's hub may hold: the operator's limits, divided.

use crate::{limits::Limits, model::ShardId};

/// The bounds of one shard's hub, and what makes it different from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubSettings {
    /// This shard.
    pub shard: ShardId,
    /// How many shards there are; channels are spread over all of them.
    pub shards: u16,
    /// The most connections this shard numbers.
    pub connections_max: u32,
    /// Subscriptions of one connection.
    pub subscriptions_per_connection_max: u32,
    /// Channels this shard owns; a share of the limit.
    pub channels_max: u32,
    /// Publications kept per channel; 0 keeps none.
    pub history_publications_max: u32,
    /// Age beyond which a kept publication is dropped, and an unused channel forgotten.
    pub history_age_max_ms: u64,
    /// Bytes of kept publications; a share of the limit.
    pub history_bytes_max: u64,
    /// Keys of one channel's state.
    pub state_keys_max: u32,
    /// Channels with state; a share of the limit.
    pub state_channels_max: u32,
    /// Bytes of one channel's keys and values.
    pub state_channel_bytes_max: u32,
    /// Bytes of state in all; a share of the limit.
    pub state_bytes_max: u64,
    /// The least time between two pushes of one counter.
    pub counter_interval_ms: u64,
    /// Members of one channel.
    pub presence_members_max: u32,
    /// Up to so many each is told of by itself.
    pub presence_events_members_max: u32,
    /// Time a user has to come back.
    pub presence_grace_ms: u64,
    /// Where this process's epochs come from; must differ between processes.
    pub epoch_seed: u64,
    /// Keys the hash of channel names. Drawn at random when the process starts, for names come from clients; the
    /// same for all shards, for it decides which shard owns a channel.
    pub hash_seed: u64,
}

impl HubSettings {
    /// The same shard under other limits.
    pub(super) fn under(&self, limits: &Limits) -> Self {
        let Self { shard, shards, connections_max, epoch_seed, hash_seed, .. } = *self;
        Self::of_shard(limits, shard, shards, connections_max, epoch_seed, hash_seed)
    }

    /// Divides the operator's limits by the number of shards. Channels are rounded up so that a small limit still
    /// lets every shard own one; bytes are rounded down so that the sum is never above the limit.
    pub fn of_shard(
        limits: &Limits,
        shard: ShardId,
        shards: u16,
        connections_max: u32,
        epoch_seed: u64,
        hash_seed: u64,
    ) -> Self {
        Self {
            shard,
            shards,
            connections_max,
            subscriptions_per_connection_max: limits.subscriptions_per_connection_max,
            channels_max: limits.channels_max.div_ceil(u32::from(shards)).max(1),
            history_publications_max: limits.history_publications_max,
            history_age_max_ms: u64::from(limits.history_age_max_ms),
            history_bytes_max: limits.history_bytes_max / u64::from(shards),
            state_keys_max: limits.state_keys_max,
            state_channels_max: limits.state_channels_max.div_ceil(u32::from(shards)).max(1),
            state_channel_bytes_max: limits.state_channel_bytes_max,
            state_bytes_max: limits.state_bytes_max / u64::from(shards),
            counter_interval_ms: limits.counter_interval_ms.into(),
            presence_members_max: limits.presence_members_max,
            presence_events_members_max: limits.presence_events_members_max,
            presence_grace_ms: limits.presence_grace_ms.into(),
            epoch_seed,
            hash_seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_divided_so_that_channels_suffice_and_bytes_never_exceed() {
        let limits = Limits { channels_max: 10, history_bytes_max: 1000, ..Limits::default() };
        let settings = HubSettings::of_shard(&limits, ShardId(1), 3, 500, 7, 8);
        assert_eq!((settings.channels_max, settings.history_bytes_max), (4, 333));
        assert_eq!((settings.shard, settings.shards, settings.connections_max), (ShardId(1), 3, 500));
        let limits = Limits { channels_max: 0, ..limits };
        assert_eq!(HubSettings::of_shard(&limits, ShardId(0), 3, 500, 7, 8).channels_max, 1);
    }
}
