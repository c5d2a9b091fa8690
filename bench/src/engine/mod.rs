//! The client's event loop: many connections, one thread, received bytes handed over in a shared buffer.
//!
//! The interface speaks of completions (*connected*, *received these bytes*, *closed*), not of readiness, so that a
//! ring can take the place of epoll without a change above. It knows no protocol; that is [`crate::protocol`].
//!
//! Invariant: an id names one connection for ever. Its generation tells a reused slot from the connection that had
//! it before, so an event that was already on its way when a connection closed is never given to its successor.
//!
//! ```text
//!   turn ─► epoll_wait ─► recv into the shared buffer ─► Event ─► the scenario ─► Io::send ─► send()
//!                                                                                   │
//!                                                     what the socket did not take ─┴─► queue, sent when writable
//! ```

pub mod syscall;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

/// Events taken from the kernel at once.
const BATCH: usize = 512;
/// The buffer every connection receives into.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Bytes that may wait for one connection to become writable; beyond it a send is refused.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Names one connection of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId {
    /// The slot, dense from 0: scenarios index their own tables with it.
    pub index: u32,
    generation: u32,
}

/// From where to where a connection goes.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The server.
    pub target: SocketAddr,
    /// The local address to connect from, if it matters.
    pub source: Option<IpAddr>,
}

/// What happened to a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is established and can send.
    Connected,
    /// These bytes arrived; the slice is valid during the call only.
    Received(&'a [u8]),
    /// It is gone and its id with it: by the peer's orderly close (`None`) or by an error.
    Closed(Option<io::Error>),
}

/// Why a send was refused.
#[derive(Debug)]
pub enum SendError {
    /// The connection is gone, or broke now; an [`Event::Closed`] tells or has told.
    Gone,
    /// More than [`QUEUE_BYTES_MAX`] would wait for it.
    Full,
}

/// The event loop.
pub struct Engine {
    poller: syscall::Poller,
    buffer: Box<[u8]>,
    /// The connections, and what a scenario may do to them.
    pub io: Io,
}

/// The connections of an engine. Apart from [`Engine`] so that a scenario can send while it reads received bytes.
pub struct Io {
    slots: Vec<Slot>,
    free: Vec<u32>,
    opened: Vec<u32>,
    connections_count: usize,
}

#[derive(Default)]
struct Slot {
    socket: Option<OwnedFd>,
    generation: u32,
    connecting: bool,
    #[expect(
        clippy::box_collection,
        reason = "an idle connection pays one pointer, not a vector's three words"
    )]
    unsent: Option<Box<Vec<u8>>>,
}

const _: () = assert!(size_of::<Slot>() <= 24);

impl Engine {
    /// An engine without connections.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poller: syscall::Poller::new(BATCH)?,
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            io: Io { slots: Vec::new(), free: Vec::new(), opened: Vec::new(), connections_count: 0 },
        })
    }

    /// Waits at most `timeout` for something to happen and gives every event to `handle`. Tells how many sockets had
    /// news.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut handle: impl FnMut(&mut Io, ConnectionId, Event<'_>),
    ) -> io::Result<usize> {
        self.watch_opened(&mut handle);
        let count = self.poller.wait(Some(timeout))?;
        for index in 0..count {
            let (token, ready) = self.poller.event(index);
            let id = ConnectionId::from_token(token);
            if self.io.slot(id).is_some() {
                attend(&mut self.io, &mut self.buffer, id, ready, &mut handle);
            }
        }
        self.watch_opened(&mut handle);
        Ok(count)
    }

    /// Edge-triggered and for everything at once: one `epoll_ctl` in a connection's life.
    fn watch_opened(&mut self, handle: &mut impl FnMut(&mut Io, ConnectionId, Event<'_>)) {
        while let Some(index) = self.io.opened.pop() {
            let slot = &self.io.slots[index as usize];
            let Some(socket) = &slot.socket else { continue };
            let id = ConnectionId { index, generation: slot.generation };
            let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
            if let Err(error) = self.poller.watch(socket.as_fd(), interest, id.to_token()) {
                self.io.end(id, Some(error), handle);
            }
        }
    }
}

impl Io {
    /// Starts a connection; [`Event::Connected`] or [`Event::Closed`] follows.
    pub fn open(&mut self, route: &Route) -> io::Result<ConnectionId> {
        let socket = syscall::connect(route.target, route.source)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        *slot = Slot { socket: Some(socket), connecting: true, unsent: None, generation: slot.generation };
        self.opened.push(index);
        self.connections_count += 1;
        Ok(ConnectionId { index, generation: slot.generation })
    }

    /// Sends now what the socket takes and queues the rest.
    #[inline]
    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<(), SendError> {
        let slot = self.slot_mut(id).ok_or(SendError::Gone)?;
        let Some(socket) = &slot.socket else { return Err(SendError::Gone) };
        let sent = match &slot.unsent {
            Some(_) => 0,
            None if slot.connecting => 0,
            None => match syscall::send(socket.as_raw_fd(), bytes) {
                Ok(count) if count == bytes.len() => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => return Err(SendError::Gone),
            },
        };
        let unsent = slot.unsent.get_or_insert_default();
        if unsent.len() + bytes.len() - sent > QUEUE_BYTES_MAX {
            return Err(SendError::Full);
        }
        unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Closes a connection without further events.
    pub fn close(&mut self, id: ConnectionId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.socket = None;
            slot.unsent = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(id.index);
            self.connections_count -= 1;
        }
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
        self.slot(id).is_some_and(|slot| slot.unsent.is_none() && !slot.connecting)
    }

    fn slot(&self, id: ConnectionId) -> Option<&Slot> {
        self.slots
            .get(id.index as usize)
            .filter(|slot| slot.generation == id.generation && slot.socket.is_some())
    }

    fn slot_mut(&mut self, id: ConnectionId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.index as usize)
            .filter(|slot| slot.generation == id.generation && slot.socket.is_some())
    }

    /// Sends what was queued; an error is left for the receive that follows it.
    fn flush(&mut self, id: ConnectionId) {
        let Some(slot) = self.slot_mut(id) else { return };
        let (Some(socket), Some(unsent)) = (&slot.socket, &mut slot.unsent) else { return };
        if let Ok(count) = syscall::send(socket.as_raw_fd(), unsent) {
            unsent.drain(..count);
        }
        if unsent.is_empty() {
            slot.unsent = None;
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
}

/// Carries one readiness report through to the scenario.
fn attend(
    io: &mut Io,
    buffer: &mut [u8],
    id: ConnectionId,
    ready: i32,
    handle: &mut impl FnMut(&mut Io, ConnectionId, Event<'_>),
) {
    let Some(slot) = io.slot_mut(id) else { return };
    if slot.connecting {
        let failed = ready & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
        if failed {
            let error = slot.socket.as_ref().and_then(|socket| syscall::pending_error(socket.as_fd()));
            return io.end(id, error, handle);
        }
        if ready & libc::EPOLLOUT == 0 {
            return;
        }
        slot.connecting = false;
        handle(io, id, Event::Connected);
    }
    if ready & libc::EPOLLOUT != 0 {
        io.flush(id);
    }
    if ready & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0 {
        let ending = ready & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0;
        drain(io, buffer, id, ending, handle);
    }
}

/// Receives until the socket is dry. A short read of a stream socket means dry (epoll(7)), unless its end has already
/// been reported: that edge does not come twice.
fn drain(
    io: &mut Io,
    buffer: &mut [u8],
    id: ConnectionId,
    ending: bool,
    handle: &mut impl FnMut(&mut Io, ConnectionId, Event<'_>),
) {
    while let Some(socket) = io.slot(id).and_then(|slot| slot.socket.as_ref()) {
        match syscall::receive(socket.as_raw_fd(), buffer) {
            Ok(0) => return io.end(id, None, handle),
            Ok(count) => {
                handle(io, id, Event::Received(&buffer[..count]));
                if count < buffer.len() && !ending {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => return io.end(id, Some(error), handle),
        }
    }
}

impl ConnectionId {
    fn to_token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn from_token(token: u64) -> Self {
        Self { index: token as u32, generation: (token >> 32) as u32 }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
        time::Instant,
    };

    /// Turns until `done` has what it waits for; fails after ten seconds.
    fn turn_until<T>(
        engine: &mut Engine,
        mut done: impl FnMut(&mut Io, Option<(ConnectionId, Event<'_>)>) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut found = None;
        while found.is_none() {
            assert!(Instant::now() < deadline, "what was waited for has not happened");
            let timeout = Duration::from_millis(10);
            engine
                .turn(timeout, |io, id, event| {
                    let seen = done(io, Some((id, event)));
                    found = found.take().or(seen);
                })
                .unwrap();
            found = found.or_else(|| done(&mut engine.io, None));
        }
        found.unwrap()
    }

    fn pair(engine: &mut Engine) -> (ConnectionId, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let route = Route { target: listener.local_addr().unwrap(), source: None };
        let id = engine.io.open(&route).unwrap();
        let (peer, _) = listener.accept().unwrap();
        turn_until(engine, |_, news| matches!(news, Some((_, Event::Connected))).then_some(()));
        (id, peer)
    }

    #[test]
    fn bytes_and_the_peers_close_in_one_batch_are_both_seen() {
        let mut engine = Engine::new().unwrap();
        let (_, mut peer) = pair(&mut engine);
        peer.write_all(b"last words").unwrap();
        drop(peer);
        let mut received = Vec::new();
        let error = turn_until(&mut engine, |_, news| match news {
            Some((_, Event::Received(bytes))) => {
                received.extend_from_slice(bytes);
                None
            }
            Some((_, Event::Closed(error))) => Some(error.map(|error| error.kind())),
            _ => None,
        });
        assert_eq!((received.as_slice(), error), (&b"last words"[..], None));
        assert_eq!(engine.io.connections_count(), 0);
    }

    #[test]
    fn what_the_socket_does_not_take_is_sent_when_it_can() {
        let mut engine = Engine::new().unwrap();
        let (id, mut peer) = pair(&mut engine);
        let bytes: Vec<u8> = (0..32 * 1024 * 1024u32).map(|n| n as u8).collect();
        engine.io.send(id, &bytes).unwrap();
        assert!(!engine.io.is_flushed(id));
        let expected = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut received = vec![0; expected.len()];
            peer.read_exact(&mut received).unwrap();
            received == expected
        });
        turn_until(&mut engine, |io, _| io.is_flushed(id).then_some(()));
        assert!(reader.join().unwrap());
    }

    #[test]
    fn a_refused_connect_is_an_event_with_its_error() {
        let mut engine = Engine::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        engine.io.open(&Route { target, source: None }).unwrap();
        let error = turn_until(&mut engine, |_, news| match news {
            Some((_, Event::Closed(error))) => error,
            _ => None,
        });
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn the_id_of_a_closed_connection_does_not_reach_its_successor() {
        let mut engine = Engine::new().unwrap();
        let (old, _peer) = pair(&mut engine);
        engine.io.close(old);
        let (new, _peer) = pair(&mut engine);
        assert_eq!(old.index, new.index);
        assert!(matches!(engine.io.send(old, b"x"), Err(SendError::Gone)));
        engine.io.send(new, b"x").unwrap();
    }
}
