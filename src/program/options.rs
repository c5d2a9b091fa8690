//! What a program that wants to be served asks for, as settings of the server: the address it listens on, and the options of
//! Socket.IO by their names. The operator's file, variables and flags win over them.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;
use serde_json::Value;

use crate::config::{Config, ConfigErrors, Override, Sources};

/// What the first `listen` of a program asks for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Listen {
    port: u16,
    host: Option<String>,
    #[serde(default)]
    options: BTreeMap<String, Value>,
    /// Names of namespaces with their flags.
    #[serde(default = "root_alone")]
    pub(super) namespaces: BTreeMap<String, u8>,
    /// Whether it is asked about namespaces of other names.
    #[serde(default)]
    pub(super) finds: bool,
}

/// An option that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionRefused {
    name: String,
    why: &'static str,
}

/// Where it says in messages that a value comes from.
const ORIGIN: &str = "the program";

/// Options that Roadstead is told and need not know.
const WITHOUT_EFFECT: [&str; 2] = ["serveClient", "allowUpgrades"];

/// Whether the operator says where the server listens, so that it is known before a program runs.
pub(super) fn operator_says_where(sources: &Sources) -> Result<bool, ConfigErrors> {
    let base = vec![of("server.listen", vec![NOWHERE.to_owned()])];
    let config = Config::load(&Sources { base, ..sources.clone() })?;
    Ok(config.server.listen.iter().all(|endpoint| endpoint.to_string() != NOWHERE))
}

/// Where nobody listens.
const NOWHERE: &str = "unix:/nonexistent/of-no-program";

fn root_alone() -> BTreeMap<String, u8> {
    BTreeMap::from([("/".to_owned(), 1)])
}

impl Listen {
    /// The settings. `has_ipv6` tells whether this machine speaks it.
    pub(super) fn settings(&self, has_ipv6: bool) -> Result<Vec<Override>, OptionRefused> {
        let mut settings = vec![of("server.listen", self.addresses(has_ipv6))];
        // Channels are the server's only when the operator says who may do what with them.
        settings.extend(["read.open", "publish.open"].map(|key| of(key, vec!["false".to_owned()])));
        for (name, value) in &self.options {
            settings.extend(setting(name, value)?);
        }
        Ok(settings)
    }

    /// Without a host it is every address, as for any server of Node's.
    fn addresses(&self, has_ipv6: bool) -> Vec<String> {
        let port = self.port;
        match self.host.as_deref() {
            // Two free ports would be two different ones.
            None | Some("" | "::" | "0.0.0.0") if !has_ipv6 || port == 0 => vec![format!("0.0.0.0:{port}")],
            Some("0.0.0.0") => vec![format!("0.0.0.0:{port}")],
            None | Some("" | "::") => vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")],
            Some("localhost") => vec![format!("127.0.0.1:{port}")],
            Some(host) if host.contains(':') => vec![format!("[{host}]:{port}")],
            Some(host) => vec![format!("{host}:{port}")],
        }
    }
}

/// What an option sets.
fn setting(name: &str, value: &Value) -> Result<Vec<Override>, OptionRefused> {
    let refused = |why| OptionRefused { name: name.to_owned(), why };
    let number =
        || value.as_u64().map(|number| vec![number.to_string()]).ok_or(refused("a number is expected"));
    let one = |key: &str, texts| Ok(vec![of(key, texts)]);
    match name {
        "path" => one("socketio.path", vec![path_of(value.as_str().ok_or(refused("a text is expected"))?)]),
        "pingInterval" => one("socketio.ping_interval_ms", number()?),
        "pingTimeout" => one("socketio.ping_timeout_ms", number()?),
        "upgradeTimeout" => one("socketio.upgrade_timeout_ms", number()?),
        "connectTimeout" => one("socketio.connect_timeout_ms", number()?),
        "maxHttpBufferSize" => one("socketio.max_http_buffer_size", number()?),
        "transports" => one("socketio.transports", texts(value).ok_or(refused("a list is expected"))?),
        "perMessageDeflate" => {
            let is_on = !matches!(value, Value::Bool(false) | Value::Null);
            one("socketio.per_message_deflate", vec![is_on.to_string()])
        }
        "allowEIO3" if value != &Value::Bool(true) => Ok(Vec::new()),
        "allowEIO3" => {
            Err(refused("version 3 of Engine.IO is not spoken: update the clients to Socket.IO 3 or newer"))
        }
        "cookie" => cookie(value).ok_or(refused("a name, or an object with a name, is expected")),
        "connectionStateRecovery" => {
            let ms = value.get("maxDisconnectionDuration").and_then(Value::as_u64);
            let ms = ms.ok_or(refused("maxDisconnectionDuration is expected to be a number"))?;
            one("socketio.connection_state_recovery_ms", vec![ms.to_string()])
        }
        "cors" => cors(value).map_err(refused),
        "keepHandshake" => {
            let keeps = value.as_bool().ok_or(refused("true or false is expected"))?;
            one("socketio.keep_handshake", vec![keeps.to_string()])
        }
        name if WITHOUT_EFFECT.contains(&name) => Ok(Vec::new()),
        _ => Err(refused("Roadstead has nothing like it")),
    }
}

fn cors(value: &Value) -> Result<Vec<Override>, &'static str> {
    let origin = value.get("origin").unwrap_or(&Value::Null);
    let credentials = value.get("credentials").and_then(Value::as_bool).unwrap_or(false);
    let origins = match origin {
        Value::Bool(false) => Vec::new(),
        Value::Bool(true) | Value::Null => vec!["*".to_owned()],
        other => texts(other).ok_or("origin is expected to be a text or a list of texts")?,
    };
    if credentials && origins.iter().any(|one| one == "*") {
        return Err("with credentials origins are named: write them as a list in origin");
    }
    let mut settings = vec![of("cors.credentials", vec![credentials.to_string()])];
    if !origins.is_empty() {
        settings.push(of("cors.allowed_origins", origins));
    }
    Ok(settings)
}

fn cookie(value: &Value) -> Option<Vec<Override>> {
    let name = match value {
        Value::Bool(false) | Value::Null => return Some(Vec::new()),
        Value::Bool(true) => "io",
        Value::String(name) => name,
        other => other.get("name")?.as_str()?,
    };
    Some(vec![of("socketio.cookie", vec![name.to_owned()])])
}

/// A path as Roadstead has it: with a slash at both ends.
fn path_of(path: &str) -> String {
    format!("/{}/", path.trim_matches('/'))
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn of(key: &str, texts: Vec<String>) -> Override {
    Override { flag: ORIGIN.to_owned(), key: key.to_owned(), texts }
}

impl fmt::Display for OptionRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the program's option {} cannot be had: {}", self.name, self.why)
    }
}

impl std::error::Error for OptionRefused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(json: &str) -> Result<Config, String> {
        let listen: Listen = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let base = listen.settings(true).map_err(|error| error.to_string())?;
        Config::load(&Sources { base, ..Sources::default() }).map_err(|error| error.to_string())
    }

    fn listens(json: &str) -> Vec<String> {
        load(json).expect("a configuration").server.listen.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_program_listens_where_its_server_would() {
        assert_eq!(listens(r#"{"port":3000}"#), ["0.0.0.0:3000", "[::]:3000"]);
        assert_eq!(listens(r#"{"port":0}"#), ["0.0.0.0:0"]);
        assert_eq!(listens(r#"{"port":1,"host":"0.0.0.0"}"#), ["0.0.0.0:1"]);
        assert_eq!(listens(r#"{"port":1,"host":"::"}"#), ["0.0.0.0:1", "[::]:1"]);
        assert_eq!(listens(r#"{"port":1,"host":"localhost"}"#), ["127.0.0.1:1"]);
        assert_eq!(listens(r#"{"port":1,"host":"::1"}"#), ["[::1]:1"]);
        assert_eq!(listens(r#"{"port":1,"host":"10.0.0.1"}"#), ["10.0.0.1:1"]);
    }

    #[test]
    fn options_have_their_settings() {
        let config = load(
            r#"{"port":1,"options":{"path":"/chat","pingInterval":1000,"pingTimeout":2000,"upgradeTimeout":3000,
            "connectTimeout":4000,"maxHttpBufferSize":5000,"transports":["websocket"],"serveClient":false,
            "connectionStateRecovery":{"maxDisconnectionDuration":6000},"cookie":{"name":"io"},"allowEIO3":false,
            "perMessageDeflate":{"threshold":1},"keepHandshake":true,"cors":{"origin":["https://a.example"],"credentials":true}}}"#,
        )
        .expect("a configuration");
        let socketio = &config.socketio;
        assert_eq!(socketio.path, "/chat/");
        assert_eq!(
            (socketio.ping_interval_ms, socketio.ping_timeout_ms, socketio.upgrade_timeout_ms),
            (1000, 2000, 3000)
        );
        assert_eq!(
            (
                socketio.connect_timeout_ms,
                socketio.max_http_buffer_size,
                socketio.connection_state_recovery_ms
            ),
            (4000, 5000, 6000)
        );
        assert_eq!((socketio.transports.len(), &*socketio.cookie, socketio.keep_handshake), (1, "io", true));
        assert_eq!((&*config.cors.allowed_origins[0], config.cors.credentials), ("https://a.example", true));
        let any = load(r#"{"port":1,"options":{"cors":{"origin":true}}}"#).expect("a configuration");
        assert_eq!(any.cors.allowed_origins, ["*"]);
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        for (json, name) in [
            (r#"{"port":1,"options":{"allowEIO3":true}}"#, "allowEIO3"),
            (r#"{"port":1,"options":{"parser":{}}}"#, "parser"),
            (r#"{"port":1,"options":{"pingInterval":"soon"}}"#, "pingInterval"),
            (r#"{"port":1,"options":{"cors":{"origin":"*","credentials":true}}}"#, "cors"),
            (r#"{"port":1,"options":{"cors":{"origin":7}}}"#, "cors"),
            (r#"{"port":1,"options":{"transports":["webtransport"]}}"#, "transports"),
            (r#"{"port":70000}"#, "70000"),
        ] {
            let refused = load(json).expect_err(json);
            assert!(refused.contains(name), "{json}: {refused}");
        }
    }

    #[test]
    fn an_operator_says_where_to_listen_or_leaves_it_to_the_program() {
        let says = |overrides| {
            operator_says_where(&Sources { overrides, ..Sources::default() }).expect("a configuration")
        };
        assert!(!says(Vec::new()));
        assert!(!says(vec![of("server.admin", vec!["127.0.0.1:2".into()])]));
        assert!(says(vec![of("server.listen", vec!["127.0.0.1:2".into()])]));
        assert!(says(vec![of("server.listen", vec!["127.0.0.1:0".into(), "[::1]:0".into()])]));
    }

    #[test]
    fn what_the_operator_says_wins() {
        let listen: Listen =
            serde_json::from_str(r#"{"port":1,"options":{"pingInterval":1000}}"#).expect("JSON");
        let overrides = vec![of("server.listen", vec!["127.0.0.1:2".into()])];
        let base = listen.settings(false).expect("known options");
        let config =
            Config::load(&Sources { base, overrides, ..Sources::default() }).expect("a configuration");
        assert_eq!(config.server.listen[0].to_string(), "127.0.0.1:2");
        assert_eq!(config.socketio.ping_interval_ms, 1000);
    }
}
