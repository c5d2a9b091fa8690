//! Signals for a thread that waits for other things as well.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::Signals,
    low_level::pipe,
};

/// What a keeper is sent, besides word of a child's end.
const SIGNALS: [i32; 6] = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD];

/// The signals that have come, and a descriptor that is readable when some have.
pub(super) struct Doorbell {
    signals: Signals,
    bell: UnixStream,
}

impl Doorbell {
    /// From now on these signals end nothing.
    pub(super) fn hang() -> io::Result<Self> {
        // First what notes which signal it was, then what wakes up.
        let signals = Signals::new(SIGNALS)?;
        let (bell, button) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        for signal in SIGNALS {
            pipe::register(signal, button.try_clone()?)?;
        }
        Ok(Self { signals, bell })
    }

    /// Those that have come and were not asked for yet.
    pub(super) fn answer(&mut self) -> Vec<i32> {
        let mut rung = [0; 64];
        while self.bell.read(&mut rung).is_ok_and(|length| length > 0) {}
        self.signals.pending().collect()
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
