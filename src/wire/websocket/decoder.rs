//! Bytes → messages and control frames. What is kept while something is incomplete is in `assembly.rs`.
//!
//! A frame that lies whole in the input and is a message by itself is unmasked where it lies and lent out: no copy,
//! no allocation. Anything else goes into an [`Assembly`], which lives until it holds nothing more.
//!
//! Invariant: what comes out depends on the bytes alone, not on how they were split.

use std::ops::Range;

use super::{
    Opcode, WsError,
    assembly::{Assembly, Done},
    close,
    frame::Header,
    mask,
};

/// Which end of the connection decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes a client's frames, which must be masked (RFC 6455 §5.1).
    Server,
    /// Takes a server's frames, which must not be.
    Client,
}

/// What a decoder accepts.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Which end this is.
    pub role: Role,
    /// The largest message, all fragments together.
    pub message_bytes_max: u64,
    /// The most fragments of one message; 0 is no limit.
    pub fragments_max: u32,
    /// Whether messages may come compressed (RFC 7692). They are handed out as they came, and whether their text is
    /// UTF-8 is for whoever inflates them to find out.
    pub compression: bool,
}

/// Decodes one connection's frames.
///
/// ```
/// use roadstead::wire::websocket::{Decoder, Opcode, Role, Settings, Step, encode_frame};
///
/// let settings =
///     Settings { role: Role::Client, message_bytes_max: 1024, fragments_max: 0, compression: false };
/// let mut input = Vec::new();
/// encode_frame(&mut input, Opcode::Text, true, b"hello");
/// encode_frame(&mut input, Opcode::Ping, true, b"?");
/// let (mut decoder, mut at, mut seen) = (Decoder::default(), 0, Vec::new());
/// loop {
///     match decoder.decode(&mut input[at..], &settings)? {
///         Step::NeedMore => break,
///         Step::Message { data, consumed, .. } | Step::Ping { data, consumed } => {
///             seen.push(data.to_vec());
///             at += consumed;
///         }
///         Step::Pong { consumed, .. } | Step::Close { consumed, .. } => at += consumed,
///     }
/// }
/// assert_eq!(seen, [&b"hello"[..], b"?"]);
/// # Ok::<(), roadstead::wire::websocket::WsError>(())
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    assembly: Option<Box<Assembly>>,
}

const _: () = assert!(size_of::<Decoder>() == 8);

/// What one call of [`Decoder::decode`] came to. `consumed` is how much of the input is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// All the input has been taken; call again when more arrives.
    NeedMore,
    /// A message, whole and unmasked.
    Message {
        /// Whether it is text; then it is UTF-8, unless it is compressed.
        is_text: bool,
        /// Whether it is still to be inflated.
        is_compressed: bool,
        /// The message.
        data: &'a [u8],
        /// Input taken.
        consumed: usize,
    },
    /// The peer wants a pong with the same data (§5.5.2).
    Ping {
        /// At most 125 bytes.
        data: &'a [u8],
        /// Input taken.
        consumed: usize,
    },
    /// The peer answers a ping, or just lives (§5.5.3).
    Pong {
        /// At most 125 bytes.
        data: &'a [u8],
        /// Input taken.
        consumed: usize,
    },
    /// The peer closes (§5.5.1). Nothing after it is to be decoded.
    Close {
        /// Why, if it says so.
        code: Option<u16>,
        /// At most 123 bytes; empty when it gives none.
        reason: &'a str,
        /// Input taken.
        consumed: usize,
    },
}

impl Decoder {
    /// Decodes the next message or control frame of what is kept and `input`, whose bytes may be changed.
    #[inline]
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8], settings: &Settings) -> Result<Step<'a>, WsError> {
        if self.assembly.is_some() {
            // It was kept for the message lent from it by the call before.
            self.forget_message();
        }
        if self.assembly.is_none() {
            if input.is_empty() {
                return Ok(Step::NeedMore);
            }
            if let Some((header, payload)) = take_whole(input, settings)? {
                let consumed = payload.end;
                return step(Done::of(&header), &input[payload], consumed);
            }
        }
        self.decode_assembling(input, settings)
    }

    /// Forgets a message that was lent.
    pub fn forget_message(&mut self) {
        if self.is_idle() {
            self.assembly = None;
        }
    }

    /// Whether nothing is incomplete: neither a frame nor a fragmented message.
    pub fn is_idle(&self) -> bool {
        self.assembly.as_ref().is_none_or(|assembly| assembly.is_idle())
    }

    /// Takes what is kept out, as bytes of a client from which another decoder comes to know the same.
    pub fn take_unread(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(assembly) = self.assembly.take().filter(|assembly| !assembly.is_idle()) {
            assembly.encode(&mut out);
        }
        out
    }

    /// Bytes of payload kept for a message that is incomplete, or lent until the next call.
    pub fn buffered_bytes(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.buffered_bytes())
    }

    /// Memory taken by what is kept, which may be more than the bytes themselves.
    pub fn held_bytes(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| size_of::<Assembly>() + assembly.held_bytes())
    }

    fn decode_assembling<'a>(
        &'a mut self,
        input: &mut [u8],
        settings: &Settings,
    ) -> Result<Step<'a>, WsError> {
        let assembly = self.assembly.get_or_insert_default();
        match assembly.advance(input, settings)? {
            None => Ok(Step::NeedMore),
            Some((done, consumed)) => step(done, assembly.payload(done), consumed),
        }
    }
}

/// Finds a frame that lies whole in `input` and needs no other, and unmasks it.
#[inline]
fn take_whole(input: &mut [u8], settings: &Settings) -> Result<Option<(Header, Range<usize>)>, WsError> {
    let Some((header, header_bytes)) = Header::decode(input, settings)? else {
        return Ok(None);
    };
    let is_alone = header.is_final && header.opcode != Opcode::Continuation;
    let rest = &mut input[header_bytes..];
    // A message too large for the settings is left to the assembly, which refuses it.
    if !is_alone || header.payload_bytes > settings.message_bytes_max.min(rest.len() as u64) {
        return Ok(None);
    }
    let payload = &mut rest[..header.payload_bytes as usize];
    mask::apply(payload, header.mask, 0);
    if header.opcode == Opcode::Text && !header.is_compressed {
        simdutf8::basic::from_utf8(payload).map_err(|_| WsError::Utf8)?;
    }
    Ok(Some((header, header_bytes..header_bytes + payload.len())))
}

#[inline]
fn step(done: Done, data: &[u8], consumed: usize) -> Result<Step<'_>, WsError> {
    Ok(match done {
        Done::Message { is_text, is_compressed } => Step::Message { is_text, is_compressed, data, consumed },
        Done::Ping => Step::Ping { data, consumed },
        Done::Pong => Step::Pong { data, consumed },
        Done::Close => {
            let (code, reason) = close::decode(data)?;
            Step::Close { code, reason, consumed }
        }
    })
}
