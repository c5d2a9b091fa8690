//! Reading every source and merging them: defaults, then the file, then the environment, then the flags. The later
//! wins, key by key; a list replaces a list.
//!
//! What a source may say is decided by the table in `keys.rs`; whether the merged values can work, in `checks.rs`.

use std::path::{Path, PathBuf};

use figment::{
    Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::Serialized,
    value::{Dict, Map, Value},
};

use super::{
    Config, ConfigError, ConfigErrors, EndpointError,
    keys::{self, KEYS, Key},
};

/// Where a configuration is read from besides its defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Keys that something else than the operator sets, who wins over all of them.
    pub base: Vec<Override>,
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// What stands in the file, if that is known already; else it is read.
    pub text: Option<String>,
    /// Environment variables; those that do not begin with `ROADSTEAD_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags, the later winning.
    pub overrides: Vec<Override>,
}

/// One key set by a flag.
#[derive(Clone, Debug)]
pub struct Override {
    /// The flag, for messages.
    pub flag: String,
    /// The key's full name.
    pub key: String,
    /// One text per time the flag was given. More than one only for a list.
    pub texts: Vec<String>,
}

/// What one source sets.
struct Layer {
    origin: String,
    dict: Dict,
}

const PREFIX: &str = "ROADSTEAD_";
/// Tells a program that is linked where the link is; it may start commands of this server.
const PROGRAM_LINK: &str = "LINK";

impl Sources {
    /// Reads the file, so that what is known of it stays what it is now.
    pub fn read(self) -> Result<Self, ConfigErrors> {
        let text = self.file.as_deref().map(read).transpose()?;
        Ok(Self { text, ..self })
    }

    /// The variables of this process's environment that could be meant for Roadstead.
    pub fn process_environment() -> Vec<(String, String)> {
        let variables = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        variables.filter(|(name, _)| name.starts_with(PREFIX)).collect()
    }
}

/// Merges the sources. Every unknown key is told, then the first value that is not what its key takes.
pub(super) fn merge(sources: &Sources) -> Result<Config, ConfigErrors> {
    let mut errors = Vec::new();
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    for layer in sources.base.iter().map(flag_layer) {
        match layer {
            Ok(layer) => figment = figment.merge(layer),
            Err(error) => errors.push(error),
        }
    }
    if let Some(path) = &sources.file {
        let text = sources.text.clone().map_or_else(|| read(path), Ok)?;
        let layer = file_layer(path, &text)?;
        errors.extend(unknown_keys(&layer));
        figment = figment.merge(layer);
    }
    let environment = sources.environment.iter().filter_map(|(name, value)| variable_layer(name, value));
    let flags = sources.overrides.iter().map(flag_layer);
    for layer in environment.chain(flags) {
        match layer {
            Ok(layer) => figment = figment.merge(layer),
            Err(error) => errors.push(error),
        }
    }
    ConfigErrors::none_or(errors)?;
    figment.extract().map_err(|error| wrong_value(&figment, error).into())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })
}

fn file_layer(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let dict = toml::from_str(text)
        .map_err(|error| ConfigError::Syntax { path: path.to_owned(), error: Box::new(error) })?;
    Ok(Layer { origin: path.display().to_string(), dict })
}

/// Every key of a file that the table does not have.
fn unknown_keys(layer: &Layer) -> Vec<ConfigError> {
    let origin = || layer.origin.clone();
    let mut errors = Vec::new();
    for (section, value) in &layer.dict {
        let is_section = keys::sections().any(|known| known == section);
        match value {
            Value::Array(_, items) if keys::LISTED.contains(&section.as_str()) => {
                errors.extend(items.iter().flat_map(|item| unknown_in_item(&origin, section, item)));
            }
            other if keys::LISTED.contains(&section.as_str()) => errors.push(ConfigError::WrongValue {
                origin: origin(),
                key: section.clone(),
                value: show(other),
                expected: format!("sections, each [[{section}]]"),
            }),
            Value::Dict(_, dict) if is_section || !dict.is_empty() => {
                let names = dict.keys().map(|key| format!("{section}.{key}"));
                let unknown = names.filter(|name| keys::find(name).is_none());
                errors.extend(unknown.map(|name| unknown_key(origin(), name)));
            }
            Value::Dict(..) => errors.push(ConfigError::UnknownKey {
                origin: origin(),
                key: section.clone(),
                nearest: keys::nearest(section, keys::sections()).map(str::to_owned),
            }),
            other if is_section => errors.push(ConfigError::WrongValue {
                origin: origin(),
                key: section.clone(),
                value: show(other),
                expected: format!("a section, [{section}]"),
            }),
            _ => errors.push(unknown_key(origin(), section.clone())),
        }
    }
    errors
}

/// Every key of one of a listed section's items that the table does not have.
fn unknown_in_item(origin: &impl Fn() -> String, section: &str, item: &Value) -> Vec<ConfigError> {
    let Value::Dict(_, dict) = item else {
        let (key, expected) = (section.to_owned(), format!("sections, each [[{section}]]"));
        return vec![ConfigError::WrongValue { origin: origin(), key, value: show(item), expected }];
    };
    let names = dict.keys().map(|key| format!("{section}.{key}"));
    names.filter(|name| keys::find(name).is_none()).map(|name| unknown_key(origin(), name)).collect()
}

fn unknown_key(origin: String, key: String) -> ConfigError {
    let nearest = keys::nearest(&key, KEYS.iter().map(|key| key.name)).map(str::to_owned);
    ConfigError::UnknownKey { origin, key, nearest }
}

/// What a variable sets; `None` when it is not meant for us.
fn variable_layer(variable: &str, text: &str) -> Option<Result<Layer, ConfigError>> {
    let name = variable.strip_prefix(PREFIX)?;
    if is_service_link(name) || name == PROGRAM_LINK {
        return None;
    }
    let Some(key) = KEYS.iter().find(|key| variable_of(key) == variable) else {
        let variables: Vec<_> = KEYS.iter().map(variable_of).collect();
        return Some(Err(ConfigError::UnknownKey {
            origin: "environment".to_owned(),
            key: variable.to_owned(),
            nearest: keys::nearest(variable, variables.iter().map(String::as_str)).map(str::to_owned),
        }));
    };
    Some(layer_of_text(format!("environment variable {variable}"), key, text))
}

/// The variable that sets a key: `limits.connections_max` is `ROADSTEAD_LIMITS__CONNECTIONS_MAX`.
fn variable_of(key: &Key) -> String {
    format!("{PREFIX}{}", key.name.replacen('.', "__", 1).to_uppercase())
}

/// Whether Kubernetes sets this variable: it tells every pod the address of every service, and a service named
/// `roadstead`, or `roadstead-admin`, has our prefix. No key of ours has a port in its name.
fn is_service_link(name: &str) -> bool {
    let words: Vec<_> = name.split('_').collect();
    let follows_port = |pair: &[&str]| pair[0] == "PORT" && pair[1].parse::<u16>().is_ok();
    name.ends_with("SERVICE_HOST")
        || name.contains("SERVICE_PORT")
        || words.last() == Some(&"PORT")
        || words.windows(2).any(follows_port)
}

fn flag_layer(given: &Override) -> Result<Layer, ConfigError> {
    let Some(key) = keys::find(&given.key) else {
        return Err(unknown_key(given.flag.clone(), given.key.clone()));
    };
    match given.texts.as_slice() {
        [text] => layer_of_text(given.flag.clone(), key, text),
        _ if key.is_listed() => Err(ConfigError::FileOnly { origin: given.flag.clone(), key: key.name }),
        texts => {
            let items = texts.iter().map(|text| Value::from(text.as_str()));
            Ok(layer_of(given.flag.clone(), key, Value::from(items.collect::<Vec<_>>())))
        }
    }
}

fn layer_of_text(origin: String, key: &Key, text: &str) -> Result<Layer, ConfigError> {
    if key.is_listed() {
        return Err(ConfigError::FileOnly { origin, key: key.name });
    }
    match key.read(text) {
        Some(value) => Ok(layer_of(origin, key, value)),
        None => Err(ConfigError::WrongValue {
            origin,
            key: key.name.to_owned(),
            value: format!("{text:?}"),
            expected: key.expected(),
        }),
    }
}

fn layer_of(origin: String, key: &Key, value: Value) -> Layer {
    let (section, name) = key.name.split_once('.').expect("every key of the table has a section");
    let section_dict = Dict::from([(name.to_owned(), value)]);
    Layer { origin, dict: Dict::from([(section.to_owned(), Value::from(section_dict))]) }
}

/// Says a failed extraction in the table's words: the key, the value that stands there, what was expected.
fn wrong_value(figment: &Figment, error: figment::Error) -> ConfigError {
    let origin = error.metadata.as_ref().map_or("default".to_owned(), |metadata| metadata.name.to_string());
    let (name, index) = match error.path.as_slice() {
        [section, item, key, ..] if keys::LISTED.contains(&section.as_str()) => {
            let list = figment.find_value(section).ok();
            let items = list.as_ref().and_then(Value::as_array);
            let item = items.and_then(|items| items.get(item.parse::<usize>().ok()?)?.as_dict());
            return told(origin, format!("{section}.{key}"), item.and_then(|item| item.get(key)).map(show));
        }
        [section, key, index, ..] => (format!("{section}.{key}"), index.parse::<usize>().ok()),
        path => (path.join("."), None),
    };
    let found = figment.find_value(&name).ok();
    let item = match (&found, index) {
        (Some(Value::Array(_, items)), Some(index)) => items.get(index),
        (found, _) => found.as_ref(),
    };
    let value = item.map(show);
    let expected = error.kind.to_string();
    match keys::find(&name) {
        // It is written as an address is, and names a host that has none.
        Some(key) if key.takes_endpoints() && is_unknown_host(&error.kind) => {
            ConfigError::UnknownHost { origin, key: name, why: expected }
        }
        Some(_) => told(origin, name, value),
        None => {
            ConfigError::WrongValue { origin, key: name, value: value.unwrap_or("missing".into()), expected }
        }
    }
}

/// Whether an address is refused for another reason than how it is written.
fn is_unknown_host(kind: &Kind) -> bool {
    matches!(kind, Kind::Message(text) if *text != EndpointError::Malformed.to_string())
}

/// A value that is not what a key of the table takes.
fn told(origin: String, name: String, value: Option<String>) -> ConfigError {
    let key = keys::find(&name);
    let value = match key.is_some_and(Key::is_secret) {
        true => "(hidden)".to_owned(),
        false => value.unwrap_or("missing".to_owned()),
    };
    let expected = key.map_or_else(String::new, Key::expected);
    ConfigError::WrongValue { origin, key: name, value, expected }
}

/// A value as a person would write it.
fn show(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Array(_, items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Dict(..) => "a section".to_owned(),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Char(_, letter) => format!("{letter:?}"),
        Value::Empty(..) => "nothing".to_owned(),
        Value::Num(..) => match (value.to_i128(), value.to_u128()) {
            (Some(number), _) => number.to_string(),
            (None, Some(number)) => number.to_string(),
            (None, None) => value.to_f64().map_or("a number".to_owned(), |number| number.to_string()),
        },
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is deleted with the value.
    struct TemporaryFile(PathBuf);

    impl TemporaryFile {
        fn holding(text: &str) -> Self {
            let name = format!("roadstead-config-{}-{}.toml", std::process::id(), fastrand::u64(..));
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).expect("the temporary directory takes a file");
            Self(path)
        }
    }

    impl Drop for TemporaryFile {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).expect("the file is still there");
        }
    }

    fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
        let file = TemporaryFile::holding(file);
        let own = |(left, right): &(&str, &str)| ((*left).to_owned(), (*right).to_owned());
        let sources = Sources {
            base: Vec::new(),
            text: None,
            file: Some(file.0.clone()),
            environment: environment.iter().map(own).collect(),
            overrides: flags
                .iter()
                .map(own)
                .map(|(key, text)| Override { flag: "--set".to_owned(), key, texts: vec![text] })
                .collect(),
        };
        let message = |errors: ConfigErrors| errors.to_string().replace(&*file.0.to_string_lossy(), "FILE");
        Config::load(&sources).map_err(message)
    }

    #[track_caller]
    fn refuses(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], message: &str) {
        assert_eq!(load(file, environment, flags).expect_err("refused"), message);
    }

    #[test]
    fn the_later_source_wins_key_by_key() {
        let config = load(
            "[limits]\nhead_fields_max = 1\nchannels_max = 11\nping_interval_ms = 60000",
            &[("ROADSTEAD_LIMITS__HEAD_FIELDS_MAX", "2"), ("ROADSTEAD_LIMITS__CHANNELS_MAX", "22")],
            &[("limits.channels_max", "33"), ("server.listen", "127.0.0.1:1, unix:/run/r")],
        )
        .expect("a configuration");
        assert_eq!(config.limits.ping_interval_ms, 60_000, "only the file");
        assert_eq!(config.limits.head_fields_max, 2, "the environment over the file");
        assert_eq!(config.limits.channels_max, 33, "the flag over both");
        assert_eq!(config.limits.body_bytes_max, Config::default().limits.body_bytes_max, "nobody");
        assert_eq!(config.server.listen.len(), 2, "a list replaces the default list");
    }

    #[test]
    fn an_unknown_key_of_the_file_is_told_with_the_file_the_full_key_and_the_nearest_known() {
        refuses(
            "[limits]\nconections_max = 5\n[log]\nlevle = \"info\"",
            &[],
            &[],
            "FILE: there is no key limits.conections_max; did you mean limits.connections_max?\n\
             FILE: there is no key log.levle; did you mean log.level?",
        );
        refuses("listen = [\"a\"]", &[], &[], "FILE: there is no key listen; did you mean server.listen?");
        refuses("[servr]", &[], &[], "FILE: there is no key servr; did you mean server?");
        refuses(
            "[servr]\nshards = 1",
            &[],
            &[],
            "FILE: there is no key servr.shards; did you mean server.shards?",
        );
        refuses(
            "[xx]\nyy = 1",
            &[],
            &[],
            "FILE: there is no key xx.yy; `roadstead config print` lists every key",
        );
    }

    #[test]
    fn namespaces_are_listed_in_a_file_and_nowhere_else() {
        let config = load(
            "[[namespace]]\npattern = \"news:*\"\nsubscribe = \"anyone\"\n[[namespace]]\npattern = \"**\"",
            &[],
            &[],
        )
        .expect("a configuration");
        let patterns: Vec<_> = config.namespace.iter().map(|namespace| namespace.pattern.as_str()).collect();
        assert_eq!(patterns, ["news:*", "**"]);
        let refused = [
            (
                "[[namespace]]\nsubscrib = \"anyone\"",
                "FILE: there is no key namespace.subscrib; did you mean namespace.subscribe?",
            ),
            (
                "[[namespace]]\npattern = \"a\"\nhistory = \"all\"",
                "FILE: namespace.history is \"all\"; expected one of \"anyone\", \"token\", \"allow\"",
            ),
            (
                "[namespace]\npattern = \"a\"",
                "FILE: namespace is a section; expected sections, each [[namespace]]",
            ),
            ("namespace = [3]", "FILE: namespace is 3; expected sections, each [[namespace]]"),
        ];
        for (file, message) in refused {
            refuses(file, &[], &[], message);
        }
        let only = "namespace.pattern stands in a file only, below [[namespace]] (--config FILE)";
        refuses("", &[], &[("namespace.pattern", "a")], &format!("--set: {only}"));
        refuses(
            "",
            &[("ROADSTEAD_NAMESPACE__PATTERN", "a")],
            &[],
            &format!("environment variable ROADSTEAD_NAMESPACE__PATTERN: {only}"),
        );
    }

    #[test]
    fn a_misspelt_variable_and_a_misspelt_flag_are_told_likewise() {
        refuses(
            "",
            &[("ROADSTEAD_LIMITS_CONNECTIONS_MAX", "5")],
            &[],
            "environment: there is no key ROADSTEAD_LIMITS_CONNECTIONS_MAX; \
             did you mean ROADSTEAD_LIMITS__CONNECTIONS_MAX?",
        );
        refuses(
            "",
            &[],
            &[("limits.ping_intervall_ms", "5")],
            "--set: there is no key limits.ping_intervall_ms; did you mean limits.ping_interval_ms?",
        );
    }

    #[test]
    fn no_key_of_ours_is_taken_for_a_variable_of_kubernetes() {
        assert!(KEYS.iter().all(|key| !is_service_link(&variable_of(key)[PREFIX.len()..])));
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        let environment = [
            ("PATH", "/bin"),
            ("ROADSTEAD_SERVICE_HOST", "10.0.0.1"),
            ("ROADSTEAD_SERVICE_PORT", "80"),
            ("ROADSTEAD_SERVICE_PORT_HTTP", "80"),
            ("ROADSTEAD_PORT", "tcp://10.0.0.1:80"),
            ("ROADSTEAD_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("ROADSTEAD_ADMIN_SERVICE_HOST", "10.0.0.2"),
            ("ROADSTEAD_ADMIN_PORT", "tcp://10.0.0.2:8081"),
            ("ROADSTEAD_ADMIN_PORT_8081_TCP", "tcp://10.0.0.2:8081"),
        ];
        assert_eq!(load("", &environment, &[]), Ok(Config::default()));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_told_with_its_key_and_what_was_expected() {
        refuses(
            "[limits]\nping_interval_ms = \"fast\"",
            &[],
            &[],
            "FILE: limits.ping_interval_ms is \"fast\"; expected a whole number of ms from 0 to 4294967295",
        );
        refuses(
            "[limits]\nhead_fields_max = 65536",
            &[],
            &[],
            "FILE: limits.head_fields_max is 65536; expected a whole number of fields from 0 to 65535",
        );
        refuses(
            "[limits]\nslow_consumer = \"wait\"",
            &[],
            &[],
            "FILE: limits.slow_consumer is \"wait\"; expected one of \"close\", \"drop-oldest\"",
        );
        refuses(
            "[publish]\nopen = \"maybe\"",
            &[],
            &[],
            "FILE: publish.open is \"maybe\"; expected \"auto\", true or false",
        );
        refuses(
            "[socketio]\ntransports = [\"polling\", \"flash\"]",
            &[],
            &[],
            "FILE: socketio.transports is \"flash\"; expected a list of \"polling\", \"websocket\"",
        );
        refuses(
            "[socketio]\npath = 3",
            &[],
            &[],
            "FILE: socketio.path is 3; expected a path such as \"/socket.io/\"",
        );
        refuses("server = 3", &[], &[], "FILE: server is 3; expected a section, [server]");
        refuses(
            "",
            &[("ROADSTEAD_SERVER__SHARDS", "many")],
            &[],
            "environment variable ROADSTEAD_SERVER__SHARDS: server.shards is \"many\"; \
             expected a whole number of shards from 0 to 65535",
        );
    }

    #[test]
    fn one_bad_item_of_a_list_is_told_by_itself_and_a_secret_never() {
        refuses(
            "[server]\nlisten = [\"127.0.0.1:1\", \"127.0.0:2\"]",
            &[],
            &[],
            "FILE: server.listen is \"127.0.0:2\"; expected a list of addresses: an address is IP:PORT such as \
             127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080, NAME:PORT where the name has an address on this host, or \
             unix:PATH",
        );
        let told = load("[server]\nlisten = [\"127.0.0.1:1\", \"nobody.invalid:2\"]", &[], &[]);
        let told = told.expect_err("nobody has this name");
        let begin = "FILE: server.listen: nobody.invalid has no address that this machine knows (";
        assert!(told.starts_with(begin) && told.contains("/etc/hosts"), "{told}");
        refuses(
            "[publish]\nkeys = [\"s3cret\", 5]",
            &[],
            &[],
            "FILE: publish.keys is (hidden); expected a list of strings",
        );
    }

    #[test]
    fn a_file_that_is_missing_or_is_no_toml_is_told() {
        let sources = Sources { file: Some("/nonexistent/roadstead.toml".into()), ..Sources::default() };
        let error = Config::load(&sources).expect_err("refused").to_string();
        assert_eq!(
            error,
            "/nonexistent/roadstead.toml: cannot be read: No such file or directory (os error 2)"
        );
        let error = load("[limits", &[], &[]).expect_err("refused");
        assert!(error.starts_with("FILE: is not TOML: TOML parse error at line 1, column 8"), "{error}");
        let error = load("publish.keys = [\"s3cret]", &[], &[]).expect_err("refused");
        assert!(!error.contains("s3cret"), "a line that cannot be read may hold a secret: {error}");
    }
}
