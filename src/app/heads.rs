//! Heads of requests and answers as they are passed on: which fields go along, and what is said of the client.

use std::net::IpAddr;

use super::{Request, Response, Upload};
use crate::{
    backend::CallError,
    wire::http1::{Body, Method, ReplyError},
};

/// Fields that are about one connection (RFC 9110 §7.6.1), or that are written anew.
const NOT_PASSED_ON: [&str; 13] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Fields of an answer that are written anew.
const NOT_PASSED_BACK: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "date",
];

/// The request as another server is sent it, with header fields that are added, each `name: value\r\n`. A `HEAD` is one for the
/// same without its body, which is left out here.
pub(crate) fn encode(
    request: &Request<'_>,
    client: Option<IpAddr>,
    upload: Option<&Upload>,
    added: &str,
) -> Vec<u8> {
    let method = if request.method == Method::Head { Method::Get } else { request.method };
    let mut out = format!("{} {} HTTP/1.1\r\n", method.name(), request.target).into_bytes();
    for field in request.fields {
        let slice = |(start, end): (u32, u32)| &request.head[start as usize..end as usize];
        let (name, value) = (slice(field.name), slice(field.value));
        if !is_among(&NOT_PASSED_ON, name) {
            push_field(&mut out, name, value);
        }
    }
    if let Some(client) = client {
        let hops: Vec<_> = [&client].into_iter().chain(request.hops()).map(ToString::to_string).collect();
        push_field(&mut out, b"X-Forwarded-For", hops.join(", ").as_bytes());
    }
    let scheme: &[u8] = if request.is_secure { b"https" } else { b"http" };
    push_field(&mut out, b"X-Forwarded-Proto", scheme);
    if let Some(host) = request.host() {
        push_field(&mut out, b"X-Forwarded-Host", host);
    }
    out.extend_from_slice(added.as_bytes());
    let length = upload.map_or(Some(request.body.len() as u64), |upload| upload.length);
    if length.is_none() {
        push_field(&mut out, b"Transfer-Encoding", b"chunked");
    } else if length != Some(0) || matches!(method, Method::Post | Method::Put | Method::Patch) {
        push_field(&mut out, b"Content-Length", length.unwrap_or_default().to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(request.body);
    out
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn is_among(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(name))
}

/// The answer as the client is sent it.
pub(crate) fn response_of(status: u16, body: Vec<u8>, fields: &[u8]) -> Result<Response, CallError> {
    let fields = std::str::from_utf8(fields).map_err(|_| CallError::Reply(ReplyError::Malformed))?;
    let mut response = Response { body: Body::Owned(body), ..Response::empty(status) };
    for line in fields.split_terminator("\r\n") {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("content-type") {
            response.content_type = value.to_owned().into();
        } else if !is_among(&NOT_PASSED_BACK, name.as_bytes()) {
            response = response.with_field(name, value);
        }
    }
    Ok(response)
}
