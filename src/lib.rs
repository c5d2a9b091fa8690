//! Roadstead holds very many live connections on one Linux box and moves small messages between them.
//!
//! A share-nothing executor pins one *shard* to each CPU core. A shard owns its sockets, its sessions, its part of
//! the channels and its memory; nothing is shared between shards but the [`mesh`] and the start-up configuration.
//!
//! # The life of one message
//!
//! ```text
//!      socket ─► ring ─► wire codec ─► session ─► Intent ─► shard ─► hub
//!                                                             │        │
//!      socket ◄─ ring ◄─ send queue ◄───────── fan-out ◄──────┴─ mesh ◄┘
//! ```
//!
//! # Code map
//!
//! | module | holds | never imports |
//! |---|---|---|
//! | [`model`], [`limits`], [`live`] | ids, channel names, publications, positions, the close-reason table; every maximum; what may change live | anything else |
//! | [`auth`] | who may do what: patterns, rights, rules | sockets, clocks, hub, app |
//! | [`backend`] | calls to the operator's backend: hooks | the hub, sessions, shards, app |
//! | [`broker`] | what joins several nodes: Redis or Valkey; a place in a Socket.IO cluster | the hub, sessions, shards, app |
//! | [`wire`] | sans-io codecs: HTTP/1.1, WebSocket, SSE, Engine.IO, Socket.IO and its clusters, JSON, RESP3 | sockets, clocks, `async`, the hub |
//! | [`storage`] | what outlives the process: the file, and the thread that writes it | hub, sessions, shards, app |
//! | [`session`] | one client's state machine per protocol | hub, ring, clocks |
//! | [`hub`] | one shard's truth: channels, subscribers, history | session, wire, locks, `async` |
//! | [`tls`] | sans-io: the handshake by rustls, records after it, certificates, tickets | anything but limits |
//! | [`ring`] | the engine: io_uring set-up, buffers, descriptors, operations; the only `unsafe` | everything above it |
//! | [`mesh`] | shard ↔ shard messages and links | session, wire |
//! | [`shard`] | the core's turn: slab, timers, matchmaking, drain | supervisor, cli |
//! | [`app`], [`api`] | the embedding API; the HTTP API as requests → intents | ring |
//! | [`program`] | programs in another process, whose clients are held here: the link to them | the hub, sessions, shards, cli |
//! | [`manual`] | the manual's pages, for a browser and a terminal | anything else |
//! | [`config`], [`telemetry`], [`supervisor`], [`cli`] | the edges | |
//!
//! # One order for one issuer
//!
//! What one client, one connection or one function of the application asks, takes effect in the order in which it was
//! asked: who leaves a room behind an event to it hears the event, who joins behind it does not. A publication takes effect
//! when it is handed out; so whatever else its issuer asks waits for that, and nobody else does (`shard/asks.rs`). A timer or
//! task goes on for whoever asked when it was begun.
//!
//! Over shards a publication travels through its channel's owner and a command goes directly. Whoever asks for what may not
//! overtake that waits for a mark, which is sent behind it by the same way and comes back when all before it has taken
//! effect (`shard/ways.rs`, `shard/marks.rs`):
//!
//! | asked | waits for what the same issuer asked before to have taken effect |
//! |---|---|
//! | a publication over HTTP or `/ws` | what it asked of sockets of other shards; each channel has its own order |
//! | a Socket.IO event to a room | that, and its events to other rooms, unless it is said to need no order among them: at its own shard, or, in a burst, where it is told |
//! | joining or leaving a channel on this shard | its publications there, or that leave out who is there, on this shard |
//! | what else concerns sockets of this shard: an acknowledgement | its publications, on this shard |
//! | what concerns sockets of other shards | its publications, everywhere |
//!
//! And who is told of something waits for sockets of this shard that the same issuer has put into rooms to be in them.
//!
//! At its own shard nobody waits for what others have asked, with one exception. Functions of the application share what it remembers, so what
//! they publish to one channel on one shard keeps the order in which they did, whoever they were called for: it stands behind
//! whatever of the application waits for that channel, and a number that they count up does not seem to go back. Of one client
//! that is what [`ASKS_READ_MAX`](limits::ASKS_READ_MAX) events or commands have caused, before it is read no more. What clients
//! and backends publish themselves is passed on, and is behind nobody else's.
//!
//! Who only publishes, or only sends events to one room, waits for nothing and no mark is sent. A shard that does no turn for
//! three seconds, or does not answer within ten, is not waited for: then order is lost, and nothing else.
//!
//! In a burst to several rooms the events are sent at once. Each says behind which others it stands, and every shard hands it
//! out when it has handed out those, which their owners give a receipt for (`hub/receipts.rs`); what stands behind others itself
//! brings its own receipt along:
//!
//! ```text
//!   0: a ─► 1 ─ Deliver a, Receipt 7 ──────────────► 3: a is handed out, then b
//!   0: b ─► 2 ─ Deliver b, behind 1's receipt 7 ───► 3: b is held back
//! ```
//!
//! One shard at a time sends so, the one that has the lease (`shard/lease.rs`). If two did, one owner could take the events of
//! the first before those of the second and another owner the other way round, and no order would be right for both. What
//! cannot stand behind others on its way waits at its own shard as before: what is large, what is kept on disk before it is
//! told, what goes through a broker, and whatever there is too much of
//! ([`FOLLOWING_MAX`](limits::FOLLOWING_MAX), [`FOLLOWED_OWNERS_MAX`](limits::FOLLOWED_OWNERS_MAX)).
//!
//! `shard/sockets/simulated` plays all this at random against an oracle, and `shard/simulated/commands.rs` what a WebSocket of
//! many channels asks. What clients are told, and what a shard keeps for them, is held against another while they stall, flood and
//! vanish and shards fail (`shard/simulated/speakers.rs`).
//!
//! # Invariants
//!
//! * No lock on the data path, and no task, thread or buffer per idle connection.
//! * Every queue is bounded and says what happens when it is full.
//! * No silent loss: a message that cannot be delivered shows as a gap in offsets, a close reason or a counter.

pub mod api;
pub mod app;
pub mod auth;
pub mod backend;
pub mod broker;
pub mod cli;
pub mod config;
pub mod hub;
pub mod limits;
pub mod live;
pub mod manual;
pub mod mesh;
pub mod model;
pub mod program;
pub mod ring;
pub mod session;
pub mod shard;
pub mod storage;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
pub mod wire;
