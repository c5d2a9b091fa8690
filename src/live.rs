//! What an operator may change while the server runs, as every shard is told it.
//!
//! Which keys of the configuration these are stands in `config/live.rs`; this is below every layer that obeys them.

use std::{fmt, sync::Arc};

use crate::{
    auth::{Pattern, Policy, Verifier},
    limits::Limits,
    model::Retention,
};

/// The settings in force from now on. Shared by all shards, and replaced as a whole.
#[derive(Clone, Default, PartialEq)]
pub struct Live {
    /// The limits. Those that cannot change hold what they always held.
    pub limits: Limits,
    /// The time over which clients are told to go when the server drains, in milliseconds.
    pub drain_ms: u32,
    /// Who may do what.
    pub policy: Policy,
    /// Which channels are kept for longer or shorter than the others.
    pub retentions: Vec<(Pattern, Retention)>,
    /// TLS handshakes that may have begun at once on a shard.
    pub tls_handshakes_max: u32,
    /// Time a TLS handshake may take, in milliseconds.
    pub tls_handshake_timeout_ms: u32,
    /// Which tokens are good.
    pub tokens: Tokens,
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

/// Which tokens are good, and where they may be carried.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// Tells good ones from others.
    pub verifier: Arc<Verifier>,
    /// How long a client has to bring another when its own has run out, in seconds.
    pub refresh_s: u32,
    /// Whether a cookie may carry one.
    pub cookie: bool,
    /// Whether the URL may.
    pub in_url: bool,
}

/// Keys that were read again are other keys.
impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.verifier, &other.verifier)
            && (self.refresh_s, self.cookie, self.in_url) == (other.refresh_s, other.cookie, other.in_url)
    }
}

/// Keys are secrets.
impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("config_json", &self.config_json).finish_non_exhaustive()
    }
}
