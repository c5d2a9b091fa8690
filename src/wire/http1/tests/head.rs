//! The rules of a request head: its lines, its fields, its limits.

use super::*;

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
fn a_target_is_ascii() {
    check("GET /%C3%A9 HTTP/1.1\r\nHost: x\r\n\r\n", Ok(&["Get /%C3%A9 \"\""]));
    check("GET /é HTTP/1.1\r\nHost: x\r\n\r\n", Err(HttpError::RequestLine));
}

#[test]
fn a_host_is_needed_once_in_http_1_1() {
    let get = |version: &str, fields: &str| format!("GET / HTTP/{version}\r\n{fields}\r\n");
    for host in ["x", "x:", "localhost:8080", "[::1]:80", "a-b.example", "127.0.0.1"] {
        check(&get("1.1", &format!("Host: {host}\r\n")), Ok(&["Get / \"\""]));
    }
    for host in
        ["a b", "a/b", "a@b", "a,b/", "a\"", "<a>", "größe", "", ":80", "[::1", "::1", "a:b", "a:99999"]
    {
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
fn the_first_fault_counts_when_there_are_several() {
    check("GET / HTTP/1.1\r\na : b\r\nc: d\re\r\n\r\n", Err(HttpError::SpaceBeforeColon));
    check("GET / HTTP/1.1\r\nc: d\re\r\na : b\r\n\r\n", Err(HttpError::BareCarriageReturn));
    let long = format!("GET / HTTP/1.1\r\na : b\r\nc: {}", "d".repeat(300));
    check(&long, Err(HttpError::SpaceBeforeColon));
    let late = format!("GET / HTTP/1.1\r\nc: {}\r\na : b\r\n", "d".repeat(300));
    check(&late, Err(HttpError::HeadTooLarge));
}

#[test]
fn every_error_has_a_status_with_a_reason() {
    for error in [HttpError::RequestLine, HttpError::LengthRequired, HttpError::HeadTooLarge] {
        assert!(!reason_phrase(error.status()).is_empty());
        assert!(!error.to_string().ends_with('.'));
    }
}
