//! Handshakes with rustls's client.

use std::sync::OnceLock;

use rustls::{ServerConnection, pki_types::PrivateKeyDer};

use super::*;
use crate::{
    limits::HANDSHAKE_INPUT_BYTES_MAX,
    tls::direction::{Direction, HEADER_BYTES},
};

#[test]
fn every_suite_shakes_hands_and_speaks_both_ways_however_the_bytes_arrive() {
    for suite in every_suite() {
        for piece in [1, 7, 1000, usize::MAX] {
            let (mut client, mut record) = shake_hands(client_of(vec![suite]), piece);
            for len in [1, 17, 16_384, 16_385, 70_000] {
                let text = vec![len as u8; len];
                let bytes = say(&mut client, &text);
                assert_eq!(receive_in_pieces(&mut record, &bytes, piece), (text.clone(), None), "{suite:?}");
                let bytes = sealed(&mut record, &text);
                assert_eq!(take(&mut client, &bytes), Ok(text), "{suite:?}");
            }
            client.send_close_notify();
            let bytes = sent(&mut client);
            assert_eq!(receive_in_pieces(&mut record, &bytes, piece), (vec![], Some(End::Closed)));
            let mut bytes = Vec::new();
            record.seal_farewell(&mut bytes);
            client.read_tls(&mut &bytes[..]).expect("read");
            assert!(client.process_new_packets().expect("an alert that can be opened").peer_has_closed());
        }
    }
}

#[test]
fn keys_change_both_ways_as_often_as_either_side_likes() {
    let suites = every_suite().into_iter().filter(|suite| suite.tls13().is_some());
    for suite in suites {
        let (mut client, mut record) = shake_hands(client_of(vec![suite]), usize::MAX);
        for round in 0..100 {
            client.refresh_traffic_keys().expect("TLS 1.3 can");
            let text = format!("round {round}");
            let bytes = say(&mut client, text.as_bytes());
            let heard = receive_in_pieces(&mut record, &bytes, 1 + round);
            assert_eq!(heard, (text.clone().into_bytes(), None));
            let owed = record.owes_update();
            let bytes = sealed(&mut record, text.as_bytes());
            assert!(!record.owes_update());
            assert_eq!(take(&mut client, &bytes), Ok(text.into_bytes()), "its keys were asked for: {owed}");
        }
    }
}

#[test]
fn keys_that_change_right_behind_the_handshake_are_followed() {
    for suite in every_suite().into_iter().filter(|suite| suite.tls13().is_some()) {
        // All but the first have a ticket of the one before.
        let config = Arc::new(client_of(vec![suite]));
        for (round, piece) in [1, 9, usize::MAX, 1, 9].into_iter().enumerate() {
            let mut client = connection(&config);
            let Established { mut record, mut rest, is_resumed } =
                *shake_hands_and(&mut client, &SERVER, piece, |client| {
                    client.refresh_traffic_keys().expect("TLS 1.3 can");
                    client.writer().write_all(b"behind").expect("buffered");
                });
            assert_eq!(is_resumed, round > 0);
            let received = record.receive(&mut rest);
            assert_eq!((received.consumed, received.ended), (rest.len(), None));
            assert_eq!(received.plain(&mut rest), b"behind");
            let bytes = sealed(&mut record, b"answer");
            assert_eq!(take(&mut client, &bytes), Ok(b"answer".to_vec()), "{suite:?}");
        }
    }
}

#[test]
fn a_ticket_is_good_on_every_shard_until_its_key_has_been_replaced_twice() {
    for suites in [every_suite(), every_suite().into_iter().filter(|suite| suite.tls13().is_none()).collect()]
    {
        let mut tickets = TicketKeys::random();
        let config = Arc::new(client_of(suites));
        let shake = |tickets: &TicketKeys| {
            let mut client = connection(&config);
            let established = shake_hands_and(&mut client, &server_with(tickets), usize::MAX, |_| {});
            let mut record = established.record;
            assert_eq!(take(&mut client, &sealed(&mut record, b"x")), Ok(b"x".to_vec()));
            established.is_resumed
        };
        assert!(!shake(&tickets), "nobody has a ticket yet");
        assert!(shake(&tickets), "another shard's configuration");
        tickets.rotate();
        assert!(shake(&tickets), "a ticket of the key before");
        tickets.rotate();
        tickets.rotate();
        assert!(!shake(&tickets), "nobody has that key any more");
        assert!(shake(&tickets));
        assert!(!shake(&TicketKeys::random()), "a server that was started again");
    }
}

#[test]
fn early_data_that_is_meant_for_another_server_is_skipped() {
    let key = PrivateKeyDer::from_pem_file(PKI.folder.join("key.pem")).expect("a key");
    let mut other = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("a suite for each version")
        .with_no_client_auth()
        .with_single_cert(vec![PKI.root.clone()], key)
        .expect("a certificate");
    other.max_early_data_size = 16_384;
    let other = Arc::new(other);
    let mut config = client_of(every_suite().into_iter().filter(|suite| suite.tls13().is_some()).collect());
    config.enable_early_data = true;
    let config = Arc::new(config);
    for sizes in [&[1][..], &[16_000], &[1_000; 16]] {
        let mut client = connection(&config);
        let mut server = ServerConnection::new(Arc::clone(&other)).expect("a server");
        while client.wants_write() {
            let bytes = sent(&mut client);
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                server.read_tls(&mut bytes).expect("a slice can be read");
                server.process_new_packets().expect("the client is right");
            }
            let mut out = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut out).expect("a vector takes everything");
            }
            take(&mut client, &out).expect("the server is right");
        }
        let mut client = connection(&config);
        let mut early = client.early_data().expect("it has a ticket of the other server");
        for size in sizes {
            assert_eq!(early.write(&vec![b'x'; *size]).expect("a client buffers"), *size);
        }
        let mut established = shake_hands_and(&mut client, &SERVER, usize::MAX, |_| {});
        assert!(!client.is_early_data_accepted() && !established.is_resumed);
        assert_eq!(take(&mut client, &sealed(&mut established.record, b"x")), Ok(b"x".to_vec()));
        let bytes = say(&mut client, b"y");
        assert_eq!(receive_in_pieces(&mut established.record, &bytes, usize::MAX), (b"y".to_vec(), None));
    }
}

/// Gives a server bytes and nothing else; what becomes of it, and what it says.
fn fail_with(bytes: &[u8]) -> (Option<Failure>, Vec<u8>) {
    let mut out = Vec::new();
    let mut handshake = Handshake::new(&SERVER);
    if let Err(failure) = handshake.handle_bytes(bytes) {
        return (Some(failure), out);
    }
    match handshake.advance(&mut out) {
        Step::NeedMore(_) => (None, out),
        Step::Done(_) => panic!("nobody shook hands"),
        Step::Failed(failure) => (Some(failure), out),
    }
}

#[test]
fn a_client_that_cannot_be_served_is_told_why() {
    let mut config = client_of(every_suite());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = connection(&Arc::new(config));
    let (failure, out) = fail_with(&sent(&mut client));
    assert_eq!(failure, Some(Failure::Refused(rustls::Error::NoApplicationProtocol)));
    let told = take(&mut client, &out);
    assert_eq!(told, Err(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)));
    let mut config = client_of(every_suite());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (client, _) = shake_hands(config, usize::MAX);
    assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn a_client_that_can_verify_no_certificate_of_the_server_is_told_that_nothing_suits_both() {
    for suites in [every_suite(), every_suite().into_iter().filter(|suite| suite.tls13().is_none()).collect()]
    {
        let mut hello = sent(&mut connection(&Arc::new(client_of(suites))));
        // Its signature algorithms (RFC 8446 §4.2.3), each of which becomes one that there is not.
        let is_list = |six: &[u8]| six.starts_with(&[0, 13, 0]) && six[4] == 0 && six[5] + 2 == six[3];
        let at = hello.windows(6).position(is_list).expect("the extension");
        let end = at + 6 + usize::from(hello[at + 5]);
        hello[at + 6..end].fill(0xee);
        let (failure, out) = fail_with(&hello);
        assert!(matches!(failure, Some(Failure::Refused(_))), "{failure:?}");
        assert_eq!(out, [21, 3, 3, 0, 2, 2, 40]);
    }
}

/// The secret of the keys that a client shakes hands with.
#[derive(Debug, Default)]
struct ClientSecret(OnceLock<Vec<u8>>);

impl rustls::KeyLog for ClientSecret {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == "CLIENT_HANDSHAKE_TRAFFIC_SECRET" {
            self.0.set(secret.to_vec()).expect("there is one");
        }
    }
}

#[test]
fn a_record_that_must_not_come_within_a_handshake_is_answered_with_an_alert_under_the_right_keys() {
    const UNEXPECTED: Result<Vec<u8>, rustls::Error> =
        Err(rustls::Error::AlertReceived(rustls::AlertDescription::UnexpectedMessage));
    // Within the hello, which nothing protects.
    let mut client = connection(&Arc::new(client_of(every_suite())));
    let mut bytes = sent(&mut client);
    bytes.truncate(HEADER_BYTES + 40);
    bytes[3..HEADER_BYTES].copy_from_slice(&40_u16.to_be_bytes());
    bytes.extend([21, 3, 3, 0, 2, 1, 90]);
    let (failure, out) = fail_with(&bytes);
    assert!(matches!(failure, Some(Failure::Refused(_))), "{failure:?}");
    assert_eq!(take(&mut client, &out), UNEXPECTED);
    // Behind the server's flight: a record that says not even what it is.
    for suite in every_suite().into_iter().filter(|suite| suite.tls13().is_some()) {
        let (secret, mut config) = (Arc::new(ClientSecret::default()), client_of(vec![suite]));
        config.key_log = secret.clone();
        let mut client = connection(&Arc::new(config));
        let (mut handshake, mut out) = (Handshake::new(&SERVER), Vec::new());
        handshake.handle_bytes(&sent(&mut client)).expect("taken");
        let Step::NeedMore(mut handshake) = handshake.advance(&mut out) else { panic!("more is needed") };
        take(&mut client, &out).expect("the client follows");
        let secret = secret.0.get().expect("the server has answered");
        let (mut keys, mut record) = (Direction::first(suite.suite(), secret).expect("keys"), Vec::new());
        keys.begin_record(&mut record);
        record.extend([0; 20]);
        let key = keys.expand();
        keys.end_record(&key, 0, &mut record, 0);
        handshake.handle_bytes(&record).expect("taken");
        out.clear();
        assert!(matches!(handshake.advance(&mut out), Step::Failed(Failure::Refused(_))));
        assert_eq!(take(&mut client, &out), UNEXPECTED, "{suite:?}");
    }
}

#[test]
fn what_is_no_handshake_is_refused_with_an_alert() {
    for bytes in [&b"\x80\x2e\x01\x03\x01"[..], &[23, 3, 3, 0, 1, 0], &[22, 9, 9, 0, 1, 0], &[0; 64]] {
        let (failure, out) = fail_with(bytes);
        assert!(matches!(failure, Some(Failure::Refused(_))), "{bytes:?}: {failure:?}");
        assert!(out.starts_with(&[21, 3]), "{bytes:?}: {out:?}");
    }
    let (failure, _) = fail_with(&[21, 3, 3, 0, 2, 2, 40]);
    assert!(matches!(failure, Some(Failure::PeerFailed(_))), "{failure:?}");
    let (failure, _) = fail_with(&vec![22; HANDSHAKE_INPUT_BYTES_MAX + 1]);
    assert_eq!(failure, Some(Failure::TooMuch));
    assert_eq!(Failure::TooMuch.alert(), Some([21, 3, 3, 0, 2, 2, 40]));
    assert!(speaks_http(b"GET / HTTP/1.1") && !speaks_http(b"\x16\x03\x01") && !speaks_http(b""));
}

#[test]
fn a_hello_split_anywhere_is_work_only_when_it_is_whole() {
    let hello = sent(&mut connection(&Arc::new(client_of(every_suite()))));
    for at in 0..hello.len() {
        let mut handshake = Handshake::new(&SERVER);
        handshake.handle_bytes(&hello[..at]).expect("taken");
        assert!(!handshake.has_work() && !handshake.has_answered(), "{at} bytes");
    }
    let mut handshake = Handshake::new(&SERVER);
    handshake.handle_bytes(&hello).expect("taken");
    assert!(handshake.has_work());
    let Step::NeedMore(handshake) = handshake.advance(&mut Vec::new()) else { panic!("more is needed") };
    assert!(handshake.has_answered() && !handshake.has_work());
}

#[test]
fn a_hello_that_has_to_be_said_again_is_answered_only_then() {
    let is_tls13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let suites = every_suite().into_iter().filter(is_tls13).collect();
    // What the client has guessed, the server does not speak.
    let groups = vec![aws_lc_rs::kx_group::MLKEM768, aws_lc_rs::kx_group::X25519];
    let mut client = connection(&Arc::new(client_with(suites, groups)));
    let (mut handshake, mut out) = (Handshake::new(&SERVER), Vec::new());
    for is_again in [false, true] {
        handshake.handle_bytes(&sent(&mut client)).expect("taken");
        assert!(handshake.has_work() && !handshake.has_answered(), "again: {is_again}");
        out.clear();
        let Step::NeedMore(next) = handshake.advance(&mut out) else { panic!("more is needed") };
        handshake = next;
        assert!(!out.is_empty());
        take(&mut client, &out).expect("the client follows");
    }
    assert!(handshake.has_answered());
    assert_eq!(
        client.negotiated_key_exchange_group().map(|group| group.name()),
        Some(rustls::NamedGroup::X25519)
    );
    handshake.handle_bytes(&sent(&mut client)).expect("taken");
    assert!(matches!(handshake.advance(&mut out), Step::Done(_)));
}

#[test]
fn a_hello_changed_anywhere_never_panics_whatever_comes_behind() {
    let hello = sent(&mut connection(&Arc::new(client_of(every_suite()))));
    for at in 0..hello.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = hello.clone();
            bytes[at] ^= change;
            let mut out = Vec::new();
            let mut handshake = Handshake::new(&SERVER);
            // Most of a hello is random: a few of its bytes are tried in pieces as well.
            let piece = if at % 16 == 0 { 5 } else { bytes.len() };
            let parts = bytes.chunks(piece).chain([&hello[..], &[20, 3, 3, 0, 1, 1], &[23, 3, 3, 0, 1, 7]]);
            for part in parts {
                handshake.handle_bytes(part).expect("no more than may be");
                match handshake.advance(&mut out) {
                    Step::NeedMore(again) => handshake = again,
                    Step::Done(_) => panic!("nobody shook hands"),
                    Step::Failed(_) => break,
                }
            }
        }
    }
}
