//! TLS handshakes without a network: what rustls alone takes for the server's half of a whole one.
//!
//! ```text
//!   client (ring) ◄── bytes in memory ──► server (aws-lc-rs): only its CPU time is counted
//! ```
//!
//! The library, its cryptography and its buffered interface are what a server would use that wants no more than the
//! handshake. No ticket is given, so that what follows a handshake is not counted either.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Serialize;

use super::epoll;
use crate::engine::tls::{Tls, Trust};

/// Handshakes before the first that counts.
const WARM_UP: u32 = 50;

/// What the server's halves have cost.
#[derive(Debug, Serialize)]
pub struct Handshakes {
    /// How many were made.
    pub handshakes: u64,
    /// CPU time of the server's half of one, mean, in microseconds.
    pub us_per_handshake: f64,
    /// How many halves a core could do in a second.
    pub per_second_and_core: f64,
}

/// Shakes hands for about `seconds`, with a certificate chain and its key in PEM files.
pub fn run(certificate: &Path, key: &Path, seconds: u64) -> io::Result<Handshakes> {
    let config = Arc::new(server_config(certificate, key)?);
    let client = Tls::new("localhost", Trust::All)?;
    for _ in 0..WARM_UP {
        shake_hands(&client, &config)?;
    }
    let (mut spent, mut handshakes) = (Duration::ZERO, 0_u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    while handshakes == 0 || Instant::now() < end {
        spent += shake_hands(&client, &config)?;
        handshakes += 1;
    }
    let each = spent.as_secs_f64() / handshakes as f64;
    Ok(Handshakes { handshakes, us_per_handshake: each * 1e6, per_second_and_core: 1.0 / each })
}

fn server_config(certificate: &Path, key: &Path) -> io::Result<ServerConfig> {
    let failed =
        |path: &Path, error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| failed(certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// One handshake; the CPU time of the server's half.
fn shake_hands(client: &Tls, config: &Arc<ServerConfig>) -> io::Result<Duration> {
    let (mut session, mut nothing) = (client.session()?, Vec::new());
    let mut spent = Duration::ZERO;
    let began = epoll::thread_cpu()?;
    let mut server = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    spent += epoll::thread_cpu()?.saturating_sub(began);
    while session.is_handshaking() || server.is_handshaking() {
        let (hello, mut answer) = (session.take_output(), Vec::new());
        let began = epoll::thread_cpu()?;
        attend(&mut server, &hello, &mut answer)?;
        spent += epoll::thread_cpu()?.saturating_sub(began);
        if hello.is_empty() && answer.is_empty() {
            return Err(io::Error::other("the handshake stands still"));
        }
        session.receive(&answer, &mut nothing)?;
    }
    Ok(spent)
}

/// Gives a server what has come, and takes what it answers.
fn attend(server: &mut ServerConnection, mut bytes: &[u8], answer: &mut Vec<u8>) -> io::Result<()> {
    while !bytes.is_empty() {
        server.read_tls(&mut bytes)?;
        server.process_new_packets().map_err(io::Error::other)?;
    }
    while server.wants_write() {
        server.write_tls(answer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_half_of_a_handshake_costs_time_and_is_counted_once() {
        let folder = std::env::temp_dir().join(format!("handshakes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let found = run(&certificate, &key, 0).unwrap();
        assert_eq!(found.handshakes, 1);
        assert!(found.us_per_handshake > 1.0, "{found:?}");
        let refused = run(&key, &key, 0).unwrap_err().to_string();
        assert!(refused.contains("key.pem"), "{refused}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
