//! WebSocket frames and messages (RFC 6455), for both ends.
//!
//! | file | holds |
//! |---|---|
//! | `decoder.rs` | bytes → messages and control frames, over any number of arrivals |
//! | `assembly.rs` | what a decoder keeps while a frame or a message is incomplete |
//! | `frame.rs` | frame headers, both ways, and whole frames out |
//! | `close.rs` | the payload of a close frame, both ways |
//! | `mask.rs`, `utf8.rs` | the two passes over payload bytes |
//! | `extension.rs`, `deflate.rs` | permessage-deflate (RFC 7692): how it is agreed on; what it does to messages |
//! | `handshake.rs` | the key of the opening handshake |
//! | `error.rs` | everything a peer can get wrong, with its close code |
//!
//! When to ping and how long a closing handshake may take are the session's business.

mod assembly;
mod close;
mod decoder;
mod deflate;
mod error;
mod extension;
mod frame;
mod fuzz;
mod handshake;
mod mask;
#[cfg(test)]
mod tests;
mod utf8;

pub use close::encode_close;
pub use decoder::{Decoder, Role, Settings, Step};
pub use deflate::{Compressible, Deflater, Inflater, WINDOW_BITS};
pub use error::WsError;
pub use extension::{Agreed, Compression, CompressionSettings};
pub use frame::{
    FRAME_HEADER_BYTES_MAX, Opcode, encode_compressed_masked, encode_frame, encode_frame_masked, frame_header,
};
#[doc(hidden)]
pub use fuzz::{fuzz, fuzz_deflate};
pub use handshake::accept_key;
