//! Reading a JSON text a stranger sent: simd-json makes a flat tape of it, [`Value`] walks the tape.
//!
//! What the members mean is said in `command.rs` and `publish.rs`. The tape is walked instead of deserialized
//! because a fault in one member must not cost the members already read: an error reply carries the command's id.
//!
//! ```text
//! {"id":1,"ping":{}}  ─►  Object(2 members, 4 nodes) "id" 1 "ping" Object(0, 0)
//!                         └ a Value is a slice of this: its own node and all below it
//! ```
//!
//! Invariant: a [`Value`] handed out is at most [`JSON_DEPTH_MAX`] deep and holds finite numbers only, so
//! recursion over it is bounded and writing it as JSON cannot fail.

use std::{fmt, io::Write};

use simd_json::{Buffers, ErrorType, Node, StaticNode, Tape};

use super::{encode::push_string, lexemes};
use crate::limits::{JSON_DEPTH_MAX, JSON_SCRATCH_BYTES_MAX};

/// The memory reading JSON needs, kept from one text to the next: simd-json unescapes strings in place, and the
/// bytes received are not ours to change.
pub struct Scratch {
    bytes: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

/// Why a text is no JSON this server reads. All are the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JsonError {
    /// The bytes are not UTF-8, or an escape names half a surrogate pair.
    NotUtf8,
    /// The text breaks JSON's grammar (RFC 8259 §2).
    Syntax,
    /// A number is malformed, or too large for 64 bits.
    Number,
    /// More than [`JSON_DEPTH_MAX`] objects and arrays stand inside each other.
    TooDeep,
}

/// One value of a text, with everything inside it.
#[derive(Clone, Copy)]
pub(super) struct Value<'tape, 'text> {
    nodes: &'tape [Node<'text>],
}

/// The values that follow each other inside an object (names and values in turn) or an array.
#[derive(Clone)]
struct Inside<'tape, 'text> {
    nodes: &'tape [Node<'text>],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { bytes: Vec::new(), buffers: Buffers::default(), tape: Tape(Vec::new()) }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("bytes", &self.bytes.capacity()).finish_non_exhaustive()
    }
}

impl Scratch {
    /// Reads `text` and hands its outermost value to `decode`, whose result may borrow the unescaped strings.
    pub(super) fn read<'text, T>(
        &'text mut self,
        text: &[u8],
        decode: impl FnOnce(Value<'_, 'text>) -> T,
    ) -> Result<T, JsonError> {
        if self.bytes.capacity() > JSON_SCRATCH_BYTES_MAX {
            *self = Self::default();
        }
        lexemes::check(text)?;
        self.bytes.clear();
        self.bytes.extend_from_slice(text);
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let filled = simd_json::fill_tape(&mut self.bytes, &mut self.buffers, &mut tape);
        let result = match filled {
            Ok(()) => Value { nodes: &tape.0 }.check().map(decode),
            Err(error) => Err(JsonError::of(error.error())),
        };
        self.tape = tape.reset();
        result
    }
}

impl<'tape, 'text> Value<'tape, 'text> {
    /// The value as text, when it is a string.
    pub(super) fn as_str(self) -> Option<&'text str> {
        match self.nodes[0] {
            Node::String(text) => Some(text),
            Node::Object { .. } | Node::Array { .. } | Node::Static(_) => None,
        }
    }

    /// The value, when it is an integer of 32 bits without sign.
    pub(super) fn as_u32(self) -> Option<u32> {
        match self.nodes[0] {
            Node::Static(StaticNode::U64(number)) => u32::try_from(number).ok(),
            Node::Static(StaticNode::I64(number)) => u32::try_from(number).ok(),
            Node::Static(StaticNode::F64(_) | StaticNode::Bool(_) | StaticNode::Null)
            | Node::String(_)
            | Node::Object { .. }
            | Node::Array { .. } => None,
        }
    }

    /// The value, when it is true or false.
    pub(super) fn as_bool(self) -> Option<bool> {
        match self.nodes[0] {
            Node::Static(StaticNode::Bool(flag)) => Some(flag),
            Node::Static(_) | Node::String(_) | Node::Object { .. } | Node::Array { .. } => None,
        }
    }

    /// Names and values in order, when the value is an object.
    pub(super) fn members(self) -> Option<impl Iterator<Item = (&'text str, Value<'tape, 'text>)>> {
        let Node::Object { .. } = self.nodes[0] else { return None };
        let mut inside = Inside { nodes: &self.nodes[1..] };
        Some(std::iter::from_fn(move || {
            let name = inside.next()?.as_str()?;
            Some((name, inside.next()?))
        }))
    }

    /// The elements in order, when the value is an array.
    pub(super) fn elements(self) -> Option<impl Iterator<Item = Value<'tape, 'text>> + Clone> {
        let Node::Array { .. } = self.nodes[0] else { return None };
        Some(Inside { nodes: &self.nodes[1..] })
    }

    /// Appends the value as JSON text: members in order, no space between them.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self.nodes[0] {
            Node::String(text) => push_string(out, text),
            Node::Static(StaticNode::Null) => out.extend_from_slice(b"null"),
            Node::Static(StaticNode::Bool(flag)) => push_display(out, format_args!("{flag}")),
            Node::Static(StaticNode::U64(number)) => push_display(out, format_args!("{number}")),
            Node::Static(StaticNode::I64(number)) => push_display(out, format_args!("{number}")),
            // Debug writes the shortest digits that read back the same, with an exponent where that is shorter.
            Node::Static(StaticNode::F64(number)) => push_display(out, format_args!("{number:?}")),
            Node::Object { .. } => self.write_inside(out, [b'{', b'}']),
            Node::Array { .. } => self.write_inside(out, [b'[', b']']),
        }
    }

    fn write_inside(self, out: &mut Vec<u8>, [open, close]: [u8; 2]) {
        let is_object = open == b'{';
        out.push(open);
        for (index, value) in (Inside { nodes: &self.nodes[1..] }).enumerate() {
            match (index, is_object && index % 2 == 1) {
                (0, _) => {}
                (_, true) => out.push(b':'),
                (_, false) => out.push(b','),
            }
            value.write(out);
        }
        out.push(close);
    }

    /// Refuses what the rest of this file must not meet: see the invariant above.
    fn check(self) -> Result<Self, JsonError> {
        let mut ends = [0usize; JSON_DEPTH_MAX];
        let mut depth = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            while depth > 0 && ends[depth - 1] <= index {
                depth -= 1;
            }
            match *node {
                Node::Object { count, .. } | Node::Array { count, .. } => {
                    *ends.get_mut(depth).ok_or(JsonError::TooDeep)? = index + 1 + count;
                    depth += 1;
                }
                Node::Static(StaticNode::F64(number)) if !number.is_finite() => {
                    return Err(JsonError::Number);
                }
                Node::Static(_) | Node::String(_) => {}
            }
        }
        Ok(self)
    }
}

impl<'tape, 'text> Iterator for Inside<'tape, 'text> {
    type Item = Value<'tape, 'text>;

    fn next(&mut self) -> Option<Self::Item> {
        let below = match *self.nodes.first()? {
            Node::Object { count, .. } | Node::Array { count, .. } => count,
            Node::String(_) | Node::Static(_) => 0,
        };
        let (value, rest) = self.nodes.split_at(1 + below);
        self.nodes = rest;
        Some(Value { nodes: value })
    }
}

impl JsonError {
    /// Sorts what simd-json tells into what a sender can act upon.
    fn of(error: &ErrorType) -> Self {
        match error {
            ErrorType::InvalidUtf8 | ErrorType::InvalidUnicodeEscape | ErrorType::InvalidUnicodeCodepoint => {
                Self::NotUtf8
            }
            ErrorType::InvalidNumber | ErrorType::InvalidExponent | ErrorType::Overflow => Self::Number,
            _ => Self::Syntax,
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str(
                "the text is not UTF-8, or escapes half a surrogate pair; send whole UTF-8 characters",
            ),
            Self::Syntax => f.write_str("the text is not JSON; send one JSON object"),
            Self::Number => {
                f.write_str("a number is malformed or does not fit 64 bits; send larger ones as strings")
            }
            Self::TooDeep => write!(f, "the JSON nests deeper than {JSON_DEPTH_MAX} levels; flatten it"),
        }
    }
}

impl std::error::Error for JsonError {}

/// Appends text that needs no escaping.
pub(in crate::wire) fn push_display(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec cannot fail");
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn rewrite(text: impl AsRef<[u8]>) -> Result<String, JsonError> {
        Scratch::default().read(text.as_ref(), |value| {
            let mut out = Vec::new();
            value.write(&mut out);
            String::from_utf8(out).expect("what is written is UTF-8")
        })
    }

    #[test]
    fn a_value_is_written_as_it_was_read_members_in_order() {
        for text in [
            r#"{"z":1,"a":[true,false,null,"x"],"z":{"":{}}}"#,
            r#"[[],{},[[1,-2,3.5]],"é\"\\\n"]"#,
            "18446744073709551615",
            "-9223372036854775808",
            "1e300",
            r#""""#,
        ] {
            assert_eq!(rewrite(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn an_object_of_many_members_keeps_their_order() {
        let members: Vec<_> = (0..100).rev().map(|key| format!("\"k{key}\":{key}")).collect();
        let text = format!("{{{}}}", members.join(","));
        assert_eq!(rewrite(&text), Ok(text));
    }

    #[test]
    fn nesting_is_taken_to_the_limit_and_not_one_level_beyond() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(rewrite(nested(JSON_DEPTH_MAX)), Ok(nested(JSON_DEPTH_MAX)));
        assert_eq!(rewrite(nested(JSON_DEPTH_MAX + 1)), Err(JsonError::TooDeep));
        assert_eq!(rewrite(nested(200_000)), Err(JsonError::TooDeep));
        assert_eq!(rewrite("[".repeat(200_000)), Err(JsonError::Syntax));
        let siblings = format!("[{}[]]", "[],".repeat(1000));
        assert_eq!(rewrite(&siblings), Ok(siblings), "what is closed again does not count");
    }

    #[test]
    fn faults_are_told_apart() {
        let cases: [(&[u8], JsonError); 20] = [
            (b"", JsonError::Syntax),
            (b"   ", JsonError::Syntax),
            (b"{", JsonError::Syntax),
            (b"{}{}", JsonError::Syntax),
            (b"{\"a\":1,}", JsonError::Syntax),
            (b"nul", JsonError::Syntax),
            (b"\"a\nb\"", JsonError::Syntax),
            (b"\"\xff\"", JsonError::NotUtf8),
            (b"\"\\ud800\"", JsonError::NotUtf8),
            (b"\"\\udc00x\"", JsonError::NotUtf8),
            (b"\"\\ud800\\u0041\"", JsonError::NotUtf8),
            (b"\"\\ud800\\ue000\"", JsonError::NotUtf8),
            (b"\"\\ud83d\\ud83d\"", JsonError::NotUtf8),
            (b"\"\\ud83d\\uZZZZ\"", JsonError::Syntax),
            (b"\"\\uZZZZ\"", JsonError::Syntax),
            (b"\"\\u00", JsonError::Syntax),
            (b"\"\\", JsonError::Syntax),
            (b"\"\\x\"", JsonError::Syntax),
            (b"1e999", JsonError::Number),
            (b"123456789012345678901234567890", JsonError::Number),
        ];
        for (text, error) in cases {
            assert_eq!(rewrite(text), Err(error), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn whole_surrogate_pairs_and_escaped_backslashes_are_taken() {
        assert_eq!(rewrite(r#""\ud83d\uDE00\u0041""#).as_deref(), Ok("\"😀A\""));
        assert_eq!(rewrite(r#""\\ud83d""#).as_deref(), Ok(r#""\\ud83d""#));
        assert_eq!(rewrite(r#""\\\ud83d""#), Err(JsonError::NotUtf8));
    }

    #[test]
    fn a_large_text_leaves_no_large_memory_behind() {
        let mut scratch = Scratch::default();
        let large = format!("\"{}\"", "x".repeat(2 * JSON_SCRATCH_BYTES_MAX));
        assert_eq!(
            scratch.read(large.as_bytes(), |value| value.as_str().map(str::len)),
            Ok(Some(2 * JSON_SCRATCH_BYTES_MAX))
        );
        assert_eq!(scratch.read(b"1", |value| value.as_u32()), Ok(Some(1)));
        assert!(scratch.bytes.capacity() <= JSON_SCRATCH_BYTES_MAX);
    }

    /// Whether two readings mean the same. Another reader may round the last digit of a fraction otherwise.
    fn is_same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
        use serde_json::Value::{Array, Number, Object};
        match (a, b) {
            (Number(a), Number(b)) if a.is_f64() || b.is_f64() => {
                let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                (a - b).abs() <= a.abs() * 1e-15 || a == b
            }
            (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
            (Object(a), Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
            }
            (a, b) => a == b,
        }
    }

    proptest::proptest! {
        #[test]
        fn what_another_reader_reads_is_read_the_same_and_what_it_refuses_is_refused(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..12),
        ) {
            let text: Vec<u8> = pieces.concat();
            let theirs = serde_json::from_slice::<serde_json::Value>(&text);
            match (rewrite(&text), theirs) {
                (Ok(ours), Ok(theirs)) => {
                    let ours = serde_json::from_str(&ours).expect("what is written is JSON");
                    proptest::prop_assert!(is_same(&ours, &theirs), "{ours} {theirs}");
                }
                // An integer beyond 64 bits is a fraction to the other reader.
                (Err(JsonError::Number), Ok(_)) | (Err(_), Err(_)) => {}
                (ours, theirs) => proptest::prop_assert!(
                    false, "{:?}: {ours:?} {theirs:?}", String::from_utf8_lossy(&text)
                ),
            }
        }
    }

    /// What texts are put together from: mostly what JSON is made of, in few enough kinds to fit often.
    pub(in crate::wire) const PIECES: &[&[u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"a\":",
        b"\"\"",
        b"\"",
        b"\\",
        b"\\u",
        b"d83d",
        b"\\ude00",
        b"0041",
        b"\\n",
        b"1",
        b"-",
        b"0",
        b".",
        b"5",
        b"e",
        b"E+",
        b"99",
        b"18446744073709551616",
        b"true",
        b"fals",
        b"e",
        b"null",
        b" ",
        b"\n",
        b"\t",
        b"\xc3\xa9",
        b"\xc3",
        b"\x00",
        b"\x1f",
        b"{\"k\":[",
        b"]}",
        b"[1,",
        b"2]",
        b"\"x\"",
        b"/",
    ];
}
