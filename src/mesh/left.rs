//! What shards that end leave to the process that goes on, and what each shard of that is given of it.
//!
//! ```text
//!   old: each shard ─► Left ─┐                                  ┌─► Legacy ─► each shard: new
//!                            └─► together, a snapshot, divided ─┘
//! ```
//!
//! Connections that go on stay with their shard as well; what they are is here, and their sockets come another way
//! ([`super::Carriage`]).
//!
//! A channel may have another owner in the new process, so streams and members go to whoever owns them now. Sockets stay with
//! their shard, whose number stands in their ids: what was published to their rooms behind their shard's back, in its last
//! moment, is found in the streams.

use std::collections::{HashMap, HashSet};

use super::{LeftConnection, LeftConnections, LegacyConnections, Start};
use crate::{
    auth::{Revoked, Verified},
    model::{Arguments, ChannelName, Position, Restored, ShardId, SharedPublication, SocketId, StateKey},
};

/// What one shard leaves, or what several have left together.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// The streams that it owned.
    pub streams: Vec<Restored>,
    /// Who was present in its channels, and may come back.
    pub present: Vec<LeftMembers>,
    /// Who is shut out, as every shard knows it.
    pub revoked: Revoked,
    /// Clients of Socket.IO that may come back, of each shard that keeps any.
    pub sockets: Vec<LeftSockets>,
    /// Connections that go on, of each shard that has let go of any.
    pub connections: Vec<LeftConnections>,
}

/// Who was present in a channel, and may come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMembers {
    /// The channel.
    pub channel: ChannelName,
    /// The members, and what others may know of each, as JSON.
    pub members: Vec<(StateKey, Box<str>)>,
}

/// A shard's clients of Socket.IO that may come back, and what they may have missed.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftSockets {
    /// The shard.
    pub shard: ShardId,
    /// What it has sent.
    pub log: LeftLog,
    /// The clients, each in one namespace.
    pub sockets: Vec<LeftSocket>,
    /// The channels that they are in, and up to where what was published there is in the log; `None` if not all of it is.
    pub followed: Vec<(ChannelName, Option<Position>)>,
}

/// What a shard has sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeftLog {
    /// The number of the next event.
    pub next: u64,
    /// The number of the last event before a change of rooms that has been forgotten.
    pub forgotten: u64,
    /// The last events, oldest first, and how old each is, in milliseconds.
    pub events: Vec<(u64, Sent)>,
    /// Rooms joined and left meanwhile, oldest first.
    pub changes: Vec<LeftChange>,
}

/// One event that was sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent {
    /// To a room or namespace.
    Publication(SharedPublication),
    /// To one socket.
    Direct(SocketId, Arguments),
    /// Something was lost on this channel: who was to get it cannot be given all it missed.
    Lost(ChannelName),
}

/// A room that was joined or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftChange {
    /// How long ago, in milliseconds.
    pub age_ms: u64,
    /// The number of the last event before.
    pub offset: u64,
    /// Whose it is.
    pub socket: SocketId,
    /// The room.
    pub room: ChannelName,
    /// What is published beyond this was heard; `None` when the room was left.
    pub joined: Option<Position>,
}

/// One client in one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftSocket {
    /// Its name.
    pub id: SocketId,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Proves that a client that comes back is the one that left.
    pub secret: [u8; 9],
    /// Where the log was when its client last proved what it had heard.
    pub heard: u32,
    /// How often its client has been away.
    pub absences: u16,
    /// The channels of its namespace and rooms.
    pub channels: Vec<ChannelName>,
    /// What the application keeps of it.
    pub kept: LeftApplication,
}

/// What a Socket.IO application keeps of a client that another process can go on with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeftApplication {
    /// The good token that it has shown.
    pub token: Option<Verified>,
    /// What other shards see of it, as JSON.
    pub public_data: Option<Box<str>>,
}

/// What one shard is given.
#[derive(Debug, Default)]
pub struct Legacy {
    /// The streams that it owns now.
    pub streams: Vec<Restored>,
    /// Who was present in these.
    pub present: Vec<LeftMembers>,
    /// Who is shut out.
    pub revoked: Revoked,
    /// Other shards that follow its channels from the start.
    pub followers: Vec<(ChannelName, ShardId)>,
    /// Its clients of Socket.IO.
    pub sockets: Option<LegacySockets>,
    /// Its connections.
    pub connections: LegacyConnections,
    /// What it waits for before it serves, if another process has served before.
    pub start: Option<Start>,
}

/// A shard's clients of Socket.IO that may come back.
#[derive(Clone, Debug)]
pub struct LegacySockets {
    /// What the shard has sent.
    pub log: LeftLog,
    /// The clients.
    pub sockets: Vec<LeftSocket>,
    /// The channels that they are in.
    pub followed: Vec<Followed>,
}

/// A channel that sockets of a shard are in.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The channel.
    pub channel: ChannelName,
    /// Where it is.
    pub position: Position,
    /// What was published and is not in the shard's log.
    pub missed: Vec<SharedPublication>,
    /// Something was, and is not there any more.
    pub is_lost: bool,
}

impl Left {
    /// What all of these have left.
    pub fn together(all: impl IntoIterator<Item = Self>) -> Self {
        let mut together = Self::default();
        for Self { streams, present, revoked, sockets, connections } in all {
            together.streams.extend(streams);
            together.present.extend(present);
            together.revoked.merge(&revoked);
            together.sockets.extend(sockets);
            together.connections.extend(connections);
        }
        together
    }

    /// What each of so many shards is given.
    pub fn divide(self, shards: u16, owner_of: impl Fn(&ChannelName) -> ShardId) -> Vec<Legacy> {
        let Self { streams, present, revoked, sockets, connections } = self;
        let mut all: Vec<_> =
            (0..shards).map(|_| Legacy { revoked: revoked.clone(), ..Legacy::default() }).collect();
        let place = |channel: &ChannelName| usize::from(owner_of(channel).0);
        let by_name = streams.iter().map(|stream| (&stream.channel, stream)).collect();
        for left in sockets.into_iter().filter(|left| left.shard.0 < shards) {
            let shard = left.shard;
            let legacy = left.divide(&by_name);
            let elsewhere = legacy.followed.iter().filter(|one| owner_of(&one.channel) != shard);
            elsewhere.for_each(|one| all[place(&one.channel)].followers.push((one.channel.clone(), shard)));
            all[usize::from(shard.0)].sockets = Some(legacy);
        }
        for LeftConnections { shard, told, all: left, polling } in connections {
            // A shard that is none any more has no client that could be told anything.
            let Some(legacy) = all.get_mut(usize::from(shard.0)) else { continue };
            let followed = followed_by(&left, &by_name);
            legacy.connections = LegacyConnections { all: left, followed: followed.clone(), told, polling };
            for (channel, _) in followed.into_iter().filter(|(channel, _)| owner_of(channel) != shard) {
                all[place(&channel)].followers.push((channel, shard));
            }
        }
        for stream in streams {
            all[place(&stream.channel)].streams.push(stream);
        }
        for members in present {
            all[place(&members.channel)].present.push(members);
        }
        all
    }
}

impl LeftSockets {
    /// Leaves out those whose clients go on with their connections.
    pub fn leave_out(&mut self, connections: &LeftConnections) {
        let sessions = connections.all.iter().filter_map(|one| one.session.as_deref());
        let sessions = sessions.chain(&connections.polling);
        let mut ids: Vec<_> =
            sessions.flat_map(|session| &session.sockets).map(|seat| seat.socket.id.index).collect();
        ids.sort_unstable();
        self.sockets.retain(|socket| ids.binary_search(&socket.id.index).is_err());
    }

    /// What the shard is given. A socket that is in a channel whose stream was not left cannot be told what it missed there.
    fn divide(self, streams: &HashMap<&ChannelName, &Restored>) -> LegacySockets {
        let Self { log, mut sockets, followed, .. } = self;
        sockets.retain(|socket| socket.channels.iter().all(|channel| streams.contains_key(channel)));
        let followed = followed.into_iter().filter_map(|(channel, heard)| {
            let stream = streams.get(&channel)?;
            let (position, missed) = (stream.position, missed(stream, heard));
            let is_lost = missed.is_none();
            Some(Followed { channel, position, missed: missed.unwrap_or_default(), is_lost })
        });
        LegacySockets { log, sockets, followed: followed.collect() }
    }
}

/// The channels that connections follow whose streams were left, and where each of these is.
fn followed_by(
    connections: &[LeftConnection],
    streams: &HashMap<&ChannelName, &Restored>,
) -> Vec<(ChannelName, Position)> {
    let channels: HashSet<_> =
        connections.iter().flat_map(|one| &one.subscriptions).map(|one| &one.channel).collect();
    let known = channels.into_iter().filter_map(|channel| Some((channel, streams.get(channel)?.position)));
    known.map(|(channel, position)| (channel.clone(), position)).collect()
}

/// What was published to a stream beyond a position, if all of it is known.
fn missed(stream: &Restored, heard: Option<Position>) -> Option<Vec<SharedPublication>> {
    let heard = heard.filter(|heard| heard.epoch == stream.position.epoch)?;
    let beyond = stream.history.iter().filter(|one| one.position.offset > heard.offset);
    let missed: Vec<_> = beyond.cloned().collect();
    (missed.len() as u64 == stream.position.offset.saturating_sub(heard.offset)).then_some(missed)
}

impl Legacy {
    /// Has none of those leave who may come back, of channels that were found on disk as well: there, whoever was present when
    /// the process ended has left.
    pub fn spare(&self, found: &mut [Restored]) {
        let spared: HashMap<_, HashSet<_>> = self
            .present
            .iter()
            .map(|LeftMembers { channel, members }| (channel, members.iter().map(|(id, _)| id).collect()))
            .collect();
        for Restored { channel, members, .. } in found {
            if let Some(spared) = spared.get(channel) {
                members.retain(|id| !spared.contains(id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mesh::Subscription,
        model::{Payload, Publication, Shown, Transport},
    };

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text, 255).expect("a name")
    }

    /// A stream of five publications that keeps the last so many.
    fn stream(kept: u64) -> Restored {
        let at = |offset| Position { epoch: 7, offset };
        let one = |offset| Publication {
            channel: name("a"),
            position: at(offset),
            unix_ms: 0,
            payload: Payload::new(*b"x", None),
        };
        let history = (6 - kept..6).map(|offset| one(offset).into()).collect();
        Restored {
            channel: name("a"),
            position: at(5),
            history,
            state: Vec::new(),
            members: Vec::new(),
            is_whole: true,
        }
    }

    fn sockets(channels: &[&str], heard: Option<Position>) -> LeftSockets {
        let socket = LeftSocket {
            id: SocketId::local(ShardId(1), 3, 9),
            namespace: "/".into(),
            secret: [1; 9],
            heard: 0,
            absences: 1,
            channels: channels.iter().map(|channel| name(channel)).collect(),
            kept: LeftApplication::default(),
        };
        let followed = channels.iter().map(|channel| (name(channel), heard)).collect();
        LeftSockets { shard: ShardId(1), log: LeftLog::default(), sockets: vec![socket], followed }
    }

    #[test]
    fn who_was_not_told_all_of_a_channel_is_told_the_rest_or_that_it_is_lost() {
        let at = |epoch, offset| Some(Position { epoch, offset });
        for (heard, kept, missed, is_lost) in [
            (at(7, 5), 0, 0, false),
            (at(7, 3), 2, 2, false),
            (at(7, 2), 2, 0, true),
            (at(7, 0), 5, 5, false),
            (at(8, 5), 5, 0, true),
            (None, 5, 0, true),
        ] {
            let left = Left {
                streams: vec![stream(kept)],
                sockets: vec![sockets(&["a"], heard)],
                ..Left::default()
            };
            let all = left.divide(2, |_| ShardId(0));
            let followed = &all[1].sockets.as_ref().expect("it has some").followed[0];
            assert_eq!((followed.missed.len(), followed.is_lost), (missed, is_lost), "{heard:?} {kept}");
            assert_eq!(all[0].followers, [(name("a"), ShardId(1))]);
            assert_eq!((all[0].streams.len(), all[1].streams.len()), (1, 0));
        }
    }

    #[test]
    fn connections_stay_with_their_shard_which_the_owners_deliver_to_from_the_start() {
        let subscription = |channel| Subscription {
            channel: name(channel),
            transport: Transport::Json,
            position: Position { epoch: 7, offset: 5 },
            shown: Shown::default(),
        };
        let subscriptions = vec![subscription("a"), subscription("on disk")];
        let one = LeftConnection { subscriptions, ..LeftConnection::default() };
        let of_shard = |shard| LeftConnections {
            shard: ShardId(shard),
            told: 3,
            all: vec![one.clone(); 2],
            polling: Vec::new(),
        };
        // The last is a shard that is none any more.
        let connections = [0, 1, 5].map(of_shard).into();
        let left = Left { streams: vec![stream(0)], connections, ..Left::default() };
        let all = left.divide(2, |_| ShardId(0));
        for shard in &all {
            let LegacyConnections { all, followed, told, .. } = &shard.connections;
            assert_eq!((all.len(), *told), (2, 3));
            assert_eq!(
                followed[..],
                [(name("a"), Position { epoch: 7, offset: 5 })],
                "the disk has the other"
            );
        }
        assert_eq!((&all[0].followers[..], all[1].followers.len()), (&[(name("a"), ShardId(1))][..], 0));
    }

    #[test]
    fn who_is_in_a_channel_that_was_not_left_is_not_kept() {
        let left =
            Left { streams: vec![stream(0)], sockets: vec![sockets(&["a", "b"], None)], ..Left::default() };
        let all = left.divide(2, |_| ShardId(1));
        let sockets = all[1].sockets.as_ref().expect("it has a log");
        assert_eq!((sockets.sockets.len(), sockets.followed.len()), (0, 1));
        assert_eq!((all[0].followers.len(), all[1].followers.len()), (0, 0), "it follows its own channels");
    }
}
