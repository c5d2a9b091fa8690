//! One core: its connections, sessions, handler and hub, brought together in turns.
//!
//! ```text
//!   enter ─► reap ─► accept / receive ─► session ─► handler ─► intents ─► hub ─► outputs ─┐
//!     ▲                                                                                   │
//!     └── one send per connection ◄── flush ◄── fan-out ◄── mesh, timers ◄────────────────┘
//! ```
//!
//! A shard runs as one task of its glommio executor: it yields after each turn, and sleeps when a turn found nothing
//! to do. It shares nothing; whoever wants something of it sends a mesh message or a command.

mod accept;
mod addresses;
mod answer;
mod connection;
mod deadlines;
mod deliver;
mod ending;
mod hand_over;
mod heartbeat;
mod intents;
mod kept;
mod lines;
mod outbox;
mod partial;
mod receive;
mod room;
mod setup;
mod sockets;
mod timers;
mod turn;
mod wheel;
mod work;

pub use setup::{Listener, Role, ShardError, ShardSetup, ShardThread, StartError, descriptors_needed, spawn};
