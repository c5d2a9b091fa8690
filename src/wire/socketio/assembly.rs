//! A packet that waits for its attachments.
//!
//! ```text
//!   handle_text ─► whole at once
//!               └► kept ─► handle_binary ─► … ─► handle_binary ─► whole        no text meanwhile
//! ```
//!
//! Invariants: text and attachments kept are never more than `packet_bytes_max` together, and nothing is set aside for
//! what is only announced; while nothing is awaited, no memory is held but one pointer.

use super::{Packet, Settings, SocketError, decode};

/// The packets of one client, put together. One pointer while nothing is awaited.
#[derive(Debug, Default)]
pub struct Assembly(Option<Box<Pending>>);

const _: () = assert!(size_of::<Assembly>() == size_of::<usize>());

#[derive(Debug)]
struct Pending {
    whole: Whole,
    attachments_left: u32,
    /// Of the text and the attachments so far.
    bytes: usize,
}

/// A packet with all its attachments.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    text: Box<str>,
    settings: Settings,
    /// The attachments, in the order of their placeholders' numbers.
    pub attachments: Vec<Box<[u8]>>,
}

impl Assembly {
    /// Takes a text message. A packet without attachments is whole; one with attachments is kept, which is `None`.
    pub fn handle_text<'a>(
        &mut self,
        text: &'a str,
        settings: &Settings,
    ) -> Result<Option<Packet<'a>>, SocketError> {
        if self.0.take().is_some() {
            return Err(SocketError::AttachmentMissing);
        }
        if text.len() > settings.packet_bytes_max {
            return Err(SocketError::TooBig);
        }
        let packet = decode(text, settings)?;
        let attachments_left = packet.attachments();
        if attachments_left == 0 {
            return Ok(Some(packet));
        }
        let whole = Whole { text: text.into(), settings: *settings, attachments: Vec::new() };
        self.0 = Some(Box::new(Pending { whole, attachments_left, bytes: text.len() }));
        Ok(None)
    }

    /// Takes a binary message, which is an attachment. The last one makes the packet whole. After an error nothing is
    /// kept.
    pub fn handle_binary(&mut self, data: &[u8], settings: &Settings) -> Result<Option<Whole>, SocketError> {
        let mut pending = self.0.take().ok_or(SocketError::AttachmentUnexpected)?;
        if data.len() > settings.packet_bytes_max.saturating_sub(pending.bytes) {
            return Err(SocketError::TooBig);
        }
        pending.bytes += data.len();
        pending.whole.attachments.push(data.into());
        pending.attachments_left -= 1;
        if pending.attachments_left == 0 {
            return Ok(Some(pending.whole));
        }
        self.0 = Some(pending);
        Ok(None)
    }

    /// Whether no attachment is awaited.
    pub fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of text and attachments kept.
    pub fn buffered_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |pending| pending.bytes)
    }

    /// Memory taken by what is kept.
    pub fn held_bytes(&self) -> usize {
        let held = |pending: &Pending| {
            size_of::<Pending>()
                + pending.bytes
                + size_of::<Box<[u8]>>() * pending.whole.attachments.capacity()
        };
        self.0.as_deref().map_or(0, held)
    }
}

impl Whole {
    /// The packet.
    pub fn packet(&self) -> Packet<'_> {
        decode(&self.text, &self.settings).expect("the same text was decoded when it came")
    }
}
