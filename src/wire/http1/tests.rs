//! Tests of the decoder: tables of bytes, each fed whole, at every split point and byte by byte.

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
fn a_request_line_has_its_form() {
    let line = |line: &str| format!("{line}\r\nHost: x\r\n\r\n");
    check(&line("GET / HTTP/1.1"), Ok(&["Get / \"\""]));
    for bad in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET / HTTP/11",
        "GET / HTTP/x.1",
        "GET",
        " GET / HTTP/1.1",
        "GE:T / HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /#part HTTP/1.1",
        "GET hello HTTP/1.1",
        "\u{16}\u{3}\u{1}",
    ] {
        check(&line(bad), Err(HttpError::RequestLine));
    }
    check(&line("GET /\ra HTTP/1.1"), Err(HttpError::BareCarriageReturn));
    for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0"] {
        check(&line(&format!("GET / {version}")), Err(HttpError::VersionUnsupported));
    }
    for method in ["get", "CONNECT", "TRACE", "GETT", "PROPFIND"] {
        check(&line(&format!("{method} / HTTP/1.1")), Err(HttpError::MethodUnknown));
    }
}

#[test]
fn another_protocol_is_told_at_its_first_byte() {
    assert_eq!(decode(b"\x16\x03\x01\x02").end, Err(HttpError::RequestLine));
    assert_eq!(decode(b"{").end, Err(HttpError::RequestLine));
    assert_eq!(decode(b"!").end, Ok(Phase::Head));
}

#[test]
fn a_target_comes_in_four_forms_of_which_connect_has_one() {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    check(&get("http://x/p?q"), Ok(&["Get /p?q \"\""]));
    check(&get("HTTPS://x:8080/"), Ok(&["Get / \"\""]));
    check(&get("http://x"), Ok(&["Get / \"\""]));
    for bad in ["http://", "http:///p", "http://x?q", "ftp://x/", "x:80", "*"] {
        check(&get(bad), Err(HttpError::RequestLine));
    }
    check("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", Ok(&["Options * \"\""]));
}

#[test]
fn keeping_alive_follows_version_and_connection() {
    let get = |version: &str, fields: &str| format!("GET / HTTP/{version}\r\nHost: x\r\n{fields}\r\n");
    let (kept, closed) = (Ok(&["Get / \"\""][..]), Ok(&["Get / \"\" close"][..]));
    check(&get("1.1", ""), kept);
    check(&get("1.1", "Connection: close\r\n"), closed);
    check(&get("1.1", "connection: Upgrade, CLOSE\r\n"), closed);
    check(&get("1.1", "Connection: closed\r\n"), kept);
    check(&get("1.0", ""), closed);
    check(&get("1.0", "Connection: Keep-Alive\r\n"), kept);
    check(&get("1.0", "Connection: keep-alive\r\nConnection: close\r\n"), closed);
}

#[test]
fn a_host_is_needed_once_in_http_1_1() {
    let get = |version: &str, fields: &str| format!("GET / HTTP/{version}\r\n{fields}\r\n");
    for host in ["x", "", "localhost:8080", "[::1]:80", "a-b.example", "127.0.0.1"] {
        check(&get("1.1", &format!("Host: {host}\r\n")), Ok(&["Get / \"\""]));
    }
    for host in ["a b", "a/b", "a@b", "a,b/", "a\"", "<a>", "größe"] {
        check(&get("1.1", &format!("Host: {host}\r\n")), Err(HttpError::Host));
    }
    check(&get("1.1", ""), Err(HttpError::HostMissing));
    check(&get("1.1", "Host: x\r\nHost: x\r\n"), Err(HttpError::HostRepeated));
    check(&get("1.0", ""), Ok(&["Get / \"\" close"]));
    check(&get("1.0", "Host: x\r\nHost: y\r\n"), Err(HttpError::HostRepeated));
}

#[test]
fn a_field_line_has_its_form() {
    let get = |field: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
    for good in ["a:b", "a:", "a: \t b \t ", "a:b:c", "A-!#$%&'*+.^_`|~9: x", "a: é\tb"] {
        check(&get(good), Ok(&["Get / \"\""]));
    }
    for (bad, error) in [
        ("a : b", HttpError::SpaceBeforeColon),
        ("a\t: b", HttpError::SpaceBeforeColon),
        (" a: b", HttpError::FoldedField),
        ("a: b\r\n c", HttpError::FoldedField),
        ("a: b\r\n\tc: d", HttpError::FoldedField),
        ("a: b\rc", HttpError::BareCarriageReturn),
        ("a: b\rc: d\r\ne: f", HttpError::BareCarriageReturn),
        ("a\r: b", HttpError::BareCarriageReturn),
        ("a", HttpError::FieldLine),
        (": b", HttpError::FieldLine),
        ("a b: c", HttpError::FieldLine),
        ("a(: c", HttpError::FieldLine),
        ("é: c", HttpError::FieldLine),
        ("a: \0", HttpError::FieldLine),
        ("a: \u{b}", HttpError::FieldLine),
        ("a: \u{7f}", HttpError::FieldLine),
        ("a: b\nc: d", HttpError::BareLineFeed),
    ] {
        check(&get(bad), Err(error));
    }
}

#[test]
fn a_line_that_ends_in_a_bare_line_feed_is_refused_wherever_it_stands() {
    for input in [
        "GET / HTTP/1.1\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\n",
        "GET / HTTP/1.1\r\nHost: x\n\nGET /secret HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\n\n",
        "GET / HTTP/1.0\n\r\n",
    ] {
        check(input, Err(HttpError::BareLineFeed));
    }
}

/// Each row is a request that two implementations could frame differently.
#[test]
fn smuggling_is_refused() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n0\r\n\r\n");
    for (fields, error) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HttpError::TransferEncodingAndLength),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", HttpError::TransferEncodingAndLength),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", HttpError::TransferEncodingAndLength),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", HttpError::ContentLengthRepeated),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", HttpError::ContentLengthRepeated),
        ("Content-Length: 5, 5\r\n", HttpError::ContentLength),
        ("Content-Length: +5\r\n", HttpError::ContentLength),
        ("Content-Length: -5\r\n", HttpError::ContentLength),
        ("Content-Length: 0x5\r\n", HttpError::ContentLength),
        ("Content-Length: 5 5\r\n", HttpError::ContentLength),
        ("Content-Length: 5.0\r\n", HttpError::ContentLength),
        ("Content-Length:\r\n", HttpError::ContentLength),
        ("Content-Length: five\r\n", HttpError::ContentLength),
        ("Content-Length : 5\r\n", HttpError::SpaceBeforeColon),
        (" Content-Length: 5\r\n", HttpError::FoldedField),
        ("X: y\r\n Content-Length: 5\r\n", HttpError::FoldedField),
        ("X: y\rContent-Length: 5\r\n", HttpError::BareCarriageReturn),
        ("X: y\nContent-Length: 5\r\n", HttpError::BareLineFeed),
        ("Content-Length: 99999999999999999999999\r\n", HttpError::BodyTooLarge),
        ("Transfer-Encoding : chunked\r\n", HttpError::SpaceBeforeColon),
        ("Transfer-Encoding: xchunked\r\n", HttpError::TransferCodingUnknown),
        ("Transfer-Encoding: \"chunked\"\r\n", HttpError::TransferCodingUnknown),
        ("Transfer-Encoding: gzip, chunked\r\n", HttpError::TransferCodingUnknown),
        ("Transfer-Encoding: chunked, identity\r\n", HttpError::TransferCodingUnknown),
        ("Transfer-Encoding: chunked;q=1\r\n", HttpError::TransferCodingUnknown),
        ("Transfer-Encoding: chunked, chunked\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", HttpError::TransferCodingUnknown),
        ("Transfer-Encoding:\u{b}chunked\r\n", HttpError::FieldLine),
        ("Transfer_Encoding: chunked\r\n", HttpError::LengthRequired),
        ("Transfer-Encoding:\r\n", HttpError::LengthRequired),
    ] {
        check(&post(fields), Err(error));
    }
    let with_version = |version: &str| {
        format!("POST / HTTP/{version}\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    };
    check(&with_version("1.0"), Err(HttpError::TransferEncoding));
    check(&with_version("1.1"), Ok(&["Post / \"\""]));
}

#[test]
fn methods_that_carry_a_body_need_a_length() {
    let request = |method: &str, fields: &str| format!("{method} / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    for method in ["POST", "PUT", "PATCH"] {
        check(&request(method, ""), Err(HttpError::LengthRequired));
    }
    check(&request("PUT", "Content-Length: 0\r\n"), Ok(&["Put / \"\""]));
    check(&request("DELETE", ""), Ok(&["Delete / \"\""]));
    check(&(request("GET", "Content-Length: 002\r\n") + "ab"), Ok(&["Get / \"ab\""]));
}

fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n{body}")
}

#[test]
fn chunks_are_joined() {
    for (body, joined) in [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("1\r\na\r\n2\r\nbc\r\n00000003\r\ndef\r\n0\r\n\r\n", "abcdef"),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("3;x\r\nabc\r\n0;a=\"b\"; c\r\n\r\n", "abc"),
        ("3 ;x\r\nabc\r\n0\r\n\r\n", "abc"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("3\r\nabc\r\n0\r\nX: y\r\nZ:\r\n\r\n", "abc"),
    ] {
        check(&chunked(body), Ok(&[&format!("Post / {joined:?}")]));
    }
    let two = chunked("3\r\nabc\r\n0\r\n\r\n").repeat(2);
    check(&two, Ok(&["Post / \"abc\"", "Post / \"abc\""]));
}

#[test]
fn malformed_chunks_are_refused() {
    for (body, error) in [
        ("\r\n", HttpError::Chunk),
        ("g\r\n", HttpError::Chunk),
        ("-1\r\n", HttpError::Chunk),
        ("+1\r\na\r\n", HttpError::Chunk),
        ("0x1\r\na\r\n", HttpError::Chunk),
        ("1 \r\na\r\n", HttpError::Chunk),
        (" 1\r\na\r\n", HttpError::Chunk),
        ("1\na\r\n", HttpError::Chunk),
        ("1;x\na\r\n", HttpError::Chunk),
        ("1;x\ry\r\na\r\n", HttpError::Chunk),
        ("1;\0\r\na\r\n", HttpError::Chunk),
        ("1\r\nab\r\n", HttpError::Chunk),
        ("1\r\na\n", HttpError::Chunk),
        ("1\r\na\rb", HttpError::Chunk),
        ("00000000000000000\r\n", HttpError::Chunk),
        ("0000000000000015\r\n", HttpError::BodyTooLarge),
        ("15\r\n", HttpError::BodyTooLarge),
        ("14\r\n01234567890123456789\r\n1\r\n", HttpError::BodyTooLarge),
        ("FFFFFFFFFFFFFFFF\r\n", HttpError::BodyTooLarge),
        ("0\r\n\n", HttpError::Chunk),
        ("0\r\nX : y\r\n\r\n", HttpError::SpaceBeforeColon),
        ("0\r\n X: y\r\n\r\n", HttpError::FoldedField),
        ("0\r\nX\r\n\r\n", HttpError::FieldLine),
        ("0\r\nX: y\rz\r\n\r\n", HttpError::BareCarriageReturn),
    ] {
        check(&chunked(body), Err(error));
    }
}

#[test]
fn what_is_skipped_in_a_chunked_body_is_bounded() {
    let extension = |bytes: usize| format!("1;{}\r\na\r\n", "x".repeat(bytes - 1));
    // A size line of 256 bytes, line end included, is the longest.
    check(&chunked(&(extension(253) + "0\r\n\r\n")), Ok(&["Post / \"a\""]));
    check(&chunked(&(extension(254) + "0\r\n\r\n")), Err(HttpError::Chunk));
    check(&chunked(&(extension(128).repeat(2) + "0\r\n\r\n")), Ok(&["Post / \"aa\""]));
    check(&chunked(&(extension(128) + &extension(129) + "0\r\n\r\n")), Err(HttpError::HeadTooLarge));
    check(&chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(5))), Ok(&["Post / \"\""]));
    check(&chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(6))), Err(HttpError::TooManyFields));
    let trailer = |bytes: usize| format!("0\r\nX:{}\r\n\r\n", "y".repeat(bytes - 4));
    check(&chunked(&trailer(254)), Ok(&["Post / \"\""]));
    check(&chunked(&trailer(255)), Err(HttpError::HeadTooLarge));
    check(&chunked(&trailer(400)), Err(HttpError::HeadTooLarge));
}

#[test]
fn the_limits_of_a_head_hold_to_the_byte() {
    // head_bytes_max is 256: the request line has half of it.
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(bytes - 16));
    assert_eq!(decode(line(128).as_bytes()).requests.len(), 1);
    check(&line(129), Err(HttpError::RequestLineTooLong));
    check(&"G".repeat(128), Err(HttpError::RequestLineTooLong));
    assert_eq!(decode("G".repeat(127).as_bytes()).end, Ok(Phase::Head));

    let head = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(bytes - 32));
    assert_eq!(decode(head(256).as_bytes()).requests.len(), 1);
    check(&head(257), Err(HttpError::HeadTooLarge));
    check(&head(1000), Err(HttpError::HeadTooLarge));

    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    check(&fields(5), Ok(&["Get / \"\""]));
    check(&fields(6), Err(HttpError::TooManyFields));
}

#[test]
fn more_fields_than_fit_the_stack_can_be_allowed() {
    let limits = Limits { head_fields_max: 200, ..Limits::default() };
    let input = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(199));
    let transcript = transcribe([input.as_bytes()], Pace::Straight, &limits);
    assert_eq!(transcript.requests[0].fields.len(), 200);
}

#[test]
fn the_limit_of_a_body_holds_to_the_byte() {
    let post = |bytes: usize| {
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n\r\n{}", "a".repeat(bytes))
    };
    assert_eq!(decode(post(20).as_bytes()).requests.len(), 1);
    check(&post(21), Err(HttpError::BodyTooLarge));
}

#[test]
fn the_first_fault_counts_when_there_are_several() {
    check("GET / HTTP/1.1\r\na : b\r\nc: d\re\r\n\r\n", Err(HttpError::SpaceBeforeColon));
    check("GET / HTTP/1.1\r\nc: d\re\r\na : b\r\n\r\n", Err(HttpError::BareCarriageReturn));
    let long = format!("GET / HTTP/1.1\r\na : b\r\nc: {}", "d".repeat(300));
    check(&long, Err(HttpError::SpaceBeforeColon));
    let late = format!("GET / HTTP/1.1\r\nc: {}\r\na : b\r\n", "d".repeat(300));
    check(&late, Err(HttpError::HeadTooLarge));
}

fn expecting(version: &str, expect: &str) -> String {
    format!("PUT / HTTP/{version}\r\nHost: x\r\nExpect: {expect}\r\nContent-Length: 2\r\n\r\n")
}

#[test]
fn a_client_that_waits_is_told_once_to_continue() {
    let (mut decoder, mut table, limits) = (Decoder::default(), HeadTable::default(), limits());
    let head = expecting("1.1", "100-Continue");
    assert!(matches!(decoder.decode(head.as_bytes(), &mut table, &limits), Ok(Step::Continue)));
    assert!(matches!(decoder.decode(b"", &mut table, &limits), Ok(Step::NeedMore)));
    assert_eq!(decoder.phase(), Phase::Body);
    assert!(matches!(decoder.decode(b"a", &mut table, &limits), Ok(Step::NeedMore)));
    let step = decoder.decode(b"b", &mut table, &limits);
    assert!(matches!(step, Ok(Step::Request { request, consumed: 1 }) if request.body == b"ab"));
    assert!(matches!(decoder.decode(b"", &mut table, &limits), Ok(Step::NeedMore)));
    assert_eq!(decoder.buffered_bytes(), 0);
}

#[test]
fn a_client_that_does_not_wait_is_not_told_to_continue() {
    let limits = limits();
    for (head, body) in [(expecting("1.1", "100-continue"), "a"), (expecting("1.0", "100-continue"), "")] {
        let (mut decoder, mut table) = (Decoder::default(), HeadTable::default());
        let step = decoder.decode(head.as_bytes(), &mut table, &limits).map(|step| format!("{step:?}"));
        let is_http10 = body.is_empty();
        assert_eq!(step, Ok(if is_http10 { "NeedMore".into() } else { "Continue".to_owned() }));
        let (mut decoder, mut table) = (Decoder::default(), HeadTable::default());
        let input = head + "a";
        assert!(matches!(decoder.decode(input.as_bytes(), &mut table, &limits), Ok(Step::NeedMore)));
    }
    check("GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", Ok(&["Get / \"\""]));
}

#[test]
fn any_other_expectation_fails() {
    check(&(expecting("1.1", "200-ok") + "ab"), Err(HttpError::Expectation));
    check(&(expecting("1.1", "100-continue, x") + "ab"), Err(HttpError::Expectation));
    check(&(expecting("1.0", "200-ok") + "ab"), Ok(&["Put / \"ab\" close"]));
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

#[test]
fn every_error_has_a_status_with_a_reason() {
    for error in [HttpError::RequestLine, HttpError::LengthRequired, HttpError::HeadTooLarge] {
        assert!(!reason_phrase(error.status()).is_empty());
        assert!(!error.to_string().ends_with('.'));
    }
}
