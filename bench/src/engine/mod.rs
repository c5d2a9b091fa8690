//! The client's event loop: many outgoing connections on the project's ring.
//!
//! It knows no protocol; that is [`crate::protocol`]. A scenario hears *connected*, *received these bytes*, *closed*,
//! and sends through [`Io`]. Sockets live in the ring's descriptor table and in no other, so the process's own limit of
//! open files binds each engine, not all of them together.
//!
//! Invariant: an id names one connection for ever. Its generation tells a reused slot from the connection that had
//! it before, and a slot is reused only when no operation of its last connection is under way.
//!
//! ```text
//!   turn ─► enter ─► Readable ─► receive ─► Received ─► Event ─► the scenario ─► Io::send ─► one send under way
//!                                                                                   │
//!                                                     what is sent meanwhile ───────┴─► gathers, leaves with the next
//! ```

mod secured;
mod slot;
mod socket;
#[cfg(test)]
mod tests;
pub mod tls;

use std::{
    collections::VecDeque,
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use roadstead::{
    model::ConnectionId as RingId,
    ring::{Completion, Errno, Lease, Ring, RingSettings, SendBytes},
};

use self::{
    slot::{Phase, Slot},
    tls::{Session, Tls},
};

/// Completions handled before new operations are submitted: the answers to a batch leave together.
const BATCH: usize = 256;
/// Receive buffers shared by all connections.
const RECEIVE_BUFFERS: u16 = 512;
/// Bytes of one of them.
const RECEIVE_BUFFER_BYTES: u32 = 8192;
/// Bytes that may wait for one connection's send; beyond it a send is refused.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Descriptors of a process that are not in a ring's table: standard streams, the ring itself, files read in passing.
pub const DESCRIPTORS_RESERVED: u64 = 64;
/// The most connections of one engine: a ring's user data has 24 bits for an index.
const CONNECTIONS_MAX: u64 = 1 << 24;

/// Names one connection of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId {
    /// The slot, dense from 0: scenarios index their own tables with it.
    pub index: u32,
    generation: u32,
}

/// From where to where a connection goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The server.
    pub target: SocketAddr,
    /// The local address to connect from, if it matters.
    pub source: Option<IpAddr>,
    /// The socket file to connect to instead.
    pub unix: Option<Arc<Path>>,
    /// How it is secured.
    pub tls: Option<Tls>,
}

/// What happened to a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is established, its TLS too, and can send.
    Connected,
    /// These bytes arrived; the slice is valid during the call only, and may be changed in place.
    Received(&'a mut [u8]),
    /// It is gone and its id with it: by the peer's orderly close (`None`) or by an error.
    Closed(Option<io::Error>),
}

/// Why a send was refused.
#[derive(Debug)]
pub enum SendError {
    /// The connection is gone; an [`Event::Closed`] has told.
    Gone,
    /// More than [`QUEUE_BYTES_MAX`] would wait for it.
    Full,
}

/// The event loop.
pub struct Engine {
    completions: Vec<Completion>,
    handled_last: usize,
    /// The connections, and what a scenario may do to them.
    pub io: Io,
}

/// The connections of an engine. Apart from [`Engine`] so that a scenario can send while it reads received bytes.
pub struct Io {
    ring: Ring,
    slots: Vec<Slot>,
    free: Vec<u32>,
    slots_max: u32,
    connections_count: usize,
    /// Readable connections for which no receive buffer was free, the first one first.
    starved: VecDeque<u32>,
    /// Connections that were established as they were opened, over socket files.
    connected_at_once: VecDeque<u32>,
    /// The TLS of each slot whose connection has it; as long as needed, so that others pay nothing.
    sessions: Vec<Option<Box<Session>>>,
    /// What was decrypted last.
    plain: Vec<u8>,
}

impl Engine {
    /// An engine for at most so many connections at once.
    pub fn new(connections_max: u64) -> io::Result<Self> {
        // A slot whose connection closes is free only some turns later: a wave that follows on another needs room.
        let room = (connections_max + connections_max / 8 + 64).min(open_files_max()?).min(CONNECTIONS_MAX);
        let settings = RingSettings {
            submission_entries: 1024,
            completion_entries: 16_384,
            descriptors: room as u32,
            accepts: 0,
            receive_buffers: RECEIVE_BUFFERS,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
        };
        let ring = Ring::new(settings).map_err(io::Error::other)?;
        Ok(Self {
            completions: Vec::with_capacity(BATCH),
            handled_last: 0,
            io: Io {
                ring,
                slots: Vec::new(),
                free: Vec::new(),
                slots_max: room as u32,
                connections_count: 0,
                starved: VecDeque::new(),
                connected_at_once: VecDeque::new(),
                sessions: Vec::new(),
                plain: Vec::new(),
            },
        })
    }

    /// Waits at most `timeout` for something to happen and gives every event to `handle`. Tells how many operations
    /// had ended.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut handle: impl FnMut(&mut Io, ConnectionId, Event<'_>),
    ) -> io::Result<usize> {
        self.io.feed_starved();
        while let Some(index) = self.io.connected_at_once.pop_front() {
            self.io.connected(index, Ok(()), &mut handle);
        }
        self.io.ring.enter(self.handled_last).map_err(io::Error::other)?;
        let mut handled = self.reap(&mut handle);
        if handled == 0 && !timeout.is_zero() {
            self.io.ring.wait(timeout).map_err(io::Error::other)?;
            handled = self.reap(&mut handle);
        }
        self.handled_last = handled.min(BATCH);
        Ok(handled)
    }

    fn reap(&mut self, handle: &mut impl FnMut(&mut Io, ConnectionId, Event<'_>)) -> usize {
        let mut completions = std::mem::take(&mut self.completions);
        self.io.ring.reap(&mut completions, BATCH);
        let count = completions.len();
        for completion in completions.drain(..) {
            self.io.complete(completion, handle);
        }
        self.completions = completions;
        count
    }
}

impl Io {
    /// Starts a connection; [`Event::Connected`] or [`Event::Closed`] follows.
    pub fn open(&mut self, route: &Route) -> io::Result<ConnectionId> {
        let socket = match &route.unix {
            Some(path) => socket::connect_to_file(path)?,
            None => socket::make(route.target, route.source)?,
        };
        let session = route.tls.as_ref().map(Tls::session).transpose()?;
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.slots_max as usize => {
                self.slots.push(Slot::default());
                (self.slots.len() - 1) as u32
            }
            None => return Err(io::Error::from_raw_os_error(libc::EMFILE)),
        };
        if let Err(error) = self.ring.adopt(index, socket.as_fd()) {
            self.free.push(index);
            return Err(error);
        }
        let slot = &mut self.slots[index as usize];
        slot.begin();
        slot.is_connecting = route.unix.is_none();
        let id = ConnectionId { index, generation: slot.generation };
        self.connections_count += 1;
        self.keep_session(index, session);
        if route.unix.is_some() {
            self.connected_at_once.push_back(index);
        } else {
            self.ring.connect(id.in_ring(), route.target);
        }
        Ok(id)
    }

    /// Sends a copy of `bytes`, behind what is already on its way.
    #[inline]
    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<(), SendError> {
        if self.session(id).is_some() {
            return self.send_secured(id, bytes);
        }
        self.send_raw(id, bytes)
    }

    #[inline]
    fn send_raw(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<(), SendError> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.is(id)).ok_or(SendError::Gone)?;
        if slot.phase == Phase::Open && slot.send.is_none() {
            slot.send = Some(self.ring.send(id.index, SendBytes::Owned(bytes.to_vec())));
            return Ok(());
        }
        slot.gather(bytes)
    }

    /// Sends bytes that many connections share, without a copy where nothing is on its way.
    #[inline]
    pub fn send_shared(&mut self, id: ConnectionId, bytes: &Rc<[u8]>) -> Result<(), SendError> {
        if self.session(id).is_some() {
            return self.send_secured(id, bytes);
        }
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.is(id)).ok_or(SendError::Gone)?;
        if slot.phase == Phase::Open && slot.send.is_none() {
            slot.send = Some(self.ring.send(id.index, SendBytes::Shared(Rc::clone(bytes))));
            return Ok(());
        }
        slot.gather(bytes)
    }

    /// Whether one more connection can be opened now. The place of one that was closed is free some turns later.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < self.slots_max as usize
    }

    /// Closes a connection without further events.
    pub fn close(&mut self, id: ConnectionId) {
        let Some(slot) = self.slots.get_mut(id.index as usize).filter(|slot| slot.is(id)) else { return };
        if slot.phase == Phase::Connecting {
            self.ring.cancel_connect(id.in_ring());
        }
        if slot.is_polled {
            self.ring.poll_remove(id.in_ring());
        }
        if let Some(send) = slot.send {
            self.ring.cancel_send(send, id.index);
        }
        self.ring.close(id.index);
        slot.end();
        self.connections_count -= 1;
    }

    /// Closes every connection without further events.
    pub fn close_all(&mut self) {
        for index in 0..self.slots.len() as u32 {
            let generation = self.slots[index as usize].generation;
            self.close(ConnectionId { index, generation });
        }
    }

    /// How many connections are open or on their way.
    pub fn connections_count(&self) -> usize {
        self.connections_count
    }

    /// Whether everything sent to this connection has been taken by its socket.
    #[cfg(test)]
    pub fn is_flushed(&self, id: ConnectionId) -> bool {
        let slot = &self.slots[id.index as usize];
        slot.is(id) && slot.phase == Phase::Open && slot.send.is_none()
    }

    fn complete(
        &mut self,
        completion: Completion,
        handle: &mut impl FnMut(&mut Self, ConnectionId, Event<'_>),
    ) {
        match completion {
            Completion::Received { connection, result, more } => {
                self.received(connection.index, result, more, handle);
            }
            Completion::Readable { connection, armed, failed, .. } => {
                self.readable(connection.index, armed, failed, handle);
            }
            Completion::Sent { index, result, .. } => self.sent(index, result),
            Completion::Connected { connection, result } => self.connected(connection.index, result, handle),
            Completion::Closed { index } => {
                self.slots[index as usize].is_closing = false;
                self.free_if_gone(index);
            }
            Completion::Accepted { .. } | Completion::Shut { .. } | Completion::Exported { .. } => {
                unreachable!("a client accepts nobody, closes without ceremony and keeps its connections")
            }
        }
    }

    fn connected(
        &mut self,
        index: u32,
        result: Result<(), Errno>,
        handle: &mut impl FnMut(&mut Self, ConnectionId, Event<'_>),
    ) {
        let slot = &mut self.slots[index as usize];
        slot.is_connecting = false;
        let id = ConnectionId { index, generation: slot.generation };
        match (slot.phase, result) {
            (Phase::Connecting, Ok(())) => {
                slot.phase = Phase::Open;
                slot.is_polled = true;
                self.ring.poll(id.in_ring());
                self.send_gathered(index);
                if self.session(id).is_none() {
                    return handle(self, id, Event::Connected);
                }
                // The scenario hears of it when the handshake is done. A connection that is gone tells so itself.
                drop(self.flush_session(id));
            }
            (Phase::Connecting, Err(errno)) => self.end(id, Some(os_error(errno)), handle),
            (Phase::Open, _) => unreachable!("a connection is established once"),
            (Phase::Ended, _) => self.free_if_gone(index),
        }
    }

    fn readable(
        &mut self,
        index: u32,
        armed: bool,
        failed: Option<Errno>,
        handle: &mut impl FnMut(&mut Self, ConnectionId, Event<'_>),
    ) {
        let slot = &mut self.slots[index as usize];
        slot.is_polled = armed;
        let id = ConnectionId { index, generation: slot.generation };
        match (slot.phase, failed) {
            (Phase::Ended, _) => self.free_if_gone(index),
            (_, Some(errno)) => self.end(id, Some(os_error(errno)), handle),
            (_, None) => {
                if !armed {
                    slot.is_polled = true;
                    self.ring.poll(id.in_ring());
                }
                self.receive(index);
            }
        }
    }

    /// Starts a receive. News that come while one is under way are looked for when it has ended.
    fn receive(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.is_receiving {
            slot.has_news = true;
            return;
        }
        let id = ConnectionId { index, generation: slot.generation };
        slot.is_receiving = self.ring.receive(id.in_ring());
        if !slot.is_receiving {
            self.starved.push_back(index);
        }
    }

    /// Starts the receives that waited for buffers, as many as there are buffers: after a message to all, all wait.
    fn feed_starved(&mut self) {
        for _ in 0..self.starved.len() {
            let Some(index) = self.starved.pop_front() else { break };
            let slot = &self.slots[index as usize];
            if slot.phase == Phase::Open && !slot.is_receiving {
                self.receive(index);
                if !self.slots[index as usize].is_receiving {
                    break;
                }
            }
        }
    }

    fn received(
        &mut self,
        index: u32,
        result: Result<Option<Lease>, Errno>,
        more: bool,
        handle: &mut impl FnMut(&mut Self, ConnectionId, Event<'_>),
    ) {
        let slot = &mut self.slots[index as usize];
        slot.is_receiving = false;
        let had_news = std::mem::take(&mut slot.has_news);
        let id = ConnectionId { index, generation: slot.generation };
        let is_ended = slot.phase == Phase::Ended;
        match result {
            Ok(Some(mut lease)) => {
                if !is_ended && self.session(id).is_some() {
                    self.received_secured(id, &lease, handle);
                } else if !is_ended {
                    handle(self, id, Event::Received(&mut lease));
                }
                let is_full = lease.len() == RECEIVE_BUFFER_BYTES as usize;
                self.ring.give_back(lease);
                if (more || had_news || is_full) && self.slots[index as usize].is(id) {
                    self.receive(index);
                }
            }
            Ok(None) if !is_ended => self.end(id, None, handle),
            Err(errno) if !is_ended && errno.0 == libc::EAGAIN => {
                if had_news {
                    self.receive(index);
                }
            }
            Err(errno) if !is_ended && errno.0 == libc::ENOBUFS => self.starved.push_back(index),
            Err(errno) if !is_ended => self.end(id, Some(os_error(errno)), handle),
            Ok(None) | Err(_) => {}
        }
        self.free_if_gone(index);
    }

    /// A send has ended: what has gathered meanwhile leaves. An error is left for the receive that follows it.
    fn sent(&mut self, index: u32, result: Result<u32, Errno>) {
        let slot = &mut self.slots[index as usize];
        slot.send = None;
        if slot.phase == Phase::Open && result.is_ok() {
            self.send_gathered(index);
        } else {
            self.free_if_gone(index);
        }
    }

    fn send_gathered(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if let Some(gathered) = slot.gathered.take() {
            slot.send = Some(self.ring.send(index, SendBytes::Owned(*gathered)));
        }
    }

    fn end(
        &mut self,
        id: ConnectionId,
        error: Option<io::Error>,
        handle: &mut impl FnMut(&mut Self, ConnectionId, Event<'_>),
    ) {
        self.close(id);
        handle(self, id, Event::Closed(error));
    }

    fn free_if_gone(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.phase == Phase::Ended && !slot.is_free && !slot.is_busy() {
            slot.is_free = true;
            self.free.push(index);
        }
    }
}

fn os_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

/// Descriptors one ring or process may hold, with the soft limit raised to the hard one: never more than the kernel
/// gives a ring.
pub fn open_files_max() -> io::Result<u64> {
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    let limit = limit.min(roadstead::limits::RING_DESCRIPTORS_MAX.into());
    Ok(limit.saturating_sub(DESCRIPTORS_RESERVED).max(1))
}

impl ConnectionId {
    fn in_ring(self) -> RingId {
        RingId { index: self.index, generation: self.generation }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the connection is gone"),
            Self::Full => write!(f, "more than {QUEUE_BYTES_MAX} bytes wait for the connection"),
        }
    }
}

impl std::error::Error for SendError {}
