//! Engine.IO v4, the server's end: packets, polling payloads, the handshake's query and answers.
//!
//! The protocol is described in `docs/engine.io-protocol/v4-current.md` of <https://github.com/socketio/socket.io>;
//! where that text is silent, this does what the server of that repository does.
//!
//! | file | holds |
//! |---|---|
//! | `packet.rs` | one packet ⇄ one WebSocket message |
//! | `payload.rs` | many packets ⇄ the body of one polling request or answer; a body → WebSocket frames |
//! | `query.rs` | what a request's query asks for |
//! | `handshake.rs` | the open packet's JSON, and the table of refusals |
//! | `error.rs` | everything a peer can get wrong in packets |
//!
//! Heartbeats, the upgrade and who may poll when are the session's business. Messages come here whole: putting
//! frames together is `wire::websocket`'s business, requests `wire::http1`'s.

mod error;
mod fuzz;
mod handshake;
mod packet;
mod payload;
mod query;
#[cfg(test)]
mod tests;

pub use error::EngineError;
#[doc(hidden)]
pub use fuzz::fuzz;
pub use handshake::{Handshake, HandshakeError};
pub use packet::{Packet, decode_binary, decode_text, encode_frame, encode_frame_as};
pub use payload::{PAYLOAD_SEPARATOR, Payload, encode_into_payload, reframe_payload};
pub use query::{Query, Transport};
