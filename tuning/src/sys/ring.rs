//! As much io_uring as the probe and the arming experiment need; the server's engine is not this.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use io_uring::{IoUring, opcode, squeue, types};

use crate::host::RingProbe;

/// How an idle socket waits for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arming {
    /// A multishot poll: the kernel keeps a request and nothing else.
    Poll,
    /// A receive that waits for data with its buffer.
    Receive,
    /// A multishot receive that will pick a buffer of a group when data arrives (Linux 6.0).
    MultishotReceive,
}

/// Asks the kernel for a small ring and closes it again.
pub fn probe() -> RingProbe {
    match IoUring::new(2) {
        Ok(_) => RingProbe::Works,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => RingProbe::Absent,
        Err(_) => RingProbe::Denied,
    }
}

/// A ring whose requests ask for nothing.
pub struct NopRing {
    ring: IoUring,
    batch: usize,
}

impl NopRing {
    /// A ring that takes so many requests at once.
    pub fn new(batch: usize) -> io::Result<Self> {
        let entries = u32::try_from(batch).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Self { ring: IoUring::new(entries)?, batch })
    }

    /// Hands over a batch and takes its completions, in one entry into the kernel.
    pub fn turn(&mut self) -> io::Result<()> {
        let entry = opcode::Nop::new().build();
        for _ in 0..self.batch {
            // SAFETY: the request names no memory and no descriptor.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            debug_assert!(pushed.is_ok(), "a turn takes all that the one before left");
        }
        self.ring.submit_and_wait(self.batch)?;
        self.ring.completion().for_each(drop);
        Ok(())
    }
}

/// A ring on which sockets wait, each with one request.
pub struct ArmedRing {
    ring: IoUring,
    /// One buffer for single receives and a group of one for multishot receives; declared after `ring`, so dropped
    /// after it.
    buffer: Box<[u8; 64]>,
}

impl ArmedRing {
    /// Arms every socket; all of them must stay open for as long as the ring lives.
    pub fn arm(sockets: &[BorrowedFd<'_>], arming: Arming) -> io::Result<Self> {
        let ring = IoUring::builder().setup_cqsize(4096).build(1024)?;
        let mut armed = Self { ring, buffer: Box::new([0; 64]) };
        armed.provide_buffer()?;
        for socket in sockets {
            let entry = armed.entry(types::Fd(socket.as_raw_fd()), arming);
            // SAFETY: a poll has no buffer; a receive's buffer lives as long as the ring (`buffer` is dropped after
            // `ring`, fields drop in order), and a group's buffer is chosen only when data arrives, which none does.
            while unsafe { armed.ring.submission().push(&entry) }.is_err() {
                armed.ring.submit()?;
            }
        }
        armed.ring.submit()?;
        Ok(armed)
    }

    /// Completions that have come although nothing was sent: requests that were refused.
    pub fn refused(&mut self) -> usize {
        self.ring.completion().filter(|completion| completion.result() < 0).count()
    }

    /// A multishot receive is refused at once if its group is empty, so the group gets its one buffer first.
    fn provide_buffer(&mut self) -> io::Result<()> {
        let entry = opcode::ProvideBuffers::new(self.buffer.as_mut_ptr(), 64, 1, 0, 0).build();
        // SAFETY: the buffer lives as long as the ring, see `buffer`.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        debug_assert!(pushed.is_ok(), "the queue was empty");
        self.ring.submit_and_wait(1)?;
        match self.ring.completion().next().map(|completion| completion.result()) {
            Some(result) if result < 0 => Err(io::Error::from_raw_os_error(-result)),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, fd: types::Fd, arming: Arming) -> squeue::Entry {
        let readable = libc::POLLIN.cast_unsigned().into();
        match arming {
            Arming::Poll => opcode::PollAdd::new(fd, readable).multi(true).build(),
            Arming::Receive => opcode::Recv::new(fd, self.buffer.as_mut_ptr(), 64).build(),
            Arming::MultishotReceive => opcode::RecvMulti::new(fd, 0).build(),
        }
    }
}
