//! The requests a client makes, encoded once before the run.

use super::socketio::{self, Place};
use crate::target::Target;

/// A fixed `Sec-WebSocket-Key` (RFC 6455 §1.3's example): a benchmark has no cache to fool.
const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The request that turns a connection into a WebSocket (RFC 6455 §4.1).
pub fn encode_upgrade(target: &Target) -> Vec<u8> {
    encode_upgrade_of(target, &target.path)
}

/// The same for a path of the protocol's own.
pub fn encode_upgrade_of(target: &Target, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {WEBSOCKET_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n",
        target.authority
    )
    .into_bytes()
}

/// The request for a stream of server-sent events.
pub fn encode_event_stream(target: &Target) -> Vec<u8> {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n", target.path, target.authority)
        .into_bytes()
}

/// Where a long poll goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollPosition {
    /// A position in the answer's JSON, sent back as `?since=`.
    Since(Box<str>),
    /// The session a Socket.IO server opened, sent back as `sid=`.
    Session(Box<str>),
    /// The answer's validators, sent back as conditions, as nchan wants them: whole header lines.
    Conditions(Box<str>),
}

impl PollPosition {
    /// The validators in a response's head, if it has a `Last-Modified`.
    pub fn from_validators(head: &[u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?;
        let field = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let mut conditions = format!("If-Modified-Since: {}\r\n", field("last-modified")?);
        if let Some(tag) = field("etag") {
            conditions += &format!("If-None-Match: {tag}\r\n");
        }
        Some(Self::Conditions(conditions.into()))
    }
}

/// A poll of Socket.IO: what the server has to say. Without a session it opens one.
pub fn encode_engine_poll(target: &Target, session: Option<&str>) -> Vec<u8> {
    let path = Place::of(target).polling_path(session);
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\n\r\n", target.authority).into_bytes()
}

/// What a polling client of Socket.IO has to say.
pub fn encode_engine_post(target: &Target, session: &str, packets: &[String]) -> Vec<u8> {
    let (path, body) = (Place::of(target).polling_path(Some(session)), socketio::encode_payload(packets));
    format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
        target.authority,
        body.len()
    )
    .into_bytes()
}

/// A long poll. With a `position` it asks for what came after it.
pub fn encode_poll(target: &Target, position: Option<&PollPosition>) -> Vec<u8> {
    let separator = if target.path.contains('?') { '&' } else { '?' };
    let (since, conditions) = match position {
        None | Some(PollPosition::Session(_)) => (String::new(), ""),
        Some(PollPosition::Since(position)) => (format!("{separator}since={position}"), ""),
        Some(PollPosition::Conditions(conditions)) => (String::new(), &**conditions),
    };
    format!(
        "GET {}{since} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n{conditions}\r\n",
        target.path, target.authority
    )
    .into_bytes()
}

/// A plain request, to be answered and repeated on the same connection.
#[cfg(test)]
pub fn encode_get(target: &Target) -> Vec<u8> {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", target.path, target.authority).into_bytes()
}

/// A publication: `POST` with `body` as its data.
pub fn encode_publish(target: &Target, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        target.path,
        target.authority,
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_appends_its_position_to_whatever_query_there_is() {
        let line = |url: &str| {
            let bytes = encode_poll(&url.parse().unwrap(), Some(&PollPosition::Since("7:3".into())));
            String::from_utf8(bytes).unwrap().lines().next().unwrap().to_owned()
        };
        assert_eq!(line("http://h/channels/x"), "GET /channels/x?since=7:3 HTTP/1.1");
        assert_eq!(line("http://h/channels/x?timeout=9"), "GET /channels/x?timeout=9&since=7:3 HTTP/1.1");
    }

    #[test]
    fn a_publication_tells_its_length() {
        let bytes = encode_publish(&"http://h:1/channels/x".parse().unwrap(), b"hello");
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("POST /channels/x HTTP/1.1\r\nHost: h:1\r\n"));
        assert!(text.ends_with("Content-Length: 5\r\n\r\nhello"));
    }
}
