//! The rules of a body: how long it is, and how its chunks are read.

use super::*;

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
        ("Transfer-Encoding: xchunked\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding: gzip\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding: chunked, gzip\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding:\r\nContent-Length: 5\r\n", HttpError::TransferEncodingAndLength),
        ("Transfer-Encoding: ,\r\nContent-Length: 5\r\n", HttpError::TransferEncodingAndLength),
        ("Transfer-Encoding: gzip, chunked\r\n", HttpError::TransferCodingUnknown),
        ("Transfer-Encoding: chunked, identity\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding: chunked;q=1\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding: chunked, chunked\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", HttpError::TransferEncoding),
        ("Transfer-Encoding:\u{b}chunked\r\n", HttpError::FieldLine),
        ("Transfer_Encoding: chunked\r\n", HttpError::LengthRequired),
        ("Transfer-Encoding:\r\n", HttpError::TransferEncoding),
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
        ("3;x=y;z\t=\t\"a;\\\"b\" ; c=d\r\nabc\r\n0\r\n\r\n", "abc"),
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
        ("1;\r\na\r\n", HttpError::Chunk),
        ("1;;x\r\na\r\n", HttpError::Chunk),
        ("1;x;\r\na\r\n", HttpError::Chunk),
        ("1;x \r\na\r\n", HttpError::Chunk),
        ("1;x=\r\na\r\n", HttpError::Chunk),
        ("1;x y\r\na\r\n", HttpError::Chunk),
        ("1;x=\"\r\na\r\n", HttpError::Chunk),
        ("1;x=\"a\\\"\r\na\r\n", HttpError::Chunk),
        ("1;x=\"a\"b\r\na\r\n", HttpError::Chunk),
        ("1;\u{e9}\r\na\r\n", HttpError::Chunk),
        ("1;x=\"\u{e9}\"\r\na\r\n", HttpError::Chunk),
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
fn the_limit_of_a_body_holds_to_the_byte() {
    let post = |bytes: usize| {
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n\r\n{}", "a".repeat(bytes))
    };
    assert_eq!(decode(post(20).as_bytes()).requests.len(), 1);
    check(&post(21), Err(HttpError::BodyTooLarge));
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
fn a_body_of_tiny_chunks_takes_no_more_room_than_its_data() {
    let (mut decoder, mut table, limits) = (Decoder::default(), HeadTable::default(), Limits::default());
    let head = chunked("");
    assert!(matches!(decoder.decode(head.as_bytes(), &mut table, &limits), Ok(Step::NeedMore)));
    for count in 1..100 {
        assert!(matches!(decoder.decode(b"1\r\na\r\n", &mut table, &limits), Ok(Step::NeedMore)));
        assert_eq!(decoder.buffered_bytes(), head.len() + count);
    }
}
