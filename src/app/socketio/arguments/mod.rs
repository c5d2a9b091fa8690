//! Rust values as the arguments of events and acknowledgements, and back.
//!
//! How values are arguments is told in the module above.
//!
//! serde_json and not simd-json reads them: simd-json wants a copy that it may change, and builds a tape before it
//! deserializes. Measured on events of 10 bytes to 3 kB, that takes 1.2 to 3.2 times as long.

mod binary;
mod decode;
mod encode;

pub use binary::{Binary, BinaryRef};
pub(super) use decode::{decode, decode_event, decode_value};
pub(super) use encode::{Outgoing, encode_acknowledgement, encode_event, encode_value};

use std::fmt;

/// Arguments that are not what was asked for, or a value that JSON cannot say.
#[derive(Debug)]
pub struct PayloadError(serde_json::Error);

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for PayloadError {}

impl From<serde_json::Error> for PayloadError {
    fn from(error: serde_json::Error) -> Self {
        Self(error)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize, de::DeserializeOwned};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Move {
        x: i32,
        piece: Option<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair(i32, i32);

    /// Writes `value` as an event, expects `json`, and reads it back.
    fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, json: &str) {
        let outgoing = encode_event("e", &value).expect("JSON can say it");
        assert_eq!(&*outgoing.arguments.json, json);
        let read: T = decode_event(json, &outgoing.arguments.attachments).expect("it is what was written");
        assert_eq!(read, value);
        let acknowledgement = encode_acknowledgement(&value).expect("JSON can say it");
        assert_eq!(acknowledgement.json.replacen('[', "[\"e\",", 1).replace(",]", "]"), json);
        assert_eq!(
            decode::<T>(&acknowledgement.json, &acknowledgement.attachments).expect("the same"),
            value
        );
    }

    #[test]
    fn a_tuple_is_several_arguments_and_anything_else_is_one() {
        check((), r#"["e",null]"#);
        check(serde_json::Value::Null, r#"["e",null]"#);
        check([(); 0], r#"["e"]"#);
        check(7, r#"["e",7]"#);
        check("x\"y".to_owned(), r#"["e","x\"y"]"#);
        check((1, "a".to_owned()), r#"["e",1,"a"]"#);
        check([1, 2, 3], r#"["e",1,2,3]"#);
        check(((1, 2),), r#"["e",[1,2]]"#);
        check(vec![1, 2], r#"["e",[1,2]]"#);
        check(Vec::<i32>::new(), r#"["e",[]]"#);
        check(Pair(1, 2), r#"["e",[1,2]]"#);
        check(Move { x: -1, piece: None }, r#"["e",{"x":-1,"piece":null}]"#);
        check((Move { x: 1, piece: Some("k".into()) }, Some(true)), r#"["e",{"x":1,"piece":"k"},true]"#);
        check(BTreeMap::from([("k".to_owned(), 1.5)]), r#"["e",{"k":1.5}]"#);
        check(None::<i32>, r#"["e",null]"#);
    }

    #[test]
    fn binary_values_become_attachments_wherever_they_stand() {
        let deep = BTreeMap::from([("in".to_owned(), vec![Binary(vec![1, 2]), Binary(vec![])])]);
        check(
            (Binary(vec![255]), deep),
            r#"["e",{"_placeholder":true,"num":0},{"in":[{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]}]"#,
        );
        let outgoing = encode_event("e", &BinaryRef(&[1, 2, 3])).expect("JSON can say it");
        assert_eq!(outgoing.base64.as_deref(), Some(r#"["e",{"base64":"AQID"}]"#));
        assert_eq!(
            decode_event::<Binary>(r#"["e",{"base64":"AQID"}]"#, &[]).expect("base64"),
            Binary(vec![1, 2, 3])
        );
        assert_eq!(encode_event("e", &1).expect("a number").base64, None);
    }

    #[test]
    fn what_is_missing_is_nothing_and_what_is_too_much_is_not_looked_at() {
        assert_eq!(decode_event::<(i32, Option<i32>)>(r#"["e",1]"#, &[]).expect("enough"), (1, None));
        assert_eq!(decode_event::<Option<i32>>(r#"["e"]"#, &[]).expect("enough"), None);
        assert_eq!(decode_event::<i32>(r#"["e",1,{"a":[2]}]"#, &[]).expect("enough"), 1);
        assert_eq!(decode_event::<(i32,)>(r#"["e",1,2,3]"#, &[]).expect("enough"), (1,));
        decode_event::<()>(r#"["e",1,2]"#, &[]).expect("enough");
        for json in [r#"["e"]"#, r#"["e","1"]"#, r#"["e",null]"#, "[]", "{}", ""] {
            decode_event::<i32>(json, &[]).expect_err(json);
        }
        decode_event::<(i32, i32)>(r#"["e",1]"#, &[]).expect_err("one too few");
    }

    #[test]
    fn placeholders_that_point_nowhere_are_refused() {
        let attachments = [Box::from([9u8])];
        let read = |json: &str| decode_event::<Binary>(json, &attachments);
        assert_eq!(read(r#"["e",{"_placeholder":true,"num":0}]"#).expect("it is there"), Binary(vec![9]));
        for value in [
            r#"{"num":0,"_placeholder":true}"#,
            r#"{"num":0.0,"x":{"num":1},"_placeholder":true,"base64":1}"#,
        ] {
            assert_eq!(read(&format!(r#"["e",{value}]"#)).expect(value), Binary(vec![9]), "{value}");
        }
        for value in [
            r#"{"_placeholder":true,"num":1}"#,
            r#"{"_placeholder":1,"num":0}"#,
            r#"{"_placeholder":true,"num":0.5}"#,
            r#"{"_placeholder":true,"num":-1}"#,
            r#"{"_placeholder":true,"num":"0"}"#,
            r#"{"_placeholder":false,"num":0}"#,
            r#"{"_placeholder":true}"#,
            r#"{"num":0}"#,
            r#"{"base64":"*"}"#,
            "{}",
            "null",
            "1",
        ] {
            read(&format!(r#"["e",{value}]"#)).expect_err(value);
        }
    }

    #[test]
    fn what_json_cannot_say_is_an_error() {
        encode_event("e", &BTreeMap::from([(vec![1], 1)])).map(|_| ()).expect_err("no name for a member");
    }
}
