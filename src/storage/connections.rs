//! A shard's connections that go on in another process, as they stand in a snapshot. Channels are written once, and connections
//! name them by their place.

use std::{collections::HashMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{away::StoredToken, sessions::StoredSession, store::channel_of};
use crate::{
    mesh::{Deflates, LeftConnection, LeftConnections, LeftEntry, LeftPoll, LeftToken, Subscription},
    model::{ChannelName, KeepAlive, Position, ShardId, Shown, StateKey, Transport},
};

#[derive(Serialize, Deserialize)]
struct StoredConnections<'a> {
    shard: u16,
    told: u64,
    #[serde(borrow)]
    channels: Vec<&'a str>,
    #[serde(borrow)]
    all: Vec<StoredConnection<'a>>,
    #[serde(borrow)]
    polling: Vec<StoredSession<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredConnection<'a> {
    is_stream: bool,
    is_http: bool,
    #[serde(borrow)]
    poll: Option<StoredPoll<'a>>,
    is_sealed: bool,
    /// A window, and whether messages may build on each other.
    deflates: Option<(u8, bool)>,
    address: Option<SocketAddr>,
    /// A token, and the hash of its own name.
    #[serde(borrow)]
    token: Option<(StoredToken<'a>, u32)>,
    awaits_pong: bool,
    has_spoken: bool,
    due_ms: u32,
    /// The place of a channel, the number of a transport, epoch and offset, and whether its state is shown, and who is there.
    subscriptions: Vec<(u32, u8, u64, u64, [bool; 2])>,
    #[serde(borrow)]
    place: Option<&'a str>,
    /// The place of a channel, a member, and what others may know of it.
    #[serde(borrow)]
    entered: Vec<(u32, &'a str, &'a str)>,
    #[serde(borrow)]
    saved: &'a [u8],
    #[serde(borrow)]
    unread: &'a [u8],
    #[serde(borrow)]
    begun: &'a [u8],
    #[serde(borrow)]
    unsent: &'a [u8],
    #[serde(borrow)]
    session: Option<StoredSession<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredPoll<'a> {
    keep_alive: bool,
    head_only: bool,
    is_http10: bool,
    is_several: bool,
    fields: &'a str,
}

/// Writes them.
pub(super) fn encode(left: &LeftConnections) -> Vec<u8> {
    let (mut places, mut channels) = (HashMap::<&ChannelName, u32>::new(), Vec::new());
    for one in &left.all {
        let followed = one.subscriptions.iter().map(|one| &one.channel);
        for channel in followed.chain(one.entered.iter().map(|one| &one.channel)) {
            places.entry(channel).or_insert_with(|| {
                channels.push(channel.as_str());
                channels.len() as u32 - 1
            });
        }
    }
    let all = left.all.iter().map(|one| StoredConnection::new(one, &places)).collect();
    let polling = left.polling.iter().map(StoredSession::from).collect();
    let stored = StoredConnections { shard: left.shard.0, told: left.told, channels, all, polling };
    postcard::to_stdvec(&stored).expect("it is written to memory")
}

/// Reads them; `None` when they are none.
pub(super) fn decode(bytes: &[u8]) -> Option<LeftConnections> {
    let StoredConnections { shard, told, channels, all, polling } = postcard::from_bytes(bytes).ok()?;
    let channels: Vec<ChannelName> =
        channels.into_iter().map(|name| channel_of(name).ok()).collect::<Option<_>>()?;
    let all = all.into_iter().map(|one| one.read(&channels)).collect::<Option<_>>()?;
    let polling = polling.into_iter().map(StoredSession::read).collect::<Option<_>>()?;
    Some(LeftConnections { shard: ShardId(shard), told, all, polling })
}

impl<'a> StoredConnection<'a> {
    fn new(one: &'a LeftConnection, places: &HashMap<&ChannelName, u32>) -> Self {
        let LeftConnection { is_stream, is_http, poll, is_sealed, deflates, address, .. } = one;
        let LeftConnection { token, keep_alive, .. } = one;
        let LeftConnection { subscriptions, place, entered, saved, unread, begun, unsent, session, .. } = one;
        let KeepAlive { awaits_pong, has_spoken, due_ms } = *keep_alive;
        let stored = |one: &Subscription| {
            let Subscription { channel, transport, position, shown } = one;
            let shown = [shown.state, shown.presence];
            (places[channel], *transport as u8, position.epoch, position.offset, shown)
        };
        Self {
            is_stream: *is_stream,
            is_http: *is_http,
            poll: poll.as_ref().map(StoredPoll::from),
            is_sealed: *is_sealed,
            deflates: deflates.map(|Deflates { window_bits, may_build_on }| (window_bits, may_build_on)),
            address: *address,
            token: token.as_ref().map(|LeftToken { token, id_hash }| (StoredToken::from(token), *id_hash)),
            awaits_pong,
            has_spoken,
            due_ms,
            subscriptions: subscriptions.iter().map(stored).collect(),
            place: place.as_deref(),
            entered: entered.iter().map(|one| (places[&one.channel], one.id.as_str(), &*one.info)).collect(),
            saved,
            unread,
            begun,
            unsent,
            session: session.as_deref().map(StoredSession::from),
        }
    }

    fn read(self, channels: &[ChannelName]) -> Option<LeftConnection> {
        let token = match self.token {
            Some((token, id_hash)) => Some(LeftToken { token: token.read()?, id_hash }),
            None => None,
        };
        let one = |(place, transport, epoch, offset, shown): (u32, u8, u64, u64, [bool; 2])| {
            let [state, presence] = shown;
            Some(Subscription {
                channel: channels.get(place as usize)?.clone(),
                transport: *Transport::ALL.get(usize::from(transport))?,
                position: Position { epoch, offset },
                shown: Shown { state, presence },
            })
        };
        let entry = |(place, id, info): (u32, &str, &str)| {
            let channel = channels.get(place as usize)?.clone();
            Some(LeftEntry { channel, id: StateKey::of_member(id), info: info.into() })
        };
        let session = match self.session {
            Some(session) => Some(Box::new(session.read()?)),
            None => None,
        };
        let Self {
            is_stream, is_http, is_sealed, deflates, address, awaits_pong, has_spoken, due_ms, ..
        } = self;
        Some(LeftConnection {
            is_stream,
            is_http,
            poll: self.poll.map(StoredPoll::read),
            is_sealed,
            deflates: deflates.map(|(window_bits, may_build_on)| Deflates { window_bits, may_build_on }),
            address,
            token,
            keep_alive: KeepAlive { awaits_pong, has_spoken, due_ms },
            subscriptions: self.subscriptions.into_iter().map(one).collect::<Option<_>>()?,
            place: self.place.map(Into::into),
            entered: self.entered.into_iter().map(entry).collect::<Option<_>>()?,
            saved: self.saved.into(),
            unread: self.unread.into(),
            begun: self.begun.into(),
            unsent: self.unsent.into(),
            session,
        })
    }
}

impl<'a> From<&'a LeftPoll> for StoredPoll<'a> {
    fn from(left: &'a LeftPoll) -> Self {
        let LeftPoll { keep_alive, head_only, is_http10, is_several, ref fields } = *left;
        Self { keep_alive, head_only, is_http10, is_several, fields }
    }
}

impl StoredPoll<'_> {
    fn read(self) -> LeftPoll {
        let Self { keep_alive, head_only, is_http10, is_several, fields } = self;
        let fields = fields.into();
        LeftPoll { keep_alive, head_only, is_http10, is_several, fields }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::sessions, *};
    use crate::auth::{Claims, Verified};

    /// Connections of every kind.
    pub(in crate::storage) fn connections() -> LeftConnections {
        let channel = |name| ChannelName::new(name, 255).expect("a name");
        let follows = |name, offset| Subscription {
            channel: channel(name),
            transport: if offset > 5 { Transport::Json } else { Transport::WebSocket },
            position: Position { epoch: 1 << 52, offset },
            shown: Shown { state: offset > 8, presence: offset > 1 },
        };
        let claims = Claims { info: Some("{}".into()), ..Claims::default() };
        let token =
            Verified { user: "42".into(), expires_s: 900, issued_s: None, id: None, claims: claims.into() };
        let plain = LeftConnection::default();
        let entered =
            |name| LeftEntry { channel: channel(name), id: StateKey::of_user("42"), info: "{}".into() };
        let keep_alive = KeepAlive { awaits_pong: true, has_spoken: true, due_ms: 25_000 };
        let poll = LeftPoll {
            keep_alive: true,
            head_only: false,
            is_http10: true,
            is_several: false,
            fields: "a: b\r\n".into(),
        };
        let all = vec![
            LeftConnection { subscriptions: vec![follows("a", 1), follows("b", 9)], ..plain.clone() },
            LeftConnection {
                is_stream: true,
                is_http: false,
                poll: None,
                address: Some(([192, 0, 2, 1], 443).into()),
                token: Some(LeftToken { token, id_hash: 7 }),
                keep_alive,
                subscriptions: vec![follows("b", 8)],
                place: Some("7:8".into()),
                entered: vec![entered("b"), entered("c")],
                saved: vec![0, 255],
                unread: vec![0x81, 0x85],
                is_sealed: true,
                deflates: Some(Deflates { window_bits: 12, may_build_on: true }),
                begun: vec![23, 3, 3],
                unsent: vec![0; 300],
                session: None,
            },
            LeftConnection { poll: Some(poll), ..plain.clone() },
            LeftConnection { is_http: true, ..plain.clone() },
            LeftConnection { session: Some(Box::new(sessions::tests::session())), ..plain.clone() },
            plain,
        ];
        LeftConnections { shard: ShardId(3), told: 12, all, polling: vec![sessions::tests::session()] }
    }

    #[test]
    fn connections_are_read_as_they_were_written_and_nothing_else_is() {
        let left = connections();
        let bytes = encode(&left);
        assert_eq!(decode(&bytes), Some(left.clone()));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none_or(|read| read != left), "{cut} of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0xff;
            // Whatever it is, it is no more than that.
            decode(&other);
        }
    }
}
