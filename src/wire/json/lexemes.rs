//! Strings and numbers checked byte by byte, before simd-json sees the text. How they are put together is for
//! simd-json to check.
//!
//! simd-json 0.17 is lax in three places, found by comparing it with another reader (`document.rs`, tests): half a
//! surrogate pair is read as U+0000 (its issue 481) or as another character, a NUL ends a number, and whatever follows
//! a number of more than 64 bits is skipped.

use super::JsonError;

/// Refuses texts with a string or number that is none (RFC 8259 §6, §7), or with a control character.
pub(super) fn check(text: &[u8]) -> Result<(), JsonError> {
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => check_string(after)?,
            b'-' | b'0'..=b'9' => check_number(rest)?,
            b'\t' | b'\n' | b'\r' => after,
            ..0x20 => return Err(JsonError::Syntax),
            _ => after,
        };
    }
    Ok(())
}

/// Checks a string whose first quote has been read; what follows it.
fn check_string(text: &[u8]) -> Result<&[u8], JsonError> {
    let mut rest = text;
    loop {
        let index = memchr::memchr2(b'"', b'\\', rest).ok_or(JsonError::Syntax)?;
        if rest[..index].iter().any(|byte| *byte < 0x20) {
            return Err(JsonError::Syntax);
        }
        if rest[index] == b'"' {
            return Ok(&rest[index + 1..]);
        }
        rest = check_escape(&rest[index..])?;
    }
}

/// Checks the escape that `text` begins with, two of them for a surrogate pair (RFC 8259 §8.2); what follows.
fn check_escape(text: &[u8]) -> Result<&[u8], JsonError> {
    let length = match escaped_unit(text)? {
        Some(0xd800..=0xdbff) => match escaped_unit(&text[6..])? {
            Some(0xdc00..=0xdfff) => 12,
            Some(_) | None => return Err(JsonError::NotUtf8),
        },
        Some(0xdc00..=0xdfff) => return Err(JsonError::NotUtf8),
        Some(_) => 6,
        None => 2,
    };
    text.get(length..).ok_or(JsonError::Syntax)
}

/// The UTF-16 unit that `text` begins with as `\uXXXX`, if it does.
fn escaped_unit(text: &[u8]) -> Result<Option<u16>, JsonError> {
    let Some(digits) = text.strip_prefix(b"\\u") else { return Ok(None) };
    let digits = digits.get(..4).ok_or(JsonError::Syntax)?;
    let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or(JsonError::Syntax);
    let unit = digits.iter().try_fold(0u32, |unit, byte| Ok::<_, JsonError>(unit << 4 | digit(byte)?))?;
    Ok(u16::try_from(unit).ok())
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
        for number in ["0", "-0", "10", "1.5", "-0.01", "1e5", "1E+05", "0e-0", "18446744073709551616.5e9"] {
            assert_eq!(check(number.as_bytes()), Ok(()), "{number}");
            assert_eq!(check(format!("[{number},{number} ]").as_bytes()), Ok(()), "{number}");
        }
        for number in ["-", "01", "-01", "1.", "1.e5", "1e", "1e+", "1e5.", "1-1", "--1", "1.2.3", "1+"] {
            assert_eq!(check(number.as_bytes()), Err(JsonError::Number), "{number}");
        }
        for text in ["1null", "18446744073709551616.1null", "1\"\"", "1\\", "1é"] {
            assert_eq!(check(text.as_bytes()), Err(JsonError::Syntax), "{text}");
        }
    }

    #[test]
    fn surrogates_come_in_pairs_and_control_characters_nowhere() {
        for text in [r#""\ud83d\uDE00\u0041""#, r#""\\ud83d""#, "\"\u{7f}é\" \t\r\n", r#""\"""#] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
        let halves =
            [r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\ud83d""#, r#""\ud83d\u0041""#, r#""\\\ud83d""#];
        for text in halves {
            assert_eq!(check(text.as_bytes()), Err(JsonError::NotUtf8), "{text}");
        }
        for text in ["\"\n\"", "\0", "1\0", "\"", "\"\\", "\"\\u00", r#""\uZZZZ""#, r#""\ud83d\uZZZZ""#] {
            assert_eq!(check(text.as_bytes()), Err(JsonError::Syntax), "{text:?}");
        }
    }
}
