//! Signals that end a program, held back so that it can end in order.

use std::{io, mem, time::Duration};

/// Ctrl-C, and what a service manager or a closed terminal sends.
const ENDING: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Holds the ending signals back for the calling thread and those it starts later; dropped, they end the program again.
pub struct Interrupts {
    set: libc::sigset_t,
    old: libc::sigset_t,
}

impl Interrupts {
    /// Holds them back from now on.
    pub fn hold() -> io::Result<Self> {
        // SAFETY: a `sigset_t` is plain bits; the calls write only to the two sets of this frame.
        unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            let mut old: libc::sigset_t = mem::zeroed();
            super::outcome(libc::sigemptyset(&raw mut set))?;
            for signal in ENDING {
                super::outcome(libc::sigaddset(&raw mut set, signal))?;
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut old) {
                0 => Ok(Self { set, old }),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// Waits so long, or until one arrives; whether one did.
    pub fn arrive_within(&self, time: Duration) -> bool {
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        // SAFETY: the set and the time live through the call, and nothing is written for a null information pointer.
        unsafe { libc::sigtimedwait(&raw const self.set, std::ptr::null_mut(), &raw const time) > 0 }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // SAFETY: the set was filled by the kernel in `hold`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.old, std::ptr::null_mut()) };
    }
}
