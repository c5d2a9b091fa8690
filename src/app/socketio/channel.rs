//! What a channel holds, for an application of Socket.IO: keys and counters, and who is there, on whatever shard the channel is.
//!
//! Rooms are channels, and so is each namespace. Who is in a room hears of a change as the event `set`, `remove` or `add`; here
//! the application is told itself what became of it.
//!
//! Invariant: whoever waits is told once: what the channel's owner answers, or that it has not in time.

use std::{
    cell::RefCell,
    fmt,
    rc::Rc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use super::{Awaiting, Order, core::Core, deadlines::Deadline};
use crate::{
    app::Reply,
    limits::{CHANNEL_ANSWER_MS, QUESTIONS_AWAITED_MAX},
    mesh::{HistoryPage, StatePage, StateQuery},
    model::{
        Author, Changed, ChannelName, ConnectionId, Payload, Position, PresencePage, PublishError,
        SharedPublication, StateError, StateKey, StateRequest, Ticket,
    },
};

/// A channel. Cheap to clone. Everything is asked for when it is called, whether or not it is awaited, and takes effect in the
/// order in which it was asked.
#[derive(Clone)]
pub struct Channel {
    core: Rc<Core>,
    name: ChannelName,
}

/// Why there is no answer from a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// The change was not made, or nothing can be read.
    Refused(StateError),
    /// Too much is asked at the moment; nothing was done.
    Busy,
    /// The channel's owner has not answered in time. A change may have been made.
    Late,
}

/// What is wanted to be read.
#[derive(Debug)]
pub(crate) enum ChannelQuestion {
    State(StateQuery),
    Presence { after: Option<StateKey>, limit: u32 },
    History { since: Option<Position>, limit: u32 },
}

/// What has been asked of channels and is not answered yet.
#[derive(Debug)]
pub(super) struct ChannelQuestions {
    waiting: RefCell<FxHashMap<u32, Waiting>>,
    /// A shard that failed begins to count anew, and what it asked before may be answered late: that answer must not be one to
    /// another question.
    life: u32,
}

struct Waiting {
    deadline: Deadline,
    give: Box<dyn FnOnce(Result<Reply, ChannelError>)>,
}

impl Channel {
    pub(super) fn new(core: Rc<Core>, name: ChannelName) -> Self {
        Self { core, name }
    }

    /// Its name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Sets or removes a key, or counts one further, if its condition holds; what the key holds since.
    pub fn change(&self, request: StateRequest) -> Awaiting<Result<Changed, ChannelError>> {
        self.change_then(request, |changed| changed)
    }

    /// Counts a counter further by this; its value since.
    pub fn add(&self, key: StateKey, count: i64) -> Awaiting<Result<i64, ChannelError>> {
        let value = |changed: Changed| changed.version.value().unwrap_or_default();
        self.change_then(StateRequest::add(key, count), value)
    }

    /// What a key holds, if it is there: the publication that last changed it.
    pub fn key(&self, key: StateKey) -> Awaiting<Result<Option<SharedPublication>, ChannelError>> {
        self.read(ChannelQuestion::State(StateQuery::Key(key)), |reply| match reply {
            Reply::State(page) => Ok(page.keys.first().cloned()),
            other => Err(of_no_page(&other)),
        })
    }

    /// So many keys in their order, behind one of them.
    pub fn state(&self, after: Option<StateKey>, limit: u32) -> Awaiting<Result<StatePage, ChannelError>> {
        self.read(ChannelQuestion::State(StateQuery::Page { after, limit }), |reply| match reply {
            Reply::State(page) => Ok(page),
            other => Err(of_no_page(&other)),
        })
    }

    /// Who is present, how many, and so many members in their order, behind one of them.
    pub fn presence(
        &self,
        after: Option<StateKey>,
        limit: u32,
    ) -> Awaiting<Result<PresencePage, ChannelError>> {
        self.read(ChannelQuestion::Presence { after, limit }, |reply| match reply {
            Reply::Presence(page) => Ok(*page),
            other => Err(of_no_page(&other)),
        })
    }

    /// So many publications, oldest first, behind a position.
    pub fn history(
        &self,
        since: Option<Position>,
        limit: u32,
    ) -> Awaiting<Result<HistoryPage, ChannelError>> {
        self.read(ChannelQuestion::History { since, limit }, |reply| match reply {
            Reply::History(page) => Ok(page),
            other => Err(of_no_page(&other)),
        })
    }

    /// Publishes, in the order in which this and events to rooms and namespaces are asked for; where that stands.
    pub fn publish(&self, payload: Payload) -> Awaiting<Result<Position, ChannelError>> {
        self.publish_by(Author::Application, payload, true)
    }

    /// Passes on what a client publishes; where that stands.
    pub(super) fn relay(
        &self,
        payload: Payload,
        is_ordered: bool,
    ) -> Awaiting<Result<Position, ChannelError>> {
        self.publish_by(Author::Client, payload, is_ordered)
    }

    fn publish_by(
        &self,
        author: Author,
        payload: Payload,
        is_ordered: bool,
    ) -> Awaiting<Result<Position, ChannelError>> {
        let channel = self.name.clone();
        let order = |ticket| Order::Publish { channel, payload, author, is_ordered, ticket: Some(ticket) };
        self.ask(order, |reply| match reply {
            Reply::Published(result) => result.map_err(|error| ChannelError::Refused(error.into())),
            other => Err(of_no_page(&other)),
        })
    }

    fn change_then<T: 'static>(
        &self,
        request: StateRequest,
        look: impl FnOnce(Changed) -> T + 'static,
    ) -> Awaiting<Result<T, ChannelError>> {
        let (channel, request) = (self.name.clone(), Box::new(request));
        let order = |ticket| Order::ChangeState { channel, request, ticket: Some(ticket) };
        self.ask(order, |reply| match reply {
            Reply::Changed(result) => result.map(look).map_err(ChannelError::Refused),
            other => Err(of_no_page(&other)),
        })
    }

    fn read<T: 'static>(
        &self,
        question: ChannelQuestion,
        look: impl FnOnce(Reply) -> Result<T, ChannelError> + 'static,
    ) -> Awaiting<Result<T, ChannelError>> {
        let channel = self.name.clone();
        self.ask(|ticket| Order::Read { channel, question, ticket }, look)
    }

    fn ask<T: 'static>(
        &self,
        order: impl FnOnce(Ticket) -> Order,
        look: impl FnOnce(Reply) -> Result<T, ChannelError> + 'static,
    ) -> Awaiting<Result<T, ChannelError>> {
        let (give, awaiting) = Awaiting::new();
        let questions = &self.core.channels;
        if questions.waiting.borrow().len() >= QUESTIONS_AWAITED_MAX {
            give(Err(ChannelError::Busy));
            return awaiting;
        }
        let ticket = questions.ticket(self.core.next_number() as u32);
        let core = Rc::downgrade(&self.core);
        let give_up = move || {
            if let Some(core) = core.upgrade() {
                core.channels.end(ticket, Err(ChannelError::Late));
            }
        };
        let deadline =
            self.core.deadlines.set(Instant::now() + Duration::from_millis(CHANNEL_ANSWER_MS), give_up);
        let give = Box::new(move |reply: Result<Reply, ChannelError>| give(reply.and_then(look)));
        questions.waiting.borrow_mut().insert(ticket.token, Waiting { deadline, give });
        self.core.order(order(ticket));
        awaiting
    }
}

/// A channel has answered.
pub(super) fn answered(core: &Core, ticket: Ticket, reply: Reply) {
    if let Some(deadline) = core.channels.deadline(ticket) {
        core.deadlines.cancel(deadline);
        core.channels.end(ticket, Ok(reply));
    }
}

fn of_no_page(reply: &Reply) -> ChannelError {
    match reply {
        Reply::Unread(PublishError::Busy) => ChannelError::Busy,
        Reply::Unread(error) => ChannelError::Refused((*error).into()),
        _ => ChannelError::Late,
    }
}

impl Default for ChannelQuestions {
    fn default() -> Self {
        Self { waiting: RefCell::default(), life: fastrand::u32(..) }
    }
}

impl ChannelQuestions {
    fn ticket(&self, token: u32) -> Ticket {
        Ticket { connection: ConnectionId { index: ConnectionId::APPLICATION, generation: self.life }, token }
    }

    fn deadline(&self, ticket: Ticket) -> Option<Deadline> {
        let waiting = self.waiting.borrow();
        waiting
            .get(&ticket.token)
            .filter(|_| ticket.connection.generation == self.life)
            .map(|one| one.deadline)
    }

    fn end(&self, ticket: Ticket, reply: Result<Reply, ChannelError>) {
        let waiting = self.waiting.borrow_mut().remove(&ticket.token);
        if let Some(waiting) = waiting {
            (waiting.give)(reply);
        }
    }

    /// The application ends.
    pub(super) fn give_up_all(&self) {
        self.waiting.take();
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.name).finish()
    }
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the change was not made: {error:?}"),
            Self::Busy => f.write_str("too much is asked at the moment"),
            Self::Late => f.write_str("the channel's owner has not answered in time"),
        }
    }
}

impl std::error::Error for ChannelError {}
