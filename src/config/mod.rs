//! What an operator sets: the TOML file, the environment and the flags, merged and checked.
//!
//! [`Config`] is the result; `layers.rs` reads and merges, `keys.rs` is the table of every key, `checks.rs` knows
//! which values cannot work together, `print.rs` writes the table as a commented file,
//! `live.rs` says which keys may change while the server runs, and `memory.rs` how much memory all of it comes to.
//!
//! A setting without a row in [`keys::KEYS`] cannot be set, and a row without a setting fails a test.

mod access;
mod broker;
mod checks;
mod cluster;
mod cpus;
mod endpoint;
mod error;
mod hooks;
mod http;
pub mod keys;
mod layers;
mod live;
mod memory;
mod notices;
mod print;
mod proxy;
mod secret;
mod sections;
mod socketio;
mod storage;
mod switch;
mod tls;
mod tokens;
mod unix;
mod websocket;

pub use access::{AccessProblem, Lasting, MemberInfo, Namespace, Read, Rule};
pub use broker::{BrokerProblem, BrokerSection};
pub use checks::Problem;
pub use cluster::ClusterProblem;
pub use cpus::{CpuList, CpuListError};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{ConfigError, ConfigErrors};
pub use hooks::{HookProblem, HooksSection};
pub use http::Http;
pub use layers::{Override, Sources};
pub use live::Changes;
pub use memory::{MemoryPart, MemorySum};
pub use notices::NoticesSection;
pub use print::commented_defaults;
pub use proxy::{Proxy, ProxyProblem};
pub use secret::Secret;
pub use sections::{Balancing, Cors, Demo, Diagnostics, Log, LogFormat, LogLevel, Publish, Server};
pub use socketio::{Presence, SocketIo, SocketIoCluster, SocketIoProblem, SocketIoTransport};
pub use storage::{Storage, StorageProblem};
pub use switch::Switch;
pub use tls::{Tls, TlsProblem, TlsVersion};
pub use tokens::{Auth, TokenAlgorithm, TokenKeySection, TokenProblem};
pub use unix::{UnixOwner, UnixProblem};
pub use websocket::WebSockets;

use crate::{
    app::{Hosts, ListenerHosts, socketio::Settings},
    auth::{AccessRules, Pattern, Policy},
    limits::Limits,
    model::{Durability, Retention},
    wire::websocket::Compression,
};
use serde::{Deserialize, Serialize};

/// Everything an operator sets, merged. [`Config::default`] is what a start without file and flags uses.
///
/// Secrets show as `(hidden)` however the value is printed or serialized.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses, shards and cores.
    pub server: Server,
    /// Which listeners speak TLS, with which certificates.
    pub tls: Tls,
    /// Proxies in front of the server.
    pub proxy: Proxy,
    /// What one client, or all of them, may use.
    pub limits: Limits,
    /// Who may read.
    pub read: Read,
    /// Who may publish.
    pub publish: Publish,
    /// Which tokens are good, and how they come.
    pub auth: Auth,
    /// Keys of issuers of tokens.
    pub token_key: Vec<TokenKeySection>,
    /// Who may do what with the channels of each pattern.
    pub namespace: Vec<Namespace>,
    /// The operator's backend, and what it decides.
    pub hooks: HooksSection,
    /// What it is told.
    pub notices: NoticesSection,
    /// Which web pages may talk to the server.
    pub cors: Cors,
    /// How answers are compressed.
    pub http: Http,
    /// How messages of WebSockets are compressed.
    pub websocket: WebSockets,
    /// Socket.IO, and what its clients may do where no program decides.
    pub socketio: SocketIo,
    /// What outlives the process.
    pub storage: Storage,
    /// What joins several nodes.
    pub broker: BrokerSection,
    /// `/hello` and `/echo`.
    pub diagnostics: Diagnostics,
    /// The page at `/`.
    pub demo: Demo,
    /// What is written to standard error.
    pub log: Log,
}

impl Config {
    /// Reads, merges and checks every source; the later source wins.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let config = layers::merge(sources)?;
        config.check()?;
        Ok(config)
    }

    /// Tells every reason why these values cannot work, wherever they came from.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        ConfigErrors::none_or(checks::problems(self).into_iter().map(ConfigError::Problem).collect())
    }

    /// Tells which limits leave too little when they are shared by this many shards.
    pub fn check_shares(&self, shards: u16) -> Result<(), ConfigErrors> {
        let problems = checks::problems_of_shares(&self.limits, shards);
        ConfigErrors::none_or(problems.into_iter().map(ConfigError::Problem).collect())
    }

    /// Whether every public listener can only be reached from this machine.
    pub fn is_local_only(&self) -> bool {
        self.server.listen.iter().all(Endpoint::is_local)
    }

    /// Under which names the server is found.
    pub fn hosts(&self) -> ListenerHosts {
        let admin_is_local = self.server.admin.as_ref().is_some_and(Endpoint::is_local);
        let of = |is_local| Hosts::new(&self.server.allowed_hosts, is_local);
        ListenerHosts { public: of(self.is_local_only()), admin: of(admin_is_local) }
    }

    /// Whether anybody may read what no namespace is about. `auto` opens reading only where nothing is said about it and
    /// nobody beyond this machine can reach it.
    pub fn reading_is_open(&self) -> bool {
        self.read.open.resolve(!self.has_rules() && self.is_local_only())
    }

    /// Whether anybody may publish to what no namespace is about. `auto` opens publishing only where nothing is said
    /// about it and nobody beyond this machine can reach it.
    pub fn publishing_is_open(&self) -> bool {
        let is_unsaid = self.publish.keys.is_empty() && !self.has_rules();
        self.publish.open.resolve(is_unsaid && self.is_local_only())
    }

    /// Whether somebody may follow a channel or publish to one.
    pub fn channels_are_for_somebody(&self) -> bool {
        let has_keys = !self.publish.keys.is_empty();
        has_keys || self.has_rules() || self.reading_is_open() || self.publishing_is_open()
    }

    /// Whether something is said of who may do what, or it can be known who somebody is.
    fn has_rules(&self) -> bool {
        !self.namespace.is_empty() || self.knows_users()
    }

    /// Whether nothing is set of what a server has that others come to, not even through a proxy: somebody tries it on a
    /// machine of its own.
    pub fn is_only_tried(&self) -> bool {
        self.is_local_only()
            && self.server.allowed_hosts.is_empty()
            && self.proxy.trusted.is_empty()
            && self.publish.keys.is_empty()
            && !self.has_rules()
    }

    /// The rules about who may do what, of a checked configuration.
    pub fn policy(&self) -> Policy {
        Policy {
            namespaces: self.namespace.iter().filter_map(Namespace::compile).collect(),
            read_open: self.reading_is_open(),
            publish_open: self.publishing_is_open(),
        }
    }

    /// The same with the publishing keys.
    pub fn access_rules(&self) -> AccessRules {
        let keys: Vec<_> = self.publish.keys.iter().map(|key| key.expose().to_owned()).collect();
        AccessRules::new(self.policy(), &keys)
    }

    /// Which channels are kept for longer or shorter than the others, of a checked configuration.
    pub fn retentions(&self) -> Vec<(Pattern, Retention)> {
        self.namespace.iter().filter_map(Namespace::retention).collect()
    }

    /// How long what the channels of each namespace keep outlives the process, where it says so.
    pub fn durabilities(&self) -> Vec<(Pattern, Option<Durability>)> {
        self.namespace.iter().filter_map(Namespace::durability).collect()
    }

    /// How Socket.IO is spoken.
    pub fn socketio_settings(&self) -> Settings {
        let compresses = self.websocket.compression != Compression::Off;
        Settings {
            per_message_deflate: self.socketio.per_message_deflate.resolve(compresses),
            http_compression: self.socketio.http_compression.resolve(self.http.compression),
            in_cluster: self.socketio.cluster != SocketIoCluster::Off,
            has_broker: self.broker().is_some(),
            ..self.socketio.settings(&self.cors, &self.limits)
        }
    }

    /// Whether Socket.IO clients may publish, on the same terms as `POST`. `auto` follows the other clients.
    pub fn socketio_clients_publish(&self) -> bool {
        self.socketio.client_publish.resolve(self.publish.clients)
    }

    /// Whether the events of Socket.IO clients that are no command go to everybody in their namespace. That is
    /// publishing by another name, so `auto` lets it be only where anybody may publish.
    pub fn socketio_relays(&self) -> bool {
        self.socketio_clients_publish() && self.socketio.relay.resolve(self.publishing_is_open())
    }

    /// Whether `/hello` and `/echo` are served.
    pub fn diagnostics_are_enabled(&self) -> bool {
        self.diagnostics.enabled.resolve(self.is_local_only())
    }

    /// Whether the demo page is served.
    pub fn demo_is_enabled(&self) -> bool {
        self.demo.enabled.resolve(self.is_local_only())
    }

    /// Every key and its value as JSON, secrets hidden.
    pub fn effective_json(&self) -> String {
        simd_json::to_string(self).expect("a Config holds only strings, numbers and booleans")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening_on(address: &str) -> Config {
        let mut config = Config::default();
        config.server.listen = vec![address.parse().expect("an address")];
        config
    }

    #[test]
    fn publishing_diagnostics_and_demo_are_on_by_themselves_only_on_this_machine() {
        for address in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "unix:/run/r"] {
            let config = listening_on(address);
            assert!(config.publishing_is_open(), "{address}");
            assert!(config.diagnostics_are_enabled() && config.demo_is_enabled(), "{address}");
        }
        for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            let config = listening_on(address);
            assert!(!config.publishing_is_open(), "{address}");
            assert!(!config.diagnostics_are_enabled() && !config.demo_is_enabled(), "{address}");
        }
    }

    #[test]
    fn one_listener_beyond_this_machine_is_enough_to_close_publishing() {
        let mut config = Config::default();
        config.server.listen.push("0.0.0.0:8082".parse().expect("an address"));
        assert!(!config.publishing_is_open());
    }

    #[test]
    fn a_publishing_key_closes_publishing_unless_it_is_opened_explicitly() {
        let mut config = Config::default();
        config.publish.keys = vec![Secret::new("s3cret")];
        assert!(!config.publishing_is_open());
        config.publish.open = Switch::On;
        assert!(config.publishing_is_open());
    }

    #[test]
    fn socketio_clients_publish_as_others_do_and_relay_where_anybody_may_publish() {
        let rights = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            (config.socketio_clients_publish(), config.socketio_relays())
        };
        assert_eq!(rights(|_| ()), (true, true));
        assert_eq!(rights(|config| config.publish.clients = false), (false, false));
        assert_eq!(rights(|config| config.publish.keys = vec![Secret::new("s3cret")]), (true, false));
        assert_eq!(
            rights(|config| {
                config.publish.keys = vec![Secret::new("s3cret")];
                config.socketio.relay = Switch::On;
            }),
            (true, true)
        );
        assert_eq!(rights(|config| config.socketio.client_publish = Switch::Off), (false, false));
    }

    #[test]
    fn a_secret_shows_in_no_printed_form_of_the_configuration() {
        let mut config = Config::default();
        config.publish.keys = vec![Secret::new("s3cret")];
        assert!(!format!("{config:?}").contains("s3cret"));
        assert!(!config.effective_json().contains("s3cret"));
        assert!(config.effective_json().contains(r#""keys":["(hidden)"]"#), "{}", config.effective_json());
        assert_eq!(config.publish.keys[0].expose(), "s3cret");
    }
}
