//! JSON as it came: checked to the last byte, cut into slices, never copied. One reader for every route.
//!
//! What only passes through stays verbatim: numbers of any size, halves of surrogate pairs and every space follow the
//! grammar of RFC 8259, JavaScript writes the one and reads all, and nobody here asks what they mean. What the server must
//! read it reads here, too: a string as [`Raw::text`], an object member by member. Only there half a surrogate pair is
//! refused, for there is no text that says it.
//!
//! Invariant: a [`Raw`] is one JSON value with no space around it. How deep it may nest is the business of whoever passes
//! it on ([`Raw::check`]); nothing here recurses, so that whoever only looks for a member of it may take any depth.

use std::{borrow::Cow, fmt};

use smallvec::SmallVec;

use super::lexemes::{check_number, skip_string, unescape};
use crate::limits::JSON_DEPTH_MAX;

const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A JSON value as its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// Why a text is no JSON this server takes. All are the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JsonError {
    /// The bytes are not UTF-8, or a string that must be read escapes half a surrogate pair.
    NotUtf8,
    /// The text breaks JSON's grammar (RFC 8259 §2).
    Syntax,
    /// A number breaks it (RFC 8259 §6).
    Number,
    /// More objects and arrays stand inside each other than may.
    TooDeep,
}

/// The elements of an array, in order.
#[derive(Clone, Debug, Default)]
pub struct Elements<'a> {
    /// Behind the opening bracket or the last comma.
    rest: &'a str,
}

/// The members of an object, in order. One whose name cannot be read is an error, and the others follow.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    /// Behind the opening bracket or the last comma.
    rest: &'a str,
}

/// Which brackets are open: a bit for each, set for an object.
#[derive(Default)]
struct Open {
    bits: SmallVec<[u64; 2]>,
    depth: usize,
}

impl<'a> Raw<'a> {
    /// Checks a text that is one value with objects and arrays at most `depth_max` deep inside each other.
    pub fn check(text: &'a str, depth_max: usize) -> Result<Self, JsonError> {
        let text = text.trim_matches(SPACE);
        match skip_value(text.as_bytes(), depth_max)? {
            [] => Ok(Self(text)),
            [..] => Err(JsonError::Syntax),
        }
    }

    /// Checks bytes that are one value, however deep: whoever sent something too deep is to be told of which part.
    pub fn read(bytes: &'a [u8]) -> Result<Self, JsonError> {
        Self::check(simdutf8::basic::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?, usize::MAX)
    }

    /// The value, unless it nests deeper than what is passed on may.
    pub fn bounded(self) -> Result<Self, JsonError> {
        // So few brackets cannot be too many.
        if self.0.len() > 2 * JSON_DEPTH_MAX {
            skip_value(self.0.as_bytes(), JSON_DEPTH_MAX)?;
        }
        Ok(self)
    }

    /// The text.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// Whether it is a string.
    pub fn is_string(self) -> bool {
        self.0.starts_with('"')
    }

    /// Whether it is a number.
    pub fn is_number(self) -> bool {
        self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// The value, when it is an integer of 32 bits without sign.
    pub fn as_u32(self) -> Option<u32> {
        self.0.parse().ok()
    }

    /// The value, when it is an integer of 64 bits.
    pub fn as_i64(self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The value, when it is true or false.
    pub fn as_bool(self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// The elements, when it is an array.
    pub fn elements(self) -> Option<Elements<'a>> {
        Some(Elements { rest: self.0.strip_prefix('[')? })
    }

    /// The members, when it is an object.
    pub fn members(self) -> Option<Members<'a>> {
        Some(Members { rest: self.0.strip_prefix('{')? })
    }

    /// What a string says. Fails when it says half a surrogate pair; `None` when it is not a string.
    pub fn text(self) -> Option<Result<Cow<'a, str>, JsonError>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(match memchr::memchr(b'\\', inside.as_bytes()) {
            None => Ok(Cow::Borrowed(inside)),
            Some(_) => unescape(inside).map(Cow::Owned).ok_or(JsonError::NotUtf8),
        })
    }

    /// The value that checked JSON begins with.
    pub(in crate::wire) fn first(json: &'a str) -> Self {
        split_value(json).map_or(Self(""), |(value, _)| value)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let (value, rest) = split_value(self.rest)?;
        self.rest = rest;
        Some(value)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(Cow<'a, str>, Raw<'a>), JsonError>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.rest.trim_start_matches(SPACE);
        let behind = skip_string(name.strip_prefix('"')?.as_bytes()).ok()?;
        let (name, rest) = name.split_at(name.len() - behind.len());
        let (value, rest) = split_value(rest.trim_start_matches(SPACE).strip_prefix(':')?)?;
        self.rest = rest;
        Some(Raw(name).text()?.map(|name| (name, value)))
    }
}

impl Open {
    fn push(&mut self, is_object: bool, depth_max: usize) -> Result<(), JsonError> {
        if self.depth >= depth_max {
            return Err(JsonError::TooDeep);
        }
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.bits.len() {
            self.bits.push(0);
        }
        self.bits[word] = self.bits[word] & !(1 << bit) | u64::from(is_object) << bit;
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
    }

    /// Whether the innermost is an object, if one is open.
    fn last(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        Some(self.bits[last / 64] >> (last % 64) & 1 == 1)
    }
}

/// The value that checked JSON begins with after any space, and what follows it and its comma.
fn split_value(json: &str) -> Option<(Raw<'_>, &str)> {
    let text = json.trim_start_matches(SPACE);
    let behind = skip_value(text.as_bytes(), usize::MAX).ok()?;
    let (value, rest) = text.split_at(text.len() - behind.len());
    let rest = rest.trim_start_matches(SPACE);
    Some((Raw(value), rest.strip_prefix(',').unwrap_or_default()))
}

/// Checks the value that `text` begins with; what follows it.
fn skip_value(text: &[u8], depth_max: usize) -> Result<&[u8], JsonError> {
    let mut open = Open::default();
    let mut rest = text;
    loop {
        let (first, behind) = rest.split_first().ok_or(JsonError::Syntax)?;
        let word = |word: &[u8]| rest.strip_prefix(word).ok_or(JsonError::Syntax);
        rest = match first {
            b'"' => skip_string(behind)?,
            b'{' | b'[' => {
                open.push(*first == b'{', depth_max)?;
                let behind = skip_space(behind);
                match behind.strip_prefix(&[closing(*first == b'{')]) {
                    Some(behind) => {
                        open.pop();
                        behind
                    }
                    None => {
                        rest = skip_name(behind, *first == b'{')?;
                        continue;
                    }
                }
            }
            b'-' | b'0'..=b'9' => check_number(rest)?,
            b't' => word(b"true")?,
            b'f' => word(b"false")?,
            b'n' => word(b"null")?,
            _ => return Err(JsonError::Syntax),
        };
        // A value has ended: so do all that end with it.
        loop {
            let Some(is_object) = open.last() else { return Ok(rest) };
            match skip_space(rest).split_first() {
                Some((b',', behind)) => {
                    rest = skip_name(skip_space(behind), is_object)?;
                    break;
                }
                Some((byte, behind)) if *byte == closing(is_object) => {
                    open.pop();
                    rest = behind;
                }
                Some(_) | None => return Err(JsonError::Syntax),
            }
        }
    }
}

fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// Checks the name and the colon before a member's value; what follows them. Elements have none.
fn skip_name(text: &[u8], is_object: bool) -> Result<&[u8], JsonError> {
    if !is_object {
        return Ok(text);
    }
    let name = text.strip_prefix(b"\"").ok_or(JsonError::Syntax)?;
    let behind = skip_space(skip_string(name)?);
    Ok(skip_space(behind.strip_prefix(b":").ok_or(JsonError::Syntax)?))
}

fn skip_space(text: &[u8]) -> &[u8] {
    let length = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    &text[length..]
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str(
                "the text is not UTF-8, or a string in it that must be read escapes half a surrogate pair; send whole \
                 characters",
            ),
            Self::Syntax => f.write_str("the text is not JSON; send one JSON object"),
            Self::Number => f.write_str("a number is malformed; write it as JSON does"),
            Self::TooDeep => write!(f, "the JSON nests deeper than {JSON_DEPTH_MAX} levels; flatten it"),
        }
    }
}

impl std::error::Error for JsonError {}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn elements(text: &str) -> Vec<&str> {
        let raw = Raw::check(text, JSON_DEPTH_MAX).expect(text);
        raw.elements().expect("an array").map(Raw::as_str).collect()
    }

    #[test]
    fn an_array_is_cut_into_its_elements_as_they_were_written() {
        assert_eq!(elements("[]"), [""; 0]);
        assert_eq!(elements(" [ ] "), [""; 0]);
        assert_eq!(elements(r#"["a"]"#), [r#""a""#]);
        assert_eq!(
            elements("[ \"a\\\",]\" ,\t{\"b\": [1, 2]}, [[],{}] ,-1.50e+2,null , true,false\n]"),
            [r#""a\",]""#, "{\"b\": [1, 2]}", "[[],{}]", "-1.50e+2", "null", "true", "false"]
        );
        assert_eq!(elements(r#"["\ud83d",123456789012345678901234567890,1e999]"#).len(), 3);
        assert!(Raw::check("{}", 1).expect("an object").elements().is_none());
    }

    #[test]
    fn nesting_is_taken_to_the_limit_and_not_one_level_beyond() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let depth = |text: &str, max| Raw::check(text, max).map(|raw| raw.as_str().len());
        assert_eq!(depth(&nested(3), 3), Ok(7));
        assert_eq!(depth(&nested(4), 3), Err(JsonError::TooDeep));
        assert_eq!(depth("1", 0), Ok(1));
        assert_eq!(depth("{}", 0), Err(JsonError::TooDeep));
        assert_eq!(depth(r#"{"a":{"b":[]}}"#, 2), Err(JsonError::TooDeep));
        assert_eq!(depth("[[],[],[[]]]", 3), Ok(12), "what is closed again does not count");
        assert_eq!(depth(&"[".repeat(1_000_000), JSON_DEPTH_MAX), Err(JsonError::TooDeep));
        let deep = nested(100_000);
        assert_eq!(
            depth(&deep, usize::MAX),
            Ok(deep.len()),
            "whoever only looks for a member takes any depth"
        );
        let raw = Raw::read(deep.as_bytes()).expect("JSON");
        assert_eq!((raw.bounded(), raw.elements().map(Iterator::count)), (Err(JsonError::TooDeep), Some(1)));
        let most = nested(JSON_DEPTH_MAX);
        assert_eq!(Raw::read(most.as_bytes()).and_then(Raw::bounded).map(Raw::as_str), Ok(&*most));
        let one_more = nested(JSON_DEPTH_MAX + 1);
        assert_eq!(Raw::read(one_more.as_bytes()).and_then(Raw::bounded), Err(JsonError::TooDeep));
    }

    #[test]
    fn what_is_not_one_value_is_refused() {
        for text in [
            "",
            " ",
            "[",
            "]",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[]]",
            "[}",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\" 1}",
            "nul",
            "nulll",
            "True",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u00g0\"",
            "\"\\u00",
            "\"a\nb\"",
            "\"\u{1}\"",
            "1 1",
            "'a'",
            "[1]//",
            "\u{feff}1",
            "\u{a0}1",
        ] {
            assert_eq!(Raw::check(text, JSON_DEPTH_MAX), Err(JsonError::Syntax), "{text:?}");
        }
        for text in ["01", "[1.]", "-", "1e"] {
            assert_eq!(Raw::check(text, JSON_DEPTH_MAX), Err(JsonError::Number), "{text:?}");
        }
    }

    #[test]
    fn a_string_is_lent_when_it_has_no_escapes() {
        let text = |text| Raw::check(text, 1).expect("JSON").text();
        assert!(matches!(text(r#""é""#), Some(Ok(Cow::Borrowed("é")))));
        assert!(matches!(text(r#""""#), Some(Ok(Cow::Borrowed("")))));
        assert_eq!(text(r#""\u00e9\n\"\ud83d\ude00""#), Some(Ok("é\n\"😀".into())));
        assert_eq!(text(r#""\ud83d""#), Some(Err(JsonError::NotUtf8)));
        assert_eq!((text("1"), text("[\"a\"]"), text("null")), (None, None, None));
    }

    #[test]
    fn members_are_cut_as_they_were_written_and_only_names_are_read() {
        let members = |text: &'static str| -> Vec<_> {
            let members = Raw::check(text, 3).expect(text).members().expect("an object");
            members.map(|member| member.map(|(name, value)| (name.into_owned(), value.as_str()))).collect()
        };
        assert_eq!(
            members(" { \"n\\u0061me\" : -0 ,\"\":{\"a\": [ ] }\t,\"x\":\"\\ud83d\"} "),
            [
                Ok(("name".into(), "-0")),
                Ok((String::new(), "{\"a\": [ ] }")),
                Ok(("x".into(), "\"\\ud83d\""))
            ]
        );
        assert_eq!(
            members(r#"{"\ud83d":1,"a":1e400}"#),
            [Err(JsonError::NotUtf8), Ok(("a".into(), "1e400"))]
        );
        assert!(members("{ }").is_empty());
    }

    #[test]
    fn only_whole_numbers_of_32_bits_are_read_as_such() {
        let number = |text| Raw::check(text, 0).expect(text).as_u32();
        assert_eq!([number("0"), number("4294967295")], [Some(0), Some(u32::MAX)]);
        for text in ["-1", "-0", "1.0", "1e0", "4294967296", "1e400", "\"1\"", "true"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_told_apart() {
        assert_eq!(Raw::read(b"\"\xff\""), Err(JsonError::NotUtf8));
        assert_eq!(Raw::read(b"{\"a\":1,}"), Err(JsonError::Syntax));
    }

    proptest::proptest! {
        #[test]
        fn another_reader_takes_and_refuses_the_same_and_finds_as_many_elements(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..12),
        ) {
            let text: Vec<u8> = pieces.concat();
            let Ok(text) = std::str::from_utf8(&text) else { return Ok(()) };
            let ours = Raw::check(text, JSON_DEPTH_MAX);
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(text);
            proptest::prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}", text);
            if let Ok(elements) = serde_json::from_str::<Vec<&serde_json::value::RawValue>>(text) {
                let theirs: Vec<_> = elements.iter().map(|element| element.get()).collect();
                let ours: Vec<_> = ours.ok().and_then(Raw::elements).expect("an array").map(Raw::as_str).collect();
                proptest::prop_assert_eq!(ours, theirs);
            }
            if let Ok(theirs) = serde_json::from_str::<String>(text) {
                let said = ours.ok().and_then(Raw::text).expect("a string");
                proptest::prop_assert_eq!(said.as_deref(), Ok(&*theirs));
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
