//! HTTP/1.1 (RFC 9112): requests in, responses out; and the other way round, for who calls a backend.
//!
//! | file | holds |
//! |---|---|
//! | `request.rs`, `response.rs` | the values handlers see |
//! | `decoder.rs` | bytes → requests, over any number of arrivals |
//! | `head.rs` | one request head: parsing with `httparse`, and every rule about fields and framing |
//! | `authority.rs` | a host and perhaps a port, in `Host` and in web origins |
//! | `chunked.rs` | one chunked body |
//! | `oversized.rs` | requests whose bodies are too large to be kept |
//! | `encode.rs` | responses, and requests that are handed on → bytes |
//! | `reply.rs` | the response of a server that was called |
//! | `forwarded.rs` | what proxies say of their clients |
//! | `error.rs` | everything a client can get wrong, with its status |
//!
//! Routing, timeouts and what a status means to a session are not here.

mod authority;
mod chunked;
mod coding;
mod decoder;
mod encode;
mod error;
mod forwarded;
mod fuzz;
mod head;
mod oversized;
mod reply;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use authority::{Authority, Host};
pub use coding::{Coding, CodingSettings, Gzip};
pub use decoder::{Decoder, Phase, Step};
pub use encode::{
    BitByBit, CONTINUE, encode_head_bit_by_bit, encode_poll_head, encode_request, encode_response,
    encode_stream_head, encode_upgrade, reason_phrase,
};
pub use error::HttpError;
pub use forwarded::{ForwardedFields, Via};
#[doc(hidden)]
pub use fuzz::fuzz;
pub use head::{HeadTable, field_in, fields_in};
pub use oversized::{BodyDecoder, Oversized};
pub use reply::{Received, ReplyDecoder, ReplyError, ReplyHead, RetryAfter};
pub use request::{HeaderSpan, Method, Request, Version};
pub use response::{Body, Response};
