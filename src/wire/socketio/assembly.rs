//! A packet that waits for its attachments.
//!
//! ```text
//!   handle_text ─► whole at once
//!               └► kept ─► handle_binary ─► … ─► handle_binary ─► whole        no text meanwhile
//! ```
//!
//! Invariants: text and attachments kept are never more than `packet_bytes_max` together, an attachment that stands in
//! many places counted for each of them, lest a small packet be made a large one by whoever puts it there; nothing is set
//! aside for what is only announced; while nothing is awaited, no memory is held but one pointer.

use super::{Packet, Settings, SocketError, decode, placeholders};

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
    /// The same, with each attachment as often as it stands in the text.
    counted: usize,
    /// How often each attachment stands there, if one does more than once.
    places: Vec<u32>,
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
        let places = places(&packet, attachments_left)?;
        let whole = Whole { text: text.into(), settings: *settings, attachments: Vec::new() };
        let (bytes, counted) = (text.len(), text.len());
        self.0 = Some(Box::new(Pending { whole, attachments_left, bytes, counted, places }));
        Ok(None)
    }

    /// Takes a binary message, which is an attachment. The last one makes the packet whole. After an error nothing is
    /// kept.
    pub fn handle_binary(&mut self, data: &[u8], settings: &Settings) -> Result<Option<Whole>, SocketError> {
        let mut pending = self.0.take().ok_or(SocketError::AttachmentUnexpected)?;
        let places = pending.places.get(pending.whole.attachments.len()).map_or(1, |places| *places as usize);
        pending.counted = pending.counted.saturating_add(data.len().saturating_mul(places.max(1)));
        if pending.counted > settings.packet_bytes_max {
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

    /// The text of the packet that is awaited, and the attachments that have come.
    pub fn begun(&self) -> Option<(&str, &[Box<[u8]>])> {
        self.0.as_ref().map(|pending| (&*pending.whole.text, &pending.whole.attachments[..]))
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
                + size_of::<u32>() * pending.places.capacity()
                + size_of::<Box<[u8]>>() * pending.whole.attachments.capacity()
        };
        self.0.as_deref().map_or(0, held)
    }
}

/// How often each attachment stands in a packet; nothing while none does more than once.
fn places(packet: &Packet<'_>, attachments: u32) -> Result<Vec<u32>, SocketError> {
    let Some(array) = packet.array() else { return Ok(Vec::new()) };
    let mut places = vec![0; attachments as usize];
    for (_, index) in placeholders(array, attachments)? {
        places[index as usize] += 1;
    }
    Ok(if places.iter().any(|places| *places > 1) { places } else { Vec::new() })
}

impl Whole {
    /// The packet.
    pub fn packet(&self) -> Packet<'_> {
        decode(&self.text, &self.settings).expect("the same text was decoded when it came")
    }
}
