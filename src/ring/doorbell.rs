//! A way to wake a sleeping shard from anywhere: an eventfd that both its ring and other threads can ring.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::Arc,
};

use glommio::io::BufferedFile;

/// An eventfd(2) that a shard sleeps on. Clones ring the same bell.
#[derive(Clone, Debug)]
pub struct Doorbell {
    descriptor: Arc<OwnedFd>,
}

/// The sleeping side, on the shard's executor.
pub(crate) struct Sleeper {
    file: BufferedFile,
}

impl Doorbell {
    /// Makes a bell.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; the descriptor it returns is ours alone.
        let descriptor = unsafe {
            let raw = libc::eventfd(0, libc::EFD_CLOEXEC);
            if raw < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(raw)
        };
        Ok(Self { descriptor: Arc::new(descriptor) })
    }

    /// Wakes the shard, now or at its next attempt to sleep.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes are read from a live array. The only failure, a counter at its maximum, means the
        // bell has been rung already.
        unsafe {
            libc::write(self.descriptor.as_raw_fd(), one.as_ptr().cast(), one.len());
        }
    }

    /// Makes the sleeping side; must be called on a glommio executor.
    pub(crate) fn sleeper(&self) -> io::Result<Sleeper> {
        let own = self.descriptor.try_clone()?;
        // SAFETY: the duplicate is given away; the file closes it.
        let file = unsafe { BufferedFile::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(own)) };
        Ok(Sleeper { file })
    }

    /// Whether the bell was rung since the last call.
    #[cfg(test)]
    pub(super) fn was_rung(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.raw(), events: libc::POLLIN, revents: 0 };
        let mut count = [0u8; 8];
        // SAFETY: one live pollfd is passed, and eight bytes are read into a live array, only when they are there.
        unsafe {
            libc::poll(&mut poll, 1, 0) == 1 && libc::read(self.raw(), count.as_mut_ptr().cast(), 8) == 8
        }
    }

    pub(super) fn raw(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl Sleeper {
    /// Sleeps until the bell has been rung since the last call.
    pub(crate) async fn sleep(&self) -> io::Result<()> {
        self.file.read_at(0, 8).await.map(drop).map_err(|error| io::Error::other(error.to_string()))
    }
}
