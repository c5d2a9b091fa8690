//! Strings and numbers, byte by byte.

use super::JsonError;

/// Checks a string whose first quote has been read; what follows it.
pub(in crate::wire) fn skip_string(text: &[u8]) -> Result<&[u8], JsonError> {
    let mut rest = text;
    loop {
        let index = memchr::memchr2(b'"', b'\\', rest).ok_or(JsonError::Syntax)?;
        if rest[..index].iter().any(|byte| *byte < 0x20) {
            return Err(JsonError::Syntax);
        }
        rest = match &rest[index..] {
            [b'"', behind @ ..] => return Ok(behind),
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => behind,
            [_, b'u', a, b, c, d, behind @ ..]
                if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
            {
                behind
            }
            _ => return Err(JsonError::Syntax),
        };
    }
}

/// What the inside of a checked string says; `None` when that is half a surrogate pair (RFC 8259 §8.2).
pub(super) fn unescape(inside: &str) -> Option<String> {
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        rest = rest.get(at + 2..)?;
        text.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => take_character(&mut rest)?,
            other => char::from(other),
        });
    }
    text.push_str(rest);
    Some(text)
}

/// Takes the digits of a character, which may be two escapes.
fn take_character(rest: &mut &str) -> Option<char> {
    let first = take_unit(rest)?;
    if !(0xd800..=0xdbff).contains(&first) {
        return char::from_u32(first);
    }
    *rest = rest.strip_prefix("\\u")?;
    let second = take_unit(rest).filter(|unit| (0xdc00..=0xdfff).contains(unit))?;
    char::from_u32(0x10000 + ((first - 0xd800) << 10 | (second - 0xdc00)))
}

/// Takes the four digits of a UTF-16 unit.
fn take_unit(rest: &mut &str) -> Option<u32> {
    let (digits, behind) = rest.split_at_checked(4)?;
    *rest = behind;
    u32::from_str_radix(digits, 16).ok()
}

/// Checks the number that `text` begins with; what follows.
pub(super) fn check_number(text: &[u8]) -> Result<&[u8], JsonError> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let (number, rest) = text.split_at(text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len()));
    let ends_here = matches!(rest.first(), None | Some(b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
    match (is_number(number), ends_here) {
        (true, true) => Ok(rest),
        (false, _) => Err(JsonError::Number),
        (true, false) => Err(JsonError::Syntax),
    }
}

/// The grammar of RFC 8259 §6: sign, integer without leading zeros, fraction, exponent.
fn is_number(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let (integer, rest) = split_digits(unsigned);
    let has_integer = integer == b"0" || integer.first().is_some_and(|digit| *digit != b'0');
    let (has_fraction, rest) = match rest.strip_prefix(b".") {
        Some(rest) => (!split_digits(rest).0.is_empty(), split_digits(rest).1),
        None => (true, rest),
    };
    let has_exponent = match rest.split_first() {
        None => true,
        Some((b'e' | b'E', rest)) => {
            let digits = rest.strip_prefix(b"+").or(rest.strip_prefix(b"-")).unwrap_or(rest);
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        }
        Some(_) => false,
    };
    has_integer && has_fraction && has_exponent
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_grammar() {
        let check = |text: &'static str| check_number(text.as_bytes());
        for number in ["0", "-0", "10", "1.5", "-0.01", "1e5", "1E+05", "0e-0", "18446744073709551616.5e9"] {
            assert_eq!(check(number), Ok(&b""[..]), "{number}");
        }
        for (text, rest) in [("1,2", ",2"), ("1 ]", " ]"), ("1}", "}")] {
            assert_eq!(check(text), Ok(rest.as_bytes()), "{text}");
        }
        for number in ["-", "01", "-01", "1.", "1.e5", "1e", "1e+", "1e5.", "1-1", "--1", "1.2.3", "1+"] {
            assert_eq!(check(number), Err(JsonError::Number), "{number}");
        }
        for text in ["1null", "18446744073709551616.1null", "1\"\"", "1\\", "1é", "1\0"] {
            assert_eq!(check(text), Err(JsonError::Syntax), "{text}");
        }
    }

    #[test]
    fn escapes_are_read_and_surrogates_come_in_pairs() {
        assert_eq!(
            unescape(r#"a\u00e9\n\"\\\/\ud83d\uDE00é\b\f\r\t"#).as_deref(),
            Some("aé\n\"\\/😀é\u{8}\u{c}\r\t")
        );
        assert_eq!(unescape(r"\\ud83d").as_deref(), Some(r"\ud83d"));
        for text in
            [r"\ud83d", r"\ude00", r"\ud83d\ud83d", r"\ud83d\u0041", r"\\\ud83d", r"\ud83dx", r"\ud83d\n"]
        {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
