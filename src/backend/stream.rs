//! A connection to a backend: TCP or a Unix socket, with TLS or without.

use std::{
    fmt, io,
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_io::Async;
use futures_lite::{AsyncRead, AsyncWrite};
use futures_rustls::TlsConnector;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::{resolver::Resolver, target::Origin};

/// Bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Opens connections.
pub(crate) struct Connector {
    tls: TlsConnector,
    resolver: Resolver,
}

/// Who connects: files of a certificate with those behind it, and of its key, and the settings that name them.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: (&'static str, PathBuf),
    pub(crate) key: (&'static str, PathBuf),
}

/// Why certificates cannot be read.
#[derive(Debug)]
pub enum RootsError {
    /// The file that a key names is not there, no PEM, or not what belongs there.
    File(&'static str, PathBuf, String),
    /// The file holds none.
    None(&'static str, PathBuf),
    /// The system has none, and this key names no file.
    System(&'static str),
}

impl Connector {
    /// Trusts the authorities in the file that a key names, or those of the system.
    pub(crate) fn new(key: &'static str, ca_file: &str, is_tls: bool) -> Result<Self, StartError> {
        Self::with_identity(key, ca_file, is_tls, None)
    }

    /// As [`Self::new`], and shows a certificate where it is asked for one.
    pub(crate) fn with_identity(
        key: &'static str,
        ca_file: &str,
        is_tls: bool,
        identity: Option<&Identity>,
    ) -> Result<Self, StartError> {
        let roots = match is_tls {
            true => roots(key, ca_file).map_err(StartError::Roots)?,
            false => RootCertStore::empty(),
        };
        let config = client_builder().with_root_certificates(roots);
        let config = match identity.filter(|_| is_tls) {
            Some(identity) => identity.shown_by(config).map_err(StartError::Roots)?,
            None => config.with_no_client_auth(),
        };
        let resolver = Resolver::start().map_err(StartError::Thread)?;
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), resolver })
    }

    /// Connects, and shakes hands where that is to be.
    pub(crate) async fn connect(&self, origin: &Origin) -> io::Result<Box<dyn Stream>> {
        let (host, port, is_tls) = match origin {
            Origin::Unix(path) => return Ok(Box::new(Async::<UnixStream>::connect(path).await?)),
            Origin::Tcp { host, port, is_tls } => (host, *port, *is_tls),
        };
        let stream = self.connect_tcp(host, port).await?;
        // What is sent is whole, and somebody waits for the answer.
        stream.get_ref().set_nodelay(true)?;
        if !is_tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_string()).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Box::new(self.tls.connect(name, stream).await?))
    }

    async fn connect_tcp(&self, host: &str, port: u16) -> io::Result<Async<TcpStream>> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in self.resolver.resolve(host, port).await? {
            match Async::<TcpStream>::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        self.resolver.forget(host, port);
        Err(last)
    }
}

impl Identity {
    fn shown_by(
        &self,
        config: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
    ) -> Result<ClientConfig, RootsError> {
        let (key, path) = &self.certificate;
        let refused = |error: &dyn fmt::Display| RootsError::File(key, path.clone(), error.to_string());
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))?;
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| refused(&error))?;
        if certificates.is_empty() {
            return Err(RootsError::None(key, path.clone()));
        }
        let (key, path) = &self.key;
        let refused = |error: &dyn fmt::Display| RootsError::File(key, path.clone(), error.to_string());
        let secret = PrivateKeyDer::from_pem_file(path).map_err(|error| refused(&error))?;
        config.with_client_auth_cert(certificates, secret).map_err(|error| refused(&error))
    }
}

/// How TLS is spoken to servers, before it is said who is trusted.
pub(crate) fn client_builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("the provider speaks TLS")
}

/// Who is trusted: the authorities in a file that a key names, or those of the system.
pub(crate) fn roots(key: &'static str, ca_file: &str) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    if ca_file.is_empty() {
        // What is none is left out, as every client does with the system's.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err(RootsError::System(key)) } else { Ok(roots) };
    }
    let path = Path::new(ca_file);
    let refused = |error: &dyn fmt::Display| RootsError::File(key, path.into(), error.to_string());
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))? {
        let certificate = certificate.map_err(|error| refused(&error))?;
        roots.add(certificate).map_err(|error| refused(&error))?;
    }
    if roots.is_empty() { Err(RootsError::None(key, path.into())) } else { Ok(roots) }
}

/// Why no connection can be opened at all.
#[derive(Debug)]
pub enum StartError {
    /// A thread did not start.
    Thread(io::Error),
    /// Nobody is trusted.
    Roots(RootsError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(error) => write!(f, "a thread did not start: {error}"),
            Self::Roots(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(key, path, error) => write!(f, "{key}: {}: {error}", path.display()),
            Self::None(key, path) => write!(f, "{key}: {} holds no certificate in PEM", path.display()),
            Self::System(key) => write!(
                f,
                "this system has no certificates of authorities, so nobody who speaks TLS can be trusted; install them \
                 (ca-certificates), or name a file with {key}"
            ),
        }
    }
}

impl std::error::Error for RootsError {}
