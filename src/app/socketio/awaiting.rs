//! Acknowledgements that the application waits for from clients.

use std::{fmt, rc::Rc, time::Instant};

use serde::de::DeserializeOwned;

use super::{
    Order, Socket,
    arguments::{self, PayloadError},
    core::Core,
    deadlines::Deadline,
};
use crate::{
    app::guard::guarded,
    limits::ACKS_AWAITED_PER_SOCKET_MAX,
    mesh::SocketCommand,
    model::{Arguments, SocketId},
};

/// Why an acknowledgement did not come.
#[derive(Debug)]
pub enum AckError {
    /// The client did not answer in time.
    TimedOut,
    /// The client is gone.
    Disconnected,
    /// The client owes as many acknowledgements as it may
    /// ([`ACKS_AWAITED_PER_SOCKET_MAX`]); the event was not sent.
    TooMany,
    /// The event's name is reserved, or JSON cannot say its data; it was not sent.
    NotSent,
    /// The client answered something else than was asked for.
    Payload(PayloadError),
}

/// What an acknowledgement that came is read as, or why it did not.
pub(super) type Answer<'a> = Result<(&'a str, &'a [Box<[u8]>]), AckError>;

/// What was acknowledged, to be kept.
pub(super) fn arguments_of((json, attachments): (&str, &[Box<[u8]>])) -> Arguments {
    Arguments { json: json.into(), attachments: attachments.into() }
}

/// One acknowledgement that is awaited.
pub(super) struct Awaited {
    id: u64,
    deadline: Option<Deadline>,
    tell: Box<dyn FnOnce(Answer<'_>)>,
}

/// Sends an event and calls `tell` with what the client answers.
pub(super) fn ask<R: DeserializeOwned>(
    socket: &Socket,
    arguments: Arguments,
    is_volatile: bool,
    until: Instant,
    tell: impl FnOnce(Result<R, AckError>) + 'static,
) {
    let read =
        move |answer: Answer<'_>| {
            tell(answer.and_then(|(json, attachments)| {
                arguments::decode(json, attachments).map_err(AckError::Payload)
            }));
        };
    if let Some(number) = await_one(socket, Some(until), read) {
        socket.send(arguments, Some(number), is_volatile);
    }
}

/// Calls `tell` with what the client acknowledges, or with that it has not until then; without a time whoever asks looks at
/// the clock itself. Gives the number under which the client is to be asked, if it is.
pub(super) fn await_one(
    socket: &Socket,
    until: Option<Instant>,
    tell: impl FnOnce(Answer<'_>) + 'static,
) -> Option<u64> {
    let (core, id) = (socket.core(), socket.id());
    let state = core.presence.state_or_new(id).filter(|_| socket.is_connected());
    let Some(state) = state else {
        tell(Err(AckError::Disconnected));
        return None;
    };
    if state.awaited.borrow().len() >= ACKS_AWAITED_PER_SOCKET_MAX {
        tell(Err(AckError::TooMany));
        return None;
    }
    let number = core.next_number();
    let give_up = {
        let core = Rc::downgrade(core);
        move || {
            if let Some(core) = core.upgrade() {
                settle(&core, id, number, Err(AckError::TimedOut));
            }
        }
    };
    let deadline = until.map(|until| core.deadlines.set(until, give_up));
    // Numbers rise, so that the list is sorted.
    state.awaited.borrow_mut().push(Awaited { id: number, deadline, tell: Box::new(tell) });
    Some(number)
}

/// An acknowledgement has come, or will not. One that nobody waits for, or no longer, is ignored.
pub(super) fn settle(core: &Core, socket: SocketId, id: u64, answer: Answer<'_>) {
    let Some(state) = core.presence.state(socket) else { return };
    let mut awaited = state.awaited.borrow_mut();
    let Ok(at) = awaited.binary_search_by_key(&id, |awaited| awaited.id) else { return };
    let found = awaited.remove(at);
    drop(awaited);
    found.deadline.into_iter().for_each(|deadline| core.deadlines.cancel(deadline));
    core.presence.prune(socket);
    let told = guarded("what awaits an acknowledgement", || (found.tell)(answer));
    if told.is_none() {
        let command = SocketCommand::Disconnect { ends_session: false };
        core.order(Order::Command { socket, command });
    }
}

/// A socket will acknowledge nothing any more.
pub(super) fn give_up_all(core: &Core, awaited: Vec<Awaited>) {
    for awaited in awaited {
        awaited.deadline.into_iter().for_each(|deadline| core.deadlines.cancel(deadline));
        guarded("what awaits an acknowledgement", || (awaited.tell)(Err(AckError::Disconnected)));
    }
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the client did not acknowledge in time"),
            Self::Disconnected => f.write_str("the client is gone"),
            Self::TooMany => write!(f, "the client owes {ACKS_AWAITED_PER_SOCKET_MAX} acknowledgements"),
            Self::NotSent => f.write_str("the event could not be sent"),
            Self::Payload(error) => write!(f, "the acknowledgement is not what was asked for: {error}"),
        }
    }
}

impl std::error::Error for AckError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Payload(error) => Some(error),
            Self::TimedOut | Self::Disconnected | Self::TooMany | Self::NotSent => None,
        }
    }
}
