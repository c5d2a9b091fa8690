//! One chunked body (RFC 9112 §7.1), joined in the buffer it arrives in. Whose buffer that is, and what stands
//! before and after, is the decoder's business.
//!
//! ```text
//!   0          body_bytes      read                  buffer's end
//!   │ joined body │ ░ spent ░ │ chunks yet to read │
//! ```
//!
//! Invariant: `body_bytes ≤ read`, so that joining moves bytes down and never over unread ones.

use super::{HttpError, head};
use crate::limits::Limits;

/// A chunk's size line, line end included. Room for a size and a word or two of extensions nobody uses.
const SIZE_LINE_BYTES_MAX: usize = 256;

/// How far the reading of a chunked body has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunked {
    awaiting: Awaiting,
    /// Length of the joined body.
    body_bytes: usize,
    /// Start of what has not been read.
    read: usize,
    /// Chunk extensions skipped so far: without a bound, a body of tiny chunks is an endless header.
    extension_bytes: usize,
    /// Trailer bytes skipped so far.
    trailer_bytes: usize,
    trailer_fields: u16,
}

#[derive(Clone, Copy, Debug, Default)]
enum Awaiting {
    #[default]
    Size,
    Data {
        left: usize,
    },
    DataEnd,
    Trailer,
    Nothing,
}

impl Chunked {
    /// Reads on in `bytes`, which begin where the body begins. True when the body is whole.
    pub fn advance(&mut self, bytes: &mut [u8], limits: &Limits) -> Result<bool, HttpError> {
        loop {
            let has_advanced = match self.awaiting {
                Awaiting::Size => self.read_size(bytes, limits)?,
                Awaiting::Data { left } => self.read_data(bytes, left),
                Awaiting::DataEnd => self.read_data_end(bytes)?,
                Awaiting::Trailer => self.read_trailer(bytes, limits)?,
                Awaiting::Nothing => return Ok(true),
            };
            if !has_advanced {
                return Ok(false);
            }
        }
    }

    /// Drops the spent bytes, so that a body of tiny chunks takes no more room than its data.
    /// `start` is where the body begins in `buffer`.
    pub fn compact(&mut self, buffer: &mut Vec<u8>, start: usize) {
        buffer.drain(start + self.body_bytes..start + self.read);
        self.read = self.body_bytes;
    }

    /// Takes what has been joined out of the bytes, which begin where the body began; what follows is read as if that had not been
    /// there, and has the room of a body of its own.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> Vec<u8> {
        let joined = bytes[..self.body_bytes].to_vec();
        bytes.drain(..self.read);
        (self.body_bytes, self.read) = (0, 0);
        joined
    }

    /// Length of the joined body.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Where reading has come to; once the body is whole, its end.
    pub fn read_bytes(&self) -> usize {
        self.read
    }

    fn read_size(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, HttpError> {
        let Some(line) = line(&bytes[self.read..], SIZE_LINE_BYTES_MAX, HttpError::Chunk)? else {
            return Ok(false);
        };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = decode_size(&line[..digits])?;
        check_extension(&line[digits..])?;
        self.extension_bytes += line.len() - digits;
        if self.extension_bytes > limits.head_bytes_max as usize {
            return Err(HttpError::HeadTooLarge);
        }
        if size > limits.body_bytes_max as usize - self.body_bytes {
            return Err(HttpError::BodyTooLarge);
        }
        self.read += line.len() + 2;
        self.awaiting = if size == 0 { Awaiting::Trailer } else { Awaiting::Data { left: size } };
        Ok(true)
    }

    fn read_data(&mut self, bytes: &mut [u8], left: usize) -> bool {
        let taken = left.min(bytes.len() - self.read);
        bytes.copy_within(self.read..self.read + taken, self.body_bytes);
        self.read += taken;
        self.body_bytes += taken;
        self.awaiting = if taken == left { Awaiting::DataEnd } else { Awaiting::Data { left: left - taken } };
        taken == left
    }

    fn read_data_end(&mut self, bytes: &[u8]) -> Result<bool, HttpError> {
        match bytes[self.read..] {
            [] | [b'\r'] => Ok(false),
            [b'\r', b'\n', ..] => {
                self.read += 2;
                self.awaiting = Awaiting::Size;
                Ok(true)
            }
            _ => Err(HttpError::Chunk),
        }
    }

    /// Trailer fields are checked, bounded like a head, and dropped: nothing here needs one, and RFC 9110 §6.5.1
    /// forbids taking them for header fields.
    fn read_trailer(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, HttpError> {
        let room = limits.head_bytes_max as usize - self.trailer_bytes;
        let Some(line) = line(&bytes[self.read..], room, HttpError::HeadTooLarge)? else {
            return Ok(false);
        };
        self.read += line.len() + 2;
        if line.is_empty() {
            self.awaiting = Awaiting::Nothing;
            return Ok(true);
        }
        if let Some(fault) = head::field_line_fault(line) {
            return Err(fault);
        }
        self.trailer_bytes += line.len() + 2;
        self.trailer_fields += 1;
        match self.trailer_fields > limits.head_fields_max {
            true => Err(HttpError::TooManyFields),
            false => Ok(true),
        }
    }
}

/// The line at the start of `bytes`, without its end; `None` while it has not ended. A line of more than
/// `bytes_max` bytes is `too_long`. Line ends are strict: what a lenient reader takes for a line end inside a chunk
/// extension is the classic way to smuggle a request.
fn line(bytes: &[u8], bytes_max: usize, too_long: HttpError) -> Result<Option<&[u8]>, HttpError> {
    let window = &bytes[..bytes.len().min(bytes_max)];
    match memchr::memchr(b'\n', window) {
        Some(end) => match window[..end].split_last() {
            Some((b'\r', line)) => Ok(Some(line)),
            Some(_) | None => Err(HttpError::Chunk),
        },
        None if bytes.len() >= bytes_max => Err(too_long),
        None => Ok(None),
    }
}

/// At most 16 digits, so that the value fits 64 bits whatever it is.
fn decode_size(digits: &[u8]) -> Result<usize, HttpError> {
    let text = match digits.len() {
        1..=16 => std::str::from_utf8(digits).map_err(|_| HttpError::Chunk)?,
        _ => return Err(HttpError::Chunk),
    };
    usize::from_str_radix(text, 16).map_err(|_| HttpError::Chunk)
}

/// RFC 9112 §7.1.1: semicolons, each with a name and perhaps a value, a token or a quoted string; all of it ignored.
fn check_extension(mut rest: &[u8]) -> Result<(), HttpError> {
    while !rest.is_empty() {
        rest = skip_blanks(rest).strip_prefix(b";").ok_or(HttpError::Chunk)?;
        rest = skip_token(skip_blanks(rest))?;
        if let Some(value) = skip_blanks(rest).strip_prefix(b"=") {
            let value = skip_blanks(value);
            rest = match value.strip_prefix(b"\"") {
                Some(quoted) => skip_quoted(quoted)?,
                None => skip_token(value)?,
            };
        }
    }
    Ok(())
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

fn skip_token(text: &[u8]) -> Result<&[u8], HttpError> {
    match text.iter().take_while(|byte| head::is_token(byte)).count() {
        0 => Err(HttpError::Chunk),
        length => Ok(&text[length..]),
    }
}

/// What stands behind the quote that ends a string. Bytes above 0x7f, which RFC 9110 §5.6.4 calls obsolete, are refused.
fn skip_quoted(text: &[u8]) -> Result<&[u8], HttpError> {
    let mut rest = text;
    loop {
        rest = match rest {
            [b'"', behind @ ..] => return Ok(behind),
            [b'\\', b'\t' | b' '..=b'~', behind @ ..] => behind,
            [b'\t' | b' '..=b'[' | b']'..=b'~', behind @ ..] => behind,
            _ => return Err(HttpError::Chunk),
        };
    }
}
