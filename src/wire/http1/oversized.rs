//! A request whose body is larger than is kept: its head by itself, and its body bit by bit.
//!
//! Invariant: head and pieces are what the decoder would have handed out, had it kept all of it.

use super::{
    HeadTable, HttpError, Request, Step,
    chunked::Chunked,
    decoder::lend_head,
    head::{self, Framing, Head},
};
use crate::limits::Limits;

/// Such a request.
#[derive(Debug)]
pub struct Oversized {
    head: Vec<u8>,
    expects_continue: bool,
    length: Option<u64>,
    /// What takes its body.
    pub body: BodyDecoder,
}

/// Takes a body bit by bit.
#[derive(Debug)]
pub struct BodyDecoder {
    left: Left,
    /// What has arrived and not been taken; behind the body, what follows it.
    buffer: Vec<u8>,
    limits: Limits,
}

#[derive(Debug)]
enum Left {
    Bytes(usize),
    Chunks(Chunked),
    Nothing,
}

impl Oversized {
    /// Of the bytes that a request begins with, its head whole among them.
    pub(super) fn begun(bytes: &[u8], table: &mut HeadTable, limits: &Limits) -> Option<Self> {
        let limits = unbounded(limits);
        let head = head::decode(bytes, table, &limits).ok()??;
        Some(Self::new(head, Chunked::default(), bytes, limits))
    }

    /// Of the bytes that a request begins with, some of whose chunks have been joined behind its head.
    pub(super) fn joined(head: Head, chunked: Chunked, bytes: &[u8], limits: &Limits) -> Self {
        Self::new(head, chunked, bytes, unbounded(limits))
    }

    fn new(head: Head, chunked: Chunked, bytes: &[u8], limits: Limits) -> Self {
        let (head_bytes, rest) = bytes.split_at(head.bytes);
        let (left, length) = match head.framing {
            Framing::Length(length) => (Left::Bytes(length), Some(length as u64)),
            Framing::Chunked => (Left::Chunks(chunked), None),
        };
        let expects_continue = head.expects_continue && rest.is_empty();
        let body = BodyDecoder { left, buffer: rest.to_vec(), limits };
        Self { head: head_bytes.to_vec(), expects_continue, length, body }
    }

    /// The request, without its body.
    pub fn request<'a>(&'a self, table: &'a mut HeadTable) -> Result<Request<'a>, HttpError> {
        let head = head::decode(&self.head, table, &self.body.limits)?.ok_or(HttpError::RequestLine)?;
        match lend_head(head, &self.head, table)? {
            Step::Request { request, .. } => Ok(request),
            Step::NeedMore | Step::Continue => Err(HttpError::RequestLine),
        }
    }

    /// Whether its client waits for [`super::CONTINUE`] before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// How long the body is, if its head says so.
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

impl BodyDecoder {
    /// Takes what has arrived: some of the body, or nothing.
    pub fn take(&mut self, input: &[u8]) -> Result<Vec<u8>, HttpError> {
        self.buffer.extend_from_slice(input);
        let (piece, is_whole) = match &mut self.left {
            Left::Nothing => return Ok(Vec::new()),
            Left::Bytes(left) => {
                let taken = self.buffer.len().min(*left);
                *left -= taken;
                (self.buffer.drain(..taken).collect(), *left == 0)
            }
            Left::Chunks(chunked) => {
                let is_whole = chunked.advance(&mut self.buffer, &self.limits)?;
                (chunked.take(&mut self.buffer), is_whole)
            }
        };
        if is_whole {
            self.left = Left::Nothing;
        }
        Ok(piece)
    }

    /// Whether all of it has been taken.
    pub fn is_whole(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }
}

/// With room for any body that can be said to come.
fn unbounded(limits: &Limits) -> Limits {
    Limits { body_bytes_max: u32::MAX, ..*limits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http1::{Decoder, Method};

    /// Feeds a request in every pair of parts and byte by byte; once it is found too large it goes on bit by bit.
    #[track_caller]
    fn check(text: &str, body: &str, length: Option<u64>) {
        let limits = Limits { body_bytes_max: 8, ..Limits::default() };
        let bytes = text.as_bytes();
        let mut ways = vec![bytes.chunks(1).collect::<Vec<_>>()];
        ways.extend((0..=bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]));
        for parts in ways {
            let (mut decoder, mut table) = (Decoder::default(), HeadTable::default());
            let (mut oversized, mut taken): (Option<Oversized>, _) = (None, Vec::new());
            for part in parts {
                let piece = match &mut oversized {
                    Some(oversized) => oversized.body.take(part).expect("a body"),
                    None => match decoder.decode(part, &mut table, &limits) {
                        Ok(Step::NeedMore | Step::Continue) => continue,
                        Ok(Step::Request { .. }) => panic!("it is too large"),
                        Err(error) => {
                            assert_eq!(error, HttpError::BodyTooLarge);
                            let found = decoder.oversized(part, &mut table, &limits);
                            oversized.insert(found.expect("it has a head")).body.take(&[]).expect("a body")
                        }
                    },
                };
                taken.extend_from_slice(&piece);
            }
            let oversized = oversized.expect("it is too large");
            assert!(oversized.body.is_whole(), "{text:?}");
            assert_eq!((&*taken, oversized.length()), (body.as_bytes(), length), "{text:?}");
            let request = oversized.request(&mut table).expect("a request");
            assert_eq!((request.method, request.target, request.body), (Method::Post, "/a?b", &b""[..]));
            assert_eq!(request.header("x"), Some(&b"y"[..]));
        }
    }

    #[test]
    fn a_body_that_is_too_large_to_be_kept_is_taken_bit_by_bit() {
        let head = "POST /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n";
        check(&format!("{head}Content-Length: 9\r\n\r\n012345678"), "012345678", Some(9));
        let chunks = "3\r\n012\r\n5;x=1\r\n34567\r\n1\r\n8\r\nb\r\nabcdefghijk\r\n0\r\nTrailer: x\r\n\r\n";
        check(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}"), "012345678abcdefghijk", None);
        let early = "\r\n\r\n";
        check(
            &format!("{early}{head}Content-Length: 20\r\n\r\n{}", "x".repeat(20)),
            &"x".repeat(20),
            Some(20),
        );
    }
}
