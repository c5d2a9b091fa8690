//! The mark inside a measured message: which message it is and when it was meant to be sent.
//!
//! It is text, so that any transport and any server's envelope (JSON, Socket.IO, event stream) carries it unchanged,
//! and starts with a magic word, so that it is found wherever the envelope puts it.
//!
//! ```text
//!   rsb1 0123456789abcdef 0123456789abcdef xxxx…
//!        sequence number  nanoseconds      padding
//! ```

use memchr::memmem;

const MAGIC: &[u8; 4] = b"rsb1";
/// Bytes of a stamp; the least a measured message can have.
pub const STAMP_BYTES: usize = 36;

/// A message's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Numbers the run's messages from 0.
    pub sequence: u64,
    /// The intended sending time, in nanoseconds of the run's monotonic clock.
    pub sent_ns: u64,
}

impl Stamp {
    /// The message of `bytes` bytes (at least [`STAMP_BYTES`]) that carries this stamp.
    pub fn encode(self, bytes: usize) -> Vec<u8> {
        let mut message = format!("rsb1{:016x}{:016x}", self.sequence, self.sent_ns).into_bytes();
        message.resize(bytes.max(STAMP_BYTES), b'x');
        message
    }

    /// A copy of `message`, of at least [`STAMP_BYTES`], with this stamp in the place of its beginning.
    pub fn mark(self, message: &[u8]) -> Vec<u8> {
        let mut marked = self.encode(STAMP_BYTES);
        marked.extend_from_slice(&message[STAMP_BYTES..]);
        marked
    }

    /// Finds every stamp in `bytes`.
    #[inline]
    pub fn find_all(mut bytes: &[u8], mut found: impl FnMut(Self)) {
        while let Some(start) = Self::start(bytes) {
            bytes = &bytes[start + MAGIC.len()..];
            if let Some(stamp) = Self::decode(bytes) {
                found(stamp);
            }
        }
    }

    /// The usual place is the very beginning, which spares the search.
    #[inline]
    fn start(bytes: &[u8]) -> Option<usize> {
        if bytes.starts_with(MAGIC) { Some(0) } else { memmem::find(bytes, MAGIC) }
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { sequence: hexadecimal(bytes.get(..16)?)?, sent_ns: hexadecimal(bytes.get(16..32)?)? })
    }
}

#[inline]
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Stamp> {
        let mut found = Vec::new();
        Stamp::find_all(bytes, |stamp| found.push(stamp));
        found
    }

    #[test]
    fn a_stamp_is_found_in_any_envelope() {
        let one = Stamp { sequence: 7, sent_ns: u64::MAX };
        let two = Stamp { sequence: 8, sent_ns: 0 };
        assert_eq!(all(&one.encode(64)), [one]);
        assert_eq!(one.encode(64).len(), 64);
        assert_eq!(one.mark(&[b'y'; 64])[36..], [b'y'; 28]);
        assert_eq!(one.encode(0).len(), STAMP_BYTES);
        let text = |stamp: Stamp| String::from_utf8(stamp.encode(40)).unwrap();
        assert_eq!(all(format!("[{{\"data\":\"{}\"}},\"{}\"]", text(one), text(two)).as_bytes()), [one, two]);
    }

    #[test]
    fn a_cut_or_altered_stamp_is_none() {
        let message = Stamp { sequence: 1, sent_ns: 2 }.encode(STAMP_BYTES);
        assert_eq!(all(&message[..STAMP_BYTES - 1]), []);
        let mut altered = message.clone();
        altered[10] = b'G';
        assert_eq!(all(&altered), []);
    }
}
