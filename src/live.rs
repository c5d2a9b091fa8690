//! What an operator may change while the server runs, as every shard is told it.
//!
//! Which keys of the configuration these are stands in `config/live.rs`; this is below every layer that obeys them.

use std::fmt;

use crate::{auth::Policy, limits::Limits};

/// The settings in force from now on. Shared by all shards, and replaced as a whole.
#[derive(Clone, Default, PartialEq)]
pub struct Live {
    /// The limits. Those that cannot change hold what they always held.
    pub limits: Limits,
    /// The time over which clients are told to go when the server drains, in milliseconds.
    pub drain_ms: u32,
    /// Who may do what.
    pub policy: Policy,
    /// Time a TLS handshake may take, in milliseconds.
    pub tls_handshake_timeout_ms: u32,
    /// Who presents one of these may publish.
    pub publish_keys: Vec<String>,
    /// Whether WebSockets may publish.
    pub clients_publish: bool,
    /// Whether Socket.IO clients may publish to rooms.
    pub socketio_clients_publish: bool,
    /// Whether events of Socket.IO clients that are no command go to everybody in their namespace.
    pub socketio_relays: bool,
    /// Origins of web pages that may talk to the server; `*` is every origin.
    pub allowed_origins: Vec<String>,
    /// Whether these pages may send cookies.
    pub origins_credentials: bool,
    /// The effective configuration as a JSON object, secrets hidden.
    pub config_json: String,
}

/// Keys are secrets.
impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("config_json", &self.config_json).finish_non_exhaustive()
    }
}
