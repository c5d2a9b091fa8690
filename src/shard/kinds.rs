//! What is asked, and how it stands to what its issuer asked before ([`super::asks`]).

use std::slice;

use crate::{
    app::{Intent, socketio::Order},
    broker::cluster::ClusterAsk,
    limits::FOLLOWING_BYTES_MAX,
    mesh::SocketCommand,
    model::{Author, ChannelName, ConnectionId, Issuer, ShardId, SocketId},
};

/// What can be held.
pub(super) enum Ask {
    Order(Order),
    Intent(Intent),
    /// [`Intent::Send`], with the bytes.
    Send {
        connection: ConnectionId,
        is_text: bool,
        data: Box<[u8]>,
    },
}

/// How something asked stands to what its issuer asked before.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// It has no order.
    Free,
    /// It comes behind what is held.
    Behind,
    /// A publication: on its own channel it is behind the others anyway, and each channel has its own order.
    Publication { channel: &'a ChannelName, author: Author },
    /// An event of Socket.IO: the same, and behind those to other rooms.
    Event {
        channel: &'a ChannelName,
        author: Author,
        /// Whether it can be sent at once and stand behind those on its way, instead of waiting here.
        may_follow: bool,
    },
    /// It takes effect at once, on this shard, so it waits for all before it that depends on what it changes to have done so
    /// here.
    Act(Change<'a>),
    /// It tells a client of this shard something: the same, and whoever its issuer has put into rooms here is to be in them,
    /// for who hears of that may ask others to publish there.
    Tell,
    /// It takes effect on others, too, and waits for all before it to have done so everywhere.
    Command {
        /// It concerns one socket.
        is_to_one: bool,
    },
}

/// What an act changes.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    /// Who knows what.
    Anything,
    /// Whether a subscriber of this shard, by its index, follows these channels.
    Seats { subscriber: u32, channels: &'a [ChannelName], follows: bool },
}

impl<'a> Kind<'a> {
    /// Whether it is published.
    pub(super) fn is_publication(self) -> bool {
        matches!(self, Kind::Publication { .. } | Kind::Event { .. })
    }

    /// The channel that it publishes to behind what other issuers publish there: that of what the application decided.
    pub(super) fn common_channel(self) -> Option<&'a ChannelName> {
        match self {
            Kind::Publication { channel, author } | Kind::Event { channel, author, .. } => {
                (author == Author::Application).then_some(channel)
            }
            Kind::Free | Kind::Behind | Kind::Act(_) | Kind::Tell | Kind::Command { .. } => None,
        }
    }
}

impl<'a> Change<'a> {
    /// Of a connection of this shard, which subscribes to a channel or unsubscribes from it.
    fn seat(connection: ConnectionId, channel: &'a ChannelName, follows: bool) -> Self {
        Self::Seats { subscriber: connection.index, channels: slice::from_ref(channel), follows }
    }

    /// Of a socket of this shard, which is put into rooms or taken out of them.
    fn rooms(socket: SocketId, rooms: &'a [ChannelName], follows: bool) -> Self {
        Self::Seats { subscriber: socket.subscriber().index, channels: rooms, follows }
    }
}

impl Ask {
    /// How it stands to what its issuer asked before, on this shard.
    pub(super) fn kind(&self, me: ShardId) -> Kind<'_> {
        match self {
            Self::Order(order) => order.kind(me),
            Self::Intent(intent) => intent.kind().1,
            Self::Send { .. } => Kind::Behind,
        }
    }
}

impl Ask {
    /// Bytes of memory it keeps, as far as clients and the application decide them.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Order(Order::Emit { arguments, .. } | Order::Acknowledge { arguments, .. }) => {
                arguments.bytes()
            }
            Self::Order(Order::Publish { payload, .. }) | Self::Intent(Intent::Publish { payload, .. }) => {
                payload.bytes()
            }
            Self::Order(Order::ChangeState { request, .. })
            | Self::Intent(Intent::ChangeState { request, .. }) => request.bytes(),
            Self::Order(Order::Command { command, .. }) => command.bytes(),
            Self::Order(Order::Request(request)) => request.bytes(),
            Self::Order(Order::Cluster(ask)) => ask.bytes(),
            Self::Order(_) | Self::Intent(_) => 0,
            Self::Send { data, .. } => data.len(),
        }
    }
}

impl Order {
    /// How it stands to what its issuer asked before, on this shard.
    pub(super) fn kind(&self, me: ShardId) -> Kind<'_> {
        match self {
            Self::Publish { channel, author, is_ordered: false, .. } => {
                Kind::Publication { channel, author: *author }
            }
            Self::Publish { channel, author, payload, .. } => {
                let may_follow = payload.bytes() <= FOLLOWING_BYTES_MAX;
                Kind::Event { channel, author: *author, may_follow }
            }
            Self::ChangeState { channel, .. } => {
                Kind::Event { channel, author: Author::Application, may_follow: false }
            }
            Self::Emit { .. } | Self::Acknowledge { .. } => Kind::Tell,
            Self::Join { socket, rooms, .. } => Kind::Act(Change::rooms(*socket, rooms, true)),
            Self::Authenticate { .. } => Kind::Act(Change::Anything),
            Self::Command { socket, command } if socket.shard == me => match command {
                SocketCommand::Emit { .. } | SocketCommand::Acknowledge { .. } => Kind::Tell,
                SocketCommand::Join(rooms) => Kind::Act(Change::rooms(*socket, rooms, true)),
                SocketCommand::Leave(rooms) => Kind::Act(Change::rooms(*socket, rooms, false)),
                SocketCommand::Keep(_) | SocketCommand::PutOut | SocketCommand::Disconnect { .. } => {
                    Kind::Act(Change::Anything)
                }
            },
            Self::Read { .. } | Self::Then(_) => Kind::Behind,
            Self::Command { .. } => Kind::Command { is_to_one: true },
            Self::Request(_) => Kind::Command { is_to_one: false },
            Self::Cluster(ask) => match **ask {
                ClusterAsk::Request { .. } | ClusterAsk::Question { .. } | ClusterAsk::Emitted(_) => {
                    Kind::Command { is_to_one: false }
                }
                _ => Kind::Free,
            },
            Self::Answer { .. }
            | Self::Consult { .. }
            | Self::Gathered { .. }
            | Self::Tell { .. }
            | Self::Enter { .. }
            | Self::Send { .. }
            | Self::Close { .. }
            | Self::Respond { .. }
            | Self::Write { .. }
            | Self::ReadOn { .. }
            | Self::CountRateLimited
            | Self::CountCommandRefused => Kind::Free,
        }
    }
}

impl Order {
    /// The socket of this shard that it puts into rooms.
    pub(super) fn joining(&self, me: ShardId) -> Option<u32> {
        match self {
            Self::Join { socket, .. } => Some(socket.index),
            Self::Command { socket, command: SocketCommand::Join(_) } if socket.shard == me => {
                Some(socket.index)
            }
            _ => None,
        }
    }
}

impl Intent {
    /// Whose it is, and how it stands to what its issuer asked before.
    pub(super) fn kind(&self) -> (Issuer, Kind<'_>) {
        match self {
            Self::Publish { issuer, channel, author, .. }
            | Self::ChangeState { issuer, channel, author, .. } => {
                (*issuer, Kind::Publication { channel, author: *author })
            }
            // Who is there is known by the connection, and not by what the application remembers.
            Self::Enter { issuer, channel, .. } => {
                (*issuer, Kind::Publication { channel, author: Author::Client })
            }
            // Where others of this shard follow the channel, it begins with what they are told next.
            Self::Subscribe { connection, channel, .. } => {
                ((*connection).into(), Kind::Act(Change::seat(*connection, channel, true)))
            }
            Self::Unsubscribe { issuer, connection, channel } => {
                (*issuer, Kind::Act(Change::seat(*connection, channel, false)))
            }
            Self::Close { issuer, .. } | Self::Depart { issuer, .. } => {
                (*issuer, Kind::Act(Change::Anything))
            }
            Self::Send { connection, .. } => ((*connection).into(), Kind::Behind),
            Self::ReadState { ticket, .. } | Self::ReadPresence { ticket, .. } => {
                (ticket.connection.into(), Kind::Behind)
            }
            // Nothing is asked about one that is about to be closed.
            Self::Consult { connection, .. } => ((*connection).into(), Kind::Behind),
            Self::Respond { .. }
            | Self::Authenticate { .. }
            | Self::Revoke { .. }
            | Self::ReadHistory { .. }
            | Self::Ask { .. }
            | Self::Withdraw { .. }
            | Self::Timer { .. }
            | Self::Reload
            | Self::Upgrade
            | Self::CountRateLimited
            | Self::CountCommandRefused => (Issuer::Shard, Kind::Free),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Payload;

    #[test]
    fn an_event_is_behind_those_to_other_rooms_unless_it_is_not_ordered() {
        let kind = |is_ordered| {
            let channel = ChannelName::new("room", 64).expect("a name");
            let (payload, author) = (Payload::new(*b"x", None), Author::Client);
            let order = Order::Publish { channel, payload, author, is_ordered, ticket: None };
            matches!(order.kind(ShardId(0)), Kind::Event { may_follow: true, .. })
        };
        assert_eq!([true, false].map(kind), [true, false]);
    }
}
