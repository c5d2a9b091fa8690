//! Acknowledgements of an event to many sockets, gathered on each shard for whoever asked.
//!
//! ```text
//!   asker ─► every shard: the event to each socket selected ─► acknowledged, gone, or late ─► one answer per shard
//! ```
//!
//! Invariant: a shard answers once, when it has selected all its sockets and nobody is waited for any more.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
};

use serde::de::DeserializeOwned;

use super::{
    Order, Socket, arguments, awaiting, core::Core, deadlines::Deadline, members::MemberAcks,
    questions::Replies,
};
use crate::{
    limits::{ACKS_GATHERED_BYTES_MAX, SOCKETS_FETCHED_PER_SHARD_MAX},
    mesh::{Asking, GatheredAck, SocketsAnswer},
    model::{Arguments, ShardId, SocketId},
};

/// What became of an event that sockets were to acknowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged<R> {
    /// Who has acknowledged it in time, and with what.
    pub list: Vec<(SocketId, R)>,
    /// Who has not: it is late or gone, owes too many acknowledgements, or has said something else than was asked for.
    pub unanswered: Vec<SocketId>,
    /// What clients of other members of a Socket.IO cluster have acknowledged it with; who they are nobody tells.
    pub elsewhere: Vec<R>,
    /// How many clients of other members have not.
    pub unanswered_elsewhere: u32,
    /// How many shards did not answer; who their sockets are is not known.
    pub missing: u16,
    /// How many other members have not said how many clients they have asked; at least one where the cluster's Redis is away.
    pub missing_members: u32,
}

/// One event to sockets of this shard.
pub(crate) struct Gathering {
    core: Rc<Core>,
    asker: ShardId,
    token: u64,
    /// The event.
    pub(crate) arguments: Arguments,
    /// Not at all rather than late.
    pub(crate) is_volatile: bool,
    deadline: Cell<Option<Deadline>>,
    gathered: RefCell<Gathered>,
    /// Bytes of what has been acknowledged.
    bytes: Cell<usize>,
}

#[derive(Default)]
struct Gathered {
    /// Who has been asked, and under which number.
    asked: Vec<(SocketId, u64)>,
    acks: Vec<GatheredAck>,
    /// How many have been asked and have not answered.
    left: usize,
    is_whole: bool,
}

impl Gathering {
    /// Gathers until then, for who has asked under this token.
    pub(super) fn begin(
        core: &Rc<Core>,
        (asker, token): (ShardId, u64),
        Asking { arguments, is_volatile, until }: Asking,
    ) -> Rc<Self> {
        let gathering = Rc::new(Self {
            core: Rc::clone(core),
            asker,
            token,
            arguments,
            is_volatile,
            deadline: Cell::default(),
            gathered: RefCell::default(),
            bytes: Cell::default(),
        });
        let late = Rc::downgrade(&gathering);
        let give_up = move || late.upgrade().into_iter().for_each(|gathering| gathering.give_up());
        gathering.deadline.set(Some(core.deadlines.set(until, give_up)));
        gathering
    }

    /// Waits for a socket's acknowledgement; gives the number under which it is to be asked for it. One that is not waited
    /// for, since so many are, is sent the event all the same. `None` is one that is not sent it.
    pub(super) fn await_one(self: &Rc<Self>, socket: &Socket) -> Option<Option<u64>> {
        let id = socket.id();
        let is_full = {
            let mut gathered = self.gathered.borrow_mut();
            gathered.left += 1;
            gathered.asked.len() >= SOCKETS_FETCHED_PER_SHARD_MAX as usize
        };
        if is_full {
            self.note(id, None);
            return Some(None);
        }
        let gathering = Rc::clone(self);
        let number = awaiting::await_one(socket, None, move |answer| {
            gathering.note(id, answer.ok().map(awaiting::arguments_of));
        })?;
        self.gathered.borrow_mut().asked.push((id, number));
        Some(Some(number))
    }

    /// All have been asked.
    pub(crate) fn finish_asking(&self) {
        self.gathered.borrow_mut().is_whole = true;
        self.answer_if_done();
    }

    /// The time is over.
    fn give_up(&self) {
        let asked = self.gathered.borrow().asked.clone();
        for (socket, number) in asked {
            awaiting::settle(&self.core, socket, number, Err(awaiting::AckError::TimedOut));
        }
    }

    fn note(&self, socket: SocketId, said: Option<Arguments>) {
        let (bytes, sum) = (said.as_ref().map_or(0, Arguments::bytes), &self.core.gathered_bytes);
        let said = said.filter(|_| sum.get() + bytes <= ACKS_GATHERED_BYTES_MAX);
        if said.is_some() {
            self.bytes.set(self.bytes.get() + bytes);
            sum.set(sum.get() + bytes);
        }
        let mut gathered = self.gathered.borrow_mut();
        gathered.acks.push(GatheredAck { socket, said });
        gathered.left -= 1;
        drop(gathered);
        self.answer_if_done();
    }

    fn answer_if_done(&self) {
        let mut gathered = self.gathered.borrow_mut();
        if !gathered.is_whole || gathered.left > 0 {
            return;
        }
        let acks = std::mem::take(&mut gathered.acks);
        drop(gathered);
        self.deadline.take().into_iter().for_each(|deadline| self.core.deadlines.cancel(deadline));
        let count = acks.len() as u32;
        let answer = SocketsAnswer { token: self.token, count, sockets: Vec::new(), arguments: None, acks };
        self.core.order(Order::Gathered { asker: self.asker, answer: Box::new(answer) });
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.core.gathered_bytes.set(self.core.gathered_bytes.get() - self.bytes.get());
    }
}

impl<R> Acknowledged<R> {
    /// How many sockets are known to have been asked.
    pub fn asked(&self) -> usize {
        let here = self.list.len() + self.unanswered.len();
        here + self.elsewhere.len() + self.unanswered_elsewhere as usize
    }

    /// Whether everybody has acknowledged the event.
    pub fn is_complete(&self) -> bool {
        let missing = u32::from(self.missing) + self.missing_members + self.unanswered_elsewhere;
        self.unanswered.is_empty() && missing == 0
    }

    pub(super) fn nobody() -> Self {
        Self {
            list: Vec::new(),
            unanswered: Vec::new(),
            elsewhere: Vec::new(),
            unanswered_elsewhere: 0,
            missing: 0,
            missing_members: 0,
        }
    }
}

impl<R: DeserializeOwned> Acknowledged<R> {
    pub(super) fn of(replies: Replies, of_members: MemberAcks) -> Self {
        let (missing, missing_members) = (replies.missing, of_members.missing);
        let (elsewhere, unanswered_elsewhere) = of_members.read();
        let mut told = Self { elsewhere, unanswered_elsewhere, missing, missing_members, ..Self::nobody() };
        for GatheredAck { socket, said } in replies.flat_map(|_, answer| answer.acks) {
            let said = said.and_then(|said| arguments::decode(&said.json, &said.attachments).ok());
            match said {
                Some(said) => told.list.push((socket, said)),
                None => told.unanswered.push(socket),
            }
        }
        told
    }
}

impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("token", &self.token).finish_non_exhaustive()
    }
}
