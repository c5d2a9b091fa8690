//! The system calls the floor programs make, each behind a safe function.
//!
//! It is not an abstraction: one function is one call, so that the floor programs stay as bare as they claim. The load
//! generator itself runs on the project's ring.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use core_affinity::CoreId;
use socket2::{Domain, Protocol, Socket, Type};

/// The backlog asked of the kernel, which cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// The CPU time this thread has used, user and system.
pub fn thread_cpu() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours and outlives the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) })?;
    Ok(Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32))
}

/// An epoll instance and room for one batch of its events.
pub struct Poller {
    descriptor: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    /// Makes an instance that hands out at most `batch` events at once.
    pub fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just given us this descriptor and nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { descriptor, events: vec![libc::epoll_event { events: 0, u64: 0 }; batch] })
    }

    /// Watches `socket` for `interest` (`EPOLLIN | …`); its events carry `token`.
    pub fn watch(&self, socket: BorrowedFd<'_>, interest: i32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.cast_unsigned(), u64: token };
        // SAFETY: both descriptors are open, and `event` outlives the call.
        check(unsafe {
            libc::epoll_ctl(
                self.descriptor.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &raw mut event,
            )
        })
        .map(drop)
    }

    /// Waits for events, no longer than `timeout` (for ever without one); tells how many [`Self::event`] can give.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        // Rounded down: whoever waits for less than a millisecond is about to send on a schedule and must not be late.
        let timeout_ms = timeout.map_or(-1, |timeout| timeout.as_millis().min(60_000) as i32);
        let room = self.events.len() as i32;
        // SAFETY: the pointer and length describe our own vector, which is initialised throughout.
        let count = check(unsafe {
            libc::epoll_wait(self.descriptor.as_raw_fd(), self.events.as_mut_ptr(), room, timeout_ms)
        });
        match count {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other.map(|count| count as usize),
        }
    }

    /// Token and event bits of the `index`th event of the last wait.
    pub fn event(&self, index: usize) -> (u64, i32) {
        let event = self.events[index];
        (event.u64, event.events.cast_signed())
    }
}

/// A listening TCP socket, non-blocking, whose accepted sockets inherit `TCP_NODELAY`.
pub fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Accepts one connection, non-blocking; `None` when nobody waits.
pub fn accept(listener: &Socket) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the descriptor is open, and the call is told that we want no peer address.
    let accepted = check(unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    });
    match accepted {
        // SAFETY: the kernel has just given us this descriptor and nobody else owns it.
        Ok(descriptor) => Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) })),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// `recv(2)` into `buffer`.
#[inline]
pub fn receive(socket: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length describe `buffer`, which is borrowed for the call.
    let count = unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// `send(2)` of `bytes`, without `SIGPIPE`.
#[inline]
pub fn send(socket: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length describe `bytes`, which is borrowed for the call.
    let count = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// An eventfd(2), by which one thread wakes another.
pub struct Bell {
    descriptor: OwnedFd,
}

impl Bell {
    /// Makes one that nobody has rung.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let descriptor = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the kernel has just given us this descriptor and nobody else owns it.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// The same bell for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { descriptor: self.descriptor.try_clone()? })
    }

    /// Wakes whoever watches it.
    pub fn ring(&self) -> io::Result<()> {
        let one = 1u64.to_ne_bytes();
        // SAFETY: pointer and length describe `one`, which outlives the call.
        let count = unsafe { libc::write(self.descriptor.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        if count < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes note of all that has been rung.
    pub fn silence(&self) -> io::Result<()> {
        let mut rung = [0; 8];
        // SAFETY: pointer and length describe `rung`, which outlives the call.
        let count = unsafe { libc::read(self.descriptor.as_raw_fd(), rung.as_mut_ptr().cast(), rung.len()) };
        match (count, io::Error::last_os_error()) {
            (0.., _) => Ok(()),
            (_, error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            (_, error) => Err(error),
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The cores that this thread may use. A thread it starts later may use those it has been kept on, and no others.
pub fn cores() -> Vec<CoreId> {
    core_affinity::get_core_ids().unwrap_or_default()
}

/// Keeps the calling thread on a core.
pub fn pin(core: CoreId) -> io::Result<()> {
    match core_affinity::set_for_current(core) {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
