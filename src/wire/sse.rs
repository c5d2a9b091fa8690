//! Server-sent events (HTML Living Standard §9.2): encoding only.
//!
//! An event's `id` is its position, so that `Last-Event-ID` is all a client needs to resume. The format carries text
//! in lines: `\r\n` and `\r` in the data reach the client as `\n`, and binary data travels in base64, under an event name of
//! its own unless the publisher gave one. In a stream of several channels an event's data is JSON that names its channel, and
//! `id` lists where the client is in each.

use std::{fmt::Display, io::Write};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::json::{as_text, encode_change, encode_named};
use crate::model::{Payload, Position, Publication};

/// A comment, for a stream that is silent.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// Appends a publication: an event of the name its publisher gave; without one it has none, or `base64` when the data is
/// binary. A change of state is the event `set`, `add` or `remove`, with JSON.
pub fn encode_publication(out: &mut Vec<u8>, publication: &Publication) {
    push_id(out, publication.position);
    let payload = &publication.payload;
    if let Some(change) = &payload.change {
        push_event(out, change.kind.word());
        let mut said = Vec::new();
        encode_change(&mut said, publication);
        push_data(out, as_text(&said));
        out.push(b'\n');
        return;
    }
    let text = payload.text();
    if let Some(event) = payload.event.as_deref().or(text.is_none().then_some("base64")) {
        push_event(out, event);
    }
    match text {
        Some(text) => push_data(out, text),
        None => push_data(out, &STANDARD.encode(&payload.data)),
    }
    out.push(b'\n');
}

/// Appends an event without a name or a place in any channel.
pub fn encode_event(out: &mut Vec<u8>, data: &str) {
    push_data(out, data);
    out.push(b'\n');
}

/// Appends an event about the stream itself, such as `reset`, from which on the client resumes at `position`.
/// `event` must be free of line breaks.
pub fn encode_position_event(out: &mut Vec<u8>, event: &str, position: Position, data: &str) {
    push_id(out, position);
    push_event(out, event);
    push_data(out, data);
    out.push(b'\n');
}

/// Appends the position a client resumes at that is cut before it hears of anything: no event, for there is no data.
pub fn encode_position(out: &mut Vec<u8>, position: Position) {
    push_id(out, position);
    out.push(b'\n');
}

/// Appends the time a client waits before it reconnects, in milliseconds.
pub fn encode_retry(out: &mut Vec<u8>, ms: u64) {
    write!(out, "retry: {ms}\n\n").expect("writing to a Vec cannot fail");
}

/// Appends a publication to a stream of several channels, but for the `id` that comes before it: an event of the name its
/// publisher gave, or of the change of state that it is, with JSON.
pub fn encode_one_of_several(out: &mut Vec<u8>, json: &mut Vec<u8>, publication: &Publication) {
    let Payload { change, event, .. } = &publication.payload;
    if let Some(event) = change.as_deref().map(|change| change.kind.word()).or(event.as_deref()) {
        push_event(out, event);
    }
    json.clear();
    encode_named(json, publication);
    push_data(out, as_text(json));
    out.push(b'\n');
}

/// Appends an event about one channel of a stream of several, but for the `id` that comes before it.
pub fn encode_event_of_several(out: &mut Vec<u8>, event: &str, data: &str) {
    push_event(out, event);
    push_data(out, data);
    out.push(b'\n');
}

/// Appends the beginning of an event: the place of a client that has read it.
pub fn push_id(out: &mut Vec<u8>, position: impl Display) {
    writeln!(out, "id: {position}").expect("writing to a Vec cannot fail");
}

/// A name without line breaks.
fn push_event(out: &mut Vec<u8>, event: &str) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.as_bytes());
    out.push(b'\n');
}

/// One `data` line per line of the text, also for an empty one: an event without any is not dispatched.
fn push_data(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 16);
    let mut rest = text.as_bytes();
    loop {
        let end = memchr::memchr2(b'\n', b'\r', rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        // One space after the colon is not part of the data; without it, a space that is would be lost.
        out.extend_from_slice(if line.is_empty() { b"data:" } else { b"data: " });
        out.extend_from_slice(line);
        out.push(b'\n');
        let Some(end) = end else { return };
        rest = &rest[end..];
        rest = rest.strip_prefix(b"\r\n").unwrap_or(&rest[1..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ChannelName, Positions};

    const POSITION: Position = Position { epoch: 17, offset: 4 };

    fn encoded(data: &[u8]) -> String {
        encoded_payload(Payload::new(data, None))
    }

    fn encoded_payload(payload: Payload) -> String {
        let publication = Publication {
            channel: ChannelName::new("news", 255).expect("a valid name"),
            position: POSITION,
            unix_ms: 0,
            payload,
        };
        let mut out = Vec::new();
        encode_publication(&mut out, &publication);
        String::from_utf8(out).expect("an event stream is UTF-8")
    }

    #[test]
    fn every_line_of_the_data_has_its_own_line() {
        for (data, lines) in [
            ("", "data:\n"),
            ("a", "data: a\n"),
            (" a", "data:  a\n"),
            ("a: é", "data: a: é\n"),
            ("a\nb", "data: a\ndata: b\n"),
            ("a\r\nb", "data: a\ndata: b\n"),
            ("a\rb", "data: a\ndata: b\n"),
            ("a\n\rb", "data: a\ndata:\ndata: b\n"),
            ("a\r\r\nb", "data: a\ndata:\ndata: b\n"),
            ("a\n", "data: a\ndata:\n"),
            ("\r\n", "data:\ndata:\n"),
        ] {
            assert_eq!(encoded(data.as_bytes()), format!("id: 17:4\n{lines}\n"), "{data:?}");
        }
    }

    #[test]
    fn a_publication_shows_the_name_its_publisher_gave() {
        let named = |payload: Payload| encoded_payload(payload.with_event(Some("news")));
        assert_eq!(named(Payload::new(*b"a", None)), "id: 17:4\nevent: news\ndata: a\n\n");
        assert_eq!(named(Payload::new(*b"\xff", None)), "id: 17:4\nevent: news\ndata: /w==\n\n");
    }

    #[test]
    fn binary_data_travels_in_base64() {
        assert_eq!(
            encoded_payload(Payload::bytes_of(*b"a", None)),
            "id: 17:4\nevent: base64\ndata: YQ==\n\n"
        );
        assert_eq!(encoded(b"\xff\0"), "id: 17:4\nevent: base64\ndata: /wA=\n\n");
    }

    #[test]
    fn events_about_the_stream_carry_a_position() {
        let mut out = Vec::new();
        encode_retry(&mut out, 3000);
        encode_position(&mut out, POSITION);
        encode_position_event(&mut out, "reset", POSITION, "{}");
        out.extend_from_slice(KEEP_ALIVE);
        assert_eq!(out, b"retry: 3000\n\nid: 17:4\n\nid: 17:4\nevent: reset\ndata: {}\n\n:\n\n");
    }

    #[test]
    fn in_a_stream_of_several_channels_the_data_names_its_channel_and_the_id_all_positions() {
        let written = |payload: Payload| {
            let channel = ChannelName::new("a\"b", 255).expect("a valid name");
            let publication = Publication { channel, position: POSITION, unix_ms: 0, payload };
            let (mut out, mut json) = (Vec::new(), b"of another".to_vec());
            push_id(&mut out, Positions([Some(POSITION), None].into_iter()));
            encode_one_of_several(&mut out, &mut json, &publication);
            String::from_utf8(out).expect("an event stream is UTF-8")
        };
        assert_eq!(
            written(Payload::new(*b"x", None)),
            "id: 17:4,-\ndata: {\"channel\":\"a\\\"b\",\"epoch\":17,\"offset\":4,\"data\":\"x\"}\n\n"
        );
        let json = Payload::new(*b"[1,\n2]", Some("application/json")).with_event(Some("news"));
        assert_eq!(
            written(json),
            "id: 17:4,-\nevent: news\ndata: {\"channel\":\"a\\\"b\",\"epoch\":17,\"offset\":4,\"data\":[1,\ndata: 2],\
             \"content_type\":\"application/json\",\"event\":\"news\"}\n\n"
        );
        assert!(
            written(Payload::new(*b"\xff", None)).contains(
                "\ndata: {\"channel\":\"a\\\"b\",\"epoch\":17,\"offset\":4,\"data_base64\":\"/w==\"}"
            )
        );
    }

    /// Reads the data of one event as HTML §9.2.6 says.
    fn data_of(event: &str) -> String {
        let lines = event.split(['\n', '\r']).filter_map(|line| line.strip_prefix("data:"));
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
    }

    proptest! {
        #[test]
        fn any_text_arrives_with_its_line_ends_made_alike(text in "[a: \r\né\0]{0,30}") {
            prop_assert_eq!(data_of(&encoded(text.as_bytes())), text.replace("\r\n", "\n").replace('\r', "\n"));
        }
    }
}
