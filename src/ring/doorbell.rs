//! A way to wake a sleeping shard from another thread, and a way to wake it from its own executor.
//!
//! ```text
//!                               ┌─ poll ─► the shard's ring ─► the shard, asleep in it
//!   another thread ─► Doorbell ─┤              │
//!                               └─ read ─► Sleeper ─────────► the shard, asleep on its executor
//! ```
//!
//! A ring that rings its own eventfd(2) because an eventfd that it polls has been rung is one inside the other: the
//! kernel puts the second off, and 6.18 loses all but the first that were put off. So a bell has two, and rings the one
//! that its shard waits for.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering, fence},
    },
};

use glommio::io::BufferedFile;

/// A bell that a shard hears while it sleeps. Clones ring the same bell.
///
/// Whoever leaves something for the shard rings after it has left it; the shard falls asleep only after it has looked once
/// more ([`Self::fall_asleep`]). So one of the two sees the other, and a shard that is awake costs its visitors no system
/// call.
#[derive(Clone, Debug)]
pub struct Doorbell {
    shared: Arc<Shared>,
}

/// Where a shard sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sleep {
    /// In its ring, which polls the bell.
    InRing = 1,
    /// On its executor, where a `Sleeper` hears both the bell and the ring.
    OnExecutor = 2,
}

#[derive(Debug)]
struct Shared {
    for_ring: OwnedFd,
    for_executor: OwnedFd,
    /// A [`Sleep`], or [`AWAKE`].
    sleep: AtomicU8,
}

const AWAKE: u8 = 0;

/// What is rung while its thread sleeps on its executor instead of in the ring.
pub(crate) struct Sleeper {
    file: BufferedFile,
}

impl Doorbell {
    /// Makes a bell.
    pub fn new() -> io::Result<Self> {
        let shared = Shared { for_ring: eventfd()?, for_executor: eventfd()?, sleep: AtomicU8::new(AWAKE) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Wakes the shard if it sleeps.
    pub fn ring(&self) {
        // Orders what has been left for the shard before the look at its sleep.
        fence(Ordering::SeqCst);
        if self.shared.sleep.load(Ordering::Relaxed) == AWAKE {
            return;
        }
        match self.shared.sleep.swap(AWAKE, Ordering::Relaxed) {
            AWAKE => {}
            sleep if sleep == Sleep::InRing as u8 => add_one(&self.shared.for_ring),
            _ => add_one(&self.shared.for_executor),
        }
    }

    /// Lets the bell be heard there and looks once more; tells whether the look has found something to do.
    ///
    /// Whoever left something while the shard was awake has not rung, and the shard may have looked before that: only this
    /// look finds it. Whoever leaves something behind this look finds the shard asleep, and rings.
    pub fn fall_asleep(&self, sleep: Sleep, look: impl FnOnce() -> bool) -> bool {
        self.begin_sleep(sleep);
        look()
    }

    /// From now on the bell can be heard there.
    pub(super) fn begin_sleep(&self, sleep: Sleep) {
        self.shared.sleep.store(sleep as u8, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// From now on the shard looks by itself.
    pub fn end_sleep(&self) {
        self.shared.sleep.store(AWAKE, Ordering::Relaxed);
    }

    /// Makes the sleeping side on a glommio executor.
    pub(super) fn sleeper(&self) -> io::Result<Sleeper> {
        let own = self.shared.for_executor.try_clone()?;
        // SAFETY: the duplicate is given away; the file closes it.
        let file = unsafe { BufferedFile::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(own)) };
        Ok(Sleeper { file })
    }

    /// What a ring polls.
    pub(super) fn for_ring(&self) -> RawFd {
        self.shared.for_ring.as_raw_fd()
    }

    /// What a ring rings.
    pub(super) fn for_executor(&self) -> RawFd {
        self.shared.for_executor.as_raw_fd()
    }
}

impl Sleeper {
    /// Sleeps until the bell or the ring has rung since the last call.
    pub(crate) async fn sleep(&self) -> io::Result<()> {
        self.file.read_at(0, 8).await.map(drop).map_err(|error| io::Error::other(error.to_string()))
    }
}

fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes no pointers; the descriptor it returns is ours alone.
    unsafe {
        let raw = libc::eventfd(0, libc::EFD_CLOEXEC);
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(raw))
    }
}

fn add_one(eventfd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight bytes are read from a live array. The only failure, a counter at its maximum, takes 2⁶⁴ rings.
    unsafe {
        libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_rung(eventfd: RawFd) -> bool {
        let mut poll = libc::pollfd { fd: eventfd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd is passed.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    #[test]
    fn a_bell_rings_where_its_shard_sleeps_and_not_for_one_that_is_awake() {
        let bell = Doorbell::new().expect("eventfd");
        let rung = || (is_rung(bell.for_ring()), is_rung(bell.for_executor()));
        bell.ring();
        bell.begin_sleep(Sleep::InRing);
        bell.end_sleep();
        bell.ring();
        assert_eq!(rung(), (false, false), "awake");
        bell.begin_sleep(Sleep::InRing);
        bell.ring();
        assert_eq!(rung(), (true, false));
        bell.begin_sleep(Sleep::OnExecutor);
        bell.ring();
        assert_eq!(rung(), (true, true));
    }
}
