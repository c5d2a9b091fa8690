//! A message on a channel, before and after its owner stamped it.

use std::{fmt, sync::Arc};

use smallvec::SmallVec;

use super::{Arguments, Change, ChannelName, Emission, Position, ShardId, says_json, says_text};

/// What somebody wants published: bytes and their content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The bytes, unchanged.
    pub data: Box<[u8]>,
    /// The content type the publisher named, if any.
    pub content_type: Option<Box<str>>,
    /// The name of the event it is, if the publisher gave it one.
    pub event: Option<Box<str>>,
    /// What only Socket.IO clients are told.
    pub emission: Option<Box<Emission>>,
    /// What it does to the channel's state, if it is a change of that.
    pub change: Option<Box<Change>>,
    /// What is handed out before it, if its issuer asked for that and it may not have been.
    pub after: Option<Box<After>>,
    /// Whether `data` travels as text on every transport, which it only does when it is UTF-8.
    is_text: bool,
}

/// What the issuer of a publication asked before, through the owners of other channels: a shard hands the publication out
/// once it has the receipts of these owners, and has handed out what came before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// The shard by which the issuer asks.
    pub origin: ShardId,
    /// The owners, each with the number of the receipt that the origin has asked it for.
    pub receipts: SmallVec<[(ShardId, u64); 1]>,
    /// The number of the receipt that this publication's owner gives behind it, for whoever stands behind it; 0 for none. A shard that
    /// is delivered the publication has it by that.
    pub receipt: u64,
}

impl Payload {
    /// The receipt that its owner gives behind it: by which shard it was asked for, and its number.
    pub fn receipt(&self) -> Option<(ShardId, u64)> {
        let after = self.after.as_deref().filter(|after| after.receipt != 0)?;
        Some((after.origin, after.receipt))
    }

    /// Takes bytes. Whether they are text or binary is what the content type says; where it says nothing, they are text
    /// when they are UTF-8.
    pub fn new(data: impl Into<Box<[u8]>>, content_type: Option<&str>) -> Self {
        Self::said(data.into(), content_type, content_type.and_then(says_text).unwrap_or(true))
    }

    /// Takes what the publisher said is text, whatever its content type.
    pub fn text_of(text: &str, content_type: Option<&str>) -> Self {
        let data = text.as_bytes().into();
        let content_type = content_type.map(Into::into);
        Self { data, content_type, event: None, emission: None, change: None, after: None, is_text: true }
    }

    /// Takes what the publisher said is bytes; text only if the content type says so.
    pub fn bytes_of(data: impl Into<Box<[u8]>>, content_type: Option<&str>) -> Self {
        Self::said(data.into(), content_type, content_type.and_then(says_text).unwrap_or(false))
    }

    /// A payload as it was written down.
    pub fn as_it_was(data: &[u8], content_type: Option<&str>, is_text: bool) -> Self {
        Self::said(data.into(), content_type, is_text)
    }

    /// As [`Self::new`], `is_text` being what was said.
    fn said(data: Box<[u8]>, content_type: Option<&str>, is_text: bool) -> Self {
        let is_text = is_text && simdutf8::basic::from_utf8(&data).is_ok();
        let content_type = content_type.map(Into::into);
        Self { data, content_type, event: None, emission: None, change: None, after: None, is_text }
    }

    /// Names the event.
    pub fn with_event(mut self, event: Option<&str>) -> Self {
        self.event = event.map(Into::into);
        self
    }

    /// Whether it is only for those who can take it at once.
    pub fn is_volatile(&self) -> bool {
        self.emission.as_ref().is_some_and(|emission| emission.is_volatile)
    }

    /// Bytes of memory it keeps, data and what only Socket.IO's clients are told.
    pub fn bytes(&self) -> usize {
        let arguments = self.emission.as_deref().and_then(|emission| emission.arguments.as_ref());
        let change = self.change.as_deref().map_or(0, Change::bytes);
        self.data.len()
            + arguments.map_or(0, Arguments::bytes)
            + self.event.as_deref().map_or(0, str::len)
            + change
    }

    /// The data as text, unless it is binary.
    pub fn text(&self) -> Option<&str> {
        match self.is_text {
            true => std::str::from_utf8(&self.data).ok(),
            false => None,
        }
    }

    /// Whether the data is text.
    pub fn is_text(&self) -> bool {
        self.is_text
    }

    /// Whether the publisher said that it is JSON.
    pub fn says_json(&self) -> bool {
        self.content_type.as_deref().is_some_and(says_json)
    }
}

/// A message that its channel's owner has given a position. Immutable from then on.
#[derive(Debug, PartialEq, Eq)]
pub struct Publication {
    /// The channel.
    pub channel: ChannelName,
    /// Its place in the channel's stream.
    pub position: Position,
    /// When the owner stamped it, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The message itself.
    pub payload: Payload,
}

/// A publication as shards pass it to each other: immutable, counted, never copied.
pub type SharedPublication = Arc<Publication>;

/// Several of them, in an order, that many are shown: made once.
pub type SharedPublications = Arc<[SharedPublication]>;

/// Why a publication was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The way to the channel's owner is full; try again later.
    Busy,
    /// The owner already keeps as many channels as it may.
    ChannelsFull,
    /// What it would have to keep on disk cannot be written as fast as it comes, or not at all; try again later.
    StorageBusy,
    /// The broker has not taken it, and it is not done; try again later.
    BrokerUnavailable,
    /// The broker was asked and has not answered: it is done, or it is not.
    BrokerUnknown,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the channel's shard is overloaded; try again later",
            Self::StorageBusy => "what this channel keeps cannot be written to disk now; try again later",
            Self::BrokerUnavailable => {
                "the broker that joins the nodes is away or cannot keep this; try again later"
            }
            Self::BrokerUnknown => {
                "the broker that joins the nodes has not answered: this may have been published, or not"
            }
            Self::ChannelsFull => "the server keeps as many channels as it may (limits.channels_max)",
        })
    }
}

impl std::error::Error for PublishError {}
