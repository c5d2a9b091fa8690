//! The text of a packet, read. What follows it in binary is the business of `assembly.rs`.
//!
//! Invariant: a [`Packet`] handed out is sound in every part, its JSON included: nothing a peer wrote has to be
//! checked again, except for what the values mean.

use std::borrow::Cow;

use super::{SocketError, placeholders};
use crate::{
    limits::{
        JSON_DEPTH_MAX, SOCKETIO_ACK_ID_DIGITS_MAX, SOCKETIO_ATTACHMENTS_MAX, SOCKETIO_EVENT_NAME_BYTES_MAX,
        SOCKETIO_NAMESPACE_BYTES_MAX,
    },
    wire::json::{Elements, RESERVED_EVENTS, Raw},
};

/// How much a peer may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A packet's text and its attachments together.
    pub packet_bytes_max: usize,
    /// Attachments of one packet; at most [`SOCKETIO_ATTACHMENTS_MAX`].
    pub attachments_max: u32,
    /// Objects and arrays of the payload inside each other; at most [`JSON_DEPTH_MAX`].
    pub depth_max: usize,
    /// A namespace, with its slash.
    pub namespace_bytes_max: usize,
    /// An event's name, unescaped.
    pub event_name_bytes_max: usize,
}

/// A packet a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The namespace, with its slash; `/` when none was named.
    pub namespace: &'a str,
    /// What it says.
    pub kind: Kind<'a>,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// The client wants to enter the namespace.
    Connect {
        /// An object with what the application asks for.
        auth: Option<Raw<'a>>,
    },
    /// The client leaves the namespace.
    Disconnect,
    /// An event, with attachments or without.
    Event(Event<'a>),
    /// The answer to an event, with attachments or without.
    Ack(Ack<'a>),
    /// Entry is refused: an object or a string. Only a server has a use for it.
    ConnectError(Raw<'a>),
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name; of a number, the text.
    pub name: Cow<'a, str>,
    /// The id by which the sender wants it acknowledged.
    pub ack: Option<u64>,
    /// The array of the name and the arguments.
    pub array: Raw<'a>,
    /// How many of the binary messages that follow belong to it.
    pub attachments: u32,
}

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The id of the event.
    pub id: u64,
    /// The array of the arguments.
    pub array: Raw<'a>,
    /// How many of the binary messages that follow belong to it.
    pub attachments: u32,
}

/// The text of an event or acknowledgement behind its namespace.
struct Body<'a> {
    id: Option<u64>,
    array: Raw<'a>,
    attachments: u32,
}

/// Reads a packet. One with attachments is sound, but not whole; [`super::Assembly`] waits for the rest.
pub fn decode<'a>(text: &'a str, settings: &Settings) -> Result<Packet<'a>, SocketError> {
    let kind = *text.as_bytes().first().ok_or(SocketError::Empty)?;
    let rest = text.get(1..).ok_or(SocketError::PacketType)?;
    let (attachments, rest) = match kind {
        b'0'..=b'4' => (0, rest),
        b'5' | b'6' => split_attachments(rest, settings)?,
        _ => return Err(SocketError::PacketType),
    };
    let (namespace, rest) = split_namespace(rest, settings)?;
    let kind = match kind {
        b'0' => Kind::Connect { auth: decode_auth(rest, settings)? },
        b'1' if rest.is_empty() => Kind::Disconnect,
        b'1' => return Err(SocketError::Payload),
        b'4' => Kind::ConnectError(decode_connect_error(rest, settings)?),
        b'2' | b'5' => Kind::Event(Body::decode(rest, attachments, settings)?.into_event(settings)?),
        _ => Kind::Ack(Body::decode(rest, attachments, settings)?.into_ack()?),
    };
    Ok(Packet { namespace, kind })
}

/// Whether a JSON value is an event as it stands: an array that begins with a name a client may send.
pub fn is_event(json: Raw<'_>) -> bool {
    let name = json.elements().and_then(|mut elements| elements.next()).and_then(|first| first.text());
    matches!(name, Some(Ok(name)) if !RESERVED_EVENTS.contains(&&*name))
}

/// Whether text is JSON of bounded depth and an event as it stands.
pub fn is_event_text(text: &str) -> bool {
    Raw::check(text, JSON_DEPTH_MAX).is_ok_and(is_event)
}

fn split_attachments<'a>(text: &'a str, settings: &Settings) -> Result<(u32, &'a str), SocketError> {
    let (digits, rest) = text.split_once('-').ok_or(SocketError::Attachments)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SocketError::Attachments);
    }
    let attachments_max = settings.attachments_max.min(SOCKETIO_ATTACHMENTS_MAX);
    match digits.parse() {
        Ok(attachments) if attachments <= attachments_max => Ok((attachments, rest)),
        Ok(_) | Err(_) => Err(SocketError::AttachmentsTooMany),
    }
}

/// The namespace `text` begins with, and what follows. Clients of older protocols append a query to it, which is
/// dropped as python-socketio drops it.
fn split_namespace<'a>(text: &'a str, settings: &Settings) -> Result<(&'a str, &'a str), SocketError> {
    if !text.starts_with('/') {
        return Ok(("/", text));
    }
    let (named, rest) = text.split_once(',').unwrap_or((text, ""));
    let namespace = named.split_once('?').map_or(named, |(namespace, _)| namespace);
    if namespace.len() > settings.namespace_bytes_max {
        Err(SocketError::NamespaceTooLong)
    } else if namespace.chars().any(char::is_control) {
        Err(SocketError::Namespace)
    } else {
        Ok((namespace, rest))
    }
}

fn decode_auth<'a>(text: &'a str, settings: &Settings) -> Result<Option<Raw<'a>>, SocketError> {
    if text.is_empty() {
        return Ok(None);
    }
    let auth = Raw::check(text, settings.depth_max)?;
    if auth.is_object() { Ok(Some(auth)) } else { Err(SocketError::Payload) }
}

fn decode_connect_error<'a>(text: &'a str, settings: &Settings) -> Result<Raw<'a>, SocketError> {
    if text.is_empty() {
        return Err(SocketError::Payload);
    }
    let error = Raw::check(text, settings.depth_max)?;
    if error.is_object() || error.is_string() { Ok(error) } else { Err(SocketError::Payload) }
}

impl Settings {
    /// The bounds of `limits.rs`, and one for a packet's size.
    pub const fn new(packet_bytes_max: usize) -> Self {
        Self {
            packet_bytes_max,
            attachments_max: SOCKETIO_ATTACHMENTS_MAX,
            depth_max: JSON_DEPTH_MAX,
            namespace_bytes_max: SOCKETIO_NAMESPACE_BYTES_MAX,
            event_name_bytes_max: SOCKETIO_EVENT_NAME_BYTES_MAX,
        }
    }
}

impl<'a> Packet<'a> {
    /// The array of an event or of an acknowledgement.
    pub(super) fn array(&self) -> Option<Raw<'a>> {
        match &self.kind {
            Kind::Event(event) => Some(event.array),
            Kind::Ack(ack) => Some(ack.array),
            Kind::Connect { .. } | Kind::Disconnect | Kind::ConnectError(_) => None,
        }
    }

    /// How many of the binary messages that follow belong to the packet.
    pub fn attachments(&self) -> u32 {
        match &self.kind {
            Kind::Event(event) => event.attachments,
            Kind::Ack(ack) => ack.attachments,
            Kind::Connect { .. } | Kind::Disconnect | Kind::ConnectError(_) => 0,
        }
    }
}

impl<'a> Event<'a> {
    /// The arguments, in order.
    pub fn arguments(&self) -> impl Iterator<Item = Raw<'a>> + Clone + use<'a> {
        elements(self.array).skip(1)
    }
}

impl<'a> Ack<'a> {
    /// The arguments, in order.
    pub fn arguments(&self) -> Elements<'a> {
        elements(self.array)
    }
}

impl<'a> Body<'a> {
    fn decode(text: &'a str, attachments: u32, settings: &Settings) -> Result<Self, SocketError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits > SOCKETIO_ACK_ID_DIGITS_MAX {
            return Err(SocketError::AckIdTooLong);
        }
        let (id, text) = text.split_at(digits);
        if text.is_empty() {
            return Err(SocketError::Payload);
        }
        let array = Raw::check(text, settings.depth_max)?;
        if !array.is_array() {
            return Err(SocketError::Payload);
        }
        if attachments > 0 {
            placeholders(array, attachments)?;
        }
        // So many digits always fit: no digits are no id.
        Ok(Self { id: id.parse().ok(), array, attachments })
    }

    fn into_event(self, settings: &Settings) -> Result<Event<'a>, SocketError> {
        let first = elements(self.array).next().ok_or(SocketError::EventName)?;
        let name = match first.text() {
            Some(text) => text.map_err(|_| SocketError::EventName)?,
            None if first.is_number() => Cow::Borrowed(first.as_str()),
            None => return Err(SocketError::EventName),
        };
        if name.len() > settings.event_name_bytes_max {
            Err(SocketError::EventNameTooLong)
        } else if RESERVED_EVENTS.contains(&&*name) {
            Err(SocketError::EventReserved)
        } else {
            Ok(Event { name, ack: self.id, array: self.array, attachments: self.attachments })
        }
    }

    fn into_ack(self) -> Result<Ack<'a>, SocketError> {
        let id = self.id.ok_or(SocketError::AckIdMissing)?;
        Ok(Ack { id, array: self.array, attachments: self.attachments })
    }
}

/// The elements of what is known to be an array.
fn elements(array: Raw<'_>) -> Elements<'_> {
    array.elements().unwrap_or_default()
}
