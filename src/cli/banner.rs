//! What the program says on standard output once every shard listens: where it is, how much it holds, what to try.

use std::net::{IpAddr, SocketAddr};

use roadstead_tuning::setting::demand::grouped;

use crate::{
    auth::{Asker, Right},
    config::{Config, Endpoint},
    model::scheme,
    supervisor::Listening,
};

/// The text, with a line break at its end.
pub fn banner(config: &Config, listening: &Listening) -> String {
    let first = asked_and_bound(config, listening).next();
    told(config, listening, first.map(|(tls, endpoint)| commands(config, endpoint, tls)).unwrap_or_default())
}

/// The same of a server that runs a program.
pub fn program_banner(config: &Config, listening: &Listening) -> String {
    let open = asked_and_bound(config, listening).find_map(|(tls, bound)| match bound {
        Endpoint::Tcp(address) => {
            Some(format!("open {}://{}/ in a browser", scheme(tls), reachable(*address)))
        }
        Endpoint::Unix(_) => None,
    });
    told(config, listening, open.into_iter().chain(["roadstead help program".to_owned()]))
}

/// Where a server is and how much it holds, and what to try.
fn told(config: &Config, listening: &Listening, tries: impl IntoIterator<Item = String>) -> String {
    let public: Vec<_> = asked_and_bound(config, listening).map(|(tls, bound)| shown(bound, tls)).collect();
    let admin =
        listening.admin.as_ref().map_or("off".to_owned(), |admin| shown(admin, config.admin_speaks_tls()));
    let redirect: Vec<_> = listening.redirect.iter().map(|endpoint| shown(endpoint, false)).collect();
    let socketio = if config.socketio.enabled { &config.socketio.path } else { "off" };
    let lines = [
        format!("roadstead {}: {}", env!("CARGO_PKG_VERSION"), shards(&listening.cores)),
        format!("  listening    {}", public.join("  ")),
        format!("  socket.io    {socketio}"),
        format!("  admin        {admin}"),
        format!(
            "  connections  {} at most, set by {}",
            grouped(listening.ceiling.connections.into()),
            listening.ceiling.set_by
        ),
    ];
    let redirect = (!redirect.is_empty()).then(|| format!("  redirect     {}", redirect.join("  ")));
    let tries = tries.into_iter().map(|command| format!("  {command}"));
    let lines = lines.into_iter().chain(redirect).chain([String::new(), "try:".to_owned()]).chain(tries);
    lines.map(|line| line + "\n").collect()
}

/// Each public address, and whether it speaks TLS.
pub(super) fn asked_and_bound<'a>(
    config: &'a Config,
    listening: &'a Listening,
) -> impl Iterator<Item = (bool, &'a Endpoint)> {
    let asked = config.server.listen.iter().map(|endpoint| config.speaks_tls(endpoint));
    asked.chain(std::iter::repeat(false)).zip(&listening.public)
}

/// How many shards, and where.
fn shards(cores: &[usize]) -> String {
    let mut distinct = cores.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let cores_count = distinct.len();
    let list = crate::config::CpuList::new(distinct);
    let plural = |count: usize, noun: &str| match count {
        1 => format!("{count} {noun}"),
        _ => format!("{count} {noun}s"),
    };
    let turns = if cores.len() > cores_count { ", which they share in turn" } else { "" };
    let cores_noun = if cores_count == 1 { "core" } else { "cores" };
    format!("{} on {cores_noun} {list}{turns}", plural(cores.len(), "shard"))
}

/// An address as a person would open it.
fn shown(endpoint: &Endpoint, speaks_tls: bool) -> String {
    match endpoint {
        Endpoint::Tcp(address) => format!("{}://{address}", scheme(speaks_tls)),
        Endpoint::Unix(_) => endpoint.to_string(),
    }
}

/// What to try first, with this server's own address.
fn commands(config: &Config, endpoint: &Endpoint, speaks_tls: bool) -> Vec<String> {
    let scheme = scheme(speaks_tls);
    // The certificate is hardly one for this address.
    let curl = if speaks_tls { "curl -k" } else { "curl" };
    let (curl, base) = match endpoint {
        Endpoint::Tcp(address) => (curl.to_owned(), format!("{scheme}://{}", reachable(*address))),
        Endpoint::Unix(path) => {
            (format!("{curl} --unix-socket {}", path.display()), format!("{scheme}://localhost"))
        }
    };
    let may = May::under(config);
    let token = if config.takes_tokens() { "-H 'Authorization: Bearer TOKEN' " } else { "" };
    let reader = if config.reading_is_open() { "" } else { token };
    let key = match (config.publishing_is_open(), config.publish.keys.is_empty()) {
        (false, false) => "-H 'Authorization: Bearer KEY' ",
        (false, true) => token,
        (true, _) => "",
    };
    let is_token_wanted = !reader.is_empty() || (!key.is_empty() && key == token);
    let make = (is_token_wanted && !config.auth.hs256_keys.is_empty()).then(|| {
        let audience = match &*config.auth.audience {
            "" => String::new(),
            audience => format!(" --audience {audience}"),
        };
        let file = "FILE holds the first of auth.hs256_keys; leave it out where ROADSTEAD_AUTH__HS256_KEYS is set";
        format!("roadstead token make --user me --subscribe news --publish news{audience} --key-file FILE    # {file}")
    });
    let stream = format!("{curl} -N {reader}-H 'Accept: text/event-stream' {base}/channels/news");
    let publish = format!("{curl} {key}-d hello {base}/channels/news");
    let emit = config.socketio.enabled.then(|| {
        let event =
            r#"-H 'Content-Type: application/json' -d '{"rooms":["news"],"event":"news","args":["hello"]}'"#;
        format!("{curl} {key}{event} {base}/socket.io-api/emit")
    });
    let poll = format!("{curl} {reader}'{base}/channels/news?timeout=25'");
    let last = match (config.demo_is_enabled(), endpoint) {
        (true, Endpoint::Tcp(_)) => Some(format!("open {base}/ in a browser")),
        (true, Endpoint::Unix(_)) | (false, _) => may.read.then_some(poll),
    };
    let stream = may.read.then_some(stream);
    let (publish, emit) = (may.publish.then_some(publish), emit.filter(|_| may.publish));
    [may.lacking(), make, stream, publish, emit, last].into_iter().flatten().collect()
}

/// What is possible at all, for anybody whom the configuration knows.
struct May {
    read: bool,
    publish: bool,
}

impl May {
    fn under(config: &Config) -> Self {
        let policy = config.policy();
        let is_open = |right| policy.decide_some(&Asker::default(), right).is_ok();
        let knows_users = config.knows_users();
        Self {
            read: knows_users || is_open(Right::Subscribe),
            publish: knows_users || !config.publish.keys.is_empty() || is_open(Right::Publish),
        }
    }

    /// Where something is nobody's right, what to read about it: the commands that need it would only be refused.
    fn lacking(&self) -> Option<String> {
        let what = match (self.read, self.publish) {
            (true, true) => return None,
            (false, true) => "read",
            (true, false) => "publish",
            (false, false) => "read or publish",
        };
        Some(format!("roadstead help permissions    # nobody may {what} here yet: how to say who may"))
    }
}

/// An address that can be connected to: every interface includes the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Secret, Switch},
        supervisor::{Ceiling, SetBy},
    };

    fn listening(addresses: &[&str], cores: &[usize]) -> Listening {
        let endpoint = |text: &&str| text.parse().expect("an address");
        let set_by = SetBy::OpenFiles { nofile: 20_000, reserve: 98 };
        Listening {
            cores: cores.to_vec(),
            public: addresses.iter().map(endpoint).collect(),
            admin: Some(endpoint(&"127.0.0.1:8081")),
            redirect: Vec::new(),
            ceiling: Ceiling { connections: 19_902, per_shard_limit: 14_990, set_by },
        }
    }

    #[test]
    fn the_banner_tells_where_how_many_and_what_to_try() {
        let text = banner(&Config::default(), &listening(&["127.0.0.1:8080"], &[0, 1]));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text,
            format!(
                "roadstead {version}: 2 shards on cores 0-1
  listening    http://127.0.0.1:8080
  socket.io    /socket.io/
  admin        http://127.0.0.1:8081
  connections  19,902 at most, set by the open-files limit, 20000, less 98 for the process itself

try:
  curl -N -H 'Accept: text/event-stream' http://127.0.0.1:8080/channels/news
  curl -d hello http://127.0.0.1:8080/channels/news
  curl -H 'Content-Type: application/json' -d '{{\"rooms\":[\"news\"],\"event\":\"news\",\"args\":[\"hello\"]}}' http://127.0.0.1:8080/socket.io-api/emit
  open http://127.0.0.1:8080/ in a browser
"
            )
        );
    }

    #[test]
    fn what_to_try_fits_how_the_server_is_set_up() {
        let mut config = Config::default();
        config.server.listen = vec!["0.0.0.0:80".parse().expect("an address")];
        config.publish.keys = vec![Secret::new("s3cret")];
        config.demo.enabled = Switch::Auto;
        config.socketio.enabled = false;
        let text = banner(&config, &listening(&["0.0.0.0:80"], &[0]));
        assert!(text.contains("1 shard on core 0\n"), "{text}");
        assert!(
            text.contains("curl -H 'Authorization: Bearer KEY' -d hello http://127.0.0.1:80/channels/news"),
            "{text}"
        );
        assert!(
            text.contains("\ntry:\n  roadstead help permissions    # nobody may read here yet"),
            "{text}"
        );
        assert!(!text.contains("timeout=25") && !text.contains("event-stream"), "{text}");
        assert!(!text.contains("browser") && !text.contains("s3cret"), "{text}");
        assert!(text.contains("  socket.io    off\n") && !text.contains("socket.io-api"), "{text}");
        config.read.open = Switch::On;
        let text = banner(&config, &listening(&["0.0.0.0:80"], &[0]));
        assert!(text.contains("curl 'http://127.0.0.1:80/channels/news?timeout=25'"), "{text}");
        assert!(!text.contains("nobody"), "{text}");
    }

    #[test]
    fn where_nobody_may_do_anything_no_command_is_shown_that_would_be_refused() {
        let mut config = Config::default();
        config.server.listen = vec!["0.0.0.0:80".parse().expect("an address")];
        let text = banner(&config, &listening(&["0.0.0.0:80"], &[0]));
        let tail = text.split("try:\n").nth(1);
        assert_eq!(
            tail,
            Some(
                "  roadstead help permissions    # nobody may read or publish here yet: how to say who may\n"
            )
        );
        let rule = "[[namespace]]\npattern = \"news\"\nsubscribe = \"anyone\"";
        config.namespace = toml::from_str::<Config>(rule).expect("a configuration").namespace;
        let text = banner(&config, &listening(&["0.0.0.0:80"], &[0]));
        assert!(text.contains("nobody may publish here yet") && text.contains("event-stream"), "{text}");
    }

    #[test]
    fn where_a_token_is_wanted_it_is_told_how_one_is_made_and_shown() {
        let mut config = Config::default();
        config.server.listen = vec!["0.0.0.0:80".parse().expect("an address")];
        config.auth.hs256_keys = vec![Secret::new("s3cret".repeat(6))];
        config.auth.audience = "shop".into();
        let text = banner(&config, &listening(&["0.0.0.0:80"], &[0]));
        let make =
            "\ntry:\n  roadstead token make --user me --subscribe news --publish news --audience shop ";
        assert!(text.contains(make) && !text.contains("s3cret"), "{text}");
        assert!(
            text.lines().filter(|line| line.contains("curl")).all(|line| line.contains("Bearer TOKEN")),
            "{text}"
        );
        config.publish.keys = vec![Secret::new("s3cret")];
        config.read.open = Switch::On;
        let text = banner(&config, &listening(&["0.0.0.0:80"], &[0]));
        assert!(!text.contains("TOKEN") && !text.contains("token make"), "{text}");
    }

    #[test]
    fn a_unix_socket_is_tried_through_curl() {
        let text = banner(&Config::default(), &listening(&["unix:/run/r"], &[0, 0, 0]));
        assert!(text.contains("3 shards on core 0, which they share in turn"), "{text}");
        assert!(text.contains("curl --unix-socket /run/r -d hello http://localhost/channels/news"), "{text}");
    }

    #[test]
    fn what_speaks_tls_is_tried_with_it() {
        let mut config = Config::default();
        config.server.listen = vec!["0.0.0.0:443".parse().expect("an address")];
        config.publish.open = Switch::On;
        config.tls.certificates = vec!["cert.pem".into()];
        let mut listening = listening(&["0.0.0.0:443"], &[0]);
        listening.redirect = vec!["0.0.0.0:80".parse().expect("an address")];
        let text = banner(&config, &listening);
        assert!(text.contains("  listening    https://0.0.0.0:443\n"), "{text}");
        assert!(text.contains("  redirect     http://0.0.0.0:80\n\ntry:\n"), "{text}");
        assert!(text.contains("  curl -k -d hello https://127.0.0.1:443/channels/news\n"), "{text}");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (4_294_967_295, "4,294,967,295")] {
            assert_eq!(grouped(number), text);
        }
    }
}
