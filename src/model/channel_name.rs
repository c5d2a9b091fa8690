//! The name of a channel, checked once where it enters.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Serialize, Serializer};

/// A channel's name: 1 to 255 bytes of UTF-8 without control characters. Cheap to clone, ordered and hashed as
/// its text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// Why a text is no channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelNameError {
    /// The text is empty.
    Empty,
    /// The text is longer than the given number of bytes.
    TooLong(usize),
    /// The text holds a control character (U+0000–U+001F, U+007F–U+009F).
    ControlCharacter,
}

impl ChannelName {
    /// The longest name there can be, in bytes; a configuration may ask for less.
    pub const BYTES_MAX: usize = 255;

    /// Checks `text` and makes it a name of at most `bytes_max` bytes.
    pub fn new(text: &str, bytes_max: usize) -> Result<Self, ChannelNameError> {
        let bytes_max = bytes_max.min(Self::BYTES_MAX);
        if text.is_empty() {
            Err(ChannelNameError::Empty)
        } else if text.len() > bytes_max {
            Err(ChannelNameError::TooLong(bytes_max))
        } else if text.chars().any(char::is_control) {
            Err(ChannelNameError::ControlCharacter)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a channel name cannot be empty"),
            Self::TooLong(max) => write!(f, "a channel name has at most {max} bytes"),
            Self::ControlCharacter => f.write_str("a channel name cannot hold control characters"),
        }
    }
}

impl std::error::Error for ChannelNameError {}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ChannelName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_for_emptiness_length_and_control_characters() {
        let check = |text: &str| ChannelName::new(text, 8).map(|name| name.as_str().to_owned());
        assert_eq!(check("news"), Ok("news".into()));
        assert_eq!(check("12345678"), Ok("12345678".into()));
        assert_eq!(check("123456789"), Err(ChannelNameError::TooLong(8)));
        assert_eq!(check("größe"), Ok("größe".into()));
        assert_eq!(check(""), Err(ChannelNameError::Empty));
        assert_eq!(check("a\nb"), Err(ChannelNameError::ControlCharacter));
        assert_eq!(check("a\u{85}"), Err(ChannelNameError::ControlCharacter));
    }
}
