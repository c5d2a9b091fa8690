//! TLS: every protocol over it, what breaks it, and certificates that change.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::process::ExitStatusExt,
    process::Command,
    sync::Arc,
};

use roadstead::wire::websocket::Opcode;
use rustls::{ClientConfig, ClientConnection};
use serde_json::json;

use crate::{
    certificate::{self, Certificate},
    client::Client,
    server::{SOON, Server, await_that},
    socket::{Incoming, WebSocket},
    stream::EventStream,
};

fn command(certificate: &Certificate, settings: &[&str]) -> Command {
    let mut command = Server::command(2, &[], settings);
    command.args(["--listen", "127.0.0.1:0", "--tls-cert"]).arg(&certificate.chain);
    command.arg("--tls-key").arg(&certificate.key);
    command
}

/// Two shards that speak TLS.
fn start(certificate: &Certificate, settings: &[&str]) -> Server {
    Server::launch(&mut command(certificate, settings))
}

fn dial(server: &Server, config: &Arc<ClientConfig>) -> Client {
    Client::sealed_over(TcpStream::connect(server.address()).expect("it listens"), config)
}

/// A client that has shaken hands, and its socket, to be treated badly.
fn raw(server: &Server, config: &Arc<ClientConfig>) -> (ClientConnection, TcpStream) {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    stream.set_nodelay(true).expect("TCP has this option");
    let name = "localhost".try_into().expect("a name");
    let mut connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).expect("the server shakes hands");
    }
    (connection, stream)
}

fn sealed(connection: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    connection.writer().write_all(plain).expect("buffered");
    while connection.wants_write() {
        connection.write_tls(&mut bytes).expect("a vector takes everything");
    }
    bytes
}

/// Reads until the server has said what is wanted, or has ended; what it said.
fn read_until(connection: &mut ClientConnection, stream: &mut TcpStream, wanted: &str) -> String {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(wanted) {
        if connection.read_tls(stream).expect("the server says something") == 0 {
            break;
        }
        let state = connection.process_new_packets().expect("the server's records are right");
        let mut part = vec![0; state.plaintext_bytes_to_read()];
        connection.reader().read_exact(&mut part).expect("so much is there");
        heard.extend(part);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn every_way_to_follow_a_channel_works_over_tls() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    let config = certificate.client();
    let mut commands = WebSocket::open(dial(&server, &config), "/ws", "");
    commands.command(&json!({"id": 1, "subscribe": {"channel": "news"}}));
    let mut plain = WebSocket::open(dial(&server, &config), "/channels/news", "");
    let mut stream = EventStream::open(dial(&server, &config), "news", "", "");
    let mut poll = dial(&server, &config);
    poll.ask("GET", "/channels/news?timeout=20", "", b"");
    let mut publisher = dial(&server, &config);
    await_that("all four follow", || {
        publisher.request("GET", "/channels/news/info", "", b"").json()["subscribers"] == 4
    });
    let text = "x".repeat(100_000);
    publisher.publish("news", &text);
    assert_eq!(commands.push()["data"], text.as_str());
    assert_eq!(plain.text(), text);
    assert_eq!(stream.data(), text);
    assert!(poll.response().text().contains(&text));
    let mut echo = WebSocket::open(dial(&server, &config), "/echo", "");
    for len in [1, 125, 126, 16_383, 16_384, 16_385, 65_535, 65_536, 1_000_000] {
        let text = "e".repeat(len);
        echo.send_text(&text);
        assert_eq!(echo.text(), text);
    }
    let count = |result: &str| server.metric("roadstead_tls_handshakes_total", result);
    assert!(count("result=\"full\"") + count("result=\"resumed\"") >= 6.0);
    echo.send_frame(Opcode::Close, true, &1000_u16.to_be_bytes());
    assert_eq!(echo.close_code(), Some(1000));
}

#[test]
fn records_and_requests_split_at_each_byte_are_read_whole() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    let (mut connection, mut stream) = raw(&server, &certificate.client());
    let request = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let len = sealed_len(request);
    for at in 1..len {
        let bytes = sealed(&mut connection, request);
        assert_eq!(bytes.len(), len);
        // Every sixteenth comes byte by byte.
        let parts = if at.is_multiple_of(16) { 1 } else { len };
        for part in [&bytes[..at], &bytes[at..]] {
            for piece in part.chunks(parts) {
                stream.write_all(piece).expect("taken");
            }
        }
        let answer = read_until(&mut connection, &mut stream, "World!");
        assert!(answer.starts_with("HTTP/1.1 200"), "{at}: {answer}");
    }
}

/// What a text takes when it is sealed in one record of TLS 1.3.
fn sealed_len(plain: &[u8]) -> usize {
    5 + plain.len() + 1 + 16
}

#[test]
fn keys_change_while_messages_go_both_ways() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    let mut socket = WebSocket::open(dial(&server, &certificate.client()), "/echo", "");
    for round in 0..100 {
        socket.client.sealed().expect("it speaks TLS").conn.refresh_traffic_keys().expect("TLS 1.3 can");
        let text = format!("round {round}");
        socket.send_text(&text);
        assert_eq!(socket.text(), text);
    }
}

#[test]
fn a_record_that_nobody_with_the_keys_made_is_told_so_and_ends_the_connection() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    let (mut connection, mut stream) = raw(&server, &certificate.client());
    let mut bytes = sealed(&mut connection, b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    stream.write_all(&bytes).expect("taken");
    let told = loop {
        assert_ne!(connection.read_tls(&mut stream).expect("an alert, not a reset"), 0, "no alert came");
        if let Err(error) = connection.process_new_packets() {
            break error;
        }
    };
    assert_eq!(told, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    assert_eq!(stream.read(&mut [0; 16]).expect("the end, not a reset"), 0);
}

#[test]
fn a_server_that_has_said_everything_says_so_before_it_closes() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    let mut client = dial(&server, &certificate.client());
    let answer = client.request("GET", "/hello", "Connection: close\r\n", b"");
    assert_eq!(answer.text(), "Hello, World!");
    let sealed = client.sealed().expect("it speaks TLS");
    assert_eq!(sealed.read(&mut [0; 16]).expect("a close_notify, not just an end"), 0);
}

#[test]
fn a_client_that_says_its_last_word_is_answered_with_ours() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    for request in [&b""[..], b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let (mut connection, mut stream) = raw(&server, &certificate.client());
        let mut bytes = sealed(&mut connection, request);
        connection.send_close_notify();
        bytes.extend(sealed(&mut connection, b""));
        stream.write_all(&bytes).expect("taken");
        let mut heard = String::new();
        let mut sealed = rustls::Stream::new(&mut connection, &mut stream);
        sealed.read_to_string(&mut heard).expect("a close_notify, not just an end");
        assert_eq!(heard.ends_with("World!"), !request.is_empty(), "{heard}");
    }
}

#[test]
fn a_client_that_ends_without_a_last_word_gets_what_it_has_asked_for() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    let (mut connection, mut stream) = raw(&server, &certificate.client());
    let bytes = sealed(&mut connection, b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(&bytes).expect("taken");
    stream.shutdown(Shutdown::Write).expect("it can be");
    let answer = read_until(&mut connection, &mut stream, "World!");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    await_that("it is gone", || server.connections() == 0);
}

#[test]
fn http_on_a_port_that_speaks_tls_is_told_so_in_http() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    let stream = TcpStream::connect(server.address()).expect("it listens");
    let mut client = Client::plainly_over(stream);
    let answer = client.request("GET", "/hello", "", b"");
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text().contains("this address speaks TLS: write https://"), "{}", answer.text());
    client.expect_end();
    assert_eq!(server.metric("roadstead_tls_handshakes_total", "result=\"plain\""), 1.0);
}

#[test]
fn what_is_no_hello_gets_an_alert_and_who_says_none_is_closed_in_time() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &["tls.handshake_timeout_ms=200"]);
    let mut stranger = TcpStream::connect(server.address()).expect("it listens");
    stranger.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    stranger.write_all(&[23, 3, 3, 0, 1, 9]).expect("taken");
    let mut told = Vec::new();
    stranger.read_to_end(&mut told).expect("an end, not a reset");
    assert_eq!(told[..6], [21, 3, 3, 0, 2, 2], "{told:?}");
    let mut silent = TcpStream::connect(server.address()).expect("it listens");
    silent.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    silent.write_all(&[22, 3, 1, 2]).expect("taken");
    assert_eq!(silent.read(&mut [0; 16]).expect("an end, not a reset"), 0);
    let count = |result: &str| server.metric("roadstead_tls_handshakes_total", result);
    assert_eq!((count("result=\"refused\""), count("result=\"timeout\"")), (1.0, 1.0));
    assert_eq!(server.metric("roadstead_tls_handshakes_in_progress", ""), 0.0);
}

#[test]
fn the_rest_of_a_record_must_come_in_time() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &["limits.message_timeout_ms=100"]);
    let (mut connection, mut stream) = raw(&server, &certificate.client());
    let bytes = sealed(&mut connection, b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(&bytes[..20]).expect("taken");
    let mut rest = Vec::new();
    // Tickets may come first.
    stream.read_to_end(&mut rest).expect("an end, not a reset");
    await_that("nothing is kept", || server.metric("roadstead_partial_input_bytes", "") == 0.0);
}

#[test]
fn a_ticket_is_good_on_every_shard() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    let config = certificate.client();
    for _ in 0..20 {
        assert_eq!(dial(&server, &config).request("GET", "/hello", "", b"").status, 200);
    }
    let resumed = server.shards().into_iter().map(|shard| shard["tls_handshakes_total"][1].as_u64());
    let resumed: Vec<_> = resumed.map(|count| count.expect("a number")).collect();
    assert!(resumed.iter().sum::<u64>() >= 19 && resumed.iter().all(|count| *count > 0), "{resumed:?}");
}

#[test]
fn a_ticket_is_good_for_another_server_that_has_the_file_of_its_key_and_for_no_other() {
    let certificate = Certificate::new("localhost");
    let file = certificate.chain.with_file_name("ticket.keys");
    fs::write(&file, [7; 48]).expect("written");
    let setting = format!("tls.ticket_keys={}", file.display());
    let config = certificate.client();
    for (setting, handshake) in [(Some(&*setting), "full"), (Some(&*setting), "resumed"), (None, "full")] {
        let server = start(&certificate, setting.as_slice());
        assert_eq!(dial(&server, &config).request("GET", "/hello", "", b"").status, 200);
        let count =
            |result: &str| server.metric("roadstead_tls_handshakes_total", &format!("result=\"{result}\""));
        assert_eq!(count(handshake), 1.0, "{setting:?}");
    }
}

#[test]
fn a_session_of_another_shard_is_followed_there_with_its_keys() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &[]);
    let config = certificate.client();
    let mut first = dial(&server, &config);
    let opened = first.request("GET", "/socket.io/?EIO=4&transport=polling", "", b"").text();
    let sid = opened.split('"').nth(3).expect("an id").to_owned();
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    assert_eq!(first.request("POST", &target, "", b"40").text(), "ok");
    for round in 0..16 {
        let mut client = dial(&server, &config);
        let answer = client.request("POST", &target, "", b"42[\"event\"]");
        assert_eq!(answer.text(), "ok", "round {round}");
        assert_eq!(
            client.request("POST", &target, "", b"42[\"again\"]").text(),
            "ok",
            "on the same connection"
        );
    }
    assert!(server.metric("roadstead_handed_over_total", "") > 0.0);
}

/// The first certificate that a server shows now.
fn shown(server: &Server, config: &Arc<ClientConfig>) -> Option<rustls::pki_types::CertificateDer<'static>> {
    let mut client = dial(server, config);
    let connection = &client.sealed().expect("it speaks TLS").conn;
    let first = connection.peer_certificates().and_then(|chain| chain.first().cloned());
    first.map(rustls::pki_types::CertificateDer::into_owned)
}

#[test]
fn certificates_change_while_connections_live_on_and_broken_ones_change_nothing() {
    let (certificate, other, third) =
        (Certificate::new("localhost"), Certificate::new("localhost"), Certificate::new("localhost"));
    let server = start(&certificate, &["tls.watch_ms=20"]);
    let mut old = WebSocket::open(dial(&server, &certificate.client()), "/echo", "");
    assert_eq!(shown(&server, &certificate.client()), Some(certificate.der()));
    // A certificate without its key is refused as a whole.
    fs::copy(&other.chain, &certificate.chain).expect("copied");
    await_that("it is refused", || server.log().contains("does not belong to the first certificate"));
    assert_eq!(shown(&server, &certificate.client()), Some(certificate.der()));
    fs::copy(&other.key, &certificate.key).expect("copied");
    await_that("it is taken over", || shown(&server, &other.client()) == Some(other.der()));
    // The second time nobody waits for the watch.
    fs::copy(&third.key, &certificate.key).expect("copied");
    fs::copy(&third.chain, &certificate.chain).expect("copied");
    let answer = server.connect_admin().request("POST", "/reload", "", b"");
    assert_eq!(answer.status, 202, "{}", answer.text());
    await_that("it is taken over", || shown(&server, &third.client()) == Some(third.der()));
    let refused = server.connect_admin().request("POST", "/reload", "Origin: http://localhost\r\n", b"");
    assert_eq!(refused.status, 403);
    server.signal("HUP");
    await_that("they are read again", || server.log().contains("certificates were read again: localhost"));
    old.send_text("still here");
    assert_eq!(old.next(), Incoming::Text("still here".into()));
}

#[test]
fn a_certificate_with_another_key_is_refused_at_the_start_with_a_cure() {
    let (mut mixed, other) = (Certificate::new("localhost"), Certificate::new("localhost"));
    mixed.key = other.key;
    let output = command(&mixed, &[]).output().expect("the program can be started");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("this key does not belong to") && told.contains("openssl pkey -pubout"), "{told}");
}

#[test]
fn a_redirect_listener_sends_clients_to_tls_and_answers_challenges() {
    let certificate = Certificate::new("localhost");
    let folder = std::env::temp_dir().join(format!("roadstead-acme-e2e-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("token"), "token.print").expect("written");
    let folder_setting = format!("tls.acme_challenge_folder={}", folder.display());
    let mut command = command(&certificate, &["tls.redirect=127.0.0.1:0", &folder_setting]);
    let server = Server::launch(&mut command);
    let redirect = server.redirect.expect("the banner names it");
    let mut client = Client::plainly_over(TcpStream::connect(redirect).expect("it listens"));
    let answer = client.request("GET", "/channels/news?x=1", "", b"");
    let location = format!("https://localhost:{}/channels/news?x=1", server.address().port());
    assert_eq!((answer.status, answer.field("location")), (308, Some(&location[..])));
    let challenge = client.request("GET", "/.well-known/acme-challenge/token", "", b"");
    assert_eq!((challenge.status, challenge.text()), (200, "token.print".to_owned()));
    assert_eq!(client.request("GET", "/.well-known/acme-challenge/../token", "", b"").status, 404);
    fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_client_too_many_is_told_so_over_tls() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate, &["limits.connections_per_address_max=1"]);
    let config = certificate.client();
    let mut first = dial(&server, &config);
    assert_eq!(first.request("GET", "/hello", "", b"").status, 200);
    let mut second = dial(&server, &config);
    assert_eq!(second.response().status, 429);
    second.expect_end();
}

#[test]
fn a_switch_makes_every_test_speak_tls() {
    let server = Server::start(&[]);
    assert_eq!(certificate::speaks_tls(server.address()), certificate::is_used_everywhere());
    assert_eq!(server.get("/hello").status, 200);
}

#[test]
fn a_server_with_keys_leaves_no_core_and_one_without_leaves_that_to_the_system() {
    let limits = |path: &str| {
        let text = fs::read_to_string(path).expect("every process has limits");
        let line =
            text.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("one of them");
        let mut words = line.split_whitespace().map(str::to_owned);
        [words.next().expect("a soft one"), words.next().expect("a hard one")]
    };
    let of = |server: &Server| limits(&format!("/proc/{}/limits", server.id()));
    let certificate = Certificate::new("localhost");
    let [soft, hard] = limits("/proc/self/limits");
    let mut server = start(&certificate, &[]);
    // Nothing can be set where the system allows nothing.
    let forbidden = if hard == "0" { "0" } else { "1" };
    assert_eq!(of(&server), [forbidden, &hard]);
    server.signal("ABRT");
    assert!(!server.wait().core_dumped());
    assert_eq!(of(&start(&certificate, &["server.core_dumps=true"])), [&*soft, &hard]);
    let mut plain = Server::command(2, &[], &[]);
    assert_eq!(of(&Server::launch(plain.args(["--listen", "127.0.0.1:0"]))), [&*soft, &hard]);
}
