//! How a WebSocket's compression travels with it to another shard. What it means is the shards' business.

/// How what a WebSocket is sent may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflates {
    /// How far it may reach back, in bits.
    pub window_bits: u8,
    /// Whether it may build on what was sent before.
    pub may_build_on: bool,
}
