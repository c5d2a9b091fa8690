//! Binary values inside typed data.
//!
//! Socket.IO sends them beside the JSON, as attachments; in the JSON stands `{"_placeholder":true,"num":0}`. serde
//! has no room for a second output, so the attachments of the value being written or read lie in a thread's variable
//! while that happens.

use std::{cell::RefCell, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
    ser::SerializeStruct,
};
use serde_json::Value;

use crate::wire::socketio::attachment_of;

/// Bytes that travel as they are, anywhere inside the data of an event or acknowledgement. Outside of them, for
/// instance in [`super::super::Socket::set_public_data`], they are written as `{"base64":"…"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Binary(pub Vec<u8>);

/// As [`Binary`], for bytes that need not be owned to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinaryRef<'a>(pub &'a [u8]);

/// What the value under way does with binary values.
#[derive(Debug, Default)]
pub(super) enum Scope {
    /// Written as base64: there is nowhere else to put them. None can be read but from base64.
    #[default]
    Text,
    /// Being written: those so far.
    Write(Vec<Box<[u8]>>),
    /// Being read: all of them.
    Read(Vec<Box<[u8]>>),
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope::Text) };
}

/// Puts the scope back that was there before, also when serializing panics.
struct Restore(Scope);

impl Drop for Restore {
    fn drop(&mut self) {
        SCOPE.set(std::mem::take(&mut self.0));
    }
}

/// Calls `work` within `scope`, and gives it back as it is then.
pub(super) fn within<T>(scope: Scope, work: impl FnOnce() -> T) -> (T, Scope) {
    let _restore = Restore(SCOPE.replace(scope));
    let result = work();
    (result, SCOPE.take())
}

impl Serialize for BinaryRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = SCOPE.with_borrow_mut(|scope| match scope {
            Scope::Write(attachments) => {
                attachments.push(self.0.into());
                Some(attachments.len() - 1)
            }
            Scope::Text | Scope::Read(_) => None,
        });
        match number {
            Some(number) => {
                let mut placeholder = serializer.serialize_struct("Binary", 2)?;
                placeholder.serialize_field("_placeholder", &true)?;
                placeholder.serialize_field("num", &number)?;
                placeholder.end()
            }
            None => {
                let mut text = serializer.serialize_struct("Binary", 1)?;
                text.serialize_field("base64", &STANDARD.encode(self.0))?;
                text.end()
            }
        }
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        BinaryRef(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BinaryVisitor)
    }
}

struct BinaryVisitor;

/// The members that say where the bytes are.
#[derive(Deserialize)]
enum Member {
    #[serde(rename = "_placeholder")]
    Placeholder,
    #[serde(rename = "num")]
    Number,
    #[serde(rename = "base64")]
    Base64,
    #[serde(other)]
    Unknown,
}

impl<'de> Visitor<'de> for BinaryVisitor {
    type Value = Binary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("binary data")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Binary, E> {
        Ok(Binary(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Binary, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Binary(bytes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Binary, A::Error> {
        let (mut is_placeholder, mut number, mut text) = (false, None, None);
        while let Some(member) = map.next_key()? {
            match member {
                Member::Placeholder => is_placeholder = map.next_value::<Value>()? == Value::Bool(true),
                Member::Number => number = map.next_value::<Value>()?.as_f64(),
                Member::Base64 => text = map.next_value::<Value>()?.as_str().map(str::to_owned),
                Member::Unknown => drop(map.next_value::<de::IgnoredAny>()?),
            }
        }
        let bytes = match (is_placeholder, text) {
            (true, _) => number.and_then(attachment_of).and_then(attachment),
            (false, Some(text)) => STANDARD.decode(text).ok(),
            (false, None) => None,
        };
        bytes.map(Binary).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Map, &self))
    }
}

/// A copy of an attachment of the event being read. A copy, for serde may read a value twice: an untagged enum does.
fn attachment(number: u32) -> Option<Vec<u8>> {
    SCOPE.with_borrow(|scope| match scope {
        Scope::Read(attachments) => attachments.get(number as usize).map(|bytes| bytes.to_vec()),
        Scope::Text | Scope::Write(_) => None,
    })
}
