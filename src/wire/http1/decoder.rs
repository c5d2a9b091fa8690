//! Bytes → requests, over any number of arrivals. The rules of a head are in `head.rs`, of chunks in `chunked.rs`.
//!
//! A request that lies whole in the input is decoded where it lies: no copy, no allocation. Otherwise all the input
//! is taken into a buffer that lives only as long as it holds something:
//!
//! ```text
//!   0              start                                          buffer's end
//!   │ handed out  │ head │ body (chunks joined) │ requests behind it │
//! ```
//!
//! Invariants: an idle decoder owns nothing; which requests and which error come out depends on the bytes alone, not
//! on how they were split. After an error the connection closes and the decoder is not used again.

use super::{
    HeadTable, HttpError, Oversized, Request,
    chunked::Chunked,
    head::{self, Framing, Head},
};
use crate::limits::Limits;

/// Decodes one connection's requests.
///
/// ```
/// use roadstead::{limits::Limits, wire::http1::{Decoder, HeadTable, Step}};
///
/// let (mut decoder, mut table, limits) = (Decoder::default(), HeadTable::default(), Limits::default());
/// let input = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /again HTTP/1.1\r\nHo";
/// let (mut at, mut targets) = (0, Vec::new());
/// loop {
///     match decoder.decode(&input[at..], &mut table, &limits)? {
///         Step::NeedMore => break,
///         Step::Continue => unreachable!("no request here has a body"),
///         Step::Request { request, consumed } => {
///             targets.push(request.target.to_owned());
///             at += consumed;
///         }
///     }
/// }
/// assert_eq!(targets, ["/hello"]);
/// assert_eq!(decoder.buffered_bytes(), 23);
/// # Ok::<(), roadstead::wire::http1::HttpError>(())
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Decoder>() == 8);

/// What one call of [`Decoder::decode`] came to.
#[derive(Debug)]
pub enum Step<'a> {
    /// All the input has been taken; call again when more arrives.
    NeedMore,
    /// All the input has been taken, and the client waits for [`super::CONTINUE`] (RFC 9110 §10.1.1): send it, then
    /// call again with nothing.
    Continue,
    /// A request.
    Request {
        /// The request.
        request: Request<'a>,
        /// How much of the input is taken.
        consumed: usize,
    },
}

/// What a decoder waits for; each has a time limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

#[derive(Debug)]
struct Partial {
    buffer: Vec<u8>,
    /// Everything before belongs to requests already handed out.
    start: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// `judged` bytes after `start` need not be looked at again before another line ends.
    Head { judged: usize },
    /// The head has been judged; `chunked` is at work when the framing says so.
    Body { head: Head, chunked: Chunked, is_continue_due: bool },
}

/// Where a whole request lies: decided before anything is borrowed.
#[derive(Clone, Copy)]
struct Whole {
    head: Head,
    start: usize,
    body_bytes: usize,
}

enum Found {
    NeedMore,
    Continue,
    Whole(Whole),
}

impl Decoder {
    /// Decodes the next request of what is kept and `input`.
    #[inline]
    pub fn decode<'a>(
        &'a mut self,
        input: &'a [u8],
        table: &'a mut HeadTable,
        limits: &Limits,
    ) -> Result<Step<'a>, HttpError> {
        if self.partial.is_none() {
            let start = head::empty_lines(input);
            if start == input.len() {
                return Ok(Step::NeedMore);
            }
            if let Some(whole) = find_whole(input, start, table, limits)? {
                let consumed = whole.start + whole.head.bytes + whole.body_bytes;
                return lend(whole, input, table, consumed);
            }
        }
        self.decode_buffered(input, table, limits)
    }

    /// Keeps input that is not to be decoded yet, because the session is still busy with the request before it.
    pub fn stash(&mut self, rest: &[u8], limits: &Limits) -> Result<(), HttpError> {
        if rest.is_empty() {
            return Ok(());
        }
        let bytes_max = limits.head_bytes_max as usize + limits.body_bytes_max as usize;
        if self.buffered_bytes() + rest.len() > bytes_max {
            return Err(HttpError::BacklogTooLarge);
        }
        self.partial.get_or_insert_default().append(rest);
        Ok(())
    }

    /// A request that was refused because its body is too large, `input` being what came last: what else can be made of it.
    pub fn oversized(&self, input: &[u8], table: &mut HeadTable, limits: &Limits) -> Option<Oversized> {
        let arrived = self.arrived(input);
        match self.partial.as_deref() {
            Some(Partial { stage: Stage::Body { head, chunked, .. }, .. }) => {
                Some(Oversized::joined(*head, chunked.clone(), arrived, limits))
            }
            Some(_) | None => Oversized::begun(&arrived[head::empty_lines(arrived)..], table, limits),
        }
    }

    /// What has arrived of the request that is being decoded, `input` being what came last.
    pub fn arrived<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        self.partial.as_ref().map_or(input, |partial| &partial.buffer[partial.start..])
    }

    /// Takes what was received after the last request: after an upgrade it belongs to the next protocol.
    pub fn take_rest(&mut self) -> Vec<u8> {
        match self.partial.take() {
            Some(mut partial) => partial.buffer.split_off(partial.start),
            None => Vec::new(),
        }
    }

    /// What the decoder waits for.
    pub fn phase(&self) -> Phase {
        match self.partial.as_deref() {
            None => Phase::Idle,
            Some(Partial { stage: Stage::Body { .. }, .. }) => Phase::Body,
            Some(partial) if partial.is_empty() => Phase::Idle,
            Some(Partial { stage: Stage::Head { .. }, .. }) => Phase::Head,
        }
    }

    /// Bytes kept for requests yet to come.
    pub fn buffered_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.buffer.len() - partial.start)
    }

    /// Memory taken by what is kept, which may be more than the bytes themselves.
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| size_of::<Partial>() + partial.buffer.capacity())
    }

    fn decode_buffered<'a>(
        &'a mut self,
        input: &[u8],
        table: &'a mut HeadTable,
        limits: &Limits,
    ) -> Result<Step<'a>, HttpError> {
        let partial = self.partial.get_or_insert_default();
        partial.append(input);
        match partial.advance(table, limits)? {
            Found::NeedMore => {
                if partial.is_empty() {
                    self.partial = None;
                }
                Ok(Step::NeedMore)
            }
            Found::Continue => Ok(Step::Continue),
            Found::Whole(whole) => match self.partial.as_deref() {
                Some(partial) => lend(whole, &partial.buffer, table, input.len()),
                None => Ok(Step::NeedMore),
            },
        }
    }
}

/// Finds a request that lies whole and unchunked in `bytes` from `start` on.
#[inline]
fn find_whole(
    bytes: &[u8],
    start: usize,
    table: &mut HeadTable,
    limits: &Limits,
) -> Result<Option<Whole>, HttpError> {
    let bytes = &bytes[start..];
    let Some(head) = head::decode(bytes, table, limits)? else {
        return Ok(None);
    };
    Ok(match head.framing {
        Framing::Length(length) if length <= bytes.len() - head.bytes => {
            Some(Whole { head, start, body_bytes: length })
        }
        Framing::Length(_) | Framing::Chunked => None,
    })
}

/// A request without its body, of the bytes of its head.
pub(super) fn lend_head<'a>(
    head: Head,
    bytes: &'a [u8],
    table: &'a HeadTable,
) -> Result<Step<'a>, HttpError> {
    lend(Whole { head, start: 0, body_bytes: 0 }, bytes, table, 0)
}

#[inline]
fn lend<'a>(
    whole: Whole,
    bytes: &'a [u8],
    table: &'a HeadTable,
    consumed: usize,
) -> Result<Step<'a>, HttpError> {
    let Whole { head, start, body_bytes } = whole;
    let (head_bytes, rest) = bytes[start..].split_at(head.bytes);
    let target = &head_bytes[head.target.0 as usize..head.target.1 as usize];
    let request = Request {
        method: head.method,
        target: std::str::from_utf8(target).map_err(|_| HttpError::RequestLine)?,
        version: head.version,
        body: &rest[..body_bytes],
        keep_alive: head.keep_alive,
        head: head_bytes,
        fields: &table.0,
        is_secure: false,
        via: None,
    };
    Ok(Step::Request { request, consumed })
}

impl Partial {
    /// Adds input, dropping what was handed out. Cheap when there is no input, so that many requests in one buffer
    /// are not moved once for each.
    fn append(&mut self, input: &[u8]) {
        if !input.is_empty() {
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.extend_from_slice(input);
        }
    }

    fn advance(&mut self, table: &mut HeadTable, limits: &Limits) -> Result<Found, HttpError> {
        let is_table_filled = match self.stage {
            Stage::Body { .. } => false,
            Stage::Head { judged } => match self.advance_head(judged, table, limits)? {
                true => true,
                false => return Ok(Found::NeedMore),
            },
        };
        let found = self.advance_body(limits)?;
        if let Found::Whole(whole) = &found
            && !is_table_filled
        {
            // The table belongs to the shard and has served other connections since the head was judged.
            head::decode(&self.buffer[whole.start..], table, limits)?;
        }
        Ok(found)
    }

    /// True when the head is whole and the stage is the body's.
    fn advance_head(
        &mut self,
        mut judged: usize,
        table: &mut HeadTable,
        limits: &Limits,
    ) -> Result<bool, HttpError> {
        if judged <= 1 {
            self.start += head::empty_lines(&self.buffer[self.start..]);
            judged = 0;
        }
        let bytes = &self.buffer[self.start..];
        if memchr::memchr(b'\n', &bytes[judged..]).is_none() {
            // One line that arrives byte by byte must not be parsed once per byte.
            head::check_unfinished(bytes, limits)?;
        } else if let Some(head) = head::decode(bytes, table, limits)? {
            let is_body_due = head.framing != Framing::Length(0) && bytes.len() == head.bytes;
            let is_continue_due = head.expects_continue && is_body_due;
            self.stage = Stage::Body { head, chunked: Chunked::default(), is_continue_due };
            return Ok(true);
        }
        self.stage = Stage::Head { judged: bytes.len() };
        Ok(false)
    }

    fn advance_body(&mut self, limits: &Limits) -> Result<Found, HttpError> {
        let Stage::Body { head, chunked, is_continue_due } = &mut self.stage else {
            return Ok(Found::NeedMore);
        };
        let head = *head;
        let body_start = self.start + head.bytes;
        let (is_whole, body_bytes, taken) = match head.framing {
            Framing::Length(length) => (self.buffer.len() - body_start >= length, length, length),
            Framing::Chunked => {
                let is_whole = chunked.advance(&mut self.buffer[body_start..], limits)?;
                if !is_whole {
                    chunked.compact(&mut self.buffer, body_start);
                }
                (is_whole, chunked.body_bytes(), chunked.read_bytes())
            }
        };
        if is_whole {
            let whole = Whole { head, start: self.start, body_bytes };
            self.start = body_start + taken;
            self.stage = Stage::Head { judged: 0 };
            return Ok(Found::Whole(whole));
        }
        match std::mem::take(is_continue_due) {
            true => Ok(Found::Continue),
            false => Ok(Found::NeedMore),
        }
    }

    fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }
}

impl Default for Partial {
    fn default() -> Self {
        Self { buffer: Vec::new(), start: 0, stage: Stage::Head { judged: 0 } }
    }
}
