//! TLS and socket files: the same loads over other lines.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixListener,
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use serde_json::Value;

use crate::floor::BENCH;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers every request of a stream.
fn answer(stream: impl Read + Write, mut before: impl FnMut()) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(stream.read_line(&mut head), Ok(1..)) {
                return;
            }
        }
        before();
        if stream.get_mut().write_all(ANSWER).is_err() {
            return;
        }
    }
}

/// A server of `localhost` whose answers wait through the first `pause` of every second; its port and its certificate.
fn secured(pause: Duration) -> (u16, PathBuf) {
    let start = Instant::now();
    serving(move |stream| answer(stream, || wait_out(start, pause)))
}

/// A server of `localhost` that deals with each stream on a thread of its own; its port and its certificate.
fn serving(
    deal: impl Fn(StreamOwned<ServerConnection, TcpStream>) + Send + Sync + 'static,
) -> (u16, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key.into())
        })
        .expect("a configuration");
    let (config, deal) = (Arc::new(config), Arc::new(deal));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a session");
            let deal = Arc::clone(&deal);
            thread::spawn(move || deal(StreamOwned::new(connection, stream)));
        }
    });
    let path = std::env::temp_dir().join(format!("roadstead-bench-{}-{port}.pem", std::process::id()));
    std::fs::write(&path, cert.pem()).expect("a file of the certificate");
    (port, path)
}

fn wait_out(start: Instant, pause: Duration) {
    let within = Duration::from_nanos((start.elapsed().as_nanos() % 1_000_000_000) as u64);
    thread::sleep(pause.saturating_sub(within));
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(BENCH).args(arguments).output().expect("the load generator starts")
}

fn http(url: &str, line: &[&str], load: &[&str]) -> Value {
    let output = bench(&[&["http", "--url", url, "--warm-up-seconds", "0", "--json"], line, load].concat());
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

const LOAD: [&str; 6] = ["--rate", "300", "--connections", "3", "--seconds", "1"];

#[test]
fn a_server_is_believed_for_its_certificate_its_name_or_on_purpose() {
    let (port, ca) = secured(Duration::ZERO);
    let ca = ca.to_str().expect("text");
    let (by_name, by_address) =
        (format!("https://localhost:{port}/x"), format!("https://127.0.0.1:{port}/x"));
    for (url, line) in [
        (&by_name, &["--ca", ca][..]),
        (&by_address, &["--ca", ca, "--server-name", "localhost"]),
        (&by_address, &["--insecure"]),
    ] {
        let result = http(url, line, &LOAD);
        assert_eq!((&result["replies"], &result["lost"]), (&300.into(), &0.into()), "{line:?}: {result}");
    }
    for (url, line) in [(&by_name, &[][..]), (&by_address, &["--ca", ca])] {
        let output = bench(&[&["http", "--url", url, "--seconds", "3600"], line].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && message.contains("ertificate"), "{line:?}: {message}");
    }
    let output = bench(&["http", "--url", "https://192.0.2.1/", "--i-own-this-target", "--insecure"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("--insecure 192.0.2.1:443"), "{message}");
}

#[test]
fn bytes_without_a_protocol_come_back_over_tls() {
    let (port, ca) = serving(|mut stream| {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            if stream.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    });
    let url = format!("tls://localhost:{port}");
    let output = bench(
        &[
            &["echo", "--url", &url, "--ca", ca.to_str().expect("text"), "--warm-up", "0", "--json"],
            &LOAD[..],
        ]
        .concat(),
    );
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    assert_eq!((&result["replies"], &result["wrong"], &result["lost"]), (&300.into(), &0.into(), &0.into()));
}

#[test]
fn a_pause_of_the_server_shows_over_tls_too() {
    let (port, _) = secured(Duration::from_millis(100));
    let load = ["--rate", "1000", "--connections", "4", "--seconds", "4"];
    let result = http(&format!("https://127.0.0.1:{port}/"), &["--insecure"], &load);
    assert!(result["latency"]["p99_us"].as_u64() > Some(60_000), "{}", result["latency"]);
    assert!(result["latency"]["p50_us"].as_u64() < Some(60_000), "{}", result["latency"]);
}

#[test]
fn a_server_behind_a_socket_file_is_loaded_like_any_other() {
    let path = std::env::temp_dir().join(format!("roadstead-bench-{}.socket", std::process::id()));
    let listener = UnixListener::bind(&path).expect("bind");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream, || {}));
        }
    });
    let result = http("http://example.org/x", &["--unix-socket", path.to_str().expect("text")], &LOAD);
    assert_eq!((&result["replies"], &result["lost"]), (&300.into(), &0.into()), "{result}");
    std::fs::remove_file(path).expect("it was there");
}
