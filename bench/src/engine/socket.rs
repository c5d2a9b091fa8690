//! Client sockets before they belong to a ring.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    path::Path,
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How long a server may leave connections to its socket file waiting.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// A socket that can connect to `target`, from `source` if given.
pub fn make(target: SocketAddr, source: Option<IpAddr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        choose_port_when_connecting(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// A socket that is connected to the server behind a socket file. It waits for a place in the server's queue.
pub fn connect_to_file(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(QUEUE_TIMEOUT))?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A bind without a port would reserve one for this source alone; with this option (Linux 4.2) the port is chosen at
/// connect, where it only has to be unique among the connections to the same target.
fn choose_port_when_connecting(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and size describe `on`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
