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

/// How busy the busiest shard has to be until live connections go to another, in thousandths of a core.
pub const LEVELLING_BUSY_PERMILLE_MIN: u32 = 400;
/// How much busier than the least busy it has to be, in thousandths of a core.
pub const LEVELLING_BEGIN_PERMILLE: u32 = 200;
/// No more connections go when it is no more than this busier, in thousandths of a core.
pub const LEVELLING_END_PERMILLE: u32 = 100;
/// How often in a row it has to be found so, a second apart.
pub const LEVELLING_LOOKS: u32 = 3;
/// Time in which the difference has to become smaller by [`LEVELLING_GAIN_PERMILLE`] while connections go, in milliseconds. Else
/// what keeps the shard busy is not theirs, and none goes for [`LEVELLING_REST_MS`].
pub const LEVELLING_PASS_MS: u64 = 30_000;
/// See [`LEVELLING_PASS_MS`]; in thousandths of a core.
pub const LEVELLING_GAIN_PERMILLE: u32 = 10;
/// See [`LEVELLING_PASS_MS`].
pub const LEVELLING_REST_MS: u64 = 600_000;
/// Connections that go to another shard in a second, at most; and no more than a hundredth of what the shard has, or
/// [`LEVELLED_PER_SECOND_MIN`].
pub const LEVELLED_PER_SECOND_MAX: u32 = 200;
/// See [`LEVELLED_PER_SECOND_MAX`].
pub const LEVELLED_PER_SECOND_MIN: u32 = 10;
/// Connections on their way from one shard at once: each is an ordinary descriptor of the process for a moment.
pub const LEVELLED_AT_ONCE: usize = 16;
/// Connections that are looked at in a turn for some that may go.
pub const LEVELLING_LOOKED_AT: u32 = 64;
/// Channels that a connection which goes may follow.
pub const LEVELLED_CHANNELS_MAX: u32 = 16;
/// Time after which a connection that has not gone stays, in milliseconds.
pub const LEVELLING_WAIT_MS: u64 = 2_000;
/// Time after which a shard waits no more for what another has told a connection that has come, in milliseconds.
pub const LEVELLING_ARRIVAL_MS: u64 = 5_000;
/// Bytes that a shard keeps for connections which are expected, beyond which those who have not set out stay where they are.
pub const NEWCOMERS_KEPT_BYTES: usize = 4 << 20;
/// The same, beyond which it keeps nothing more of a channel: whoever comes then is told what the channel's history has.
pub const NEWCOMERS_KEPT_BYTES_MAX: usize = 4 * NEWCOMERS_KEPT_BYTES;

const _: () = assert!(LEVELLING_END_PERMILLE < LEVELLING_BEGIN_PERMILLE);
