//! What an application asks of its shard about Socket.IO: put here at any time, also from tasks it spawned, and
//! carried out by the shard in order, at the latest in its next turn.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
};

use super::ChannelQuestion;
use crate::{
    auth::Consultation,
    broker::cluster::ClusterAsk,
    mesh::{Bell, Selection, SocketCommand, SocketsAnswer, SocketsRequest},
    model::{Arguments, Author, ChannelName, ConnectionId, Issuer, Payload, SocketId, StateRequest, Ticket},
    wire::http1::Response,
};

/// A raw Engine.IO session of this shard, for applications that speak no Socket.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EngineId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// One thing asked for.
#[derive(Debug)]
pub(crate) enum Order {
    /// Send an event to a socket of this shard, and ask for an acknowledgement under this number.
    Emit { socket: SocketId, arguments: Arguments, ack: Option<u64>, is_volatile: bool },
    /// Acknowledge a client's event.
    Acknowledge { socket: SocketId, id: u64, arguments: Arguments },
    /// Publish to a room or namespace, through its channel; behind events to others, if it is ordered.
    Publish {
        channel: ChannelName,
        payload: Payload,
        author: Author,
        is_ordered: bool,
        ticket: Option<Ticket>,
    },
    /// Change the state of a room or namespace, through its channel.
    ChangeState { channel: ChannelName, request: Box<StateRequest>, ticket: Option<Ticket> },
    /// Read something of a channel.
    Read { channel: ChannelName, question: ChannelQuestion, ticket: Ticket },
    /// Do something to one socket, of whatever shard.
    Command { socket: SocketId, command: SocketCommand },
    /// Put a socket of this shard into rooms, and say under this number what became of each.
    Join { socket: SocketId, rooms: Vec<ChannelName>, number: u32 },
    /// Look at a token that a socket of this shard has brought.
    Authenticate { socket: SocketId, token: Box<str> },
    /// Ask the operator's backend about an event that a socket of this shard has sent, and that waits under this number.
    Consult { socket: SocketId, number: u64, question: Box<Consultation> },
    /// Put something to every shard, this one included.
    Request(SocketsRequest),
    /// Tell the asker of a [`SocketsRequest::ServerEvent`] what the application answered.
    Answer { asker: crate::model::ShardId, token: u64, arguments: Arguments },
    /// Tell the asker of a [`SocketsRequest::Ask`] what was acknowledged.
    Gathered { asker: crate::model::ShardId, answer: Box<SocketsAnswer> },
    /// Send a message on a raw Engine.IO session.
    Send { session: EngineId, is_text: bool, data: Box<[u8]> },
    /// End a raw Engine.IO session.
    Close { session: EngineId },
    /// Tell which sockets of this shard these are, with their rooms and data, in answer to the question of this token.
    Tell { selection: Box<Selection>, token: u64 },
    /// Call this: all that the same issuer has asked before has been carried out, or waits on its way and not here.
    Then(Then),
    /// Let a client that has waited for middleware enter, or refuse it.
    Enter { session: EngineId, number: u64 },
    /// Answer a request put off with [`crate::app::Answer::Later`].
    Respond { connection: ConnectionId, response: Response },
    /// Read on a connection whose request's body is passed on as it comes.
    ReadOn { connection: ConnectionId },
    /// Go on with the answer to such a request, which is written bit by bit.
    Write { connection: ConnectionId, part: AnswerPart, room: Room },
    /// Tell the cluster of which the process is a member, or ask it.
    Cluster(Box<ClusterAsk>),
    /// Count a publish that was refused for its key's rate.
    CountRateLimited,
    /// Count a command that was answered with an error.
    CountCommandRefused,
}

/// A part of an answer that is written bit by bit.
#[derive(Debug)]
pub(crate) enum AnswerPart {
    /// It begins: all but the body of this, which has so many bytes, if that is known.
    Head { response: Response, length: Option<u64> },
    /// Some of its body.
    Body(Vec<u8>),
    /// It ends; or it does before it is whole, which the client is to see.
    End { is_whole: bool },
}

/// Is told when there is room for another part: whether one may come, for somebody is there to read it.
pub(crate) struct Room(pub(crate) Box<dyn FnOnce(bool)>);

/// A function of [`Order::Then`].
pub(crate) struct Then(pub(crate) Box<dyn FnOnce()>);

/// The orders not yet carried out. Bounded by what the application asks for in one turn: the shard takes all of them
/// each turn.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    list: Rc<RefCell<Vec<(Issuer, Order)>>>,
    /// Who asks for what is put here now.
    issuer: Rc<Cell<Issuer>>,
    bell: Rc<Bell>,
}

/// While this lives, what is asked for is asked for by somebody.
#[must_use = "it speaks for somebody as long as it lives"]
pub(crate) struct Speaking {
    issuer: Rc<Cell<Issuer>>,
    before: Issuer,
}

impl Orders {
    pub(crate) fn new(bell: Rc<Bell>) -> Self {
        Self { list: Rc::default(), issuer: Rc::default(), bell }
    }

    /// What wakes the shard.
    pub(crate) fn bell(&self) -> Rc<Bell> {
        Rc::clone(&self.bell)
    }

    /// Asks for something; the shard is woken if it sleeps.
    pub(crate) fn push(&self, order: Order) {
        self.list.borrow_mut().push((self.issuer.get(), order));
        self.bell.ring();
    }

    /// Who asks now.
    pub(crate) fn issuer(&self) -> Issuer {
        self.issuer.get()
    }

    /// Lets somebody be who asks, until what is returned is dropped.
    pub(crate) fn speak_for(&self, issuer: impl Into<Issuer>) -> Speaking {
        Speaking { before: self.issuer.replace(issuer.into()), issuer: Rc::clone(&self.issuer) }
    }

    /// Work that goes on for whoever asks now.
    pub(crate) fn speaking<T, W: Future<Output = T>>(&self, work: W) -> impl Future<Output = T> + use<T, W> {
        let (orders, issuer) = (self.clone(), self.issuer());
        async move {
            let mut work = pin!(work);
            poll_fn(|cx| {
                let _speaking = orders.speak_for(issuer);
                work.as_mut().poll(cx)
            })
            .await
        }
    }

    /// A function that is called for whoever asks now.
    pub(crate) fn speaking_once<T, A: FnOnce() -> T>(&self, act: A) -> impl FnOnce() -> T + use<T, A> {
        let (orders, issuer) = (self.clone(), self.issuer());
        move || {
            let _speaking = orders.speak_for(issuer);
            act()
        }
    }

    /// Takes all there are, in order and with who asked, into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut Vec<(Issuer, Order)>) {
        std::mem::swap(&mut *self.list.borrow_mut(), taken);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then")
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.issuer.set(self.before);
    }
}
