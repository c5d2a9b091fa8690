//! `[websocket]`: how messages of WebSockets are compressed. What each key means to an operator stands in `keys.rs`.

use serde::{Deserialize, Serialize};

use crate::wire::websocket::{Compression, CompressionSettings};

/// `[websocket]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSockets {
    /// Whether messages are compressed.
    pub compression: Compression,
    /// The least message that is.
    pub compression_bytes_min: u32,
    /// Connections of one shard whose messages build on each other.
    pub compression_contexts_max: u32,
    /// Channels of one shard whose messages do.
    pub compression_streams_max: u32,
}

impl Default for WebSockets {
    fn default() -> Self {
        Self {
            // A small message gains little; compressing costs more than all the rest of sending to one client; and what is
            // secret beside what others write can be guessed by its length.
            compression: Compression::Off,
            compression_bytes_min: 256,
            compression_contexts_max: 64,
            compression_streams_max: 64,
        }
    }
}

impl WebSockets {
    /// What the shards are told.
    pub fn settings(&self) -> CompressionSettings {
        CompressionSettings {
            mode: self.compression,
            bytes_min: self.compression_bytes_min,
            contexts_max: self.compression_contexts_max,
            streams_max: self.compression_streams_max,
        }
    }
}
