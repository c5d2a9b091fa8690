//! What shards say to each other.

use std::{net::SocketAddr, os::fd::OwnedFd};

use super::{
    Carried, CountedAddress, Deflates, EngineMove, Entry, HistoryPage, JoinAsked, Look, Mark, SocketCommand,
    SocketsAnswer, SocketsRequest, StatePage, StateQuery, Visible, Welcome, channel::name_bytes,
};
use crate::{
    auth::{HookFailure, Revocation, TokenError},
    limits::TURN_US_BOUNDS,
    model::{
        Changed, ChannelName, CloseReason, ConnectionId, HandshakeResult, Payload, Position, PresencePage,
        PublishError, SessionId, SharedPublication, SocketId, StateError, StateKey, StateRequest, Ticket,
        Transport, Work,
    },
    tls::Record,
};
use serde::Serialize;

/// The subscribing shard's own number for a subscription that waits for the channel's owner.
pub type JoinId = u32;

/// One message from shard to shard.
#[derive(Debug)]
pub enum Message {
    /// Ingress → owner: stamp this, keep it, and deliver it to every shard that subscribes.
    Publish {
        /// The channel.
        channel: ChannelName,
        /// The message.
        payload: Payload,
        /// Who wants to know the position, if anybody.
        ticket: Option<Ticket>,
    },
    /// Owner → ingress: what became of a `Publish` with a ticket.
    Published {
        /// The ticket of the `Publish`.
        ticket: Ticket,
        /// Its position, or why it was refused.
        result: Result<Position, PublishError>,
    },
    /// Subscriber's shard → owner: deliver this channel to me from now on, and tell what was missed.
    Join {
        /// The channel.
        channel: ChannelName,
        /// What it has seen and wants to be told.
        asked: JoinAsked,
        /// Handed back in `Joined`.
        join: JoinId,
    },
    /// Owner → subscriber's shard. Unless the subscriber has still more to catch up with, it is joined, and every later
    /// `Deliver` on this link has an offset above the position; if it has, another `Join` follows in time.
    Joined {
        /// The `join` of the `Join`.
        join: JoinId,
        /// What the subscriber is told, or why the channel cannot be joined.
        result: Result<Welcome, PublishError>,
    },
    /// Subscriber's shard → owner: nobody here subscribes to this channel any more.
    Leave {
        /// The channel.
        channel: ChannelName,
    },
    /// Owner → subscriber's shard: a publication.
    Deliver(SharedPublication),
    /// Owner → subscriber's shard, after a `Deliver` was dropped: the channel is at this position. What this link has
    /// not brought up to there is lost.
    Announce {
        /// The channel.
        channel: ChannelName,
        /// Its position now.
        position: Position,
    },
    /// Any → owner: read history.
    ReadHistory {
        /// The channel.
        channel: ChannelName,
        /// Only what is after this position.
        since: Option<Position>,
        /// At most this many publications.
        limit: u32,
        /// Who asks.
        ticket: Ticket,
    },
    /// Owner → asker: the answer to `ReadHistory`.
    History {
        /// Who asked.
        ticket: Ticket,
        /// The answer.
        page: HistoryPage,
    },
    /// Ingress → owner: change a channel's state.
    Change {
        /// The channel.
        channel: ChannelName,
        /// What to do.
        request: Box<StateRequest>,
        /// Who wants to know what became of it, if anybody.
        ticket: Option<Ticket>,
    },
    /// Owner → ingress: what became of a `Change` with a ticket.
    Changed {
        /// The ticket of the `Change`.
        ticket: Ticket,
        /// What the key then held, or why it was refused.
        result: Result<Changed, StateError>,
    },
    /// Any → owner: read state.
    ReadState {
        /// The channel.
        channel: ChannelName,
        /// Which keys.
        query: StateQuery,
        /// Who asks.
        ticket: Ticket,
    },
    /// Owner → asker: the answer to `ReadState`.
    State {
        /// Who asked.
        ticket: Ticket,
        /// The answer.
        page: StatePage,
    },
    /// Connection's shard → owner: a connection of mine enters for a member, or says something else of it.
    Enter {
        /// The channel.
        channel: ChannelName,
        /// Who, and by which connection.
        entry: Box<Entry>,
        /// Who wants to know the position, if anybody.
        ticket: Option<Ticket>,
    },
    /// Owner → connection's shard: what became of an `Enter` with a ticket.
    Entered {
        /// The ticket of the `Enter`.
        ticket: Ticket,
        /// Its channel.
        channel: ChannelName,
        /// The number of the entry.
        number: u32,
        /// Where the channel is, or why it was refused.
        result: Result<Position, StateError>,
    },
    /// Connection's shard → owner: a connection of mine that has entered is there no more.
    Depart {
        /// The channel.
        channel: ChannelName,
        /// The connection.
        connection: ConnectionId,
        /// For whom it may be there.
        ids: Box<[StateKey]>,
        /// Its member does not come back.
        at_once: bool,
    },
    /// Any → owner: who is there?
    ReadPresence {
        /// The channel.
        channel: ChannelName,
        /// Only those behind this one.
        after: Option<StateKey>,
        /// At most this many.
        limit: u32,
        /// Who asks.
        ticket: Ticket,
    },
    /// Owner → asker: the answer to `ReadPresence`.
    Presence {
        /// Who asked.
        ticket: Ticket,
        /// The answer.
        page: Box<PresencePage>,
    },
    /// Any → a socket's shard: do this to one of your Socket.IO sockets.
    Socket {
        /// Which.
        socket: SocketId,
        /// What.
        command: SocketCommand,
    },
    /// Any → any: an Engine.IO session that polls; requests with its id will be handed over.
    EngineMove(Box<EngineMove>),
    /// The answer to an `EngineMove`, in time: the session has ended.
    EngineEnded(SessionId),
    /// Any → every shard: about many Socket.IO sockets.
    Sockets(SocketsRequest),
    /// The answer to a `Sockets` that asks for one.
    SocketsAnswer(SocketsAnswer),
    /// Any → any: lend me room for connections.
    AskRoom {
        /// At most this many.
        wanted: u32,
        /// The asker has none left.
        is_full: bool,
    },
    /// The answer to `AskRoom`.
    GiveRoom {
        /// Room for this many connections has moved to the asker.
        given: u32,
    },
    /// Any → any: this connection is yours now. Never refused: `RLIMIT_NOFILE` bounds how many there can be.
    HandOver(Box<HandOver>),
    /// Any → every shard, while draining: no client of mine is left.
    Drained,
    /// Any → every shard: I have failed and begin anew. Nothing is left of what I had, and what was on its way to me is not
    /// heard: but for connections and room, which I keep. Answered with `LossHeard`.
    Lost {
        /// How often that has happened.
        restarts: u64,
    },
    /// The answer to `Lost`: what follows is for what the shard is now.
    LossHeard {
        /// The number in the `Lost`.
        restarts: u64,
    },
    /// Of a mark behind what an issuer asked.
    Mark(Mark),
    /// Owner → asker: too much is asked to show this.
    Unread(Ticket),
    /// Asker → owner: a connection is there no more, and is shown nothing of what it asked to read.
    ForgetReads(ConnectionId),
    /// Any → every shard: a question each answers for itself.
    Ask {
        /// Who asks.
        ticket: Ticket,
        /// The question.
        question: Question,
    },
    /// Any → every shard: nobody waits for the answer to an `Ask` any more.
    Withdraw {
        /// Who asked.
        ticket: Ticket,
    },
    /// Any → every shard: shut this out.
    Revoke(Box<Revocation>),
    /// The answer to `Ask`.
    Answer {
        /// Who asked.
        ticket: Ticket,
        /// The answer of one shard.
        survey: Survey,
    },
}

impl Message {
    /// Whether somebody waits for what becomes of it who can try again later.
    pub(crate) fn may_be_refused(&self) -> bool {
        match self {
            Self::Publish { .. } | Self::Change { .. } => true,
            Self::ReadHistory { .. } | Self::ReadState { .. } | Self::ReadPresence { .. } => true,
            // Who is there already is entered again by itself.
            Self::Enter { ticket, .. } => ticket.is_some(),
            _ => false,
        }
    }

    /// Bytes of memory that it keeps while it is on its way, as far as clients decide them.
    pub(super) fn bytes(&self) -> usize {
        let publications = |list: &[SharedPublication]| list.iter().map(|one| one.payload.bytes()).sum();
        size_of::<Self>()
            + match self {
                Self::Publish { payload, .. } => payload.bytes(),
                Self::Deliver(publication) => publication.payload.bytes(),
                Self::Joined { result: Ok(welcome), .. } => {
                    publications(&welcome.missed)
                        + welcome.state.as_deref().map_or(0, publications)
                        + welcome.presence.as_deref().map_or(0, PresencePage::bytes)
                }
                Self::Change { request, .. } => request.bytes(),
                Self::Enter { entry, .. } => entry.bytes(),
                Self::Depart { ids, .. } => ids.iter().map(name_bytes).sum(),
                Self::Presence { page, .. } => page.bytes(),
                Self::State { page, .. } => publications(&page.keys),
                Self::History { page, .. } => publications(&page.publications),
                Self::Socket { command, .. } => command.bytes(),
                Self::Sockets(request) => request.bytes(),
                Self::SocketsAnswer(answer) => answer.bytes(),
                Self::EngineMove(engine) => engine.payload.len() + engine.queue.len(),
                Self::HandOver(hand_over) => hand_over.bytes.len(),
                _ => 0,
            }
    }
}

/// A connection on its way from one shard's table to another's. Dropping it closes the connection.
#[derive(Debug)]
pub struct HandOver {
    /// Its socket.
    pub descriptor: OwnedFd,
    /// The peer; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// Its count among the connections of its address, while those are limited.
    pub counted: Option<CountedAddress>,
    /// It came in through the admin listener. One that did not brings the room it takes.
    pub is_admin: bool,
    /// A proxy has opened it, and has not said for whom.
    pub is_unnamed: bool,
    /// How many shards have handed over the first request of `bytes`.
    pub hops: u8,
    /// What has been received and not answered: a request, whole, and whatever came behind it. To be read before
    /// anything the socket holds.
    pub bytes: Vec<u8>,
    /// What it is to an Engine.IO session, if it is a WebSocket; `bytes` are frames then.
    pub engine: Option<Carried>,
    /// How it is, if it is a WebSocket whose messages may be compressed.
    pub deflates: Option<Deflates>,
    /// Its keys, if it speaks TLS. What is sealed from now on goes on from them.
    pub keys: Option<Box<Keys>>,
}

/// What is kept of TLS for a connection that has shaken hands.
#[derive(Debug)]
pub struct Keys {
    /// The keys and counters.
    pub record: Box<Record>,
    /// The beginning of a record whose rest the socket holds.
    pub begun: Vec<u8>,
}

/// A question every shard answers for itself.
#[derive(Clone, Debug)]
pub enum Question {
    /// What do you know of this channel?
    Channel(ChannelName),
    /// Which channels do you know? The first `limit` visible ones whose name starts with `prefix`.
    Channels {
        /// Start of the names wanted.
        prefix: Box<str>,
        /// At most this many.
        limit: u32,
        /// Only these.
        visible: Visible,
    },
    /// How are you?
    Shard,
    /// How are you, which channels keep you busy, and how have you been, if that is wanted? For somebody who watches.
    Look {
        /// The last hour as well.
        with_past: bool,
    },
}

/// One shard's answer to a [`Question`].
#[derive(Clone, Debug)]
pub enum Survey {
    /// Answers `Channel` (one or none) and `Channels`.
    Channels(Vec<ChannelReport>),
    /// Answers `Shard`.
    Shard(Box<ShardReport>),
    /// Answers `Look`.
    Look(Box<Look>),
}

/// What one shard knows of one channel. Reports of several shards are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelReport {
    /// The channel.
    pub channel: ChannelName,
    /// Subscribers on the answering shard, by [`Transport`] number.
    pub subscribers: [u32; Transport::ALL.len()],
    /// The channel's position; only its owner knows it.
    pub position: Option<Position>,
    /// Publications kept; 0 from any shard but the owner.
    pub history_publications: u32,
    /// Bytes kept; 0 from any shard but the owner.
    pub history_bytes: u64,
}

/// One shard's counters and gauges. Counters never fall while the process lives.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ShardReport {
    /// The shard.
    pub shard: u16,
    /// The core it is pinned to.
    pub core: u32,
    /// Gauge: open connections.
    pub connections: u32,
    /// Gauge: connections it may hold now; shards lend each other room, the sum stays the same.
    pub connections_max: u32,
    /// Gauge: sessions by kind: HTTP, WebSocket, event stream, long poll.
    pub sessions: [u32; 4],
    /// Gauge: Engine.IO sessions, whatever carries them.
    pub engine_sessions: u32,
    /// Gauge: Socket.IO sockets, one for each namespace a client is in, with those whose clients may come back.
    pub sockets: u32,
    /// Counter: connections accepted.
    pub accepted_total: u64,
    /// Counter: connections answered with 503 because the shard was full.
    pub refused_full_total: u64,
    /// Counter: connections closed at once because their address had too many.
    pub refused_address_total: u64,
    /// Counter: connections of proxies that ended because no header of the PROXY protocol came.
    pub proxy_headers_refused_total: u64,
    /// Counter: accepts that failed for want of descriptors or memory.
    pub accept_failures_total: u64,
    /// Counter: connections handed over to another shard.
    pub handed_over_total: u64,
    /// Counter: connections answered with 503 because they could not be handed over: no descriptor, no free slot, or a
    /// kernel that cannot.
    pub hand_over_failures_total: u64,
    /// Counter: sessions ended, by [`CloseReason::index`].
    pub closed_total: [u64; CloseReason::COUNT],
    /// Counter: bytes received.
    pub received_bytes_total: u64,
    /// Counter: bytes sent.
    pub sent_bytes_total: u64,
    /// Counter: HTTP requests answered, by status class 1xx–5xx.
    pub responses_total: [u64; 5],
    /// Counter: WebSocket messages received.
    pub messages_total: u64,
    /// Counter: messages that left compressed, each once however many it was for.
    pub messages_deflated_total: u64,
    /// Counter: messages received that came compressed.
    pub messages_inflated_total: u64,
    /// Counter: publications this shard stamped as owner.
    pub publications_total: u64,
    /// Counter: publications refused, busy or full.
    pub publications_refused_total: u64,
    /// Counter: publications queued to subscribers.
    pub deliveries_total: u64,
    /// Counter: publications dropped from a slow subscriber's queue.
    pub dropped_slow_total: u64,
    /// Counter: deliveries to another shard dropped because the way was full.
    pub dropped_mesh_total: u64,
    /// Counter: publishes refused for exceeding their key's rate.
    pub rate_limited_total: u64,
    /// Counter: commands of `/ws` answered with an error, for whatever limit or fault.
    pub commands_refused_total: u64,
    /// Counter: tokens refused, by [`TokenError::CODES`].
    pub tokens_refused_total: [u64; TokenError::CODES.len()],
    /// Counter: questions to the operator's backend, by what they came to: allowed, denied, remembered, and each
    /// [`HookFailure`].
    pub hooks_total: [u64; 3 + HookFailure::ALL.len()],
    /// Gauge: those that wait for an answer.
    pub hooks_waiting: u32,
    /// Counter: notices to the operator's backend, delivered and dropped.
    pub notices_total: [u64; 2],
    /// Gauge: those that wait.
    pub notices_waiting: u32,
    /// Counter: calls with notices that were not taken.
    pub notice_failures_total: u64,
    /// Counter: requests refused for a limit, by HTTP status 408, 413, 414, 417, 431.
    pub request_limits_total: [u64; 5],
    /// Counter: TLS handshakes that have ended, by [`HandshakeResult`] number.
    pub tls_handshakes_total: [u64; HandshakeResult::COUNT],
    /// Counter: microseconds spent in TLS handshakes.
    pub tls_handshake_us_total: u64,
    /// Gauge: TLS handshakes in progress.
    pub tls_handshakes_in_progress: u32,
    /// Gauge: memory taken by input that has begun and not ended.
    pub partial_input_bytes: u64,
    /// Counter: inputs given up because all of them together took too much memory.
    pub partial_input_dropped_total: u64,
    /// Gauge: other shards that do no turns, as this one was told.
    pub shards_silent: u32,
    /// Counter: calls of the application that panicked.
    pub handler_panics_total: u64,
    /// Counter: how often the shard failed and began anew.
    pub shard_restarts_total: u64,
    /// Counter: turns of the shard's loop.
    pub turns_total: u64,
    /// Counter: microseconds spent in turns, not asleep.
    pub busy_us_total: u64,
    /// Counter: turns by how long they took, up to each of [`TURN_US_BOUNDS`] and beyond.
    pub turn_us: [u64; TURN_US_BOUNDS.len() + 1],
    /// Gauge: the most pieces of work of each kind that one turn has done, by [`Work`] number.
    pub turn_items_max: [u32; Work::COUNT],
    /// Counter: completions handled.
    pub completions_total: u64,
    /// Counter: receives that found no buffer.
    pub receive_buffers_exhausted_total: u64,
    /// Gauge: messages waiting for other shards.
    pub mesh_depth: u32,
    /// Gauge: channels owned.
    pub channels: u32,
    /// Gauge: subscriptions held.
    pub subscriptions: u32,
    /// Gauge: publications kept.
    pub history_publications: u64,
    /// Gauge: bytes of publications kept.
    pub history_bytes: u64,
    /// Gauge: keys of channels' state, counters among them.
    pub state_keys: u32,
    /// Gauge: bytes of channels' state.
    pub state_bytes: u64,
    /// Gauge: members of channels.
    pub members: u32,
    /// Gauge: bytes left to be written to disk that are not.
    pub storage_queue_bytes: u64,
    /// Transactions of all shards that are on disk; told by the first.
    pub storage_commits_total: u64,
    /// Those that failed; told by the first.
    pub storage_failures_total: u64,
    /// Gauge: bytes waiting to be sent.
    pub send_queue_bytes: u64,
    /// Bytes one idle connection with one subscription takes in the shard's tables.
    pub connection_bytes: u32,
}
