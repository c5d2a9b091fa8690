//! A request, as handlers see it. Decoding is in `decoder.rs`.

use std::{borrow::Cow, net::IpAddr};

use super::Via;
use crate::{limits::HOST_BYTES_MAX, model::Passage};

/// A request whose head and body have arrived whole. Borrows the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The request target as sent: path and query, not decoded.
    pub target: &'a str,
    /// The protocol version.
    pub version: Version,
    /// The body, chunks joined.
    pub body: &'a [u8],
    /// Whether the client lets the connection live on (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// The bytes the spans point into.
    pub head: &'a [u8],
    /// The header fields, in order.
    pub fields: &'a [HeaderSpan],
    /// Whether the client speaks TLS: with this server, or with a proxy that is trusted and says so.
    pub is_secure: bool,
    /// What proxies that are trusted say of the client.
    pub via: Option<&'a Via<'a>>,
}

/// Where a header field stands in [`Request::head`].
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderSpan {
    /// The name: start and end.
    pub name: (u32, u32),
    /// The value: start and end.
    pub value: (u32, u32),
}

/// A request method this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 9110 §9.3 says what each means")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
}

/// The HTTP version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Method {
    /// The name, as a request line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
        }
    }
}

impl<'a> Request<'a> {
    /// The target's path, still percent-encoded.
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        let (_, query) = self.target.split_once('?')?;
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The first value of a header field; the name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// Every value of a header field, in order.
    pub fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let (head, fields) = (self.head, self.fields);
        fields.iter().filter_map(move |field| {
            let slice = |(start, end): (u32, u32)| &head[start as usize..end as usize];
            slice(field.name).eq_ignore_ascii_case(name.as_bytes()).then(|| slice(field.value))
        })
    }

    /// The host that the client asked: what a proxy that is trusted says, else `Host`.
    pub fn host(&self) -> Option<&'a [u8]> {
        self.via.and_then(|via| via.host).or_else(|| self.header("host"))
    }

    /// The proxies that the request has passed, in order, as far as they are known and trusted; the last one, which has
    /// the connection, is not among them.
    pub fn hops(&self) -> &'a [IpAddr] {
        self.via.map_or(&[], |via| &via.hops)
    }

    /// The same as text, of at most 255 bytes.
    pub fn host_text(&self) -> Option<&'a str> {
        let host = std::str::from_utf8(self.host()?).ok()?;
        (!host.is_empty() && host.len() <= HOST_BYTES_MAX).then_some(host)
    }

    /// How the client has come, besides its address.
    pub fn passage(&self) -> Passage {
        Passage {
            is_secure: self.is_secure,
            host: self.host_text().map(Into::into),
            hops: self.hops().into(),
        }
    }

    /// What `Authorization: Bearer` presents (RFC 6750 §2.1; the scheme's case does not matter).
    pub fn bearer(&self) -> Option<&'a [u8]> {
        let (scheme, token) = self.header("authorization")?.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
    }

    /// Whether a comma-separated header field (`Connection`, `Upgrade`) lists `token`.
    pub fn header_lists(&self, name: &str, token: &str) -> bool {
        self.headers(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether `Accept` names event streams; a browser's `EventSource` names nothing else. `q=0` is a refusal
    /// (RFC 9110 §12.4.2).
    pub fn accepts_event_stream(&self) -> bool {
        self.headers("accept").flat_map(|value| value.split(|byte| *byte == b',')).any(|range| {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"text/event-stream"));
            is_named
                && !parts.any(|parameter| matches!(parameter, b"q=0" | b"q=0.0" | b"q=0.00" | b"q=0.000"))
        })
    }
}
