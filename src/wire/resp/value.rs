//! A reply, read where it lies.

use super::decode::{Head, read_head};

/// One value of a reply that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string of any kind; a number that is no whole one of 64 bits is one, too.
    Text(&'a [u8]),
    /// The command has failed: a word in capitals, and a sentence.
    Error(&'a [u8]),
    /// A number, or a truth.
    Number(i64),
    /// Nothing.
    Null,
    /// Several, those of a map one behind the other.
    List(Items<'a>),
    /// Several that answer nothing that was asked on this connection.
    Push(Items<'a>),
}

/// The values of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items<'a> {
    left: u64,
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// The value in these bytes, which a decoder has found to be one.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        read(&mut { bytes }).unwrap_or(Self::Null)
    }

    /// The string, if it is one.
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Error(_) | Self::Number(_) | Self::Null | Self::List(_) | Self::Push(_) => None,
        }
    }

    /// The list, if it is one.
    pub fn list(self) -> Option<Items<'a>> {
        match self {
            Self::List(items) => Some(items),
            Self::Text(_) | Self::Error(_) | Self::Number(_) | Self::Null | Self::Push(_) => None,
        }
    }
}

impl<'a> Items<'a> {
    /// What a map says of a key.
    pub fn get(mut self, key: &[u8]) -> Option<Value<'a>> {
        while let Some(name) = self.next() {
            let value = self.next()?;
            if name.text() == Some(key) {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        read(&mut self.bytes)
    }
}

/// Reads a value, and goes on behind it.
fn read<'a>(bytes: &mut &'a [u8]) -> Option<Value<'a>> {
    let (head, length) = read_head(bytes, usize::MAX / 2).ok()??;
    *bytes = &bytes[length..];
    match head {
        Head::Value(value) => Some(value),
        Head::List { kind, count } => {
            let items = Items { left: count, bytes };
            skip(bytes, count)?;
            let items = Items { bytes: &items.bytes[..items.bytes.len() - bytes.len()], ..items };
            Some(if kind == b'>' { Value::Push(items) } else { Value::List(items) })
        }
    }
}

/// Goes on behind so many values.
fn skip(bytes: &mut &[u8], mut count: u64) -> Option<()> {
    while count > 0 {
        let (head, length) = read_head(bytes, usize::MAX / 2).ok()??;
        *bytes = &bytes[length..];
        count -= 1;
        if let Head::List { count: more, .. } = head {
            count = count.checked_add(more)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_where_it_lies() {
        assert_eq!(Value::of(b"$3\r\na\r\n\r\n"), Value::Text(b"a\r\n"));
        assert_eq!(Value::of(b"=5\r\ntxt:a\r\n"), Value::Text(b"a"));
        assert_eq!(Value::of(b"!5\r\nERR x\r\n"), Value::Error(b"ERR x"));
        assert_eq!(Value::of(b":-7\r\n"), Value::Number(-7));
        assert_eq!(Value::of(b"#t\r\n"), Value::Number(1));
        assert_eq!(Value::of(b"$-1\r\n"), Value::Null);
    }

    #[test]
    fn lists_are_walked_over_what_lies_in_them() {
        let value = Value::of(b"*4\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n*0\r\n+b\r\n%1\r\n+k\r\n_\r\n");
        let items: Vec<_> = value.list().expect("a list").collect();
        let inner: Vec<_> = items[0].list().expect("a list").collect();
        assert_eq!(inner[0], Value::Text(b"a"));
        assert_eq!(inner[1].list().expect("a list").collect::<Vec<_>>(), [Value::Number(1)]);
        assert_eq!(items[1].list().expect("a list").count(), 0);
        assert_eq!(items[2], Value::Text(b"b"));
        assert_eq!(items[3].list().expect("a map").get(b"k"), Some(Value::Null));
        assert_eq!((items[3].list().expect("a map").get(b"x"), items.len()), (None, 4));
        let push = Value::of(b">2\r\n+message\r\n:1\r\n");
        assert!(matches!(push, Value::Push(items) if items.count() == 2));
    }
}
