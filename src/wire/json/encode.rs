//! Writing JSON: pushes, replies, pages, errors. By hand, for each is written once per publication or answer and
//! never through a tree.

use std::{fmt, io::Write};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Raw,
    state::{push_said, push_word},
};
use crate::limits::JSON_DEPTH_MAX;
use crate::model::{ChannelName, Payload, Position, Publication, SharedPublication};

/// What has been written here, as text.
pub fn as_text(json: &[u8]) -> &str {
    std::str::from_utf8(json).expect("JSON is written as text")
}

/// Appends the push of a publication to the subscribers of `/ws`, unframed; a change of state has a word of its own.
pub fn encode_push(out: &mut Vec<u8>, publication: &Publication) {
    push_display(out, format_args!("{{\"{}\":", push_word(publication)));
    encode_named(out, publication);
    out.push(b'}');
}

/// Appends a publication with its channel, as what stands by itself where several channels are followed.
pub fn encode_named(out: &mut Vec<u8>, publication: &Publication) {
    out.push(b'{');
    push_channel(out, publication.channel.as_str());
    push_position_members(out, publication.position);
    push_said(out, publication);
    out.push(b'}');
}

/// Appends what a stream of several channels says when something of one is lost.
pub fn encode_reset(out: &mut Vec<u8>, channel: &ChannelName) {
    out.push(b'{');
    push_channel(out, channel.as_str());
    out.extend_from_slice(b",\"recovered\":false}");
}

/// Appends the push that tells subscribers of `/ws` what was lost, unframed.
pub fn encode_gap(out: &mut Vec<u8>, channel: &ChannelName, position: Position) {
    out.extend_from_slice(b"{\"gap\":{");
    push_channel(out, channel.as_str());
    push_position_members(out, position);
    out.extend_from_slice(b"}}");
}

/// Appends the answer of a long poll.
pub fn encode_poll_answer(
    out: &mut Vec<u8>,
    channel: &ChannelName,
    position: Position,
    recovered: bool,
    publications: &[SharedPublication],
) {
    push_page(out, channel, Some(position), format_args!("\"recovered\":{recovered}"), publications);
}

/// Appends the answer of a long poll of several channels: all positions as one, and what each has, in their order.
pub fn encode_polls_answer<'a>(
    out: &mut Vec<u8>,
    positions: impl fmt::Display,
    polled: impl Iterator<Item = Polled<'a>>,
) {
    push_display(out, format_args!("{{\"position\":\"{positions}\",\"channels\":["));
    for (index, Polled { channel, position, recovered, publications }) in polled.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_page(out, channel, position, format_args!("\"recovered\":{recovered}"), publications);
    }
    out.extend_from_slice(b"]}");
}

/// What a long poll of several channels says of one.
pub struct Polled<'a> {
    /// Which.
    pub channel: &'a ChannelName,
    /// Where the client is there with this answer.
    pub position: Option<Position>,
    /// Nothing before these publications is lost.
    pub recovered: bool,
    /// What there is.
    pub publications: &'a [SharedPublication],
}

/// Appends a page of history; `has_more` tells whether more is kept than is on it. A channel nobody has used yet has no
/// position, which reads `null`.
pub fn encode_page(
    out: &mut Vec<u8>,
    channel: &ChannelName,
    position: Option<Position>,
    recovered: bool,
    has_more: bool,
    publications: &[SharedPublication],
) {
    let members = format_args!("\"recovered\":{recovered},\"more\":{has_more}");
    push_page(out, channel, position, members, publications);
}

/// About what stands on a page beside a publication's data.
const PUBLICATION_MEMBERS_BYTES: usize = 96;

fn push_page(
    out: &mut Vec<u8>,
    channel: &ChannelName,
    position: Option<Position>,
    members: fmt::Arguments<'_>,
    publications: &[SharedPublication],
) {
    // What grows to hold a page is copied again and again.
    let sizes = publications.iter().map(|one| one.payload.data.len() + PUBLICATION_MEMBERS_BYTES);
    out.reserve(channel.as_str().len() + PUBLICATION_MEMBERS_BYTES + sizes.sum::<usize>());
    out.push(b'{');
    push_channel(out, channel.as_str());
    push_position(out, position);
    push_display(out, format_args!(",{members},\"publications\":["));
    for (index, publication) in publications.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        push_display(out, format_args!("{comma}{{\"offset\":{}", publication.position.offset));
        if let Some(change) = &publication.payload.change {
            push_display(out, format_args!(",\"kind\":\"{}\"", change.kind.word()));
        }
        push_said(out, publication);
        push_display(out, format_args!(",\"time\":{}}}", publication.unix_ms));
    }
    out.extend_from_slice(b"]}");
}

/// Appends the answer to a publication over HTTP.
pub fn encode_position(out: &mut Vec<u8>, position: Position) {
    push_display(out, format_args!("{{\"epoch\":{},\"offset\":{}}}", position.epoch, position.offset));
}

/// Appends an error over HTTP; an item of a batch's answer looks the same.
pub fn encode_error(out: &mut Vec<u8>, code: &str, message: &str) {
    out.push(b'{');
    push_error(out, code, message);
    out.push(b'}');
}

/// The code in what [`encode_error`] has written; `None` where that is not what the bytes are.
pub fn code_of_error(body: &[u8]) -> Option<&str> {
    let rest = body.strip_prefix(b"{\"error\":{\"code\":\"")?;
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
}

/// Appends the reply to a subscribe command. `missed` publications up to `position` follow, then everything above it.
pub fn encode_subscribed(
    out: &mut Vec<u8>,
    id: u32,
    channel: &ChannelName,
    position: Position,
    recovered: bool,
    missed: u32,
) {
    push_reply(out, id, "subscribed", channel.as_str());
    push_position_members(out, position);
    push_display(out, format_args!(",\"recovered\":{recovered},\"missed\":{missed}}}}}"));
}

/// Appends the reply to an unsubscribe command.
pub fn encode_unsubscribed(out: &mut Vec<u8>, id: u32, channel: &ChannelName) {
    push_reply(out, id, "unsubscribed", channel.as_str());
    out.extend_from_slice(b"}}");
}

/// Appends the reply to a command that brought a token.
pub fn encode_admitted(out: &mut Vec<u8>, id: u32, is_refresh: bool, user: &str, expires_s: u64) {
    let name = if is_refresh { "refreshed" } else { "connected" };
    push_display(out, format_args!("{{\"id\":{id},\"{name}\":{{\"user\":"));
    push_string(out, user);
    push_display(out, format_args!(",\"expires\":{expires_s}}}}}"));
}

/// Appends what a client is told whose token has run out.
pub fn encode_expired(out: &mut Vec<u8>, refresh_within_s: u32) {
    push_display(out, format_args!("{{\"expired\":{{\"refresh_within_s\":{refresh_within_s}}}}}"));
}

/// Appends what a client is told that has lost the right to a channel it follows.
pub fn encode_ended(out: &mut Vec<u8>, channel: &ChannelName, code: &str) {
    out.extend_from_slice(b"{\"ended\":{\"channel\":");
    push_string(out, channel.as_str());
    push_display(out, format_args!(",\"code\":\"{code}\"}}}}"));
}

/// Appends the reply to a publish command.
pub fn encode_published(out: &mut Vec<u8>, id: u32, channel: &ChannelName, position: Position) {
    push_reply(out, id, "published", channel.as_str());
    push_position_members(out, position);
    out.extend_from_slice(b"}}");
}

/// Appends the reply to a ping command.
pub fn encode_pong(out: &mut Vec<u8>, id: u32) {
    push_display(out, format_args!("{{\"id\":{id},\"pong\":{{}}}}"));
}

/// Appends the reply to a command that failed; `id` is `None` when it could not be read.
pub fn encode_error_reply(out: &mut Vec<u8>, id: Option<u32>, code: &str, message: &str) {
    match id {
        Some(id) => push_display(out, format_args!("{{\"id\":{id},")),
        None => out.extend_from_slice(b"{\"id\":null,"),
    }
    push_error(out, code, message);
    out.push(b'}');
}

/// Appends a string with its quotes, escaped as RFC 8259 §7 demands and no further.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, behind) = rest.split_at(plain_bytes(rest));
        out.extend_from_slice(plain);
        if behind.is_empty() {
            break;
        }
        let (special, behind) = behind.split_at(behind.iter().take_while(|byte| !is_plain(**byte)).count());
        push_escapes(out, special);
        rest = behind;
    }
    out.push(b'"');
}

/// Appends bytes as base64 (RFC 4648 §4), without quotes.
pub fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written.ok(), Some(out.len() - start));
}

/// How many bytes from the first on need no escape.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk() {
        match special_bytes(u64::from_le_bytes(*word)) {
            0 => at += 8,
            found => return at + found.trailing_zeros() as usize / 8,
        }
    }
    at + bytes[at..].iter().take_while(|byte| is_plain(**byte)).count()
}

#[inline]
fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// Marks the high bit of the first of eight bytes that needs an escape, and perhaps of some behind it. Bytes above 0x7f,
/// which are parts of characters, never need one.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    // A byte below `n` borrows from the next: so only the first mark is sure.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (ONES * 0x80)
}

/// Appends bytes that need escapes, every one of them.
fn push_escapes(out: &mut Vec<u8>, bytes: &[u8]) {
    const AT_ONCE: usize = 64;
    let mut written = [0; AT_ONCE * LONGEST];
    for some in bytes.chunks(AT_ONCE) {
        let mut len = 0;
        for byte in some {
            // All are copied as if they were as long as the longest; what is too much is written over.
            let (escape, escape_len) = ESCAPES[usize::from(byte & 0x7f)];
            written[len..len + LONGEST].copy_from_slice(&escape);
            len += usize::from(escape_len);
        }
        out.extend_from_slice(&written[..len]);
    }
}

/// Bytes of the longest escape.
const LONGEST: usize = 6;

/// Each byte below 0x80 as it is escaped, and how long that is; 0 for those that need no escape.
static ESCAPES: [([u8; LONGEST], u8); 0x80] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut escapes = [([0; LONGEST], 0); 0x80];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte] = ([b'\\', b'u', b'0', b'0', DIGITS[byte >> 4], DIGITS[byte & 15]], LONGEST as u8);
        byte += 1;
    }
    let short = [(b'"', b'"'), (b'\\', b'\\'), (b'\n', b'n'), (b'\r', b'r'), (b'\t', b't')];
    let mut at = 0;
    while at < short.len() {
        escapes[short[at].0 as usize] = ([b'\\', short[at].1, 0, 0, 0, 0], 2);
        at += 1;
    }
    escapes
};

pub(super) fn push_channel(out: &mut Vec<u8>, channel: &str) {
    out.extend_from_slice(b"\"channel\":");
    push_string(out, channel);
}

/// Appends where a channel is; one that nobody has used is nowhere.
pub(super) fn push_position(out: &mut Vec<u8>, position: Option<Position>) {
    match position {
        Some(position) => {
            push_position_members(out, position);
            push_display(out, format_args!(",\"position\":\"{position}\""));
        }
        None => out.extend_from_slice(b",\"epoch\":null,\"offset\":null,\"position\":null"),
    }
}

pub(super) fn push_position_members(out: &mut Vec<u8>, position: Position) {
    push_display(out, format_args!(",\"epoch\":{},\"offset\":{}", position.epoch, position.offset));
}

/// Appends the members of an object that say what was published, each behind a comma.
pub fn push_payload(out: &mut Vec<u8>, payload: &Payload) {
    match payload.text() {
        Some(text) => {
            out.extend_from_slice(b",\"data\":");
            let json = payload.says_json().then(|| Raw::check(text, JSON_DEPTH_MAX).ok()).flatten();
            match json {
                Some(json) => out.extend_from_slice(json.as_str().as_bytes()),
                None => push_string(out, text),
            }
        }
        None => {
            out.extend_from_slice(b",\"data_base64\":\"");
            push_base64(out, &payload.data);
            out.push(b'"');
        }
    }
    if let Some(content_type) = &payload.content_type {
        out.extend_from_slice(b",\"content_type\":");
        push_string(out, content_type);
    }
    if let Some(event) = &payload.event {
        out.extend_from_slice(b",\"event\":");
        push_string(out, event);
    }
}

/// Appends text that needs no escaping.
pub(in crate::wire) fn push_display(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec cannot fail");
}

/// Appends the head of a reply that names a channel; its members follow, each behind a comma, and two braces.
pub(super) fn push_reply(out: &mut Vec<u8>, id: u32, kind: &str, channel: &str) {
    push_display(out, format_args!("{{\"id\":{id},\"{kind}\":{{"));
    push_channel(out, channel);
}

fn push_error(out: &mut Vec<u8>, code: &str, message: &str) {
    out.extend_from_slice(b"\"error\":{\"code\":");
    push_string(out, code);
    out.extend_from_slice(b",\"message\":");
    push_string(out, message);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn written(encode: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        encode(&mut out);
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON that another reader takes");
        text
    }

    fn channel() -> ChannelName {
        ChannelName::new("a\"b", 255).expect("a valid name")
    }

    fn publication(data: &[u8], content_type: Option<&str>) -> Publication {
        let position = Position { epoch: 7, offset: 3 };
        Publication { channel: channel(), position, unix_ms: 99, payload: Payload::new(data, content_type) }
    }

    #[test]
    fn strings_escape_what_must_be_and_read_back_the_same() {
        let text: String = (0..0x100u32).filter_map(char::from_u32).chain("\u{2028}😀".chars()).collect();
        let out = written(|out| push_string(out, &text));
        assert_eq!(serde_json::from_str::<String>(&out).ok(), Some(text));
        assert_eq!(
            written(|out| push_string(out, "a\u{0}\u{1f} \"\\/\n\r\t")),
            r#""a\u0000\u001f \"\\/\n\r\t""#
        );
    }

    #[test]
    fn what_must_be_escaped_is_found_wherever_it_stands() {
        for text in ["", "a", "\u{7f}\u{80}\u{fffd}", "abcdefgh", "!#[]~éééé"] {
            for special in ["\0", "\u{1}", "\u{1f}", "\"", "\\", "\n\u{1}", "\"\"\"\"\"\"\"\"\""] {
                for at in 0..20 {
                    let text = [&text.repeat(at), special, " ", text, special].concat();
                    let out = written(|out| push_string(out, &text));
                    assert_eq!(serde_json::from_str::<String>(&out).ok().as_ref(), Some(&text), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn base64_is_padded_at_every_length() {
        for (bytes, text) in
            [(&b""[..], ""), (b"\xff", "/w=="), (b"\xff\xff", "//8="), (b"\xff\xff\xff", "////")]
        {
            let mut out = b"x".to_vec();
            push_base64(&mut out, bytes);
            assert_eq!(out, [b"x", text.as_bytes()].concat());
        }
    }

    #[test]
    fn a_push_names_channel_and_position_and_marks_bytes_that_are_not_text() {
        assert_eq!(
            written(|out| encode_push(out, &publication(b"hi\n", Some("text/plain")))),
            r#"{"push":{"channel":"a\"b","epoch":7,"offset":3,"data":"hi\n","content_type":"text/plain"}}"#
        );
        assert_eq!(
            written(|out| encode_push(out, &publication(b"\xff", None))),
            r#"{"push":{"channel":"a\"b","epoch":7,"offset":3,"data_base64":"/w=="}}"#
        );
        let mut one = publication(b"x", None);
        one.payload = Payload::bytes_of(*b"x", None).with_event(Some("e\""));
        assert_eq!(
            written(|out| encode_push(out, &one)),
            r#"{"push":{"channel":"a\"b","epoch":7,"offset":3,"data_base64":"eA==","event":"e\""}}"#
        );
    }

    #[test]
    fn json_that_is_said_to_be_json_is_pushed_as_it_came_and_nothing_else_is() {
        let data = |data: &str, content_type| {
            let out = written(|out| encode_push(out, &publication(data.as_bytes(), content_type)));
            let start = out.find("\"data\":").expect("data") + "\"data\":".len();
            let end = out.find(",\"content_type\"").unwrap_or(out.len() - 2);
            out[start..end].to_owned()
        };
        let json = " {\"a\": [1e20 ,\"\\ud83d\"]}\n";
        assert_eq!(data("{\"a\": [1e20 ]}", Some("application/json")), "{\"a\": [1e20 ]}");
        assert_eq!(data("\"hi\"", Some("application/ld+json; x=1")), "\"hi\"");
        assert_eq!(data("{\"a\":1}", None), "\"{\\\"a\\\":1}\"");
        assert_eq!(data("{\"a\":1}", Some("text/plain")), "\"{\\\"a\\\":1}\"");
        assert_eq!(data("{\"a\":1", Some("application/json")), "\"{\\\"a\\\":1\"");
        let mut out = Vec::new();
        encode_push(&mut out, &publication(json.as_bytes(), Some("application/json")));
        let out = String::from_utf8(out).expect("UTF-8");
        assert!(out.contains(&format!("\"data\":{},", json.trim())), "{out}");
    }

    #[test]
    fn a_poll_answer_lists_publications_and_the_position_to_go_on_from() {
        let publications = [Arc::new(publication(b"1", None)), Arc::new(publication(b"2", None))];
        let position = Position { epoch: 7, offset: 3 };
        assert_eq!(
            written(|out| encode_poll_answer(out, &channel(), position, true, &publications)),
            concat!(
                r#"{"channel":"a\"b","epoch":7,"offset":3,"position":"7:3","recovered":true,"publications":["#,
                r#"{"offset":3,"data":"1","time":99},{"offset":3,"data":"2","time":99}]}"#
            )
        );
        assert_eq!(
            written(|out| encode_page(out, &channel(), None, true, false, &[])),
            concat!(
                r#"{"channel":"a\"b","epoch":null,"offset":null,"position":null,"#,
                r#""recovered":true,"more":false,"publications":[]}"#
            )
        );
    }

    #[test]
    fn replies_carry_their_id() {
        let position = Position { epoch: 1, offset: 2 };
        assert_eq!(
            written(|out| encode_subscribed(out, 1, &channel(), position, false, 2)),
            r#"{"id":1,"subscribed":{"channel":"a\"b","epoch":1,"offset":2,"recovered":false,"missed":2}}"#
        );
        assert_eq!(
            written(|out| encode_unsubscribed(out, 2, &channel())),
            r#"{"id":2,"unsubscribed":{"channel":"a\"b"}}"#
        );
        assert_eq!(
            written(|out| encode_published(out, 3, &channel(), position)),
            r#"{"id":3,"published":{"channel":"a\"b","epoch":1,"offset":2}}"#
        );
        assert_eq!(written(|out| encode_pong(out, 4)), r#"{"id":4,"pong":{}}"#);
        assert_eq!(
            written(|out| encode_gap(out, &channel(), position)),
            r#"{"gap":{"channel":"a\"b","epoch":1,"offset":2}}"#
        );
        assert_eq!(
            written(|out| encode_error_reply(out, None, "c", "m\"")),
            r#"{"id":null,"error":{"code":"c","message":"m\""}}"#
        );
        assert_eq!(written(|out| encode_error(out, "c", "m")), r#"{"error":{"code":"c","message":"m"}}"#);
        assert_eq!(written(|out| encode_position(out, position)), r#"{"epoch":1,"offset":2}"#);
    }
}
