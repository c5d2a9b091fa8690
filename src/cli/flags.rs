//! The flags of `roadstead serve`, and which configuration key each one sets.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Override, Sources};

/// The flags of `roadstead serve`. Each but `--config` sets one key; no value is checked here.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeFlags {
    /// Read this TOML file (`roadstead config print` writes one)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen for clients here: IP:PORT, port 0 for a free one, NAME:PORT or unix:PATH [may be given several times]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// Serve metrics and health here; "" nowhere
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Speak TLS on every --listen address with this certificate and those behind it, PEM [may be given several times]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Vec<String>,
    /// The private key of each --tls-cert, PEM [default: in the certificate's file]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Vec<String>,
    /// Serve in this one process, and end with it when it crashes
    #[arg(long)]
    pub no_keeper: bool,
    /// Run this many shards [default: one per core]
    #[arg(long, value_name = "N")]
    pub shards: Option<u16>,
    /// Pin shards to these cores, such as 0-3,8 [default: every core the process may use]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<String>,
    /// Hold at most this many connections [default: what the open-files limit allows]
    #[arg(long, value_name = "N")]
    pub connections: Option<u32>,
    /// Let anybody read, wherever the server listens
    #[arg(long)]
    pub open_reading: bool,
    /// Let anybody publish, wherever the server listens
    #[arg(long)]
    pub open_publishing: bool,
    /// Let those publish who send this key; it shows in `ps`, so prefer ROADSTEAD_PUBLISH__KEYS or the file [may be
    /// given several times]
    #[arg(long, value_name = "SECRET")]
    pub publish_key: Vec<String>,
    /// Write log lines for people (human) or programs (json)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Write log lines of this severity and above: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Tell clients to go over this many milliseconds when draining
    #[arg(long, value_name = "MS")]
    pub drain_ms: Option<u32>,
    /// Set any key of `roadstead config print`; a list is separated by commas [may be given several times]
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        Some(_) | None => Err("write KEY=VALUE, such as limits.connections_max=1000"),
    }
}

impl ServeFlags {
    /// The file, this process's environment and these flags.
    pub fn sources(&self) -> Sources {
        Sources {
            base: Vec::new(),
            file: self.config.clone(),
            text: None,
            environment: Sources::process_environment(),
            overrides: self.overrides(),
        }
    }

    /// `--set` first, so that a flag with a name of its own wins over it.
    fn overrides(&self) -> Vec<Override> {
        let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        let number = |value: Option<u32>| value.iter().map(u32::to_string).collect::<Vec<_>>();
        let open = |is_open| if is_open { vec!["true".to_owned()] } else { Vec::new() };
        let keeper = if self.no_keeper { vec!["false".to_owned()] } else { Vec::new() };
        let named = [
            ("--listen", "server.listen", self.listen.clone()),
            ("--admin", "server.admin", one(&self.admin)),
            ("--tls-cert", "tls.certificates", self.tls_cert.clone()),
            ("--tls-key", "tls.keys", self.tls_key.clone()),
            ("--no-keeper", "server.keeper", keeper),
            ("--shards", "server.shards", number(self.shards.map(u32::from))),
            ("--cpus", "server.cpus", one(&self.cpus)),
            ("--drain-ms", "server.drain_ms", number(self.drain_ms)),
            ("--connections", "limits.connections_max", number(self.connections)),
            ("--open-reading", "read.open", open(self.open_reading)),
            ("--open-publishing", "publish.open", open(self.open_publishing)),
            ("--publish-key", "publish.keys", self.publish_key.clone()),
            ("--log-format", "log.format", one(&self.log_format)),
            ("--log-level", "log.level", one(&self.log_level)),
        ];
        let of =
            |flag: &str, key: &str, texts| Override { flag: flag.to_owned(), key: key.to_owned(), texts };
        let set = self.set.iter().map(|(key, value)| of("--set", key, vec![value.clone()]));
        let named = named.into_iter().filter(|(_, _, texts)| !texts.is_empty());
        set.chain(named.map(|(flag, key, texts)| of(flag, key, texts))).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        cli::{Arguments, Command},
        config::{Config, LogFormat, LogLevel, Switch},
    };

    fn flags(arguments: &[&str]) -> ServeFlags {
        match Arguments::parse_from([&["roadstead"], arguments].concat()).command() {
            Command::Serve(flags) => flags,
            other => panic!("{other:?}"),
        }
    }

    fn load(arguments: &[&str]) -> Result<Config, String> {
        let sources = Sources { overrides: flags(arguments).overrides(), ..Sources::default() };
        Config::load(&sources).map_err(|errors| errors.to_string())
    }

    #[test]
    fn every_flag_sets_its_key() {
        let config = load(&[
            "--listen=127.0.0.1:1",
            "--listen=[::1]:2",
            "--admin=",
            "--tls-cert=a.pem",
            "--tls-cert=b.pem",
            "--tls-key=a.key",
            "--tls-key=b.key",
            "--no-keeper",
            "--shards=3",
            "--cpus=0-1",
            "--connections=400",
            "--open-reading",
            "--open-publishing",
            "--publish-key=one",
            "--publish-key=two",
            "--log-format=json",
            "--log-level=debug",
            "--drain-ms=7",
            "--set=limits.channels_max=5",
        ])
        .expect("a configuration");
        assert_eq!(config.server.listen.len(), 2);
        assert_eq!(config.server.admin, None);
        assert_eq!((&config.tls.certificates[1], &config.tls.keys[0]), (&"b.pem".into(), &"a.key".into()));
        assert_eq!((config.server.shards, config.server.drain_ms, config.server.keeper), (3, 7, false));
        assert_eq!(config.server.cpus.as_slice(), [0, 1]);
        assert_eq!((config.limits.connections_max, config.limits.channels_max), (400, 5));
        assert_eq!((config.read.open, config.publish.open), (Switch::On, Switch::On));
        let keys: Vec<_> = config.publish.keys.iter().map(|key| key.expose()).collect();
        assert_eq!(keys, ["one", "two"]);
        assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LogLevel::Debug));
    }

    #[test]
    fn no_flag_changes_nothing() {
        assert_eq!(load(&[]), Ok(Config::default()));
    }

    #[test]
    fn a_named_flag_wins_over_set_and_the_later_set_over_the_earlier() {
        let config = load(&[
            "--shards=3",
            "--set=server.shards=4",
            "--set=limits.channels_max=5",
            "--set=limits.channels_max=6",
        ])
        .expect("a configuration");
        assert_eq!((config.server.shards, config.limits.channels_max), (3, 6));
    }

    #[test]
    fn a_bad_value_names_its_flag() {
        assert_eq!(
            load(&["--log-level=loud"]),
            Err("--log-level: log.level is \"loud\"; expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \
                 \"trace\""
                .to_owned())
        );
        let refused = load(&["--listen=127.0.0:80"]).expect_err("refused");
        assert!(refused.starts_with("--listen: server.listen is \"127.0.0:80\"; expected"), "{refused}");
    }

    #[test]
    fn set_without_a_value_is_bad_usage() {
        for text in ["limits.channels_max", "=5"] {
            let arguments = ["roadstead", "--set", text];
            let error = Arguments::try_parse_from(arguments).expect_err("refused");
            assert!(error.to_string().contains("write KEY=VALUE"), "{error}");
        }
    }
}
