//! The time as a turn has it: read once, when the turn begins, so that all that happens in a turn happens at one time.

use std::time::{Duration, Instant, SystemTime};

use crate::model::Now;

/// The time of the turn under way.
pub(super) struct Clock {
    /// The process's zero of the monotonic clock.
    started: Instant,
    /// When it was read last.
    read: Instant,
    date: Date,
    /// The time since the zero, where a test says it.
    #[cfg(test)]
    said: Option<Duration>,
}

impl Clock {
    /// A clock that counts from the process's zero of the monotonic clock.
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            read: started,
            date: Date::default(),
            #[cfg(test)]
            said: None,
        }
    }

    /// Reads it: a turn begins.
    pub(super) fn read(&mut self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.read = Instant::now();
        let monotonic = self.read.duration_since(self.started);
        #[cfg(test)]
        let monotonic = self.said.unwrap_or(monotonic);
        self.date.update(unix.as_secs());
        Now { monotonic_ms: monotonic.as_millis() as u64, unix_ms: unix.as_millis() as u64 }
    }

    /// When it was read last.
    pub(super) fn read_at(&self) -> Instant {
        self.read
    }

    /// The process's zero of the monotonic clock.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The `Date` header field's value as of when it was read last.
    pub(super) fn date(&self) -> &[u8] {
        &self.date.text
    }

    /// From now on it is so long after the zero, however long the test takes.
    #[cfg(test)]
    pub(super) fn stand_at(&mut self, since_start: Duration) {
        self.started = Instant::now() - since_start;
        self.said = Some(since_start);
    }
}

/// The `Date` header field's value, made once per second.
struct Date {
    second: u64,
    text: [u8; 29],
}

impl Default for Date {
    fn default() -> Self {
        Self { second: u64::MAX, text: [b' '; 29] }
    }
}

impl Date {
    /// It is this second.
    fn update(&mut self, second: u64) {
        if second != self.second {
            self.second = second;
            let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            self.text.copy_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_one_time_in_every_form() {
        let started = Instant::now() - Duration::from_secs(3);
        let mut clock = Clock::new(started);
        assert_eq!((clock.read_at(), clock.started()), (started, started));
        let (now, read) = (clock.read(), clock.read_at());
        assert_eq!(now.monotonic_ms, (read - started).as_millis() as u64);
        let text = std::str::from_utf8(clock.date()).expect("it is text");
        let date = httpdate::parse_http_date(text).expect("it is a date");
        let since = date.duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
        assert_eq!(since.as_secs(), now.unix_ms / 1000);
        assert!(clock.read().monotonic_ms >= now.monotonic_ms && clock.read_at() >= read);
    }

    #[test]
    fn the_date_is_made_anew_when_a_second_is_over() {
        let mut date = Date::default();
        let mut text = |second| {
            date.update(second);
            date.text
        };
        assert_eq!(text(784_111_777), *b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(784_111_777), *b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(784_111_778), *b"Sun, 06 Nov 1994 08:49:38 GMT");
    }

    #[test]
    fn a_clock_that_a_test_has_set_stands_still() {
        let mut clock = Clock::new(Instant::now());
        clock.stand_at(Duration::from_millis(40));
        assert_eq!([clock.read(), clock.read()].map(|now| now.monotonic_ms), [40, 40]);
    }
}
