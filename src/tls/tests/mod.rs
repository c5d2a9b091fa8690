//! The server's side of TLS against rustls's client, in memory, and against its own mirror.

mod handshakes;
mod records;
mod terms;

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject},
};

use super::*;

/// A certificate for `localhost` that is its own root, and a folder that holds it.
struct Pki {
    folder: PathBuf,
    root: CertificateDer<'static>,
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let folder = std::env::temp_dir().join(format!("roadstead-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("cert.pem"), pair.cert.pem()).expect("written");
    fs::write(folder.join("key.pem"), pair.signing_key.serialize_pem()).expect("written");
    Pki { root: CertificateDer::from_pem_slice(pair.cert.pem().as_bytes()).expect("read"), folder }
});

fn files(chain: &str, key: &str) -> CertificateFiles {
    CertificateFiles { chain: PKI.folder.join(chain), key: PKI.folder.join(key) }
}

fn settings() -> TermsSettings {
    TermsSettings { certificates: vec![files("cert.pem", "key.pem")], ..TermsSettings::default() }
}

fn server_with(tickets: &TicketKeys) -> Arc<ServerConfig> {
    Terms::load(&settings(), tickets, 1_800_000_000).expect("good terms").0.own_config()
}

/// Terms with a certificate for `localhost`.
pub(crate) fn terms() -> Terms {
    Terms::load(&settings(), &TicketKeys::random(), 1_800_000_000).expect("good terms").0
}

/// A server's end of a connection of TLS 1.3, and its client's.
pub(crate) fn pair() -> (Record, Record) {
    let (_, record) = shake_hands(client_of(every_suite()), usize::MAX);
    let peer = record.mirrored();
    (record, peer)
}

static SERVER: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| server_with(&TicketKeys::random()));

fn every_suite() -> Vec<SupportedCipherSuite> {
    let is_ecdsa = |suite: &SupportedCipherSuite| !format!("{suite:?}").contains("ECDHE_RSA");
    aws_lc_rs::ALL_CIPHER_SUITES.iter().copied().filter(is_ecdsa).collect()
}

fn client_of(suites: Vec<SupportedCipherSuite>) -> ClientConfig {
    client_with(suites, aws_lc_rs::default_provider().kx_groups)
}

fn client_with(
    suites: Vec<SupportedCipherSuite>,
    kx_groups: Vec<&'static dyn SupportedKxGroup>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(PKI.root.clone()).expect("a root");
    let has = |version| suites.iter().any(|suite| suite.version().version == version);
    let versions: Vec<_> =
        rustls::ALL_VERSIONS.iter().copied().filter(|version| has(version.version)).collect();
    ClientConfig::builder_with_provider(Arc::new(CryptoProvider {
        cipher_suites: suites,
        kx_groups,
        ..aws_lc_rs::default_provider()
    }))
    .with_protocol_versions(&versions)
    .expect("a suite for each version")
    .with_root_certificates(roots)
    .with_no_client_auth()
}

fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = "localhost".try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    client.set_buffer_limit(None);
    client
}

/// A client that has said nothing yet.
pub(crate) fn client() -> ClientConnection {
    connection(&Arc::new(client_of(every_suite())))
}

/// The same, of a client that speaks nothing newer than TLS 1.2.
pub(crate) fn client_of_tls12() -> ClientConnection {
    let suites = every_suite().into_iter().filter(|suite| suite.tls13().is_none()).collect();
    connection(&Arc::new(client_of(suites)))
}

/// All that a client wants to send.
pub(crate) fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut out = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut out).expect("a vector takes everything");
    }
    out
}

/// A client's hello.
pub(crate) fn hello() -> Vec<u8> {
    sent(&mut client())
}

/// Gives a client bytes; its plaintext, or why it refuses them.
pub(crate) fn take(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("a slice can be read");
        let state = client.process_new_packets()?;
        let mut part = vec![0; state.plaintext_bytes_to_read()];
        client.reader().read_exact(&mut part).expect("so much is there");
        plain.extend(part);
    }
    Ok(plain)
}

/// Shakes hands, giving the server `piece` bytes at a time. What the client sends last, `and` behind it, is given whole.
fn shake_hands_and(
    client: &mut ClientConnection,
    server: &Arc<ServerConfig>,
    piece: usize,
    and: impl FnOnce(&mut ClientConnection),
) -> Box<Established> {
    let mut handshake = Handshake::new(server);
    let mut and = Some(and);
    loop {
        let mut bytes = sent(client);
        if !client.is_handshaking()
            && let Some(and) = and.take()
        {
            and(client);
            bytes.extend(sent(client));
        }
        assert!(!bytes.is_empty(), "both wait for each other");
        let mut out = Vec::new();
        let mut pieces = bytes.chunks(piece).peekable();
        while let Some(part) = pieces.next() {
            handshake.handle_bytes(part).expect("no more than may be");
            handshake = match handshake.advance(&mut out) {
                Step::NeedMore(handshake) => handshake,
                Step::Done(mut established) => {
                    pieces.for_each(|part| established.rest.extend_from_slice(part));
                    let plain = take(client, &out).expect("the client follows");
                    assert!(plain.is_empty());
                    return established;
                }
                Step::Failed(failure) => panic!("{failure:?}"),
            };
        }
        take(client, &out).expect("the client follows");
    }
}

fn shake_hands(config: ClientConfig, piece: usize) -> (ClientConnection, Record) {
    let mut client = connection(&Arc::new(config));
    let established = shake_hands_and(&mut client, &SERVER, piece, |_| {});
    assert!(established.rest.is_empty());
    (client, established.record)
}

fn sealed(record: &mut Record, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sealer = record.sealer(&mut out);
    sealer.add(plain);
    sealer.end();
    out
}

/// What a connection does with bytes as they arrive: keeps what is no whole record. The plaintext, and the end.
fn receive_in_pieces(record: &mut Record, bytes: &[u8], piece: usize) -> (Vec<u8>, Option<End>) {
    let (mut kept, mut plain) = (Vec::new(), Vec::new());
    for part in bytes.chunks(piece) {
        kept.extend_from_slice(part);
        let received = record.receive(&mut kept);
        plain.extend_from_slice(received.plain(&mut kept));
        if received.ended.is_some() {
            return (plain, received.ended);
        }
        kept.drain(..received.consumed);
        assert!(kept.len() < record.record_bytes_max());
    }
    assert!(kept.is_empty(), "what was sent were whole records");
    (plain, None)
}

/// What a client says.
pub(crate) fn say(client: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    client.writer().write_all(plain).expect("a client buffers");
    sent(client)
}
