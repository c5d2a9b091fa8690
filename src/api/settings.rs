//! What an operator decided about the HTTP API. Where each comes from is the configuration's business.

use crate::{config::Config, limits::Limits};

/// The settings of a [`super::ChannelServer`]; every shard is given a copy.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The limits.
    pub limits: Limits,
    /// Whether anybody may publish. Somebody who presents a key that is not among `publish_keys` is refused all the
    /// same when there are keys.
    pub publish_open: bool,
    /// Who presents one of these may publish.
    pub publish_keys: Vec<String>,
    /// Whether WebSockets may publish, on the same terms as `POST`; otherwise none may.
    pub clients_publish: bool,
    /// Origins of web pages that may talk to the server, `scheme://host[:port]`; `*` is every origin. A page the
    /// server itself served always may, and so does a page from this machine to a server it reaches as this machine.
    pub allowed_origins: Vec<String>,
    /// Whether these pages may send cookies.
    pub origins_credentials: bool,
    /// Whether `/hello` and `/echo` are served.
    pub diagnostics: bool,
    /// Whether the demo page and `/demo/stats` are served.
    pub demo: bool,
    /// The effective configuration as a JSON object, secrets hidden, for the admin listener's `/config`.
    pub config_json: String,
}

impl Settings {
    /// What a checked configuration says of the API.
    pub fn from_config(config: &Config) -> Self {
        Self {
            limits: config.limits.clone(),
            publish_open: config.publishing_is_open(),
            publish_keys: config.publish.keys.iter().map(|key| key.expose().to_owned()).collect(),
            clients_publish: config.publish.clients,
            allowed_origins: config.cors.allowed_origins.clone(),
            origins_credentials: config.cors.credentials,
            diagnostics: config.diagnostics_are_enabled(),
            demo: config.demo_is_enabled(),
            config_json: config.effective_json(),
        }
    }
}
