//! Requests that are no session's, or not in the way the session runs: the code, the message, and no harm done.

use crate::{
    link::Link,
    place::{Fixture, Place, handshake_fields},
};

/// Checks that a request is refused with exactly this.
#[track_caller]
fn check(place: &Place, method: &str, query: &str, fields: &str, body: &str) {
    let response = place.request(method, query, fields, b"");
    assert_eq!((response.status, response.text().as_str()), (400, body), "{method} {query}");
    assert_eq!(response.field("content-type"), Some("application/json"), "{method} {query}");
}

const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const UNKNOWN_SESSION: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const UNSUPPORTED_VERSION: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

#[test]
fn what_is_wrong_with_a_handshake_is_said_as_engine_io_says_it() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        for query in ["", "EIO=4", "EIO=4&transport=", "EIO=4&transport=flash", "EIO=4&transport=constructor"]
        {
            check(&place, "GET", query, "", UNKNOWN_TRANSPORT);
        }
        for version in ["", "EIO=&", "EIO=3&", "EIO=5&", "EIO=44&", "EIO=four&"] {
            check(&place, "GET", &format!("{version}transport=polling"), "", UNSUPPORTED_VERSION);
        }
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            check(&place, method, "EIO=4&transport=polling", "", BAD_METHOD);
        }
        check(&place, "GET", "EIO=4&transport=websocket", "", BAD_REQUEST);
    }
}

#[test]
fn a_session_nobody_opened_is_not_known() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        let real = place.poll();
        let altered = real.sid.replace(&real.sid[10..], &"_".repeat(real.sid.len() - 10));
        let long = "A".repeat(4000);
        for sid in ["x", "AAAAAAAAAAAAAAAAAAAA", "%00", "../../etc/passwd", &real.sid[1..], &altered, &long] {
            let query = format!("EIO=4&transport=polling&sid={sid}");
            check(&place, "GET", &query, "", UNKNOWN_SESSION);
            check(&place, "POST", &query, "", UNKNOWN_SESSION);
            let query = format!("EIO=4&transport=websocket&sid={sid}");
            check(&place, "GET", &query, &handshake_fields(), UNKNOWN_SESSION);
        }
        real.send("3");
    }
}

#[test]
fn a_session_over_a_websocket_takes_no_requests() {
    let fixture = Fixture::start(&[]);
    let mut link = fixture.echo().link();
    let sid = link.opened()["sid"].as_str().expect("an id").to_owned();
    let query = format!("EIO=4&transport=polling&sid={sid}");
    check(&fixture.echo(), "GET", &query, "", BAD_REQUEST);
    check(&fixture.echo(), "POST", &query, "", BAD_REQUEST);
    match Link::try_open(&fixture.echo(), &format!("EIO=4&transport=websocket&sid={sid}")) {
        Ok(second) => assert_eq!(second.expect_close(), [""; 0]),
        Err(refusal) => assert_eq!(refusal.status, 400),
    }
    link.send("4still here");
    assert_eq!(link.packet(), "4still here");
}

#[test]
fn a_method_that_a_session_does_not_know_does_it_no_harm() {
    let fixture = Fixture::start(&[]);
    let session = fixture.echo().poll();
    for method in ["PUT", "DELETE", "PATCH"] {
        let response = fixture.echo().request(method, &session.query(), "", b"");
        assert!(response.status >= 400, "{method}: {}", response.status);
    }
    session.send("4still here");
    assert_eq!(session.receive(), ["4still here"]);
}

#[test]
fn a_payload_beyond_the_limit_is_refused_and_one_at_the_limit_taken() {
    let fixture = Fixture::start(&["maxHttpBufferSize=10000"]);
    let session = fixture.echo().poll();
    let largest = format!("4{}", "x".repeat(9999));
    session.send(&largest);
    assert_eq!(session.receive(), [largest.as_str()]);
    assert_eq!(session.post(format!("{largest}x")).status, 413);
    let other = fixture.echo().poll();
    other.send("4hello");
    assert_eq!(other.receive(), ["4hello"]);
}

#[test]
fn a_payload_that_is_said_to_be_bytes_is_not_taken() {
    let fixture = Fixture::start(&[]);
    let session = fixture.echo().poll();
    let fields = "Content-Type: application/octet-stream\r\n";
    assert_eq!(fixture.echo().request("POST", &session.query(), fields, b"4x").status, 400);
    session.expect_gone();
}

#[test]
fn payloads_that_are_none_end_the_session() {
    let fixture = Fixture::start(&[]);
    let cases: &[&[u8]] = &[
        b"",
        b"\x1e",
        b"4a\x1e",
        b"\x1e4a",
        b"4a\x1e\x1e4b",
        b"9",
        b"4ok\x1eabc",
        b"2",
        b"2probe",
        b"b!!!!",
        b"bAQI",
        b"bAQ=I",
        b"bA",
        b"4\xff",
        b"\xf0\x9f",
    ];
    for payload in cases {
        let session = fixture.echo().poll();
        let status = session.post(payload).status;
        assert!([200, 400].contains(&status), "{status} for {:?}", payload.escape_ascii().to_string());
        session.expect_end();
    }
}

#[test]
fn answers_to_polls_are_not_to_be_kept_by_anybody() {
    let fixture = Fixture::start(&[]);
    for place in fixture.places() {
        let response = place.request("GET", "EIO=4&transport=polling", "", b"");
        assert_eq!(response.field("cache-control"), Some("no-store"));
        assert_eq!(response.field("content-type"), Some("text/plain; charset=UTF-8"));
    }
}

#[test]
fn a_path_that_only_looks_alike_is_somebody_elses() {
    let fixture = Fixture::start(&[]);
    let address = fixture.socketio();
    for target in ["/socket.iox/?EIO=4&transport=polling", "/Socket.IO/"] {
        let response = address.connect().request("GET", target, "", b"");
        assert_eq!(response.status, 404, "{target}");
    }
}
