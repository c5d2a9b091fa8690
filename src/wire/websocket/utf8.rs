//! UTF-8 in pieces: tells at the first byte that cannot be right, whatever the pieces are.
//!
//! Invariant: what is kept between pieces is the valid beginning of one character, at most three bytes.

use super::WsError;

/// Checks text that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    kept: [u8; 4],
    kept_bytes: usize,
}

impl Utf8 {
    /// Checks the next piece.
    pub fn check(&mut self, mut piece: &[u8]) -> Result<(), WsError> {
        while self.kept_bytes > 0 {
            let Some((byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            self.kept[self.kept_bytes] = *byte;
            self.kept_bytes += 1;
            piece = rest;
            match std::str::from_utf8(&self.kept[..self.kept_bytes]) {
                Ok(_) => self.kept_bytes = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(WsError::Utf8),
            }
        }
        if let Err(error) = simdutf8::compat::from_utf8(piece) {
            if error.error_len().is_some() {
                return Err(WsError::Utf8);
            }
            let rest = &piece[error.valid_up_to()..];
            self.kept[..rest.len()].copy_from_slice(rest);
            self.kept_bytes = rest.len();
        }
        Ok(())
    }

    /// Ends the text, which must not stop inside a character; ready for the next.
    pub fn finish(&mut self) -> Result<(), WsError> {
        match std::mem::take(&mut self.kept_bytes) {
            0 => Ok(()),
            _ => Err(WsError::Utf8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of bytes taken before the fault shows; `None` when there is none before the end.
    fn fault(text: &[u8]) -> Option<usize> {
        let mut bytewise = Utf8::default();
        let at = text.chunks(1).position(|byte| bytewise.check(byte).is_err());
        for split in 0..=text.len() {
            let mut utf8 = Utf8::default();
            let verdict = utf8.check(&text[..split]).and_then(|()| utf8.check(&text[split..]));
            assert_eq!(verdict.is_err(), at.is_some(), "{text:x?} split at {split}");
            if at.is_none() {
                assert_eq!(utf8.finish().is_ok(), std::str::from_utf8(text).is_ok());
            }
        }
        at
    }

    #[test]
    fn a_fault_shows_at_the_first_byte_that_cannot_be_right() {
        for (text, at) in [
            (&b""[..], None),
            ("aé€😀z".as_bytes(), None),
            (b"a\x80", Some(1)),
            (b"\xc1", Some(0)),
            (b"\xc2", None),
            (b"\xc2\x7f", Some(1)),
            (b"\xe0\x9f", Some(1)),
            (b"\xe0\xa0", None),
            (b"\xed\x9f\xbf", None),
            (b"\xed\xa0", Some(1)),
            (b"\xf0\x8f", Some(1)),
            (b"\xf0\x90\x80", None),
            (b"\xf4\x8f\xbf\xbf", None),
            (b"\xf4\x90", Some(1)),
            (b"\xf5", Some(0)),
            (b"\xf0\x9f\x98\x80\xff", Some(4)),
            (b"\xf0\x9f\x98a", Some(3)),
        ] {
            assert_eq!(fault(text), at, "{text:x?}");
        }
    }
}
