//! Which keys take effect while the server runs, and what becomes of a configuration that is read again.
//!
//! A key is in the list when nothing was made to its measure at the start: neither a table, nor a socket, nor a thread.

use serde_json::Value;

use super::{
    Config, ConfigErrors, Secret,
    keys::{KEYS, LISTED},
};
use crate::live::Live;

/// Keys that may change while the server runs.
const LIVE: &[&str] = &[
    "server.lame_duck_ms",
    "server.drain_ms",
    "server.memory_max",
    "server.shard_replaced_ms",
    "server.balance",
    "tls.certificates",
    "tls.keys",
    "tls.min_version",
    "tls.ticket_keys",
    "tls.handshake_timeout_ms",
    "tls.handshakes_max",
    "tls.watch_ms",
    "limits.connections_per_address_max",
    "limits.head_bytes_max",
    "limits.head_fields_max",
    "limits.head_timeout_ms",
    "limits.body_bytes_max",
    "limits.body_timeout_ms",
    "limits.body_bytes_per_second_min",
    "limits.keep_alive_timeout_ms",
    "limits.message_bytes_max",
    "limits.message_fragments_max",
    "limits.send_queue_bytes_max",
    "limits.slow_consumer",
    "limits.ping_interval_ms",
    "limits.ping_timeout_ms",
    "limits.event_stream_keep_alive_ms",
    "limits.event_stream_retry_ms",
    "limits.long_poll_timeout_max_ms",
    "limits.channel_name_bytes_max",
    "limits.subscriptions_per_connection_max",
    "limits.channels_max",
    "limits.publication_bytes_max",
    "limits.batch_publications_max",
    "limits.history_publications_max",
    "limits.history_age_max_ms",
    "limits.history_bytes_max",
    "limits.state_keys_max",
    "limits.state_channels_max",
    "limits.state_channel_bytes_max",
    "limits.state_bytes_max",
    "limits.counter_interval_ms",
    "limits.presence_members_max",
    "limits.presence_events_members_max",
    "limits.presence_grace_ms",
    "limits.publications_per_key_per_second_max",
    "read.open",
    "publish.open",
    "publish.keys",
    "publish.clients",
    "auth.hs256_keys",
    "auth.audience",
    "auth.clock_skew_s",
    "auth.lifetime_max_s",
    "auth.refresh_s",
    "auth.cookie",
    "auth.token_in_url",
    "token_key.issuer",
    "token_key.kid",
    "token_key.algorithm",
    "token_key.file",
    "token_key.url",
    "token_key.user_prefix",
    "namespace.pattern",
    "namespace.subscribe",
    "namespace.publish",
    "namespace.presence",
    "namespace.history",
    "namespace.state",
    "namespace.set_state",
    "namespace.history_publications_max",
    "namespace.history_age_max_ms",
    "namespace.publication_bytes_max",
    "namespace.publications_per_second_max",
    "namespace.enter",
    "namespace.member_info",
    "namespace.presence_members_max",
    "namespace.state_keys_max",
    "namespace.state_channel_bytes_max",
    "cors.allowed_origins",
    "cors.credentials",
    "socketio.client_publish",
    "socketio.relay",
    "log.level",
];

/// What a configuration that was read again changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys whose new values are in force.
    pub made: Vec<&'static str>,
    /// Keys whose new values need a restart.
    pub put_off: Vec<&'static str>,
}

/// Whether a key may change while the server runs.
pub(super) fn is_live(key: &str) -> bool {
    LIVE.contains(&key)
}

impl Config {
    /// Takes over from `new` what may change while the server runs. When that cannot work, alone or with what stays as
    /// it is, nothing changes.
    pub fn adopt(&mut self, new: &Self, shards: u16) -> Result<Changes, ConfigErrors> {
        let (mut merged, wanted) = (values(self), values(new));
        let mut changes = Changes::default();
        // What outlives the process is decided when the store is opened.
        let said = |config: &Self| -> Vec<_> {
            config.durabilities().into_iter().filter(|(_, durability)| durability.is_some()).collect()
        };
        if said(self) != said(new) {
            changes.put_off.push("namespace.durability");
        }
        for section in LISTED.iter().copied() {
            if merged[section] != wanted[section] {
                changes.made.push(section);
                merged[section] = wanted[section].clone();
            }
        }
        for key in KEYS.iter().filter(|key| !key.is_listed()) {
            let is_equal = match key.is_secret() {
                true => secrets(self, key.name) == secrets(new, key.name),
                false => of(&merged, key.name) == of(&wanted, key.name),
            };
            // No listener begins to speak TLS, or ceases to.
            let is_fixed = key.name.starts_with("tls.") && self.tls.is_enabled() != new.tls.is_enabled();
            match (is_equal, is_live(key.name) && !is_fixed) {
                (true, _) => {}
                (false, true) => {
                    changes.made.push(key.name);
                    let (section, name) = key.name.split_once('.').expect("every key has a section");
                    merged[section][name] = of(&wanted, key.name).clone();
                }
                (false, false) => changes.put_off.push(key.name),
            }
        }
        let mut merged: Self = serde_json::from_value(merged).expect("a Config reads what a Config writes");
        merged.publish.keys.clone_from(&new.publish.keys);
        merged.server.admin_keys.clone_from(&self.server.admin_keys);
        merged.socketio.admin_keys.clone_from(&self.socketio.admin_keys);
        merged.hooks.signing_keys.clone_from(&self.hooks.signing_keys);
        merged.notices.signing_keys.clone_from(&self.notices.signing_keys);
        merged.broker.url.clone_from(&self.broker.url);
        merged.socketio.cluster_url.clone_from(&self.socketio.cluster_url);
        merged.auth.hs256_keys.clone_from(&new.auth.hs256_keys);
        merged.check()?;
        merged.check_shares(shards)?;
        *self = merged;
        Ok(changes)
    }

    /// What every shard is told of a configuration that changes while it runs.
    pub fn live(&self) -> Live {
        Live {
            limits: self.limits.clone(),
            drain_ms: self.server.drain_ms,
            policy: self.policy(),
            retentions: self.retentions(),
            tls_handshakes_max: self.tls.handshakes_max,
            tls_handshake_timeout_ms: self.tls.handshake_timeout_ms,
            tokens: self.tokens(),
            publish_keys: self.publish.keys.iter().map(|key| key.expose().to_owned()).collect(),
            clients_publish: self.publish.clients,
            socketio_clients_publish: self.socketio_clients_publish(),
            socketio_relays: self.socketio_relays(),
            allowed_origins: self.cors.allowed_origins.clone(),
            origins_credentials: self.cors.credentials,
            config_json: self.effective_json(),
        }
    }
}

/// Secrets, which no written form of a configuration shows.
fn secrets<'a>(config: &'a Config, key: &str) -> &'a [Secret] {
    match key {
        "publish.keys" => &config.publish.keys,
        "server.admin_keys" => &config.server.admin_keys,
        "socketio.admin_keys" => &config.socketio.admin_keys,
        "hooks.signing_keys" => &config.hooks.signing_keys,
        "notices.signing_keys" => &config.notices.signing_keys,
        "auth.hs256_keys" => &config.auth.hs256_keys,
        "socketio.cluster_url" => std::slice::from_ref(&config.socketio.cluster_url),
        "broker.url" => std::slice::from_ref(&config.broker.url),
        other => unreachable!("{other} is no list of secrets"),
    }
}

fn values(config: &Config) -> Value {
    serde_json::to_value(config).expect("a Config holds only strings, numbers and booleans")
}

fn of<'a>(values: &'a Value, key: &str) -> &'a Value {
    let (section, name) = key.split_once('.').expect("every key has a section");
    &values[section][name]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Lasting, LogLevel, Namespace, keys};

    #[test]
    fn every_live_key_is_a_key() {
        for name in LIVE {
            assert!(keys::find(name).is_some(), "there is no key {name}");
        }
    }

    #[test]
    fn what_can_change_changes_and_the_rest_waits_for_a_restart() {
        let mut config = Config::default();
        let mut new = Config::default();
        new.publish.keys = vec![Secret::new("k")];
        new.limits.ping_interval_ms = 21_000;
        new.log.level = LogLevel::Debug;
        new.server.shards = 7;
        new.limits.connections_max = 9;
        let changes = config.adopt(&new, 2).expect("it can work");
        assert_eq!(changes.made, ["limits.ping_interval_ms", "publish.keys", "log.level"]);
        assert_eq!(changes.put_off, ["server.shards", "limits.connections_max"]);
        assert_eq!((config.server.shards, config.limits.connections_max), (0, 0));
        assert_eq!((config.limits.ping_interval_ms, config.publish.keys[0].expose()), (21_000, "k"));
        assert!(!config.live().policy.publish_open, "a key closes what was open by itself");
        assert_eq!(config.adopt(&new, 2).expect("again").made, [""; 0], "nothing is left to change");
    }

    #[test]
    fn namespaces_change_but_for_what_outlives_the_process() {
        let with = |durability| {
            let namespace = Namespace { pattern: "a".into(), durability, ..Namespace::default() };
            let mut config = Config { namespace: vec![namespace], ..Config::default() };
            config.storage.path = "/tmp/x".into();
            config
        };
        let changes = with(None).adopt(&with(Some(Lasting::Synced)), 2).expect("it can work");
        assert_eq!(changes.put_off, ["namespace.durability"]);
        let mut other = with(None);
        other.namespace[0].state_keys_max = Some(1);
        let changes = with(None).adopt(&other, 2).expect("it can work");
        assert_eq!((changes.made, changes.put_off), (vec!["namespace"], vec![]));
    }

    #[test]
    fn what_cannot_work_with_what_stays_changes_nothing() {
        let mut config = Config::default();
        config.server.listen = vec!["0.0.0.0:80".parse().expect("an address")];
        config.publish.keys = vec![Secret::new("k")];
        config.read.open = crate::config::Switch::On;
        let before = config.clone();
        // Alone it could work: the address is loopback.
        let refused = config.adopt(&Config::default(), 2).expect_err("publishing would be open to everybody");
        assert!(refused.to_string().contains("anybody who reaches 0.0.0.0:80 could publish"), "{refused}");
        assert_eq!(config, before);
    }
}
