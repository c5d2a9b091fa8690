//! The floor: what the kernel allows a thread with no protocol at all. Servers are measured against it.
//!
//! The programs are written as one would in C: level-triggered epoll, `recv`, `send`, a connection is its
//! descriptor. They refuse nothing and time nothing out; they end with the process that started them or after
//! `--seconds`.

pub mod echo;
mod epoll;
pub mod fanout;
pub mod handshakes;
pub mod http;
pub mod relay;

use std::{
    io::{self, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    time::Duration,
};

use socket2::Socket;

use self::epoll::Poller;

/// Events per `epoll_wait`.
const BATCH: usize = 512;
/// The token of the listener; connections use their descriptor's number.
const LISTENER: u64 = u64::MAX;

/// What is received at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// Connections by descriptor number.
type Connections = Vec<Option<OwnedFd>>;

/// A listener and those it has accepted; what becomes of a readable connection is each program's own business.
struct Floor {
    listener: Socket,
    poller: Poller,
    connections: Connections,
    buffer: Vec<u8>,
}

impl Floor {
    /// Listens, and tells where.
    fn new(listen: SocketAddr) -> io::Result<Self> {
        let listener = epoll::listen(listen)?;
        announce(&listener)?;
        let poller = Poller::new(BATCH)?;
        poller.watch(listener.as_fd(), libc::EPOLLIN, LISTENER)?;
        Ok(Self { listener, poller, connections: Connections::new(), buffer: vec![0; BUFFER_BYTES] })
    }

    /// Waits a second at most; gives every readable connection to `attend`, with room to receive into. Tells how many
    /// events there were.
    fn turn(&mut self, mut attend: impl FnMut(RawFd, &mut [u8], &mut Connections)) -> io::Result<usize> {
        let count = self.poller.wait(Some(Duration::from_secs(1)))?;
        for index in 0..count {
            match self.poller.event(index) {
                (LISTENER, _) => accept_all(&self.listener, &self.poller, &mut self.connections)?,
                (number, _) => attend(number as RawFd, &mut self.buffer, &mut self.connections),
            }
        }
        Ok(count)
    }
}

/// Prints where the program listens, for whoever started it with port 0.
fn announce(listener: &Socket) -> io::Result<()> {
    let address = listener.local_addr()?.as_socket();
    let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    println!("listening on {address}");
    io::stdout().flush()
}

fn accept_all(listener: &Socket, poller: &Poller, connections: &mut Connections) -> io::Result<()> {
    while let Some(socket) = epoll::accept(listener)? {
        let number = socket.as_raw_fd() as usize;
        poller.watch(socket.as_fd(), libc::EPOLLIN, number as u64)?;
        if connections.len() <= number {
            connections.resize_with(number + 1, || None);
        }
        connections[number] = Some(socket);
    }
    Ok(())
}
