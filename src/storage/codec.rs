//! A publication as it stands on disk. Its channel and offset are the key, and its epoch is the stream's.

use serde::{Deserialize, Serialize};

use crate::model::{
    Arguments, Change, ChangeKind, ChannelName, Emission, Payload, Position, Publication, SharedPublication,
    StateKey,
};

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    offset: u64,
    unix_ms: u64,
    is_text: bool,
    #[serde(borrow)]
    content_type: Option<&'a str>,
    #[serde(borrow)]
    event: Option<&'a str>,
    #[serde(borrow)]
    change: Option<StoredChange<'a>>,
    #[serde(borrow)]
    emission: Option<StoredEmission<'a>>,
    data: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct StoredChange<'a> {
    key: &'a str,
    kind: u8,
    expires_unix_ms: Option<u64>,
}

/// Without the socket that it was not for: that is another one now.
#[derive(Serialize, Deserialize)]
struct StoredEmission<'a> {
    #[serde(borrow)]
    arguments: Option<(&'a str, Vec<&'a [u8]>)>,
    #[serde(borrow)]
    except_rooms: Vec<&'a str>,
    is_volatile: bool,
}

/// In the order of their numbers, which must stay.
pub(super) const KINDS: [ChangeKind; 8] = [
    ChangeKind::Set,
    ChangeKind::Add,
    ChangeKind::Remove,
    ChangeKind::Expire,
    ChangeKind::Enter,
    ChangeKind::Update,
    ChangeKind::Leave,
    ChangeKind::Digest,
];

/// Writes a publication.
pub(crate) fn encode(publication: &Publication) -> Vec<u8> {
    let Publication { position, unix_ms, payload, .. } = publication;
    let kind = |change: &Change| KINDS.iter().position(|kind| *kind == change.kind).unwrap_or_default() as u8;
    let change = payload.change.as_deref().map(|change| StoredChange {
        key: change.key.as_str(),
        kind: kind(change),
        expires_unix_ms: change.expires_unix_ms,
    });
    let emission = payload.emission.as_deref().map(|emission| StoredEmission {
        arguments: emission
            .arguments
            .as_ref()
            .map(|Arguments { json, attachments }| (&**json, attachments.iter().map(|one| &**one).collect())),
        except_rooms: emission.except_rooms.iter().map(ChannelName::as_str).collect(),
        is_volatile: emission.is_volatile,
    });
    let stored = Stored {
        offset: position.offset,
        unix_ms: *unix_ms,
        is_text: payload.is_text(),
        content_type: payload.content_type.as_deref(),
        event: payload.event.as_deref(),
        change,
        emission,
        data: &payload.data,
    };
    postcard::to_stdvec(&stored).expect("it is written to memory")
}

/// Reads one of this channel and epoch; `None` when it is none.
pub(crate) fn decode(channel: &ChannelName, epoch: u64, bytes: &[u8]) -> Option<SharedPublication> {
    let stored: Stored<'_> = postcard::from_bytes(bytes).ok()?;
    let change = match stored.change {
        None => None,
        Some(StoredChange { key, kind, expires_unix_ms }) => {
            let (key, kind) = (StateKey::of_member(key), *KINDS.get(usize::from(kind))?);
            Some(Box::new(Change { key, kind, expires_unix_ms }))
        }
    };
    let emission = stored.emission.map(|emission| {
        let arguments = emission.arguments.map(|(json, attachments)| Arguments {
            json: json.into(),
            attachments: attachments.into_iter().map(Into::into).collect(),
        });
        let names = emission.except_rooms.into_iter();
        let except_rooms =
            names.filter_map(|name| ChannelName::new(name, ChannelName::BYTES_MAX).ok()).collect();
        let is_volatile = emission.is_volatile;
        Box::new(Emission { arguments, except_rooms, is_volatile, ..Emission::default() })
    });
    let mut payload = Payload::as_it_was(stored.data, stored.content_type, stored.is_text);
    (payload.event, payload.change, payload.emission) = (stored.event.map(Into::into), change, emission);
    let position = Position { epoch, offset: stored.offset };
    Some(Publication { channel: channel.clone(), position, unix_ms: stored.unix_ms, payload }.into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A channel for tests.
    pub(in crate::storage) fn news() -> ChannelName {
        ChannelName::new("news", 255).expect("a name")
    }

    /// Payloads of every kind.
    pub(in crate::storage) fn payloads() -> Vec<Payload> {
        let change =
            |kind| Some(Box::new(Change { key: StateKey::of_member("k"), kind, expires_unix_ms: Some(9) }));
        let emission = Emission {
            arguments: Some(Arguments { json: "[1]".into(), attachments: [[0xff, 0].into()].into() }),
            except_rooms: [news()].into(),
            is_volatile: true,
            ..Emission::default()
        };
        let mut payloads = vec![
            Payload::new(*b"", None),
            Payload::new(*b"text \"\n", Some("text/plain")).with_event(Some("e")),
            Payload::bytes_of(*b"bytes that could be text", None),
            Payload::new(vec![0xff; 300], Some("image/x")),
            Payload::text_of("[1]", None),
        ];
        payloads[4].emission = Some(Box::new(emission));
        payloads.extend(KINDS.map(|kind| {
            let mut payload = Payload::new(*b"1", None);
            payload.change = change(kind);
            payload
        }));
        payloads
    }

    #[test]
    fn a_publication_is_read_as_it_was_written() {
        let channel = news();
        for payload in payloads() {
            let position = Position { epoch: 7, offset: 1 << 40 };
            let publication = Publication { channel: channel.clone(), position, unix_ms: 5, payload };
            let bytes = encode(&publication);
            assert_eq!(decode(&channel, 7, &bytes).as_deref(), Some(&publication));
            for cut in 0..bytes.len() {
                let read = decode(&channel, 7, &bytes[..cut]);
                assert!(read.is_none_or(|read| *read != publication), "{cut} of {} bytes", bytes.len());
            }
        }
    }
}
