//! Connections that speak TLS and stay open when another version takes the place of the one that has their keys.

use std::{io::Write, sync::Arc};

use roadstead::wire::websocket::Opcode;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::json;

use crate::{
    certificate,
    client::Client,
    server::Server,
    socket::{Incoming, WebSocket, frame},
    stream::EventStream,
    upgrade::Installed,
};

/// Long enough that no client is asked whether it is there.
const QUIET: &str = "limits.ping_interval_ms=600000";

/// A client that speaks TLS 1.2.
fn client_of_tls12() -> Arc<ClientConfig> {
    let [_, chain, ..] = certificate::flags();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(chain).expect("a certificate")).expect("a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]);
    Arc::new(builder.expect("suites").with_root_certificates(roots).with_no_client_auth())
}

/// Clients of TLS 1.3 and of TLS 1.2.
fn both(server: &Server) -> [Client; 2] {
    [certificate::client(), client_of_tls12()].map(|config| {
        Client::sealed_over(std::net::TcpStream::connect(server.address()).expect("it listens"), &config)
    })
}

/// What a client would send for some bytes, sealed.
fn sealed(client: &mut Client, bytes: &[u8]) -> Vec<u8> {
    let sealed = client.sealed().expect("it speaks TLS");
    sealed.conn.writer().write_all(bytes).expect("a client buffers");
    let mut records = Vec::new();
    while sealed.conn.wants_write() {
        sealed.conn.write_tls(&mut records).expect("a vector takes everything");
    }
    records
}

/// Sends bytes as they are.
fn send_raw(client: &mut Client, bytes: &[u8]) {
    client.sealed().expect("it speaks TLS").sock.write_all(bytes).expect("the server takes bytes");
}

#[test]
fn clients_that_speak_tls_stay_connected_with_half_a_record_and_with_new_keys() {
    let installed = Installed::new();
    let server = installed.serve_both(&[QUIET]);
    let mut raw = both(&server).map(|client| WebSocket::open(client, "/channels/news", ""));
    let mut asking = both(&server).map(|client| WebSocket::open(client, "/ws", ""));
    let mut streams = both(&server).map(|client| EventStream::open(client, "news", "", ""));
    server.await_subscribers("news", 4);
    let ping = |id: usize| frame(Opcode::Text, true, json!({"id": id, "ping": {}}).to_string().as_bytes());
    for round in 1..=3 {
        let news = round.to_string();
        server.publish("news", &news);
        // Keys of TLS 1.3 change, and the server has to change its own.
        let first = asking[0].client.sealed().expect("it speaks TLS");
        first.conn.refresh_traffic_keys().expect("it is TLS 1.3");
        let halves = asking.each_mut().map(|socket| {
            let mut bytes = sealed(&mut socket.client, &ping(round));
            let rest = bytes.split_off(bytes.len() - 7 * round);
            send_raw(&mut socket.client, &bytes);
            rest
        });
        server.succeeded();
        assert_eq!(server.metric("roadstead_carried_total", ""), 6.0);
        assert_eq!(server.metric("roadstead_carried_refused_total", ""), 0.0);
        for (socket, rest) in asking.iter_mut().zip(&halves) {
            send_raw(&mut socket.client, rest);
            assert_eq!(socket.json()["id"], json!(round));
        }
        raw.iter_mut().for_each(|socket| assert_eq!(socket.text(), news));
        streams.iter_mut().for_each(|stream| assert_eq!(stream.data(), news));
    }
    // Those who have gone through it are ended as any.
    for socket in &mut raw {
        socket.send_frame(Opcode::Close, true, &1000u16.to_be_bytes());
        assert_eq!(socket.close_code(), Some(1000));
    }
}

#[test]
fn who_finds_no_room_is_told_so_with_its_own_keys() {
    let installed = Installed::new();
    installed.configure("");
    let server = installed.serve_both(&[QUIET]);
    let mut sockets: Vec<_> = (0..10)
        .flat_map(|_| both(&server))
        .map(|client| WebSocket::open(client, "/channels/news", ""))
        .collect();
    installed.configure("[limits]\nconnections_max = 6\n");
    server.succeeded();
    let count = |name: &str| server.metric(name, "") as usize;
    assert_eq!((count("roadstead_carried_total"), count("roadstead_carried_refused_total")), (6, 14));
    let mut stay = 0;
    for socket in &mut sockets {
        socket.client.try_send(frame(Opcode::Ping, true, b"?")).ok();
        match socket.next() {
            Incoming::Pong(_) => stay += 1,
            Incoming::Close(code, _) => assert_eq!(code, Some(1001)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stay, 6);
}
