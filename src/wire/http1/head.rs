//! One request head: `httparse` reads the lines, this file holds the rules about them. Bodies and arrivals are the
//! decoder's business.
//!
//! Invariant: the verdict depends on the bytes alone, not on how they arrived. So a fault counts only once its line
//! has ended, or the line is longer than any line may be.
//!
//! A bare line feed as a line end, which RFC 9112 §2.2 lets a recipient accept, is refused. A proxy that takes the
//! line feed for a part of the value forwards `X: y\n\nGET /secret …` as one request where two would be seen here.
//! The empty lines that may precede a request frame nothing and may end as they like.

use std::mem::MaybeUninit;

use super::{Authority, HeaderSpan, HttpError, Method, Version};
use crate::limits::Limits;

/// Where the fields of the request in hand stand: scratch memory that a shard owns once and lends to every decode.
#[derive(Debug, Default)]
pub struct HeadTable(pub(super) Vec<HeaderSpan>);

/// What a request head says. Places are counted from its first byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub method: Method,
    pub version: Version,
    /// The target, in origin form or `*`.
    pub target: (u32, u32),
    /// Length of the head with the empty line that ends it.
    pub bytes: usize,
    pub framing: Framing,
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// How long the body is (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
}

/// Room for fields on the stack; a configuration that allows more pays for an allocation.
const FIELDS_ON_STACK: usize = 128;

type Slot<'a> = MaybeUninit<httparse::Header<'a>>;

/// Reads the head at the start of `bytes`, which must not begin with an empty line; `None` when it has not arrived
/// whole.
pub(super) fn decode(
    bytes: &[u8],
    table: &mut HeadTable,
    limits: &Limits,
) -> Result<Option<Head>, HttpError> {
    let window = &bytes[..bytes.len().min(limits.head_bytes_max as usize)];
    let fields_max = usize::from(limits.head_fields_max);
    if fields_max <= FIELDS_ON_STACK {
        let mut slots: [Slot<'_>; FIELDS_ON_STACK] = [MaybeUninit::uninit(); FIELDS_ON_STACK];
        decode_with(&mut slots[..fields_max], window, table, limits)
    } else {
        decode_with(&mut vec![MaybeUninit::uninit(); fields_max], window, table, limits)
    }
}

/// Judges the bytes of a head whose last line has not ended.
pub(super) fn check_unfinished(bytes: &[u8], limits: &Limits) -> Result<(), HttpError> {
    check_opening(bytes, limits)?;
    match bytes.len() >= limits.head_bytes_max as usize {
        true => Err(HttpError::HeadTooLarge),
        false => Ok(()),
    }
}

/// The number of bytes of empty lines at the start of `bytes`, which a server skips (RFC 9112 §2.2).
pub(super) fn empty_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match bytes[at..] {
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            _ => return at,
        }
    }
}

/// What is wrong with one field line, given without its line end; `None` when nothing is.
pub(super) fn field_line_fault(line: &[u8]) -> Option<HttpError> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    if line.contains(&b'\r') {
        return Some(HttpError::BareCarriageReturn);
    }
    if line.first().is_some_and(is_space) {
        return Some(HttpError::FoldedField);
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        return Some(HttpError::FieldLine);
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.last().is_some_and(is_space) {
        return Some(HttpError::SpaceBeforeColon);
    }
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let is_valid = !name.is_empty() && name.iter().all(is_token) && !value.iter().any(is_control);
    (!is_valid).then_some(HttpError::FieldLine)
}

fn decode_with<'b>(
    slots: &mut [Slot<'b>],
    window: &'b [u8],
    table: &mut HeadTable,
    limits: &Limits,
) -> Result<Option<Head>, HttpError> {
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(window, slots) {
        Ok(httparse::Status::Complete(length)) => judge(&parsed, &window[..length], table, limits).map(Some),
        Ok(httparse::Status::Partial) => check_unfinished(window, limits).map(|()| None),
        Err(_) => find_fault(window, limits).map(|()| None),
    }
}

/// Finds the fault that `httparse` met, unless it lies in a line that has not ended yet.
#[cold]
fn find_fault(window: &[u8], limits: &Limits) -> Result<(), HttpError> {
    check_opening(window, limits)?;
    let lines = memchr::memrchr(b'\n', window).map_or(&[][..], |last| &window[..=last]);
    let mut slots = vec![httparse::EMPTY_HEADER; usize::from(limits.head_fields_max)];
    match httparse::Request::new(&mut slots).parse(lines) {
        Err(error) => Err(name_fault(error, lines)),
        Ok(_) => check_unfinished(window, limits),
    }
}

/// Says what `httparse` met in `lines`, all of which have ended, in words that help.
fn name_fault(error: httparse::Error, lines: &[u8]) -> HttpError {
    let mut lines = lines.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    match error {
        httparse::Error::TooManyHeaders => HttpError::TooManyFields,
        httparse::Error::Version => version_fault(request_line),
        httparse::Error::HeaderName | httparse::Error::HeaderValue => {
            lines.find_map(field_line_fault).unwrap_or(HttpError::FieldLine)
        }
        httparse::Error::NewLine | httparse::Error::Token | httparse::Error::Status => {
            match request_line.contains(&b'\r') {
                true => HttpError::BareCarriageReturn,
                false => HttpError::RequestLine,
            }
        }
    }
}

fn version_fault(request_line: &[u8]) -> HttpError {
    match request_line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default() {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            HttpError::VersionUnsupported
        }
        _ => HttpError::RequestLine,
    }
}

/// What the first bytes of a request line tell before it has ended: a peer that speaks another protocol is answered
/// at once, and a line that cannot end in time is too long.
fn check_opening(bytes: &[u8], limits: &Limits) -> Result<(), HttpError> {
    match bytes {
        [] | [b'\r'] => return Ok(()),
        [b'\r', ..] => return Err(HttpError::BareCarriageReturn),
        [first, ..] if !is_token(first) => return Err(HttpError::RequestLine),
        _ => {}
    }
    let line_max = request_line_bytes_max(limits);
    match bytes.len() >= line_max && memchr::memchr(b'\n', &bytes[..line_max]).is_none() {
        true => Err(HttpError::RequestLineTooLong),
        false => Ok(()),
    }
}

/// The longest request line, line end included.
fn request_line_bytes_max(limits: &Limits) -> usize {
    (limits.head_bytes_max / 2) as usize
}

/// The fields that decide framing and connection, gathered in one pass.
#[derive(Default)]
struct Facts<'a> {
    hosts: u32,
    host: &'a [u8],
    content_lengths: u32,
    content_length: &'a [u8],
    transfer_encodings: u32,
    transfer_codings: u32,
    other_transfer_codings: u32,
    ends_in_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
    expects_continue: bool,
    expects_other: bool,
}

/// Applies the rules to a head that has arrived whole, and fills the table.
fn judge(
    parsed: &httparse::Request<'_, '_>,
    bytes: &[u8],
    table: &mut HeadTable,
    limits: &Limits,
) -> Result<Head, HttpError> {
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HttpError::RequestLine);
    };
    let target_start = place(bytes, target.as_bytes());
    // After the target come a space, eight bytes of version and the line end.
    if target_start + target.len() + 11 > request_line_bytes_max(limits) {
        return Err(HttpError::RequestLineTooLong);
    }
    let facts = gather(parsed.headers, bytes, table)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let framing = framing(&facts, version)?;
    check_host(&facts, version)?;
    let method = method_named(method).ok_or(HttpError::MethodUnknown)?;
    let is_http11 = version == Version::Http11;
    if is_http11 && facts.expects_other {
        return Err(HttpError::Expectation);
    }
    Ok(Head {
        method,
        version,
        target: target_in_origin_form(target, target_start, method)?,
        bytes: bytes.len(),
        framing: body_framing(framing, method, limits)?,
        keep_alive: !facts.says_close && (is_http11 || facts.says_keep_alive),
        // RFC 9110 §10.1.1: the expectation of an HTTP/1.0 client is ignored.
        expects_continue: is_http11 && facts.expects_continue,
    })
}

fn gather<'a>(
    fields: &[httparse::Header<'a>],
    bytes: &'a [u8],
    table: &mut HeadTable,
) -> Result<Facts<'a>, HttpError> {
    let mut facts = Facts::default();
    table.0.clear();
    table.0.reserve(fields.len());
    for field in fields {
        let name_start = place(bytes, field.name.as_bytes());
        if bytes[name_start - 2] != b'\r' {
            return Err(HttpError::BareLineFeed);
        }
        table.0.push(HeaderSpan {
            name: span(name_start, field.name.len()),
            value: span(place(bytes, field.value), field.value.len()),
        });
        facts.note(field.name, field.value);
    }
    match bytes.ends_with(b"\r\n\r\n") {
        true => Ok(facts),
        false => Err(HttpError::BareLineFeed),
    }
}

impl<'a> Facts<'a> {
    fn note(&mut self, name: &str, value: &'a [u8]) {
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                self.hosts += 1;
                self.host = value;
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                for item in items(value) {
                    let is_known = item.eq_ignore_ascii_case(b"100-continue");
                    self.expects_continue |= is_known;
                    self.expects_other |= !is_known;
                }
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for item in items(value) {
                    self.says_close |= item.eq_ignore_ascii_case(b"close");
                    self.says_keep_alive |= item.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                self.content_lengths += 1;
                self.content_length = value;
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                self.transfer_encodings += 1;
                for item in items(value) {
                    self.transfer_codings += 1;
                    self.ends_in_chunked = item.eq_ignore_ascii_case(b"chunked");
                    self.other_transfer_codings += u32::from(!self.ends_in_chunked);
                }
            }
            _ => {}
        }
    }
}

/// What the fields say about the body before method and limits are looked at.
enum Claim<'a> {
    Nothing,
    Length(&'a [u8]),
    Chunked,
}

/// RFC 9112 §6.3, in its strictest reading: whatever two implementations could read differently is refused.
fn framing<'a>(facts: &Facts<'a>, version: Version) -> Result<Claim<'a>, HttpError> {
    match (facts.transfer_encodings, facts.content_lengths) {
        (0, 0) => Ok(Claim::Nothing),
        (0, 1) if facts.content_length.is_empty() => Err(HttpError::ContentLength),
        (0, 1) if !facts.content_length.iter().all(u8::is_ascii_digit) => Err(HttpError::ContentLength),
        (0, 1) => Ok(Claim::Length(facts.content_length)),
        (0, _) => Err(HttpError::ContentLengthRepeated),
        (_, 1..) => Err(HttpError::TransferEncodingAndLength),
        (_, 0) if version == Version::Http10 => Err(HttpError::TransferEncoding),
        // Where such a body ends, nobody knows.
        (_, 0) if !facts.ends_in_chunked => Err(HttpError::TransferEncoding),
        (_, 0) if facts.other_transfer_codings > 0 => Err(HttpError::TransferCodingUnknown),
        (_, 0) if facts.transfer_codings > 1 => Err(HttpError::TransferEncoding),
        (_, 0) => Ok(Claim::Chunked),
    }
}

fn body_framing(claim: Claim<'_>, method: Method, limits: &Limits) -> Result<Framing, HttpError> {
    match claim {
        Claim::Chunked => Ok(Framing::Chunked),
        Claim::Nothing => match method {
            Method::Post | Method::Put | Method::Patch => Err(HttpError::LengthRequired),
            Method::Get | Method::Head | Method::Delete | Method::Options => Ok(Framing::Length(0)),
        },
        Claim::Length(digits) => {
            let add =
                |sum: usize, digit: &u8| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
            let length = digits.iter().fold(0, add);
            match length <= limits.body_bytes_max as usize {
                true => Ok(Framing::Length(length)),
                false => Err(HttpError::BodyTooLarge),
            }
        }
    }
}

fn check_host(facts: &Facts<'_>, version: Version) -> Result<(), HttpError> {
    let is_authority = |host| std::str::from_utf8(host).is_ok_and(|host| Authority::parse(host).is_some());
    match facts.hosts {
        0 if version == Version::Http10 => Ok(()),
        0 => Err(HttpError::HostMissing),
        1 if is_authority(facts.host) => Ok(()),
        1 => Err(HttpError::Host),
        _ => Err(HttpError::HostRepeated),
    }
}

fn method_named(name: &str) -> Option<Method> {
    Some(match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        _ => return None,
    })
}

/// The forms of RFC 9112 §3.2. Of the absolute form, which a server must accept, path and query remain.
fn target_in_origin_form(target: &str, start: usize, method: Method) -> Result<(u32, u32), HttpError> {
    // RFC 3986 §2: what is not ASCII is percent-encoded.
    if target.contains('#') || !target.is_ascii() {
        return Err(HttpError::RequestLine);
    }
    if target.starts_with('/') || (target == "*" && method == Method::Options) {
        return Ok(span(start, target.len()));
    }
    let scheme_bytes = ["http://", "https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)))
        .map(|scheme| scheme.len())
        .ok_or(HttpError::RequestLine)?;
    match target[scheme_bytes..].find(['/', '?']).map(|at| at + scheme_bytes) {
        Some(at) if at > scheme_bytes && target.as_bytes()[at] == b'/' => {
            Ok(span(start + at, target.len() - at))
        }
        // Without a path the path is `/`; the last byte of `http://` is one to point at.
        None if target.len() > scheme_bytes => Ok(span(start + scheme_bytes - 1, 1)),
        // No authority, or a query without a path, for which no byte can be lent.
        Some(_) | None => Err(HttpError::RequestLine),
    }
}

/// The first value of a header field in what has arrived of a request, whether or not that is a request at all.
pub fn field_in<'a>(arrived: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields_in(arrived, name).next()
}

/// The same, of a field that may stand often.
pub fn fields_in<'a>(arrived: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let whole = &arrived[..memchr::memrchr(b'\n', arrived).unwrap_or(0)];
    let lines = whole.split(|byte| *byte == b'\n').skip(1).map(<[u8]>::trim_ascii_end);
    lines.take_while(|line| !line.is_empty()).filter_map(move |line| {
        let (before, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        before.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

/// The items of a comma-separated list (RFC 9110 §5.6.1).
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

pub(super) fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Where `part`, a part of `whole`, begins in it.
fn place(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

/// Heads are far below 4 GiB: `limits.head_bytes_max` is 32 bits wide.
fn span(start: usize, length: usize) -> (u32, u32) {
    (start as u32, (start + length) as u32)
}
