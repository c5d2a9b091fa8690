//! WebSocket frames as a client sees them: masked on the way out, bare on the way in (RFC 6455 §5.2).

/// Opcodes of RFC 6455 §5.2 that matter to a client.
pub mod opcode {
    /// A text message.
    pub const TEXT: u8 = 1;
    /// A binary message.
    pub const BINARY: u8 = 2;
    /// The peer closes.
    pub const CLOSE: u8 = 8;
    /// The peer wants a pong.
    pub const PING: u8 = 9;
    /// The answer to a ping.
    pub const PONG: u8 = 10;
}

/// The mask of every frame we send. RFC 6455 §10.3 asks for an unpredictable one, against attacks on proxies by
/// hostile scripts; a benchmark wants equal work in every run.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The largest message taken from a server; a guard against a length field gone wrong.
pub const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One step through received bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The frame is not complete.
    NeedMore,
    /// A whole frame.
    Frame {
        /// What it is.
        opcode: u8,
        /// Its content.
        payload: &'a [u8],
        /// Its length, header and all.
        consumed: usize,
    },
}

/// What a server must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A server masks nothing (RFC 6455 §5.1).
    Masked,
    /// Reserved bits without an extension.
    Reserved,
    /// Longer than [`MESSAGE_BYTES_MAX`].
    TooLong,
}

/// Takes the first frame off `bytes`.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<Step<'_>, FrameError> {
    let [first, second, ..] = *bytes else { return Ok(Step::NeedMore) };
    if first & 0x70 != 0 {
        return Err(FrameError::Reserved);
    }
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    let (head, length) = match second {
        126 => match bytes.get(2..4) {
            Some(field) => (4, u64::from(u16::from_be_bytes([field[0], field[1]]))),
            None => return Ok(Step::NeedMore),
        },
        127 => match bytes.get(2..10).and_then(|field| field.try_into().ok()) {
            Some(field) => (10, u64::from_be_bytes(field)),
            None => return Ok(Step::NeedMore),
        },
        short => (2, u64::from(short)),
    };
    if length > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    let consumed = head + length as usize;
    match bytes.get(head..consumed) {
        Some(payload) => Ok(Step::Frame { opcode: first & 0x0f, payload, consumed }),
        None => Ok(Step::NeedMore),
    }
}

/// A whole masked message, as a client sends it.
pub fn encode_masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = encode_head(opcode, payload.len(), 0x80);
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A whole bare message, as a server sends it.
pub fn encode_bare(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = encode_head(opcode, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

fn encode_head(opcode: u8, length: usize, mask_bit: u8) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + length);
    frame.push(0x80 | opcode);
    match length {
        0..=125 => frame.push(mask_bit | length as u8),
        126..=65_535 => {
            frame.push(mask_bit | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            frame.push(mask_bit | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_form_comes_back_and_no_prefix_of_it_does() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let frame = encode_bare(opcode::BINARY, &payload);
            assert_eq!(
                decode(&frame),
                Ok(Step::Frame { opcode: opcode::BINARY, payload: &payload, consumed: frame.len() })
            );
            for end in 0..frame.len().min(16) {
                assert_eq!(decode(&frame[..end]), Ok(Step::NeedMore), "{length} cut at {end}");
            }
            assert_eq!(decode(&frame[..frame.len() - 1]), Ok(Step::NeedMore));
        }
    }

    #[test]
    fn a_server_may_not_mask_reserve_or_overflow() {
        assert_eq!(decode(&[0x81, 0x80]), Err(FrameError::Masked));
        assert_eq!(decode(&[0xc1, 0x00]), Err(FrameError::Reserved));
        assert_eq!(decode(&[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::TooLong));
    }

    #[test]
    fn a_masked_frame_unmasks_to_its_payload() {
        let frame = encode_masked(opcode::TEXT, b"hello");
        assert_eq!(frame[..2], [0x81, 0x85]);
        let mask: [u8; 4] = frame[2..6].try_into().unwrap();
        let plain: Vec<u8> = frame[6..].iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(plain, b"hello");
    }
}
