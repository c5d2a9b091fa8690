//! Which well-formed values cannot work, alone or together, and what to do about it.
//!
//! A bound that depends on the machine (descriptors, cores) is not here but in `supervisor/`.

use std::{collections::HashSet, fmt};

use super::{
    AccessProblem, BrokerProblem, ClusterProblem, Config, Endpoint, HookProblem, ProxyProblem, SocketIo,
    SocketIoProblem, StorageProblem, TlsProblem, TokenProblem, UnixProblem, access, proxy, tls, tokens, unix,
};
use crate::{
    app::{Hosts, Origins},
    limits::{
        ACCESS_PER_SECOND_MAX, HANDSHAKES_MAX, HOOKS_IN_FLIGHT_MAX, Limits, NOTICES_QUEUED_MAX,
        SEND_TIMEOUT_PARTS, SHARDS_MAX, STATE_CHANNEL_BYTES_MAX, STATE_KEYS_MAX, TICK_MS,
    },
};

/// A setting, or two together, that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no public address.
    NothingToListenOn,
    /// An address stands twice in `server.listen`, or there and in `server.admin`.
    RepeatedAddress(Endpoint),
    /// Who may do what cannot be as it is said, or is not said.
    Access(AccessProblem),
    /// Tokens cannot be looked at so.
    Tokens(TokenProblem),
    /// A backend cannot be called so.
    Hooks(HookProblem),
    /// An origin that no browser would send.
    UnusableOrigin(String),
    /// A host that no client would send.
    UnusableHost(String),
    /// Cookies for every page there is.
    CredentialsForAnyOrigin,
    /// Socket.IO cannot be served like this.
    SocketIo(SocketIoProblem),
    /// Nothing can be kept like this.
    Storage(StorageProblem),
    /// Something about the broker.
    Broker(BrokerProblem),
    /// Something of a Socket.IO cluster.
    Cluster(ClusterProblem),
    /// TLS cannot be spoken like this.
    Tls(TlsProblem),
    /// Files of Unix sockets cannot be like this.
    Unix(UnixProblem),
    /// Proxies cannot be trusted like this.
    Proxy(ProxyProblem),
    /// A number below what can work.
    Below {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The least that can work.
        least: u64,
    },
    /// A number above what can work.
    Above {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The most that can work.
        most: u64,
    },
    /// A number above another that has to contain it.
    Exceeds {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The key that has to be at least as large.
        bound: &'static str,
        /// The value of that key.
        bound_value: u64,
        /// Why it has to be.
        because: &'static str,
    },
    /// A limit shared by the shards of which each gets too little.
    ShareBelow {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// How many shards share it.
        shards: u16,
        /// The least that each has to get.
        least: u64,
    },
}

/// The widest channel name `model::ChannelName` stores: its length is one byte.
const CHANNEL_NAME_BYTES_MAX: u64 = 255;
/// A request line of a channel with the longest name, and the handful of headers any client sends.
const HEAD_BYTES_MIN: u64 = 1024;
/// The longest time a timer wheel of milliseconds in 32 bits is asked for is a day; more is a mistake of unit.
const DRAIN_MS_MAX: u64 = 86_400_000;
/// Clients wait as long; beyond a minute none does.
const HOOK_TIMEOUT_MS_MAX: u64 = 60_000;
/// More would let a shard do nothing but begin anew.
const SHARD_RESTARTS_MAX: u64 = 1_000;
/// A day.
const SHARD_REPLACED_MS_MAX: u64 = 86_400_000;
/// A minute: longer, and nobody would call it live.
const COUNTER_INTERVAL_MS_MAX: u64 = 60_000;
/// The kernel takes the backlog as a signed number (listen(2)).
const BACKLOG_MAX: u64 = i32::MAX as u64;
/// A second: longer would be for ever.
const SPIN_US_MAX: u64 = 1_000_000;

/// Every problem of a configuration.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = addresses(config);
    problems.extend(access::problems(config).into_iter().map(Problem::Access));
    problems.extend(tokens::problems(config).into_iter().map(Problem::Tokens));
    problems.extend(config.hooks.problems().into_iter().map(Problem::Hooks));
    problems.extend(config.notices.problems().into_iter().map(Problem::Hooks));
    let hosts = config.server.allowed_hosts.iter().filter(|name| !Hosts::is_name(name));
    problems.extend(hosts.map(|name| Problem::UnusableHost(name.clone())));
    let origins = config.cors.allowed_origins.iter().filter(|origin| !Origins::is_origin(origin));
    problems.extend(origins.map(|origin| Problem::UnusableOrigin(origin.clone())));
    if config.cors.credentials && config.cors.allowed_origins.iter().any(|origin| origin == "*") {
        problems.push(Problem::CredentialsForAnyOrigin);
    }
    problems.extend(config.socketio.problems().into_iter().map(Problem::SocketIo));
    problems.extend(config.storage.problems(&config.namespace).into_iter().map(Problem::Storage));
    problems.extend(config.broker_problems().into_iter().map(Problem::Broker));
    problems.extend(config.cluster_problems().into_iter().map(Problem::Cluster));
    problems.extend(tls::problems(config));
    problems.extend(proxy::problems(config));
    problems.extend(unix::problems(config));
    problems.extend(ranges(config));
    problems.extend(relations(&config.limits));
    problems.extend(socketio_buffer(config));
    problems
}

/// Limits of which an equal share has to be of use to every shard.
pub(super) fn problems_of_shares(limits: &Limits, shards: u16) -> Vec<Problem> {
    let history_least = match limits.history_publications_max {
        0 => 0,
        _ => limits.publication_bytes_max.into(),
    };
    // A buffer that grows may take twice what it holds.
    let input_least = 2 * u64::from(
        limits.message_bytes_max.max(limits.head_bytes_max.saturating_add(limits.body_bytes_max)),
    );
    [
        ("limits.partial_input_bytes_max", limits.partial_input_bytes_max, input_least),
        ("limits.channels_max", limits.channels_max.into(), 1),
        ("limits.history_bytes_max", limits.history_bytes_max, history_least),
    ]
    .into_iter()
    .filter(|(_, value, least)| value / u64::from(shards) < *least)
    .map(|(key, value, least)| Problem::ShareBelow { key, value, shards, least })
    .collect()
}

fn addresses(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.server.listen.is_empty() {
        problems.push(Problem::NothingToListenOn);
    }
    let mut seen = HashSet::new();
    let addresses = config.server.listen.iter().chain(&config.server.admin).chain(&config.tls.redirect);
    for endpoint in addresses {
        let takes_a_free_port = matches!(endpoint, Endpoint::Tcp(address) if address.port() == 0);
        if !takes_a_free_port && !seen.insert(endpoint) {
            problems.push(Problem::RepeatedAddress(endpoint.clone()));
        }
    }
    problems
}

/// Who asks for a larger buffer than the default must let it through; who only lowers a general limit lowers the
/// default buffer with it.
fn socketio_buffer(config: &Config) -> Vec<Problem> {
    let (key, size) = ("socketio.max_http_buffer_size", config.socketio.max_http_buffer_size);
    if !config.socketio.enabled || size <= SocketIo::default().max_http_buffer_size {
        return Vec::new();
    }
    let rows = [
        ("limits.body_bytes_max", config.limits.body_bytes_max, "a polling client's payload is one body"),
        ("limits.message_bytes_max", config.limits.message_bytes_max, "a packet is one WebSocket message"),
    ];
    let exceeded = rows.into_iter().filter(|(_, bound_value, _)| size > *bound_value);
    let problem = |(bound, bound_value, because): (_, u32, _)| Problem::Exceeds {
        key,
        value: size.into(),
        bound,
        bound_value: bound_value.into(),
        because,
    };
    exceeded.map(problem).collect()
}

/// Numbers that have to lie between two bounds, whatever the others are.
fn ranges(config: &Config) -> Vec<Problem> {
    let outside = |(key, value, least, most)| match value {
        value if value < least => Some(Problem::Below { key, value, least }),
        value if value > most => Some(Problem::Above { key, value, most }),
        _ => None,
    };
    let ranges = [section_ranges(config), limit_ranges(&config.limits)];
    ranges.into_iter().flatten().filter_map(outside).collect()
}

/// A key, its value, the least and the most that this may be.
type Range = (&'static str, u64, u64, u64);

fn section_ranges(config: &Config) -> Vec<Range> {
    let (server, socketio) = (&config.server, &config.socketio);
    let any = u64::from(u32::MAX);
    vec![
        ("server.shards", server.shards.into(), 0, SHARDS_MAX.into()),
        ("server.drain_ms", server.drain_ms.into(), 0, DRAIN_MS_MAX),
        ("server.lame_duck_ms", server.lame_duck_ms.into(), 0, DRAIN_MS_MAX),
        ("server.backlog", server.backlog.into(), 1, BACKLOG_MAX),
        ("server.spin_us", server.spin_us.into(), 0, SPIN_US_MAX),
        ("server.shard_replaced_ms", server.shard_replaced_ms.into(), 0, SHARD_REPLACED_MS_MAX),
        ("server.shard_restarts_max", server.shard_restarts_max.into(), 0, SHARD_RESTARTS_MAX),
        ("log.access_per_second", config.log.access_per_second.into(), 1, ACCESS_PER_SECOND_MAX.into()),
        ("auth.jwks_refetch_s", config.auth.jwks_refetch_s.into(), 1, any),
        ("hooks.timeout_ms", config.hooks.timeout_ms.into(), TICK_MS, HOOK_TIMEOUT_MS_MAX),
        ("hooks.in_flight_max", config.hooks.in_flight_max.into(), 1, HOOKS_IN_FLIGHT_MAX.into()),
        ("notices.batch_max", config.notices.batch_max.into(), 1, any),
        ("notices.queue_max", config.notices.queue_max.into(), 1, NOTICES_QUEUED_MAX.into()),
        ("notices.delay_ms", config.notices.delay_ms.into(), 0, HOOK_TIMEOUT_MS_MAX),
        ("notices.timeout_ms", config.notices.timeout_ms.into(), TICK_MS, HOOK_TIMEOUT_MS_MAX),
        ("tls.handshake_timeout_ms", config.tls.handshake_timeout_ms.into(), TICK_MS, any),
        ("tls.handshakes_max", config.tls.handshakes_max.into(), 1, HANDSHAKES_MAX.into()),
        ("socketio.ping_interval_ms", socketio.ping_interval_ms.into(), TICK_MS, any),
        ("socketio.ping_timeout_ms", socketio.ping_timeout_ms.into(), TICK_MS, any),
        ("socketio.upgrade_timeout_ms", socketio.upgrade_timeout_ms.into(), TICK_MS, any),
        ("socketio.connect_timeout_ms", socketio.connect_timeout_ms.into(), TICK_MS, any),
        ("socketio.max_http_buffer_size", socketio.max_http_buffer_size.into(), 1, any),
        ("auth.refresh_s", config.auth.refresh_s.into(), 1, any),
        ("auth.lifetime_max_s", config.auth.lifetime_max_s.into(), 1, any),
        ("diagnostics.message_bytes_max", config.diagnostics.message_bytes_max.into(), 1, any),
    ]
}

fn limit_ranges(limits: &Limits) -> Vec<Range> {
    let any = u64::from(u32::MAX);
    vec![
        ("limits.head_bytes_max", limits.head_bytes_max.into(), HEAD_BYTES_MIN, any),
        ("limits.head_fields_max", limits.head_fields_max.into(), 1, any),
        ("limits.head_timeout_ms", limits.head_timeout_ms.into(), TICK_MS, any),
        ("limits.body_bytes_max", limits.body_bytes_max.into(), 1, any),
        ("limits.body_timeout_ms", limits.body_timeout_ms.into(), TICK_MS, any),
        ("limits.keep_alive_timeout_ms", limits.keep_alive_timeout_ms.into(), TICK_MS, any),
        ("limits.message_bytes_max", limits.message_bytes_max.into(), 1, any),
        ("limits.message_timeout_ms", limits.message_timeout_ms.into(), TICK_MS, any),
        ("limits.send_queue_bytes_max", limits.send_queue_bytes_max.into(), 1, any),
        ("limits.send_bytes_max", limits.send_bytes_max, 1, u64::MAX),
        (
            "limits.send_timeout_ms",
            limits.send_timeout_ms.into(),
            u64::from(SEND_TIMEOUT_PARTS) * TICK_MS,
            any,
        ),
        ("limits.ping_interval_ms", limits.ping_interval_ms.into(), TICK_MS, any),
        ("limits.ping_timeout_ms", limits.ping_timeout_ms.into(), TICK_MS, any),
        ("limits.event_stream_keep_alive_ms", limits.event_stream_keep_alive_ms.into(), TICK_MS, any),
        ("limits.event_stream_retry_ms", limits.event_stream_retry_ms.into(), 1, any),
        ("limits.long_poll_timeout_max_ms", limits.long_poll_timeout_max_ms.into(), TICK_MS, any),
        ("limits.channel_name_bytes_max", limits.channel_name_bytes_max.into(), 1, CHANNEL_NAME_BYTES_MAX),
        ("limits.subscriptions_per_connection_max", limits.subscriptions_per_connection_max.into(), 1, any),
        ("limits.channels_max", limits.channels_max.into(), 1, any),
        ("limits.publication_bytes_max", limits.publication_bytes_max.into(), 1, any),
        ("limits.batch_publications_max", limits.batch_publications_max.into(), 1, any),
        ("limits.history_age_max_ms", limits.history_age_max_ms.into(), TICK_MS, any),
        ("limits.state_keys_max", limits.state_keys_max.into(), 0, STATE_KEYS_MAX.into()),
        ("limits.state_channels_max", limits.state_channels_max.into(), 1, any),
        (
            "limits.state_channel_bytes_max",
            limits.state_channel_bytes_max.into(),
            0,
            STATE_CHANNEL_BYTES_MAX.into(),
        ),
        ("limits.counter_interval_ms", limits.counter_interval_ms.into(), 0, COUNTER_INTERVAL_MS_MAX),
    ]
}

/// Numbers of which one has to contain the other.
fn relations(limits: &Limits) -> Vec<Problem> {
    let publication = u64::from(limits.publication_bytes_max);
    let keeps_history = limits.history_publications_max > 0;
    let rows: &[(bool, &'static str, u64, &'static str, u64, &'static str)] = &[
        (
            true,
            "limits.publication_bytes_max",
            publication,
            "limits.body_bytes_max",
            limits.body_bytes_max.into(),
            "a publication arrives as one body",
        ),
        (
            true,
            "limits.publication_bytes_max",
            publication,
            "limits.send_queue_bytes_max",
            limits.send_queue_bytes_max.into(),
            "one publication would end every subscriber as too slow",
        ),
        (
            keeps_history,
            "limits.publication_bytes_max",
            publication,
            "limits.history_bytes_max",
            limits.history_bytes_max,
            "a publication that is never kept cannot be recovered; limits.history_publications_max = 0 keeps none",
        ),
        (
            true,
            "limits.ping_timeout_ms",
            limits.ping_timeout_ms.into(),
            "limits.ping_interval_ms",
            limits.ping_interval_ms.into(),
            "one ping is on its way at a time",
        ),
    ];
    rows.iter()
        .filter(|(applies, _, value, _, bound_value, _)| *applies && value > bound_value)
        .map(|&(_, key, value, bound, bound_value, because)| Problem::Exceeds {
            key,
            value,
            bound,
            bound_value,
            because,
        })
        .collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(problem) => problem.fmt(f),
            Self::Proxy(problem) => problem.fmt(f),
            Self::Unix(problem) => problem.fmt(f),
            Self::NothingToListenOn => f.write_str(
                "server.listen is empty; give at least one address, such as --listen 127.0.0.1:8080",
            ),
            Self::RepeatedAddress(endpoint) => write!(
                f,
                "{endpoint} is listened on twice; give each address once in server.listen (--listen), \
                 server.admin (--admin) and tls.redirect"
            ),
            Self::Access(problem) => problem.fmt(f),
            Self::Storage(problem) => problem.fmt(f),
            Self::Broker(problem) => problem.fmt(f),
            Self::Cluster(problem) => problem.fmt(f),
            Self::Tokens(problem) => problem.fmt(f),
            Self::Hooks(problem) => problem.fmt(f),
            Self::UnusableOrigin(origin) => write!(
                f,
                "cors.allowed_origins: {origin:?} is no origin a browser sends; write scheme://host or \
                 scheme://host:port without a path, such as \"https://example.org\", \"https://*.example.org\" for \
                 every name below, \"null\", or \"*\""
            ),
            Self::UnusableHost(name) => write!(
                f,
                "server.allowed_hosts: {name:?} is no host; write a name or an address without a port, such as \
                 \"chat.example.org\", \"*.example.org\", \"[::1]\" or \"*\""
            ),
            Self::CredentialsForAnyOrigin => f.write_str(
                "cors.credentials is on for every page there is (cors.allowed_origins has \"*\"), which browsers \
                 refuse; list the origins that may send cookies",
            ),
            Self::SocketIo(problem) => problem.fmt(f),
            Self::Below { key, value, least } => {
                write!(f, "{key} is {value}; set it to at least {least} (--set {key}={least})")
            }
            Self::Above { key, value, most } => {
                write!(f, "{key} is {value}; set it to at most {most} (--set {key}={most})")
            }
            Self::Exceeds { key, value, bound, bound_value, because } => write!(
                f,
                "{key} is {value}, more than {bound}, {bound_value}: {because}; lower the one \
                 (--set {key}={bound_value}) or raise the other (--set {bound}={value})"
            ),
            Self::ShareBelow { key, value, shards, least } => {
                let needed = least * u64::from(*shards);
                write!(
                    f,
                    "{key} is {value}, shared by {shards} shards, and each needs {least}; set it to at least {needed} \
                     (--set {key}={needed}) or run fewer shards (--shards)"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_after(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        problems(&config).iter().map(Problem::to_string).collect()
    }

    fn endpoint(text: &str) -> Endpoint {
        text.parse().expect("an address")
    }

    #[test]
    fn the_defaults_have_no_problem() {
        assert_eq!(problems(&Config::default()), []);
    }

    #[test]
    fn addresses_must_be_there_and_different_but_port_0_may_repeat() {
        assert_eq!(
            problems_after(|config| config.server.listen.clear()),
            ["server.listen is empty; give at least one address, such as --listen 127.0.0.1:8080"]
        );
        assert_eq!(
            problems_after(|config| config.server.admin = Some(endpoint("127.0.0.1:8080"))),
            ["127.0.0.1:8080 is listened on twice; give each address once in server.listen (--listen), \
              server.admin (--admin) and tls.redirect"]
        );
        let free = vec![endpoint("127.0.0.1:0"), endpoint("127.0.0.1:0")];
        assert_eq!(problems_after(|config| config.server.listen = free), [""; 0]);
    }

    #[test]
    fn each_bound_takes_its_last_value_and_refuses_its_neighbour() {
        let name = |length| problems_after(|config| config.limits.channel_name_bytes_max = length);
        assert_eq!(name(255), [""; 0]);
        assert_eq!(
            name(256),
            [
                "limits.channel_name_bytes_max is 256; set it to at most 255 (--set limits.channel_name_bytes_max=255)"
            ]
        );
        assert_eq!(
            name(0),
            [
                "limits.channel_name_bytes_max is 0; set it to at least 1 (--set limits.channel_name_bytes_max=1)"
            ]
        );
        let shards = |count| problems_after(|config| config.server.shards = count);
        assert_eq!((shards(256).len(), shards(257).len()), (0, 1));
        let head = |bytes| problems_after(|config| config.limits.head_bytes_max = bytes);
        assert_eq!((head(1024).len(), head(1023).len()), (0, 1));
    }

    #[test]
    fn a_ping_must_be_answered_before_the_next() {
        let ping = |timeout| problems_after(|config| config.limits.ping_timeout_ms = timeout);
        assert_eq!(ping(25_000), [""; 0]);
        assert_eq!(
            ping(25_001),
            [
                "limits.ping_timeout_ms is 25001, more than limits.ping_interval_ms, 25000: one ping is on its way at a \
              time; lower the one (--set limits.ping_timeout_ms=25000) or raise the other \
              (--set limits.ping_interval_ms=25001)"
            ]
        );
    }

    #[test]
    fn a_publication_must_fit_the_body_the_send_queue_and_the_history() {
        let exceeded = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            relations(&limits)
                .into_iter()
                .map(|problem| match problem {
                    Problem::Exceeds { bound, .. } => bound,
                    other => panic!("{other}"),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(exceeded(|limits| limits.body_bytes_max = 256 * 1024), [""; 0]);
        assert_eq!(exceeded(|limits| limits.body_bytes_max = 256 * 1024 - 1), ["limits.body_bytes_max"]);
        assert_eq!(
            exceeded(|limits| limits.send_queue_bytes_max = 256 * 1024 - 1),
            ["limits.send_queue_bytes_max"]
        );
        assert_eq!(exceeded(|limits| limits.history_bytes_max = 5), ["limits.history_bytes_max"]);
        let without_history = |limits: &mut Limits| {
            limits.history_bytes_max = 5;
            limits.history_publications_max = 0;
        };
        assert_eq!(exceeded(without_history), [""; 0]);
    }

    #[test]
    fn socketio_needs_a_path_namespaces_and_somebody_who_can_connect() {
        assert_eq!(problems_after(|config| config.socketio.path = "/socket.io".into()).len(), 1);
        assert_eq!(
            problems_after(|config| config.socketio.transports.clear()),
            [
                "socketio.transports is empty, so that nobody can connect; list \"polling\", \"websocket\" or both, \
                 or serve no Socket.IO (--set socketio.enabled=false)"
            ]
        );
        let off = problems_after(|config| {
            config.socketio.transports.clear();
            config.socketio.enabled = false;
        });
        assert_eq!(off, [""; 0]);
        let namespaces = |names: &[&str]| {
            let names = names.iter().map(|name| name.to_string()).collect();
            problems_after(|config| config.socketio.namespaces = names).len()
        };
        assert_eq!((namespaces(&["/", "/game-*", "*"]), namespaces(&["game", "/x", ""])), (0, 2));
    }

    #[test]
    fn a_ping_timeout_of_nothing_is_refused() {
        let timeout = |ms| problems_after(|config| config.socketio.ping_timeout_ms = ms);
        assert_eq!(timeout(20), [""; 0]);
        assert_eq!(
            timeout(0),
            ["socketio.ping_timeout_ms is 0; set it to at least 20 (--set socketio.ping_timeout_ms=20)"]
        );
    }

    #[test]
    fn a_larger_buffer_than_the_default_must_be_let_through_and_the_default_gives_way() {
        let buffer = |size, body, message| {
            problems_after(|config| {
                config.socketio.max_http_buffer_size = size;
                (config.limits.body_bytes_max, config.limits.message_bytes_max) = (body, message);
            })
        };
        assert_eq!(buffer(1_000_000, 500_000, 400_000), [""; 0]);
        assert_eq!(buffer(2_000_000, 2_000_000, 2_000_000), [""; 0]);
        let refused = buffer(2_000_001, 2_000_001, 2_000_000);
        assert_eq!(refused.len(), 1);
        assert!(refused[0].contains("more than limits.message_bytes_max, 2000000:"), "{refused:?}");
        let mut config = Config::default();
        (config.limits.body_bytes_max, config.limits.message_bytes_max) = (500_000, 400_000);
        assert_eq!(config.socketio_settings().max_http_buffer_size, 400_000);
    }

    #[test]
    fn cookies_are_for_listed_pages_and_take_what_a_browser_does() {
        let credentials = |origin: &str| {
            problems_after(|config| {
                config.cors.credentials = true;
                config.cors.allowed_origins = vec![origin.into()];
            })
            .len()
        };
        assert_eq!((credentials("https://a.example"), credentials("*")), (0, 1));
        let cookie = |name: &str| problems_after(|config| config.socketio.cookie = name.into()).len();
        assert_eq!((cookie("io"), cookie("my-io.1"), cookie("a b"), cookie("a=b")), (0, 0, 1, 1));
        let attributes =
            |text: &str| problems_after(|config| config.socketio.cookie_attributes = text.into()).len();
        assert_eq!((attributes("Path=/; Secure"), attributes("Path=/\r\nX: y")), (0, 1));
    }

    #[test]
    fn each_shard_s_share_must_hold_one_of_what_is_shared() {
        let shares = |bytes, shards| {
            let limits = Limits { history_bytes_max: bytes, publication_bytes_max: 100, ..Limits::default() };
            problems_of_shares(&limits, shards).iter().map(Problem::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shares(400, 4), [""; 0]);
        assert_eq!(
            shares(399, 4),
            [
                "limits.history_bytes_max is 399, shared by 4 shards, and each needs 100; set it to at least 400 \
              (--set limits.history_bytes_max=400) or run fewer shards (--shards)"
            ]
        );
    }
}
