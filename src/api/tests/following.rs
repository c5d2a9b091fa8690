//! `GET /channels/{name}`: negotiation, positions, timeouts.

use super::super::testing::{Rig, at, code, name};
use crate::app::{Answer, Position, Verdict};

#[test]
fn the_accept_header_chooses_between_stream_and_poll() {
    let cases = [
        (&[][..], false),
        (&[("Accept", "*/*")], false),
        (&[("Accept", "text/event-stream")], true),
        (&[("Accept", "application/json, Text/Event-Stream;q=0.9")], true),
        (&[("Accept", "text/event-stream; q=0")], false),
        (&[("Accept", "text/html"), ("Accept", "text/event-stream")], true),
    ];
    for (fields, expected) in cases {
        let answer = Rig::open().request("GET /channels/news", fields, b"");
        assert_eq!(matches!(answer, Answer::EventStream { .. }), expected, "{fields:?}");
        assert_eq!(matches!(answer, Answer::LongPoll { .. }), !expected, "{fields:?}");
    }
}

#[test]
fn a_stream_resumes_at_last_event_id_before_since() {
    let resume = |query: &str, id: Option<&str>| {
        let mut fields = vec![("Accept", "text/event-stream")];
        fields.extend(id.map(|id| ("Last-Event-ID", id)));
        match Rig::open().request(&format!("GET /channels/n{query}"), &fields, b"") {
            Answer::EventStream { since, .. } => Ok(since),
            Answer::Respond(response) => Err(code(&response)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(resume("", None), Ok(None));
    assert_eq!(resume("?since=1:2", None), Ok(Some(at(1, 2))));
    assert_eq!(resume("?since=1:2", Some("1:5")), Ok(Some(at(1, 5))));
    assert_eq!(resume("?since=1:2", Some("")), Ok(Some(at(1, 2))));
    assert_eq!(resume("?since=", None), Ok(None));
    assert_eq!(resume("?since=1", None), Err("position_invalid".into()));
    assert_eq!(resume("?lastEventId=1%3A3", None), Ok(Some(at(1, 3))));
    assert_eq!(resume("?lastEventId=1:3&since=1:2", Some("")), Ok(Some(at(1, 3))));
    assert_eq!(resume("?lastEventId=1:3", Some("1:5")), Ok(Some(at(1, 5))));
    assert_eq!(resume("?lastEventId=&since=1:2", None), Ok(Some(at(1, 2))));
    for foreign in ["x", "42", "urn:uuid:1", "-1:2"] {
        assert_eq!(resume("?since=1:2", Some(foreign)), Ok(Some(Position::FOREIGN)), "{foreign}");
    }
}

#[test]
fn a_poll_waits_as_long_as_asked_within_the_limit() {
    let wait = |query: &str| match Rig::open().request(&format!("GET /channels/n{query}"), &[], b"") {
        Answer::LongPoll { timeout_ms, .. } => Ok(timeout_ms),
        Answer::Respond(response) => Err(code(&response)),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(""), Ok(25_000));
    assert_eq!(wait("?timeout=0"), Ok(0));
    assert_eq!(wait("?timeout=1.25"), Ok(1_250));
    assert_eq!(wait("?timeout=.5"), Ok(500));
    assert_eq!(wait("?timeout=60"), Ok(60_000));
    assert_eq!(wait("?timeout=61"), Ok(60_000));
    assert_eq!(wait(&format!("?timeout={}", "9".repeat(400))), Ok(60_000));
    for text in ["-1", "1e3", "inf", "NaN", "", ".", "1.2.3", "%2B1"] {
        assert_eq!(wait(&format!("?timeout={text}")), Err("timeout_invalid".into()), "{text}");
    }
}

#[test]
fn a_channels_websocket_follows_it_from_the_position_asked() {
    match Rig::open().connect("/channels/n%2F1?since=2:3", &[]) {
        Verdict::Accept { channel: Some((channel, Some(since))), diagnostic: false, .. } => {
            assert_eq!((channel, since), (name("n/1"), at(2, 3)));
        }
        other => panic!("{other:?}"),
    }
    let refused = |target: &str| match Rig::open().connect(target, &[]) {
        Verdict::Refuse(response) => code(&response),
        other => panic!("{target}: {other:?}"),
    };
    assert_eq!(refused("/channels/n?since=x"), "position_invalid");
    assert_eq!(refused("/hello"), "not_a_websocket");
    assert_eq!(refused("/nothing"), "not_found");
}
