//! On what terms connections are made: certificates, versions, suites and ticket keys, checked as a whole.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use super::{
    CertificateError, CertificateFiles, TicketError, TicketKeys, certificate::Certificate, handshake::Ear,
    store::Store,
};
use crate::limits::{EARLY_DATA_TRIED_BYTES_MAX, TICKETS_PER_HANDSHAKE};

/// What an operator sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TermsSettings {
    /// At least one; the first is for clients that name no other.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Where the keys of tickets are, if others are to know them.
    pub ticket_keys: Option<PathBuf>,
}

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// Clients since about 2008.
    #[default]
    Tls12,
    /// Clients since about 2018.
    Tls13,
}

/// Terms that were checked. Every shard has a copy, and what it has begun goes on when they are replaced.
#[derive(Clone)]
pub struct Terms {
    config: Arc<ServerConfig>,
    /// What the certificates are for, for people.
    names: Vec<String>,
}

/// Terms that cannot be: one entry for each thing that is wrong.
#[derive(Debug)]
pub enum TermsError {
    /// A certificate or its key.
    Certificate(CertificateError),
    /// The ticket keys.
    Tickets(PathBuf, TicketError),
}

/// Something an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A certificate is no longer good, or not yet; clients will refuse it.
    Expired {
        /// Its file.
        path: PathBuf,
        /// For how many days.
        days: i64,
    },
    /// As [`Self::Expired`], but soon.
    Expires {
        /// Its file.
        path: PathBuf,
        /// In how many days.
        days: i64,
    },
    /// A certificate is not good yet.
    NotYet {
        /// Its file.
        path: PathBuf,
        /// For how many days.
        days: i64,
    },
    /// A certificate names no host, so that no client that verifies accepts it.
    NoNames {
        /// Its file.
        path: PathBuf,
    },
}

/// A certificate with less time is warned of.
const EXPIRES_DAYS: i64 = 7;
const DAY_S: i64 = 86_400;

impl Terms {
    /// Reads and checks everything. `tickets` are used where no file is named.
    pub fn load(
        settings: &TermsSettings,
        tickets: &TicketKeys,
        now_unix_s: i64,
    ) -> Result<(Self, Vec<Warning>), Vec<TermsError>> {
        let provider = provider();
        let mut errors = Vec::new();
        let mut certificates = Vec::new();
        let mut warnings = Vec::new();
        for files in &settings.certificates {
            match Certificate::read(files, &provider) {
                Ok(certificate) => {
                    warnings.extend(warnings_of(files, &certificate, now_unix_s));
                    certificates.push(certificate);
                }
                Err(error) => errors.push(TermsError::Certificate(error)),
            }
        }
        let read = settings.ticket_keys.as_ref().map(|path| (path, TicketKeys::read(path)));
        let ticketer = match read {
            Some((_, Ok(keys))) => keys.ticketer(),
            Some((path, Err(error))) => {
                errors.push(TermsError::Tickets(path.clone(), error));
                tickets.ticketer()
            }
            None => tickets.ticketer(),
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let names = certificates.iter().flat_map(|certificate| certificate.names.iter().cloned()).collect();
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions(settings.min_version))
            .expect("the provider has suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Store::new(certificates)));
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Ear);
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
        // Early data is never accepted where tickets are not kept; this is how much of it is skipped.
        config.max_early_data_size = EARLY_DATA_TRIED_BYTES_MAX;
        config.ticketer = Arc::new(ticketer);
        Ok((Self { config: Arc::new(config), names }, warnings))
    }

    /// A copy for one shard, which counts its references alone.
    pub fn own_config(&self) -> Arc<ServerConfig> {
        Arc::new(ServerConfig::clone(&self.config))
    }

    /// The names that the certificates are for.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// Terms are the same when they are one value.
impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

/// Keys are secrets.
impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms").field("names", &self.names).finish_non_exhaustive()
    }
}

/// AES with 128 bits first, which is as safe as it needs to be and cheapest; and the exchange that a quantum computer
/// does not undo first, where the client can.
fn provider() -> CryptoProvider {
    use aws_lc_rs::{cipher_suite as suite, kx_group};
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

fn versions(min: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match min {
        MinVersion::Tls12 => &BOTH,
        MinVersion::Tls13 => &BOTH[..1],
    }
}

fn warnings_of(files: &CertificateFiles, certificate: &Certificate, now_s: i64) -> Vec<Warning> {
    let path = || files.chain.clone();
    let mut warnings = Vec::new();
    if certificate.names.is_empty() {
        warnings.push(Warning::NoNames { path: path() });
    }
    if let Some((from_s, until_s)) = certificate.validity {
        if now_s < from_s {
            warnings.push(Warning::NotYet { path: path(), days: (from_s - now_s + DAY_S - 1) / DAY_S });
        } else if now_s > until_s {
            warnings.push(Warning::Expired { path: path(), days: (now_s - until_s) / DAY_S });
        } else if until_s - now_s < EXPIRES_DAYS * DAY_S {
            warnings.push(Warning::Expires { path: path(), days: (until_s - now_s) / DAY_S });
        }
    }
    warnings
}

impl fmt::Display for TermsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(error) => error.fmt(f),
            Self::Tickets(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for TermsError {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { path, days } => write!(
                f,
                "{}: this certificate expired {days} days ago, and clients refuse it; put a new one in its place",
                path.display()
            ),
            Self::Expires { path, days } => {
                write!(
                    f,
                    "{}: this certificate expires in {days} days; put a new one in its place",
                    path.display()
                )
            }
            Self::NotYet { path, days } => write!(
                f,
                "{}: this certificate is good in {days} days only, and clients refuse it until then; is the clock right?",
                path.display()
            ),
            Self::NoNames { path } => write!(
                f,
                "{}: this certificate names no host (subjectAltName), and clients that verify refuse it",
                path.display()
            ),
        }
    }
}
