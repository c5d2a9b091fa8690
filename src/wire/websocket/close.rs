//! The payload of a close frame, both ways (RFC 6455 §5.5.1). Who closes when is the session's business.

use super::{Opcode, WsError, encode_frame, frame::CONTROL_BYTES_MAX};

/// Appends a server's close frame. A reason too long for a control frame is cut between characters.
pub fn encode_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let fits = |end: &usize| reason.is_char_boundary(*end);
    let end = (0..=reason.len().min(CONTROL_BYTES_MAX - 2)).rev().find(fits).unwrap_or(0);
    let reason = &reason[..end];
    let mut payload = [0; CONTROL_BYTES_MAX];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    encode_frame(out, Opcode::Close, true, &payload[..2 + reason.len()]);
}

/// Reads code and reason.
pub(super) fn decode(payload: &[u8]) -> Result<(Option<u16>, &str), WsError> {
    match *payload {
        [] => Ok((None, "")),
        [_] => Err(WsError::ClosePayload),
        [high, low, ref reason @ ..] => {
            let code = u16::from_be_bytes([high, low]);
            // §7.4 and the IANA registry: 1004 is reserved; 1005, 1006 and 1015 never travel; 1016–2999 are unassigned.
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(WsError::CloseCode);
            }
            let reason = simdutf8::basic::from_utf8(reason).map_err(|_| WsError::Utf8)?;
            Ok((Some(code), reason))
        }
    }
}
