//! When the shards of a process are levelled.

/// Looks at how busy each shard is that are taken together, a second apart: no burst shorter than these moves anybody.
pub const BALANCE_LOOKS: usize = 5;
/// How busy the busiest has to be, in thousandths of a core.
pub const BALANCE_BUSY_PERMILLE_MIN: u32 = 600;
/// How much busier than the mean it has to be, in thousandths of a core.
pub const BALANCE_UNEVEN_PERMILLE: u32 = 150;
/// Shards are even again when the busiest is no more than this above the mean, in thousandths of a core.
pub const BALANCE_EVEN_PERMILLE: u32 = 50;
/// Connections that a shard may have more than a tenth above or below the mean before new ones go to the others.
pub const STEERING_UNEVEN_CONNECTIONS: u32 = 64;

const _: () = assert!(BALANCE_EVEN_PERMILLE < BALANCE_UNEVEN_PERMILLE);
