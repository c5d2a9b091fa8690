//! `socketio.cluster` and what belongs to it: a place in a Socket.IO cluster. What each key means to an operator stands in
//! `keys.rs`.

use std::fmt;

use super::{Config, SocketIoCluster};
use crate::{
    broker::{
        Address, AddressError,
        cluster::{ClusterSettings, Members},
    },
    limits::CLUSTER_KEY_BYTES_MAX,
};

/// A setting with which the process cannot be a member of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterProblem {
    /// Nobody has said where its Redis is.
    NoUrl,
    /// An address that is none.
    Url(AddressError),
    /// What is said there can be read on the way.
    Plain,
    /// A key that is none.
    Key,
    /// There is no Socket.IO.
    Disabled,
}

impl Config {
    /// What a checked configuration says of the cluster, if the process is to be a member of one: of that which the operator
    /// names, or else of the nodes that a broker joins.
    pub fn cluster(&self) -> Option<ClusterSettings> {
        let siblings = self.broker().map(|broker| broker.prefix);
        let (members, key, url) = match self.socketio.cluster {
            SocketIoCluster::RedisAdapter => {
                (Members::Anybody, self.socketio.cluster_key.clone(), self.cluster_url()?)
            }
            SocketIoCluster::ShardedRedisAdapter => {
                (Members::Sharded, self.socketio.cluster_key.clone(), self.cluster_url()?)
            }
            SocketIoCluster::Off => {
                (Members::Nodes, format!("{}:io", siblings.as_ref()?), self.first_broker()?)
            }
        };
        Some(ClusterSettings {
            members,
            address: Address::parse(url).ok()?,
            key,
            ca_file: self.broker.ca_file.clone(),
            identity: self.broker.identity(),
            siblings,
            bytes_max: self.limits.body_bytes_max as usize,
        })
    }

    fn first_broker(&self) -> Option<&str> {
        self.broker.url.expose().split_whitespace().next()
    }

    /// Where the cluster's Redis is.
    fn cluster_url(&self) -> Option<&str> {
        match self.socketio.cluster_url.expose().trim() {
            "" => self.first_broker(),
            url => Some(url),
        }
    }

    pub(super) fn cluster_problems(&self) -> Vec<ClusterProblem> {
        if self.socketio.cluster == SocketIoCluster::Off {
            return Vec::new();
        }
        let mut problems = Vec::new();
        if !self.socketio.enabled {
            problems.push(ClusterProblem::Disabled);
        }
        match self.cluster_url().map(Address::parse) {
            None => problems.push(ClusterProblem::NoUrl),
            // The broker's own problems are told of as such.
            Some(_) if self.socketio.cluster_url.expose().trim().is_empty() => {}
            Some(Err(error)) => problems.push(ClusterProblem::Url(error)),
            Some(Ok(address)) if !address.is_safe() && !self.broker.plain => {
                problems.push(ClusterProblem::Plain)
            }
            Some(Ok(_)) => {}
        }
        let key = &self.socketio.cluster_key;
        let is_byte = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if key.is_empty() || key.len() > CLUSTER_KEY_BYTES_MAX || !key.bytes().all(is_byte) {
            problems.push(ClusterProblem::Key);
        }
        problems
    }
}

impl fmt::Display for ClusterProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUrl => f.write_str(
                "socketio.cluster makes this server a member of a Socket.IO cluster, and nothing says where its Redis is; set \
                 socketio.cluster_url, such as \"redis://127.0.0.1:6379\"",
            ),
            Self::Url(error) => write!(f, "socketio.cluster_url: {error}"),
            Self::Plain => f.write_str(
                "socketio.cluster_url leaves this machine without TLS, so that whoever is on the way reads every event; use \
                 rediss://, or say broker.plain = true where the network is yours alone",
            ),
            Self::Key => write!(
                f,
                "socketio.cluster_key is made of 1 to {CLUSTER_KEY_BYTES_MAX} printable ASCII characters without spaces and \
                 \"#\", such as \"socket.io\""
            ),
            Self::Disabled => f.write_str(
                "socketio.cluster makes this server a member of a Socket.IO cluster, and socketio.enabled is false; leave \
                 one of the two out",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        config.socketio.cluster = SocketIoCluster::RedisAdapter;
        change(&mut config);
        config
    }

    fn problems(change: impl FnOnce(&mut Config)) -> Vec<ClusterProblem> {
        config(change).cluster_problems()
    }

    #[test]
    fn a_cluster_has_a_redis_of_its_own_or_the_brokers() {
        assert!(Config::default().cluster().is_none() && Config::default().cluster_problems().is_empty());
        assert_eq!(problems(|_| ()), [ClusterProblem::NoUrl]);
        let url = |url: &str| {
            let url = Secret::new(url);
            move |config: &mut Config| config.socketio.cluster_url = url
        };
        assert_eq!(problems(url("redis://localhost")), []);
        assert_eq!(problems(url("localhost")), [ClusterProblem::Url(AddressError)]);
        assert_eq!(problems(url("redis://r.example")), [ClusterProblem::Plain]);
        assert_eq!(problems(url("rediss://r.example")), []);
        let alone = config(url("redis://localhost:1")).cluster().expect("a cluster");
        assert_eq!((alone.address.to_string().as_str(), alone.siblings), ("redis://localhost:1", None));
        let of_broker =
            |config: &mut Config| config.broker.url = Secret::new("redis://localhost:2 redis://localhost:3");
        assert_eq!(problems(of_broker), []);
        let joined = config(of_broker).cluster().expect("a cluster");
        assert_eq!(
            (joined.address.to_string().as_str(), joined.siblings),
            ("redis://localhost:2", Some("rs".into()))
        );
        let settings = config(of_broker).socketio_settings();
        assert!(settings.in_cluster && settings.has_broker);
        assert_eq!((joined.members, joined.key.as_str()), (Members::Anybody, "socket.io"));
    }

    #[test]
    fn nodes_that_a_broker_joins_are_members_of_their_own_cluster_if_of_no_other() {
        let mut config = Config::default();
        config.broker.url = Secret::new("redis://localhost:2 redis://localhost:3");
        let joined = config.cluster().expect("a cluster");
        assert_eq!((joined.members, joined.key.as_str()), (Members::Nodes, "rs:io"));
        assert_eq!(joined.address.to_string(), "redis://localhost:2");
        let settings = config.socketio_settings();
        assert!(!settings.in_cluster && settings.has_broker);
    }

    #[test]
    fn a_key_is_one_word_and_a_cluster_needs_socketio() {
        let url = Secret::new("unix:/r.sock");
        for key in ["", "a b", "a#b", "ä", &"x".repeat(CLUSTER_KEY_BYTES_MAX + 1)] {
            let change = |config: &mut Config| {
                (config.socketio.cluster_url, config.socketio.cluster_key) = (url.clone(), key.into());
            };
            assert_eq!(problems(change), [ClusterProblem::Key], "{key}");
        }
        let change = |config: &mut Config| {
            (config.socketio.cluster_url, config.socketio.enabled) = (url.clone(), false);
        };
        assert_eq!(problems(change), [ClusterProblem::Disabled]);
    }
}
