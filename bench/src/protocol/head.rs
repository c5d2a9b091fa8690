//! The head of a server's response.

/// Header fields looked at; a server that sends more is refused.
const FIELDS_MAX: usize = 64;

/// How a response's body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With a chunk of size 0.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A response's head, as far as a benchmark cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the server closes after the body.
    pub closes: bool,
    /// Whether the body is a stream of server-sent events.
    pub event_stream: bool,
    /// The head's length in bytes.
    pub consumed: usize,
}

/// Bytes that are no response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadError;

/// Reads the head at the start of `bytes`; `None` when it is not complete.
pub fn decode(bytes: &[u8]) -> Result<Option<Head>, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let consumed = match response.parse(bytes) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(HeadError),
    };
    let status = response.code.ok_or(HeadError)?;
    // RFC 9112 §6.3: these never have a body, whatever their fields say.
    let bodiless = matches!(status, 100..=199 | 204 | 304);
    let mut framing = if bodiless { Framing::Length(0) } else { Framing::UntilClose };
    let (mut closes, mut event_stream) = (false, false);
    for field in response.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
        if field.name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        } else if field.name.eq_ignore_ascii_case("content-type") {
            event_stream = value.to_ascii_lowercase().starts_with("text/event-stream");
        } else if bodiless {
            continue;
        } else if field.name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(value.parse().map_err(|_| HeadError)?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        }
    }
    Ok(Some(Head { status, framing, closes, event_stream, consumed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_how_its_body_ends() {
        let framing = |text: &str| decode(text.as_bytes()).map(|head| head.map(|head| head.framing));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"), Ok(Some(Framing::Length(12))));
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            Ok(Some(Framing::Chunked))
        );
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Ok(Some(Framing::UntilClose)));
        assert_eq!(
            framing("HTTP/1.1 101 Switching Protocols\r\nContent-Length: 5\r\n\r\n"),
            Ok(Some(Framing::Length(0)))
        );
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), Err(HeadError));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Le"), Ok(None));
        assert_eq!(framing("SSH-2.0-OpenSSH\r\n\r\n"), Err(HeadError));
    }

    #[test]
    fn what_follows_the_head_is_left_alone() {
        let head = decode(b"HTTP/1.1 503 Full\r\nConnection: close\r\n\r\nbody").unwrap().unwrap();
        assert_eq!((head.status, head.closes, head.consumed), (503, true, 40));
    }

    #[test]
    fn only_an_event_stream_is_one() {
        let is_one = |value: &str| {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Type: {value}\r\n\r\n");
            decode(text.as_bytes()).unwrap().unwrap().event_stream
        };
        assert!(is_one("text/event-stream") && is_one("Text/Event-Stream; charset=utf-8"));
        assert!(!is_one("text/plain"));
    }
}
