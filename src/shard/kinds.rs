//! How what is asked stands to what its issuer asked before ([`super::asks`]).

use super::asks::Ask;
use crate::{
    app::{Intent, socketio::Order},
    model::{ChannelName, Issuer, ShardId},
};

/// How something asked stands to what its issuer asked before.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// It has no order.
    Free,
    /// It comes behind what is held.
    Behind,
    /// A publication: on its own channel it is behind the others anyway, and each channel has its own order.
    Publication(&'a ChannelName),
    /// An event of Socket.IO: the same, and behind those to other rooms.
    Event(&'a ChannelName),
    /// It takes effect at once, on this shard, so it waits for all before it to have done so here.
    Act,
    /// It takes effect on others, too, and waits for all before it to have done so everywhere.
    Command {
        /// It concerns one socket.
        is_to_one: bool,
    },
}

impl<'a> Kind<'a> {
    /// The channel it publishes to.
    pub(super) fn channel(self) -> Option<&'a ChannelName> {
        match self {
            Kind::Publication(channel) | Kind::Event(channel) => Some(channel),
            Kind::Free | Kind::Behind | Kind::Act | Kind::Command { .. } => None,
        }
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

impl Order {
    /// How it stands to what its issuer asked before, on this shard.
    pub(super) fn kind(&self, me: ShardId) -> Kind<'_> {
        match self {
            Self::Publish { channel, .. } | Self::ChangeState { channel, .. } => Kind::Event(channel),
            Self::Emit { .. } | Self::Acknowledge { .. } | Self::Join { .. } => Kind::Act,
            Self::Command { socket, .. } if socket.shard == me => Kind::Act,
            Self::Command { .. } => Kind::Command { is_to_one: true },
            Self::Request(_) => Kind::Command { is_to_one: false },
            Self::Answer { .. }
            | Self::Send { .. }
            | Self::Close { .. }
            | Self::Respond { .. }
            | Self::CountRateLimited
            | Self::CountCommandRefused => Kind::Free,
        }
    }
}

impl Intent {
    /// Whose it is, and how it stands to what its issuer asked before.
    pub(super) fn kind(&self) -> (Issuer, Kind<'_>) {
        match self {
            Self::Publish { issuer, channel, .. } | Self::ChangeState { issuer, channel, .. } => {
                (*issuer, Kind::Publication(channel))
            }
            Self::Enter { issuer, channel, .. } => (*issuer, Kind::Publication(channel)),
            Self::Unsubscribe { issuer, .. } | Self::Close { issuer, .. } | Self::Depart { issuer, .. } => {
                (*issuer, Kind::Act)
            }
            Self::Send { connection, .. } => ((*connection).into(), Kind::Behind),
            Self::Subscribe { connection, .. } => ((*connection).into(), Kind::Behind),
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
            | Self::CountRateLimited
            | Self::CountCommandRefused => (Issuer::Shard, Kind::Free),
        }
    }
}
