//! `[socketio]`: how Socket.IO is spoken, and what its clients may do where no program decides. What each key means
//! to an operator stands in `keys.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cors, Secret, Switch};
use crate::{app::socketio::Settings, limits::Limits};

/// `[socketio]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketIo {
    /// Whether it is served at all.
    pub enabled: bool,
    /// Where, with a slash at both ends.
    pub path: String,
    /// How clients may connect.
    pub transports: Vec<SocketIoTransport>,
    /// Interval between the server's pings.
    pub ping_interval_ms: u32,
    /// Time a client has to answer a ping.
    pub ping_timeout_ms: u32,
    /// Time a polling client has to finish an upgrade it began.
    pub upgrade_timeout_ms: u32,
    /// Time a client has to enter a namespace.
    pub connect_timeout_ms: u32,
    /// The largest message or payload a client may send.
    pub max_http_buffer_size: u32,
    /// Whether messages over WebSockets are compressed; see [`super::Config::socketio_settings`].
    pub per_message_deflate: Switch,
    /// Whether answers to polls are compressed; see [`super::Config::socketio_settings`].
    pub http_compression: Switch,
    /// How long a client that lost its connection is kept; 0 keeps none.
    pub connection_state_recovery_ms: u32,
    /// Bytes of events each shard keeps for clients that may come back.
    pub connection_state_recovery_bytes_max: u32,
    /// Name of a cookie that holds the session's id; empty sets none.
    pub cookie: String,
    /// What follows the cookie's value.
    pub cookie_attributes: String,
    /// Whether the request that opened a session is kept for the application.
    pub keep_handshake: bool,
    /// Patterns of the namespaces that clients may enter.
    pub namespaces: Vec<String>,
    /// Patterns of the rooms that clients may join, publish to and ask about.
    pub client_rooms: Vec<String>,
    /// Whether clients may publish to rooms; see [`super::Config::socketio_clients_publish`].
    pub client_publish: Switch,
    /// Whether events that are no command go to everybody; see [`super::Config::socketio_relays`].
    pub relay: Switch,
    /// What a client is told of a room.
    pub presence: Presence,
    /// Whether whoever is in a room is present in its channel.
    pub members: bool,
    /// Passwords of Socket.IO's own admin page.
    pub admin_keys: Vec<Secret>,
    /// Whether it may only look.
    pub admin_readonly: bool,
    /// Of which cluster the process is a member.
    pub cluster: SocketIoCluster,
    /// What the names of the cluster's channels begin with.
    pub cluster_key: String,
    /// Where its Redis is; empty is the first that `broker.url` names.
    pub cluster_url: Secret,
    /// The official client; empty looks for an npm installation.
    pub client_script: String,
}

/// One way for Socket.IO clients to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketIoTransport {
    /// HTTP long polling.
    Polling,
    /// WebSocket, at once or as an upgrade.
    WebSocket,
}

/// What a Socket.IO client is told of a room it asks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Nothing.
    Off,
    /// How many sockets are in it.
    #[default]
    Count,
    /// Also their ids.
    Ids,
}

/// A cluster of Socket.IO's servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketIoCluster {
    /// None.
    #[default]
    Off,
    /// The one that npm's `@socket.io/redis-adapter` makes by `createAdapter`.
    RedisAdapter,
    /// The one that it makes by `createShardedAdapter`.
    ShardedRedisAdapter,
}

/// A setting with which Socket.IO cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketIoProblem {
    /// A path under which nothing can be served.
    Path(String),
    /// Nobody can connect.
    NoTransport,
    /// A namespace that no client can name.
    Namespace(String),
    /// A cookie's name or attributes that no browser would take, and their key.
    Cookie(&'static str, String),
}

impl SocketIo {
    /// Everything that cannot work but for numbers, whose bounds are in `checks.rs`.
    pub(super) fn problems(&self) -> Vec<SocketIoProblem> {
        let mut problems = Vec::new();
        if !is_path(&self.path) {
            problems.push(SocketIoProblem::Path(self.path.clone()));
        }
        if self.enabled && self.transports.is_empty() {
            problems.push(SocketIoProblem::NoTransport);
        }
        let namespaces = self.namespaces.iter().filter(|name| !name.starts_with(['/', '*']));
        problems.extend(namespaces.cloned().map(SocketIoProblem::Namespace));
        // RFC 6265 §4.1.1: a name is a token of RFC 9110, attributes are printable ASCII.
        let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !self.cookie.bytes().all(is_token_byte) {
            problems.push(SocketIoProblem::Cookie("socketio.cookie", self.cookie.clone()));
        }
        let attributes = &self.cookie_attributes;
        if !attributes.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            problems.push(SocketIoProblem::Cookie("socketio.cookie_attributes", attributes.clone()));
        }
        problems
    }

    /// What the shards are told. A client may send no more than the general limits let through.
    pub(super) fn settings(&self, cors: &Cors, limits: &Limits) -> Settings {
        let has = |transport| self.transports.contains(&transport);
        Settings {
            path: self.path.clone(),
            polling: has(SocketIoTransport::Polling),
            websocket: has(SocketIoTransport::WebSocket),
            ping_interval_ms: self.ping_interval_ms,
            ping_timeout_ms: self.ping_timeout_ms,
            upgrade_timeout_ms: self.upgrade_timeout_ms,
            max_http_buffer_size: self
                .max_http_buffer_size
                .min(limits.body_bytes_max)
                .min(limits.message_bytes_max),
            connect_timeout_ms: self.connect_timeout_ms,
            per_message_deflate: self.per_message_deflate.resolve(false),
            http_compression: self.http_compression.resolve(false),
            recovery_ms: self.connection_state_recovery_ms,
            recovery_bytes_max: self.connection_state_recovery_bytes_max,
            keep_handshake: self.keep_handshake,
            members: self.members,
            in_cluster: false,
            has_broker: false,
            node: Default::default(),
            cookie: self.cookie.clone(),
            cookie_attributes: self.cookie_attributes.clone(),
            allowed_origins: cors.allowed_origins.clone(),
            credentials: cors.credentials,
        }
    }
}

impl Default for SocketIo {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            enabled: true,
            path: settings.path,
            transports: vec![SocketIoTransport::Polling, SocketIoTransport::WebSocket],
            ping_interval_ms: settings.ping_interval_ms,
            ping_timeout_ms: settings.ping_timeout_ms,
            upgrade_timeout_ms: settings.upgrade_timeout_ms,
            connect_timeout_ms: settings.connect_timeout_ms,
            max_http_buffer_size: settings.max_http_buffer_size,
            per_message_deflate: Switch::Auto,
            http_compression: Switch::Auto,
            connection_state_recovery_ms: settings.recovery_ms,
            connection_state_recovery_bytes_max: settings.recovery_bytes_max,
            cookie: settings.cookie,
            cookie_attributes: settings.cookie_attributes,
            // The server itself looks at a handshake once, when a client connects.
            keep_handshake: false,
            namespaces: vec!["*".into()],
            client_rooms: vec!["*".into()],
            client_publish: Switch::Auto,
            relay: Switch::Auto,
            presence: Presence::default(),
            members: settings.members,
            admin_keys: Vec::new(),
            admin_readonly: false,
            cluster: SocketIoCluster::Off,
            cluster_key: "socket.io".into(),
            cluster_url: Secret::new(""),
            client_script: String::new(),
        }
    }
}

/// Whether this is a path of its own, as it stands in a request: RFC 3986 §3.3 without percent-encoding, which clients
/// spell differently.
fn is_path(path: &str) -> bool {
    let is_path_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    let has_name = path.len() > 2 && path.starts_with('/') && path.ends_with('/') && !path.contains("//");
    has_name && path.bytes().all(is_path_byte) && !path.starts_with("/channels/")
}

impl fmt::Display for SocketIoProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(
                f,
                "socketio.path: {path:?} cannot be served; write a path of its own with a slash at both ends, such \
                 as \"/socket.io/\" (--set socketio.path=/socket.io/)"
            ),
            Self::NoTransport => f.write_str(
                "socketio.transports is empty, so that nobody can connect; list \"polling\", \"websocket\" or \
                 both, or serve no Socket.IO (--set socketio.enabled=false)",
            ),
            Self::Namespace(name) => write!(
                f,
                "socketio.namespaces: {name:?} is no namespace; its name begins with a slash, such as \"/game\", \
                 and * stands for anything, such as \"/game-*\""
            ),
            Self::Cookie(key, text) => write!(
                f,
                "{key}: {text:?} is nothing a browser takes (RFC 6265); a name is letters, digits and -._, \
                 attributes are printable ASCII such as \"Path=/; HttpOnly\""
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_name_and_slashes_at_both_ends() {
        for path in ["/socket.io/", "/a/b/", "/v1.2/~x/"] {
            assert!(is_path(path), "{path:?}");
        }
        for path in [
            "",
            "/",
            "//",
            "/socket.io",
            "socket.io/",
            "/a//b/",
            "/a?b/",
            "/a%20/",
            "/a b/",
            "/ä/",
            "/channels/x/",
        ] {
            assert!(!is_path(path), "{path:?}");
        }
    }
}
