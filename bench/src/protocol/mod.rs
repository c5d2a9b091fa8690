//! What a client says and understands: bytes in, meaning out; no socket and no clock.

pub mod body;
pub mod deflate;
pub mod event_stream;
pub mod head;
pub mod manners;
pub mod refusal;
pub mod request;
pub mod response;
pub mod socketio;
pub mod stamp;
pub mod subscriber;
pub mod template;
