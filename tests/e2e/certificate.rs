//! A certificate for the tests, clients that trust it, and which servers have it.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The files of a certificate for `localhost` that is its own root.
pub struct Certificate {
    /// The certificate.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
    text: String,
}

/// Addresses of servers of this process's tests that speak TLS.
static SPEAKING: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

static FIRST: LazyLock<Certificate> = LazyLock::new(|| Certificate::new("localhost"));

/// Whether every server of every test is to speak TLS.
pub fn is_used_everywhere() -> bool {
    std::env::var_os("ROADSTEAD_TEST_TLS").is_some_and(|value| value == "1")
}

/// What makes a server speak TLS.
pub fn flags() -> [String; 4] {
    let path = |path: &PathBuf| path.display().to_string();
    ["--tls-cert".into(), path(&FIRST.chain), "--tls-key".into(), path(&FIRST.key)]
}

/// A client that trusts the certificate of [`flags`].
pub fn client() -> Arc<ClientConfig> {
    static CLIENT: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| FIRST.client());
    Arc::clone(&CLIENT)
}

/// Notes whether an address that a server has printed speaks TLS; the address alone.
pub fn note(printed: &str) -> String {
    let mut speaking = SPEAKING.lock().expect("nobody panics here");
    let speaking = speaking.get_or_insert_default();
    let (speaks_tls, address) = match printed.strip_prefix("https://") {
        Some(address) => (true, address),
        None => (false, printed.trim_start_matches("http://")),
    };
    if let Ok(address) = address.parse::<SocketAddr>() {
        // Ports come again.
        match speaks_tls {
            true => speaking.insert(address.port()),
            false => speaking.remove(&address.port()),
        };
    }
    address.to_owned()
}

/// Whether a server of this process's tests speaks TLS there.
pub fn speaks_tls(address: SocketAddr) -> bool {
    let speaking = SPEAKING.lock().expect("nobody panics here");
    speaking.as_ref().is_some_and(|speaking| speaking.contains(&address.port()))
}

impl Certificate {
    /// Another one, in files of its own.
    pub fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("made");
        let folder = std::env::temp_dir();
        let stem = format!("roadstead-e2e-{}-{:x}", std::process::id(), made.cert.der().as_ptr() as usize);
        let (chain, key) = (folder.join(format!("{stem}.pem")), folder.join(format!("{stem}.key")));
        fs::write(&chain, made.cert.pem()).expect("written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        Self { chain, key, text: made.cert.pem() }
    }

    /// A client that trusts it.
    pub fn client(&self) -> Arc<ClientConfig> {
        Self::client_of(&[self])
    }

    /// A client that trusts all of these.
    pub fn client_of(certificates: &[&Self]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        certificates.iter().for_each(|one| roots.add(one.der()).expect("a root"));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(builder.expect("suites").with_root_certificates(roots).with_no_client_auth())
    }

    /// The certificate, to compare with what a server shows.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.text.as_bytes()).expect("PEM")
    }
}
