//! What handlers have asked for and a shard has yet to do.

use std::ops::Range;

use crate::{
    auth::{Consultation, Revocation},
    mesh::{Question, StateQuery},
    model::{
        Author, ChannelName, CloseReason, ConnectionId, Issuer, Payload, Position, Shown, StateKey,
        StateRequest, Ticket, Transport,
    },
    wire::http1::Response,
};

/// What handlers asked for and the shard has yet to do: a list, and one buffer for the bytes of messages.
#[derive(Debug, Default)]
pub struct Intents {
    pub(super) list: Vec<Intent>,
    pub(super) bytes: Vec<u8>,
    /// Lists taken and not given back: their messages still lie in `bytes`.
    taken: u32,
    /// What is asked for waits for the next turn.
    are_put_off: bool,
    /// Who asks for what is put here now.
    pub(super) issuer: Issuer,
}

/// Where a call begins among the intents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(super) list: usize,
    bytes: usize,
}

/// One thing a handler asked for.
#[derive(Debug)]
pub enum Intent {
    /// Send a WebSocket message; its bytes are [`Intents::bytes`] of the range.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// Text or binary.
        is_text: bool,
        /// Where the bytes are.
        range: Range<usize>,
    },
    /// Answer a request that was put off.
    Respond {
        /// Whose request.
        connection: ConnectionId,
        /// The answer.
        response: Response,
    },
    /// Subscribe a WebSocket to a channel.
    Subscribe {
        /// Whom.
        connection: ConnectionId,
        /// To what.
        channel: ChannelName,
        /// After which position.
        since: Option<Position>,
        /// As plain frames or as JSON.
        transport: Transport,
        /// What it is shown first.
        shown: Shown,
        /// For the reply.
        token: u32,
    },
    /// End a subscription.
    Unsubscribe {
        /// Who asks for it.
        issuer: Issuer,
        /// Whose.
        connection: ConnectionId,
        /// To what.
        channel: ChannelName,
    },
    /// Publish.
    Publish {
        /// Who asks for it.
        issuer: Issuer,
        /// Whose decision it was.
        author: Author,
        /// Where.
        channel: ChannelName,
        /// What.
        payload: Payload,
        /// Who is told the position, if anybody.
        ticket: Option<Ticket>,
    },
    /// Change a channel's state.
    ChangeState {
        /// Who asks for it.
        issuer: Issuer,
        /// Whose decision it was.
        author: Author,
        /// Whose.
        channel: ChannelName,
        /// How.
        request: Box<StateRequest>,
        /// Who is told what became of it, if anybody.
        ticket: Option<Ticket>,
    },
    /// Read a channel's state.
    ReadState {
        /// Who is told.
        ticket: Ticket,
        /// Which channel.
        channel: ChannelName,
        /// Which keys.
        query: StateQuery,
    },
    /// Let a WebSocket be present in a channel.
    Enter {
        /// Who asks for it.
        issuer: Issuer,
        /// Which WebSocket, and who is told.
        ticket: Ticket,
        /// Where.
        channel: ChannelName,
        /// Whose it is.
        user: Option<Box<str>>,
        /// What others may know of it, as JSON.
        info: Box<str>,
    },
    /// Let it be present no more.
    Depart {
        /// Who asks for it.
        issuer: Issuer,
        /// Which WebSocket.
        connection: ConnectionId,
        /// Where.
        channel: ChannelName,
    },
    /// Ask who is present in a channel.
    ReadPresence {
        /// Who is told.
        ticket: Ticket,
        /// Which channel.
        channel: ChannelName,
        /// Behind which member.
        after: Option<StateKey>,
        /// At most how many.
        limit: u32,
    },
    /// Read history.
    ReadHistory {
        /// Who is told.
        ticket: Ticket,
        /// Which channel.
        channel: ChannelName,
        /// After which position.
        since: Option<Position>,
        /// At most how many.
        limit: u32,
    },
    /// Ask every shard.
    Ask {
        /// Who is told.
        ticket: Ticket,
        /// What.
        question: Question,
    },
    /// Tell every shard that nobody waits for its answer any more.
    Withdraw {
        /// Who asked.
        ticket: Ticket,
    },
    /// Look at a token on behalf of a WebSocket.
    Authenticate {
        /// Whose.
        connection: ConnectionId,
        /// The token.
        text: Box<str>,
        /// For the reply.
        token: u32,
    },
    /// Ask the operator's backend on behalf of a WebSocket.
    Consult {
        /// Whose.
        connection: ConnectionId,
        /// What.
        question: Box<Consultation>,
        /// For the reply.
        token: u32,
    },
    /// Shut somebody out, on every shard.
    Revoke {
        /// Whom.
        revocation: Revocation,
    },
    /// End a session.
    Close {
        /// Who asks for it.
        issuer: Issuer,
        /// Whose.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// Call back later.
    Timer {
        /// In how many milliseconds.
        delay_ms: u64,
        /// Handed to [`super::Handler::timer`].
        timer: u64,
    },
    /// Have the configuration and the certificates read again.
    Reload,
    /// Have a new version take this one's place.
    Upgrade,
    /// Count publishes that were refused for their key's rate.
    CountRateLimited,
    /// Count a command that was answered with an error.
    CountCommandRefused,
}
impl Intents {
    /// The bytes of an [`Intent::Send`].
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Takes the list, in order; give it back with [`Self::reset`] so that its memory is used again. While it is worked
    /// through, handlers are called and lists of what they ask for are taken in turn.
    pub fn take(&mut self) -> Vec<Intent> {
        self.taken += 1;
        std::mem::take(&mut self.list)
    }

    /// Takes a list back that has been worked through. The bytes go with the last one.
    pub fn reset(&mut self, mut list: Vec<Intent>) {
        self.taken -= 1;
        list.clear();
        if self.list.is_empty() {
            self.list = list;
            if self.taken == 0 {
                self.bytes.clear();
            }
        }
    }

    /// Lets somebody be who asks; who it was before.
    pub(crate) fn speak_for(&mut self, issuer: Issuer) -> Issuer {
        std::mem::replace(&mut self.issuer, issuer)
    }

    /// Takes back what is left of the only list taken, to be gone on with in the next turn; what was asked for since comes
    /// behind it.
    pub(crate) fn put_off(&mut self, mut rest: Vec<Intent>) {
        self.taken -= 1;
        rest.append(&mut self.list);
        self.list = rest;
        self.are_put_off = true;
    }

    /// Whether what is asked for waits for the next turn.
    pub(crate) fn are_put_off(&self) -> bool {
        self.are_put_off
    }

    /// The next turn.
    pub(crate) fn begin_turn(&mut self) {
        self.are_put_off = false;
    }

    /// Where the next call begins, to be able to take it back.
    pub(crate) fn mark(&self) -> Mark {
        Mark { list: self.list.len(), bytes: self.bytes.len() }
    }

    /// Takes out what has been sent since the mark, up to where something else was asked for.
    pub(crate) fn take_sends(&mut self, mark: Mark) -> Vec<(ConnectionId, bool, Box<[u8]>)> {
        let is_send = |intent: &&Intent| matches!(intent, Intent::Send { .. });
        let count = self.list[mark.list..].iter().take_while(is_send).count();
        let mut sends = Vec::with_capacity(count);
        for intent in self.list.drain(mark.list..mark.list + count) {
            if let Intent::Send { connection, is_text, range } = intent {
                sends.push((connection, is_text, self.bytes[range].into()));
            }
        }
        if self.list.len() == mark.list {
            self.bytes.truncate(mark.bytes);
        }
        sends
    }

    /// Forgets what was asked for since the mark.
    pub(crate) fn take_back(&mut self, mark: Mark) {
        self.list.truncate(mark.list);
        self.bytes.truncate(mark.bytes);
    }

    /// How many lists are being worked through.
    pub fn depth(&self) -> u32 {
        self.taken
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
