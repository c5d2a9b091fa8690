//! The most memory that all clients together can make the server keep, by what the limits say: a sum, and what each connection
//! adds to it. What an operator's own program keeps is not in it.
//!
//! Each part is the bound that stands in the buffer it is about; what is written here adds them up. The allocator takes some
//! more: up to a fifth, with what it has not yet given back.

use std::fmt;

use super::Config;
use crate::{
    limits::{
        ASKS_HELD_BYTES_MAX, COMMANDS_HELD_TOGETHER_BYTES_MAX, ENCODINGS_KEPT_BYTES_MAX,
        EVENTS_HELD_TOGETHER_BYTES_MAX, FANOUT_GATHERED_BYTES_MAX, HISTORY_PAGE_BYTES_MAX,
        MESH_LINK_BYTES_MAX, PRESENCE_INFO_BYTES_MAX, STORAGE_QUEUE_BYTES_MAX, TOKENS_WAITING_BYTES_MAX,
        USER_BYTES_MAX,
    },
    wire::websocket::Compression,
};

/// What a connection takes by itself, in bytes: its record, its session, its places in tables that grow by doubling.
const CONNECTION_BYTES: u64 = 512;
/// What a channel that it follows takes beside, at both ends, in bytes.
const SUBSCRIPTION_BYTES: u64 = 64;
/// What a member takes beside its name and what it says of itself, which both its connection and its channel keep, in bytes.
const MEMBER_BYTES: u64 = 1024;
/// What a channel takes beside its name and history, in bytes.
const CHANNEL_BYTES: u64 = 768;
/// A TLS handshake in progress, in bytes.
const HANDSHAKE_BYTES: u64 = 16 * 1024;
/// What messages are compressed with that build on each other, in bytes.
const COMPRESSOR_BYTES: u64 = 320 * 1024;
/// Bytes that JSON makes of one.
const ESCAPED_MAX: u64 = 6;

/// The sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySum {
    /// For how many shards it was made.
    pub shards: u16,
    /// What it consists of.
    pub parts: Vec<MemoryPart>,
    /// What each connection adds.
    pub connection_bytes: u64,
    /// What each channel adds that a connection follows; it follows `limits.subscriptions_per_connection_max` at most.
    pub subscription_bytes: u64,
    /// The same where it is a member there.
    pub membership_bytes: u64,
}

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPart {
    /// The key that bounds it, or what it is.
    pub name: &'static str,
    /// The bound, on all shards together.
    pub bytes: u64,
}

impl MemorySum {
    /// All parts together, without what each connection adds.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// One part, 0 if there is none of this name.
    pub fn part(&self, name: &str) -> u64 {
        self.parts.iter().find(|part| part.name == name).map_or(0, |part| part.bytes)
    }
}

impl Config {
    /// The most memory that clients can make so many shards keep.
    pub fn memory_sum(&self, shards: u16) -> MemorySum {
        let (limits, count) = (&self.limits, u64::from(shards));
        let channel_bytes = CHANNEL_BYTES + u64::from(limits.channel_name_bytes_max);
        let mut parts = vec![
            part("limits.history_bytes_max", limits.history_bytes_max),
            part("limits.state_bytes_max", limits.state_bytes_max),
            // One answer on each shard is let through, whoever has to go for it.
            part(
                "limits.send_bytes_max",
                limits.send_bytes_max + count * ESCAPED_MAX * HISTORY_PAGE_BYTES_MAX,
            ),
            part("limits.partial_input_bytes_max", self.partial_input_bytes(count)),
            part("limits.channels_max", u64::from(limits.channels_max) * channel_bytes),
            part(
                "socketio.connection_state_recovery_bytes_max",
                count * u64::from(self.socketio.connection_state_recovery_bytes_max),
            ),
            part("compression", count * self.compressors() * COMPRESSOR_BYTES),
            part("what waits for its turn", count * waiting_bytes()),
            part("what is between shards", count * (count - 1) * MESH_LINK_BYTES_MAX as u64),
        ];
        if self.tls.is_enabled() {
            let begun = u64::from(self.tls.handshakes_max);
            parts.push(part("TLS handshakes", count * begun * HANDSHAKE_BYTES));
        }
        if !self.storage.path.is_empty() {
            parts.push(part("what waits for the disk", count * STORAGE_QUEUE_BYTES_MAX as u64));
        }
        parts.retain(|part| part.bytes > 0);
        MemorySum {
            shards,
            parts,
            connection_bytes: CONNECTION_BYTES,
            subscription_bytes: SUBSCRIPTION_BYTES,
            membership_bytes: MEMBER_BYTES + 2 * (PRESENCE_INFO_BYTES_MAX + USER_BYTES_MAX) as u64,
        }
    }

    /// What has begun and not ended; `/echo` takes longer messages than others, one of which fits always.
    fn partial_input_bytes(&self, shards: u64) -> u64 {
        let longest = match self.diagnostics_are_enabled() {
            true => u64::from(self.diagnostics.message_bytes_max),
            false => 0,
        };
        self.limits.partial_input_bytes_max.max(2 * longest * shards)
    }

    /// How many of them each shard has.
    fn compressors(&self) -> u64 {
        match self.websocket.compression {
            Compression::Off | Compression::Shared => 0,
            Compression::Channel => self.websocket.compression_streams_max.into(),
            Compression::Dedicated => self.websocket.compression_contexts_max.into(),
        }
    }
}

/// What of all clients waits on one shard: publications, what stands behind what the same client has asked before, commands,
/// events and tokens that are looked at, encodings for many.
fn waiting_bytes() -> u64 {
    let parts = [
        FANOUT_GATHERED_BYTES_MAX,
        ASKS_HELD_BYTES_MAX,
        COMMANDS_HELD_TOGETHER_BYTES_MAX,
        EVENTS_HELD_TOGETHER_BYTES_MAX,
        TOKENS_WAITING_BYTES_MAX,
        ENCODINGS_KEPT_BYTES_MAX,
    ];
    parts.iter().map(|bytes| *bytes as u64).sum()
}

fn part(name: &'static str, bytes: u64) -> MemoryPart {
    MemoryPart { name, bytes }
}

impl fmt::Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards = if self.shards == 1 { "shard" } else { "shards" };
        writeln!(f, "all clients together make {} {shards} keep at most, in MiB:", self.shards)?;
        for MemoryPart { name, bytes } in &self.parts {
            writeln!(f, "{:>9} {name}", bytes.div_ceil(1 << 20))?;
        }
        writeln!(f, "{:>9} in all", self.bytes().div_ceil(1 << 20))?;
        writeln!(
            f,
            "and {} B for each connection, {} B for each channel that it follows, or {} B where it is a member",
            self.connection_bytes, self.subscription_bytes, self.membership_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_of_its_parts_and_says_so() {
        let mut config = Config::default();
        config.limits.history_bytes_max = 1 << 20;
        let (one, two) = (config.memory_sum(1), config.memory_sum(2));
        assert_eq!(
            (one.part("limits.history_bytes_max"), two.part("limits.history_bytes_max")),
            (1 << 20, 1 << 20)
        );
        assert_eq!(one.part("what is between shards"), 0);
        assert_eq!(two.part("what is between shards"), 2 * MESH_LINK_BYTES_MAX as u64);
        assert_eq!(two.bytes(), two.parts.iter().map(|part| part.bytes).sum::<u64>());
        let told = two.to_string();
        assert!(told.starts_with("all clients together make 2 shards keep at most, in MiB:\n"), "{told}");
        assert!(told.contains("\n        1 limits.history_bytes_max\n"), "{told}");
        assert!(!one.to_string().contains("between shards"), "nothing is");
    }

    #[test]
    fn handshakes_take_what_they_may_by_the_setting() {
        let mut config = Config::default();
        config.tls.certificates = vec!["certificate.pem".to_owned()];
        let at_first = config.memory_sum(2).part("TLS handshakes");
        assert_eq!(at_first, 2 * u64::from(config.tls.handshakes_max) * HANDSHAKE_BYTES);
        config.tls.handshakes_max *= 3;
        assert_eq!(config.memory_sum(2).part("TLS handshakes"), 3 * at_first);
    }

    #[test]
    fn what_is_not_in_use_takes_nothing() {
        let mut config = Config::default();
        assert_eq!(
            (config.memory_sum(1).part("compression"), config.memory_sum(1).part("TLS handshakes")),
            (0, 0)
        );
        config.websocket.compression = Compression::Dedicated;
        config.websocket.compression_contexts_max = 10;
        assert_eq!(config.memory_sum(2).part("compression"), 20 * COMPRESSOR_BYTES);
        let echo = config.memory_sum(1).part("limits.partial_input_bytes_max");
        assert_eq!(echo, config.limits.partial_input_bytes_max);
        config.limits.partial_input_bytes_max = 1;
        let longest = u64::from(config.diagnostics.message_bytes_max);
        assert_eq!(config.memory_sum(2).part("limits.partial_input_bytes_max"), 4 * longest);
    }
}
