//! Of a program that is linked ([`crate::program`]).

/// Bytes of events and answers that wait on one shard for the program, or for one to be there; a client that sends one more
/// is disconnected, as is one that comes then.
pub const PROGRAM_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that are read of the program before what they ask for is done.
pub const PROGRAM_READ_BYTES: usize = 64 * 1024;
/// Bytes of a body that is passed on before it is whole which wait for whoever takes it; then its client is not read.
pub const UPLOAD_BYTES_MAX: usize = 256 * 1024;
/// Namespaces that a program may have at a time.
pub const PROGRAM_NAMESPACES_MAX: usize = 10_000;
/// Bytes of what clients have said on entering that another program is told with the names of its namespaces; of those beyond it is
/// told the name alone.
pub const PROGRAM_RECALLED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of what a program lets the server keep of one socket for another program.
pub const PROGRAM_DATA_BYTES_MAX: usize = 64 * 1024;
/// Time between two signs of life that a program is asked for, in milliseconds.
pub const PROGRAM_PING_MS: u64 = 5_000;
/// Time that a program may give none, in milliseconds; then it is ended and begun anew.
pub const PROGRAM_SILENT_MS: u64 = 30_000;
/// Time until a program that has ended is begun anew, in milliseconds; it doubles each time.
pub const PROGRAM_AGAIN_MS_MIN: u64 = 100;
/// The longest such time, in milliseconds. When a program ends that has lived for longer than this, or that another one was to replace,
/// the time is the shortest again.
pub const PROGRAM_AGAIN_MS_MAX: u64 = 10_000;
/// Time that a program has to end when the server does, in milliseconds.
pub const PROGRAM_END_MS: u64 = 5_000;
/// Time that a program which another one is to replace has to finish what it was given, in milliseconds; then it is ended.
pub const PROGRAM_STOP_MS: u64 = 5_000;
/// Processes of one program.
pub const PROGRAM_WORKERS_MAX: u16 = 64;
/// Time that a process of a program has to take the place of another one, in milliseconds; if it does not, those of the program's other
/// processes that have not begun anew yet do not.
pub const PROGRAM_SERVES_MS: u64 = 30_000;
/// Folders that are watched for files of a program that change; those beyond are named in the log and not watched.
pub const PROGRAM_WATCHED_FOLDERS_MAX: usize = 4_096;
/// Time for which no file has to change before a program is begun anew because some have, in milliseconds.
pub const PROGRAM_WATCH_QUIET_MS: u64 = 100;
/// Bytes of an answer to a request that the program answers which is passed on when it is whole; a longer one, or one that does not
/// tell its length and does not come at once, is passed on as it comes.
pub const PROGRAM_ANSWER_WHOLE_BYTES_MAX: u64 = 1024 * 1024;
/// Time until a program begins to answer a request, in milliseconds; then it is answered 504.
pub const PROGRAM_ANSWER_MS: u64 = 60_000;
/// Answers of one shard that are passed on as they come; one more is answered 503.
pub const PROGRAM_STREAMS_MAX: usize = 4_096;
/// Requests of one shard that a program has not answered; one more is answered 503.
pub const PROGRAM_REQUESTS_MAX: usize = 1_024;
/// Connections that one shard keeps open to a program's HTTP server.
pub const PROGRAM_CONNECTIONS_KEPT_MAX: usize = 64;
/// Time for which a connection that is not used is kept, in milliseconds; Node's own servers close theirs after five seconds.
pub const PROGRAM_CONNECTION_KEPT_MS: u64 = 4_000;
/// What other members of a cluster have said and wait for the program to answer; with one more the oldest waits in vain.
pub const PROGRAM_SAID_MAX: usize = 1_024;
