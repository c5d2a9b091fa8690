//! Tests of packets, payloads, queries and the handshake's answers: tables of text. A payload is decoded as a body and,
//! frame by frame in every split, as what a WebSocket would carry.

use proptest::prelude::*;

use super::{
    fuzz::{Owned, decode_frames, decode_payload, encode_payload},
    *,
};
use crate::model::{CloseReason, SessionId, ShardId};

const PACKETS_MAX: usize = 4;

/// Decodes `body`, which must hold `expected`, and takes these through every other form there is.
#[track_caller]
fn check(body: &str, expected: &[Packet<'_>]) {
    let expected: Vec<_> = expected.iter().copied().map(Owned::of).collect();
    assert_eq!(decode_payload(body.as_bytes(), PACKETS_MAX), (expected.clone(), Ok(())), "{body:?}");
    assert_eq!(encode_payload(&expected), body.as_bytes());
    let mut frames = Vec::new();
    assert_eq!(reframe_payload(&mut frames, body, false), Ok(()));
    assert_eq!(decode_frames(frames.chunks(1)), expected, "byte by byte");
    for at in 0..frames.len() {
        let (one, two) = frames.split_at(at);
        assert_eq!(decode_frames([one, two]), expected, "split at {at}");
    }
}

/// Decodes `body`, which must fail after `before` packets, as a body, as frames and as a message of its own.
#[track_caller]
fn check_fault(body: &str, before: usize, error: EngineError) {
    let (packets, end) = decode_payload(body.as_bytes(), PACKETS_MAX);
    assert_eq!((packets.len(), end), (before, Err(error)), "{body:?}");
    let mut frames = b"before".to_vec();
    assert_eq!(reframe_payload(&mut frames, body, false), Err(error));
    assert_eq!(frames, b"before", "a fault leaves nothing behind");
    let last = body.rsplit('\u{1e}').next().unwrap_or(body);
    assert_eq!(decode_text(last, &mut Vec::new()), Err(error), "{last:?}");
}

#[test]
fn each_type_of_packet_is_read_and_written() {
    check("0{\"sid\":\"x\"}", &[Packet::Open("{\"sid\":\"x\"}")]);
    check("1", &[Packet::Close]);
    check("2", &[Packet::Ping("")]);
    check("2probe", &[Packet::Ping("probe")]);
    check("3", &[Packet::Pong("")]);
    check("3probe", &[Packet::Pong("probe")]);
    check("4", &[Packet::Text("")]);
    check("42[\"é😀\"]", &[Packet::Text("2[\"é😀\"]")]);
    check("5", &[Packet::Upgrade]);
    check("6", &[Packet::Noop]);
    check("b", &[Packet::Binary(b"")]);
    check("bAQIDBA==", &[Packet::Binary(&[1, 2, 3, 4])]);
    check("b+/8=", &[Packet::Binary(&[0xfb, 0xff])]);
    check("bAAAA", &[Packet::Binary(&[0, 0, 0])]);
}

#[test]
fn a_payload_holds_packets_in_order_up_to_the_number_allowed() {
    check("4a\u{1e}2\u{1e}bAQIDBA==", &[Packet::Text("a"), Packet::Ping(""), Packet::Binary(&[1, 2, 3, 4])]);
    check("bAA==\u{1e}bAQ==\u{1e}4", &[Packet::Binary(&[0]), Packet::Binary(&[1]), Packet::Text("")]);
    check("6\u{1e}6\u{1e}6\u{1e}6", &[Packet::Noop; 4]);
    let five = decode_payload(b"6\x1e6\x1e6\x1e6\x1e6", PACKETS_MAX);
    assert_eq!(five, (vec![], Err(EngineError::PacketsTooMany)));
}

#[test]
fn what_is_no_packet_is_told_by_its_fault_and_ends_the_payload() {
    check_fault("", 0, EngineError::Empty);
    check_fault("\u{1e}", 0, EngineError::Empty);
    check_fault("4a\u{1e}", 1, EngineError::Empty);
    check_fault("abc", 0, EngineError::PacketType);
    check_fault("7", 0, EngineError::PacketType);
    check_fault("/", 0, EngineError::PacketType);
    check_fault("é", 0, EngineError::PacketType);
    check_fault("4a\u{1e}4b\u{1e}c", 2, EngineError::PacketType);
    check_fault("1x", 0, EngineError::DataUnexpected);
    check_fault("5x", 0, EngineError::DataUnexpected);
    check_fault("6x", 0, EngineError::DataUnexpected);
    let (packets, end) = decode_payload(b"4a\x1e\x1e4b", PACKETS_MAX);
    assert_eq!((packets.len(), end), (1, Err(EngineError::Empty)), "nothing behind a fault is read");
    assert_eq!(decode_payload(b"4\xff", PACKETS_MAX), (vec![], Err(EngineError::NotUtf8)));
    assert_eq!(decode_payload(b"4a\x1e4\xc3", PACKETS_MAX), (vec![], Err(EngineError::NotUtf8)));
}

#[test]
fn base64_is_of_the_standard_alphabet_padded_and_canonical() {
    for text in [
        "b=",
        "b==",
        "b====",
        "bA",
        "bAA",
        "bAA=",
        "bAAA",
        "bAA==A",
        "bAA==AAAA",
        "bAB==",
        "bAAB=",
        "bAAAAA====",
    ] {
        check_fault(text, 0, EngineError::Base64);
    }
    for text in ["b-_8=", "bAA ==", "b AA==", "bAA==\n", "bé===", "bAQI.", "bAQIDBA"] {
        check_fault(text, 0, EngineError::Base64);
    }
}

#[test]
fn a_packet_becomes_one_frame_of_the_server_text_or_binary() {
    let frame = |packet| {
        let mut out = b"before".to_vec();
        encode_frame(&mut out, packet);
        out.split_off(6)
    };
    assert_eq!(frame(Packet::Ping("")), b"\x81\x012");
    assert_eq!(frame(Packet::Text("2[\"a\"]")), b"\x81\x0742[\"a\"]");
    assert_eq!(frame(Packet::Binary(b"\xff4")), b"\x82\x02\xff4");
    assert_eq!(frame(Packet::Binary(b"")), b"\x82\x00");
    let long = "x".repeat(125);
    assert_eq!(frame(Packet::Text(&long[1..]))[..3], *b"\x81\x7d4", "125 bytes with the type");
    assert_eq!(frame(Packet::Text(&long))[..5], *b"\x81\x7e\x00\x7e4", "126 bytes with the type");
    let long = "x".repeat(65_535);
    assert_eq!(frame(Packet::Text(&long[1..]))[..5], *b"\x81\x7e\xff\xff4");
    assert_eq!(frame(Packet::Text(&long))[..11], *b"\x81\x7f\0\0\0\0\0\x01\0\x004");
}

#[test]
fn faults_end_a_session_in_the_table_of_reasons() {
    assert_eq!(EngineError::PacketType.close_reason(), CloseReason::ProtocolError);
    assert_eq!(EngineError::NotUtf8.close_reason(), CloseReason::InvalidUtf8);
    assert_eq!(EngineError::PacketsTooMany.close_reason(), CloseReason::MessageTooBig);
}

#[test]
fn a_query_is_read_member_by_member_the_first_of_two() {
    let query = Query::decode("/socket.io/?EIO=4&transport=polling&t=abc");
    assert!(query.is_version_4 && query.sid.is_none() && !query.is_jsonp && !query.is_base64);
    assert_eq!(query.transport, Some(Transport::Polling));
    let query = Query::decode("/socket.io/?b64=1&transport=web%73ocket&transport=polling&EIO=4&EIO=3&j=0");
    assert!(query.is_version_4 && query.is_jsonp && query.is_base64);
    assert_eq!(query.transport, Some(Transport::WebSocket));
    for target in ["/socket.io/", "/socket.io/?", "?", "", "/?EIO=3&transport=webtransport&b64=&sid="] {
        let query = Query::decode(target);
        assert!(!query.is_version_4 && query.sid.is_none() && !query.is_base64, "{target}");
        assert_eq!(query.transport, None, "{target}");
    }
    for version in ["EIO=abc", "EIO=", "EIO=04", "EIO=4.0", "eio=4", "EIO=4%20"] {
        assert!(!Query::decode(&format!("/?{version}")).is_version_4, "{version}");
    }
    assert_eq!(Query::decode("/?transport=Polling").transport, None);
}

#[test]
fn a_sid_in_a_query_is_absent_an_id_or_one_this_server_cannot_have_given() {
    let id = SessionId::new(ShardId(3), 77, *b"\xff\xfe\xfdsecret");
    let sid = Query::decode(&format!("/?transport=polling&sid={id}")).sid;
    let read = sid.and_then(Result::ok).expect("an id");
    assert_eq!((read.shard(), read.index(), read.secret()), (id.shard(), id.index(), id.secret()));
    for text in ["abc", "__proto__", "%00", "AAEAAAAC____________A"] {
        assert!(matches!(Query::decode(&format!("/?sid={text}")).sid, Some(Err(_))), "{text}");
    }
}

#[test]
fn the_open_packet_tells_what_the_client_needs() {
    let handshake = |upgrades| {
        let mut out = Vec::new();
        let sid = SessionId::new(ShardId(1), 2, [0xff; 9]);
        let handshake = Handshake {
            sid,
            upgrades,
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            payload_bytes_max: 1_000_000,
        };
        handshake.encode(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    };
    assert_eq!(
        handshake(&[Transport::WebSocket]),
        r#"{"sid":"AAEAAAAC____________","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
    );
    assert!(handshake(&[]).contains(r#""upgrades":[],"#));
    assert!(handshake(&[Transport::Polling, Transport::WebSocket]).contains(r#"["polling","websocket"]"#));
}

#[test]
fn refusals_are_told_in_the_words_clients_know() {
    for (error, status, body) in [
        (HandshakeError::UnknownTransport, 400, r#"{"code":0,"message":"Transport unknown"}"#),
        (HandshakeError::UnknownSid, 400, r#"{"code":1,"message":"Session ID unknown"}"#),
        (HandshakeError::BadHandshakeMethod, 400, r#"{"code":2,"message":"Bad handshake method"}"#),
        (HandshakeError::BadRequest, 400, r#"{"code":3,"message":"Bad request"}"#),
        (HandshakeError::Forbidden, 403, r#"{"code":4,"message":"Forbidden"}"#),
        (
            HandshakeError::UnsupportedProtocolVersion,
            400,
            r#"{"code":5,"message":"Unsupported protocol version"}"#,
        ),
    ] {
        let mut out = Vec::new();
        error.encode(&mut out, None);
        assert_eq!((error.status(), String::from_utf8(out).as_deref()), (status, Ok(body)));
    }
    let mut out = Vec::new();
    HandshakeError::Forbidden.encode(&mut out, Some("no \"token\""));
    assert_eq!(out, br#"{"code":4,"message":"no \"token\""}"#);
}

fn any_packet() -> impl Strategy<Value = Owned> {
    prop_oneof![
        "[^\u{1e}]{0,40}".prop_map(Owned::Text),
        "[^\u{1e}]{0,140}".prop_map(Owned::Open),
        "(probe)?".prop_map(Owned::Ping),
        "(probe)?".prop_map(Owned::Pong),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Owned::Binary),
        Just(Owned::Close),
        Just(Owned::Upgrade),
        Just(Owned::Noop),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_as_a_payload_and_as_frames(
        packets in prop::collection::vec(any_packet(), 1..8),
        piece in 1usize..200,
    ) {
        let body = encode_payload(&packets);
        prop_assert_eq!(decode_payload(&body, 8), (packets.clone(), Ok(())));
        let mut frames = Vec::new();
        reframe_payload(&mut frames, std::str::from_utf8(&body).expect("text"), false).expect("sound packets");
        prop_assert_eq!(decode_frames(frames.chunks(piece)), packets);
    }

    #[test]
    fn any_bytes_hold_the_properties(data in prop::collection::vec(any::<u8>(), 0..60)) {
        fuzz(&data);
    }

    #[test]
    fn almost_payloads_hold_the_properties(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..12),
    ) {
        fuzz(words.concat().as_bytes());
    }
}

/// What almost payloads and almost targets are put together from.
const WORDS: &[&str] = &[
    "\u{1e}",
    "\u{1e}",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "b",
    "b",
    "AA==",
    "AAA=",
    "AAAA",
    "AQID",
    "=",
    "==",
    "A",
    "_",
    "+/",
    "probe",
    "{}",
    "é",
    "?",
    "sid=",
    "AAEAAAAC____________",
    "&",
    "EIO=4",
    "%",
];
