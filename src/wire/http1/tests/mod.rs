//! Tests of the decoder: tables of bytes, each fed whole, at every split point and byte by byte. Here are the driver
//! and what concerns arrivals; the rules of heads and bodies have files of their own.

mod body;
mod head;

use proptest::prelude::*;

use super::{
    fuzz::{Owned, Pace, Transcript, transcribe},
    *,
};
use crate::limits::Limits;

fn limits() -> Limits {
    Limits { head_bytes_max: 256, head_fields_max: 5, body_bytes_max: 20, ..Limits::default() }
}

/// Feeds `input` in every way there is and returns what all of them agree on.
fn decode(input: &[u8]) -> Transcript {
    let limits = limits();
    let whole = transcribe([input], Pace::Straight, &limits);
    assert_eq!(whole, transcribe(input.chunks(1), Pace::Straight, &limits), "byte by byte");
    assert_eq!(whole, transcribe([input], Pace::Paused, &limits), "with pauses");
    for at in 1..input.len() {
        let (one, two) = input.split_at(at);
        assert_eq!(whole, transcribe([one, two], Pace::Straight, &limits), "split at {at}");
    }
    whole
}

#[track_caller]
fn check(input: &str, expected: Result<&[&str], HttpError>) {
    let transcript = decode(input.as_bytes());
    let seen: Vec<String> = transcript.requests.iter().map(describe).collect();
    match expected {
        Ok(requests) => {
            assert_eq!(transcript.end, Ok(Phase::Idle), "{input:?}");
            assert_eq!(seen, requests, "{input:?}");
        }
        Err(error) => {
            assert_eq!(transcript.end, Err(error), "{input:?}");
            assert_eq!(seen, [""; 0], "{input:?}");
        }
    }
}

fn describe(request: &Owned) -> String {
    let body = String::from_utf8_lossy(&request.body);
    let connection = if request.keep_alive { "" } else { " close" };
    format!("{:?} {} {body:?}{connection}", request.method, request.target)
}

#[test]
fn requests_are_read_one_after_another_however_they_arrive() {
    let get = "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    check("", Ok(&[]));
    check(get, Ok(&["Get /a?b=c \"\""]));
    check(&format!("{get}{get}"), Ok(&["Get /a?b=c \"\"", "Get /a?b=c \"\""]));
    check(&format!("{post}{get}{post}"), Ok(&["Post /p \"abc\"", "Get /a?b=c \"\"", "Post /p \"abc\""]));
    for (name, method) in [("HEAD", "Head"), ("DELETE", "Delete"), ("OPTIONS", "Options"), ("GET", "Get")] {
        check(&format!("{name} / HTTP/1.1\r\nHost: x\r\n\r\n"), Ok(&[&format!("{method} / \"\"")]));
    }
}

#[test]
fn empty_lines_before_a_request_are_skipped_and_not_kept() {
    check("\r\n\r\n\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n\r\n", Ok(&["Get / \"\""]));
    check("\r\n", Ok(&[]));
    check("\rGET / HTTP/1.1\r\nHost: x\r\n\r\n", Err(HttpError::BareCarriageReturn));
    assert_eq!(decode(b"\r\n\r").end, Ok(Phase::Head));
}

#[test]
fn the_phase_tells_what_is_awaited() {
    for (input, phase) in [
        ("G", Phase::Head),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r", Phase::Head),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Phase::Idle),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\nG", Phase::Head),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", Phase::Body),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na", Phase::Body),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", Phase::Idle),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", Phase::Idle),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r", Phase::Body),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Phase::Idle),
    ] {
        assert_eq!(decode(input.as_bytes()).end, Ok(phase), "{input:?}");
    }
}

#[test]
fn a_request_that_lies_whole_in_the_input_is_lent_from_it() {
    let (mut decoder, mut table) = (Decoder::default(), HeadTable::default());
    let input = b"\r\nPOST / HTTP/1.1\r\nHost: x\r\nX-A:  b \r\nContent-Length: 2\r\n\r\nabGET";
    let step = decoder.decode(input, &mut table, &limits());
    let Ok(Step::Request { request, consumed }) = step else { panic!("{step:?}") };
    assert_eq!(consumed, input.len() - 3);
    assert!(input.as_ptr_range().contains(&request.body.as_ptr()));
    assert_eq!((request.body, request.header("x-a")), (&b"ab"[..], Some(&b"b"[..])));
    assert_eq!((decoder.phase(), decoder.buffered_bytes()), (Phase::Idle, 0));
}

#[test]
fn a_table_shared_by_connections_tells_of_the_request_in_hand() {
    let (mut one, mut two, mut table, limits) =
        (Decoder::default(), Decoder::default(), HeadTable::default(), limits());
    let post = b"POST / HTTP/1.1\r\nHost: one\r\nContent-Length: 1\r\n\r\n";
    let get = b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\nHost: two\r\n\r\n";
    assert!(matches!(one.decode(post, &mut table, &limits), Ok(Step::NeedMore)));
    assert!(matches!(two.decode(get, &mut table, &limits), Ok(Step::Request { .. })));
    let step = one.decode(b"x", &mut table, &limits);
    let Ok(Step::Request { request, .. }) = step else { panic!("{step:?}") };
    assert_eq!((request.fields.len(), request.header("host")), (2, Some(&b"one"[..])));
}

#[test]
fn a_decoder_owns_nothing_once_all_is_decoded() {
    let (mut decoder, mut table, limits) = (Decoder::default(), HeadTable::default(), limits());
    for piece in [&b"GET / HTTP/1.1\r\nHo"[..], b"st: x\r\n\r\n", b"", b"\r\n"] {
        decoder.decode(piece, &mut table, &limits).expect("a valid request");
    }
    assert_eq!(format!("{decoder:?}"), format!("{:?}", Decoder::default()));
}

#[test]
fn the_rest_after_an_upgrade_is_given_back() {
    let (mut decoder, mut table, limits) = (Decoder::default(), HeadTable::default(), limits());
    let (one, two) = (b"GET / HTTP/1.1\r\nHo", b"st: x\r\n\r\nrest");
    assert!(matches!(decoder.decode(one, &mut table, &limits), Ok(Step::NeedMore)));
    assert!(matches!(decoder.decode(two, &mut table, &limits), Ok(Step::Request { consumed: 13, .. })));
    assert_eq!(decoder.buffered_bytes(), 4);
    assert_eq!(decoder.take_rest(), b"rest");
    assert_eq!((decoder.take_rest(), decoder.buffered_bytes()), (vec![], 0));
}

#[test]
fn a_paused_session_keeps_a_bounded_backlog() {
    let (mut decoder, limits) = (Decoder::default(), limits());
    assert_eq!(decoder.stash(&[b'a'; 276], &limits), Ok(()));
    assert_eq!(decoder.stash(b"", &limits), Ok(()));
    assert_eq!(decoder.stash(b"a", &limits), Err(HttpError::BacklogTooLarge));
}

proptest! {
    #[test]
    fn any_body_comes_back_however_it_is_chunked_and_split(
        body in prop::collection::vec(any::<u8>(), 0..200),
        chunk in 1usize..40,
        piece in 1usize..60,
    ) {
        let mut plain = format!("PUT /p HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        plain.extend_from_slice(&body);
        let mut input = b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for data in body.chunks(chunk) {
            input.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            input.extend_from_slice(data);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(b"0\r\n\r\n");
        input.extend_from_slice(&plain);
        let transcript = transcribe(input.chunks(piece), Pace::Straight, &Limits::default());
        prop_assert_eq!(transcript.end, Ok(Phase::Idle));
        let bodies: Vec<_> = transcript.requests.into_iter().map(|request| request.body).collect();
        prop_assert_eq!(bodies, vec![body.clone(), body]);
    }

    #[test]
    fn any_bytes_are_judged_alike_however_they_arrive(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&data);
    }

    #[test]
    fn almost_requests_are_judged_alike_however_they_arrive(
        words in prop::collection::vec(prop::sample::select(vec![
            "GET ", "POST ", "/", " HTTP/1.1", " HTTP/1.0", "\r\n", "\r\n\r\n", "\n", "\r", "Host: x\r\n", "a: b\r\n",
            "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n", "Connection: close\r\n",
            "3\r\nabc\r\n", "0\r\n\r\n", "abc", " ", ":", ";", "\0", "é",
        ]), 0..40),
    ) {
        fuzz(words.concat().as_bytes());
    }
}
