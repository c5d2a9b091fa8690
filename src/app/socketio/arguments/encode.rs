//! Writing typed values as the JSON array of an event or acknowledgement.

use std::cell::Cell;

use serde::{Serialize, Serializer};

use super::{
    PayloadError,
    binary::{Scope, within},
};
use crate::model::Arguments;

/// An event ready to be sent.
#[derive(Debug)]
pub(in super::super) struct Outgoing {
    pub(in super::super) arguments: Arguments,
    /// The array with the attachments as base64 in their places, if there are any: what those read who do not speak
    /// Socket.IO.
    pub(in super::super) base64: Option<String>,
}

/// Writes `["name",…]`.
pub(in super::super) fn encode_event<T: Serialize + ?Sized>(
    name: &str,
    data: &T,
) -> Result<Outgoing, PayloadError> {
    let arguments = write_with_attachments(Some(name), data)?;
    let base64 = match arguments.attachments.is_empty() {
        true => None,
        false => Some(within(Scope::Text, || write_array(Some(name), data)).0?),
    };
    Ok(Outgoing { arguments, base64 })
}

/// Writes `[…]`.
pub(in super::super) fn encode_acknowledgement<T: Serialize + ?Sized>(
    data: &T,
) -> Result<Arguments, PayloadError> {
    write_with_attachments(None, data)
}

/// Writes one value, binary as base64.
pub(in super::super) fn encode_value<T: Serialize + ?Sized>(data: &T) -> Result<String, PayloadError> {
    Ok(serde_json::to_string(data)?)
}

fn write_with_attachments<T: Serialize + ?Sized>(
    name: Option<&str>,
    data: &T,
) -> Result<Arguments, PayloadError> {
    let (json, scope) = within(Scope::Write(Vec::new()), || write_array(name, data));
    let attachments = match scope {
        Scope::Write(attachments) => attachments,
        Scope::Text | Scope::Read(_) => Vec::new(),
    };
    Ok(Arguments { json: json?.into(), attachments: attachments.into() })
}

fn write_array<T: Serialize + ?Sized>(name: Option<&str>, data: &T) -> Result<String, PayloadError> {
    /// Most events fit, so that their text is allocated once.
    const GUESS_BYTES: usize = 128;
    let mut out = Vec::with_capacity(GUESS_BYTES);
    out.push(b'[');
    if let Some(name) = name {
        serde_json::to_writer(&mut out, name)?;
        out.push(b',');
    }
    let start = out.len();
    let shape = Cell::new(Shape::One);
    data.serialize(Spread { inner: &mut serde_json::Serializer::new(&mut out), shape: &shape })?;
    match shape.get() {
        Shape::One => out.push(b']'),
        // The tuple was written as an array of its own; its end is the end of the whole.
        Shape::Several => drop(out.remove(start)),
        Shape::None => {
            out.truncate(start - usize::from(name.is_some()));
            out.push(b']');
        }
    }
    Ok(String::from_utf8(out).expect("serde_json writes UTF-8"))
}

/// How many arguments a value is.
#[derive(Clone, Copy)]
enum Shape {
    None,
    One,
    Several,
}

/// Passes a value on, and notes its shape.
struct Spread<'s, S> {
    inner: S,
    shape: &'s Cell<Shape>,
}

macro_rules! pass_on {
    ($($method:ident($($name:ident: $type:ty),*) -> $output:ty;)*) => {$(
        fn $method(self, $($name: $type),*) -> Result<$output, S::Error> {
            self.inner.$method($($name),*)
        }
    )*};
}

impl<S: Serializer> Serializer for Spread<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = S::SerializeSeq;
    type SerializeTuple = S::SerializeTuple;
    type SerializeTupleStruct = S::SerializeTupleStruct;
    type SerializeTupleVariant = S::SerializeTupleVariant;
    type SerializeMap = S::SerializeMap;
    type SerializeStruct = S::SerializeStruct;
    type SerializeStructVariant = S::SerializeStructVariant;

    fn serialize_tuple(self, len: usize) -> Result<S::SerializeTuple, S::Error> {
        self.shape.set(if len == 0 { Shape::None } else { Shape::Several });
        self.inner.serialize_tuple(len)
    }

    pass_on! {
        serialize_bool(value: bool) -> S::Ok;
        serialize_i8(value: i8) -> S::Ok;
        serialize_i16(value: i16) -> S::Ok;
        serialize_i32(value: i32) -> S::Ok;
        serialize_i64(value: i64) -> S::Ok;
        serialize_i128(value: i128) -> S::Ok;
        serialize_u8(value: u8) -> S::Ok;
        serialize_u16(value: u16) -> S::Ok;
        serialize_u32(value: u32) -> S::Ok;
        serialize_u64(value: u64) -> S::Ok;
        serialize_u128(value: u128) -> S::Ok;
        serialize_f32(value: f32) -> S::Ok;
        serialize_f64(value: f64) -> S::Ok;
        serialize_char(value: char) -> S::Ok;
        serialize_str(value: &str) -> S::Ok;
        serialize_bytes(value: &[u8]) -> S::Ok;
        serialize_none() -> S::Ok;
        serialize_unit() -> S::Ok;
        serialize_unit_struct(name: &'static str) -> S::Ok;
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> S::Ok;
        serialize_seq(len: Option<usize>) -> S::SerializeSeq;
        serialize_tuple_struct(name: &'static str, len: usize) -> S::SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> S::SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> S::SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> S::SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> S::SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_variant(name, index, variant, value)
    }
}
