//! The settings of Engine.IO and Socket.IO, named as Socket.IO's documentation names them.

use serde::{Deserialize, Serialize};

use crate::model::NodeId;

/// How Socket.IO is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where requests are taken, with a slash at both ends.
    pub path: String,
    /// Whether clients may poll.
    pub polling: bool,
    /// Whether clients may use, or upgrade to, a WebSocket.
    pub websocket: bool,
    /// Interval between the server's pings.
    pub ping_interval_ms: u32,
    /// Time a client has to answer a ping.
    pub ping_timeout_ms: u32,
    /// Time a polling client has to finish an upgrade it began.
    pub upgrade_timeout_ms: u32,
    /// The largest message or payload a client may send.
    pub max_http_buffer_size: u32,
    /// Whether messages over WebSockets may be compressed (perMessageDeflate). By default as all WebSockets' are; one that
    /// may where others may not keeps no context.
    pub per_message_deflate: bool,
    /// Whether answers to clients that poll are compressed (httpCompression).
    pub http_compression: bool,
    /// Time a client has to join a namespace.
    pub connect_timeout_ms: u32,
    /// How long a client that lost its connection is kept, so that it comes back to what it missed; 0 keeps none.
    pub recovery_ms: u32,
    /// Bytes of events each shard keeps for clients that may come back; the oldest go first.
    pub recovery_bytes_max: u32,
    /// Whether the headers of the handshake are kept for the application while a client is connected. They cost more
    /// memory than all the rest of an idle client.
    pub keep_handshake: bool,
    /// Whether whoever is in a room is present in its channel.
    pub members: bool,
    /// Whether the process is a member of a Socket.IO cluster.
    pub in_cluster: bool,
    /// Whether a broker joins it with other nodes.
    pub has_broker: bool,
    /// What this node is called in ids, if a broker joins it with others.
    #[serde(skip)]
    pub node: NodeId,
    /// Name of a cookie that holds the session's id; empty sets none.
    pub cookie: String,
    /// What follows the cookie's value.
    pub cookie_attributes: String,
    /// Origins of web pages that may connect, `scheme://host[:port]`; `*` is every origin. The rule is that of
    /// [`crate::app::Origins`].
    pub allowed_origins: Vec<String>,
    /// Whether these pages may send cookies; not together with `*`.
    pub credentials: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: "/socket.io/".into(),
            polling: true,
            websocket: true,
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            upgrade_timeout_ms: 10_000,
            max_http_buffer_size: 1_000_000,
            per_message_deflate: false,
            http_compression: false,
            connect_timeout_ms: 45_000,
            recovery_ms: 0,
            recovery_bytes_max: 16 * 1024 * 1024,
            keep_handshake: true,
            members: false,
            in_cluster: false,
            has_broker: false,
            node: NodeId::NONE,
            cookie: String::new(),
            cookie_attributes: "Path=/; HttpOnly; SameSite=Lax".into(),
            allowed_origins: Vec::new(),
            credentials: false,
        }
    }
}

impl Settings {
    /// Whether there are other members of a cluster, or other nodes, that may have sockets.
    pub fn has_members(&self) -> bool {
        self.in_cluster || self.has_broker
    }

    /// The header field that sets the cookie in the answer that opens a session, if one is wanted.
    pub fn cookie_field(&self, session: &str) -> Option<String> {
        let attributes = match self.cookie_attributes.as_str() {
            "" => String::new(),
            attributes => format!("; {attributes}"),
        };
        (!self.cookie.is_empty()).then(|| format!("Set-Cookie: {}={session}{attributes}\r\n", self.cookie))
    }
}
