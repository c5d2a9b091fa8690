//! The sections of the configuration but for `[limits]`, which is [`crate::limits::Limits`]. What each key means to
//! an operator stands in `keys.rs`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{CpuList, Endpoint, Secret, Switch};
use crate::model::{AccessLines, AccessSettings};

/// `[server]`: addresses, shards and cores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where clients connect; every shard listens on each.
    pub listen: Vec<Endpoint>,
    /// Where metrics and health are served, if anywhere. Written `""` when off.
    #[serde(serialize_with = "write_admin", deserialize_with = "read_admin")]
    pub admin: Option<Endpoint>,
    /// Who presents one of these is an operator.
    pub admin_keys: Vec<Secret>,
    /// Under which names the server answers; see [`crate::app::Hosts`].
    pub allowed_hosts: Vec<String>,
    /// Subprotocols of WebSockets that may be asked for.
    pub subprotocols: Vec<String>,
    /// Whether a small parent owns the listening sockets and starts the server again when it crashes.
    pub keeper: bool,
    /// How many shards to run; 0 runs one per core.
    pub shards: u16,
    /// The cores to pin shards to; empty takes every core the process may use.
    pub cpus: CpuList,
    /// Time between saying that the server is not ready any more and not accepting any more.
    pub lame_duck_ms: u32,
    /// The time over which clients are told to go when the server drains.
    pub drain_ms: u32,
    /// Bytes of memory the process may take; from 85 % of it on newcomers are refused. 0 is no limit.
    pub memory_max: u64,
    /// Connections the kernel keeps waiting for each shard to accept.
    pub backlog: u32,
    /// Whether an IPv6 address takes IPv6 alone.
    pub ipv6_only: bool,
    /// Permissions of the files of Unix sockets; empty for those of the umask.
    pub unix_mode: String,
    /// Whose they are; empty for whoever runs the server.
    pub unix_owner: String,
    /// Silence of a TCP connection after which the kernel asks whether its peer is there; 0 never asks.
    pub tcp_keep_alive_s: u32,
    /// Time a TCP connection may wait for what was sent to be received; 0 leaves that to the kernel.
    pub tcp_user_timeout_ms: u32,
    /// Whether the kernel may write a core when the process crashes.
    pub core_dumps: Switch,
    /// How long a shard looks for work before it sleeps.
    pub spin_us: u32,
    /// How often a shard may fail and begin anew within a minute.
    pub shard_restarts_max: u32,
    /// Time without a turn after which another process takes the place of one with a keeper; 0 for none.
    pub shard_replaced_ms: u32,
    /// Whether shards are levelled.
    pub balance: Balancing,
}

/// What is done so that no shard has much more to do than the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Balancing {
    /// Nothing.
    Off,
    /// New connections are sent to those with fewer.
    New,
    /// That, and live ones go from one with much to do to one with less.
    Live,
}

/// `[publish]`: who may publish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// Whether anybody may publish; see [`super::Config::publishing_is_open`].
    pub open: Switch,
    /// Who presents one of these may publish.
    pub keys: Vec<Secret>,
    /// Whether WebSocket clients may publish.
    pub clients: bool,
}

/// `[cors]`: which web pages may talk to the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Origins, or `*`.
    pub allowed_origins: Vec<String>,
    /// Whether their pages may send cookies.
    pub credentials: bool,
}

/// `[diagnostics]`: `/hello` and `/echo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Diagnostics {
    /// Whether they are served; see [`super::Config::diagnostics_are_enabled`].
    pub enabled: Switch,
    /// The longest message `/echo` takes; its fragments are not counted.
    pub message_bytes_max: u32,
}

/// `[demo]`: the page at `/`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Demo {
    /// Whether it is served; see [`super::Config::demo_is_enabled`].
    pub enabled: Switch,
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// The least severe line that is written.
    pub level: LogLevel,
    /// What is logged of clients.
    pub access: AccessLines,
    /// Lines of clients a second and shard.
    pub access_per_second: u32,
}

impl Log {
    /// What the shards are told.
    pub fn access_settings(&self) -> AccessSettings {
        AccessSettings { lines: self.access, per_second: self.access_per_second }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: LogLevel::default(),
            access: AccessLines::Off,
            access_per_second: 100,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// The least severe log line that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Nothing is written.
    Off,
    /// What ended or spoilt something.
    Error,
    /// What an operator should look at.
    Warn,
    /// Lifecycle events.
    #[default]
    Info,
    /// What a developer looks for.
    Debug,
    /// Everything.
    Trace,
}

impl Default for Server {
    fn default() -> Self {
        let loopback = |port| Endpoint::Tcp(([127, 0, 0, 1], port).into());
        Self {
            listen: vec![loopback(8080)],
            admin: Some(loopback(8081)),
            admin_keys: Vec::new(),
            allowed_hosts: Vec::new(),
            subprotocols: Vec::new(),
            keeper: true,
            shards: 0,
            cpus: CpuList::default(),
            lame_duck_ms: 0,
            drain_ms: 5_000,
            memory_max: 0,
            backlog: 16_384,
            ipv6_only: true,
            unix_mode: String::new(),
            unix_owner: String::new(),
            tcp_keep_alive_s: 0,
            tcp_user_timeout_ms: 0,
            core_dumps: Switch::Auto,
            spin_us: 0,
            shard_restarts_max: 5,
            shard_replaced_ms: 30_000,
            balance: Balancing::New,
        }
    }
}

impl Default for Publish {
    fn default() -> Self {
        Self { open: Switch::Auto, keys: Vec::new(), clients: true }
    }
}

impl Default for Diagnostics {
    fn default() -> Self {
        Self { enabled: Switch::Auto, message_bytes_max: 16 * 1024 * 1024 }
    }
}

fn write_admin<S: Serializer>(admin: &Option<Endpoint>, serializer: S) -> Result<S::Ok, S::Error> {
    match admin {
        Some(endpoint) => serializer.collect_str(endpoint),
        None => serializer.serialize_str(""),
    }
}

fn read_admin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Endpoint>, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}
