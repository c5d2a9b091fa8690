//! Where in a packet its attachments belong: `{"_placeholder":true,"num":0}` stands for the first.
//!
//! A placeholder is an object of exactly these two members, in either order: what every client writes. JavaScript's
//! parser also takes one with further members; here that is an ordinary object, and the packet is refused for the
//! attachment that nothing names. So no object has to be looked into deeper than two members, and finding all
//! placeholders takes one pass however the objects nest.

use crate::{
    limits::SOCKETIO_ATTACHMENTS_MAX,
    wire::json::{Raw, push_display, skip_string},
};

const _: () = assert!(SOCKETIO_ATTACHMENTS_MAX <= u64::BITS, "each attachment has a bit");

/// Which attachment an argument stands for, when it is a placeholder.
pub fn placeholder(argument: Raw<'_>) -> Option<u32> {
    match split_placeholder(argument.as_str())? {
        (index, "") => Some(index),
        (_, _) => None,
    }
}

/// Appends the placeholder of an attachment.
pub fn encode_placeholder(out: &mut Vec<u8>, index: u32) {
    push_display(out, format_args!("{{\"_placeholder\":true,\"num\":{index}}}"));
}

/// Whether the placeholders in `json` name each of the attachments, and each once: an attachment that stood in many
/// places would make a large packet of a small one.
pub(super) fn each_once(json: Raw<'_>, attachments: u32) -> bool {
    let (mut rest, mut seen) = (json.as_str(), 0u64);
    while let Some(at) = memchr::memchr2(b'"', b'{', rest.as_bytes()) {
        rest = &rest[at..];
        if let Some(string) = rest.strip_prefix('"') {
            let behind = skip_string(string.as_bytes()).map_or(0, <[u8]>::len);
            rest = &rest[rest.len() - behind..];
        } else if let Some((index, behind)) = split_placeholder(rest) {
            let bit = if index < attachments { 1u64 << index } else { 0 };
            if bit == 0 || seen & bit != 0 {
                return false;
            }
            seen |= bit;
            rest = behind;
        } else {
            rest = &rest[1..];
        }
    }
    seen.count_ones() == attachments
}

/// The placeholder that checked JSON begins with, and what follows it.
fn split_placeholder(json: &str) -> Option<(u32, &str)> {
    let mut rest = json.strip_prefix('{')?;
    let (mut is_marked, mut index) = (false, None);
    for end in [',', '}'] {
        rest = rest.trim_start();
        rest = if let Some(value) = split_name(rest, "\"_placeholder\"") {
            is_marked = true;
            value.strip_prefix("true")?
        } else {
            let value = split_name(rest, "\"num\"")?;
            let digits = value.bytes().take_while(u8::is_ascii_digit).count();
            index = Some(value[..digits].parse().ok()?);
            &value[digits..]
        };
        rest = rest.trim_start().strip_prefix(end)?;
    }
    is_marked.then_some((index?, rest))
}

/// The value of the member that checked JSON begins with, if `name` is its name as written.
fn split_name<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    Some(json.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim_start())
}
