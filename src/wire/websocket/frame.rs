//! Frame headers, both ways, and whole frames out (RFC 6455 §5.2). What frames make up together is the decoder's
//! business.
//!
//! ```text
//!   0               1               2 …
//!   │F│R│R│R│opcode │M│ length (7)  │ length (16 or 64, if 126 or 127) │ mask (32, if M) │ payload
//! ```

use super::{Role, Settings, WsError, mask};

/// The longest frame header: two bytes, a 64-bit length, a mask.
pub const FRAME_HEADER_BYTES_MAX: usize = 14;
/// The longest payload of a control frame (§5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
/// Set by permessage-deflate on the first frame of a compressed message (RFC 7692 §6).
pub(super) const COMPRESSED: u8 = 0x40;
const RESERVED_2_AND_3: u8 = 0x30;
const MASKED: u8 = 0x80;

/// What a frame is (§5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

/// A frame header that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub opcode: Opcode,
    pub is_final: bool,
    pub is_compressed: bool,
    /// Zeros when there is none, which changes nothing.
    pub mask: [u8; 4],
    pub payload_bytes: u64,
}

impl Opcode {
    /// Whether it may stand between the fragments of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_bits(bits: u8) -> Result<Self, WsError> {
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(WsError::ReservedOpcode),
        }
    }
}

impl Header {
    /// Reads the header at the start of `bytes` and tells its length; `None` when it has not arrived whole.
    #[inline]
    pub fn decode(bytes: &[u8], settings: &Settings) -> Result<Option<(Self, usize)>, WsError> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let (opcode, is_final) = (Opcode::from_bits(first & 0x0f)?, first & FIN != 0);
        let is_compressed = first & COMPRESSED != 0;
        let may_be_compressed = settings.compression && matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & RESERVED_2_AND_3 != 0 || (is_compressed && !may_be_compressed) {
            return Err(WsError::ReservedBit);
        }
        check_mask(second & MASKED != 0, settings.role)?;
        let short = second & 0x7f;
        if opcode.is_control() {
            check_control(short, is_final)?;
        }
        let Some((payload_bytes, length_bytes)) = decode_length(short, rest)? else {
            return Ok(None);
        };
        let (mask, mask_bytes) = match settings.role {
            Role::Client => ([0; 4], 0),
            Role::Server => match rest[length_bytes..].first_chunk::<4>() {
                Some(mask) => (*mask, 4),
                None => return Ok(None),
            },
        };
        let header = Self { opcode, is_final, is_compressed, mask, payload_bytes };
        Ok(Some((header, 2 + length_bytes + mask_bytes)))
    }
}

fn check_mask(is_masked: bool, role: Role) -> Result<(), WsError> {
    match (role, is_masked) {
        (Role::Server, true) | (Role::Client, false) => Ok(()),
        (Role::Server, false) => Err(WsError::MaskMissing),
        (Role::Client, true) => Err(WsError::MaskUnexpected),
    }
}

fn check_control(short: u8, is_final: bool) -> Result<(), WsError> {
    if !is_final {
        Err(WsError::ControlFragmented)
    } else if usize::from(short) > CONTROL_BYTES_MAX {
        Err(WsError::ControlTooLong)
    } else {
        Ok(())
    }
}

/// The payload's length, and how many bytes of `rest` say it.
#[inline]
fn decode_length(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, WsError> {
    let (length, length_bytes, least) = match short {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2, 126),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 0),
    };
    if length < least {
        Err(WsError::LengthNotMinimal)
    } else if length >> 63 != 0 {
        Err(WsError::LengthOutOfRange)
    } else {
        Ok(Some((length, length_bytes)))
    }
}

/// The header of an unmasked frame: the bytes, and how many of them.
#[inline]
pub fn frame_header(payload_len: usize, opcode: Opcode, fin: bool) -> ([u8; FRAME_HEADER_BYTES_MAX], usize) {
    let mut bytes = [0; FRAME_HEADER_BYTES_MAX];
    bytes[0] = opcode as u8 | if fin { FIN } else { 0 };
    match payload_len {
        0..=125 => {
            bytes[1] = payload_len as u8;
            (bytes, 2)
        }
        126..=0xffff => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            (bytes, 4)
        }
        _ => {
            bytes[1] = 127;
            bytes[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            (bytes, 10)
        }
    }
}

/// Appends the header of a client's frame, as it came.
pub(super) fn encode_masked_header(out: &mut Vec<u8>, header: &Header) {
    let payload_bytes = usize::try_from(header.payload_bytes).expect("a message that is kept is far smaller");
    let (mut bytes, length) = frame_header(payload_bytes, header.opcode, header.is_final);
    bytes[0] |= if header.is_compressed { COMPRESSED } else { 0 };
    bytes[1] |= MASKED;
    out.extend_from_slice(&bytes[..length]);
    out.extend_from_slice(&header.mask);
}

/// Appends a server's frame.
#[inline]
pub fn encode_frame(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload: &[u8]) {
    let (header, length) = frame_header(payload.len(), opcode, fin);
    out.reserve(length + payload.len());
    out.extend_from_slice(&header[..length]);
    out.extend_from_slice(payload);
}

/// Appends a client's frame of a compressed message. Its mask changes nothing.
pub fn encode_compressed_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let start = out.len();
    encode_frame_masked(out, opcode, true, payload, [0; 4]);
    out[start] |= COMPRESSED;
}

/// Appends a client's frame, masked with `mask`.
pub fn encode_frame_masked(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload: &[u8], mask: [u8; 4]) {
    let (mut header, length) = frame_header(payload.len(), opcode, fin);
    header[1] |= MASKED;
    header[length..length + 4].copy_from_slice(&mask);
    out.reserve(length + 4 + payload.len());
    out.extend_from_slice(&header[..length + 4]);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], mask, 0);
}
