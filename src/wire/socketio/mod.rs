//! Socket.IO v5, the server's end: packets of text, their attachments, and the answers to them.
//!
//! The protocol is described in `docs/socket.io-protocol/v5-current.md` of <https://github.com/socketio/socket.io>;
//! where that text is silent, this does what the parser of that repository does.
//!
//! ```text
//!   type │ attachments - │ namespace , │ ack id │ JSON        each but the type where it is needed
//!   5      1-              /game,        17       ["move",{"_placeholder":true,"num":0}]
//! ```
//!
//! Text here is a packet alone, without the `4` by which Engine.IO marks a message: `engineio::Packet::Text` of it is
//! what goes on the wire, and each attachment follows as an `engineio::Packet::Binary`.
//!
//! | file | holds |
//! |---|---|
//! | `packet.rs` | text → a packet |
//! | `assembly.rs` | a packet that waits for its attachments |
//! | `placeholder.rs` | where in a packet its attachments belong |
//! | `encode.rs` | packets → text |
//! | `error.rs` | everything a peer can get wrong |
//!
//! Which namespaces there are, who may enter them and what an event means are the session's business. JSON is checked
//! here and read by whoever takes the event.

mod assembly;
mod encode;
mod error;
mod fuzz;
mod packet;
mod placeholder;
#[cfg(test)]
mod tests;

pub use assembly::{Assembly, Whole};
pub use encode::{
    AckHead, ConnectRefusal, ConnectReply, EventHead, encode_ack, encode_connect, encode_connect_error,
    encode_disconnect, encode_event, encode_event_array,
};
pub use error::SocketError;
#[doc(hidden)]
pub use fuzz::fuzz;
pub use packet::{Ack, Event, Kind, Packet, Settings, decode, is_event, is_event_text};
pub(in crate::wire) use placeholder::placeholders;
pub use placeholder::{attachment_of, encode_placeholder};
