//! What the hub tells its shard.

use crate::{
    mesh::{BusyChannel, HistoryPage, Message, StatePage, Survey, Welcome},
    model::{
        Changed, ChannelName, ConnectionId, Notice, PageAsked, Position, PresencePage, PublishError, ShardId,
        SharedPublication, StateError, Ticket, Transport,
    },
};

/// One thing the shard has to do or to tell somebody.
#[derive(Debug)]
pub enum Output {
    /// Send this to another shard's hub.
    Send {
        /// The other shard.
        to: ShardId,
        /// What to say.
        message: Message,
    },
    /// This has been published, and the other members of a Socket.IO cluster are to be told.
    Cluster(SharedPublication),
    /// Somebody has to do with a channel that this shard owns, or nobody has any more; for a cluster where each room has a channel
    /// of its own.
    Room {
        /// The channel.
        channel: ChannelName,
        /// Whether somebody has.
        is_there: bool,
    },
    /// What became of a publication that somebody of this shard holds a ticket for.
    Published {
        /// The ticket.
        ticket: Ticket,
        /// The publication's position, or why it was refused.
        result: Result<Position, PublishError>,
    },
    /// A subscription began. What was missed comes before everything that is fanned out later.
    Joined {
        /// The subscriber.
        connection: ConnectionId,
        /// As it subscribed.
        transport: Transport,
        /// As it subscribed.
        token: Option<u32>,
        /// The channel.
        channel: ChannelName,
        /// What it is told. If that is all it missed, everything above the position will be fanned out; otherwise
        /// [`super::Hub::catch_up`] brings the next part.
        welcome: Welcome,
        /// A part was told before.
        is_further: bool,
    },
    /// A subscription that waited for the channel's owner was refused.
    JoinRefused {
        /// Who wanted to subscribe.
        connection: ConnectionId,
        /// As it subscribed.
        transport: Transport,
        /// As it subscribed.
        token: Option<u32>,
        /// The channel.
        channel: ChannelName,
        /// Why.
        error: SubscribeError,
    },
    /// A page of history for somebody of this shard.
    History {
        /// Who asked.
        ticket: Ticket,
        /// The page.
        page: HistoryPage,
    },
    /// What became of a change of state that somebody of this shard holds a ticket for.
    Changed {
        /// The ticket.
        ticket: Ticket,
        /// What the key then held, or why it was refused.
        result: Result<Changed, StateError>,
    },
    /// Some of a channel's state for somebody of this shard.
    State {
        /// Who asked.
        ticket: Ticket,
        /// The keys.
        page: StatePage,
    },
    /// Somebody of this shard is shown nothing of what it asked.
    Unread {
        /// Who asked.
        ticket: Ticket,
        /// Why.
        error: PublishError,
    },
    /// What became of somebody of this shard who wanted to enter.
    Entered {
        /// The ticket.
        ticket: Ticket,
        /// The channel.
        channel: ChannelName,
        /// Where the channel is, or why it was refused.
        result: Result<Position, StateError>,
    },
    /// Who is present, for somebody of this shard.
    Presence {
        /// Who asked.
        ticket: Ticket,
        /// The answer.
        page: Box<PresencePage>,
    },
    /// History is to be read from disk; [`super::Hub::handle_page`] is to be told of it.
    ReadDisk(PageAsked),
    /// One shard's answer for somebody of this shard.
    Survey {
        /// Who asked.
        ticket: Ticket,
        /// The answer.
        survey: Survey,
    },
    /// Something has happened that the operator's backend may want to be told.
    Notice(Notice),
    /// Somebody asks how this shard is, which the shard itself must answer: with [`Message::Answer`] to `from`, or
    /// directly when that is this shard.
    AskedShard {
        /// Who asked.
        ticket: Ticket,
        /// Where the asker is.
        from: ShardId,
    },
    /// As [`Self::AskedShard`], by somebody who watches.
    AskedLook {
        /// Who asked.
        ticket: Ticket,
        /// Where the asker is.
        from: ShardId,
        /// The channels that keep this shard busiest.
        busiest: Vec<BusyChannel>,
        /// The last hour is wanted as well.
        with_past: bool,
    },
}

/// Why a subscription was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeError {
    /// The connection is subscribed to this channel already.
    Already,
    /// The connection holds as many subscriptions as it may.
    TooMany,
    /// The owner already keeps as many channels as it may.
    ChannelsFull,
    /// The way to the channel's owner is full; try again later.
    Busy,
    /// The broker that joins the nodes cannot tell of the channel; try again later.
    BrokerUnavailable,
    /// It was ended before the channel's owner had answered.
    Withdrawn,
}

impl From<PublishError> for SubscribeError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Busy | PublishError::StorageBusy => Self::Busy,
            PublishError::ChannelsFull => Self::ChannelsFull,
            PublishError::BrokerUnavailable | PublishError::BrokerUnknown => Self::BrokerUnavailable,
        }
    }
}
