//! `[http]`: how answers are compressed. What each key means to an operator stands in `keys.rs`.

use serde::{Deserialize, Serialize};

use crate::wire::http1::CodingSettings;

/// `[http]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Whether answers are compressed.
    pub compression: bool,
    /// The least answer that is.
    pub compression_bytes_min: u32,
}

impl Default for Http {
    fn default() -> Self {
        // Off for the reasons for which messages of WebSockets are.
        Self { compression: false, compression_bytes_min: 1024 }
    }
}

impl Http {
    /// What the shards are told.
    pub fn settings(&self) -> CodingSettings {
        CodingSettings { gzip: self.compression, bytes_min: self.compression_bytes_min }
    }
}
