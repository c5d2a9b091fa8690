//! Where a reply ends.

use super::value::Value;

/// How deep lists may lie in lists: those we ask for lie three deep.
pub const DEPTH_MAX: usize = 8;
/// The longest line that is a length or a number: a sign, 19 digits.
const NUMBER_BYTES_MAX: usize = 20;

/// Finds the end of one reply after another.
#[derive(Debug, Default)]
pub struct Decoder {
    /// So many bytes of the reply need not be looked at again.
    scanned: usize,
    /// How many values are still to come of each list that has begun, the outermost first.
    open: [u64; DEPTH_MAX],
    depth: usize,
}

/// What has been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The reply is not there yet.
    NeedMore,
    /// A reply.
    Reply {
        /// The reply.
        value: Value<'a>,
        /// Its bytes.
        consumed: usize,
    },
}

/// The server breaks the protocol. There is no way back to it on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespError {
    /// A value of a kind that is unknown, or that nobody asked for.
    Kind(u8),
    /// A length or a number that is none.
    Number,
    /// A value does not end where it should.
    End,
    /// Lists in lists in lists.
    TooDeep,
    /// It is larger than it may be.
    TooLarge,
}

/// One value, or the head of a list.
pub(super) enum Head<'a> {
    Value(Value<'a>),
    /// So many values follow.
    List {
        kind: u8,
        count: u64,
    },
}

impl Decoder {
    /// Looks for a reply at the start of what has been received. It must be given the same bytes again, and what came behind
    /// them, until it has found one; then what comes behind that.
    pub fn decode<'a>(&mut self, input: &'a [u8], bytes_max: usize) -> Result<Step<'a>, RespError> {
        loop {
            let Some((head, length)) = read_head(&input[self.scanned..], bytes_max)? else {
                return match input.len() > bytes_max {
                    true => Err(RespError::TooLarge),
                    false => Ok(Step::NeedMore),
                };
            };
            self.scanned += length;
            if self.scanned > bytes_max {
                return Err(RespError::TooLarge);
            }
            match head {
                Head::List { count: 0, .. } | Head::Value(_) => self.close(),
                Head::List { count, .. } => {
                    let level = self.open.get_mut(self.depth).ok_or(RespError::TooDeep)?;
                    *level = count;
                    self.depth += 1;
                }
            }
            if self.depth == 0 {
                let consumed = std::mem::take(&mut self.scanned);
                return Ok(Step::Reply { value: Value::of(&input[..consumed]), consumed });
            }
        }
    }

    /// A value is whole, and with it each list whose last value it was.
    fn close(&mut self) {
        while self.depth > 0 {
            let left = &mut self.open[self.depth - 1];
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.depth -= 1;
        }
    }
}

/// Reads one value or the head of a list, and how long that is; `None` when it is not all there.
pub(super) fn read_head(input: &[u8], bytes_max: usize) -> Result<Option<(Head<'_>, usize)>, RespError> {
    let Some(kind) = input.first().copied() else { return Ok(None) };
    let Some((line, after)) = read_line(kind, &input[1..], bytes_max)? else { return Ok(None) };
    let after = after + 1;
    let value = match kind {
        b'+' => Value::Text(line),
        b'-' => Value::Error(line),
        b':' => Value::Number(number(line)?),
        b',' | b'(' => Value::Text(line),
        b'_' if line.is_empty() => Value::Null,
        b'_' => return Err(RespError::End),
        b'#' => match line {
            b"t" => Value::Number(1),
            b"f" => Value::Number(0),
            _ => return Err(RespError::Number),
        },
        b'$' | b'!' | b'=' => return read_block(kind, line, (input, after), bytes_max),
        _ => return read_count(kind, line, after),
    };
    Ok(Some((Head::Value(value), after)))
}

/// Reads a string that says its length.
fn read_block<'a>(
    kind: u8,
    line: &[u8],
    (input, start): (&'a [u8], usize),
    bytes_max: usize,
) -> Result<Option<(Head<'a>, usize)>, RespError> {
    // As RESP2 writes it.
    if line == b"-1" {
        return Ok(Some((Head::Value(Value::Null), start)));
    }
    let length = usize::try_from(number(line)?).map_err(|_| RespError::Number)?;
    if length > bytes_max {
        return Err(RespError::TooLarge);
    }
    let end = start + length;
    let Some(after) = input.get(end..end + 2) else { return Ok(None) };
    if after != b"\r\n" {
        return Err(RespError::End);
    }
    let block = &input[start..end];
    let value = match kind {
        b'!' => Value::Error(block),
        // Three letters say what kind of text it is.
        b'=' => match block.get(3) {
            Some(b':') => Value::Text(&block[4..]),
            _ => return Err(RespError::End),
        },
        _ => Value::Text(block),
    };
    Ok(Some((Head::Value(value), end + 2)))
}

/// Reads the head of a list.
fn read_count(kind: u8, line: &[u8], after: usize) -> Result<Option<(Head<'_>, usize)>, RespError> {
    if kind == b'*' && line == b"-1" {
        return Ok(Some((Head::Value(Value::Null), after)));
    }
    let count = u64::try_from(number(line)?).map_err(|_| RespError::Number)?;
    let count = match kind {
        b'%' => count.checked_mul(2).ok_or(RespError::Number)?,
        _ => count,
    };
    Ok(Some((Head::List { kind, count }, after)))
}

/// Reads up to the end of a line; its bytes, and how many there are with the end.
fn read_line(kind: u8, input: &[u8], bytes_max: usize) -> Result<Option<(&[u8], usize)>, RespError> {
    let line_max = match kind {
        b'+' | b'-' | b',' | b'(' => bytes_max,
        b':' | b'_' | b'#' | b'$' | b'!' | b'=' | b'*' | b'~' | b'%' | b'>' => NUMBER_BYTES_MAX,
        kind => return Err(RespError::Kind(kind)),
    };
    let Some(end) = memchr::memchr(b'\r', &input[..input.len().min(line_max.saturating_add(1))]) else {
        return match input.len() > line_max {
            true => Err(RespError::TooLarge),
            false => Ok(None),
        };
    };
    match input.get(end + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((&input[..end], end + 2))),
        Some(_) => Err(RespError::End),
    }
}

fn number(line: &[u8]) -> Result<i64, RespError> {
    let text = std::str::from_utf8(line).map_err(|_| RespError::Number)?;
    text.parse().map_err(|_| RespError::Number)
}

impl std::fmt::Display for RespError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "a value of the unknown kind 0x{kind:02x}"),
            Self::Number => f.write_str("a length or number that is none"),
            Self::End => f.write_str("a value that does not end where it should"),
            Self::TooDeep => f.write_str("lists within lists, too deep"),
            Self::TooLarge => f.write_str("a reply that is too large"),
        }
    }
}

impl std::error::Error for RespError {}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    /// Decodes in two parts, split everywhere, and byte by byte; the outcome is the same.
    fn check(input: &[u8], expected: Result<Option<usize>, RespError>) {
        let outcome = |cuts: &[usize]| {
            let mut decoder = Decoder::default();
            for cut in cuts {
                match decoder.decode(&input[..*cut], MAX) {
                    Ok(Step::NeedMore) => {}
                    Ok(Step::Reply { consumed, .. }) => return Ok(Some(consumed)),
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        };
        for split in 0..=input.len() {
            let text = String::from_utf8_lossy(input);
            assert_eq!(outcome(&[split, input.len()]), expected, "{text:?}, split at {split}");
        }
        assert_eq!(outcome(&(0..=input.len()).collect::<Vec<_>>()), expected);
    }

    fn whole(input: &[u8]) {
        check(input, Ok(Some(input.len())));
        // What follows is none of it, and less is not enough.
        check(&[input, b"+"].concat(), Ok(Some(input.len())));
        check(&input[..input.len() - 1], Ok(None));
    }

    #[test]
    fn a_reply_ends_where_it_says_and_is_not_there_before() {
        for input in [
            &b"+OK\r\n"[..],
            b"+\r\n",
            b"-ERR no\r\n",
            b":-12\r\n",
            b",1.5\r\n",
            b"(123456789012345678901234567890\r\n",
            b"_\r\n",
            b"#t\r\n",
            b"$3\r\na\r\n\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"!5\r\nERR x\r\n",
            b"=5\r\ntxt:a\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n",
            b"%1\r\n+a\r\n*1\r\n:1\r\n",
            b"~1\r\n:1\r\n",
            b">3\r\n+message\r\n+c\r\n$1\r\nx\r\n",
        ] {
            whole(input);
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_told() {
        check(b"x", Err(RespError::Kind(b'x')));
        check(b"|1\r\n", Err(RespError::Kind(b'|')));
        check(b"$?\r\n", Err(RespError::Number));
        check(b"*?\r\n", Err(RespError::Number));
        check(b"$-2\r\n", Err(RespError::Number));
        check(b"*-2\r\n", Err(RespError::Number));
        check(b":1x\r\n", Err(RespError::Number));
        check(b"%9223372036854775807\r\n", Ok(None));
        check(b"*9223372036854775808\r\n", Err(RespError::Number));
        check(b":1\rx", Err(RespError::End));
        check(b"$1\r\nabc", Err(RespError::End));
        check(b"_x\r\n", Err(RespError::End));
        check(b"#x\r\n", Err(RespError::Number));
        check(b"=3\r\ntxt\r\n", Err(RespError::End));
        check(b"=4\r\ntxt:\r\n", Ok(Some(10)));
    }

    #[test]
    fn lists_lie_so_deep_and_not_one_deeper() {
        let deep = |depth| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        whole(&deep(DEPTH_MAX));
        check(&deep(DEPTH_MAX + 1), Err(RespError::TooDeep));
    }

    #[test]
    fn a_reply_is_so_large_and_not_one_byte_larger() {
        let decode =
            |input: &[u8], max| Decoder::default().decode(input, max).map(|step| step != Step::NeedMore);
        let block = b"$5\r\nhello\r\n";
        assert_eq!(decode(block, block.len()), Ok(true));
        assert_eq!(decode(block, block.len() - 1), Err(RespError::TooLarge));
        assert_eq!(decode(b"$6\r\n", 5), Err(RespError::TooLarge), "before it has come");
        let list = b"*2\r\n:1\r\n:2\r\n";
        assert_eq!(decode(list, list.len()), Ok(true));
        assert_eq!(decode(list, list.len() - 1), Err(RespError::TooLarge));
        assert_eq!(decode(b"+hello", 6), Ok(false));
        assert_eq!(decode(b"+hello!", 6), Err(RespError::TooLarge), "a line without an end");
        assert_eq!(decode(b":123456789012345678901", MAX), Err(RespError::TooLarge));
    }
}
