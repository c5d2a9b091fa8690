//! Of the operator's backend: hooks, notices and keys by URL.

use super::STREAM_CHANNELS_MAX;

/// Questions of one shard to one hook that wait for answers; one more is refused as busy.
pub const HOOKS_WAITING_MAX: usize = 1_024;
/// Namespaces that one Socket.IO client waits to enter because a backend is asked; one more is refused as busy.
pub const HOOKS_ENTRIES_PER_CLIENT_MAX: usize = 16;
/// Bytes that are kept free of those questions' for what such a client says anew while a backend is asked about it.
pub const HOOKS_ENTRY_AUTH_BYTES: usize = 2 * 1024;
/// Bytes of those questions together, with what is kept for those who have asked.
pub const HOOKS_WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Questions of all shards to one hook that wait for their turn to be put; one more is refused as busy.
pub const HOOKS_QUEUED_MAX: usize = 4_096;
/// Questions that are asked together for one request; the others follow when these are answered.
pub const HOOKS_TOGETHER_MAX: usize = 16;
/// Rulings that one request may need before it is answered: who asks, and each channel of a stream of several.
pub const HOOKS_PER_REQUEST_MAX: usize = STREAM_CHANNELS_MAX + 4;
/// Publications of one batch about which a backend is asked; more are refused.
pub const HOOKS_PER_BATCH_MAX: usize = STREAM_CHANNELS_MAX;
/// Rulings that one shard remembers; with more, it begins anew.
pub const HOOKS_REMEMBERED_MAX: usize = 65_536;
/// The longest time a ruling is remembered, in seconds.
pub const HOOK_REMEMBER_S_MAX: u32 = 3_600;
/// Bytes of a backend's answer; a longer one is none.
pub const HOOK_ANSWER_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of the sentence with which a backend denies something; clients are told another instead of a longer one.
pub const HOOK_MESSAGE_BYTES_MAX: usize = 256;
/// Calls of a backend at a time, of the whole process.
pub const HOOKS_IN_FLIGHT_MAX: u16 = 1_024;
/// Failures of a backend within [`BREAKER_WITHIN_MS`] after which it is asked no more but to find out whether it answers.
pub const BREAKER_FAILURES: usize = 20;
/// The time within which they count, in milliseconds.
pub const BREAKER_WITHIN_MS: u64 = 10_000;
/// Time between questions to a backend that fails, in milliseconds.
pub const BREAKER_PROBE_MS: u64 = 1_000;
/// Time between two lines of the log that tell of answers of one hook which are none, in milliseconds.
pub const HOOK_COMPLAINT_MS: u64 = 60_000;
/// Time to connect to a backend, with the handshake, in milliseconds.
pub const BACKEND_CONNECT_MS: u64 = 1_000;
/// Idle connections that are kept to one backend.
pub const BACKEND_KEPT_MAX: usize = 64;
/// Idle time after which a kept connection is not used again, in milliseconds. Many servers close theirs after 5 s, and a
/// call that meets that end has to be made twice.
pub const BACKEND_KEPT_MS: u64 = 4_000;
/// Bytes of one batch of notices, but for the last notice.
pub const NOTICE_BATCH_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the answer to a batch; a longer one is none.
pub const NOTICE_ANSWER_BYTES_MAX: u32 = 64 * 1024;
/// Time after which a batch that was not taken is told again, in milliseconds; each time twice as long.
pub const NOTICE_PAUSE_MS: u64 = 1_000;
/// The longest such time.
pub const NOTICE_PAUSE_MAX_MS: u64 = 300_000;
/// Time after which what waits on the backend's thread looks whether the shards have ended, in milliseconds.
pub const NOTICE_STEP_MS: u64 = 100;
/// Notices of one shard that may wait, whatever the operator says.
pub const NOTICES_QUEUED_MAX: u32 = 1_000_000;
/// Time between fetches of an issuer's keys, in seconds.
pub const JWKS_INTERVAL_S: u64 = 3_600;
/// Time that one fetch may take, in milliseconds.
pub const JWKS_TIMEOUT_MS: u64 = 5_000;
/// Time after a shard has asked for an issuer's keys in which tokens that name unknown ones are told to come again, in
/// milliseconds; afterwards they are refused.
pub const JWKS_PATIENCE_MS: u64 = 2_000;
