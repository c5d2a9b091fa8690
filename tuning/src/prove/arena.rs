//! Where rounds run: a thread in a network namespace of its own with loopback up, and sockets inside it.

use std::{
    fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd},
    sync::mpsc,
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::Trouble;
use crate::sys::{self, Resource, net};

/// Descriptors left to the rest of this process.
const DESCRIPTORS_SPARED: u64 = 512;

/// Runs `round` in a thread of its own inside a new network namespace, and gives up on it after `limit`.
pub fn in_namespace<T: Send + 'static>(
    limit: Duration,
    round: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Trouble> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let result = enter().map_err(|error| Trouble::Refused("a network namespace takes root", error));
        let result =
            result.and_then(|()| round().map_err(|error| Trouble::Refused("the round failed", error)));
        // Nobody listens any more if the time was up.
        sender.send(result).ok();
    });
    receiver.recv_timeout(limit).map_err(|_| Trouble::TimeUp)?
}

fn enter() -> io::Result<()> {
    sys::unshare_network()?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    net::raise_loopback(socket.as_fd())
}

/// Sets a sysctl of the namespace; `net/core/somaxconn` names it.
pub fn set(name: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/{name}");
    fs::write(&path, value).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

/// As many connections as `wanted`, if both of their ends fit below the limit on open files.
pub fn pairs_that_fit(wanted: usize) -> io::Result<usize> {
    Ok(wanted.min(descriptors()? / 2))
}

/// Descriptors that a round may use.
pub fn descriptors() -> io::Result<usize> {
    let mut limit = sys::limit(0, Resource::OpenFiles, None)?;
    if limit.soft < limit.hard {
        limit.soft = limit.hard;
        sys::limit(0, Resource::OpenFiles, Some(limit))?;
    }
    Ok(usize::try_from(limit.soft.saturating_sub(DESCRIPTORS_SPARED)).unwrap_or(usize::MAX))
}

/// A listener on loopback, at a port that the kernel chooses.
pub fn listener(backlog: i32) -> io::Result<(Socket, SocketAddr)> {
    let socket = tcp()?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(backlog)?;
    let address = address_of(&socket)?;
    Ok((socket, address))
}

/// Several listeners on one port.
pub fn listeners(count: usize, backlog: i32) -> io::Result<(Vec<Socket>, SocketAddr)> {
    let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = tcp()?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        address = address_of(&socket)?;
        sockets.push(socket);
    }
    Ok((sockets, address))
}

/// A connected pair: the client's end, then the server's.
pub fn pair(listener: &Socket, address: SocketAddr) -> io::Result<(Socket, Socket)> {
    let client = tcp()?;
    client.connect(&address.into())?;
    let (server, _) = listener.accept()?;
    Ok((client, server))
}

/// Connected pairs.
pub fn pairs(count: usize) -> io::Result<Vec<(Socket, Socket)>> {
    let (listener, address) = listener(128)?;
    (0..count).map(|_| pair(&listener, address)).collect()
}

/// How many connections wait at a listener; they are accepted to be counted, and closed.
pub fn queued(listener: &Socket) -> io::Result<usize> {
    listener.set_nonblocking(true)?;
    let mut accepted = Vec::new();
    while let Ok((socket, _)) = listener.accept() {
        accepted.push(socket);
    }
    Ok(accepted.len())
}

/// Writes the message again and again until a socket that does not block takes no more; how many bytes it took.
pub fn write_all_that_fits(socket: &mut Socket, message: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    loop {
        match socket.write(message) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(taken),
            Err(error) => return Err(error),
        }
    }
}

/// A TCP socket.
pub fn tcp() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
}

/// Borrowed descriptors of many sockets.
pub fn borrowed<'a>(sockets: impl Iterator<Item = &'a Socket>) -> Vec<BorrowedFd<'a>> {
    sockets.map(AsFd::as_fd).collect()
}

fn address_of(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket_ipv4();
    let address = address.unwrap_or(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    Ok(SocketAddr::V4(address))
}
