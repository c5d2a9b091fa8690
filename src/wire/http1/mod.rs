//! HTTP/1.1 (RFC 9112): requests in, responses out.

mod request;
mod response;

pub use request::{HeaderSpan, Method, Request, Version};
pub use response::{Body, Response};
