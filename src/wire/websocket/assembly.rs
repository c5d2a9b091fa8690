//! What a decoder keeps while a frame or a message is incomplete. A frame that is whole from the start never comes
//! here; see `decoder.rs`.
//!
//! Invariants: payload is kept unmasked and, for text, checked up to its last whole character; memory grows with
//! what has arrived, never with what a header announces; a control frame never touches the message around it.

use super::{
    Opcode, Settings, WsError,
    frame::{FRAME_HEADER_BYTES_MAX, Header, encode_masked_header},
    mask,
    utf8::Utf8,
};

/// A frame in pieces, a message in fragments, or both.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    awaiting: Awaiting,
    /// The message whose last fragment has not ended.
    open: Option<Open>,
    /// The payload of the message, open or just lent.
    message: Vec<u8>,
    /// The payload of a control frame, arriving or just lent.
    control: Vec<u8>,
}

/// A message that has begun and not ended.
#[derive(Debug)]
struct Open {
    kind: Kind,
    fragments: u32,
}

#[derive(Debug)]
enum Kind {
    Text(Utf8),
    Binary,
    /// Text cannot be checked before it is inflated.
    Compressed {
        is_text: bool,
    },
}

#[derive(Debug)]
enum Awaiting {
    Header { bytes: [u8; FRAME_HEADER_BYTES_MAX], taken: usize },
    Payload { header: Header, taken: u64 },
}

/// What has become whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    Message { is_text: bool, is_compressed: bool },
    Ping,
    Pong,
    Close,
}

impl Assembly {
    /// Takes input until something is whole; tells how much of it was needed. `None` when all of it was not enough.
    pub fn advance(
        &mut self,
        input: &mut [u8],
        settings: &Settings,
    ) -> Result<Option<(Done, usize)>, WsError> {
        let mut at = 0;
        loop {
            match &mut self.awaiting {
                Awaiting::Header { bytes, taken } => {
                    let offered = input[at..].len().min(bytes.len() - *taken);
                    bytes[*taken..*taken + offered].copy_from_slice(&input[at..at + offered]);
                    let Some((header, length)) = Header::decode(&bytes[..*taken + offered], settings)? else {
                        *taken += offered;
                        return Ok(None);
                    };
                    at += length - *taken;
                    self.begin_frame(header, settings)?;
                }
                Awaiting::Payload { header, taken } => {
                    let left = header.payload_bytes - *taken;
                    let offered = left.min(input[at..].len() as u64) as usize;
                    let piece = &mut input[at..at + offered];
                    mask::apply(piece, header.mask, *taken);
                    *taken += offered as u64;
                    at += offered;
                    let header = *header;
                    self.take_payload(header, piece)?;
                    if (offered as u64) < left {
                        return Ok(None);
                    }
                    if let Some(done) = self.end_frame(header)? {
                        return Ok(Some((done, at)));
                    }
                }
            }
        }
    }

    /// What `done` is about. Lent until the next call.
    pub fn payload(&self, done: Done) -> &[u8] {
        match done {
            Done::Message { .. } => &self.message,
            Done::Ping | Done::Pong | Done::Close => &self.control,
        }
    }

    /// Whether nothing is incomplete.
    pub fn is_idle(&self) -> bool {
        self.open.is_none() && matches!(self.awaiting, Awaiting::Header { taken: 0, .. })
    }

    /// Bytes of a client from which another decoder comes to know the same: fragments that are there are one.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (current, taken) = match &self.awaiting {
            Awaiting::Header { bytes, taken } => (None, &bytes[..*taken]),
            Awaiting::Payload { header, .. } => (Some(header), &[][..]),
        };
        let arrived = match self.awaiting {
            Awaiting::Payload { taken, .. } => taken as usize,
            Awaiting::Header { .. } => 0,
        };
        let is_in_message = current.is_some_and(|header| !header.opcode.is_control());
        let is_first = is_in_message && current.is_some_and(|header| header.opcode != Opcode::Continuation);
        let whole = self.message.len() - if is_in_message { arrived } else { 0 };
        if let Some(open) = self.open.as_ref().filter(|_| !is_first) {
            let header = Header {
                opcode: open.kind.opcode(),
                is_final: false,
                is_compressed: matches!(open.kind, Kind::Compressed { .. }),
                mask: [0; 4],
                payload_bytes: whole as u64,
            };
            encode_masked_header(out, &header);
            out.extend_from_slice(&self.message[..whole]);
        }
        if let Some(header) = current {
            encode_masked_header(out, header);
            let start = out.len();
            out.extend_from_slice(if is_in_message { &self.message[whole..] } else { &self.control });
            mask::apply(&mut out[start..], header.mask, 0);
        }
        out.extend_from_slice(taken);
    }

    /// Bytes of payload kept.
    pub fn buffered_bytes(&self) -> usize {
        self.message.len() + self.control.len()
    }

    /// Memory taken by the payload kept.
    pub fn held_bytes(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    /// Judges a header in the light of what came before (RFC 6455 §5.4), and before anything is kept for it.
    fn begin_frame(&mut self, header: Header, settings: &Settings) -> Result<(), WsError> {
        match (header.opcode, &mut self.open) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => self.control.clear(),
            (Opcode::Continuation, Some(open)) => open.fragments = open.fragments.saturating_add(1),
            (Opcode::Continuation, None) => return Err(WsError::ContinuationUnexpected),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(WsError::ContinuationMissing),
            (Opcode::Text | Opcode::Binary, None) => {
                self.open = Some(Open { kind: Kind::of(&header), fragments: 1 });
            }
        }
        if !header.opcode.is_control() {
            self.check_limits(header.payload_bytes, settings)?;
        }
        self.awaiting = Awaiting::Payload { header, taken: 0 };
        Ok(())
    }

    fn check_limits(&self, payload_bytes: u64, settings: &Settings) -> Result<(), WsError> {
        let fragments = self.open.as_ref().map_or(0, |open| open.fragments);
        if payload_bytes > settings.message_bytes_max.saturating_sub(self.message.len() as u64) {
            Err(WsError::MessageTooBig)
        } else if settings.fragments_max != 0 && fragments > settings.fragments_max {
            Err(WsError::TooManyFragments)
        } else {
            Ok(())
        }
    }

    fn take_payload(&mut self, header: Header, piece: &[u8]) -> Result<(), WsError> {
        if header.opcode.is_control() {
            self.control.extend_from_slice(piece);
            return Ok(());
        }
        if let Some(Open { kind: Kind::Text(utf8), .. }) = &mut self.open {
            utf8.check(piece)?;
        }
        self.message.extend_from_slice(piece);
        Ok(())
    }

    fn end_frame(&mut self, header: Header) -> Result<Option<Done>, WsError> {
        self.awaiting = Awaiting::default();
        if header.opcode.is_control() {
            return Ok(Some(Done::of(&header)));
        }
        if !header.is_final {
            return Ok(None);
        }
        let (is_text, is_compressed) = match self.open.take().map(|open| open.kind) {
            Some(Kind::Text(mut utf8)) => {
                utf8.finish()?;
                (true, false)
            }
            Some(Kind::Compressed { is_text }) => (is_text, true),
            Some(Kind::Binary) | None => (false, false),
        };
        Ok(Some(Done::Message { is_text, is_compressed }))
    }
}

impl Kind {
    fn of(header: &Header) -> Self {
        match (header.opcode, header.is_compressed) {
            (Opcode::Text, false) => Self::Text(Utf8::default()),
            (Opcode::Text, true) => Self::Compressed { is_text: true },
            (Opcode::Binary, true) => Self::Compressed { is_text: false },
            (Opcode::Continuation | Opcode::Binary | Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                Self::Binary
            }
        }
    }
}

impl Kind {
    fn opcode(&self) -> Opcode {
        match self {
            Self::Text(_) | Self::Compressed { is_text: true } => Opcode::Text,
            Self::Binary | Self::Compressed { is_text: false } => Opcode::Binary,
        }
    }
}

impl Done {
    /// What a whole frame that needs no other is.
    #[inline]
    pub fn of(header: &Header) -> Self {
        match header.opcode {
            Opcode::Ping => Self::Ping,
            Opcode::Pong => Self::Pong,
            Opcode::Close => Self::Close,
            Opcode::Text => Self::Message { is_text: true, is_compressed: header.is_compressed },
            Opcode::Continuation | Opcode::Binary => {
                Self::Message { is_text: false, is_compressed: header.is_compressed }
            }
        }
    }
}

impl Default for Awaiting {
    fn default() -> Self {
        Self::Header { bytes: [0; FRAME_HEADER_BYTES_MAX], taken: 0 }
    }
}
