//! Which extension is agreed on in the opening handshake: permessage-deflate (RFC 7692 §5 and §7), or none.
//!
//! ```text
//!   offered   permessage-deflate; server_max_window_bits=10, permessage-deflate; client_max_window_bits
//!             └── the first that can be taken as it is, is; one with anything unknown is passed over (§5.1)
//!   answered  permessage-deflate; server_no_context_takeover; client_no_context_takeover; …
//! ```
//!
//! Clients always begin each message anew: a server may ask for that whatever was offered (§7.1.1.2), and what they send can
//! then be read without keeping anything for them.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The extension's name (§7).
const NAME: &str = "permessage-deflate";
/// The narrowest window that compressors make; §7.1.2 knows 8 as well, which zlib takes for 9.
const WINDOW_BITS_MIN: u8 = 9;

/// How messages may be compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    Off,
    /// Each message by itself, so that nothing is kept for a connection.
    Shared,
    /// Each message of a channel by those before it, once for all who follow it.
    Channel,
    /// For some connections, each message by what was sent before.
    Dedicated,
}

/// How a server compresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressionSettings {
    /// Whether it does.
    pub mode: Compression,
    /// The least message that is compressed.
    pub bytes_min: u32,
    /// Connections of one shard whose messages build on each other.
    pub contexts_max: u32,
    /// Channels of one shard whose messages build on each other.
    pub streams_max: u32,
}

/// What both ends have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Whether what the server sends may build on what it sent before.
    pub server_keeps_context: bool,
    /// The window of what the server sends, if the client has asked for one.
    pub server_window_bits: Option<u8>,
}

/// The parameters of one offer.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: bool,
}

impl Agreed {
    /// What is answered to the values of a request's `Sec-WebSocket-Extensions`. `may_keep_context` is whether the server
    /// would let what it sends build on what it sent before.
    pub fn on<'a>(values: impl Iterator<Item = &'a [u8]>, may_keep_context: bool) -> Option<Self> {
        let offers = values.filter_map(|value| std::str::from_utf8(value).ok());
        let offer = offers.flat_map(|value| divided(value, b',')).find_map(Offer::parse)?;
        Some(Self {
            server_keeps_context: may_keep_context && !offer.server_no_context_takeover,
            server_window_bits: offer.server_max_window_bits,
        })
    }

    /// Appends the header field that says so.
    pub fn write_field(self, fields: &mut String) {
        fields.push_str("Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover");
        if !self.server_keeps_context {
            fields.push_str("; server_no_context_takeover");
        }
        // Who asked for a window is told that it gets it, also if that is the widest (§7.1.2.1).
        if let Some(bits) = self.server_window_bits {
            write!(fields, "; server_max_window_bits={bits}").expect("writing to a String cannot fail");
        }
        fields.push_str("\r\n");
    }
}

impl Offer {
    /// One offer, if it is one of this extension that can be taken as it is.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = divided(text, b';');
        if !parts.next()?.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut offer = Self::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_ascii_end(), Some(unquoted(value.trim_ascii_start())?)),
                None => (part, None),
            };
            let is_first = match (name, value) {
                ("server_no_context_takeover", None) => once(&mut offer.server_no_context_takeover),
                ("client_no_context_takeover", None) => once(&mut offer.client_no_context_takeover),
                ("server_max_window_bits", Some(value)) => {
                    let bits = window_bits(value).filter(|bits| *bits >= WINDOW_BITS_MIN)?;
                    offer.server_max_window_bits.replace(bits).is_none()
                }
                // It only says that the answer may name a window for the client, which this one does not.
                ("client_max_window_bits", value) if value.is_none_or(|text| window_bits(text).is_some()) => {
                    once(&mut offer.client_max_window_bits)
                }
                _ => false,
            };
            if !is_first {
                return None;
            }
        }
        Some(offer)
    }
}

/// Sets what was not set; tells whether it was not.
fn once(flag: &mut bool) -> bool {
    !std::mem::replace(flag, true)
}

/// The parts of a text between separators that stand in no quotes.
fn divided(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = whole.bytes().position(|byte| {
            let was_escaped = std::mem::take(&mut is_escaped);
            match byte {
                b'\\' if is_quoted && !was_escaped => is_escaped = true,
                b'"' if !was_escaped => is_quoted = !is_quoted,
                byte => return byte == separator && !is_quoted,
            }
            false
        });
        rest = end.map(|end| &whole[end + 1..]);
        Some(whole[..end.unwrap_or(whole.len())].trim_ascii())
    })
}

/// A value without its quotes: a token in quotes is that token (RFC 6455 §9.1).
fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.is_empty() && !inner.contains(['"', '\\'])).then_some(inner)
}

/// A window, in decimal without leading zeros (§7.1.2.1).
fn window_bits(text: &str) -> Option<u8> {
    match text {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "permessage-deflate; client_no_context_takeover; server_no_context_takeover";
    const KEEPS: &str = "permessage-deflate; client_no_context_takeover";

    fn answer(values: &[&str], may_keep_context: bool) -> Option<String> {
        let agreed = Agreed::on(values.iter().map(|value| value.as_bytes()), may_keep_context)?;
        let mut field = String::new();
        agreed.write_field(&mut field);
        let value =
            field.strip_prefix("Sec-WebSocket-Extensions: ").and_then(|rest| rest.strip_suffix("\r\n"));
        Some(value.expect("one field").to_owned())
    }

    #[test]
    fn what_clients_offer_is_taken_and_both_ends_begin_each_message_anew() {
        for offered in [
            // Firefox; Chromium, ws, websockets; and whatever the RFC allows.
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "Permessage-Deflate ;\tclient_max_window_bits=\"10\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; client_max_window_bits=8",
            "x-unknown; a=\"b, c; d\", permessage-deflate",
            "permessage-deflate; surprise, permessage-deflate",
        ] {
            assert_eq!(answer(&[offered], false).as_deref(), Some(BOTH), "{offered}");
        }
        assert_eq!(answer(&["x-webkit-deflate-frame", "permessage-deflate"], false).as_deref(), Some(BOTH));
    }

    #[test]
    fn what_is_unknown_twice_or_without_sense_is_passed_over() {
        for offered in [
            "",
            ",",
            "x-webkit-deflate-frame",
            "permessage-deflate; surprise",
            "permessage-deflate; surprise=1",
            "permessage-deflate;",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=\"\"",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+10",
            "permessage-deflate; server_max_window_bits=\"10",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=",
        ] {
            assert_eq!(answer(&[offered], true), None, "{offered}");
        }
    }

    #[test]
    fn the_window_that_is_asked_for_is_agreed_to_and_a_context_is_kept_where_both_like_to() {
        for bits in 9..=15 {
            let answer = answer(&[&format!("permessage-deflate; server_max_window_bits=\"{bits}\"")], false);
            assert_eq!(answer, Some(format!("{BOTH}; server_max_window_bits={bits}")));
        }
        assert_eq!(answer(&["permessage-deflate"], true).as_deref(), Some(KEEPS));
        assert_eq!(answer(&["permessage-deflate; server_no_context_takeover"], true).as_deref(), Some(BOTH));
        let second =
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=11";
        assert_eq!(answer(&[second], true), Some(format!("{KEEPS}; server_max_window_bits=11")));
    }
}
