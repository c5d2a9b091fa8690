//! The floor: what the kernel allows a single thread with no protocol at all. Servers are measured against it.
//!
//! Both programs are written as one would in C: level-triggered epoll, `recv`, `send`, a connection is its
//! descriptor. They refuse nothing and time nothing out; they end with the process that started them or after
//! `--seconds`.

pub mod echo;
mod epoll;
pub mod fanout;

use std::{
    io::{self, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use socket2::Socket;

use self::epoll::Poller;

/// Events per `epoll_wait`.
const BATCH: usize = 512;
/// The token of the listener; connections use their descriptor's number.
const LISTENER: u64 = u64::MAX;

/// Connections by descriptor number.
type Connections = Vec<Option<OwnedFd>>;

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
