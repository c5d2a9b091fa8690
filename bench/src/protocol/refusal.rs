//! What an answer that was not wanted says for itself: its status, where it points, the first line a person can read.

use std::fmt;

use super::{body::Body, head::Head};

/// Bytes of a body that are looked at.
const BODY_BYTES_MAX: usize = 512;
/// Characters of a line that are shown.
const LINE_CHARS_MAX: usize = 100;

/// An answer that was not wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// Its first line, or where it points.
    pub text: Option<Box<str>>,
}

/// Reads a refusal while its body arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    location: Option<Box<str>>,
    body: Vec<u8>,
}

impl Reading {
    /// Begins with the bytes of the head.
    pub fn begin(head: &Head, bytes: &[u8]) -> Self {
        let location = (300..400).contains(&head.status).then(|| field(&bytes[..head.consumed], "location"));
        Self { location: location.flatten().map(Into::into), body: Vec::new() }
    }

    /// Takes in more of the body.
    pub fn take(&mut self, content: &[u8]) {
        let room = BODY_BYTES_MAX - self.body.len();
        self.body.extend_from_slice(&content[..content.len().min(room)]);
    }

    /// Whether more would change nothing.
    pub fn is_full(&self) -> bool {
        self.location.is_some() || self.body.len() == BODY_BYTES_MAX
    }

    /// What was read.
    pub fn finish(self, status: u16) -> Refusal {
        let text = self.location.map(|location| format!("to {location}").into());
        Refusal {
            status,
            text: text.or_else(|| first_line(&self.body).map(|line| format!("“{line}”").into())),
        }
    }
}

impl Refusal {
    /// The refusal at the start of `bytes`; `None` when more of it has to arrive. A body without an end is not waited
    /// for.
    pub fn read(head: &Head, bytes: &[u8]) -> Option<Self> {
        let (mut reading, mut body) = (Reading::begin(head, bytes), Body::new(head.framing));
        let mut rest = &bytes[head.consumed..];
        while !rest.is_empty() && body != Body::Done && !reading.is_full() {
            let Ok((used, content)) = body.handle(rest) else { break };
            reading.take(content);
            rest = &rest[used..];
        }
        let is_whole = matches!(body, Body::Done | Body::UntilClose) || reading.is_full();
        is_whole.then(|| reading.finish(head.status))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        self.text.as_ref().map_or(Ok(()), |text| write!(f, " {text}"))
    }
}

/// A field of a head.
fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let mut fields = std::str::from_utf8(head).ok()?.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The first line that says something: a page's markup does not.
pub fn first_line(body: &[u8]) -> Option<String> {
    let (mut text, mut is_markup) = (String::new(), false);
    for character in String::from_utf8_lossy(body).chars() {
        match character {
            '<' => is_markup = true,
            '>' if is_markup => {
                is_markup = false;
                // A title and the heading behind it are two lines, however they are written.
                text.push('\n');
            }
            _ if is_markup => {}
            '\n' => text.push('\n'),
            other if other.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(LINE_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::head;

    fn check(answer: &str, expected: &str) {
        for cut in 0..answer.len() {
            let piece = &answer.as_bytes()[..cut];
            if let Some(head) = head::decode(piece).unwrap() {
                assert_eq!(Refusal::read(&head, piece), None, "cut at {cut}");
            }
        }
        let head = head::decode(answer.as_bytes()).unwrap().unwrap();
        assert_eq!(Refusal::read(&head, answer.as_bytes()).unwrap().to_string(), expected);
    }

    #[test]
    fn a_refusal_shows_its_first_readable_line() {
        check("HTTP/1.1 404 No\r\nContent-Length: 13\r\n\r\nNo such page\n", "404 “No such page”");
        let page = "<html>\r\n<head><title>404 Not Found</title></head>\r\n</html>";
        let chunked = format!("{:x}\r\n{page}\r\n0\r\n\r\n", page.len());
        check(
            &format!("HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
            "404 “404 Not Found”",
        );
        check("HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n", "503");
        check("HTTP/1.1 500 Oh\r\n\r\n", "500");
        check("HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "302 to /login");
    }

    #[test]
    fn a_long_or_unprintable_body_stays_short() {
        let body = format!("\n \x1b[31m{}", "é".repeat(600));
        let line = first_line(body.as_bytes()).unwrap();
        assert_eq!(line.chars().count(), LINE_CHARS_MAX);
        assert!(!line.contains('\x1b'));
        assert_eq!(first_line(b"<p></p>"), None);
    }
}
