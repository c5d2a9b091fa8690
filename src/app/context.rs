//! What an application may ask of its shard.

use super::{
    Message,
    intents::{Intent, Intents, Mark},
};
use crate::{
    auth::{AccessRules, Consultation, Revocation},
    mesh::{Question, StateQuery},
    model::{
        ChannelName, CloseReason, ConnectionId, Issuer, Now, Position, ShardId, Shown, StateKey, Ticket,
        Transport,
    },
    wire::http1::Response,
};

/// A handler's view of its shard during one call. Everything asked for is done, in order, when the call returns.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time of this turn.
    pub now: Now,
    /// This shard.
    pub shard: ShardId,
    /// How many shards the process runs.
    pub shards: u16,
    /// Whether the shard is being emptied: no new connections come, and those it has are told to go.
    pub is_draining: bool,
    /// Whether a load balancer should send new connections here: until the server begins to end.
    pub is_ready: bool,
    /// Whether the broker that joins the nodes is there, if there is to be one, or has been until a moment ago.
    pub is_joined: bool,
    intents: &'a mut Intents,
    pub(super) rules: Option<&'a AccessRules>,
}

/// What a [`Context`] says of its shard.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields are those of Context")]
pub struct Moment {
    pub now: Now,
    pub shard: ShardId,
    pub shards: u16,
    pub is_draining: bool,
    pub is_ready: bool,
    pub is_joined: bool,
}

impl<'a> Context<'a> {
    /// Begins a call. For the shard, the simulator and tests of handlers.
    pub fn new(moment: Moment, intents: &'a mut Intents) -> Self {
        let Moment { now, shard, shards, is_draining, is_ready, is_joined } = moment;
        Self { now, shard, shards, is_draining, is_ready, is_joined, intents, rules: None }
    }

    /// Under these rules of the operator's; without any nothing is given.
    pub fn under(self, rules: &'a AccessRules) -> Self {
        Self { rules: Some(rules), ..self }
    }

    /// Sends a WebSocket message, or an event of a stream that [`super::Answer::Events`] began. A WebSocket that does not
    /// read is not sent more than its queue takes: its own messages are left unread until it does.
    pub fn send(&mut self, connection: ConnectionId, message: Message<'_>) {
        let start = self.intents.bytes.len();
        self.intents.bytes.extend_from_slice(message.bytes());
        let range = start..self.intents.bytes.len();
        self.push(Intent::Send { connection, is_text: matches!(message, Message::Text(_)), range });
    }

    /// Answers a request put off with [`super::Answer::Later`].
    pub fn respond(&mut self, connection: ConnectionId, response: Response) {
        self.push(Intent::Respond { connection, response });
    }

    /// Subscribes a WebSocket; [`super::Reply::Subscribed`] or `NotSubscribed` comes back with `token`.
    pub fn subscribe(
        &mut self,
        connection: ConnectionId,
        channel: ChannelName,
        since: Option<Position>,
        transport: Transport,
        token: u32,
    ) {
        self.push(Intent::Subscribe {
            connection,
            channel,
            since,
            transport,
            shown: Shown::default(),
            token,
        });
    }

    /// As [`Self::subscribe`], of a `/ws`, which is shown more first: the channel's state, where it has no position and
    /// where something of what it missed is lost; and who is present.
    pub fn subscribe_shown(
        &mut self,
        connection: ConnectionId,
        channel: ChannelName,
        since: Option<Position>,
        shown: Shown,
        token: u32,
    ) {
        let transport = Transport::Json;
        self.push(Intent::Subscribe { connection, channel, since, transport, shown, token });
    }

    /// Ends a subscription; nothing comes back.
    pub fn unsubscribe(&mut self, connection: ConnectionId, channel: ChannelName) {
        let issuer = self.intents.issuer;
        self.push(Intent::Unsubscribe { issuer, connection, channel });
    }

    /// Reads some of a channel's state; [`super::Reply::State`] comes back.
    pub fn read_state(&mut self, ticket: Ticket, channel: ChannelName, query: StateQuery) {
        self.push(Intent::ReadState { ticket, channel, query });
    }

    /// Lets a WebSocket, that of the ticket, be present in a channel until it leaves or has ended: as a user, or as nobody in
    /// particular. `info` is JSON that others are told; said again it may be another. [`super::Reply::Entered`] comes back.
    pub fn enter(&mut self, ticket: Ticket, channel: ChannelName, user: Option<&str>, info: &str) {
        let issuer = self.intents.issuer;
        let (user, info) = (user.map(Into::into), info.into());
        self.push(Intent::Enter { issuer, ticket, channel, user, info });
    }

    /// Lets a WebSocket be present in a channel no more; nothing comes back.
    pub fn depart(&mut self, connection: ConnectionId, channel: ChannelName) {
        let issuer = self.intents.issuer;
        self.push(Intent::Depart { issuer, connection, channel });
    }

    /// Asks who is present in a channel; [`super::Reply::Presence`] comes back.
    pub fn read_presence(
        &mut self,
        ticket: Ticket,
        channel: ChannelName,
        after: Option<StateKey>,
        limit: u32,
    ) {
        self.push(Intent::ReadPresence { ticket, channel, after, limit });
    }

    /// Reads a channel's history; [`super::Reply::History`] comes back.
    pub fn read_history(
        &mut self,
        ticket: Ticket,
        channel: ChannelName,
        since: Option<Position>,
        limit: u32,
    ) {
        self.push(Intent::ReadHistory { ticket, channel, since, limit });
    }

    /// Asks every shard; [`super::Reply::Survey`] comes back once from each of [`Self::shards`]. What is asked about channels other
    /// nodes are asked, too, where a broker joins some: what these know comes in one more ([`Survey::Nodes`](crate::mesh::Survey)).
    pub fn ask(&mut self, ticket: Ticket, question: Question) {
        self.push(Intent::Ask { ticket, question });
    }

    /// Says that nobody waits for the answers to a question any more, which may still be in the making.
    pub fn withdraw(&mut self, ticket: Ticket) {
        self.push(Intent::Withdraw { ticket });
    }

    /// Looks at a token that a WebSocket has shown; [`super::Reply::Admitted`] comes back with `token`, at once or, when
    /// many are shown, in a later turn.
    pub fn authenticate(&mut self, connection: ConnectionId, text: &str, token: u32) {
        self.push(Intent::Authenticate { connection, text: text.into(), token });
    }

    /// Asks the operator's backend on behalf of a WebSocket; [`super::Reply::Ruled`] comes back with `token`, whatever
    /// becomes of it.
    pub fn consult(&mut self, connection: ConnectionId, question: Consultation, token: u32) {
        self.push(Intent::Consult { connection, question: Box::new(question), token });
    }

    /// Shuts a user or a token out, on every shard: sessions end, and tokens are refused until they would have run out.
    pub fn revoke(&mut self, revocation: Revocation) {
        self.push(Intent::Revoke { revocation });
    }

    /// Ends a session.
    pub fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        let issuer = self.intents.issuer;
        self.push(Intent::Close { issuer, connection, reason });
    }

    /// Where what is asked for next begins.
    pub(crate) fn mark(&self) -> Mark {
        self.intents.mark()
    }

    /// Whether a connection is going to be closed for something since the mark.
    pub(crate) fn has_closed(&self, of: ConnectionId, mark: Mark) -> bool {
        let mut since = self.intents.list[mark.list..].iter();
        since.any(|intent| matches!(intent, Intent::Close { connection, .. } if *connection == of))
    }

    /// Calls [`super::Handler::timer`] on this shard after `delay_ms`, within one tick
    /// ([`crate::limits::TICK_MS`]).
    pub fn timer(&mut self, delay_ms: u64, timer: u64) {
        self.push(Intent::Timer { delay_ms, timer });
    }

    /// Counts a publish refused for its key's rate.
    pub fn count_rate_limited(&mut self) {
        self.push(Intent::CountRateLimited);
    }

    /// Counts a command that was answered with an error.
    pub fn count_command_refused(&mut self) {
        self.push(Intent::CountCommandRefused);
    }

    /// Who asks now.
    pub(super) fn issuer(&self) -> Issuer {
        self.intents.issuer
    }

    pub(super) fn push(&mut self, intent: Intent) {
        self.intents.list.push(intent);
    }
}
