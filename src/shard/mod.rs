//! One core: its connections, sessions, handler and hub, brought together in turns.
//!
//! ```text
//!   enter ─► reap ─► accept / receive ─► session ─► handler ─► intents ─► hub ─► outputs ─┐
//!     ▲                                                                                   │
//!     └── one send per connection ◄── flush ◄── fan-out ◄── mesh, timers ◄────────────────┘
//! ```
//!
//! A shard runs as one task of its glommio executor, and sleeps in its ring when nothing is left to do; the executor
//! has its turns while tasks of the application live. It shares nothing; whoever wants something of it sends a mesh message or a command.

mod accept;
mod acceptors;
mod access_log;
mod addresses;
mod answer;
mod asks;
mod behind;
mod bit_by_bit;
mod bodies;
mod broker;
mod calls;
mod carried;
mod carried_polls;
mod carried_requests;
mod carrying;
mod catch_up;
mod clock;
mod cluster;
mod coded;
mod compression;
mod connection;
mod consults;
mod deadlines;
mod deliver;
mod disk;
mod encode;
mod ending;
mod entries;
mod fan_out;
mod following;
mod foundation;
mod frames;
mod gate;
mod hand_over;
mod handler_timers;
mod handshakes;
mod held_asks;
mod held_back;
mod inflating;
mod intake;
mod intents;
mod issuers;
mod joint;
mod kept;
mod kept_encodings;
mod kinds;
mod lease;
mod levelling;
mod lines;
mod logging;
mod looks;
mod marks;
mod messages;
mod nodes;
mod notices;
mod on_the_way;
mod outbox;
mod pages;
mod paging;
mod partial;
mod passages;
mod past;
mod peers;
mod places;
mod polls;
mod proxied;
mod reading;
mod receive;
mod redirect;
mod refusal;
mod rest;
mod restart;
mod room;
mod sealed;
mod secrets;
mod settings;
mod setup;
mod several;
mod shaking;
mod shedding;
mod shown;
mod silence;
#[cfg(test)]
mod simulated;
mod sleep;
mod sockets;
mod storage;
mod streams;
mod table;
mod thread;
mod timers;
mod touched;
mod trails;
mod turn;
mod unsent;
mod uploads;
mod verifying;
mod waiters;
mod ways;
mod websockets;
mod wheel;
mod work;

pub use redirect::Redirect;
pub use setup::{
    Errand, Forms, Listener, Role, RunErrand, ShardError, ShardSetup, StartError, StorageSetup, TlsSetup,
    descriptors_needed,
};
pub use thread::{ShardThread, spawn};
