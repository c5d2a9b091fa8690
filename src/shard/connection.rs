//! The connections of a shard: one compact record each, in a table that never moves.

use std::net::{IpAddr, SocketAddr};

use super::addresses::AddressId;
use crate::{model::ConnectionId, ring::SendId, session::Session};

/// One connection. Everything an idle one needs, and nothing it does not: no buffer, no task, no heap block.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) generation: u32,
    pub(super) address: AddressId,
    /// Its queue in the outbox while something waits to be sent.
    pub(super) queue: u32,
    /// The send in flight, while [`Flags::SENDING`].
    pub(super) send: Option<SendId>,
    pub(super) port: u16,
    pub(super) flags: Flags,
}

const _: () =
    assert!(size_of::<Connection>() <= 56, "a connection's record is budgeted below one cache line");

/// No queue.
pub(super) const NO_QUEUE: u32 = u32::MAX;

/// What is under way for a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u32);

impl Flags {
    /// The slot holds a connection.
    pub(super) const OPEN: Self = Self(1);
    /// The kernel watches it.
    pub(super) const ARMED: Self = Self(1 << 1);
    /// A receive is in flight.
    pub(super) const RECEIVING: Self = Self(1 << 2);
    /// It turned readable while it could not be read.
    pub(super) const READABLE: Self = Self(1 << 3);
    /// A send is in flight.
    pub(super) const SENDING: Self = Self(1 << 4);
    /// It is not read until its queue has been sent.
    pub(super) const PAUSED_FULL: Self = Self(1 << 5);
    /// It is not read until its request has been answered.
    pub(super) const PAUSED_AWAITING: Self = Self(1 << 6);
    /// Once everything queued has been sent the writing side is shut down.
    pub(super) const FINISHING: Self = Self(1 << 7);
    /// The writing side has been shut down.
    pub(super) const SHUT: Self = Self(1 << 8);
    /// The descriptor is being closed.
    pub(super) const CLOSING: Self = Self(1 << 9);
    /// The close has ended.
    pub(super) const CLOSED: Self = Self(1 << 10);
    /// The handler accepted it and is told of its end; an event stream that has it is written by the handler.
    pub(super) const KNOWN: Self = Self(1 << 11);
    /// It may hold subscriptions.
    pub(super) const SUBSCRIBED: Self = Self(1 << 12);
    /// It came in through the admin listener.
    pub(super) const ADMIN: Self = Self(1 << 13);
    /// It waits in the list of those with something to send.
    pub(super) const DIRTY: Self = Self(1 << 14);
    /// The peer has ended its sending direction.
    pub(super) const ENDED: Self = Self(1 << 15);
    /// It takes some of the shard's room.
    pub(super) const LET_IN: Self = Self(1 << 16);
    /// The kernel has announced the peer's end, which comes behind what can be received.
    pub(super) const ENDING: Self = Self(1 << 17);
    /// The writing side is being shut down.
    pub(super) const SHUTTING: Self = Self(1 << 18);
    /// Another shard gets it, and reads it on.
    pub(super) const LEAVING: Self = Self(1 << 19);
    /// A descriptor for that shard is being made.
    pub(super) const EXPORTING: Self = Self(1 << 20);
    /// It carries an Engine.IO session, whose index is the tag of its own session.
    pub(super) const ENGINE: Self = Self(1 << 21);

    /// It is not read until what was kept of its requests has had its turn.
    pub(super) const KEPT: Self = Self(1 << 22);

    /// It stands in the list of inputs that have begun and not ended.
    pub(super) const PARTIAL: Self = Self(1 << 23);

    /// It reads too slowly: it is going to be ended, and is told nothing but its last words.
    pub(super) const SLOW: Self = Self(1 << 24);
    /// It is being told what it missed, a piece whenever it has read the one before.
    pub(super) const CATCHING_UP: Self = Self(1 << 25);

    /// It is being closed, and what was being sent to it is counted as nearly free.
    pub(super) const COUNTED: Self = Self(1 << 26);

    /// It speaks TLS, or is about to.
    pub(super) const TLS: Self = Self(1 << 28);
    /// It came in through a listener that only sends clients to another.
    pub(super) const REDIRECTED: Self = Self(1 << 29);

    /// It is an event stream, or a WebSocket of `/ws`, that follows the state of some channel, or who is there.
    pub(super) const STATEFUL: Self = Self(1 << 31);

    /// Its answer is an event stream that another server writes bit by bit: its client's end ends it. No connection has both this and
    /// channels that it follows, so the two take the same bit.
    pub(super) const STREAMED: Self = Self::STATEFUL;

    /// A proxy has opened it, and has not said for whom: what its requests say of that is not believed.
    pub(super) const UNNAMED: Self = Self(1 << 30);

    /// A WebSocket whose messages may be compressed, both ways. Who is only sent elsewhere never becomes one, so both take the
    /// same bit.
    pub(super) const DEFLATES: Self = Self::REDIRECTED;

    const UNFREE: Self = Self(Self::SENDING.0 | Self::CLOSING.0 | Self::SLOW.0);
    /// One that speaks TLS, or whose messages are compressed, is sent nothing as it is.
    const BUSY: Self = Self(Self::UNFREE.0 | Self::TLS.0 | Self::DEFLATES.0);
    /// It stands in the queue of those that wait for a receive buffer.
    pub(super) const STARVED: Self = Self(1 << 27);

    const UNDER_WAY: Self = Self(
        Self::RECEIVING.0
            | Self::FINISHING.0
            | Self::SHUT.0
            | Self::ENDED.0
            | Self::SHUTTING.0
            | Self::LEAVING.0
            | Self::EXPORTING.0
            | Self::SLOW.0,
    );

    const PAUSED: Self = Self(Self::PAUSED_FULL.0 | Self::PAUSED_AWAITING.0 | Self::LEAVING.0 | Self::KEPT.0);
    /// The end of a send lets something go on: sending, reading, or the connection's end.
    pub(super) const AWAITS_SEND: Self = Self(
        Self::PAUSED_FULL.0
            | Self::FINISHING.0
            | Self::LEAVING.0
            | Self::CLOSING.0
            | Self::ENDED.0
            | Self::CATCHING_UP.0,
    );
    const IN_KERNEL: Self =
        Self(Self::ARMED.0 | Self::RECEIVING.0 | Self::SENDING.0 | Self::SHUTTING.0 | Self::EXPORTING.0);

    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub(super) fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    /// Whether reading waits for something.
    pub(super) fn is_paused(self) -> bool {
        self.has(Self::PAUSED)
    }

    /// Whether the slot can be used again: the descriptor is closed and no operation holds the socket.
    pub(super) fn is_free(self) -> bool {
        self.has(Self::CLOSED) && !self.has(Self::IN_KERNEL)
    }

    /// Whether bytes cannot be sent at once as they are: others are being sent, nothing is to be said any more, or they have
    /// to be sealed or compressed.
    pub(super) fn is_busy(self) -> bool {
        self.has(Self::BUSY)
    }

    /// Whether bytes can be sealed and sent at once.
    pub(super) fn is_free_to_seal(self) -> bool {
        self.0 & (Self::UNFREE.0 | Self::TLS.0) == Self::TLS.0
    }

    /// Whether bytes that are ready to be sent can be sent at once.
    pub(super) fn is_free_to_send(self) -> bool {
        !self.has(Self(Self::UNFREE.0 | Self::TLS.0))
    }

    /// Whether nothing is under way but what is to be sent and what waits for that: nothing is being received, and no end has begun.
    pub(super) fn is_at_rest(self) -> bool {
        self.is_live() && !self.has(Self::UNDER_WAY)
    }

    /// Whether the connection still speaks its protocol.
    pub(super) fn is_live(self) -> bool {
        self.has(Self::OPEN) && !self.has(Self::CLOSING)
    }
}

/// The table of connections. A connection's index is its slot in the ring's descriptor table.
///
/// Room for every slot is reserved at the start and touched only when used: growing costs nothing and moves nothing.
pub(super) struct Slab {
    records: Vec<Connection>,
    free: Vec<u32>,
    capacity: u32,
    /// The generation of a slot that is used for the first time.
    first_generation: u32,
}

impl Slab {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            records: Vec::with_capacity(capacity as usize),
            free: Vec::new(),
            capacity,
            first_generation: 0,
        }
    }

    /// Numbers no connection as one of the table before was numbered.
    pub(super) fn go_on_from(&mut self, next_generation: u32) {
        self.first_generation = next_generation;
    }

    /// A generation that no connection has had.
    pub(super) fn next_generation(&self) -> u32 {
        let highest = self.records.iter().map(|record| record.generation).max();
        highest.unwrap_or(self.first_generation).wrapping_add(1)
    }

    /// Takes a free slot for an accept.
    pub(super) fn reserve(&mut self) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        let index = self.records.len() as u32;
        if index >= self.capacity {
            return None;
        }
        self.records.push(Connection {
            session: Session::Lingering,
            generation: self.first_generation,
            address: AddressId::NONE,
            queue: NO_QUEUE,
            send: None,
            port: 0,
            flags: Flags::default(),
        });
        Some(index)
    }

    /// Takes slots that follow each other for so many connections, or for as many as there is room for: the first, and how many.
    pub(super) fn reserve_all(&mut self, count: u32) -> (u32, u32) {
        let first = self.records.len() as u32;
        let free = std::mem::take(&mut self.free);
        let taken = (0..count).take_while(|_| self.reserve().is_some()).count() as u32;
        self.free = free;
        (first, taken)
    }

    /// Gives back a slot whose accept brought nothing, or whose connection is gone.
    pub(super) fn release(&mut self, index: u32) {
        let record = &mut self.records[index as usize];
        record.flags = Flags::default();
        record.session = Session::Lingering;
        record.generation = record.generation.wrapping_add(1);
        self.free.push(index);
    }

    /// The record of a slot.
    pub(super) fn at(&mut self, index: u32) -> &mut Connection {
        &mut self.records[index as usize]
    }

    /// The record of a slot, to look at.
    pub(super) fn look(&self, index: u32) -> &Connection {
        &self.records[index as usize]
    }

    /// The connection this id names, unless its slot has been used again since.
    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.records
            .get_mut(id.index as usize)
            .filter(|record| record.generation == id.generation && record.flags.has(Flags::OPEN))
    }

    /// As [`Self::get`], of a connection whose session has not ended.
    pub(super) fn get_in_session(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.get(id).filter(|record| !record.session.has_ended())
    }

    /// The full id of the connection in a slot.
    pub(super) fn id(&self, index: u32) -> ConnectionId {
        ConnectionId { index, generation: self.records[index as usize].generation }
    }

    /// How many slots have ever been used; every connection's index is below it.
    pub(super) fn len(&self) -> u32 {
        self.records.len() as u32
    }
}

impl Connection {
    /// The peer's socket address, given the address this record's [`AddressId`] stands for.
    pub(super) fn peer_address(&self, ip: Option<IpAddr>) -> Option<SocketAddr> {
        ip.map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Whether it is a poll that waits, or a stream that another server writes, and is not read meanwhile.
    pub(super) fn is_parked(&self) -> bool {
        match self.session {
            Session::Http(_) => self.flags.has(Flags::ENGINE) || self.flags.has(Flags::STREAMED),
            Session::LongPoll(_) => true,
            Session::WebSocket(_)
            | Session::EventStream
            | Session::Leaving(_)
            | Session::Lingering
            | Session::Lent(..) => false,
        }
    }
}
