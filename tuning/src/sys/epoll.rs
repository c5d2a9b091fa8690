//! A minimal epoll: register descriptors under a number, wait for some to become ready.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An instance that reports up to 512 descriptors at once.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes a flag and returns a descriptor or −1.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        super::outcome(fd)?;
        // SAFETY: the kernel just returned this descriptor to us, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: Vec::with_capacity(512) })
    }

    /// Reports `fd` as `number` each time it becomes readable or writable, until it is closed.
    pub fn add(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        let changes = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET;
        let mut event = libc::epoll_event { events: changes.cast_unsigned(), u64: number };
        let operation = libc::EPOLL_CTL_ADD;
        // SAFETY: both descriptors are open, and `event` outlives the call.
        super::outcome(unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event)
        })
    }

    /// Stops reporting `fd`.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let operation = libc::EPOLL_CTL_DEL;
        // SAFETY: both descriptors are open; the event argument is ignored for a removal since Linux 2.6.9.
        super::outcome(unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd.as_raw_fd(), std::ptr::null_mut())
        })
    }

    /// The numbers of ready descriptors, at most `timeout` later; none on a timeout.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Vec<u64>> {
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let room = i32::try_from(self.events.capacity()).unwrap_or(1);
        // SAFETY: the buffer has room for `room` events and is written by the kernel only during the call.
        let count =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, milliseconds) };
        super::outcome(count)?;
        // SAFETY: the kernel has initialised the first `count` events.
        unsafe { self.events.set_len(count.unsigned_abs() as usize) };
        Ok(self.events.iter().map(|event| event.u64).collect())
    }
}
