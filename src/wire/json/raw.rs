//! JSON that is passed on as it came: checked to the last byte, cut into slices, never copied nor unescaped.
//!
//! Where the server itself reads members, `document.rs` does it. A [`Raw`] is laxer in what it holds, for what peers
//! mean is not looked at: halves of surrogate pairs and numbers of any size follow the grammar of RFC 8259, and
//! JavaScript writes the one and reads both. Who reads values out of it may still refuse them.
//!
//! Invariant: a [`Raw`] is one JSON value, at most as deep as was asked for, with no space around it.

use std::borrow::Cow;

use super::{JsonError, Scratch, lexemes::check_number};
use crate::limits::JSON_DEPTH_MAX;

const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A JSON value as its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// The elements of an array, in order.
#[derive(Clone, Debug, Default)]
pub struct Elements<'a> {
    /// Behind the opening bracket or the last comma.
    rest: &'a str,
}

impl<'a> Raw<'a> {
    /// Checks a text that is one value with objects and arrays at most `depth_max` deep inside each other, or
    /// [`JSON_DEPTH_MAX`] if that is less.
    pub fn check(text: &'a str, depth_max: usize) -> Result<Self, JsonError> {
        let text = text.trim_matches(SPACE);
        match skip_value(text.as_bytes(), depth_max.min(JSON_DEPTH_MAX))? {
            [] => Ok(Self(text)),
            [..] => Err(JsonError::Syntax),
        }
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

    /// The elements, when it is an array.
    pub fn elements(self) -> Option<Elements<'a>> {
        Some(Elements { rest: self.0.strip_prefix('[')? })
    }

    /// What a string says. Fails when it says half a surrogate pair; `None` when it is not a string.
    pub fn text(self) -> Option<Result<Cow<'a, str>, JsonError>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
            return Some(Ok(Cow::Borrowed(inside)));
        }
        let own = |text: Option<&str>| text.map(|text| Cow::Owned(text.to_owned()));
        let read = Scratch::default().read(self.0.as_bytes(), |value| own(value.as_str()));
        read.transpose()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let text = self.rest.trim_start_matches(SPACE);
        let behind = skip_value(text.as_bytes(), JSON_DEPTH_MAX).ok()?;
        let (value, rest) = text.split_at(text.len() - behind.len());
        let rest = rest.trim_start_matches(SPACE);
        self.rest = rest.strip_prefix(',').unwrap_or_default();
        Some(Raw(value))
    }
}

/// Checks the value that `text` begins with; what follows it.
fn skip_value(text: &[u8], depth_left: usize) -> Result<&[u8], JsonError> {
    let word = |word: &[u8]| text.strip_prefix(word).ok_or(JsonError::Syntax);
    let (first, rest) = text.split_first().ok_or(JsonError::Syntax)?;
    match first {
        b'"' => skip_string(rest),
        b'{' => skip_inside(rest, b'}', depth_left),
        b'[' => skip_inside(rest, b']', depth_left),
        b'-' | b'0'..=b'9' => check_number(text),
        b't' => word(b"true"),
        b'f' => word(b"false"),
        b'n' => word(b"null"),
        _ => Err(JsonError::Syntax),
    }
}

/// Checks members or elements up to the bracket that closes them; what follows that.
fn skip_inside(text: &[u8], close: u8, depth_left: usize) -> Result<&[u8], JsonError> {
    let depth_left = depth_left.checked_sub(1).ok_or(JsonError::TooDeep)?;
    let mut rest = skip_space(text);
    if let Some(rest) = rest.strip_prefix(&[close]) {
        return Ok(rest);
    }
    loop {
        if close == b'}' {
            let name = rest.strip_prefix(b"\"").ok_or(JsonError::Syntax)?;
            let behind = skip_space(skip_string(name)?);
            rest = skip_space(behind.strip_prefix(b":").ok_or(JsonError::Syntax)?);
        }
        rest = match skip_space(skip_value(rest, depth_left)?).split_first() {
            Some((b',', behind)) => skip_space(behind),
            Some((byte, behind)) if *byte == close => return Ok(behind),
            Some(_) | None => return Err(JsonError::Syntax),
        };
    }
}

/// Checks a string whose first quote has been read; what follows it.
pub(in crate::wire) fn skip_string(text: &[u8]) -> Result<&[u8], JsonError> {
    let mut rest = text;
    loop {
        let index = memchr::memchr2(b'"', b'\\', rest).ok_or(JsonError::Syntax)?;
        if rest[..index].iter().any(|byte| *byte < 0x20) {
            return Err(JsonError::Syntax);
        }
        rest = match &rest[index..] {
            [b'"', behind @ ..] => return Ok(behind),
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => behind,
            [_, b'u', a, b, c, d, behind @ ..]
                if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
            {
                behind
            }
            _ => return Err(JsonError::Syntax),
        };
    }
}

fn skip_space(text: &[u8]) -> &[u8] {
    let length = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    &text[length..]
}

#[cfg(test)]
mod tests {
    use super::{super::document::tests::PIECES, *};

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
        assert_eq!(depth(&nested(JSON_DEPTH_MAX + 1), usize::MAX), Err(JsonError::TooDeep));
        assert_eq!(depth(&"[".repeat(1_000_000), usize::MAX), Err(JsonError::TooDeep));
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
        }
    }
}
