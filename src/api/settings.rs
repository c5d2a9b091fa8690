//! What an operator decided about the HTTP API and about Socket.IO clients. Where each comes from is the
//! configuration's business.

use std::fmt;

use super::{
    AdminPageSettings,
    client_script::{ClientScript, ClientScriptError},
    crowd::Crowd,
    rates::Rates,
};
use crate::{
    auth::Policy,
    config::{Config, Endpoint, Presence},
    limits::Limits,
    live::Live,
};

/// The settings of a [`super::ChannelServer`]; every shard is given a copy.
#[derive(Clone, Default)]
pub struct Settings {
    /// The limits.
    pub limits: Limits,
    /// How much each key has published lately, on all shards.
    pub rates: Rates,
    /// Who may do what. Somebody who presents a key that is not among `publish_keys` is refused all the same when there
    /// are keys.
    pub policy: Policy,
    /// Who presents one of these may publish; each is read by [`crate::auth::PublishKey::parse`].
    pub publish_keys: Vec<String>,
    /// Who presents one of these is an operator on the admin listener.
    pub admin_keys: Vec<String>,
    /// Whether nobody beyond this machine reaches the admin listener.
    pub admin_is_local: bool,
    /// How long a token may be good, in seconds, with twice the difference of clocks.
    pub token_lifetime_s: u64,
    /// Whether a backend can be asked who somebody is (`hooks.connect`).
    pub has_connect_hook: bool,
    /// Whether WebSockets may publish, on the same terms as `POST`; otherwise none may.
    pub clients_publish: bool,
    /// Origins of web pages that may talk to the server, `scheme://host[:port]`; `*` is every origin. A page the
    /// server itself served always may, and so does a page from this machine to a server it reaches as this machine.
    pub allowed_origins: Vec<String>,
    /// Whether these pages may send cookies.
    pub origins_credentials: bool,
    /// Subprotocols that WebSockets of `/channels` and `/ws` may be asked for as, beside their own; `*` is any.
    pub subprotocols: Vec<String>,
    /// Whether a broker joins several nodes.
    pub has_broker: bool,
    /// What is served over Socket.IO; `None` is nothing.
    pub socketio: Option<SocketIoSettings>,
    /// Whether `/hello` and `/echo` are served.
    pub diagnostics: bool,
    /// Whether the demo pages and `/demo/stats` are served.
    pub demo: bool,
    /// The many connections that the demo opens, in a program that can be started again for them.
    pub crowd: Option<Crowd>,
    /// The effective configuration as a JSON object, secrets hidden, for the admin listener's `/config`.
    pub config_json: String,
}

/// What Socket.IO clients may do, and the client itself.
#[derive(Clone, Debug)]
pub struct SocketIoSettings {
    /// Where Socket.IO is served, with a slash at both ends.
    pub path: String,
    /// Namespaces they may enter; `*` stands for anything.
    pub namespaces: Vec<String>,
    /// Rooms they may join, publish to and ask about; `*` stands for anything.
    pub client_rooms: Vec<String>,
    /// Whether they may publish to rooms, on the same terms as `POST`; otherwise none may.
    pub clients_publish: bool,
    /// Whether events that are no command go to everybody in the namespace of a client that may publish.
    pub relays: bool,
    /// What they are told of a room.
    pub presence: Presence,
    /// Who may enter the namespace of Socket.IO's own admin page.
    pub admin_page: AdminPageSettings,
    /// The official client.
    pub client_script: ClientScript,
}

/// Keys are secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("config_json", &self.config_json).finish_non_exhaustive()
    }
}

impl Settings {
    /// What a checked configuration says of the API; reads the Socket.IO client from its file.
    pub fn from_config(config: &Config) -> Result<Self, ClientScriptError> {
        let socketio = config.socketio.enabled.then(|| SocketIoSettings::from_config(config)).transpose()?;
        Ok(Self {
            limits: config.limits.clone(),
            rates: Rates::default(),
            policy: config.policy(),
            publish_keys: config.publish.keys.iter().map(|key| key.expose().to_owned()).collect(),
            admin_keys: config.server.admin_keys.iter().map(|key| key.expose().to_owned()).collect(),
            admin_is_local: config.server.admin.as_ref().is_none_or(Endpoint::is_local),
            token_lifetime_s: config.token_rules().longest_s(),
            has_connect_hook: !config.hooks.connect.is_empty(),
            clients_publish: config.publish.clients,
            allowed_origins: config.cors.allowed_origins.clone(),
            origins_credentials: config.cors.credentials,
            subprotocols: config.server.subprotocols.clone(),
            has_broker: config.broker().is_some(),
            socketio,
            diagnostics: config.diagnostics_are_enabled(),
            demo: config.demo_is_enabled(),
            crowd: None,
            config_json: config.effective_json(),
        })
    }
}

impl Settings {
    /// Takes over what the operator has changed while the server runs.
    pub(super) fn change(&mut self, live: &Live) {
        self.limits = live.limits.clone();
        self.policy.clone_from(&live.policy);
        self.publish_keys.clone_from(&live.publish_keys);
        self.token_lifetime_s = live.tokens.verifier.lifetime_max_s();
        self.clients_publish = live.clients_publish;
        self.allowed_origins.clone_from(&live.allowed_origins);
        self.origins_credentials = live.origins_credentials;
        self.config_json.clone_from(&live.config_json);
        if let Some(socketio) = &mut self.socketio {
            socketio.clients_publish = live.socketio_clients_publish;
            socketio.relays = live.socketio_relays;
        }
    }
}

impl SocketIoSettings {
    fn from_config(config: &Config) -> Result<Self, ClientScriptError> {
        let section = &config.socketio;
        Ok(Self {
            path: section.path.clone(),
            namespaces: section.namespaces.clone(),
            client_rooms: section.client_rooms.clone(),
            clients_publish: config.socketio_clients_publish(),
            relays: config.socketio_relays(),
            presence: section.presence,
            admin_page: {
                let keys: Vec<_> = section.admin_keys.iter().map(|key| key.expose().to_owned()).collect();
                AdminPageSettings::new(&keys, section.admin_readonly)
            },
            client_script: ClientScript::load(&section.client_script)?,
        })
    }
}

impl Default for SocketIoSettings {
    fn default() -> Self {
        let section = crate::config::SocketIo::default();
        Self {
            path: section.path,
            namespaces: section.namespaces,
            client_rooms: section.client_rooms,
            clients_publish: true,
            relays: true,
            presence: section.presence,
            admin_page: AdminPageSettings::default(),
            client_script: ClientScript::default(),
        }
    }
}
