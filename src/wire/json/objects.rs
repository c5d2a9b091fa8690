//! Objects that stand for something else, found in checked JSON in one pass however they nest.
//!
//! ```text
//!   ["e",{"num":0,"_placeholder":true},{"k":[{"base64":"/w=="}]}]
//!        └──────── judged ───────────┘      └──── judged ───┘ └ judged
//! ```
//!
//! What they stand for is for the caller to judge; what is inside of one that does is not looked at.

use std::ops::Range;

use smallvec::SmallVec;

use super::{Raw, skip_string};

/// What is known of an object when it ends. Of two members of one name the last counts, as in JavaScript.
#[derive(Debug, Default)]
pub(in crate::wire) struct Object<'a> {
    start: usize,
    /// How many members it has.
    pub(in crate::wire) members: u32,
    /// Whether its member `_placeholder` is `true`.
    pub(in crate::wire) is_placeholder: bool,
    /// Its member `num`, when that is a number.
    pub(in crate::wire) number: Option<f64>,
    /// The JSON from the value of its member `base64` on.
    pub(in crate::wire) base64: Option<&'a str>,
}

/// The objects that `judge` takes for something else, with where they stand, in order.
pub(in crate::wire) fn find_objects<'a, T>(
    json: Raw<'a>,
    mut judge: impl FnMut(&Object<'a>) -> Option<T>,
) -> Vec<(Range<usize>, T)> {
    let (text, bytes) = (json.as_str(), json.as_str().as_bytes());
    let mut open = SmallVec::<[Object<'a>; 4]>::new();
    let mut found = Vec::<(Range<usize>, T)>::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' => open.push(Object { start, ..Object::default() }),
            b'}' => {
                let Some(object) = open.pop() else { break };
                if let Some(what) = judge(&object) {
                    let before = found.partition_point(|(range, _)| range.start < object.start);
                    found.truncate(before);
                    found.push((object.start..at, what));
                }
            }
            b'"' => {
                at = bytes.len() - skip_string(&bytes[at..]).map_or(0, <[u8]>::len);
                let behind = text[at..].trim_start();
                // In an object and nowhere else a string is followed by a colon.
                if let (Some(value), Some(object)) = (behind.strip_prefix(':'), open.last_mut()) {
                    let value = value.trim_start();
                    object.take(Raw::first(&text[start..at]), value);
                    at = text.len() - value.len();
                }
            }
            _ => {}
        }
    }
    found
}

impl<'a> Object<'a> {
    fn take(&mut self, name: Raw<'a>, value: &'a str) {
        self.members += 1;
        let Some(Ok(name)) = name.text() else { return };
        match &*name {
            "_placeholder" => self.is_placeholder = value.starts_with("true"),
            "num" => {
                let is_number = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
                self.number = is_number.then(|| Raw::first(value).as_str().parse().ok()).flatten();
            }
            "base64" => self.base64 = Some(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_judged_when_they_end_and_swallow_what_is_inside() {
        let judged = |text: &str| -> Vec<(String, bool, Option<f64>, u32)> {
            let raw = Raw::check(text, 64).expect(text);
            let found = find_objects(raw, |object| {
                let is_it = object.is_placeholder || object.number.is_some();
                is_it.then_some((object.is_placeholder, object.number, object.members))
            });
            found.into_iter().map(|(range, (a, b, c))| (text[range].to_owned(), a, b, c)).collect()
        };
        assert_eq!(
            judged(r#"["{",{"num" : 1 , "_placeholder":true},[{"a":{"num":-0.5e1}}],{"\u006eum":2}]"#),
            [
                (r#"{"num" : 1 , "_placeholder":true}"#.into(), true, Some(1.0), 2),
                (r#"{"num":-0.5e1}"#.into(), false, Some(-5.0), 1),
                (r#"{"\u006eum":2}"#.into(), false, Some(2.0), 1),
            ]
        );
        assert_eq!(
            judged(r#"{"x":{"num":1},"num":"3","num":4,"y":[{"num":5}]}"#),
            [(r#"{"x":{"num":1},"num":"3","num":4,"y":[{"num":5}]}"#.into(), false, Some(4.0), 4)]
        );
        assert_eq!(judged(r#"{"num":4,"num":null,"_placeholder":"true"}"#), []);
    }
}
