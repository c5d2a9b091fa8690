//! Responses → bytes, and requests that are handed on. What to answer is decided elsewhere; here is how it is written.
//!
//! The status line always says HTTP/1.1, also to a client of 1.0 (RFC 9112 §2.3 wants the highest version of the
//! server); what such a client does not know is not sent to it.

use super::{Request, Response, Version};

/// The interim answer to `Expect: 100-continue` (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Appends a response. `date` is an IMF-fixdate (RFC 9110 §5.6.7); `head_only` answers a HEAD request.
pub fn encode_response(
    out: &mut Vec<u8>,
    response: &Response,
    date: &[u8],
    head_only: bool,
    keep_alive: bool,
    version: Version,
) {
    let body = response.body.as_bytes();
    out.reserve(200 + response.fields.len() + if head_only { 0 } else { body.len() });
    push_fields(out, response, date);
    push_connection(out, keep_alive && !response.close, version);
    let may_have_body = !matches!(response.status, 100..=199 | 204 | 304);
    if may_have_body {
        push_content_length(out, body.len());
    }
    out.extend_from_slice(b"\r\n");
    if may_have_body && !head_only {
        out.extend_from_slice(body);
    }
}

/// What the head of every response begins with, up to what says how its body goes.
fn push_fields(out: &mut Vec<u8>, response: &Response, date: &[u8]) {
    push_status_line(out, response.status);
    push_server_and_date(out, date);
    if !response.content_type.is_empty() {
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(response.content_type.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(response.fields.as_bytes());
}

/// Appends the head of an event stream, whose body lasts until the connection closes. `fields` are further lines,
/// each with its line end.
pub fn encode_stream_head(out: &mut Vec<u8>, date: &[u8], fields: &str, version: Version) {
    out.reserve(256 + fields.len());
    push_status_line(out, 200);
    push_server_and_date(out, date);
    // Some proxies gather a stream into buffers unless told not to.
    out.extend_from_slice(
        b"Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n",
    );
    out.extend_from_slice(fields.as_bytes());
    push_connection(out, false, version);
    out.extend_from_slice(b"\r\n");
}

/// How the body of a response goes that is written bit by bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitByBit {
    /// In chunks (RFC 9112 §7.1).
    Chunked,
    /// As it is: its head tells its length, or it lasts until the connection closes.
    Plain,
}

impl BitByBit {
    /// How a body goes of which `length` bytes are to come, or of which nobody knows; and whether the connection may be used
    /// behind it, if else it may.
    pub fn of(length: Option<u64>, keep_alive: bool, version: Version) -> (Self, bool) {
        match (length, version) {
            (Some(_), _) => (Self::Plain, keep_alive),
            (None, Version::Http11) => (Self::Chunked, keep_alive),
            (None, Version::Http10) => (Self::Plain, false),
        }
    }

    /// Appends a piece of the body, which is not empty.
    pub fn encode_piece(self, out: &mut Vec<u8>, piece: &[u8]) {
        match self {
            Self::Plain => out.extend_from_slice(piece),
            Self::Chunked => {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Appends what stands behind the last piece.
    pub fn encode_end(self, out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// Appends the head of a response whose body follows bit by bit, so many bytes of it if that is known; that of `response` is left
/// out.
pub fn encode_head_bit_by_bit(
    out: &mut Vec<u8>,
    response: &Response,
    length: Option<u64>,
    date: &[u8],
    keep_alive: bool,
    version: Version,
) {
    let (how, keep_alive) = BitByBit::of(length, keep_alive, version);
    out.reserve(256 + response.fields.len());
    push_fields(out, response, date);
    push_connection(out, keep_alive, version);
    match (how, length) {
        (BitByBit::Chunked, _) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        (BitByBit::Plain, Some(length)) => push_content_length(out, length as usize),
        (BitByBit::Plain, None) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an answered long poll; `body_len` bytes of JSON follow.
pub fn encode_poll_head(
    out: &mut Vec<u8>,
    body_len: usize,
    date: &[u8],
    fields: &str,
    keep_alive: bool,
    version: Version,
) {
    out.reserve(256 + fields.len() + body_len);
    push_status_line(out, 200);
    push_server_and_date(out, date);
    out.extend_from_slice(b"Content-Type: application/json\r\nCache-Control: no-store\r\n");
    out.extend_from_slice(fields.as_bytes());
    push_connection(out, keep_alive, version);
    push_content_length(out, body_len);
    out.extend_from_slice(b"\r\n");
}

/// Appends the answer that turns the connection into a WebSocket (RFC 6455 §4.2.2). `fields` are further header
/// fields, each `name: value\r\n`.
pub fn encode_upgrade(out: &mut Vec<u8>, accept: &[u8; 28], fields: &str) {
    out.reserve(200);
    push_status_line(out, 101);
    out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    out.extend_from_slice(accept);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(fields.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a decoded request as bytes that decode to the same one, but that a chunked body now has a known length and
/// no trailer.
///
/// They are no more than the request was decoded from, so that whatever limits it kept to, it keeps to again.
pub fn encode_request(out: &mut Vec<u8>, request: &Request<'_>) {
    out.reserve(request.head.len() + request.body.len());
    out.extend_from_slice(request.method.name().as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.target.as_bytes());
    out.extend_from_slice(match request.version {
        Version::Http10 => b" HTTP/1.0\r\n",
        Version::Http11 => b" HTTP/1.1\r\n",
    });
    for field in request.fields {
        let slice = |(start, end): (u32, u32)| &request.head[start as usize..end as usize];
        let (name, value) = (slice(field.name), slice(field.value));
        if !name.eq_ignore_ascii_case(b"transfer-encoding") {
            out.extend_from_slice(name);
            out.push(b':');
            out.extend_from_slice(value);
        } else if value.iter().any(u8::is_ascii_alphabetic) {
            // It says `chunked`, or the request would not have been decoded; and it says so once.
            out.extend_from_slice(b"Content-Length:");
            push_decimal(out, request.body.len());
        } else {
            // An empty list says nothing of the body.
            continue;
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(request.body);
}

/// The reason phrase of a status code (RFC 9110 §15); empty for one not known here.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        _ => "",
    }
}

fn push_status_line(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, usize::from(status));
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn push_server_and_date(out: &mut Vec<u8>, date: &[u8]) {
    out.extend_from_slice(b"Server: roadstead\r\nDate: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n");
}

/// Says what becomes of the connection only where the version's default says otherwise (RFC 9112 §9.3).
fn push_connection(out: &mut Vec<u8>, keep_alive: bool, version: Version) {
    match (version, keep_alive) {
        (Version::Http11, true) | (Version::Http10, false) => {}
        (Version::Http11, false) => out.extend_from_slice(b"Connection: close\r\n"),
        (Version::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
    }
}

fn push_content_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(b"Content-Length: ");
    push_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

fn push_decimal(out: &mut Vec<u8>, mut number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http1::Body;

    const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn a_body_that_comes_bit_by_bit_is_framed_as_its_client_knows_it() {
        let response = Response { fields: "X: y\r\n".into(), ..Response::text(200, "left out") };
        let whole = |length, keep_alive, version| {
            let mut out = Vec::new();
            encode_head_bit_by_bit(&mut out, &response, length, DATE, keep_alive, version);
            let (how, keep_alive) = BitByBit::of(length, keep_alive, version);
            how.encode_piece(&mut out, b"0123456789");
            how.encode_piece(&mut out, b"abcdefg");
            how.encode_end(&mut out);
            let text = String::from_utf8(out).expect("text");
            (text.split_once("X: y\r\n").expect("it has fields").1.to_owned(), keep_alive)
        };
        let chunks = "a\r\n0123456789\r\n7\r\nabcdefg\r\n0\r\n\r\n";
        let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(whole(None, true, Version::Http11), (chunked.clone(), true));
        assert_eq!(whole(None, false, Version::Http11), (format!("Connection: close\r\n{chunked}"), false));
        assert_eq!(whole(None, true, Version::Http10), ("\r\n0123456789abcdefg".into(), false));
        let known = "Content-Length: 17\r\n\r\n0123456789abcdefg";
        assert_eq!(whole(Some(17), true, Version::Http11), (known.into(), true));
        let kept = format!("Connection: keep-alive\r\n{known}");
        assert_eq!(whole(Some(17), true, Version::Http10), (kept, true));
    }

    #[track_caller]
    fn check_encoded(encode: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = b"before ".to_vec();
        encode(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("before {expected}"));
    }

    #[test]
    fn a_response_says_length_date_and_server() {
        check_encoded(
            |out| encode_response(out, &Response::text(200, "hi\n"), DATE, false, true, Version::Http11),
            "HTTP/1.1 200 OK\r\nServer: roadstead\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nhi\n",
        );
        let response = Response::json(404, b"{}".to_vec()).with_field("X-A", "b");
        check_encoded(
            |out| encode_response(out, &response, DATE, true, true, Version::Http11),
            "HTTP/1.1 404 Not Found\r\nServer: roadstead\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: application/json\r\nX-A: b\r\nContent-Length: 2\r\n\r\n",
        );
    }

    #[test]
    fn a_response_that_cannot_have_a_body_has_no_length() {
        for (status, reason) in [(204, "No Content"), (304, "Not Modified"), (103, "")] {
            let response = Response { body: Body::Static(b"never"), ..Response::empty(status) };
            check_encoded(
                |out| encode_response(out, &response, DATE, false, true, Version::Http11),
                &format!(
                    "HTTP/1.1 {status} {reason}\r\nServer: roadstead\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
                ),
            );
        }
    }

    #[test]
    fn the_connection_is_spoken_of_only_where_the_version_would_not_do_it() {
        let connection = |keep_alive, close, version| {
            let response = Response { close, ..Response::empty(200) };
            let mut out = Vec::new();
            encode_response(&mut out, &response, DATE, false, keep_alive, version);
            let text = String::from_utf8(out).expect("ASCII");
            text.lines().find_map(|line| line.strip_prefix("Connection: ").map(str::to_owned))
        };
        assert_eq!(connection(true, false, Version::Http11), None);
        assert_eq!(connection(true, true, Version::Http11).as_deref(), Some("close"));
        assert_eq!(connection(false, false, Version::Http11).as_deref(), Some("close"));
        assert_eq!(connection(true, false, Version::Http10).as_deref(), Some("keep-alive"));
        assert_eq!(connection(true, true, Version::Http10), None);
        assert_eq!(connection(false, false, Version::Http10), None);
    }

    #[test]
    fn heads_of_streams_polls_and_upgrades_are_complete() {
        check_encoded(
            |out| encode_stream_head(out, DATE, "Vary: Origin\r\n", Version::Http11),
            "HTTP/1.1 200 OK\r\nServer: roadstead\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n\
             Vary: Origin\r\nConnection: close\r\n\r\n",
        );
        check_encoded(
            |out| encode_poll_head(out, 1_234_567_890, DATE, "", true, Version::Http10),
            "HTTP/1.1 200 OK\r\nServer: roadstead\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: application/json\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\
             Content-Length: 1234567890\r\n\r\n",
        );
        check_encoded(
            |out| encode_upgrade(out, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Sec-WebSocket-Protocol: chat\r\n"),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        );
    }
}
