//! Every maximum of the server that is fixed at compile time; those an operator sets are in `limits/operator.rs`.
//!
//! A queue, buffer or count without a row here is a defect.

mod backend;
mod balance;
mod nodes;
mod operator;
mod program;
mod tls;
mod turns;

pub use backend::*;
pub use balance::*;
pub use nodes::*;
pub use operator::{Limits, SlowConsumer};
pub use program::*;
pub use tls::*;
pub use turns::*;

/// The most shards one process runs; the width of [`crate::model::ShardSet`].
pub const SHARDS_MAX: u16 = 256;
/// The most connections one shard can number: a connection's index is 24 bits of a completion's user data.
pub const CONNECTIONS_PER_SHARD_MAX: u32 = 1 << 24;
/// The most slots the kernel gives one ring's descriptor table, whatever `RLIMIT_NOFILE` is: `IORING_MAX_FIXED_FILES`
/// in its io_uring/rsrc.c.
pub const RING_DESCRIPTORS_MAX: u32 = 1 << 20;
/// Registered descriptors kept beyond a shard's share, so that a connection too many gets an answer.
pub const REFUSAL_SLOTS: u32 = 64;
/// Single-shot accepts kept in flight per listener and shard, each with its own address slot.
pub const ACCEPTS_PER_LISTENER: u32 = 32;
/// Provided receive buffers per shard. A receive is only started when one is free.
pub const RECEIVE_BUFFERS: u16 = 512;
/// Size of one provided receive buffer, in bytes.
pub const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// Entries of a shard's submission queue; a full queue is submitted and filled again.
pub const SUBMISSION_ENTRIES: u32 = 4096;
/// Entries of a shard's completion queue; the kernel keeps an overflow beyond it (`IORING_FEAT_NODROP`).
pub const COMPLETION_ENTRIES: u32 = 16384;
/// Bytes gathered into one send when several frames wait for one connection, and sealed at once where TLS is spoken.
pub const GATHER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an encoding for many that are copied to be sent together with others; a larger one is sent by itself.
pub const GATHERED_FRAME_BYTES_MAX: usize = 8 * 1024;
/// Sends looked at in one turn for whether they stall.
pub const SENDS_WATCHED_PER_TURN: usize = 4096;
/// Bytes a socket takes beyond what its peer's window lets leave (`TCP_NOTSENT_LOWAT`, tcp(7)); the rest waits in the send
/// queue. The kernel tells of room only when much of what it took has left, so that with its own megabytes a client that
/// reads slowly but steadily would seem to read nothing.
pub const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// How long an address that is in use is tried again at the start, in milliseconds.
pub const BIND_PATIENCE_MS: u64 = 500;
/// How long after it was found in use, in milliseconds.
pub const BIND_AGAIN_MS: u64 = 10;
/// Parts into which `limits.send_timeout_ms` is divided: a client that stalls is given up then, or one part later.
pub const SEND_TIMEOUT_PARTS: u8 = 4;
/// Batches on the way between one pair of shards; beyond it messages wait in the sender's overflow.
pub const MESH_BATCHES_MAX: usize = 128;
/// Messages in one batch between shards.
pub const MESH_BATCH_MESSAGES_MAX: usize = 1024;
/// Messages waiting in a sender's overflow for one destination; beyond it publications are refused as busy and
/// deliveries are dropped, counted, and seen as a gap.
pub const MESH_OVERFLOW_MESSAGES_MAX: usize = 65_536;
/// Bytes on the way between one pair of shards, in the overflow and behind it; beyond it publications are refused as
/// busy and deliveries are dropped, as for their number.
pub const MESH_LINK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Subscribers that a shard hands publications to in one turn, about two milliseconds of a core; the rest follow in the
/// next turns, and everything else has its share in between. What a client asks takes three turns.
pub const FANOUT_PER_TURN: usize = 512;
/// As many of them take the room of one if they have something that waits to be sent already: they need no send of their own.
pub const FANOUT_JOINED_PER_ONE: usize = 8;
/// Bytes given to the kernel to be sent in one turn, sealed where TLS is spoken, a millisecond or two of a core; what is left
/// is sent in the next turns, and is shared by all its subscribers until then.
pub const SENT_BYTES_PER_TURN: usize = 4 * 1024 * 1024;
/// Bytes waiting for one connection that are sent in every turn, however much that sends.
pub const SMALL_SEND_BYTES: usize = 16 * 1024;
/// Bytes of publications that each of a channel's subscribers is handed in one turn; a larger publication is handed out by
/// itself, to some of them in each turn.
pub const FANOUT_PORTION_BYTES: usize = 64 * 1024;
/// A turn's share of [`SENT_BYTES_PER_TURN`] for large publications; with all of it spent they wait, and small ones do not.
pub const LARGE_BYTES_PER_TURN: usize = SENT_BYTES_PER_TURN / 8 * 3;
/// The share for small publications. What is left, and what these do not take, is for answers and pages.
pub const SMALL_BYTES_PER_TURN: usize = LARGE_BYTES_PER_TURN;
/// Encodings of large publications that are kept from turn to turn while they are handed out, in bytes; one is always.
pub const ENCODINGS_KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes written for clients in one turn, about a millisecond of a core; with more, pages of history and pieces of what
/// clients missed wait for the next turns, all but one of each.
pub const MADE_BYTES_PER_TURN: usize = 1024 * 1024;
/// Pages of history that wait on one shard to be written; with more, the next is written at once, though its turn takes
/// longer. A connection waits for one at a time; only an application can ask for more.
pub const PAGES_WAITING_MAX: usize = 16_384;
/// Bytes of publications that wait to be handed out; beyond it whoever publishes is not read, and other shards are not
/// heard, until half of it is left: they wait instead of memory growing.
pub const FANOUT_BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same, with what publishes without being read, as an application's timers do; beyond it publications are refused as
/// busy.
pub const FANOUT_GATHERED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest message that is compressed, some four milliseconds of a core; a longer one leaves as it is.
pub const COMPRESSED_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of messages, and of answers, compressed in one turn of a shard; what comes behind them leaves as it is.
pub const COMPRESSED_BYTES_PER_TURN: usize = 256 * 1024;
/// Messages after which a channel's stream of compression begins anew, so that those can follow it who came meanwhile.
pub const STREAM_MESSAGES_MAX: usize = 16;
/// The least message that a stream compresses, if `websocket.compression_bytes_min` is more.
pub const STREAMED_BYTES_MIN: usize = 64;
/// The longest answer that is compressed; a longer one leaves as it is.
pub const ANSWER_COMPRESSED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that compressed messages of clients come to in one turn of a shard, a few milliseconds of a core; what is left waits
/// for the next turns, and its clients are not read meanwhile.
pub const INFLATED_BYTES_PER_TURN: usize = 2 * 1024 * 1024;
/// Those of one client, so that several have their share of a turn; a message that comes to more is inflated bit by bit.
pub const INFLATED_BYTES_PER_LINE: usize = 256 * 1024;
/// What a block of a compressed message counts beside what it comes to: its tables take as long as so many bytes.
pub const INFLATED_BYTES_PER_BLOCK: usize = 1024;
/// Streams of DEFLATE in one compressed message, which is one by itself with most clients; one with more is broken.
pub const STREAMS_PER_MESSAGE_MAX: usize = 64;
/// Connections whose kept requests a shard reads on in one turn; each has kept little more than one receive.
pub const KEPT_PER_TURN: usize = 128;
/// Objects and arrays inside each other in a JSON text a client sends; deeper is refused.
pub const JSON_DEPTH_MAX: usize = 64;
/// Bytes a shard's JSON reader keeps from one text to the next; memory taken for a larger text is given back.
pub const JSON_SCRATCH_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a publication's content type; longer is refused.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Bytes of the name of the event that a publication is; longer is refused.
pub const EVENT_NAME_BYTES_MAX: usize = 255;
/// `publish` commands of one WebSocket that wait for their channel's owner; one more is refused as busy.
pub const PUBLISHES_IN_FLIGHT_MAX: usize = 256;
/// Channels of one event stream or long poll; an operator may allow fewer subscriptions.
pub const STREAM_CHANNELS_MAX: usize = 64;
/// Publications in one page of history; more are asked for page by page.
pub const HISTORY_PAGE_MAX: u32 = 1_000;
/// Bytes of history, with its bookkeeping, in one page of it and in one answer of a long poll: a page ends early at so
/// many, but for one larger publication, which is a page by itself.
pub const HISTORY_PAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of each file of the Socket.IO client that is served; a larger one is no such client.
pub const CLIENT_SCRIPT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Sockets in one answer of `GET /socket.io-api/sockets`.
pub const SOCKET_LIST_MAX: u32 = 10_000;
/// Rooms that one request about Socket.IO may name, to select sockets or to put them into.
pub const SOCKET_ROOMS_MAX: usize = 64;
/// Channels in one answer of `GET /channels`.
pub const CHANNEL_LIST_MAX: u32 = 1_000;
/// Lists of channels that clients of one shard wait for; one more is refused with 503.
pub const CHANNEL_LISTS_MAX: u32 = 4;
/// Channels a shard looks at in one turn for the lists that are being made, about a millisecond of a core.
pub const CHANNELS_PER_TURN: usize = 2_048;
/// Bytes of state, members and history that an owner shows in one turn, a millisecond or two of a core; the rest waits.
pub const READ_BYTES_PER_TURN: u64 = 1024 * 1024;
/// Reads of one connection that wait at one owner to be shown; one more is refused as busy.
pub const READS_PER_ASKER_MAX: usize = 1_024;
/// Reads of all that wait at one owner; one more is refused as busy.
pub const READS_WAITING_MAX: usize = 65_536;
/// Bytes of records of one shard that wait to be written; beyond it what would have to be is refused with 503.
pub const STORAGE_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What is told in one turn because it is on disk now (`storage.synced`); the rest follows in the next turns.
pub const HELD_TOLD_PER_TURN: usize = 2_048;
/// Snapshots of channels that a shard keeps encoded in a turn, for those who come next in it; the oldest goes first.
pub const SNAPSHOTS_PER_TURN: usize = 8;
/// Keys and counters that are told of in one turn because their time has come; the rest follows in the next turns.
pub const STATE_DUE_PER_TURN: usize = 1_024;
/// Bytes that the keys and values of one channel may be given: what a newcomer is told in one piece.
pub const STATE_CHANNEL_BYTES_MAX: u32 = 64 * 1024;
/// Keys that one channel may be given.
pub const STATE_KEYS_MAX: u32 = 10_000;
/// Members let go, and digests made, in one turn because their time has come; the rest follows in the next turns.
pub const PRESENCE_DUE_PER_TURN: usize = 1_024;
/// Time between two digests of who is in a channel with many members, in milliseconds.
pub const PRESENCE_DIGEST_INTERVAL_MS: u64 = 5_000;
/// Bytes that a member may say of itself.
pub const PRESENCE_INFO_BYTES_MAX: usize = 1024;
/// Members in one page; more are asked for page by page.
pub const PRESENCE_PAGE_MAX: u32 = 1_000;
/// Bytes of names and of what members say of themselves in one page, or one member.
pub const PRESENCE_PAGE_BYTES_MAX: usize = 64 * 1024;
/// Members that a subscriber is shown first; more are asked for page by page.
pub const PRESENCE_SHOWN_MAX: u32 = 100;
/// Time after which a key may go by itself at the latest, in milliseconds: ten years.
pub const STATE_TTL_MS_MAX: u64 = 10 * 366 * 24 * 3_600_000;
/// Time every shard has to answer a question put to all; then the asker is told who answered, in milliseconds.
pub const SURVEY_TIMEOUT_MS: u64 = 2_000;
/// Bytes of history, with its bookkeeping, in one piece of what a subscriber missed; the next piece follows once it has
/// read so much that no more than this waits for it. A larger publication is a piece by itself.
pub const RECOVERY_PIECE_BYTES: u64 = 64 * 1024;
/// How many times `limits.send_queue_bytes_max` may have been sent to a Socket.IO client while it was away; one that
/// missed more comes back as a new one.
pub const RECOVERY_QUEUES_MAX: usize = 16;
/// Events of each channel that are looked at for one piece of what a Socket.IO client missed; a piece has no more bytes than
/// [`RECOVERY_PIECE_BYTES`].
pub const RECOVERY_EVENTS_PER_PIECE: usize = 1024;
/// Time for which what was sent to Socket.IO clients is kept beyond the time that they may be away, so that one which comes
/// back at its end can read what it missed.
pub const RECOVERY_READ_MS: u64 = 30_000;
/// How many times one request may be handed over from shard to shard; the next one that wants to is answered 508.
pub const HAND_OVERS_PER_REQUEST_MAX: u8 = 3;
/// Subscriptions given up before their channel's owner answered, per shard; beyond it, one that has to ask an owner is
/// refused as busy.
pub const JOINS_WITHDRAWN_MAX: usize = 65_536;
/// Events and acknowledgements that wait until a Socket.IO socket that came back has caught up; one that is to be told more
/// in that time is closed as overloaded.
pub const HELD_ORDERS_MAX: usize = 1024;
/// Wishes of clients and of the application that wait on a shard until what the same issuer asked before has taken effect;
/// beyond it the oldest is carried out at once, out of its order.
pub const ASKS_HELD_MAX: usize = 65_536;
/// The same in bytes of what they send.
pub const ASKS_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Publications of one call of a handler that are done at once, about a millisecond of a core; the rest follows in the next
/// turns, and what is asked for meanwhile behind it: of very much an eighth in each.
pub const PUBLICATIONS_AT_ONCE: usize = 256;
/// Publications of batches that are done in one turn, of all calls together; the rest follows in the next turns.
pub const PUBLICATIONS_PER_TURN: usize = 2_048;
/// Time what an issuer asks waits at most for another shard to say that what it asked before has taken effect there, in
/// milliseconds. One that does no turns is given up before, and one that does may have much to do: a command to a million
/// sockets takes it seconds.
pub const ORDER_WAIT_MAX_MS: u64 = 10_000;
/// Publications of one issuer's shard that stand behind others and have not taken effect everywhere, through one owner; with
/// more, the next waits at the issuer's shard.
pub const FOLLOWING_MAX: u64 = 1024;
/// Bytes of a publication that may stand behind others on its way; a larger one waits at its issuer's shard.
pub const FOLLOWING_BYTES_MAX: usize = 4096;
/// Owners behind whose publications one may stand on its way; with more, it waits at its issuer's shard.
pub const FOLLOWED_OWNERS_MAX: usize = 8;
/// Channels on whose members it depends who gets what an issuer has published, while that is under way; with more, who joins
/// or leaves any waits for all of it.
pub const CHANNELS_TOUCHED_MAX: usize = 64;
/// What one client or backend may have waiting for its turn before it is not read; it is read on with half of that.
pub const ASKS_READ_MAX: usize = 256;
/// What one issuer has waiting before its shard asks for the lease under which nothing waits there.
pub const LEASE_WANTED_FROM: usize = 4;
/// Turns in which a shard that uses the lease keeps it, though another has asked for it: giving it on takes some six.
pub const LEASE_TURNS_MIN: u32 = 8;
/// Time after a shard that held the lease, or gave it, has failed in which nobody gets it, in milliseconds: what was sent
/// under it has taken effect by then, or is not waited for.
pub const LEASE_CLOSED_MS: u64 = 2 * ORDER_WAIT_MAX_MS;
/// Receipts of one way that a shard keeps until what came before them has been handed out; more count as one.
pub const RECEIPTS_OPEN_MAX: usize = 4096;
/// Bytes of publications that may wait to be handed out while some are held back for order; with more, none is.
pub const HELD_BACK_BYTES_MAX: usize = 2 * FANOUT_BACKLOG_BYTES_MAX;
/// Time a shard that has let others wait so long is not waited for, in milliseconds.
pub const ORDER_MUTED_MS: u64 = 10_000;
/// Time between two looks through what issuers have asked, for what has taken effect since, in milliseconds.
pub const TRAILS_SWEPT_MS: u64 = 100;
/// Calls of handlers nested in each other before what they ask for waits until the outermost has returned.
pub const HANDLER_CALLS_NESTED_MAX: u32 = 8;
/// Engine.IO packets in the body of one polling request; more are refused with the body.
pub const ENGINEIO_PAYLOAD_PACKETS_MAX: usize = 65_536;
/// Packets of one polling request's body that are heard at once; the rest waits for its turn.
pub const PACKETS_AT_ONCE: usize = 64;
/// Packets of such rests heard in one turn of a shard, about a millisecond of a core.
pub const PACKETS_PER_TURN: usize = 256;
/// Turns in which a shard hears what has come on a WebSocket before it answers a poll that may have come behind it.
pub const TURNS_BEFORE_NOOP: u64 = 3;
/// Binary attachments of one Socket.IO packet; a packet with more is refused.
pub const SOCKETIO_ATTACHMENTS_MAX: u32 = 64;
/// Bytes of a Socket.IO namespace, with its slash; longer is refused.
pub const SOCKETIO_NAMESPACE_BYTES_MAX: usize = 128;
/// Bytes of a Socket.IO event's name; longer is refused.
pub const SOCKETIO_EVENT_NAME_BYTES_MAX: usize = 255;
/// Digits of the id by which a Socket.IO packet is acknowledged; the largest integer JavaScript counts to has 16.
pub const SOCKETIO_ACK_ID_DIGITS_MAX: usize = 16;
/// Acknowledgements one Socket.IO client may owe; an event that asks for one more is not sent.
pub const ACKS_AWAITED_PER_SOCKET_MAX: usize = 256;
/// Time a client has to acknowledge an event unless the application says otherwise, in milliseconds.
pub const ACK_TIMEOUT_MS: u64 = 30_000;
/// Bytes of acknowledgements of events to many Socket.IO clients that one shard gathers at once; those beyond count as not
/// given.
pub const ACKS_GATHERED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Namespaces that one Socket.IO client waits for asynchronous middleware to let it into; it is refused one more.
pub const ADMISSIONS_PER_CLIENT_MAX: usize = 16;
/// Bytes that one shard keeps for clients that wait for that, with what they have brought; one more is refused.
pub const ADMISSIONS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Questions of one shard's Socket.IO application to the others that wait for answers; one more is answered by none.
pub const QUESTIONS_AWAITED_MAX: usize = 1_024;
/// Time a channel's owner has to answer an application of Socket.IO, in milliseconds; then it is told that there is no answer.
pub const CHANNEL_ANSWER_MS: u64 = 10_000;
/// Sockets one shard tells its application of in answer to one question; more are left out.
pub const SOCKETS_FETCHED_PER_SHARD_MAX: u32 = 10_000;
/// Looks at Socket.IO sockets that a shard takes in one turn for requests about many of them, about a millisecond of a
/// core: one for each room it is compared with, more for what is done to it.
pub const SOCKETS_PER_TURN: usize = 4_096;
/// Requests about many Socket.IO sockets that wait on a shard; beyond it the oldest is done whole.
pub const SELECTIONS_MAX: usize = 65_536;
/// Dynamic Socket.IO namespaces of one shard; clients that want one more are refused.
pub const NAMESPACES_DYNAMIC_MAX: usize = 10_000;
/// So many Engine.IO sessions that have entered no namespace are looked at for one without a connection, whose place a new
/// session gets when a shard has no other: the oldest, and others in turn.
pub const SESSIONS_LOOKED_AT_MAX: usize = 1_024;
/// Socket.IO namespaces one client is in at once; it is refused one more. Each of its packets is looked up among them.
pub const NAMESPACES_PER_CLIENT_MAX: usize = 128;
/// Rooms joined and left that a shard remembers for Socket.IO clients that may come back; with more of them within the
/// time a client may be away, one that left before the oldest of these is let in as if it were new.
pub const RECOVERY_ROOM_CHANGES_MAX: usize = 65_536;
/// So many of the inputs that have begun and not ended are looked at to find the one to give up: with fewer the heaviest
/// is found, with more one of the heaviest.
pub const PARTIAL_INPUTS_COMPARED: usize = 64;
/// Time within which a shard may fail and begin anew `server.shard_restarts_max` times, in milliseconds.
pub const SHARD_RESTARTS_WITHIN_MS: u64 = 60_000;
/// Time a shard that failed waits for the kernel to let go of what it was given, in milliseconds; what it keeps longer is
/// not freed.
pub const RING_END_MS: u64 = 100;
/// Clients of a shard that failed that are told so at once; the next are told when that has been sent.
pub const FAREWELLS_AT_ONCE: u32 = 256;
/// Dashboards that one shard keeps up to date; one more is refused with 503.
pub const DASHBOARDS_MAX: usize = 8;
/// Time between two looks at the shards while a dashboard is open, in milliseconds.
pub const DASHBOARD_INTERVAL_MS: u64 = 1_000;
/// Samples of itself that a shard keeps, the last hour; the oldest goes.
pub const SAMPLES_MAX: usize = 360;
/// Time that one sample is about, in milliseconds.
pub const SAMPLE_MS: u64 = 10_000;
/// Channels that are told apart in counting which are busiest; one more takes the place of the one with the least.
pub const BUSY_CHANNELS_MAX: usize = 256;
/// The busiest channels that a shard names.
pub const BUSY_CHANNELS_TOLD: usize = 16;
/// The addresses with the most connections that a shard names.
pub const BUSY_ORIGINS_TOLD: usize = 16;
/// Time after which busy channels are no longer counted because nobody has asked for them, in milliseconds.
pub const BUSY_CHANNELS_MS: u64 = 5_000;
/// Bounds of the histogram of turns, in microseconds.
pub const TURN_US_BOUNDS: [u64; 11] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000];
/// Bounds of every histogram but that of turns.
pub const TIMING_BOUNDS: usize = 12;
/// Bounds of the histogram of ways between shards, in microseconds.
pub const HOP_US_BOUNDS: [u64; TIMING_BOUNDS] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 100_000, 1_000_000];
/// Bounds of the histograms of what is known to the millisecond, in microseconds.
pub const WAIT_US_BOUNDS: [u64; TIMING_BOUNDS] = [
    1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];
/// A turn this long is logged with what it consisted of, in milliseconds.
pub const TURN_WARN_MS: u64 = 50;
/// Time a draining shard waits for its clients after the last was told to go, in milliseconds.
pub const DRAIN_GRACE_MS: u64 = 2_000;
/// Time after which the process ends without shards that should have drained by then, in milliseconds.
pub const DRAIN_OVERDUE_MS: u64 = 1_000;
/// Time that a disk may take to write the last of what is kept on it before whoever waits for the process to end gives it up.
pub const STORAGE_END_MS: u64 = 60_000;
/// Descriptors that are passed beside one message between a keeper and its server; the kernel takes 253 (unix(7)).
pub const KEEPER_DESCRIPTORS_MAX: usize = 128;
/// Such a message: addresses, above all.
pub const KEEPER_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Time a server has to end beyond what it gives its clients and its shards, before its keeper kills it, in milliseconds.
pub const KEEPER_OVERDUE_MS: u64 = 10_000;
/// Time a server waits for room to tell its keeper who is shut out, in milliseconds.
pub const KEEPER_ROOM_MS: i64 = 100;
/// Ends of a server within [`KEEPER_CRASHES_MS`] that nobody asked for, at which its keeper gives up.
pub const KEEPER_CRASHES_MAX: usize = 3;
/// Time within which they are counted, in milliseconds.
pub const KEEPER_CRASHES_MS: u64 = 60_000;
/// Time until a server is started again that has crashed for the first time; doubled with each that follows, in
/// milliseconds.
pub const KEEPER_DELAY_MS_MIN: u64 = 100;
/// The longest such time, in milliseconds.
pub const KEEPER_DELAY_MS_MAX: u64 = 10_000;
/// Time a server has to end at once, before its keeper kills it, in milliseconds.
pub const KEEPER_FORCE_MS: u64 = 2_000;
/// Time over which clients are told to come back to the next version, at most, in milliseconds: those who are told first wait as
/// long for it.
pub const UPGRADE_DRAIN_MS_MAX: u32 = 1_000;
/// Rounds in which a shard that ends hands out what has been published last, for those who come back to the next version.
pub const LAST_ROUNDS_MAX: usize = 64;
/// Time a new version has to make itself ready, in milliseconds.
pub const UPGRADE_READY_MS: u64 = 10_000;
/// Time the old version has to leave what it has, and the new one to begin with it, each, in milliseconds.
pub const UPGRADE_PASS_MS: u64 = 30_000;
/// Time the shards of a server that ends give each other to hand out what is under way, before they let go of connections that go
/// on with the next version, in milliseconds.
pub const UPGRADE_REST_MS: u64 = 500;
/// Time an upgrade waits for those who are shaking hands for TLS, in milliseconds: nobody else could go on with that.
pub const UPGRADE_SHAKE_MS: u64 = 500;
/// How often they tell each other that nothing is under way before they believe it: what one has sent on because of another has
/// arrived by then.
pub const UPGRADE_ROUNDS: u8 = 3;
/// Connections that go to the next version at once; the kernel takes 253 descriptors beside one message (unix(7)).
pub const CARRIED_AT_ONCE: usize = 250;
/// Unsent bytes that go to the next version with a shard's connections; for a moment they stand in memory up to four times.
pub const CARRIED_UNSENT_BYTES_MAX: usize = 64 << 20;
/// Time the server before has to answer a shard that asks for connections, in milliseconds.
pub const CARRIAGE_ANSWER_MS: u64 = 5_000;
/// Time a client whose connection goes on with the next version has at least to answer a ping, in milliseconds: what it has said
/// meanwhile is yet to be read.
pub const CARRIED_BEAT_MS_MIN: u64 = 2_000;
/// Bytes of one section of what goes from one process to the next: a stream with all its history.
pub const SNAPSHOT_SECTION_BYTES_MAX: u64 = 4 << 30;
/// Time without a turn after which a shard counts as silent, in milliseconds. One that sleeps does a turn each second.
pub const SHARD_SILENT_MS: u64 = 3_000;
/// Time without a turn after which the clients of a shard are taken off it, if its thread is in the application, in
/// milliseconds.
pub const SHARD_DISMISSED_MS: u64 = 6_000;
/// Time something has waited for another shard before it is given up because some shard is silent, in milliseconds.
pub const SILENCE_PATIENCE_MS: u64 = 1_000;
/// A header of the PROXY protocol, with what it carries beside the addresses; beyond it the connection ends.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;
/// Ways by which clients of proxies have come that one shard keeps: the host that they have asked, the scheme, and the proxies
/// between. Of those beyond only the address is kept after their request.
pub const PASSAGES_MAX: usize = 4096;
/// Bytes of the host that a client has asked and that is kept; a name in the DNS has no more.
pub const HOST_BYTES_MAX: usize = 255;
/// Proxies on the way of a request that are looked behind.
pub const FORWARDED_HOPS_MAX: usize = 16;
/// Bytes of a token; a longer one is refused unread.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Patterns in one token; one with more is refused.
pub const TOKEN_PATTERNS_MAX: usize = 256;
/// Bytes of the name of a token's user; a longer one is refused.
pub const USER_BYTES_MAX: usize = 255;
/// Keys that a token is tried with which does not say by which it was signed.
pub const TOKEN_KEYS_TRIED_MAX: usize = 4;
/// Bytes of the file of a token key, or of a set of them.
pub const TOKEN_KEY_BYTES_MAX: u64 = 256 * 1024;
/// Time that a shard looks at tokens in one turn, in microseconds; what is left waits for the next turns.
pub const TOKENS_US_PER_TURN: u32 = 2_000;
/// Tokens of WebSockets and Socket.IO clients that wait to be looked at on one shard; with one more, the newest of the address
/// with the most is refused as busy. Those of requests wait with their connection.
pub const TOKENS_WAITING_MAX: usize = 4096;
/// Bytes of them with what is kept beside, as well.
pub const TOKENS_WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that commands cost which one WebSocket sends while it waits for its token or for a backend; with more it is closed as
/// overloaded.
pub const COMMANDS_HELD_BYTES_MAX: usize = 64 * 1024;
/// Those commands; with one more it is closed as well.
pub const COMMANDS_HELD_MAX: usize = 512;
/// Bytes that such commands of all WebSockets of a shard cost together; who sends one more is closed as well.
pub const COMMANDS_HELD_TOGETHER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that events cost which one Socket.IO client sends to a namespace while one of them waits for a backend; with more it
/// is closed as overloaded.
pub const EVENTS_HELD_BYTES_MAX: usize = 64 * 1024;
/// Those events; with one more it is closed as well.
pub const EVENTS_HELD_MAX: usize = 512;
/// Bytes that such events of all clients of a shard cost together; who sends one more is closed as well.
pub const EVENTS_HELD_TOGETHER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Users and addresses whose rate of publishing is remembered, by each shard and by all together; with more that have just
/// published, all begin anew.
pub const PUBLISHERS_RATED_MAX: usize = 65_536;
/// Users and tokens that are shut out at a time; one more is not kept.
pub const REVOCATIONS_MAX: usize = 65_536;
/// Bytes of a path that stand in a line about a request.
pub const ACCESS_PATH_BYTES_MAX: usize = 256;
/// Lines a second and shard that may be logged of clients.
pub const ACCESS_PER_SECOND_MAX: u32 = 10_000;
/// Lines of them that wait to be written; more are left out.
pub const ACCESS_LINES_WAITING_MAX: usize = 8_192;
/// What may wait for a shard from threads of the application; one more is refused ([`crate::app::Handle`]).
pub const HANDLE_CALLS_MAX: usize = 1_024;
/// Bytes of publications that may wait there.
pub const HANDLE_PUBLICATION_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Channels that are looked at in one turn because nobody followed them a while ago.
pub const VACATED_PER_TURN: usize = 1_024;
/// Names that wait for the system's resolver; one more is not resolved.
pub const RESOLVING_MAX: usize = 64;
/// Time for which an address that was resolved is taken again, in seconds.
pub const RESOLVED_FOR_S: u64 = 30;
/// Pages of Socket.IO's own for operators that one shard tells of its sockets.
pub const ADMIN_PAGES_MAX: usize = 16;
/// Sockets they are told of; of more they are told how many.
pub const ADMIN_SOCKETS_MAX: u64 = 1_000;
/// Wrong passwords in a row that are listened to from one address, and how long no other is then, in seconds.
pub const ADMIN_MISTAKES_MAX: u32 = 10;
/// See [`ADMIN_MISTAKES_MAX`].
pub const ADMIN_MISTAKEN_S: u64 = 10;
/// Addresses that each shard keeps the wrong passwords of. Beyond them the one that has been quiet for longest is forgotten.
pub const ADMIN_ADDRESSES_MAX: usize = 1_024;
/// Passwords of all shards that wait to be compared with bcrypt's hashes, one of each address on each shard; beyond them whoever
/// brings one is refused.
pub const PASSWORDS_WAITING_MAX: usize = 64;
/// The cost of a hash by bcrypt. Each more doubles the time: 14 is a second and more, 10 what most programs choose.
pub const BCRYPT_COST_MAX: u32 = 14;
/// Connections of the demo's crowd.
pub const CROWD_CONNECTIONS_MAX: u32 = 5_000;
/// Time after which it ends by itself, in seconds.
pub const CROWD_LIFETIME_S: u64 = 120;
/// Length of the timer wheel's tick, in milliseconds.
pub const TICK_MS: u64 = 20;

const _: () = assert!(INFLATED_BYTES_PER_BLOCK < INFLATED_BYTES_PER_LINE);
const _: () = assert!(INFLATED_BYTES_PER_LINE < INFLATED_BYTES_PER_TURN);
const _: () = assert!(RING_DESCRIPTORS_MAX <= CONNECTIONS_PER_SHARD_MAX);
const _: () = assert!(LARGE_BYTES_PER_TURN + SMALL_BYTES_PER_TURN < SENT_BYTES_PER_TURN);
const _: () = assert!(FANOUT_BACKLOG_BYTES_MAX < FANOUT_GATHERED_BYTES_MAX);
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
const _: () = assert!(COMPLETION_ENTRIES >= 2 * SUBMISSION_ENTRIES);
const _: () = assert!(SHARDS_MAX as usize <= 4 * 64);
const _: () = assert!(SOCKETIO_ACK_ID_DIGITS_MAX <= u64::MAX.ilog10() as usize);
const _: () = assert!(MESH_BATCH_MESSAGES_MAX <= MESH_OVERFLOW_MESSAGES_MAX);
