//! The engine of one shard: an io_uring that accepts, polls, receives, sends and closes every client socket. A client
//! (the load generator) connects with it.
//!
//! This module is the only one with `unsafe` code. Its surface is safe: bytes on their way are owned by the ring
//! until their completion is reaped, and a received buffer is lent out by value. It knows indices and bytes,
//! nothing of protocols.
//!
//! ```text
//!   accept ─┐                                            ┌─ Accepted
//!   connect ┤                                            ├─ Connected
//!   poll   ─┤  submission queue   kernel   completion    ├─ Readable
//!   receive ┼────────────────►   one enter  ────────────►┼─ Received (lends a provided buffer)
//!   send   ─┤                    per turn     queue      ├─ Sent (gives the bytes back)
//!   shut   ─┤                                            ├─ Shut
//!   export ─┤                                            ├─ Exported (an ordinary descriptor)
//!   close  ─┘                                            └─ Closed
//! ```
//!
//! A connection's index is also its slot in the ring's registered descriptor table, so no descriptor number is
//! stored anywhere. The process's shared descriptor table is touched only while a connection moves from one ring to
//! another: [`Ring::export`] takes it out, [`Ring::adopt`] puts it in.

mod accepts;
mod attendance;
mod background;
mod buffers;
mod bytes;
mod completion;
mod connects;
mod cpu;
mod doorbell;
mod ending;
mod engine;
mod exports;
mod sends;
mod setup;
mod stalls;
mod stash;
mod steering;
#[cfg(test)]
mod tests;
mod timeouts;
mod waiting;

pub use accepts::AcceptId;
pub use attendance::Attendance;
pub(crate) use background::work_in_background;
pub use buffers::Lease;
pub use bytes::{Encoded, SendBytes};
pub use completion::{Completion, Errno};
pub use cpu::thread_cpu_us;
pub(crate) use doorbell::Sleeper;
pub use doorbell::{Doorbell, Sleep};
pub use engine::{Ring, Socket};
pub use sends::SendId;
pub use setup::{Abilities, RingError, RingErrorKind, RingSettings, probe};
pub use stash::Stash;
pub use steering::{steer, stop_steering};
