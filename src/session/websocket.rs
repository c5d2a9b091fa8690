//! A WebSocket after its handshake: messages out of frames, pongs, pings, the closing handshake.

use super::Due;
use crate::{
    limits::Limits,
    model::CloseReason,
    wire::websocket::{self, Decoder, Inflater, Opcode, Settings, Step, WsError},
};

/// One WebSocket.
#[derive(Debug, Default)]
pub struct WebSocket {
    decoder: Decoder,
    /// What the application said when it accepted the session.
    pub tag: u32,
    /// Serves a conformance suite: larger messages, any number of fragments.
    pub is_diagnostic: bool,
    awaits_pong: bool,
    heard: bool,
}

/// What came of some bytes.
#[derive(Debug)]
pub enum Event<'a> {
    /// All was taken.
    NeedMore,
    /// A message.
    Message {
        /// Text (checked UTF-8) or binary.
        is_text: bool,
        /// How long it is, if it came compressed.
        inflated_bytes: Option<usize>,
        /// The bytes.
        data: &'a [u8],
        /// How much of the input is taken.
        consumed: usize,
    },
    /// A control frame, dealt with.
    Handled {
        /// How much of the input is taken.
        consumed: usize,
    },
    /// The session is over; the closing frame is in the output.
    End(CloseReason),
}

impl WebSocket {
    /// A session just accepted.
    pub fn new(tag: u32, is_diagnostic: bool) -> Self {
        Self { tag, is_diagnostic, ..Self::default() }
    }

    /// Whether nothing is kept of a frame or message that has not wholly arrived.
    pub fn is_between_frames(&self) -> bool {
        self.decoder.is_idle()
    }

    /// Memory taken by a frame or message that has not wholly arrived.
    pub fn held_bytes(&self) -> usize {
        self.decoder.held_bytes()
    }

    /// How much has arrived of a message that has not wholly arrived.
    pub fn arrived_bytes(&self) -> usize {
        self.decoder.buffered_bytes()
    }

    /// Takes bytes from the peer; `out` receives pongs and the closing frame. `inflater` reads compressed messages, which
    /// `settings` allow or not.
    pub fn handle_bytes<'a>(
        &'a mut self,
        input: &'a mut [u8],
        settings: &Settings,
        inflater: &'a mut Inflater,
        out: &mut Vec<u8>,
    ) -> Event<'a> {
        self.heard = true;
        match self.decoder.decode(input, settings) {
            Ok(Step::NeedMore) => Event::NeedMore,
            Ok(Step::Message { is_text, is_compressed: true, data, consumed }) => {
                match inflated(inflater, is_text, data, settings) {
                    Ok(data) => Event::Message { is_text, inflated_bytes: Some(data.len()), data, consumed },
                    Err(error) => end(error, out),
                }
            }
            Ok(Step::Message { is_text, data, consumed, .. }) => {
                Event::Message { is_text, inflated_bytes: None, data, consumed }
            }
            Ok(Step::Ping { data, consumed }) => {
                websocket::encode_frame(out, Opcode::Pong, true, data);
                Event::Handled { consumed }
            }
            Ok(Step::Pong { consumed, .. }) => {
                self.awaits_pong = false;
                Event::Handled { consumed }
            }
            Ok(Step::Close { code, .. }) => {
                // RFC 6455 §5.5.1: the answer usually echoes the code; without a code it has none.
                match code {
                    Some(code) => websocket::encode_close(out, code, ""),
                    None => websocket::encode_frame(out, Opcode::Close, true, b""),
                }
                Event::End(CloseReason::Normal)
            }
            Err(error) => end(error, out),
        }
    }

    /// Whether anything has been heard since last asked.
    pub fn take_heard(&mut self) -> bool {
        std::mem::replace(&mut self.heard, false)
    }

    /// The deadline has passed: pings, or gives up on a peer that said nothing since the last ping. One for whom bytes
    /// still wait may not have come to the ping yet; whether it takes any of them is watched where they are sent.
    pub fn handle_deadline(&mut self, limits: &Limits, is_behind: bool, out: &mut Vec<u8>) -> Due {
        if self.awaits_pong && !self.heard {
            return match is_behind {
                true => Due::Again(limits.ping_timeout_ms),
                false => Due::End(CloseReason::PingTimeout),
            };
        }
        self.heard = false;
        if self.awaits_pong {
            // Whatever was heard proves the peer alive; the next ping is due one interval after the last.
            self.awaits_pong = false;
            return Due::Again(limits.ping_interval_ms.saturating_sub(limits.ping_timeout_ms).max(1));
        }
        self.awaits_pong = true;
        websocket::encode_frame(out, Opcode::Ping, true, b"");
        Due::Again(limits.ping_timeout_ms)
    }
}

/// A compressed message as it was meant, whose text can be checked only now (RFC 7692 §7.2.2).
fn inflated<'a>(
    inflater: &'a mut Inflater,
    is_text: bool,
    data: &[u8],
    settings: &Settings,
) -> Result<&'a [u8], WsError> {
    let data = inflater.inflate(data, settings.message_bytes_max)?;
    if is_text {
        simdutf8::basic::from_utf8(data).map_err(|_| WsError::Utf8)?;
    }
    Ok(data)
}

fn end<'a>(error: WsError, out: &mut Vec<u8>) -> Event<'a> {
    let reason = reason_of(error);
    websocket::encode_close(out, reason.websocket_code(), error.sentence());
    Event::End(reason)
}

fn reason_of(error: WsError) -> CloseReason {
    match error.code() {
        1007 if error == WsError::CompressedData => CloseReason::InvalidData,
        1007 => CloseReason::InvalidUtf8,
        1009 => CloseReason::MessageTooBig,
        _ => CloseReason::ProtocolError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_that_is_not_answered_ends_a_peer_that_has_come_to_it() {
        let (limits, mut out) = (Limits::default(), Vec::new());
        let mut websocket = WebSocket::new(0, false);
        assert_eq!(websocket.handle_deadline(&limits, false, &mut out), Due::Again(limits.ping_timeout_ms));
        assert_eq!(out, [0x89, 0], "a ping");
        for _ in 0..3 {
            let due = websocket.handle_deadline(&limits, true, &mut out);
            assert_eq!((due, out.len()), (Due::Again(limits.ping_timeout_ms), 2), "it stands behind others");
        }
        let due = websocket.handle_deadline(&limits, false, &mut out);
        assert_eq!(due, Due::End(CloseReason::PingTimeout));
    }
}
