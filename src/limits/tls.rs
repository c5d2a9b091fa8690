//! What is bounded where TLS is spoken.

/// Connections of a shard whose keys of TLS are kept ready for use, those that are heard and told something again and again; 1.5 kB
/// each.
pub const READY_CONNECTIONS_MAX: usize = 256;
/// Records protected with one key, for AES-GCM (RFC 8446 §5.5): then TLS 1.3 changes the keys, and 1.2 closes.
pub const RECORDS_PER_KEY_MAX: u64 = 1 << 24;
/// Messages of TLS in a row without data of the application that a peer may send; with one more it is closed.
pub const MESSAGES_WITHOUT_DATA_MAX: u8 = 32;
/// Bytes a client may have sent of its handshake that have not been taken: the longest message that rustls reads, in its records,
/// and what comes behind it. A hello with every key share there is has two thousand.
pub const HANDSHAKE_INPUT_BYTES_MAX: usize = 72 * 1024;
/// Bytes of early data that are tried with the handshake's keys, and skipped (RFC 8446 §4.2.10): a client may bring some that is
/// meant for a server which had this name before. Each record of it is tried again with each that follows.
pub const EARLY_DATA_TRIED_BYTES_MAX: u32 = 256 * 1024;
/// Microseconds of one turn of a shard that handshakes may take, with the first request behind each; one step is done in any case,
/// and the others wait.
pub const HANDSHAKE_US_PER_TURN: u64 = 500;
/// Bytes of a client whose second flight or first request waits for its turn; one that has sent more waits no longer.
pub const FLIGHT_WAITING_BYTES_MAX: usize = 16 * 1024;
/// Room for hellos that wait for their turn, and for handshakes, that a shard keeps when a storm of them is over.
pub const HELLOS_KEPT: usize = 1024;
/// The most that `tls.handshakes_max` may be: each takes some ten kilobytes.
pub const HANDSHAKES_MAX: u32 = 65_536;
/// Bytes of the answer to a certificate authority's challenge; a token and a fingerprint are a hundred.
pub const ACME_CHALLENGE_BYTES_MAX: u64 = 4096;
/// Tickets a client is given with each TLS 1.3 handshake: one for its next connection.
pub const TICKETS_PER_HANDSHAKE: usize = 1;
/// Keys in a file of ticket keys.
pub const TICKET_KEYS_MAX: usize = 8;
/// Time after which a new key seals tickets, in seconds; the one before opens them as long again.
pub const TICKET_ROTATION_S: u32 = 6 * 3600;
