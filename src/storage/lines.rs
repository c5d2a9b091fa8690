//! What stands in a store as lines of JSON, so that it can be read, searched, moved and kept elsewhere.
//!
//! ```text
//!   {"store":{"format":2}}
//!   {"stream":{"channel":"news","epoch":7,"offset":12,"synced":true}}
//!   {"publication":{"channel":"news","offset":12,"unix_ms":…,"data":"hello"}}
//!   {"key":{"publication":{…,"change":{"key":"title","kind":"set"}},"counted":5}}
//!   {"member":{"channel":"news","id":"anna"}}
//! ```
//!
//! Invariant: what follows a stream's line, up to the next, is of that stream.

use base64::{Engine, engine::general_purpose::STANDARD};
use redb::{Database, ReadableTable};
use serde::{Deserialize, Serialize};

use super::{
    codec,
    error::Problem,
    store::{channel_of, decoded},
    tables::{COUNTED, FORMAT, HISTORY, MEMBERS, STATE, STREAMS, SYNCED, Tables, next_name},
};
use crate::model::{
    Arguments, Change, ChangeKind, ChannelName, Emission, Payload, Position, Publication, StateKey,
};

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Store { format: u64 },
    Stream { channel: String, epoch: u64, offset: u64, synced: bool },
    Publication(Written),
    Key { publication: Written, counted: Option<i64> },
    Member { channel: String, id: String },
}

/// A publication.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    channel: String,
    offset: u64,
    unix_ms: u64,
    /// What is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// What is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<WrittenChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emission: Option<WrittenEmission>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChange {
    key: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_unix_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEmission {
    /// JSON, and what stands beside it in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<(String, Vec<String>)>,
    except_rooms: Vec<String>,
    is_volatile: bool,
}

/// Why a line cannot be put into a store.
#[derive(Debug)]
pub(super) enum Unfit {
    /// What it says is not so.
    Wrong(&'static str),
    /// The store refuses.
    Store(Problem),
}

impl Unfit {
    pub(super) fn at_line(self, number: u64) -> Problem {
        match self {
            Self::Wrong(what) => Problem::Line(number, what.to_owned()),
            Self::Store(problem) => problem,
        }
    }
}

impl<E: Into<Problem>> From<E> for Unfit {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// Tells all that stands under the channels that are wanted.
pub(super) fn all(
    database: &Database,
    is_wanted: impl Fn(&ChannelName) -> bool,
    tell: &mut dyn FnMut(Line) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let read = database.begin_read()?;
    let (streams, synced) = (read.open_table(STREAMS)?, read.open_table(SYNCED)?);
    let (history, state) = (read.open_table(HISTORY)?, read.open_table(STATE)?);
    let (counted, members) = (read.open_table(COUNTED)?, read.open_table(MEMBERS)?);
    for entry in streams.iter()? {
        let (name, position) = entry?;
        let (epoch, offset) = position.value();
        let channel = channel_of(name.value())?;
        if !is_wanted(&channel) {
            continue;
        }
        let (name, next) = (channel.as_str(), next_name(channel.as_str()));
        let synced = synced.get(name)?.is_some();
        tell(Line::Stream { channel: name.to_owned(), epoch, offset, synced })?;
        let written = |bytes: &[u8]| decoded(&channel, epoch, bytes).map(|one| Written::of(&one));
        for entry in history.range((name, 0)..=(name, u64::MAX))? {
            tell(Line::Publication(written(entry?.1.value())?))?;
        }
        for entry in state.range((name, "")..(&*next, ""))? {
            let (place, bytes) = entry?;
            let counted = counted.get(place.value())?.map(|counted| counted.value());
            tell(Line::Key { publication: written(bytes.value())?, counted })?;
        }
        for entry in members.range((name, "")..(&*next, ""))? {
            let id = entry?.0.value().1.to_owned();
            tell(Line::Member { channel: name.to_owned(), id })?;
        }
    }
    Ok(())
}

/// Each kind by a word of its own.
fn word_of(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Expire => "expire",
        kind => kind.word(),
    }
}

impl Line {
    /// What stands before all others.
    pub(super) fn first() -> Self {
        Self::Store { format: FORMAT }
    }

    /// Puts what it says into a store.
    pub(super) fn put(&self, tables: &mut Tables<'_>, keeps_epochs: bool) -> Result<(), Unfit> {
        match self {
            Self::Store { format: FORMAT } => {}
            Self::Store { .. } => return Err(Unfit::Wrong("it is of another format")),
            Self::Stream { channel, epoch, offset, synced } => {
                let name = channel_of(channel)?;
                tables.go_to(name.as_str(), Position { epoch: *epoch, offset: *offset })?;
                tables.promise(name.as_str(), keeps_epochs && *synced)?;
            }
            Self::Publication(written) => {
                let publication = written.read()?;
                tables.keep(&publication)?;
            }
            Self::Key { publication, counted } => {
                let publication = publication.read()?;
                let Some(change) = publication.payload.change.as_deref() else {
                    return Err(Unfit::Wrong("a key has a change"));
                };
                tables.hold(&publication, &change.key, *counted)?;
            }
            Self::Member { channel, id } => tables.enter(channel, id)?,
        }
        Ok(())
    }
}

impl Written {
    fn of(publication: &Publication) -> Self {
        let Publication { channel, position, unix_ms, payload } = publication;
        let (mut data, mut b64) = (None, None);
        match std::str::from_utf8(&payload.data) {
            Ok(text) if payload.is_text() => data = Some(text.to_owned()),
            Ok(_) | Err(_) => b64 = Some(STANDARD.encode(&payload.data)),
        }
        let change = payload.change.as_deref().map(|change| WrittenChange {
            key: change.key.as_str().to_owned(),
            kind: word_of(change.kind).to_owned(),
            expires_unix_ms: change.expires_unix_ms,
        });
        let arguments = |Arguments { json, attachments }: &Arguments| {
            (json.to_string(), attachments.iter().map(|one| STANDARD.encode(one)).collect())
        };
        let emission = payload.emission.as_deref().map(|emission| WrittenEmission {
            arguments: emission.arguments.as_ref().map(arguments),
            except_rooms: emission.except_rooms.iter().map(|room| room.as_str().to_owned()).collect(),
            is_volatile: emission.is_volatile,
        });
        Self {
            channel: channel.as_str().to_owned(),
            offset: position.offset,
            unix_ms: *unix_ms,
            data,
            b64,
            content_type: payload.content_type.as_deref().map(str::to_owned),
            event: payload.event.as_deref().map(str::to_owned),
            change,
            emission,
        }
    }

    /// The publication, under no epoch: that is its stream's.
    fn read(&self) -> Result<Publication, Unfit> {
        let bytes = |text: &String| STANDARD.decode(text).map_err(|_| Unfit::Wrong("b64 is not base64"));
        let (data, is_text) = match (&self.data, &self.b64) {
            (Some(text), None) => (text.as_bytes().to_vec(), true),
            (None, Some(text)) => (bytes(text)?, false),
            (Some(_), Some(_)) | (None, None) => return Err(Unfit::Wrong("it has either data or b64")),
        };
        let mut payload = Payload::as_it_was(&data, self.content_type.as_deref(), is_text);
        payload.event = self.event.as_deref().map(Into::into);
        if let Some(WrittenChange { key, kind, expires_unix_ms }) = &self.change {
            let kind = codec::KINDS.into_iter().find(|one| word_of(*one) == kind);
            let kind: ChangeKind = kind.ok_or(Unfit::Wrong("there is no such kind"))?;
            let (key, expires_unix_ms) = (StateKey::of_member(key), *expires_unix_ms);
            payload.change = Some(Box::new(Change { key, kind, expires_unix_ms }));
        }
        if let Some(WrittenEmission { arguments, except_rooms, is_volatile }) = &self.emission {
            let arguments = arguments.as_ref().map(|(json, attachments)| {
                let attachments = attachments.iter().map(|one| Ok(bytes(one)?.into_boxed_slice()));
                let attachments = attachments.collect::<Result<Vec<_>, Unfit>>()?.into_boxed_slice();
                Ok::<_, Unfit>(Arguments { json: json.as_str().into(), attachments })
            });
            let except_rooms = except_rooms.iter().map(|room| channel_of(room));
            let except_rooms = except_rooms.collect::<Result<Vec<_>, Problem>>()?.into_boxed_slice();
            let (arguments, is_volatile) = (arguments.transpose()?, *is_volatile);
            payload.emission =
                Some(Box::new(Emission { arguments, except_rooms, is_volatile, ..Emission::default() }));
        }
        let position = Position { epoch: 0, offset: self.offset };
        Ok(Publication { channel: channel_of(&self.channel)?, position, unix_ms: self.unix_ms, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::codec::tests::{news, payloads};

    #[test]
    fn a_publication_is_read_as_it_was_written_out() {
        let channel = news();
        for payload in payloads() {
            let position = Position { epoch: 0, offset: 1 << 40 };
            let publication = Publication { channel: channel.clone(), position, unix_ms: 5, payload };
            let text = serde_json::to_string(&Written::of(&publication)).expect("it is written as JSON");
            let written: Written = serde_json::from_str(&text).expect("it is read from JSON");
            assert_eq!(written.read().expect("it is whole"), publication, "{text}");
        }
    }

    #[test]
    fn what_is_no_publication_is_refused() {
        let of = |rest: &str| {
            let text = format!("{{\"channel\":\"c\",\"offset\":1,\"unix_ms\":1{rest}}}");
            serde_json::from_str::<Written>(&text).map(|written| written.read().is_ok()).ok()
        };
        assert_eq!(of(",\"data\":\"x\""), Some(true));
        for wrong in ["", ",\"data\":\"x\",\"b64\":\"eA==\"", ",\"b64\":\"?\""] {
            assert_eq!(of(wrong), Some(false), "{wrong}");
        }
        assert_eq!(of(",\"data\":\"x\",\"change\":{\"key\":\"k\",\"kind\":\"eat\"}"), Some(false));
        assert_eq!(of(",\"data\":\"x\",\"unknown\":1"), None);
    }
}
