//! Where a server is looked at, and whom a listener that speaks TLS is taken for.
//!
//! A server whose configuration is at hand must show the certificate that stands there, whatever name it is made for: its
//! admin listener has an address of this machine, and its certificate the name of the service. Any other must show one for
//! its name that leads to an authority.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use super::WatchFailure;
use crate::{
    backend::{client_builder, roots},
    config::{Config, Endpoint, Secret},
};

/// An admin listener.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) at: Endpoint,
    /// One of its `server.admin_keys`.
    pub(super) key: Option<String>,
    pub(super) tls: Option<Secure>,
    shown: String,
}

/// How TLS is spoken there.
#[derive(Clone, Debug)]
pub(super) struct Secure {
    pub(super) name: ServerName<'static>,
    pub(super) config: Arc<ClientConfig>,
}

/// Takes a server for the one whose certificates are at hand, and nobody else.
#[derive(Debug)]
struct Known {
    certificates: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Place {
    /// As the configuration says.
    pub(super) fn configured(config: &Config) -> Result<Self, WatchFailure> {
        let at = config.server.admin.clone().ok_or(WatchFailure::NoAdmin)?;
        let tls = match config.admin_speaks_tls() {
            true => Some(Secure::known(&config.tls.certificates)?),
            false => None,
        };
        Ok(Self { shown: at.to_string(), at, key: known_key(config), tls })
    }

    /// As somebody has written: an address, with `https://` before it where it speaks TLS.
    pub(super) fn written(text: &str, ca_file: Option<&Path>, config: &Config) -> Result<Self, WatchFailure> {
        let address = text.strip_prefix("https://").map(|address| address.trim_end_matches('/'));
        let refused = |error| WatchFailure::Address(text.to_owned(), error);
        let at = address.unwrap_or(text).parse().map_err(refused)?;
        let tls = match address {
            Some(address) => Some(Secure::vouched_for(address, ca_file)?),
            None if ca_file.is_some() => return Err(WatchFailure::NotSecure),
            None => None,
        };
        Ok(Self { shown: text.to_owned(), at, key: known_key(config), tls })
    }
}

/// A key to the admin listener, where the configuration has one that is not hashed.
fn known_key(config: &Config) -> Option<String> {
    let mut keys = config.server.admin_keys.iter().map(Secret::expose);
    keys.find(|key| !key.starts_with("sha256:")).map(str::to_owned)
}

impl Secure {
    /// The server shows one of these certificates.
    fn known(files: &[String]) -> Result<Self, WatchFailure> {
        let first = |file: &String| {
            let mut read = CertificateDer::pem_file_iter(file).ok()?;
            read.next()?.ok()
        };
        let read = files.iter().map(|file| first(file).ok_or_else(|| PathBuf::from(file)));
        let certificates = read.collect::<Result<_, _>>().map_err(WatchFailure::Certificate)?;
        let builder = client_builder();
        let algorithms = builder.crypto_provider().signature_verification_algorithms;
        let config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Known { certificates, algorithms }))
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("this is a name");
        Ok(Self { name, config: Arc::new(config) })
    }

    /// The server shows one for the name in `address` that leads to an authority of the file, or else of the system.
    fn vouched_for(address: &str, ca_file: Option<&Path>) -> Result<Self, WatchFailure> {
        let ca_file = ca_file.map(|file| file.to_string_lossy()).unwrap_or_default();
        let roots: RootCertStore = roots("--ca-file", &ca_file).map_err(WatchFailure::Roots)?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| WatchFailure::NotSecure)?;
        let config = client_builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { name, config: Arc::new(config) })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _behind: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.certificates.iter().any(|known| known == shown) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
