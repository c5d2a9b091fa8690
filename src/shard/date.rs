//! The time as responses tell it.

use std::time::{Duration, SystemTime};

/// The `Date` header field's value, made once per second.
pub(super) struct Date {
    second: u64,
    text: [u8; 29],
}

impl Default for Date {
    fn default() -> Self {
        Self { second: u64::MAX, text: [b' '; 29] }
    }
}

impl Date {
    /// The value now.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// A turn begins in this second.
    pub(super) fn update(&mut self, second: u64) {
        if second != self.second {
            self.second = second;
            let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            self.text.copy_from_slice(text.as_bytes());
        }
    }
}
