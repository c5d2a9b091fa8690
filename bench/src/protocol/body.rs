//! A response's body taken out of its framing, piece by piece.

use super::head::Framing;

/// Where in a body the next byte falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes follow.
    Plain(u64),
    /// Everything until the connection ends.
    UntilClose,
    /// A chunk's size line, read so far; `true` once its digits ended (RFC 9112 §7.1 allows extensions).
    ChunkSize(u64, bool),
    /// So many bytes of a chunk follow.
    ChunkData(u64),
    /// The line end after a chunk's data.
    ChunkEnd,
    /// The trailer's current line has so many bytes; an empty line ends the body.
    Trailer(u8),
    /// The body has ended.
    Done,
}

/// A chunk size that is no number or is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyError;

impl Body {
    /// The start of a body framed so.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Plain(length),
            Framing::Chunked => Self::ChunkSize(0, false),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Takes what it can off `bytes`: how many bytes are used up, and the content among them.
    pub fn handle<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), BodyError> {
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            match self {
                Self::Done => break,
                Self::UntilClose => return Ok((bytes.len(), &bytes[used..])),
                Self::Plain(left) | Self::ChunkData(left) => {
                    let count = (bytes.len() - used).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let left = *left - count as u64;
                    *self = match self {
                        Self::ChunkData(_) if left == 0 => Self::ChunkEnd,
                        Self::ChunkData(_) => Self::ChunkData(left),
                        _ if left == 0 => Self::Done,
                        _ => Self::Plain(left),
                    };
                    return Ok((used + count, &bytes[used..used + count]));
                }
                Self::ChunkSize(size, ended) => *self = Self::after_size_byte(*size, *ended, byte)?,
                Self::ChunkEnd if byte == b'\n' => *self = Self::ChunkSize(0, false),
                Self::ChunkEnd => {}
                Self::Trailer(0) if byte == b'\n' => *self = Self::Done,
                Self::Trailer(length) if byte == b'\n' => *length = 0,
                Self::Trailer(_) if byte == b'\r' => {}
                Self::Trailer(length) => *length = 1,
            }
            used += 1;
        }
        Ok((used, &[]))
    }

    fn after_size_byte(size: u64, ended: bool, byte: u8) -> Result<Self, BodyError> {
        match (byte, (byte as char).to_digit(16)) {
            (b'\n', _) if size == 0 => Ok(Self::Trailer(0)),
            (b'\n', _) => Ok(Self::ChunkData(size)),
            (b'\r', _) => Ok(Self::ChunkSize(size, ended)),
            (b';' | b' ', _) => Ok(Self::ChunkSize(size, true)),
            (_, _) if ended => Ok(Self::ChunkSize(size, true)),
            (_, Some(digit)) if size < 1 << 40 => Ok(Self::ChunkSize(size * 16 + u64::from(digit), false)),
            _ => Err(BodyError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every content byte of `bytes`, delivered in two pieces at every possible cut, and what was left over.
    fn check(framing: Framing, bytes: &[u8], content: &[u8], rest: &[u8]) {
        for cut in 0..=bytes.len() {
            let (mut body, mut found, mut left) = (Body::new(framing), Vec::new(), Vec::new());
            for mut piece in [&bytes[..cut], &bytes[cut..]] {
                while !piece.is_empty() && body != Body::Done {
                    let (used, data) = body.handle(piece).unwrap();
                    found.extend_from_slice(data);
                    piece = &piece[used..];
                }
                left.extend_from_slice(piece);
            }
            assert_eq!((found.as_slice(), left.as_slice()), (content, rest), "cut at {cut}");
        }
    }

    #[test]
    fn content_is_the_same_however_it_is_cut() {
        check(Framing::Length(5), b"helloNEXT", b"hello", b"NEXT");
        check(Framing::UntilClose, b"hello", b"hello", b"");
        check(Framing::Chunked, b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\nNEXT", b"hello!", b"NEXT");
        check(Framing::Chunked, b"A\r\n0123456789\r\n0\r\nT: v\r\n\r\n", b"0123456789", b"");
    }

    #[test]
    fn a_chunk_size_that_is_no_number_is_an_error() {
        assert_eq!(Body::new(Framing::Chunked).handle(b"xyz\r\n"), Err(BodyError));
        assert_eq!(Body::new(Framing::Chunked).handle(b"fffffffffffffff\r\n"), Err(BodyError));
    }
}
