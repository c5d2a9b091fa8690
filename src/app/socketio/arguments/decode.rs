//! Reading typed values from the JSON array of an event or acknowledgement, straight from the text.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer,
    de::{self, DeserializeOwned, DeserializeSeed, IgnoredAny, SeqAccess, Visitor},
    forward_to_deserialize_any,
};

use super::{
    PayloadError,
    binary::{Scope, within},
};

/// Reads the arguments of an event: all but the first item, which is its name.
pub(in super::super) fn decode_event<T: DeserializeOwned>(
    json: &str,
    attachments: &[Box<[u8]>],
) -> Result<T, PayloadError> {
    read(json, attachments, ArrayVisitor { is_event: true, value: PhantomData })
}

/// Reads the arguments of an acknowledgement.
pub(in super::super) fn decode<T: DeserializeOwned>(
    json: &str,
    attachments: &[Box<[u8]>],
) -> Result<T, PayloadError> {
    read(json, attachments, ArrayVisitor { is_event: false, value: PhantomData })
}

/// Reads one value, binary from base64.
pub(in super::super) fn decode_value<T: DeserializeOwned>(json: &str) -> Result<T, PayloadError> {
    Ok(serde_json::from_str(json)?)
}

fn read<T: DeserializeOwned>(
    json: &str,
    attachments: &[Box<[u8]>],
    visitor: ArrayVisitor<T>,
) -> Result<T, PayloadError> {
    let read = || serde_json::Deserializer::from_str(json).deserialize_seq(visitor);
    let result = match attachments {
        [] => read(),
        _ => within(Scope::Read(attachments.to_vec()), read).0,
    };
    Ok(result?)
}

/// The array as a whole.
struct ArrayVisitor<T> {
    is_event: bool,
    value: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> Visitor<'de> for ArrayVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("arguments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        if self.is_event && seq.next_element::<IgnoredAny>()?.is_none() {
            return Err(de::Error::invalid_length(0, &"the event's name"));
        }
        let value = T::deserialize(Arguments(&mut seq))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(value)
    }
}

/// The items that are left: a tuple takes one each, any other value the first.
struct Arguments<'a, A>(&'a mut A);

impl<'de, A: SeqAccess<'de>> Arguments<'_, A> {
    fn first<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_element_seed(seed)?.ok_or_else(|| de::Error::invalid_length(0, &"an argument"))
    }
}

/// Asks the first argument for what the value asked.
macro_rules! ask_first {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, A::Error> {
            struct Seed<V>($($type,)* V);
            impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Seed<V> {
                type Value = V::Value;
                fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
                    let Self($($name,)* visitor) = self;
                    deserializer.$method($($name,)* visitor)
                }
            }
            self.first(Seed($($name,)* visitor))
        }
    )*};
}

impl<'de, A: SeqAccess<'de>> Deserializer<'de> for Arguments<'_, A> {
    type Error = A::Error;

    ask_first! {
        deserialize_any()
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_bytes()
        deserialize_byte_buf()
        deserialize_i128()
        deserialize_u128()
        deserialize_f32()
        deserialize_unit_struct(name: &'static str)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f64 char str string seq map identifier
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        struct Seed<'v, V>(&'v mut Option<V>);
        impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Seed<'_, V> {
            type Value = V::Value;
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
                deserializer.deserialize_option(self.0.take().expect("an argument is read once"))
            }
        }
        let mut visitor = Some(visitor);
        match self.0.next_element_seed(Seed(&mut visitor))? {
            Some(value) => Ok(value),
            None => visitor.take().expect("there was no argument to read").visit_none(),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_seq(Padded(self.0))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_unit()
    }
}

/// The items of a tuple, and after them as many times nothing as are asked for.
struct Padded<'a, A>(&'a mut A);

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Padded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        struct Once<'s, S>(&'s mut Option<S>);
        impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Once<'_, S> {
            type Value = S::Value;
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
                self.0.take().expect("an item is read once").deserialize(deserializer)
            }
        }
        let mut seed = Some(seed);
        match self.0.next_element_seed(Once(&mut seed))? {
            Some(value) => Ok(Some(value)),
            None => {
                let seed = seed.take().expect("there was no item to read");
                seed.deserialize(Nothing(PhantomData)).map(Some)
            }
        }
    }
}

/// An argument that was not sent: `None` and `()` can be made of it.
struct Nothing<E>(PhantomData<E>);

impl<'de, E: de::Error> Deserializer<'de> for Nothing<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, E> {
        Err(E::custom("an argument is missing"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
