//! Of a program that is linked ([`crate::program`]).

/// Bytes of events and answers that wait on one shard for the program, or for one to be there; a client that sends one more
/// is disconnected, as is one that comes then.
pub const PROGRAM_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that are read of the program before what they ask for is done.
pub const PROGRAM_READ_BYTES: usize = 64 * 1024;
/// Namespaces that a program may name.
pub const PROGRAM_NAMESPACES_MAX: usize = 1024;
/// Bytes of what a program lets the server keep of one socket for another program.
pub const PROGRAM_DATA_BYTES_MAX: usize = 64 * 1024;
/// Time between two signs of life that a program is asked for, in milliseconds.
pub const PROGRAM_PING_MS: u64 = 5_000;
/// Time that a program may give none, in milliseconds; then it is ended and begun anew.
pub const PROGRAM_SILENT_MS: u64 = 30_000;
/// Time until a program that has ended is begun anew, in milliseconds; it doubles each time.
pub const PROGRAM_AGAIN_MS_MIN: u64 = 100;
/// The longest such time, in milliseconds. A program that has lived longer begins with the shortest again.
pub const PROGRAM_AGAIN_MS_MAX: u64 = 10_000;
/// Time that a program has to end when the server does, in milliseconds.
pub const PROGRAM_END_MS: u64 = 5_000;
/// Bytes of an answer to a request that the program answers; a longer one is answered 502.
pub const PROGRAM_ANSWER_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Time a program has to answer a request, in milliseconds; then it is answered 504.
pub const PROGRAM_ANSWER_MS: u64 = 60_000;
/// Requests of one shard that a program has not answered; one more is answered 503.
pub const PROGRAM_REQUESTS_MAX: usize = 1_024;
/// Connections that one shard keeps open to a program's HTTP server.
pub const PROGRAM_CONNECTIONS_KEPT_MAX: usize = 64;
/// Time for which a connection that is not used is kept, in milliseconds; Node's own servers close theirs after five seconds.
pub const PROGRAM_CONNECTION_KEPT_MS: u64 = 4_000;
