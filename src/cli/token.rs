//! `roadstead token`: makes tokens and explains them, so that the first minutes need no other program.

use std::{
    fmt, fs, io,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use crate::{
    auth::{SECRET_BYTES_MIN, TokenError},
    config::{Config, ConfigErrors, Sources},
};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it
    #[command(after_help = MAKE_HELP)]
    Make(Box<Make>),
    /// Tell what a token says, and where the server's secret or configuration is known whether it is good
    #[command(after_help = EXPLAIN_HELP)]
    Explain(Explain),
}

/// The variable of the environment that the server reads its secrets from.
const SECRETS_VARIABLE: &str = "ROADSTEAD_AUTH__HS256_KEYS";
const UNVERIFIED: &str = "verdict --config FILE, or ROADSTEAD_AUTH__HS256_KEYS in the environment, tells whether it is good; \
                          nothing was verified here\n";

const MAKE_HELP: &str = "\
Examples:
  export ROADSTEAD_AUTH__HS256_KEYS=$(openssl rand -hex 32)    # the server reads the same variable
  roadstead token make --user 42 --subscribe 'news:**' --publish 'chat:*' --minutes 60
  roadstead token make --user backend --publish '**' --history '**' --presence '**'
  roadstead token make --user 42 --key-file es256.pem --algorithm ES256 --issuer https://login.example --audience roadstead
  curl -H \"Authorization: Bearer $(roadstead token make --user 42 --history news)\" localhost:8080/channels/news/history";

const EXPLAIN_HELP: &str = "\
Examples:
  roadstead token explain eyJhbGciOiJIUzI1NiJ9…
  roadstead token explain \"$TOKEN\"    # also whether it is good, where ROADSTEAD_AUTH__HS256_KEYS is the server's
  roadstead token explain --config /etc/roadstead.toml \"$TOKEN\"    # also whether it is good there";

/// `roadstead token make`
#[derive(Debug, Args)]
pub struct Make {
    /// Whose it is (sub)
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// Let follow channels of this pattern [may be given several times]
    #[arg(long, value_name = "PATTERN")]
    pub subscribe: Vec<String>,
    /// Let publish to channels of this pattern [may be given several times]
    #[arg(long, value_name = "PATTERN")]
    pub publish: Vec<String>,
    /// Let see and ask about channels of this pattern [may be given several times]
    #[arg(long, value_name = "PATTERN")]
    pub presence: Vec<String>,
    /// Let read the history of channels of this pattern [may be given several times]
    #[arg(long, value_name = "PATTERN")]
    pub history: Vec<String>,
    /// Let read the keys and counters of channels of this pattern [may be given several times]
    #[arg(long, value_name = "PATTERN")]
    pub state: Vec<String>,
    /// Let change the keys and counters of channels of this pattern [may be given several times]
    #[arg(long, value_name = "PATTERN")]
    pub set_state: Vec<String>,
    /// Let enter channels of this pattern, to be shown as present [may be given several times]
    #[arg(long, value_name = "PATTERN")]
    pub enter: Vec<String>,
    /// Make it good for so many minutes
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub minutes: u64,
    /// Say who makes it (iss)
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// Say for whom it is (aud)
    #[arg(long, value_name = "NAME")]
    pub audience: Option<String>,
    /// Name the key (kid)
    #[arg(long, value_name = "NAME")]
    pub kid: Option<String>,
    /// Give it a name of its own (jti), by which it can be shut out
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// Sign with the secret or private key (PEM, PKCS#8) in this file [default: the first key in the variable
    /// ROADSTEAD_AUTH__HS256_KEYS]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Sign so: HS256, ES256, EdDSA or RS256
    #[arg(long, value_name = "NAME", default_value = "HS256")]
    pub algorithm: String,
}

/// `roadstead token explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// The token
    pub token: String,
    /// Judge it by this configuration [default: by the environment's, if that has the variable
    /// ROADSTEAD_AUTH__HS256_KEYS]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Why nothing was made or explained.
#[derive(Debug)]
pub enum TokenFailure {
    /// There is nothing to sign with.
    NoKey,
    /// What there is cannot sign so.
    Key(&'static str),
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// It is no token.
    Malformed,
    /// The configuration cannot work.
    Config(ConfigErrors),
}

impl TokenCommand {
    /// What is to be printed.
    pub fn run(&self) -> Result<String, TokenFailure> {
        match self {
            Self::Make(make) => make.run(now_s()),
            Self::Explain(explain) => explain.run(now_s()),
        }
    }
}

impl Make {
    fn run(&self, now_s: u64) -> Result<String, TokenFailure> {
        let algorithm = match self.algorithm.as_str() {
            "HS256" => Algorithm::HS256,
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            "RS256" => Algorithm::RS256,
            _ => return Err(TokenFailure::Key("--algorithm is HS256, ES256, EdDSA or RS256")),
        };
        let key = self.key(algorithm)?;
        let header = Header { kid: self.kid.clone(), ..Header::new(algorithm) };
        let token = jsonwebtoken::encode(&header, &self.claims(now_s), &key);
        let token = token.map_err(|_| TokenFailure::Key("this key cannot sign with that --algorithm"))?;
        Ok(token + "\n")
    }

    fn claims(&self, now_s: u64) -> Value {
        let mut claims = Map::from_iter([
            ("sub".to_owned(), json!(self.user)),
            ("iat".to_owned(), json!(now_s)),
            ("exp".to_owned(), json!(now_s + self.minutes * 60)),
        ]);
        for (name, value) in [("iss", &self.issuer), ("aud", &self.audience), ("jti", &self.id)] {
            claims.extend(value.iter().map(|value| (name.to_owned(), json!(value))));
        }
        let lists = [
            ("subscribe", &self.subscribe),
            ("publish", &self.publish),
            ("presence", &self.presence),
            ("history", &self.history),
            ("state", &self.state),
            ("set_state", &self.set_state),
            ("enter", &self.enter),
        ];
        let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let allow: Map<_, _> = given.map(|(right, list)| (right.to_owned(), json!(list))).collect();
        if !allow.is_empty() {
            claims.insert("allow".to_owned(), Value::Object(allow));
        }
        Value::Object(claims)
    }

    fn key(&self, algorithm: Algorithm) -> Result<EncodingKey, TokenFailure> {
        let bytes = match &self.key_file {
            Some(path) => fs::read(path).map_err(|error| TokenFailure::Unreadable(path.clone(), error))?,
            None => {
                let keys = std::env::var(SECRETS_VARIABLE).unwrap_or_default();
                let first = keys.split(',').map(str::trim).find(|key| !key.is_empty());
                first.ok_or(TokenFailure::NoKey)?.as_bytes().to_vec()
            }
        };
        let key = match algorithm {
            Algorithm::HS256 if bytes.trim_ascii().len() < SECRET_BYTES_MIN => {
                return Err(TokenFailure::Key(
                    "a secret for HS256 has at least 32 bytes; `openssl rand -hex 32`",
                ));
            }
            Algorithm::HS256 => return Ok(EncodingKey::from_secret(bytes.trim_ascii())),
            Algorithm::ES256 => EncodingKey::from_ec_pem(&bytes),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(&bytes),
            _ => EncodingKey::from_rsa_pem(&bytes),
        };
        key.map_err(|_| TokenFailure::Key("this is not the private key of that --algorithm in PEM (PKCS#8)"))
    }
}

impl Explain {
    fn run(&self, now_s: u64) -> Result<String, TokenFailure> {
        let token = self.token.trim();
        let mut parts = token.split('.').map(|part| {
            let decoded = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice::<Value>(&decoded).ok().filter(Value::is_object)
        });
        let (Some(Some(header)), Some(Some(claims))) = (parts.next(), parts.next()) else {
            return Err(TokenFailure::Malformed);
        };
        let mut text = format!("header  {header}\nclaims  {claims}\n");
        if let Some(expires_s) = claims["exp"].as_u64() {
            let told = match expires_s.checked_sub(now_s) {
                None => format!("it ran out {} s ago", now_s - expires_s),
                Some(left) if left > 3600 => {
                    format!("it is good for {left} s; an hour is enough where clients can get a new one")
                }
                Some(left) => format!("it is good for {left} s"),
            };
            text += &format!("time    {told}\n");
        }
        let environment = Sources::process_environment();
        if self.config.is_none() && !environment.iter().any(|(name, _)| name == SECRETS_VARIABLE) {
            return Ok(text + UNVERIFIED);
        }
        let sources = Sources { file: self.config.clone(), environment, ..Sources::default() };
        let config = Config::load(&sources).map_err(TokenFailure::Config)?;
        let mut cost_us = 0;
        let verdict = match config.tokens().verifier.verify(token.as_bytes(), now_s, &mut cost_us) {
            Ok(verified) => format!("good, of the user {:?}", verified.user),
            Err(error) => refused(error),
        };
        Ok(text + &format!("verdict {verdict}\n"))
    }
}

fn refused(error: TokenError) -> String {
    format!("refused, {}: {error}", error.code())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Display for TokenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str(
                "there is nothing to sign with; set ROADSTEAD_AUTH__HS256_KEYS to the server's secret, or give --key-file",
            ),
            Self::Key(told) => f.write_str(told),
            Self::Unreadable(path, error) => write!(f, "{} cannot be read: {error}", path.display()),
            Self::Malformed => f.write_str("this is no token: a JSON Web Token is three parts of base64url"),
            Self::Config(errors) => errors.fmt(f),
        }
    }
}

impl std::error::Error for TokenFailure {}
