//! An established connection: all that is kept of TLS while it lives.
//!
//! ```text
//!   received  [ head │ sealed │ tag ][ head │ sealed │ tag ][ head │ sea…        opened in place, then joined:
//!             [ head │ plain 1│plain 2 ]                    └─ kept until the rest arrives
//! ```
//!
//! Invariant: a record that was sealed is sent, and in this order; otherwise the peer's count of records differs from
//! this one's.

mod export;

pub use export::EXPORT_BYTES;

use std::fmt;

use aws_lc_rs::aead::LessSafeKey;
use rustls::ExtractedSecrets;

use super::{
    Alert, RECORD_PLAIN_MAX, Version,
    direction::{Direction, HEADER_BYTES, TAG_BYTES},
    ready::KeyPlace,
};
use crate::limits::MESSAGES_WITHOUT_DATA_MAX;

pub(super) const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// A KeyUpdate: its type, its length, and whether the peer's keys are to change as well (RFC 8446 §4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// The keys and counters of an established connection. They are zeroed when it is dropped.
#[cfg_attr(test, derive(Clone))]
pub struct Record {
    send: Direction,
    receive: Direction,
    /// The beginning of a message whose rest comes in another record.
    message: [u8; 4],
    message_len: u8,
    marks: Marks,
    /// The last word of this side.
    farewell: Alert,
}

/// What has happened to a connection.
#[derive(Clone, Copy, Default)]
struct Marks(u8);

impl Marks {
    /// The peer wants new keys of this side, before anything else is said.
    const OWES_UPDATE: u8 = 1;
    /// Nothing is read any more.
    const HAS_ENDED: u8 = 2;
    /// Nothing is said any more.
    const HAS_SAID_FAREWELL: u8 = 4;
    /// Something of it has been read.
    const HAS_BEEN_HEARD: u8 = 8;
    /// What may have happened to a connection that goes on with another process.
    const OF_OPEN: u8 = Self::OWES_UPDATE | Self::HAS_BEEN_HEARD;

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    fn set(&mut self, mark: u8) {
        self.0 |= mark;
    }

    fn clear(&mut self, mark: u8) {
        self.0 &= !mark;
    }
}

const _: () = assert!(size_of::<Record>() == 216 && size_of::<Option<Record>>() == 216);

/// What was found in some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where the plaintext of all records lies in the input, joined.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// How much of the input was whole records; what lies behind begins one that has not ended.
    pub consumed: usize,
    /// Why nothing behind is read, if so.
    pub ended: Option<End>,
}

/// Why a connection is not read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer will send nothing more.
    Closed,
    /// The peer says that it has failed.
    PeerFailed,
    /// The peer broke the protocol, and is told so.
    Broken(Alert),
}

/// What one record says.
enum Said {
    Data,
    Nothing,
    KeysChanged,
    End(End),
}

impl Record {
    /// Takes over from rustls. The secrets are those of the first keys after the handshake; TLS 1.2 has none.
    pub(super) fn new(
        secrets: ExtractedSecrets,
        client_secret: &[u8],
        server_secret: &[u8],
        version: Version,
    ) -> Option<Self> {
        Some(Self {
            send: Direction::new(secrets.tx, server_secret, version)?,
            receive: Direction::new(secrets.rx, client_secret, version)?,
            message: [0; 4],
            message_len: 0,
            marks: Marks::default(),
            farewell: Alert::CloseNotify,
        })
    }

    /// A copy, to be kept elsewhere. The original is to be dropped where it is, which zeroes its keys, and must not be used
    /// again: a value that is moved leaves its bytes behind.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            send: self.send.clone(),
            receive: self.receive.clone(),
            message: self.message,
            message_len: self.message_len,
            marks: self.marks,
            farewell: self.farewell,
        }
    }

    /// Opens every whole record of `input` in place and joins what they hold.
    pub fn receive(&mut self, input: &mut [u8]) -> Received {
        self.receive_with(input, KeyPlace::passing())
    }

    /// The same, with a place for its key.
    pub fn receive_with(&mut self, input: &mut [u8], mut key: KeyPlace<'_>) -> Received {
        let mut found = Received { start: 0, end: 0, consumed: 0, ended: None };
        self.marks.set(Marks::HAS_BEEN_HEARD);
        while found.ended.is_none() {
            let at = found.consumed;
            let len = match self.receive.record_len(&input[at..]) {
                Ok(Some(len)) if input.len() - at >= len => len,
                Ok(_) => break,
                Err(alert) => {
                    found.ended = Some(End::Broken(alert));
                    break;
                }
            };
            let opened = self.receive.open(key.key(&self.receive), &mut input[at..at + len]);
            found.consumed += len;
            let said = opened.and_then(|opened| {
                let (start, end) = (at + opened.start, at + opened.end);
                let said = self.hear(opened.kind, &input[start..end])?;
                if matches!(said, Said::Data) {
                    found.join(input, start, end);
                }
                Ok(said)
            });
            match said {
                Ok(Said::Data | Said::Nothing) => {}
                Ok(Said::KeysChanged) => key.clear(),
                Ok(Said::End(end)) => found.ended = Some(end),
                Err(alert) => found.ended = Some(End::Broken(alert)),
            }
        }
        if found.ended.is_some() {
            self.marks.set(Marks::HAS_ENDED);
        }
        if let Some(End::Broken(alert)) = found.ended {
            self.farewell = alert;
        }
        found
    }

    fn hear(&mut self, kind: u8, plain: &[u8]) -> Result<Said, Alert> {
        // A message must not be interrupted (RFC 8446 §5.1).
        if self.message_len > 0 && kind != HANDSHAKE {
            return Err(Alert::UnexpectedMessage);
        }
        match kind {
            APPLICATION_DATA if plain.is_empty() => self.hear_idle_message().map(|()| Said::Nothing),
            APPLICATION_DATA => {
                self.receive.idle_messages = 0;
                Ok(Said::Data)
            }
            ALERT => self.hear_alert(plain),
            HANDSHAKE if self.receive.version == Version::Tls13 => self.hear_message(plain),
            HANDSHAKE => Err(Alert::NoRenegotiation),
            _ => Err(Alert::UnexpectedMessage),
        }
    }

    fn hear_alert(&mut self, plain: &[u8]) -> Result<Said, Alert> {
        const USER_CANCELED: u8 = 90;
        match *plain {
            [_, 0] => Ok(Said::End(End::Closed)),
            [1, USER_CANCELED] => self.hear_idle_message().map(|()| Said::Nothing),
            // In TLS 1.3 every other alert ends the connection, whatever level it claims (RFC 8446 §6).
            [1, _] if self.receive.version == Version::Tls12 => {
                self.hear_idle_message().map(|()| Said::Nothing)
            }
            [_, _] => Ok(Said::End(End::PeerFailed)),
            [] => Err(Alert::UnexpectedMessage),
            _ => Err(Alert::DecodeError),
        }
    }

    /// Of all messages of a handshake a client may send but a KeyUpdate now, and nothing behind it in its record, for the
    /// keys of what follows are others (RFC 8446 §5.1).
    fn hear_message(&mut self, plain: &[u8]) -> Result<Said, Alert> {
        if plain.is_empty() {
            return Err(Alert::UnexpectedMessage);
        }
        let begun = usize::from(self.message_len);
        let taken = plain.len().min(KEY_UPDATE.len() - begun);
        let mut message = [0; KEY_UPDATE.len()];
        message[..begun].copy_from_slice(&self.message[..begun]);
        message[begun..begun + taken].copy_from_slice(&plain[..taken]);
        let have = begun + taken;
        if message[0] != KEY_UPDATE[0] {
            return Err(Alert::UnexpectedMessage);
        }
        if have >= 4 && message[1..4] != KEY_UPDATE[1..4] {
            return Err(Alert::DecodeError);
        }
        if have < message.len() {
            self.message[..have].copy_from_slice(&message[..have]);
            self.message_len = have as u8;
            return self.hear_idle_message().map(|()| Said::Nothing);
        }
        self.message_len = 0;
        if taken < plain.len() {
            return Err(Alert::UnexpectedMessage);
        }
        match message[4] {
            0 => {}
            1 => self.marks.set(Marks::OWES_UPDATE),
            _ => return Err(Alert::IllegalParameter),
        }
        self.hear_idle_message()?;
        self.receive.update();
        Ok(Said::KeysChanged)
    }

    /// Counts what costs this side work and brings no data.
    fn hear_idle_message(&mut self) -> Result<(), Alert> {
        self.receive.idle_messages += 1;
        match self.receive.idle_messages > MESSAGES_WITHOUT_DATA_MAX {
            true => Err(Alert::UnexpectedMessage),
            false => Ok(()),
        }
    }

    /// Seals what is to be said, behind what is in `out`.
    pub fn sealer<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Sealer<'a> {
        self.sealer_with(out, KeyPlace::passing())
    }

    /// The same, with a place for its key.
    pub fn sealer_with<'a>(&'a mut self, out: &'a mut Vec<u8>, key: KeyPlace<'a>) -> Sealer<'a> {
        let mut sealer = Sealer { record: self, key, out, start: None };
        if sealer.record.owes_update() {
            sealer.update();
        }
        sealer
    }

    /// Appends the last record of this side: an alert that tells why nothing more comes. Afterwards nothing is sealed.
    pub fn seal_farewell(&mut self, out: &mut Vec<u8>) {
        if self.marks.has(Marks::HAS_SAID_FAREWELL) {
            return;
        }
        self.marks.set(Marks::HAS_SAID_FAREWELL);
        if !self.send.is_exhausted() {
            let key = self.send.expand();
            seal_message(&mut self.send, &key, ALERT, &self.farewell.bytes(), out);
        }
    }

    /// Whether the last record has been sealed.
    pub fn has_said_farewell(&self) -> bool {
        self.marks.has(Marks::HAS_SAID_FAREWELL)
    }

    /// Whether the peer waits for new keys of this side.
    pub fn owes_update(&self) -> bool {
        self.marks.has(Marks::OWES_UPDATE) && !self.marks.has(Marks::HAS_SAID_FAREWELL)
    }

    /// Whether nothing that the peer sends is read any more.
    pub fn has_ended(&self) -> bool {
        self.marks.has(Marks::HAS_ENDED)
    }

    /// Whether anything that the peer has sent has been read.
    #[inline]
    pub fn has_been_heard(&self) -> bool {
        self.marks.has(Marks::HAS_BEEN_HEARD)
    }

    /// Whether the keys of this side are nearly used up and there can be no others, as in TLS 1.2.
    pub fn is_nearly_exhausted(&self) -> bool {
        self.send.version == Version::Tls12 && self.send.is_nearly_exhausted()
    }

    /// The version that is spoken.
    pub fn version(&self) -> Version {
        self.send.version
    }

    /// The longest record that can come, with its header.
    pub fn record_bytes_max(&self) -> usize {
        HEADER_BYTES + RECORD_PLAIN_MAX + if self.receive.version == Version::Tls13 { 256 } else { 2048 }
    }

    /// The record, with no place for its key.
    #[cfg(test)]
    pub(crate) fn alone(&mut self) -> (&mut Self, KeyPlace<'static>) {
        (self, KeyPlace::passing())
    }

    /// The peer's end of the connection.
    #[cfg(test)]
    pub(super) fn mirrored(&self) -> Self {
        let mut peer = self.clone();
        std::mem::swap(&mut peer.send, &mut peer.receive);
        peer
    }

    /// Seals a record of any kind, with padding, as a peer might.
    #[cfg(test)]
    pub(super) fn seal_raw(&mut self, kind: u8, plain: &[u8], padding: usize) -> Vec<u8> {
        let (mut out, key) = (Vec::new(), self.send.expand());
        self.send.begin_record(&mut out);
        out.extend_from_slice(plain);
        if padding == 0 {
            self.send.end_record(&key, kind, &mut out, 0);
        } else {
            out.push(kind);
            out.resize(out.len() + padding - 1, 0);
            self.send.end_record(&key, 0, &mut out, 0);
        }
        out
    }

    /// Changes the keys of this side, and asks for others of the peer's.
    #[cfg(test)]
    pub(crate) fn asks_for_new_keys(&mut self) -> Vec<u8> {
        let bytes = self.seal_raw(HANDSHAKE, &[24, 0, 0, 1, 1], 0);
        self.send.update();
        bytes
    }

    /// Uses up its keys, but for a few records.
    #[cfg(test)]
    pub(crate) fn nearly_exhaust(&mut self) {
        self.send.skip_to(crate::limits::RECORDS_PER_KEY_MAX - 1000);
    }

    #[cfg(test)]
    pub(super) fn directions(&mut self) -> (&mut Direction, &mut Direction) {
        (&mut self.send, &mut self.receive)
    }
}

impl Received {
    /// Puts a record's plaintext behind that of the records before it.
    #[inline]
    fn join(&mut self, input: &mut [u8], start: usize, end: usize) {
        if self.end == 0 {
            (self.start, self.end) = (start, end);
        } else {
            input.copy_within(start..end, self.end);
            self.end += end - start;
        }
    }

    /// The plaintext.
    pub fn plain<'a>(&self, input: &'a mut [u8]) -> &'a mut [u8] {
        &mut input[self.start..self.end]
    }
}

/// Keys are secrets.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// Gathers plaintext into records as large as may be.
pub struct Sealer<'a> {
    record: &'a mut Record,
    key: KeyPlace<'a>,
    out: &'a mut Vec<u8>,
    /// Where the record that is being filled begins.
    start: Option<usize>,
}

impl Sealer<'_> {
    /// Adds plaintext behind what was added before.
    #[inline]
    pub fn add(&mut self, mut plain: &[u8]) {
        // Whoever has said its last word, or has no keys left, is about to be closed.
        while !plain.is_empty() && !self.is_over() {
            let start = match self.start {
                Some(start) => start,
                None => self.begin(),
            };
            let held = self.out.len() - self.record.send.plain_start(start);
            let taken = plain.len().min(RECORD_PLAIN_MAX - held);
            self.out.extend_from_slice(&plain[..taken]);
            plain = &plain[taken..];
            if held + taken == RECORD_PLAIN_MAX {
                self.close();
            }
        }
    }

    /// Seals what has not been.
    pub fn end(mut self) {
        self.close();
    }

    #[inline]
    fn is_over(&self) -> bool {
        let send = &self.record.send;
        self.record.has_said_farewell() || (send.version == Version::Tls12 && send.is_exhausted())
    }

    fn begin(&mut self) -> usize {
        // One record is left for the KeyUpdate.
        if self.record.send.version == Version::Tls13 && self.record.send.is_last() {
            self.update();
        }
        let start = self.out.len();
        self.record.send.begin_record(self.out);
        self.start = Some(start);
        start
    }

    #[inline]
    fn close(&mut self) {
        if let Some(start) = self.start.take() {
            let key = self.key.key(&self.record.send);
            self.record.send.end_record(key, APPLICATION_DATA, self.out, start);
        }
    }

    /// Changes the keys of this side. The peer is not asked for new ones: it counts its own records.
    fn update(&mut self) {
        let key = self.key.key(&self.record.send);
        seal_message(&mut self.record.send, key, HANDSHAKE, &KEY_UPDATE, self.out);
        self.record.send.update();
        self.record.marks.clear(Marks::OWES_UPDATE);
        self.key.clear();
    }
}

pub(super) fn seal_message(
    direction: &mut Direction,
    key: &LessSafeKey,
    kind: u8,
    message: &[u8],
    out: &mut Vec<u8>,
) {
    out.reserve(HEADER_BYTES + message.len() + 1 + TAG_BYTES);
    let start = out.len();
    direction.begin_record(out);
    out.extend_from_slice(message);
    direction.end_record(key, kind, out, start);
}
