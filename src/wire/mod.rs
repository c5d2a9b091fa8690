//! Sans-io codecs: bytes in, values out. No socket, no clock, no policy; limits arrive as arguments.

pub mod engineio;
pub mod http1;
pub mod json;
pub mod proxy;
pub mod redis_adapter;
pub mod resp;
pub mod socketio;
pub mod sse;
pub mod websocket;
