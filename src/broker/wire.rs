//! The connection to the broker, as bytes: what is to be written, what has been asked and not answered, and whether what is
//! pushed still comes.

use std::collections::VecDeque;

use super::fault::Fault;
use crate::{
    limits::{BROKER_REPLY_BYTES_MAX, BROKER_SILENCE_MS},
    model::ChannelName,
    wire::resp::{Decoder, RespError, Step, Value, encode_command},
};

/// The connection.
#[derive(Debug, Default)]
pub(super) struct Wire {
    decoder: Decoder,
    input: Vec<u8>,
    output: Vec<u8>,
    /// In the order asked.
    awaited: VecDeque<Awaited>,
    /// When something was last answered, or asked while nothing was.
    since_ms: u64,
    /// When something was last pushed, and when that was last tried.
    heard_ms: u64,
    probed_ms: Option<u64>,
}

/// What has been asked.
#[derive(Debug)]
pub(super) enum Awaited {
    /// That it speaks RESP3, and knows who asks.
    Hello,
    /// Which process it is.
    Info,
    /// The floor of epochs.
    Floor,
    /// What became of publications of one channel.
    Run,
    /// What it is now.
    Role,
    /// How many members of a cluster hear a question of this id.
    Members(Box<str>),
    /// Nothing that matters.
    Nothing,
    /// What is kept of a channel, for a question of this number.
    Follow(ChannelName, u64),
    /// Where a channel is, that was followed by a question of this number.
    Check(ChannelName, u64),
}

/// Keeps what has been received while it is gone through.
pub(super) struct Received {
    input: Vec<u8>,
    decoder: Decoder,
    taken: usize,
}

/// What is published to see whether it comes; nobody else hears it.
const PROBE: &[u8] = b"?";

impl Wire {
    /// A new one.
    pub(super) fn connected(now_ms: u64) -> Self {
        Self { heard_ms: now_ms, ..Self::default() }
    }

    /// Asks something.
    pub(super) fn ask(&mut self, now_ms: u64, words: &[&[u8]], awaited: Awaited) {
        self.say(words);
        if self.awaited.is_empty() {
            self.since_ms = now_ms;
        }
        self.awaited.push_back(awaited);
    }

    /// Says something that is answered by a push, if at all.
    pub(super) fn say(&mut self, words: &[&[u8]]) {
        encode_command(&mut self.output, words);
    }

    /// What is to be written, if there is anything.
    pub(super) fn take_output(&mut self) -> Option<Vec<u8>> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output))
    }

    /// What the next reply answers.
    pub(super) fn answered(&mut self, now_ms: u64) -> Option<Awaited> {
        self.since_ms = now_ms;
        self.awaited.pop_front()
    }

    /// Something has been pushed.
    pub(super) fn note_pushed(&mut self, now_ms: u64) {
        (self.heard_ms, self.probed_ms) = (now_ms, None);
    }

    /// Finds out whether what is asked is still answered.
    pub(super) fn check_answers(&self, now_ms: u64) -> Result<(), Fault> {
        match self.awaited.is_empty() || now_ms.saturating_sub(self.since_ms) < BROKER_SILENCE_MS {
            true => Ok(()),
            false => Err(Fault::Silent),
        }
    }

    /// Finds out whether what is pushed still comes: when nothing has for a while, by what is published on a channel that
    /// this connection alone hears.
    pub(super) fn check_pushes(&mut self, now_ms: u64, own: impl FnOnce() -> String) -> Result<(), Fault> {
        match self.probed_ms {
            Some(probed_ms) if now_ms.saturating_sub(probed_ms) >= BROKER_SILENCE_MS => Err(Fault::Mute),
            None if now_ms.saturating_sub(self.heard_ms) >= BROKER_SILENCE_MS => {
                self.probed_ms = Some(now_ms);
                self.ask(now_ms, &[b"PUBLISH", own().as_bytes(), PROBE], Awaited::Nothing);
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What has been received, to be gone through.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Received {
        self.input.extend_from_slice(bytes);
        let (input, decoder) = (std::mem::take(&mut self.input), std::mem::take(&mut self.decoder));
        Received { input, decoder, taken: 0 }
    }

    /// What is left of it.
    pub(super) fn keep(&mut self, received: Received) {
        let Received { mut input, decoder, taken } = received;
        input.drain(..taken);
        // One large answer must not keep its room.
        if input.capacity() > KEPT_BYTES && input.len() < KEPT_BYTES {
            input.shrink_to(KEPT_BYTES);
        }
        (self.input, self.decoder) = (input, decoder);
    }
}

/// Room that an empty buffer keeps.
const KEPT_BYTES: usize = 64 * 1024;

impl Received {
    /// The next value, if it is there.
    pub(super) fn next(&mut self) -> Result<Option<Value<'_>>, RespError> {
        let start = self.taken;
        match self.decoder.decode(&self.input[start..], BROKER_REPLY_BYTES_MAX)? {
            Step::NeedMore => Ok(None),
            Step::Reply { value, consumed } => {
                self.taken += consumed;
                Ok(Some(value))
            }
        }
    }
}
