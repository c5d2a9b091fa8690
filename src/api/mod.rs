//! The shipped server: the HTTP API, `/ws`, Socket.IO without code, the demo pages and the admin pages, written on the
//! embedding API ([`crate::app`]) like any other application.
//!
//! [`ChannelServer`] is pure: requests, messages and replies in, answers and intents out. It opens no socket, reads
//! no clock and holds nothing that other shards see; but for the demo's crowd.
//!
//! | file | answers |
//! |---|---|
//! | `server.rs` | which of the files below a request goes to |
//! | `route.rs` | which resource a path names, and which methods it takes |
//! | `access.rs`, `keys.rs` | who may do what; publishing keys, and how often they publish |
//! | `asking.rs` | what a backend is asked about a request |
//! | `carried.rs` | WebSockets and event streams that go on with another process |
//! | `fields.rs` | header fields that every answer carries |
//! | `publish.rs` | `POST /channels/{name}`, `POST /publish` |
//! | `follow.rs` | `GET /channels/{name}`: WebSocket, event stream, long poll |
//! | `commands.rs`, `held.rs` | the messages of WebSockets: raw publications, `/ws`, `/echo`; those that wait for a token or the backend |
//! | `allowed.rs` | which channels `/ws` follows by the backend's word |
//! | `presence.rs` | who is present: `/channels/{name}/presence`, and the commands about it |
//! | `state.rs` | `/channels/{name}/state`, `/channels/{name}/counters`: keys, values, counters |
//! | `pending.rs`, `channels.rs` | what waits for other shards; history, lists and sums |
//! | `socketio.rs`, `event_refusal.rs`, `patterns.rs` | the commands and events of Socket.IO clients |
//! | `admin_page.rs` | the namespace of Socket.IO's own admin page |
//! | `sockets.rs` | `/socket.io-api`: what a backend asks of Socket.IO |
//! | `program.rs` | the same server with a Socket.IO application in code |
//! | `client_script.rs` | `/socket.io/socket.io.js` |
//! | `manual.rs` | `/manual` |
//! | `admin.rs`, `operators.rs` | the admin listener, and who may ask it what |
//! | `demo.rs`, `crowd.rs` | the demo pages; the many connections that they can open |
//! | `dashboard.rs` | the dashboard on the admin listener, and what it is told each second |
//! | `silence.rs` | what becomes of requests while another shard hangs |
//! | `refusal.rs`, `refused.rs` | everything that can be refused: status, code, sentence |

mod access;
mod admin;
mod admin_page;
mod allowed;
mod asking;
mod carried;
mod carried_sockets;
mod channels;
mod client_script;
mod commands;
pub mod crowd;
mod dashboard;
mod demo;
mod event_refusal;
mod fields;
mod follow;
mod held;
mod keys;
mod manual;
mod operators;
mod patterns;
mod pending;
mod presence;
mod program;
mod publish;
mod rates;
mod refusal;
mod refused;
mod route;
mod server;
mod settings;
mod silence;
mod socketio;
mod sockets;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

pub use admin_page::AdminPageSettings;
pub use client_script::{ClientScript, ClientScriptError};
pub use crowd::Crowd;
pub use program::program;
pub use rates::Rates;
pub use refusal::Refusal;
pub(crate) use route::is_of_channels;
pub use server::ChannelServer;
pub use settings::{Settings, SocketIoSettings};
pub(crate) use state::checked_ttl;

/// What the clock says that buckets of tokens are filled by; that of requests over HTTP is the same.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
