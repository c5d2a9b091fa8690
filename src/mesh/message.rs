//! What the hubs of shards say to each other. What shards say beside is in `parcel.rs`, with what carries both.

use super::{
    Entry, HistoryPage, JoinAsked, Question, StatePage, StateQuery, Survey, Welcome, channel::name_bytes,
};
use crate::model::{
    Changed, ChannelName, ConnectionId, Payload, Position, PresencePage, PublishError, ShardId,
    SharedPublication, StateError, StateKey, StateRequest, Ticket,
};

/// The subscribing shard's own number for a subscription that waits for the channel's owner.
pub type JoinId = u32;

/// One message from the hub of a shard to that of another.
#[derive(Debug)]
pub enum Message {
    /// Ingress → owner: stamp this, keep it, and deliver it to every shard that subscribes.
    Publish {
        /// The channel.
        channel: ChannelName,
        /// The message.
        payload: Payload,
        /// Who wants to know the position, if anybody.
        ticket: Option<Ticket>,
    },
    /// Owner → ingress: what became of a `Publish` with a ticket.
    Published {
        /// The ticket of the `Publish`.
        ticket: Ticket,
        /// Its position, or why it was refused.
        result: Result<Position, PublishError>,
    },
    /// Subscriber's shard → owner: deliver this channel to me from now on, and tell what was missed.
    Join {
        /// The channel.
        channel: ChannelName,
        /// What it has seen and wants to be told.
        asked: JoinAsked,
        /// Handed back in `Joined`.
        join: JoinId,
    },
    /// Owner → subscriber's shard. Unless the subscriber has still more to catch up with, it is joined, and every later
    /// `Deliver` on this link has an offset above the position; if it has, another `Join` follows in time.
    Joined {
        /// The `join` of the `Join`.
        join: JoinId,
        /// What the subscriber is told, or why the channel cannot be joined.
        result: Result<Welcome, PublishError>,
    },
    /// Subscriber's shard → owner: nobody here subscribes to this channel any more.
    Leave {
        /// The channel.
        channel: ChannelName,
    },
    /// Owner → subscriber's shard: a publication.
    Deliver(SharedPublication),
    /// Owner → subscriber's shard, after a `Deliver` was dropped: the channel is at this position. What this link has
    /// not brought up to there is lost.
    Announce {
        /// The channel.
        channel: ChannelName,
        /// Its position now.
        position: Position,
    },
    /// Any → owner: read history.
    ReadHistory {
        /// The channel.
        channel: ChannelName,
        /// Only what is after this position.
        since: Option<Position>,
        /// At most this many publications.
        limit: u32,
        /// Who asks.
        ticket: Ticket,
    },
    /// Owner → asker: the answer to `ReadHistory`.
    History {
        /// Who asked.
        ticket: Ticket,
        /// The answer.
        page: HistoryPage,
    },
    /// Ingress → owner: change a channel's state.
    Change {
        /// The channel.
        channel: ChannelName,
        /// What to do.
        request: Box<StateRequest>,
        /// Who wants to know what became of it, if anybody.
        ticket: Option<Ticket>,
    },
    /// Owner → ingress: what became of a `Change` with a ticket.
    Changed {
        /// The ticket of the `Change`.
        ticket: Ticket,
        /// What the key then held, or why it was refused.
        result: Result<Changed, StateError>,
    },
    /// Any → owner: read state.
    ReadState {
        /// The channel.
        channel: ChannelName,
        /// Which keys.
        query: StateQuery,
        /// Who asks.
        ticket: Ticket,
    },
    /// Owner → asker: the answer to `ReadState`.
    State {
        /// Who asked.
        ticket: Ticket,
        /// The answer.
        page: StatePage,
    },
    /// Connection's shard → owner: a connection of mine enters for a member, or says something else of it.
    Enter {
        /// The channel.
        channel: ChannelName,
        /// Who, and by which connection.
        entry: Box<Entry>,
        /// Who wants to know the position, if anybody.
        ticket: Option<Ticket>,
    },
    /// Owner → connection's shard: what became of an `Enter` with a ticket.
    Entered {
        /// The ticket of the `Enter`.
        ticket: Ticket,
        /// Its channel.
        channel: ChannelName,
        /// The number of the entry.
        number: u32,
        /// Where the channel is, or why it was refused.
        result: Result<Position, StateError>,
    },
    /// Connection's shard → owner: a connection of mine that has entered is there no more.
    Depart {
        /// The channel.
        channel: ChannelName,
        /// The connection.
        connection: ConnectionId,
        /// For whom it may be there.
        ids: Box<[StateKey]>,
        /// Its member does not come back.
        at_once: bool,
    },
    /// Any → owner: who is there?
    ReadPresence {
        /// The channel.
        channel: ChannelName,
        /// Only those behind this one.
        after: Option<StateKey>,
        /// At most this many.
        limit: u32,
        /// Who asks.
        ticket: Ticket,
    },
    /// Owner → asker: the answer to `ReadPresence`.
    Presence {
        /// Who asked.
        ticket: Ticket,
        /// The answer.
        page: Box<PresencePage>,
    },
    /// Ingress → owner: give every shard a receipt for what I have published through you before this.
    AskReceipt {
        /// The ingress shard's own number for it.
        number: u64,
        /// The channel of the last of that.
        channel: ChannelName,
    },
    /// Owner → every shard: what this shard had published through me has been delivered on this link before.
    Receipt {
        /// The shard that has asked for it.
        origin: ShardId,
        /// Its number.
        number: u64,
        /// The channel of the last that was delivered.
        channel: ChannelName,
    },
    /// Owner → asker: what was asked is not shown.
    Unread {
        /// Who asked.
        ticket: Ticket,
        /// Why.
        error: PublishError,
    },
    /// Asker → owner: a connection is there no more, and is shown nothing of what it asked to read.
    ForgetReads(ConnectionId),
    /// Any → every shard: a question each answers for itself.
    Ask {
        /// Who asks.
        ticket: Ticket,
        /// The question.
        question: Question,
    },
    /// Any → every shard: nobody waits for the answer to an `Ask` any more.
    Withdraw {
        /// Who asked.
        ticket: Ticket,
    },
    /// The answer to `Ask`.
    Answer {
        /// Who asked.
        ticket: Ticket,
        /// The answer of one shard.
        survey: Survey,
    },
}

impl Message {
    /// Whether somebody waits for what becomes of it who can try again later.
    pub(crate) fn may_be_refused(&self) -> bool {
        match self {
            Self::Publish { .. } | Self::Change { .. } => true,
            Self::ReadHistory { .. } | Self::ReadState { .. } | Self::ReadPresence { .. } => true,
            // Who is there already is entered again by itself.
            Self::Enter { ticket, .. } => ticket.is_some(),
            _ => false,
        }
    }

    /// Bytes beside itself that it keeps while it is on its way, as far as clients decide them.
    pub(super) fn bytes(&self) -> usize {
        let publications = |list: &[SharedPublication]| list.iter().map(|one| one.payload.bytes()).sum();
        match self {
            Self::Publish { payload, .. } => payload.bytes(),
            Self::Deliver(publication) => publication.payload.bytes(),
            Self::Joined { result: Ok(welcome), .. } => {
                publications(&welcome.missed)
                    + welcome.state.as_deref().map_or(0, publications)
                    + welcome.presence.as_deref().map_or(0, PresencePage::bytes)
            }
            Self::Change { request, .. } => request.bytes(),
            Self::Enter { entry, .. } => entry.bytes(),
            Self::Depart { ids, .. } => ids.iter().map(name_bytes).sum(),
            Self::Presence { page, .. } => page.bytes(),
            Self::State { page, .. } => publications(&page.keys),
            Self::History { page, .. } => publications(&page.publications),
            _ => 0,
        }
    }
}
