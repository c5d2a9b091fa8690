//! A shard's clients of Socket.IO that may come back, and what they may have missed, as they stand in a snapshot.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{codec, store::channel_of};
use crate::{
    auth::{Claims, Grant, Pattern, Right, Verified},
    mesh::{LeftApplication, LeftChange, LeftLog, LeftSocket, LeftSockets, Sent},
    model::{Arguments, ChannelName, Position, ShardId, SharedPublication, SocketId},
};

#[derive(Serialize, Deserialize)]
struct StoredSockets<'a> {
    shard: u16,
    next: u64,
    forgotten: u64,
    #[serde(borrow)]
    events: Vec<(u64, StoredEvent<'a>)>,
    #[serde(borrow)]
    changes: Vec<StoredChange<'a>>,
    #[serde(borrow)]
    sockets: Vec<StoredSocket<'a>>,
    #[serde(borrow)]
    followed: Vec<(&'a str, Option<StoredPosition>)>,
}

#[derive(Serialize, Deserialize)]
enum StoredEvent<'a> {
    Publication(&'a str, u64, #[serde(borrow)] StoredPublication<'a>),
    Direct(StoredId, &'a str, #[serde(borrow)] Vec<&'a [u8]>),
    Lost(&'a str),
}

#[derive(Serialize, Deserialize)]
struct StoredChange<'a> {
    age_ms: u64,
    offset: u64,
    socket: StoredId,
    room: &'a str,
    joined: Option<StoredPosition>,
}

/// One client in one namespace.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredSocket<'a> {
    id: StoredId,
    namespace: &'a str,
    secret: [u8; 9],
    heard: u32,
    absences: u16,
    #[serde(borrow)]
    channels: Vec<&'a str>,
    #[serde(borrow)]
    token: Option<StoredToken<'a>>,
    #[serde(borrow)]
    public_data: Option<&'a str>,
}

/// A good token that a client has shown.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredToken<'a> {
    user: &'a str,
    expires_s: u64,
    issued_s: Option<u64>,
    #[serde(borrow)]
    id: Option<&'a str>,
    /// The patterns of each right that has some, by its name.
    #[serde(borrow)]
    grant: Vec<(&'a str, Vec<String>)>,
    #[serde(borrow)]
    info: Option<&'a str>,
    #[serde(borrow)]
    meta: Option<&'a str>,
}

/// Epoch and offset.
type StoredPosition = (u64, u64);

/// Shard, index and generation.
type StoredId = (u16, u32, u32);

/// A publication, with the socket that it was not for: here that is who it was.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredPublication<'a>(&'a [u8], Option<StoredId>);

impl<'a> StoredPublication<'a> {
    /// `bytes` are those of the publication ([`codec::encode`]).
    pub(super) fn new(bytes: &'a [u8], publication: &SharedPublication) -> Self {
        let emission = publication.payload.emission.as_deref();
        Self(bytes, emission.and_then(|emission| emission.except_socket).map(id_of))
    }

    /// Reads one of this channel and epoch.
    pub(super) fn read(&self, channel: &ChannelName, epoch: u64) -> Option<SharedPublication> {
        let Self(bytes, except) = self;
        let read = codec::decode(channel, epoch, bytes)?;
        let Some(except) = except else { return Some(read) };
        let mut publication = Arc::into_inner(read)?;
        publication.payload.emission.as_deref_mut()?.except_socket = Some(socket_of(*except));
        Some(publication.into())
    }
}

/// Writes them.
pub(super) fn encode(left: &LeftSockets) -> Vec<u8> {
    let LeftSockets { shard, log, sockets, followed } = left;
    let bytes_of = |(_, what): &(u64, Sent)| match what {
        Sent::Publication(publication) => codec::encode(publication),
        Sent::Direct(..) | Sent::Lost(_) => Vec::new(),
    };
    let publications: Vec<_> = log.events.iter().map(bytes_of).collect();
    let events = log.events.iter().zip(&publications);
    let all = StoredSockets {
        shard: shard.0,
        next: log.next,
        forgotten: log.forgotten,
        events: events.map(|((age_ms, what), bytes)| (*age_ms, stored(what, bytes))).collect(),
        changes: log.changes.iter().map(StoredChange::from).collect(),
        sockets: sockets.iter().map(StoredSocket::from).collect(),
        followed: followed.iter().map(|(name, heard)| (name.as_str(), heard.map(pair))).collect(),
    };
    postcard::to_stdvec(&all).expect("it is written to memory")
}

/// Reads them; `None` when they are none.
pub(super) fn decode(bytes: &[u8]) -> Option<LeftSockets> {
    let stored: StoredSockets<'_> = postcard::from_bytes(bytes).ok()?;
    let events = stored.events.into_iter().map(|(age_ms, event)| Some((age_ms, event.read()?)));
    let followed =
        stored.followed.into_iter().map(|(name, heard)| Some((channel(name)?, heard.map(position))));
    let log = LeftLog {
        next: stored.next,
        forgotten: stored.forgotten,
        events: events.collect::<Option<_>>()?,
        changes: stored.changes.into_iter().map(StoredChange::read).collect::<Option<_>>()?,
    };
    let sockets = stored.sockets.into_iter().map(StoredSocket::read).collect::<Option<_>>()?;
    let followed = followed.collect::<Option<_>>()?;
    Some(LeftSockets { shard: ShardId(stored.shard), log, sockets, followed })
}

fn stored<'a>(what: &'a Sent, bytes: &'a [u8]) -> StoredEvent<'a> {
    match what {
        Sent::Publication(publication) => {
            let (name, epoch) = (publication.channel.as_str(), publication.position.epoch);
            StoredEvent::Publication(name, epoch, StoredPublication::new(bytes, publication))
        }
        Sent::Direct(socket, Arguments { json, attachments }) => {
            StoredEvent::Direct(id_of(*socket), json, attachments.iter().map(|one| &**one).collect())
        }
        Sent::Lost(channel) => StoredEvent::Lost(channel.as_str()),
    }
}

impl StoredEvent<'_> {
    fn read(self) -> Option<Sent> {
        Some(match self {
            Self::Publication(name, epoch, publication) => {
                Sent::Publication(publication.read(&channel(name)?, epoch)?)
            }
            Self::Direct(socket, json, attachments) => {
                let attachments = attachments.into_iter().map(Into::into).collect();
                Sent::Direct(socket_of(socket), Arguments { json: json.into(), attachments })
            }
            Self::Lost(name) => Sent::Lost(channel(name)?),
        })
    }
}

impl<'a> From<&'a LeftChange> for StoredChange<'a> {
    fn from(change: &'a LeftChange) -> Self {
        let LeftChange { age_ms, offset, socket, room, joined } = change;
        Self {
            age_ms: *age_ms,
            offset: *offset,
            socket: id_of(*socket),
            room: room.as_str(),
            joined: joined.map(pair),
        }
    }
}

impl StoredChange<'_> {
    fn read(self) -> Option<LeftChange> {
        let Self { age_ms, offset, socket, room, joined } = self;
        let (socket, joined) = (socket_of(socket), joined.map(position));
        Some(LeftChange { age_ms, offset, socket, room: channel(room)?, joined })
    }
}

impl<'a> From<&'a LeftSocket> for StoredSocket<'a> {
    fn from(socket: &'a LeftSocket) -> Self {
        Self {
            id: id_of(socket.id),
            namespace: &socket.namespace,
            secret: socket.secret,
            heard: socket.heard,
            absences: socket.absences,
            channels: socket.channels.iter().map(ChannelName::as_str).collect(),
            token: socket.kept.token.as_ref().map(StoredToken::from),
            public_data: socket.kept.public_data.as_deref(),
        }
    }
}

impl StoredSocket<'_> {
    /// Reads it; `None` when it is none.
    pub(super) fn read(self) -> Option<LeftSocket> {
        let token = match self.token {
            Some(token) => Some(token.read()?),
            None => None,
        };
        let kept = LeftApplication { token, public_data: self.public_data.map(Into::into) };
        Some(LeftSocket {
            id: socket_of(self.id),
            namespace: self.namespace.into(),
            secret: self.secret,
            heard: self.heard,
            absences: self.absences,
            channels: self.channels.into_iter().map(channel).collect::<Option<_>>()?,
            kept,
        })
    }
}

impl<'a> From<&'a Verified> for StoredToken<'a> {
    fn from(token: &'a Verified) -> Self {
        let Claims { grant, info, meta } = &*token.claims;
        let of_right = |right: Right| {
            let patterns: Vec<_> = grant.patterns(right).iter().map(Pattern::to_string).collect();
            (!patterns.is_empty()).then(|| (right.name(), patterns))
        };
        Self {
            user: &token.user,
            expires_s: token.expires_s,
            issued_s: token.issued_s,
            id: token.id.as_deref(),
            grant: Right::ALL.into_iter().filter_map(of_right).collect(),
            info: info.as_deref(),
            meta: meta.as_deref(),
        }
    }
}

impl StoredToken<'_> {
    /// Reads it; `None` when it is none.
    pub(super) fn read(self) -> Option<Verified> {
        let mut grant = Grant::default();
        for (name, patterns) in self.grant {
            let right = Right::ALL.into_iter().find(|right| right.name() == name)?;
            let patterns = patterns.iter().map(|text| Pattern::new(text).ok()).collect::<Option<_>>()?;
            grant = grant.with(right, patterns);
        }
        let claims = Claims { grant, info: self.info.map(Into::into), meta: self.meta.map(Into::into) };
        Some(Verified {
            user: self.user.into(),
            expires_s: self.expires_s,
            issued_s: self.issued_s,
            id: self.id.map(Into::into),
            claims: claims.into(),
        })
    }
}

fn channel(name: &str) -> Option<ChannelName> {
    channel_of(name).ok()
}

fn pair(position: Position) -> StoredPosition {
    (position.epoch, position.offset)
}

fn position((epoch, offset): StoredPosition) -> Position {
    Position { epoch, offset }
}

fn id_of(socket: SocketId) -> StoredId {
    (socket.shard.0, socket.index, socket.generation)
}

fn socket_of((shard, index, generation): StoredId) -> SocketId {
    SocketId::local(ShardId(shard), index, generation)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::codec::tests::{news, payloads},
        *,
    };
    use crate::model::{Emission, Publication};

    const SOCKET: SocketId = SocketId::local(ShardId(1), 7, u32::MAX);

    /// Sockets of every kind that have been sent everything there is.
    pub(in crate::storage) fn sockets() -> LeftSockets {
        let position = Position { epoch: 7, offset: 1 << 40 };
        let event = |mut payload: crate::model::Payload| {
            let emission = Emission { except_socket: Some(SOCKET), ..Emission::default() };
            payload.emission.get_or_insert_with(|| Box::new(emission));
            Sent::Publication(Publication { channel: news(), position, unix_ms: 5, payload }.into())
        };
        let arguments = Arguments { json: "[1]".into(), attachments: [[0xff, 0].into()].into() };
        let others = [Sent::Direct(SOCKET, arguments), Sent::Lost(news())];
        let change = |joined| LeftChange { age_ms: 9, offset: 4, socket: SOCKET, room: news(), joined };
        let pattern = |text| Pattern::new(text).expect("a pattern");
        let grant = Grant::default()
            .with(Right::Subscribe, ["a:*", "b/{sub}#**", "**"].map(pattern).into())
            .with(Right::Enter, vec![pattern("lobby")]);
        let claims = Claims { grant, info: Some("{}".into()), meta: None };
        let (user, id) = ("42".into(), Some("t".into()));
        let token = Verified { user, expires_s: 900, issued_s: Some(8), id, claims: claims.into() };
        let socket = |kept| LeftSocket {
            id: SOCKET,
            namespace: "/".into(),
            secret: [3; 9],
            heard: 4,
            absences: 5,
            channels: vec![news()],
            kept,
        };
        let full = LeftApplication { token: Some(token), public_data: Some("{\"a\":1}".into()) };
        LeftSockets {
            shard: ShardId(1),
            log: LeftLog {
                next: 99,
                forgotten: 3,
                events: (0..).zip(payloads().into_iter().map(event).chain(others)).collect(),
                changes: vec![change(Some(position)), change(None)],
            },
            sockets: vec![socket(full), socket(LeftApplication::default())],
            followed: vec![(news(), Some(position)), (news(), None)],
        }
    }

    #[test]
    fn sockets_are_read_as_they_were_written() {
        let bytes = encode(&sockets());
        assert_eq!(decode(&bytes), Some(sockets()));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "{cut} of {} bytes", bytes.len());
        }
    }
}
