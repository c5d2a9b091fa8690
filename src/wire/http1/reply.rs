//! The response of a server that was called. Requests that come are `decoder.rs`'s.
//!
//! Everything is bounded before it is kept: a backend that answers without end costs as much as one that answers.
//!
//! ```text
//!   buffer   │ status line and fields │ body, chunks joined where they arrive │
//! ```

use std::{fmt, time::UNIX_EPOCH};

use super::{HttpError, chunked::Chunked};
use crate::limits::Limits;

/// Takes one response, in any number of arrivals.
#[derive(Debug)]
pub struct ReplyDecoder {
    limits: Limits,
    buffer: Vec<u8>,
    /// Of the response whose head has arrived.
    head: Option<Head>,
    chunked: Chunked,
    /// The fields of its head, each `name: value\r\n`, if they are wanted.
    fields: Option<Vec<u8>>,
}

/// A whole response.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the connection may be used again.
    pub keep_alive: bool,
    /// When it would rather be called again, if it says so.
    pub retry_after: Option<RetryAfter>,
}

/// What the head of a response tells that is taken bit by bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// Its status.
    pub status: u16,
    /// How long its body is, if that is known before its end.
    pub length: Option<u64>,
}

/// When a server would rather be called again (RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// In so many seconds.
    Seconds(u64),
    /// At this second since the Unix epoch.
    At(u64),
}

impl RetryAfter {
    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        if let Ok(seconds) = text.parse() {
            return Some(Self::Seconds(seconds));
        }
        let at = httpdate::parse_http_date(text).ok()?;
        Some(Self::At(at.duration_since(UNIX_EPOCH).ok()?.as_secs()))
    }

    /// How many seconds that is from now.
    pub fn seconds(self, now_unix_s: u64) -> u64 {
        match self {
            Self::Seconds(seconds) => seconds,
            Self::At(at) => at.saturating_sub(now_unix_s),
        }
    }
}

/// What a server can get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// It speaks something else.
    Malformed,
    /// Its fields are longer than they may be.
    HeadTooLarge,
    /// Its body is longer than it may be.
    BodyTooLarge,
    /// It has ended before it was whole.
    Cut,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    bytes: usize,
    framing: Framing,
    keep_alive: bool,
    retry_after: Option<RetryAfter>,
}

/// How long the body is (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

/// Fields of a response; one with more is refused.
const FIELDS_MAX: usize = 64;

impl ReplyDecoder {
    /// Takes a response whose body has at most so many bytes.
    pub fn new(body_bytes_max: u32) -> Self {
        let limits = Limits { body_bytes_max, ..Limits::default() };
        Self { limits, buffer: Vec::new(), head: None, chunked: Chunked::default(), fields: None }
    }

    /// As [`Self::new`], and keeps the header fields for [`Self::take_fields`].
    pub fn keeping_fields(body_bytes_max: u32) -> Self {
        Self { fields: Some(Vec::new()), ..Self::new(body_bytes_max) }
    }

    /// Takes a response of any length bit by bit: with [`Self::push`] what arrives, with [`Self::take_head`] and
    /// [`Self::take_body`] what that is. The header fields are kept.
    pub fn bit_by_bit() -> Self {
        Self::keeping_fields(u32::MAX)
    }

    /// Keeps what has arrived of a response that is taken bit by bit.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The head, once it has arrived.
    pub fn take_head(&mut self) -> Result<Option<ReplyHead>, ReplyError> {
        let Some(head) = self.read_head()? else { return Ok(None) };
        self.buffer.drain(..head.bytes);
        self.head = Some(Head { bytes: 0, ..head });
        let length = match head.framing {
            Framing::Length(length) => Some(length as u64),
            Framing::Chunked | Framing::UntilEnd => None,
        };
        Ok(Some(ReplyHead { status: head.status, length }))
    }

    /// What has arrived of the body since, behind the head; and when that is its end, whether the connection may be used again.
    pub fn take_body(&mut self) -> Result<(Vec<u8>, Option<bool>), ReplyError> {
        let Some(head) = &mut self.head else { return Ok((Vec::new(), None)) };
        let (body, is_whole) = match &mut head.framing {
            Framing::Length(left) => {
                let arrived = self.buffer.len().min(*left);
                *left -= arrived;
                (self.buffer.drain(..arrived).collect(), *left == 0)
            }
            Framing::UntilEnd => (std::mem::take(&mut self.buffer), false),
            Framing::Chunked => {
                let advanced = self.chunked.advance(&mut self.buffer, &self.limits);
                let is_whole = advanced.map_err(ReplyError::of_chunks)?;
                (self.chunked.take(&mut self.buffer), is_whole)
            }
        };
        // What nobody has asked for would pass for the answer to the next request.
        let keep_alive = head.keep_alive && self.buffer.is_empty();
        Ok((body, is_whole.then_some(keep_alive)))
    }

    /// Whether the end of the connection is that of the body, which is taken bit by bit.
    pub fn lasts_until_end(&self) -> bool {
        self.head.is_some_and(|head| head.framing == Framing::UntilEnd)
    }

    /// The header fields of the response that has arrived, as they came: each a line that ends with `\r\n`.
    pub fn take_fields(&mut self) -> Vec<u8> {
        self.fields.take().unwrap_or_default()
    }

    /// Whether nothing has arrived yet.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.head.is_none()
    }

    /// Takes what has arrived; the response, when it is whole.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<Received>, ReplyError> {
        self.buffer.extend_from_slice(bytes);
        let Some(head) = self.read_head()? else { return Ok(None) };
        let max = self.limits.body_bytes_max as usize;
        let body = &mut self.buffer[head.bytes..];
        match head.framing {
            Framing::Length(length) if body.len() >= length => Ok(Some(self.finish(head, length, length))),
            Framing::UntilEnd if body.len() > max => Err(ReplyError::BodyTooLarge),
            Framing::Length(_) | Framing::UntilEnd => Ok(None),
            Framing::Chunked => {
                let is_whole = self.chunked.advance(body, &self.limits).map_err(ReplyError::of_chunks)?;
                let (length, end) = (self.chunked.body_bytes(), self.chunked.read_bytes());
                if is_whole {
                    return Ok(Some(self.finish(head, length, end)));
                }
                self.chunked.compact(&mut self.buffer, head.bytes);
                Ok(None)
            }
        }
    }

    /// The server has ended the connection; the response, if that is where it ends.
    pub fn handle_end(&mut self) -> Result<Received, ReplyError> {
        match self.head {
            Some(head) if head.framing == Framing::UntilEnd => {
                let length = self.buffer.len() - head.bytes;
                Ok(self.finish(head, length, length))
            }
            _ => Err(ReplyError::Cut),
        }
    }

    fn read_head(&mut self) -> Result<Option<Head>, ReplyError> {
        while self.head.is_none() {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut parsed = httparse::Response::new(&mut fields);
            let bytes = match parsed.parse(&self.buffer) {
                Ok(httparse::Status::Complete(bytes)) => bytes,
                Ok(httparse::Status::Partial) if self.buffer.len() < self.limits.head_bytes_max as usize => {
                    return Ok(None);
                }
                Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                    return Err(ReplyError::HeadTooLarge);
                }
                Err(_) => return Err(ReplyError::Malformed),
            };
            if bytes > self.limits.head_bytes_max as usize {
                return Err(ReplyError::HeadTooLarge);
            }
            let body_bytes_max = match self.limits.body_bytes_max {
                u32::MAX => usize::MAX,
                bytes_max => bytes_max as usize,
            };
            let head = judge(&parsed, bytes, body_bytes_max)?;
            match head.status {
                // Nobody has asked to speak something else.
                101 => return Err(ReplyError::Malformed),
                // The response itself follows (RFC 9110 §15.2).
                100..=199 => drop(self.buffer.drain(..bytes)),
                _ => {
                    if let Some(fields) = &mut self.fields {
                        for field in parsed.headers.iter() {
                            fields.extend_from_slice(field.name.as_bytes());
                            fields.extend_from_slice(b": ");
                            fields.extend_from_slice(field.value);
                            fields.extend_from_slice(b"\r\n");
                        }
                    }
                    self.head = Some(head);
                }
            }
        }
        Ok(self.head)
    }

    fn finish(&mut self, head: Head, length: usize, end: usize) -> Received {
        let mut body = std::mem::take(&mut self.buffer);
        // What nobody has asked for would pass for the answer to the next request.
        let is_alone = body.len() == head.bytes + end;
        body.truncate(head.bytes + length);
        body.drain(..head.bytes);
        let keep_alive = head.keep_alive && head.framing != Framing::UntilEnd && is_alone;
        Received { status: head.status, body, keep_alive, retry_after: head.retry_after }
    }
}

fn judge(
    parsed: &httparse::Response<'_, '_>,
    bytes: usize,
    body_bytes_max: usize,
) -> Result<Head, ReplyError> {
    let status = parsed.code.ok_or(ReplyError::Malformed)?;
    let named = |name: &'static str| {
        let is_named = move |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        parsed.headers.iter().filter(is_named).map(|field| field.value.trim_ascii())
    };
    let lists = |name, token: &str| {
        let mut items = named(name).flat_map(|value| value.split(|byte| *byte == b','));
        items.any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    };
    let mut lengths = named("content-length");
    let length = lengths.next();
    let mut encodings = named("transfer-encoding");
    let encoding = encodings.next();
    let framing = match (encoding, length) {
        _ if matches!(status, 100..=199 | 204 | 304) => Framing::Length(0),
        // Two lengths of one body are how answers are mistaken for each other (RFC 9112 §6.3).
        (Some(_), Some(_)) => return Err(ReplyError::Malformed),
        (Some(encoding), None) if encoding.eq_ignore_ascii_case(b"chunked") && encodings.next().is_none() => {
            Framing::Chunked
        }
        (Some(_), None) => return Err(ReplyError::Malformed),
        (None, None) => Framing::UntilEnd,
        (None, Some(length)) => {
            if lengths.any(|other| other != length) || !length.iter().all(u8::is_ascii_digit) {
                return Err(ReplyError::Malformed);
            }
            let length = std::str::from_utf8(length).map_err(|_| ReplyError::Malformed)?;
            // A number too long to count is too long a body.
            let length = if length.is_empty() { None } else { Some(length.parse().unwrap_or(usize::MAX)) };
            Framing::Length(length.ok_or(ReplyError::Malformed)?)
        }
    };
    if matches!(framing, Framing::Length(length) if length > body_bytes_max) {
        return Err(ReplyError::BodyTooLarge);
    }
    let keep_alive = parsed.version == Some(1) && !lists("connection", "close");
    let retry_after = named("retry-after").next().and_then(RetryAfter::read);
    Ok(Head { status, bytes, framing, keep_alive, retry_after })
}

impl ReplyError {
    fn of_chunks(error: HttpError) -> Self {
        match error {
            HttpError::BodyTooLarge => Self::BodyTooLarge,
            HttpError::HeadTooLarge | HttpError::TooManyFields => Self::HeadTooLarge,
            _ => Self::Malformed,
        }
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the answer is no HTTP/1.1",
            Self::HeadTooLarge => "the answer's header is too long",
            Self::BodyTooLarge => "the answer is too long",
            Self::Cut => "the answer has ended in its midst",
        })
    }
}

impl std::error::Error for ReplyError {}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY_BYTES_MAX: u32 = 16;

    /// Feeds bytes in every pair of parts and one by one, and ends; all must come to the same.
    #[track_caller]
    fn check(text: &str, expected: Result<(u16, &str, bool), ReplyError>) {
        let bytes = text.as_bytes();
        let mut ways = vec![bytes.chunks(1).collect::<Vec<_>>()];
        ways.extend((0..=bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]));
        for parts in ways {
            let mut decoder = ReplyDecoder::new(BODY_BYTES_MAX);
            let found = parts.iter().find_map(|part| decoder.handle_bytes(part).transpose());
            let found = found.unwrap_or_else(|| decoder.handle_end());
            let expected = expected.map(|(status, body, keep_alive)| Received {
                status,
                body: body.into(),
                keep_alive,
                retry_after: None,
            });
            // Bytes behind the response that have not arrived yet cannot be seen.
            match (&found, &expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!((found.status, &found.body), (expected.status, &expected.body), "{text:?}");
                    assert!(found.keep_alive >= expected.keep_alive, "{text:?}");
                }
                _ => assert_eq!(found, expected, "{text:?} in {} parts", parts.len()),
            }
        }
    }

    #[test]
    fn a_response_is_the_same_however_it_arrives() {
        let head = "HTTP/1.1 200 OK\r\n";
        check(&format!("{head}Content-Length: 3\r\n\r\nabc"), Ok((200, "abc", true)));
        check(&format!("{head}content-length: 0\r\n\r\n"), Ok((200, "", true)));
        check(
            &format!("{head}Content-Length: 3\r\nConnection: x, Close\r\n\r\nabc"),
            Ok((200, "abc", false)),
        );
        check("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", Ok((200, "abc", false)));
        check(&format!("{head}\r\nabc"), Ok((200, "abc", false)));
        let chunks = "2;x=1\r\nab\r\n1\r\nc\r\n0\r\nTrailer: x\r\n\r\n";
        check(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}"), Ok((200, "abc", true)));
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, "", true)));
        let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        check(&format!("{early}{head}Content-Length: 1\r\n\r\na"), Ok((200, "a", true)));
        check("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", Ok((302, "", true)));
    }

    #[test]
    fn what_is_cut_too_long_or_of_two_lengths_is_refused() {
        let head = "HTTP/1.1 200 OK\r\n";
        let with = |fields: &str, body: &str| format!("{head}{fields}\r\n{body}");
        for (text, error) in [
            (String::new(), ReplyError::Cut),
            ("HTTP/1.1 20".into(), ReplyError::Cut),
            (with("Content-Length: 4\r\n", "abc"), ReplyError::Cut),
            (with("Content-Length: 17\r\n", ""), ReplyError::BodyTooLarge),
            (with("Content-Length: 99999999999999999999999\r\n", ""), ReplyError::BodyTooLarge),
            (with("", &"x".repeat(17)), ReplyError::BodyTooLarge),
            (with("Transfer-Encoding: chunked\r\n", "11\r\n"), ReplyError::BodyTooLarge),
            (with("Transfer-Encoding: chunked\r\n", "2\r\nab\r\n"), ReplyError::Cut),
            (with("Transfer-Encoding: chunked\r\n", "x\r\n"), ReplyError::Malformed),
            (with("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", "a"), ReplyError::Malformed),
            (with("Transfer-Encoding: gzip\r\n", "a"), ReplyError::Malformed),
            (with("Content-Length: 1\r\nContent-Length: 2\r\n", "ab"), ReplyError::Malformed),
            (with("Content-Length: +1\r\n", "a"), ReplyError::Malformed),
            (with("Content-Length:\r\n", "a"), ReplyError::Malformed),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n".into(), ReplyError::Malformed),
            ("SSH-2.0-OpenSSH_9.9\r\n".into(), ReplyError::Malformed),
            (with(&"X: y\r\n".repeat(65), ""), ReplyError::HeadTooLarge),
        ] {
            check(&text, Err(error));
        }
        let endless = format!("{head}X: {}", "y".repeat(20_000));
        let mut decoder = ReplyDecoder::new(BODY_BYTES_MAX);
        assert_eq!(decoder.handle_bytes(endless.as_bytes()), Err(ReplyError::HeadTooLarge));
    }

    /// Takes a response bit by bit, in every pair of parts and byte by byte.
    #[track_caller]
    fn check_bit_by_bit(text: &str, head: ReplyHead, body: &str, end: Option<bool>) {
        let bytes = text.as_bytes();
        let mut ways = vec![bytes.chunks(1).collect::<Vec<_>>()];
        ways.extend((0..=bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]));
        for parts in ways {
            let mut decoder = ReplyDecoder::bit_by_bit();
            let (mut found, mut taken, mut ended) = (None, Vec::new(), None);
            for part in parts {
                decoder.push(part);
                if found.is_none() {
                    found = decoder.take_head().expect("HTTP");
                }
                if found.is_some() && ended.is_none() {
                    let (piece, end) = decoder.take_body().expect("HTTP");
                    taken.extend_from_slice(&piece);
                    ended = end;
                }
            }
            assert_eq!((found, &*taken, ended), (Some(head), body.as_bytes(), end), "{text:?}");
            assert_eq!(decoder.lasts_until_end(), end.is_none() && head.length.is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_response_that_is_taken_bit_by_bit_is_the_same_however_it_arrives() {
        let head = "HTTP/1.1 200 OK\r\n";
        let told = |length| ReplyHead { status: 200, length };
        let text = format!("{head}Content-Length: 20\r\n\r\n01234567890123456789");
        check_bit_by_bit(&text, told(Some(20)), "01234567890123456789", Some(true));
        check_bit_by_bit(&format!("{head}Content-Length: 0\r\n\r\n"), told(Some(0)), "", Some(true));
        let text = format!("{head}Connection: close\r\nContent-Length: 1\r\n\r\na");
        check_bit_by_bit(&text, told(Some(1)), "a", Some(false));
        let chunks = "14\r\n01234567890123456789\r\n2;x=1\r\nab\r\n0\r\nTrailer: x\r\n\r\n";
        let text = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}");
        check_bit_by_bit(&text, told(None), "01234567890123456789ab", Some(true));
        check_bit_by_bit(&format!("{head}\r\nabc"), told(None), "abc", None);
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        check_bit_by_bit(text, ReplyHead { status: 204, length: Some(0) }, "", Some(true));
        let mut large = ReplyDecoder::bit_by_bit();
        large.push(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n");
        assert_eq!(large.take_head(), Ok(Some(told(Some(9_999_999_999)))));
    }

    #[test]
    fn header_fields_are_kept_where_they_are_wanted() {
        let text = b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nset-cookie: a=1\r\nSet-Cookie:b=2\r\n\
            Content-Length: 0\r\n\r\n";
        let mut decoder = ReplyDecoder::keeping_fields(BODY_BYTES_MAX);
        for byte in text {
            decoder.handle_bytes(&[*byte]).expect("HTTP");
        }
        assert_eq!(decoder.take_fields(), b"set-cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n");
        let mut decoder = ReplyDecoder::new(BODY_BYTES_MAX);
        decoder.handle_bytes(text).expect("HTTP");
        assert_eq!(decoder.take_fields(), b"");
    }

    #[test]
    fn a_connection_with_bytes_that_nobody_asked_for_is_not_used_again() {
        let mut decoder = ReplyDecoder::new(BODY_BYTES_MAX);
        let received =
            decoder.handle_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\n");
        assert_eq!(
            received,
            Ok(Some(Received { status: 200, body: b"a".to_vec(), keep_alive: false, retry_after: None }))
        );
    }

    #[test]
    fn a_server_says_when_it_would_rather_be_called_again_in_seconds_or_by_a_date() {
        for (text, seconds) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("99999999999999999999999", None),
        ] {
            let mut decoder = ReplyDecoder::new(BODY_BYTES_MAX);
            let answer = format!("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nretry-after: {text}\r\n\r\n");
            let received = decoder.handle_bytes(answer.as_bytes()).expect("HTTP").expect("it is whole");
            assert_eq!(received.retry_after.map(|after| after.seconds(784_111_740)), seconds, "{text}");
        }
    }
}
