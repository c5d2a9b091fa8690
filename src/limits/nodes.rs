//! Of joining several nodes.

/// How many channels a shard asks the broker of again in one tick, because a client knows more of them than it does.
pub const BROKER_AHEAD_MAX: usize = 64;
/// Addresses over which channels are spread.
pub const BROKER_ADDRESSES_MAX: usize = 64;
/// Publications of one shard that wait for the broker; one more is refused with 503.
pub const BROKER_WAITING_MAX: usize = 10_000;
/// Bytes of those.
pub const BROKER_WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time for which a publication, or who wants to read, waits for a broker that is away; then it is refused with 503.
pub const BROKER_WAIT_MS: u64 = 2_000;
/// Publications in one transaction with the broker, and bytes of them after which none is added.
pub const BROKER_BATCH_MAX: usize = 256;
/// Bytes of publications in one transaction after which none is added.
pub const BROKER_BATCH_BYTES: usize = 64 * 1024;
/// One reply of the broker: what is told of a channel. A larger one ends the connection.
pub const BROKER_REPLY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The latest bytes that are told of a channel when it is begun to be followed; who comes back from before them is told of a gap.
pub const BROKER_TAIL_BYTES: u64 = 2 * 1024 * 1024;
/// Lots of news of the broker that wait for a shard; then no more is read from it.
pub const BROKER_NEWS_MAX: usize = 1_024;
/// Channels whose epochs a shard's link to the broker remembers; with one more it forgets them all, and asks again.
pub const BROKER_EPOCHS_MAX: usize = 65_536;
/// Channels about which the broker is asked at a time. Redis closes the connection of a follower for which 32 MiB wait, unless
/// it is told otherwise.
pub const BROKER_FOLLOWING_MAX: usize = 8;
const _: () = assert!(BROKER_FOLLOWING_MAX as u64 * BROKER_TAIL_BYTES <= 16 * 1024 * 1024);
/// Silence of the broker after which it is asked whether it is there, and as much again after which it is not.
pub const BROKER_SILENCE_MS: u64 = 5_000;
/// Time in which each channel that is followed is looked at once, for what may have been missed.
pub const BROKER_CHECK_MS: u64 = 30_000;
/// Time after which a channel's stream is told again how long it is to be kept, with a publication.
pub const BROKER_RENEW_MS: u64 = 60_000;
/// Time between tries to reach the broker, the first and the longest.
pub const BROKER_RETRY_MS: (u64, u64) = (100, 5_000);
/// How often a node says that it is there, in milliseconds.
pub const ROLL_EACH_MS: u64 = 2_000;
/// How long it may say nothing before others hold it for lost.
pub const ROLL_LOST_MS: u64 = 10_000;
/// Nodes that are lost and of which a shard has not been told.
pub const ROLL_NEWS_MAX: usize = 64;
/// Bytes of what the shards tell a Socket.IO cluster that wait for the thread that speaks with it; more is dropped and counted.
pub const CLUSTER_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that wait to be written to its Redis; more is dropped and counted.
pub const CLUSTER_OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Lots of what a Socket.IO cluster says that wait for shard 0; then no more is read from its Redis.
pub const CLUSTER_NEWS_MAX: usize = 2;
/// Bytes of events that count as one piece of news more; with [`BROKER_NEWS_MAX`] untold no more is read.
pub const CLUSTER_NEWS_BYTES: usize = 64 * 1024;
/// Time in which this process answers another member of a Socket.IO cluster, also where a shard is silent; those wait for 5 seconds.
pub const CLUSTER_ANSWER_MS: u64 = 3_500;
/// Time that clients have to acknowledge an event of another member that does not say.
pub const CLUSTER_ASKED_MS: u64 = 5_000;
/// How much earlier than the other member gives up it is told what clients have acknowledged, at most.
pub const ACKS_EARLIER_MS: u64 = 500;
/// Questions to the other members of a Socket.IO cluster that wait for answers; with one more the one that has waited longest is told of
/// those there are.
pub const CLUSTER_QUESTIONS_MAX: usize = 1_024;
/// The most bytes that one answer of another member has.
pub const CLUSTER_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of such answers that are kept until all have come; what comes beyond that counts as not answered.
pub const CLUSTER_ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of events that a shard has asked the clients of other members to acknowledge, and is not told about yet; with more, those
/// are not asked.
pub const CLUSTER_ASKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time in which other members of a Socket.IO cluster answer, unless the application says otherwise: what those in JavaScript wait.
pub const CLUSTER_WAIT_MS: u64 = 5_000;
/// Requests of Engine.IO's clients that a shard has passed on to the nodes that have their sessions, and that are not answered; one
/// more is refused with 503.
pub const PASSED_ON_MAX: usize = 4_096;
/// Bytes of those; one more is refused likewise.
pub const PASSED_ON_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The answer of another node to such a request, in bytes.
pub const PASSED_BACK_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Connections of a shard that are WebSockets of other nodes.
pub const TUNNELS_MAX: usize = 10_000;
/// Bytes of such a connection that are read at a time, in each direction.
pub const TUNNEL_READ_BYTES: usize = 8 * 1024;
/// The longest head of the answer with which another node agrees to one, in bytes.
pub const TUNNEL_HEAD_BYTES_MAX: usize = 16 * 1024;
/// How much longer than a poll lasts another node is waited for, in milliseconds.
pub const PASSED_ON_MS: u64 = 10_000;
/// How long it is waited for where it answers at once: a post, and a WebSocket that is to take over; in milliseconds. It is no sooner
/// taken for silent than the broker is.
pub const POST_PASSED_ON_MS: u64 = BROKER_SILENCE_MS;
/// Time in which other nodes say what they know of channels.
pub const NODES_WAIT_MS: u64 = 1_000;
/// Such questions of a shard that wait for answers; with one more no other node is asked, and one counts as missing.
pub const NODES_ASKED_MAX: usize = 1_024;
/// Such questions of other nodes that wait for the shards of this one; with one more the oldest is not answered.
pub const NODE_SURVEYS_MAX: usize = 64;
/// The longest key of a Socket.IO cluster, in bytes.
pub const CLUSTER_KEY_BYTES_MAX: usize = 128;
