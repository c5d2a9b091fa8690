//! TLS from the client's end: what is trusted, and one connection's session between the socket's bytes and the scenario's.
//!
//! Every handshake is a whole one: a session that is resumed is cheaper, and a storm of them would measure less than it
//! seems to.

use std::{
    fs, io,
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// Where systems keep the certificates they trust.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Whom a client believes.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// What the system trusts.
    System,
    /// These certificates, in PEM.
    Pem(&'a str),
    /// Anybody.
    All,
}

/// How a connection is secured.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// One connection's session.
pub struct Session {
    connection: ClientConnection,
}

impl Tls {
    /// Clients of the server of this name.
    pub fn new(name: &str, trust: Trust<'_>) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let mut config = match trust {
            Trust::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
            Trust::Pem(text) => {
                let found = CertificateDer::pem_slice_iter(text.as_bytes());
                builder.with_root_certificates(believe(found, "--ca")?).with_no_client_auth()
            }
            Trust::All => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Believe(provider)))
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name })
    }

    /// A new connection's session.
    pub fn session(&self) -> io::Result<Session> {
        let mut connection =
            ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)?;
        // The engine bounds what waits for a connection.
        connection.set_buffer_limit(None);
        Ok(Session { connection })
    }
}

impl Session {
    /// Whether it is not established yet.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes received bytes and adds what they hold to `plain`; `true` when the peer has closed.
    pub fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut is_closed = false;
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes)?;
            let state = self.connection.process_new_packets().map_err(io::Error::other)?;
            is_closed |= state.peer_has_closed();
            let length = plain.len();
            plain.resize(length + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut plain[length..])?;
        }
        Ok(is_closed)
    }

    /// Takes bytes to send.
    pub fn send(&mut self, bytes: &[u8]) {
        self.connection.writer().write_all(bytes).expect("its buffer has no limit");
    }

    /// The bytes for the socket that have come of it.
    pub fn take_output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut output).expect("a vector takes all");
        }
        output
    }
}

fn system_roots() -> io::Result<RootCertStore> {
    let asked = std::env::var("SSL_CERT_FILE").ok();
    let found =
        asked.as_deref().into_iter().chain(SYSTEM_ROOTS).find(|path| fs::exists(path).unwrap_or_default());
    let path = found
        .ok_or_else(|| io::Error::other("no certificates of the system's were found: give --ca FILE"))?;
    roots(Path::new(path))
}

fn roots(path: &Path) -> io::Result<RootCertStore> {
    let name = path.display().to_string();
    let found =
        CertificateDer::pem_file_iter(path).map_err(|error| io::Error::other(format!("{name}: {error}")))?;
    believe(found, &name)
}

fn believe<E>(
    certificates: impl Iterator<Item = Result<CertificateDer<'static>, E>>,
    name: &str,
) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates.filter_map(Result::ok));
    match added {
        0 => Err(io::Error::other(format!("{name}: it holds no certificate"))),
        _ => Ok(store),
    }
}

/// Believes every certificate, and checks that the peer has its key.
#[derive(Debug)]
struct Believe(Arc<CryptoProvider>);

impl ServerCertVerifier for Believe {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
