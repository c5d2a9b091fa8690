//! A string that no log, metric or page may show.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// A string that no log, metric or page may show: it prints and serializes as `(hidden)`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a string.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The string itself, to compare with. Compare in constant time.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Nothing is not hidden: it says that there is none.
        serializer.serialize_str(if self.0.is_empty() { "" } else { "(hidden)" })
    }
}
