//! A WebSocket after its handshake: messages out of frames, pongs, pings, the closing handshake.

use super::Due;
use crate::{
    limits::Limits,
    model::{CloseReason, KeepAlive},
    wire::websocket::{self, Decoder, FRAME_HEADER_BYTES_MAX, Inflater, Opcode, Settings, Step, WsError},
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

/// What a client's compressed messages are read with.
pub struct Inflating<'a, 'b> {
    /// The shard's.
    pub inflater: &'a mut Inflater,
    /// How much may be spent, in bytes; see [`Inflater::inflate`].
    pub left: &'b mut usize,
}

/// A message that is being inflated bit by bit.
pub struct Unfinished {
    inflater: Inflater,
    payload: Vec<u8>,
    is_text: bool,
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
        /// Whether it came compressed.
        is_inflated: bool,
        /// The bytes.
        data: &'a [u8],
        /// How much of the input is taken.
        consumed: usize,
    },
    /// A compressed message that takes longer to inflate than was to be spent.
    Unfinished {
        /// Text or binary.
        is_text: bool,
        /// The message as it came.
        payload: &'a [u8],
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

    /// A session that another process has begun.
    pub fn resumed(keep_alive: KeepAlive) -> Self {
        let KeepAlive { awaits_pong, has_spoken, .. } = keep_alive;
        Self { awaits_pong, heard: has_spoken, ..Self::default() }
    }

    /// What another process has to know to go on with it, so long before its deadline, in milliseconds. What has arrived of a
    /// message is to be [taken](Self::take_unread) as well.
    pub fn keep_alive(&self, due_ms: u32) -> KeepAlive {
        let Self { awaits_pong, heard, .. } = *self;
        KeepAlive { awaits_pong, has_spoken: heard, due_ms }
    }

    /// Takes out what has arrived of a frame or message that has not wholly arrived, as bytes that came.
    pub fn take_unread(&mut self) -> Vec<u8> {
        self.decoder.take_unread()
    }

    /// Memory taken by a frame or message that has not wholly arrived.
    pub fn held_bytes(&self) -> usize {
        self.decoder.held_bytes()
    }

    /// How much has arrived of a message that has not wholly arrived.
    pub fn arrived_bytes(&self) -> usize {
        self.decoder.buffered_bytes()
    }

    /// Forgets a message that was whole, and has been dealt with or taken.
    pub fn forget_message(&mut self) {
        self.decoder.forget_message();
    }

    /// Takes bytes from the peer; `out` receives pongs and the closing frame. `inflating` reads compressed messages, which
    /// `settings` allow or not.
    pub fn handle_bytes<'a>(
        &'a mut self,
        input: &'a mut [u8],
        settings: &Settings,
        inflating: Inflating<'a, '_>,
        out: &mut Vec<u8>,
    ) -> Event<'a> {
        self.heard = true;
        match self.decoder.decode(input, settings) {
            Ok(Step::NeedMore) => Event::NeedMore,
            Ok(Step::Message { is_text, is_compressed: true, data, consumed }) => {
                match inflated(inflating.inflater, is_text, data, settings, inflating.left) {
                    Ok(Some(data)) => Event::Message { is_text, is_inflated: true, data, consumed },
                    Ok(None) => Event::Unfinished { is_text, payload: data, consumed },
                    Err(error) => end(error, out),
                }
            }
            Ok(Step::Message { is_text, data, consumed, .. }) => {
                Event::Message { is_text, is_inflated: false, data, consumed }
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

    /// Goes on with a message that takes longer; `out` receives the closing frame.
    pub fn go_on<'a>(
        &mut self,
        unfinished: &'a mut Unfinished,
        settings: &Settings,
        left: &mut usize,
        out: &mut Vec<u8>,
    ) -> Event<'a> {
        // What the peer has said since stands behind it.
        self.heard = true;
        let Unfinished { inflater, payload, is_text } = unfinished;
        match inflated(inflater, *is_text, payload, settings, left) {
            Ok(Some(data)) => Event::Message { is_text: *is_text, is_inflated: true, data, consumed: 0 },
            Ok(None) => Event::Unfinished { is_text: *is_text, payload, consumed: 0 },
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

impl Unfinished {
    /// A message whose inflating `inflater` has begun.
    pub fn new(inflater: Inflater, payload: Vec<u8>, is_text: bool) -> Self {
        Self { inflater, payload, is_text }
    }

    /// Memory that it takes.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.payload.capacity() + self.inflater.held_bytes()
    }

    /// The frame that it came in, or one like it.
    pub fn into_frame(self) -> Vec<u8> {
        let opcode = if self.is_text { Opcode::Text } else { Opcode::Binary };
        let mut frame = Vec::with_capacity(self.payload.len() + FRAME_HEADER_BYTES_MAX);
        websocket::encode_compressed_masked(&mut frame, opcode, &self.payload);
        frame
    }
}

/// A compressed message as it was meant, whose text can be checked only now (RFC 7692 §7.2.2); `None` while it takes longer
/// than was to be spent.
fn inflated<'a>(
    inflater: &'a mut Inflater,
    is_text: bool,
    data: &[u8],
    settings: &Settings,
    left: &mut usize,
) -> Result<Option<&'a [u8]>, WsError> {
    let Some(data) = inflater.inflate(data, settings.message_bytes_max, left)? else { return Ok(None) };
    if is_text {
        simdutf8::basic::from_utf8(data).map_err(|_| WsError::Utf8)?;
    }
    Ok(Some(data))
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
    fn a_session_goes_on_in_another_process_with_the_answer_that_it_waits_for() {
        let (limits, mut out) = (Limits::default(), Vec::new());
        let mut before = WebSocket::new(7, false);
        before.handle_deadline(&limits, false, &mut out);
        let left = before.keep_alive(900);
        assert_eq!(left, KeepAlive { awaits_pong: true, has_spoken: false, due_ms: 900 });
        let due = WebSocket::resumed(left).handle_deadline(&limits, false, &mut out);
        assert_eq!(due, Due::End(CloseReason::PingTimeout));
        let settings = Settings {
            role: websocket::Role::Server,
            message_bytes_max: 9,
            fragments_max: 0,
            compression: false,
        };
        let mut feed = |websocket: &mut WebSocket, bytes: &mut [u8]| {
            let (mut inflater, mut left) = (Inflater::default(), 0);
            let inflating = Inflating { inflater: &mut inflater, left: &mut left };
            websocket.handle_bytes(bytes, &settings, inflating, &mut out);
        };
        let mut after = WebSocket::resumed(left);
        let mut pong = [0x8a, 0x80, 0, 0, 0, 0];
        feed(&mut after, &mut pong[..3]);
        let (kept, mut begun) = (after.keep_alive(1), after.take_unread());
        let mut last = WebSocket::resumed(kept);
        feed(&mut last, &mut begun);
        feed(&mut last, &mut pong[3..]);
        assert_eq!(last.keep_alive(1), KeepAlive { awaits_pong: false, has_spoken: true, due_ms: 1 });
    }

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
